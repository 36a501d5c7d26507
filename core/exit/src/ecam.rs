//! PCI configuration space in memory (enhanced configuration access mechanism), as far as it is guarded.
//!
//! The page of each guarded function is hooked and leads to its mediator, as the ports CFC-CFF do. Registers by which the
//! guest could move something from under its guard, this window among them, are frozen, for both ways to them.
//!
//! Specification: PCI Firmware Specification 3.0, 4.1.2; PCI Express Base Specification 4.0, 7.2.2.

use crate::config_ports::{ConfigPorts, address_of};
use crate::hooks::{Hook, HookedPage, Owner};
use crate::mediated::Others;
use crate::mmio::{Parted, Target};
use crate::{Bus, Guest, Machine, Ports};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use mediator::pci::Bdf;
use mediator::{ConfigAccess, Gpa, Op, Width};

/// Bytes of configuration space of a function: a page.
const PAGE_MASK: u64 = 0xfff;
const GIB_4: u64 = 4 << 30;

/// A window of configuration space in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigWindow {
    /// Where bus 0 begins, whether or not the window holds it.
    pub base: Gpa,
    pub buses: RangeInclusive<u8>,
}

impl ConfigWindow {
    /// The page of a function. `None`: it is not in the window, or not below 4 GiB.
    fn page(&self, function: Bdf) -> Option<Gpa> {
        if !self.buses.contains(&function.bus) {
            return None;
        }
        let Bdf { bus, device, function } = function;
        let offset = u64::from(bus) << 20 | u64::from(device) << 15 | u64::from(function) << 12;
        let page = self.base.0.checked_add(offset)?;
        (page < GIB_4).then_some(Gpa(page))
    }
}

/// Registers in the configuration space of one function that the guest may read and not change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrozenRegisters {
    pub function: Bdf,
    /// Their offsets.
    pub registers: RangeInclusive<u16>,
    /// What the guest would do by a change, for the log: "move ...".
    pub what: &'static str,
}

impl FrozenRegisters {
    /// Would a write change one of them? `value` and `before`, which stands there now, are of `width` at `offset`.
    fn changes(&self, offset: u16, width: Width, value: u64, before: u64) -> bool {
        let difference = ((value ^ before) & width.ones()).to_le_bytes();
        let mut changed = (offset..).zip(difference).filter(|&(_, bits)| bits != 0);
        changed.any(|(register, _)| self.registers.contains(&register))
    }
}

/// The frozen registers of a guest.
#[derive(Default)]
pub(crate) struct Frozen(Vec<(FrozenRegisters, AtomicBool)>);

impl Frozen {
    fn add(&mut self, registers: FrozenRegisters) {
        self.0.push((registers, AtomicBool::new(false)));
    }

    /// Their functions, each once.
    fn functions(&self) -> impl Iterator<Item = Bdf> {
        let functions = || self.0.iter().map(|(frozen, _)| frozen.function);
        functions()
            .enumerate()
            .filter(move |&(n, function)| !functions().take(n).any(|f| f == function))
            .map(|(_, f)| f)
    }

    /// Each of them, a byte in size, in the order in which they can be put back: what switches on what is placed by others comes
    /// after those.
    fn registers(&self) -> impl Iterator<Item = (Bdf, u16)> {
        self.0.iter().flat_map(|(frozen, _)| frozen.registers.clone().rev().map(|offset| (frozen.function, offset)))
    }

    /// The function with some of them that CF8 selects by this address.
    #[inline]
    pub fn function(&self, config_address: u32) -> Option<Bdf> {
        let mut functions = self.0.iter().map(|(frozen, _)| frozen.function);
        functions.find(|&function| address_of(function, 0) == config_address)
    }

    /// Whether a write to `function` is refused: it would change one of them. `before` stands there now.
    pub fn refuses(&self, function: Bdf, offset: u16, width: Width, value: u64, before: u64) -> bool {
        let mut frozen = self.0.iter().filter(|(frozen, _)| frozen.function == function);
        let Some((frozen, noted)) = frozen.find(|(frozen, _)| frozen.changes(offset, width, value, before)) else {
            return false;
        };
        if !noted.swap(true, Relaxed) {
            let what = frozen.what;
            log::warn!(
                "guest's write to register {offset:#x} of {function} ignored, as it would {what}; further ones are not logged"
            );
        }
        true
    }
}

/// What frozen registers hold, byte by byte.
pub struct FrozenValues(Vec<(Bdf, u16, u32)>);

impl ConfigPorts {
    pub fn frozen_values<P: Ports>(&self, ports: &mut P) -> FrozenValues {
        let value = |(function, at)| (function, at, self.access_function(ports, function, at, Width::Byte, Op::Read));
        FrozenValues(self.frozen.registers().map(value).collect())
    }

