//! What is linked: one init function a driver. A crate that is not named here is dropped by the linker.

use alloc::vec::Vec;
use initfunc::initfunc;
use mediator::pci::Driver;
use spin::Mutex;

static DRIVERS: Mutex<Vec<&'static Driver>> = Mutex::new(Vec::new());

/// The drivers, in the order of their labels.
pub fn drivers() -> Vec<&'static Driver> {
    DRIVERS.lock().clone()
}

fn ata() -> Result<(), &'static str> {
    DRIVERS.lock().push(&ata::DRIVER);
    Ok(())
}
initfunc!("driver0", ata);
