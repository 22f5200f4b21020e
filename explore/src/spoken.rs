//! What the specification says of the same node and the same message: values of `spec/Raft.tla`.
//! Never leaves a field out unawares: one that is neither put into words nor named here as unknown
//! to the specification is an error.
//!
//! Unknown to it are timers and what feeds them; options; what a node remembers of others' earlier
//! lives; what was told already; and what can be told from the rest.
//!
//! # Source
//! spec/RaftNode.tla, for the shapes.

use headwater_raft::{
    AppendResult, Config, Entries, Holding, Index, LogChange, LogId, Message, NodeId, Term,
};

use crate::common::Parcel;
use crate::common::disk::Disk;
use crate::fields;
use crate::node::Node;
use crate::text::{Fields, Function, Set, Text, record};
use crate::tree::{Misread, Tree};

/// `<<node[s], disk[s]>>`.
///
/// # Errors
/// The core has a field that nobody here knows, or has halted, which the specification does not.
pub fn server(node: &Node) -> Result<String, Misread> {
    let (raft, disk) = node.inside();
    let text = format!("{raft:?}");
    let mut core = Tree::read(&text)?.fields("Raft")?;
    let mut options = core.take("options")?.fields("Options")?;
    let me = (raft.me(), options.take("life")?.number()?);
    let (base, log) = node.log();
    let waiting = raft
        .waiting()
        .map(|(to, m)| Ok(record(fields! { to: to, m: message(m)? })));
    let mut said = fields! {
        me: me.0,
        life: me.1,
        term: raft.term(),
        vote: raft.hard_state().voted_for,
        leader: raft.leader(),
        base: base,
        baseTerm: raft.base().term,
        log: log,
        commit: raft.commit(),
        waiting: Set(waiting.collect::<Result<_, Misread>>()?),
        out: Set::<String>::default(),
        did: Set::<String>::default(),
        told: Set::<String>::default(),
    };
    said.extend(membership(core.take("membership")?)?);
    said.extend(durable(core.take("durable")?, disk)?);
    let mut follower = core.take("follower")?.fields("Follower")?;
    let acked = follower.take("acknowledged")?.option()?;
    said.extend(fields! {
        verified: raft.verified(),
        acked: acked.map(Tree::number).transpose()?.map(Index),
    });
    follower.end(&["verified"])?;
    said.extend(role(core.take("role")?, me)?);
    said.extend(asked(core.take("reads")?)?);
    let mut marks = core.take("marks")?.fields("Marks")?;
    let (is_known, mark) = (
        marks.take("asked_at")?.option()?.is_some(),
        marks.take("index")?,
    );
    let mark = Index(mark.number()?);
    said.extend(fields! { mark: is_known.then_some(mark) });
    if core.take("halted")?.flag()? {
        return Err("a node has halted".to_owned());
    }
    marks.end(&[])?;
    let limits = [
        "inflight_max",
        "heartbeat_ns",
        "election_ns",
        "disk_slow_ns",
        "lease_drift_ppm",
    ];
    options.end(&[&limits[..], &["seed", "rests", "priority"]].concat())?;
    // The first five are above, by calls of the core's own.
    let by_calls = ["me", "hard", "leader", "log", "commit"];
    core.end(
        &[
            &by_calls[..],
            &["now", "election", "promise", "memory", "told"],
        ]
        .concat(),
    )?;
    Ok([record(said), on_disk(disk)?].text())
}

/// `[from |-> s, to |-> r, m |-> message]`.
///
/// # Errors
/// A configuration in it has a field that nobody here knows.
pub fn letter(parcel: &Parcel) -> Result<String, Misread> {
    let m = message(&parcel.message)?;
    Ok(record(fields! { from: parcel.from, to: parcel.to, m: m }))
}

