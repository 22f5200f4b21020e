//! The dice: all chance in a simulated world comes from one seed, for each concern by itself, so
//! that a fault taken out of a plan leaves the rest of its world as it was.
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

    /// The dice for one concern of a world: its name, and numbers that tell it from its like.
    /// No other concern's throws change theirs.
    pub fn of(seed: u64, concern: &str, numbers: &[u64]) -> Self {
        let mut dice = Self(seed);
        for byte in concern.bytes() {
            dice.0 = dice.next() ^ u64::from(byte);
        }
        for number in numbers {
            dice.0 = dice.next() ^ number;
        }
        Self(dice.next())
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// One of a few.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// One of a few, each as often as its weight says; the last if none has any.
    pub fn pick_weighted<'a, T>(&mut self, of: &'a [T], weight: impl Fn(&T) -> u64) -> &'a T {
        let all = of.iter().map(&weight).sum::<u64>();
        let mut thrown = self.below(all.max(1));
        let found = of.iter().find(|one| {
            let is_it = thrown < weight(one);
            thrown = thrown.saturating_sub(weight(one));
            is_it
        });
        found.unwrap_or(&of[of.len() - 1])
    }
}
