//! Who owns which port. Every port has one owner; an access that touches ports of two owners is split into bytes, as
//! the bus does, and each owner decides on its own.

use crate::a20::{A20Gate, KEYBOARD_COMMAND, KEYBOARD_DATA, SYSTEM_CONTROL};
use crate::mediated::Controller;
use crate::port_table::{PortTable, owner};
use crate::sleep::{SleepControl, SleepPorts, SleepRequest, Written};
use crate::{Machine, Ports};
use alloc::vec::Vec;
use mediator::disk::DiskController;
use mediator::pci::{AttachError, Driver, Function};
use mediator::{Ctx, Width, Work};
use spin::mutex::TicketMutex;

const COM1: u16 = 0x3f8;
const COM1_PORTS: u16 = 8;
pub(crate) const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_DATA_PORTS: u16 = 4;

/// The port bus of one guest, shared by its CPUs.
pub struct Bus(TicketMutex<Inner>);

impl Bus {
    /// A bus whose ports all pass.
    pub(crate) fn new() -> Self {
        Self(TicketMutex::new(Inner::new()))
    }

    /// Guards what the VMM itself needs: A20 gate (92h, 60h, 64h) and PCI configuration data (CFC-CFF).
    pub fn guard_platform<M: Machine>(&mut self, machine: &mut M) {
        self.0.get_mut().guard_platform(machine);
    }

    /// COM1 is the VMM's: the guest finds no port there.
    pub fn hide_com1<M: Machine>(&mut self, machine: &mut M) {
        self.0.get_mut().hide_com1(machine);
    }

    /// Guards the registers that put the machine to sleep.
    pub fn guard_sleep<M: Machine>(&mut self, machine: &mut M, ports: SleepPorts) {
        self.0.get_mut().guard_sleep(machine, ports);
    }

    /// What the guest wants after [`crate::Outcome::Sleep`]. `None`: another CPU has taken it.
    pub fn take_sleep(&self) -> Option<SleepRequest> {
        self.0.lock().sleep.as_mut()?.take()
    }

    /// The machine has slept, and its devices were reset. No CPU of the guest runs.
    pub fn on_resume<M: Machine>(&self, machine: &mut M) {
        self.0.lock().on_resume(machine);
    }

    /// Lets `driver` take `function` over; from then on its ports and its configuration space lead to the mediator.
    /// Gives the number of the controller.
    ///
    /// # Errors
    /// [`AttachError`]: no access of the guest leads to the mediator, so no guest may be started.
    pub fn attach<M: Machine>(
        &mut self,
        machine: &mut M,
        driver: &Driver,
        function: &Function,
    ) -> Result<usize, AttachError> {
        self.0.get_mut().attach(machine, driver, function)
    }

    /// The controllers attached, in the order of their numbers.
    pub fn controllers(&mut self) -> impl Iterator<Item = &dyn DiskController> {
        self.0.get_mut().controllers()
    }

    /// Calls controller `index` as the guest's accesses would, then performs the work it pushed. For what the VMM asks
    /// before the guest starts ([`DiskController::read_before_guest`], [`DiskController::set_ranges`]).
    pub fn with_controller<M: Machine, R>(
        &self,
        machine: &mut M,
        index: usize,
        call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        self.0.lock().with_controller(machine, index, call)
    }

    /// IN: the value; only its low `width` counts.
    #[inline(always)]
    pub(crate) fn read<M: Machine>(&self, machine: &mut M, port: u16, width: Width) -> u32 {
        self.0.lock().read(machine, port, width)
    }

    /// OUT of the low `width` of `value`.
    #[inline]
    pub(crate) fn write<M: Machine>(&self, machine: &mut M, port: u16, width: Width, value: u32) -> Written {
        self.0.lock().write(machine, port, width, value)
    }

    /// REP INS: fills `data`, a multiple of the width.
    pub(crate) fn read_string<M: Machine>(&self, machine: &mut M, port: u16, width: Width, data: &mut [u8]) {
        self.0.lock().read_string(machine, port, width, data);
    }

    /// REP OUTS of `data`, a multiple of the width.
    pub(crate) fn write_string<M: Machine>(&self, machine: &mut M, port: u16, width: Width, data: &[u8]) {
        self.0.lock().write_string(machine, port, width, data);
    }
}

/// What the bus is made of.
pub(crate) struct Inner {
    pub(crate) table: PortTable,
    pub(crate) controllers: Vec<Controller>,
    /// Work that a mediator pushed and that is not yet performed.
    pub(crate) work: Vec<Work>,
    a20: A20Gate,
    sleep: Option<SleepControl>,
}

impl Inner {
    /// A bus whose ports all pass.
    pub(crate) fn new() -> Self {
        Self {
            table: PortTable::new(),
            controllers: Vec::new(),
            work: Vec::new(),
            a20: A20Gate::default(),
            sleep: None,
        }
    }

