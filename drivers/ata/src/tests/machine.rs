//! The VMM's side of the contract, and a guest's register accesses.

use super::fake::Drive;
use crate::DRIVER;
use crate::spec::{bm, control, reg};
use ::mediator::disk::{DiskController, Extent, RangeMap, Rights, SectorTransform, Treatment};
use ::mediator::pci::{Bdf, Function, Place};
use ::mediator::*;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

pub const COMMAND: RegionId = RegionId(0);
pub const CONTROL: RegionId = RegionId(1);
pub const BUS_MASTER: RegionId = RegionId(4);

pub const RAM_BYTES: usize = 8 << 20;
/// VMM memory, the DMA arena in it.
pub const VMM: u64 = 16 << 20;
pub const VMM_BYTES: usize = 4 << 20;

pub struct Ram(pub Vec<u8>);

impl GuestMemory for Ram {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        let at = from.0 as usize;
        data.copy_from_slice(self.0.get(at..at + data.len()).ok_or(NotRam(from))?);
        Ok(())
    }

    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
        let at = to.0 as usize;
        self.0.get_mut(at..at + data.len()).ok_or(NotRam(to))?.copy_from_slice(data);
        Ok(())
    }

    fn compare_exchange(&mut self, _: Gpa, _: Width, _: u64, _: u64) -> Result<bool, NotRam> {
        unreachable!("no driver changes the guest's tables")
    }

    fn bus_addr(&self, of: Gpa, len_bytes: u64) -> Result<BusAddr, NotRam> {
        let end = of.0 + len_bytes;
        let vmm = of.0 < VMM + VMM_BYTES as u64 && end > VMM;
        if vmm || end > self.0.len() as u64 { Err(NotRam(of)) } else { Ok(BusAddr(of.0)) }
    }
}

pub struct Arena {
    pub bytes: Vec<u8>,
    next: usize,
    pub limit: usize,
}

impl DmaArena for Arena {
    fn alloc(&mut self, len_bytes: usize, align: usize) -> Option<DmaBuffer> {
        let at = self.next.next_multiple_of(align);
        self.next = (at + len_bytes <= self.limit).then_some(at + len_bytes)?;
        Some(DmaBuffer::new(BusAddr(VMM + at as u64), len_bytes))
    }

    fn free(&mut self, _: DmaBuffer) {}

    fn bytes(&mut self, at: BusAddr, len_bytes: usize) -> Result<&mut [u8], OutOfArena> {
        let at = at.0.checked_sub(VMM).ok_or(OutOfArena)? as usize;
        self.bytes.get_mut(at..at + len_bytes).ok_or(OutOfArena)
    }
}

#[derive(Default)]
pub struct Ports {
    pub moved: Vec<(RegionId, Option<u16>)>,
    pub conflict: Option<u16>,
}

impl Hooks for Ports {
    fn move_region(&mut self, region: RegionId, place: Option<Place>) -> Result<(), HookConflict> {
        let base = place.and_then(Place::port);
        if base.is_some() && base == self.conflict {
            return Err(HookConflict);
        }
        self.moved.push((region, base));
        Ok(())
    }

    fn move_window(&mut self, _: usize, _: Option<Gpa>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }
}

pub struct Xor;

impl Xor {
    fn apply(first_sector: u64, sectors: &mut [u8]) {
        for (number, sector) in (first_sector..).zip(sectors.chunks_exact_mut(512)) {
            sector.iter_mut().for_each(|byte| *byte ^= 0x5a ^ (number as u8 & 0x0f));
        }
    }
}

impl SectorTransform for Xor {
    fn sector_bytes(&self) -> usize {
        512
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        Self::apply(first_sector, sectors);
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        Self::apply(first_sector, sectors);
    }
}

/// First and end LBA of a protected range, and how far behind on the disk its sectors lie.
#[derive(Clone, Copy)]
pub struct Range(pub u64, pub u64, pub u64);

impl RangeMap for Range {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        let Range(first, end, shift) = *self;
        let plain = |sectors| Extent { disk_lba: lba, sectors, treatment: Treatment::Plain, rights: Rights::ReadWrite };
        match lba {
            _ if lba < first => plain(sectors.min(first - lba)),
            _ if lba >= end => plain(sectors),
            _ => {
                let treatment = Treatment::Transform { transform: Arc::new(Xor), first_sector: lba - first };
                let (disk_lba, sectors) = (lba + shift, sectors.min(end - lba));
                Extent { disk_lba, sectors, treatment, rights: Rights::ReadWrite }
            }
        }
    }

    fn is_protected(&self) -> bool {
        true
    }
}

pub struct Machine {
    pub drive: Drive,
    pub ram: Ram,
    pub arena: Arena,
    pub hooks: Ports,
    pub controller: Box<dyn DiskController>,
    /// Work that was performed.
    pub works: u32,
    work: Vec<Work>,
}

pub const FUNCTION: Function = Function {
    bdf: Bdf { bus: 0, device: 1, function: 1 },
    vendor: 0x8086,
    device: 0x7010,
    class: 1,
    subclass: 1,
    prog_if: 0x80,
};

