//! The guest's own VMX and SMX instructions are refused as on a CPU without VMX, its control bits and registers too.
//! Intel SDM Vol. 3C (order number 326019) 24.7 and 24.8 (FEATURE_CONTROL, CR4.VMXE), Vol. 2D (334569) chapter 6 (GETSEC),
//! Vol. 3D (332831) appendix A (capability MSRs).
//!
//! On the bare machine the CPU tells what it has: outside of VMX operation each instruction raises #UD on every CPU, while
//! CR4.VMXE can be set where CPUID tells of VMX.

use super::shoji;
use super::svm_insns::check_refused;
use crate::machine::cpu::{self, cpuid, rdmsr, wrmsr};
use crate::machine::exceptions::{Fault, GP, UD, catch};
use core::arch::global_asm;

// Each on 16 bytes, with a UD2 behind it: an instruction that is carried out is told by where the exception comes. RAX is
// the address of a page of RAM.
global_asm!(
    ".macro vmx_instruction line:vararg",
    ".balign 16",
    "\\line",
    "ud2",
    ".endm",
    ".section .text.vmx_instructions, \"ax\"",
    ".code64",
    ".balign 16",
    "vmx_instructions:",
    "vmx_instruction vmxon [rax]",
    "vmx_instruction vmxoff",
    "vmx_instruction vmcall",
    "vmx_instruction vmlaunch",
    "vmx_instruction vmresume",
    "vmx_instruction vmread [rax], rcx",
    "vmx_instruction vmread rdx, rcx",
    "vmx_instruction vmwrite rcx, [rax]",
    "vmx_instruction vmptrld [rax]",
    "vmx_instruction vmptrst [rax]",
    "vmx_instruction vmclear [rax]",
    "vmx_instruction invept rcx, [rax]",
    "vmx_instruction invvpid rcx, [rax]",
    "vmx_instruction vmfunc",
    "vmx_instruction getsec",
);

unsafe extern "C" {
    static vmx_instructions: u8;
}

const NAMES: [&str; 15] = [
    "VMXON",
    "VMXOFF",
    "VMCALL",
    "VMLAUNCH",
    "VMRESUME",
    "VMREAD to memory",
    "VMREAD to a register",
    "VMWRITE",
    "VMPTRLD",
    "VMPTRST",
    "VMCLEAR",
    "INVEPT",
    "INVVPID",
    "VMFUNC",
    "GETSEC",
];

const VMX: u32 = 1 << 5; // leaf 1 ECX
const SMX: u32 = 1 << 6; // leaf 1 ECX
const CR4_VMXE: u64 = 1 << 13;
const CR4_SMXE: u64 = 1 << 14;
const FEATURE_CONTROL: u32 = 0x3a;
const LOCK: u64 = 1 << 0;
const VMX_IN_AND_OUTSIDE_SMX: u64 = 1 << 1 | 1 << 2;
const SMM_MONITOR_CTL: u32 = 0x9b;
const CAPABILITIES: core::ops::RangeInclusive<u32> = 0x480..=0x493;

pub fn run() {
    let code = (&raw const vmx_instructions) as u64;
    for (i, name) in NAMES.into_iter().enumerate() {
        check_refused(name, code + 16 * i as u64, &[UD]);
    }
    let features = cpuid(1).ecx;
    if shoji() {
        check_eq!(features & (VMX | SMX), 0, "VMX and SMX in leaf 1");
    }
    // Others have neither the bits nor the registers; and QEMU 7.2 does not raise #GP for a reserved bit of CR4, but leaves
    // the virtual machine, or what it takes for one.
    if cpu::is_intel() {
        control_bit("VMXE", CR4_VMXE, features & VMX != 0);
        control_bit("SMXE", CR4_SMXE, features & SMX != 0);
        registers(features & VMX != 0);
    }
}

/// The bit can be set where the feature is, and is reserved elsewhere.
fn control_bit(name: &str, bit: u64, there: bool) {
    let before = cpu::cr4();
    // SAFETY: neither bit has an effect without the instructions.
    let set = catch(&mut || unsafe { cpu::set_cr4(before | bit) });
    match set {
        Ok(()) if there => check_eq!(cpu::cr4(), before | bit, "CR4 with {name}"),
        Err(Fault { vector: GP, error: 0, .. }) if !there => {
            check_eq!(cpu::cr4(), before, "CR4 after {name} was refused")
        }
        other => crate::report::fail(format_args!("setting CR4.{name}: {other:x?}; in CPUID: {there}")),
    }
    say!("CR4.{name}: {}", if there { "can be set" } else { "#GP" });
    // SAFETY: the value of before.
    unsafe { cpu::set_cr4(before) };
}

fn registers(vmx: bool) {
    for msr in CAPABILITIES.chain([SMM_MONITOR_CTL]) {
        let (read, first) = (rdmsr(msr), msr == *CAPABILITIES.start());
        // Which others there are differs between CPUs with VMX.
        check!(!first || read.is_ok() == vmx, "VMX_BASIC: {read:x?}; VMX in CPUID: {vmx}");
        if !vmx {
            check!(matches!(read, Err(Fault { vector: GP, error: 0, .. })), "MSR {msr:#x}: {read:x?}");
        }
    }
    if !shoji() {
        return;
    }
    let value = match rdmsr(FEATURE_CONTROL) {
        Ok(value) => value,
        Err(f) => crate::report::fail(format_args!("reading FEATURE_CONTROL: {f:x?}")),
    };
    say!("FEATURE_CONTROL {value:#x}");
    check_eq!(value & (LOCK | VMX_IN_AND_OUTSIDE_SMX), LOCK, "FEATURE_CONTROL");
    for written in [0, value, value | VMX_IN_AND_OUTSIDE_SMX, value & !LOCK] {
        // SAFETY: expected to be refused.
        let result = unsafe { wrmsr(FEATURE_CONTROL, written) };
        check!(
            matches!(result, Err(Fault { vector: GP, error: 0, .. })),
            "FEATURE_CONTROL = {written:#x}: {result:x?}"
        );
    }
    check_eq!(rdmsr(FEATURE_CONTROL), Ok(value), "FEATURE_CONTROL after it was written");
}