    /// Guards what the VMM itself needs: A20 gate (92h, 60h, 64h) and PCI configuration data (CFC-CFF).
    pub fn guard_platform<M: Machine>(&mut self, machine: &mut M) {
        for port in [SYSTEM_CONTROL, KEYBOARD_DATA, KEYBOARD_COMMAND] {
            self.table.claim(owner::A20, port, 1);
        }
        self.table.claim(owner::CONFIG_DATA, CONFIG_DATA, CONFIG_DATA_PORTS);
        self.table.apply(machine);
    }

    /// As [`Bus::guard_sleep`].
    fn guard_sleep<M: Machine>(&mut self, machine: &mut M, ports: SleepPorts) {
        let control = SleepControl::new(ports);
        control.bases().for_each(|base| self.table.claim(owner::SLEEP, base, sleep::control::PORTS));
        self.sleep = Some(control);
        self.table.apply(machine);
    }

    /// As [`Bus::on_resume`].
    fn on_resume<M: Machine>(&mut self, machine: &mut M) {
        self.a20 = A20Gate::default();
        for index in 0..self.controllers.len() {
            self.with_controller(machine, index, |controller, cx| controller.on_resume(cx));
        }
    }

    /// COM1 is the VMM's: the guest finds no port there.
    pub fn hide_com1<M: Machine>(&mut self, machine: &mut M) {
        self.table.claim(owner::HIDDEN, COM1, COM1_PORTS);
        self.table.apply(machine);
    }

    /// The controllers attached, in the order of their numbers.
    pub fn controllers(&self) -> impl Iterator<Item = &dyn DiskController> {
        self.controllers.iter().map(|controller| &*controller.mediator)
    }

    /// The owner of all ports from `port` to `port + width - 1`, or `None` when they have several.
    #[inline(always)]
    fn sole_owner(&self, port: u16, width: Width) -> Option<u8> {
        let owner = self.table.owner(port);
        if width == Width::Byte || self.table.is_sole_owner(owner, port, width) { Some(owner) } else { None }
    }

    /// IN: the value; only its low `width` counts.
    #[inline(always)]
    pub(crate) fn read<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width) -> u32 {
        let reader = if width == Width::Byte { Some(self.table.reader(port)) } else { self.sole_owner(port, width) };
        match reader {
            Some(owner::READS_PASS..) => machine.ports().read(port, Width::Byte),
            Some(region @ owner::FIRST_REGION..) => self.read_region(machine, region, port, width),
            Some(owner::NOBODY) => machine.ports().read(port, width),
            Some(owner::A20) => self.a20.read(machine.ports(), port),
            Some(owner::CONFIG_DATA) => self.read_config(machine, port, width),
            Some(owner::SLEEP) => machine.ports().read(port, width),
            Some(_) => u32::MAX,
            None => self.read_split(machine, port, width),
        }
    }

    /// OUT of the low `width` of `value`.
    #[inline]
    pub(crate) fn write<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width, value: u32) -> Written {
        match self.sole_owner(port, width) {
            Some(region @ owner::FIRST_REGION..) => self.write_region(machine, region, port, width, value),
            Some(owner::NOBODY) => machine.ports().write(port, width, value),
            Some(owner::A20) => self.a20.write(machine.ports(), port, value as u8),
            Some(owner::CONFIG_DATA) => self.write_config(machine, port, width, value),
            Some(owner::SLEEP) => return self.write_sleep(machine, port, width, value),
            Some(_) => {}
            None => return self.write_split(machine, port, width, value),
        }
        Written::Done
    }

    /// REP INS: fills `data`, a multiple of the width.
    pub(crate) fn read_string<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width, data: &mut [u8]) {
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
    pub(crate) fn write_string<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width, data: &[u8]) {
        match self.sole_owner(port, width) {
            Some(region @ owner::FIRST_REGION..) => self.write_region_string(machine, region, port, width, data),
            Some(owner::NOBODY) => machine.ports().write_string(port, width, data),
            _ => {
                for element in data.chunks_exact(width.bytes()) {
                    let mut value = [0; 4];
                    value.iter_mut().zip(element).for_each(|(byte, written)| *byte = *written);
                    if self.write(machine, port, width, u32::from_le_bytes(value)) == Written::Sleep {
                        // No guest does that, and the instruction could not go on after it.
                        log::warn!("the guest's OUTS does not put the machine to sleep");
                        self.sleep.as_mut().and_then(SleepControl::take);
                    }
                }
            }
        }
    }

    /// Byte by byte, lowest port first; past port FFFFh there is nothing.
    #[cold]
    pub(crate) fn read_split<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width) -> u32 {
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
    fn write_sleep<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width, value: u32) -> Written {
        self.sleep.as_mut().map_or(Written::Done, |control| control.write(machine.ports(), port, width, value))
    }

    #[cold]
    pub(crate) fn write_split<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width, value: u32) -> Written {
        let mut written = Written::Done;
        for (offset, byte) in (0_u16..).zip(value.to_le_bytes()).take(width.bytes()) {
            if let Some(port) = port.checked_add(offset)
                && self.write(machine, port, Width::Byte, u32::from(byte)) == Written::Sleep
            {
                written = Written::Sleep;
            }
        }
        written
    }
}
