#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::e1000_stream::run(data));
