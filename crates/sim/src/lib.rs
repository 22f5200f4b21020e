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
//! | `outputs` | what nodes want done, carried out |
//! | `node` | one machine: its disk, and the process on it while it runs |
//! | `network` | connections that break, frames that are late, lost or doubled |
//! | [`disk`] | the page cache, and what a power cut leaves |
//! | `storage` | workers, crashes, starts |
//! | `chaos` | faults, and the calm after them |
//! | `errands` | what operators ask for: other members, another leader |
//! | `rot` | damage to disks at rest, and what recovery makes of it |
//! | [`application`] | what runs in a world: a state machine, its clients, who judges them |
//! | [`kv`] | the application of this house: the key-value store |
//! | [`company`] | what stands beside the machines, with clients of its own |
//! | [`replay`] | the model for whoever has none: a second machine |
//! | `workload` | clients, of whatever application |
//! | `witness` | the state machine under test, and a digest of what it was given |
//! | `image` | what a log must hold, by the orders given to it |
//! | `check` | the oracles |
//! | `telling`, `json` | the same for programs |
//! | [`cover`] | which abstract states a run went through |
//! | [`trace`] | what happened: a hash, a table for people, counts |
//! | [`run`] | from a plan to a verdict |
//! | [`campaign`] | many seeds on several threads |
//! | [`shrink`] | from a plan that fails to a smaller one |
//! | [`cli`] | the command line |

pub mod application;
pub mod campaign;
mod chaos;
mod check;
mod classes;
pub mod cli;
pub mod company;
pub mod cover;
pub mod dice;
pub mod disk;
mod errands;
pub mod fault;
mod image;
mod json;
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
mod schedule;
pub mod shrink;
mod stats;
mod storage;
mod telling;
pub mod text;
pub mod trace;
mod witness;
mod workload;
mod world;

pub use check::Violation;
