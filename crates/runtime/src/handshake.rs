//! The first bytes on a connection between peers: who calls whom, and whether they belong together.
//! Never touches a socket; it turns words into bytes and back.
//!
//! # Source
//! docs/wire.md, "Handshake"; rule R13 (identity is node and incarnation).

use headwater_raft::NodeId;
use headwater_replica::checksum::crc32c;

/// The first bytes of either side's first word.
pub const MAGIC: [u8; 8] = *b"HWPEER\r\n";

/// The oldest wire version this program speaks.
pub const WIRE_VERSION_MIN: u16 = 1;

/// The newest wire version this program speaks.
pub const WIRE_VERSION_MAX: u16 = 1;

/// The bytes of a [`Hello`].
pub const HELLO_BYTES: usize = 68;

/// The bytes of an [`Answer`] before its text.
pub const ANSWER_BYTES: usize = 60;

/// The longest text of a refusal; a longer one is cut.
pub const TEXT_BYTES_MAX: usize = 512;

/// What the side that dials says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The oldest and newest wire version it speaks.
    pub versions: (u16, u16),
    /// The cluster it belongs to.
    pub cluster: u64,
    /// Who it is.
    pub from: NodeId,
    /// Whom it means to reach.
    pub to: NodeId,
    /// Its data directory's incarnation.
    pub incarnation: u128,
    /// The life of its process.
    pub life: u64,
}

/// What the side that was dialled says back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Why not, or none: the connection stands.
    pub refusal: Option<Refusal>,
    /// The wire version to speak; zero in a refusal.
    pub version: u16,
    /// The cluster the answering node belongs to.
    pub cluster: u64,
    /// The answering node.
    pub node: NodeId,
    /// Its data directory's incarnation.
    pub incarnation: u128,
    /// The life of its process.
    pub life: u64,
    /// A refusal in words, for the caller's log.
    pub text: String,
}

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// The versions spoken do not overlap.
    Version = 1,
    /// The caller belongs to another cluster.
    Cluster = 2,
    /// The caller meant to reach another node: addresses are mixed up.
    WrongNode = 3,
    /// The caller was a member and is none any more.
    Removed = 4,
    /// The caller should have waited to be called: the lower id dials.
    Direction = 5,
    /// This node is stopping.
    Stopping = 6,
}

impl Refusal {
    fn of_code(code: u8) -> Option<Self> {
        [
            Self::Version,
            Self::Cluster,
            Self::WrongNode,
            Self::Removed,
            Self::Direction,
            Self::Stopping,
        ]
        .into_iter()
        .find(|&refusal| refusal as u8 == code)
    }
}

/// Bytes that are no first word of this protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It is not a Headwater peer that speaks.
    #[error("not a Headwater peer")]
    Magic,
    /// The bytes were damaged on the way.
    #[error("handshake checksum mismatch")]
    Checksum,
    /// A field holds what no version writes.
    #[error("handshake malformed: {0}")]
    Malformed(&'static str),
}

impl Hello {
    /// The bytes to send.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.versions.0.to_le_bytes());
        bytes.extend_from_slice(&self.versions.1.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.cluster.to_le_bytes());
        bytes.extend_from_slice(&self.from.0.to_le_bytes());
        bytes.extend_from_slice(&self.to.0.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.to_le_bytes());
        bytes.extend_from_slice(&self.life.to_le_bytes());
        seal(&mut bytes);
        bytes.try_into().expect("the fields add up")
    }

    /// Reads what a caller sent.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, HandshakeError> {
        check_seal(bytes)?;
        let hello = Self {
            versions: (
                u16::from_le_bytes(field(bytes, 8)),
                u16::from_le_bytes(field(bytes, 10)),
            ),
            cluster: u64::from_le_bytes(field(bytes, 16)),
            from: NodeId(u64::from_le_bytes(field(bytes, 24))),
            to: NodeId(u64::from_le_bytes(field(bytes, 32))),
            incarnation: u128::from_le_bytes(field(bytes, 40)),
            life: u64::from_le_bytes(field(bytes, 56)),
        };
        if hello.versions.0 > hello.versions.1 {
            return Err(HandshakeError::Malformed("versions out of order"));
        }
        Ok(hello)
    }
}

