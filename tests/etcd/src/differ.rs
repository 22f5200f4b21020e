//! Random operations on this server and on an etcd, side by side, and every answer compared.
//! Never asks what is right: etcd is the referee.
//!
//! What differs on purpose is in docs/divergence.md. Watches, which tell when they please, are
//! compared by the whole of what each has told, whenever both have told all.

pub mod answer;
pub mod generator;
pub mod operation;
pub mod run;
pub mod shorten;
pub mod side;
