//! The deterministic world: production replicas on one thread, moved by dice from one seed.
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
//! | `node` | one machine: its disk, and the process on it while it runs |
//! | `network` | connections that break, frames that are late, lost or doubled |
//! | [`disk`] | the page cache, and what a power cut leaves |
//! | `storage` | workers, crashes, starts |
//! | `chaos` | faults, and the calm after them |
//! | `errands` | what operators ask for: other members, another leader |
//! | `rot` | damage to disks at rest, and what recovery makes of it |
//! | `workload` | clients |
//! | `witness` | the state machine under test, and a digest of what it was given |
//! | `image` | what a log must hold, by the orders given to it |
//! | `check` | the oracles |
//! | [`trace`] | what happened: a hash, a table for people, counts |
//! | [`run`] | from a seed to a verdict |

mod chaos;
mod check;
mod classes;
pub mod dice;
pub mod disk;
mod errands;
pub mod fault;
mod image;
pub mod knobs;
mod network;
mod node;
pub mod plan;
pub mod recipe;
mod rot;
pub mod run;
mod schedule;
mod stats;
mod storage;
pub mod text;
pub mod trace;
mod witness;
mod workload;
mod world;

pub use check::Violation;
