//! All states of an exploration, written down as the specification has them, to be compared with
//! those of TLC (`spec/States.tla`).
//! Never compares, and never tells states apart that the text does not: the reader does both.
//!
//! A line is `value TEXT`, or `state` and numbers: of the nodes with their disks, of the messages,
//! and of the rest, which are the places of the values among all `value` lines, from zero.
//!
//! # Source
//! spec/MCRaft.tla, `Noted`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::fields;
use crate::model::State;
use crate::spoken;
use crate::text::{Set, Text, record};
use crate::tree::Misread;

/// A file of states.
pub struct Listing {
    out: BufWriter<File>,
    numbers: HashMap<Of, usize>,
    failed: Option<String>,
}

/// What a value is about. Nodes and messages are kept for ever, so their addresses are names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Node(usize),
    Letter(u16),
    Left([u8; 3]),
}

impl Listing {
    /// An empty one.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            out: BufWriter::new(File::create(path)?),
            numbers: HashMap::new(),
            failed: None,
        })
    }

    /// Adds a state.
    pub fn note(&mut self, state: &State) {
        if self.failed.is_none() {
            self.failed = self.write(state).err();
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// It could not be written, or a state could not be put into words.
    pub fn end(&mut self) -> Result<(), String> {
        match self.failed.take() {
            Some(why) => Err(why),
            None => self.out.flush().map_err(|why| why.to_string()),
        }
    }

    fn write(&mut self, state: &State) -> Result<(), String> {
        let mut line = String::from("state");
        for local in state.nodes {
            let of = Of::Node(std::ptr::from_ref(local) as usize);
            self.number(&mut line, of, || spoken::server(&local.node))?;
        }
        line.push_str(" |");
        for letter in state.wire.iter() {
            self.number(&mut line, Of::Letter(letter.place), || {
                spoken::letter(&letter.parcel)
            })?;
        }
        line.push_str(" |");
        let left = state.left;
        self.number(
            &mut line,
            Of::Left([left.campaigns, left.crashes, left.proposals]),
            || {
                let [campaigns, crashes, proposals] =
                    [left.campaigns, left.crashes, left.proposals].map(u64::from);
                let left = record(
                    fields! { campaigns: campaigns, crashes: crashes, proposals: proposals },
                );
                // Snapshots are not in these bounds.
                Ok([left, Set::<String>::default().text()].text())
            },
        )?;
        writeln!(self.out, "{line}").map_err(|why| why.to_string())
    }

    /// Puts the number of a value at the end of a line, and before it the value, if it is new.
    fn number(
        &mut self,
        line: &mut String,
        of: Of,
        value: impl FnOnce() -> Result<String, Misread>,
    ) -> Result<(), String> {
        let new = self.numbers.len();
        let number = match self.numbers.get(&of) {
            Some(number) => *number,
            None => {
                writeln!(self.out, "value {}", value()?).map_err(|why| why.to_string())?;
                self.numbers.insert(of, new);
                new
            }
        };
        line.push_str(&format!(" {number}"));
        Ok(())
    }
}
