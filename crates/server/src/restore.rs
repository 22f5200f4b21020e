//! etcd's snapshots, ours and those of an etcd, looked at and made a data directory of:
//! `headwater snapshot`.
//! Never makes a directory of a file that is not whole, and never changes one that is there.
//!
//! # Source
//! `etcdutl snapshot`.

pub mod flags;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use headwater_ctl::snapshot::Looked;
use headwater_kv::Store;
use headwater_kv::auth::Auth;
use headwater_raft::{Config, HardState, Index, LogId, Term};
use headwater_replica::checksum::crc32c;
use headwater_replica::recovery::Expect;
use headwater_replica::salvage::{Salvaged, found_anew};
use headwater_replica::wal::WalOptions;
use headwater_runtime::dice;
use headwater_runtime::file::FileDisk;
use headwater_runtime::name::hex;
use serde_json::json;

use crate::bolt::Database;
use crate::cli;
use crate::config::{self, Cluster};
use crate::etcd_db::{self, Snapshot};
use crate::identity;
use crate::print;
use crate::recover::lay_down;
use crate::restore::flags::{FounderArgs, RestoreArgs, SnapshotCommand, StatusArgs};

/// Carries the command out.
///
/// # Errors
/// The file is not whole or holds what cannot be taken over, or a flag or the directory is wrong.
pub fn run(command: &SnapshotCommand) -> Result<()> {
    match command {
        SnapshotCommand::Status(args) => status(args),
        SnapshotCommand::Restore(args) => restore(args),
    }
}

/// What etcd's tools tell of a snapshot, for `headwater ctl snapshot status`.
///
/// # Errors
/// The file is not whole, or no snapshot.
pub fn look(path: &Path) -> Result<Looked, String> {
    looked(path).map_err(|error| format!("{error:#}"))
}

fn looked(path: &Path) -> Result<Looked> {
    let name = path.display().to_string();
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    // A copy of a database has no checksum.
    let is_copy = bytes.len().is_multiple_of(512);
    etcd_db::check(&mut bytes, is_copy).with_context(|| name.clone())?;
    let revision = Snapshot::read(&bytes)
        .with_context(|| name.clone())?
        .revision;
    let (total_keys, hash) = items(&bytes)?;
    Ok(Looked {
        hash,
        revision,
        total_keys,
        total_size: bytes.len() as u64,
    })
}

/// How many items all buckets have, and the CRC-32C of their names, keys and values.
fn items(database: &[u8]) -> Result<(usize, u32)> {
    let (mut count, mut hashed) = (0, Vec::with_capacity(database.len()));
    let database = Database::open(database)?;
    for bucket in database.buckets()? {
        hashed.extend_from_slice(bucket.as_bytes());
        database.visit(&bucket, |key, value| {
            hashed.extend_from_slice(key);
            hashed.extend_from_slice(value);
            count += 1;
            Ok(())
        })?;
    }
    Ok((count, crc32c(&hashed)))
}

/// The bytes of a database, and their checksum; those after it, which vouch for it, are checked.
fn read(path: &Path, skip_hash_check: bool) -> Result<(Vec<u8>, Vec<u8>)> {
    let name = path.display();
    print::note(&format!("reading {name}"));
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let sum = etcd_db::check(&mut bytes, skip_hash_check).with_context(|| name.to_string())?;
    Ok((bytes, sum))
}

fn status(args: &StatusArgs) -> Result<()> {
    let (bytes, _) = read(&args.file, args.skip_hash_check)?;
    let snapshot = Snapshot::read(&bytes).with_context(|| args.file.display().to_string())?;
    let (items, _) = items(&bytes)?;
    if args.json {
        let told = json!({
            "revision": snapshot.revision,
            "compactRevision": snapshot.compact_revision,
            "versions": snapshot.versions,
            "leases": snapshot.leases.len(),
            "users": snapshot.auth.users.len(),
            "roles": snapshot.auth.roles.len(),
            "authEnabled": snapshot.auth.is_enabled,
            "totalKey": items,
            "totalSize": bytes.len(),
        });
        return print::put(format!("{told:#}\n"));
    }
    let needed = match snapshot.auth.is_enabled {
        true => "requests need rights",
        false => "not in force",
    };
    let (users, roles) = (snapshot.auth.users.len(), snapshot.auth.roles.len());
    print::put(format!(
        "revision            {}\n\
         compacted up to     {}\n\
         versions of keys    {}\n\
         leases              {}\n\
         users, roles        {users}, {roles} ({needed})\n\
         items               {items} in all buckets: what etcd's tools call total keys\n\
         bytes               {}\n",
        snapshot.revision,
        snapshot.compact_revision.max(0),
        snapshot.versions,
        snapshot.leases.len(),
        bytes.len(),
    ))
}

