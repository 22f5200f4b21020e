//! `status`: the whole cluster on one screen, and what to do next.
//! Never changes anything, and needs no leader.
//!
//! # Source
//! docs/operating.md; the etcd v3 API, services `Cluster` and `Maintenance`.

use headwater_api::etcdserverpb as api;

use crate::advice::advice;
use crate::connect::is_there;
use crate::endpoint::status_of;
use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::member::cluster_of;
use crate::page;
use crate::place::Place;
use crate::quantity::size;
use crate::session::{Repeat, Session, cluster};
use crate::table::Table;
use crate::text::{Format, Style, say, unsupported};

/// One member, and what it says of itself.
pub struct Seen {
    /// What the others know of it.
    pub member: api::Member,
    /// Its answer, or why there is none.
    pub answer: std::result::Result<api::StatusResponse, String>,
    /// Which program it is, if it says more than the release of etcd that it is like.
    pub program: Option<String>,
}

/// Asks all members, and tells how the cluster is.
///
/// # Errors
/// Nobody answers, there is no such form of it, or the cluster needs somebody's help; the text says whose.
pub async fn run(session: &Session, style: Style) -> Result<()> {
    match style.format {
        Format::Simple | Format::Table | Format::Json => {}
        Format::Fields => return Err(unsupported("fields")),
        Format::Protobuf => return Err(unsupported("protobuf")),
    }
    // As this member knows it: without a leader there is no other list.
    let request = api::MemberListRequest {
        linearizable: false,
    };
    let list = async |wire| cluster(wire).member_list(request).await;
    let list = session.ask(Repeat::Always, list).await?;
    let cluster = cluster_of(&list.header);
    let strangers = strangers(session, &list).await;
    let mut seen = Vec::new();
    for member in list.members {
        let (answer, program) = match ask(session, cluster, &member).await {
            Ok((answer, program)) => (Ok(answer), program),
            Err(reason) => (Err(reason), None),
        };
        seen.push(Seen {
            member,
            answer,
            program,
        });
    }
    let leader = leader(&seen);
    let mut advice = advice(&seen, leader);
    advice.extend(strangers);
    if style.format == Format::Json {
        let json = json(&seen, leader, &advice);
        let json = if style.hex {
            json.with_hexadecimal_ids()
        } else {
            json
        };
        say(format!("{json}\n").as_bytes())?;
    } else {
        say(draw(&seen, leader).as_bytes())?;
        for words in &advice {
            say(format!("* {words}\n").as_bytes())?;
        }
        if advice.is_empty() {
            say(b"All is well.\n")?;
        }
    }
    if advice.is_empty() {
        return Ok(());
    }
    Err(Failure::error("the cluster needs attention"))
}

/// Which of the endpoints that were named are of another cluster than the one whose members these are.
async fn strangers(session: &Session, list: &api::MemberListResponse) -> Vec<String> {
    let cluster = cluster_of(&list.header);
    let known = list.members.iter().flat_map(|member| &member.client_ur_ls);
    let known: Vec<Place> = known
        .filter_map(|url| Place::parse(url, session.options()).ok())
        .collect();
    let mut words = Vec::new();
    for place in session.places() {
        if known.iter().any(|k| k.authority() == place.authority()) {
            continue;
        }
        let Ok(status) = status_of(session, place).await else {
            continue;
        };
        let other = cluster_of(&status.header);
        if other != cluster {
            words.push(format!(
                "{} is of another cluster ({other:x}) than the one shown here ({cluster:x}): has a member been \
                 started with another --initial-cluster or --initial-cluster-token?",
                place.said
            ));
        }
    }
    words
}

/// How a member of this cluster is, and which program.
async fn ask(
    session: &Session,
    cluster: u64,
    member: &api::Member,
) -> std::result::Result<(api::StatusResponse, Option<String>), String> {
    if member.name.is_empty() {
        return Err("it has never been started".to_owned());
    }
    let mut reason =
        "it has told nobody where clients reach it (--advertise-client-urls)".to_owned();
    for url in &member.client_ur_ls {
        let place = Place::parse(url, session.options()).map_err(|failure| failure.to_string())?;
        match status_of(session, &place).await {
            Ok(status) => {
                let header = status.header.unwrap_or_default();
                if (header.cluster_id, header.member_id) != (cluster, member.id) {
                    let (other, whose) = (header.member_id, header.cluster_id);
                    reason = format!("{url} is answered by member {other:x} of cluster {whose:x}");
                    continue;
                }
                // Where pages have a port of their own, or it is an etcd, nothing is missing.
                let page = page::of(session, &place, "/version").await;
                return Ok((status, page.ok().as_deref().and_then(program)));
            }
            Err(failure) => reason = failure.to_string(),
        }
    }
    // The first line says why; what follows leads back to this command.
    Err(reason.lines().next().unwrap_or_default().to_owned())
}

/// Headwater's own version, from its page of versions.
fn program(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("\"headwater\":")?;
    let version = rest.trim_start().strip_prefix('"')?.split('"').next()?;
    Some(format!("headwater {version}"))
}

/// Who leads, by the answer of the highest term.
fn leader(seen: &[Seen]) -> Option<u64> {
    let answers = seen.iter().filter_map(|seen| seen.answer.as_ref().ok());
    let newest = answers.filter(|status| status.leader != 0);
    newest
        .max_by_key(|status| status.raft_term)
        .map(|status| status.leader)
}

