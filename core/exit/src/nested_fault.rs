//! Accesses that nested paging refused: hooked pages, VMM memory, and addresses that are not mapped at all.
//!
//! The latter two look like an empty bus: a read gives all ones, a write vanishes. What is not emulated raises an exception,
//! so that the guest never retries it for ever without its own handler knowing.

use crate::counters::Notice;
use crate::delivery::second_exception;
use crate::hooks::Owner;
use crate::mmio::{self, MmioAccess};
use crate::{Cpu, Event, Exception, ExitKind, Guest, Machine, NestedFault, Outcome, Vcpu};
use mediator::Gpa;

/// What an access raises that no instruction makes by itself, or one whose operand lies elsewhere.
const REFUSED: Exception = Exception::GeneralProtection(0);
const PAGE_MASK: u64 = 0xfff;

pub(crate) fn on_nested_fault<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &mut V,
    machine: &mut M,
) -> Result<Outcome, Exception> {
    let NestedFault { gpa, write, fetch, page_walk, delivering } = vcpu.nested_fault();
    cpu.counters.count(ExitKind::NestedFault);
    let owner = match cpu.owners.owner(cpu.guest, gpa) {
        Some(owner) => owner,
        None => {
            notice(cpu.guest, vcpu, machine);
            Owner::Nobody
        }
    };
    if let Some(event) = delivering {
        return on_delivery(event);
    }
    if fetch || page_walk {
        return Err(REFUSED);
    }
    let guest = cpu.guest;
    let access = mmio::current(cpu, vcpu, machine)?;
    if !is_that_of(vcpu, gpa, write, access) {
        return Err(refuse(guest, vcpu));
    }
    guest.perform(vcpu, machine, owner, gpa, access);
    Ok(Outcome::Resume)
}

/// Is this the access that faulted? Not if its operand begins in another page, or ends there, or if the instruction was
/// changed since. Segment limits need no check: an operand beyond them has raised its exception before the CPU came to the
/// page.
#[inline]
fn is_that_of<V: Vcpu>(vcpu: &V, gpa: Gpa, write: bool, access: &MmioAccess) -> bool {
    let offset = gpa.0 & PAGE_MASK;
    let last = offset.wrapping_add(access.width.bytes() as u64).wrapping_sub(1);
    let direction = if write { access.writes() } else { access.reads() };
    direction && last <= PAGE_MASK && access.page_offset(vcpu) == offset
}

#[cold]
fn refuse<V: Vcpu>(guest: &Guest, vcpu: &V) -> Exception {
    if guest.notices.first(Notice::OperandElsewhere) {
        let (fault, rip) = (vcpu.nested_fault(), vcpu.rip());
        log::warn!(
            "{fault:x?} is not the access of the instruction at {rip:#x}, or crosses a page: #GP; \
             further ones are not logged"
        );
    }
    REFUSED
}

#[cold]
fn notice<V: Vcpu, M: Machine>(guest: &Guest, vcpu: &V, machine: &M) {
    let fault = vcpu.nested_fault();
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

/// The IDT, the stack or their page tables lie there: an exception during delivery.
#[cold]
fn on_delivery(event: Event) -> Result<Outcome, Exception> {
    match second_exception(event, REFUSED) {
        Some(exception) => Err(exception),
        None => {
            log::warn!("a double fault could not be delivered: the machine is reset");
            Ok(Outcome::Reset)
        }
    }
}
