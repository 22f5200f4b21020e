//! Dice from a seed: the only randomness inside.
//! Never used for anything secret.
//!
//! # Source
//! Raft paper §5.2 (randomized election timeouts); Steele et al., OOPSLA'14 (SplitMix64).

/// A generator of 64-bit numbers; equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice that will fall as `seed` decides.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, uniform over all 64-bit values.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero if `bound` is zero. The bias for bounds used here (a few
    /// seconds in nanoseconds) is below one in a billion.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.roll() % bound }
    }
}