fn membership(of: Tree<'_>) -> Result<Fields, Misread> {
    let mut of = of.fields("Membership")?;
    let entries = of.take("entries")?.items()?.into_iter().map(config_at);
    let met = of.take("met")?.pairs()?.into_iter();
    let met = met.map(|(peer, disk)| Ok((node(peer)?, disk.word()?.to_owned())));
    let own = of.take("own_disk")?.option()?.map(Tree::word).transpose()?;
    let fields = fields! {
        first: config(of.take("base")?)?,
        configs: entries.collect::<Result<Vec<_>, _>>()?,
        met: Function(met.collect::<Result<_, Misread>>()?),
        disk: own.unwrap_or("Nil").to_owned(),
    };
    of.end(&[])?;
    Ok(fields)
}

/// The queue of writes: what is in each is on its way to the disk; what it vouches for, the core
/// knows.
fn durable(of: Tree<'_>, disk: &Disk) -> Result<Fields, Misread> {
    let mut of = of.fields("Durable")?;
    let pending = of.take("pending")?.items()?.into_iter();
    let ends = pending.map(|one| one.items()?.swap_remove(1).number());
    let ends = ends.collect::<Result<Vec<_>, Misread>>()?;
    if ends.len() != disk.queue.len() {
        return Err("core and disk differ in what is under way".to_owned());
    }
    let mut queue = Vec::new();
    for ((write, hint), end) in disk.queue.iter().zip(ends) {
        let nothing = Entries::default();
        let (kind, prev, terms, entries) = match &write.log {
            LogChange::Same => ("same", Index(0), Vec::new(), &nothing),
            LogChange::Reset(base) => ("reset", base.index, vec![base.term], &nothing),
            LogChange::Repair(entries) => ("repair", entries.prev.index, terms(entries), entries),
            LogChange::Append {
                entries, replaces, ..
            } => {
                let kind = if *replaces { "replace" } else { "append" };
                (kind, entries.prev.index, terms(entries), entries)
            }
        };
        queue.push(record(fields! {
            kind: kind,
            term: write.hard.term,
            vote: write.hard.voted_for,
            prev: prev,
            terms: terms,
            configs: configs(&entries.configs)?,
            end: end,
            hint: *hint,
        }));
    }
    let (hard, upto) = (of.take("hard")?.number()?, of.take("upto")?.number()?);
    let mut fields = fields! {
        queue: queue,
        durable: of.take("index")?.number()?,
        hardIn: hard.saturating_sub(upto),
    };
    fields.extend(unreadable(of.take("repair")?, upto)?);
    // What waits is above, by a call of the core's; the next write follows the last of the queue.
    of.end(&["waiting", "next", "late_at"])?;
    Ok(fields)
}

/// What cannot be read. `upto`: the last write that is durable.
fn unreadable(of: Tree<'_>, upto: u64) -> Result<Fields, Misread> {
    let mut of = of.fields("Repair")?;
    let mut gaps = Vec::new();
    for gap in of.take("gaps")?.items()? {
        let mut gap = gap.fields("Gap")?;
        let mut range = gap.take("range")?.fields("Unreadable")?;
        let write = gap.take("write")?.option()?.map(Tree::number).transpose()?;
        gaps.push(record(fields! {
            first: range.take("first")?.number()?,
            last: range.take("last")?.number()?,
            write: write.map_or(0, |write| write.saturating_sub(upto)),
            hides: range.take("may_hold_config")?.flag()?,
        }));
        range.end(&[])?;
        gap.end(&[])?;
    }
    let lacking = of.take("lacking")?.items()?.into_iter().map(node);
    let lacking = Set(lacking.collect::<Result<Vec<_>, _>>()?);
    of.end(&["ask_at"])?;
    Ok(fields! { gaps: gaps, lacking: lacking })
}

