//! Storms of #DB and #AC, which hypervisors must intercept: single steps, breakpoints on every instruction, breakpoints
//! on the stack that the delivery of #DB itself writes, alignment checks. (CVE-2015-8104, CVE-2015-5307.)
//!
//! Safe: each exception arrives, and the guest goes on. What would storm for ever on the bare CPU too (a stack that is
//! loaded anew by each delivery) needs a second CPU to end it and is no part of this case.

use crate::frame::code::{self, Registers};
use core::arch::{asm, global_asm};
use tiny::machine::exceptions::{AC, with_entry};
use tiny::machine::memory::{buffer_address, peek};

const ROUNDS: u64 = 20_000;
const DB: u8 = 1;
const CR0_AM: u64 = 1 << 18;

global_asm!(
    ".section .text.debug_storm, \"ax\"",
    ".code64",
    // Counts. RF, so that an instruction breakpoint does not stop the same instruction again.
    "storm_entry:",
    "inc qword ptr [storm_count]",
    "or dword ptr [rsp + 16], 0x10000",
    "iretq",
    // RCX times, with single steps.
    "storm_steps:",
    "pushfq",
    "or dword ptr [rsp], 0x100",
    "popfq",
    "2: dec rcx",
    "jnz 2b",
    "pushfq",
    "and dword ptr [rsp], 0xfffffeff",
    "popfq",
    "ret",
    // RCX times, with a breakpoint on CPUID.
    "storm_break:",
    "mov r8, rcx",
    "2: xor eax, eax",
    "storm_target: cpuid",
    "dec r8",
    "jnz 2b",
    "ret",
    // RCX times ICEBP.
    "storm_icebp:",
    "2: .byte 0xf1",
    "dec rcx",
    "jnz 2b",
    "ret",
    ".balign 8",
    "storm_count: .quad 0",
);

unsafe extern "C" {
    fn storm_entry();
    fn storm_steps();
    fn storm_break();
    fn storm_target();
    fn storm_icebp();
    static storm_count: u64;
}

fn has_icebp() -> bool {
    code::run(&[0xf1], Registers::default()).distance == 1
}

fn count() -> u64 {
    peek((&raw const storm_count) as u64)
}

pub fn run() {
    debug_exceptions();
    alignment_checks();
}

pub fn debug_exceptions() {
    with_entry(DB, storm_entry, || {
        storm("single steps", storm_steps, 0x400, 0);
        storm("instruction breakpoints", storm_break, 0x402, storm_target as *const () as u64);
        // QEMU 7.2 knows no ICEBP, and raises #UD.
        if has_icebp() {
            storm("ICEBP", storm_icebp, 0x400, 0);
            stack_breakpoints();
        }
    });
}

/// `control`: DR7. `address`: of breakpoint 0.
fn storm(name: &str, routine: unsafe extern "C" fn(), control: u64, address: u64) {
    let before = count();
    // SAFETY: breakpoints on code and data of this case.
    unsafe { asm!("mov dr0, {}", "mov dr7, {}", in(reg) address, in(reg) control) };
    let ended = code::call(routine as *const () as u64, Registers { rcx: ROUNDS, ..Registers::default() });
    // SAFETY: no breakpoints.
    unsafe { asm!("mov dr7, {}", in(reg) 0x400u64) };
    check_eq!(ended, Ok(()), "{name}");
    let traps = count() - before;
    check!(traps >= ROUNDS, "{name}: {traps} #DB of {ROUNDS}");
    seen!("{name}: {traps} #DB");
}

/// Breakpoints on writes of four words of the stack that the delivery of #DB writes: each delivery raises the next.
fn stack_breakpoints() {
    let before = count();
    for _ in 0..2000 {
        // SAFETY: the stack below is this function's; the entry returns from each.
        unsafe {
            asm!(
                "mov rax, rsp", "and rax, -16", "sub rax, 24", "mov dr0, rax", "sub rax, 48", "mov dr1, rax",
                "sub rax, 48", "mov dr2, rax", "sub rax, 48", "mov dr3, rax", "mov rax, 0x999907aa", "mov dr7, rax",
                ".byte 0xf1", "mov eax, 0x400", "mov dr7, rax", out("rax") _)
        };
    }
    let traps = count() - before;
    check!(traps >= 2000, "breakpoints on the stack: {traps} #DB");
    say!("breakpoints on the stack: {traps} #DB");
}

/// #AC at CPL 3: PUSHFQ, OR AC, POPFQ, then a misaligned read.
pub fn alignment_checks() {
    let at = (buffer_address(21) + 1).to_le_bytes();
    let mut bytes = [0u8; 24];
    bytes[..9].copy_from_slice(&[0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d]);
    bytes[9..11].copy_from_slice(&[0x48, 0xb8]); // MOV RAX, address
    bytes[11..19].copy_from_slice(&at);
    bytes[19..22].copy_from_slice(&[0x8b, 0x00, 0x90]); // MOV EAX, [RAX]
    let cr0 = tiny::machine::cpu::cr0();
    // SAFETY: alignment is checked at CPL 3 only.
    unsafe { tiny::machine::cpu::set_cr0(cr0 | CR0_AM) };
    let mut checks = 0u32;
    for _ in 0..2000 {
        checks += u32::from(code::run_user(&bytes[..22]).fault.vector == AC);
    }
    // SAFETY: as before.
    unsafe { tiny::machine::cpu::set_cr0(cr0) };
    seen!("alignment checks: {checks} #AC of 2000");
}
