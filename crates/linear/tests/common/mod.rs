//! Dice, and the judge by brute force.

use headwater_linear::{Model, Operation};

/// Dice from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Whether any order of all operations, with any choice of the unknown ones, explains the answers:
/// what may come first comes first, and then the rest is asked the same.
pub fn by_brute_force<M: Model>(model: &M, state: &M::State, left: &[&Operation<M::Op>]) -> bool {
    if left.iter().all(|operation| operation.returned.is_none()) {
        return true;
    }
    (0..left.len()).any(|at| {
        let mut others = left.to_vec();
        let first = others.remove(at);
        let may_be_first = others.iter().all(|other| {
            other
                .returned
                .is_none_or(|returned| returned >= first.called)
        });
        let after = model.step(state, &first.op).filter(|_| may_be_first);
        after.is_some_and(|after| by_brute_force(model, &after, &others))
    })
}