/// What belongs to a role; what belongs to others is as if they had never been held.
fn role(of: Tree<'_>, me: (NodeId, u64)) -> Result<Fields, Misread> {
    let (role, tally, leadership) = match of {
        Tree::Word("Follower") => ("follower", None, None),
        Tree::Tuple("PreCandidate", mut one) => ("pre-candidate", one.pop(), None),
        Tree::Tuple("Candidate", mut one) => ("candidate", one.pop(), None),
        Tree::Tuple("Leader", mut one) => ("leader", None, one.pop()),
        other => return Err(format!("no role: {other:?}")),
    };
    let (mut yes, mut no, mut announced, mut transfer) = (Vec::new(), Vec::new(), false, false);
    if let Some(tally) = tally {
        let mut tally = tally.fields("Tally")?;
        for (who, granted) in tally.take("votes")?.pairs()? {
            let side = if granted.flag()? { &mut yes } else { &mut no };
            side.push(node(who)?);
        }
        announced = tally.take("announced")?.flag()?;
        transfer = tally.take("transfer")?.flag()?;
        tally.end(&[])?;
    }
    let tally = fields! { yes: Set(yes), no: Set(no), announced: announced, transfer: transfer };
    let mut fields = fields! { role: role, tally: record(tally) };
    fields.extend(match leadership {
        Some(of) => leader(of, me)?,
        None => fields! {
            peers: Function(Vec::new()),
            since: 0,
            latest: 0,
            rounds: Vec::<String>::new(),
            gathered: Set::<String>::default(),
            transfer: None::<NodeId>,
            urged: false,
            void: false,
        },
    });
    Ok(fields)
}

fn leader(of: Tree<'_>, me: (NodeId, u64)) -> Result<Fields, Misread> {
    let mut of = of.fields("Leadership")?;
    let peers = of.take("peers")?.pairs()?.into_iter();
    let peers = peers.map(|(who, known)| Ok((node(who)?, progress(known)?)));
    let mut reads = of.take("reads")?.fields("LeaderReads")?;
    let mut rounds = Vec::new();
    for round in reads.take("rounds")?.items()? {
        let mut round = round.fields("Round")?;
        rounds.push(record(fields! {
            number: round.take("number")?.number()?,
            commit: round.take("commit")?.number()?,
            askers: askers(round.take("askers")?, me)?,
        }));
        round.end(&["sent_at"])?;
    }
    let (mut to, mut urged) = (None, false);
    if let Some(transfer) = of.take("transfer")?.option()? {
        let mut transfer = transfer.fields("Transfer")?;
        to = Some(node(transfer.take("to")?)?);
        urged = transfer.take("told")?.flag()?;
        transfer.end(&["until", "for_disk"])?;
    }
    let mut lease = of.take("lease")?.fields("Lease")?;
    let fields = fields! {
        peers: Function(peers.collect::<Result<_, Misread>>()?),
        since: of.take("first")?.number()?,
        latest: reads.take("latest")?.number()?,
        rounds: rounds,
        gathered: askers(reads.take("gathered")?, me)?,
        transfer: to,
        urged: urged,
        void: lease.take("void")?.flag()?,
    };
    // The reads of peers are in the rounds and among those gathered.
    reads.end(&["of_peers"])?;
    lease.end(&["sent"])?;
    of.end(&["beat_at", "awake_since"])?;
    Ok(fields)
}

fn progress(of: Tree<'_>) -> Result<String, Misread> {
    let mut of = of.fields("Progress")?;
    let (probing, flight) = match of.take("flow")? {
        Tree::Struct("Probe", mut one) if one.len() == 1 => {
            (true, one.remove(0).1.option()?.into_iter().collect())
        }
        Tree::Struct("Replicate", mut one) if one.len() == 1 => (false, one.remove(0).1.items()?),
        other => return Err(format!("no flow: {other:?}")),
    };
    let ends = flight
        .into_iter()
        .map(|one| one.items()?.swap_remove(0).number());
    let mut ready = false;
    if let Some(round) = of.take("catch_up")?.option()? {
        let mut round = round.fields("CatchUp")?;
        ready = round.take("is_ready")?.flag()?;
        round.end(&["goal", "since"])?;
    }
    let text = record(fields! {
        matched: of.take("matched")?.number()?,
        next: of.take("next")?.number()?,
        probing: probing,
        flight: ends.collect::<Result<Vec<_>, Misread>>()?,
        sent: of.take("commit_sent")?.number()?,
        round: of.take("round")?.number()?,
        ready: ready,
    });
    of.end(&["heard_at", "has_answered", "promised_since", "disk"])?;
    Ok(text)
}

