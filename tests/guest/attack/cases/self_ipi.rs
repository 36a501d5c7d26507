//! Every delivery mode of the local APIC's ICR, to the CPU itself: INIT, SIPI, NMI, SMI, reserved ones, bad vectors, by
//! shorthand, physical and logical number. Intel SDM Vol. 3A (325384) 11.6.
//!
//! Safe: as on the bare CPU (ignored, an NMI, an SMI), or a reset of the machine for INIT and what a CPU may make of
//! reserved modes; the hypervisor is there again afterwards, and no CPU runs outside of it.

use crate::frame::{How, steps};
use core::arch::global_asm;
use tiny::machine::cpu::rdmsr;
use tiny::machine::exceptions::{catch, with_entry};
use tiny::machine::irq::with_lines;
use tiny::machine::memory::{peek, poke};
use tiny::machine::port::in8;

const APIC_BASE: u32 = 0x1b;
const ID: u64 = 0x20;
const EOI: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const ENABLED: u32 = 1 << 8;
const ESR: u64 = 0x280;
const ICR: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;

const FIXED: u32 = 0;
const LOWEST: u32 = 1 << 8;
const SMI: u32 = 2 << 8;
const RESERVED_3: u32 = 3 << 8;
const NMI: u32 = 4 << 8;
const INIT: u32 = 5 << 8;
const STARTUP: u32 = 6 << 8;
const EXTINT: u32 = 7 << 8;
const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const TO_SELF: u32 = 1 << 18;
const TO_ALL: u32 = 2 << 18;
const TO_OTHERS: u32 = 3 << 18;
const VECTOR: u32 = 47;

global_asm!(
    ".section .text.self_ipi, \"ax\"",
    ".code64",
    "self_ipi_entry:",
    "inc qword ptr [self_ipi_count]",
    "push rax",
    "mov eax, 0xfee000b0", // EOI
    "mov dword ptr [rax], 0",
    "pop rax",
    "iretq",
    ".balign 8",
    "self_ipi_count: .quad 0",
);

unsafe extern "C" {
    fn self_ipi_entry();
    static self_ipi_count: u64;
}

fn apic() -> u64 {
    rdmsr(APIC_BASE).unwrap_or(0xfee0_0000) & 0x000f_ffff_ffff_f000
}

/// Sends it, and gives it time; how that ended, and how many interrupts came.
fn send(high: u32, low: u32) {
    let before: u64 = peek((&raw const self_ipi_count) as u64);
    let at = apic();
    let result = catch(&mut || {
        poke(at + ICR_HIGH, high);
        poke(at + ICR, low);
        for _ in 0..2000 {
            tiny::machine::cpu::enable_interrupts();
            tiny::machine::cpu::disable_interrupts();
            in8(0x80);
        }
    });
    poke(at + ESR, 0u32);
    let came = peek::<u64>((&raw const self_ipi_count) as u64) - before;
    seen!("ICR {high:#x} {low:#x}: {}, {came} interrupts", How(result));
}

pub fn run() {
    let at = apic();
    let id: u32 = peek(at + ID);
    poke(at + SPURIOUS, ENABLED | 0xff);
    let physical = move |low| move || send(id, low);
    let quiet = || {
        for low in [
            TO_SELF | FIXED | VECTOR,
            TO_SELF | FIXED,
            TO_SELF | FIXED | 15,
            TO_OTHERS | FIXED | VECTOR,
            TO_OTHERS | NMI,
            TO_OTHERS | INIT | ASSERT,
            TO_OTHERS | STARTUP | 8,
            TO_OTHERS | SMI,
            TO_SELF | LOWEST | VECTOR,
        ] {
            send(id, low);
        }
        for low in [FIXED | VECTOR, LOWEST | VECTOR, FIXED | 3, STARTUP | 8, STARTUP | 0xff, INIT | LEVEL] {
            send(id, low);
            // A CPU that is not there.
            send(0x0e00_0000, low);
        }
        send(0, LOGICAL | NMI);
    };
    with_lines(0, || {
        with_entry(VECTOR as u8, self_ipi_entry, || {
            steps::run(&[
                ("what a CPU ignores or takes as an interrupt", &quiet),
                ("NMI", &physical(NMI)),
                ("NMI by shorthand", &|| send(0, TO_SELF | NMI)),
                ("NMI to all", &|| send(0, TO_ALL | NMI)),
                ("SMI", &physical(SMI)),
                ("SMI by shorthand", &|| send(0, TO_SELF | SMI)),
                ("mode 3", &physical(RESERVED_3 | VECTOR)),
                ("ExtINT", &physical(EXTINT)),
                ("STARTUP by shorthand", &|| send(0, TO_SELF | STARTUP | 8)),
                ("STARTUP to all", &|| send(0, TO_ALL | STARTUP | 8)),
                ("INIT by shorthand", &|| send(0, TO_SELF | INIT | ASSERT)),
                ("INIT to all", &|| send(0, TO_ALL | INIT | ASSERT)),
                ("INIT", &physical(INIT | ASSERT)),
                ("INIT, level, and STARTUP at once", &|| {
                    poke(at + ICR_HIGH, id);
                    poke(at + ICR, INIT | LEVEL | ASSERT);
                    send(id, STARTUP | 8);
                }),
            ]);
        });
    });
    poke(apic() + EOI, 0u32);
}
