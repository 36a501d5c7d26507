//! The VMM's part of the contract, for one AHCI controller.

use super::SimAhci;
use crate::{Bus, DmaFault, SimArena, SimMemory};
use mediator::disk::{DiskController, DiskError, OwnError, OwnRequest, RangeMap};
use mediator::pci::{AttachError, Bdf, Driver, Function, Place};
use mediator::{
    Access, BusAddr, ConfigAccess, Ctx, Device, DmaArena, DmaBuffer, Gpa, GuestMemory, HookConflict, Hooks, Instant,
    NotRam, Op, OutOfArena, RegionId, Verdict, Violation, Width, Work,
};
use std::cell::RefCell;
use std::sync::Arc;

/// Where the registers lie.
pub const BAR: u64 = 0xfebd_5000;
/// Where the function lies.
pub const FUNCTION: Function = Function {
    bdf: Bdf { bus: 0, device: 31, function: 2 },
    vendor: 0x8086,
    device: 0x2922,
    class: 1,
    subclass: 6,
    prog_if: 1,
};

const MOMENT_NS: u64 = 1_000_000;
const AGAIN_NS: u64 = 1_000_000_000;

/// Configuration space: command, an index and data pair at BAR4, the registers at BAR5.
#[derive(Clone, Copy)]
struct Config {
    command: u32,
    bars: [u32; 6],
    /// What is read from registers that are not decoded.
    nobody: u32,
}

impl Config {
    fn dword(&self, offset: u16) -> u32 {
        match offset & !3 {
            0x00 => 0x2922_8086,
            0x04 => self.command,
            0x08 => 0x0106_0102,
            0x20 => self.bars[4] & 0xffe0 | 1,
            0x24 => self.bars[5] & 0xffff_f000,
            _ => 0,
        }
    }

    fn read(&self, offset: u16, width: Width) -> u32 {
        let value = u64::from(self.dword(offset)) >> (8 * (offset & 3));
        (value & width.ones()) as u32
    }

    fn write(&mut self, offset: u16, width: Width, value: u32) {
        let shift = 8 * (offset & 3);
        let mask = (width.ones() << shift) as u32;
        let new = self.dword(offset) & !mask | value << shift & mask;
        match offset & !3 {
            0x04 => self.command = new & 0x407,
            at @ 0x10..=0x24 => self.bars[usize::from(at - 0x10) / 4] = new,
            _ => {}
        }
    }
}

struct NoHooks;

impl Hooks for NoHooks {
    fn move_region(&mut self, _: RegionId, _: Option<Place>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }

    fn move_window(&mut self, _: usize, _: Option<Gpa>) -> Result<(), HookConflict> {
        Ok(())
    }
}

struct Wires<'a, 'd> {
    ahci: &'a RefCell<&'d mut SimAhci>,
    config: &'a mut Config,
}

impl Device for Wires<'_, '_> {
    fn read(&mut self, _: RegionId, offset: u32, width: Width) -> u64 {
        assert_eq!(width, Width::Dword);
        if self.config.command & 2 == 0 {
            self.config.nobody.into()
        } else {
            self.ahci.borrow_mut().read(offset).into()
        }
    }

    fn write(&mut self, _: RegionId, offset: u32, width: Width, value: u64) {
        assert_eq!(width, Width::Dword);
        if self.config.command & 2 != 0 {
            self.ahci.borrow_mut().write(offset, value as u32);
        }
    }

    fn read_string(&mut self, _: RegionId, _: u32, _: Width, _: &mut [u8]) {
        panic!("string access to memory");
    }

    fn write_string(&mut self, _: RegionId, _: u32, _: Width, _: &[u8]) {
        panic!("string access to memory");
    }

    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.config.read(offset, width)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        self.config.write(offset, width, value);
    }
}

struct SharedRam<'a, 'd>(&'a RefCell<&'d mut SimMemory>);

impl GuestMemory for SharedRam<'_, '_> {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        self.0.borrow_mut().read(from, data)
    }

    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
        GuestMemory::write(&mut **self.0.borrow_mut(), to, data)
    }

    fn compare_exchange(&mut self, at: Gpa, width: Width, old: u64, new: u64) -> Result<bool, NotRam> {
        self.0.borrow_mut().compare_exchange(at, width, old, new)
    }

    fn bus_addr(&self, of: Gpa, len_bytes: u64) -> Result<BusAddr, NotRam> {
        self.0.borrow().bus_addr(of, len_bytes)
    }
}

/// The arena. While a mediator polls, nobody else moves the device: it makes a step whenever memory is looked at.
struct SharedArena<'a, 'd> {
    arena: &'a mut SimArena,
    ram: &'a RefCell<&'d mut SimMemory>,
    ahci: &'a RefCell<&'d mut SimAhci>,
    faults: &'a mut Vec<DmaFault>,
    polled: bool,
}

