//! Memory type range registers: which type a range of physical memory has (SDM Vol. 3A 12.11).

use crate::MemoryType;
use alloc::vec::Vec;

/// Numbers of the registers (12.11.1, 12.11.2).
pub mod msr {
    pub const MTRRCAP: u32 = 0xFE;
    /// Base and mask of each variable range follow each other.
    pub const MTRR_PHYSBASE0: u32 = 0x200;
    pub const MTRR_PHYSMASK0: u32 = 0x201;
    pub const MTRR_FIX64K_00000: u32 = 0x250;
    pub const MTRR_FIX16K_80000: u32 = 0x258;
    pub const MTRR_FIX16K_A0000: u32 = 0x259;
    pub const MTRR_FIX4K_C0000: u32 = 0x268;
    pub const MTRR_FIX4K_F8000: u32 = 0x26F;
    pub const MTRR_DEF_TYPE: u32 = 0x2FF;
}

/// Bits of MTRRCAP.
const CAP_VCNT: u64 = 0xFF;
const CAP_FIX: u64 = 1 << 8;
const CAP_WC: u64 = 1 << 10;
/// Bits of MTRR_DEF_TYPE: fixed ranges enabled, all enabled.
const DEF_FE: u64 = 1 << 10;
const DEF_E: u64 = 1 << 11;
/// Bit of a variable range's mask: the range is in use.
const MASK_V: u64 = 1 << 11;
/// Address bits of base and mask.
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// End of the fixed ranges.
const FIXED_END: u64 = 1 << 20;

/// The fixed-range registers in ascending order of their ranges, eight each: 64 KiB, 16 KiB from 80000h, 4 KiB from C0000h.
const FIXED_REGISTERS: [u32; 11] = [
    msr::MTRR_FIX64K_00000,
    msr::MTRR_FIX16K_80000,
    msr::MTRR_FIX16K_A0000,
    msr::MTRR_FIX4K_C0000,
    0x269,
    0x26A,
    0x26B,
    0x26C,
    0x26D,
    0x26E,
    msr::MTRR_FIX4K_F8000,
];

/// A variable range: the addresses whose bits under the mask are the base's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Variable {
    base: u64,
    mask: u64,
    memory: MemoryType,
}

/// A CPU's MTRRs as they were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mtrrs {
    count: u8,
    has_fixed: bool,
    enabled: bool,
    default: MemoryType,
    /// In the order of [`FIXED_REGISTERS`]; `None` when not enabled.
    fixed: Option<[u64; FIXED_REGISTERS.len()]>,
    /// Those in use.
    variable: Vec<Variable>,
}

impl Mtrrs {
    /// Reads the registers that the CPU has. `None`: it has no MTRRs, or does not let one be read that it must have.
    pub fn read(mut rdmsr: impl FnMut(u32) -> Option<u64>) -> Option<Self> {
        let capability = rdmsr(msr::MTRRCAP)?;
        let def_type = rdmsr(msr::MTRR_DEF_TYPE)?;
        let has_fixed = capability & CAP_FIX != 0;
        let mut mtrrs = Self {
            count: (capability & CAP_VCNT) as u8,
            has_fixed,
            enabled: def_type & DEF_E != 0,
            default: memory_type(def_type),
            fixed: None,
            variable: Vec::new(),
        };
        if has_fixed && def_type & DEF_FE != 0 {
            let mut values = [0; FIXED_REGISTERS.len()];
            for (value, register) in values.iter_mut().zip(FIXED_REGISTERS) {
                *value = rdmsr(register)?;
            }
            mtrrs.fixed = Some(values);
        }
        for (base, mask) in mtrrs.variable_registers() {
            let (base, mask) = (rdmsr(base)?, rdmsr(mask)?);
            if mask & MASK_V != 0 {
                mtrrs.variable.push(Variable {
                    base: base & mask & ADDRESS,
                    mask: mask & ADDRESS,
                    memory: memory_type(base),
                });
            }
        }
        Some(mtrrs)
    }

    /// Does a variable range consist of many pieces below 2 to the power of `address_bits`? Firmware leaves no such mask.
    pub fn has_holes(&self, address_bits: u8) -> bool {
        let last = 1_u64.checked_shl(address_bits.into()).map_or(u64::MAX, |end| end.wrapping_sub(1));
        self.variable.iter().any(|range| !range.is_contiguous_in(0, last))
    }

    /// The registers whose writes change types: all but MTRRCAP.
    pub fn registers(&self) -> impl Iterator<Item = u32> {
        let fixed = if self.has_fixed { FIXED_REGISTERS.as_slice() } else { &[] };
        let variable = self.variable_registers().flat_map(|(base, mask)| [base, mask]);
        [msr::MTRR_DEF_TYPE].into_iter().chain(fixed.iter().copied()).chain(variable)
    }

