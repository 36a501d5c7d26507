//! The machine of the AHCI scenarios, and its oracle: port 0 has a disk with a protected range, port 1 a plain disk, port 2 a
//! CD drive, port 3 nothing.

use crate::model::{MARKER, Model};
use crate::own::OwnRig;
use crate::way::pieces;
use mediator::disk::{OwnError, OwnRequest, RangeMap};
use sim::ahci::{AhciGuest, AhciMachine, Failure, SimAhci, SimPort, Table, at, fis, px};
use sim::ide::{Disk, Kind};
use sim::{Platter, SECTOR_BYTES, Sector, SimRanges};
use std::ops::Range;
use std::sync::Arc;

/// Sectors of the protected disk: more than 28 bits can address.
pub const SECTORS: u64 = 0x2000_0000;
/// Its protected range.
pub const PROTECTED: Range<u64> = 1000..0x1800_0000;
/// Sectors of the plain disk.
pub const PLAIN: u64 = 100_000;
/// Where the scripts have their data.
pub const DATA: u64 = 0x80_0000;

/// The commands that move sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Queued,
    DmaExt,
    Dma,
    Pio,
}

impl By {
    pub const ALL: [Self; 4] = [Self::Queued, Self::DmaExt, Self::Dma, Self::Pio];

    pub fn code(self, write: bool) -> u8 {
        match (self, write) {
            (Self::Queued, false) => 0x60,
            (Self::Queued, true) => 0x61,
            (Self::DmaExt, false) => 0x25,
            (Self::DmaExt, true) => 0x35,
            (Self::Dma, false) => 0xc8,
            (Self::Dma, true) => 0xca,
            (Self::Pio, false) => 0x24,
            (Self::Pio, true) => 0x34,
        }
    }

    /// The command FIS.
    pub fn fis(self, write: bool, lba: u64, sectors: u64, slot: u32) -> sim::ahci::Fis {
        let mut fis = fis(self.code(write), lba, sectors as u32, slot);
        if self == Self::Dma {
            fis[7] = 0x40 | (lba >> 24) as u8 & 15;
            (fis[8], fis[9], fis[10]) = (0, 0, 0);
        }
        fis
    }
}

/// Lengths of the pieces of memory in turn.
pub const PAGES: &[u64] = &[4096];
pub const ODD: &[u64] = &[2, 510, 6, 4090, 65534, 1026, 30];

/// Machine, mediator, model.
pub struct AhciRig {
    pub machine: AhciMachine,
    pub ranges: SimRanges,
    pub model: Model,
    checked: usize,
}

impl Default for AhciRig {
    fn default() -> Self {
        Self::new()
    }
}

fn disk(platter: Platter) -> Disk {
    match Kind::with_platter(platter) {
        Kind::Disk(disk) => *disk,
        _ => unreachable!(),
    }
}

impl AhciRig {
    /// With the guest's driver started on ports 0 to 2.
    ///
    /// # Panics
    /// When the guest's driver does not get that far.
    pub fn new() -> Self {
        Self::with(Platter::new(SECTORS), SimRanges::new(PROTECTED))
    }

    /// With a disk that has a past.
    ///
    /// # Panics
    /// As [`AhciRig::new`].
    pub fn with(platter: Platter, ranges: SimRanges) -> Self {
        let mut rig = Self::bare(platter, ranges);
        for port in 0..3 {
            AhciGuest::new(&mut rig.machine, port).start().expect("the guest's driver starts");
        }
        rig.identify(0).expect("the disk tells who it is");
        rig
    }

    /// Before the guest touches the controller.
    ///
    /// # Panics
    /// When the mediator does not take the controller over.
    pub fn bare(platter: Platter, ranges: SimRanges) -> Self {
        let mut protected = disk(platter);
        protected.bounced = ranges.protected.start + ranges.shift..ranges.protected.end + ranges.shift;
        let ports = vec![
            SimPort::new(Some(protected)),
            SimPort::new(Some(disk(Platter::new(PLAIN)))),
            SimPort::cdrom(),
            SimPort::new(None),
        ];
        let mut machine = AhciMachine::new(SimAhci::new(ports));
        machine.attach(&ahci::DRIVER).expect("the mediator takes the controller over");
        machine.set_ranges(0, Arc::new(ranges.clone())).expect("the first disk takes its ranges");
        Self { machine, ranges, model: Model::default(), checked: 0 }
    }

