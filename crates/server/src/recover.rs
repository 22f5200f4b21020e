//! After a quorum is lost for good: which of the surviving directories is the best, what may be
//! lost with the others, and a new cluster from it: `headwater disk recover`.
//! Never changes a directory that it was given, and makes none before its user has said so.
//!
//! # Source
//! Raft paper §5.4.1 (which of two logs is more up to date); docs/format.md, "Recovery".

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use headwater_kv::Store;
use headwater_kv::auth::Auth;
use headwater_raft::quorum::quorum_reaches;
use headwater_raft::{Config, NodeId};
use headwater_replica::inspect::{LogReport, Report};
use headwater_replica::recovery::Expect;
use headwater_replica::salvage::{found_anew, salvage};
use headwater_replica::wal::WalOptions;
use headwater_runtime::file::{FileDisk, Use};
use headwater_runtime::{dice, lock, name::hex};
use serde_json::{Value, json};

use crate::cli::RecoverArgs;
use crate::config::check_name;
use crate::disk::{look, name_of};
use crate::identity;
use crate::url::Url;

/// Compares the directories and says which is the best; with `--into`, begins a new cluster with it.
///
/// # Errors
/// A directory cannot be read or is another cluster's, none is whole, or the user did not agree.
pub fn run(args: &RecoverArgs) -> Result<ExitCode> {
    let survey = Survey::of(&args.directories)?;
    if args.json {
        println!("{:#}", survey.to_json());
    } else {
        print!("{}", survey.tell()?);
    }
    match &args.into {
        None => Ok(ExitCode::SUCCESS),
        Some(into) => begin_anew(&survey, into, args).map(|()| ExitCode::SUCCESS),
    }
}

/// The directories that are left.
struct Survey<'a> {
    cluster: u64,
    found: Vec<(&'a Path, Report)>,
    /// Which of them is the best.
    best: usize,
}

/// What may be lost if all but the survivors are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loss {
    /// The survivors are a quorum: they can go on as they are.
    NotNeeded,
    /// Every quorum had one of the survivors.
    None,
    /// The others may have been a quorum without them.
    Unknown,
}

impl<'a> Survey<'a> {
    fn of(directories: &'a [PathBuf]) -> Result<Self> {
        let mut found: Vec<(&Path, Report)> = Vec::new();
        for directory in directories {
            eprintln!("reading {}", directory.display());
            let report = look(directory)?;
            if let Some((first, known)) = found.first() {
                ensure!(
                    known.identity.cluster == report.identity.cluster,
                    "{} belongs to cluster {}, {} to cluster {}: give those of one",
                    first.display(),
                    hex(known.identity.cluster),
                    directory.display(),
                    hex(report.identity.cluster),
                );
            }
            found.push((directory, report));
        }
        let up_to_date = |report: &Report| {
            let log = report.log.as_ref().ok()?;
            Some((log.readable_to.term, log.readable_to.index, log.commit))
        };
        let (best, _) = found
            .iter()
            .enumerate()
            .max_by_key(|(_, (_, report))| up_to_date(report))
            .context("no directory was given")?;
        if let Err(why) = &found[best].1.log {
            bail!(
                "none of these is whole; of {}: {}",
                found[best].0.display(),
                why.what()
            );
        }
        let cluster = found[best].1.identity.cluster;
        Ok(Self {
            cluster,
            found,
            best,
        })
    }

    fn best(&self) -> (&Path, &LogReport) {
        let (directory, report) = &self.found[self.best];
        let log = report.log.as_ref();
        (directory, log.expect("the best one is whole"))
    }

    /// Whether the disk of `id` that the members know is here, and whole.
    fn survives(&self, config: &Config, id: NodeId) -> bool {
        self.found.iter().any(|(_, report)| {
            let own = report.identity;
            // One that was never met is whatever carries the name (rule R13).
            let is_known = config
                .disk_of(id)
                .is_none_or(|disk| disk.0 == own.incarnation);
            own.node == id && report.log.is_ok() && is_known
        })
    }

    fn missing(&self) -> Vec<NodeId> {
        let config = &self.best().1.config;
        let mut missing = config.members();
        missing.retain(|&id| config.is_voter(id) && !self.survives(config, id));
        missing
    }

    fn loss(&self) -> Loss {
        let config = &self.best().1.config;
        if quorum_reaches(config, |id| self.survives(config, id)) {
            Loss::NotNeeded
        } else if quorum_reaches(config, |id| !self.survives(config, id)) {
            Loss::Unknown
        } else if self.names_more() {
            // Others may have had what none of these can read.
            Loss::Unknown
        } else {
            Loss::None
        }
    }

    /// Whether a directory names entries, without being able to give them back, that are later than all
    /// that the best can give.
    fn names_more(&self) -> bool {
        let best = self.best().1.readable_to;
        let mut logs = self
            .found
            .iter()
            .filter_map(|(_, report)| report.log.as_ref().ok());
        logs.any(|log| log.last > best)
    }

