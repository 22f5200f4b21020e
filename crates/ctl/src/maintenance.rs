//! `alarm`, `defrag` and `move-leader`: care for members.
//! Never decides which member is asked, but for the one that leads.
//!
//! # Source
//! etcdctl's commands of these names; the etcd v3 API, service `Maintenance`.

use clap::{Args, Subcommand};
use headwater_api::etcdserverpb as api;

use crate::elsewhere;
use crate::endpoint::{of_members, status_of};
use crate::failure::{Failure, Result};
use crate::member::id_of;
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
    /// Refused: there is nothing to do
    #[arg(long, value_name = "DIR", hide = true)]
    data_dir: Option<String>,
}

/// Flags of `move-leader`.
#[derive(Args, Debug)]
pub struct MoveArgs {
    /// The member that is to lead: its name, or its id in hexadecimal
    #[arg(value_name = "ID|NAME")]
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
    if args.data_dir.is_some() {
        return Err(Failure::arguments(elsewhere::DEFRAG));
    }
    let places = if args.cluster {
        of_members(session).await?
    } else {
        session.places().to_vec()
    };
    let mut failed = 0_usize;
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
        let members = quantity::count(failed, "member was", "members were");
        return Err(Failure::error(format!("{members} not defragmented")));
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
    let target_id = id_of(session, target).await?;
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