macro_rules! ctx {
    ($machine:expr) => {
        Ctx {
            device: &mut $machine.drive,
            guest: &mut $machine.ram,
            arena: &mut $machine.arena,
            hooks: &mut $machine.hooks,
            work: &mut $machine.work,
            now: Instant(0),
        }
    };
}

impl Machine {
    /// A machine whose disk is wholly plain.
    pub fn plain() -> Self {
        Self::with(Drive::new())
    }

    /// A machine whose disk has this protected range.
    pub fn protected(range: Range) -> Self {
        let mut machine = Self::plain();
        machine.controller.set_ranges(0, Arc::new(range)).unwrap();
        machine
    }

    pub fn with(drive: Drive) -> Self {
        Self::attach(drive, VMM_BYTES).unwrap()
    }

    pub fn attach(mut drive: Drive, arena_bytes: usize) -> Result<Self, pci::AttachError> {
        assert!((DRIVER.matches)(&FUNCTION));
        let mut ram = Ram(vec![0; RAM_BYTES]);
        let mut arena = Arena { bytes: vec![0; VMM_BYTES], next: 0, limit: arena_bytes };
        let (mut hooks, mut work) = (Ports::default(), Vec::new());
        let mut cx = Ctx {
            device: &mut drive,
            guest: &mut ram,
            arena: &mut arena,
            hooks: &mut hooks,
            work: &mut work,
            now: Instant(0),
        };
        let controller = (DRIVER.attach)(&FUNCTION, &mut cx)?.controller;
        drive.commands.clear();
        drive.interrupts = 0;
        drive.strings = 0;
        Ok(Self { drive, ram, arena, hooks, controller, works: 0, work })
    }

    fn do_work(&mut self) {
        for work in core::mem::take(&mut self.work) {
            self.works += 1;
            let result = work.perform(&mut self.ram, &mut self.arena);
            self.controller.on_work_done(&mut ctx!(self), work, result);
        }
    }

