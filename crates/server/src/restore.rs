//! etcd's snapshots, ours and those of an etcd, looked at and made a data directory of:
//! `headwater snapshot`.
//! Never makes a directory of a file that is not whole, and never changes one that is there.
//!
//! # Source
//! `etcdutl snapshot`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use headwater_kv::Store;
use headwater_kv::auth::Auth;
use headwater_raft::{Config, HardState, Index, LogId, Term};
use headwater_replica::recovery::Expect;
use headwater_replica::salvage::{Salvaged, found_anew};
use headwater_replica::wal::WalOptions;
use headwater_runtime::dice;
use headwater_runtime::name::hex;
use serde_json::json;

use crate::cli::{self, RestoreArgs, SnapshotCommand, StatusArgs};
use crate::config;
use crate::etcd_db::{self, Snapshot};
use crate::identity;
use crate::recover::lay_down;

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

/// The bytes of a database, and their checksum; those after it, which vouch for it, are checked.
fn read(path: &Path, skip_hash_check: bool) -> Result<(Vec<u8>, Vec<u8>)> {
    let name = path.display();
    eprintln!("reading {name}");
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let sum = etcd_db::check(&mut bytes, skip_hash_check).with_context(|| name.to_string())?;
    Ok((bytes, sum))
}

fn status(args: &StatusArgs) -> Result<()> {
    let (bytes, _) = read(&args.file, args.skip_hash_check)?;
    let snapshot = Snapshot::read(&bytes).with_context(|| args.file.display().to_string())?;
    if args.json {
        let told = json!({
            "revision": snapshot.revision,
            "compactRevision": snapshot.compact_revision,
            "versions": snapshot.versions,
            "leases": snapshot.leases.len(),
            "users": snapshot.auth.users.len(),
            "roles": snapshot.auth.roles.len(),
            "authEnabled": snapshot.auth.is_enabled,
            "totalSize": bytes.len(),
        });
        println!("{told:#}");
        return Ok(());
    }
    println!("revision            {}", snapshot.revision);
    println!("compacted up to     {}", snapshot.compact_revision.max(0));
    println!("versions of keys    {}", snapshot.versions);
    println!("leases              {}", snapshot.leases.len());
    let needed = match snapshot.auth.is_enabled {
        true => "requests need rights",
        false => "not in force",
    };
    let (users, roles) = (snapshot.auth.users.len(), snapshot.auth.roles.len());
    println!("users, roles        {users}, {roles} ({needed})");
    println!("bytes               {}", bytes.len());
    Ok(())
}

fn restore(args: &RestoreArgs) -> Result<()> {
    let serve = cli::serve_args(&args.as_flags())?;
    let cluster = config::founding(&serve)?;
    let into = serve.data_dir();
    let (bytes, sum) = read(&args.file, args.skip_hash_check)?;
    let name = args.file.display();
    let cluster_id = identity::restored_cluster_id(cluster.id, &sum);
    let mut snapshot = Snapshot::read(&bytes).with_context(|| name.to_string())?;
    if args.without_users {
        snapshot.auth = Auth::default();
    }
    if snapshot.auth.is_enabled {
        eprintln!("requests will need the users of {name}, with their passwords");
    }
    let (revision, versions) = (snapshot.revision, snapshot.versions);
    let (machine, orphans) = snapshot.into_store().with_context(|| name.to_string())?;
    if orphans > 0 {
        eprintln!("{orphans} keys were attached to leases that are gone: they stay, without one");
    }
    drop(bytes);
    // All founders begin with the same state, as if it were that of the first entry.
    let salvaged = Salvaged::<Store> {
        last: LogId::new(Term(1), Index(1)),
        hard: HardState {
            term: Term(1),
            voted_for: None,
        },
        machine,
    };
    let founders = cluster.founders.iter().map(|member| member.id);
    let expect = Expect {
        cluster: cluster_id,
        node: cluster.me,
        fresh_incarnation: dice::u128(),
        first_config: Config::of_voters(founders),
    };
    lay_down("data-dir", &into, |disk| {
        found_anew::<Store>(disk, &WalOptions::default(), expect, salvaged)
            .map_err(|why| anyhow::anyhow!("{why}"))
    })?;
    println!(
        "{}: member {} ({}) of the new cluster {}, revision {revision}, {versions} versions of keys.\n\
         Restore this very file on each of its {} members, then start them with the same flags.",
        into.display(),
        cluster.name,
        hex(cluster.me.0),
        hex(cluster_id),
        cluster.founders.len(),
    );
    Ok(())
}
