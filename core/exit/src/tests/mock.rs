//! A virtual CPU, a machine and a mediator that only remember.

mod controller;
mod lines;
mod vcpu;

use crate::*;
use ::policy::{HiddenBits, MsrRow, Rule, in_order};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use mediator::disk::{DiskController, DiskError, DiskInfo, RangeMap};
use mediator::net::{CardCounters, CardInfo, NetController, NetPolicy, PolicyError};
use mediator::pci::{AttachError, Attached, Bdf, Driver, Function, Place, Region, Window};
use mediator::{
    Access, BusAddr, Completions, ConfigAccess, Ctx, Device, DmaArena, DmaBuffer, Gpa, GuestMemory, Instant, Mediator,
    NotRam, OutOfArena, RegionId, StringIo, Verdict, Violation, Width, Work, WorkError,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

pub use controller::*;
pub use lines::log_lines;
pub use vcpu::{MockTask, MockVcpu};

pub const RAM_BYTES: u64 = 8 << 20;
/// The VMM's range within RAM.
pub const VMM: core::ops::Range<u64> = 6 << 20..7 << 20;

// Registers of a CPU of both vendors.
pub const EFER: u32 = 0xc000_0080;
pub const LOCKED: u32 = 0x3a;
pub const DISABLED: u32 = 0xc001_0114;
pub const MICROCODE: u32 = 0x79;
pub const FROZEN: u32 = 0x1f2;
pub const PARTLY_FROZEN: u32 = 0xc001_0010;
pub const ABSENT: core::ops::RangeInclusive<u32> = 0x480..=0x493;

pub const PASS: u32 = 0xc000_2000;
pub const MASKED: u32 = 0xc001_1029;
pub const FORCED: u32 = 0xc001_0000;
pub const COUNTER_CONTROL: u32 = 0x38f;
pub const TSC_ADJUST: u32 = 0x3b;
pub const TSC_DEADLINE: u32 = 0x6e0;

const fn row(first: u32, last: u32, rule: Rule) -> MsrRow {
    MsrRow::new(first..=last, "TEST", rule, "test")
}

/// Each rule once.
pub const TABLE: &[MsrRow] = &[
    row(0x10, 0x10, Rule::Tsc),
    row(0x1b, 0x1b, Rule::ApicBase),
    row(LOCKED, LOCKED, Rule::Locked { native: !0xff06, set: 1, ignored: None }),
    row(TSC_ADJUST, TSC_ADJUST, Rule::TscAdjust),
    row(MICROCODE, MICROCODE, Rule::IGNORED),
    row(FROZEN, FROZEN + 1, Rule::FROZEN),
    row(0x200, 0x2ff, Rule::MemoryType),
    row(COUNTER_CONTROL, COUNTER_CONTROL, Rule::CounterControl),
    row(*ABSENT.start(), *ABSENT.end(), Rule::Absent),
    row(TSC_DEADLINE, TSC_DEADLINE, Rule::TscDeadline),
    row(EFER, EFER, Rule::Efer),
    row(PASS, PASS, Rule::Pass),
    row(FORCED, FORCED, Rule::Forced { set: 1 << 40, clear: 1 << 41 }),
    row(PARTLY_FROZEN, PARTLY_FROZEN, Rule::Frozen { free: 0xc_0000 }),
    row(DISABLED, DISABLED, Rule::Locked { native: 0, set: 0x18, ignored: Some(0x1f) }),
    row(MASKED, MASKED, Rule::Masked { free: 0xf0, set_only: 0x2 }),
];
const _: () = assert!(in_order(TABLE));

/// One vendor's.
pub const HYPERCALL: [u8; 3] = [0x0f, 0x01, 0xd9];

/// [`TABLE`], and some hidden bits.
pub fn policy() -> Policy {
    let hidden = [
        HiddenBits::ecx(0x8000_0001, None, 1 << 2 | 1 << 12, "TEST", "test"),
        HiddenBits::edx(0x8000_0001, None, 1 << 27, "TEST", "test"),
        HiddenBits::all(0x8000_000a, None, "TEST", "test"),
        HiddenBits::eax(0xd, Some(1), 1 << 3, "TEST", "test"),
    ];
    Policy {
        msrs: TABLE.to_vec(),
        hidden: hidden.iter().collect(),
        syscall_in_64_bit_mode_only: false,
        hypercall: HYPERCALL,
    }
}

/// What reached the real ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortEvent {
    Read(u16, Width),
    Write(u16, Width, u32),
    ReadString(u16, Width, usize),
    WriteString(u16, Width, Vec<u8>),
}

