//! The machine of the scenarios, and its oracle.

use crate::model::{MARKER, Model};
use crate::own::OwnRig;
use crate::way::{Way, command, pieces};
use mediator::disk::{OwnError, OwnRequest};
use sim::guest::{Command, Entry, Failure, GuestDriver, SCRATCH, write_prds};
use sim::ide::Kind;
use sim::{Machine, Platter, SECTOR_BYTES, Sector, SimIde, SimRanges};
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

/// Machine, mediator, model.
pub struct Rig {
    pub machine: Machine,
    pub ranges: SimRanges,
    pub model: Model,
    /// Buffers in use when nothing is under way.
    idle: (usize, usize),
    checked: usize,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Platter::new(SECTORS), SimRanges::new(PROTECTED))
    }

    /// With a disk that has a past.
    ///
    /// # Panics
    /// When the mediator does not take the controller over.
    pub fn with(platter: Platter, ranges: SimRanges) -> Self {
        let units = [Kind::with_platter(platter), Kind::disk(PLAIN), Kind::cdrom(), Kind::Empty];
        let mut machine = Machine::new(SimIde::new(units));
        machine.attach(&ata::DRIVER).expect("the mediator takes the controller over");
        let (start, end) = (ranges.protected.start + ranges.shift, ranges.protected.end + ranges.shift);
        machine.ide.disk(0, 0).bounced = start..end;
        machine.set_ranges(0, Arc::new(ranges.clone())).expect("the first disk takes its ranges");
        let idle = (machine.arena.live_buffers(), machine.arena.live_bytes());
        Self { machine, ranges, model: Model::default(), idle, checked: 0 }
    }

    /// The same disk after a power cut, in a machine that was started anew. `survives` decides which of the writes
    /// that were not flushed are there.
    pub fn after_power_cut(&mut self, survives: impl FnMut(usize) -> bool) -> Self {
        let after = self.machine.ide.disk(0, 0).platter.after_power_cut(survives);
        Self { model: self.model.clone(), ..Self::with(after, self.ranges.clone()) }
    }

    /// The driver of the protected disk.
    pub fn disk(&mut self) -> GuestDriver<'_> {
        GuestDriver::new(&mut self.machine, 0, 0)
    }

    /// The driver of the plain disk.
    pub fn plain(&mut self) -> GuestDriver<'_> {
        GuestDriver::new(&mut self.machine, 0, 1)
    }

    /// The driver of the CD drive.
    pub fn cd(&mut self) -> GuestDriver<'_> {
        GuestDriver::new(&mut self.machine, 1, 0)
    }

    /// Writes, and checks everything.
    ///
    /// # Errors
    /// How the request failed; the platter is then old or new in each of its sectors.
    pub fn write(&mut self, way: Way, lba: u64, data: &[u8]) -> Result<(), Failure> {
        let outcome = self.write_only(way, lba, data);
        self.check();
        outcome
    }

    /// Writes without a look at the platter.
    ///
    /// # Errors
    /// As [`Rig::write`].
    pub fn write_only(&mut self, way: Way, lba: u64, data: &[u8]) -> Result<(), Failure> {
        self.write_to_cache(way, lba, data)?;
        self.model.wrote(lba, data);
        Ok(())
    }

    /// Writes, and leaves it open whether a power cut takes it back.
    ///
    /// # Errors
    /// As [`Rig::write`].
    pub fn write_to_cache(&mut self, way: Way, lba: u64, data: &[u8]) -> Result<(), Failure> {
        let sectors = (data.len() / SECTOR_BYTES) as u64;
        let request = command(way, true, lba, sectors);
        self.prepare(way)?;
        self.model.may_have_written(&self.ranges, lba, data);
        match way {
            Way::Pio { style, .. } => self.disk().pio_out(request, SECTOR_BYTES, style, data),
            Way::Multiple { style, per_block, .. } => {
                self.disk().pio_out(request, usize::from(per_block) * SECTOR_BYTES, style, data)
            }
            Way::Dma { sizes, .. } => {
                let entries = pieces(DATA, data.len() as u64, sizes);
                self.store(&entries, data);
                self.disk().dma(request, true, &entries)
            }
        }
    }

    /// Reads, and checks everything: what comes back is what the model says.
    ///
    /// # Errors
    /// How the request failed.
    ///
    /// # Panics
    /// When the data are wrong.
    pub fn read(&mut self, way: Way, lba: u64, sectors: u64) -> Result<(), Failure> {
        let len = sectors as usize * SECTOR_BYTES;
        let request = command(way, false, lba, sectors);
        self.prepare(way)?;
        let mut data = vec![0; len];
        let outcome = match way {
            Way::Pio { style, .. } => self.disk().pio_in(request, SECTOR_BYTES, style, &mut data),
            Way::Multiple { style, per_block, .. } => {
                self.disk().pio_in(request, usize::from(per_block) * SECTOR_BYTES, style, &mut data)
            }
            Way::Dma { sizes, .. } => {
                let entries = pieces(DATA, len as u64, sizes);
                let outcome = self.disk().dma(request, false, &entries);
                data = self.load(&entries);
                outcome
            }
        };
        if outcome.is_ok() {
            for (at, sector) in (lba..).zip(data.chunks_exact(SECTOR_BYTES)) {
                assert!(sector == self.expected(at), "{way:?} of {sectors} from {lba}: sector {at} is wrong");
            }
        }
        self.check();
        outcome
    }

    /// What the guest must read in this sector.
    pub fn expected(&mut self, lba: u64) -> Sector {
        self.model.expected(&self.ranges, &self.machine.ide.disk(0, 0).platter, lba)
    }

    fn prepare(&mut self, way: Way) -> Result<(), Failure> {
        let Way::Multiple { per_block, .. } = way else { return Ok(()) };
        let set = Command { command: 0xc6, count: per_block.into(), ..Command::default() };
        self.disk().non_data(set).map(drop)
    }

    /// Puts data into guest memory.
    pub fn store(&mut self, entries: &[Entry], data: &[u8]) {
        let mut rest = data;
        for &(at, len) in entries {
            let (piece, tail) = rest.split_at(len as usize);
            self.machine.ram.poke(at, piece);
            rest = tail;
        }
    }

    /// Gets data from guest memory.
    pub fn load(&self, entries: &[Entry]) -> Vec<u8> {
        entries.iter().flat_map(|&(at, len)| self.machine.ram.peek(at, len as usize)).copied().collect()
    }

    /// Starts a DMA request over any table, without waiting for its end.
    ///
    /// # Errors
    /// As [`GuestDriver::dma_start`].
    pub fn start_dma(&mut self, write: bool, lba: u64, sectors: u64, entries: &[Entry]) -> Result<(), Failure> {
        write_prds(&mut self.machine, SCRATCH, entries);
        self.disk().dma_start(command(Way::LINUX, write, lba, sectors), write, SCRATCH)
    }

    /// The oracle: platter and model agree, and nothing is kept that nobody needs.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check(&mut self) {
        self.check_platter();
        let idle = !self.machine.ide.channels.iter().any(|channel| channel.is_busy() || channel.bm.is_started());
        if idle {
            let now = (self.machine.arena.live_buffers(), self.machine.arena.live_bytes());
            assert_eq!(now, self.idle, "buffers and bytes in use without a request");
        }
    }

    /// The part of the oracle that also holds in the midst of a request.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check_platter(&mut self) {
        let Self { machine, ranges, model, checked, .. } = self;
        assert!(machine.faults.is_empty(), "{:x?}", machine.faults.iter().take(4).collect::<Vec<_>>());
        let platter = &machine.ide.disk(0, 0).platter;
        model.check(ranges, platter, *checked);
        *checked = platter.written.len();
    }

    /// The oracle for guests that keep no rules: no address that the device must not have, and no plaintext in the
    /// protected range. Plaintext is markers, or the zeros of fresh memory.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check_secrecy(&mut self) {
        let Self { machine, ranges, checked, .. } = self;
        assert!(machine.faults.is_empty(), "{:x?}", machine.faults.iter().take(4).collect::<Vec<_>>());
        let platter = &machine.ide.disk(0, 0).platter;
        for &lba in &platter.written[*checked..] {
            let leaks = platter.read(lba).chunks(8).any(|chunk| chunk == MARKER || chunk == [0; 8]);
            assert!(!(leaks && ranges.protected.contains(&lba)), "plaintext on the platter in sector {lba}");
        }
        *checked = platter.written.len();
    }

    /// From now on the model takes the disk as it is.
    pub fn accept_the_disk(&mut self) {
        self.model = Model::default();
        self.checked = self.machine.ide.disk(0, 0).platter.written.len();
    }
}

impl OwnRig for Rig {
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
        self.write(Way::ODD, lba, data).unwrap();
    }

    fn guest_reads(&mut self, lba: u64, sectors: u64) {
        self.read(Way::LINUX, lba, sectors).unwrap();
    }
}
