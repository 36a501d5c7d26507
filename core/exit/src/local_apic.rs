//! The local APICs, as far as they are guarded: no CPU may take an INIT or a startup IPI outside of the virtual machine.
//!
//! Reads are native. Writes to the page in xAPIC mode leave the guest, and writes to MSR 830h in x2APIC mode. INIT and
//! startup IPIs among them are the VMM's to carry out, for the CPUs that the destination means; all else goes on to the
//! real local APIC. What an APIC compares a logical destination with is kept here for each CPU.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, chapter 11. AMD64 APM Vol. 2 (24593) rev. 3.41, chapter 16, agrees.

use crate::counters::Notice;
use crate::hooks::{Hook, HookedPage, Owner};
use crate::icr::{self, Command, LogicalId, Message};
use crate::mmio::Operand;
use crate::{Guest, Machine};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use mediator::{Gpa, Width};

/// MSR IA32_APIC_BASE.
pub(crate) const BASE: u32 = 0x1b;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The interrupt command register in x2APIC mode; the others follow from 800h on, one for 16 bytes of the page.
pub(crate) const X2APIC_COMMAND: u32 = 0x830;
const X2APIC_FIRST: u32 = 0x800;

/// Where CPUs and devices send interrupt messages to (SDM Vol. 3A 12.11.1); each local APIC lies in it.
pub(crate) const MESSAGES: core::ops::Range<u64> = 0xfee0_0000..0xfef0_0000;

/// What the nested tables may map as one page.
const TABLE_BYTES: u64 = 2 << 20;

/// Registers by their offset in the page (SDM Vol. 3A table 11-1).
mod register {
    /// Below there are the ID, which the VMM's own messages need, the version, and nothing else. (QEMU takes writes to
    /// offset 0 for interrupt messages of a device, INIT among them.)
    pub const FIRST_WRITABLE: u16 = 0x80;
    pub const TASK_PRIORITY: u16 = 0x80;
    pub const EOI: u16 = 0xb0;
    pub const LOGICAL_DESTINATION: u16 = 0xd0;
    pub const DESTINATION_FORMAT: u16 = 0xe0;
    pub const SPURIOUS: u16 = 0xf0;
    pub const IN_SERVICE: u16 = 0x100;
    pub const ERROR_STATUS: u16 = 0x280;
    pub const COMMAND: u16 = 0x300;
    pub const COMMAND_HIGH: u16 = 0x310;
    pub const LOCAL_VECTORS: [u16; 6] = [0x320, 0x330, 0x340, 0x350, 0x360, 0x370];
    pub const INITIAL_COUNT: u16 = 0x380;
    pub const DIVIDE: u16 = 0x3e0;
}

/// State of a local APIC (SDM Vol. 3A 11.12.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
enum Mode {
    Off,
    XApic,
    X2Apic,
}

impl Mode {
    fn of_base(value: u64) -> Self {
        match (value & BASE_ENABLE != 0, value & BASE_X2APIC != 0) {
            (false, _) => Self::Off,
            (true, false) => Self::XApic,
            (true, true) => Self::X2Apic,
        }
    }
}

/// What other CPUs must know of the local APIC of one.
struct Shadow {
    /// A [`Mode`].
    mode: AtomicU32,
    destination: AtomicU32,
    format: AtomicU32,
}

/// The guarded local APICs of a guest, by CPU number.
pub(crate) struct LocalApics {
    base: Gpa,
    shadows: Vec<Shadow>,
}

impl LocalApics {
    pub fn new(base: Gpa, cpus: usize) -> Self {
        let shadow = |_| Shadow {
            mode: AtomicU32::new(Mode::Off as u32),
            destination: AtomicU32::new(0),
            format: AtomicU32::new(u32::MAX),
        };
        Self { base, shadows: (0..cpus).map(shadow).collect() }
    }

