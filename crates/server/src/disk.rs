//! A data directory, told and checked for an operator: `headwater disk`.
//! Never changes anything in it, and never looks at one that a server is using.
//!
//! # Source
//! docs/format.md, "Recovery".

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use headwater_kv::Store;
use headwater_kv::request::{Query, Response, StoreStatus};
use headwater_raft::{Config, LogId, NodeId};
use headwater_replica::StateMachine;
use headwater_replica::inspect::{LogReport, Report, SegmentReport, SnapshotReport, inspect};
use headwater_replica::remains::Remains;
use headwater_replica::salvage::Found;
use headwater_runtime::file::{FileDisk, Use};
use headwater_runtime::lock;
use headwater_runtime::name::hex;
use serde_json::{Value, json};

use crate::cli::DiskCommand;
use crate::print;
use crate::recover;

/// The exit code for a directory that a server would refuse, or that could not be read.
pub const REFUSED: u8 = 1;

/// The exit code for a directory with which a server would start, without what is damaged.
const MENDED: u8 = 3;

/// The exit code for a directory of which something is damaged and nothing is missing: it was written
/// again since, or a snapshot covers it.
const MADE_UP_FOR: u8 = 4;

/// Carries the command out; its exit code.
///
/// # Errors
/// The directory is not there, in use, not a server's, or cannot be read.
pub fn run(command: &DiskCommand) -> Result<ExitCode> {
    let (args, verifies) = match command {
        DiskCommand::Inspect(args) => (args, false),
        DiskCommand::Verify(args) => (args, true),
        DiskCommand::Recover(args) => return recover::run(args),
    };
    let report = look(&args.directory)?;
    let text = match (args.json, verifies) {
        (true, true) => format!("{:#}\n", to_json(&report, None)),
        (true, false) => format!(
            "{:#}\n",
            to_json(&report, contents(&args.directory)?.as_ref())
        ),
        (false, true) => verdict(&report),
        (false, false) => tell(&report, contents(&args.directory)?.as_ref())?,
    };
    print::put(text)?;
    Ok(match &report.log {
        _ if !verifies => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(REFUSED),
        Ok(log) if damaged(&report, log).next().is_none() => ExitCode::SUCCESS,
        Ok(log) if !is_missing_some(&report, log) => ExitCode::from(MADE_UP_FOR),
        Ok(_) => ExitCode::from(MENDED),
    })
}

/// The disk of a directory that no server is using, to be read only.
///
/// # Errors
/// It is not there, or in use.
pub fn stopped(directory: &Path) -> Result<FileDisk> {
    let name = directory.display();
    ensure!(directory.is_dir(), "{name}: no such directory");
    let held = lock::is_held(directory).with_context(|| format!("{name}: looking at its lock"))?;
    ensure!(
        !held,
        "{name} is in use by a server: stop it first, or look at a copy"
    );
    Ok(FileDisk::new(
        directory.to_owned(),
        Use::Reading,
        Arc::default(),
    ))
}

/// Such a directory as it is.
fn look(directory: &Path) -> Result<Report> {
    let name = directory.display();
    match inspect::<Store>(&mut stopped(directory)?) {
        Ok(Some(report)) => Ok(report),
        Ok(None) => bail!("{name} holds no data: no server has used it yet"),
        Err(why) => bail!("{name}: {why}"),
    }
}

/// What the store holds with all entries of the log that can be kept.
struct Contents {
    /// The last of them.
    upto: LogId,
    status: StoreStatus,
    /// What members are called.
    names: BTreeMap<u64, String>,
}

/// `None` if nothing can be put together of what the directory holds.
fn contents(directory: &Path) -> Result<Option<Contents>> {
    let mut disk = stopped(directory)?;
    let Ok(Some(remains)) = Remains::of::<Store>(&mut disk) else {
        return Ok(None);
    };
    let found = Found::in_all([&remains]);
    let state = found.and_then(|found| found.salvage::<Store>(&mut disk, remains.cluster).ok());
    Ok(state.map(|state| {
        let members = state.machine.roster().members();
        let named = members.filter(|member| !member.name.is_empty());
        Contents {
            upto: state.last,
            status: status_of(&state.machine),
            names: named
                .map(|member| (member.id, member.name.clone()))
                .collect(),
        }
    }))
}

/// Revision and number of keys, among others.
pub fn status_of(store: &Store) -> StoreStatus {
    match store.query(Query::Status).result {
        Ok(Response::Status(status)) => status,
        _ => StoreStatus::default(),
    }
}

