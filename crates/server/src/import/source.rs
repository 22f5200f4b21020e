//! Where a snapshot comes from: a file, or an etcd that runs.
//! Never judges what is in it, and never changes an etcd.
//!
//! # Source
//! The etcd v3 API, `Maintenance.Snapshot`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use headwater_ctl::progress::{Progress, Unit};
use headwater_ctl::{Download, Failure, KeptSnapshot, Options, Session, revision};

use crate::import::flags::ImportArgs;
use crate::print;

/// So much of a file is read at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Where a snapshot comes from.
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A running etcd.
    Etcd(Box<Etcd>),
}

/// An etcd that runs, and where its snapshot is kept.
pub struct Etcd {
    /// How it is asked: anew each time, for a connection may not last until the directory is made.
    options: Options,
    save: Option<PathBuf>,
}

fn said(failure: Failure) -> anyhow::Error {
    let text = failure.to_string();
    match text.contains("permission denied") {
        true => anyhow!(
            "permission denied: of an etcd with users only root may have a snapshot, --user root"
        ),
        false => anyhow!(text),
    }
}

impl Source {
    /// What the flags name; nobody is asked yet.
    ///
    /// # Errors
    /// They do not say whom to ask and how, or there is a file already where the snapshot is to be kept.
    pub fn of(args: &ImportArgs) -> Result<Self> {
        if let Some(file) = &args.file {
            return Ok(Self::File(file.clone()));
        }
        if let Some(save) = &args.save {
            let name = save.display();
            ensure!(
                !save.exists(),
                "--save {name}: there is such a file already"
            );
        }
        Ok(Self::Etcd(Box::new(Etcd {
            options: args.etcd.clone().with_password().map_err(said)?,
            save: args.save.clone(),
        })))
    }

    /// Its name, for texts.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Etcd(etcd) => etcd.options.endpoints.join(","),
        }
    }

    /// All its bytes.
    ///
    /// # Errors
    /// It cannot be read, or gives no snapshot, or one from the past.
    pub async fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => {
                read_file(path).with_context(|| format!("cannot read {}", path.display()))
            }
            Self::Etcd(etcd) => download(&etcd.options).await.map_err(said),
        }
    }

    /// Keeps a running etcd's snapshot, if that is wanted, for the other members.
    ///
    /// # Errors
    /// It cannot be written; nothing of it is left.
    pub fn keep(&self, database: &[u8], sum: &[u8]) -> Result<()> {
        let Self::Etcd(etcd) = self else {
            return Ok(());
        };
        let Some(save) = &etcd.save else {
            return Ok(());
        };
        let here = || format!("cannot write {}", save.display());
        let mut kept = KeptSnapshot::begin(save).with_context(here)?;
        let part = kept.part.clone();
        let mut write = || kept.write(database).and_then(|()| kept.write(sum));
        let written = write().and_then(|()| kept.end());
        written
            .inspect_err(|_| {
                // The reason is told; what is left besides is of no use.
                let _ = fs::remove_file(&part);
            })
            .with_context(here)?;
        print::note(&format!("the snapshot is kept in {}", save.display()));
        Ok(())
    }

    /// Says whether a running etcd has gone on since the revision that was imported; it has, if it cannot
    /// tell.
    ///
    /// # Errors
    /// It cannot be said.
    pub async fn has_gone_on(&self, imported: i64) -> Result<bool> {
        let Self::Etcd(etcd) = self else {
            return Ok(false);
        };
        let now = async { revision(&Session::new(&etcd.options)?).await }.await;
        let said = match &now {
            Ok(now) if *now == imported => format!(
                "{} is still at revision {now}: nothing is missing.\n",
                self.name()
            ),
            Ok(now) => format!(
                "The etcd is at revision {now}, and what it wrote after {imported} is not here. Stop who writes to \
                 it, and import again.\n"
            ),
            Err(why) => {
                format!("Whether the etcd has written something since is not known: {why}\n")
            }
        };
        print::put(said)?;
        Ok(!now.is_ok_and(|now| now == imported))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let database = path.join("member/snap/db");
    if database.exists() {
        bail!(
            "it is an etcd's data directory: stop that etcd, and import {} with --skip-hash-check",
            database.display()
        );
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut progress = Progress::begin(format!("reading {}", path.display()), Unit::Bytes);
    let mut bytes = Vec::with_capacity(usize::try_from(length)?);
    loop {
        if (&file).take(PIECE_BYTES).read_to_end(&mut bytes)? == 0 {
            break;
        }
        progress.at(bytes.len() as u64, Some(length));
    }
    progress.end();
    Ok(bytes)
}

async fn download(options: &Options) -> Result<Vec<u8>, Failure> {
    let session = &Session::new(options)?;
    let mut download = Download::begin(session).await?;
    let mut progress = Progress::begin(
        format!("getting a snapshot of {}", session.at().said),
        Unit::Bytes,
    );
    let mut bytes = Vec::new();
    while let Some(piece) = download.piece().await? {
        bytes.extend_from_slice(&piece);
        progress.at(bytes.len() as u64, Some(download.bytes_expected()));
    }
    progress.end();
    Ok(bytes)
}