impl Answer {
    /// The bytes to send: a head of [`ANSWER_BYTES`] and the text.
    pub fn encode(&self) -> Vec<u8> {
        let text = cut(&self.text, TEXT_BYTES_MAX).as_bytes();
        let text_bytes = u16::try_from(text.len()).expect("cut above");
        let mut bytes = Vec::with_capacity(ANSWER_BYTES + text.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.push(self.refusal.map_or(0, |refusal| refusal as u8));
        bytes.push(0);
        bytes.extend_from_slice(&text_bytes.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.cluster.to_le_bytes());
        bytes.extend_from_slice(&self.node.0.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.to_le_bytes());
        bytes.extend_from_slice(&self.life.to_le_bytes());
        seal(&mut bytes);
        assert_eq!(bytes.len(), ANSWER_BYTES, "the head has a fixed size");
        // The text stands outside the checksum: it is for people, nothing is decided by it.
        bytes.extend_from_slice(text);
        bytes
    }

    /// Reads an answer's head; the text of as many bytes as the second value says follows it.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn decode(bytes: &[u8; ANSWER_BYTES]) -> Result<(Self, usize), HandshakeError> {
        check_seal(bytes)?;
        let refusal = match bytes[10] {
            0 => None,
            // A reason that a later version added is still a refusal.
            code => Some(Refusal::of_code(code).unwrap_or(Refusal::Version)),
        };
        let text_bytes = usize::from(u16::from_le_bytes(field(bytes, 12)));
        if text_bytes > TEXT_BYTES_MAX {
            return Err(HandshakeError::Malformed("text too long"));
        }
        let answer = Self {
            refusal,
            version: u16::from_le_bytes(field(bytes, 8)),
            cluster: u64::from_le_bytes(field(bytes, 16)),
            node: NodeId(u64::from_le_bytes(field(bytes, 24))),
            incarnation: u128::from_le_bytes(field(bytes, 32)),
            life: u64::from_le_bytes(field(bytes, 48)),
            text: String::new(),
        };
        Ok((answer, text_bytes))
    }
}

/// Appends the checksum of what is there.
fn seal(bytes: &mut Vec<u8>) {
    let crc = crc32c(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// The magic first, so that a stranger is told apart from a damaged word.
fn check_seal(bytes: &[u8]) -> Result<(), HandshakeError> {
    if bytes[..MAGIC.len()] != MAGIC {
        return Err(HandshakeError::Magic);
    }
    let end = bytes.len() - 4;
    if crc32c(&bytes[..end]) != u32::from_le_bytes(field(bytes, end)) {
        return Err(HandshakeError::Checksum);
    }
    Ok(())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the range is N bytes long")
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: (1, 3),
            cluster: 7,
            from: NodeId(1),
            to: NodeId(2),
            incarnation: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
            life: 0x1112_1314_1516_1718,
        }
    }

    #[test]
    fn a_hello_reads_back_as_it_was_said() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    }

    #[test]
    fn every_flipped_bit_of_a_hello_is_noticed() {
        for bit in 0..HELLO_BYTES * 8 {
            let mut bytes = hello().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Hello::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_answer_reads_back_with_the_length_of_its_text() {
        let answer = Answer {
            refusal: Some(Refusal::Cluster),
            version: 0,
            cluster: 9,
            node: NodeId(2),
            incarnation: 5,
            life: 6,
            text: "cluster 7 is not cluster 9".into(),
        };
        let bytes = answer.encode();
        let head = bytes[..ANSWER_BYTES].try_into().expect("a head");
        let (read, text_bytes) = Answer::decode(head).expect("our own words");
        assert_eq!(text_bytes, answer.text.len());
        let text = String::from_utf8(bytes[ANSWER_BYTES..].to_vec()).expect("text");
        assert_eq!(Answer { text, ..read }, answer);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