    pub fn access(&mut self, access: Access) -> Result<u64, Violation> {
        for _ in 0..8 {
            let verdict = self.controller.on_access(&mut ctx!(self), access)?;
            assert!(verdict != Verdict::Again || !self.work.is_empty());
            self.do_work();
            match (verdict, access.op) {
                (Verdict::Again, _) => continue,
                (Verdict::Value(value), Op::Read) => return Ok(value),
                (Verdict::Done, Op::Write(_)) => return Ok(0),
                (Verdict::Passthrough, Op::Read) => {
                    return Ok(self.drive.read(access.region, access.offset, access.width));
                }
                (Verdict::Passthrough, Op::Write(value)) => {
                    self.drive.write(access.region, access.offset, access.width, value);
                    return Ok(0);
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("the mediator asks for ever");
    }

    /// What the mediator lets pass unseen it would indeed have passed, without a trace.
    pub fn check_passing(&mut self) {
        let passing = self.controller.passing_reads();
        for (region, offset) in [(COMMAND, reg::STATUS), (CONTROL, 0)] {
            if passing & 1 << region.0 != 0 {
                let access = Access { region, offset, width: Width::Byte, op: Op::Read };
                let verdict = self.controller.on_access(&mut ctx!(self), access);
                assert_eq!(verdict, Ok(Verdict::Passthrough), "{region:?}");
                assert!(self.work.is_empty() && self.controller.passing_reads() == passing);
            }
        }
    }

    pub fn read(&mut self, region: RegionId, offset: u32) -> u8 {
        self.access(Access { region, offset, width: Width::Byte, op: Op::Read }).unwrap() as u8
    }

    pub fn write(&mut self, region: RegionId, offset: u32, value: u8) {
        self.access(Access { region, offset, width: Width::Byte, op: Op::Write(value.into()) }).unwrap();
    }

    pub fn config_write(&mut self, offset: u16, width: Width, value: u32) -> Result<(), Violation> {
        let access = ConfigAccess { offset, width, op: Op::Write(value.into()) };
        assert_eq!(self.controller.on_config(&mut ctx!(self), access)?, Verdict::Passthrough);
        let at = offset as usize;
        self.drive.config[at..at + width.bytes()].copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
        Ok(())
    }

    pub fn read_before_guest(&mut self, lba: u64, data: &mut [u8]) -> Result<(), disk::DiskError> {
        self.controller.read_before_guest(&mut ctx!(self), 0, lba, data)
    }

    pub fn insw(&mut self, len_bytes: usize) -> Vec<u8> {
        let mut data = vec![0; len_bytes];
        let io = StringIo::In { width: Width::Word, data: &mut data };
        assert_eq!(self.controller.on_string(&mut ctx!(self), COMMAND, 0, io), Ok(len_bytes / 2));
        data
    }

    pub fn outsw(&mut self, data: &[u8]) {
        let io = StringIo::Out { width: Width::Word, data };
        assert_eq!(self.controller.on_string(&mut ctx!(self), COMMAND, 0, io), Ok(data.len() / 2));
    }

    pub fn status(&mut self) -> u8 {
        self.read(COMMAND, reg::STATUS)
    }

    pub fn alt_status(&mut self) -> u8 {
        self.read(CONTROL, 0)
    }

    pub fn bm_status(&mut self) -> u8 {
        self.read(BUS_MASTER, bm::STATUS)
    }

    /// Gives a 28-bit command to unit 0.
    pub fn command28(&mut self, command: u8, lba: u32, count: u8) {
        let [low, mid, high, head] = lba.to_le_bytes();
        for (register, value) in [(6, 0xe0 | head), (2, count), (3, low), (4, mid), (5, high), (7, command)] {
            self.write(COMMAND, register, value);
        }
    }

    /// Gives a 48-bit command to unit 0.
    pub fn command48(&mut self, command: u8, lba: u64, count: u16) {
        let [low, mid, high, low2, mid2, high2, ..] = lba.to_le_bytes();
        let [count, count2] = count.to_le_bytes();
        self.write(COMMAND, 6, 0xe0);
        for (register, value) in [(2, count2), (3, low2), (4, mid2), (5, high2)] {
            self.write(COMMAND, register, value);
        }
        for (register, value) in [(2, count), (3, low), (4, mid), (5, high), (7, command)] {
            self.write(COMMAND, register, value);
        }
    }

    /// Writes a PRD table for these regions and points the bus master at it.
    pub fn prd(&mut self, regions: &[(u32, u32)]) {
        const TABLE: u32 = 0x1_0000;
        for (n, (base, len)) in regions.iter().enumerate() {
            let at = TABLE as usize + n * 8;
            let last = if n + 1 == regions.len() { 1 << 31 } else { 0 };
            self.ram.0[at..at + 4].copy_from_slice(&base.to_le_bytes());
            self.ram.0[at + 4..at + 8].copy_from_slice(&((len & 0xffff) | last).to_le_bytes());
        }
        let write = Op::Write(TABLE.into());
        self.access(Access { region: BUS_MASTER, offset: bm::PRDT, width: Width::Dword, op: write }).unwrap();
        self.write(BUS_MASTER, bm::STATUS, bm::INTERRUPT | bm::ERROR);
    }

    /// A PRD table for one buffer of any length, in entries of 64 KiB.
    pub fn prd_of(&mut self, base: u32, len: u32) {
        let regions: Vec<_> = (0..len).step_by(0x1_0000).map(|at| (base + at, (len - at).min(0x1_0000))).collect();
        self.prd(&regions);
    }

    pub fn start(&mut self, to_memory: bool) {
        let direction = if to_memory { bm::TO_MEMORY } else { 0 };
        self.write(BUS_MASTER, bm::COMMAND, direction);
        self.write(BUS_MASTER, bm::COMMAND, direction | bm::START);
    }

    pub fn stop(&mut self) {
        self.write(BUS_MASTER, bm::COMMAND, 0);
    }

    /// The device and the bus master run as far as they can.
    pub fn run(&mut self) {
        let (ram, arena) = (&mut self.ram.0, &mut self.arena.bytes);
        self.drive.run_dma(|at, data, from_memory| {
            let at = at as usize;
            let vmm = at >= VMM as usize;
            let memory = if vmm { &mut arena[at - VMM as usize..] } else { ram.get_mut(at..).unwrap_or_default() };
            // What lies behind the end of RAM is nobody: ones, and writes vanish.
            let len = data.len().min(memory.len());
            let (data, nobody) = data.split_at_mut(len);
            let memory = &mut memory[..len];
            if from_memory {
                nobody.fill(0xff);
                data.copy_from_slice(memory);
            } else {
                memory.copy_from_slice(data);
            }
        });
    }

    pub fn soft_reset(&mut self) {
        self.write(CONTROL, 0, control::SRST);
        self.write(CONTROL, 0, 0);
    }
}

/// What the fake disk holds at first.
pub fn original(lba: u64, sectors: usize) -> Vec<u8> {
    (lba * 512..lba * 512 + sectors as u64 * 512).map(|n| (n / 512 * 7 + n) as u8).collect()
}

/// `data` transformed as sectors from `first_sector` on.
pub fn xor(first_sector: u64, mut data: Vec<u8>) -> Vec<u8> {
    Xor::apply(first_sector, &mut data);
    data
}

/// Data of a guest.
pub fn pattern(sectors: usize) -> Vec<u8> {
    (0..sectors * 512).map(|n| (n * 13 + n / 512) as u8).collect()
}

impl Machine {
    pub fn sectors(&self, lba: u64, count: usize) -> Vec<u8> {
        self.drive.disk[lba as usize * 512..(lba as usize + count) * 512].to_vec()
    }

    pub fn put(&mut self, at: u32, data: &[u8]) {
        self.ram.0[at as usize..at as usize + data.len()].copy_from_slice(data);
    }

    pub fn ram(&self, at: u32, len: usize) -> Vec<u8> {
        self.ram.0[at as usize..at as usize + len].to_vec()
    }
}