/// What is damaged, though a server would start without it: what it would mend, and snapshots older
/// than the one that it would begin with.
fn damaged<'a>(report: &'a Report, log: &'a LogReport) -> impl Iterator<Item = String> + 'a {
    let is_told = |name: &str| log.mended.iter().any(|what| what.contains(name));
    let older = move |snapshot: &SnapshotReport| {
        let (name, why) = (&snapshot.name, snapshot.damage.as_ref()?);
        (!is_told(name)).then(|| format!("{name}, {why}"))
    };
    let older = report.snapshots.iter().filter_map(older);
    log.mended.iter().cloned().chain(older)
}

/// Whether something is damaged that stands nowhere else in the directory.
fn is_missing_some(report: &Report, log: &LogReport) -> bool {
    let mut snapshots = report.snapshots.iter();
    log.unreadable > 0 || snapshots.any(|snapshot| snapshot.damage.is_some())
}

fn verdict(report: &Report) -> String {
    let log = match &report.log {
        Ok(log) => log,
        Err(why) => return format!("refused: {why}\n"),
    };
    let mut text = String::new();
    let fate = match is_missing_some(report, log) {
        true => "started without",
        false => "made up for",
    };
    for what in damaged(report, log) {
        text += &format!("damaged, and {fate}: {what}\n");
    }
    if text.is_empty() {
        text += "whole\n";
    }
    text
}

fn tell(report: &Report, contents: Option<&Contents>) -> Result<String> {
    let mut text = String::new();
    let identity = &report.identity;
    writeln!(text, "cluster   {}", hex(identity.cluster))?;
    let called = |id: NodeId| match contents.and_then(|all| all.names.get(&id.0)) {
        Some(name) => format!("{name} ({})", name_of(id)),
        None => name_of(id),
    };
    writeln!(text, "member    {}", called(identity.node))?;
    writeln!(text, "disk      {}", hex(identity.incarnation))?;
    if let Ok(log) = &report.log {
        tell_log(&mut text, log, called)?;
    }
    if let Some(Contents { upto, status, .. }) = contents {
        let (revision, keys) = (status.revision, status.keys);
        writeln!(
            text,
            "holds     revision {revision}, {keys} keys, with all entries up to {upto}"
        )?;
    }
    writeln!(text, "\n{:>12}  {:44}  HOLDS", "BYTES", "FILE")?;
    for SegmentReport {
        name,
        bytes,
        begins,
    } in &report.segments
    {
        let holds = match begins {
            Ok((after, write)) => format!("entries after {after}, writes from {write} on"),
            Err(why) => why.clone(),
        };
        writeln!(text, "{bytes:>12}  {name:44}  {holds}")?;
    }
    for snapshot in &report.snapshots {
        let (bytes, name) = (snapshot.bytes, &snapshot.name);
        let holds = match &snapshot.damage {
            None => format!("all up to {}", snapshot.covers),
            Some(why) => format!("damaged: {why}"),
        };
        writeln!(text, "{bytes:>12}  {name:44}  {holds}")?;
    }
    write!(text, "\n{}", verdict(report))?;
    Ok(text)
}

fn tell_log(text: &mut String, log: &LogReport, called: impl Fn(NodeId) -> String) -> Result<()> {
    let vote = log.hard.voted_for.map_or("nobody".into(), &called);
    writeln!(text, "term      {}, voted for {vote}", log.hard.term)?;
    writeln!(text, "members   {}", members(&log.config, called))?;
    if log.base == LogId::default() {
        writeln!(text, "snapshot  none")?;
    } else {
        writeln!(text, "snapshot  up to {}", log.base)?;
    }
    let (count, bytes) = log.entries;
    let (after, last) = (log.begins_after, log.last);
    writeln!(
        text,
        "log       {count} entries, {bytes} bytes of commands, after {after} up to {last}"
    )?;
    if log.unreadable > 0 {
        writeln!(
            text,
            "lost      {} of these entries cannot be read; a server fetches them from the others",
            log.unreadable
        )?;
    }
    writeln!(text, "commit    {} at least", log.commit)?;
    if log.torn_bytes > 0 {
        let torn = log.torn_bytes;
        writeln!(
            text,
            "torn      {torn} bytes of a write that was not finished"
        )?;
    }
    Ok(())
}

/// A member's id as people read it.
pub fn name_of(id: NodeId) -> String {
    hex(id.0).to_string()
}

fn members(config: &Config, called: impl Fn(NodeId) -> String) -> String {
    let all = config.members();
    let all = all.iter().map(|&id| {
        let kind = if config.is_voter(id) {
            ""
        } else {
            " (learner)"
        };
        called(id) + kind
    });
    all.collect::<Vec<_>>().join(", ")
}

