//! Instructions that exit, cut by the end of a page behind which lies no page, memory of the hypervisor, or nothing but
//! prefixes.
//!
//! Safe: #PF at the missing page; an exception, or no execution, in memory of the hypervisor; the instruction itself when it
//! ends in time. Nothing of the hypervisor's memory is executed or shown.

use crate::frame::code::{self, Registers};
use crate::frame::{How, hypervisor_memory};
use tiny::machine::exceptions::{PF, UD};
use tiny::machine::memory::{BUFFER_BYTES, Remapped, buffer, buffer_address};

const FIRST: u64 = 510;
const RAM: usize = 22;
/// Each exits on one vendor at least, or may.
const INSTRUCTIONS: [(&str, &[u8]); 12] = [
    ("CPUID", &[0x0f, 0xa2]),
    ("RDMSR", &[0x0f, 0x32]),
    ("WRMSR", &[0x0f, 0x30]),
    ("IN 92h", &[0xe4, 0x92]),
    ("REP INSB", &[0xf3, 0x6c]),
    ("VMCALL", &[0x0f, 0x01, 0xc1]),
    ("VMMCALL", &[0x0f, 0x01, 0xd9]),
    ("XSETBV", &[0x0f, 0x01, 0xd1]),
    ("INVD", &[0x0f, 0x08]),
    ("MOV to CR4", &[0x0f, 0x22, 0xe0]),
    ("VMRUN", &[0x0f, 0x01, 0xd8]),
    ("prefixes and CPUID", &[0x66, 0x67, 0x2e, 0x3e, 0x48, 0x0f, 0xa2]),
];

pub fn run() {
    let first = Remapped::new(FIRST, Some(buffer_address(RAM)));
    let end = first.linear() + BUFFER_BYTES as u64;
    let vmm = hypervisor_memory().map(|range| range.start.next_multiple_of(BUFFER_BYTES as u64));
    for (behind, target) in [("no page", None), ("memory of the hypervisor", vmm)] {
        if behind != "no page" && target.is_none() {
            continue;
        }
        let _second = Remapped::new(FIRST + 1, target);
        for (name, bytes) in INSTRUCTIONS {
            for inside in 1..=bytes.len() {
                cut(behind, end, name, bytes, inside);
            }
        }
    }
}

/// The last `inside` bytes of the page hold the beginning of the instruction.
fn cut(behind: &str, end: u64, name: &str, bytes: &[u8], inside: usize) {
    let page = buffer(RAM);
    page[BUFFER_BYTES - 64..].fill(0x90);
    page[BUFFER_BYTES - inside..].copy_from_slice(&bytes[..inside]);
    // MSR 10h, the value of CR4, and one port byte to a buffer, should they be carried out.
    let registers = Registers {
        rcx: 0x10,
        rax: tiny::machine::cpu::cr4(),
        rdx: 0x92,
        rdi: buffer_address(21),
        ..Registers::default()
    };
    let result = code::call(end - inside as u64, registers);
    let Err(fault) = result else {
        tiny::report::fail(format_args!("{name}, {inside} bytes before {behind}: comes back"))
    };
    let distance = fault.rip as i64 - end as i64;
    // It was carried out, and what lies behind was not; or nothing was.
    check!(distance <= 0, "{name}, {inside} bytes before {behind}: {distance} bytes into it");
    if behind == "no page" && fault.vector == PF {
        check_eq!(fault.cr2, end, "{name}, {inside} bytes before {behind}: CR2");
    }
    check!(fault.vector != UD || distance < 0 || behind != "no page", "{name}: #UD where no page is");
    seen!("{name}, {inside} bytes before {behind}: {} at {distance}", How(result));
}
