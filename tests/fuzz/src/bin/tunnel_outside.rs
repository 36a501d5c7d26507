#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::tunnel_outside::run(data));
