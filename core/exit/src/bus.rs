//! Who owns which port. Every port has one owner; an access that touches ports of two owners is split into bytes, as
//! the bus does, and each owner decides on its own.

use crate::a20::{KEYBOARD_COMMAND, KEYBOARD_DATA, Keyboard, SYSTEM_CONTROL, SystemControl};
use crate::config_ports::{CONFIG_ADDRESS, CONFIG_DATA, ConfigPorts};
use crate::ecam::FrozenValues;
use crate::gate::Gate;
use crate::mediated::Controller;
use crate::mediated_memory::Block;
use crate::port_table::{MAX_CONTROLLERS, PortTable, owner};
use crate::sleep::{SleepControl, SleepPorts, SleepRequest, Written};
use crate::watch::Watch;
use crate::windows::Windows;
use crate::{Machine, Ports};
use alloc::vec::Vec;
use lock::{
    Ranked,
    rank::{KEYBOARD, SLEEP},
};
use mediator::Width;
use mediator::disk::DiskController;
use mediator::net::NetController;

/// Registers of a 16550.
const SERIAL_PORTS: u16 = 8;
/// CF8-CFB and CFC-CFF.
const CONFIG_PORTS: u16 = 4;

/// The port bus of one guest, shared by its CPUs. Only what must be is behind a lock: each controller, the keyboard
/// controller, and the way from a configuration address to its data.
pub struct Bus {
    pub(crate) table: PortTable,
    pub(crate) controllers: Vec<Controller>,
    /// Those of the controllers' registers that lie in memory.
    pub(crate) blocks: Vec<Block>,
    /// What these lie in.
    pub(crate) windows: Windows,
    pub(crate) watch: Watch,
    /// The first is nobody's, the others are the controllers', by their numbers: bits 6:3 of an owner's byte tell which.
    pub(crate) gates: [Gate; MAX_CONTROLLERS + 1],
    pub(crate) config: ConfigPorts,
    system_control: SystemControl,
    keyboard: Ranked<Keyboard, KEYBOARD>,
    sleep: Option<Ranked<SleepControl, SLEEP>>,
}

impl Bus {
    /// A bus whose ports all pass.
    pub(crate) fn new() -> Self {
        Self {
            table: PortTable::new(),
            controllers: Vec::new(),
            blocks: Vec::new(),
            windows: Windows::default(),
            watch: Watch::default(),
            gates: Default::default(),
            config: ConfigPorts::new(),
            system_control: SystemControl::default(),
            keyboard: Ranked::default(),
            sleep: None,
        }
    }

    /// Guards what the VMM itself needs: A20 gate (92h, 60h, 64h) and PCI configuration (CF8-CFF).
    pub fn guard_platform<M: Machine>(&mut self, machine: &mut M) {
        self.config.adopt(machine.ports());
        for (owner, port, len) in [
            (owner::SYSTEM_CONTROL, SYSTEM_CONTROL, 1),
            (owner::KEYBOARD, KEYBOARD_DATA, 1),
            (owner::KEYBOARD, KEYBOARD_COMMAND, 1),
            (owner::CONFIG_ADDRESS, CONFIG_ADDRESS, CONFIG_PORTS),
            (owner::CONFIG_DATA, CONFIG_DATA, CONFIG_PORTS),
        ] {
            self.own(machine, owner, port, len);
        }
    }

    /// The serial port at `base` is the VMM's: the guest finds no port there.
    pub fn hide_serial<M: Machine>(&mut self, machine: &mut M, base: u16) {
        self.own(machine, owner::HIDDEN, base, SERIAL_PORTS);
    }

    /// Guards the registers that put the machine to sleep.
    pub fn guard_sleep<M: Machine>(&mut self, machine: &mut M, ports: SleepPorts) {
        for base in [Some(ports.a), ports.b].into_iter().flatten() {
            self.own(machine, owner::SLEEP, base, sleep::control::PORTS);
        }
        self.sleep = Some(Ranked::new(SleepControl::new(ports)));
    }

    /// From now on the machine does not sleep in a way that keeps its memory, and the log tells why when the guest asks for it.
    pub fn deny_suspend(&mut self, why: &'static str) {
        if let Some(sleep) = &mut self.sleep {
            sleep.get_mut().deny_suspend(why);
        }
    }

    /// What the guest wants after [`crate::Outcome::Sleep`]. `None`: another CPU has taken it.
    pub fn take_sleep(&self) -> Option<SleepRequest> {
        self.sleep.as_ref()?.lock().take()
    }

