//! A queue, a disk that ends commands when it is told to, and a range map with everything in it.

use crate::{Content, DeviceError, Failure, Pool, Queue, Request, Scatter, Sectors, Step, Transfer};
use mediator::disk::{Extent, RangeMap, Rights, SectorTransform, Treatment};
use mediator::{Ctx, Device, Gpa, GuestMemory, GuestSegment, Instant, RegionId, Width, Work};
use sim::{SimArena, SimHooks, SimMemory, SimTransform};
use std::sync::Arc;
use std::vec::Vec;

pub const SECTOR: usize = 512;
pub const DISK_SECTORS: usize = 4096;
/// Sectors of 512 bytes are transformed here.
pub const SMALL: core::ops::Range<u64> = 100..300;
/// Sectors of 4096 bytes are transformed here, which begin at an odd number.
pub const LARGE: core::ops::Range<u64> = 1003..1803;
/// Only reads are allowed.
pub const READ_ONLY: core::ops::Range<u64> = 2000..2100;
/// No such sectors.
pub const ABSENT: core::ops::Range<u64> = 2100..2200;
/// `LARGE` lies so much further on the disk.
pub const SHIFT: u64 = 1000;

/// The transform of the simulation, with large sectors.
pub struct LargeTransform(pub SimTransform);

impl SectorTransform for LargeTransform {
    fn sector_bytes(&self) -> usize {
        4096
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        assert_eq!(sectors.len() % 4096, 0, "a cut sector is encrypted");
        self.0.encrypt(first_sector * 8, sectors);
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        assert_eq!(sectors.len() % 4096, 0, "a cut sector is decrypted");
        self.0.decrypt(first_sector * 8, sectors);
    }
}

pub struct Map;

const SMALL_TRANSFORM: SimTransform = SimTransform { key: 0x1234 };
const LARGE_TRANSFORM: SimTransform = SimTransform { key: 0x9999 };

impl RangeMap for Map {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        assert!(sectors > 0);
        let of = |range: &core::ops::Range<u64>| sectors.min(range.end - lba);
        let plain = |sectors, rights| Extent { disk_lba: lba, sectors, treatment: Treatment::Plain, rights };
        if SMALL.contains(&lba) {
            let treatment =
                Treatment::Transform { transform: Arc::new(SMALL_TRANSFORM), first_sector: lba - SMALL.start };
            return Extent { disk_lba: lba, sectors: of(&SMALL), treatment, rights: Rights::ReadWrite };
        }
        if LARGE.contains(&lba) {
            let transform = Arc::new(LargeTransform(LARGE_TRANSFORM));
            let treatment = Treatment::Transform { transform, first_sector: (lba - LARGE.start) / 8 };
            return Extent { disk_lba: lba + SHIFT, sectors: of(&LARGE), treatment, rights: Rights::ReadWrite };
        }
        if READ_ONLY.contains(&lba) {
            return plain(of(&READ_ONLY), Rights::ReadOnly);
        }
        if ABSENT.contains(&lba) {
            return plain(of(&ABSENT), Rights::None);
        }
        let border = [SMALL.start, LARGE.start, READ_ONLY.start].into_iter().find(|border| *border > lba);
        plain(border.map_or(sectors, |border| sectors.min(border - lba)), Rights::ReadWrite)
    }

    fn is_protected(&self) -> bool {
        true
    }

    fn within_transform_sector(&self, lba: u64) -> Option<u32> {
        LARGE.contains(&lba).then(|| ((lba - LARGE.start) % 8) as u32)
    }
}

/// Nobody touches a register here.
struct NoDevice;

impl Device for NoDevice {
    fn read(&mut self, _: RegionId, _: u32, _: Width) -> u64 {
        unreachable!()
    }
    fn write(&mut self, _: RegionId, _: u32, _: Width, _: u64) {
        unreachable!()
    }
    fn read_string(&mut self, _: RegionId, _: u32, _: Width, _: &mut [u8]) {
        unreachable!()
    }
    fn write_string(&mut self, _: RegionId, _: u32, _: Width, _: &[u8]) {
        unreachable!()
    }
    fn config_read(&mut self, _: u16, _: Width) -> u32 {
        unreachable!()
    }
    fn config_write(&mut self, _: u16, _: Width, _: u32) {
        unreachable!()
    }
}

