//! A20 by port 92h, the keyboard controller and INT 15h; commands and pulses of the keyboard controller; every value
//! of ports 92h and CF9h. IBM PS/2 and PIIX3 (290550) data sheets.
//!
//! Safe: no memory of the hypervisor shows by way of an alias, and the guest goes on; or the machine is reset and the
//! hypervisor is there again.

use crate::frame::{hypervisor_memory, qemu, steps};
use tiny::machine::memory::peek;
use tiny::machine::modes::{Registers, bios};
use tiny::machine::port::{in8, out8};

const DATA: u16 = 0x60;
const COMMAND: u16 = 0x64;
const SYSTEM: u16 = 0x92;
const RESET: u16 = 0xcf9;
const INPUT_FULL: u8 = 2;

/// Those that controllers know; Bochs' panics at others.
const COMMANDS: [u8; 10] = [0x20, 0xa1, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xd0];

/// Waits a bounded time for the controller to take a byte.
fn ready() {
    for _ in 0..10_000 {
        if in8(COMMAND) & INPUT_FULL == 0 {
            return;
        }
    }
}

fn command(value: u8) {
    ready();
    out8(COMMAND, value);
    ready();
    for _ in 0..16 {
        in8(DATA);
    }
}

fn output_port(value: u8) {
    command(0xd1);
    out8(DATA, value);
    ready();
}

pub fn run() {
    let vmm = hypervisor_memory();
    let hidden = move || {
        let Some(vmm) = vmm else { return };
        for page in (vmm.start..vmm.end()).step_by(0x1_0000) {
            let value: u64 = peek(page);
            check!(value == 0 || value == u64::MAX, "{page:#x} reads {value:#x}");
            // What A20 off would alias it to, and what would alias to it.
            let _: u64 = peek(page ^ 1 << 20);
        }
    };
    let pulses = || (0xf0..=0xff).filter(|value| value & 1 == 1).for_each(command);
    steps::run(&[
        ("A20 off by port 92h", &|| {
            out8(SYSTEM, in8(SYSTEM) & !3);
            hidden();
            out8(SYSTEM, in8(SYSTEM) & !1 | 2);
        }),
        ("A20 off by the output port", &|| {
            output_port(0xdd);
            hidden();
            output_port(0xdf);
        }),
        ("A20 off by command DDh", &|| {
            command(0xdd);
            hidden();
            command(0xdf);
        }),
        ("A20 off by the BIOS", &|| {
            bios(0x15, Registers { eax: 0x2400, ..Registers::default() });
            hidden();
            bios(0x15, Registers { eax: 0x2401, ..Registers::default() });
        }),
        ("the output port announced twice", &|| {
            out8(COMMAND, 0xd1);
            out8(COMMAND, 0xd1);
            out8(DATA, 0xdf);
            ready();
        }),
        ("another command between announcement and value", &|| {
            out8(COMMAND, 0xd1);
            out8(COMMAND, 0xaa);
            out8(DATA, 0xdf);
            ready();
        }),
        ("commands without a reset", &|| COMMANDS.into_iter().for_each(command)),
        ("pulses without the reset line", &pulses),
        ("the output port with the reset line", &|| output_port(0xfe)),
        ("pulse FEh", &|| command(0xfe)),
        ("pulse F0h", &|| command(0xf0)),
        ("port 92h, all ones", &|| out8(SYSTEM, 0xff)),
        ("port 92h, bit 0", &|| out8(SYSTEM, 1)),
        ("port CF9h, 02h, 06h", &|| {
            out8(RESET, 2);
            out8(RESET, 6);
        }),
        ("port CF9h, all ones", &|| out8(RESET, 0xff)),
        // Resets the CPU alone; Bochs' BIOS does not come through it.
        ("port CF9h, 04h", &|| {
            if qemu() {
                out8(RESET, 4);
            }
        }),
    ]);
}
