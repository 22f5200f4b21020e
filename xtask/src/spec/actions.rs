//! Which actions of the specification a call of the core is: the one of the whole step, and those
//! inside that can be told from what came of it.
//! Never decides whether they were allowed: TLC does.
//!
//! # Source
//! spec/Raft.tla and spec/RaftNode.tla, whose names these are.

use anyhow::{Result, bail};

use super::json::Json;

/// All actions that some trace must show, in the order of the specification, with their rooms.
pub const ALL: &[(&str, &str)] = &[
    ("raft", "Deadline"),
    ("raft", "FinishTurn"),
    ("raft", "Restart"),
    ("durable", "Persisted"),
    ("durable", "PersistHard"),
    ("durable", "SendWhenSafe, waiting"),
    ("election", "PreCampaign"),
    ("election", "Campaign"),
    ("election", "Lead"),
    ("election", "OnVote, pre"),
    ("election", "OnVote"),
    ("election", "OnVoteReply, pre"),
    ("election", "OnVoteReply"),
    ("election", "VoteReply, granted"),
    ("election", "VoteReply, refused"),
    ("election", "Link"),
    ("replication", "Propose"),
    ("replication", "SendAppend"),
    ("replication", "SendAppend, probing"),
    ("replication", "OnAppend"),
    ("replication", "TruncateEntries"),
    ("replication", "Conflict"),
    ("replication", "Acknowledge"),
    ("replication", "OnAppendReply"),
    ("replication", "OnAppendReply, conflict"),
    ("replication", "OnBeat"),
    ("commit", "OnCommit"),
    ("commit", "TellCommit"),
    ("membership", "Reconfigure"),
    ("membership", "JointWith"),
    ("membership", "WithoutOutgoing"),
    ("membership", "Promoting"),
    ("membership", "WithDisks"),
    ("membership", "LeaveOffice"),
    ("membership", "Meet"),
    ("membership", "Meet, an impostor"),
    ("membership", "OnDisowned"),
    ("membership", "LoseDisk"),
    ("read", "Read"),
    ("read", "BeginRound"),
    ("read", "Answer"),
    ("read", "LoseReads"),
    ("read", "OnBeatReply"),
    ("read", "OnReadAsk"),
    ("read", "OnReadTell"),
    ("lease", "Read, by lease"),
    ("transfer", "Transfer"),
    ("transfer", "UrgeTarget"),
    ("transfer", "EndTransfer"),
    ("transfer", "OnTimeoutNow"),
    ("snapshot", "TakeSnapshot"),
    ("snapshot", "Compact"),
    ("snapshot", "SendSnapshot"),
    ("snapshot", "OnSnapshot"),
    ("snapshot", "ReceiveSnapshot"),
    ("snapshot", "Install"),
    ("snapshot", "Install, over another log"),
    ("rollback", "OnHeard"),
];

/// What a call is. `was_joint`: whether two majorities ruled at the node before.
pub fn of(told: &Json, was_joint: bool) -> Result<Vec<&'static str>> {
    let (call, state) = (told.get("call")?, told.get("state")?);
    let mut all = vec![whole(call)?];
    for effect in told.list("effects")? {
        inside((call, was_joint), effect, &mut all)?;
    }
    let took_office = |effect: &Json| effect.text("type").is_ok_and(|kind| kind == "persist");
    let persists = told.list("effects")?.iter().any(took_office);
    if persists && state.text("role")? == "candidate" {
        all.push("Campaign");
    }
    if call.text("type")? == "sent" {
        let peers = state.list("peers")?.iter();
        let to = call.number("to")?;
        let is_probe = |peer: &Json| {
            peer.number("peer").is_ok_and(|p| p == to) && peer.flag("probing").unwrap_or(false)
        };
        if peers.into_iter().any(is_probe) {
            all.push("SendAppend, probing");
        }
    }
    if !state.list("waiting")?.is_empty() {
        all.push("SendWhenSafe, waiting");
    }
    Ok(all)
}

