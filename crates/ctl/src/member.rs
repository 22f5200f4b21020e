//! `member`: who takes part, and changes of that.
//! Never judges whether a change is wise; the server does.
//!
//! # Source
//! etcdctl's commands of this name; the etcd v3 API, service `Cluster`.

use clap::{Args, Subcommand};
use headwater_api::etcdserverpb as api;

use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::quantity;
use crate::replace::{self, ReplaceArgs};
use crate::session::{Repeat, Session, cluster, maintenance};
use crate::table::Table;
use crate::text::{Answer, Format, Style, Text, field, header_fields, line, quote, say};

/// What can be done with members.
#[derive(Subcommand, Debug)]
pub enum MemberCommand {
    /// Add a member
    Add(AddArgs),
    /// Remove a member
    Remove(IdArgs),
    /// Change where a member is reached by its peers
    Update(UpdateArgs),
    /// Give a learner its vote
    Promote(IdArgs),
    /// List all members
    List(ListArgs),
    /// Let a member in again whose data directory was lost, emptied or set back: remove it, add it, and
    /// print how to start it
    Replace(ReplaceArgs),
}

/// Flags of `member add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    /// Where its peers will reach it, comma-separated
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    peer_urls: Vec<String>,
    /// Let it learn, and never vote until it is promoted
    #[arg(long)]
    learner: bool,
}

/// Which member.
#[derive(Args, Debug)]
pub struct IdArgs {
    /// Its id in hexadecimal, or its name
    #[arg(value_name = "ID|NAME")]
    args: Vec<String>,
}

/// Flags of `member update`.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    /// Its id in hexadecimal, or its name
    #[arg(value_name = "ID|NAME")]
    args: Vec<String>,
    /// Where its peers will reach it, comma-separated
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    peer_urls: Vec<String>,
}

/// Flags of `member list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Mark the leader, too, and tell of members that do not answer
    #[arg(long)]
    leader: bool,
}

/// Does it.
///
/// # Errors
/// It cannot be done, or is not known to be done.
pub async fn run(session: &Session, style: Style, command: MemberCommand) -> Result<()> {
    match command {
        MemberCommand::Add(args) => add(session, style, args).await,
        MemberCommand::Remove(args) => {
            let id = one_id(session, &args.args).await?;
            let answer = remove(session, id).await?;
            show(style, &answer, &answer.header, (id, "removed from"))
        }
        MemberCommand::Update(args) => {
            let id = one_id(session, &args.args).await?;
            if args.peer_urls.is_empty() {
                return Err(Failure::arguments("member peer urls not provided"));
            }
            check_urls(&args.peer_urls)?;
            let request = api::MemberUpdateRequest {
                id,
                peer_ur_ls: args.peer_urls,
            };
            let update = async |wire| cluster(wire).member_update(request.clone()).await;
            let answer = session.ask(Repeat::Never, update).await?;
            show(style, &answer, &answer.header, (id, "updated in"))
        }
        MemberCommand::Promote(args) => {
            let id = one_id(session, &args.args).await?;
            let request = api::MemberPromoteRequest { id };
            let promote = async |wire| cluster(wire).member_promote(request).await;
            let answer = session.ask(Repeat::Never, promote).await?;
            show(style, &answer, &answer.header, (id, "promoted in"))
        }
        MemberCommand::List(args) => list(session, style, args).await,
        MemberCommand::Replace(args) => replace::run(session, args).await,
    }
}

/// Prints the answer to a change; in the simple format, what was done to whom.
fn show(
    style: Style,
    answer: &impl Answer,
    header: &Option<api::ResponseHeader>,
    (id, done): (u64, &str),
) -> Result<()> {
    let cluster = cluster_of(header);
    match style.format {
        Format::Simple => say(format!("Member {id:16x} {done} cluster {cluster:16x}\n").as_bytes()),
        _ => style.print(answer),
    }
}

/// The id of the cluster that answered.
pub fn cluster_of(header: &Option<api::ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.cluster_id)
}

async fn one_id(session: &Session, args: &[String]) -> Result<u64> {
    match args {
        [said] => id_of(session, said).await,
        _ => Err(Failure::arguments("member ID is not provided")),
    }
}

