//! The deterministic world.

pub mod dice;
pub mod disk;
