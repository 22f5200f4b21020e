//! Effects and messages in the words of golden scripts: one line an event.

use super::MS;
use headwater_raft::{
    AppendResult, Config, Effect, Entries, Holding, Index, LogChange, Message, NodeId, Pace,
    ReadLost, TransferFailed,
};

/// One effect of node `me`.
pub fn effect(me: u64, effect: &Effect) -> String {
    let what = match effect {
        Effect::Send { to, message } => format!("to n{}: {}", to.0, self::message(message)),
        Effect::Persist(write) => {
            let mut text = format!("writes #{} term={}", write.id, write.hard.term);
            if let Some(vote) = write.hard.voted_for {
                text += &format!(" vote=n{}", vote.0);
            }
            if let LogChange::Reset(base) = write.log {
                text += &format!(" reset={base}");
            }
            if let Some(from) = write.truncate_from() {
                text += &format!(" truncate-from={from}");
            }
            if let LogChange::Repair(again) = &write.log {
                text += &format!(" repair={}", entries(again));
            }
            if let Some(append) = write.append() {
                text += &format!(" append={}", entries(append));
            }
            let noop = write.append().is_some_and(|a| a.configs.is_empty());
            text + if write.is_internal() && noop {
                " noop"
            } else {
                ""
            }
        }
        Effect::Commit { upto } => format!("commits {upto}"),
        Effect::Read { id, result } => match result {
            Ok(at) => format!("read {id} is served at {at}"),
            Err(why) => format!("read {id} is lost: {}", lost(*why)),
        },
        Effect::Install { from, base } => format!("wants snapshot {base} of n{}", from.0),
        Effect::Config { config, committed } => {
            let state = if *committed { "committed" } else { "in force" };
            format!("has members {}, {state}", self::config(config))
        }
        Effect::Role { term, role, leader } => {
            let leader = leader.map_or("nobody".to_string(), |id| format!("n{}", id.0));
            format!("is {} in term {term}, led by {leader}", role.as_str())
        }
        Effect::Transferred { to, result } => {
            let how = match result {
                Ok(()) => "done",
                Err(TransferFailed::TimedOut) => "failed: timed out",
                Err(TransferFailed::LeadershipLost) => "failed: leadership lost",
                Err(TransferFailed::TargetUnfit) => "failed: target unfit",
                Err(_) => "needless: the disk answers",
            };
            format!("transfer to n{} is {how}", to.0).replace("is failed", "failed")
        }
        Effect::Disowned { by } => format!("is told by n{} that its disk is another", by.0),
        Effect::Refused { from, why } => format!("refuses n{}: {why}", from.0),
        Effect::Halt { why } => format!("halts: {why}"),
    };
    format!("n{me} {what}")
}

/// `first..last@term` runs after the entry they follow.
pub fn entries(entries: &Entries) -> String {
    let mut text = String::new();
    for (at, &(first, term)) in entries.runs.iter().enumerate() {
        let next = entries.runs.get(at + 1);
        let last = next.map_or(entries.last, |&(next, _)| next.prev());
        let range = if first == last {
            first.to_string()
        } else {
            format!("{first}..{last}")
        };
        text += &format!("{}{range}@t{term}", if at == 0 { "" } else { "," });
    }
    for (at, config) in &entries.configs {
        text += &format!(" {at}=({})", self::config(config));
    }
    if text.is_empty() {
        "none".to_string()
    } else {
        text
    }
}

/// `n1,n2` vote; others are named by what they do.
pub fn config(config: &Config) -> String {
    let list = |ids: &[NodeId]| {
        let ids: Vec<String> = ids.iter().map(|id| format!("n{}", id.0)).collect();
        ids.join(",")
    };
    let mut text = list(config.voters());
    let others = [
        ("outgoing", config.outgoing()),
        ("learners", config.learners()),
        ("joining", config.joining()),
    ];
    for (name, ids) in others {
        if !ids.is_empty() {
            text += &format!(" {name}={}", list(ids));
        }
    }
    for (id, disk) in config.disks() {
        text += &format!(" n{}={disk:?}", id.0);
    }
    text
}

