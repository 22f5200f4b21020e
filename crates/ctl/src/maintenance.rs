//! `alarm`, `defrag`, `move-leader` and `snapshot save`: care for members.
//! Never looks into a snapshot; `headwater snapshot` does.
//!
//! # Source
//! etcdctl's commands of these names; the etcd v3 API, service `Maintenance`.

use std::fs::{self, File};
use std::io::Write;

use clap::{Args, Subcommand};
use headwater_api::etcdserverpb as api;

use crate::download::Download;
use crate::endpoint::{of_members, status_of};
use crate::failure::{Failure, Result};
use crate::quantity;
use crate::session::{Repeat, Session, maintenance};
use crate::text::{Answer, Style, Text, field, header_fields, line, say};

/// What can be done about alarms.
#[derive(Subcommand, Clone, Copy, Debug)]
pub enum AlarmCommand {
    /// List them
    List,
    /// End them all
    Disarm,
}

/// Flags of `defrag`.
#[derive(Args, Debug)]
pub struct DefragArgs {
    /// All members, those not named as well
    #[arg(long)]
    cluster: bool,
}

/// Flags of `move-leader`.
#[derive(Args, Debug)]
pub struct MoveArgs {
    /// The member that is to lead: its id, in hexadecimal
    #[arg(value_name = "ID")]
    args: Vec<String>,
}

/// What can be done with snapshots of a running member.
#[derive(Subcommand, Debug)]
pub enum SnapshotCommand {
    /// Get one from the one member that is named
    Save(SaveArgs),
    /// Done without a cluster: `headwater snapshot status FILE`
    #[command(hide = true)]
    Status(ElsewhereArgs),
    /// Done without a cluster: `headwater snapshot restore FILE`
    #[command(hide = true)]
    Restore(ElsewhereArgs),
}

/// What belongs to a command that is not of this client.
#[derive(Args, Debug)]
pub struct ElsewhereArgs {
    /// All of it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Flags of `snapshot save`.
#[derive(Args, Debug)]
pub struct SaveArgs {
    /// Where it is written
    #[arg(value_name = "FILE")]
    args: Vec<String>,
}

/// Lists or ends alarms.
///
/// # Errors
/// It cannot be done.
pub async fn alarm(session: &Session, style: Style, command: AlarmCommand) -> Result<()> {
    let list = api::AlarmRequest::default();
    let get = async |wire| maintenance(wire).alarm(list).await;
    let mut answer = session.ask(Repeat::Always, get).await?;
    if let AlarmCommand::Disarm = command {
        let raised = std::mem::take(&mut answer.alarms);
        for alarm in raised {
            let request = api::AlarmRequest {
                action: api::alarm_request::AlarmAction::Deactivate.into(),
                member_id: alarm.member_id,
                alarm: alarm.alarm,
            };
            let disarm = async |wire| maintenance(wire).alarm(request).await;
            let ended = session.ask(Repeat::Never, disarm).await?;
            answer.header = ended.header;
            answer.alarms.extend(ended.alarms);
        }
    }
    style.print(&answer)
}

impl Answer for api::AlarmResponse {
    const NAME: &'static str = "etcdserverpb.AlarmResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        for alarm in &self.alarms {
            let kind = alarm.alarm().as_str_name();
            line(text, format!("memberID:{} alarm:{kind} ", alarm.member_id));
        }
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        for alarm in &self.alarms {
            field(text, "MemberID", alarm.member_id);
            field(text, "AlarmType", alarm.alarm().as_str_name());
            line(text, "");
        }
        Ok(())
    }
}

/// Has members give unused room back.
///
/// # Errors
/// One of them did not.
pub async fn defrag(session: &Session, args: DefragArgs) -> Result<()> {
    let places = if args.cluster {
        of_members(session).await?
    } else {
        session.places().to_vec()
    };
    let mut failed = 0;
    for place in places {
        let only = session.only(vec![place.clone()])?;
        let defrag = async |wire| {
            maintenance(wire)
                .defragment(api::DefragmentRequest {})
                .await
        };
        match only.ask(Repeat::Never, defrag).await {
            Ok(_) => {
                say(format!("Finished defragmenting etcd member[{}]\n", place.said).as_bytes())?
            }
            Err(failure) => {
                eprintln!(
                    "Failed to defragment etcd member[{}] ({failure})",
                    place.said
                );
                failed += 1;
            }
        }
    }
    if failed > 0 {
        return Err(Failure::error(format!(
            "{failed} members were not defragmented"
        )));
    }
    Ok(())
}

/// Hands the leadership over.
///
/// # Errors
/// It is not handed over, or none of those that were named leads.
pub async fn move_leader(session: &Session, args: MoveArgs) -> Result<()> {
    let [target] = &args.args[..] else {
        return Err(Failure::arguments("move-leader command needs 1 argument"));
    };
    let target_id = quantity::hexadecimal(target).map_err(Failure::arguments)?;
    for place in session.places() {
        let status = status_of(session, place).await?;
        let id = status.header.map_or(0, |header| header.member_id);
        if status.leader != id {
            continue;
        }
        let only = session.only(vec![place.clone()])?;
        let request = api::MoveLeaderRequest { target_id };
        let hand_over = async |wire| maintenance(wire).move_leader(request).await;
        only.ask(Repeat::Never, hand_over).await?;
        return say(
            format!("Leadership transferred from {id:16x} to {target_id:16x}\n").as_bytes(),
        );
    }
    let said: Vec<&str> = session
        .places()
        .iter()
        .map(|place| place.said.as_str())
        .collect();
    Err(Failure::arguments(format!(
        "no leader endpoint given at [{}]",
        said.join(" ")
    )))
}

fn elsewhere(command: &str, args: &ElsewhereArgs) -> Failure {
    Failure::arguments(format!(
        "this is done without a cluster: headwater snapshot {command} {}",
        args.args.join(" ")
    ))
}

/// Gets a snapshot, whole or not at all.
///
/// # Errors
/// It does not come to its end, or cannot be written.
pub async fn snapshot(session: &Session, command: SnapshotCommand) -> Result<()> {
    let args = match command {
        SnapshotCommand::Save(args) => args,
        SnapshotCommand::Status(args) => return Err(elsewhere("status", &args)),
        SnapshotCommand::Restore(args) => return Err(elsewhere("restore", &args)),
    };
    let [file] = &args.args[..] else {
        return Err(Failure::arguments("snapshot save expects one argument"));
    };
    if session.places().len() != 1 {
        return Err(Failure::arguments(
            "snapshot must be requested to one selected node, not multiple: name one with --endpoints",
        ));
    }
    let mut pieces = Download::begin(session).await?;
    let part = format!("{file}.part");
    let mut out = File::create(&part)
        .map_err(|error| Failure::file(format!("could not open {part} ({error})")))?;
    loop {
        match pieces.piece().await {
            Ok(Some(piece)) => out.write_all(&piece)?,
            Ok(None) => break,
            Err(failure) => return Err(failure.hint(&format!("what came is in {part}"))),
        }
    }
    out.sync_all()?;
    fs::rename(&part, file)?;
    say(format!("Snapshot saved at {file}\n").as_bytes())
}
