//! What a Cargo.toml says about dependencies and lints, with line numbers.
//! Never a full reader of TOML: it knows the shapes that this repository uses.
//!
//! # Source
//! The Cargo book, "The Manifest Format".

/// One direct dependency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Whether only tests use it.
    pub is_dev: bool,
    /// Where it stands.
    pub line: usize,
}

/// The direct dependencies of a manifest.
pub fn dependencies(text: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut section = String::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            if let Some((kind, name)) = section.rsplit_once('.') {
                push(&mut found, kind, name, at + 1);
            }
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let name = key.trim().split('.').next().unwrap_or_default();
            push(&mut found, &section, name, at + 1);
        }
    }
    found
}

fn push(found: &mut Vec<Dependency>, section: &str, name: &str, line: usize) {
    let kind = section.rsplit('.').next().unwrap_or_default();
    // The workspace's own table only gives versions; crates say which of them they use.
    let is_list = section.starts_with("workspace.");
    let is_dev = kind == "dev-dependencies";
    if is_list || !(is_dev || matches!(kind, "dependencies" | "build-dependencies")) {
        return;
    }
    found.push(Dependency {
        name: name.trim_matches('"').to_owned(),
        is_dev,
        line,
    });
}

/// Whether the manifest describes a package (and not a workspace alone).
pub fn is_package(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "[package]")
}

/// Whether the manifest puts the package under lints.
pub fn has_lints(text: &str) -> bool {
    text.lines().any(|line| line.trim().starts_with("[lints"))
}
