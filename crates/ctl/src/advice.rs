//! What `status` says below its table: what somebody should do, most urgent first.
//! Never asks anybody; it goes by what the members said.
//!
//! # Source
//! docs/operating.md; docs/divergence.md: a member that was added counts for no majority before it has
//! caught up.

use headwater_api::etcdserverpb as api;

use crate::connect::is_there;
use crate::member::settings;
use crate::status::Seen;

/// What to do about a store that takes nothing in, as `put` says it, too.
pub const MAKE_ROOM: &str = "delete what can be spared, then `compaction REVISION`, `defrag` on an etcd, and `alarm disarm`";

/// What somebody should do, most urgent first; nothing if all is well.
///
/// `leader`: who leads, as far as those know that answer.
pub fn advice(seen: &[Seen], leader: Option<u64>) -> Vec<String> {
    // Who was added has no name before it has a vote.
    let voters = seen
        .iter()
        .filter(|seen| !seen.member.is_learner && !seen.member.name.is_empty());
    let (mut all, mut up, mut there) = (0, 0, 0);
    for seen in voters {
        all += 1;
        up += usize::from(seen.answer.is_ok());
        there += usize::from(seen.answer.as_ref().err().is_none_or(|why| is_there(why)));
    }
    let majority = all / 2 + 1;
    let leads = seen
        .iter()
        .find(|seen| Some(seen.member.id) == leader && seen.answer.is_ok());
    let mut advice = Vec::new();
    match leads {
        _ if up >= majority && leader.is_some() => {}
        _ if up >= majority => advice.push(format!(
            "{up} of {all} voters answer and none leads: can they reach each other's peer URLs?"
        )),
        _ if there >= majority => advice.push(format!(
            "Only {up} of {all} voters could be asked; others are there, but not for this client. {}",
            match leader {
                Some(_) => "Those that answer know a leader.",
                None => "Those that answer know of no leader.",
            }
        )),
        Some(seen) => advice.push(format!(
            "Only {up} of {all} voters answer, and {} still leads: it may not for long, or not all vote yet. \
             Ask again in a few seconds.",
            seen.member.name
        )),
        None => advice.push(format!(
            "Only {up} of {all} voters answer, and nothing is written without {majority}: start those that \
             are missing. If they are gone for good: `headwater disk recover`."
        )),
    }
    let each = seen.iter().map(|one| of_member(one, seen, up >= majority));
    for words in each.flatten().chain(alarms(seen)) {
        // Every member tells of the same alarms.
        if !advice.contains(&words) {
            advice.push(words);
        }
    }
    advice
}

/// What one member needs; `may_change`: whether enough vote to change who the members are.
fn of_member(one: &Seen, seen: &[Seen], may_change: bool) -> Vec<String> {
    let Seen { member, answer, .. } = one;
    let name = &member.name;
    match answer {
        Err(_) if name.is_empty() => vec![first_start(member, seen)],
        Err(reason) if is_there(reason) => vec![format!("{name}: {reason}.")],
        Err(reason) if may_change => vec![format!(
            "{name}: {reason}. Start it; if its data are gone: `headwater ctl member replace {name}`."
        )],
        Err(reason) => vec![format!("{name}: {reason}. Start it.")],
        Ok(status) => {
            let errors = status.errors.iter().filter(|error| alarm(error).is_none());
            errors.map(|error| format!("{name}: {error}.")).collect()
        }
    }
}

/// How a member is started that was added and never was.
fn first_start(member: &api::Member, seen: &[Seen]) -> String {
    let answer = api::MemberAddResponse {
        member: Some(member.clone()),
        members: seen.iter().map(|seen| seen.member.clone()).collect(),
        ..Default::default()
    };
    let settings = settings(&answer, "NAME");
    let settings: Vec<&str> = settings.split_whitespace().collect();
    let id = member.id;
    format!(
        "{id:x} was added and has never been started, or has not caught up: until it has, it counts for no majority. \
         Start it on its machine, with a NAME of its own, its listeners and an empty data directory:\n    \
         {} headwater ...\n  or take it back: `headwater ctl member remove {id:x}`.",
        settings.join(" ")
    )
}

