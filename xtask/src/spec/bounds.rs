//! Bounds: how small the clusters are in which the specification is checked.
//! Never states a property: those are in the one configuration that all bounds start from.
//!
//! # Source
//! spec/README.md.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::tlc::{DIR, TEMPORAL};

/// The module that is checked, and the configuration that bounds change.
pub const MODULE: &str = "MCRaftAbstract.tla";
const BASE: &str = "MCRaftAbstract.cfg";

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
    let base = fs::read_to_string(dir.join(BASE))?;
    let mut all = Vec::new();
    for (place, kind) in KINDS.into_iter().filter(|(_, kind)| wanted.contains(kind)) {
        let files = fs::read_dir(dir.join(BOUNDS).join(place))
            .with_context(|| format!("reading the bounds in {place}"))?;
        for file in files {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(name) = name.strip_suffix(".cfg") {
                let text = fs::read_to_string(&path)?;
                all.push(parse(name, kind, &text, &base).with_context(|| format!("{name}.cfg"))?);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Reads one: a comment that says what it is for, then lines that replace those of `base` with the
/// same beginning, up to `=` or to the end of the word. A line `- WORD` takes the line away that
/// is this word alone, and lines that begin with `+ ` come at the end.
pub fn parse(name: &str, kind: Kind, text: &str, base: &str) -> Result<Bounds> {
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("\\* ").unwrap_or_default();
    ensure!(
        what.ends_with('.'),
        "the first line is a comment, a sentence"
    );
    let mut config: Vec<String> = base.lines().map(str::to_owned).collect();
    let lines = text.lines().skip(1).map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("\\*")) {
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
        let place = place.with_context(|| format!("there is no {key} in {BASE}"))?;
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
        config: config.join("\n") + "\n",
    })
}
