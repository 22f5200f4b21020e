//! The identity file: whose data directory this is.
//! Never another one: a directory gets one identity, drawn when it is formatted. The file holds it twice,
//! and is written again if one of the two is damaged.
//!
//! # Source
//! docs/format.md, "identity"; rule R13 (identity is node and incarnation).

use alloc::vec::Vec;
use bytes::Bytes;
use headwater_raft::{Config, NodeId};

use crate::checksum::crc32c;
use crate::config_record::{decode_config, encode_config};
use crate::entry::Identity;
use crate::port::{Disk, DiskError};
use crate::record::{
    HeadError, Reader, check_prologue, malformed, patch_u32, put_prologue, put_u32, put_u64,
};

/// The file's name.
pub const IDENTITY_FILE: &str = "identity";
/// The name it is written under before it is whole.
pub const IDENTITY_TEMPORARY: &str = "identity.tmp";
const MAGIC: &[u8; 8] = b"HWIDENTY";
const CHECKED_FROM: usize = 20;
/// Beyond this no configuration goes; a longer file is not an identity.
const BYTES_MAX: usize = 1 << 20;
/// The second copy begins at a multiple of this: another sector, of whatever size.
const COPY_ALIGN: usize = 4096;

/// The file's bytes: the identity and the configuration the node began with, twice.
pub fn encode_identity(identity: &Identity, first_config: &Config) -> Vec<u8> {
    let mut out = encode_copy(identity, first_config);
    let copy = out.clone();
    out.resize(copy.len().next_multiple_of(COPY_ALIGN), 0);
    out.extend_from_slice(&copy);
    out
}

fn encode_copy(identity: &Identity, first_config: &Config) -> Vec<u8> {
    let mut out = Vec::new();
    put_prologue(MAGIC, &mut out);
    put_u32(&mut out, 0);
    put_u32(&mut out, 0);
    put_u64(&mut out, identity.cluster);
    put_u64(&mut out, identity.node.0);
    out.extend_from_slice(&identity.incarnation.to_le_bytes());
    encode_config(first_config, &mut out);
    let length = u32::try_from(out.len()).expect("a configuration is far below 4 GiB");
    patch_u32(&mut out, CHECKED_FROM, length);
    let crc = crc32c(&out[CHECKED_FROM..]);
    patch_u32(&mut out, CHECKED_FROM - 4, crc);
    out
}

/// Reads what [`encode_identity`] wrote, from whichever copy is whole.
///
/// # Errors
/// Both fail their checks, or a later version wrote them.
pub fn decode_identity(bytes: &[u8]) -> Result<(Identity, Config), HeadError> {
    let mut copies = (0..bytes.len().max(1)).step_by(COPY_ALIGN);
    let first = decode_copy(&bytes[copies.next().unwrap_or(0)..]);
    if let Err(HeadError::Malformed(_)) = first {
        let whole = copies.find_map(|at| decode_copy(&bytes[at..]).ok());
        return whole.map_or(first, Ok);
    }
    first
}

/// Whether one of the two is damaged where the other says this. Earlier programs wrote it once.
pub(crate) fn is_damaged(bytes: &[u8], identity: &Identity, first_config: &Config) -> bool {
    bytes != encode_identity(identity, first_config) && bytes != encode_copy(identity, first_config)
}

fn decode_copy(bytes: &[u8]) -> Result<(Identity, Config), HeadError> {
    let mut reader = Reader(bytes);
    check_prologue(MAGIC, &mut reader)?;
    let crc = reader.u32()?;
    let length = Reader(reader.0).u32()? as usize;
    let checked = bytes.get(CHECKED_FROM..length);
    let checked = checked.ok_or_else(|| malformed("it is shorter than it says"))?;
    if crc != crc32c(checked) {
        return Err(malformed("its content fails its check").into());
    }
    let mut reader = Reader(checked);
    reader.u32()?;
    let identity = Identity {
        cluster: reader.u64()?,
        node: NodeId(reader.u64()?),
        incarnation: reader.u128()?,
    };
    Ok((identity, decode_config(reader.0)?))
}

/// The identity file's bytes, to be decoded; `None` if there is no such file.
pub(crate) fn read_identity(disk: &mut dyn Disk) -> Result<Option<Bytes>, DiskError> {
    if disk.size(IDENTITY_FILE)?.is_none() {
        return Ok(None);
    }
    // A file longer than this is cut, and so fails its check.
    disk.read(IDENTITY_FILE, 0, BYTES_MAX).map(Some)
}

/// Makes the identity file, durably and all at once.
pub(crate) fn write_identity(
    disk: &mut dyn Disk,
    identity: &Identity,
    first_config: &Config,
) -> Result<(), DiskError> {
    let bytes = encode_identity(identity, first_config);
    // A longer file of an earlier, unfinished try would leave its end behind.
    disk.remove(IDENTITY_TEMPORARY)?;
    disk.write(IDENTITY_TEMPORARY, 0, &bytes)?;
    disk.sync(IDENTITY_TEMPORARY)?;
    disk.rename(IDENTITY_TEMPORARY, IDENTITY_FILE)?;
    disk.sync_dir("")
}
