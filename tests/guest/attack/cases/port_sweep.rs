//! Every port read in every width, and ports around each border of what hypervisors hook written; PCI configuration
//! addresses at random.
//!
//! Safe: the guest goes on, and so does its disk.

use crate::frame::qemu;
use crate::frame::random::Random;
use tiny::machine::ata;
use tiny::machine::hypervisor;
use tiny::machine::memory::buffer;
use tiny::machine::port::{in8, in16, in32, out8, out16, out32};

/// Left alone: what ends or stops the emulator, and what the verdict needs.
const SKIPPED: [(core::ops::RangeInclusive<u16>, &str); 6] = [
    (0x2e8..=0x2ff, "COM2 takes the log"),
    (0xf4..=0xf7, "isa-debug-exit"),
    (0x501..=0x504, "debug exit of other machines"),
    (0x8900..=0x8903, "Bochs' end"),
    (0x8a00..=0x8a03, "Bochs' debugger"),
    (0xe9..=0xe9, "Bochs' and QEMU's console"),
];

fn skipped(port: u16) -> bool {
    // The widest access begins three ports before.
    SKIPPED.iter().any(|(ports, _)| (port..=port.saturating_add(3)).any(|port| ports.contains(&port)))
}

pub fn run() {
    let bare_qemu = qemu() && hypervisor::current().0.is_none();
    for port in (0..=u16::MAX).filter(|&port| !skipped(port)) {
        if port & 0xfff == 0 {
            say!("port {port:#x}");
        }
        in8(port);
        // QEMU aborts itself at wide reads of the disk's control registers, unless a hypervisor answers them.
        if bare_qemu && (0x3f0..0x400).contains(&port) {
            continue;
        }
        in16(port);
        in32(port);
    }
    seen!("all ports are read");
    // COM1, PCI address and data, diagnostics, task file (no command), control: harmless to the machine.
    for port in [0x3f8u16, 0x3f9, 0x3fb, 0x3ff, 0x3f6, 0x3f5, 0x1f1, 0x1f2, 0x80, 0x3f7] {
        for value in [0u32, 0x55, 0xa5a5_a5a4] {
            out8(port, value as u8);
            // Not over 1F7h, the command register, and not over 3F6h with a reset bit.
            // The port behind 3FFh stops Bochs.
            if port != 0x3ff {
                out16(port, value as u16 & !0x0404);
            }
        }
    }
    let mut random = Random::new(0xcf8);
    for _ in 0..20_000 {
        let address = random.value() as u32;
        match random.below(3) {
            0 => out32(0xcf8, address | 1 << 31),
            1 => out8(0xcf8, address as u8),
            _ => out32(0xcf8, address & 0x7fff_ffff),
        }
        match random.below(4) {
            0 => _ = in8(0xcfc + (address & 3) as u16),
            1 => _ = in16(0xcfc + (address & 2) as u16),
            2 => _ = in16(0xcff),
            _ => _ = in32(0xcf9 + (address & 7) as u16),
        }
    }
    seen!("PCI configuration is read at random");
    ata::settle();
    ata::must(ata::read_pio(0, &mut buffer(0)[..512]), "READ SECTORS");
    check_eq!([buffer(0)[510], buffer(0)[511]], [0x55, 0xaa], "the boot sector's mark");
    seen!("the disk is read after all accesses");
}