/// How a request ended: its tag, the sectors moved, the result.
pub type End = (u32, u32, Result<(), Failure>);

pub struct Bench {
    pub queue: Queue,
    pub ram: SimMemory,
    pub arena: SimArena,
    /// The disk, by its own numbers.
    pub platter: Vec<u8>,
    /// Commands that the device has and has not done.
    pub device: Vec<Transfer>,
    /// Work that is lent out.
    pub work: Vec<Work>,
    pub ended: Vec<End>,
    /// The disk's number of a sector that cannot be read or written.
    pub bad: Option<u64>,
}

impl Bench {
    pub fn new(pool_bytes: usize) -> Self {
        Self::with_pool(pool_bytes, |pool| pool)
    }

    /// With a pool that is not as [`Pool::new`] makes it.
    pub fn with_pool(pool_bytes: usize, made: impl FnOnce(Pool) -> Pool) -> Self {
        let mut arena = SimArena::default();
        let queue = Queue::new(2, made(Pool::new(&mut arena, pool_bytes, 4096).unwrap()));
        let platter = vec![0; (DISK_SECTORS + SHIFT as usize) * SECTOR];
        let mut bench = Self {
            queue,
            ram: SimMemory::default(),
            arena,
            platter,
            device: Vec::new(),
            work: Vec::new(),
            ended: Vec::new(),
            bad: None,
        };
        // Zeros as the guest sees them, everywhere.
        for lba in (0..DISK_SECTORS as u64).step_by(8).filter(|lba| !LARGE.contains(lba)) {
            bench.platter[lba as usize * SECTOR..][..8 * SECTOR].fill(0);
        }
        SMALL_TRANSFORM.encrypt(0, bytes_of(&mut bench.platter, SMALL.start, SMALL.end - SMALL.start));
        let large = bytes_of(&mut bench.platter, LARGE.start + SHIFT, LARGE.end - LARGE.start);
        LargeTransform(LARGE_TRANSFORM).encrypt(0, large);
        bench
    }

