//! The VMX instructions (SDM chapter 31) and how they fail (s. 31.2).

use core::arch::asm;
use core::fmt;
use hw::Hpa;
use x86::vmx::{Field, InstructionError, InvEpt, InvEptDescriptor, InvVpid, InvVpidDescriptor};

/// Why a VMX instruction failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmFail {
    /// There is no current VMCS, or the operand is none (VMfailInvalid).
    Invalid,
    /// The current VMCS holds the reason (VMfailValid).
    Valid(InstructionError),
}

impl fmt::Display for VmFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("no current VMCS, or an operand that is none"),
            Self::Valid(error) => write!(f, "{error}"),
        }
    }
}

/// From what an instruction left in the flags.
fn result(carry: u8, zero: u8) -> Result<(), VmFail> {
    match (carry, zero) {
        (0, 0) => Ok(()),
        (0, _) => Err(reason()),
        _ => Err(VmFail::Invalid),
    }
}

/// What the current VMCS holds after VMfailValid.
pub fn reason() -> VmFail {
    VmFail::Valid(InstructionError(read(Field::VM_INSTRUCTION_ERROR) as u32))
}

/// One instruction with named operands, and its result.
macro_rules! checked {
    ($code:literal, $($operand:tt)*) => {{
        let (carry, zero): (u8, u8);
        asm!($code, "setc {carry}", "setz {zero}", carry = out(reg_byte) carry, zero = out(reg_byte) zero, $($operand)*);
        result(carry, zero)
    }};
}

/// VMXON with the VMXON region at `region`.
///
/// # Safety
/// CR0, CR4 and IA32_FEATURE_CONTROL allow it; the frame holds the revision and is the CPU's from now on.
pub unsafe fn vmxon(region: Hpa) -> Result<(), VmFail> {
    let (carry, zero): (u8, u8);
    // SAFETY: the caller's promise. Before VMXON no VMCS can tell more than the flags.
    unsafe {
        asm!("vmxon [{at}]", "setc {carry}", "setz {zero}", at = in(reg) &region.0, carry = out(reg_byte) carry,
             zero = out(reg_byte) zero);
    }
    if carry | zero == 0 { Ok(()) } else { Err(VmFail::Invalid) }
}

/// VMXOFF.
///
/// # Safety
/// In VMX root operation; no guest runs any more.
pub unsafe fn vmxoff() {
    // SAFETY: the caller's promise.
    unsafe { asm!("vmxoff") };
}

/// VMCLEAR of the VMCS at `vmcs`.
///
/// # Safety
/// In VMX root operation; the frame is a VMCS of our own.
pub unsafe fn vmclear(vmcs: Hpa) -> Result<(), VmFail> {
    // SAFETY: the caller's promise.
    unsafe { checked!("vmclear [{at}]", at = in(reg) &vmcs.0) }
}

/// VMPTRLD: the VMCS at `vmcs` is the current one.
///
/// # Safety
/// As [`vmclear`].
pub unsafe fn vmptrld(vmcs: Hpa) -> Result<(), VmFail> {
    // SAFETY: the caller's promise.
    unsafe { checked!("vmptrld [{at}]", at = in(reg) &vmcs.0) }
}

/// A field of the current VMCS. It must be one that this CPU has: others read as anything.
///
/// What is not used is not read, and what cannot have changed not twice: VMREAD is dear.
#[inline(always)]
pub fn read(field: Field) -> u64 {
    let value;
    // SAFETY: VMREAD to a register has no effect. The VMCS counts as memory here, which all that changes it clobbers: VMWRITE,
    // VM entries, VMPTRLD. There is a current VMCS from `VmxVcpu::new` on.
    unsafe { asm!("vmread {}, {}", out(reg) value, in(reg) u64::from(field.0), options(pure, readonly, nostack)) };
    value
}

/// A field of the current VMCS, or `None` where this CPU has no such field.
pub fn try_read(field: Field) -> Option<u64> {
    let (value, failed): (u64, u8);
    // SAFETY: as for `read`.
    unsafe {
        asm!("vmread {value}, {field}", "setbe {failed}", value = out(reg) value, failed = out(reg_byte) failed,
             field = in(reg) u64::from(field.0), options(nomem, nostack));
    }
    (failed == 0).then_some(value)
}

/// Sets a field of the current VMCS.
///
/// # Panics
/// The CPU refuses it: the field is none of this CPU's, which is a defect of the VMM.
#[inline(always)]
pub fn write(field: Field, value: u64) {
    // SAFETY: what the guest or the host gets by it is decided by the callers in this crate; there is a current VMCS from
    // `VmxVcpu::new` on.
    unsafe {
        asm!("vmwrite {field}, {value}", "jbe {failed}", field = in(reg) u64::from(field.0), value = in(reg) value,
             failed = label { write_failed(field) }, options(nostack));
    }
}

/// As [`write`], for the NMI handler: nothing happens while there is no current VMCS.
pub fn try_write(field: Field, value: u64) {
    // SAFETY: as for `write`.
    unsafe { asm!("vmwrite {}, {}", in(reg) u64::from(field.0), in(reg) value, options(nostack)) };
}

#[cold]
fn write_failed(field: Field) -> ! {
    panic!("VMWRITE of {field:?} fails: {}", reason());
}

/// Forgets what is cached of nested tables (s. 31.3, INVEPT).
///
/// # Errors
/// The CPU lacks the type.
pub fn invept(kind: InvEpt, descriptor: &InvEptDescriptor) -> Result<(), VmFail> {
    // SAFETY: invalidation has no effect but on time. In VMX root operation since `enable`.
    unsafe { checked!("invept {kind}, [{at}]", kind = in(reg) kind as u64, at = in(reg) descriptor) }
}

/// Forgets what is cached of a guest's linear addresses (s. 31.3, INVVPID).
///
/// # Errors
/// The CPU lacks the type.
pub fn invvpid(kind: InvVpid, descriptor: &InvVpidDescriptor) -> Result<(), VmFail> {
    // SAFETY: as for `invept`.
    unsafe { checked!("invvpid {kind}, [{at}]", kind = in(reg) kind as u64, at = in(reg) descriptor) }
}
