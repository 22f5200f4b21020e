//! What the user of a local cluster sees: a small table that repaints itself on a terminal, a
//! line per change elsewhere.
//! Never asks anything of the user.
//!
//! # Source
//! ECMA-48: moving the cursor up and erasing below it.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use super::cluster::Row;

/// The output.
pub struct Screen {
    is_terminal: bool,
    painted: usize,
    last: Vec<String>,
}

impl Screen {
    /// The standard output, whatever it is.
    pub fn new() -> Self {
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            painted: 0,
            last: Vec::new(),
        }
    }

    /// Prints something that stays.
    pub fn say(&mut self, text: &str) {
        let mut out = self.erasure();
        out.push_str(text);
        out.push('\n');
        put(&out);
        if self.is_terminal {
            // The table was erased and must be painted again though nothing in it changed.
            self.last.clear();
        }
    }

    /// Shows how the servers are.
    pub fn show(&mut self, rows: &[Row]) {
        if self.is_terminal {
            let lines = table(rows);
            if lines == self.last {
                return;
            }
            let mut out = self.erasure();
            for line in &lines {
                out.push_str(line);
                out.push('\n');
            }
            put(&out);
            self.painted = lines.len();
            self.last = lines;
            return;
        }
        let lines: Vec<String> = rows.iter().map(change_line).collect();
        for (place, line) in lines.iter().enumerate() {
            if self.last.get(place) != Some(line) {
                put(&format!("{line}\n"));
            }
        }
        self.last = lines;
    }

    fn erasure(&mut self) -> String {
        let painted = std::mem::take(&mut self.painted);
        match painted {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away is no reason to take the cluster down.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn role(row: &Row) -> &'static str {
    match (&row.seen, row.pid) {
        (None, None) => "down",
        (None, Some(_)) => "starting",
        (Some(seen), _) if seen.leader == 0 => "no leader",
        (Some(seen), _) if seen.is_leader() => "leader",
        (Some(_), _) => "follower",
    }
}

fn table(rows: &[Row]) -> Vec<String> {
    let head = format!(
        "  {:<6}{:<9}{:<26}{:<11}{:>5}{:>12}{:>12}",
        "name", "pid", "clients", "role", "term", "commit", "revision"
    );
    let mut lines = vec![head];
    for row in rows {
        let mut line = String::new();
        let pid = row.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let (term, commit, revision) = match &row.seen {
            Some(seen) => (
                seen.term.to_string(),
                seen.commit.to_string(),
                seen.revision.to_string(),
            ),
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "  {:<6}{pid:<9}{:<26}{:<11}{term:>5}{commit:>12}{revision:>12}",
            row.name,
            row.url,
            role(row),
        );
        lines.push(line);
    }
    lines
}

/// What changes seldom; commit and revision would make a line of every look.
fn change_line(row: &Row) -> String {
    let pid = row.pid.map_or("-".to_owned(), |pid| pid.to_string());
    let term = row.seen.as_ref().map_or(0, |seen| seen.term);
    format!(
        "{} (pid {pid}, {}): {}, term {term}",
        row.name,
        row.url,
        role(row)
    )
}

#[cfg(test)]
mod tests {
    use super::super::probe::Seen;
    use super::*;

    fn row(pid: Option<u32>, leader: u64) -> Row {
        Row {
            name: "n1".to_owned(),
            pid,
            url: "http://127.0.0.1:1".to_owned(),
            seen: pid.map(|_| Seen {
                member: 7,
                leader,
                term: 3,
                commit: 12,
                applied: 12,
                revision: 9,
            }),
        }
    }

    #[test]
    fn a_row_says_what_the_server_is() {
        assert_eq!(role(&row(Some(1), 7)), "leader");
        assert_eq!(role(&row(Some(1), 8)), "follower");
        assert_eq!(role(&row(Some(1), 0)), "no leader");
        assert_eq!(role(&row(None, 0)), "down");
        let lines = table(&[row(Some(1), 7)]);
        for part in ["n1", "leader", "3", "12", "9"] {
            assert!(
                lines[1].split_whitespace().any(|word| word == part),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn progress_alone_is_no_change() {
        let mut later = row(Some(1), 7);
        later.seen.as_mut().unwrap().commit = 99;
        assert_eq!(change_line(&later), change_line(&row(Some(1), 7)));
        assert_ne!(change_line(&row(Some(1), 8)), change_line(&row(Some(1), 7)));
    }
}
