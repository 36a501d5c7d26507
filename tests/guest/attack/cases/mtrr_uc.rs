//! MTRRs and PAT that make memory of the hypervisor uncacheable, write-combining, write-protected and of types that do not
//! exist; MTRRs off; all MTRRs overlapping. Intel SDM Vol. 3A (325384) 12.11.
//!
//! Safe: taken or #GP(0); the hypervisor gets slow at most, never wrong: exits and disk I/O go on.

use crate::frame::hypervisor_memory;
use tiny::machine::ata;
use tiny::machine::cpu::{self, rdmsr, wrmsr};
use tiny::machine::exceptions::{Fault, GP};
use tiny::machine::memory::buffer;
use tiny::machine::port::in8;

const CAPABILITIES: u32 = 0xfe;
const PHYSBASE_0: u32 = 0x200;
const DEF_TYPE: u32 = 0x2ff;
const PAT: u32 = 0x277;
const VALID: u64 = 1 << 11;
const ENABLE: u64 = 1 << 11;
const FIXED_ENABLE: u64 = 1 << 10;
/// A range of 16 MiB, 36 address bits.
const MASK_16M: u64 = 0xf_ff00_0000;
const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

pub fn run() {
    let Ok(capabilities) = rdmsr(CAPABILITIES) else { return seen!("no MTRRs") };
    let pairs = (capabilities & 0xff) as u32;
    let at = hypervisor_memory().map_or(0x1000_0000, |range| range.start) & !0xff_ffff;
    let registers = || (0..2 * pairs).map(|i| PHYSBASE_0 + i).chain(FIXED).chain([PAT, DEF_TYPE]);
    let mut before = [(0u32, 0u64); 64];
    for (slot, msr) in before.iter_mut().zip(registers()) {
        *slot = (msr, rdmsr(msr).unwrap_or(0));
    }
    let restore = || {
        for &(msr, value) in before.iter().filter(|(msr, _)| *msr != 0) {
            // SAFETY: the values of before.
            let _ = unsafe { wrmsr(msr, value) };
        }
    };
    let mut types = [0u32; 2];
    let mut write = |msr: u32, value: u64| {
        // SAFETY: memory types are a matter of speed here: no device's registers are used by way of memory.
        let result = unsafe { wrmsr(msr, value) };
        check!(
            matches!(result, Ok(()) | Err(Fault { vector: GP, error: 0, .. })),
            "MSR {msr:#x} = {value:#x}: {result:x?}"
        );
        types[usize::from(result.is_err())] += 1;
    };
    for memory_type in 0..=7 {
        for pair in [0, pairs.saturating_sub(1)] {
            write(PHYSBASE_0 + 2 * pair, at | memory_type);
            write(PHYSBASE_0 + 2 * pair + 1, MASK_16M | VALID);
        }
        write(DEF_TYPE, memory_type | ENABLE | FIXED_ENABLE);
        write(PAT, memory_type * 0x0101_0101_0101_0101);
        still_alive();
        restore();
    }
    for value in [0, ENABLE, FIXED_ENABLE, u64::MAX, 0xff | ENABLE] {
        write(DEF_TYPE, value);
        still_alive();
    }
    for (msr, value) in (0..pairs).flat_map(|pair| [(PHYSBASE_0 + 2 * pair, 0), (PHYSBASE_0 + 2 * pair + 1, VALID)]) {
        write(msr, value); // everything is uncacheable, as often as can be told
    }
    still_alive();
    for msr in FIXED {
        for value in [0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, u64::MAX] {
            write(msr, value);
        }
    }
    restore();
    still_alive();
    seen!("{pairs} pairs; {} writes are taken, {} raise #GP", types[0], types[1]);
}

fn still_alive() {
    for _ in 0..50 {
        cpu::cpuid(0);
        in8(0x92);
    }
    ata::must(ata::read_pio(0, &mut buffer(0)[..512]), "READ SECTORS");
    check_eq!([buffer(0)[510], buffer(0)[511]], [0x55, 0xaa], "the boot sector's mark");
}
