//! See `headwater_fuzz::step`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_fuzz::step::run(data));
