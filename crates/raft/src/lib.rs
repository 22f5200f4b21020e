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
//! Each idea has one room, a source file. Rooms without a link are private: read their heads, in
//! the source or by `cargo doc -p headwater-raft --document-private-items`.
//!
//! | idea | room |
//! |---|---|
//! | the words: terms, indices, ranges of entries | [`types`], [`runs`] |
//! | what goes in and comes out | [`effect`] |
//! | the messages | [`message`] |
//! | who answers which message | [`raft`] |
//! | roles and what each owns | `role` |
//! | elections, pre-vote, quorum check, priority | `election` |
//! | handing leadership over, to order or from a slow disk | [`transfer`] |
//! | AppendEntries, both sides | `replication`, `progress` |
//! | the log's shape | `log` |
//! | what must be durable, and when | `durable` |
//! | what is committed | `commit` |
//! | majorities | [`quorum`] |
//! | who takes part, and changing that | [`configuration`], `membership` |
//! | forgetting and installing | `snapshot` |
//! | entries that cannot be read any more | `repair` |
//! | linearizable reads | [`read`] |
//! | reads that trust clocks; reads that may be somewhat old | `lease`, `mark` |
//! | a group in which nothing happens | `rest` |
//! | a disk that was set back to an older image | `rollback` |
//! | timeouts and limits; dice | [`config`], [`random`] |
//! | what must always hold | [`invariant`] |
//! | what an observer may see | [`event`] |
//!
//! # With the paper at hand
//!
//! Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)":
//!
//! | section | what it is about | room |
//! |---|---|---|
//! | §5.1 | roles; terms as a logical clock | `role`; [`raft`], where terms are settled first |
//! | §5.2 | a majority elects one leader; random timeouts | `election`, [`quorum`], [`random`] |
//! | §5.3 | the log is copied; logs that differ are repaired | `replication`, `progress`, `log` |
//! | §5.4.1 | no vote for a log that may lack something | `election`; the order of [`LogId`] |
//! | §5.4.2 | older terms are not committed by counting | `commit` |
//! | §5.4.3 | why nothing committed is lost | a node's part of it: [`invariant`] |
//! | §5.5 | what is not answered is sent again; doubles do no harm | `progress`, `replication` |
//! | §5.6 | timing | [`config`] |
//! | §6 | joint consensus; new, leaving and disruptive servers | `membership`, `election` |
//! | §7 | log compaction | `snapshot`, `log` |
//! | §8 | a leader's empty first entry; who leads; reads | `replication`, [`NotTaken`], [`read`] |
//! | Figure 2 | persistent state | [`HardState`], `log`; when it is safe: `durable` |
//! | | volatile state | [`Raft`]; on leaders `progress` |
//! | | the two RPCs | [`message`]; AppendEntries: `replication`; RequestVote: `election` |
//! | | rules for servers | [`raft`]; candidates: `election`; leaders: `replication`, `commit` |
//! | Figure 3 | the five properties | [`invariant`] |
//! | Figure 4 | from role to role | `role`, `election` |
//! | Figure 7 | how logs can differ | `log`, the common ground |
//! | Figure 8 | why counting is not enough | `commit` |
//! | Figure 12 | a snapshot in place of the log's beginning | `log`, its base; `snapshot` |
//! | Figure 13 | InstallSnapshot | `snapshot`; the driver moves the bytes |
//!
//! Ongaro, "Consensus: Bridging Theory and Practice", the dissertation:
//!
//! | section | what it is about | room |
//! |---|---|---|
//! | §3.3, §3.4 | basics; elections | [`types`], `role`, `election` |
//! | §3.5 | replication; finding common ground by terms | `replication`, `progress`, `log` |
//! | §3.6 | safety | `election`, `commit`, [`invariant`] |
//! | §3.7 | crashed followers and candidates | `progress`, `election` |
//! | §3.8 | what survives a restart | `durable`, [`Raft::recover`] |
//! | §3.9 | timing | [`config`] |
//! | §3.10 | leadership transfer | [`transfer`] |
//! | §4.1 | in force when appended; one server at a time | `membership`; always joint here |
//! | §4.2 | serving while members change | `membership` |
//! | §4.2.1 | catching up new servers | `membership`; [`Config::joining`] |
//! | §4.2.2 | removing the leader | `membership` |
//! | §4.2.3 | disruptive servers | `election`, [`raft`] |
//! | §4.3 | joint consensus | [`configuration`], `membership`, [`quorum`] |
//! | §5 | compaction | `snapshot`; how snapshots are made is the driver's affair |
//! | §6.2 | finding the leader; a stale one steps down | [`NotTaken`]; `election` |
//! | §6.3 | sessions that filter retries | none: commands belong to the state machine |
//! | §6.4 | reads without log entries | [`read`]; `mark` |
//! | §6.4.1 | reads by lease | `lease` |
//! | §9.6 | pre-vote | `election` |
//! | §10.2.1 | the leader writes in parallel | `durable`, `commit` |
//! | §10.2.2 | batches and pipelines | `progress`, [`Raft::pull`] |
//! | §11.7.2 | witnesses | none: with one, a write may be acknowledged that one disk alone holds |
//!
//! Where this differs from the sources, and why, stands in `docs/divergence.md`.
//!
//! # How to drive it
//!
//! **In.** [`Raft::step`] takes each [`Input`]: a message, a deadline, a write that is durable, a
//! snapshot, a connection. Clients and operators come by calls of their own: [`Raft::propose`],
//! [`Raft::read`] with a [`ReadLevel`], [`Raft::reconfigure`], [`Raft::transfer`].
//!
//! **Out.** Each call appends [`Effect`]s, which are carried out in order. There is one rule to
//! obey: durable writes form one queue ([`Effect::Persist`]), and [`Input::Persisted`] acknowledges
//! a prefix of it. Every [`Effect::Send`] may leave at once.
//!
//! **Outcomes.** A read ends in one [`Effect::Read`], a transfer in one [`Effect::Transferred`].
//! A proposal or a change of members is an entry: its [`LogId`] is returned, and it has succeeded
//! when that very entry is committed, failed when another is committed at its index.
//! [`Effect::Config`] tells of each step of a change.
//!
//! **Entries** are *pulled*: when a link has room, ask [`Raft::pull`] for each of [`Raft::peers`],
//! take what fits, and send the header that [`Raft::sent`] returns with the bodies.
//! [`Pull::Snapshot`] asks for a snapshot instead, whose pieces travel with [`Message::Snapshot`].
//!
//! **Turns.** A *turn* is any number of these calls, and ends with [`Raft::end_turn`]: it begins
//! one round of heartbeats for all reads that came in the turn, and tells followers what was
//! committed in it. The more a turn takes in, the less each read costs.
//!
//! **Time** is what the caller says it is, so long as it looks at its clock after what it hands in
//! has arrived. [`Raft::next_deadline`] says when to come back with [`Input::Deadline`];
//! [`Instant::NEVER`] means that no timer is needed. That is so in a group at rest, which falls
//! silent when nothing happens if [`Options::rests`] allows it.
//!
//! **Looking on.** [`Raft::view`] is the state of Figure 2, and [`event::between`] tells what
//! happened between two views.
//!
//! A cluster of one, with a disk that answers at once:
//!
//! ```
//! use headwater_raft::{
//!     Config, Effect, Entries, HardState, Index, Input, Instant, LogId, NodeId, Options, Raft,
//!     ReadId, ReadLevel, Recovered, Write, WriteId,
//! };
//!
//! /// Carries out effects until there are none; how far the log is committed then.
//! fn carry_out(raft: &mut Raft, now: Instant, fx: &mut Vec<Effect>) -> Index {
//!     while !fx.is_empty() {
//!         for effect in std::mem::take(fx) {
//!             match effect {
//!                 // Here a driver writes and syncs; nothing counts before it says so.
//!                 Effect::Persist(Write { id: upto, .. }) => {
//!                     raft.step(now, Input::Persisted { upto }, fx);
//!                 }
//!                 Effect::Read { result, .. } => assert_eq!(result, Ok(Index(2))),
//!                 Effect::Halt { why } => panic!("{why}"),
//!                 _ => {} // Commit: apply; Send: to a peer; Role, Config: for whoever asks.
//!             }
//!         }
//!     }
//!     raft.commit()
//! }
//!
//! let me = NodeId(1);
//! let empty_disk = Recovered {
//!     me,
//!     hard: HardState::default(),
//!     log: Entries::default(),
//!     applied: LogId::default(),
//!     config: Config::of_voters([me]),
//!     disk: None,
//!     unreadable: Vec::new(),
//!     commit_hint: Index(0),
//!     next_write: WriteId(1),
//! };
//! let mut raft = Raft::recover(Instant(0), Options::default(), empty_disk)?;
//! let mut fx = Vec::new();
//!
//! // Nobody is heard, so it stands, elects itself, and commits the empty entry of its term.
//! let now = raft.next_deadline();
//! raft.step(now, Input::Deadline, &mut fx);
//! assert_eq!(carry_out(&mut raft, now, &mut fx), Index(1));
//! assert_eq!(raft.leader(), Some(me));
//!
//! // A client's command, whose bytes stay with the driver.
//! let at = raft.propose(now, 1, &mut fx).expect("it leads");
//! assert_eq!(at.index, Index(2));
//! assert_eq!(raft.commit(), Index(1), "not before it is durable");
//! assert_eq!(carry_out(&mut raft, now, &mut fx), Index(2));
//!
//! // A read, which the end of the turn confirms.
//! raft.read(now, ReadId(1), ReadLevel::Linearizable, &mut fx);
//! raft.end_turn(&mut fx);
//! assert!(!fx.is_empty());
//! carry_out(&mut raft, now, &mut fx);
//! # Ok::<(), String>(())
//! ```
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
mod repair;
mod replication;
mod rest;
mod role;
mod rollback;
pub mod runs;
mod snapshot;
pub mod transfer;
pub mod types;

pub use config::Options;
pub use configuration::Config;
pub use effect::{
    Effect, Input, LogChange, NotChanged, NotTaken, Pull, ReadLevel, ReadLost, Recovered, RoleName,
    TransferFailed, TransferRefused, Write,
};
pub use message::{AppendResult, Holding, Message, Pace};
pub use progress::Following;
pub use raft::Raft;
pub use runs::Runs;
pub use types::{
    Entries, HardState, Incarnation, Index, Instant, LogId, NodeId, ReadId, Term, Unreadable,
    WriteId,
};
