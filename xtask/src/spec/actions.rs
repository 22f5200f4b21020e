//! The actions of the specification, and which of them a call of the core is as a whole. What happens
//! inside, TLC tells while it walks: what a step did on its way stands in the node, under `did`.
//! Never decides whether they were allowed: TLC does.
//!
//! # Source
//! spec/Raft.tla and spec/RaftNode.tla, whose names these are.

use anyhow::{Result, bail};
use serde_json::Value;

use super::told::Told;

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
    ("election", "Follow, without a quorum"),
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
    ("replication", "BeatAll, trying again"),
    ("commit", "OnCommit"),
    ("commit", "TellCommit"),
    ("membership", "Reconfigure"),
    ("membership", "JointWith"),
    ("membership", "WithoutOutgoing"),
    ("membership", "Promoting"),
    ("membership", "WithDisks"),
    ("membership", "LeaveOffice"),
    ("membership", "Dismiss"),
    ("membership", "Meet"),
    ("membership", "Meet, an impostor"),
    ("membership", "ForgetDisk"),
    ("membership", "OnDisowned"),
    ("membership", "LoseDisk"),
    ("membership", "RestoreConfigs"),
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
    ("transfer", "MindTransfer, off a slow disk"),
    ("transfer", "MindTransfer, falls silent"),
    ("transfer", "OnTimeoutNow"),
    ("snapshot", "TakeSnapshot"),
    ("snapshot", "Compact"),
    ("snapshot", "SendSnapshot"),
    ("snapshot", "OnSnapshot"),
    ("snapshot", "ReceiveSnapshot"),
    ("snapshot", "Install"),
    ("snapshot", "Install, over another log"),
    ("snapshot", "LoseSnapshot"),
    ("repair", "Restart, with gaps"),
    ("repair", "AskForRepair"),
    ("repair", "OnRepairAsk"),
    ("repair", "OnRepairAsk, leading"),
    ("repair", "OnRepairTell, has"),
    ("repair", "OnRepairTell, lacks"),
    ("repair", "OnRepairTell, unreadable"),
    ("repair", "OnLacking, discards"),
    ("repair", "RepairEntries"),
    ("repair", "OnRepaired"),
    ("election", "PreCampaign, without a configuration"),
    ("election", "CountVotes, with gaps"),
    ("snapshot", "Install, over gaps"),
    ("rollback", "OnHeard"),
];

/// What a call of the core is as a whole: to `TraceRaft` its kind says the same.
pub fn of(call: &Value) -> Result<&'static str> {
    Ok(match call.text("type")? {
        "receive" => return received(call.field("message")?),
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

fn received(message: &Value) -> Result<&'static str> {
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
        "repair-ask" => "OnRepairAsk",
        "repair-tell" => match message.text("holding")? {
            "has" => "OnRepairTell, has",
            "lacks" => "OnRepairTell, lacks",
            _ => "OnRepairTell, unreadable",
        },
        "read-ask" => "OnReadAsk",
        "read-tell" => "OnReadTell",
        "disowned" => "OnDisowned",
        "heard" => "OnHeard",
        other => bail!("a message of an unknown type: {other}"),
    })
}

/// An action by its name.
pub fn named(name: &str) -> Option<&'static str> {
    let mut names = ALL.iter().map(|&(_, action)| action);
    names.find(|action| *action == name)
}