/// One message.
pub fn message(message: &Message) -> String {
    match message {
        Message::Vote {
            term,
            pre,
            transfer,
            last,
            admitted,
        } => {
            let asked = if *transfer { " transfer" } else { "" };
            let named = if *admitted { " admitted" } else { "" };
            format!("{} term={term} last={last}{asked}{named}", vote(*pre))
        }
        Message::VoteReply { term, pre, granted } => {
            format!("{}-reply term={term} granted={granted}", vote(*pre))
        }
        Message::Append {
            term,
            entries: range,
            commit,
        } => {
            let (prev, range) = (range.prev, entries(range));
            format!("append term={term} prev={prev} entries={range} commit={commit}")
        }
        Message::AppendReply { term, result } => match result {
            AppendResult::Durable(upto) => format!("append-reply term={term} durable={upto}"),
            AppendResult::Conflict { prev, hint } => {
                format!("append-reply term={term} conflict={prev} hint={hint}")
            }
        },
        Message::Beat {
            term,
            commit,
            round,
            durable,
            knows,
        } => {
            let durable = safe(*durable, *commit);
            let knows = if *knows { " knows" } else { "" };
            format!("beat term={term} commit={commit} round={round}{durable}{knows}")
        }
        Message::BeatReply {
            term,
            round,
            disk,
            promise_ns,
        } => {
            let disk = match disk {
                Pace::Quick => "",
                Pace::Late => " disk=late",
                Pace::Stalled => " disk=stalled",
            };
            let promise = match promise_ns / MS {
                0 => String::new(),
                ms => format!(" promise={ms}"),
            };
            format!("beat-reply term={term} round={round}{disk}{promise}")
        }
        Message::TimeoutNow { term } => format!("timeout-now term={term}"),
        Message::Commit {
            term,
            commit,
            durable,
        } => {
            let durable = safe(*durable, *commit);
            format!("commit term={term} commit={commit}{durable}")
        }
        Message::Disowned { disk } => format!("disowned d{}", disk.0),
        Message::Heard {
            disk,
            life,
            term,
            voted,
            durable,
        } => {
            let voted = if *voted { " voted" } else { "" };
            format!(
                "heard d{} in life={life}: term={term}{voted} durable={durable}",
                disk.0
            )
        }
        Message::Rest { term, last } => format!("rest term={term} last={last}"),
        Message::Snapshot { term, base } => format!("snapshot term={term} base={base}"),
        Message::RepairAsk { first, last } => format!("repair-ask first={first} last={last}"),
        Message::RepairTell { term, holding } => match holding {
            Holding::Has(range) => format!("repair-tell term={term} has={}", entries(range)),
            Holding::Lacks(first) => format!("repair-tell term={term} lacks={first}"),
            Holding::Unreadable(first) => format!("repair-tell term={term} unreadable={first}"),
        },
        Message::ReadAsk { id, life, lease } => {
            let lease = if *lease { " lease" } else { "" };
            format!("read-ask {id} life={life}{lease}")
        }
        Message::ReadTell { id, life, at } => match at {
            Ok(at) => format!("read-tell {id} life={life} at={at}"),
            Err(why) => format!("read-tell {id} life={life} lost: {}", lost(*why)),
        },
    }
}

/// What the leader's own disk holds, if that is not what is committed.
fn safe(durable: Index, commit: Index) -> String {
    if durable == commit {
        String::new()
    } else {
        format!(" durable={durable}")
    }
}

fn lost(why: ReadLost) -> &'static str {
    match why {
        ReadLost::NoLeader => "no leader",
        ReadLost::Busy => "too many wait",
        _ => "leader changed",
    }
}

fn vote(pre: bool) -> &'static str {
    if pre { "pre-vote" } else { "vote" }
}
