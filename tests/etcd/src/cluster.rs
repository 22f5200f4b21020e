//! A cluster of real server processes on 127.0.0.1, which tests may kill, pause and restart.
//! Knows the server by etcd's flags only: `SERVER_BIN` names the program, so etcd fits too.

use crate::port::Port;
use anyhow::{Context, Result, bail};
use etcd_client::{Client, ConnectOptions};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a cluster may take until it serves.
pub const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a server may take to leave after SIGTERM.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A server program.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub program: PathBuf,
    /// Whether it is etcd, so that a test can leave out what etcd does not promise.
    pub is_etcd: bool,
}

impl Server {
    /// The server under test: `SERVER_BIN`, or the debug build of this repository.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn from_env() -> Result<Server> {
        if let Some(program) = std::env::var_os("SERVER_BIN") {
            return Server::at(PathBuf::from(program));
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), Into::into);
        let program = target.join("debug").join("headwater");
        let made = format!("{program:?} is missing: run `cargo build` in the repository first");
        Server::at(program).context(made)
    }

    /// The server under test, unless it is an etcd: then it says what is left out, and why.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn unless_etcd(why: &str) -> Option<Server> {
        let server = Server::from_env().expect("a server to test");
        if server.is_etcd {
            println!("left out: {why}");
            return None;
        }
        Some(server)
    }

    /// The server at this path, or of this name in `PATH`.
    ///
    /// # Errors
    /// If it does not answer `--version`.
    pub fn at(program: PathBuf) -> Result<Server> {
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let output = output.with_context(|| format!("cannot run {program:?}"))?;
        // Headwater prints etcd's lines too, for the tools that read them.
        let says_headwater = String::from_utf8_lossy(&output.stdout).contains("Headwater");
        Ok(Server {
            program,
            is_etcd: !says_headwater,
        })
    }
}

/// One member of a cluster: its place on disk and its process, if it runs.
#[derive(Debug)]
pub struct Member {
    /// Its `--name`.
    pub name: String,
    /// Where clients reach it.
    pub client_port: Port,
    /// Where the other members reach it.
    pub peer_port: Port,
    /// How its URL for clients begins: `http`, unless a test lays out TLS.
    pub client_scheme: &'static str,
    /// How its URL for peers begins.
    pub peer_scheme: &'static str,
    /// Its data.
    pub data_dir: PathBuf,
    /// What it prints, over all its lives.
    pub log: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// The URL for clients.
    pub fn client_url(&self) -> String {
        format!(
            "{}://127.0.0.1:{}",
            self.client_scheme, self.client_port.number
        )
    }

    /// The URL for peers.
    pub fn peer_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.peer_scheme, self.peer_port.number)
    }

    /// The process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("the kernel gave us this number");
        // The process is our child and was not waited for, so the number is still its own.
        kill_process(pid, signal).expect("a child can be signalled until it is waited for");
    }
}

/// Several members with one folder for all they leave behind.
#[derive(Debug)]
pub struct Cluster {
    /// The program that every member runs.
    pub server: Server,
    /// The members, by number.
    pub members: Vec<Member>,
    /// Holds each member's data and log; removed with the cluster unless `keep` was called.
    pub folder: PathBuf,
    options: Vec<String>,
    keep: bool,
}

impl Cluster {
    /// Lays out a cluster in a folder of its own under `parent`; starts nothing.
    ///
    /// `options` are flags that every member gets besides those that say who it is.
    ///
    /// # Errors
    /// If ports or the folder cannot be had.
    pub fn new(server: &Server, size: usize, parent: &Path, options: &[&str]) -> Result<Cluster> {
        let folder = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir_in(parent);
        let folder = folder
            .with_context(|| format!("cannot use {parent:?}"))?
            .keep();
        let options = options.iter().map(ToString::to_string).collect();
        let mut cluster = Cluster {
            server: server.clone(),
            members: Vec::with_capacity(size),
            folder,
            options,
            keep: false,
        };
        for _ in 0..size {
            cluster.lay_out()?;
        }
        Ok(cluster)
    }

    /// Lays out one more member, and gives back its number; nobody knows of it yet.
    ///
    /// # Errors
    /// If ports cannot be had.
    pub fn lay_out(&mut self) -> Result<usize> {
        let number = self.members.len();
        let name = format!("m{}", number + 1);
        self.members.push(Member {
            data_dir: self.folder.join(format!("{name}.data")),
            log: self.folder.join(format!("{name}.log")),
            client_port: Port::reserve()?,
            peer_port: Port::reserve()?,
            client_scheme: "http",
            peer_scheme: "http",
            child: None,
            name,
        });
        Ok(number)
    }

