//! What is measured, one room for each.

pub mod catch_up;
pub mod election;
pub mod idle;
pub mod membership;
pub mod throughput;
