//! The demonstration: what the cluster is for, in half a minute, unattended, with figures.
//! Never shows a success that was not checked.
//!
//! # Source
//! Raft paper §9.3 (how long a cluster is without a leader), §8 (what a client may rely on).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tonic::transport::Channel;

use super::cluster::{LocalCluster, Row, leader_of};
use super::verify;
use super::writer::{self, Ledger, Written};
use crate::print;

/// Clients that write at once.
const CLIENTS: usize = 12;

/// How long they write before, between and after the disturbances.
const CALM: Duration = Duration::from_secs(4);

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look again for something that is about to happen.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the demonstration on a cluster that has not been started.
///
/// # Errors
/// A server did not start, or an acknowledged write is not where it should be.
pub async fn run(cluster: &mut LocalCluster) -> Result<()> {
    let story = Story(Instant::now());
    let count = cluster.nodes.len();
    ensure!(
        count >= 3,
        "the demonstration needs at least 3 servers, so that one can be spared"
    );
    print::put(format!(
        "{count} servers, {CLIENTS} clients that write all the time; the leader is killed; then \
         every\nacknowledged write is looked for on every server.\n\n"
    ))?;
    let dir = cluster.plan().dir().display().to_string();
    story.tell(&format!("starting {count} servers, data in {dir}"))?;
    cluster.start_all()?;
    let rows = wait_for(cluster, "all servers to follow one leader", all_follow).await?;
    let (victim, term) = leader_of(&rows).context("a leader was just there")?;
    let name = rows[victim].name.clone();
    story.tell(&format!(
        "{name} leads in term {term}; {CLIENTS} clients begin to write through all servers"
    ))?;

    let ledger = Ledger::default();
    let servers: Vec<Channel> = (0..count)
        .map(|at| cluster.channel(at))
        .collect::<Result<_>>()?;
    let clients = writer::start(CLIENTS, &servers, &ledger);
    tokio::time::sleep(CALM).await;
    let (before, _) = ledger.counts();
    ensure!(
        before > 0,
        "no write was acknowledged in {CALM:?}\n{}",
        logs(cluster)
    );
    story.tell(&format!(
        "{before} writes acknowledged; killing the leader {name} (SIGKILL)"
    ))?;

    let killed = Instant::now();
    cluster.nodes[victim].kill().await?;
    let outage = wait_for_write(&ledger, killed, term).await?;
    let rows = wait_for(cluster, "another leader", |rows| leader_of(rows).is_some()).await?;
    let (heir, term) = leader_of(&rows).context("a leader was just there")?;
    story.tell(&format!(
        "writes are acknowledged again {} after the kill; {} leads in term {term}",
        ms(outage),
        rows[heir].name
    ))?;

    tokio::time::sleep(CALM).await;
    story.tell(&format!(
        "{} writes acknowledged; starting {name} again",
        ledger.counts().0
    ))?;
    cluster.nodes[victim].start()?;
    wait_for(cluster, "the server to come back", all_follow).await?;
    story.tell(&format!("{name} is back and follows"))?;
    tokio::time::sleep(CALM).await;

    ledger.end();
    clients.join_all().await;
    let written = ledger.written();
    story.tell(&format!(
        "the clients stop: {} writes acknowledged",
        written.len()
    ))?;
    check(cluster, &servers, &written, &story).await?;
    summary(&written, ledger.counts().1, outage)
}

/// Looks for every write on every server: as the cluster has it, and as that server alone has it.
async fn check(
    cluster: &mut LocalCluster,
    servers: &[Channel],
    written: &[Written],
    story: &Story,
) -> Result<()> {
    for (place, server) in servers.iter().enumerate() {
        let name = cluster.nodes[place].planned.name.clone();
        let held = verify::read_all(server.clone(), false).await;
        let held = held.with_context(|| format!("asking {name}"))?;
        verify::compare(&held, written).with_context(|| format!("linearizable, asking {name}"))?;
    }
    wait_for(cluster, "all servers to have applied everything", all_equal).await?;
    for (place, server) in servers.iter().enumerate() {
        let name = cluster.nodes[place].planned.name.clone();
        let held = verify::read_all(server.clone(), true).await;
        let held = held.with_context(|| format!("asking {name}"))?;
        verify::compare(&held, written).with_context(|| format!("in {name}'s own copy"))?;
        story.tell(&format!(
            "{name}: all {} writes are there, through the cluster and in its own copy",
            written.len()
        ))?;
    }
    Ok(())
}

