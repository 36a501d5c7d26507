//! Access to VMM memory: plain reads give all ones, plain stores vanish, all else ends in an exception or in all ones,
//! and the guest goes on.
//!
//! Shoji's memory is what the memory map leaves out (`memory::vmm_range`). The mark of the second pass, a byte of the
//! BIOS data area, is checked here too.

use crate::machine::exceptions::{Fault, catch, load_ldt};
use crate::machine::memory::{Map, Remapped, buffer, buffer_address, peek, poke, vmm_range};
use crate::report;
use core::arch::asm;

/// Byte of the BIOS data area that tells GRUB that it runs under Shoji, and its value ("S").
const MARK: u64 = 0x4f1;
const MARK_VALUE: u8 = 0x53;
/// What Shoji keeps by default; nothing behind it is touched.
const RESERVE: u64 = 16 << 20;

pub fn run() {
    let mark: u8 = peek(MARK);
    if !super::shoji() {
        check_eq!(mark, 0, "the mark on a bare machine");
        return;
    }
    check_eq!(mark, MARK_VALUE, "the mark of the second pass at 4F1h");
    let Some(vmm) = vmm_range(&Map::from_bios()) else {
        report::fail(format_args!("no memory is missing in the map: where does the VMM live?"))
    };
    let len = vmm.len.min(RESERVE);
    say!("VMM memory {:#x}..{:#x}", vmm.start, vmm.start + len);
    for at in [0, 0x1000 - 8, 0x1000, 1 << 20, len / 2 + 0x123, len - 8].map(|offset| vmm.start + offset) {
        plain(at);
        read_modify_write(at);
        strings(at);
        control_flow(at);
        structures(at);
    }
    borders(vmm.start);
    for _ in 0..10_000 {
        check_eq!(peek::<u32>(vmm.start), !0, "one of many reads");
    }
    say!("still here");
}

/// Anything that is no plain access: an exception, or what memory of all ones would give.
fn tolerated(what: &str, at: u64, access: &mut dyn FnMut() -> u64) {
    let mut value = 0;
    match catch(&mut || value = access()) {
        Ok(()) => check_eq!(value, !0, "{what} at {at:#x}"),
        Err(Fault { vector, .. }) => say!("{what} at {at:#x}: exception {vector}"),
    }
}

fn plain(at: u64) {
    let ones = |when: &str| {
        check_eq!(peek::<u8>(at), !0, "byte {when}");
        check_eq!(peek::<u16>(at), !0, "word {when}");
        check_eq!(peek::<u32>(at), !0, "dword {when}");
        check_eq!(peek::<u64>(at), !0, "qword {when}");
    };
    ones("before a store");
    poke(at, 0x11u8);
    poke(at, 0x2222u16);
    poke(at, 0x3333_3333u32);
    poke(at, 0x4444_4444_4444_4444u64);
    // SAFETY: stores that must vanish; no register but the named one changes.
    let (r9, narrow): (u64, u64) = unsafe {
        let (r9, narrow);
        asm!("mov byte ptr [{0}], 0x55", "mov dword ptr [{0}], 0x12345678", "mov [{0}], r9b", "mov r9, [{0}]",
            in(reg) at, inout("r9") 0x77u64 => r9);
        asm!("mov al, [rdx]", in("rdx") at, inout("rax") 0x1234_5678_0000_0000u64 => narrow);
        (r9, narrow)
    };
    check_eq!((r9, narrow), (!0, 0x1234_5678_0000_00ff), "R9 and RAX after MOV");
    ones("after a store");
}

fn read_modify_write(at: u64) {
    // SAFETY (for all of these): they touch VMM memory only, and registers of their own.
    macro_rules! probe {
        ($name:literal, $($line:literal),+) => {
            tolerated($name, at, &mut || unsafe {
                asm!($($line),+, in("r8") at, out("rax") _, out("rcx") _, out("rdx") _);
                peek(at)
            })
        };
    }
    probe!("INC", "inc dword ptr [r8]");
    probe!("LOCK XADD", "mov eax, 1", "lock xadd [r8], eax");
    probe!("XCHG", "xor eax, eax", "xchg [r8], rax");
    probe!("LOCK CMPXCHG", "mov rax, -1", "xor ecx, ecx", "lock cmpxchg [r8], rcx");
    probe!("LOCK BTR", "lock btr dword ptr [r8], 3");
    probe!("PUSH of memory", "push qword ptr [r8]", "pop rax");
    probe!("POP to memory", "push 0", "pop qword ptr [r8]");
    probe!("FXSAVE", "and r8, -16", "fxsave64 [r8]");
    probe!("LIDT", "sub rsp, 16", "sidt [rsp]", "lidt [r8]", "lidt [rsp]", "add rsp, 16");
    tolerated("MOVZX", at, &mut || unsafe {
        let value: u64;
        asm!("movzx eax, byte ptr [r8]", "movzx ecx, word ptr [r8]", "and eax, ecx", in("r8") at, out("rax") value,
            out("rcx") _);
        value | !0xff
    });
    tolerated("ADD from memory", at, &mut || unsafe {
        let value: u64;
        asm!("xor eax, eax", "add rax, [r8]", in("r8") at, out("rax") value);
        value
    });
}

