//! 32-bit code whose data segment ends within, before and behind an operand that lies in the hypervisor's memory or across
//! its border; downward segments; 64-bit operands across the border. Intel SDM Vol. 3A (325384) 5.3, 7.15.
//!
//! Safe: #GP or #SS when the limit is passed, whatever lies behind; else all ones, zeros or an exception. RAM beside the
//! border keeps what it held, but for bytes that a store named.

use crate::frame::code::{self, Registers};
use crate::frame::{How, hypervisor_memory, qemu};
use tiny::machine::exceptions::{Fault, GP, load_ldt};
use tiny::machine::memory::{buffer, buffer_address, peek, poke};

const LDT: usize = 29;
/// Selector 0 of the LDT.
const DATA: u32 = 0x04;
const SS: u64 = 12;
const AC: u64 = 17;
const EXPAND_DOWN: u64 = 0x97;
const EXPAND_UP: u64 = 0x93;
const BIG: u64 = 1 << 54;

/// 32-bit code after the far return: with ESI at the operand.
const FORMS: [(&str, &[u8], u64); 7] = [
    ("MOV ECX, [ESI]", &[0x8b, 0x0e], 4),
    ("MOV [ESI], ECX", &[0x89, 0x0e], 4),
    ("MOV CL, [ESI]", &[0x8a, 0x0e], 1),
    ("LODSW", &[0x66, 0xad], 2),
    ("MOV CX, [ESI]", &[0x66, 0x8b, 0x0e], 2),
    ("INC DWORD [ESI]", &[0xff, 0x06], 4),
    ("FXSAVE [ESI]", &[0x0f, 0xae, 0x06], 512),
];

pub fn run() {
    // Without a hypervisor's memory the same with RAM.
    let border = hypervisor_memory().map_or(buffer_address(30) + 0x10_0000, |range| range.start);
    for (kind, access) in [("up", EXPAND_UP), ("down", EXPAND_DOWN)] {
        for base in [border - 0x100, border, border + 0x1000 - 0x100] {
            for (name, form, bytes) in FORMS {
                for limit in [0xfe, 0xff, 0x100, 0x101, 0x102, 0x103, 0x1ff] {
                    one(kind, access, base, limit, name, form, bytes, border);
                }
            }
        }
    }
    across(border);
}

#[expect(clippy::too_many_arguments, reason = "one line of a table")]
fn one(kind: &str, access: u64, base: u64, limit: u64, name: &str, form: &[u8], bytes: u64, border: u64) {
    let descriptor = limit & 0xffff | (base & 0xff_ffff) << 16 | access << 40 | BIG | (base >> 24 & 0xff) << 56;
    buffer(LDT)[..8].copy_from_slice(&descriptor.to_le_bytes());
    load_ldt(buffer_address(LDT), 7);
    let unchecked = qemu(); // its emulation knows no limits
    for offset in [limit + 1 - bytes.min(limit), limit, limit + 1, 0u64.wrapping_sub(2) & 0xffff_ffff] {
        let registers = Registers { rsi: offset, rcx: 0x5a5a_5a5a, ..Registers::default() };
        let how = How::of(code::run_compatible(form, DATA, registers), form);
        // Downwards, what is behind the limit is the segment.
        let inside = match kind {
            "up" => offset + bytes <= limit + 1,
            _ => offset > limit && offset + bytes <= 1 << 32,
        };
        check!(
            inside || unchecked || matches!(how.0, Err(Fault { vector: SS | GP | AC, .. })),
            "{name} at {offset:#x} of a segment {kind} with limit {limit:#x}: {how}"
        );
        let relative = base.wrapping_sub(border) as i64;
        if access == EXPAND_UP || !inside {
            seen!("{name}, segment {kind} at {relative:#x}, limit {limit:#x}, offset {offset:#x}: {how}");
        }
    }
}

/// 64-bit operands that begin before the border and end behind it.
fn across(border: u64) {
    const PATTERN: u64 = 0x0123_4567_89ab_cdef;
    for (name, code) in [
        ("MOV to RCX", &[0x48, 0x8b, 0x0e][..]),
        ("MOV of RCX", &[0x48, 0x89, 0x0e]),
        ("MOVSQ from it", &[0x48, 0xa5]),
        ("PUSH of it", &[0xff, 0x36]),
        ("INC", &[0x48, 0xff, 0x06]),
        ("CMPXCHG16B", &[0xf0, 0x48, 0x0f, 0xc7, 0x0e]),
        ("FXSAVE", &[0x0f, 0xae, 0x06]),
        ("SGDT", &[0x0f, 0x01, 0x06]),
        ("BT", &[0x48, 0x0f, 0xba, 0x26, 0x3f]),
    ] {
        for back in [1u64, 4, 7, 8, 15] {
            poke(border - 32, PATTERN);
            let registers = Registers { rsi: border - back, rdi: buffer_address(31), ..Registers::default() };
            let how = How::of(code::run(code, registers), code);
            check_eq!(peek::<u64>(border - 32), PATTERN, "{name}: RAM before the operand");
            seen!("{name} from {back} bytes before the border: {how}");
        }
    }
}