fn summary(written: &[Written], unknown: u64, outage: Duration) -> Result<()> {
    let mut took: Vec<Duration> = written.iter().map(|write| write.took).collect();
    took.sort_unstable();
    let at = |part: usize| ms(took[(took.len() - 1) * part / 100]);
    print::put(format!(
        "\nPASS: no acknowledged write was lost.\n\n  \
         acknowledged writes      {}\n  \
         without an answer        {unknown} (they may have happened; no one was told that they had)\n  \
         without a leader         {} from the kill to the next acknowledged write\n  \
         longest pause            {}\n  \
         time for a write         {} median, {} for 99 of 100\n",
        written.len(),
        ms(outage),
        ms(longest_pause(written)),
        at(50),
        at(99),
    ))
}

/// The longest time in which no client got an answer.
fn longest_pause(written: &[Written]) -> Duration {
    let pairs = written
        .windows(2)
        .map(|pair| pair[1].at.saturating_duration_since(pair[0].at));
    pairs.max().unwrap_or_default()
}

/// How long after the leader of `term` was `killed` another one acknowledged a write.
async fn wait_for_write(ledger: &Ledger, killed: Instant, term: u64) -> Result<Duration> {
    while killed.elapsed() < PATIENCE {
        if let Some(at) = ledger.first_after_term(term) {
            return Ok(at.saturating_duration_since(killed));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    anyhow::bail!("no write was acknowledged for {PATIENCE:?} after the leader was killed")
}

async fn wait_for(
    cluster: &mut LocalCluster,
    what: &str,
    is_so: impl Fn(&[Row]) -> bool,
) -> Result<Vec<Row>> {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let rows = cluster.look().await;
        if is_so(&rows) {
            return Ok(rows);
        }
        for node in &mut cluster.nodes {
            let Some(status) = node.ended()? else {
                continue;
            };
            anyhow::bail!(
                "{} ended ({status}) while waiting for {what}:\n{}",
                node.planned.name,
                node.last_words()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    anyhow::bail!("waited {PATIENCE:?} in vain for {what}\n{}", logs(cluster))
}

fn all_follow(rows: &[Row]) -> bool {
    let leader = |row: &Row| row.seen.as_ref().map(|seen| (seen.leader, seen.term));
    let first = rows.first().and_then(leader);
    first.is_some_and(|(leader, _)| leader != 0) && rows.iter().all(|row| leader(row) == first)
}

fn all_equal(rows: &[Row]) -> bool {
    let place = |row: &Row| row.seen.as_ref().map(|seen| (seen.applied, seen.revision));
    let first = rows.first().and_then(place);
    first.is_some() && rows.iter().all(|row| place(row) == first)
}

fn logs(cluster: &LocalCluster) -> String {
    let words = |node: &super::node::LocalNode| {
        format!("--- {}\n{}\n", node.log().display(), node.last_words())
    };
    cluster.nodes.iter().map(words).collect()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

struct Story(Instant);

impl Story {
    fn tell(&self, what: &str) -> Result<()> {
        let seconds = self.0.elapsed().as_secs_f64();
        print::put(format!("{seconds:>6.1} s  {what}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::probe::Seen;
    use super::*;

    fn row(member: u64, leader: u64, term: u64) -> Row {
        Row {
            name: format!("n{member}"),
            pid: Some(1),
            url: String::new(),
            seen: Some(Seen {
                member,
                leader,
                term,
                commit: 0,
                applied: 0,
                revision: 0,
            }),
            silent: None,
            restarts: 0,
        }
    }

    #[test]
    fn of_two_leaders_the_one_of_the_later_term_counts() {
        let rows = [row(1, 1, 2), row(2, 2, 3), row(3, 2, 3)];
        assert_eq!(leader_of(&rows), Some((1, 3)));
        assert!(!all_follow(&rows));
        assert!(all_follow(&rows[1..]));
        assert!(!all_follow(&[row(1, 0, 1), row(2, 0, 1)]));
    }
}
