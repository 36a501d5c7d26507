//! What is linked: one init function a driver, one line a program. A crate that is not named here is dropped by the linker.

use alloc::vec::Vec;
use domain::Program;
use initfunc::initfunc;
use mediator::net::NetController;
use mediator::pci::Driver;
use spin::Mutex;

static DRIVERS: Mutex<Vec<&'static Driver>> = Mutex::new(Vec::new());

/// The drivers of disk controllers, in the order of their labels.
pub fn drivers() -> Vec<&'static Driver> {
    DRIVERS.lock().clone()
}

fn ata() -> Result<(), &'static str> {
    DRIVERS.lock().push(&ata::DRIVER);
    Ok(())
}
initfunc!("driver0", ata);

fn ahci() -> Result<(), &'static str> {
    DRIVERS.lock().push(&ahci::DRIVER);
    Ok(())
}
initfunc!("driver1", ahci);

fn nvme() -> Result<(), &'static str> {
    DRIVERS.lock().push(&nvme::DRIVER);
    Ok(())
}
initfunc!("driver2", nvme);

/// Those of network cards. A list, since what memory they want is asked before the phase `driver`.
pub static CARD_DRIVERS: &[&Driver<dyn NetController>] = &[&e1000::DRIVER];

/// What they serve, for people.
pub const SERVED_CARDS: &str = "Intel 82540EM (8086:100e), 82545EM (8086:100f) and 82574L (8086:10d3)";

/// The file of a program, as `cargo xtask build` has made it.
macro_rules! elf {
    ($package:literal) => {
        include_bytes!(concat!(env!("SHOJI_PROGRAMS_DIR"), "/", $package))
    };
}

/// The programs in ring 3, a line each.
#[rustfmt::skip]
pub static PROGRAMS: &[Program] = &[
    Program { name: "shell", elf: elf!("shell"), services: &["shell"], manages: true, time_ms: 500, ..Program::USUAL },
    Program { name: "log", elf: elf!("log_server"), services: &["logs"], ..Program::USUAL },
    Program { name: "hello", elf: elf!("hello"), services: &["hello"], time_ms: 300, ..Program::USUAL },
    Program { name: "diskread", elf: elf!("diskread"), services: &["diskread"], disks: true, heap_kib: 192, time_ms: 400, ..Program::USUAL },
    Program { name: "vpn", elf: elf!("vpn"), services: &["vpn"], heap_kib: 4096, stack_kib: 64, time_ms: 500, ..Program::USUAL },
    Program { name: "crash", elf: elf!("crash"), services: &["crash"], restart_ms: Some(0), ..Program::USUAL },
];
