//! The disks of the guarded controllers, for the VMM's own requests beside the guest.

use crate::machine::{RealMachine, Shared};
use crate::{calls, services};
use alloc::sync::Arc;
use alloc::vec::Vec;
use disk::{DiskService, Disks, Io};
use hw::{cpus, time};
use initfunc::initfunc;
use mediator::disk::{DiskController, OwnError, OwnRequest};
use mediator::{Ctx, Instant};
use message::Name;
use spin::Once;

/// Where a disk is: the number of its controller, and its own there.
#[derive(Clone, Copy)]
pub struct Place {
    pub controller: usize,
    pub disk: usize,
}

struct Known {
    places: Vec<Place>,
    machine: &'static Shared,
}

static KNOWN: Once<Known> = Once::new();

/// The disks were found, in the order of their numbers.
pub fn note(places: Vec<Place>, machine: &'static Shared) {
    KNOWN.call_once(|| Known { places, machine });
}

struct Real;

impl Real {
    /// Calls the controller of a disk, with the disk's number there. `None`: there is none, or no guest yet.
    fn with<R>(disk: usize, call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>, usize) -> R) -> Option<R> {
        let known = KNOWN.get()?;
        let place = *known.places.get(disk)?;
        let guest = services::GUEST.get()?;
        let mut machine = RealMachine::new(known.machine, cpus::this().number());
        let called = guest.bus.with_running_controller(&mut machine, place.controller, |it, cx| {
            it.as_disks().map(|it| call(it, cx, place.disk))
        });
        called.flatten()
    }
}

impl Disks for Real {
    fn count(&self) -> usize {
        KNOWN.get().map_or(0, |known| known.places.len())
    }

    fn size(&self, disk: usize) -> Option<(u64, u32)> {
        calls::status::disks().get(disk).map(|disk| (disk.sectors, disk.sector_bytes))
    }

    fn submit(&self, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        Self::with(disk, |controller, cx, disk| controller.submit_own(cx, disk, request)).ok_or(OwnError::NotReady)?
    }

    fn poll(&self, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        Self::with(disk, |controller, cx, disk| controller.poll_own(cx, disk)).unwrap_or(Some(Err(OwnError::Lost)))
    }

    fn forget(&self, disk: usize) {
        Self::with(disk, |controller, _, disk| controller.drop_own(disk));
    }

    fn now(&self) -> Instant {
        time::now()
    }
}

/// Disk I/O of the VMM's own.
pub static IO: Io = Io::new(&Real);

fn init() -> Result<(), &'static str> {
    let name = Name::new(abi::disk::NAME.as_bytes()).map_err(|_| "a service has a bad name")?;
    message::register(name, "", Arc::new(DiskService(&IO))).map_err(|_| "two services have one name")?.keep();
    Ok(())
}
initfunc!("msg0", init);
