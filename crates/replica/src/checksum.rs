//! The one checksum of every byte on disk and on the wire: CRC-32C.

/// CRC-32C (Castagnoli), as iSCSI and ext4 use it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
