//! The dice: all chance in a simulated world comes from one seed.
//! Never asks the machine it runs on for anything.
//!
//! # Source
//! Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA'14 (SplitMix64).

/// A seeded generator; equal seeds throw equal numbers.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number, any of 2^64.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below zero");
        self.next() % bound
    }

    /// True in `number` of `of` throws.
    pub fn chance(&mut self, number: u64, of: u64) -> bool {
        self.below(of) < number
    }

    /// Other dice, whose throws do not depend on how often these are thrown from now on.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
