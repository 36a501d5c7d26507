//! Pairs of bits of CR0, CR4 and EFER changed together, and random values of all three, with exits in each state that the CPU takes.
//! AMD64 APM Vol. 2 (24593) 3.1, 15.5.1 (illegal states of VMRUN); Intel SDM Vol. 3C (325462) 27.3.1.1.
//!
//! Safe: #GP(0), or taken; the hypervisor resumes the guest in each state that the CPU has let it have.

use crate::frame::random::Random;
use crate::frame::{qemu, steps};
use tiny::machine::cpu::{self, EFER, cr0, cr4, rdmsr, wrmsr};
use tiny::machine::exceptions::{Fault, GP, catch};
use tiny::machine::hypervisor;
use tiny::machine::port::in8;

/// Not PE and PG, under which this code runs.
const CR0_FREE: u64 = !(1 << 0 | 1 << 31) & 0xffff_ffff;
/// VME to PCE without PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE: no SMEP, SMAP (this program's pages are user pages), no
/// VMXE, SMXE, no LA57, and none that QEMU does not know: it leaves its own virtual machine at those.
const CR4_FREE: u64 = 0x7df | 1 << 16 | 1 << 18;
const CR4_PCIDE: u64 = 1 << 17;
/// SCE, NXE, FFXSR.
const EFER_FREE: u64 = 1 << 0 | 1 << 11 | 1 << 14;
const RANDOM: u32 = 3000;

pub fn run() {
    steps::run(&[("pairs of CR0", &cr0_pairs), ("pairs of CR4", &cr4_pairs), ("random values", &random_values)]);
}

fn judge(what: &str, result: Result<(), Fault>, counts: &mut [u32; 2]) {
    check!(matches!(result, Ok(()) | Err(Fault { vector: GP, error: 0, .. })), "{what}: {result:x?}");
    counts[usize::from(result.is_err())] += 1;
}

/// Exits in the state of now.
fn exits() {
    cpu::cpuid(0);
    in8(0x92);
}

fn with_cr0(value: u64, code: impl FnOnce()) -> Result<(), Fault> {
    let before = cr0();
    // SAFETY: paging and protection stay; caches and x87 settings are a matter of speed here.
    let result = catch(&mut || unsafe { cpu::set_cr0(value) });
    code();
    // SAFETY: as before.
    unsafe { cpu::set_cr0(before) };
    result
}

fn with_cr4(value: u64, code: impl FnOnce()) -> Result<(), Fault> {
    let before = cr4();
    // SAFETY: nothing here depends on these bits.
    let result = catch(&mut || unsafe { cpu::set_cr4(value) });
    code();
    // SAFETY: as before.
    unsafe { cpu::set_cr4(before) };
    result
}

fn bits(mask: u64) -> impl Iterator<Item = u64> + Clone {
    (0..64).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0)
}

/// QEMU takes reserved bits, and its VMRUN refuses what it has taken.
fn cr0_free() -> u64 {
    const DEFINED: u64 = 0x6005_003e;
    if qemu() { DEFINED } else { CR0_FREE }
}

fn cr0_pairs() {
    let mut counts = [0; 2];
    for (a, b) in bits(cr0_free()).flat_map(|a| bits(cr0_free()).map(move |b| (a, b))) {
        let result = with_cr0(cr0() ^ (a | b), exits);
        judge("CR0", result, &mut counts);
    }
    seen!("pairs of CR0: {} are taken, {} raise #GP", counts[0], counts[1]);
}

fn cr4_pairs() {
    let mut counts = [0; 2];
    let free = if qemu() { CR4_FREE } else { CR4_FREE | CR4_PCIDE };
    for (a, b) in bits(free).flat_map(|a| bits(free).map(move |b| (a, b))) {
        let result = with_cr4(cr4() ^ (a | b), exits);
        judge("CR4", result, &mut counts);
    }
    say!("pairs of CR4: {} are taken, {} raise #GP, {}", counts[0], counts[1], hypervisor::current());
    seen!("pairs of CR4");
}

fn random_values() {
    let mut random = Random::new(0xc404);
    let mut counts = [0; 2];
    for _ in 0..RANDOM {
        let (cr0, cr4) = (cr0() ^ random.next() & cr0_free(), cr4() ^ random.next() & CR4_FREE);
        let before = rdmsr(EFER).unwrap_or(0);
        // SAFETY: no SYSCALL, no NX pages, no fast FXSAVE here.
        let efer = unsafe { wrmsr(EFER, before ^ random.next() & EFER_FREE) };
        judge("EFER", efer, &mut counts);
        let mut inner = [0; 2];
        let result = with_cr0(cr0, || {
            let result = with_cr4(cr4, exits);
            judge("CR4", result, &mut inner);
        });
        judge("CR0", result, &mut counts);
        // SAFETY: the value of before.
        check_eq!(unsafe { wrmsr(EFER, before) }, Ok(()), "EFER as it was");
    }
    say!("{} random values are taken, {} raise #GP", counts[0], counts[1]);
    seen!("{RANDOM} random states");
}
