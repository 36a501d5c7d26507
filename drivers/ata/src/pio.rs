//! The data port (ATA/ATAPI-7 s. 9.5 and 9.6): PIO of transformed sectors, block by block, and IDENTIFY.

use crate::channel::{Channel, State};
use crate::command::Refused;
use crate::denied::Denied;
use crate::extents;
use crate::identify::{self, Identity, Transport};
use crate::ports::Ports;
use crate::spec::{SECTOR_BYTES, reg, status};
use crate::taskfile::Request;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::disk::RangeMap;
use mediator::{Ctx, Device, TransformRun, Verdict, Width};

/// What the blocks of a PIO read hold.
enum Source {
    Identify { protection: Option<Arc<dyn RangeMap>> },
    Sectors { ranges: Arc<dyn RangeMap>, lba: u64 },
}

/// A PIO read. The device's block is taken whole at the guest's first data access, and served from here.
pub struct PioIn {
    source: Source,
    /// Sectors that the device still has.
    left: u32,
    /// Sectors per DRQ.
    block: u32,
    buffer: Vec<u8>,
    /// What the guest has taken of the buffer.
    taken: usize,
    /// The request is cut: what the guest is to see once it has taken all that is left of it.
    ends: Option<(Request, Denied)>,
}

/// A PIO write. A block is collected here, and given to the device whole.
pub struct PioOut {
    ranges: Arc<dyn RangeMap>,
    lba: u64,
    left: u32,
    block: u32,
    buffer: Vec<u8>,
}

/// A buffer for the largest block of the request.
fn block_buffer(sectors: u32) -> Result<Vec<u8>, Refused> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(extents::bytes(sectors)).map_err(|_| Refused)?;
    Ok(buffer)
}

/// Can every sector of the request be transformed?
fn check(request: &Request, ranges: &dyn RangeMap) -> Result<(), Refused> {
    extents::sectors(ranges).each_transform(request.lba, request.sectors, |_| Ok(())).map_err(|_| Refused)
}

/// Is the device ready for a block?
fn wants_data(ports: Ports, device: &mut dyn Device) -> bool {
    ports.alt_status(device) & (status::BSY | status::DRQ) == status::DRQ
}

/// Applies `run`'s part of a block.
fn in_block(block: &mut [u8], run: TransformRun, apply: impl FnOnce(&TransformRun, &mut [u8])) {
    let end = run.offset_bytes.saturating_add(run.len_bytes);
    if let Some(sectors) = block.get_mut(run.offset_bytes..end) {
        apply(&run, sectors);
    }
}

impl PioIn {
    /// # Errors
    /// [`Refused`]: no memory.
    pub fn identify(protection: Option<Arc<dyn RangeMap>>) -> Result<Self, Refused> {
        let source = Source::Identify { protection };
        Ok(Self { source, left: 1, block: 1, buffer: block_buffer(1)?, taken: 0, ends: None })
    }

    /// `ends`: the request is cut, and fails behind its last sector.
    ///
    /// # Errors
    /// [`Refused`]: no memory, or sectors that cannot be transformed.
    pub fn new(request: Request, block: u32, ranges: Arc<dyn RangeMap>, ends: Option<Denied>) -> Result<Self, Refused> {
        check(&request, &*ranges)?;
        let buffer = block_buffer(block.min(request.sectors))?;
        let ends = ends.map(|denied| (request, denied));
        let source = Source::Sectors { ranges, lba: request.lba };
        Ok(Self { source, left: request.sectors, block, buffer, taken: 0, ends })
    }

    /// Has the guest begun a block and not taken all of it?
    pub fn has_data(&self) -> bool {
        self.taken < self.buffer.len()
    }

    /// Gives the guest what there is of the current block.
    fn take(&mut self, out: &mut [u8]) -> usize {
        let rest = self.buffer.get(self.taken..).unwrap_or(&[]);
        let len = rest.len().min(out.len());
        for (to, from) in out.iter_mut().zip(rest) {
            *to = *from;
        }
        self.taken = self.taken.saturating_add(len);
        len
    }

    /// Takes the next block from the device, and makes plain text of it. For IDENTIFY: the raw answer's meaning.
    fn fetch(&mut self, ports: Ports, device: &mut dyn Device) -> Option<Identity> {
        let sectors = self.block.min(self.left);
        self.buffer.clear();
        self.buffer.resize(extents::bytes(sectors), 0);
        self.taken = 0;
        self.left = self.left.saturating_sub(sectors);
        device.read_string(ports.command, reg::DATA, Width::Word, &mut self.buffer);
        let block = self.buffer.as_mut_slice();
        match &mut self.source {
            Source::Sectors { ranges, lba } => {
                // Every sector was seen to be transformable when the command came.
                let _ = extents::sectors(&**ranges).each_transform(*lba, sectors, |run| {
                    in_block(block, run, |run, bytes| run.transform.decrypt(run.first_sector, bytes));
                    Ok(())
                });
                *lba = lba.saturating_add(u64::from(sectors));
                None
            }
            Source::Identify { protection } => {
                let answer = block.first_chunk_mut::<SECTOR_BYTES>()?;
                let identity = Identity::parse(answer);
                identify::edit(answer, Transport::Parallel, protection.as_deref());
                Some(identity)
            }
        }
    }
}

