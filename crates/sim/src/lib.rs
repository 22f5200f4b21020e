//! The deterministic world: production replicas on one thread, moved by dice from one seed.
//!
//! What runs in a world is the key-value store, or a state machine of one's own. An [`Application`]
//! says what clients ask of it; [`replay::Replay`] finds machines that differ where the same
//! commands were given; and the world itself checks that whatever clients are told is linearizable.
//!
//! ```
//! use bytes::Bytes;
//! use headwater_replica::{LogId, Malformed, StateMachine};
//! use headwater_sim::application::{Application, Want};
//! use headwater_sim::{dice::Dice, plan::{Knobs, Plan}, replay::Replay, run::simulate};
//!
//! #[derive(Clone, PartialEq, Debug, Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Reply = u64;
//!     type Query = ();
//!     type Answer = u64;
//!     type Walk = Option<u64>;
//!
//!     fn apply(&mut self, _at: LogId, command: &Bytes) -> u64 {
//!         self.0 += command.len() as u64;
//!         self.0
//!     }
//!     fn query(&self, (): ()) -> u64 {
//!         self.0
//!     }
//!     fn begin_snapshot(&mut self) -> Option<u64> {
//!         Some(self.0)
//!     }
//!     fn next_chunk(&mut self, walk: &mut Option<u64>, _max_bytes: usize) -> Option<Bytes> {
//!         walk.take().map(|count| Bytes::copy_from_slice(&count.to_le_bytes()))
//!     }
//!     fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed> {
//!         let count = chunk[..].try_into().map_err(|_| Malformed("no counter".into()))?;
//!         self.0 = u64::from_le_bytes(count);
//!         Ok(())
//!     }
//!     fn finish_load(&mut self) -> Result<(), Malformed> {
//!         Ok(())
//!     }
//!     fn size_bytes(&self) -> u64 {
//!         8
//!     }
//! }
//!
//! impl Application for Counter {
//!     type Machine = Self;
//!     type Client = ();
//!     type Model = Replay<Self>;
//!
//!     fn client(_: &Knobs) {}
//!
//!     fn draw((): &mut (), dice: &mut Dice, unique: u64) -> Want<()> {
//!         if dice.chance(1, 2) { Want::Read(()) } else { Want::Write(Self::probe_write(unique)) }
//!     }
//!     fn probe_write(unique: u64) -> Bytes {
//!         unique.to_string().into()
//!     }
//!     fn probe_read() {}
//! }
//!
//! for seed in 0..5 {
//!     let report = simulate::<Counter>(Plan::draw(seed), headwater_sim::trace::Verbosity::Silent.into());
//!     assert_eq!(report.violation, None, "seed {seed}");
//! }
//! ```
//!
//! `examples/bank.rs` has the command line as well, and a bug to find.
//!
//! | room | what it is |
//! |---|---|
//! | [`plan`] | one world as data: the sizes of things and what goes wrong |
//! | [`knobs`], [`fault`] | the two halves of a plan |
//! | `classes` | faults by class, and how one is drawn |
//! | [`recipe`] | a plan file: what seeds may draw |
//! | [`text`] | how plans are written |
//! | [`dice`] | all chance, from one seed |
//! | `world` | nodes, network and clients, one queue of events |
//! | `schedule` | that queue |
//! | `outputs` | what nodes want done, carried out |
//! | `node` | one machine: its disk, and the process on it while it runs |
//! | `network` | connections that break, frames that are late, lost or doubled |
//! | [`harm`] | what damages frames on their way |
//! | `waits` | what may wait: frames for others, a leader's own disk for the next turn |
//! | `wire` | what comes over a connection, read as in production |
//! | [`disk`] | the page cache, and what a power cut leaves |
//! | `storage` | workers, crashes, starts |
//! | `chaos` | faults, and the calm after them |
//! | `errands` | what operators ask for: other members, another leader |
//! | [`directed`] | what leads a world to one point: requests, late messages, claims |
//! | `rot` | damage to disks at rest, and what recovery makes of it |
//! | `scrubber` | damage to files at rest of running nodes, and the reading again that finds it |
//! | `ailing` | disks that lie to a running node or to recovery |
//! | `setback` | disks set back to an older image of theirs |
//! | [`application`] | what runs in a world: a state machine, its clients, who judges them |
//! | [`kv`] | the application of this house: the store, its watchers and tenants, a judge by hearsay |
//! | [`company`] | what stands beside the machines, with clients of its own |
//! | [`replay`] | the model for whoever has none: a second machine |
//! | `workload` | clients, of whatever application |
//! | `witness` | the state machine under test, and a digest of what it was given |
//! | `image` | what a log must hold, by the orders given to it |
//! | `check` | the oracles: Figure 3, members, promises, reads of each level, peace |
//! | [`cover`] | which abstract states a run went through |
//! | [`trace`], `words`, `stats` | what happened: a hash, lines for programs, words for people; counts |
//! | [`run`] | from a plan to a verdict |
//! | [`campaign`] | many seeds on several threads |
//! | [`shrink`] | from a plan that fails to a smaller one |
//! | [`cli`] | the command line |
//! | `say` | what the command line prints |

// It panics when nobody reads any more; `say` does not.
#![deny(clippy::print_stdout)]

mod ailing;
pub mod application;
pub mod campaign;
mod chaos;
mod check;
mod classes;
pub mod cli;
pub mod company;
pub mod cover;
pub mod dice;
pub mod directed;
pub mod disk;
mod errands;
pub mod fault;
pub mod harm;
mod image;
pub mod knobs;
pub mod kv;
mod network;
mod node;
mod outputs;
pub mod plan;
pub mod recipe;
pub mod replay;
mod rot;
pub mod run;
mod say;
mod schedule;
mod scrubber;
mod setback;
pub mod shrink;
mod stats;
mod storage;
pub mod text;
pub mod trace;
mod waits;
mod wire;
mod witness;
mod words;
mod workload;
mod world;

pub use application::Application;
pub use check::Violation;
