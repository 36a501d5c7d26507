//! The controller.

use super::admin::FEATURES;
use super::command::{Entry, Reply, status};
use super::messages::Messages;
use super::queues::{DeviceCq, DeviceSq, audit};
use crate::{Bus, DmaFault, Platter, SECTOR_BYTES};
use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: u64 = 4096;
/// Requests for events that may be outstanding, 0-based, as IDENTIFY tells.
pub(super) const AERL: usize = 3;
/// The largest number of a namespace.
pub(super) const NN: u32 = 256;

/// A namespace.
pub struct SimNamespace {
    pub platter: Platter,
    /// Bytes of a logical block: 512 or 4096.
    pub sector_bytes: u32,
    pub metadata_bytes: u8,
    /// Blocks (of the disk) that must not move straight to or from guest memory.
    pub bounced: Range<u64>,
    /// Blocks that were told unused.
    pub unused: Vec<Range<u64>>,
}

impl SimNamespace {
    pub fn new(platter: Platter, sector_bytes: u32) -> Self {
        Self { platter, sector_bytes, metadata_bytes: 0, bounced: 0..0, unused: Vec::new() }
    }

    fn ratio(&self) -> u64 {
        u64::from(self.sector_bytes) / SECTOR_BYTES as u64
    }

    /// Logical blocks.
    pub fn sectors(&self) -> u64 {
        self.platter.sectors() / self.ratio()
    }
}

/// The controller. It makes progress in [`SimNvme::tick`].
pub struct SimNvme {
    pub namespaces: BTreeMap<u32, SimNamespace>,
    pub cap: u64,
    /// At most 20 characters.
    pub serial: String,
    /// Largest transfer: 4096 << mdts bytes.
    pub mdts: u8,
    pub cc: u32,
    pub csts: u32,
    aqa: u32,
    asq: u64,
    acq: u64,
    pub intms: u32,
    pub sqs: BTreeMap<u16, DeviceSq>,
    pub cqs: BTreeMap<u16, DeviceCq>,
    /// Commands taken from each queue in a step.
    pub per_tick: usize,
    /// The newest of the commands taken in a step ends first.
    pub backwards: bool,
    /// Steps until it is ready, or not ready any more.
    pub ready_after: u32,
    ready_in: u32,
    events: Vec<(u16, Entry)>,
    /// What waits for room in a completion queue.
    stalled: Vec<(u16, Reply)>,
    /// Every command that reached the device: queue, opcode, namespace.
    pub received: Vec<(u16, u8, u32)>,
    /// Doorbells that lead nowhere, or beyond the end.
    pub bad_doorbells: u32,
    /// Vectors that were sent and that no CPU has taken.
    pub interrupts: Vec<u16>,
    /// The table of MSI-X. Until it is enabled interrupts come without it.
    pub messages: Messages,
    /// Value of the timestamp feature: data that goes both ways.
    pub(super) timestamp: u64,
    /// Values of the other features.
    pub(super) features: BTreeMap<u8, u32>,
    /// The last command that a namespace took with its dword 12.
    pub last_dword12: u32,
    dead: bool,
}

impl SimNvme {
    pub fn new(namespaces: impl IntoIterator<Item = SimNamespace>) -> Self {
        Self {
            namespaces: (1..).zip(namespaces).collect(),
            // 2048 entries, contiguous, 7.5 s, subsystem reset, NVM and other command sets, boot partitions, 4 KiB to
            // 64 KiB pages, memory buffers.
            cap: 0x07ff | 1 << 16 | 3 << 17 | 0x0f << 24 | 1 << 36 | 0xc1 << 37 | 1 << 45 | 4 << 52 | 3 << 56,
            serial: "SIM-0001".into(),
            // 512 KiB.
            mdts: 7,
            cc: 0,
            csts: 0,
            aqa: 0,
            asq: 0,
            acq: 0,
            intms: 0,
            sqs: BTreeMap::new(),
            cqs: BTreeMap::new(),
            per_tick: 64,
            backwards: false,
            ready_after: 0,
            ready_in: 0,
            events: Vec::new(),
            stalled: Vec::new(),
            received: Vec::new(),
            bad_doorbells: 0,
            interrupts: Vec::new(),
            messages: Messages::default(),
            timestamp: 0,
            features: BTreeMap::from(FEATURES),
            last_dword12: 0,
            dead: false,
        }
    }

    /// The namespace's disk.
    ///
    /// # Panics
    /// When there is none.
    pub fn platter(&mut self, nsid: u32) -> &mut Platter {
        &mut self.namespaces.get_mut(&nsid).expect("a namespace").platter
    }