    /// Lays out a cluster under the machine's temporary folder, starts it and waits until every
    /// member serves.
    ///
    /// # Errors
    /// If it does not come up; what the members printed stays where the error says.
    pub async fn start(server: &Server, size: usize, options: &[&str]) -> Result<Cluster> {
        let mut cluster = Cluster::new(server, size, &std::env::temp_dir(), options)?;
        for number in 0..size {
            cluster.spawn(number)?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// The flags of one member.
    pub fn flags(&self, number: usize) -> Vec<String> {
        let member = &self.members[number];
        let named = |member: &Member| format!("{}={}", member.name, member.peer_url());
        let all: Vec<String> = self.members.iter().map(named).collect();
        let data_dir = member.data_dir.to_string_lossy();
        let mut flags = vec![
            format!("--name={}", member.name),
            format!("--data-dir={data_dir}"),
            format!("--listen-client-urls={}", member.client_url()),
            format!("--advertise-client-urls={}", member.client_url()),
            format!("--listen-peer-urls={}", member.peer_url()),
            format!("--initial-advertise-peer-urls={}", member.peer_url()),
            format!("--initial-cluster={}", all.join(",")),
            "--initial-cluster-state=new".to_string(),
            "--initial-cluster-token=black-box".to_string(),
        ];
        flags.extend(self.options.iter().cloned());
        flags
    }

    /// Starts one member's process; it must not be running.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn spawn(&mut self, number: usize) -> Result<()> {
        let flags = self.flags(number);
        let mut command = Command::new(&self.server.program);
        command.args(flags);
        self.spawn_command(number, command)
    }

    /// Starts one member's process by a command of the caller's.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn spawn_command(&mut self, number: usize, mut command: Command) -> Result<()> {
        let member = &mut self.members[number];
        assert!(member.child.is_none(), "this member runs already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&member.log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        member.child = Some(command.spawn().context("cannot start the server")?);
        Ok(())
    }

    /// Waits until every running member serves linearizable reads.
    ///
    /// # Errors
    /// If one leaves or time runs out.
    pub async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        for number in 0..self.members.len() {
            while self.members[number].child.is_some() {
                if self.serves(number).await {
                    break;
                }
                let exited = self.exited(number);
                if exited.is_some() || Instant::now() > deadline {
                    self.keep = true;
                    let member = &self.members[number];
                    let what = exited.map_or("does not serve".into(), |s| format!("left: {s}"));
                    bail!(
                        "{} {what}; it printed:\n{}",
                        member.name,
                        tail(&member.printed())
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// How a member's process ended, if it did by itself.
    pub fn exited(&mut self, number: usize) -> Option<ExitStatus> {
        let child = self.members[number].child.as_mut()?;
        let status = child.try_wait().ok().flatten()?;
        self.members[number].child = None;
        Some(status)
    }

    /// Whether this member answers a linearizable read now.
    pub async fn serves(&self, number: usize) -> bool {
        let limit = Duration::from_secs(1);
        let Ok(mut client) = self.client(number, limit).await else {
            return false;
        };
        client.get("is anybody there", None).await.is_ok()
    }

    /// A client of one member alone, whose every call may take `limit`.
    ///
    /// # Errors
    /// Never, for the URL is one of ours; connections are made when first used.
    pub async fn client(&self, number: usize, limit: Duration) -> Result<Client> {
        let options = ConnectOptions::new()
            .with_connect_timeout(limit)
            .with_timeout(limit);
        Ok(Client::connect([self.members[number].client_url()], Some(options)).await?)
    }

    /// The number of the member that leads, if those that answer know.
    pub async fn leader(&self) -> Option<usize> {
        let mut newest: Option<(u64, usize)> = None;
        for number in 0..self.members.len() {
            if self.members[number].child.is_none() {
                continue;
            }
            let Ok(mut client) = self.client(number, Duration::from_millis(500)).await else {
                continue;
            };
            let Ok(status) = client.status().await else {
                continue;
            };
            let id = status.header().map_or(0, |header| header.member_id());
            let term = status.raft_term();
            if id == status.leader() && newest.is_none_or(|(known, _)| known < term) {
                newest = Some((term, number));
            }
        }
        newest.map(|(_, number)| number)
    }

    /// Waits for a leader.
    ///
    /// # Errors
    /// If none appears in time.
    pub async fn wait_for_leader(&self) -> Result<usize> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(number) = self.leader().await {
                return Ok(number);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("no member leads")
    }

    /// Waits until every running member can tell where clients reach every running member.
    ///
    /// # Errors
    /// If one cannot in time.
    pub async fn acquainted(&self) -> Result<()> {
        let running = |member: &&Member| member.child.is_some();
        let running = self.members.iter().filter(running).map(Member::client_url);
        let expected: BTreeSet<String> = running.collect();
        let deadline = Instant::now() + START_LIMIT;
        for number in 0..self.members.len() {
            while self.members[number].child.is_some() {
                let told = self.told_urls(number).await.unwrap_or_default();
                if expected.is_subset(&told) {
                    break;
                }
                if Instant::now() > deadline {
                    let name = &self.members[number].name;
                    bail!("{name} tells {told:?} and not all of {expected:?}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// All client URLs that this member tells.
    async fn told_urls(&self, number: usize) -> Result<BTreeSet<String>> {
        let mut client = self.client(number, Duration::from_secs(1)).await?;
        let list = client.member_list().await?;
        let urls = list
            .members()
            .iter()
            .flat_map(|member| member.client_urls());
        Ok(urls.cloned().collect())
    }

    /// Kills a member with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, number: usize) {
        self.members[number].signal(Signal::KILL);
        if let Some(mut child) = self.members[number].child.take() {
            child.wait().expect("it was our child");
        }
    }

    /// Stops a member's process where it stands.
    pub fn pause(&self, number: usize) {
        self.members[number].signal(Signal::STOP);
    }

    /// Lets a paused member go on.
    pub fn resume(&self, number: usize) {
        self.members[number].signal(Signal::CONT);
    }

    /// Asks a member to leave with SIGTERM and waits for it.
    ///
    /// # Errors
    /// If it stays longer than `STOP_LIMIT`; it is killed then.
    pub async fn terminate(&mut self, number: usize) -> Result<ExitStatus> {
        self.members[number].signal(Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.exited(number) {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill(number);
        bail!("{} did not leave after SIGTERM", self.members[number].name)
    }

    /// Keeps data and logs when the cluster goes; says where.
    pub fn keep(&mut self) -> &Path {
        self.keep = true;
        &self.folder
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
        if self.keep || std::thread::panicking() {
            eprintln!("data and logs stay in {}", self.folder.display());
        } else {
            // Nothing depends on the folder being gone.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The end of what a server printed.
pub fn tail(printed: &str) -> String {
    let lines: Vec<&str> = printed.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
