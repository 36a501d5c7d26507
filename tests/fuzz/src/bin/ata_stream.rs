#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::ata_stream::run(data));
