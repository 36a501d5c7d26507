//! Instructions that a CPU has decoded lately.
//!
//! Few instructions of a guest touch hooked pages, and those do it often. A remembered one is used again only if its
//! bytes still stand where they were found, in code of the same kind. A guest that maps another page there, without a
//! change of CR3, and keeps the old page as it is, can make the VMM carry out the old instruction in place of the new
//! one: on the page that the new one has touched, at the offset within it, and with effect on that guest alone.

use super::decode::{MmioAccess, NotEmulated, decode};
use crate::counters::Notice;
use crate::{Cpu, Exception, Guest, Machine, Vcpu, instruction};
use mediator::Gpa;

const PAGE_MASK: u64 = 0xfff;
const ENTRIES: usize = 16;
/// As much as is read at once; more than any instruction has.
const CODE_BYTES: u64 = 16;

#[derive(Clone, Copy)]
struct Entry {
    /// All ones where nothing is remembered: an instruction of one byte there would need no page.
    linear: u64,
    cr3: u64,
    /// Of the page.
    physical: u64,
    /// The instruction, its first byte lowest; above it nothing, as in `mask`.
    code: u128,
    mask: u128,
    bitness: u32,
    access: Option<MmioAccess>,
}

/// Of one CPU. An instruction that reaches into the next page is not remembered.
pub(crate) struct DecodeCache([Entry; ENTRIES]);

impl DecodeCache {
    pub const EMPTY: Self = Self(
        [Entry { linear: u64::MAX, cr3: u64::MAX, physical: 0, code: 0, mask: 0, bitness: 0, access: None }; ENTRIES],
    );

    #[inline]
    fn slot(linear: u64) -> usize {
        (linear ^ linear >> 4) as usize & (ENTRIES - 1)
    }

    #[inline]
    fn find<V: Vcpu, M: Machine>(&self, vcpu: &V, machine: &mut M, linear: u64) -> Option<&MmioAccess> {
        let entry = self.0.get(Self::slot(linear))?;
        let known = entry.linear == linear
            && entry.cr3 == vcpu.control().cr3
            && entry.bitness == instruction::bitness(vcpu)
            && code_at(machine, entry.physical, linear & PAGE_MASK)? & entry.mask == entry.code;
        if known { entry.access.as_ref() } else { None }
    }

    #[cfg(test)]
    pub fn remembers(&self, linear: u64) -> bool {
        self.0[Self::slot(linear)].linear == linear
    }

    fn insert(&mut self, entry: Entry) {
        if let Some(slot) = self.0.get_mut(Self::slot(entry.linear)) {
            *slot = entry;
        }
    }
}

/// What stands at `offset` of a page and behind it, up to the page's end.
#[inline]
fn code_at<M: Machine>(machine: &mut M, page: u64, offset: u64) -> Option<u128> {
    let from = offset.min(PAGE_MASK.wrapping_add(1).wrapping_sub(CODE_BYTES));
    let code = u128::from_le_bytes(machine.read_code::<{ CODE_BYTES as usize }>(Gpa(page | from))?);
    Some(code.wrapping_shr((offset.wrapping_sub(from) as u32).wrapping_mul(8)))
}

/// What the instruction at CS:RIP does with its operand in memory.
///
/// # Errors
/// #PF when its bytes are not mapped, #UD when they cannot be read or are an instruction that is not emulated.
#[inline]
pub(crate) fn current<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
) -> Result<MmioAccess, Exception> {
    let linear = instruction::linear_rip(vcpu);
    match cpu.decoded.find(vcpu, machine, linear) {
        Some(access) => Ok(*access),
        None => decode_current(cpu, vcpu, machine, linear),
    }
}

#[cold]
fn decode_current<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
    linear: u64,
) -> Result<MmioAccess, Exception> {
    let fetched = instruction::fetch(cpu.guest, vcpu, machine);
    let instruction = fetched.decode()?;
    let code = fetched.code(instruction.len() as u8);
    let access = decode(&instruction).map_err(|kind| refuse(cpu.guest, vcpu, kind, code))?;
    let last = linear.wrapping_add(u64::from(access.len_bytes)).wrapping_sub(1);
    if (last ^ linear) & !PAGE_MASK == 0 {
        let physical = instruction::translate(cpu.guest, vcpu, machine, linear)?.0 & !PAGE_MASK;
        let unused_bits = 128_u32.wrapping_sub(u32::from(access.len_bytes).wrapping_mul(8));
        cpu.decoded.insert(Entry {
            linear,
            cr3: vcpu.control().cr3,
            physical,
            code,
            mask: u128::MAX.wrapping_shr(unused_bits),
            bitness: instruction::bitness(vcpu),
            access: Some(access),
        });
    }
    Ok(access)
}

/// As on a CPU that does not have the instruction.
fn refuse<V: Vcpu>(guest: &Guest, vcpu: &V, kind: NotEmulated, code: u128) -> Exception {
    let (notice, what) = match kind {
        NotEmulated::Instruction => (Notice::InstructionNotEmulated, "instruction"),
        NotEmulated::Prefix => (Notice::PrefixNotEmulated, "LOCK or REP prefix"),
    };
    if guest.notices.first(notice) {
        let rip = vcpu.rip();
        log::warn!(
            "guest's {what} at {rip:#x} is not emulated on a device: #UD; bytes, the last one first: {code:x}; \
             further ones are not logged"
        );
    }
    Exception::InvalidOpcode
}