fn to_json(report: &Report, contents: Option<&Contents>) -> Value {
    let identity = &report.identity;
    let segments = report.segments.iter().map(|segment| {
        let mut value = json!({ "name": segment.name, "bytes": segment.bytes });
        match &segment.begins {
            Ok((after, write)) => {
                value["after"] = id_json(*after);
                value["first_write"] = write.0.into();
            }
            Err(why) => value["damage"] = why.as_str().into(),
        }
        value
    });
    let snapshots = report.snapshots.iter().map(|snapshot| {
        json!({
            "name": snapshot.name,
            "bytes": snapshot.bytes,
            "covers": id_json(snapshot.covers),
            "damage": snapshot.damage,
        })
    });
    json!({
        "cluster": hex(identity.cluster).to_string(),
        "member": name_of(identity.node),
        "disk": hex(identity.incarnation).to_string(),
        "segments": segments.collect::<Vec<_>>(),
        "snapshots": snapshots.collect::<Vec<_>>(),
        "log": report.log.as_ref().ok().map(log_json),
        "refused": report.log.as_ref().err().map(ToString::to_string),
        "holds": contents.map(|all| json!({
            "upto": id_json(all.upto),
            "revision": all.status.revision,
            "keys": all.status.keys,
            "names": all.names.iter().map(|(id, name)| (name_of(NodeId(*id)), name.as_str().into()))
                .collect::<serde_json::Map<_, Value>>(),
        })),
    })
}

fn log_json(log: &LogReport) -> Value {
    let names = |ids: &[NodeId]| ids.iter().copied().map(name_of).collect::<Vec<_>>();
    json!({
        "term": log.hard.term.0,
        "voted_for": log.hard.voted_for.map(name_of),
        "members": names(&log.config.members()),
        "voters": names(log.config.voters()),
        "snapshot": id_json(log.base),
        "after": id_json(log.begins_after),
        "last": id_json(log.last),
        "entries": log.entries.0,
        "unreadable": log.unreadable,
        "command_bytes": log.entries.1,
        "commit_at_least": log.commit.0,
        "last_write": log.last_write.0,
        "torn_bytes": log.torn_bytes,
        "mended": log.mended,
    })
}

fn id_json(id: LogId) -> Value {
    json!({ "index": id.index.0, "term": id.term.0 })
}

#[cfg(test)]
mod tests {
    use headwater_raft::{HardState, Index, WriteId};
    use headwater_replica::Identity;

    use super::*;

    fn snapshot(index: u64, damage: Option<&str>) -> SnapshotReport {
        SnapshotReport {
            name: format!("snap/{index}.snap"),
            bytes: 1,
            covers: LogId::new(headwater_raft::Term(1), Index(index)),
            damage: damage.map(str::to_owned),
        }
    }

    fn log(mended: &[&str]) -> LogReport {
        LogReport {
            hard: HardState::default(),
            base: LogId::default(),
            begins_after: LogId::default(),
            last: LogId::default(),
            entries: (0, 0),
            unreadable: 0,
            readable_to: LogId::default(),
            commit: Index(0),
            config: Config::default(),
            last_write: WriteId(0),
            torn_bytes: 0,
            mended: mended.iter().map(|&what| what.to_owned()).collect(),
        }
    }

    #[test]
    fn all_that_is_damaged_is_named_once() {
        let report = Report {
            identity: Identity {
                cluster: 1,
                node: NodeId(1),
                incarnation: 1,
            },
            segments: Vec::new(),
            snapshots: vec![
                snapshot(1, Some("torn")),
                snapshot(2, Some("rotten")),
                snapshot(3, None),
                snapshot(4, Some("cut")),
            ],
            log: Ok(log(&["snap/4.snap, cut"])),
        };
        let told = "damaged, and started without: snap/4.snap, cut\n\
                    damaged, and started without: snap/1.snap, torn\n\
                    damaged, and started without: snap/2.snap, rotten\n";
        assert_eq!(verdict(&report), told);
    }

    #[test]
    fn what_stands_elsewhere_is_not_missing() {
        let mut report = Report {
            identity: Identity {
                cluster: 1,
                node: NodeId(1),
                incarnation: 1,
            },
            segments: Vec::new(),
            snapshots: vec![snapshot(3, None)],
            log: Ok(log(&[
                "wal/1.wal, byte 9: rot; 4 to 5 were written again since",
            ])),
        };
        let told =
            "damaged, and made up for: wal/1.wal, byte 9: rot; 4 to 5 were written again since\n";
        assert_eq!(verdict(&report), told);
        let missing = LogReport {
            unreadable: 1,
            ..log(&["wal/1.wal, byte 9: rot; 4 to 5 cannot be read"])
        };
        assert!(is_missing_some(&report, &missing));
        report.snapshots.push(snapshot(4, Some("cut")));
        assert!(is_missing_some(&report, &log(&["snap/4.snap, cut"])));
    }
}
