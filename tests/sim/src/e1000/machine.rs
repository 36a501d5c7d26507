//! The VMM's part of the contract, for one card.

use super::config::Config;
use super::device::SimE1000;
use super::regs::I82574L;
use crate::{Bus, DmaFault, SimArena, SimMemory};
use mediator::net::{CardCounters, CardInfo, NetController, NetPolicy, PolicyError};
use mediator::pci::{AttachError, Bdf, Driver, Function, Place, Region};
use mediator::{
    Access, ConfigAccess, Ctx, Device, Gpa, HookConflict, Hooks, Instant, Op, RegionId, Verdict, Violation, Width,
};

/// Where the registers lie.
pub const BAR: u64 = 0xfeb8_0000;
/// One step of the device.
const MOMENT_NS: u64 = 10_000;

/// The card with this ID.
pub fn function(id: u16) -> Function {
    let bdf = Bdf { bus: 0, device: 3, function: 0 };
    Function { bdf, vendor: 0x8086, device: id, class: 2, subclass: 0, prog_if: 0 }
}

struct Hook(Vec<Region>);

impl Hooks for Hook {
    fn move_region(&mut self, region: RegionId, place: Option<Place>) -> Result<(), HookConflict> {
        let found = self.0.iter_mut().find(|it| it.region == region).ok_or(HookConflict)?;
        found.place = place;
        Ok(())
    }

    fn move_window(&mut self, _: usize, _: Option<Gpa>) -> Result<(), HookConflict> {
        Ok(())
    }
}

struct Wires<'a> {
    card: &'a mut SimE1000,
    config: &'a mut Config,
}

