//! What the user of a local cluster sees: a small table that repaints itself on a terminal, a
//! line per change elsewhere.
//! Never asks anything of the user.
//!
//! # Source
//! ECMA-48: moving the cursor up and erasing below it.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cluster::Row;
use crate::print;

/// The output.
pub struct Screen {
    is_terminal: bool,
    /// The table as it was last painted, for a terminal so wide.
    painted: Vec<String>,
    width: usize,
    /// What was last told of each server where there is no table.
    told: Vec<String>,
}

impl Screen {
    /// The standard output, whatever it is.
    pub fn new() -> Self {
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            painted: Vec::new(),
            width: usize::MAX,
            told: Vec::new(),
        }
    }

    /// Prints something that stays.
    pub fn say(&mut self, text: &str) {
        let erasure = erasure(&self.painted, terminal_width());
        put(&format!("{erasure}{text}\n"));
        self.painted.clear();
    }

    /// Prints what happened, and when.
    pub fn tell(&mut self, event: &str) {
        self.say(&format!("{}  {event}", time_of_day(SystemTime::now())));
    }

    /// Shows how the servers are.
    pub fn show(&mut self, rows: &[Row]) {
        if self.is_terminal {
            return self.paint(rows);
        }
        let lines: Vec<String> = rows.iter().map(change_line).collect();
        for (place, line) in lines.iter().enumerate() {
            if self.told.get(place) != Some(line) {
                self.tell(line);
            }
        }
        self.told = lines;
    }

    fn paint(&mut self, rows: &[Row]) {
        let width = terminal_width();
        let cut = |line: String| line.chars().take(width).collect();
        let lines: Vec<String> = table(rows).into_iter().map(cut).collect();
        if lines == self.painted && width == self.width {
            return;
        }
        put(&format!(
            "{}{}\n",
            erasure(&self.painted, width),
            lines.join("\n")
        ));
        (self.painted, self.width) = (lines, width);
    }
}

/// Columns of the terminal; no bound where there is none.
fn terminal_width() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => usize::MAX,
    }
}

/// Takes back what was painted. A terminal that has become narrower since has broken the lines.
fn erasure(painted: &[String], width: usize) -> String {
    let rows = |line: &String| line.chars().count().div_ceil(width).max(1);
    match painted.iter().map(rows).sum::<usize>() {
        0 => String::new(),
        rows => format!("\x1b[{rows}A\x1b[J"),
    }
}

fn put(text: &str) {
    // What cannot be shown is no reason to take the cluster down.
    let _ = print::put(text);
}

/// Hours, minutes and seconds in UTC, as in the servers' logs.
fn time_of_day(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs() % 86_400;
    format!(
        "{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn role(row: &Row) -> &'static str {
    match (&row.seen, row.pid) {
        (None, None) => "down",
        (None, Some(_)) if row.silent.is_some() => "no answer",
        (None, Some(_)) => "starting",
        (Some(seen), _) if seen.leader == 0 => "no leader",
        (Some(seen), _) if seen.is_leader() => "leader",
        (Some(_), _) => "follower",
    }
}

/// The role, and for how long there was no answer.
fn state(row: &Row) -> String {
    match row.silent {
        Some(silent) if silent >= Duration::from_secs(1) => {
            format!("{} {} s", role(row), silent.as_secs())
        }
        _ => role(row).to_owned(),
    }
}

/// What matters comes first: a narrow terminal shows no more.
fn table(rows: &[Row]) -> Vec<String> {
    let line = |words: [&str; 8]| {
        let [name, state, pid, term, commit, revision, restarts, clients] = words;
        format!(
            "  {name:<5}{state:<16}{pid:<8}{term:>5}{commit:>9}{revision:>9}{restarts:>9}  \
             {clients}"
        )
    };
    let head = line([
        "name", "state", "pid", "term", "commit", "revision", "restarts", "clients",
    ]);
    let row = |row: &Row| {
        let dash = || "-".to_owned();
        let pid = row.pid.map_or_else(dash, |pid| pid.to_string());
        let seen = row.seen.as_ref();
        let term = seen.map_or_else(dash, |seen| seen.term.to_string());
        let commit = seen.map_or_else(dash, |seen| seen.commit.to_string());
        let revision = seen.map_or_else(dash, |seen| seen.revision.to_string());
        let restarts = row.restarts.to_string();
        let address = row.url.split("://").last().unwrap_or_default();
        line([
            &row.name,
            &state(row),
            &pid,
            &term,
            &commit,
            &revision,
            &restarts,
            address,
        ])
    };
    std::iter::once(head).chain(rows.iter().map(row)).collect()
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
            silent: None,
            restarts: 2,
        }
    }

    fn silent(for_ms: Option<u64>) -> Row {
        Row {
            seen: None,
            silent: for_ms.map(Duration::from_millis),
            ..row(Some(1), 7)
        }
    }

    #[test]
    fn a_row_says_what_the_server_is() {
        assert_eq!(state(&row(Some(1), 7)), "leader");
        assert_eq!(state(&row(Some(1), 8)), "follower");
        assert_eq!(state(&row(Some(1), 0)), "no leader");
        assert_eq!(state(&row(None, 0)), "down");
        let lines = table(&[row(Some(1), 7)]);
        for part in ["n1", "leader", "3", "12", "9", "2", "127.0.0.1:1"] {
            assert!(
                lines[1].split_whitespace().any(|word| word == part),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_server_that_no_longer_answers_is_not_one_that_starts() {
        assert_eq!(state(&silent(None)), "starting");
        assert_eq!(state(&silent(Some(300))), "no answer");
        assert_eq!(state(&silent(Some(12_900))), "no answer 12 s");
        assert_eq!(
            change_line(&silent(Some(2000))),
            change_line(&silent(Some(3000)))
        );
    }

    #[test]
    fn progress_alone_is_no_change() {
        let mut later = row(Some(1), 7);
        later.seen.as_mut().unwrap().commit = 99;
        assert_eq!(change_line(&later), change_line(&row(Some(1), 7)));
        assert_ne!(change_line(&row(Some(1), 8)), change_line(&row(Some(1), 7)));
    }

    #[test]
    fn the_table_fits_into_eighty_columns() {
        let mut row = row(Some(4_194_304), 7);
        row.url = "http://127.0.0.1:22379".to_owned();
        for line in table(&[row]) {
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
    }

    #[test]
    fn what_was_painted_is_taken_back_also_when_a_narrower_terminal_broke_it() {
        let painted = ["x".repeat(70), "x".repeat(71), String::new()];
        assert_eq!(erasure(&painted, 80), "\x1b[3A\x1b[J");
        assert_eq!(erasure(&painted, 70), "\x1b[4A\x1b[J");
        assert_eq!(erasure(&painted, 35), "\x1b[6A\x1b[J");
        assert_eq!(erasure(&[], 80), "");
        assert_eq!(erasure(&painted, usize::MAX), "\x1b[3A\x1b[J");
    }

    #[test]
    fn the_time_is_that_of_the_logs() {
        let at = UNIX_EPOCH + Duration::from_secs(86_400 + 3600 * 16 + 60 * 5 + 9);
        assert_eq!(time_of_day(at), "16:05:09Z");
    }
}
