//! The VMM's part of the contract.

use crate::ide::BUS_MASTER_BASE;
use crate::{Bus, DmaFault, SimArena, SimHooks, SimIde, SimMemory, Wires};
use mediator::disk::{DiskController, DiskError, OwnError, OwnRequest, RangeMap};
use mediator::pci::{AttachError, Bdf, Driver, Function};
use mediator::{Access, ConfigAccess, Ctx, Instant, Op, RegionId, StringIo, Verdict, Violation, Width, Work};
use std::sync::Arc;

/// More rounds than this for one access is a hang of the VMM.
const MAX_ROUNDS: usize = 4096;

/// The VMM refuses an access that it has asked about for so long.
const AGAIN_NS: u64 = 1_000_000_000;

/// Where the IDE function lies.
pub const FUNCTION: Function = Function {
    bdf: Bdf { bus: 0, device: 1, function: 1 },
    vendor: 0x8086,
    device: 0x7010,
    class: 1,
    subclass: 1,
    prog_if: 0x80,
};

/// The number that a few bytes make.
pub fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Something that is done again and again.
pub type Beside = Box<dyn FnMut(&mut Machine)>;

/// A machine with one IDE controller, and a mediator before it once one is attached.
pub struct Machine {
    pub ide: SimIde,
    pub ram: SimMemory,
    pub arena: SimArena,
    pub hooks: SimHooks,
    /// What the mediator refused, in order.
    pub violations: Vec<Violation>,
    /// What the controller did and must not do.
    pub faults: Vec<DmaFault>,
    /// Guest accesses that may still follow; see [`crate::guest::Stopped`].
    pub budget: Option<u32>,
    pub now: Instant,
    /// What other CPUs do while work is performed outside the mediator's lock: called after an item, before the
    /// mediator hears of it. Forgotten when it was called.
    pub meanwhile: Option<fn(&mut Machine)>,
    /// What other CPUs do before each step of the guest.
    pub beside: Option<Beside>,
    controller: Option<Box<dyn DiskController>>,
    /// Version of the arena and state of the bus masters that was last found to be in order, or noted.
    audited: Option<(u64, [(u32, bool); 2])>,
}

impl Machine {
    pub fn new(ide: SimIde) -> Self {
        Self {
            ide,
            ram: SimMemory::default(),
            arena: SimArena::default(),
            hooks: SimHooks::default(),
            violations: Vec::new(),
            faults: Vec::new(),
            budget: None,
            now: Instant(0),
            meanwhile: None,
            beside: None,
            controller: None,
            audited: None,
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
        let mut work = Vec::new();
        let Self { ide, ram, arena, hooks, now, .. } = self;
        let regions = (driver.regions)(&FUNCTION, &mut Wires { ide: &mut *ide, hooks: hooks.clone() });
        hooks.install(regions);
        let mut wires = Wires { ide, hooks: hooks.clone() };
        let mut cx = Ctx { device: &mut wires, guest: ram, arena, hooks, work: &mut work, now: *now };
        let attached = (driver.attach)(&FUNCTION, &mut cx)?;
        assert!(work.is_empty(), "work was pushed before the guest runs");
        self.hooks.install(attached.regions);
        self.controller = Some(attached.controller);
        Ok(())
    }

    /// Calls the mediator, then performs the work that it pushed. Tells whether there was any.
    fn call<R>(&mut self, call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R) -> (R, bool) {
        let mut work = Vec::new();
        let result = self.call_once(&mut work, call);
        let pushed = !work.is_empty();
        for _ in 0..MAX_ROUNDS {
            if work.is_empty() {
                return (result, pushed);
            }
            for item in core::mem::take(&mut work) {
                self.perform(item, &mut work);
            }
        }
        panic!("work without end");
    }

    fn perform(&mut self, item: Work, more: &mut Vec<Work>) {
        let outcome = item.perform(&mut self.ram, &mut self.arena);
        // Once: what the other CPUs do may be work itself.
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(self);
        }
        self.call_once(more, |controller, cx| controller.on_work_done(cx, item, outcome));
    }

    fn call_once<R>(
        &mut self,
        work: &mut Vec<Work>,
        call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R,
    ) -> R {
        let Self { ide, ram, arena, hooks, now, controller, .. } = self;
        let mut wires = Wires { ide, hooks: hooks.clone() };
        let mut cx = Ctx { device: &mut wires, guest: ram, arena, hooks, work, now: *now };
        let result = call(controller.as_deref_mut().expect("a mediator is attached"), &mut cx);
        self.audit();
        result
    }