    /// Takes over how the local APIC of this CPU stands.
    pub fn adopt<M: Machine>(&self, machine: &mut M) {
        let Some(shadow) = self.shadows.get(machine.cpu_number()) else { return };
        let mode = Mode::of_base(machine.read_msr(BASE).unwrap_or(0));
        shadow.mode.store(mode as u32, Relaxed);
        if mode == Mode::XApic {
            let mut read = |register| machine.read_mmio(self.at(register), Width::Dword) as u32;
            shadow.destination.store(read(register::LOGICAL_DESTINATION), Relaxed);
            shadow.format.store(read(register::DESTINATION_FORMAT), Relaxed);
        }
    }

    fn at(&self, register: u16) -> Gpa {
        Gpa(self.base.0 | u64::from(register))
    }

    fn shadow<M: Machine>(&self, machine: &M) -> Option<&Shadow> {
        self.shadows.get(machine.cpu_number())
    }

    /// The mode of this CPU's local APIC.
    #[inline]
    fn mode<M: Machine>(&self, machine: &M) -> Mode {
        self.shadow(machine).map_or(Mode::Off, Shadow::mode)
    }

    /// A guest's write of a whole register. The page is no APIC's but in xAPIC mode.
    #[inline]
    fn write<M: Machine>(&self, guest: &Guest, machine: &mut M, register: u16, value: u32) {
        if self.mode(machine) != Mode::XApic {
            return;
        }
        match register {
            ..register::FIRST_WRITABLE => return self.drop_write(guest, register),
            register::COMMAND if !icr::passes(value) => {
                let high = machine.read_mmio(self.at(register::COMMAND_HIGH), Width::Dword) as u32;
                return self.carry_out(guest, machine, icr::of_xapic(value, high));
            }
            register::LOGICAL_DESTINATION | register::DESTINATION_FORMAT => {
                self.note_destination(machine, register, value);
            }
            _ => {}
        }
        machine.write_mmio(self.at(register), Width::Dword, value.into());
    }

    #[cold]
    fn note_destination<M: Machine>(&self, machine: &M, register: u16, value: u32) {
        let Some(shadow) = self.shadow(machine) else { return };
        let to = if register == register::LOGICAL_DESTINATION { &shadow.destination } else { &shadow.format };
        to.store(value, Relaxed);
    }

    #[cold]
    fn drop_write(&self, guest: &Guest, register: u16) {
        if guest.notices.first(Notice::LocalApicWrite) {
            log::warn!(
                "guest's write to register {register:#x} of the local APIC ignored; further ones are not logged"
            );
        }
    }

    /// INIT and startup IPIs for the CPUs of the guest that are meant, in the order of their numbers.
    #[cold]
    fn carry_out<M: Machine>(&self, guest: &Guest, machine: &mut M, command: Command) {
        let sender = machine.cpu_number();
        let mut anyone = false;
        for (cpu, shadow) in self.shadows.iter().enumerate() {
            let Some(&apic_id) = machine.apic_ids().get(cpu) else { break };
            // A local APIC that is switched off hears nothing.
            let Some(logical) = shadow.logical_id() else { continue };
            if !command.destination.includes(sender, cpu, apic_id, logical) {
                continue;
            }
            anyone = true;
            match command.message {
                Message::Init => machine.init_cpu(cpu),
                Message::InitDeassert => {}
                Message::Startup(page) => machine.start_cpu(cpu, page),
            }
        }
        if !anyone && guest.notices.first(Notice::UnknownCpu) {
            log::warn!("guest's {command:x?} is for none of its CPUs; ignored, further ones are not logged");
        }
    }

    /// The guest writes MSR 830h. `None`: #GP.
    fn write_command<M: Machine>(&self, guest: &Guest, machine: &mut M, value: u64) -> Option<()> {
        if icr::passes(value as u32) || self.mode(machine) != Mode::X2Apic {
            return machine.write_msr(X2APIC_COMMAND, value);
        }
        self.carry_out(guest, machine, icr::of_x2apic(value)?);
        Some(())
    }

