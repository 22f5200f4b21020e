//! Planted changes, to the specification or to the core, that break no promise and are differences
//! all the same: `cargo xtask spec equal --teeth`.
//! Never changes the sources: core and specification are changed in copies under `target/`.
//!
//! # Source
//! docs/testing.md, "The same states".

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::equal::{self, Found, List, SCOPES, Scope};
use super::tlc::{DIR, Tlc};
use super::{Options, results};
use crate::cargo::target_dir;
use crate::mutants::copy;
use crate::mutants::sheet::{self, Sheet};

/// Where the changes lie, one a file.
const MUTANTS: &str = "mutants/equal";

/// One change.
pub struct Change {
    pub name: String,
    source: String,
    scope: Scope,
    sheet: Sheet,
}

impl Change {
    /// Reads one.
    fn parse(name: &str, text: &str) -> Result<Self> {
        let mut sheet = Sheet::parse(text, &["Source", "Scope"])?;
        let scope = sheet.take("Scope", "it names no scope")?;
        let known = SCOPES.into_iter().find(|known| known.name == scope);
        Ok(Self {
            name: name.to_owned(),
            source: sheet.take("Source", "it names no source")?,
            scope: known.with_context(|| format!("there is no scope {scope}"))?,
            sheet,
        })
    }

    /// The files that it changes, as they are then.
    pub fn changed(&self, root: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut changed = BTreeMap::new();
        for edit in &self.sheet.edits {
            let file = edit.file.clone();
            let text = fs::read_to_string(root.join(&file)).with_context(|| file.clone())?;
            let times = text.matches(&edit.original).count();
            ensure!(
                times == 1,
                "stands {times} times in {file}: {}",
                edit.original
            );
            let text = text.replacen(&edit.original, &edit.replacement, 1);
            ensure!(
                changed.insert(file, text.into_bytes()).is_none(),
                "it changes a file twice"
            );
        }
        Ok(changed)
    }

    fn is_of_spec(&self) -> bool {
        self.sheet
            .edits
            .iter()
            .all(|edit| edit.file.starts_with(DIR))
    }
}

/// All changes, by name.
pub fn read_all(root: &Path) -> Result<Vec<Change>> {
    let files = sheet::files(&root.join(DIR).join(MUTANTS))?;
    let parse =
        |(name, text): (String, String)| Change::parse(&name, &text).with_context(|| name.clone());
    files.into_iter().map(parse).collect()
}

/// What is not changed, by scope: made once.
#[derive(Default)]
struct Unchanged {
    core: BTreeMap<&'static str, PathBuf>,
    spec: BTreeMap<&'static str, List>,
}

/// Plants each and compares.
pub fn run(root: &Path, tlc: &Tlc, options: &Options) -> Result<()> {
    let mut all = read_all(root)?;
    options.choose(&mut all, |change| &change.name)?;
    let (mut unchanged, mut rows, mut wrong) = (Unchanged::default(), Vec::new(), Vec::new());
    for change in &all {
        match difference(root, tlc, change, &mut unchanged) {
            Ok(found) if found.only != [0, 0] => {
                println!("{}: {found}\n{}", change.name, found.words);
                rows.push(row(change, &found));
            }
            Ok(found) => {
                println!("{}: NO DIFFERENCE: {found}", change.name);
                wrong.push(change.name.as_str());
            }
            Err(why) => {
                println!("{}: {why:#}", change.name);
                wrong.push(change.name.as_str());
            }
        }
    }
    println!("{} of {} seen", rows.len(), all.len());
    ensure!(wrong.is_empty(), "not seen: {}", wrong.join(", "));
    results::settle(root, &results::UNEQUAL, &rows, options.write)
}

fn difference(root: &Path, tlc: &Tlc, change: &Change, unchanged: &mut Unchanged) -> Result<Found> {
    let (scope, changed) = (change.scope, change.changed(root)?);
    let target = target_dir(root);
    let dir = tlc.scratch(root, &format!("unequal-{}", change.name))?;
    let plain = |what| tlc.scratch(root, &format!("unequal-{what}-{}", scope.name));
    if change.is_of_spec() {
        for (file, bytes) in changed {
            let name = Path::new(&file).file_name().context("a file has a name")?;
            fs::write(dir.join(name), bytes)?;
        }
        if !unchanged.core.contains_key(scope.name) {
            let core = equal::of_core(root, &target, &plain("core")?, &scope)?;
            unchanged.core.insert(scope.name, core);
        }
        let spec = equal::of_spec(tlc, &dir, &scope)?;
        return equal::compare(&unchanged.core[scope.name], &spec);
    }
    let source = target.join("unequal");
    copy::lay_out(root, &source, &changed)?;
    if !unchanged.spec.contains_key(scope.name) {
        let spec = equal::of_spec(tlc, &plain("spec")?, &scope)?;
        unchanged.spec.insert(scope.name, spec);
    }
    let core = equal::of_core(&source, &target, &dir, &scope)?;
    equal::compare(&core, &unchanged.spec[scope.name])
}

fn row(change: &Change, found: &Found) -> Vec<String> {
    vec![
        format!("`{}`", change.name),
        change.sheet.what.trim_end_matches('.').to_owned(),
        change.source.clone(),
        format!("`{}`", change.scope.name),
        found.states[0].to_string(),
        found.only[0].to_string(),
        found.states[1].to_string(),
        found.only[1].to_string(),
    ]
}