    /// A reset of the function, as by sleep: everything but the disks is forgotten.
    pub fn lose_power(&mut self) {
        let namespaces = std::mem::take(&mut self.namespaces);
        let (ready_after, per_tick) = (self.ready_after, self.per_tick);
        *self = Self { ready_after, per_tick, ..Self::new([]) };
        self.namespaces = namespaces;
    }

    pub fn read(&self, offset: u32) -> u32 {
        if self.dead {
            return u32::MAX;
        }
        match offset {
            0x00 => self.cap as u32,
            0x04 => (self.cap >> 32) as u32,
            0x08 => 0x0001_0400,
            0x0c | 0x10 => self.intms,
            0x14 => self.cc,
            0x1c => self.csts,
            0x24 => self.aqa,
            0x28 => self.asq as u32,
            0x2c => (self.asq >> 32) as u32,
            0x30 => self.acq as u32,
            0x34 => (self.acq >> 32) as u32,
            // A memory buffer of the controller's, which nobody is to find.
            0x38 | 0x3c => 0x0123_4567,
            _ => 0,
        }
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        let set_low = |old: u64| old & !0xffff_ffff | u64::from(value);
        let set_high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match offset {
            _ if self.dead => {}
            0x0c => self.intms |= value,
            0x10 => self.intms &= !value,
            0x14 => self.configure(value),
            0x24 => self.aqa = value,
            0x28 => self.asq = set_low(self.asq),
            0x2c => self.asq = set_high(self.asq),
            0x30 => self.acq = set_low(self.acq),
            0x34 => self.acq = set_high(self.acq),
            0x1000.. => self.doorbell((offset - 0x1000) / 4, value),
            _ => {}
        }
    }

    fn configure(&mut self, value: u32) {
        let (was, is) = (self.cc & 1, value & 1);
        self.cc = value;
        if value >> 14 & 3 != 0 {
            // Shutdown complete.
            self.csts = self.csts & !0xc | 0x8;
        }
        if was != is {
            self.ready_in = self.ready_after;
            if self.ready_in == 0 {
                self.switch();
            }
        }
    }

    fn switch(&mut self) {
        self.sqs.clear();
        self.cqs.clear();
        self.events.clear();
        self.stalled.clear();
        self.csts = 0;
        if self.cc & 1 == 0 {
            // A reset forgets what is not about the admin queues (NVMe s. 7.3.2).
            (self.cc, self.intms) = (0, 0);
        } else if !self.asq.is_multiple_of(PAGE)
            || !self.acq.is_multiple_of(PAGE)
            || self.cc >> 7 & 15 > (self.cap >> 52) as u32 & 15
        {
            // Failed.
            self.csts = 2;
        } else {
            let (sq, cq) = ((self.aqa & 0xfff) + 1, (self.aqa >> 16 & 0xfff) + 1);
            self.sqs.insert(0, DeviceSq { base: self.asq, size: sq, head: 0, tail: 0, cq: 0 });
            let cq = DeviceCq { base: self.acq, size: cq, head: 0, tail: 0, phase: true, vector: Some(0) };
            self.cqs.insert(0, cq);
            self.csts = 1;
        }
    }

    fn doorbell(&mut self, index: u32, value: u32) {
        let id = (index / 2) as u16;
        let place = match index % 2 {
            0 => self.sqs.get_mut(&id).filter(|sq| value < sq.size).map(|sq| &mut sq.tail),
            _ => self.cqs.get_mut(&id).filter(|cq| value < cq.size).map(|cq| &mut cq.head),
        };
        match place {
            Some(place) => *place = value,
            None => self.bad_doorbells += 1,
        }
    }

    /// Looks at the addresses that the device holds.
    pub fn audit(&self, bus: &mut Bus<'_>) {
        self.sqs.values().for_each(|sq| audit(bus, sq.base, u64::from(sq.size) * 64));
        self.cqs.values().for_each(|cq| audit(bus, cq.base, u64::from(cq.size) * 16));
    }

    /// Time passes until it is ready, or not ready any more.
    pub fn get_ready(&mut self) {
        if self.ready_in > 0 {
            self.ready_in -= 1;
            if self.ready_in == 0 {
                self.switch();
            }
        }
    }