    /// The guest writes IA32_APIC_BASE: it may switch x2APIC mode on as the CPU lets it, and not leave it, nor move the page or
    /// switch the local APIC off: by it the other CPUs of the VMM reach this one, whose ID may not fit into xAPIC mode. `None`: #GP
    /// (for most of it a CPU's own, SDM Vol. 3A 11.12.5).
    fn write_base<M: Machine>(&self, machine: &mut M, value: u64) -> Option<()> {
        let before = machine.read_msr(BASE)?;
        let moved = (before ^ value) & !(BASE_ENABLE | BASE_X2APIC);
        let switched_off = before & !value & (BASE_ENABLE | BASE_X2APIC);
        if moved | switched_off != 0 {
            return None;
        }
        machine.write_msr(BASE, value)?;
        self.adopt(machine);
        Some(())
    }

    /// The state after an INIT (SDM Vol. 3A 11.4.7.3), but for interrupts that already wait: there is no register by which
    /// they could be dropped.
    fn reset<M: Machine>(&self, machine: &mut M) {
        use register::*;
        const MASKED: u32 = 1 << 16;
        const SOFTWARE_DISABLED: u32 = 0xff;
        let mode = self.mode(machine);
        let mut set = |register, value| self.write_native(machine, mode, register, value);
        set(INITIAL_COUNT, 0);
        LOCAL_VECTORS.into_iter().for_each(|register| set(register, MASKED));
        [DIVIDE, TASK_PRIORITY, ERROR_STATUS].into_iter().for_each(|register| set(register, 0));
        if mode == Mode::XApic {
            set(LOGICAL_DESTINATION, 0);
            set(DESTINATION_FORMAT, u32::MAX);
        }
        self.end_interrupts(machine, mode);
        self.write_native(machine, mode, SPURIOUS, SOFTWARE_DISABLED);
        self.adopt(machine);
    }

    /// One EOI for each interrupt in service.
    fn end_interrupts<M: Machine>(&self, machine: &mut M, mode: Mode) {
        for word in (register::IN_SERVICE..register::IN_SERVICE.saturating_add(0x80)).step_by(0x10) {
            let in_service = self.read_native(machine, mode, word);
            (0..in_service.count_ones()).for_each(|_| self.write_native(machine, mode, register::EOI, 0));
        }
    }

    fn read_native<M: Machine>(&self, machine: &mut M, mode: Mode, register: u16) -> u32 {
        match mode {
            Mode::Off => 0,
            Mode::XApic => machine.read_mmio(self.at(register), Width::Dword) as u32,
            Mode::X2Apic => machine.read_msr(x2apic_msr(register)).unwrap_or(0) as u32,
        }
    }

    fn write_native<M: Machine>(&self, machine: &mut M, mode: Mode, register: u16, value: u32) {
        match mode {
            Mode::Off => {}
            Mode::XApic => machine.write_mmio(self.at(register), Width::Dword, value.into()),
            // A CPU without one of the local vectors raises #GP for it.
            Mode::X2Apic => drop(machine.write_msr(x2apic_msr(register), value.into())),
        }
    }
}

fn x2apic_msr(register: u16) -> u32 {
    X2APIC_FIRST | u32::from(register >> 4)
}

impl Shadow {
    #[inline]
    fn mode(&self) -> Mode {
        match self.mode.load(Relaxed) {
            mode if mode == Mode::XApic as u32 => Mode::XApic,
            mode if mode == Mode::X2Apic as u32 => Mode::X2Apic,
            _ => Mode::Off,
        }
    }

    /// `None`: it is switched off.
    fn logical_id(&self) -> Option<LogicalId> {
        match self.mode() {
            Mode::Off => None,
            Mode::XApic => Some(LogicalId::XApic {
                destination: self.destination.load(Relaxed),
                format: self.format.load(Relaxed),
            }),
            Mode::X2Apic => Some(LogicalId::X2Apic),
        }
    }
}

