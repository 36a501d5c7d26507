//! All CPUs touch memory for the first time at once: RAM above 4 GiB, and addresses where nothing is.

use crate::machine::area;
use crate::machine::cpu;
use crate::machine::memory::{Map, Remapped, peek, poke};
use crate::machine::smp::{self, Meeting};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;
/// The start code maps as much.
const MAPPED: u64 = 8 * GIB;
/// A page of the first GiB for each CPU, to look elsewhere.
const WINDOW: u64 = 480;

pub fn run() {
    let map = Map::from_bios();
    let cpus = smp::start();
    let end = map.usable_end(4 * GIB).min(MAPPED);
    check!(end > 4 * GIB, "no RAM above 4 GiB");
    ram(cpus, end);
    nowhere(cpus);
    say!("{} MiB of RAM above 4 GiB, and addresses up to 1 TiB", (end - 4 * GIB) >> 20);
}

/// Each CPU writes a word of its own on each step's page, at the same time.
fn ram(cpus: usize, end: u64) {
    let meeting = Meeting::new();
    let steps = (end - 4 * GIB) / MIB2;
    let work = || {
        let own = smp::number() as u64;
        for step in 0..steps {
            let at = 4 * GIB + step * MIB2 + 64 * own;
            meeting.meet(step + 1, cpus as u64);
            poke(at, at ^ own);
            check_eq!(peek::<u64>(at), at ^ own, "memory at {at:#x} for CPU {own}");
        }
    };
    smp::on_all(&work);
    for (step, own) in (0..steps).flat_map(|step| (0..cpus as u64).map(move |own| (step, own))) {
        let at = 4 * GIB + step * MIB2 + 64 * own;
        check_eq!(peek::<u64>(at), at ^ own, "memory at {at:#x} afterwards");
    }
}

/// The same number is read by all CPUs at each address behind the end of RAM.
fn nowhere(cpus: usize) {
    let meeting = Meeting::new();
    let bits = (cpu::cpuid(0x8000_0008).eax & 0xff).min(40);
    let seen: [AtomicU64; area::MOST] = [const { AtomicU64::new(0) }; area::MOST];
    let work = || {
        let own = smp::number();
        let mut sum = 0u64;
        for step in 0..64u64 {
            let at = (1 << (bits - 1)) + step * GIB;
            let window = Remapped::new(WINDOW + own as u64, Some(at));
            meeting.meet(step + 1, cpus as u64);
            sum = sum.wrapping_mul(31).wrapping_add(peek::<u64>(window.linear()));
        }
        seen[own].store(sum, Relaxed);
    };
    smp::on_all(&work);
    for cpu in 1..cpus {
        check_eq!(seen[cpu].load(Relaxed), seen[0].load(Relaxed), "what CPU {cpu} reads where nothing is");
    }
}
