//! The machine of the NVMe scenarios, and its oracle: a namespace with a protected range, a plain one, and a model of what the
//! guest must see.

use crate::model::Model;
use crate::own::OwnRig;
use mediator::disk::{OwnError, OwnRequest};
use sim::nvme::{Entry, Failure, NvmeGuest, NvmeMachine, Queue, SimNamespace, SimNvme, read, write};
use sim::{Platter, SECTOR_BYTES, Sector, SimRanges};
use std::ops::Range;
use std::sync::Arc;

/// Sectors of the protected namespace, which is number 1.
pub const SECTORS: u64 = 0x10_0000;
/// Its protected range.
pub const PROTECTED: Range<u64> = 1000..0x8_0000;
/// Sectors of the plain namespace, which is number 2.
pub const PLAIN: u64 = 100_000;
/// Where the scripts have their data.
pub const DATA: u64 = 0x80_0000;
/// Where they have PRP lists.
pub const LISTS: u64 = 0x40_0000;
const PAGE: u64 = 4096;

/// Where the data of a request lies in guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// In the first page; a multiple of 4.
    pub offset: u64,
    /// Bytes from one page to the next: a page, or more.
    pub stride: u64,
    /// Entries of the list that lie in its first page.
    pub chain: u64,
}

impl Layout {
    pub const LINUX: Self = Self { offset: 0, stride: PAGE, chain: 512 };
    pub const SCATTERED: Self = Self { offset: 0x1fc, stride: 3 * PAGE, chain: 512 };
    pub const CHAINED: Self = Self { offset: 0x800, stride: 2 * PAGE, chain: 3 };
    pub const ALL: [Self; 3] = [Self::LINUX, Self::SCATTERED, Self::CHAINED];

    /// The pieces of memory for so many bytes.
    pub fn pieces(self, data: u64, len_bytes: u64) -> Vec<(u64, u64)> {
        let mut pieces = Vec::new();
        let (mut at, mut left) = (data + self.offset, len_bytes);
        while left > 0 {
            let len = left.min(PAGE - at % PAGE);
            pieces.push((at, len));
            at = at - at % PAGE + self.stride;
            left -= len;
        }
        pieces
    }

    /// Writes the PRP list and gives the two entries of the command.
    pub fn prps(self, machine: &mut NvmeMachine, data: u64, lists: u64, len_bytes: u64) -> (u64, u64) {
        let pages: Vec<u64> = self.pieces(data, len_bytes).iter().map(|(at, _)| *at).collect();
        match pages[..] {
            [only] => (only, 0),
            [first, second] => (first, second),
            [first, ref rest @ ..] => {
                let mut at = lists + PAGE - 8 * self.chain;
                let start = at;
                for (index, page) in rest.iter().enumerate() {
                    if at % PAGE == PAGE - 8 && index + 1 < rest.len() {
                        let next = lists + 5 * PAGE;
                        machine.ram.poke(at, &next.to_le_bytes());
                        at = next;
                    }
                    machine.ram.poke(at, &page.to_le_bytes());
                    at += 8;
                }
                (first, start)
            }
            [] => (0, 0),
        }
    }
}

/// Machine, mediator, guest, model.
pub struct NvmeRig {
    pub machine: NvmeMachine,
    pub guest: NvmeGuest,
    pub ranges: SimRanges,
    pub model: Model,
    idle: Option<(usize, usize)>,
    checked: usize,
}

impl Default for NvmeRig {
    fn default() -> Self {
        Self::new()
    }
}

impl NvmeRig {
    /// With two queue pairs that interrupt.
    ///
    /// # Panics
    /// When the guest's driver does not get that far.
    pub fn new() -> Self {
        let mut rig = Self::bare(Platter::new(SECTORS), SimRanges::new(PROTECTED));
        rig.start(false).expect("the guest's driver starts");
        rig
    }

