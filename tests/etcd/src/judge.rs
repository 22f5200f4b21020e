//! The verdict on a run: what the members hold at the end, and whether the history allows it.

use crate::cluster::Cluster;
use crate::history::{Action, Operation, Outcome, Stamp, Value};
use crate::linearizable::{Verdict, check};
use crate::revision;
use crate::shrink::shortest_violation;
use crate::workload::value_of;
use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, GetOptions, KeyValue};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many pairs one request asks for.
const PAGE: i64 = 5_000;

/// How long members may take to agree once all run.
const AGREE_LIMIT: Duration = Duration::from_secs(20);

/// Everything a member holds, at one revision.
#[derive(Clone, Debug)]
pub struct State {
    /// The revision.
    pub revision: i64,
    /// All pairs, by key.
    pub pairs: Vec<Pair>,
}

/// One key as a member holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    key: String,
    value: Value,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
}

impl Pair {
    fn of(kv: &KeyValue) -> Pair {
        Pair {
            key: String::from_utf8_lossy(kv.key()).into_owned(),
            value: value_of(kv),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            version: kv.version(),
            lease: kv.lease(),
        }
    }
}

/// Reads everything from one member. Serializable reads ask this member alone; with no revision
/// given, the first page says which one it is.
async fn everything(client: &mut Client, revision: i64, serializable: bool) -> Result<State> {
    let mut state = State {
        revision,
        pairs: Vec::new(),
    };
    let mut from = b"\0".to_vec();
    loop {
        let mut options = GetOptions::new().with_from_key().with_limit(PAGE);
        options = options.with_revision(state.revision);
        if serializable {
            options = options.with_serializable();
        }
        let page = client.get(from.clone(), Some(options)).await?;
        if state.revision == 0 {
            state.revision = page
                .header()
                .context("an answer without a header")?
                .revision();
        }
        state.pairs.extend(page.kvs().iter().map(Pair::of));
        let Some(last) = state.pairs.last().filter(|_| page.more()) else {
            return Ok(state);
        };
        from = last.key.clone().into_bytes();
        from.push(0);
    }
}

/// Reads everything through a quorum, then from each member alone at the same revision, and
/// compares.
///
/// # Errors
/// If a member holds something else, or does not get there in time.
pub async fn agreed_state(cluster: &Cluster) -> Result<State> {
    let limit = Duration::from_secs(10);
    let agreed = everything(&mut cluster.client(0, limit).await?, 0, false).await?;
    let deadline = Instant::now() + AGREE_LIMIT;
    for number in 0..cluster.members.len() {
        let name = &cluster.members[number].name;
        let mut client = cluster.client(number, limit).await?;
        let own = loop {
            match everything(&mut client, agreed.revision, true).await {
                Ok(state) => break state,
                // A revision that this member has not reached yet.
                Err(_) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error.context(format!("{name} did not catch up"))),
            }
        };
        let differs = own
            .pairs
            .iter()
            .zip(&agreed.pairs)
            .find(|(own, agreed)| own != agreed);
        if let Some((own, agreed)) = differs {
            bail!("{name} holds {own:?} where a quorum holds {agreed:?}");
        }
        let (own, agreed) = (own.pairs.len(), agreed.pairs.len());
        ensure!(own == agreed, "{name} holds {own} pairs, a quorum {agreed}");
    }
    Ok(agreed)
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Operations that were answered.
    pub answered: usize,
    /// Operations whose outcome is unknown.
    pub unknown: usize,
    /// Operations that surely failed.
    pub failed: usize,
}

/// Judges a history together with the state that was left at the end.
///
/// # Errors
/// With the shortest part of the history that shows what is wrong.
pub fn judge(history: &mut Vec<Operation>, end_ns: u64, state: &State) -> Result<Counts> {
    let mut counts = Counts::default();
    for operation in history.iter() {
        match operation.outcome {
            Outcome::Unknown => counts.unknown += 1,
            Outcome::Failed => counts.failed += 1,
            _ => counts.answered += 1,
        }
    }
    append_final_reads(history, end_ns, state);
    let lost = lost_writes(history, state);
    ensure!(
        lost.is_empty(),
        "{} acknowledged writes are lost:\n{}",
        lost.len(),
        lines(&lost)
    );
    let mut complaints = String::new();
    if let Err(contradiction) = revision::check(history) {
        complaints += &format!("the revisions contradict each other: {contradiction}");
    }
    match check(history) {
        Verdict::Linearizable => {}
        Verdict::Undecided { key } => {
            complaints += &format!("the history of {key} is too tangled to judge\n");
        }
        Verdict::Violation { key } => {
            let of_key = history.iter().filter(|operation| operation.key == key);
            let part = shortest_violation(&of_key.cloned().collect::<Vec<_>>());
            let part = lines(&part);
            complaints += &format!("{key} is not linearizable; the least that shows it:\n{part}");
        }
    }
    ensure!(complaints.is_empty(), complaints);
    Ok(counts)
}

/// The final state, as one read of each key that the history knows.
fn append_final_reads(history: &mut Vec<Operation>, end_ns: u64, state: &State) {
    let unsigned = |number: i64| u64::try_from(number).expect("revisions are not negative");
    let mut keys: BTreeMap<String, Option<&Pair>> = BTreeMap::new();
    keys.extend(
        history
            .iter()
            .map(|operation| (operation.key.clone(), None)),
    );
    keys.extend(
        state
            .pairs
            .iter()
            .map(|pair| (pair.key.clone(), Some(pair))),
    );
    for (key, pair) in keys {
        let stamp = Stamp {
            revision: unsigned(state.revision),
            mod_revision: pair.map_or(0, |pair| unsigned(pair.mod_revision)),
            version: pair.map_or(0, |pair| unsigned(pair.version)),
        };
        history.push(Operation {
            process: u32::MAX,
            key,
            action: Action::Get,
            outcome: Outcome::Got(pair.map(|pair| pair.value)),
            invoked_ns: end_ns + 1,
            returned_ns: end_ns + 2,
            stamp: Some(stamp),
        });
    }
}

/// Acknowledged writes of keys that nobody else writes, and that are not there. The judges would
/// find them too; this names them all.
fn lost_writes(history: &[Operation], state: &State) -> Vec<Operation> {
    let there: BTreeMap<&str, Value> = state
        .pairs
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value))
        .collect();
    let lost = |operation: &&Operation| match operation.action {
        Action::Put(value) => {
            operation.key.starts_with("own/")
                && operation.outcome == Outcome::Put
                && there.get(operation.key.as_str()) != Some(&value)
        }
        _ => false,
    };
    history.iter().filter(lost).cloned().collect()
}

/// Operations, a line each.
pub fn lines(operations: &[Operation]) -> String {
    operations
        .iter()
        .map(|operation| format!("{operation}\n"))
        .collect()
}

/// How long after `since_ns` the first write was answered that was sent after it.
pub fn time_without_service(history: &[Operation], since_ns: u64) -> Option<Duration> {
    let is_write = |operation: &&Operation| {
        operation.invoked_ns >= since_ns
            && matches!(operation.outcome, Outcome::Put | Outcome::Swapped)
    };
    let first = history
        .iter()
        .filter(is_write)
        .map(|operation| operation.returned_ns)
        .min()?;
    Some(Duration::from_nanos(first - since_ns))
}
