//! General purpose registers by number and width.

use crate::{Gpr, Vcpu};
use mediator::Width;

/// The registers by their encoding.
const GPRS: [Gpr; 16] = [
    Gpr::Rax,
    Gpr::Rcx,
    Gpr::Rdx,
    Gpr::Rbx,
    Gpr::Rsp,
    Gpr::Rbp,
    Gpr::Rsi,
    Gpr::Rdi,
    Gpr::R8,
    Gpr::R9,
    Gpr::R10,
    Gpr::R11,
    Gpr::R12,
    Gpr::R13,
    Gpr::R14,
    Gpr::R15,
];

/// Those of 32-bit code.
pub(crate) const LEGACY: [Gpr; 8] = [Gpr::Rax, Gpr::Rcx, Gpr::Rdx, Gpr::Rbx, Gpr::Rsp, Gpr::Rbp, Gpr::Rsi, Gpr::Rdi];

impl Gpr {
    /// The register with encoding `number`.
    pub fn by_number(number: usize) -> Option<Self> {
        GPRS.get(number).copied()
    }
}

/// Writes the low `width` of a register as the CPU does: a dword clears the upper half, smaller widths keep the rest
/// (SDM Vol. 1, 3.4.1.1).
#[inline]
pub(crate) fn set_low<V: Vcpu>(vcpu: &mut V, register: Gpr, width: Width, value: u64) {
    let value = value & width.ones();
    let kept = match width {
        Width::Byte | Width::Word => vcpu.gpr(register) & !width.ones(),
        Width::Dword | Width::Qword => 0,
    };
    vcpu.set_gpr(register, kept | value);
}

/// The low 32 bits: what MSR and CPUID instructions take of a register.
#[inline]
pub(crate) fn low_dword<V: Vcpu>(vcpu: &V, register: Gpr) -> u32 {
    vcpu.gpr(register) as u32
}

/// EDX:EAX as one number.
#[inline]
pub(crate) fn edx_eax<V: Vcpu>(vcpu: &V) -> u64 {
    u64::from(low_dword(vcpu, Gpr::Rdx)) << 32 | u64::from(low_dword(vcpu, Gpr::Rax))
}

/// Splits a number over EDX:EAX; the upper halves of both registers are cleared.
#[inline]
pub(crate) fn set_edx_eax<V: Vcpu>(vcpu: &mut V, value: u64) {
    vcpu.set_gpr(Gpr::Rax, value & 0xffff_ffff);
    vcpu.set_gpr(Gpr::Rdx, value >> 32);
}
