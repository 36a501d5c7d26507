//! IN and OUT of every width, on hooked ports (PCI configuration, port 92h) and unhooked ones, and what user code may.
//! String instructions on the disk's data port are the guest `stringio`.
//! AMD64 APM Vol. 3 (publication 24594), IN, OUT, INS, OUTS.

use crate::machine::com2;
use crate::machine::exceptions::{GP, catch_user};
use crate::machine::memory::buffer;
use crate::machine::port::{in8, in16, in32, out8, out16, out32};
use core::arch::{asm, global_asm};

pub fn run() {
    widths();
    unprivileged();
    unhooked();
}

/// Registers keep what a narrow IN does not write, a dword IN clears the upper half; every part of the configuration
/// data port shows its bytes.
fn widths() {
    out32(0xcf8, 1 << 31);
    let id = in32(0xcfc);
    check_eq!(in32(0xcf8), 1 << 31, "CF8h read back");
    check_eq!([in16(0xcfc), in16(0xcfe)], [id as u16, (id >> 16) as u16], "CFCh by words");
    check_eq!([0, 1, 2, 3].map(|i| in8(0xcfc + i)), id.to_le_bytes(), "CFCh by bytes");
    let (byte, word, dword): (u64, u64, u64);
    // SAFETY: port reads without effect.
    unsafe {
        asm!("in al, dx", in("dx") 0xcfc, inout("rax") 0x1122_3344_5566_7788u64 => byte);
        asm!("in ax, dx", in("dx") 0xcfc, inout("rax") 0x1122_3344_5566_7788u64 => word);
        asm!("in eax, dx", in("dx") 0xcfc, inout("rax") 0x1122_3344_5566_7788u64 => dword);
    }
    let id = u64::from(id);
    check_eq!(byte, 0x1122_3344_5566_7700 | id & 0xff, "RAX after IN AL");
    check_eq!(word, 0x1122_3344_5566_0000 | id & 0xffff, "RAX after IN AX");
    check_eq!(dword, id, "RAX after IN EAX");
    let a20 = in8(0x92);
    let immediate: u8;
    // SAFETY: a port read without effect.
    unsafe { asm!("in al, 0x92", out("al") immediate) };
    check_eq!(immediate, a20, "port 92h by the immediate form");
    // What a device answers to a wider access than it has is its affair; the guest goes on.
    say!("port 92h: {a20:#x}; word at 91h: {:#x}, dword at 92h: {:#x}", in16(0x91), in32(0x92));
    let data = &mut buffer(1)[..100];
    data.fill(!a20);
    // SAFETY: 99 bytes to the buffer.
    unsafe { asm!("rep insb", in("dx") 0x92, inout("rdi") data.as_mut_ptr() => _, inout("ecx") 99 => _) };
    check!(data[..99].iter().all(|&b| b == a20) && data[99] == !a20, "REP INSB on port 92h");
}

global_asm!(
    ".section .text.user_ports, \"ax\"",
    "user_in: in al, 0x92",
    "ud2",
    "user_out: out 0x80, al",
    "ud2",
    "user_ins: insb",
    "ud2"
);

unsafe extern "C" {
    static user_in: u8;
    static user_out: u8;
    static user_ins: u8;
}

/// User code without I/O privilege gets #GP, on hooked ports too.
fn unprivileged() {
    for (at, form) in [
        ((&raw const user_in) as u64, "IN"),
        ((&raw const user_out) as u64, "OUT"),
        ((&raw const user_ins) as u64, "INS"),
    ] {
        let f = catch_user(at);
        check_eq!((f.vector, f.error, f.rip - at), (GP, 0, 0), "{form} at CPL 3: vector, error code, distance");
    }
}

fn unhooked() {
    for value in [0x12u8, 0xff] {
        out8(0x80, value);
        out16(0x80, u16::from(value));
        out32(0x80, u32::from(value));
    }
    let mask = in8(0x21);
    out8(0x21, 0xff);
    check_eq!(in8(0x21), 0xff, "the PIC's mask read back");
    out8(0x21, mask);
    let text = b"this line is written by REP OUTSB\n";
    com2::drain();
    for part in text.chunks(16) {
        // SAFETY: reads the text; the transmitter's FIFO takes 16 bytes at a time.
        unsafe { asm!("rep outsb", in("dx") 0x2f8, inout("rsi") part.as_ptr() => _, inout("rcx") part.len() => _) };
        com2::drain();
    }
}
