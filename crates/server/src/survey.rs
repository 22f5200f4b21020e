//! The directories that are left of a cluster: which is the best, what they hold together, and what
//! may be lost with the others; told to an operator and to tools.
//! Never changes a directory.
//!
//! # Source
//! Raft paper §5.4.1 (which of two logs is more up to date); docs/format.md, "Salvage".

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use headwater_kv::Store;
use headwater_kv::request::StoreStatus;
use headwater_raft::quorum::quorum_reaches;
use headwater_raft::{Config, Index, LogId, NodeId};
use headwater_replica::inspect::inspect;
use headwater_replica::remains::Remains;
use headwater_replica::salvage::{Found, Salvaged};
use headwater_runtime::file::FileDisk;
use headwater_runtime::name::hex;
use serde_json::{Value, json};

use crate::disk::{name_of, status_of, stopped};
use crate::print;

/// Of what is damaged in one directory, so much is said.
const DAMAGE_TOLD_MAX: usize = 8;

/// The directories that are left.
pub struct Survey<'a> {
    /// Their cluster.
    pub cluster: u64,
    looked: Vec<Looked<'a>>,
    /// Which of them is the best by itself.
    best: usize,
    /// What they hold together.
    pub found: Found,
    /// The state in it.
    pub state: Salvaged<Store>,
}

struct Looked<'a> {
    directory: &'a Path,
    /// Why no server would start with it.
    refused: Option<String>,
    /// How many entries it has by name alone.
    unreadable: u64,
    remains: Remains,
    /// What it can give by itself: the last entry, and how far that is committed for certain.
    alone: (LogId, Index),
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

impl<'a> Looked<'a> {
    fn at(directory: &'a Path) -> Result<(Self, FileDisk)> {
        print::note(&format!("reading {}", directory.display()));
        let mut disk = stopped(directory)?;
        let (refused, unreadable) = match inspect::<Store>(&mut disk) {
            Ok(None) => (None, 0),
            Ok(Some(report)) => match report.log {
                Ok(log) => (None, log.unreadable),
                Err(why) => (Some(why.what()), 0),
            },
            Err(why) => (Some(why.what()), 0),
        };
        let name = directory.display();
        let remains = Remains::of::<Store>(&mut disk).map_err(|why| anyhow!("{name}: {why}"))?;
        let remains = remains
            .with_context(|| format!("{name} holds no data that can be read, of any server"))?;
        let alone = Found::in_all([&remains]).context("nothing was given")?;
        let looked = Self {
            directory,
            refused,
            unreadable,
            remains,
            alone: (alone.kept, alone.committed),
        };
        Ok((looked, disk))
    }

    /// Whether its disk is the one of member `id` that `config` knows.
    fn is_of(&self, config: &Config, id: NodeId) -> bool {
        self.remains.identity.is_some_and(|own| {
            // One that was never met is whatever carries the name (rule R13).
            let is_known = config
                .disk_of(id)
                .is_none_or(|disk| disk.0 == own.incarnation);
            own.node == id && is_known
        })
    }
}

