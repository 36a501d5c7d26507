//! VMX root operation, as far as a guest needs it that enters a virtual machine of its own.
//! Intel SDM (order number 325462, revision 083) Vol. 3C 24.7, 25.11, 31.3.

use super::cpu;
use core::arch::{asm, global_asm};
use x86::vmx::{Capabilities, Field, capability};

pub const CR4_VMXE: u64 = 1 << 13;
const FEATURE_CONTROL: u32 = 0x3a;
const LOCK: u64 = 1 << 0;
const VMX_OUTSIDE_SMX: u64 = 1 << 2;

// The host's stack pointer is loaded from memory after an exit, so that HOST_RSP may be anything.
global_asm!(
    ".section .text.vmx, \"ax\"",
    "vmx_launch:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [vmx_stack], rsp",
    "vmlaunch",
    "mov eax, 1",
    "jz 2f",
    "mov eax, 2",
    "jmp 2f",
    "vmx_exit:",
    "mov rsp, [vmx_stack]",
    "xor eax, eax",
    "2:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".section .bss.vmx, \"aw\", @nobits",
    ".balign 8",
    "vmx_stack: .space 8",
);

unsafe extern "C" {
    static vmx_exit: u8;
    fn vmx_launch() -> u32;
}

/// What VMLAUNCH did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Launch {
    /// Host state was loaded: after a visit to the guest, or after a failed entry; EXIT_REASON tells.
    Exit,
    /// VMfailValid: VM_INSTRUCTION_ERROR tells why.
    FailValid,
    /// VMfailInvalid.
    FailInvalid,
}

/// Where HOST_RIP must point.
pub fn exit_address() -> u64 {
    (&raw const vmx_exit) as u64
}

/// Enters VMX operation with the VMXON region at a page of this program's.
pub fn enable(region: u64) -> Capabilities {
    let rdmsr = |number| match cpu::rdmsr(number) {
        Ok(value) => value,
        Err(f) => crate::report::fail(format_args!("RDMSR of {number:#x}: {f:x?}")),
    };
    let control = rdmsr(FEATURE_CONTROL);
    if control & LOCK == 0 {
        // SAFETY: allows VMXON.
        let written = unsafe { cpu::wrmsr(FEATURE_CONTROL, control | LOCK | VMX_OUTSIDE_SMX) };
        check!(written.is_ok(), "IA32_FEATURE_CONTROL cannot be written: {written:x?}");
    } else {
        check!(control & VMX_OUTSIDE_SMX != 0, "the firmware has locked VMX off");
    }
    let capabilities = Capabilities::read(rdmsr);
    // SAFETY: the fixed bits change nothing for this program: NE, and paging and protection, which it has.
    unsafe {
        cpu::set_cr0(capabilities.cr0.apply(cpu::cr0()));
        cpu::set_cr4(cpu::cr4() | CR4_VMXE);
    }
    super::memory::poke(region, rdmsr(capability::msr::VMX_BASIC) as u32 & 0x7fff_ffff);
    let failed: u8;
    // SAFETY: the region is the CPU's from now on.
    unsafe { asm!("vmxon [{}]", "setbe {}", in(reg) &region, out(reg_byte) failed) };
    check_eq!(failed, 0, "VMXON");
    capabilities
}

/// VMCLEAR and VMPTRLD.
pub fn load(vmcs: u64) {
    let (cleared, loaded): (u8, u8);
    // SAFETY: a page of this program's with the revision.
    unsafe {
        asm!("vmclear [{}]", "setbe {}", in(reg) &vmcs, out(reg_byte) cleared);
        asm!("vmptrld [{}]", "setbe {}", in(reg) &vmcs, out(reg_byte) loaded);
    }
    check_eq!((cleared, loaded), (0, 0), "VMCLEAR, VMPTRLD");
}

/// False: this CPU has no such field.
pub fn write(field: Field, value: u64) -> bool {
    let failed: u8;
    // SAFETY: what the VMCS holds counts at the next entry.
    unsafe { asm!("vmwrite {}, {}", "setbe {}", in(reg) u64::from(field.0), in(reg) value, out(reg_byte) failed) };
    failed == 0
}

/// A field that this CPU has.
pub fn read(field: Field) -> u64 {
    let value;
    // SAFETY: reads the current VMCS.
    unsafe { asm!("vmread {}, {}", out(reg) value, in(reg) u64::from(field.0)) };
    value
}

/// VMLAUNCH.
///
/// # Safety
/// If the CPU takes the VMCS, its host state is this program's, with [`exit_address`], and the guest touches nothing.
pub unsafe fn launch() -> Launch {
    // SAFETY: the caller's promise.
    match unsafe { vmx_launch() } {
        0 => Launch::Exit,
        1 => Launch::FailValid,
        _ => Launch::FailInvalid,
    }
}
