#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::luks2_header::run(data));