fn index_of(seen: &[Seen], id: Option<u64>) -> Option<u64> {
    let one = seen.iter().find(|seen| Some(seen.member.id) == id)?;
    Some(one.answer.as_ref().ok()?.raft_index)
}

/// What a member does, in a word.
fn role(one: &Seen, leader: Option<u64>) -> &'static str {
    match (&one.answer, one.member.is_learner) {
        (Err(_), _) if one.member.name.is_empty() => "not started",
        (Err(reason), _) if !is_there(reason) => "no answer",
        _ if Some(one.member.id) == leader => "leader",
        (Err(_), _) => "not for us",
        (_, true) => "learner",
        (_, false) => "follower",
    }
}

/// How many entries a member has not applied that the leader has, if it tells.
fn lag(newest: Option<u64>, status: &api::StatusResponse) -> Option<u64> {
    newest.map(|newest| newest.saturating_sub(status.raft_applied_index))
}

/// The same facts as the table's and below it.
fn json(seen: &[Seen], leader: Option<u64>, advice: &[String]) -> Json {
    let newest = index_of(seen, leader);
    let texts =
        |texts: &[String]| Json::List(texts.iter().map(|text| Json::text(text.clone())).collect());
    let members = seen.iter().map(|one| {
        let member = Json::object([
            ("name", Json::text(one.member.name.clone())),
            ("ID", Json::number(one.member.id)),
            ("role", Json::text(role(one, leader))),
            ("endpoints", texts(&one.member.client_ur_ls)),
        ]);
        let status = match &one.answer {
            Err(reason) => return member.and([("reason", Json::text(reason.clone()))]),
            Ok(status) => status,
        };
        let program = one.program.clone();
        member.and([
            ("term", Json::number(status.raft_term)),
            ("index", Json::number(status.raft_index)),
            ("lag", lag(newest, status).map_or(Json::Null, Json::number)),
            ("db_size", Json::number(status.db_size)),
            ("version", Json::text(status.version.clone())),
            ("program", program.map_or(Json::Null, Json::text)),
            ("errors", texts(&status.errors)),
        ])
    });
    Json::object([
        ("members", Json::List(members.collect())),
        ("advice", texts(advice)),
        ("is_well", Json::Bool(advice.is_empty())),
    ])
}

fn draw(seen: &[Seen], leader: Option<u64>) -> String {
    let newest = index_of(seen, leader);
    let mut table = Table::new(&[
        "Name", "ID", "Role", "Term", "Index", "Lag", "DB Size", "Version", "Endpoint",
    ]);
    for one in seen {
        let Seen {
            member,
            answer,
            program,
        } = one;
        let mut cells = vec![
            member.name.clone(),
            format!("{:x}", member.id),
            role(one, leader).to_owned(),
        ];
        cells.extend(match answer {
            Err(_) => vec![String::new(); 5],
            Ok(status) => {
                let lag = lag(newest, status);
                vec![
                    status.raft_term.to_string(),
                    status.raft_index.to_string(),
                    lag.map_or(String::new(), |lag| lag.to_string()),
                    size(status.db_size.unsigned_abs()),
                    match program {
                        Some(program) => format!("{program} (etcd {})", status.version),
                        None => status.version.clone(),
                    },
                ]
            }
        });
        cells.push(member.client_ur_ls.join(","));
        table.row(cells);
    }
    table.draw()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A member that answers, and knows this leader; or one that does not.
    pub fn seen(id: u64, leader: Option<u64>) -> Seen {
        let member = api::Member {
            id,
            name: format!("n{id}"),
            ..Default::default()
        };
        let answer = leader.map(|leader| api::StatusResponse {
            leader,
            raft_index: 10,
            raft_applied_index: 10 - id,
            ..Default::default()
        });
        Seen {
            member,
            answer: answer.ok_or_else(|| "connection refused".to_owned()),
            program: None,
        }
    }

    #[test]
    fn a_program_that_is_no_etcd_says_which_it_is() {
        let page = r#"{"etcdcluster":"3.6.0","etcdserver":"3.6.6","headwater":"0.1.0"}"#;
        assert_eq!(program(page).as_deref(), Some("headwater 0.1.0"));
        assert_eq!(program(r#"{"etcdserver":"3.5.1"}"#), None);
        let mut all = [seen(1, Some(1))];
        all[0].program = program(page);
        assert!(draw(&all, Some(1)).contains("headwater 0.1.0 (etcd"));
    }

    #[test]
    fn a_cluster_that_is_well_needs_no_advice() {
        let all = [seen(1, Some(1)), seen(2, Some(1)), seen(3, Some(1))];
        assert_eq!(leader(&all), Some(1));
        assert!(advice(&all, Some(1)).is_empty());
        assert!(draw(&all, Some(1)).contains("leader"));
    }

    #[test]
    fn json_has_the_facts_of_the_table() {
        let all = [seen(1, Some(1)), seen(2, None)];
        let text = json(&all, Some(1), &["do something".to_owned()]).to_string();
        for part in [
            r#"{"name":"n1","ID":1,"role":"leader","#,
            r#""index":10,"lag":1,"#,
            r#""role":"no answer","endpoints":[],"reason":"connection refused"}"#,
            r#""advice":["do something"],"is_well":false}"#,
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