fn strings(at: u64) {
    let data = buffer(0);
    data[..64].fill(0);
    // SAFETY (for all of these): VMM memory and the buffer only.
    tolerated("REP MOVSB from it", at, &mut || unsafe {
        asm!("rep movsb", inout("rsi") at => _, inout("rdi") buffer_address(0) => _, inout("rcx") 8u64 => _);
        peek(buffer_address(0))
    });
    tolerated("REP MOVSQ to it", at, &mut || unsafe {
        asm!("rep movsq", inout("rsi") buffer_address(0) + 64 => _, inout("rdi") at => _, inout("rcx") 1u64 => _);
        peek(at)
    });
    tolerated("REP STOSB", at, &mut || unsafe {
        asm!("rep stosb", inout("rdi") at => _, inout("rcx") 8u64 => _, in("al") 0u8);
        peek(at)
    });
    tolerated("LODSQ", at, &mut || unsafe {
        let value: u64;
        asm!("lodsq", inout("rsi") at => _, out("rax") value);
        value
    });
    tolerated("REP INSB", at, &mut || unsafe {
        asm!("rep insb", inout("rdi") at => _, inout("rcx") 4u64 => _, in("dx") 0x92u16);
        peek(at)
    });
    tolerated("REP OUTSB", at, &mut || unsafe {
        asm!("rep outsb", inout("rsi") at => _, inout("rcx") 4u64 => _, in("dx") 0x80u16);
        peek(at)
    });
}

fn must_fault(what: &str, at: u64, access: &mut dyn FnMut()) {
    match catch(access) {
        Err(f) => say!("{what} at {at:#x}: exception {}", f.vector),
        Ok(()) => report::fail(format_args!("{what} at {at:#x} succeeds")),
    }
}

fn control_flow(at: u64) {
    // SAFETY (for all of these): memory of all ones holds no instruction and no address to return to, so each
    // ends in an exception, on a stack of its own.
    must_fault("CALL", at, &mut || unsafe { asm!("call {}", in(reg) at) });
    must_fault("CALL through memory", at, &mut || unsafe { asm!("call [{}]", in(reg) at) });
    must_fault("RET from a stack", at, &mut || unsafe { asm!("mov rsp, {}", "ret", in(reg) at & !7) });
    must_fault("CALL on a stack", at, &mut || unsafe {
        asm!("lea rax, [rip + 2f]", "lea rsp, [rcx + 8]", "call rax", "2: ret", in("rcx") at & !7, options(noreturn))
    });
}

/// Page tables and descriptor tables in VMM memory.
fn structures(at: u64) {
    // A linear page whose table (not directory entry: bit 7 is clear) lies there.
    let page = Remapped::through_table(510, at & !0xfff);
    must_fault("a page walk through a table", at, &mut || {
        peek::<u8>(page.linear());
    });
    drop(page);
    // A descriptor of all ones is a readable code segment: FS takes it, and LAR shows its attributes.
    // Descriptor 1 is the one that lies there, the table itself begins before.
    load_ldt((at & !7) - 8, 0xff);
    // SAFETY: FS is not used; a selector of the LDT, descriptor 1.
    tolerated("a descriptor", at, &mut || unsafe {
        let rights: u64;
        asm!("mov fs, {0:e}", "lar {1:e}, {0:e}", "mov fs, {2:e}", in(reg) 0xcu32, out(reg) rights, in(reg) 0u32);
        if rights & 0xf0_ff00 == 0xf0_ff00 { !0 } else { rights }
    });
}

/// Accesses that begin in RAM and end in VMM memory, and RAM just below it.
fn borders(start: u64) {
    let below = start - 8;
    if Map::from_bios().usable_end(1 << 20) != start {
        return say!("no RAM right below the VMM");
    }
    let old: u64 = peek(below);
    poke(below, 0x0123_4567_89ab_cdefu64);
    check_eq!(peek::<u64>(below), 0x0123_4567_89ab_cdef, "the last RAM below the VMM");
    let mut value = 0;
    if catch(&mut || value = peek::<u64>(start - 4)).is_ok() {
        check_eq!(value >> 32, 0xffff_ffff, "the VMM's half of a read across the border");
    }
    let _ = catch(&mut || poke(start - 4, 0u64));
    check_eq!(peek::<u32>(below), 0x89ab_cdef, "RAM below after a store across the border");
    check_eq!(peek::<u32>(start), !0, "VMM memory after a store across the border");
    poke(below, old);
}
