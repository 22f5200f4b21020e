//! Where the servers of a local cluster listen and keep their data.
//! Never changes once data exist: a member's address is part of its identity.
//!
//! # Source
//! etcd's Procfile: ports 2379, 22379 and 32379.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::flags::DevArgs;
use super::secrets::Secrets;

/// What a kept data directory remembers of its cluster.
const PLAN_FILE: &str = "cluster.txt";

/// How temporary directories are called.
const TEMPORARY_PREFIX: &str = "headwater-dev-";

/// Locked in a temporary directory as long as its owner lives.
const LOCK_FILE: &str = "owner.lock";

/// The cluster as planned.
pub struct Plan {
    /// The servers.
    pub members: Vec<Planned>,
    /// What TLS is spoken with, if it is.
    pub secrets: Option<Secrets>,
    dir: Directory,
    /// Where the records of their runs go, if there are to be any.
    records: Option<PathBuf>,
}

/// One server as planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its port for clients.
    pub client_port: u16,
    /// Its port for peers.
    pub peer_port: u16,
}

enum Directory {
    /// Deleted with the plan; the lock says that the plan's process lives.
    Temporary(
        TempDir,
        #[expect(dead_code, reason = "held, never read")] File,
    ),
    /// The user's own.
    Kept(PathBuf),
}

impl Plan {
    /// A plan for a new cluster, or the old one of a kept directory.
    ///
    /// # Errors
    /// The directory or the ports cannot be had.
    pub fn make(args: &DevArgs) -> Result<Self> {
        let records = args.flight_recorder.clone();
        if let Some(path) = &records {
            let made = fs::create_dir_all(path);
            made.with_context(|| format!("making {}: see --flight-recorder", path.display()))?;
        }
        let Some(path) = &args.data_dir else {
            sweep();
            let dir = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir();
            let dir = dir.context("making a temporary directory")?;
            let lock = File::create(dir.path().join(LOCK_FILE))?;
            lock.lock()?;
            let members = choose(args.nodes)?;
            return Ok(Self {
                secrets: secrets(args, dir.path(), &members)?,
                members,
                dir: Directory::Temporary(dir, lock),
                records,
            });
        };
        ensure!(
            path.is_dir() || !path.exists(),
            "{} is a file, not a directory: choose another --data-dir",
            path.display()
        );
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        let file = path.join(PLAN_FILE);
        let members = if file.exists() {
            let text = fs::read_to_string(&file)?;
            let members = read(&text).with_context(|| format!("reading {}", file.display()))?;
            ensure!(
                members.len() == usize::from(args.nodes),
                "{path} holds a cluster of {held}: say --nodes {held}, or choose another --data-dir",
                path = path.display(),
                held = members.len(),
            );
            let has_tls = Secrets::are_in(path);
            ensure!(
                has_tls == args.tls,
                "{path} holds a cluster that speaks {what} TLS: start it {what} --tls, or choose \
                 another --data-dir",
                path = path.display(),
                what = if has_tls { "with" } else { "without" },
            );
            members
        } else {
            let members = choose(args.nodes)?;
            fs::write(&file, write(&members))
                .with_context(|| format!("writing {}", file.display()))?;
            members
        };
        check_free(&members)?;
        Ok(Self {
            secrets: secrets(args, path, &members)?,
            members,
            dir: Directory::Kept(path.clone()),
            records,
        })
    }

    /// Where everything is kept.
    pub fn dir(&self) -> &Path {
        match &self.dir {
            Directory::Temporary(dir, _) => dir.path(),
            Directory::Kept(path) => path,
        }
    }

    /// Where the record of a server goes, if there is to be one.
    pub fn record_of(&self, server: &Planned) -> Option<PathBuf> {
        let records = self.records.as_ref()?;
        Some(records.join(format!("{}.jsonl", server.name)))
    }

    /// Whether the directory goes when the cluster does.
    pub fn is_temporary(&self) -> bool {
        matches!(self.dir, Directory::Temporary(..))
    }

    /// What to tell the user of ports that are not the usual ones; empty if all are.
    pub fn moved(&self) -> String {
        let is_when = if self.is_temporary() {
            "is"
        } else {
            "was, when this cluster was made,"
        };
        let mut text = String::new();
        for (number, member) in (0..).zip(&self.members) {
            let usual = usual_port(number).filter(|usual| *usual != member.client_port);
            if let Some(usual) = usual {
                text += &format!(
                    "\nPort {usual} {is_when} taken by another program (an etcd? another dev?): {} \
                     listens on {}.",
                    member.name, member.client_port
                );
            }
        }
        if !text.is_empty() {
            text += "\nA client that is not told so talks to that program: use the line below.\n";
        }
        text
    }