/// What reached device memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MmioEvent {
    Read(u64, Width),
    Write(u64, Width, u64),
}

#[derive(Default)]
pub struct MockPorts {
    pub events: Vec<PortEvent>,
    /// Value of a byte read per port; other ports read as zero.
    pub values: BTreeMap<u16, u8>,
    pub config_address: u32,
    /// Called once, while the next read is on its way.
    pub before_read: Option<Box<dyn FnOnce()>>,
    /// Next byte that a string read gives.
    pub stream: u8,
}

impl Ports for MockPorts {
    fn read(&mut self, port: u16, width: Width) -> u32 {
        if port == 0xcf8 && width == Width::Dword {
            return self.config_address;
        }
        if let Some(before) = self.before_read.take() {
            before();
        }
        self.events.push(PortEvent::Read(port, width));
        let byte = |i: usize| self.values.get(&(port + i as u16)).copied().unwrap_or(0);
        (0..width.bytes()).rev().fold(0, |value, i| value << 8 | u32::from(byte(i)))
    }
    fn write(&mut self, port: u16, width: Width, value: u32) {
        if port == 0xcf8 && width == Width::Dword {
            self.config_address = value;
            return;
        }
        self.events.push(PortEvent::Write(port, width, value));
    }
    fn read_string(&mut self, port: u16, width: Width, data: &mut [u8]) {
        self.events.push(PortEvent::ReadString(port, width, data.len()));
        for byte in data {
            *byte = self.stream;
            self.stream = self.stream.wrapping_add(1);
        }
    }
    fn write_string(&mut self, port: u16, width: Width, data: &[u8]) {
        self.events.push(PortEvent::WriteString(port, width, data.to_vec()));
    }
}

/// Registers in device memory.
#[derive(Default)]
pub struct MockDeviceMemory {
    /// What was written, by address.
    pub values: BTreeMap<u64, u64>,
    pub events: Vec<MmioEvent>,
}

impl DeviceMemory for MockDeviceMemory {
    fn read(&mut self, at: Gpa, width: Width) -> u64 {
        self.events.push(MmioEvent::Read(at.0, width));
        self.values.get(&at.0).copied().unwrap_or(0) & width.ones()
    }
    fn write(&mut self, at: Gpa, width: Width, value: u64) {
        self.events.push(MmioEvent::Write(at.0, width, value));
        self.values.insert(at.0, value & width.ones());
    }
}

#[derive(Default)]
pub struct MockMemory {
    pub bytes: Vec<u8>,
    /// What another CPU writes just before an address is next exchanged.
    pub changed_by_others: BTreeMap<u64, u64>,
}

impl MockMemory {
    fn range(&self, at: Gpa, len: usize) -> Result<core::ops::Range<usize>, NotRam> {
        let end = at.0.checked_add(len as u64).ok_or(NotRam(at))?;
        if end > RAM_BYTES || (at.0 < VMM.end && VMM.start < end) {
            Err(NotRam(at))
        } else {
            Ok(at.0 as usize..end as usize)
        }
    }
    pub fn put(&mut self, at: u64, data: &[u8]) {
        self.bytes[at as usize..at as usize + data.len()].copy_from_slice(data);
    }
    pub fn qword(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bytes[at as usize..at as usize + 8].try_into().unwrap())
    }
}

impl GuestMemory for MockMemory {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        let range = self.range(from, data.len())?;
        data.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
        let range = self.range(to, data.len())?;
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }
    fn compare_exchange(&mut self, at: Gpa, width: Width, old: u64, new: u64) -> Result<bool, NotRam> {
        let range = self.range(at, width.bytes())?;
        if range.start % width.bytes() != 0 {
            return Err(NotRam(at));
        }
        if let Some(value) = self.changed_by_others.remove(&at.0) {
            self.put(at.0, &value.to_le_bytes()[..width.bytes()]);
        }
        let bytes = &mut self.bytes[range];
        let equal = bytes[..] == old.to_le_bytes()[..width.bytes()];
        if equal {
            bytes.copy_from_slice(&new.to_le_bytes()[..width.bytes()]);
        }
        Ok(equal)
    }
    fn bus_addr(&self, of: Gpa, _: u64) -> Result<BusAddr, NotRam> {
        Ok(BusAddr(of.0))
    }
}

