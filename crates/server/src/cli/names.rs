//! Our commands and flags beside those of etcd's tools.
//! Never asks those tools: what they have is recorded, and the black-box tests hold the record against them.
//!
//! # Source
//! The help of etcdctl 3.4.23 and 3.5.1, and of etcdutl 3.5.1.

use clap::Command;

use super::definition;

/// What etcd's tools have.
const THEIRS: &str = include_str!("etcd_names.txt");

/// Commands of theirs that are no command of `headwater ctl` of the same name, and what is there instead.
const ELSEWHERE: [(&str, &str); 7] = [
    ("etcdutl", "ctl"),
    ("etcdutl backup", "ctl backup"),
    ("etcdutl defrag", "ctl defrag"),
    ("etcdutl snapshot restore", "snapshot restore"),
    ("etcdutl snapshot status", "ctl snapshot status"),
    ("etcdutl version", "version"),
    ("etcdctl snapshot restore", "snapshot restore"),
];

/// Commands that only say what to use instead: they take any flag.
const REFUSED: [&str; 3] = ["ctl backup", "ctl migrate", "ctl completion"];

/// The name here of a command of theirs.
fn ours(theirs: &str) -> String {
    // Whatever shell it is for.
    let theirs = match theirs.starts_with("etcdctl completion") {
        true => "etcdctl completion",
        false => theirs,
    };
    let known = ELSEWHERE.iter().find(|(name, _)| *name == theirs);
    match known {
        Some((_, ours)) => (*ours).to_owned(),
        None => theirs.replacen("etcdctl", "ctl", 1),
    }
}

fn find<'a>(all: &'a Command, name: &str) -> Option<&'a Command> {
    let below = |command: &'a Command, word| command.find_subcommand(word);
    name.split(' ').try_fold(all, below)
}

fn has(command: &Command, flag: &str) -> bool {
    let mut flags = command.get_arguments();
    flags.any(|known| known.get_long() == Some(flag))
}

/// What of theirs is missing here.
fn missing(all: &Command, theirs: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for line in theirs.lines().filter(|line| !line.starts_with('#')) {
        let (words, flags): (Vec<&str>, Vec<&str>) =
            line.split(' ').partition(|word| !word.starts_with("--"));
        let theirs = words.join(" ");
        let name = ours(&theirs);
        let Some(command) = find(all, &name) else {
            missing.push(theirs);
            continue;
        };
        if REFUSED.contains(&name.as_str()) {
            continue;
        }
        let lacks = |flag: &&&str| !has(command, flag.trim_start_matches('-'));
        let lacks = flags.iter().filter(lacks);
        missing.extend(lacks.map(|flag| format!("{theirs} {flag}")));
    }
    missing
}

#[test]
fn every_command_and_flag_of_etcds_tools_is_there_or_says_what_is() {
    let mut all = definition();
    all.build();
    let none: [&str; 0] = [];
    assert_eq!(missing(&all, THEIRS), none);
    assert!(THEIRS.lines().count() > 50);
    let others = "etcdctl get --prefix --nonsense\netcdctl nonsense";
    let told = ["etcdctl get --nonsense", "etcdctl nonsense"];
    assert_eq!(missing(&all, others), told);
}
