//! From the loader to the guest's first instruction, one phase a line.

use crate::failure::Failure;
use crate::{failure, home};
use hw::heap::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Called by the start code with what the loader left in EAX and EBX.
#[unsafe(no_mangle)]
extern "sysv64" fn shoji_main(magic: u32, information: u32) -> ! {
    HEAP.init();
    hw::time::init();
    hw::console::init_serial();
    hw::logger::init();
    hw::descriptors::init();
    match start(magic, information) {
        Ok(never) => match never {},
        Err(failure) => failure::stop(failure),
    }
}

enum Never {}

fn start(magic: u32, information: u32) -> Result<Never, Failure> {
    log::info!("Shoji {} starts", env!("CARGO_PKG_VERSION"));
    let loaded = crate::loaded::read(magic, information)?;
    loop {}
}
