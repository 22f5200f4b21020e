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
        let (_, last) = self.states.last_key_value().expect("there is a first");
        let mut state = last.clone();
        self.replies.insert(at.index, state.apply(at, command));
        self.states.insert(at.index, state);
        Ok(())
    }

    fn judge_reply(&self, at: Index, reply: &M::Reply) -> Result<(), String> {
        same(reply, &self.replies[&at])
    }

    fn judge_answer(&self, at: Index, query: &M::Query, answer: &M::Answer) -> Result<(), String> {
        let expected = self.states[&at].query(query.clone());
        same(answer, &expected).map_err(|why| format!("{query:?}: {why}"))
    }

    fn judge_machine(&self, at: Index, machine: &M) -> Result<(), String> {
        same(machine, &self.states[&at])
    }
}

fn same<T: PartialEq + Debug>(has: &T, expected: &T) -> Result<(), String> {
    if has == expected {
        return Ok(());
    }
    Err(format!("{has:?} instead of {expected:?}"))
}
