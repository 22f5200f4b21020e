//! See `headwater_fuzz::disk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_fuzz::disk::run(data));
