//! The registers themselves, kept in memory for a guest.

use super::{CAP_FIX, CAP_VCNT, CAP_WC, DEF_E, DEF_FE, FIXED_REGISTERS, MASK_V, Mtrrs, msr};
use crate::MemoryType;
use alloc::vec::Vec;

/// The type in a register's low byte.
const TYPE: u64 = 0xFF;
/// Bits of a variable range's base and mask below the address (12.11.2.3).
const PAGE: u64 = 0xFFF;

/// MTRRs as a guest has set them, with the checks of a CPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MtrrRegisters {
    capability: u64,
    def_type: u64,
    /// In the order of [`FIXED_REGISTERS`].
    fixed: [u64; FIXED_REGISTERS.len()],
    /// Base and mask of each range follow each other.
    variable: Vec<u64>,
    /// Address bits that the CPU has not.
    beyond: u64,
}

impl MtrrRegisters {
    /// Copies those of a CPU with so many bits of physical addresses. `None`: it has no MTRRs, or does not let one be read
    /// that it must have.
    pub fn read(mut rdmsr: impl FnMut(u32) -> Option<u64>, address_bits: u8) -> Option<Self> {
        let capability = rdmsr(msr::MTRRCAP)?;
        let mut fixed = [0; FIXED_REGISTERS.len()];
        if capability & CAP_FIX != 0 {
            for (value, register) in fixed.iter_mut().zip(FIXED_REGISTERS) {
                *value = rdmsr(register)?;
            }
        }
        let count = u32::try_from(capability & CAP_VCNT).ok()?.saturating_mul(2);
        let variable = (0..count).map(|n| rdmsr(msr::MTRR_PHYSBASE0.saturating_add(n))).collect::<Option<_>>()?;
        let beyond = u64::MAX.checked_shl(address_bits.into()).unwrap_or(0);
        Some(Self { capability, def_type: rdmsr(msr::MTRR_DEF_TYPE)?, fixed, variable, beyond })
    }

    /// RDMSR; `None`: there is no such register.
    pub fn get(&self, register: u32) -> Option<u64> {
        match register {
            msr::MTRRCAP => Some(self.capability),
            msr::MTRR_DEF_TYPE => Some(self.def_type),
            _ => match self.fixed_index(register) {
                Some(index) => self.fixed.get(index).copied(),
                None => self.variable.get(variable_index(register)?).copied(),
            },
        }
    }

    /// WRMSR; tells whether it changes anything. `None`: #GP, because there is no such register, a reserved bit is set or a
    /// type is none (12.11.2, 12.11.7.2).
    pub fn set(&mut self, register: u32, value: u64) -> Option<bool> {
        let valid = match register {
            msr::MTRR_DEF_TYPE => value & !(TYPE | DEF_FE | DEF_E) == 0 && self.is_type(value),
            _ if self.fixed_index(register).is_some() => {
                value.to_le_bytes().into_iter().all(|byte| self.is_type(byte.into()))
            }
            _ => {
                let is_mask = variable_index(register)? & 1 != 0;
                let low = value & PAGE;
                let low_is_valid = if is_mask { low & !MASK_V == 0 } else { low <= TYPE && self.is_type(low) };
                low_is_valid && value & self.beyond == 0
            }
        };
        let fixed = self.fixed_index(register);
        let slot = match register {
            msr::MTRR_DEF_TYPE => &mut self.def_type,
            _ => match fixed {
                Some(index) => self.fixed.get_mut(index)?,
                None => self.variable.get_mut(variable_index(register)?)?,
            },
        };
        valid.then(|| core::mem::replace(slot, value) != value)
    }

    /// MTRRs are on at all.
    pub fn is_enabled(&self) -> bool {
        self.def_type & DEF_E != 0
    }

    /// The types that they give.
    pub fn types(&self) -> Option<Mtrrs> {
        Mtrrs::read(|register| self.get(register))
    }

    fn fixed_index(&self, register: u32) -> Option<usize> {
        let index = FIXED_REGISTERS.iter().position(|fixed| *fixed == register);
        index.filter(|_| self.capability & CAP_FIX != 0)
    }

    fn is_type(&self, value: u64) -> bool {
        match MemoryType::new((value & TYPE) as u8) {
            Some(MemoryType::WriteCombining) => self.capability & CAP_WC != 0,
            Some(_) => true,
            None => false,
        }
    }
}

fn variable_index(register: u32) -> Option<usize> {
    usize::try_from(register.checked_sub(msr::MTRR_PHYSBASE0)?).ok()
}
