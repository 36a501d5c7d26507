//! The VMM's part of the contract, for one NVMe controller.

use super::device::SimNvme;
use super::messages::{self, Messages};
use crate::{Bus, DmaFault, SimArena, SimMemory};
use mediator::disk::{DiskController, DiskError, DiskInfo, OwnError, OwnRequest, RangeMap};
use mediator::pci::{AttachError, Bdf, Driver, Function, Place, Region};
use mediator::{
    Access, BusAddr, ConfigAccess, Ctx, Device, DmaArena, DmaBuffer, Gpa, GuestMemory, HookConflict, Hooks, Instant,
    NotRam, Op, OutOfArena, RegionId, Verdict, Violation, Width, Work,
};
use std::cell::RefCell;
use std::sync::Arc;

/// Where the controller's registers lie when the guest starts.
pub const BAR: u64 = 0xfebf_0000;
/// Where the function lies.
pub const FUNCTION: Function = Function {
    bdf: Bdf { bus: 0, device: 4, function: 0 },
    vendor: 0x1b36,
    device: 0x0010,
    class: 1,
    subclass: 8,
    prog_if: 2,
};

/// A moment without the lock.
const MOMENT_NS: u64 = 1_000_000;
/// The VMM refuses an access that is asked again for longer than this.
const AGAIN_NS: u64 = 1_000_000_000;

/// Where the table of MSI-X lies when the guest starts.
pub const TABLE: u64 = BAR + messages::TABLE as u64;

/// Configuration space: command, BAR0 and BAR1, and with [`Messages`] MSI-X; the rest is not used.
#[derive(Default)]
pub struct Config {
    pub command: u32,
    pub bars: [u32; 2],
    /// Registers that are not decoded read 0, as in QEMU, and not all ones.
    pub zeros_of_nobody: bool,
}

impl Config {
    fn dword(&self, messages: &Messages, offset: u16) -> u32 {
        match offset & !3 {
            0x00 => 0x0010_1b36,
            0x04 => self.command | 1 << 20,
            0x08 => 0x0108_0202,
            0x10 => self.bars[0] & 0xffff_c000 | 4,
            0x14 => self.bars[1],
            0x34 => messages::CAPABILITY.into(),
            dword @ 0x40..=0x48 => messages.capability(dword),
            _ => 0,
        }
    }

    fn read(&self, messages: &Messages, offset: u16, width: Width) -> u32 {
        let value = u64::from(self.dword(messages, offset)) >> (8 * (offset & 3));
        (value & width.ones()) as u32
    }

    fn write(&mut self, messages: &mut Messages, offset: u16, width: Width, value: u32) {
        let shift = 8 * (offset & 3);
        let mask = (width.ones() << shift) as u32;
        let new = self.dword(messages, offset) & !mask | value << shift & mask;
        match offset & !3 {
            0x04 => self.command = new & 0x7,
            0x10 => self.bars[0] = new,
            0x14 => self.bars[1] = new,
            messages::CAPABILITY => messages.control = (new >> 16) as u16,
            _ => {}
        }
    }
}

/// The regions that the mediator has, by number.
#[derive(Default)]
struct Hook {
    /// At home.
    regions: Vec<Region>,
    /// Where the guest finds them.
    window: Option<Gpa>,
}

impl Hooks for Hook {
    fn move_region(&mut self, _: RegionId, _: Option<Place>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }

    fn move_window(&mut self, _: usize, place: Option<Gpa>) -> Result<(), HookConflict> {
        self.window = place;
        Ok(())
    }
}

/// That of the table of MSI-X.
const TABLE_REGION: RegionId = RegionId(1);

struct Wires<'a, 'd> {
    nvme: &'a RefCell<&'d mut SimNvme>,
    config: &'a mut Config,
}

