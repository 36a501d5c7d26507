#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::multiboot_info::run(data));