fn whole(call: &Json) -> Result<&'static str> {
    Ok(match call.text("type")? {
        "receive" => return received(call.get("message")?),
        "deadline" => "Deadline",
        "persisted" => "Persisted",
        "link" => "Link",
        "met" => "Meet",
        "propose" => "Propose",
        "reconfigure" => "Reconfigure",
        "transfer" => "Transfer",
        "read" => "Read",
        "sent" => "SendAppend",
        "end-turn" => "FinishTurn",
        "compacted" => "Compact",
        "installed" => "Install",
        other => bail!("a call of an unknown type: {other}"),
    })
}

fn received(message: &Json) -> Result<&'static str> {
    Ok(match message.text("type")? {
        "vote" if message.flag("pre")? => "OnVote, pre",
        "vote" => "OnVote",
        "vote-reply" if message.flag("pre")? => "OnVoteReply, pre",
        "vote-reply" => "OnVoteReply",
        "append" => "OnAppend",
        "append-reply" if message.flag("ok")? => "OnAppendReply",
        "append-reply" => "OnAppendReply, conflict",
        "beat" => "OnBeat",
        "beat-reply" => "OnBeatReply",
        "commit" => "OnCommit",
        "timeout-now" => "OnTimeoutNow",
        "snapshot" => "OnSnapshot",
        "read-ask" => "OnReadAsk",
        "read-tell" => "OnReadTell",
        "disowned" => "OnDisowned",
        "heard" => "OnHeard",
        other => bail!("a message of an unknown type: {other}"),
    })
}

/// What an effect shows.
fn inside(
    (call, was_joint): (&Json, bool),
    effect: &Json,
    all: &mut Vec<&'static str>,
) -> Result<()> {
    match effect.text("type")? {
        "send" => all.extend(said(call.text("type")?, effect.get("message")?)?),
        "persist" => match effect.text("change")? {
            "same" => all.push("PersistHard"),
            "reset" => all.push("Install, over another log"),
            change => {
                if change == "replace" {
                    all.push("TruncateEntries");
                }
                let is_own = call.text("type")? != "receive"
                    || call.get("message")?.text("type")? != "append";
                if is_own {
                    appended((call.text("type")?, was_joint), effect, all)?;
                }
            }
        },
        "read" if *effect.get("at")? == Json::Null => all.push("LoseReads"),
        "read" => {
            all.push("Answer");
            if call
                .find("level")
                .is_some_and(|level| *level == Json::Text("lease".into()))
            {
                all.push("Read, by lease");
            }
        }
        "transferred" => all.push("EndTransfer"),
        "refused" => all.push("Meet, an impostor"),
        _ => {}
    }
    Ok(())
}

/// What a leader's own entries show.
fn appended(
    (call, was_joint): (&str, bool),
    effect: &Json,
    all: &mut Vec<&'static str>,
) -> Result<()> {
    let configs = effect.list("configs")?;
    for one in configs {
        let config = one.get("config")?;
        all.push(match (config.list("outgoing")?.is_empty(), call) {
            (true, _) if was_joint => "WithoutOutgoing",
            (true, "reconfigure") => continue,
            (true, _) => "WithDisks",
            (false, "reconfigure") => "JointWith",
            (false, _) => "Promoting",
        });
    }
    if configs.is_empty() && call != "propose" {
        all.push("Lead");
    }
    Ok(())
}

fn said(call: &str, message: &Json) -> Result<Option<&'static str>> {
    Ok(match message.text("type")? {
        "vote" if message.flag("pre")? => Some("PreCampaign"),
        "vote-reply" if message.flag("granted")? => Some("VoteReply, granted"),
        "vote-reply" => Some("VoteReply, refused"),
        "append-reply" if message.flag("ok")? => Some("Acknowledge"),
        "append-reply" => Some("Conflict"),
        "beat" if message.number("round")? > 0 => Some("BeginRound"),
        "commit" if call == "end-turn" => Some("TellCommit"),
        "commit" => Some("LeaveOffice"),
        "timeout-now" => Some("UrgeTarget"),
        _ => None,
    })
}