impl PioOut {
    /// # Errors
    /// [`Refused`]: no memory, or sectors that cannot be transformed.
    pub fn new(request: Request, block: u32, ranges: Arc<dyn RangeMap>) -> Result<Self, Refused> {
        check(&request, &*ranges)?;
        let buffer = block_buffer(block.min(request.sectors))?;
        Ok(Self { ranges, lba: request.lba, left: request.sectors, block, buffer })
    }

    /// Collects; a block that is full goes to the device. Returns how much was taken of `data`.
    fn put(&mut self, ports: Ports, device: &mut dyn Device, data: &[u8]) -> usize {
        let sectors = self.block.min(self.left);
        let missing = extents::bytes(sectors).saturating_sub(self.buffer.len());
        let piece = data.get(..missing).unwrap_or(data);
        self.buffer.extend_from_slice(piece);
        if piece.len() == missing {
            self.send_block(ports, device, sectors);
        }
        piece.len()
    }

    fn send_block(&mut self, ports: Ports, device: &mut dyn Device, sectors: u32) {
        let mut block = core::mem::take(&mut self.buffer);
        let encrypted = extents::sectors(&*self.ranges).each_transform(self.lba, sectors, |run| {
            in_block(&mut block, run, |run, bytes| run.transform.encrypt(run.first_sector, bytes));
            Ok(())
        });
        // A block that could not be encrypted is never sent; the drive waits for it until it is reset.
        if encrypted.is_ok() && wants_data(ports, device) {
            device.write_string(ports.command, reg::DATA, Width::Word, &block);
            self.lba = self.lba.saturating_add(u64::from(sectors));
            self.left = self.left.saturating_sub(sectors);
        }
        block.clear();
        self.buffer = block;
    }
}

/// Whose the data port is.
enum DataPort {
    Device,
    Ours,
    /// No data is due: reads give ones, writes vanish.
    Nobody,
}

impl Channel {
    fn data_port(&self, write: bool) -> DataPort {
        match &self.state {
            State::Transparent | State::PacketHeld | State::DmaDirect => DataPort::Device,
            State::PioIn(_) if !write => DataPort::Ours,
            State::PioOut(_) if write => DataPort::Ours,
            _ => DataPort::Nobody,
        }
    }

    /// One read of the data port.
    pub fn data_word_in(&mut self, cx: &mut Ctx<'_>, width: Width) -> Verdict {
        if let DataPort::Device = self.data_port(false) {
            return Verdict::Passthrough;
        }
        let mut bytes = [0; 8];
        if let Some(out) = bytes.get_mut(..width.bytes()) {
            self.data_in(cx, width, out);
        }
        Verdict::Value(u64::from_le_bytes(bytes))
    }

    /// One write of the data port.
    pub fn data_word_out(&mut self, cx: &mut Ctx<'_>, width: Width, value: u64) -> Verdict {
        if let DataPort::Device = self.data_port(true) {
            return Verdict::Passthrough;
        }
        if let Some(data) = value.to_le_bytes().get(..width.bytes()) {
            self.data_out(cx, width, data);
        }
        Verdict::Done
    }

    /// Reads of the data port, as many as `out` holds.
    pub fn data_in(&mut self, cx: &mut Ctx<'_>, width: Width, out: &mut [u8]) {
        match self.data_port(false) {
            DataPort::Device => cx.device.read_string(self.ports.command, reg::DATA, width, out),
            DataPort::Ours => self.serve(cx, out),
            DataPort::Nobody => out.fill(0xff),
        }
    }

    /// Writes of the data port.
    pub fn data_out(&mut self, cx: &mut Ctx<'_>, width: Width, data: &[u8]) {
        match self.data_port(true) {
            DataPort::Device => cx.device.write_string(self.ports.command, reg::DATA, width, data),
            DataPort::Ours => self.collect(cx, data),
            DataPort::Nobody => {}
        }
    }

    fn serve(&mut self, cx: &mut Ctx<'_>, mut out: &mut [u8]) {
        while !out.is_empty() {
            let State::PioIn(pio) = &mut self.state else { break };
            if !pio.has_data() {
                if pio.left == 0 || !wants_data(self.ports, cx.device) {
                    break;
                }
                if let Some(identity) = pio.fetch(self.ports, cx.device) {
                    self.learn(&identity);
                }
                continue;
            }
            let served = pio.take(out);
            if pio.left == 0 && !pio.has_data() {
                let ends = pio.ends.take();
                self.state = State::Idle;
                if let Some((request, denied)) = ends {
                    self.refuse(cx.device);
                    self.show_denied(&request, denied);
                }
            }
            out = core::mem::take(&mut out).get_mut(served..).unwrap_or_default();
        }
        out.fill(0xff);
    }

    fn collect(&mut self, cx: &mut Ctx<'_>, mut data: &[u8]) {
        while !data.is_empty() {
            let State::PioOut(pio) = &mut self.state else { return };
            if pio.buffer.is_empty() && !wants_data(self.ports, cx.device) {
                return;
            }
            let taken = pio.put(self.ports, cx.device, data);
            if pio.left == 0 {
                self.state = State::Idle;
            }
            data = data.get(taken..).unwrap_or(&[]);
        }
    }
}