    /// Whether one of the directories cannot give back all that it names.
    fn lack_some(&self) -> bool {
        let mut logs = self
            .found
            .iter()
            .filter_map(|(_, report)| report.log.as_ref().ok());
        logs.any(|log| log.unreadable > 0)
    }

    fn tell(&self) -> Result<String> {
        let mut text = String::new();
        let (best, log) = self.best();
        writeln!(text, "cluster   {}", hex(self.cluster))?;
        let voters: Vec<String> = log.config.voters().iter().copied().map(name_of).collect();
        writeln!(text, "voters    {}", voters.join(", "))?;
        let missing: Vec<String> = self.missing().into_iter().map(name_of).collect();
        let none = || "none".to_owned();
        let missing = (!missing.is_empty()).then(|| missing.join(", "));
        writeln!(text, "missing   {}\n", missing.unwrap_or_else(none))?;
        let head = ("MEMBER", "LAST ENTRY", "COMMITTED", "DIRECTORY");
        writeln!(
            text,
            "{:18} {:>22} {:>12}  {}",
            head.0, head.1, head.2, head.3
        )?;
        for (at, (directory, report)) in self.found.iter().enumerate() {
            let member = name_of(report.identity.node);
            let (last, commit, why) = match &report.log {
                Ok(log) => {
                    let lost = log.unreadable > 0;
                    let why = lost
                        .then(|| format!("what follows it up to {} cannot all be read", log.last));
                    (log.readable_to.to_string(), log.commit.to_string(), why)
                }
                Err(why) => {
                    let why = format!("refused: {}", why.what());
                    ("-".into(), "-".into(), Some(why))
                }
            };
            let mark = if at == self.best { "  <- the best" } else { "" };
            let why = why.map_or(String::new(), |why| format!("  {why}"));
            let directory = directory.display();
            writeln!(
                text,
                "{member:18} {last:>22} {commit:>12}  {directory}{mark}{why}"
            )?;
        }
        writeln!(text, "\n{}", self.what_is_lost())?;
        if self.loss() != Loss::NotNeeded {
            writeln!(
                text,
                "To begin a new cluster with {}, add --into NEWDIR and --initial-cluster-token; see \
                 --help.",
                best.display()
            )?;
        }
        Ok(text)
    }

    /// What becomes of writes, in words for whoever has to decide.
    fn what_is_lost(&self) -> String {
        let (_, log) = self.best();
        let last = log.readable_to;
        let kept = if log.commit < last.index {
            format!(
                " Entries after {} up to {last} were perhaps never committed; they count as written.",
                log.commit
            )
        } else {
            String::new()
        };
        match self.loss() {
            Loss::NotNeeded if self.lack_some() => {
                "These are a quorum: start them as they are, and replace the others. What one of them \
                 cannot read comes back from those that can; what none of them can read comes back with \
                 a missing member, or never, and until then they do not go beyond it."
                    .into()
            }
            Loss::NotNeeded => "These are a quorum, and nothing is lost: start them as they are, \
                                and replace the others."
                .into(),
            Loss::None => format!(
                "No acknowledged write is lost: every quorum had one of these members.{kept}"
            ),
            Loss::Unknown => format!(
                "Writes that were acknowledged after entry {last} are lost: only missing members \
                 can have had them, and nobody can say how many there were.{kept}"
            ),
        }
    }

    fn to_json(&self) -> Value {
        let found = self
            .found
            .iter()
            .enumerate()
            .map(|(at, (directory, report))| {
                let log = report.log.as_ref();
                json!({
                    "directory": directory.display().to_string(),
                    "member": name_of(report.identity.node),
                    "last": log.ok().map(|log| json!({
                        "index": log.readable_to.index.0, "term": log.readable_to.term.0,
                    })),
                    "commit_at_least": log.ok().map(|log| log.commit.0),
                    "unreadable": log.ok().map(|log| log.unreadable),
                    "is_best": at == self.best,
                    "refused": log.err().map(ToString::to_string),
                })
            });
        let (best, log) = self.best();
        let names = |ids: &[NodeId]| ids.iter().copied().map(name_of).collect::<Vec<_>>();
        json!({
            "cluster": hex(self.cluster).to_string(),
            "voters": names(log.config.voters()),
            "missing": names(&self.missing()),
            "directories": found.collect::<Vec<_>>(),
            "best": best.display().to_string(),
            "has_quorum": self.loss() == Loss::NotNeeded,
            "may_lose_acknowledged_writes": self.loss() == Loss::Unknown,
        })
    }
}

/// The new cluster's only member.
struct Founder {
    name: String,
    urls: Vec<String>,
    token: String,
    expect: Expect,
}

