#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::system_calls::run(data));