    /// `one-reaction`: noted; reads give all ones, writes vanish.
    fn refuse(&mut self, violation: Violation, width: Width) -> u64 {
        self.violations.push(violation);
        width.ones()
    }

    /// Asks until there is a verdict other than [`Verdict::Again`]; without work the device makes a step meanwhile.
    fn decide(
        &mut self,
        mut ask: impl FnMut(&mut dyn DiskController, &mut Ctx<'_>) -> Result<Verdict, Violation>,
    ) -> Result<Verdict, Violation> {
        let start = self.now;
        for _ in 0..MAX_ROUNDS {
            match self.call(&mut ask) {
                (Ok(Verdict::Again), true) => {}
                (Ok(Verdict::Again), false) => {
                    assert!(self.now.0 - start.0 < AGAIN_NS, "asked again for ever");
                    self.tick();
                }
                (verdict, _) => return verdict,
            }
        }
        panic!("again without end");
    }

    fn access(&mut self, port: u16, width: Width, op: Op) -> u64 {
        let hooked = self.hooks.find(port).filter(|_| self.controller.is_some());
        let Some((region, offset)) = hooked else { return self.pass(port, width, op) };
        let access = Access { region, offset, width, op };
        match self.decide(|controller, cx| controller.on_access(cx, access)) {
            Ok(Verdict::Passthrough) => self.pass(port, width, op),
            Ok(Verdict::Value(value)) => {
                assert_eq!(op, Op::Read, "a value was given for the write {access:?}");
                assert_eq!(value & !width.ones(), 0, "{value:#x} does not fit {access:?}");
                value
            }
            Ok(Verdict::Done | Verdict::Again) => {
                assert_ne!(op, Op::Read, "no value was given for the read {access:?}");
                0
            }
            Err(violation) => self.refuse(violation, width),
        }
    }

    fn pass(&mut self, port: u16, width: Width, op: Op) -> u64 {
        match op {
            Op::Read => self.ide.port_in(port, width),
            Op::Write(value) => {
                self.ide.port_out(port, width, value);
                self.audit();
                0
            }
        }
    }

    /// The guest executes IN.
    pub fn guest_in(&mut self, port: u16, width: Width) -> u64 {
        self.access(port, width, Op::Read)
    }

    /// The guest executes OUT.
    pub fn guest_out(&mut self, port: u16, width: Width, value: u64) {
        self.access(port, width, Op::Write(value & width.ones()));
    }

    /// The guest executes REP INS; `data` is a whole number of elements.
    pub fn guest_rep_in(&mut self, port: u16, width: Width, data: &mut [u8]) {
        let Some((region, offset)) = self.hooked(port) else {
            for element in data.chunks_exact_mut(width.bytes()) {
                element.copy_from_slice(&self.ide.port_in(port, width).to_le_bytes()[..width.bytes()]);
            }
            return;
        };
        let mut done = 0;
        while done < data.len() {
            let rest = &mut data[done..];
            match self.string(region, offset, StringIo::In { width, data: rest }) {
                Ok(elements) => done += elements * width.bytes(),
                Err(violation) => {
                    self.refuse(violation, width);
                    return data[done..].fill(0xff);
                }
            }
        }
    }

    /// The guest executes REP OUTS.
    pub fn guest_rep_out(&mut self, port: u16, width: Width, data: &[u8]) {
        let Some((region, offset)) = self.hooked(port) else {
            let elements = data.chunks_exact(width.bytes());
            return elements.for_each(|element| self.ide.port_out(port, width, little_endian(element)));
        };
        let mut done = 0;
        while done < data.len() {
            match self.string(region, offset, StringIo::Out { width, data: &data[done..] }) {
                Ok(elements) => done += elements * width.bytes(),
                Err(violation) => {
                    self.refuse(violation, width);
                    return;
                }
            }
        }
    }

    fn hooked(&self, port: u16) -> Option<(RegionId, u32)> {
        self.hooks.find(port).filter(|_| self.controller.is_some())
    }

    /// Elements transferred; zero without work counts as a violation.
    fn string(&mut self, region: RegionId, offset: u32, io: StringIo<'_>) -> Result<usize, Violation> {
        let offered = match &io {
            StringIo::In { width, data } => data.len() / width.bytes(),
            StringIo::Out { width, data } => data.len() / width.bytes(),
        };
        let (elements, pushed) = self.call(|controller, cx| controller.on_string(cx, region, offset, io));
        let elements = elements?;
        assert!(elements <= offered, "{elements} elements of {offered} transferred");
        if elements == 0 && !pushed {
            return Err(Violation { what: "string I/O made no progress", detail: u64::from(offset) });
        }
        Ok(elements)
    }

    /// The guest reads the IDE function's configuration space.
    pub fn guest_config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.config(ConfigAccess { offset, width, op: Op::Read })
    }

