//! What runs in a world: a state machine, what its clients ask of it, and who judges what they are
//! told.
//! Never knows of nodes, logs or faults: those are the world's.
//!
//! # Source
//! Maelstrom and Jepsen (a workload is a generator, a client and a checker).

use std::fmt::Debug;

use bytes::Bytes;
use headwater_raft::{Config, Index, LogId};
use headwater_replica::machine::StateMachine;

use crate::company::Company;
use crate::dice::Dice;
use crate::plan::Knobs;

/// What an embedder writes to run a state machine of their own in simulated worlds. It is a type
/// without values: a world keeps its machines, clients and model.
pub trait Application: Sized + 'static {
    /// The state machine under test, as production has it.
    type Machine: StateMachine<Query: Clone + Debug>;
    /// What one client remembers between its requests.
    type Client;
    /// Who judges replies, answers and whole machines: [`crate::replay::Replay`], one's own, or `()`
    /// for nobody.
    type Model: Model<Self::Machine>;

    /// A client that has seen nothing yet.
    fn client(knobs: &Knobs) -> Self::Client;

    /// What a client wants next. All chance is in `dice`, or runs do not repeat; no other request
    /// has the number `unique`.
    fn draw(
        client: &mut Self::Client,
        dice: &mut Dice,
        unique: u64,
    ) -> Want<<Self::Machine as StateMachine>::Query>;

    /// What somebody wants who says so in a plan: `ask whom=n1 want=WORDS`.
    ///
    /// # Errors
    /// What is wrong with the words.
    fn wish(words: &str) -> Result<Want<<Self::Machine as StateMachine>::Query>, String> {
        Err(format!("nobody here understands \"{words}\""))
    }

    /// What a client makes of what it is told.
    fn learn(_client: &mut Self::Client, _told: Told<'_, Self::Machine>) {}

    /// A command that every node must bring about once the faults are over.
    fn probe_write(unique: u64) -> Bytes;

    /// A query that every node must answer then.
    fn probe_read() -> <Self::Machine as StateMachine>::Query;

    /// What the machines are told when the members of `expect` give way to those of `target`, in the
    /// entry that begins the change: nothing, unless said otherwise.
    fn news(_expect: &Config, _target: &Config) -> Bytes {
        Bytes::new()
    }

    /// What stands beside the machines on every node: nothing, unless said otherwise.
    fn company(_seed: u64, _knobs: &Knobs) -> Box<dyn Company<Self>> {
        Box::new(())
    }

    /// Who judges by what clients say alone: nobody, unless said otherwise.
    fn hearsay() -> Box<dyn Hearsay<Self::Machine>> {
        Box::new(())
    }

    /// A command in words, for people who follow a run.
    fn words(command: &Bytes) -> String {
        format!("{command:?}")
    }
}

/// What a client wants.
#[derive(Clone, Debug)]
pub enum Want<Query> {
    /// That a command takes effect. It need not be the only one of its kind.
    Write(Bytes),
    /// An answer from a state no older than anything anyone knew when it was asked for.
    Read(Query),
    /// An answer from any state that there was.
    ReadStale(Query),
}

/// Who hears what clients ask for and are told, and nothing else: no index, no log, no machine. So
/// what he finds wrong rests on none of what the world believes.
pub trait Hearsay<M: StateMachine> {
    /// A node takes in the request of this number.
    fn on_asked(&mut self, _request: u64, _want: &Want<M::Query>) {}

    /// It was answered. One that is never answered, nor lost, may take effect at any time, or never.
    fn on_told(&mut self, _request: u64, _told: &Told<'_, M>) {}

    /// It surely took no effect, and never will.
    fn on_lost(&mut self, _request: u64) {}

    /// At the end, whether all of that can be.
    ///
    /// # Errors
    /// What cannot.
    fn verdict(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Nobody listens.
impl<M: StateMachine> Hearsay<M> for () {}

/// What a client is told.
#[derive(Debug)]
pub enum Told<'a, M: StateMachine> {
    /// The reply to its command.
    Reply(&'a M::Reply),
    /// The answer to its query.
    Answer(&'a M::Answer),
}

/// The application as one would explain it. A world tells it of every command once, in the order
/// of the log and as soon as it is committed. Indices are always those of commands; zero is the
/// state before the first.
///
/// The world itself judges when things happened: that a request takes effect between its call and
/// its return, at most once, and that all machines were given the same commands.
pub trait Model<M: StateMachine>: Default {
    /// The next command is committed.
    ///
    /// # Errors
    /// No client makes such a command.
    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<(), String>;

    /// The command at an index was answered so.
    ///
    /// # Errors
    /// What is wrong with that.
    fn judge_reply(&self, at: Index, reply: &M::Reply) -> Result<(), String>;

    /// A query was answered so in the state to which an index led.
    ///
    /// # Errors
    /// What is wrong with that.
    fn judge_answer(&self, at: Index, query: &M::Query, answer: &M::Answer) -> Result<(), String>;

    /// A machine is in the state to which an index led: restored from a snapshot, or at the end.
    ///
    /// # Errors
    /// What is wrong with it.
    fn judge_machine(&self, at: Index, machine: &M) -> Result<(), String>;

    /// At the end, all machines are in the state to which the last command led.
    ///
    /// # Errors
    /// In what they differ.
    fn judge_all(&self, _machines: &[&M]) -> Result<(), String> {
        Ok(())
    }
}

/// Nobody judges.
impl<M: StateMachine> Model<M> for () {
    fn apply(&mut self, _: LogId, _: &Bytes) -> Result<(), String> {
        Ok(())
    }

    fn judge_reply(&self, _: Index, _: &M::Reply) -> Result<(), String> {
        Ok(())
    }

    fn judge_answer(&self, _: Index, _: &M::Query, _: &M::Answer) -> Result<(), String> {
        Ok(())
    }

    fn judge_machine(&self, _: Index, _: &M) -> Result<(), String> {
        Ok(())
    }
}