impl Device for Wires<'_, '_> {
    fn read(&mut self, region: RegionId, offset: u32, width: Width) -> u64 {
        if self.config.command & 2 == 0 {
            return if self.config.zeros_of_nobody { 0 } else { width.ones() };
        }
        assert_eq!(width, Width::Dword, "every controller takes dwords, not {width:?}");
        let mut nvme = self.nvme.borrow_mut();
        nvme.get_ready();
        if region == TABLE_REGION { nvme.messages.read(offset).into() } else { nvme.read(offset).into() }
    }

    fn write(&mut self, region: RegionId, offset: u32, width: Width, value: u64) {
        assert_eq!((region, width), (RegionId(0), Width::Dword), "every controller takes dwords");
        if self.config.command & 2 != 0 {
            self.nvme.borrow_mut().write(offset, value as u32);
        }
    }

    fn read_string(&mut self, _: RegionId, _: u32, _: Width, _: &mut [u8]) {
        panic!("string access to memory");
    }

    fn write_string(&mut self, _: RegionId, _: u32, _: Width, _: &[u8]) {
        panic!("string access to memory");
    }

    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.config.read(&self.nvme.borrow().messages, offset, width)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        self.config.write(&mut self.nvme.borrow_mut().messages, offset, width, value);
    }
}

/// Guest memory, which the device reaches too.
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

/// The arena; while a mediator polls, the device makes a step whenever it is looked at.
struct SharedArena<'a, 'd> {
    arena: &'a mut SimArena,
    ram: &'a RefCell<&'d mut SimMemory>,
    nvme: &'a RefCell<&'d mut SimNvme>,
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
            self.nvme.borrow_mut().tick(&mut bus);
        }
        self.arena.bytes(at, len_bytes)
    }
}

/// A machine with one NVMe controller, and a mediator before it once one is attached.
pub struct NvmeMachine {
    pub nvme: SimNvme,
    pub config: Config,
    pub ram: SimMemory,
    pub arena: SimArena,
    /// What the mediator refused, in order.
    pub violations: Vec<Violation>,
    /// What the controller did and must not do.
    pub faults: Vec<DmaFault>,
    pub now: Instant,
    /// What other CPUs do while work is performed without the lock. Forgotten when it was called.
    pub meanwhile: Option<fn(&mut NvmeMachine)>,
    /// The device stands still while a mediator asks to be asked again.
    pub frozen: bool,
    /// Register accesses of the guest that may still follow; after the last one the power is gone.
    pub budget: Option<u32>,
    interrupts_pass: bool,
    controller: Option<Box<dyn DiskController>>,
    hook: Hook,
}

impl NvmeMachine {
    pub fn new(nvme: SimNvme) -> Self {
        Self {
            nvme,
            config: Config { command: 6, bars: [BAR as u32, 0], zeros_of_nobody: false },
            ram: SimMemory::default(),
            arena: SimArena::default(),
            violations: Vec::new(),
            faults: Vec::new(),
            now: Instant(0),
            meanwhile: None,
            frozen: false,
            budget: None,
            interrupts_pass: false,
            controller: None,
            hook: Hook::default(),
        }
    }

