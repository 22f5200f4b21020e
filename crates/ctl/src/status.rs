//! `status`: the whole cluster on one screen, and what to do next.
//! Never changes anything, and needs no leader.
//!
//! # Source
//! docs/operating.md; the etcd v3 API, services `Cluster` and `Maintenance`.

use headwater_api::etcdserverpb as api;

use crate::endpoint::status_of;
use crate::failure::{Failure, Result};
use crate::page;
use crate::place::Place;
use crate::quantity::size;
use crate::session::{Repeat, Session, cluster};
use crate::table::Table;
use crate::text::say;

/// One member, and what it says of itself.
struct Seen {
    member: api::Member,
    /// Its answer, or why there is none.
    answer: std::result::Result<api::StatusResponse, String>,
    /// Which program it is, if it says more than the release of etcd that it is like.
    program: Option<String>,
}

/// Asks all members, and tells how the cluster is.
///
/// # Errors
/// Nobody answers, or the cluster needs somebody's help; the text says whose.
pub async fn run(session: &Session) -> Result<()> {
    // As this member knows it: without a leader there is no other list.
    let request = api::MemberListRequest {
        linearizable: false,
    };
    let list = async |wire| cluster(wire).member_list(request).await;
    let members = session.ask(Repeat::Always, list).await?.members;
    let mut seen = Vec::new();
    for member in members {
        let (answer, program) = match ask(session, &member).await {
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
    say(draw(&seen, leader).as_bytes())?;
    let advice = advice(&seen, leader);
    for words in &advice {
        say(format!("* {words}\n").as_bytes())?;
    }
    if advice.is_empty() {
        return say(b"All is well.\n");
    }
    Err(Failure::error("the cluster needs attention"))
}

/// How a member is, and which program.
async fn ask(
    session: &Session,
    member: &api::Member,
) -> std::result::Result<(api::StatusResponse, Option<String>), String> {
    if member.name.is_empty() {
        return Err("it has never been started".to_owned());
    }
    let mut reason = "it tells no address for clients".to_owned();
    for url in &member.client_ur_ls {
        let place = Place::parse(url, session.options()).map_err(|failure| failure.to_string())?;
        match status_of(session, &place).await {
            Ok(status) => {
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

fn draw(seen: &[Seen], leader: Option<u64>) -> String {
    let newest = index_of(seen, leader);
    let mut table = Table::new(&[
        "Name", "ID", "Role", "Term", "Index", "Lag", "DB Size", "Version", "Endpoint",
    ]);
    for Seen {
        member,
        answer,
        program,
    } in seen
    {
        let role = match (answer, member.is_learner) {
            _ if Some(member.id) == leader => "leader",
            (Err(_), _) => "no answer",
            (_, true) => "learner",
            (_, false) => "follower",
        };
        let mut cells = vec![
            member.name.clone(),
            format!("{:x}", member.id),
            role.to_owned(),
        ];
        cells.extend(match answer {
            Err(_) => vec![String::new(); 5],
            Ok(status) => {
                let lag = newest.map(|newest| newest.saturating_sub(status.raft_applied_index));
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

/// What somebody should do, most urgent first.
fn advice(seen: &[Seen], leader: Option<u64>) -> Vec<String> {
    let voters = seen.iter().filter(|seen| !seen.member.is_learner);
    let (all, up) = voters.fold((0, 0), |(all, up), seen| {
        (all + 1, up + usize::from(seen.answer.is_ok()))
    });
    let majority = all / 2 + 1;
    let mut advice = Vec::new();
    if up < majority {
        advice.push(format!(
            "Only {up} of {all} voters answer, and nothing is written without {majority}: start those that \
             are missing. If they are gone for good: `headwater disk recover`."
        ));
    } else if leader.is_none() {
        advice.push(format!(
            "{up} of {all} voters answer and none leads: can they reach each other's peer URLs?"
        ));
    }
    for Seen { member, answer, .. } in seen {
        let name = if member.name.is_empty() {
            "(unnamed)"
        } else {
            &member.name
        };
        match answer {
            Err(reason) if member.name.is_empty() => advice.push(format!(
                "{name} {:x}: {reason}: start it, or take it back with `member remove {:x}`.",
                member.id, member.id
            )),
            Err(reason) => advice.push(format!(
                "{name}: {reason}. Start it; if its data are gone: `headwater ctl member replace {name}`."
            )),
            Ok(status) => {
                let words = status.errors.iter().map(|error| format!("{name}: {error}."));
                advice.extend(words);
            }
        }
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: u64, leader: Option<u64>) -> Seen {
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
    fn a_lost_majority_is_told_before_all_else() {
        let all = [seen(1, Some(0)), seen(2, None), seen(3, None)];
        assert_eq!(leader(&all), None);
        let words = advice(&all, None);
        assert!(
            words[0].starts_with("Only 1 of 3 voters answer"),
            "{words:?}"
        );
        assert!(words[1].contains("member replace n2"), "{words:?}");
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
}