/// 64 KiB at bus address 0, never freed.
pub struct MockArena(pub Vec<u8>);

impl DmaArena for MockArena {
    fn alloc(&mut self, len_bytes: usize, _: usize) -> Option<DmaBuffer> {
        Some(DmaBuffer::new(BusAddr(0), len_bytes))
    }
    fn free(&mut self, _: DmaBuffer) {}
    fn bytes(&mut self, at: BusAddr, len_bytes: usize) -> Result<&mut [u8], OutOfArena> {
        self.0.get_mut(at.0 as usize..at.0 as usize + len_bytes).ok_or(OutOfArena)
    }
}

pub struct MockMachine {
    pub ports: MockPorts,
    pub memory: MockMemory,
    pub arena: MockArena,
    pub leaves: BTreeMap<(u32, u32), CpuidLeaf>,
    pub msrs: BTreeMap<u32, u64>,
    pub tsc: u64,
    /// Writes of these raise #GP.
    pub refused_msrs: Vec<u32>,
    /// Ports whose accesses leave the guest.
    pub intercepted: BTreeSet<u16>,
    /// Pages whose accesses leave the guest for a time.
    pub hooked: BTreeSet<u64>,
    /// No more are possible.
    pub most_hooked: usize,
    pub provoked: Vec<u64>,
    /// Calls of `stop_others`.
    pub stops: usize,
    pub cpu_number: usize,
    pub apic_ids: Vec<u32>,
    /// What was sent to CPUs: their numbers; of a startup IPI the page.
    pub inits: Vec<usize>,
    pub starts: Vec<(usize, u8)>,
    pub device_memory: MockDeviceMemory,
    /// Calls of `plan_anew`.
    pub plans: usize,
    /// What `now` gives next, and how long a call of it takes.
    pub now_ns: core::cell::Cell<u64>,
    pub now_step_ns: u64,
}

impl MockMachine {
    pub fn new() -> Self {
        let mut leaves = BTreeMap::new();
        leaves.insert((0x8000_0000, 0), CpuidLeaf { eax: 0x8000_0021, ..CpuidLeaf::default() });
        let edx = 1 << 11 | 1 << 20 | 1 << 25 | 1 << 26 | 1 << 29;
        leaves.insert((0x8000_0001, 0), CpuidLeaf { ecx: !(1 << 17), edx, ..CpuidLeaf::default() });
        leaves.insert((0x8000_0008, 0), CpuidLeaf { eax: 0x3028, ..CpuidLeaf::default() });
        Self {
            ports: MockPorts::default(),
            memory: MockMemory { bytes: alloc::vec![0; RAM_BYTES as usize], changed_by_others: BTreeMap::new() },
            arena: MockArena(alloc::vec![0; 64 << 10]),
            leaves,
            msrs: BTreeMap::new(),
            tsc: 0,
            refused_msrs: Vec::new(),
            intercepted: BTreeSet::new(),
            hooked: BTreeSet::new(),
            most_hooked: usize::MAX,
            provoked: Vec::new(),
            stops: 0,
            cpu_number: 0,
            apic_ids: alloc::vec![0],
            inits: Vec::new(),
            starts: Vec::new(),
            device_memory: MockDeviceMemory::default(),
            plans: 0,
            now_ns: core::cell::Cell::new(0),
            now_step_ns: 100_000_000,
        }
    }

    /// Code at linear (and physical) 1000h, where [`MockVcpu`] starts.
    pub fn with_code(code: &[u8]) -> Self {
        let mut machine = Self::new();
        machine.memory.put(0x1000, code);
        machine
    }

    /// Takes what reached the ports since the last call.
    pub fn events(&mut self) -> Vec<PortEvent> {
        core::mem::take(&mut self.ports.events)
    }
}

impl Machine for MockMachine {
    type Ports = MockPorts;
    type DeviceMemory = MockDeviceMemory;
    type Memory = MockMemory;
    type Arena = MockArena;

