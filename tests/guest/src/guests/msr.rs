//! MSRs: those that Shoji intercepts, and some that it must leave alone.
//! AMD64 APM Vol. 2 (publication 24593) 3.1.7 (EFER), 7.7 (MTRRs), 15.30 (SVM MSRs); Intel SDM Vol. 4 (order number 335592).

use super::shoji;
use crate::machine::cpu::{self, EFER, rdmsr, wrmsr};
use crate::machine::exceptions::{Fault, GP};
use crate::machine::irq;
use crate::machine::memory::{buffer, buffer_address, peek, poke};
use crate::machine::port::in8;

const SCE: u64 = 1;
const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;
const NXE: u64 = 1 << 11;
const SVME: u64 = 1 << 12;

const TSC: u32 = 0x10;
const TSC_ADJUST: u32 = 0x3b;
const TSC_DEADLINE: u32 = 0x6e0;
/// Registers of the local APIC.
const LVT_TIMER: u64 = 0xfee0_0320;
const SPURIOUS: u64 = 0xfee0_00f0;
const APIC_ENABLED: u32 = 1 << 8;
const END_OF_INTERRUPT: u64 = 0xfee0_00b0;
/// One whose device is quiet: the timer borrows its vector.
const LINE: u8 = 5;

const BIOS_UPDT_TRIG: u32 = 0x79;
const FEATURE_CONFIG: u32 = 0x13c;
const MISC_ENABLE: u32 = 0x1a0;
const XD_DISABLE: u64 = 1 << 34;
const SMRR_PHYSBASE: u32 = 0x1f2;
const PEBS_ENABLE: u32 = 0x3f1;
const RTIT_OUTPUT_BASE: u32 = 0x560;
const RTIT_CTL: u32 = 0x570;
const RTIT_ADDR0_A: u32 = 0x580;
const XSS: u32 = 0xda0;
const XSS_PT: u64 = 1 << 8;
const HW_FEEDBACK_PTR: u32 = 0x17d0;

const MTRRCAP: u32 = 0xfe;
const MTRR_PHYSBASE_0: u32 = 0x200;
const MTRR_FIX_64K: u32 = 0x250;
const MTRR_FIX_4K_F8000: u32 = 0x26f;
const MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLE: u64 = 1 << 11;
/// PHYSMASK of a valid range of 4 KiB, 36 address bits.
const MTRR_PAGE: u64 = 0xf_ffff_f800;

const VM_CR: u32 = 0xc001_0114;
const VM_HSAVE_PA: u32 = 0xc001_0117;
const SVM_KEY: u32 = 0xc001_0118;
/// LOCK and SVMDIS: switched off by the firmware for good.
const VM_CR_LOCKED_OFF: u64 = 0x18;

/// Saved by VMSAVE only, so a VMM that runs code of its own in between may lose them; and some others.
const UNTOUCHED: [(u32, &str, u64); 11] = [
    (0xc000_0100, "FS_BASE", 0x1234_5000),
    (0xc000_0101, "GS_BASE", 0x2345_6000),
    (0xc000_0102, "KERNEL_GS_BASE", 0x3456_7000),
    (0xc000_0081, "STAR", 0x0018_0008_0000_0000),
    (0xc000_0082, "LSTAR", 0x4567_8000),
    (0xc000_0083, "CSTAR", 0x5678_9000),
    (0xc000_0084, "SFMASK", 0x4_7700),
    (0x174, "SYSENTER_CS", 0x08),
    (0x175, "SYSENTER_ESP", 0x9_a000),
    (0x176, "SYSENTER_EIP", 0xa_b000),
    (0x277, "PAT", 0x0007_0406_0007_0400),
];

pub fn run() {
    efer();
    match (shoji(), cpu::is_intel()) {
        (true, false) => svm_registers(),
        (true, true) => vmm_registers(),
        (false, _) => {}
    }
    memory_types();
    refused_memory_types();
    deadline_timer(false);
    time_stamp_counter();
    untouched();
    uncovered();
}