fn restore(args: &RestoreArgs) -> Result<()> {
    let founder = Founder::of(&args.founder)?;
    let (bytes, sum) = read(&args.file, args.founder.skip_hash_check)?;
    let name = args.file.display().to_string();
    let snapshot = Snapshot::read(&bytes).with_context(|| name.clone())?;
    drop(bytes);
    let write = |disk: &mut FileDisk, expect, salvaged| {
        Ok(found_anew::<Store>(
            disk,
            &WalOptions::default(),
            expect,
            salvaged,
        )?)
    };
    let made = founder.found(&name, &sum, snapshot, write)?;
    let next = match founder.size() {
        1 => "Start the server with the same flags.".to_owned(),
        size => format!(
            "Restore this very file on each of its {size} members, then start them with the same flags."
        ),
    };
    print::put(format!("{made}\n{next}\n"))
}

/// A member of a new cluster that is to begin with what a snapshot holds.
pub struct Founder<'a> {
    args: &'a FounderArgs,
    cluster: Cluster,
    /// Its data directory.
    pub into: PathBuf,
}

impl<'a> Founder<'a> {
    /// The one that the flags name.
    ///
    /// # Errors
    /// They do not fit together.
    pub fn of(args: &'a FounderArgs) -> Result<Self> {
        let serve = cli::serve_args(&args.as_flags())?;
        Ok(Self {
            args,
            cluster: config::founding(&serve)?,
            into: serve.data_dir(),
        })
    }

    /// How many members the new cluster has.
    pub fn size(&self) -> usize {
        self.cluster.founders.len()
    }

    /// Makes its data directory, which gets its name when `write` is content with it; what was made, in a
    /// line. `name` is the snapshot's, and `sum` its checksum.
    ///
    /// # Errors
    /// The snapshot's parts do not fit together, the directory cannot be made, or what `write` says.
    pub fn found(
        &self,
        name: &str,
        sum: &[u8],
        mut snapshot: Snapshot,
        write: impl FnOnce(&mut FileDisk, Expect, Salvaged<Store>) -> Result<()>,
    ) -> Result<String> {
        let cluster = identity::restored_cluster_id(self.cluster.id, sum);
        if self.args.without_users {
            snapshot.auth = Auth::default();
        }
        if snapshot.auth.is_enabled {
            print::note(&format!(
                "requests will need the users of {name}, with their passwords"
            ));
        }
        let (revision, versions) = (snapshot.revision, snapshot.versions);
        let (machine, orphans) = snapshot.into_store().with_context(|| name.to_owned())?;
        if orphans > 0 {
            print::note(&format!(
                "{orphans} keys were attached to leases that are gone: they stay, without one"
            ));
        }
        // All founders begin with the same state, as if it were that of the first entry.
        let salvaged = Salvaged::<Store> {
            last: LogId::new(Term(1), Index(1)),
            hard: HardState {
                term: Term(1),
                voted_for: None,
            },
            machine,
        };
        let founders = self.cluster.founders.iter().map(|member| member.id);
        let expect = Expect {
            cluster,
            node: self.cluster.me,
            fresh_incarnation: dice::u128(),
            first_config: Config::of_voters(founders),
        };
        lay_down("data-dir", &self.into, |disk| write(disk, expect, salvaged))?;
        Ok(format!(
            "{}: member {} ({}) of the new cluster {}, revision {revision}, {versions} versions of keys.",
            self.into.display(),
            self.cluster.name,
            hex(self.cluster.me.0),
            hex(cluster),
        ))
    }
}