    /// Calls the queue, and takes its steps.
    pub fn with<R>(&mut self, call: impl FnOnce(&mut Queue, &mut Ctx<'_>) -> R) -> R {
        let Self { queue, ram, arena, work, .. } = self;
        let mut hooks = SimHooks::default();
        let mut cx = Ctx { device: &mut NoDevice, guest: ram, arena, hooks: &mut hooks, work, now: Instant(0) };
        let result = call(queue, &mut cx);
        while let Some(step) = self.queue.poll() {
            match step {
                Step::Send(transfer) => {
                    let ours = transfer.buffer.0..transfer.buffer.0 + u64::from(transfer.len_bytes);
                    let lent =
                        |work: &Work| work.bounce.0 < ours.end && ours.start < work.bounce.0 + work.len_bytes as u64;
                    assert!(!self.work.iter().any(lent), "a buffer that is lent to work goes to the device");
                    assert!(self.arena.holds(transfer.buffer.0, transfer.len_bytes.into()), "{transfer:?}");
                    self.device.push(transfer);
                }
                Step::Done { tag, sectors, result, .. } => self.ended.push((tag, sectors, result)),
            }
        }
        let busy = self.queue.in_flight() > 0 || !self.work.is_empty();
        assert_eq!(self.queue.pool().lent(), self.queue.in_flight(), "buffers in use = requests in flight");
        assert!(busy || self.queue.held() == 0, "requests are held and nothing is in flight");
        result
    }

    pub fn submit(&mut self, tag: u32, write: bool, lba: u64, sectors: u32, memory: &[(u64, u32)]) {
        self.submit_to(0, tag, write, lba, sectors, memory);
    }

    pub fn submit_to(&mut self, disk: u32, tag: u32, write: bool, lba: u64, sectors: u32, memory: &[(u64, u32)]) {
        let map = Sectors { ranges: &Map, sector_bytes: SECTOR as u32 };
        map.check_rights(lba, sectors, write).expect("the request is allowed");
        let memory =
            Scatter::new(memory.iter().map(|&(at, len_bytes)| GuestSegment { at: Gpa(at), len_bytes }).collect());
        let content = Content::Sectors { lba, sectors, sector_bytes: SECTOR as u32, ranges: Arc::new(Map) };
        self.with(|queue, cx| queue.submit(cx, Request { tag, disk, write, content, memory: memory.into() }));
    }

    /// An answer of the device of so many bytes.
    pub fn submit_payload(&mut self, tag: u32, len_bytes: u32) {
        let memory = Scatter::new([GuestSegment { at: Gpa(0x10_0000), len_bytes }].into());
        let content = Content::Payload { len_bytes };
        self.with(|queue, cx| queue.submit(cx, Request { tag, disk: 0, write: false, content, memory: memory.into() }));
    }

    /// The device ends its command number `index`.
    pub fn device_ends(&mut self, index: usize) {
        let transfer = self.device.remove(index);
        let range = transfer.disk_lba..transfer.disk_lba + u64::from(transfer.sectors);
        let bad = self.bad.filter(|bad| range.contains(bad));
        let good = bad.map_or(transfer.len_bytes as usize, |bad| (bad - range.start) as usize * SECTOR);
        let sectors = &mut self.platter[transfer.disk_lba as usize * SECTOR..][..good];
        let buffer = self.arena.as_device(transfer.buffer.0, good.max(1)).expect("the buffer is in the arena");
        if transfer.write {
            sectors.copy_from_slice(&buffer[..good]);
        } else {
            buffer[..good].copy_from_slice(sectors);
        }
        let result = if bad.is_some() { Err(DeviceError { disk_lba: bad }) } else { Ok(()) };
        self.with(|queue, cx| queue.on_device_done(cx, transfer.tag, result));
    }

    /// Work number `index` is performed and comes back.
    pub fn work_ends(&mut self, index: usize) {
        let work = self.work.remove(index);
        assert_eq!(Queue::number_of(&work), 2);
        let result = work.perform(&mut self.ram, &mut self.arena);
        self.with(|queue, cx| queue.on_work_done(cx, &work, result));
    }

    /// Until nothing is under way.
    pub fn run(&mut self) {
        while !self.work.is_empty() || !self.device.is_empty() {
            if self.work.is_empty() { self.device_ends(0) } else { self.work_ends(0) }
        }
        assert_eq!((self.queue.in_flight(), self.queue.held()), (0, 0));
    }

    pub fn poke(&mut self, at: u64, data: &[u8]) {
        self.ram.write(Gpa(at), data).unwrap();
    }

    /// The guest's view of what is on the disk.
    pub fn guest_view(&self, lba: u64, sectors: u64) -> Vec<u8> {
        (lba..lba + sectors).flat_map(|lba| self.guest_sector(lba)).collect()
    }

    fn guest_sector(&self, lba: u64) -> [u8; SECTOR] {
        let sectors = |lba: u64, n: u64| self.platter[lba as usize * SECTOR..][..n as usize * SECTOR].to_vec();
        if LARGE.contains(&lba) {
            let (unit, within) = ((lba - LARGE.start) / 8, (lba - LARGE.start) % 8);
            let mut bytes = sectors(LARGE.start + SHIFT + unit * 8, 8);
            LargeTransform(LARGE_TRANSFORM).decrypt(unit, &mut bytes);
            return bytes[within as usize * SECTOR..][..SECTOR].try_into().unwrap();
        }
        let mut bytes = sectors(lba, 1);
        if SMALL.contains(&lba) {
            SMALL_TRANSFORM.decrypt(lba - SMALL.start, &mut bytes);
        }
        bytes.try_into().unwrap()
    }
}

fn bytes_of(platter: &mut [u8], lba: u64, sectors: u64) -> &mut [u8] {
    &mut platter[lba as usize * SECTOR..][..sectors as usize * SECTOR]
}

/// Sectors that tell their number and their writer.
pub fn payload(seed: u8, lba: u64, sectors: u64) -> Vec<u8> {
    (lba..lba + sectors).flat_map(|lba| [(lba as u8) ^ seed | 1; SECTOR]).collect()
}