fn expect_gp<T>(result: Result<T, Fault>, what: &str) {
    match result {
        Err(f) if f.vector == GP && f.error == 0 => {}
        Err(f) => crate::report::fail(format_args!("{what}: {f:x?}, not #GP(0)")),
        Ok(_) => crate::report::fail(format_args!("{what} is accepted")),
    }
}

fn read(msr: u32, what: &str) -> u64 {
    match rdmsr(msr) {
        Ok(value) => value,
        Err(f) => crate::report::fail(format_args!("reading {what}: {f:x?}")),
    }
}

/// The program runs on with every value that this guest writes: it takes no SYSCALL and uses no segment base.
fn write(msr: u32, value: u64, what: &str) {
    // SAFETY: see above.
    if let Err(f) = unsafe { wrmsr(msr, value) } {
        crate::report::fail(format_args!("writing {value:#x} to {what}: {f:x?}"));
    }
}

fn efer() {
    let start = read(EFER, "EFER");
    check_eq!(start & (LME | LMA | SVME), LME | LMA, "EFER in long mode");
    for bits in [SCE, NXE, SCE | NXE, 0, NXE] {
        let value = start & !(SCE | NXE) | bits;
        write(EFER, value, "EFER");
        check_eq!(read(EFER, "EFER"), value, "EFER read back");
    }
    if shoji() {
        // SAFETY: expected to change nothing.
        expect_gp(unsafe { wrmsr(EFER, start | SVME) }, "EFER.SVME = 1");
        check_eq!(read(EFER, "EFER") & SVME, 0, "EFER.SVME after the refusal");
    }
    write(EFER, start, "EFER");
    check_eq!(read(EFER, "EFER"), start, "EFER at the end");
}

fn svm_registers() {
    check_eq!(read(VM_CR, "VM_CR"), VM_CR_LOCKED_OFF, "VM_CR");
    // SAFETY: locked: ignored, or refused.
    if let Err(f) = unsafe { wrmsr(VM_CR, 0) } {
        check_eq!(f.vector, GP, "writing VM_CR");
    }
    check_eq!(read(VM_CR, "VM_CR"), VM_CR_LOCKED_OFF, "VM_CR after it was written");
    for (msr, read, write) in
        [(VM_HSAVE_PA, "reading VM_HSAVE_PA", "writing VM_HSAVE_PA"), (SVM_KEY, "reading SVM_KEY", "writing SVM_KEY")]
    {
        expect_gp(rdmsr(msr), read);
        // SAFETY: expected to be refused.
        expect_gp(unsafe { wrmsr(msr, 0x10_0000) }, write);
    }
}

/// What would reach past nested paging, or into the VMM. (VMX's own registers are in `vmx_insns`.)
fn vmm_registers() {
    for msr in [RTIT_OUTPUT_BASE, RTIT_CTL, RTIT_CTL + 1, RTIT_ADDR0_A] {
        expect_gp(rdmsr(msr), "reading a register of Processor Trace");
        // SAFETY: expected to be refused.
        expect_gp(unsafe { wrmsr(msr, 0) }, "writing a register of Processor Trace");
    }
    expect_gp(rdmsr(HW_FEEDBACK_PTR), "reading HW_FEEDBACK_PTR");
    if let Ok(value) = rdmsr(XSS) {
        // SAFETY: no XRSTORS follows, whether it is refused or not.
        expect_gp(unsafe { wrmsr(XSS, value | XSS_PT) }, "XSS.PT");
        // SAFETY: as above.
        check_eq!(unsafe { wrmsr(XSS, value) }, Ok(()), "XSS as it is");
    }
    // Where the update lies: nowhere. Loading it would end in an exception, or worse.
    write(BIOS_UPDT_TRIG, 0x1234_5678_9000, "BIOS_UPDT_TRIG");
    // SAFETY (for all of these): none changes anything of this program, whether it is refused or not.
    if let Ok(value) = rdmsr(MISC_ENABLE) {
        expect_gp(unsafe { wrmsr(MISC_ENABLE, value ^ XD_DISABLE) }, "MISC_ENABLE.XD Bit Disable");
        check_eq!(unsafe { wrmsr(MISC_ENABLE, value) }, Ok(()), "MISC_ENABLE as it is");
    }
    for (msr, name) in [(FEATURE_CONFIG, "FEATURE_CONFIG"), (PEBS_ENABLE, "PEBS_ENABLE"), (SMRR_PHYSBASE, "SMRR")] {
        if let Ok(value) = rdmsr(msr) {
            expect_gp(unsafe { wrmsr(msr, value ^ 3) }, name);
            check_eq!(rdmsr(msr), Ok(value), "{name} after it was written");
        }
    }
}

