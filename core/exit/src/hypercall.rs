//! The hypercall instruction: the firmware stub first, then debug hypercalls and those with names, else #UD as on a CPU without
//! them.

use crate::cpu::Answer;
use crate::instruction;
use crate::walk::{self, PageAccess};
use crate::{Cpu, Exception, ExitKind, Gpr, Guest, Machine, SegmentName, Vcpu, calls};
use abi::hypercall::{
    DEBUG_CALL_SERVICE, DEBUG_DEADLINES, DEBUG_LOG_COUNTERS, DEBUG_PROVOKE_DEFECT, DEBUG_QUEUE_INTERRUPT, UNKNOWN,
    VERSION,
};
use alloc::boxed::Box;
use lock::{Ranked, rank::FIRMWARE};
use mediator::{Gpa, GuestMemory};

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
    let stub = cpu.guest.firmware.as_ref().filter(|firmware| firmware.at == at);
    let firmware = stub.filter(|_| runs_bios_code(cpu.guest, vcpu, machine, at));
    let is_kernel = vcpu.cpl() == 0;
    let debug = cpu.guest.hypercalls && is_kernel;
    let named = cpu.guest.calls.any(is_kernel);
    if firmware.is_none() && !debug && !named {
        return Err(Exception::InvalidOpcode);
    }
    let len_bytes = instruction::hypercall_length(cpu, vcpu, machine)?;
    match firmware {
        Some(stub) => stub.handler.lock().on_call(vcpu, machine.memory()),
        None if named && !(debug && is_debug_number(vcpu.gpr(Gpr::Rax))) => {
            let result = calls::perform(cpu, vcpu, machine);
            queue_noted(cpu, vcpu, machine);
            vcpu.set_gpr(Gpr::Rax, result?);
        }
        None => {
            debug_hypercall(cpu.guest, vcpu, machine);
            queue_noted(cpu, vcpu, machine);
        }
    }
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

/// Real mode; or virtual-8086 mode where what the handler reaches (the buffer of INT 15h, AX = E820h, and the FLAGS that the stub's
/// INT has pushed) and the stub lie at the linear addresses one to one. Elsewhere these may be mapped to anything, by a user program
/// too, and the handler writes to physical memory.
fn runs_bios_code<V: Vcpu, M: Machine>(guest: &Guest, vcpu: &V, machine: &mut M, stub: u64) -> bool {
    const CR0_PE: u64 = 1 << 0;
    const RFLAGS_VM: u64 = 1 << 17;
    const BUFFER_BYTES: u64 = 24;
    const FRAME_BYTES: u64 = 6;
    let control = vcpu.control();
    if control.cr0 & CR0_PE == 0 {
        return true;
    }
    if vcpu.rflags() & RFLAGS_VM == 0 {
        return false;
    }
    let mut is_one_to_one = |linear, write| {
        let access = PageAccess { write, fetch: !write, user: true, alignment_check: false };
        walk::translate(machine.memory(), guest.paging, control, access, linear) == Ok(Gpa(linear))
    };
    let mut reaches = |name, offset: Gpr, len_bytes: u64| {
        let first = vcpu.segment(name).base.wrapping_add(vcpu.gpr(offset) & 0xffff);
        is_one_to_one(first, true) && is_one_to_one(first.wrapping_add(len_bytes).wrapping_sub(1), true)
    };
    reaches(SegmentName::Es, Gpr::Rdi, BUFFER_BYTES)
        && reaches(SegmentName::Ss, Gpr::Rsp, FRAME_BYTES)
        && is_one_to_one(stub, false)
}

fn is_debug_number(number: u64) -> bool {
    number < VERSION
}

fn debug_hypercall<V: Vcpu, M: Machine>(guest: &Guest, vcpu: &mut V, machine: &mut M) {
    let result = match vcpu.gpr(Gpr::Rax) {
        DEBUG_LOG_COUNTERS => {
            guest.log_counters();
            0
        }
        DEBUG_QUEUE_INTERRUPT => queue_interrupt(vcpu),
        DEBUG_CALL_SERVICE => call_service(vcpu, machine),
        DEBUG_DEADLINES => machine.try_deadlines(vcpu.gpr(Gpr::Rbx)),
        DEBUG_PROVOKE_DEFECT if guest.defects => {
            machine.provoke_defect(vcpu.gpr(Gpr::Rbx));
            UNKNOWN
        }
        _ => UNKNOWN,
    };
    vcpu.set_gpr(Gpr::Rax, result);
}

/// What came while a program ran in ring 3 instead of the guest.
fn queue_noted<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) {
    let mut any = false;
    while let Some(vector) = machine.take_interrupt() {
        vcpu.queue_interrupt(vector);
        any = true;
    }
    if any {
        cpu.before_interrupts(machine);
    }
}

fn call_service<V: Vcpu, M: Machine>(vcpu: &mut V, machine: &mut M) -> u64 {
    let [status, answer] = machine.call_service(vcpu.gpr(Gpr::Rbx), vcpu.gpr(Gpr::Rcx));
    vcpu.set_gpr(Gpr::Rbx, answer);
    status
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
