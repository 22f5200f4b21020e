//! `endpoint`: how the members fare that are asked, one by one.
//! Never asks another member in the place of one that does not answer.
//!
//! # Source
//! etcdctl's commands of this name; the etcd v3 API, service `Maintenance`.

use std::time::Instant;

use clap::{Args, Subcommand};
use headwater_api::etcdserverpb as api;

use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::member::members;
use crate::place::Place;
use crate::quantity::size;
use crate::session::{Repeat, Session, kv, maintenance};
use crate::table::Table;
use crate::text::{Format, Style, Text, field, header_fields, line, quote, say, unsupported};

/// What endpoints can be asked.
#[derive(Args, Debug)]
pub struct EndpointArgs {
    /// Ask all members, those not named as well
    #[arg(long, global = true)]
    cluster: bool,
    #[command(subcommand)]
    command: EndpointCommand,
}

#[derive(Subcommand, Debug)]
enum EndpointCommand {
    /// Whether each can have a read agreed on
    Health,
    /// Version, size, leader, term and indices of each
    Status,
    /// A checksum of the keys and their history, of each
    Hashkv(HashArgs),
}

#[derive(Args, Debug)]
struct HashArgs {
    /// Up to this revision [default: all]
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true
    )]
    rev: i64,
}

/// Asks.
///
/// # Errors
/// One of them does not answer, or is not healthy.
pub async fn run(session: &Session, style: Style, args: EndpointArgs) -> Result<()> {
    let places = if args.cluster {
        of_members(session).await?
    } else {
        session.places().to_vec()
    };
    match args.command {
        EndpointCommand::Health => health(session, style, places).await,
        EndpointCommand::Status => status(session, style, places).await,
        EndpointCommand::Hashkv(args) => hashkv(session, style, places, args.rev).await,
    }
}

/// Where all members listen for clients.
///
/// # Errors
/// The members cannot be had.
pub async fn of_members(session: &Session) -> Result<Vec<Place>> {
    let list = members(session).await?.members;
    let urls = list.iter().flat_map(|member| &member.client_ur_ls);
    urls.map(|url| Place::parse(url, session.options()))
        .collect()
}

async fn health(session: &Session, style: Style, places: Vec<Place>) -> Result<()> {
    let mut found = Vec::new();
    for place in places {
        let begin = Instant::now();
        let result = is_healthy(session, &place).await;
        found.push((place.said, begin.elapsed(), result.err()));
    }
    let is_well = found.iter().all(|(_, _, failure)| failure.is_none());
    show_health(style, &found)?;
    if is_well {
        Ok(())
    } else {
        Err(Failure::error("unhealthy cluster"))
    }
}

/// A place, how long its answer took, and what was wrong.
type Checked = (String, std::time::Duration, Option<Failure>);

fn show_health(style: Style, found: &[Checked]) -> Result<()> {
    let took = |time: &std::time::Duration| format!("{time:?}");
    let text =
        |failure: &Option<Failure>| failure.as_ref().map_or(String::new(), Failure::to_string);
    match style.format {
        Format::Simple => {
            for (said, time, failure) in found {
                match failure {
                    None => say(format!(
                        "{said} is healthy: successfully committed proposal: took = {}\n",
                        took(time)
                    )
                    .as_bytes())?,
                    // What is not well is said where errors are read.
                    Some(failure) => {
                        eprintln!("{said} is unhealthy: failed to commit proposal: {failure}");
                    }
                }
            }
        }
        Format::Json => {
            let each = found.iter().map(|(said, time, failure)| {
                let json = Json::object([
                    ("endpoint", Json::text(said.clone())),
                    ("health", Json::Bool(failure.is_none())),
                    ("took", Json::text(took(time))),
                ]);
                match failure {
                    None => json,
                    Some(failure) => json.and([("error", Json::text(failure.to_string()))]),
                }
            });
            say(format!("{}\n", Json::List(each.collect())).as_bytes())?;
        }
        Format::Fields => {
            let mut all = Text::new();
            for (said, time, failure) in found {
                field(&mut all, "Endpoint", quote(said.as_bytes()));
                field(&mut all, "Health", failure.is_none());
                field(&mut all, "Took", took(time));
                field(&mut all, "Error", text(failure));
                line(&mut all, "");
            }
            say(&all)?;
        }
        Format::Table => {
            let mut table = Table::new(&["Endpoint", "Health", "Took", "Error"]);
            for (said, time, failure) in found {
                table.row(vec![
                    said.clone(),
                    failure.is_none().to_string(),
                    took(time),
                    text(failure),
                ]);
            }
            say(table.draw().as_bytes())?;
        }
        Format::Protobuf => return Err(unsupported("protobuf")),
    }
    Ok(())
}

/// Whether a member can have a read agreed on, and has raised no alarm.
async fn is_healthy(session: &Session, place: &Place) -> Result<()> {
    let only = session.only(vec![place.clone()])?;
    let request = api::RangeRequest {
        key: "health".into(),
        ..Default::default()
    };
    let read = only.ask(Repeat::Never, async |wire| {
        kv(wire).range(request.clone()).await
    });
    match read.await {
        // A refusal for want of rights is agreed on as well.
        Err(failure) if !failure.to_string().contains("permission denied") => Err(failure),
        _ => Ok(()),
    }
}