    /// Before the guest touches the controller.
    ///
    /// # Panics
    /// When the mediator does not take the controller over.
    pub fn bare(platter: Platter, ranges: SimRanges) -> Self {
        let mut protected = SimNamespace::new(platter, 512);
        protected.bounced = ranges.protected.start + ranges.shift..ranges.protected.end + ranges.shift;
        let mut machine = NvmeMachine::new(SimNvme::new([protected, SimNamespace::new(Platter::new(PLAIN), 512)]));
        machine.attach(&nvme::DRIVER).expect("the mediator takes the controller over");
        machine.set_ranges(0, Arc::new(ranges.clone())).expect("the first namespace takes its ranges");
        Self { machine, guest: NvmeGuest::default(), ranges, model: Model::default(), idle: None, checked: 0 }
    }

    /// The guest's driver starts (again): admin queues, and two queue pairs.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn start(&mut self, polls: bool) -> Result<(), Failure> {
        self.guest.enable(&mut self.machine, 32, polls)?;
        self.guest.admin(&mut self.machine, Entry::new(9, 0).dword(10, 7).dword(11, 1 | 1 << 16))?;
        for id in [1, 2] {
            self.guest.create(&mut self.machine, Queue::new(id, 64, polls))?;
        }
        let now = (self.machine.arena.live_buffers(), self.machine.arena.live_bytes());
        assert!(
            self.idle.is_none_or(|idle| idle == now),
            "buffers are lost by a restart: {now:?}, not {:?}",
            self.idle
        );
        self.idle = Some(now);
        Ok(())
    }

    /// The same disk after a power cut, in a machine that was started anew. `survives` decides which of the writes that were not
    /// flushed are there.
    pub fn after_power_cut(&mut self, survives: impl FnMut(usize) -> bool) -> Self {
        let after = self.machine.nvme.platter(1).after_power_cut(survives);
        let mut rig = Self::bare(after, self.ranges.clone());
        rig.start(false).expect("the guest's driver starts");
        Self { model: self.model.clone(), ..rig }
    }

    /// Puts a write into a queue, without ringing.
    pub fn put_write(&mut self, queue: u16, lba: u64, data: &[u8], layout: Layout, data_at: u64, lists: u64) -> u16 {
        self.model.may_have_written(&self.ranges, lba, data);
        let mut rest = data;
        for (at, len) in layout.pieces(data_at, data.len() as u64) {
            let (piece, tail) = rest.split_at(len as usize);
            self.machine.ram.poke(at, piece);
            rest = tail;
        }
        let (first, second) = layout.prps(&mut self.machine, data_at, lists, data.len() as u64);
        let blocks = (data.len() / SECTOR_BYTES) as u32;
        self.guest.put(&mut self.machine, queue, write(1, lba, blocks).prps(first, second))
    }

    /// Puts a read into a queue, without ringing.
    pub fn put_read(&mut self, queue: u16, lba: u64, blocks: u32, layout: Layout, data_at: u64, lists: u64) -> u16 {
        let len = u64::from(blocks) * SECTOR_BYTES as u64;
        let (first, second) = layout.prps(&mut self.machine, data_at, lists, len);
        self.guest.put(&mut self.machine, queue, read(1, lba, blocks).prps(first, second))
    }

    /// Writes, and checks everything.
    ///
    /// # Errors
    /// How the request failed; the platter is then old or new in each of its sectors.
    pub fn write(&mut self, lba: u64, data: &[u8], layout: Layout) -> Result<(), Failure> {
        let outcome = self.write_only(lba, data, layout);
        self.check();
        outcome
    }

    /// Writes without a look at the platter.
    ///
    /// # Errors
    /// As [`NvmeRig::write`].
    pub fn write_only(&mut self, lba: u64, data: &[u8], layout: Layout) -> Result<(), Failure> {
        let id = self.put_write(1, lba, data, layout, DATA, LISTS);
        self.guest.ring(&mut self.machine, 1);
        self.guest.wait(&mut self.machine, 1, id)?;
        self.model.wrote(lba, data);
        Ok(())
    }

    /// Reads, and checks everything: what comes back is what the model says.
    ///
    /// # Errors
    /// How the request failed.
    ///
    /// # Panics
    /// When the data are wrong.
    pub fn read(&mut self, lba: u64, blocks: u32, layout: Layout) -> Result<(), Failure> {
        let id = self.put_read(2, lba, blocks, layout, DATA, LISTS);
        self.guest.ring(&mut self.machine, 2);
        let outcome = self.guest.wait(&mut self.machine, 2, id).map(drop);
        if outcome.is_ok() {
            self.expect_data(lba, blocks, layout, DATA);
        }
        self.check();
        outcome
    }

    /// # Panics
    /// When guest memory does not hold these sectors.
    pub fn expect_data(&mut self, lba: u64, blocks: u32, layout: Layout, data_at: u64) {
        let data = self.load(layout, data_at, blocks);
        for (at, sector) in (lba..).zip(data.chunks_exact(SECTOR_BYTES)) {
            assert!(sector == self.expected(at), "{layout:?}: {blocks} blocks from {lba}: sector {at} is wrong");
        }
    }

    /// What lies in guest memory.
    pub fn load(&self, layout: Layout, data_at: u64, blocks: u32) -> Vec<u8> {
        let pieces = layout.pieces(data_at, u64::from(blocks) * SECTOR_BYTES as u64);
        pieces.iter().flat_map(|(at, len)| self.machine.ram.peek(*at, *len as usize)).copied().collect()
    }

    /// What the guest must read in this sector.
    pub fn expected(&mut self, lba: u64) -> Sector {
        self.model.expected(&self.ranges, self.machine.nvme.platter(1), lba)
    }

    /// The oracle: platter and model agree, the device holds no address that it must not, and nothing is kept that nobody needs.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check(&mut self) {
        self.check_platter();
        let now = (self.machine.arena.live_buffers(), self.machine.arena.live_bytes());
        assert!(
            self.idle.is_none_or(|idle| idle == now),
            "buffers in use without a request: {now:?}, not {:?}",
            self.idle
        );
    }

    /// The part of the oracle that also holds in the midst of a request.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check_platter(&mut self) {
        let Self { machine, ranges, model, checked, .. } = self;
        assert!(machine.faults.is_empty(), "{:x?}", machine.faults.iter().take(4).collect::<Vec<_>>());
        assert_eq!(machine.nvme.bad_doorbells, 0, "doorbells that the device does not have");
        let platter = &machine.nvme.namespaces[&1].platter;
        model.check(ranges, platter, *checked);
        *checked = platter.written.len();
    }

    /// The oracle for guests that keep no rules: no address that the device must not have, and no plaintext in the protected range.
    ///
    /// # Panics
    /// When something is wrong.
    pub fn check_secrecy(&mut self) {
        let Self { machine, ranges, checked, .. } = self;
        assert!(machine.faults.is_empty(), "{:x?}", machine.faults.iter().take(4).collect::<Vec<_>>());
        let platter = &machine.nvme.namespaces[&1].platter;
        for &lba in &platter.written[*checked..] {
            let leaks = platter.read(lba).chunks(8).any(|chunk| chunk == crate::MARKER || chunk == [0; 8]);
            assert!(!(leaks && ranges.protected.contains(&lba)), "plaintext on the platter in sector {lba}");
        }
        *checked = platter.written.len();
    }

    /// From now on the model takes the disk as it is.
    pub fn accept_the_disk(&mut self) {
        self.model = Model::default();
        self.checked = self.machine.nvme.platter(1).written.len();
    }

    /// The controller is reset, and the disk works.
    ///
    /// # Panics
    /// When it does not.
    pub fn recovers(&mut self) {
        self.machine.budget = None;
        self.machine.frozen = false;
        self.idle = None;
        self.start(false).expect("the guest's driver starts again");
        self.accept_the_disk();
        self.write(998, &crate::payload(77, 998, 20), Layout::SCATTERED).expect("the disk writes");
        self.read(998, 20, Layout::LINUX).expect("the disk reads");
        self.start(false).expect("the guest's driver starts again");
    }
}

impl OwnRig for NvmeRig {
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
        self.write(lba, data, Layout::SCATTERED).unwrap();
    }

    fn guest_reads(&mut self, lba: u64, sectors: u64) {
        self.read(lba, sectors as u32, Layout::LINUX).unwrap();
    }
}
