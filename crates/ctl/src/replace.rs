//! `member replace`: one command that lets a member in again whose data directory was lost, emptied or
//! set back to an older copy.
//! Never touches a directory, never removes a member that could be the majority's last, and, unless told
//! to, none that answers.
//!
//! # Source
//! docs/operating.md, "Replace a dead machine"; ARCHITECTURE.md, rule R13.

use std::time::Duration;

use clap::Args;
use headwater_api::etcdserverpb as api;
use tokio::time::{Instant, sleep};

use crate::endpoint::status_of;
use crate::failure::{Failure, Result};
use crate::member::{admit, check_urls, cluster_of, find, members, remove, settings};
use crate::place::Place;
use crate::session::Session;
use crate::text::say;

/// Flags of `member replace`.
#[derive(Args, Debug)]
pub struct ReplaceArgs {
    /// Its name, or its id in hexadecimal
    #[arg(value_name = "NAME|ID")]
    member: String,
    /// Where its peers will reach it, comma-separated [default: where they did]
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    peer_urls: Vec<String>,
    /// Its new name [default: the one it has]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Even if it answers: its server stops for good
    #[arg(long)]
    force: bool,
}

/// How long a member may take to be added, as long as others only have to agree.
const PATIENCE: Duration = Duration::from_secs(15);

/// Removes it, adds it, and tells the next step.
///
/// # Errors
/// There is no such member, it answers, or one of both changes is not made; the text tells which.
pub async fn run(session: &Session, args: ReplaceArgs) -> Result<()> {
    let answer = members(session).await?;
    let cluster_id = cluster_of(&answer.header);
    let list = answer.members;
    let old = find(&list, &args.member)?;
    if list.len() == 1 {
        return Err(Failure::error(format!(
            "{} is the only member: nobody else has the data. Begin anew with a snapshot (`headwater \
             snapshot restore`), or with what is left of its directory (`headwater disk recover`)",
            args.member
        )));
    }
    let name = args.name.unwrap_or_else(|| old.name.clone());
    if name.is_empty() {
        return Err(Failure::arguments(
            "that member was never started and has no name: say --name NAME",
        ));
    }
    let peer_urls = match args.peer_urls {
        urls if urls.is_empty() => old.peer_ur_ls.clone(),
        urls => urls,
    };
    check_urls(&peer_urls)?;
    if !args.force
        && let Some(url) = answers_at(session, old, cluster_id).await
    {
        return Err(Failure::error(alive(old, &url)));
    }
    remove(session, old.id).await?;
    say(format!(
        "Member {:x} ({name}) is removed: its id never comes back.\n",
        old.id
    )
    .as_bytes())?;
    let answer = readmit(session, &peer_urls, old.is_learner).await.map_err(|failure| {
        failure.hint(&format!(
            "the old member is removed and the new one not added: go on with `headwater ctl member add \
             {name} --peer-urls={}`",
            peer_urls.join(",")
        ))
    })?;
    let id = answer.member.as_ref().map_or(0, |member| member.id);
    say(next_step(&answer, &name, id).as_bytes())
}

/// Where it answers as this member of this cluster, if it does.
async fn answers_at(session: &Session, member: &api::Member, cluster_id: u64) -> Option<String> {
    for url in &member.client_ur_ls {
        let Ok(place) = Place::parse(url, session.options()) else {
            continue;
        };
        let status = status_of(session, &place).await.ok();
        let header = status.and_then(|status| status.header);
        // Another server may have taken its place there.
        if header.is_some_and(|from| (from.cluster_id, from.member_id) == (cluster_id, member.id)) {
            return Some(url.clone());
        }
    }
    None
}

fn alive(member: &api::Member, url: &str) -> String {
    format!(
        "{} ({:x}) answers at {url}: it is not dead, and nothing was changed. Stop it first if it is to be \
         replaced; --force replaces it as it runs, and its server stops for good",
        member.name, member.id
    )
}

/// Adds it, as often as the others need to notice that the old one is gone.
async fn readmit(
    session: &Session,
    peer_urls: &[String],
    is_learner: bool,
) -> Result<api::MemberAddResponse> {
    let end = Instant::now() + PATIENCE;
    loop {
        let failure = match admit(session, peer_urls.to_vec(), is_learner).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        // The removal may just have ended the leader's reign, and its end is no refusal.
        let passes = [
            "unhealthy cluster",
            "no leader",
            "leader changed",
            "too many requests",
        ];
        let may_pass = passes.iter().any(|part| failure.to_string().contains(part));
        if !may_pass || Instant::now() >= end {
            return Err(failure);
        }
        sleep(Duration::from_millis(300)).await;
    }
}

fn next_step(answer: &api::MemberAddResponse, name: &str, id: u64) -> String {
    let settings = settings(answer, name);
    let settings: Vec<&str> = settings.trim().lines().collect();
    format!(
        "Member {id:x} ({name}) is added, and votes as soon as it has caught up.\n\n\
         Next, on its machine:\n\
         1. Move what is left of its data directory out of the way: it must be empty.\n\
         2. Start it with these settings and the flags for its listeners, data and certificates as before:\n\n\
         export {}\n\n\
         3. `headwater ctl status` tells when it has caught up.\n",
        settings.join("\nexport ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::tests::member;

    #[test]
    fn who_answers_is_told_where_and_what_can_be_done() {
        let told = alive(&member(0xb2, "n2"), "http://10.0.0.2:2379");
        assert!(
            told.starts_with("n2 (b2) answers at http://10.0.0.2:2379"),
            "{told}"
        );
        assert!(
            told.contains("Stop it first") && told.contains("--force"),
            "{told}"
        );
    }
}