impl Founder {
    fn of(args: &RecoverArgs) -> Result<Self> {
        let token = args.initial_cluster_token.clone();
        let token = token.context("--into needs --initial-cluster-token, unlike the old one")?;
        check_name(&args.name)?;
        let urls = &args.initial_advertise_peer_urls;
        let urls = Url::parse_list("initial-advertise-peer-urls", urls)?;
        let urls: Vec<String> = urls.iter().map(Url::to_string).collect();
        let node = identity::member_id(&token, &args.name, &urls);
        Ok(Self {
            expect: Expect {
                cluster: identity::cluster_id(&token, [node]),
                node,
                fresh_incarnation: dice::u128(),
                first_config: Config::of_voters([node]),
            },
            name: args.name.clone(),
            urls,
            token,
        })
    }

    /// How the new cluster is started.
    fn command(&self, data_dir: &Path) -> String {
        let (name, urls) = (&self.name, self.urls.join(","));
        let cluster: Vec<String> = self
            .urls
            .iter()
            .map(|url| format!("{name}={url}"))
            .collect();
        format!(
            "headwater --data-dir {} --name {name} --initial-cluster-token {} \\\n  \
             --initial-advertise-peer-urls {urls} --initial-cluster {} \\\n  \
             --listen-peer-urls {urls} --listen-client-urls ... --advertise-client-urls ...",
            data_dir.display(),
            self.token,
            cluster.join(",")
        )
    }
}

fn begin_anew(survey: &Survey<'_>, into: &Path, args: &RecoverArgs) -> Result<()> {
    let founder = Founder::of(args)?;
    let (best, log) = survey.best();
    let same = "--initial-cluster-token: this is the token of the lost cluster; a member of it that \
                comes back must not take the new one for its own";
    let me = founder.expect.node;
    ensure!(founder.expect.cluster != survey.cluster, same);
    ensure!(!log.config.is_member(me), same);
    unfinished_name("into", into)?;
    agree(survey.cluster, founder.expect.cluster)?;

    eprintln!("reading {}", best.display());
    let held = lock::is_held(best).with_context(|| format!("{}: its lock", best.display()))?;
    ensure!(!held, "{} is in use by a server now", best.display());
    let mut old = FileDisk::new(best.to_owned(), Use::Reading, Arc::default());
    let salvaged = salvage::<Store>(&mut old).map_err(|why| anyhow::anyhow!("{why}"))?;
    let mut salvaged = salvaged.context("the directory is empty all of a sudden")?;
    if args.without_users {
        salvaged.machine.restore_auth(Auth::default());
    }
    let roster = salvaged.machine.roster();
    ensure!(
        !roster.has_removed(me.0) && roster.member(me.0).is_none(),
        same
    );
    lay_down("into", into, |disk| {
        let options = WalOptions::default();
        found_anew::<Store>(disk, &options, founder.expect.clone(), salvaged)
            .map_err(|why| anyhow::anyhow!("{why}"))
    })?;
    println!(
        "\nDone. Keep the old directories, never start them again, and start the new cluster with\n\n  \
         {}\n",
        founder.command(into)
    );
    Ok(())
}

/// Makes a data directory that gets its name when it is whole, and not before. `flag` names it.
///
/// # Errors
/// Something is there already, or `make` fails.
pub fn lay_down(
    flag: &str,
    into: &Path,
    make: impl FnOnce(&mut FileDisk) -> Result<()>,
) -> Result<()> {
    let unfinished = unfinished_name(flag, into)?;
    eprintln!("writing {}", into.display());
    fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let mut disk = FileDisk::new(unfinished.clone(), Use::Snapshots, Arc::default());
    make(&mut disk)?;
    drop(disk);
    fs::rename(&unfinished, into)
        .with_context(|| format!("cannot rename {}", unfinished.display()))?;
    let parent = into
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Ok(fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?)
}

/// What a directory is called until it is whole, if it may be made at all.
fn unfinished_name(flag: &str, into: &Path) -> Result<PathBuf> {
    let name = into.file_name();
    let name = name.with_context(|| format!("--{flag} {}: not a name", into.display()))?;
    let taken = into.exists() && fs::read_dir(into)?.next().is_some();
    ensure!(!taken, "--{flag} {}: it is not empty", into.display());
    if into.exists() {
        // The new directory takes its place, which a mount point or a link does not give.
        fs::remove_dir(into).with_context(|| {
            format!(
                "--{flag} {}: it cannot be replaced (a mount point?); name a directory in it",
                into.display()
            )
        })?;
    }
    let mut name = name.to_owned();
    name.push(".unfinished");
    let unfinished = into.with_file_name(name);
    ensure!(
        !unfinished.exists(),
        "{} is left of an earlier try that did not end: remove it first",
        unfinished.display()
    );
    Ok(unfinished)
}

/// Asks on the terminal, or whatever the standard input is.
fn agree(old: u64, new: u64) -> Result<()> {
    print!(
        "A new cluster, {}, takes the place of {old}. The old one's other members must never run \
         again.\nType {old} to go on: ",
        hex(new),
        old = hex(old),
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    ensure!(
        answer.trim() == hex(old).to_string(),
        "that was not it; nothing was changed"
    );
    println!();
    Ok(())
}
