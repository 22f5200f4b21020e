//! Whether a history of concurrent operations is linearizable: whether each can have taken effect
//! at one moment between its call and its return.
//! Never knows how a system came to its answers: no revision, no log, only what clients saw.
//!
//! ```
//! use headwater_linear::register::{Effect, check};
//! use headwater_linear::{Operation, Verdict};
//!
//! let put = |value, from, to| Operation::new(Effect::put(value), from, Some(to));
//! let get = |value, from, to| Operation::new(Effect::see(value), from, Some(to));
//! assert_eq!(check(&[put(1, 0, 1), get(Some(1), 2, 3)]), Verdict::Linearizable);
//! assert_eq!(check(&[put(1, 0, 1), get(None, 2, 3)]), Verdict::Violation);
//! // Nobody knows what became of this one: it took effect after the first read.
//! let lost = Operation::new(Effect::put(2), 2, None);
//! let reads = [get(Some(1), 4, 5), get(Some(2), 6, 7)];
//! assert_eq!(check(&[&[put(1, 0, 1), lost], &reads[..]].concat()), Verdict::Linearizable);
//! ```
//!
//! | room | what it is |
//! |---|---|
//! | [`search`] | the search, for any model |
//! | `events` | what is left to be placed, in the order of time |
//! | [`register`] | the model of one key, and what decides unknown outcomes before the search |
//!
//! # Source
//! Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", TOPLAS'90.

mod events;
pub mod register;
pub mod search;

pub use search::{Model, Operation, Verdict};
