//! Control registers, debug registers, paging of every kind, and the ways between the modes.
//! Intel SDM Vol. 3A (order number 325384) 4.3 (32-bit paging), 4.4 (PAE), 10.8.5, 10.9.

use crate::machine::cpu::{self, CR0_EM, CR0_MP, CR0_NE, CR0_TS, CR0_WP, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_PGE};
use crate::machine::exceptions::{GP, PF, catch};
use crate::machine::memory::{buffer, buffer_address, peek, poke};
use crate::machine::modes::{Registers, bios, run32};
use core::arch::{asm, global_asm};

/// Linear address that the 32-bit routines read: 1 GiB, mapped to a buffer.
const ALIAS: u64 = 1 << 30;
const TABLES: usize = 2;

pub fn run() {
    // SAFETY: emulators hold nothing in caches; under Shoji nothing is lost.
    unsafe { core::arch::asm!("invd") };
    control_registers();
    refused_writes();
    debug_registers();
    for round in 0..50 {
        let r = bios(0x12, Registers::default());
        check!(r.eax & 0xffff != 0, "INT 12h in real mode gives nothing, round {round}");
    }
    say!("50 times from long mode to real mode and back");
    remapping();
    write_protection();
    legacy_paging();
}

fn control_registers() {
    let (cr0, cr4) = (cpu::cr0(), cpu::cr4());
    for bits in [CR0_MP, CR0_EM, CR0_TS, CR0_NE, CR0_WP, CR0_MP | CR0_TS | CR0_NE] {
        let value = cr0 & !(CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP) | bits;
        // SAFETY: no FPU instruction runs here, and all pages are writable.
        unsafe { cpu::set_cr0(value) };
        check_eq!(cpu::cr0(), value, "CR0 read back");
        cpu::cpuid(0);
        check_eq!(cpu::cr0(), value, "CR0 after an exit");
    }
    let smsw: u64;
    // SAFETY: CLTS and LMSW change TS and EM; the old value comes back below.
    unsafe {
        asm!("clts");
        check_eq!(cpu::cr0() & CR0_TS, 0, "CR0.TS after CLTS");
        asm!("smsw {0}", "or {0}, 8", "lmsw {0:x}", out(reg) smsw);
        check_eq!(cpu::cr0() & 0xffff, smsw & 0xffff, "CR0 after LMSW");
        cpu::set_cr0(cr0);
    }
    for bits in [CR4_PGE, CR4_OSFXSR | CR4_OSXMMEXCPT, 1 << 2, 1 << 3, 0] {
        // SAFETY: none of these changes how this code runs.
        unsafe { cpu::set_cr4(cr4 | bits) };
        cpu::cpuid(0);
        check_eq!(cpu::cr4(), cr4 | bits, "CR4 after an exit");
    }
    // SAFETY: CR2 is nobody's, CR8 masks only interrupts of the APIC, CR4 is the old value.
    unsafe {
        cpu::set_cr4(cr4);
        cpu::set_cr2(0x1234_5678_9abc_def0);
        cpu::set_cr8(5);
        cpu::cpuid(0);
        check_eq!((cpu::cr2(), cpu::cr8()), (0x1234_5678_9abc_def0, 5), "CR2 and CR8 after an exit");
        cpu::set_cr8(0);
    }
}

/// A write of CR0 that the CPU refuses changes nothing; the same bits in one that it takes do change. QEMU, whose CPU is AMD's here,
/// does not refuse.
fn refused_writes() {
    if !cpu::is_intel() {
        return;
    }
    const PG: u64 = 1 << 31;
    // SAFETY: refused, because paging cannot end in 64-bit mode; or a change of NE alone.
    let vector = |value| catch(&mut || unsafe { cpu::set_cr0(value) }).err().map(|fault| fault.vector);
    let cr0 = cpu::cr0();
    for value in [cr0, cr0 ^ CR0_NE, cr0] {
        let before = cpu::cr0();
        check_eq!(vector((before ^ CR0_NE) & !PG), Some(GP), "the exception of a write of CR0 without PG");
        check_eq!(cpu::cr0(), before, "CR0 after a write that was refused");
        check_eq!(vector(value), None, "the exception of a write of CR0");
        check_eq!(cpu::cr0(), value, "CR0 after a write that was taken");
    }
}

fn debug_registers() {
    let values: [u64; 4];
    // SAFETY: DR7 enables nothing.
    unsafe {
        asm!("mov dr0, {0}", "mov dr1, {1}", "mov dr2, {2}", "mov dr3, {3}", in(reg) 0x1111u64, in(reg) 0x2222u64,
            in(reg) 0x3333u64, in(reg) 0x4444u64);
        cpu::cpuid(0);
        let (a, b, c, d): (u64, u64, u64, u64);
        asm!("mov {0}, dr0", "mov {1}, dr1", "mov {2}, dr2", "mov {3}, dr3", out(reg) a, out(reg) b, out(reg) c,
            out(reg) d);
        values = [a, b, c, d];
    }
    check_eq!(values, [0x1111, 0x2222, 0x3333, 0x4444], "DR0 to DR3 after an exit");
}