/// Asks one member how it is.
///
/// # Errors
/// It does not answer.
pub async fn status_of(session: &Session, place: &Place) -> Result<api::StatusResponse> {
    let only = session.only(vec![place.clone()])?;
    let status = async |wire| maintenance(wire).status(api::StatusRequest {}).await;
    only.ask(Repeat::Always, status).await
}

async fn status(session: &Session, style: Style, places: Vec<Place>) -> Result<()> {
    let mut found = Vec::new();
    let mut failed = None;
    for place in places {
        match status_of(session, &place).await {
            Ok(status) => found.push((place.said, status)),
            Err(failure) => {
                eprintln!(
                    "Failed to get the status of endpoint {} ({failure})",
                    place.said
                );
                failed = Some(failure);
            }
        }
    }
    say(&render_status(style, &found)?)?;
    match failed {
        None => Ok(()),
        Some(_) => std::process::exit(1),
    }
}

const STATUS: [&str; 10] = [
    "Endpoint",
    "ID",
    "Version",
    "DB Size",
    "Is Leader",
    "Is Learner",
    "Raft Term",
    "Raft Index",
    "Raft Applied Index",
    "Errors",
];

fn render_status(style: Style, found: &[(String, api::StatusResponse)]) -> Result<Text> {
    let mut table = Table::new(&STATUS);
    for (said, status) in found {
        let id = status.header.map_or(0, |header| header.member_id);
        table.row(vec![
            said.clone(),
            format!("{id:x}"),
            status.version.clone(),
            size(status.db_size.unsigned_abs()),
            (status.leader == id).to_string(),
            status.is_learner.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
            status.errors.join(", "),
        ]);
    }
    Ok(match style.format {
        Format::Simple => table.lines().into(),
        Format::Table => table.draw().into(),
        Format::Json => {
            let each = found.iter().map(|(said, status)| {
                let json = Json::of("etcdserverpb.StatusResponse", status);
                Json::object([("Endpoint", Json::text(said.clone())), ("Status", json)])
            });
            format!("{}\n", Json::List(each.collect())).into()
        }
        Format::Fields => {
            let mut text = Text::new();
            found
                .iter()
                .for_each(|(said, status)| status_fields(&mut text, said, status));
            text
        }
        Format::Protobuf => return Err(unsupported("protobuf")),
    })
}

fn status_fields(text: &mut Text, said: &str, status: &api::StatusResponse) {
    header_fields(text, status.header.as_ref());
    field(text, "Version", quote(status.version.as_bytes()));
    field(text, "DBSize", status.db_size);
    field(text, "Leader", status.leader);
    field(text, "IsLearner", status.is_learner);
    field(text, "RaftIndex", status.raft_index);
    field(text, "RaftTerm", status.raft_term);
    field(text, "RaftAppliedIndex", status.raft_applied_index);
    let errors: Vec<String> = status.errors.iter().map(|e| quote(e.as_bytes())).collect();
    field(text, "Errors", format!("[{}]", errors.join(" ")));
    field(text, "Endpoint", quote(said.as_bytes()));
    line(text, "");
}

async fn hashkv(session: &Session, style: Style, places: Vec<Place>, revision: i64) -> Result<()> {
    let mut found = Vec::new();
    let mut is_whole = true;
    for place in places {
        let only = session.only(vec![place.clone()])?;
        let request = api::HashKvRequest { revision };
        let hash = async |wire| maintenance(wire).hash_kv(request).await;
        match only.ask(Repeat::Always, hash).await {
            Ok(hash) => found.push((place.said, hash)),
            Err(failure) => {
                eprintln!(
                    "Failed to get the hash of endpoint {} ({failure})",
                    place.said
                );
                is_whole = false;
            }
        }
    }
    let mut table = Table::new(&["Endpoint", "Hash"]);
    for (said, hash) in &found {
        table.row(vec![said.clone(), hash.hash.to_string()]);
    }
    say(&match style.format {
        Format::Simple => table.lines().into(),
        Format::Table => table.draw().into(),
        Format::Json => {
            let each = found.iter().map(|(said, hash)| {
                let json = Json::of("etcdserverpb.HashKVResponse", hash);
                Json::object([("Endpoint", Json::text(said.clone())), ("HashKV", json)])
            });
            format!("{}\n", Json::List(each.collect())).into_bytes()
        }
        Format::Fields => {
            let mut text = Text::new();
            for (said, hash) in &found {
                header_fields(&mut text, hash.header.as_ref());
                field(&mut text, "Endpoint", quote(said.as_bytes()));
                field(&mut text, "Hash", hash.hash);
                line(&mut text, "");
            }
            text
        }
        Format::Protobuf => return Err(unsupported("protobuf")),
    })?;
    if is_whole {
        Ok(())
    } else {
        std::process::exit(1)
    }
}