    fn parts(&mut self) -> Parts<'_, Self> {
        let Self { ports, device_memory, memory, arena, .. } = self;
        Parts { ports, device_memory, memory, arena }
    }
    fn read_code<const N: usize>(&mut self, at: Gpa) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.memory.read(at, &mut bytes).ok()?;
        Some(bytes)
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        self.leaves.get(&(leaf, subleaf)).copied().unwrap_or_default()
    }
    fn read_msr(&mut self, msr: u32) -> Option<u64> {
        self.msrs.get(&msr).copied()
    }
    fn write_msr(&mut self, msr: u32, value: u64) -> Option<()> {
        let known = self.msrs.get_mut(&msr).filter(|_| !self.refused_msrs.contains(&msr));
        known.map(|slot| *slot = value)
    }
    fn tsc(&self) -> u64 {
        self.tsc
    }
    fn set_port_intercept(&mut self, first: u16, len: u16, on: bool) {
        for port in (first..=u16::MAX).take(len.into()) {
            if on {
                self.intercepted.insert(port)
            } else {
                self.intercepted.remove(&port)
            };
        }
    }
    fn set_page_hook(&mut self, page: Gpa, on: bool) -> bool {
        assert_eq!(page.0 & 0xfff, 0);
        if !on {
            self.hooked.remove(&page.0);
        } else if self.hooked.len() < self.most_hooked || self.hooked.contains(&page.0) {
            self.hooked.insert(page.0);
        } else {
            return false;
        }
        true
    }
    fn now(&self) -> Instant {
        let now = self.now_ns.get();
        self.now_ns.set(now + self.now_step_ns);
        Instant(now)
    }
    fn plan_anew(&mut self) {
        self.plans += 1;
    }
    fn call_service(&mut self, service: u64, op: u64) -> [u64; 2] {
        [service, op]
    }

    fn take_interrupt(&mut self) -> Option<u8> {
        None
    }

    fn provoke_defect(&mut self, defect: u64) {
        self.provoked.push(defect);
    }
    fn try_deadlines(&mut self, argument: u64) -> u64 {
        argument
    }
    fn stop_others<R>(&mut self, then: impl FnOnce(&mut Self) -> R) -> R {
        self.stops += 1;
        then(self)
    }
    fn cpu_number(&self) -> usize {
        self.cpu_number
    }
    fn apic_ids(&self) -> &[u32] {
        &self.apic_ids
    }
    fn init_cpu(&mut self, cpu: usize) {
        self.inits.push(cpu);
    }
    fn start_cpu(&mut self, cpu: usize, page: u8) {
        self.starts.push((cpu, page));
    }
    fn is_vmm_memory(&self, at: Gpa) -> bool {
        VMM.contains(&at.0)
    }
}

/// A CPU of this guest, which lives as long as the tests.
pub fn cpu_of(guest: Guest) -> Cpu<'static> {
    Cpu::new(Box::leak(Box::new(guest)), 0)
}

/// A guest with the platform guarded and one scripted controller.
pub fn guest_with(machine: &mut MockMachine, script: Script) -> Guest {
    let mut guest = Guest::new(machine, policy(), false);
    guest.bus.guard_platform(machine);
    guest.bus.hide_serial(machine, 0x3f8);
    set_next(script);
    guest.bus.attach(machine, &DRIVER, &IDE).unwrap();
    machine.events();
    guest
}

/// The CPU of such a guest.
pub fn cpu_with(machine: &mut MockMachine, script: Script) -> Cpu<'static> {
    cpu_of(guest_with(machine, script))
}

pub fn port_access(port: u16, width: Width, input: bool) -> IoExit {
    IoExit { port, width, input, string: false, rep: false }
}

/// IN through the dispatcher.
pub fn read_port(cpu: &mut Cpu<'_>, machine: &mut impl Machine, port: u16, width: Width) -> u64 {
    let mut vcpu = MockVcpu::long();
    vcpu.io = Some(port_access(port, width, true));
    assert_eq!(cpu.on_exit(&mut vcpu, machine, Exit::Io), Outcome::Resume);
    assert_eq!(vcpu.rip, 0x1001);
    vcpu.get(Gpr::Rax)
}

/// OUT through the dispatcher.
pub fn write_port(cpu: &mut Cpu<'_>, machine: &mut impl Machine, port: u16, width: Width, value: u64) {
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rax, value);
    vcpu.io = Some(port_access(port, width, false));
    assert_eq!(cpu.on_exit(&mut vcpu, machine, Exit::Io), Outcome::Resume);
    assert_eq!(vcpu.rip, 0x1001);
}