    /// One step: commands.
    pub fn tick(&mut self, bus: &mut Bus<'_>) {
        if self.dead {
            return;
        }
        // While it is being disabled it still works on what it has.
        let mut taken = Vec::new();
        for (&id, sq) in &mut self.sqs {
            taken.extend((0..self.per_tick).map_while(|_| Some((id, sq.fetch(bus)?))));
        }
        if self.backwards {
            taken.reverse();
        }
        let sent = self.messages.send_pending(bus);
        self.interrupts.extend(sent);
        for (id, reply) in std::mem::take(&mut self.stalled) {
            self.post(bus, id, reply);
        }
        for (id, entry) in taken {
            self.received.push((id, entry.opcode(), entry.nsid()));
            if let Some(answer) = self.execute(bus, id, &entry) {
                self.complete(bus, id, &entry, answer);
            }
        }
        self.dead |= self.namespaces.values().any(|namespace| namespace.platter.is_cut());
    }

    fn complete(&mut self, bus: &mut Bus<'_>, id: u16, entry: &Entry, answer: Result<u32, u16>) {
        let (result, status) = answer.map_or_else(|status| (0, status::with_dnr(status)), |result| (result, 0));
        let Some(sq) = self.sqs.get(&id) else { return };
        let reply = Reply { result, sq_head: sq.head as u16, sq_id: id, id: entry.id(), status, phase: false };
        self.post(bus, id, reply);
    }

    fn post(&mut self, bus: &mut Bus<'_>, sq: u16, reply: Reply) {
        let cq = self.sqs.get(&sq).and_then(|sq| self.cqs.get_mut(&sq.cq));
        let Some(cq) = cq else { return };
        if cq.is_full() {
            return self.stalled.push((sq, reply));
        }
        cq.post(bus, reply);
        if let Some(vector) = cq.vector
            && self.messages.signal(bus, vector)
        {
            self.interrupts.push(vector);
        }
    }

    /// Something happens that an event tells.
    pub fn raise_event(&mut self, bus: &mut Bus<'_>, what: u32) -> bool {
        let Some((id, entry)) = self.events.pop() else { return false };
        self.complete(bus, id, &entry, Ok(what));
        true
    }

    fn execute(&mut self, bus: &mut Bus<'_>, queue: u16, entry: &Entry) -> Option<Result<u32, u16>> {
        if queue != 0 {
            return Some(self.execute_nvm(bus, entry));
        }
        if entry.opcode() != 0x0c {
            return Some(self.execute_admin(bus, entry));
        }
        if self.events.len() > AERL {
            return Some(Err(status::TOO_MANY_EVENTS));
        }
        self.events.push((queue, *entry));
        None
    }

    fn execute_nvm(&mut self, bus: &mut Bus<'_>, entry: &Entry) -> Result<u32, u16> {
        self.check_nsid(entry.nsid())?;
        if entry.opcode() == 0 {
            self.namespaces.values_mut().for_each(|namespace| namespace.platter.flush());
            return Ok(0);
        }
        if entry.opcode() == 0x09 {
            return self.note_unused(bus, entry);
        }
        let namespace = self.namespaces.get(&entry.nsid()).ok_or(status::INVALID_FIELD)?;
        let (ratio, all) = (namespace.ratio(), namespace.sectors());
        let (lba, count) = (entry.qword(10), u64::from(entry.0[12] as u16) + 1);
        match entry.opcode() {
            0x01 | 0x02 | 0x05 if count * u64::from(namespace.sector_bytes) > PAGE << self.mdts => {
                return Err(status::INVALID_FIELD);
            }
            0x01 | 0x02 | 0x04 | 0x05 | 0x08 => {}
            // Verify, reservations, and what a vendor defines: done at once.
            0x0c..=0x15 | 0x80.. => return Ok(0),
            _ => return Err(status::INVALID_OPCODE),
        }
        let blocks = lba..lba.checked_add(count).filter(|end| *end <= all).ok_or(status::LBA_OUT_OF_RANGE)?;
        let inner = blocks.start * ratio..blocks.end * ratio;
        let mut data = vec![0; (inner.end - inner.start) as usize * SECTOR_BYTES];
        match entry.opcode() {
            0x01 => {
                self.last_dword12 = entry.0[12];
                self.fetch_data(bus, entry, Some(blocks), &mut data)?;
                let platter = &mut self.namespaces.get_mut(&entry.nsid()).expect("just found").platter;
                for (at, sector) in inner.zip(data.chunks_exact(SECTOR_BYTES)) {
                    if platter.error(at).is_some() {
                        return Err(status::WRITE_FAULT);
                    }
                    platter.write(at, sector.try_into().expect("a sector"));
                }
                Ok(0)
            }
            0x02 => {
                for (at, sector) in inner.zip(data.chunks_exact_mut(SECTOR_BYTES)) {
                    if namespace.platter.error(at).is_some() {
                        return Err(status::UNRECOVERED_READ);
                    }
                    sector.copy_from_slice(&namespace.platter.read(at));
                }
                self.store_data(bus, entry, Some(blocks), &data).map(|()| 0)
            }
            0x05 => {
                self.fetch_data(bus, entry, Some(blocks), &mut data)?;
                let platter = &self.namespaces[&entry.nsid()].platter;
                let same = inner.zip(data.chunks_exact(SECTOR_BYTES)).all(|(at, sector)| platter.read(at) == sector);
                if same { Ok(0) } else { Err(status::COMPARE_FAILURE) }
            }
            0x08 => {
                let platter = &mut self.namespaces.get_mut(&entry.nsid()).expect("just found").platter;
                inner.for_each(|at| platter.write(at, [0; SECTOR_BYTES]));
                Ok(0)
            }
            _ => Ok(0),
        }
    }

