#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::wireguard_messages::run(data));
