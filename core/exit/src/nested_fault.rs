//! Accesses that nested paging refused: VMM memory, and addresses that are not mapped at all.
//!
//! Both look like an empty bus: a plain load gives all ones, a plain store vanishes. Anything else is not emulated but
//! raises an exception, so that the guest never retries it for ever without its own handler knowing.

use crate::counters::Notice;
use crate::delivery::second_exception;
use crate::{Cpu, Exception, ExitKind, Gpr, Guest, Machine, NestedFault, Outcome, Vcpu, gpr, instruction};
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind, Register};
use mediator::Width;

const RFLAGS_DF: u64 = 1 << 10;

/// What a refused instruction raises.
const REFUSED: Exception = Exception::GeneralProtection(0);

#[cold]
pub(crate) fn on_nested_fault<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &mut V,
    machine: &mut M,
) -> Result<Outcome, Exception> {
    let fault = vcpu.nested_fault();
    cpu.counters.count(ExitKind::NestedFault);
    notice(cpu.guest, vcpu, machine, fault);
    if let Some(vector) = fault.delivering {
        return on_delivery(vector);
    }
    if fault.fetch || fault.page_walk {
        return Err(REFUSED);
    }
    let instruction = instruction::current(cpu.guest, vcpu, machine)?;
    if instruction.has_lock_prefix() || instruction.has_rep_prefix() || instruction.has_repne_prefix() {
        return Err(REFUSED);
    }
    let done = if fault.write { store(vcpu, &instruction) } else { load(vcpu, &instruction) };
    done.ok_or(REFUSED)?;
    vcpu.skip_instruction(instruction.len() as u8);
    Ok(Outcome::Resume)
}

fn notice<V: Vcpu, M: Machine>(guest: &Guest, vcpu: &V, machine: &M, fault: NestedFault) {
    let (notice, whose) = if machine.is_vmm_memory(fault.gpa) {
        (Notice::VmmMemory, "VMM memory")
    } else {
        (Notice::NestedFaultElsewhere, "an address without memory")
    };
    if guest.notices.first(notice) {
        let rip = vcpu.rip();
        log::warn!("guest reached for {whose}: {fault:x?} at {rip:#x}; refused, further ones are not logged");
    }
}

/// The IDT, the stack or their page tables lie there: an exception during delivery. The interrupt of a device with the
/// number of a contributory exception (real mode) is taken for that exception.
fn on_delivery(vector: u8) -> Result<Outcome, Exception> {
    match second_exception(vector, REFUSED) {
        Some(exception) => Err(exception),
        None => {
            log::warn!("a double fault could not be delivered: the machine is reset");
            Ok(Outcome::Reset)
        }
    }
}

/// A plain store vanishes. `None`: the instruction is no plain store.
fn store<V: Vcpu>(vcpu: &mut V, instruction: &Instruction) -> Option<()> {
    match instruction.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movnti if instruction.op0_kind() == OpKind::Memory => Some(()),
        Mnemonic::Stosb => advance_destination(vcpu, instruction, 1),
        Mnemonic::Stosw => advance_destination(vcpu, instruction, 2),
        Mnemonic::Stosd => advance_destination(vcpu, instruction, 4),
        Mnemonic::Stosq => advance_destination(vcpu, instruction, 8),
        _ => None,
    }
}

/// Moves DI, EDI or RDI on by one element.
fn advance_destination<V: Vcpu>(vcpu: &mut V, instruction: &Instruction, element_bytes: u64) -> Option<()> {
    let width = match instruction.op0_kind() {
        OpKind::MemoryESDI => Width::Word,
        OpKind::MemoryESEDI => Width::Dword,
        OpKind::MemoryESRDI => Width::Qword,
        _ => return None,
    };
    let index = vcpu.gpr(Gpr::Rdi);
    let down = vcpu.rflags() & RFLAGS_DF != 0;
    let index = if down { index.wrapping_sub(element_bytes) } else { index.wrapping_add(element_bytes) };
    gpr::set_low(vcpu, Gpr::Rdi, width, index);
    Some(())
}

/// A plain load gives all ones. `None`: the instruction is no plain load.
fn load<V: Vcpu>(vcpu: &mut V, instruction: &Instruction) -> Option<()> {
    if instruction.op0_kind() != OpKind::Register || instruction.op1_kind() != OpKind::Memory {
        return None;
    }
    let value = match (instruction.mnemonic(), instruction.memory_size()) {
        (Mnemonic::Mov | Mnemonic::Movsx | Mnemonic::Movsxd, _) => u64::MAX,
        (Mnemonic::Movzx, MemorySize::UInt8) => 0xff,
        (Mnemonic::Movzx, MemorySize::UInt16) => 0xffff,
        _ => return None,
    };
    set_register(vcpu, instruction.op0_register(), value)
}

/// `None`: no general purpose register (MOV to a segment register).
fn set_register<V: Vcpu>(vcpu: &mut V, register: Register, value: u64) -> Option<()> {
    let number = register as usize;
    let (first, width) = match register {
        Register::AH | Register::CH | Register::DH | Register::BH => {
            let register = Gpr::by_number(number.checked_sub(Register::AH as usize)?)?;
            let kept = vcpu.gpr(register) & !0xff00;
            vcpu.set_gpr(register, kept | (value & 0xff) << 8);
            return Some(());
        }
        Register::AL | Register::CL | Register::DL | Register::BL => (Register::AL as usize, Width::Byte),
        // The encoding order again, but for the four of AH to BH in between.
        r if (Register::SPL..=Register::R15L).contains(&r) => ((Register::SPL as usize).checked_sub(4)?, Width::Byte),
        r if (Register::AX..=Register::R15W).contains(&r) => (Register::AX as usize, Width::Word),
        r if (Register::EAX..=Register::R15D).contains(&r) => (Register::EAX as usize, Width::Dword),
        r if (Register::RAX..=Register::R15).contains(&r) => (Register::RAX as usize, Width::Qword),
        _ => return None,
    };
    let register = Gpr::by_number(number.checked_sub(first)?)?;
    gpr::set_low(vcpu, register, width, value);
    Some(())
}