    /// The disk has another map.
    ///
    /// # Panics
    /// When the mediator does not take it.
    pub fn set_map(&mut self, map: Arc<dyn RangeMap>) {
        self.machine.set_ranges(0, map).expect("the first disk takes its ranges");
        self.platter_disk().bounced = 0..0;
    }

    /// The same disk after a power cut, in a machine that was started anew.
    pub fn after_power_cut(&mut self, survives: impl FnMut(usize) -> bool) -> Self {
        let after = self.platter().after_power_cut(survives);
        Self { model: self.model.clone(), ..Self::with(after, self.ranges.clone()) }
    }

    pub fn guest(&mut self, port: u32) -> AhciGuest<'_> {
        AhciGuest::new(&mut self.machine, port)
    }

    fn platter_disk(&mut self) -> &mut Disk {
        self.machine.ahci.ports[0].disk.as_mut().expect("a disk is plugged in")
    }

    pub fn platter(&mut self) -> &mut Platter {
        &mut self.platter_disk().platter
    }

    /// IDENTIFY DEVICE; gives the answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn identify(&mut self, port: u32) -> Result<Vec<u8>, Failure> {
        self.guest(port).run(0, fis(0xec, 0, 0, 0), false, vec![(DATA, 512)])?;
        Ok(self.machine.ram.peek(DATA, 512).to_vec())
    }

    /// Writes a command for these sectors into a slot, and for a write the data into memory. Gives the memory.
    pub fn prepare(
        &mut self,
        slot: u32,
        by: By,
        write: Option<&[u8]>,
        lba: u64,
        sectors: u64,
        sizes: &[u64],
    ) -> Vec<(u64, u64)> {
        let data_at = DATA + u64::from(slot) * 0x10_0000;
        let regions = pieces(data_at, sectors * SECTOR_BYTES as u64, sizes);
        if let Some(data) = write {
            let mut rest = data;
            for &(at, len) in &regions {
                let (piece, tail) = rest.split_at(len as usize);
                self.machine.ram.poke(at, piece);
                rest = tail;
            }
            self.model.may_have_written(&self.ranges, lba, data);
        }
        let mut guest = self.guest(0);
        let table = Table { at: guest.table_at(slot), regions: regions.clone() };
        guest.prepare(slot, by.fis(write.is_some(), lba, sectors, slot), write.is_some(), &table);
        regions
    }

    /// Writes, and checks everything.
    ///
    /// # Errors
    /// How the request failed.
    pub fn write(&mut self, by: By, lba: u64, data: &[u8], sizes: &[u64]) -> Result<(), Failure> {
        let outcome = self.write_only(by, lba, data, sizes);
        self.check();
        outcome
    }

    /// Writes without a look at the platter.
    ///
    /// # Errors
    /// How the request failed.
    pub fn write_only(&mut self, by: By, lba: u64, data: &[u8], sizes: &[u64]) -> Result<(), Failure> {
        let sectors = (data.len() / SECTOR_BYTES) as u64;
        self.prepare(3, by, Some(data), lba, sectors, sizes);
        self.guest(0).ring(1 << 3, by == By::Queued)?;
        self.guest(0).finish(1 << 3)?;
        self.model.wrote(lba, data);
        Ok(())
    }

    /// Reads, and checks everything: what comes back is what the model says.
    ///
    /// # Errors
    /// How the request failed.
    pub fn read(&mut self, by: By, lba: u64, sectors: u64, sizes: &[u64]) -> Result<(), Failure> {
        let regions = self.prepare(4, by, None, lba, sectors, sizes);
        self.guest(0).ring(1 << 4, by == By::Queued)?;
        self.guest(0).finish(1 << 4)?;
        self.expect_data(lba, &regions);
        self.check();
        Ok(())
    }

    /// # Panics
    /// When guest memory does not hold the sectors from `lba` on.
    pub fn expect_data(&mut self, lba: u64, regions: &[(u64, u64)]) {
        let data: Vec<u8> =
            regions.iter().flat_map(|&(at, len)| self.machine.ram.peek(at, len as usize)).copied().collect();
        for (at, sector) in (lba..).zip(data.chunks_exact(SECTOR_BYTES)) {
            assert!(sector == self.expected(at), "sector {at} is wrong: {:x?}", &sector[..32]);
        }
    }

    /// What the guest must read in this sector.
    pub fn expected(&mut self, lba: u64) -> Sector {
        let platter = &self.machine.ahci.ports[0].disk.as_ref().expect("a disk is plugged in").platter;
        self.model.expected(&self.ranges, platter, lba)
    }

    /// The oracle: platter and model agree, and the device holds no address that it must not.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check(&mut self) {
        let Self { machine, ranges, model, checked, .. } = self;
        assert!(machine.faults.is_empty(), "{:x?}", machine.faults.iter().take(4).collect::<Vec<_>>());
        if let Some(disk) = &machine.ahci.ports[0].disk {
            model.check(ranges, &disk.platter, *checked);
            *checked = disk.platter.written.len();
        }
    }

    /// The oracle for guests that keep no rules: no address that the device must not have, and no plaintext in the protected
    /// range. Plaintext is markers, or the zeros of fresh memory.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check_secrecy(&mut self) {
        let Self { machine, ranges, checked, .. } = self;
        assert!(machine.faults.is_empty(), "{:x?}", machine.faults.iter().take(4).collect::<Vec<_>>());
        let Some(disk) = &machine.ahci.ports[0].disk else { return };
        for &lba in &disk.platter.written[*checked..] {
            let leaks = disk.platter.read(lba).chunks(8).any(|chunk| chunk == MARKER || chunk == [0; 8]);
            assert!(!(leaks && ranges.protected.contains(&lba)), "plaintext on the platter in sector {lba}");
        }
        *checked = disk.platter.written.len();
    }

    /// From now on the model takes the disk as it is.
    pub fn accept_the_disk(&mut self) {
        self.model = Model::default();
        self.checked = self.platter().written.len();
    }

    /// Whatever the mediator believes of the device now: a write that it lets through is encrypted.
    fn trusts_nobody(&mut self) {
        let mut guest = self.guest(0);
        guest.start().expect("the port starts");
        self.machine.ram.poke(DATA, &crate::payload(76, 5000, 8));
        let _ = self.guest(0).run(5, fis(0x35, 5000, 8, 5), true, vec![(DATA, 4096)]);
        self.check_secrecy();
    }

    /// The port is stopped, reset and started, and the disk works.
    ///
    /// # Panics
    /// When it does not.
    pub fn recovers(&mut self) {
        self.machine.budget = None;
        self.machine.ram.changes_after_read = false;
        self.machine.arena.fail_nth = None;
        self.trusts_nobody();
        let mut guest = self.guest(0);
        guest.stop().expect("the port stops");
        guest.put(px::SCTL, 0x301).and_then(|()| guest.put(px::SCTL, 0x300)).expect("the link is reset");
        guest.start().expect("the port starts");
        self.identify(0).expect("the disk tells who it is");
        self.accept_the_disk();
        self.write(By::Queued, 995, &crate::payload(77, 995, 12), ODD).expect("the disk writes");
        self.read(By::DmaExt, 990, 20, PAGES).expect("the disk reads");
        assert_eq!(self.machine.read(at(0, px::CI)) | self.machine.read(at(0, px::SACT)), 0);
    }
}

impl OwnRig for AhciRig {
    fn submit_own(&mut self, request: OwnRequest) -> Result<(), OwnError> {
        self.machine.submit_own(0, request)
    }

    fn poll_own(&mut self) -> Option<Result<Vec<u8>, OwnError>> {
        self.machine.poll_own(0)
    }

    fn step(&mut self) {
        self.machine.tick();
    }

    fn oracle(&mut self) -> (&mut Model, &SimRanges) {
        (&mut self.model, &self.ranges)
    }

    fn sector(&mut self, lba: u64) -> Sector {
        self.expected(lba)
    }

    fn guest_writes(&mut self, lba: u64, data: &[u8]) {
        self.write(By::DmaExt, lba, data, ODD).unwrap();
    }

    fn guest_reads(&mut self, lba: u64, sectors: u64) {
        self.read(By::Queued, lba, sectors, PAGES).unwrap();
    }
}