    /// The guest writes the IDE function's configuration space.
    pub fn guest_config_write(&mut self, offset: u16, width: Width, value: u32) {
        self.config(ConfigAccess { offset, width, op: Op::Write(u64::from(value)) });
    }

    fn config(&mut self, access: ConfigAccess) -> u32 {
        let ConfigAccess { offset, width, op } = access;
        let verdict = match self.controller {
            Some(_) => self.decide(|controller, cx| controller.on_config(cx, access)),
            None => Ok(Verdict::Passthrough),
        };
        match (verdict, op) {
            (Ok(Verdict::Passthrough), Op::Read) => self.ide.config_read(offset, width),
            (Ok(Verdict::Passthrough), Op::Write(value)) => {
                self.ide.config_write(offset, width, value as u32);
                0
            }
            (Ok(Verdict::Value(value)), _) => value as u32,
            (Ok(Verdict::Done | Verdict::Again), _) => 0,
            (Err(violation), _) => self.refuse(violation, width) as u32,
        }
    }

    /// The devices make one step.
    pub fn tick(&mut self) {
        self.now.0 += 1_000_000;
        let mediated = self.controller.is_some();
        let mut bus = Bus { ram: &mut self.ram, arena: &mut self.arena, faults: &mut self.faults, mediated };
        self.ide.tick(&mut bus);
    }

    /// Looks at the addresses that the controller holds; what is wrong lands in [`Machine::faults`].
    fn audit(&mut self) {
        let holds = [0, 1].map(|channel: usize| self.ide.channels[channel].bm.holds());
        if self.controller.is_none() || self.audited == Some((self.arena.version, holds)) {
            return;
        }
        let Self { ide, ram, arena, faults, .. } = self;
        ide.audit(&mut Bus { ram, arena, faults, mediated: true });
        // The walk itself counts as a change.
        self.audited = Some((self.arena.version, holds));
    }

    /// Where the guest finds the bus-master registers of a channel.
    pub fn bus_master_port(&self, channel: usize) -> u16 {
        self.ide.config.bus_master_base().unwrap_or(BUS_MASTER_BASE) + 8 * channel as u16
    }

    /// The disks as the mediator found them.
    pub fn disks(&self) -> Vec<mediator::disk::DiskInfo> {
        self.controller.as_ref().map_or_else(Vec::new, |controller| controller.disks())
    }

    /// The machine sleeps (S3) and wakes up; `firmware` has the controller before the mediator does.
    pub fn sleep(&mut self, firmware: impl FnOnce(&mut SimIde)) {
        self.ide.sleep();
        firmware(&mut self.ide);
        let ((), pushed) = self.call(|controller, cx| controller.on_resume(cx));
        assert!(!pushed, "work was pushed while no guest runs");
    }

    /// Gives a disk its ranges.
    ///
    /// # Errors
    /// Those of the mediator.
    pub fn set_ranges(&mut self, disk: usize, ranges: Arc<dyn RangeMap>) -> Result<(), DiskError> {
        let controller = self.controller.as_mut().ok_or(DiskError::Request)?;
        controller.set_ranges(disk, ranges)
    }

    /// Reads as the VMM does before the guest starts.
    ///
    /// # Errors
    /// Those of the mediator.
    pub fn read_before_guest(&mut self, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let (outcome, pushed) = self.call(|controller, cx| controller.read_before_guest(cx, disk, lba, data));
        assert!(!pushed, "work was pushed before the guest runs");
        outcome
    }

    /// The VMM's own request of a disk.
    ///
    /// # Errors
    /// Those of the mediator.
    pub fn submit_own(&mut self, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        self.call(|controller, cx| controller.submit_own(cx, disk, request)).0
    }

    /// Asks for it.
    pub fn poll_own(&mut self, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        self.call(|controller, cx| controller.poll_own(cx, disk)).0
    }

    /// Asks for it no more.
    pub fn drop_own(&mut self, disk: usize) {
        self.call(|controller, _| controller.drop_own(disk));
    }
}
