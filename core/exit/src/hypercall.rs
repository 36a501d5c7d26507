//! The hypercall instruction: the firmware stub first, then debug hypercalls, else #UD as on a CPU without them.

use crate::cpu::Answer;
use crate::instruction::{self, Opcode};
use crate::{Cpu, Exception, ExitKind, Gpr, Guest, Machine, Vcpu};
use abi::hypercall::{DEBUG_LOG_COUNTERS, DEBUG_PROVOKE_DEFECT, DEBUG_QUEUE_INTERRUPT, UNKNOWN};
use alloc::boxed::Box;
use lock::{Ranked, rank::FIRMWARE};
use mediator::GuestMemory;

/// The VMM's end of a firmware stub, e.g. of INT 15h.
pub trait FirmwareCall: Send {
    /// The stub called. Registers and memory may be changed; the instruction is skipped afterwards.
    fn on_call(&mut self, vcpu: &mut dyn Vcpu, memory: &mut dyn GuestMemory);
}

/// A stub and its handler.
pub(crate) struct Firmware {
    /// Linear address of the stub's call.
    pub at: u64,
    pub handler: Ranked<Box<dyn FirmwareCall>, FIRMWARE>,
}

pub(crate) fn on_hypercall<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::Hypercall);
    let at = instruction::linear_rip(vcpu);
    let firmware = cpu.guest.firmware.as_ref().filter(|firmware| runs_bios_code(vcpu) && firmware.at == at);
    let debug = cpu.guest.hypercalls && vcpu.cpl() == 0;
    if firmware.is_none() && !debug {
        return Err(Exception::InvalidOpcode);
    }
    let opcode = Opcode::of(&cpu.guest.policy.hypercall);
    let len_bytes = instruction::length(cpu, vcpu, machine, &opcode)?;
    match firmware {
        Some(stub) => stub.handler.lock().on_call(vcpu, machine.memory()),
        None => debug_hypercall(cpu.guest, vcpu, machine),
    }
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

/// Real or virtual-8086 mode. In every other mode the linear address of the stub may be mapped to anything, by a user
/// program too, for which the handler would write to physical memory.
fn runs_bios_code<V: Vcpu>(vcpu: &V) -> bool {
    const CR0_PE: u64 = 1 << 0;
    const RFLAGS_VM: u64 = 1 << 17;
    vcpu.control().cr0 & CR0_PE == 0 || vcpu.rflags() & RFLAGS_VM != 0
}

fn debug_hypercall<V: Vcpu, M: Machine>(guest: &Guest, vcpu: &mut V, machine: &mut M) {
    let result = match vcpu.gpr(Gpr::Rax) {
        DEBUG_LOG_COUNTERS => {
            guest.log_counters();
            0
        }
        DEBUG_QUEUE_INTERRUPT => queue_interrupt(vcpu),
        DEBUG_PROVOKE_DEFECT if guest.defects => {
            machine.provoke_defect(vcpu.gpr(Gpr::Rbx));
            UNKNOWN
        }
        _ => UNKNOWN,
    };
    vcpu.set_gpr(Gpr::Rax, result);
}

fn queue_interrupt<V: Vcpu>(vcpu: &mut V) -> u64 {
    match u8::try_from(vcpu.gpr(Gpr::Rbx)) {
        // The lower ones are the CPU's own (SDM Vol. 3A 7.2).
        Ok(vector @ 32..) => {
            vcpu.queue_interrupt(vector);
            0
        }
        _ => UNKNOWN,
    }
}