impl<'a> Survey<'a> {
    /// Reads all of them.
    ///
    /// # Errors
    /// One cannot be read at all, or is of another cluster, or a server is using it.
    pub fn of(directories: &'a [PathBuf]) -> Result<Self> {
        let (mut looked, mut disks): (Vec<Looked<'_>>, Vec<FileDisk>) = (Vec::new(), Vec::new());
        for directory in directories {
            let (one, disk) = Looked::at(directory)?;
            if let Some(first) = looked.first() {
                ensure!(
                    first.remains.cluster == one.remains.cluster,
                    "{} belongs to cluster {}, {} to cluster {}: give those of one",
                    first.directory.display(),
                    hex(first.remains.cluster),
                    directory.display(),
                    hex(one.remains.cluster),
                );
            }
            looked.push(one);
            disks.push(disk);
        }
        let best = looked.iter().enumerate().max_by_key(|(_, one)| one.alone);
        let (best, _) = best.context("no directory was given")?;
        let found =
            Found::in_all(looked.iter().map(|one| &one.remains)).context("nothing is there")?;
        let cluster = looked[best].remains.cluster;
        let from = found.snapshot.map_or(best, |(which, _)| which);
        let state = found.salvage::<Store>(&mut disks[from], cluster);
        let state = state.map_err(|why| anyhow!("{}: {why}", looked[from].directory.display()))?;
        Ok(Self {
            cluster,
            looked,
            best,
            found,
            state,
        })
    }

    /// The members, as far as they are known.
    pub fn config(&self) -> Option<&Config> {
        let config = self.found.config.as_ref();
        config.filter(|config| !config.voters().is_empty())
    }

    /// Whether the survivors could go on as they are.
    pub fn has_quorum(&self) -> bool {
        self.loss() == Loss::NotNeeded
    }

    /// # Errors
    /// A server has been started with one of them since.
    pub fn check_stopped(&self) -> Result<()> {
        let mut looked = self.looked.iter();
        looked.try_for_each(|one| stopped(one.directory).map(drop))
    }

    fn starts(&self, config: &Config, id: NodeId) -> bool {
        let mut looked = self.looked.iter();
        looked.any(|one| one.refused.is_none() && one.is_of(config, id))
    }

    /// Whether all that member `id` ever acknowledged is here, by name at least.
    fn is_heard(&self, config: &Config, id: NodeId) -> bool {
        let mut looked = self.looked.iter();
        looked.any(|one| !one.remains.has_open_end && one.is_of(config, id))
    }

    fn missing(&self) -> Vec<NodeId> {
        let Some(config) = self.config() else {
            return Vec::new();
        };
        let mut missing = config.members();
        missing.retain(|&id| {
            let is_here = self.looked.iter().any(|one| one.is_of(config, id));
            config.is_voter(id) && !is_here
        });
        missing
    }

    fn loss(&self) -> Loss {
        let Some(config) = self.config() else {
            return Loss::Unknown;
        };
        if quorum_reaches(config, |id| self.starts(config, id)) {
            Loss::NotNeeded
        } else if quorum_reaches(config, |id| !self.is_heard(config, id)) {
            Loss::Unknown
        } else {
            Loss::None
        }
    }

    /// The entries that are known by name and cannot be kept: the first and the last.
    fn lost(&self) -> Option<(Index, LogId)> {
        let (kept, known_to) = (self.found.kept, self.found.known_to);
        (known_to > kept).then(|| (kept.index.next(), known_to))
    }

    fn status(&self) -> StoreStatus {
        status_of(&self.state.machine)
    }

    /// All of it, for an operator.
    ///
    /// # Errors
    /// None.
    pub fn tell(&self) -> Result<String> {
        let mut text = String::new();
        let listed = |ids: Vec<NodeId>| ids.into_iter().map(name_of).collect::<Vec<_>>().join(", ");
        let voters = self.config().map(|config| config.voters().to_vec());
        let voters = voters.map_or_else(|| "not known".into(), listed);
        writeln!(text, "cluster   {}", hex(self.cluster))?;
        writeln!(text, "voters    {voters}")?;
        let missing = self.missing();
        let missing = if missing.is_empty() {
            "none".into()
        } else {
            listed(missing)
        };
        writeln!(text, "missing   {missing}\n")?;
        let head = ("MEMBER", "LAST ENTRY", "COMMITTED", "DIRECTORY");
        let (member, last, committed, directory) = head;
        writeln!(text, "{member:18} {last:>22} {committed:>12}  {directory}")?;
        for (at, one) in self.looked.iter().enumerate() {
            let member = one.remains.identity.map(|own| name_of(own.node));
            let member = member.unwrap_or_else(|| "not known".into());
            let ((last, committed), directory) = (one.alone, one.directory.display());
            let (last, best) = (
                last.to_string(),
                if at == self.best { "  <- the best" } else { "" },
            );
            let refused = one.refused.as_ref().map_or("", |_| "  refused");
            let committed = committed.to_string();
            writeln!(
                text,
                "{member:18} {last:>22} {committed:>12}  {directory}{best}{refused}"
            )?;
        }
        for one in &self.looked {
            let (damage, directory) = (&one.remains.damage, one.directory.display());
            if let Some(why) = &one.refused {
                writeln!(text, "refused, {directory}: {why}")?;
            }
            for what in damage.iter().take(DAMAGE_TOLD_MAX) {
                writeln!(text, "damaged, {directory}: {what}")?;
            }
            if damage.len() > DAMAGE_TOLD_MAX {
                let more = damage.len() - DAMAGE_TOLD_MAX;
                writeln!(text, "damaged, {directory}: {more} places more")?;
            }
        }
        self.tell_together(&mut text)?;
        writeln!(text, "\n{}", self.what_is_lost())?;
        if self.loss() != Loss::NotNeeded || self.lost().is_some() {
            let (alone, of) = (self.looked.len() == 1, self.looked[self.best].directory);
            let what = if alone {
                of.display().to_string()
            } else {
                "what they hold".into()
            };
            writeln!(
                text,
                "To begin a new cluster with {what}, add --into NEWDIR and --initial-cluster-token; see \
                 --help."
            )?;
        }
        Ok(text)
    }

    /// What a new cluster would begin with, and what not.
    fn tell_together(&self, text: &mut String) -> Result<()> {
        let (found, status) = (&self.found, self.status());
        let (kept, revision, keys) = (found.kept, status.revision, status.keys);
        writeln!(
            text,
            "\nkept      all up to {kept}: revision {revision}, {keys} keys"
        )?;
        let Some((first, last)) = self.lost() else {
            return Ok(());
        };
        let terms = (kept.term.max(headwater_raft::Term(1)), last.term);
        let terms = match terms {
            (one, other) if one == other => format!("term {one}"),
            (one, other) => format!("terms {one} to {other}"),
        };
        writeln!(
            text,
            "lost      entries {first} to {} of {terms}",
            last.index
        )?;
        if found.committed >= first {
            writeln!(
                text,
                "          committed for certain: up to {}",
                found.committed
            )?;
        }
        if !found.readable_behind.is_empty() {
            let ranges = found
                .readable_behind
                .iter()
                .map(|(first, last)| match first == last {
                    true => first.to_string(),
                    false => format!("{first} to {last}"),
                });
            let ranges = ranges.collect::<Vec<_>>().join(", ");
            writeln!(
                text,
                "          whole, and of no use without those before them: {ranges}"
            )?;
        }
        if !found.is_certain {
            writeln!(
                text,
                "          a change of leaders is among them: that {last} came after {kept}, and not after \
                 another entry at its place, is likely and not certain"
            )?;
        }
        Ok(())
    }

    /// What becomes of writes, in words for whoever has to decide.
    fn what_is_lost(&self) -> String {
        let (kept, commit) = (self.found.kept, self.found.committed);
        let perhaps = if commit < kept.index {
            format!(
                " Entries after {commit} up to {kept} were perhaps never committed; they count as written."
            )
        } else {
            String::new()
        };
        let lacks_some = self.looked.iter().any(|one| one.unreadable > 0);
        match (self.loss(), self.lost()) {
            (Loss::NotNeeded, None) if lacks_some => {
                "These are a quorum: start them as they are, and replace the others. What one of them \
                 cannot read comes back from those that can."
                    .into()
            }
            (Loss::NotNeeded, None) => "These are a quorum, and nothing is lost: start them as they \
                                        are, and replace the others."
                .into(),
            (Loss::NotNeeded, Some((first, _))) => format!(
                "These are a quorum: start them as they are, and replace the others. What one of them \
                 cannot read comes back from those that can; what none of them can read, from entry \
                 {first} on, comes back with a missing member, or never, and until then they do not go \
                 beyond it. Where no member is missing, only a new cluster goes on, without these entries."
            ),
            (Loss::None, None) => format!(
                "No acknowledged write is lost: every quorum had one of these members.{perhaps}"
            ),
            (Loss::None, Some((first, last))) => format!(
                "Writes in entries {first} to {} are lost, {}: nobody here can give all of them \
                 back.{perhaps}",
                last.index,
                if commit >= first {
                    "and some of them were committed"
                } else {
                    "and some of them may have been committed"
                },
            ),
            (Loss::Unknown, _) => format!(
                "Writes that were acknowledged after entry {kept} are lost: only missing members \
                 and damaged places can have had them, and nobody can say how many there were.{perhaps}"
            ),
        }
    }

    /// All of it, for tools.
    pub fn to_json(&self) -> Value {
        let id = |id: LogId| json!({ "index": id.index.0, "term": id.term.0 });
        let looked = self.looked.iter().enumerate().map(|(at, one)| {
            let (last, commit) = one.alone;
            json!({
                "directory": one.directory.display().to_string(),
                "member": one.remains.identity.map(|own| name_of(own.node)),
                "last": id(last),
                "commit_at_least": commit.0,
                "unreadable": one.unreadable,
                "is_best": at == self.best,
                "refused": one.refused,
                "damage": one.remains.damage,
                "has_open_end": one.remains.has_open_end,
            })
        });
        let names = |ids: &[NodeId]| ids.iter().copied().map(name_of).collect::<Vec<_>>();
        let (found, status) = (&self.found, self.status());
        let behind = found.readable_behind.iter();
        let behind = behind.map(|(first, last)| [first.0, last.0]);
        let behind: Vec<[u64; 2]> = behind.collect();
        let lost = self.lost().map(|(first, last)| {
            json!({
                "first_index": first.0,
                "last": id(last),
                "commit_at_least": found.committed.0,
                "readable": behind,
                "is_certain": found.is_certain,
            })
        });
        json!({
            "cluster": hex(self.cluster).to_string(),
            "voters": self.config().map(|config| names(config.voters())),
            "missing": names(&self.missing()),
            "directories": looked.collect::<Vec<_>>(),
            "best": self.looked[self.best].directory.display().to_string(),
            "has_quorum": self.has_quorum(),
            "may_lose_acknowledged_writes": self.loss() == Loss::Unknown || lost.is_some(),
            "kept": id(found.kept),
            "revision": status.revision,
            "keys": status.keys,
            "lost": lost,
        })
    }
}