/// Who asked the leader, itself `me`, for reads.
fn askers(of: Tree<'_>, me: (NodeId, u64)) -> Result<Set<String>, Misread> {
    let mut all = Vec::new();
    for one in of.items()? {
        all.push(record(match one {
            Tree::Tuple("Here", mut id) if id.len() == 1 => {
                fields! { who: me.0, id: id.remove(0).number()?, life: me.1 }
            }
            other => {
                let mut peer = other.fields("Peer")?;
                let fields = fields! {
                    who: node(peer.take("id")?)?,
                    id: peer.take("read")?.number()?,
                    life: peer.take("life")?.number()?,
                };
                peer.end(&[])?;
                fields
            }
        }));
    }
    Ok(Set(all))
}

/// The reads that a node has asked its leader for.
fn asked(of: Tree<'_>) -> Result<Fields, Misread> {
    let mut of = of.fields("FollowerReads")?;
    let mut asks = Vec::new();
    for one in of.take("asked")?.items()? {
        let mut one = one.fields("Asked")?;
        let (id, lease) = (one.take("id")?.number()?, one.take("lease")?.flag()?);
        asks.push(record(fields! { id: id, lease: lease }));
        one.end(&["first_at", "last_at"])?;
    }
    of.end(&[])?;
    Ok(fields! { asks: Set(asks) })
}

fn on_disk(disk: &Disk) -> Result<String, Misread> {
    let safe = &disk.safe;
    Ok(record(fields! {
        name: None::<NodeId>,
        term: safe.hard.term,
        vote: safe.hard.voted_for,
        base: safe.base.index,
        baseTerm: safe.base.term,
        log: safe.terms,
        configs: configs(&safe.configs)?,
        lost: Set(safe.unreadable.iter().copied().collect()),
        hint: safe.commit_hint,
        snap: disk.snapshot.index,
        snapTerm: disk.snapshot.term,
        snapConfig: config_of(&disk.config)?,
    }))
}

/// The specification does not know what a leader says of its own disk, and a follower of its disk's
/// pace and its promises.
fn message(message: &Message) -> Result<String, Misread> {
    let (kind, fields): (_, Fields) = match message {
        Message::Vote {
            term,
            pre,
            transfer,
            last,
            admitted,
        } => {
            let (last, last_term) = (last.index, last.term);
            let asks = fields! { term: term, pre: pre, transfer: transfer, admitted: admitted };
            let log = fields! { last: last, lastTerm: last_term };
            ("vote", [asks, log].concat())
        }
        Message::VoteReply { term, pre, granted } => (
            "vote-reply",
            fields! { term: term, pre: pre, granted: granted },
        ),
        Message::Append {
            term,
            entries,
            commit,
        } => {
            let leaders = fields! { term: term, commit: commit };
            ("append", [leaders, said_of(entries)?].concat())
        }
        Message::AppendReply { term, result } => {
            let followers = fields! { term: term };
            ("append-reply", [followers, said_in(result)].concat())
        }
        Message::Beat {
            term,
            commit,
            round,
            durable: _,
            knows,
        } => (
            "beat",
            fields! { term: term, commit: commit, round: round, knows: knows },
        ),
        Message::BeatReply {
            term,
            round,
            disk: _,
            promise_ns: _,
        } => ("beat-reply", fields! { term: term, round: round }),
        Message::TimeoutNow { term } => ("timeout-now", fields! { term: term }),
        Message::Rest { term, last } => ("rest", fields! { term: term, last: last.index }),
        Message::Commit {
            term,
            commit,
            durable: _,
        } => ("commit", fields! { term: term, commit: commit }),
        Message::Snapshot { term, base } => (
            "snapshot",
            fields! { term: term, base: base.index, baseTerm: base.term },
        ),
        Message::Heard { term, .. } => ("heard", fields! { term: term }),
        Message::Disowned { disk } => ("disowned", fields! { disk: format!("{disk:?}") }),
        Message::RepairAsk { .. } | Message::RepairTell { .. } => repair(message)?,
        Message::ReadAsk { id, life, lease } => {
            ("read-ask", fields! { id: id, life: life, lease: lease })
        }
        Message::ReadTell { id, life, at } => {
            ("read-tell", fields! { id: id, life: life, at: at.ok() })
        }
    };
    let kind: Fields = fields! { type: kind };
    Ok(record([kind, fields].concat()))
}