/// The MTRRs are the guest's: what is written is there, memory keeps its contents, and those beyond the CPU's raise #GP.
fn memory_types() {
    let pairs = (read(MTRRCAP, "MTRRCAP") & 0xff) as u32;
    let types = read(MTRR_DEF_TYPE, "MTRR_DEF_TYPE");
    let (base, mask) = (MTRR_PHYSBASE_0 + 2 * (pairs - 1), MTRR_PHYSBASE_0 + 2 * pairs - 1);
    let before = [base, mask].map(|msr| read(msr, "the last variable MTRR"));
    buffer(0)[..4096].fill(0x5a);
    // 4 KiB of RAM of the program's, uncacheable for a while; then the whole machine.
    for (at, mask_value, types_value) in [
        (buffer_address(0), MTRR_PAGE, types),
        (buffer_address(0), MTRR_PAGE, types & !MTRR_ENABLE),
        (0, 0, types | MTRR_ENABLE),
    ] {
        write(base, at, "MTRR_PHYSBASE");
        write(mask, mask_value, "MTRR_PHYSMASK");
        write(MTRR_DEF_TYPE, types_value, "MTRR_DEF_TYPE");
        check_eq!([base, mask].map(|msr| read(msr, "an MTRR")), [at, mask_value], "the last variable MTRR");
        check_eq!(read(MTRR_DEF_TYPE, "MTRR_DEF_TYPE"), types_value, "MTRR_DEF_TYPE");
        check!(buffer(0)[..4096].iter().all(|&byte| byte == 0x5a), "memory changes with its type");
    }
    write(MTRR_DEF_TYPE, types, "MTRR_DEF_TYPE");
    for (msr, value) in [base, mask].into_iter().zip(before) {
        write(msr, value, "the last variable MTRR");
    }
    for msr in [MTRR_FIX_64K, MTRR_FIX_4K_F8000] {
        let value = read(msr, "a fixed MTRR");
        write(msr, value, "a fixed MTRR");
        check_eq!(read(msr, "a fixed MTRR"), value, "a fixed MTRR");
    }
    say!("{pairs} variable MTRRs, default type {types:#x}");
}

/// Types that are none, reserved bits, registers that the CPU has not: #GP, and nothing changes.
fn refused_memory_types() {
    let types = read(MTRR_DEF_TYPE, "MTRR_DEF_TYPE");
    let last = MTRR_PHYSBASE_0 + 2 * (read(MTRRCAP, "MTRRCAP") & 0xff) as u32;
    let base = read(MTRR_PHYSBASE_0, "MTRR_PHYSBASE");
    // QEMU's own CPU takes them all.
    if shoji() || cpu::is_intel() {
        for (msr, value) in [(MTRR_DEF_TYPE, types & !0xff | 2), (MTRR_DEF_TYPE, types | 1 << 13), (MTRR_PHYSBASE_0, 7)]
        {
            // SAFETY: expected to be refused; if not, memory is slow.
            expect_gp(unsafe { wrmsr(msr, value) }, "an MTRR that cannot be");
        }
        expect_gp(rdmsr(last), "an MTRR behind the last");
    }
    check_eq!(read(MTRR_DEF_TYPE, "MTRR_DEF_TYPE"), types, "MTRR_DEF_TYPE after the refusals");
    check_eq!(read(MTRR_PHYSBASE_0, "MTRR_PHYSBASE"), base, "MTRR_PHYSBASE after the refusals");
}

