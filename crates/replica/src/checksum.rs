//! The one checksum of every byte on disk and on the wire: CRC-32C.
//! Never a defence against malice: it finds accidents.
//!
//! # Source
//! RFC 3720, appendix B.4 (the polynomial, as iSCSI and ext4 use it).

/// CRC-32C (Castagnoli), as iSCSI and ext4 use it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