    /// Puts back what was changed by others than the guest.
    pub fn restore_frozen<P: Ports>(&self, ports: &mut P, values: &FrozenValues) {
        let mut changed = 0_u32;
        for &(function, at, value) in &values.0 {
            if self.access_function(ports, function, at, Width::Byte, Op::Read) != value {
                self.access_function(ports, function, at, Width::Byte, Op::Write(value.into()));
                changed = changed.saturating_add(1);
            }
        }
        if changed > 0 {
            log::info!(
                "{changed} bytes of frozen chipset registers are put back, which the firmware has left otherwise"
            );
        }
    }
}

/// Why a window cannot be guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowAbove4Gib;

/// Whose configuration space a hooked page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConfigPage {
    Controller(usize),
    /// Of a function that has frozen registers.
    Frozen(Bdf),
}

impl Guest {
    /// Freezes registers of an unguarded function, for every way that leads to them.
    pub fn freeze_config(&mut self, frozen: FrozenRegisters) {
        self.bus.config.frozen.add(frozen);
    }

    /// Guards a window. To be called when all controllers are attached and what is to be frozen is. The pages of
    /// [`Guest::hooked_pages`] are to be hooked.
    ///
    /// # Errors
    /// The window does not lie below 4 GiB, where nested tables are mapped at once.
    pub fn guard_config_window(&mut self, window: &ConfigWindow) -> Result<(), WindowAbove4Gib> {
        let controllers = self.bus.controllers.iter().enumerate();
        let controllers =
            controllers.map(|(n, controller)| (controller.function, ConfigPage::Controller(n), Hook::All));
        let frozen = self.bus.config.frozen.functions();
        let pages = controllers.chain(frozen.map(|function| (function, ConfigPage::Frozen(function), Hook::Writes)));
        for (function, owner, hook) in pages.filter(|(function, ..)| window.buses.contains(&function.bus)) {
            let page = window.page(function).ok_or(WindowAbove4Gib)?;
            self.hooked_pages.push(HookedPage { page, hook, owner: Owner::Config(owner) });
        }
        let end = (u64::from(*window.buses.end()).wrapping_add(1)).wrapping_shl(20);
        self.close_to_registers(window.base.0..window.base.0.saturating_add(end));
        Ok(())
    }
}

impl ConfigPage {
    #[inline]
    pub fn operand<'a, M: Machine>(
        self,
        guest: &'a Guest,
        machine: &'a mut M,
        at: Gpa,
        width: Width,
    ) -> Parted<ConfigSpace<'a, M>> {
        Parted { target: ConfigSpace { bus: &guest.bus, machine, page: self }, at, width, widest: Width::Dword }
    }
}

/// A hooked page of configuration space, as instructions reach it.
pub(crate) struct ConfigSpace<'a, M> {
    bus: &'a Bus,
    machine: &'a mut M,
    page: ConfigPage,
}

impl<M: Machine> Target for ConfigSpace<'_, M> {
    #[inline]
    fn read(&mut self, at: Gpa, width: Width) -> u64 {
        self.bus.read_mapped_config(self.machine, self.page, at, width)
    }

    #[inline]
    fn write(&mut self, at: Gpa, width: Width, value: u64) {
        self.bus.write_mapped_config(self.machine, self.page, at, width, value);
    }
}

impl Bus {
    /// `at` is aligned to `width`, which is at most a dword.
    fn read_mapped_config<M: Machine>(&self, machine: &mut M, page: ConfigPage, at: Gpa, width: Width) -> u64 {
        let ConfigPage::Controller(number) = page else { return machine.read_mmio(at, width) };
        let access = ConfigAccess { offset: offset(at), width, op: Op::Read };
        let perform = |machine: &mut M| machine.read_mmio(at, width);
        self.ask_config(machine, number, Others::Run, Ok(access), Op::Read, perform)
    }

    fn write_mapped_config<M: Machine>(&self, machine: &mut M, page: ConfigPage, at: Gpa, width: Width, value: u64) {
        match page {
            ConfigPage::Frozen(function) => {
                let before = machine.read_mmio(at, width);
                if !self.config.frozen.refuses(function, offset(at), width, value, before) {
                    machine.write_mmio(at, width, value);
                }
            }
            ConfigPage::Controller(number) => {
                let op = Op::Write(value);
                let access = ConfigAccess { offset: offset(at), width, op };
                let perform = |machine: &mut M| {
                    machine.write_mmio(at, width, value);
                    0
                };
                machine.stop_others(|machine| {
                    self.ask_config(machine, number, Others::Stand, Ok(access), op, perform);
                });
            }
        }
    }
}

/// Register in the function's configuration space.
fn offset(at: Gpa) -> u16 {
    (at.0 & PAGE_MASK) as u16
}
