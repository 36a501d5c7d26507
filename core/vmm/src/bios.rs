//! BIOS calls before the guest: a guest of their own, which lives no longer than they are needed.

use crate::failure::Failure;
use crate::machine::{RealMachine, Shared};
use crate::reset;
use crate::vendor::{self, Vendor};
use crate::world::NO_MEMORY;
use alloc::boxed::Box;
use alloc::format;
use core::ops::Range;
use exit::{Exit, Gpr, Guest, Machine, Outcome, SegmentName, Vcpu};
use guest::BiosCalls;
use hw::HpaRange;
use multiboot::Entry;
use sleep::WakingVector;

/// The zero flag.
const ZF: u64 = 1 << 6;
const KEYBOARD: u8 = 0x16;
/// INT 16h: is there a key, and take it.
const IS_KEY: u16 = 0x0100;
const TAKE_KEY: u16 = 0x0000;

/// A BIOS to be called. CPU and BIOS have the machine's devices for the length of a call.
pub struct Bios<'a, V: Vendor> {
    calls: BiosCalls,
    vcpu: V::Vcpu,
    cpu: exit::Cpu<'a>,
    machine: &'a mut RealMachine,
}

/// What the calls need of the machine.
pub struct Ground<'a, V: Vendor> {
    pub features: &'a V::Features,
    pub memory_map: &'a [Entry],
    pub vmm: HpaRange,
    /// Memory with what the loader has brought and is still to be read.
    pub kept: &'a [Range<u64>],
    pub shared: &'static Shared,
    /// Of the VMM, hidden from the BIOS.
    pub serial: Option<u16>,
}

/// Calls `then` with a BIOS. Before and after it no virtualization extension is on.
///
/// # Errors
/// There is none, or no memory for it.
pub fn with<V: Vendor, R>(
    ground: &Ground<'_, V>,
    machine: &mut RealMachine,
    then: impl FnOnce(&mut Bios<'_, V>) -> R,
) -> Result<R, Failure> {
    let policy = V::policy(ground.features);
    let calls =
        BiosCalls::install(machine.memory(), ground.memory_map, policy.hypercall).map_err(|e| format!("{e}"))?;
    let mut guest = Guest::new(machine, policy, false);
    guest.bus.guard_platform(machine);
    if let Some(port) = ground.serial {
        guest.bus.hide_serial(machine, port);
    }
    // Its tables stay: some frames, once. The guest gets others, so that nothing that a CPU remembers of these counts there.
    let memory = &*Box::leak(Box::new(V::memory(ground.features, ground.vmm).ok_or(NO_MEMORY)?));
    V::enable(ground.features)?;
    let vcpu = V::vcpu(ground.features, memory, ground.shared.io_permissions(), calls.segment(), false);
    let mut bios = Bios { calls, vcpu: vcpu.ok_or(NO_MEMORY)?, cpu: exit::Cpu::new(&guest, 0), machine };
    let result = then(&mut bios);
    let Bios { calls, mut vcpu, machine, .. } = bios;
    vcpu.put_away();
    vendor::disable();
    calls.remove(machine.memory()).map_err(|at| format!("the BIOS data area at {:#x} is no RAM any more", at.0.0))?;
    Ok(result)
}

impl<V: Vendor> Bios<'_, V> {
    /// Makes an interrupt with this AX; gives AX and the zero flag after it.
    fn call(&mut self, interrupt: u8, ax: u16) -> Result<(u16, bool), Failure> {
        let Self { calls, vcpu, cpu, machine } = self;
        calls.choose(interrupt, machine.memory()).map_err(|_| LOST)?;
        vcpu.wake(WakingVector { segment: calls.segment(), ip: 0 });
        vcpu.set_gpr(Gpr::Rax, ax.into());
        loop {
            let exit = vcpu.run();
            if exit == Exit::Hypercall && vcpu.segment(SegmentName::Cs).base + vcpu.rip() == calls.done_at() {
                return Ok((vcpu.gpr(Gpr::Rax) as u16, vcpu.rflags() & ZF != 0));
            }
            match cpu.on_exit(vcpu, *machine, exit) {
                Outcome::Resume | Outcome::Signal => {}
                Outcome::Reset => reset::machine(),
                Outcome::Sleep | Outcome::Stop => return Err(LOST.into()),
            }
        }
    }

    /// The machine, between two calls.
    pub fn machine(&mut self) -> &mut RealMachine {
        self.machine
    }

    /// Keyboard flags: shifts and locks.
    pub fn keyboard_flags(&mut self) -> u8 {
        guest::keyboard_flags(self.machine.memory()).unwrap_or(0)
    }

    /// Looks for a key that the BIOS has made a character of; scan codes come on the way. Gives scan code and character.
    ///
    /// # Errors
    /// The call does not come back.
    pub fn key(&mut self) -> Result<Option<(u8, u8)>, Failure> {
        if let (_, true) = self.call(KEYBOARD, IS_KEY)? {
            return Ok(None);
        }
        let [character, scan_code] = self.call(KEYBOARD, TAKE_KEY)?.0.to_le_bytes();
        Ok(Some((scan_code, character)))
    }

    /// The next byte that the keyboard has sent.
    pub fn scan_code(&mut self) -> Option<u8> {
        self.calls.take_scan_code(self.machine.memory())
    }
}

const LOST: &str =
    "the BIOS does not come back from a call for the keyboard; switch off option ROMs that are not needed";