    /// The one type of `len_bytes` of memory from an address on; a length of 0 counts as 1. `None`: parts of it differ,
    /// or cannot be told to be the same (a mask with holes; never for ranges within a 4 KiB page). Ask for parts then.
    pub fn type_of(&self, first: u64, len_bytes: u64) -> Option<MemoryType> {
        let last = first.checked_add(len_bytes.saturating_sub(1))?;
        if !self.enabled {
            return Some(MemoryType::Uncacheable);
        }
        if self.variable.iter().any(|range| !range.is_contiguous_in(first, last)) {
            return None;
        }
        let memory = self.type_at(first);
        let mut at = first;
        while let Some(edge) = self.edge_after(at).filter(|edge| *edge <= last) {
            if self.type_at(edge) != memory {
                return None;
            }
            at = edge;
        }
        Some(memory)
    }

    fn variable_registers(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        (0..u32::from(self.count)).map(|n| {
            let offset = n.saturating_mul(2);
            (msr::MTRR_PHYSBASE0.saturating_add(offset), msr::MTRR_PHYSMASK0.saturating_add(offset))
        })
    }

    /// Fixed ranges come before variable ones; of those, the precedences of 12.11.4.1.
    fn type_at(&self, address: u64) -> MemoryType {
        if let Some((memory, _)) = self.fixed_at(address) {
            return memory;
        }
        let types = self.variable.iter().filter(|range| range.contains(address)).map(|range| range.memory);
        types.reduce(overlap).unwrap_or(self.default)
    }

    /// Type and end of the fixed range of an address.
    fn fixed_at(&self, address: u64) -> Option<(MemoryType, u64)> {
        let values = self.fixed.as_ref().filter(|_| address < FIXED_END)?;
        // Register of the address, and how many address bits one of its ranges has.
        let (register, bits) = match address {
            0..0x8_0000 => (0, 16),
            0x8_0000..0xA_0000 => (1, 14),
            0xA_0000..0xC_0000 => (2, 14),
            _ => ((address >> 15 & 7).saturating_add(3), 12_u32),
        };
        let value = values.get(usize::try_from(register).ok()?)?;
        let byte = (address >> bits & 7) as u32;
        let end = (address >> bits).saturating_add(1) << bits;
        Some((memory_type(value >> byte.saturating_mul(8)), end))
    }

    /// The first address behind this one where the type may be another.
    fn edge_after(&self, address: u64) -> Option<u64> {
        match self.fixed_at(address) {
            Some((_, end)) => Some(end),
            None => self.variable.iter().filter_map(|range| range.edge_after(address)).min(),
        }
    }
}

impl Variable {
    const fn contains(&self, address: u64) -> bool {
        (address ^ self.base) & self.mask == 0
    }

    /// Size of the range, and distance to its next copy: the lowest ones of the mask, and the first zero above them. A
    /// mask that reaches to the CPU's highest address bit has no copy below the end of memory.
    const fn size_and_period(&self) -> (u64, u64) {
        let size = self.mask & self.mask.wrapping_neg();
        let above = self.mask.wrapping_add(size);
        (size, above & above.wrapping_neg())
    }

    /// The mask makes one contiguous range at most out of these addresses.
    const fn is_contiguous_in(&self, first: u64, last: u64) -> bool {
        self.mask == 0 || (first ^ last) < self.size_and_period().1
    }

    /// Start or end of the range, if behind this address and before the next copy.
    fn edge_after(&self, address: u64) -> Option<u64> {
        if self.mask == 0 {
            return None;
        }
        let (size, period) = self.size_and_period();
        let within = period.wrapping_sub(1);
        if (address ^ self.base) & self.mask & !within != 0 {
            return None;
        }
        let start = address & !within | self.base & within;
        [start, start.wrapping_add(size)].into_iter().find(|edge| *edge > address)
    }
}

/// The type in the low byte. A reserved one is the safe one.
const fn memory_type(register: u64) -> MemoryType {
    match MemoryType::new(register as u8) {
        Some(memory) => memory,
        None => MemoryType::Uncacheable,
    }
}

/// Type of memory that two variable ranges hold (12.11.4.1). What the manual leaves undefined is uncacheable here.
fn overlap(one: MemoryType, other: MemoryType) -> MemoryType {
    use MemoryType::{Uncacheable, WriteBack, WriteThrough};
    match (one, other) {
        _ if one == other => one,
        (WriteBack, WriteThrough) | (WriteThrough, WriteBack) => WriteThrough,
        _ => Uncacheable,
    }
}

mod registers;
#[cfg(test)]
mod tests;

pub use registers::MtrrRegisters;