impl DmaArena for SharedArena<'_, '_> {
    fn alloc(&mut self, len_bytes: usize, align: usize) -> Option<DmaBuffer> {
        self.arena.alloc(len_bytes, align)
    }

    fn free(&mut self, buffer: DmaBuffer) {
        self.arena.free(buffer);
    }

    fn bytes(&mut self, at: BusAddr, len_bytes: usize) -> Result<&mut [u8], OutOfArena> {
        if self.polled {
            let mut ram = self.ram.borrow_mut();
            let mut bus = Bus { ram: &mut ram, arena: self.arena, faults: self.faults, mediated: true };
            self.ahci.borrow_mut().tick(&mut bus);
        }
        self.arena.bytes(at, len_bytes)
    }
}

/// A machine with one AHCI controller, and a mediator before it.
pub struct AhciMachine {
    pub ahci: SimAhci,
    config: Config,
    pub ram: SimMemory,
    pub arena: SimArena,
    /// What the mediator refused, in order.
    pub violations: Vec<Violation>,
    /// What the controller did and must not do.
    pub faults: Vec<DmaFault>,
    pub now: Instant,
    /// What other CPUs do while work is performed without the lock. Forgotten when it was called.
    pub meanwhile: Option<fn(&mut AhciMachine)>,
    /// Register accesses of the guest that may still follow.
    pub budget: Option<u32>,
    /// Register accesses of the guest so far.
    pub accesses: u64,
    controller: Option<Box<dyn DiskController>>,
}

impl AhciMachine {
    pub fn new(ahci: SimAhci) -> Self {
        Self {
            ahci,
            config: Config { command: 7, bars: [0, 0, 0, 0, 0xc041, BAR as u32], nobody: u32::MAX },
            ram: SimMemory::default(),
            arena: SimArena::default(),
            violations: Vec::new(),
            faults: Vec::new(),
            now: Instant(0),
            meanwhile: None,
            budget: None,
            accesses: 0,
            controller: None,
        }
    }

    /// Registers that are not decoded read 0, as in QEMU, and not all ones.
    pub fn read_zeros_of_nobody(&mut self) {
        self.config.nobody = 0;
    }

    /// Lets a driver take the controller over.
    ///
    /// # Errors
    /// Those of the driver.
    ///
    /// # Panics
    /// When the driver does not claim the function, or wants work from nobody.
    pub fn attach(&mut self, driver: &Driver) -> Result<(), AttachError> {
        assert!((driver.matches)(&FUNCTION), "{} does not claim the controller", driver.name);
        let (attached, work) = self.with_machine(true, |_, cx| {
            let regions = (driver.regions)(&FUNCTION, cx.device);
            assert!(regions.iter().all(|region| region.place == Some(Place::Memory(Gpa(BAR)))), "{regions:?}");
            (driver.attach)(&FUNCTION, cx)
        });
        assert!(work.is_empty(), "work was pushed before the guest runs");
        self.controller = Some(attached?.controller);
        Ok(())
    }