/// A changed mapping is seen after INVLPG and after a write of CR3.
fn remapping() {
    let (a, b) = (buffer_address(0), buffer_address(1));
    poke(a, 0xaaaa_u64);
    poke(b, 0xbbbb_u64);
    let directory = (peek::<u64>(peek::<u64>(cpu::cr3()) & !0xfff) & !0xfff) + 511 * 8; // the last 2 MiB below 1 GiB
    let old: u64 = peek(directory);
    let linear = 511 << 21;
    for (target, expected) in [(a, 0xaaaa), (b, 0xbbbb), (a, 0xaaaa)] {
        poke(directory, target | 0x87);
        // SAFETY: flushes the entry that was just changed.
        unsafe { asm!("invlpg [{}]", in(reg) linear) };
        check_eq!(peek::<u64>(linear), expected, "the page after INVLPG");
    }
    poke(directory, b | 0x87);
    // SAFETY: the same tables.
    unsafe { cpu::set_cr3(cpu::cr3()) };
    check_eq!(peek::<u64>(linear), 0xbbbb, "the page after a write of CR3");
    poke(directory, old);
    // SAFETY: the same tables.
    unsafe { cpu::set_cr3(cpu::cr3()) };
}

fn write_protection() {
    let directory = (peek::<u64>(peek::<u64>(cpu::cr3()) & !0xfff) & !0xfff) + (buffer_address(3) >> 21) * 8;
    let (old, at) = (peek::<u64>(directory), buffer_address(3));
    poke(directory, old & !2);
    // SAFETY: the page is a buffer; the other pages stay writable.
    unsafe {
        cpu::set_cr3(cpu::cr3());
        cpu::set_cr0(cpu::cr0() | CR0_WP);
    }
    let fault = catch(&mut || poke(at, 1u8));
    check!(
        matches!(fault, Err(f) if f.vector == PF && f.error == 3 && f.cr2 == at),
        "a write to a read-only page: {fault:x?}"
    );
    poke(directory, old);
    // SAFETY: as before.
    unsafe {
        cpu::set_cr3(cpu::cr3());
        cpu::set_cr0(cpu::cr0() & !CR0_WP);
    }
}

// Both read the dword at ALIAS with their own paging on, and switch it off again. EBX: CR3, ECX: CR4 bits.
global_asm!(
    ".section .text16, \"ax\"",
    ".code32",
    "read_with_paging:",
    "mov ebx, [legacy_cr3]",
    "mov ecx, [legacy_cr4]",
    "mov cr4, ecx",
    "mov cr3, ebx",
    "mov eax, cr0",
    "or eax, 1 << 31",
    "mov cr0, eax",
    "mov edx, [1 << 30]",
    "xor eax, eax",
    "cpuid", // an exit in this kind of paging
    "mov edx, [1 << 30]",
    "mov [legacy_value], edx",
    "add dword ptr [1 << 30], 1",
    "mov eax, cr0",
    "and eax, 0x7fffffff",
    "mov cr0, eax",
    "xor ecx, ecx",
    "mov cr4, ecx",
    "ret",
    ".code64",
    ".balign 4",
    "legacy_cr3: .long 0",
    "legacy_cr4: .long 0",
    "legacy_value: .long 0",
);

unsafe extern "C" {
    fn read_with_paging();
    static mut legacy_cr3: u32;
    static mut legacy_cr4: u32;
    static legacy_value: u32;
}

fn legacy_paging() {
    let target = buffer_address(1) & !0x3f_ffff; // 4 MiB pages
    poke(target, 1000u32);
    let tables = buffer_address(TABLES);
    buffer(TABLES).fill(0);
    // PAE: directory pointers, then two directories of 2 MiB pages (identity, and the alias).
    poke(tables, tables + 0x1001);
    poke(tables + 8, tables + 0x2001);
    poke(tables + 0x1000, 0x83u64);
    poke(tables + 0x2000, target | 0x83);
    // 32-bit: one directory of 4 MiB pages.
    poke(tables + 0x3000, 0x83u32);
    poke(tables + 0x3000 + (ALIAS >> 22) * 4, target as u32 | 0x83);
    for (kind, cr3, cr4, expected) in
        [("PAE", 0, 1 << 5, 1000), ("32-bit", 0x3000, 1 << 4, 1001), ("PAE again", 0, 1 << 5, 1002)]
    {
        // SAFETY: the tables map the low 2 MiB, where the program lies, to themselves.
        let value = unsafe {
            (&raw mut legacy_cr3).write_volatile(tables as u32 + cr3);
            (&raw mut legacy_cr4).write_volatile(cr4);
            run32(read_with_paging);
            (&raw const legacy_value).read_volatile()
        };
        check_eq!(value, expected, "the value read with {kind} paging");
    }
    check_eq!(peek::<u32>(target), 1003, "the value after three increments");
}