/// The id that was said, in hexadecimal, or that of the one member that is called so.
///
/// # Errors
/// It is no id, and no single member is called so.
pub async fn id_of(session: &Session, said: &str) -> Result<u64> {
    let why = match quantity::hexadecimal(said) {
        Ok(id) => return Ok(id),
        Err(why) => why,
    };
    let list = members(session).await?.members;
    let found = find(&list, said).map_err(|_| {
        Failure::arguments(format!("bad member ID arg ({why}), expecting ID in Hex")).hint(
            "and no single member is called so: `headwater ctl member list` shows ids and names",
        )
    })?;
    Ok(found.id)
}

/// What peer URLs must be; the server says it in fewer words.
///
/// # Errors
/// One of them is none.
pub fn check_urls(urls: &[String]) -> Result<()> {
    for url in urls {
        let Some((_, rest)) = url
            .split_once("://")
            .filter(|(scheme, _)| ["http", "https"].contains(scheme))
        else {
            return Err(Failure::error(format!(
                "a peer URL begins with http:// or https://: {url}"
            )));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.rsplit_once(':').is_none() {
            return Err(Failure::error(format!(
                "URL address does not have the form \"host:port\": {url}"
            )));
        }
        if !path.is_empty() {
            return Err(Failure::error(format!(
                "URL must not contain a path: {url}"
            )));
        }
    }
    Ok(())
}

/// All members.
///
/// # Errors
/// They cannot be had.
pub async fn members(session: &Session) -> Result<api::MemberListResponse> {
    let request = api::MemberListRequest { linearizable: true };
    let list = async |wire| cluster(wire).member_list(request).await;
    session.ask(Repeat::Always, list).await
}

/// The one that is called so, or has this id in hexadecimal.
///
/// # Errors
/// There is none, or there are several; with those that there are.
pub fn find<'a>(list: &'a [api::Member], said: &str) -> Result<&'a api::Member> {
    let id = u64::from_str_radix(said, 16).ok();
    let found = list.iter().find(|member| Some(member.id) == id);
    let mut named = list.iter().filter(|member| member.name == said);
    let found = found.or_else(|| named.next());
    if let (Some(found), None) = (found, named.next()) {
        return Ok(found);
    }
    let known = list
        .iter()
        .map(|member| format!("{} ({:x})", member.name, member.id));
    let known: Vec<String> = known.collect();
    let why = if found.is_some() {
        "several members are"
    } else {
        "no member is"
    };
    Err(Failure::error(format!(
        "{why} called \"{said}\"; there are {}",
        known.join(", ")
    )))
}

/// Removes a member.
///
/// # Errors
/// It is not removed, or it is not known.
pub async fn remove(session: &Session, id: u64) -> Result<api::MemberRemoveResponse> {
    let request = api::MemberRemoveRequest { id };
    let remove = async |wire| cluster(wire).member_remove(request).await;
    session.ask(Repeat::Never, remove).await
}

/// Adds a member.
///
/// # Errors
/// It is not added, or it is not known.
pub async fn admit(
    session: &Session,
    peer_urls: Vec<String>,
    is_learner: bool,
) -> Result<api::MemberAddResponse> {
    let request = api::MemberAddRequest {
        peer_ur_ls: peer_urls,
        is_learner,
    };
    let add = async |wire| cluster(wire).member_add(request.clone()).await;
    session.ask(Repeat::Never, add).await
}

async fn add(session: &Session, style: Style, args: AddArgs) -> Result<()> {
    let name = match &args.args[..] {
        [] => return Err(Failure::arguments("member name not provided")),
        [name] => name.clone(),
        _ => return Err(Failure::arguments("too many arguments")),
    };
    if args.peer_urls.is_empty() {
        return Err(Failure::arguments("member peer urls not provided"));
    }
    check_urls(&args.peer_urls)?;
    let answer = admit(session, args.peer_urls, args.learner).await?;
    if style.format != Format::Simple {
        return style.print(&answer);
    }
    let id = answer.member.as_ref().map_or(0, |member| member.id);
    let cluster = cluster_of(&answer.header);
    let mut text = format!("Member {id:16x} added to cluster {cluster:16x}\n");
    text += &settings(&answer, &name);
    say(text.as_bytes())
}

/// What the new member is started with, as variables.
pub fn settings(answer: &api::MemberAddResponse, name: &str) -> String {
    let new = answer.member.clone().unwrap_or_default();
    let mut founders = Vec::new();
    for member in &answer.members {
        let known = if member.id == new.id {
            name
        } else {
            &member.name
        };
        founders.extend(member.peer_ur_ls.iter().map(|url| format!("{known}={url}")));
    }
    format!(
        "\nETCD_NAME={name:?}\nETCD_INITIAL_CLUSTER={:?}\nETCD_INITIAL_ADVERTISE_PEER_URLS={:?}\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        founders.join(","),
        new.peer_ur_ls.join(",")
    )
}