impl Guest {
    /// From now on the local APICs of `cpus` CPUs are guarded, whose page lies at `base`. The pages of
    /// [`Guest::hooked_pages`] are to be hooked, and each CPU calls [`Guest::adopt_local_apic`].
    pub fn guard_local_apic(&mut self, base: Gpa, cpus: usize) {
        self.local_apics = Some(LocalApics::new(base, cpus));
        // In front, since its page is the one that is written most.
        self.hooked_pages.insert(0, HookedPage { page: base, hook: Hook::Writes, owner: Owner::LocalApic });
    }

    /// The page of the local APICs lies at `base`. They need not be guarded: the VMM may take the page from the guest for a while.
    /// [`Machine::read_mmio`] and [`Machine::write_mmio`] carry out what the guest does with its registers meanwhile.
    pub fn set_local_apic_page(&mut self, base: Gpa) {
        self.local_apic_page = Some(base);
        // All that a smaller table than the whole may map together with it.
        let around = base.0 & !TABLE_BYTES.wrapping_sub(1);
        self.close_to_registers(around..around.saturating_add(TABLE_BYTES));
    }

    /// How the local APIC of this CPU stands is taken over. To be called before the CPU enters the guest for the first
    /// time, and after anything but the guest has changed its mode or its logical destination.
    pub fn adopt_local_apic<M: Machine>(&self, machine: &mut M) {
        if let Some(apics) = &self.local_apics {
            apics.adopt(machine);
        }
    }

    /// The local APIC of this CPU becomes what an INIT makes of it. For the CPU for which the guest's INIT was meant.
    pub fn reset_local_apic<M: Machine>(&self, machine: &mut M) {
        if let Some(apics) = &self.local_apics {
            apics.reset(machine);
        }
    }

    /// The guest writes IA32_APIC_BASE. `None`: #GP. The page stays where it is, guarded or not: moved, it would lie on memory of
    /// the VMM's, or on registers that a mediator guards.
    pub(crate) fn write_apic_base<M: Machine>(&self, machine: &mut M, value: u64) -> Option<()> {
        match &self.local_apics {
            Some(apics) => apics.write_base(machine, value),
            None if (machine.read_msr(BASE)? ^ value) & BASE_ADDRESS != 0 => None,
            None => machine.write_msr(BASE, value),
        }
    }

    /// The guest writes MSR 830h. `None`: #GP.
    pub(crate) fn write_x2apic_command<M: Machine>(&self, machine: &mut M, value: u64) -> Option<()> {
        match &self.local_apics {
            Some(apics) => apics.write_command(self, machine, value),
            None => machine.write_msr(X2APIC_COMMAND, value),
        }
    }
}

/// An operand in the page of the local APICs.
pub(crate) struct Registers<'a, M> {
    pub guest: &'a Guest,
    pub machine: &'a mut M,
    pub at: Gpa,
    pub width: Width,
}

impl<M: Machine> Operand for Registers<'_, M> {
    /// Reads of their own are native; this one is half of a read and write.
    fn read(&mut self) -> u64 {
        if self.is_register() { self.machine.read_mmio(self.at, self.width) } else { u64::MAX }
    }

    #[inline(always)]
    fn write(&mut self, value: u64) {
        let Some(apics) = &self.guest.local_apics else {
            if self.is_register() {
                self.machine.write_mmio(self.at, self.width, value);
            }
            return;
        };
        let register = self.at.0 as u16 & 0xfff;
        if !self.is_register() {
            return apics.drop_write(self.guest, register);
        }
        apics.write(self.guest, self.machine, register, value as u32);
    }
}

impl<M> Registers<'_, M> {
    /// Registers are dwords at multiples of 16 (SDM Vol. 3A 11.4.1). CPUs make different things of others, so those are none
    /// here.
    #[inline]
    fn is_register(&self) -> bool {
        self.width == Width::Dword && self.at.0 & 0xf == 0
    }
}
