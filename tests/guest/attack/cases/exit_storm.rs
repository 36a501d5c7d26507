//! Each kind of exit that a guest on one CPU can cause, as often as it can for a bounded time.
//!
//! Safe: each instruction ends as its first one did, and the guest goes on; the hypervisor's log does not grow with it.

use crate::frame::code::{self, Ended, Registers};
use crate::frame::{How, hypervisor_memory};
use tiny::machine::cpu;
use tiny::machine::memory::buffer_address;

/// Time stamp ticks for each kind: a tenth of a second and some, and never more than [`MOST`] rounds.
const TICKS: u64 = 300_000_000;
const MOST: u32 = 20_000;
/// At least, for a CPU whose counter runs much faster than its instructions.
const LEAST: u32 = 2000;

pub const KINDS: [(&str, &[u8], u64, u64); 19] = [
    ("CPUID", &[0x0f, 0xa2], 0, 0),
    ("CPUID of a leaf far out", &[0x0f, 0xa2], 0, 0xffff_ffff),
    ("RDMSR of EFER", &[0x0f, 0x32], 0xc000_0080, 0),
    ("RDMSR of VM_HSAVE_PA", &[0x0f, 0x32], 0xc001_0117, 0),
    ("RDMSR of nothing", &[0x0f, 0x32], 0xffff_0000, 0),
    ("WRMSR of nothing", &[0x0f, 0x30], 0xffff_0000, 0),
    ("IN 92h", &[0xe4, 0x92], 0, 0),
    ("IN EAX from 3F8h", &[0x66, 0xba, 0xf8, 0x03, 0xed], 0, 0),
    ("OUT to 3F8h", &[0x66, 0xba, 0xf8, 0x03, 0xee], 0, 0x55),
    ("IN from CFCh", &[0x66, 0xba, 0xfc, 0x0c, 0xed], 0, 0),
    ("IN from 1F7h", &[0x66, 0xba, 0xf7, 0x01, 0xec], 0, 0),
    ("REP INSB from 92h", &[0x66, 0xba, 0x92, 0x00, 0xf3, 0x6c], 1000, 0),
    ("VMCALL", &[0x0f, 0x01, 0xc1], 0, 0),
    ("VMMCALL", &[0x0f, 0x01, 0xd9], 0, 0),
    ("VMRUN", &[0x0f, 0x01, 0xd8], 0, 0),
    ("VMXOFF", &[0x0f, 0x01, 0xc4], 0, 0),
    ("INVD", &[0x0f, 0x08], 0, 0),
    ("ICEBP", &[0xf1], 0, 0),
    ("XSETBV", &[0x0f, 0x01, 0xd1], 0, 1),
];

pub fn run() {
    for (name, bytes, rcx, rax) in KINDS {
        let registers = Registers { rcx, rax, rdi: buffer_address(28), ..Registers::default() };
        storm(name, bytes, registers);
    }
    if let Some(vmm) = hypervisor_memory() {
        let registers = Registers { rsi: vmm.start + 0x123_000, rdi: vmm.start + 0x123_000, ..Registers::default() };
        for (name, bytes) in [
            ("a read of the hypervisor's memory", &[0x8b, 0x06][..]),
            ("a write of it", &[0x89, 0x07]),
            ("a locked write of it", &[0xf0, 0x01, 0x07]),
            ("FXSAVE to it", &[0x0f, 0xae, 0x07]),
            ("a jump into it", &[0xff, 0xe6]),
        ] {
            storm(name, bytes, registers);
        }
    }
}

fn storm(name: &str, bytes: &[u8], registers: Registers) {
    let first = code::run(bytes, registers);
    let (start, mut rounds) = (cpu::rdtsc(), 1);
    while rounds < LEAST || (rounds < MOST && cpu::rdtsc().wrapping_sub(start) < TICKS) {
        let again = code::run(bytes, registers);
        let alike = |e: Ended| (e.fault.vector, e.fault.error, e.distance);
        check_eq!(alike(again), alike(first), "{name}, round {rounds}");
        rounds += 1;
    }
    say!("{name}: {rounds} rounds");
    seen!("{name}: {} at {}", How(Err(first.fault)), if first.distance < 64 { first.distance } else { -1 });
}