fn repair(message: &Message) -> Result<(&'static str, Fields), Misread> {
    Ok(match message {
        Message::RepairAsk { first, last } => {
            let (index, term) = (first.index, first.term);
            (
                "repair-ask",
                fields! { first: index, firstTerm: term, last: last },
            )
        }
        Message::RepairTell { term, holding } => {
            let tells = fields! { term: term };
            let of = |word: &'static str, first: &LogId| {
                fields! { holding: word, first: first.index, firstTerm: first.term }
            };
            let holds = match holding {
                Holding::Has(entries) => [fields! { holding: "has" }, said_of(entries)?].concat(),
                Holding::Lacks(first) => of("lacks", first),
                Holding::Unreadable(first) => of("unreadable", first),
            };
            ("repair-tell", [tells, holds].concat())
        }
        _ => unreachable!("these are put into words above"),
    })
}

fn said_of(entries: &Entries) -> Result<Fields, Misread> {
    Ok(fields! {
        prev: entries.prev.index,
        prevTerm: entries.prev.term,
        terms: terms(entries),
        configs: configs(&entries.configs)?,
    })
}

fn said_in(result: &AppendResult) -> Fields {
    match result {
        AppendResult::Durable(upto) => fields! { ok: true, match: upto },
        AppendResult::Conflict { prev, hint } => {
            fields! { ok: false, prev: prev, hint: hint.index, hintTerm: hint.term }
        }
    }
}

/// The terms of entries, one for each.
fn terms(entries: &Entries) -> Vec<Term> {
    let indices = entries.prev.index.0 + 1..=entries.last.0;
    let term = |index| entries.term_at(Index(index)).expect("inside the range");
    indices.map(term).collect()
}

fn configs(all: &[(Index, Config)]) -> Result<Vec<String>, Misread> {
    let at = |one| config_at(Tree::read(&format!("{one:?}"))?);
    all.iter().map(at).collect()
}

/// A configuration and its place in the log.
fn config_at(of: Tree<'_>) -> Result<String, Misread> {
    let mut of = of.items()?;
    let (config, at) = (of.pop().map(config), of.pop().map(Tree::number));
    let (config, at) = config.zip(at).ok_or("no configuration and its place")?;
    Ok(record(fields! { at: at?, config: config? }))
}

fn config_of(of: &Config) -> Result<String, Misread> {
    config(Tree::read(&format!("{of:?}"))?)
}

fn config(of: Tree<'_>) -> Result<String, Misread> {
    let mut of = of.fields("Config")?;
    let mut nodes = |name| {
        let all = of.take(name)?.items()?.into_iter().map(node);
        Ok::<_, Misread>(Set(all.collect::<Result<Vec<_>, _>>()?))
    };
    let fields = fields! {
        voters: nodes("voters")?,
        outgoing: nodes("outgoing")?,
        learners: nodes("learners")?,
        joining: nodes("joining")?,
    };
    let mut disks = Vec::new();
    for pair in of.take("disks")?.items()? {
        let mut pair = pair.items()?;
        let (disk, member) = (pair.pop().map(Tree::word), pair.pop().map(node));
        let (disk, member) = disk.zip(member).ok_or("no disk and its member")?;
        disks.push((member?, disk?.to_owned()));
    }
    of.end(&[])?;
    Ok(record(
        [fields, fields! { disks: Function(disks) }].concat(),
    ))
}

fn node(of: Tree<'_>) -> Result<NodeId, Misread> {
    of.number().map(NodeId)
}
