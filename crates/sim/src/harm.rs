//! Damage to frames on their way: bits that turn over, bytes that are missing.
//! Never turns over more than three bits, which CRC-32C always tells; what a cut joins passes for
//! whole once in some thousand million times.
//!
//! # Source
//! docs/wire.md, "Frames on a connection"; Stone and Partridge, "When the CRC and TCP Checksum
//! Disagree", SIGCOMM'00 (what TCP lets through).

use headwater_replica::framing::HEAD_BYTES;

use crate::dice::Dice;
use crate::text::{Word, name_of};

/// What happens to a frame on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Bits turn over in its length.
    Length,
    /// Bits turn over in its head.
    Head,
    /// Bits turn over in what the head stands before.
    Body,
    /// It loses its end; what is sent next follows at once.
    Cut,
}

/// All harms.
pub(crate) const HARMS: &[Harm] = &[Harm::Length, Harm::Head, Harm::Body, Harm::Cut];

impl Word for Harm {
    fn spell(&self, _: bool) -> String {
        name_of(&format!("{self:?}"))
    }

    fn read(word: &str, _: bool) -> Result<Self, String> {
        let found = HARMS.iter().find(|harm| harm.spell(false) == word);
        found
            .copied()
            .ok_or_else(|| "length, head, body or cut is wanted".into())
    }
}

impl Harm {
    /// Does it to a frame with its head.
    pub(crate) fn strike(self, wire: &mut Vec<u8>, dice: &mut Dice) {
        match self {
            Self::Length => flip(&mut wire[..4], dice),
            Self::Head => flip(&mut wire[..HEAD_BYTES], dice),
            Self::Body => flip(&mut wire[HEAD_BYTES..], dice),
            Self::Cut => wire.truncate(dice.between(1, wire.len() as u64 - 1) as usize),
        }
    }
}

/// Turns over one to three bits. The first stays so: the others are others, though they may be one.
fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let bits = bytes.len() as u64 * 8;
    let (first, others) = (dice.below(bits), dice.below(3));
    let mut flip = |bit: u64| bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    flip(first);
    for _ in 0..others {
        flip((first + dice.between(1, bits - 1)) % bits);
    }
}

/// A direction in which frames are damaged for a while.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    pub(crate) until: u64,
    pub(crate) harm: Harm,
    /// Of a thousand frames, how many.
    pub(crate) share: u64,
    pub(crate) dice: Dice,
}