impl Device for Wires<'_> {
    fn read(&mut self, region: RegionId, offset: u32, width: Width) -> u64 {
        if self.config.command & 2 == 0 || region != RegionId(0) {
            return width.ones();
        }
        assert_eq!(width, Width::Dword, "the card takes dwords");
        self.card.read(offset).into()
    }

    fn write(&mut self, region: RegionId, offset: u32, width: Width, value: u64) {
        assert_eq!((region, width), (RegionId(0), Width::Dword), "the card takes dwords");
        if self.config.command & 2 != 0 {
            self.card.write(offset, value as u32);
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

/// A machine with one card, and a mediator before it.
pub struct E1000Machine {
    pub card: SimE1000,
    pub config: Config,
    pub ram: SimMemory,
    pub arena: SimArena,
    /// What the mediator refused, in order.
    pub violations: Vec<Violation>,
    /// What the card did and must not do.
    pub faults: Vec<DmaFault>,
    pub now: Instant,
    controller: Option<Box<dyn NetController>>,
    hook: Hook,
}

impl E1000Machine {
    pub fn new(id: u16) -> Self {
        Self {
            card: SimE1000::new(id),
            config: Config::new(id, BAR),
            ram: SimMemory::default(),
            arena: SimArena::default(),
            violations: Vec::new(),
            faults: Vec::new(),
            now: Instant(0),
            controller: None,
            hook: Hook(Vec::new()),
        }
    }

    /// Lets a driver take the card over, as the VMM does before it starts the guest.
    ///
    /// # Errors
    /// Those of the driver.
    ///
    /// # Panics
    /// When the driver does not claim the card.
    pub fn attach(&mut self, driver: &Driver<dyn NetController>) -> Result<(), AttachError> {
        let function = function(self.card.id);
        assert!((driver.matches)(&function), "{} does not claim the card", driver.name);
        let attached = self.with_machine(|_, cx| {
            let regions = (driver.regions)(&function, cx.device);
            assert_eq!(regions.len(), 1);
            (driver.attach)(&function, cx)
        })?;
        // The VMM takes no others.
        let numbers: Vec<u8> = attached.regions.iter().map(|it| it.region.0).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u8), "{numbers:?}");
        self.hook = Hook(attached.regions);
        self.controller = Some(attached.controller);
        self.audit();
        Ok(())
    }

    fn with_machine<R>(&mut self, call: impl FnOnce(Option<&mut dyn NetController>, &mut Ctx<'_>) -> R) -> R {
        let Self { card, config, ram, arena, now, controller, hook, .. } = self;
        let mut work = Vec::new();
        let mut wires = Wires { card, config };
        let mut cx = Ctx { device: &mut wires, guest: ram, arena, hooks: hook, work: &mut work, now: *now };
        let result = call(controller.as_deref_mut().map(|it| it as &mut dyn NetController), &mut cx);
        assert!(work.is_empty(), "a card pushes no work");
        result
    }

    /// Calls the mediator.
    fn call<R>(&mut self, call: impl FnOnce(&mut dyn NetController, &mut Ctx<'_>) -> R) -> R {
        let result = self.with_machine(|controller, cx| call(controller.expect("a mediator is attached"), cx));
        self.audit();
        result
    }

    fn audit(&mut self) {
        let Self { card, ram, arena, faults, .. } = self;
        card.audit(&mut Bus { ram, arena, faults, mediated: true });
    }

    fn access(&mut self, offset: u32, width: Width, op: Op) -> u64 {
        let access = Access { region: RegionId(0), offset, width, op };
        match self.call(|controller, cx| controller.on_access(cx, access)) {
            Ok(Verdict::Passthrough) => match op {
                Op::Read => self.card.read(offset).into(),
                Op::Write(value) => {
                    self.card.write(offset, value as u32);
                    self.audit();
                    0
                }
            },
            Ok(Verdict::Value(value)) => {
                assert_eq!(op, Op::Read, "a value was given for the write {access:?}");
                assert_eq!(value & !width.ones(), 0, "{value:#x} does not fit {access:?}");
                value
            }
            Ok(Verdict::Done) => {
                assert_ne!(op, Op::Read, "no value was given for the read {access:?}");
                0
            }
            Ok(Verdict::Again) => panic!("a card is never asked again: {access:?}"),
            Err(violation) => {
                self.violations.push(violation);
                width.ones()
            }
        }
    }

    /// The guest reads a register.
    pub fn read(&mut self, offset: u32) -> u32 {
        self.access(offset, Width::Dword, Op::Read) as u32
    }

    /// The guest writes a register.
    pub fn write(&mut self, offset: u32, value: u32) {
        self.access(offset, Width::Dword, Op::Write(value.into()));
    }

    /// The guest reads in any width.
    pub fn read_wide(&mut self, offset: u32, width: Width) -> u64 {
        self.access(offset, width, Op::Read)
    }

    /// The guest writes in any width.
    pub fn write_wide(&mut self, offset: u32, width: Width, value: u64) {
        self.access(offset, width, Op::Write(value & width.ones()));
    }

    /// The guest accesses another region of the mediator's.
    pub fn other_region(&mut self, region: u8, offset: u32, op: Op) -> Option<u64> {
        let access = Access { region: RegionId(region), offset, width: Width::Dword, op };
        match self.call(|controller, cx| controller.on_access(cx, access)) {
            Ok(Verdict::Value(value)) => Some(value),
            Ok(_) => None,
            Err(violation) => {
                self.violations.push(violation);
                None
            }
        }
    }

    /// The guest reads configuration space.
    pub fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        let access = ConfigAccess { offset, width, op: Op::Read };
        match self.call(|controller, cx| controller.on_config(cx, access)) {
            Ok(Verdict::Value(value)) => value as u32,
            Ok(_) => self.config.read(offset, width),
            Err(violation) => {
                self.violations.push(violation);
                u32::MAX
            }
        }
    }

    /// The guest writes configuration space.
    pub fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        let access = ConfigAccess { offset, width, op: Op::Write(value.into()) };
        match self.call(|controller, cx| controller.on_config(cx, access)) {
            Ok(Verdict::Passthrough) => self.config.write(offset, width, value),
            Ok(_) => {}
            Err(violation) => self.violations.push(violation),
        }
    }

    /// Where the mediator has its regions.
    pub fn regions(&self) -> &[Region] {
        &self.hook.0
    }

    /// The card makes one step.
    pub fn tick(&mut self) {
        self.now.0 += MOMENT_NS;
        let Self { card, config, ram, arena, faults, .. } = self;
        let mut bus = Bus { ram, arena, faults, mediated: true };
        // Master enable.
        if config.command & 4 != 0 {
            card.tick(&mut bus);
        }
        self.audit();
    }

    /// The VMM serves the mediator's deadline, if it is due.
    pub fn poll_if_due(&mut self) {
        let due = self.controller.as_ref().and_then(|it| it.poll_timeout()).is_some_and(|at| at <= self.now);
        if due {
            self.poll();
        }
    }

    /// The VMM serves the mediator.
    pub fn poll(&mut self) {
        self.call(|controller, cx| controller.poll(cx));
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.controller.as_ref().and_then(|it| it.poll_timeout())
    }

    /// Sets the policy.
    ///
    /// # Errors
    /// The mediator's.
    pub fn set_policy(&mut self, policy: NetPolicy) -> Result<(), PolicyError> {
        self.call(|controller, cx| controller.set_policy(cx, policy))
    }

    pub fn counters(&self) -> CardCounters {
        self.controller.as_ref().map(|it| it.counters()).unwrap_or_default()
    }

    /// # Panics
    /// Before a mediator is attached.
    pub fn info(&self) -> CardInfo {
        self.controller.as_ref().expect("a mediator is attached").card()
    }

    /// The machine sleeps (S3) and wakes up.
    pub fn sleep(&mut self) {
        self.card.reset();
        self.config = Config::new(self.card.id, 0);
        self.config.command = 0;
        self.call(|controller, cx| controller.on_resume(cx));
    }

    /// Has it a second queue and PCI Express?
    pub fn is_82574(&self) -> bool {
        self.card.id == I82574L
    }

    /// Where a region lies now.
    pub fn place(&self, region: u8) -> Option<Gpa> {
        self.hook.0.iter().find(|it| it.region == RegionId(region))?.place?.memory()
    }
}
