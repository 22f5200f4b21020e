//! The replicated state machine with etcd's semantics.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod request;
