//! The Raft consensus algorithm, alone: inputs in, effects out, nothing else.
//!
//! # The tour
//!
//! A cluster keeps one log in many copies. One node *leads*: it takes commands, appends them to
//! its log and sends them to the others, its *followers*. An entry that a majority holds durably
//! is *committed*: it can never be lost, and every node's state machine applies it in the same
//! place. When a leader falls silent, another node asks for votes; a majority elects at most one
//! leader a *term*, and only one whose log holds everything committed.
//!
//! | idea | paper | room |
//! |---|---|---|
//! | terms, who answers which message | Figure 2 | [`raft`] |
//! | roles and what each owns | §5.1, Figure 4 | `role` |
//! | elections, pre-vote, quorum check, priority | §5.2, §5.4.1 | `election` |
//! | AppendEntries, both sides | §5.3 | `replication`, `progress` |
//! | handing leadership over, to order or from a slow disk | dissertation §3.10 | [`transfer`] |
//! | what is committed | §5.4.2, Figure 8 | `commit` |
//! | majorities | §5.2, §6 | [`quorum`] |
//! | who takes part | §6 | [`configuration`] |
//! | changing who takes part | §6 | `membership` |
//! | forgetting and installing | §7 | `snapshot` |
//! | linearizable reads | §8; dissertation §6.4 | [`read`] |
//! | reads that trust clocks | dissertation §6.4.1 | `lease` |
//! | reads that may be somewhat old | – | `mark` |
//! | a group in which nothing happens | – | `rest` |
//! | what must be durable, and when | Figure 2 | `durable` |
//! | the log's shape | Figure 7 | `log`, [`runs`] |
//! | the messages | Figure 2 | [`message`] |
//! | what an observer may see | Figure 2 | [`event`] |
//! | what must always hold | Figure 3 | [`invariant`] |
//!
//! # How to drive it
//!
//! Call [`Raft::step`] with each [`Input`], [`Raft::propose`] and [`Raft::read`] for clients and
//! [`Raft::transfer`] for operators, and carry out the [`Effect`]s in order. There is one rule to obey: durable writes form one
//! queue ([`Effect::Persist`]), and [`Input::Persisted`] acknowledges a prefix of it. Every
//! [`Effect::Send`] may leave at once. Entries are *pulled*: when a link has room, ask
//! [`Raft::pull`], take what fits, and send the header that [`Raft::sent`] returns with the
//! bodies. Time is what the caller says it is, so long as it looks at its clock after what it
//! hands in has arrived; [`Raft::next_deadline`] says when to come back.
//!
//! A *turn* is any number of these calls, and ends with [`Raft::end_turn`]: it begins one round of
//! heartbeats for all reads that came in the turn, and tells followers what was committed in it.
//! The more a turn takes in, the less each read costs.
//!
//! The core holds no commands, only their places: one entry or a thousand cost it the same.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod commit;
pub mod config;
pub mod configuration;
mod durable;
pub mod effect;
mod election;
pub mod event;
pub mod invariant;
mod lease;
mod log;
mod mark;
mod membership;
pub mod message;
mod progress;
pub mod quorum;
pub mod raft;
pub mod random;
pub mod read;
mod replication;
mod rest;
mod role;
pub mod runs;
mod snapshot;
pub mod transfer;
pub mod types;

pub use config::Options;
pub use configuration::Config;
pub use effect::{
    Effect, Input, NotChanged, NotTaken, Pull, ReadLevel, ReadLost, Recovered, RoleName,
    TransferFailed, TransferRefused, Write,
};
pub use message::{AppendResult, Message, Pace};
pub use raft::Raft;
pub use runs::Runs;
pub use types::{
    Entries, HardState, Incarnation, Index, Instant, LogId, NodeId, ReadId, Term, WriteId,
};