    /// A number that a namespace may have, or all of them (NVMe s. 6.1.2); whether it is there is another question (s. 6.1.5).
    pub(super) fn check_nsid(&self, nsid: u32) -> Result<(), u16> {
        if (1..=NN).contains(&nsid) || nsid == u32::MAX { Ok(()) } else { Err(status::INVALID_NAMESPACE) }
    }

    /// DATASET MANAGEMENT.
    fn note_unused(&mut self, bus: &mut Bus<'_>, entry: &Entry) -> Result<u32, u16> {
        let mut list = vec![0; 16 * ((entry.0[10] & 0xff) as usize + 1)];
        self.fetch_data(bus, entry, None, &mut list)?;
        let namespace = self.namespaces.get_mut(&entry.nsid()).ok_or(status::INVALID_FIELD)?;
        for range in list.as_chunks::<16>().0 {
            let count = u32::from_le_bytes(range[4..8].try_into().expect("4 bytes"));
            let first = u64::from_le_bytes(range[8..].try_into().expect("8 bytes"));
            namespace.unused.push(first..first + u64::from(count));
        }
        Ok(0)
    }

    /// Where a command's data lies, as its PRP entries tell (NVMe s. 4.3).
    fn pieces(bus: &mut Bus<'_>, entry: &Entry, len: u64) -> Result<Vec<(u64, u64)>, u16> {
        let (first, mut second) = (entry.qword(6), entry.qword(8));
        let mut pieces = vec![(first, len.min(PAGE - first % PAGE))];
        let mut left = len - pieces[0].1;
        if left > 0 && left <= PAGE {
            pieces.push((second, left));
            left = 0;
        }
        if left > 0 && !second.is_multiple_of(8) {
            return Err(status::PRP_OFFSET);
        }
        while left > 0 {
            audit(bus, second, 8);
            let mut bytes = [0; 8];
            bus.read(second, &mut bytes);
            let at = u64::from_le_bytes(bytes);
            if second % PAGE == PAGE - 8 && left > PAGE {
                second = at;
                continue;
            }
            pieces.push((at, left.min(PAGE)));
            left -= left.min(PAGE);
            second += 8;
        }
        let bad = pieces.iter().skip(1).any(|(at, _)| at % PAGE != 0);
        if bad { Err(status::PRP_OFFSET) } else { Ok(pieces) }
    }

    /// No protected block moves straight to or from guest memory.
    fn look(&self, bus: &mut Bus<'_>, entry: &Entry, blocks: Option<&Range<u64>>, at: u64, len: u64) {
        let Some(blocks) = blocks else { return };
        let bounced = &self.namespaces[&entry.nsid()].bounced;
        let touches = blocks.start < bounced.end && bounced.start < blocks.end;
        if touches && !bus.arena.holds(at, len) {
            bus.fault(DmaFault::ProtectedWithoutBounce { at });
        }
    }

    pub(super) fn store_data(
        &self,
        bus: &mut Bus<'_>,
        entry: &Entry,
        blocks: Option<Range<u64>>,
        data: &[u8],
    ) -> Result<(), u16> {
        let mut rest = data;
        for (at, len) in Self::pieces(bus, entry, data.len() as u64)? {
            self.look(bus, entry, blocks.as_ref(), at, len);
            let (piece, tail) = rest.split_at(len as usize);
            bus.write(at, piece);
            rest = tail;
        }
        Ok(())
    }

    pub(super) fn fetch_data(
        &self,
        bus: &mut Bus<'_>,
        entry: &Entry,
        blocks: Option<Range<u64>>,
        data: &mut [u8],
    ) -> Result<(), u16> {
        let mut rest = data;
        for (at, len) in Self::pieces(bus, entry, rest.len() as u64)? {
            self.look(bus, entry, blocks.as_ref(), at, len);
            let (piece, tail) = rest.split_at_mut(len as usize);
            bus.read(at, piece);
            rest = tail;
        }
        Ok(())
    }
}
