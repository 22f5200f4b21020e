//! The servers of a local cluster, together: start, look, bring back, stop.
//! Never leaves a process behind.
//!
//! # Source
//! etcd's Procfile for a local cluster.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tonic::transport::Channel;

use super::node::LocalNode;
use super::plan::Plan;
use super::probe::{self, Seen};

/// A server that ends sooner than this after its start did not run at all.
const FALSE_START: Duration = Duration::from_secs(2);

/// How many times in a row a server may end right after its start.
const FALSE_STARTS_MAX: u32 = 3;

/// A server's line in the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Where its clients connect.
    pub url: String,
    /// How it says it is, if it answers.
    pub seen: Option<Seen>,
    /// How long it runs without answering any more; none if it answers, or never did.
    pub silent: Option<Duration>,
    /// How often it was started again.
    pub restarts: u32,
}

/// The place and the term of the one that leads.
pub fn leader_of(rows: &[Row]) -> Option<(usize, u64)> {
    let leads = |row: &Row| row.seen.as_ref().is_some_and(|seen| seen.is_leader());
    // A leader that was cut off may not know it yet; the one of the highest term counts.
    let places = (0..rows.len()).filter(|&place| leads(&rows[place]));
    let terms = places.filter_map(|place| Some((place, rows[place].seen.as_ref()?.term)));
    terms.max_by_key(|(_, term)| *term)
}

/// All servers.
pub struct LocalCluster {
    /// The servers, in the order of their names.
    pub nodes: Vec<LocalNode>,
    channels: Vec<Option<Channel>>,
    false_starts: Vec<u32>,
    plan: Plan,
}

impl LocalCluster {
    /// The cluster as planned, not started.
    pub fn new(plan: Plan) -> Self {
        let nodes: Vec<LocalNode> = plan
            .members
            .iter()
            .map(|planned| LocalNode::new(&plan, planned))
            .collect();
        Self {
            channels: vec![None; nodes.len()],
            false_starts: vec![0; nodes.len()],
            nodes,
            plan,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts all servers.
    ///
    /// # Errors
    /// A process could not be made.
    pub fn start_all(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(LocalNode::start)
    }

    /// What to tell the user first.
    pub fn introduction(&self) -> String {
        let urls: Vec<String> = self
            .plan
            .members
            .iter()
            .map(|m| self.plan.url(m.client_port))
            .collect();
        format!(
            "Headwater: {count} servers on this machine, data in {dir}{fate}\n{moved}\n  \
             export ETCDCTL_API=3 ETCDCTL_ENDPOINTS={endpoints}{secrets}\n\n\
             Paste that line into another terminal, then try: etcdctl put greeting hello; etcdctl get greeting; kill -9 a server's pid.\n\
             Ctrl-C ends all of them. Their logs are {dir}/*.log\n",
            count = urls.len(),
            dir = self.plan.dir().display(),
            moved = self.plan.moved(),
            fate = if self.plan.is_temporary() {
                " (deleted at the end)"
            } else {
                ""
            },
            endpoints = urls.join(","),
            secrets = self
                .plan
                .secrets
                .as_ref()
                .map_or(String::new(), |secrets| format!(" {}", secrets.variables())),
        )
    }

    /// A connection to a server.
    ///
    /// # Errors
    /// Its address is none.
    pub fn channel(&mut self, place: usize) -> Result<Channel> {
        if let Some(channel) = &self.channels[place] {
            return Ok(channel.clone());
        }
        let tls = self.plan.secrets.as_ref();
        let tls = tls.map(|secrets| Arc::clone(&secrets.client));
        let channel = probe::channel(self.nodes[place].planned.client_port, tls)?;
        self.channels[place] = Some(channel.clone());
        Ok(channel)
    }

    /// How each server is.
    pub async fn look(&mut self) -> Vec<Row> {
        let mut looks = tokio::task::JoinSet::new();
        for place in 0..self.nodes.len() {
            if let (Some(_), Ok(channel)) = (self.nodes[place].pid(), self.channel(place)) {
                looks.spawn(async move { (place, probe::look(&channel).await) });
            }
        }
        let mut seen = vec![None; self.nodes.len()];
        for (place, answer) in looks.join_all().await {
            seen[place] = answer;
        }
        let plan = &self.plan;
        let row = |(node, seen): (&mut LocalNode, Option<Seen>)| {
            if seen.is_some() {
                node.answered = Some(Instant::now());
            }
            let is_silent = seen.is_none() && node.pid().is_some();
            let answered = node.answered.filter(|_| is_silent);
            Row {
                name: node.planned.name.clone(),
                pid: node.pid(),
                url: plan.url(node.planned.client_port),
                seen,
                silent: answered.map(|at| at.elapsed()),
                restarts: node.restarts,
            }
        };
        self.nodes.iter_mut().zip(seen).map(row).collect()
    }

    /// Starts servers that ended by themselves or were killed by the user; says what happened.
    ///
    /// # Errors
    /// A server ends again and again as soon as it starts; the text has its last words.
    pub fn restart_the_dead(&mut self) -> Result<Vec<String>> {
        let mut events = Vec::new();
        for (node, false_starts) in self.nodes.iter_mut().zip(&mut self.false_starts) {
            let Some(status) = node.ended()? else {
                continue;
            };
            let name = &node.planned.name;
            *false_starts = if node.started.elapsed() < FALSE_START {
                *false_starts + 1
            } else {
                0
            };
            if *false_starts >= FALSE_STARTS_MAX {
                bail!("{name} does not stay up ({status}):\n{}", node.last_words());
            }
            events.push(format!("{name} ended ({}); starting it again", how(status)));
            node.restarts += 1;
            node.start()?;
        }
        Ok(events)
    }

    /// Stops all servers.
    pub async fn stop(&mut self) {
        self.nodes.iter_mut().for_each(LocalNode::ask_to_stop);
        for node in &mut self.nodes {
            node.wait_stopped().await;
        }
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(9), _) => "killed".to_owned(),
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "for no reason given".to_owned(),
    }
}