/// The TSC is the guest's to set, TSC_ADJUST tells of it, and the deadline of the local APIC's timer is one of the guest's
/// TSC. Intel SDM Vol. 3B 18.17.3, Vol. 3A 11.5.4.1.
fn time_stamp_counter() {
    const AHEAD: u64 = 1 << 40;
    let adjust = rdmsr(TSC_ADJUST).ok();
    let before = cpu::rdtsc();
    write(TSC, before + AHEAD, "TSC");
    if !shoji() && cpu::rdtsc() < before + AHEAD {
        return say!("the TSC cannot be set");
    }
    tsc_is_near(before + AHEAD, "TSC after it was written");
    if let Some(adjust) = adjust {
        let moved = read(TSC_ADJUST, "TSC_ADJUST").wrapping_sub(adjust);
        check!(moved <= AHEAD && AHEAD - moved < SOON, "TSC_ADJUST moves by {moved:#x}");
        write(TSC_ADJUST, adjust.wrapping_add(moved + AHEAD), "TSC_ADJUST");
        tsc_is_near(before + 2 * AHEAD, "TSC after TSC_ADJUST was written");
    }
    // Bochs' own local APIC counts on as if the TSC had not been set.
    if shoji() {
        deadline_timer(false);
        deadline_timer(true);
    }
    match adjust {
        Some(adjust) => write(TSC_ADJUST, adjust, "TSC_ADJUST"),
        None => write(TSC, before, "TSC"),
    }
    tsc_is_near(before, "TSC as it was");
}

/// More than this program waits for anything.
const SOON: u64 = 1 << 36;

fn tsc_is_near(expected: u64, what: &str) {
    let tsc = cpu::rdtsc();
    check!(tsc >= expected && tsc - expected < SOON, "{what}: {tsc:#x}, not about {expected:#x}");
}

/// The deadline timer fires at its deadline, neither before nor much later, and at once when the TSC is set past it.
fn deadline_timer(jump: bool) {
    const DEADLINE_MODE: u32 = 2 << 17;
    const PATIENCE: u64 = 1 << 27;
    if cpu::cpuid(1).ecx & 1 << 24 == 0 {
        return say!("no deadline timer");
    }
    let before = [LVT_TIMER, SPURIOUS].map(peek::<u32>);
    poke(SPURIOUS, before[1] | APIC_ENABLED);
    poke(LVT_TIMER, DEADLINE_MODE | u32::from(irq::VECTOR + LINE));
    irq::with_lines(0, || {
        let fired = irq::count(LINE);
        let deadline = cpu::rdtsc() + if jump { SOON } else { 1_000_000 };
        write(TSC_DEADLINE, deadline, "TSC_DEADLINE");
        check_eq!(read(TSC_DEADLINE, "TSC_DEADLINE"), deadline, "TSC_DEADLINE while it waits");
        if jump {
            write(TSC, deadline, "TSC");
        }
        while irq::count(LINE) == fired {
            cpu::enable_interrupts();
            cpu::disable_interrupts();
            check!(cpu::rdtsc() < deadline + PATIENCE, "the timer does not fire at its deadline");
        }
        check!(cpu::rdtsc() >= deadline, "the timer fires before its deadline");
        poke(END_OF_INTERRUPT, 0u32);
    });
    poke(LVT_TIMER, before[0]);
    poke(SPURIOUS, before[1]);
    say!("the deadline timer fires{}", if jump { " when the TSC is set past its deadline" } else { "" });
}

fn untouched() {
    let before = UNTOUCHED.map(|(msr, name, _)| read(msr, name));
    for (msr, name, value) in UNTOUCHED {
        write(msr, value, name);
    }
    for _ in 0..100 {
        cpu::cpuid(0);
        in8(0x92);
    }
    for ((msr, name, value), old) in UNTOUCHED.into_iter().zip(before) {
        check_eq!(read(msr, name), value, "{name} after exits");
        write(msr, old, name);
    }
}

/// MSRs outside of every range that a permission map covers always exit. Whatever the answer, the guest goes on.
fn uncovered() {
    for msr in [0x2000, 0x4000_0000, 0xc000_2000, 0xc001_2000, 0xffff_ffff] {
        let read = rdmsr(msr);
        // SAFETY: no such register has a meaning to this program.
        let write = unsafe { wrmsr(msr, 0) };
        for fault in [read.err(), write.err()].into_iter().flatten() {
            check_eq!(fault.vector, GP, "MSR {msr:#x}");
        }
    }
}
