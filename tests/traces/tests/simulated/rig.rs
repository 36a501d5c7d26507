//! The simulated controllers, without a mediator before them.

use sim::ahci::{SimAhci, SimPort};
use sim::ide::Kind;
use sim::nvme::{SimNamespace, SimNvme};
use sim::{Bus, DmaFault, Platter, SimArena, SimMemory};
use std::fmt;
use traces::Machine;

/// As the disks of QEMU's machine.
const SECTORS: u64 = 65536;
/// Of QEMU's controller on Q35.
const PORTS: usize = 6;

/// A machine that keeps its trace.
pub trait Simulated: Machine {
    fn lines(self) -> Vec<String>;
}

/// Memory, and the trace.
#[derive(Default)]
struct Frame {
    ram: SimMemory,
    arena: SimArena,
    faults: Vec<DmaFault>,
    lines: Vec<String>,
}

impl Frame {
    fn bus(&mut self) -> Bus<'_> {
        Bus { ram: &mut self.ram, arena: &mut self.arena, faults: &mut self.faults, mediated: false }
    }

    fn load(&self, at: u64, bytes: &mut [u8]) {
        bytes.copy_from_slice(self.ram.peek(at, bytes.len()));
    }

    fn store(&mut self, at: u64, bytes: &[u8]) {
        self.ram.poke(at, bytes);
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.lines.push(line.to_string());
    }
}

/// An AHCI controller with a disk at its first port.
pub struct Ahci {
    controller: SimAhci,
    frame: Frame,
}

impl Ahci {
    pub fn new() -> Self {
        let Kind::Disk(disk) = Kind::with_platter(Platter::new(SECTORS)) else {
            unreachable!("it was asked for a disk")
        };
        let mut ports = vec![SimPort::new(Some(*disk))];
        ports.resize_with(PORTS, || SimPort::new(None));
        Self { controller: SimAhci::new(ports), frame: Frame::default() }
    }

    /// With what QEMU's does against the specification.
    pub fn with_habits() -> Self {
        let mut this = Self::new();
        this.controller.take_qemus_habits();
        this
    }
}

impl Machine for Ahci {
    fn read(&mut self, register: u32) -> u32 {
        self.controller.read(register)
    }

    fn write(&mut self, register: u32, value: u32) {
        self.controller.write(register, value);
    }

    fn load(&mut self, at: u64, bytes: &mut [u8]) {
        self.frame.load(at, bytes);
    }

    fn store(&mut self, at: u64, bytes: &[u8]) {
        self.frame.store(at, bytes);
    }

    fn moment(&mut self) {
        for _ in 0..8 {
            self.controller.tick(&mut self.frame.bus());
        }
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.frame.say(line);
    }
}

impl Simulated for Ahci {
    fn lines(self) -> Vec<String> {
        self.frame.lines
    }
}

/// An NVMe controller with one namespace.
pub struct Nvme {
    controller: SimNvme,
    frame: Frame,
}

impl Nvme {
    pub fn new() -> Self {
        let namespace = SimNamespace::new(Platter::new(SECTORS), 512);
        Self { controller: SimNvme::new([namespace]), frame: Frame::default() }
    }
}

impl Machine for Nvme {
    fn read(&mut self, register: u32) -> u32 {
        self.controller.read(register)
    }

    fn write(&mut self, register: u32, value: u32) {
        self.controller.write(register, value);
    }

    fn load(&mut self, at: u64, bytes: &mut [u8]) {
        self.frame.load(at, bytes);
    }

    fn store(&mut self, at: u64, bytes: &[u8]) {
        self.frame.store(at, bytes);
    }

    fn moment(&mut self) {
        self.controller.get_ready();
        self.controller.tick(&mut self.frame.bus());
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.frame.say(line);
    }
}

impl Simulated for Nvme {
    fn lines(self) -> Vec<String> {
        self.frame.lines
    }
}
