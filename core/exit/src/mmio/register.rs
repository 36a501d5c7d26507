//! Parts of general purpose registers, as instructions name them.

use crate::{Gpr, Vcpu, gpr};
use iced_x86::Register;
use mediator::Width;

/// A general purpose register, or the low part of it, or AH, CH, DH, BH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegisterPart {
    pub gpr: Gpr,
    pub width: Width,
    /// Bits 15:8; the width is a byte.
    pub high: bool,
}

impl RegisterPart {
    /// The accumulator: AL, AX, EAX or RAX.
    pub const fn accumulator(width: Width) -> Self {
        Self { gpr: Gpr::Rax, width, high: false }
    }

    /// `None`: no general purpose register.
    pub(super) fn of(register: Register) -> Option<Self> {
        let number = register as usize;
        let (first, width) = match register {
            Register::AH | Register::CH | Register::DH | Register::BH => {
                let gpr = Gpr::by_number(number.checked_sub(Register::AH as usize)?)?;
                return Some(Self { gpr, width: Width::Byte, high: true });
            }
            Register::AL | Register::CL | Register::DL | Register::BL => (Register::AL as usize, Width::Byte),
            // The encoding order again, but for the four of AH to BH in between.
            r if (Register::SPL..=Register::R15L).contains(&r) => {
                ((Register::SPL as usize).checked_sub(4)?, Width::Byte)
            }
            r if (Register::AX..=Register::R15W).contains(&r) => (Register::AX as usize, Width::Word),
            r if (Register::EAX..=Register::R15D).contains(&r) => (Register::EAX as usize, Width::Dword),
            r if (Register::RAX..=Register::R15).contains(&r) => (Register::RAX as usize, Width::Qword),
            _ => return None,
        };
        Some(Self { gpr: Gpr::by_number(number.checked_sub(first)?)?, width, high: false })
    }

    /// The part's value, zero-extended.
    #[inline]
    pub(crate) fn get<V: Vcpu>(self, vcpu: &V) -> u64 {
        let value = vcpu.gpr(self.gpr);
        if self.high { value >> 8 & 0xff } else { value & self.width.ones() }
    }

    /// Writes the low bits of `value` to the part.
    #[inline]
    pub(crate) fn set<V: Vcpu>(self, vcpu: &mut V, value: u64) {
        if self.high {
            let kept = vcpu.gpr(self.gpr) & !0xff00;
            vcpu.set_gpr(self.gpr, kept | (value & 0xff) << 8);
        } else {
            gpr::set_low(vcpu, self.gpr, self.width, value);
        }
    }
}
