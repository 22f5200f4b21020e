//! `snapshot`: taken from a member, and looked at.
//! Never reads one itself; the program that this client is part of does.
//!
//! # Source
//! etcdctl's command of this name; the etcd v3 API, `Snapshot`.

use std::path::Path;

use clap::{Args, Subcommand};

use crate::download::Download;
use crate::elsewhere;
use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::kept::KeptSnapshot;
use crate::quantity;
use crate::session::Session;
use crate::table::Table;
use crate::text::{Format, Style, Text, field, line, say, unsupported};

/// What can be done with snapshots of a running member.
#[derive(Subcommand, Debug)]
pub enum SnapshotCommand {
    /// Get one from the one member that is named
    Save(SaveArgs),
    /// What one holds, as etcd's tools tell it: hash, revision, size, and as "total keys" the items of all
    /// buckets (`headwater snapshot status` tells the keys' versions, leases and users)
    Status(StatusArgs),
    /// Done without a cluster: `headwater snapshot restore FILE`
    #[command(hide = true)]
    Restore(elsewhere::ElsewhereArgs),
}

/// Flags of `snapshot status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The snapshot
    #[arg(value_name = "FILE")]
    args: Vec<String>,
}

/// Flags of `snapshot save`.
#[derive(Args, Debug)]
pub struct SaveArgs {
    /// Where it is written
    #[arg(value_name = "FILE")]
    args: Vec<String>,
}

/// What is told of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looked {
    /// The CRC-32C of all buckets' names, keys and values.
    pub hash: u32,
    /// The last revision.
    pub revision: i64,
    /// Items of all buckets.
    pub total_keys: usize,
    /// Bytes of the database.
    pub total_size: u64,
}

/// Looks into a snapshot, or says why it cannot: this client knows the API, not files.
pub type Look = fn(&Path) -> std::result::Result<Looked, String>;

fn status(style: Style, args: &StatusArgs, look: Look) -> Result<()> {
    let [file] = &args.args[..] else {
        return Err(Failure::arguments(
            "snapshot status requires exactly one argument",
        ));
    };
    let looked = look(Path::new(file)).map_err(Failure::error)?;
    let mut table = Table::new(&["hash", "revision", "total keys", "total size"]);
    let mut text = Text::new();
    table.row(vec![
        format!("{:x}", looked.hash),
        looked.revision.to_string(),
        looked.total_keys.to_string(),
        quantity::size(looked.total_size),
    ]);
    match style.format {
        Format::Simple => text = table.lines().into(),
        Format::Table => text = table.draw().into(),
        Format::Json => line(
            &mut text,
            Json::object([
                ("hash", Json::number(looked.hash)),
                ("revision", Json::number(looked.revision)),
                ("totalKey", Json::number(looked.total_keys as i64)),
                ("totalSize", Json::number(looked.total_size)),
            ])
            .to_string(),
        ),
        Format::Fields => {
            field(&mut text, "Hash", looked.hash);
            field(&mut text, "Revision", looked.revision);
            field(&mut text, "Keys", looked.total_keys);
            field(&mut text, "Size", looked.total_size);
        }
        Format::Protobuf => return Err(unsupported("protobuf")),
    }
    say(&text)
}

/// Gets a snapshot, whole or not at all, or looks at one.
///
/// # Errors
/// It does not come to its end, or cannot be written.
pub async fn run(
    session: &Session,
    style: Style,
    command: SnapshotCommand,
    look: Look,
) -> Result<()> {
    let args = match command {
        SnapshotCommand::Save(args) => args,
        SnapshotCommand::Status(args) => return status(style, &args, look),
        SnapshotCommand::Restore(args) => return Err(elsewhere::restore(&args)),
    };
    let [file] = &args.args[..] else {
        return Err(Failure::arguments("snapshot save expects one argument"));
    };
    if session.places().len() != 1 {
        return Err(Failure::arguments(
            "snapshot must be requested to one selected node, not multiple: name one with --endpoints",
        ));
    }
    let mut pieces = Download::begin(session).await?;
    let mut kept = KeptSnapshot::begin(Path::new(file))
        .map_err(|error| Failure::file(format!("could not open {file}.part ({error})")))?;
    loop {
        match pieces.piece().await {
            Ok(Some(piece)) => kept.write(&piece)?,
            Ok(None) => break,
            Err(failure) => {
                return Err(failure.hint(&format!("what came is in {}", kept.part.display())));
            }
        }
    }
    kept.end()?;
    say(format!("Snapshot saved at {file}\n").as_bytes())
}
