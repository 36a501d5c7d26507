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
/// A driver has seven or so for each operation, wherever the linker put them: those of the same set must not throw each other out at
/// each operation, since to decode one anew costs more than five exits.
const SET_BITS: u32 = 4;
const SETS: usize = 1 << SET_BITS;
const WAYS: usize = 4;
/// 2^32 divided by the golden ratio: products with it spread what lies close together, or in even steps, over their upper bits.
const SPREAD: u32 = 0x9e37_79b9;
/// As much as is read at once; more than any instruction has.
const CODE_BYTES: u64 = 16;

/// Where no instruction is remembered: one there would need no page.
const NOWHERE: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Entry {
    linear: u64,
    cr3: u64,
    /// Of the page.
    physical: u64,
    /// The instruction, its first byte lowest; above it nothing, as in `mask`.
    code: u128,
    mask: u128,
    bitness: u32,
    access: MmioAccess,
}

impl Entry {
    const EMPTY: Self =
        Self { linear: NOWHERE, cr3: 0, physical: 0, code: 0, mask: 0, bitness: 0, access: MmioAccess::NONE };

    /// Is this the instruction at `linear`?
    #[inline]
    fn is<V: Vcpu, M: Machine>(&self, vcpu: &V, machine: &mut M, linear: u64, bitness: u32) -> bool {
        self.linear == linear
            && linear != NOWHERE
            && self.cr3 == vcpu.control().cr3
            && self.bitness == bitness
            && code_at(machine, self.physical, linear & PAGE_MASK).is_some_and(|code| code & self.mask == self.code)
    }
}

/// Of one CPU.
pub(crate) struct DecodeCache([[Entry; WAYS]; SETS]);

impl DecodeCache {
    pub const EMPTY: Self = Self([[Entry::EMPTY; WAYS]; SETS]);

    #[inline]
    fn set(linear: u64) -> usize {
        (linear as u32).wrapping_mul(SPREAD).wrapping_shr(32 - SET_BITS) as usize
    }

    #[cfg(test)]
    pub fn remembers(&self, linear: u64) -> bool {
        self.0[Self::set(linear)].iter().any(|entry| entry.linear == linear)
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
pub(crate) fn current<'c, V: Vcpu, M: Machine>(
    cpu: &'c mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
) -> Result<&'c MmioAccess, Exception> {
    let (linear, bitness) = instruction::place(vcpu);
    let set = cpu.decoded.0.get_mut(DecodeCache::set(linear)).ok_or(Exception::InvalidOpcode)?;
    let way = match set.iter().position(|entry| entry.is(vcpu, machine, linear, bitness)) {
        Some(way) => way,
        None => {
            let new = decode_current(cpu.guest, vcpu, machine, linear)?;
            remember(set, new);
            0
        }
    };
    set.get(way).map(|entry| &entry.access).ok_or(Exception::InvalidOpcode)
}

/// The one that was decoded first goes.
#[cold]
fn remember(set: &mut [Entry; WAYS], new: Entry) {
    set.rotate_right(1);
    let [first, ..] = set;
    *first = new;
}

#[cold]
fn decode_current<V: Vcpu, M: Machine>(
    guest: &Guest,
    vcpu: &V,
    machine: &mut M,
    linear: u64,
) -> Result<Entry, Exception> {
    let fetched = instruction::fetch(guest, vcpu, machine);
    let instruction = fetched.decode()?;
    let code = fetched.code(instruction.len() as u8);
    let access = decode(&instruction).map_err(|kind| refuse(guest, vcpu, kind, code))?;
    let last = linear.wrapping_add(u64::from(access.len_bytes)).wrapping_sub(1);
    let in_one_page = (last ^ linear) & !PAGE_MASK == 0;
    let unused_bits = 128_u32.wrapping_sub(u32::from(access.len_bytes).wrapping_mul(8));
    Ok(Entry {
        // One that reaches into the next page is not found again.
        linear: if in_one_page { linear } else { NOWHERE },
        cr3: vcpu.control().cr3,
        physical: instruction::translate(guest, vcpu, machine, linear)?.0 & !PAGE_MASK,
        code,
        mask: u128::MAX.wrapping_shr(unused_bits),
        bitness: instruction::bitness(vcpu),
        access,
    })
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
