//! Taking over from an etcd, a running one or a snapshot of one: `headwater import`.
//! Never leaves a directory that does not hold what the etcd held, and never changes the etcd.
//!
//! # Source
//! `etcdutl snapshot restore`; docs/migration.md.

mod check;
pub mod flags;
mod source;
mod told_disk;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headwater_ctl::progress::{Progress, Unit};
use headwater_kv::Store;
use headwater_replica::recovery::{Expect, open};
use headwater_replica::salvage::found_anew;
use headwater_replica::wal::WalOptions;
use headwater_runtime::file::FileDisk;

use crate::etcd_db::{self, Snapshot};
use crate::import::flags::ImportArgs;
use crate::import::source::Source;
use crate::import::told_disk::ToldDisk;
use crate::print;
use crate::recover::vacant;
use crate::restore::Founder;

/// The exit code for a directory that is whole as of a revision behind which the etcd was written.
const BEHIND: u8 = 3;

/// Carries the command out; its exit code.
///
/// # Errors
/// There is nothing to take over, it is not whole, or the directory cannot be made; nothing of it is left.
pub async fn run(args: &ImportArgs) -> Result<ExitCode> {
    let founder = Founder::of(&args.founder)?;
    vacant("data-dir", &founder.into)?;
    ensure!(
        founder.size() == 1 || args.file.is_some() || args.save.is_some(),
        "all {} members of --initial-cluster must begin with the same snapshot: --save FILE keeps it for \
         the others",
        founder.size()
    );
    let source = Source::of(args)?;
    let name = source.name();
    let mut bytes = source.read().await?;
    let sum = etcd_db::check(&mut bytes, args.founder.skip_hash_check);
    let sum = sum.with_context(|| name.clone())?;
    source.keep(&bytes, &sum)?;
    let bytes = Bytes::from(bytes);
    let snapshot = understand(&bytes).with_context(|| name.clone())?;
    let expected = check::Expected {
        file: bytes,
        without_users: args.founder.without_users,
    };
    let mut report = String::new();
    let revision = snapshot.revision;
    let made = founder.found(&name, &sum, snapshot, |disk, expect, salvaged| {
        let mut writing = Progress::begin("writing", Unit::Bytes);
        let mut told = ToldDisk::new(disk, &mut writing);
        found_anew::<Store>(&mut told, &WalOptions::default(), expect.clone(), salvaged)?;
        writing.end();
        let store = read_back(disk, expect)?;
        report = check::compare(&expected, &store)
            .context("what was written is not what the snapshot holds")?;
        Ok(())
    })?;
    let next = match founder.size() {
        1 => "Start the server with the same flags.".to_owned(),
        size => {
            let file = args.save.as_ref().or(args.file.as_ref());
            format!(
                "Import {} for each of the {size} members, then start them with the same flags.",
                file.map_or_else(String::new, |file| file.display().to_string()),
            )
        }
    };
    print::put(format!("{made}\n{report}{next}\n"))?;
    Ok(match source.has_gone_on(revision).await? {
        true => ExitCode::from(BEHIND),
        false => ExitCode::SUCCESS,
    })
}

/// What the snapshot holds, which is not nothing.
fn understand(bytes: &[u8]) -> Result<Snapshot> {
    let mut reading = Progress::begin("reading keys", Unit::Of("versions of keys"));
    let snapshot = Snapshot::read_telling(bytes, |done, total| {
        reading.at(done as u64, Some(total as u64));
    })?;
    reading.end();
    let (auth, leases) = (&snapshot.auth, &snapshot.leases);
    let is_empty = snapshot.revision <= 1 && leases.is_empty() && auth.users.is_empty();
    ensure!(
        !is_empty,
        "it holds no key, lease or user: there is nothing to import. Keys of etcd's old API (v2) are kept \
         elsewhere, and are not imported: `etcdctl migrate` of etcd 3.4 makes keys of today's of them"
    );
    Ok(snapshot)
}

/// What a server would begin with.
fn read_back(disk: &mut FileDisk, expect: Expect) -> Result<Store> {
    let mut reading = Progress::begin("reading it back", Unit::Bytes);
    let mut told = ToldDisk::new(disk, &mut reading);
    let (recovered, _, _) = open::<Store>(&mut told, &WalOptions::default(), expect)?;
    reading.end();
    ensure!(
        recovered.mended.is_empty() && recovered.unreadable.is_empty(),
        "the disk has not kept what was written: {}",
        recovered.mended.join("; ")
    );
    Ok(recovered.machine)
}