    /// Lets a driver take the controller over, as the VMM does before it starts the guest.
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
        let attached = attached?;
        self.hook = Hook { regions: attached.regions, window: Some(Gpa(BAR)) };
        self.controller = Some(attached.controller);
        Ok(())
    }

    /// One call with everything that a mediator can reach.
    fn with_machine<R>(
        &mut self,
        polled: bool,
        call: impl FnOnce(Option<&mut dyn DiskController>, &mut Ctx<'_>) -> R,
    ) -> (R, Vec<Work>) {
        let Self { nvme, config, ram, arena, faults, now, controller, hook, .. } = self;
        let (nvme, ram) = (RefCell::new(nvme), RefCell::new(ram));
        let mut work = Vec::new();
        let mut wires = Wires { nvme: &nvme, config };
        let mut arena = SharedArena { arena, ram: &ram, nvme: &nvme, faults, polled };
        let mut guest = SharedRam(&ram);
        let mut cx =
            Ctx { device: &mut wires, guest: &mut guest, arena: &mut arena, hooks: hook, work: &mut work, now: *now };
        let controller = controller.as_deref_mut().map(|it| it as &mut dyn DiskController);
        let result = call(controller, &mut cx);
        self.audit();
        (result, work)
    }

    /// Calls the mediator, then performs the work that it pushed, without the lock.
    fn call<R>(&mut self, call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R) -> R {
        let (result, work) =
            self.with_machine(false, |controller, cx| call(controller.expect("a mediator is attached"), cx));
        self.perform(work);
        result
    }

    fn perform(&mut self, work: Vec<Work>) {
        for item in work {
            let outcome = item.perform(&mut self.ram, &mut self.arena);
            // Once: what the other CPUs do may be work itself.
            if let Some(meanwhile) = self.meanwhile.take() {
                meanwhile(self);
            }
            self.call(|controller, cx| controller.on_work_done(cx, item, outcome));
        }
    }

    fn wants_interrupts(&self) -> bool {
        self.controller.as_ref().is_some_and(|controller| controller.wants_interrupts())
    }

    /// Interrupts go to the guest first, as where a CPU cannot leave it for them; the mediator is told of them later.
    pub fn let_interrupts_pass(&mut self) {
        self.interrupts_pass = true;
        self.call(|controller, _| controller.on_interrupts_pass(true));
    }

    /// The oldest interrupt that no CPU has taken, after the mediator if it wants that.
    pub fn take_interrupt(&mut self) -> Option<u16> {
        let vector = (!self.nvme.interrupts.is_empty()).then(|| self.nvme.interrupts.remove(0))?;
        if !self.interrupts_pass {
            self.other_interrupt();
        }
        Some(vector)
    }

    /// An interrupt of something else comes.
    pub fn other_interrupt(&mut self) {
        if self.wants_interrupts() {
            self.call(|controller, cx| controller.on_interrupt(cx));
        }
    }

    fn access(&mut self, region: RegionId, offset: u32, width: Width, op: Op) -> u64 {
        if let Some(left) = &mut self.budget {
            if *left == 0 {
                return width.ones();
            }
            *left -= 1;
        }
        if self.controller.is_none() {
            return self.pass(region, offset, width, op);
        }
        let access = Access { region, offset, width, op };
        let start = self.now;
        loop {
            let verdict = self.call(|controller, cx| controller.on_access(cx, access));
            match verdict {
                Ok(Verdict::Again) => {
                    assert!(self.now.0 - start.0 < AGAIN_NS, "asked again for ever: {access:?}");
                    self.moment();
                }
                Ok(Verdict::Passthrough) => return self.pass(region, offset, width, op),
                Ok(Verdict::Value(value)) => {
                    assert_eq!(op, Op::Read, "a value was given for the write {access:?}");
                    assert_eq!(value & !width.ones(), 0, "{value:#x} does not fit {access:?}");
                    return value;
                }
                Ok(Verdict::Done) => {
                    assert_ne!(op, Op::Read, "no value was given for the read {access:?}");
                    return 0;
                }
                Err(violation) => {
                    self.violations.push(violation);
                    return width.ones();
                }
            }
        }
    }

    fn moment(&mut self) {
        if self.frozen {
            self.now.0 += MOMENT_NS;
        } else {
            self.tick();
        }
    }

    fn pass(&mut self, region: RegionId, offset: u32, width: Width, op: Op) -> u64 {
        let table = region == TABLE_REGION;
        match op {
            Op::Read if table => self.nvme.messages.read(offset).into(),
            Op::Read => {
                self.nvme.get_ready();
                self.nvme.read(offset).into()
            }
            Op::Write(value) if table => {
                self.nvme.messages.write(offset, value as u32);
                if width == Width::Qword {
                    self.nvme.messages.write(offset + 4, (value >> 32) as u32);
                }
                0
            }
            Op::Write(value) => {
                self.nvme.write(offset, value as u32);
                0
            }
        }
    }

    /// The guest writes to the table of MSI-X, which leads to the mediator where that has it hooked.
    pub fn write_table(&mut self, offset: u32, width: Width, value: u64) {
        let at = Place::Memory(Gpa(TABLE + u64::from(offset)));
        let op = Op::Write(value & width.ones());
        let hooked = |region: &&Region| {
            let first = region.place.and_then(Place::memory).map_or(u64::MAX, |at| at.0);
            at.memory().is_some_and(|at| (first..first + u64::from(region.len)).contains(&at.0))
        };
        match self.hook.regions.iter().find(hooked).map(|region| (region.region, region.place)) {
            Some((region, place)) => {
                let first = place.and_then(Place::memory).map_or(0, |at| at.0);
                self.access(region, (TABLE - first) as u32 + offset, width, op);
            }
            None => drop(self.pass(TABLE_REGION, offset, width, op)),
        }
    }

    /// The guest reads a register.
    pub fn read(&mut self, offset: u32) -> u32 {
        self.access(RegionId(0), offset, Width::Dword, Op::Read) as u32
    }

    /// The guest writes a register.
    pub fn write(&mut self, offset: u32, value: u32) {
        self.access(RegionId(0), offset, Width::Dword, Op::Write(value.into()));
    }

    /// The guest reads in any width.
    pub fn read_wide(&mut self, offset: u32, width: Width) -> u64 {
        self.access(RegionId(0), offset, width, Op::Read)
    }

    /// The guest writes in any width.
    pub fn write_wide(&mut self, offset: u32, width: Width, value: u64) {
        self.access(RegionId(0), offset, width, Op::Write(value & width.ones()));
    }

    /// The guest reads configuration space.
    pub fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        let access = ConfigAccess { offset, width, op: Op::Read };
        match self.call(|controller, cx| controller.on_config(cx, access)) {
            Ok(Verdict::Value(value)) => value as u32,
            Ok(_) => self.config.read(&self.nvme.messages, offset, width),
            Err(violation) => {
                self.violations.push(violation);
                u32::MAX
            }
        }
    }

    /// The guest writes configuration space.
    pub fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        let access = ConfigAccess { offset, width, op: Op::Write(value.into()) };
        let verdict = self.call(|controller, cx| controller.on_config(cx, access));
        match verdict {
            Ok(Verdict::Passthrough) => self.config.write(&mut self.nvme.messages, offset, width, value),
            Ok(_) => {}
            Err(violation) => self.violations.push(violation),
        }
    }

    /// Where the mediator has the registers hooked for the guest.
    pub fn hooked_at(&self) -> Option<u64> {
        self.hook.window.map(|at| at.0)
    }

    /// The device makes one step.
    pub fn tick(&mut self) {
        self.now.0 += MOMENT_NS;
        let mediated = self.controller.is_some();
        let mut bus = Bus { ram: &mut self.ram, arena: &mut self.arena, faults: &mut self.faults, mediated };
        self.nvme.get_ready();
        self.nvme.tick(&mut bus);
    }

    /// Something happens on the device that an event tells.
    pub fn raise_event(&mut self, what: u32) -> bool {
        let mut bus = Bus { ram: &mut self.ram, arena: &mut self.arena, faults: &mut self.faults, mediated: true };
        self.nvme.raise_event(&mut bus, what)
    }

    /// Looks at the addresses that the controller holds; what is wrong lands in [`NvmeMachine::faults`].
    fn audit(&mut self) {
        if self.controller.is_some() {
            let Self { nvme, ram, arena, faults, .. } = self;
            nvme.audit(&mut Bus { ram, arena, faults, mediated: true });
        }
    }

    /// The disks as the mediator found them.
    pub fn disks(&self) -> Vec<DiskInfo> {
        self.controller.as_ref().map_or_else(Vec::new, |controller| controller.disks())
    }

    /// The machine sleeps (S3) and wakes up.
    pub fn sleep(&mut self) {
        self.nvme.lose_power();
        self.config = Config::default();
        self.call(|controller, cx| controller.on_resume(cx));
    }

    /// The controller is taken out, and one is put in its place. The guest finds out by itself.
    pub fn exchange(&mut self, new: SimNvme) {
        self.nvme = new;
        self.config = Config::default();
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