    /// The machine is about to sleep: what [`Self::on_resume`] wants to know.
    pub fn on_suspend<M: Machine>(&self, machine: &mut M) -> FrozenValues {
        self.config.frozen_values(machine.ports())
    }

    /// The machine has slept, and its devices were reset. No CPU of the guest runs.
    pub fn on_resume<M: Machine>(&self, machine: &mut M, frozen: &FrozenValues) {
        self.config.adopt(machine.ports());
        self.config.restore_frozen(machine.ports(), frozen);
        self.system_control.reset();
        *self.keyboard.lock() = Keyboard::default();
        for index in 0..self.controllers.len() {
            self.with_controller(machine, index, |controller, cx| controller.on_resume(cx));
        }
    }

    /// Before any controller is attached, so that the ports are free.
    fn own<M: Machine>(&mut self, machine: &mut M, owner: u8, base: u16, len: u16) {
        let free = self.table.claim(owner, base, len, None);
        debug_assert!(free, "{base:#x}");
        machine.set_port_intercept(base, len, true);
    }

    /// Is any controller attached?
    pub fn has_controllers(&self) -> bool {
        !self.controllers.is_empty()
    }

    /// The controllers of disks, with their numbers.
    pub fn disk_controllers(&mut self) -> impl Iterator<Item = (usize, &mut dyn DiskController)> {
        let all = self.controllers.iter_mut().enumerate();
        all.filter_map(|(number, controller)| Some((number, controller.mediator().as_disks()?)))
    }

    /// The network cards, with their numbers.
    pub fn cards(&mut self) -> impl Iterator<Item = (usize, &mut dyn NetController)> {
        let all = self.controllers.iter_mut().enumerate();
        all.filter_map(|(number, controller)| Some((number, controller.mediator().as_card()?)))
    }

    /// IN: the value; only its low `width` counts.
    #[inline(always)]
    pub(crate) fn read<M: Machine>(&self, machine: &mut M, port: u16, width: Width) -> u32 {
        match self.table.entry(port) {
            entry @ owner::POLLED.. if width == Width::Byte => self.read_polled(machine, entry, port),
            owner::SYSTEM_CONTROL if width == Width::Byte => self.system_control.read(machine.ports()),
            owner::CONFIG_DATA if is_within_dword(port, width) => self.read_config(machine, port, width),
            entry => self.read_owned(machine, entry & !owner::POLLED, port, width),
        }
    }

    /// `owner`: of the first port.
    #[inline(never)]
    fn read_owned<M: Machine>(&self, machine: &mut M, owner: u8, port: u16, width: Width) -> u32 {
        if !self.table.is_sole_owner(owner, port, width) {
            return self.read_split(machine, port, width);
        }
        match owner {
            owner::FIRST_REGION.. => self.read_region(machine, owner, port, width),
            owner::NOBODY => machine.ports().read(port, width),
            owner::KEYBOARD => self.keyboard.lock().read(machine.ports(), port),
            owner::CONFIG_ADDRESS if width == Width::Dword => self.config.address(),
            owner::CONFIG_ADDRESS => self.config.read_beside(machine.ports(), port, width),
            owner::SLEEP => machine.ports().read(port, width),
            _ => u32::MAX,
        }
    }

    /// A byte of a polled register: past the mediator while its gate is open.
    #[inline(always)]
    fn read_polled<M: Machine>(&self, machine: &mut M, entry: u8, port: u16) -> u32 {
        if let Some(gate) = self.gates.get(usize::from(entry >> 3 & 0xf)) {
            let seen = gate.look();
            if seen.lets_pass(entry) {
                let value = machine.ports().read(port, Width::Byte);
                if gate.look() == seen {
                    return value;
                }
            }
        }
        self.read_region(machine, entry, port, Width::Byte)
    }

    /// OUT of the low `width` of `value`.
    #[inline(always)]
    pub(crate) fn write<M: Machine>(&self, machine: &mut M, port: u16, width: Width, value: u32) -> Written {
        match self.table.owner(port) {
            owner::CONFIG_ADDRESS if port == CONFIG_ADDRESS && width == Width::Dword => self.config.set_address(value),
            owner::CONFIG_DATA if is_within_dword(port, width) => self.write_config(machine, port, width, value),
            owner => return self.write_owned(machine, owner, port, width, value),
        }
        Written::Done
    }