    /// The URL of a port.
    pub fn url(&self, port: u16) -> String {
        let scheme = match self.secrets {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://127.0.0.1:{port}")
    }

    /// The value of `--initial-cluster`.
    pub fn initial_cluster(&self) -> String {
        let member = |m: &Planned| format!("{}={}", m.name, self.url(m.peer_port));
        let members: Vec<String> = self.members.iter().map(member).collect();
        members.join(",")
    }
}

fn secrets(args: &DevArgs, dir: &Path, members: &[Planned]) -> Result<Option<Secrets>> {
    let names = members.iter().map(|member| member.name.as_str());
    args.tls.then(|| Secrets::make(dir, names)).transpose()
}

/// Deletes temporary directories whose owner was killed before it could. What cannot be deleted is
/// left: it may be another user's.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let lock = File::open(entry.path().join(LOCK_FILE));
        let is_ours = name.to_string_lossy().starts_with(TEMPORARY_PREFIX);
        if is_ours && lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The port for clients of the server of that number, from 0, where it is free.
fn usual_port(number: u16) -> Option<u16> {
    match number {
        0 => Some(2379),
        1..=5 => Some(number * 10_000 + 12_379),
        _ => None,
    }
}

/// etcd's usual ports where they are free, any others where not.
fn choose(nodes: u16) -> Result<Vec<Planned>> {
    // All are held until the last is chosen, or the system could give one out twice.
    let mut held = Vec::new();
    let mut hold = |wanted: Option<u16>| -> Result<u16> {
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match wanted.map(bind) {
            Some(Ok(listener)) => listener,
            _ => bind(0).context("finding a free port")?,
        };
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(port)
    };
    let mut members = Vec::new();
    for number in 0..nodes {
        let usual = usual_port(number);
        members.push(Planned {
            name: format!("n{}", number + 1),
            client_port: hold(usual)?,
            peer_port: hold(usual.map(|port| port + 1))?,
        });
    }
    Ok(members)
}

fn check_free(members: &[Planned]) -> Result<()> {
    for port in members.iter().flat_map(|m| [m.client_port, m.peer_port]) {
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            bail!(
                "port {port}, which this cluster's data are bound to, cannot be had: {error}; stop \
                 what runs there, or choose another --data-dir"
            );
        }
    }
    Ok(())
}

fn write(members: &[Planned]) -> String {
    let line = |m: &Planned| format!("{} {} {}\n", m.name, m.client_port, m.peer_port);
    members.iter().map(line).collect()
}

fn read(text: &str) -> Result<Vec<Planned>> {
    let member = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, client, peer] = words[..] else {
            bail!("\"{line}\" is not NAME CLIENT_PORT PEER_PORT");
        };
        Ok(Planned {
            name: name.to_owned(),
            client_port: client.parse()?,
            peer_port: peer.parse()?,
        })
    };
    text.lines().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_being_written_down() {
        let members = choose(3).unwrap();
        assert_eq!(read(&write(&members)).unwrap(), members);
        assert!(read("n1 2379").is_err());
    }

    #[test]
    fn no_port_is_given_out_twice() {
        let members = choose(9).unwrap();
        let mut ports: Vec<u16> = members
            .iter()
            .flat_map(|m| [m.client_port, m.peer_port])
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 18);
    }

    #[test]
    fn a_port_that_is_not_the_usual_one_is_told() {
        let member = |name: &str, client_port| Planned {
            name: name.to_owned(),
            client_port,
            peer_port: client_port + 1,
        };
        let plan = |members| Plan {
            members,
            secrets: None,
            dir: Directory::Kept(PathBuf::new()),
            records: None,
        };
        assert_eq!(
            plan(vec![member("n1", 2379), member("n2", 22379)]).moved(),
            ""
        );
        let text = plan(vec![member("n1", 38211), member("n2", 22379)]).moved();
        assert!(text.contains("Port 2379 was"), "{text}");
        assert!(text.contains("n1 listens on 38211"), "{text}");
        assert!(!text.contains("n2"), "{text}");
    }

    #[test]
    fn a_kept_directory_brings_the_same_cluster_back() {
        let dir = tempfile::tempdir().unwrap();
        let args = |nodes| DevArgs {
            nodes,
            data_dir: Some(dir.path().to_owned()),
            flight_recorder: None,
            tls: false,
            demo: false,
        };
        let first = Plan::make(&args(2)).unwrap();
        let second = Plan::make(&args(2)).unwrap();
        assert_eq!(first.members, second.members);
        let error = Plan::make(&args(3)).err().unwrap().to_string();
        assert!(error.contains("a cluster of 2"), "{error}");
        let with_tls = DevArgs {
            tls: true,
            ..args(2)
        };
        let error = Plan::make(&with_tls).err().unwrap().to_string();
        assert!(error.contains("start it without --tls"), "{error}");
        drop(first);
        assert!(dir.path().exists());
        let file = dir.path().join(PLAN_FILE);
        let error = Plan::make(&DevArgs {
            data_dir: Some(file),
            ..args(2)
        });
        let error = error.err().unwrap().to_string();
        assert!(error.contains("a file, not a directory"), "{error}");
    }
}
