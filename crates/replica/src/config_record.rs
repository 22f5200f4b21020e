//! The bytes of a configuration, in entries, snapshots and the identity file; and what the core
//! knows of entries that may be configurations.
//! Never judges a configuration: the core does.
//!
//! # Source
//! docs/format.md, "Rules for all files".

use alloc::vec::Vec;
use bytes::Bytes;

use headwater_raft::{Config, Entries, Incarnation, LogId, NodeId};

use crate::entry::{Entry, EntryKind};
use crate::machine::Malformed;
use crate::record::{Reader, malformed, put_u32, put_u64};

/// Appends a configuration: four lists of nodes and one of their disks, each with its length
/// before it.
pub fn encode_config(config: &Config, out: &mut Vec<u8>) {
    let put_count = |out: &mut Vec<u8>, count: usize| {
        put_u32(
            out,
            u32::try_from(count).expect("a cluster has fewer than 2^32 nodes"),
        );
    };
    let (learners, joining) = (config.learners(), config.joining());
    for list in [config.voters(), config.outgoing(), learners, joining] {
        put_count(out, list.len());
        for node in list {
            put_u64(out, node.0);
        }
    }
    put_count(out, config.disks().len());
    for &(node, disk) in config.disks() {
        put_u64(out, node.0);
        out.extend_from_slice(&disk.0.to_le_bytes());
    }
}

/// Reads what [`encode_config`] wrote, all of it.
///
/// # Errors
/// The bytes are not exactly one configuration in its one spelling.
pub fn decode_config(bytes: &[u8]) -> Result<Config, Malformed> {
    let mut reader = Reader(bytes);
    let config = read_config(&mut reader)?;
    if !reader.0.is_empty() {
        return Err(malformed("bytes after a configuration"));
    }
    Ok(config)
}

/// Reads the body of a configuration's entry: the configuration, and after it the command for the
/// state machine that came with the change; empty if none did.
///
/// # Errors
/// The bytes do not begin with a configuration in its one spelling.
pub fn decode_change(body: &Bytes) -> Result<(Config, Bytes), Malformed> {
    let mut reader = Reader(body);
    let config = read_config(&mut reader)?;
    let command = body.slice(body.len() - reader.0.len()..);
    Ok((config, command))
}

fn read_config(reader: &mut Reader<'_>) -> Result<Config, Malformed> {
    let config = Config::of_voters(decode_nodes(reader)?)
        .with_outgoing(decode_nodes(reader)?)
        .with_learners(decode_nodes(reader)?)
        .with_joining(decode_nodes(reader)?);
    let count = reader.u32()? as usize;
    let mut disks = Vec::new();
    for place in reader.take(count.saturating_mul(24))?.chunks_exact(24) {
        let mut place = Reader(place);
        disks.push((NodeId(place.u64()?), Incarnation(place.u128()?)));
    }
    let config = config.with_disks(disks.iter().copied());
    if config.disks() != disks {
        return Err(malformed("a configuration's disks are out of order"));
    }
    Ok(config)
}

fn decode_nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, Malformed> {
    let count = reader.u32()? as usize;
    let mut nodes = Vec::new();
    for id in reader.take(count.saturating_mul(8))?.chunks_exact(8) {
        let id = NodeId(Reader(id).u64()?);
        if nodes.last().map_or(NodeId(0), |&last| last) >= id {
            return Err(malformed("a configuration's nodes are out of order"));
        }
        nodes.push(id);
    }
    Ok(nodes)
}

/// The identities of a list of entries that follow `prev`, and the configurations among them: what
/// the core knows of them.
///
/// # Errors
/// An entry says that it is a configuration, and is none.
pub fn identities(prev: LogId, entries: &[Entry]) -> Result<Entries, Malformed> {
    let mut header = Entries::none(prev);
    for entry in entries {
        let LogId { term, index } = entry.id;
        if header.runs.last().is_none_or(|run| run.1 != term) {
            header.runs.push((index, term));
        }
        if entry.kind == EntryKind::Config {
            header.configs.push((index, decode_change(&entry.body)?.0));
        }
        header.last = index;
    }
    Ok(header)
}

/// The entry in which a leader writes down `config`, with a command for the state machine or none.
pub(crate) fn config_entry(id: LogId, config: &Config, command: &[u8]) -> Entry {
    let mut body = Vec::new();
    encode_config(config, &mut body);
    body.extend_from_slice(command);
    Entry::new(id, EntryKind::Config, body.into())
}
