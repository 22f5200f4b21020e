//! The model for whoever has none: a second machine to which all committed commands are given, and
//! every state that it was ever in.
//! Never finds what is wrong on every machine alike: it is one of them.
//!
//! # Source
//! Schneider, "Implementing fault-tolerant services using the state machine approach", 1990.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use headwater_raft::{Index, LogId};
use headwater_replica::machine::StateMachine;

use crate::application::Model;

/// Finds machines that differ although they were given the same commands: because they are not
/// deterministic, or because a snapshot is not the state that it was taken of. Keeps a copy of each
/// state, so those should be small.
#[derive(Debug)]
pub struct Replay<M: StateMachine> {
    states: BTreeMap<Index, M>,
    replies: BTreeMap<Index, M::Reply>,
}

impl<M: StateMachine> Default for Replay<M> {
    fn default() -> Self {
        Self {
            states: BTreeMap::from([(Index(0), M::default())]),
            replies: BTreeMap::new(),
        }
    }
}

impl<M> Model<M> for Replay<M>
where
    M: StateMachine<Reply: PartialEq + Debug, Query: Clone + Debug, Answer: PartialEq + Debug>,
    M: Clone + PartialEq + Debug,
{
    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<(), String> {
        let last = self.states.last_key_value();
        let (_, mut state) = last.map_or((&Index(0), M::default()), |(i, m)| (i, m.clone()));
        let reply = state.apply(at, command);
        self.states.insert(at.index, state);
        self.replies.insert(at.index, reply);
        Ok(())
    }

    fn judge_reply(&self, at: Index, reply: &M::Reply) -> Result<(), String> {
        same(Some(reply), self.replies.get(&at), || "a command".into())
    }

    fn judge_answer(&self, at: Index, query: &M::Query, answer: &M::Answer) -> Result<(), String> {
        let state = self.states.get(&at);
        let expected = state.map(|state| state.query(query.clone()));
        same(Some(answer), expected.as_ref(), || format!("{query:?}"))
    }

    fn judge_machine(&self, at: Index, machine: &M) -> Result<(), String> {
        same(Some(machine), self.states.get(&at), || "its state".into())
    }
}

fn same<T: PartialEq + Debug>(
    has: Option<&T>,
    expected: Option<&T>,
    of: impl FnOnce() -> String,
) -> Result<(), String> {
    if has == expected {
        return Ok(());
    }
    Err(format!("{}: {has:?} instead of {expected:?}", of()))
}
