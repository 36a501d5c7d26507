//! The VMM's own requests on any of the machines, and what must hold of them on each.

use crate::Model;
use crate::model::payload;
use mediator::disk::{OwnError, OwnOp, OwnRequest};
use sim::{SECTOR_BYTES, Sector, SimRanges};
use std::ops::Range;

/// Numbers that look random.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Of so many sectors.
pub fn read(lba: u64, sectors: usize) -> OwnRequest {
    OwnRequest { op: OwnOp::Read, lba, data: vec![0; sectors * SECTOR_BYTES] }
}

pub fn write(lba: u64, data: &[u8]) -> OwnRequest {
    OwnRequest { op: OwnOp::Write, lba, data: data.to_vec() }
}

pub fn flush() -> OwnRequest {
    OwnRequest { op: OwnOp::Flush, lba: 0, data: Vec::new() }
}

/// A machine whose first disk the VMM itself uses.
pub trait OwnRig: Sized {
    /// # Errors
    /// Those of the mediator.
    fn submit_own(&mut self, request: OwnRequest) -> Result<(), OwnError>;
    fn poll_own(&mut self) -> Option<Result<Vec<u8>, OwnError>>;
    fn step(&mut self);
    fn oracle(&mut self) -> (&mut Model, &SimRanges);
    /// What must be read in this sector.
    fn sector(&mut self, lba: u64) -> Sector;
    /// The guest writes, in its most usual way, and everything is checked.
    fn guest_writes(&mut self, lba: u64, data: &[u8]);
    /// The same with a read.
    fn guest_reads(&mut self, lba: u64, sectors: u64);

    /// A request on the first disk, looked after until it ends. `meanwhile` runs between.
    ///
    /// # Errors
    /// Those of the mediator.
    ///
    /// # Panics
    /// When it never ends.
    fn own(&mut self, request: OwnRequest, mut meanwhile: impl FnMut(&mut Self)) -> Result<Vec<u8>, OwnError> {
        self.submit_own(request)?;
        for _ in 0..10_000 {
            if let Some(end) = self.poll_own() {
                return end;
            }
            meanwhile(self);
            self.step();
        }
        panic!("the VMM's own request never ends")
    }

    /// The VMM itself writes.
    ///
    /// # Errors
    /// As [`OwnRig::own`].
    fn own_write(&mut self, lba: u64, data: &[u8]) -> Result<(), OwnError> {
        let (model, ranges) = self.oracle();
        model.may_have_written(ranges, lba, data);
        self.own(write(lba, data), |_| ())?;
        self.oracle().0.wrote(lba, data);
        Ok(())
    }

    /// The VMM itself reads, and sees what the guest must see.
    ///
    /// # Errors
    /// As [`OwnRig::own`].
    ///
    /// # Panics
    /// When it sees something else.
    fn own_read(&mut self, lba: u64, sectors: u64) -> Result<(), OwnError> {
        let data = self.own(read(lba, sectors as usize), |_| ())?;
        self.expect_own(lba, &data);
        Ok(())
    }

    /// # Panics
    /// When these are not the sectors from `lba` on.
    fn expect_own(&mut self, lba: u64, data: &[u8]) {
        for (at, sector) in (lba..).zip(data.chunks_exact(SECTOR_BYTES)) {
            assert!(sector == self.sector(at), "the VMM reads sector {at} wrong: {:x?}", &sector[..32]);
        }
    }
}

/// VMM and guest read what the other has written, also across the ends of the protected range.
///
/// # Panics
/// When they do not.
pub fn each_reads_what_the_other_has_written<R: OwnRig>(protected: Range<u64>, rig: impl Fn() -> R) {
    for (lba, sectors) in [(5000, 1), (5000, 128), (protected.start - 3, 7), (protected.end - 2, 9), (10, 20)] {
        let mut rig = rig();
        rig.own_write(lba, &payload(1, lba, sectors)).unwrap();
        rig.guest_reads(lba, sectors);
        rig.guest_writes(lba, &payload(2, lba, sectors));
        rig.own_read(lba, sectors).unwrap();
    }
}

/// Requests that name no whole sectors, too many, or none of the disk.
///
/// # Panics
/// When one is not refused.
pub fn what_is_no_request_is_refused(rig: &mut impl OwnRig, disk_sectors: u64) {
    let odd = OwnRequest { op: OwnOp::Read, lba: 0, data: vec![0; 513] };
    let full_flush = OwnRequest { data: vec![0; 512], ..flush() };
    let ranges = [read(0, 0), read(0, 129), read(disk_sectors - 1, 2), read(u64::MAX, 1)];
    for bad in ranges.into_iter().chain([odd, full_flush]) {
        assert_eq!(rig.own(bad, |_| ()), Err(OwnError::Request));
    }
    assert_eq!(rig.poll_own(), Some(Err(OwnError::Request)));
    rig.submit_own(read(0, 1)).unwrap();
    assert_eq!(rig.submit_own(read(0, 1)), Err(OwnError::Busy));
}
