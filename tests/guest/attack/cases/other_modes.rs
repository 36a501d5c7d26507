//! SVM and VMX instructions, CPUID, hypercalls and XSETBV in real mode, in protected mode without paging, and in
//! compatibility mode at both privilege levels; 64-bit mode is the tiny guests' `svm_insns` and `vmx_insns`.
//!
//! Safe: #UD or #GP in that mode, or carried out as on the bare CPU; the guest goes on in the same mode.

use core::arch::{asm, global_asm};
use tiny::machine::exceptions::catch;
use tiny::machine::memory::{peek, poke};
use tiny::machine::modes::{run16, run32};

const INSTRUCTIONS: [(&str, &[u8]); 26] = [
    ("VMRUN", &[0x0f, 0x01, 0xd8]),
    ("VMMCALL", &[0x0f, 0x01, 0xd9]),
    ("VMLOAD", &[0x0f, 0x01, 0xda]),
    ("VMSAVE", &[0x0f, 0x01, 0xdb]),
    ("STGI", &[0x0f, 0x01, 0xdc]),
    ("CLGI", &[0x0f, 0x01, 0xdd]),
    ("SKINIT", &[0x0f, 0x01, 0xde]),
    ("INVLPGA", &[0x0f, 0x01, 0xdf]),
    ("VMCALL", &[0x0f, 0x01, 0xc1]),
    ("VMLAUNCH", &[0x0f, 0x01, 0xc2]),
    ("VMRESUME", &[0x0f, 0x01, 0xc3]),
    ("VMXOFF", &[0x0f, 0x01, 0xc4]),
    ("VMFUNC", &[0x0f, 0x01, 0xd4]),
    ("VMPTRLD", &[0x0f, 0xc7, 0x34, 0x24]),
    ("VMPTRST", &[0x0f, 0xc7, 0x3c, 0x24]),
    ("VMCLEAR", &[0x66, 0x0f, 0xc7, 0x34, 0x24]),
    ("VMXON", &[0xf3, 0x0f, 0xc7, 0x34, 0x24]),
    ("VMREAD", &[0x0f, 0x78, 0xc1]),
    ("VMWRITE", &[0x0f, 0x79, 0xc1]),
    ("INVEPT", &[0x66, 0x0f, 0x38, 0x80, 0x0c, 0x24]),
    ("INVVPID", &[0x66, 0x0f, 0x38, 0x81, 0x0c, 0x24]),
    ("GETSEC", &[0x0f, 0x37]),
    ("RSM", &[0x0f, 0xaa]),
    ("XSETBV", &[0x0f, 0x01, 0xd1]),
    ("CPUID", &[0x0f, 0xa2]),
    ("INVD", &[0x0f, 0x08]),
];

// Both run the code of `modes_code` with vectors 6 and 13 leading back; `modes_end` tells the vector, or FFh.
global_asm!(
    ".section .text16, \"ax\"",
    ".code16",
    "modes_real:",
    "cli",
    "push dword ptr [6 * 4]",
    "push dword ptr [13 * 4]",
    "mov word ptr [6 * 4], offset modes_real_ud",
    "mov word ptr [6 * 4 + 2], 0",
    "mov word ptr [13 * 4], offset modes_real_gp",
    "mov word ptr [13 * 4 + 2], 0",
    "mov [modes_stack], esp",
    "mov byte ptr [modes_end], 0xff",
    "xor eax, eax",
    "xor ecx, ecx",
    "xor edx, edx",
    "mov word ptr [modes_back], offset modes_real_back",
    "jmp modes_code",
    "modes_real_ud: mov byte ptr cs:[modes_end], 6",
    "jmp modes_real_back",
    "modes_real_gp: mov byte ptr cs:[modes_end], 13",
    "modes_real_back:",
    "xor ax, ax",
    "mov ds, ax",
    "mov ss, ax",
    "mov esp, [modes_stack]",
    "pop dword ptr [13 * 4]",
    "pop dword ptr [6 * 4]",
    ".byte 0xc3",
    ".code32",
    "modes_protected:",
    "mov [modes_stack], esp",
    "mov byte ptr [modes_end], 0xff",
    "lidt [modes_idt_pointer]",
    "xor eax, eax",
    "xor ecx, ecx",
    "xor edx, edx",
    "jmp modes_code32",
    "modes_protected_ud: mov byte ptr [modes_end], 6",
    "jmp modes_protected_back",
    "modes_protected_gp: mov byte ptr [modes_end], 13",
    "modes_protected_back:",
    "mov esp, [modes_stack]",
    "ret",
    ".balign 8",
    // Sixteen bytes for the instruction, then the way back of each mode.
    "modes_code: .space 16, 0x90",
    ".code16",
    "jmp word ptr cs:[modes_back]",
    ".balign 8",
    "modes_code32: .space 16, 0x90",
    ".code32",
    "jmp modes_protected_back",
    ".balign 8",
    "modes_stack: .long 0",
    "modes_back: .word 0",
    "modes_end: .byte 0, 0",
    ".balign 8",
    "modes_idt: .space 32 * 8",
    "modes_idt_pointer: .word 32 * 8 - 1",
    ".long modes_idt",
    ".code64",
);

unsafe extern "C" {
    fn modes_real();
    fn modes_protected();
    fn modes_protected_ud();
    fn modes_protected_gp();
    static modes_code: u8;
    static modes_code32: u8;
    static modes_end: u8;
    static modes_idt: u8;
}

/// Fills the sixteen bytes of a mode.
fn place(slot: u64, code: &[u8]) {
    for i in 0..16 {
        poke(slot + i, code.get(i as usize).copied().unwrap_or(0x90));
    }
}

fn end() -> u8 {
    peek((&raw const modes_end) as u64)
}

fn gate(vector: u64, entry: unsafe extern "C" fn()) {
    let at = entry as *const () as u64;
    poke((&raw const modes_idt) as u64 + 8 * vector, at & 0xffff | 0x08 << 16 | 0x8e << 40 | (at >> 16 & 0xffff) << 48);
}

pub fn run() {
    gate(6, modes_protected_ud);
    gate(13, modes_protected_gp);
    for (name, code) in INSTRUCTIONS {
        place((&raw const modes_code) as u64, code);
        // SAFETY: the code ends at the way back, or in an exception that leads there.
        unsafe { run16(modes_real) };
        let real = end();
        place((&raw const modes_code32) as u64, code);
        // SAFETY: as above.
        unsafe { run32(modes_protected) };
        seen!("{name}: real mode {real}, protected mode {}", end());
        let carried_out = ["XSETBV", "CPUID", "INVD"].contains(&name);
        check!(carried_out || real != 0xff && end() != 0xff, "{name} is carried out: {real}, {}", end());
        compatibility(name, code);
    }
}

/// 32-bit code in long mode, at CPL 0: the exceptions are those of 64-bit mode.
fn compatibility(name: &str, code: &[u8]) {
    let at = crate::frame::code::place(code);
    // SAFETY: the far return enters 32-bit code, which ends in an exception.
    let result = catch(&mut || unsafe {
        asm!("push 0x08", "push {at}", "retfq", at = in(reg) at, in("rax") 0u64, in("rcx") 0u64)
    });
    match result {
        Err(f) => seen!("{name} in compatibility mode: vector {} at {}", f.vector, f.rip.wrapping_sub(at) as i64),
        Ok(()) => tiny::report::fail(format_args!("32-bit code came back")),
    }
}