async fn list(session: &Session, style: Style, args: ListArgs) -> Result<()> {
    let answer = members(session).await?;
    if !args.leader {
        return style.print(&answer);
    }
    let status = async |wire| maintenance(wire).status(api::StatusRequest {}).await;
    let leader = session.ask(Repeat::Always, status).await?.leader;
    let mut table = Table::new(&HEADING_WITH_LEADER);
    for member in &answer.members {
        let mut cells = row(member);
        cells.push((member.id == leader).to_string());
        table.row(cells);
    }
    match style.format {
        Format::Table => say(table.draw().as_bytes()),
        Format::Simple => say(table.lines().as_bytes()),
        _ => Err(Failure::arguments("--leader is only for simple and table")),
    }
}

const HEADING: [&str; 6] = [
    "ID",
    "Status",
    "Name",
    "Peer Addrs",
    "Client Addrs",
    "Is Learner",
];

const HEADING_WITH_LEADER: [&str; 7] = [
    "ID",
    "Status",
    "Name",
    "Peer Addrs",
    "Client Addrs",
    "Is Learner",
    "Is Leader",
];

fn row(member: &api::Member) -> Vec<String> {
    let state = if member.name.is_empty() {
        "unstarted"
    } else {
        "started"
    };
    vec![
        format!("{:x}", member.id),
        state.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

fn member_fields(text: &mut Text, member: &api::Member) {
    field(text, "ID", member.id);
    field(text, "Name", quote(member.name.as_bytes()));
    for url in &member.peer_ur_ls {
        field(text, "PeerURL", quote(url.as_bytes()));
    }
    for url in &member.client_ur_ls {
        field(text, "ClientURL", quote(url.as_bytes()));
    }
    field(text, "IsLearner", member.is_learner);
    line(text, "");
}

impl Answer for api::MemberListResponse {
    const NAME: &'static str = "etcdserverpb.MemberListResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        for member in &self.members {
            line(text, row(member).join(", "));
        }
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        self.members
            .iter()
            .for_each(|member| member_fields(text, member));
        Ok(())
    }

    fn table(&self, _style: Style) -> Result<Table> {
        let mut table = Table::new(&HEADING);
        self.members
            .iter()
            .for_each(|member| table.row(row(member)));
        Ok(table)
    }

    fn json(&self, style: Style) -> Json {
        let json = Json::of(Self::NAME, self);
        if style.hex {
            json.with_hexadecimal_ids()
        } else {
            json
        }
    }
}

/// The answer to a change, which has no lines of its own.
macro_rules! change {
    ($($message:ident $name:literal),*) => {$(
        impl Answer for api::$message {
            const NAME: &'static str = $name;

            fn simple(&self, _text: &mut Text, _style: Style) {}

            fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
                header_fields(text, self.header.as_ref());
                Ok(())
            }
        }
    )*};
}

change! {
    MemberRemoveResponse "etcdserverpb.MemberRemoveResponse",
    MemberUpdateResponse "etcdserverpb.MemberUpdateResponse",
    MemberPromoteResponse "etcdserverpb.MemberPromoteResponse"
}

impl Answer for api::MemberAddResponse {
    const NAME: &'static str = "etcdserverpb.MemberAddResponse";

    fn simple(&self, _text: &mut Text, _style: Style) {}

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        if let Some(member) = &self.member {
            field(text, "ID", member.id);
            for url in &member.peer_ur_ls {
                field(text, "PeerURL", quote(url.as_bytes()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A member of which no more is known.
    pub fn member(id: u64, name: &str) -> api::Member {
        api::Member {
            id,
            name: name.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_member_is_found_by_name_or_id_and_never_by_chance() {
        let list = [member(0xa1, "n1"), member(0xb2, "n2"), member(0xc3, "n2")];
        assert_eq!(find(&list, "n1").unwrap().id, 0xa1);
        assert_eq!(find(&list, "b2").unwrap().id, 0xb2);
        let error = find(&list, "n2").unwrap_err().to_string();
        assert!(error.starts_with("several members are called"), "{error}");
        let error = find(&list, "n9").unwrap_err().to_string();
        assert!(error.contains("n1 (a1), n2 (b2)"), "{error}");
    }
}