/// The alarms that members tell of, each once.
fn alarms(seen: &[Seen]) -> Vec<String> {
    let answers = seen.iter().filter_map(|seen| seen.answer.as_ref().ok());
    let errors = answers.flat_map(|status| &status.errors);
    let raised = errors.filter_map(|error| alarm(error));
    let words = raised.map(|(id, kind)| {
        let known = seen.iter().find(|seen| seen.member.id == id);
        let known = known.filter(|known| !known.member.name.is_empty());
        let who = known.map_or(format!("{id:x}"), |known| known.member.name.clone());
        match kind {
            "NOSPACE" => format!(
                "{who} has raised the alarm NOSPACE: its store is full (--quota-backend-bytes), or its disk, \
                 and nothing new is taken in: {MAKE_ROOM} (each after `headwater ctl`). Of a full disk: make \
                 room there, and it ends by itself."
            ),
            "CORRUPT" => format!(
                "{who} has raised the alarm CORRUPT: its data differ from the other members', and nothing is \
                 taken in: `headwater ctl endpoint hashkv --cluster` shows who differs. Stop and replace that \
                 one, then `headwater ctl alarm disarm`."
            ),
            kind => format!("{who} has raised the alarm {kind}: `headwater ctl alarm list`."),
        }
    });
    words.collect()
}

/// Whose alarm an error of a member's status is, and which.
fn alarm(error: &str) -> Option<(u64, &str)> {
    let (id, kind) = error.strip_prefix("memberID:")?.split_once(" alarm:")?;
    Some((id.parse().ok()?, kind.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::seen;

    #[test]
    fn a_lost_majority_is_told_before_all_else_and_no_change_of_members_with_it() {
        let all = [seen(1, Some(0)), seen(2, None), seen(3, None)];
        let words = advice(&all, None);
        assert!(
            words[0].starts_with("Only 1 of 3 voters answer") && words[0].contains("disk recover"),
            "{words:?}"
        );
        assert_eq!(words[1], "n2: connection refused. Start it.");
        let all = [seen(1, Some(1)), seen(2, Some(1)), seen(3, None)];
        let words = advice(&all, Some(1));
        assert!(words[0].contains("member replace n3"), "{words:?}");
    }

    #[test]
    fn who_is_there_and_not_trusted_is_not_taken_for_missing() {
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
        let mut all = [seen(1, Some(3)), seen(2, None), seen(3, None)];
        for one in &mut all[1..] {
            one.answer = Err(crate::connect::explain(&untrusted));
        }
        let words = advice(&all, Some(3));
        assert!(
            words[0].starts_with("Only 1 of 3 voters could be asked"),
            "{words:?}"
        );
        assert!(words[1].contains("--cacert"), "{words:?}");
        assert!(!words.concat().contains("Start it"), "{words:?}");
        // One that is really away makes no difference; two do.
        all[2].answer = Err("connection refused".to_owned());
        assert!(advice(&all, None)[0].contains("could be asked"));
        all[1].answer = Err("connection refused".to_owned());
        assert!(advice(&all, None)[0].contains("disk recover"));
    }

    #[test]
    fn who_was_added_and_never_started_counts_for_no_majority() {
        let mut all = [seen(1, Some(1)), seen(0x2b, None)];
        all[0].member.peer_ur_ls = vec!["http://10.0.0.1:2380".to_owned()];
        all[1].member.name.clear();
        all[1].member.peer_ur_ls = vec!["http://10.0.0.2:2380".to_owned()];
        let words = advice(&all, Some(1));
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(words[0].starts_with("2b was added and has never been started"));
        let flags = "ETCD_INITIAL_CLUSTER=\"n1=http://10.0.0.1:2380,NAME=http://10.0.0.2:2380\"";
        assert!(words[0].contains(flags), "{words:?}");
        assert!(words[0].contains("member remove 2b"), "{words:?}");
    }

    #[test]
    fn while_somebody_leads_nobody_is_told_that_nothing_is_written() {
        let all = [seen(1, Some(1)), seen(2, None)];
        let words = advice(&all, Some(1));
        assert!(words[0].contains("n1 still leads"), "{words:?}");
        assert!(!words.concat().contains("disk recover"), "{words:?}");
        // A follower's word of a leader that does not answer is old.
        let all = [seen(1, Some(2)), seen(2, None)];
        assert!(advice(&all, Some(2))[0].contains("disk recover"));
    }

    #[test]
    fn an_alarm_is_told_once_with_what_ends_it() {
        let mut all = [seen(1, Some(1)), seen(2, Some(1))];
        for one in &mut all {
            let status = one.answer.as_mut().unwrap();
            status.errors = vec!["memberID:2 alarm:NOSPACE ".to_owned()];
        }
        let words = advice(&all, Some(1));
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(words[0].starts_with("n2 has raised the alarm NOSPACE"));
        assert!(words[0].contains("alarm disarm"), "{words:?}");
        all[0].answer.as_mut().unwrap().errors = vec!["memberID:171 alarm:CORRUPT ".to_owned()];
        let words = advice(&all, Some(1));
        assert!(words[0].starts_with("ab has raised the alarm CORRUPT"));
    }
}
