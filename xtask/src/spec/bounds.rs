//! Bounds: how small the clusters are in which the specification is checked.
//! Never states a property: those are in the configuration that all bounds of a module start from.
//!
//! # Source
//! spec/README.md.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::tlc::{DIR, TEMPORAL};

/// How bounds name the module that they are of, whose configuration they change; and which it is if
/// they do not.
const OF_MODULE: &str = "MODULE ";
const ABSTRACT: &str = "MCRaftAbstract";

/// Where the bounds lie, and those that take long.
const BOUNDS: &str = "bounds";
const KINDS: [(&str, Kind); 2] = [("", Kind::Quick), ("deep", Kind::Deep)];

/// Which behaviours must come to something, and how the bounds name to what.
const LIVE: &str = "SPECIFICATION LiveSpec";
const LAST: &str = "+ PROPERTIES ";

/// What bounds are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// In minutes all states are seen.
    Quick,
    /// The same, but it takes longer.
    Deep,
}

/// Bounds by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    pub name: String,
    pub kind: Kind,
    /// What they are for, in a sentence.
    pub what: String,
    /// The file of the module that is checked.
    pub module: String,
    /// The whole configuration.
    pub config: String,
    /// What must happen at last: TLC does not say which property of that kind does not hold, so
    /// there is one.
    pub last: Option<String>,
}

impl Bounds {
    /// The name of a property, where TLC may give none.
    pub fn name_of<'a>(&'a self, violated: &'a str) -> &'a str {
        match &self.last {
            Some(last) if violated == TEMPORAL => last,
            _ => violated,
        }
    }
}

/// All bounds of these kinds, by name.
pub fn read_all(root: &Path, wanted: &[Kind]) -> Result<Vec<Bounds>> {
    let dir = root.join(DIR);
    let mut all = Vec::new();
    for (place, kind) in KINDS.into_iter().filter(|(_, kind)| wanted.contains(kind)) {
        let files = fs::read_dir(dir.join(BOUNDS).join(place))
            .with_context(|| format!("reading the bounds in {place}"))?;
        for file in files {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(name) = name.strip_suffix(".cfg") {
                let text = fs::read_to_string(&path)?;
                let base = format!("{}.cfg", module_of(&text));
                let base = fs::read_to_string(dir.join(base))?;
                all.push(parse(name, kind, &text, &base).with_context(|| format!("{name}.cfg"))?);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The name of the module that bounds are of.
fn module_of(text: &str) -> &str {
    let mut named = text.lines().filter_map(|line| line.strip_prefix(OF_MODULE));
    named.next().unwrap_or(ABSTRACT)
}

/// Reads one: a comment that says what it is for, then lines that replace those of `base` with the
/// same beginning, up to `=` or to the end of the word. A line `- WORD` takes the line away that
/// is this word alone, and lines that begin with `+ ` come at the end. `MODULE NAME` is of what.
pub fn parse(name: &str, kind: Kind, text: &str, base: &str) -> Result<Bounds> {
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("\\* ").unwrap_or_default();
    ensure!(
        what.ends_with('.'),
        "the first line is a comment, a sentence"
    );
    let mut config: Vec<String> = base.lines().map(str::to_owned).collect();
    let lines = text.lines().skip(1).map(str::trim);
    let says = |line: &&str| !line.starts_with("\\*") && !line.starts_with(OF_MODULE);
    for line in lines.filter(|line| !line.is_empty() && says(line)) {
        if let Some(more) = line.strip_prefix("+ ") {
            config.push(more.to_owned());
            continue;
        }
        let gone = line.strip_prefix("- ");
        let key = match (gone, line.split_once('=')) {
            (Some(word), _) => word,
            (None, Some((key, _))) => key.trim(),
            (None, None) => line.split(' ').next().unwrap_or_default(),
        };
        let place = config.iter().position(|known| {
            let known = known.trim().strip_prefix(key);
            known.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        let place = place.with_context(|| format!("there is no {key} to change"))?;
        match gone {
            Some(_) => drop(config.remove(place)),
            None => config[place] = format!("  {line}"),
        }
    }
    let mut added = text.lines().filter_map(|line| line.strip_prefix(LAST));
    Ok(Bounds {
        name: name.to_owned(),
        kind,
        last: added
            .next()
            .filter(|_| text.contains(LIVE))
            .map(str::to_owned),
        what: what.to_owned(),
        module: format!("{}.tla", module_of(text)),
        config: config.join("\n") + "\n",
    })
}