    /// `owner`: of the first port.
    #[inline(never)]
    fn write_owned<M: Machine>(&self, machine: &mut M, owner: u8, port: u16, width: Width, value: u32) -> Written {
        if !self.table.is_sole_owner(owner, port, width) {
            return self.write_split(machine, port, width, value);
        }
        match owner {
            owner::FIRST_REGION.. => self.write_region(machine, owner, port, width, value),
            owner::NOBODY => machine.ports().write(port, width, value),
            owner::SYSTEM_CONTROL => return self.system_control.write(machine.ports(), value as u8),
            owner::KEYBOARD => return self.keyboard.lock().write(machine.ports(), port, value as u8),
            owner::SLEEP => return self.write_sleep(machine, port, width, value),
            owner::CONFIG_ADDRESS => return self.config.write_beside(machine.ports(), port, width, value),
            _ => {}
        }
        Written::Done
    }

    #[cold]
    fn write_sleep<M: Machine>(&self, machine: &mut M, port: u16, width: Width, value: u32) -> Written {
        self.sleep.as_ref().map_or(Written::Done, |sleep| sleep.lock().write(machine.ports(), port, width, value))
    }

    /// The owner of all ports of an access.
    fn sole_owner(&self, port: u16, width: Width) -> Option<u8> {
        let owner = self.table.owner(port);
        self.table.is_sole_owner(owner, port, width).then_some(owner)
    }

    /// REP INS: fills `data`, a multiple of the width.
    pub(crate) fn read_string<M: Machine>(&self, machine: &mut M, port: u16, width: Width, data: &mut [u8]) {
        match self.sole_owner(port, width) {
            Some(region @ owner::FIRST_REGION..) => self.read_region_string(machine, region, port, width, data),
            Some(owner::NOBODY) => machine.ports().read_string(port, width, data),
            _ => {
                for element in data.chunks_exact_mut(width.bytes()) {
                    let value = self.read(machine, port, width).to_le_bytes();
                    element.iter_mut().zip(value).for_each(|(byte, read)| *byte = read);
                }
            }
        }
    }

    /// REP OUTS of `data`, a multiple of the width.
    pub(crate) fn write_string<M: Machine>(&self, machine: &mut M, port: u16, width: Width, data: &[u8]) -> Written {
        match self.sole_owner(port, width) {
            Some(region @ owner::FIRST_REGION..) => self.write_region_string(machine, region, port, width, data),
            Some(owner::NOBODY) => machine.ports().write_string(port, width, data),
            _ => {
                for element in data.chunks_exact(width.bytes()) {
                    let mut value = [0; 4];
                    value.iter_mut().zip(element).for_each(|(byte, written)| *byte = *written);
                    match self.write(machine, port, width, u32::from_le_bytes(value)) {
                        Written::Done => {}
                        Written::Sleep => {
                            // No guest does that, and the instruction could not go on after it.
                            log::warn!("the guest's OUTS does not put the machine to sleep");
                            self.take_sleep();
                        }
                        Written::Reset => return Written::Reset,
                    }
                }
            }
        }
        Written::Done
    }

    /// Byte by byte, lowest port first; past port FFFFh there is nothing.
    #[cold]
    pub(crate) fn read_split<M: Machine>(&self, machine: &mut M, port: u16, width: Width) -> u32 {
        let mut value = [0; 4];
        for (offset, byte) in (0_u16..).zip(value.iter_mut().take(width.bytes())) {
            *byte = match port.checked_add(offset) {
                Some(port) => self.read(machine, port, Width::Byte) as u8,
                None => 0xff,
            };
        }
        u32::from_le_bytes(value)
    }

    #[cold]
    pub(crate) fn write_split<M: Machine>(&self, machine: &mut M, port: u16, width: Width, value: u32) -> Written {
        let mut written = Written::Done;
        for (offset, byte) in (0_u16..).zip(value.to_le_bytes()).take(width.bytes()) {
            let Some(port) = port.checked_add(offset) else { break };
            match self.write(machine, port, Width::Byte, u32::from(byte)) {
                Written::Done => {}
                Written::Sleep => written = Written::Sleep,
                Written::Reset => return Written::Reset,
            }
        }
        written
    }
}

/// Of CF8-CFB and CFC-CFF, which never move: does the access stay within?
#[inline(always)]
fn is_within_dword(port: u16, width: Width) -> bool {
    usize::from(port & 3).wrapping_add(width.bytes()) <= 4
}
