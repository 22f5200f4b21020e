//! Words that the project's text does not contain: debts without a date, and the workplace.
//! Never looks at generated files.
//!
//! # Source
//! docs/style.md, "Comments and documents".

use super::{Refusal, Tree};

/// A word that may not stand in the text.
struct Banned {
    /// The word. Written in two halves here, or this file would refuse itself.
    word: [&'static str; 2],
    /// Whether letters and digits around it make it another word.
    is_whole: bool,
    /// Whether it may stand in prose, outside of code.
    only_in_code: bool,
    rule: &'static str,
    remedy: &'static str,
}

const DEBT: &str = "finish it now, or say in docs/ what is missing and why";
const PLACE: &str = "a path of one machine: write it relative to the repository";
const ABOUT: &str = "the project's text speaks of the project alone";

const fn debt(word: [&'static str; 2]) -> Banned {
    Banned {
        word,
        is_whole: true,
        only_in_code: true,
        rule: "debt",
        remedy: DEBT,
    }
}

const fn place(word: [&'static str; 2]) -> Banned {
    Banned {
        word,
        is_whole: false,
        only_in_code: false,
        rule: "place",
        remedy: PLACE,
    }
}

const fn about(word: [&'static str; 2]) -> Banned {
    Banned {
        word,
        is_whole: true,
        only_in_code: false,
        rule: "words",
        remedy: ABOUT,
    }
}

const BANNED: [Banned; 14] = [
    debt(["TO", "DO"]),
    debt(["FIX", "ME"]),
    debt(["XX", "X"]),
    debt(["dbg", "!"]),
    place(["/wo", "rk/"]),
    place(["/ro", "ot/"]),
    place(["/ho", "me/"]),
    about(["cla", "ude"]),
    about(["anth", "ropic"]),
    about(["chat", "gpt"]),
    about(["open", "ai"]),
    about(["cop", "ilot"]),
    about(["ll", "m"]),
    about(["language ", "model"]),
];

/// Files whose text is code.
const CODE: [&str; 9] = [
    ".rs", ".toml", ".proto", ".tla", ".cfg", ".js", ".mjs", ".html", ".sh",
];

pub fn check(tree: &Tree, refusals: &mut Vec<Refusal>) {
    let banned: Vec<(String, &Banned)> = BANNED
        .iter()
        .map(|banned| (banned.word.concat().to_lowercase(), banned))
        .collect();
    for (path, text) in tree.ending("") {
        let is_code = CODE.iter().any(|end| path.ends_with(end));
        for (at, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            for (word, banned) in &banned {
                let applies = is_code || !banned.only_in_code;
                if applies && stands_in(banned, word, line, &lower) {
                    let word = banned.word.concat();
                    let what = format!("\"{word}\": {}", banned.remedy);
                    refusals.push(Refusal::new(banned.rule, path, at + 1, what));
                }
            }
        }
    }
}

fn stands_in(banned: &Banned, word: &str, line: &str, lower: &str) -> bool {
    // Debts are shouted, or they are ordinary words; everything else counts in any case.
    let (word, line) = if banned.only_in_code {
        (banned.word.concat(), line)
    } else {
        (word.to_owned(), lower)
    };
    line.match_indices(&word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !banned.is_whole || !is_letter(before) && !is_letter(after.filter(|_| !word.ends_with('!')))
    })
}
