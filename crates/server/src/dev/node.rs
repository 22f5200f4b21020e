//! One server of a local cluster: its process.
//! Never outlives this process: the server watches its standard input, whose other end is here.
//!
//! # Source
//! pipe(7): a pipe ends when its last writer does, however that came about.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use super::plan::{Plan, Planned};
use crate::argv::PREFIXES;

/// How long a server may take to stop before it is killed.
const STOP_TIME: Duration = Duration::from_secs(5);

/// One server.
pub struct LocalNode {
    /// Its name and ports.
    pub planned: Planned,
    /// When it was last started.
    pub started: Instant,
    /// When it last said how it is, since its last start.
    pub answered: Option<Instant>,
    /// How often it was started again.
    pub restarts: u32,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl LocalNode {
    /// A server as planned, not started.
    pub fn new(plan: &Plan, planned: &Planned) -> Self {
        let client = plan.url(planned.client_port);
        let peer = plan.url(planned.peer_port);
        let data_dir = plan.dir().join(&planned.name);
        let flags = [
            ("--name", planned.name.clone()),
            ("--data-dir", data_dir.display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", plan.initial_cluster()),
            ("--initial-cluster-token", "headwater-dev".to_owned()),
        ];
        let secrets = plan.secrets.iter();
        let secrets = secrets.flat_map(|secrets| secrets.flags(&planned.name));
        let flags = flags
            .into_iter()
            .map(|(flag, value)| (flag.to_owned(), value))
            .chain(secrets)
            .map(|(flag, value)| format!("{flag}={value}"));
        let record = plan.record_of(planned);
        let record = record.map(|file| format!("--flight-recorder={}", file.display()));
        let last = ["--exit-with-parent".to_owned()];
        Self {
            planned: planned.clone(),
            started: Instant::now(),
            answered: None,
            restarts: 0,
            arguments: ["serve".to_owned()]
                .into_iter()
                .chain(flags)
                .chain(record)
                .chain(last)
                .collect(),
            log: plan.dir().join(format!("{}.log", planned.name)),
            child: None,
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// The process could not be made.
    pub fn start(&mut self) -> Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = Command::new(program);
        command
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for this process, which then stops the servers in good order.
            .process_group(0)
            .kill_on_drop(true);
        // The user's settings for their own servers are not for these.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        self.child = Some(command.spawn().context("starting a server")?);
        self.started = Instant::now();
        self.answered = None;
        Ok(())
    }

    /// Its process's id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// How it ended, once after it has.
    ///
    /// # Errors
    /// The system would not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Kills it with SIGKILL: no goodbye, nothing written that was not written before.
    ///
    /// # Errors
    /// The system would not do it.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("killing a server")?;
        }
        Ok(())
    }

    /// Asks it to stop: its standard input ends.
    pub fn ask_to_stop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
        }
    }

    /// Waits until it has stopped, and kills it if that takes too long.
    pub async fn wait_stopped(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if tokio::time::timeout(STOP_TIME, child.wait()).await.is_err() {
            // It is gone or it will not go; nothing else is left to try.
            let _ = child.kill().await;
        }
    }

    /// Where its log goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for when it would not start.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(5);
        lines[from..].join("\n")
    }
}