    fn with_machine<R>(
        &mut self,
        polled: bool,
        call: impl FnOnce(Option<&mut dyn DiskController>, &mut Ctx<'_>) -> R,
    ) -> (R, Vec<Work>) {
        let Self { ahci, config, ram, arena, faults, now, controller, .. } = self;
        let (ahci, ram) = (RefCell::new(ahci), RefCell::new(ram));
        let mut work = Vec::new();
        let mut wires = Wires { ahci: &ahci, config };
        let mut arena = SharedArena { arena, ram: &ram, ahci: &ahci, faults, polled };
        let (mut guest, mut hooks) = (SharedRam(&ram), NoHooks);
        let mut cx = Ctx {
            device: &mut wires,
            guest: &mut guest,
            arena: &mut arena,
            hooks: &mut hooks,
            work: &mut work,
            now: *now,
        };
        let controller = controller.as_deref_mut().map(|it| it as &mut dyn DiskController);
        let result = call(controller, &mut cx);
        self.audit();
        (result, work)
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R) -> R {
        let (result, work) =
            self.with_machine(false, |controller, cx| call(controller.expect("a mediator is attached"), cx));
        self.perform(work);
        result
    }

    /// Without the lock.
    fn perform(&mut self, work: Vec<Work>) {
        for item in work {
            let outcome = item.perform(&mut self.ram, &mut self.arena);
            if let Some(meanwhile) = self.meanwhile.take() {
                meanwhile(self);
            }
            self.call(|controller, cx| controller.on_work_done(cx, item, outcome));
        }
    }

    fn access(&mut self, offset: u32, width: Width, op: Op) -> u64 {
        self.accesses += 1;
        let access = Access { region: RegionId(0), offset, width, op };
        let start = self.now;
        loop {
            let verdict = self.call(|controller, cx| controller.on_access(cx, access));
            match verdict {
                Ok(Verdict::Again) => {
                    assert!(self.now.0 - start.0 < AGAIN_NS, "asked again for ever: {access:?}");
                    self.now.0 += MOMENT_NS;
                }
                Ok(Verdict::Value(value)) => {
                    assert_eq!(op, Op::Read, "a value was given for the write {access:?}");
                    assert_eq!(value & !width.ones(), 0, "{value:#x} does not fit {access:?}");
                    return value;
                }
                Ok(Verdict::Done) => {
                    assert_ne!(op, Op::Read, "no value was given for the read {access:?}");
                    return 0;
                }
                Ok(Verdict::Passthrough) => panic!("nothing of this controller passes: {access:?}"),
                Err(violation) => {
                    self.violations.push(violation);
                    return width.ones();
                }
            }
        }
    }

    /// The guest reads a register.
    pub fn read(&mut self, offset: u32) -> u32 {
        self.read_wide(offset, Width::Dword) as u32
    }

    /// What a CPU sees that does not wait; `None`: it is to ask again.
    pub fn read_once(&mut self, offset: u32) -> Option<u32> {
        let access = Access { region: RegionId(0), offset, width: Width::Dword, op: Op::Read };
        match self.call(|controller, cx| controller.on_access(cx, access)) {
            Ok(Verdict::Value(value)) => Some(value as u32),
            _ => None,
        }
    }

    /// The guest writes a register.
    pub fn write(&mut self, offset: u32, value: u32) {
        self.write_wide(offset, Width::Dword, value.into());
    }

    /// The guest reads in any width.
    pub fn read_wide(&mut self, offset: u32, width: Width) -> u64 {
        self.access(offset, width, Op::Read)
    }

    /// The guest writes in any width.
    pub fn write_wide(&mut self, offset: u32, width: Width, value: u64) {
        self.access(offset, width, Op::Write(value & width.ones()));
    }

    /// The guest reads or writes configuration space.
    pub fn config(&mut self, offset: u16, width: Width, op: Op) -> u32 {
        let verdict = self.call(|controller, cx| controller.on_config(cx, ConfigAccess { offset, width, op }));
        match (verdict, op) {
            (Ok(Verdict::Value(value)), _) => value as u32,
            (Ok(Verdict::Passthrough), Op::Read) => self.config.read(offset, width),
            (Ok(Verdict::Passthrough), Op::Write(value)) => {
                self.config.write(offset, width, value as u32);
                0
            }
            (Ok(_), _) => 0,
            (Err(violation), _) => {
                self.violations.push(violation);
                u32::MAX
            }
        }
    }

    /// The device makes one step.
    pub fn tick(&mut self) {
        self.now.0 += MOMENT_NS;
        let mediated = self.controller.is_some();
        let mut bus = Bus { ram: &mut self.ram, arena: &mut self.arena, faults: &mut self.faults, mediated };
        self.ahci.tick(&mut bus);
    }

    fn audit(&mut self) {
        if self.controller.is_some() {
            let Self { ahci, ram, arena, faults, .. } = self;
            ahci.audit(&mut Bus { ram, arena, faults, mediated: true });
        }
    }

    /// The machine sleeps (S3) and wakes up.
    pub fn sleep(&mut self) {
        self.ahci.lose_power();
        self.config = Config { command: 0, bars: [0; 6], ..self.config };
        self.call(|controller, cx| controller.on_resume(cx));
    }

    /// The controller loses its power, or another one of its kind takes its place. The guest finds out by itself.
    pub fn exchange(&mut self) {
        self.ahci.lose_power();
        self.config = Config { command: 0, bars: [0; 6], ..self.config };
    }

    /// The disks as the mediator found them.
    pub fn disks(&self) -> Vec<mediator::disk::DiskInfo> {
        self.controller.as_ref().map_or_else(Vec::new, |controller| controller.disks())
    }

    /// Gives a disk its ranges.
    ///
    /// # Errors
    /// Those of the mediator.
    pub fn set_ranges(&mut self, disk: usize, ranges: Arc<dyn RangeMap>) -> Result<(), DiskError> {
        self.controller.as_mut().ok_or(DiskError::Request)?.set_ranges(disk, ranges)
    }

    /// A request of the VMM's own.
    ///
    /// # Errors
    /// Those of the mediator.
    pub fn submit_own(&mut self, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        self.call(|controller, cx| controller.submit_own(cx, disk, request))
    }

    /// What has become of it.
    pub fn poll_own(&mut self, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        self.call(|controller, cx| controller.poll_own(cx, disk))
    }

    /// Nobody asks for it any more.
    pub fn drop_own(&mut self, disk: usize) {
        self.call(|controller, _| controller.drop_own(disk));
    }

    /// Reads as the VMM does before the guest starts.
    ///
    /// # Errors
    /// Those of the mediator.
    ///
    /// # Panics
    /// When work is pushed.
    pub fn read_before_guest(&mut self, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let (outcome, work) = self.with_machine(true, |controller, cx| {
            controller.expect("a mediator is attached").read_before_guest(cx, disk, lba, data)
        });
        assert!(work.is_empty(), "work was pushed before the guest runs");
        outcome
    }
}
