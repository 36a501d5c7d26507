//! Shoji's deadlines are kept in time, whatever the guest does, and the guest does not notice: not by its halts, nor by the timer of
//! its local APIC. On the bare machine the guest's own times alone are judged.
//! Intel SDM Vol. 3A (325462) 11.5.4 (local APIC timer), 7.7 (NMI).

use crate::machine::apic;
use crate::machine::cpu::{self, rdtsc};
use crate::machine::exceptions::{open_all_gates, with_entry};
use crate::machine::irq::{self, set_timer, with_lines};
use crate::machine::memory::peek;
use abi::hypercall::UNKNOWN;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// As in the crate `abi`.
const DEADLINES: u64 = 4;
const AT_EXIT: u64 = 1;
const AT_INTERRUPT: u64 = 2;
const HARD: u64 = 3;
const END_BY_NMI: u64 = 1 << 7;

const NMI: u8 = 2;
const TIMER_LINE: u8 = 0;
const KILOHERTZ: u16 = 1193;
/// What Shoji may be late by where it is to be in time, in microseconds. Emulators of several threads stand still now and then.
const LATE_US: u64 = 3_000;

global_asm!("deadlines_nmi:", "inc dword ptr [deadlines_nmis]", "iretq", ".balign 4", "deadlines_nmis: .long 0",);

unsafe extern "C" {
    fn deadlines_nmi();
    static deadlines_nmis: u32;
}

fn nmis() -> u32 {
    peek((&raw const deadlines_nmis) as u64)
}

/// Asked beforehand: CPUID exits.
static IS_INTEL: AtomicBool = AtomicBool::new(false);

fn hypercall(argument: u64) -> u64 {
    let result;
    // SAFETY: Shoji changes RAX only. RBX is the compiler's.
    unsafe {
        if IS_INTEL.load(Relaxed) {
            asm!("xchg rbx, rsi", "vmcall", "xchg rbx, rsi", inout("rax") DEADLINES => result, in("rsi") argument);
        } else {
            asm!("xchg rbx, rsi", "vmmcall", "xchg rbx, rsi", inout("rax") DEADLINES => result, in("rsi") argument);
        }
    }
    result
}

fn begin(class: u64, millis: u64, rounds: u64) {
    if super::shoji() {
        check_eq!(hypercall(class | millis << 8 | rounds << 32), 0, "deadlines begin");
    }
}

/// How many are over, and the latest in microseconds.
fn over() -> (u64, u64) {
    let result = hypercall(0);
    (result & 0xffff_ffff, result >> 32)
}

fn check_over(what: &str, rounds: u64, late_us: u64) {
    let (count, late) = over();
    say!("{what}: {count} deadlines, the latest by {late} us");
    check_eq!(count, rounds, "deadlines over in {what}");
    check!(late <= late_us, "{what}: {late} us late");
}

pub fn run() {
    IS_INTEL.store(cpu::is_intel(), Relaxed);
    open_all_gates();
    apic::follow();
    apic::enable();
    set_timer(KILOHERTZ);
    let per_ms = with_lines(1 << TIMER_LINE, ticks_per_ms);
    say!("{per_ms} ticks a millisecond");
    if super::shoji() {
        check_eq!(hypercall(AT_EXIT | 1 << 32), UNKNOWN, "a sleep of no time is refused");
        // Else Shoji would have to take the legacy controller's interrupts for a guest that does not let them in.
        let lint0 = apic::read(LINT0);
        apic::write(LINT0, lint0 | MASKED);
        with_entry(NMI, deadlines_nmi, || with_lines(0, without_exits));
        apic::write(LINT0, lint0);
        with_lines(1 << TIMER_LINE, with_interrupts);
        with_lines(0, || {
            apic::write(LINT0, lint0 | MASKED);
            classes(per_ms);
            task_priority(per_ms);
            software_disable(per_ms);
        });
    }
    let speed = with_lines(0, || calibrate(per_ms));
    for class in [0, HARD] {
        if class == 0 || super::shoji() {
            own_timer(class, speed, per_ms);
        }
    }
    set_timer(0);
}

/// The guest has no exit and takes no interrupt.
fn without_exits() {
    for (what, code) in [("cli; hlt", halt as fn()), ("a loop with IF = 0", spin), ("a loop with IF = 1", spin_open)] {
        let before = nmis();
        begin(HARD | END_BY_NMI, 2, 20);
        code();
        check_eq!(nmis(), before + 1, "NMIs in {what}");
        check_over(what, 20, LATE_US);
    }
}

/// Wakes by the NMI.
fn halt() {
    // SAFETY: the handler of NMIs keeps all registers.
    unsafe { asm!("cli", "hlt") };
}

fn spin() {
    let before = nmis();
    // SAFETY: reads a word that the handler writes.
    unsafe { asm!("cli", "2:", "cmp [deadlines_nmis], {0:e}", "je 2b", in(reg) before) };
}

fn spin_open() {
    let before = nmis();
    // SAFETY: as above; no line is open.
    unsafe { asm!("sti", "2:", "cmp [deadlines_nmis], {0:e}", "je 2b", "cli", in(reg) before) };
}

/// Of the TSC, by the timer's interrupts.
fn ticks_per_ms() -> u64 {
    const MILLIS: u32 = 20;
    cpu::wait_for_interrupt();
    let (start, first) = (rdtsc(), irq::count(TIMER_LINE));
    while irq::count(TIMER_LINE) - first < MILLIS {
        cpu::wait_for_interrupt();
    }
    (rdtsc() - start) / u64::from(MILLIS)
}

fn wait_for(ticks: u64) {
    let start = rdtsc();
    while rdtsc() - start < ticks {}
}

/// Interrupts come every millisecond.
fn with_interrupts() {
    for (what, halts) in [("a loop with interrupts", false), ("hlt with interrupts", true)] {
        for (class, late) in [(AT_INTERRUPT, LATE_US + 1000), (HARD, LATE_US)] {
            let before = irq::count(TIMER_LINE);
            begin(class, 2, 50);
            let start = irq::count(TIMER_LINE);
            while irq::count(TIMER_LINE) - start < 200 {
                if halts {
                    cpu::wait_for_interrupt();
                } else {
                    cpu::enable_interrupts();
                    core::hint::spin_loop();
                    cpu::disable_interrupts();
                }
            }
            check!(irq::count(TIMER_LINE) > before, "interrupts come");
            check_over(what, 50, late);
        }
    }
}

/// Deadlines that wait for exits or interrupts wait for them.
fn classes(per_ms: u64) {
    for (what, class) in [("at exits", AT_EXIT), ("at interrupts", AT_INTERRUPT)] {
        begin(class, 1, 5);
        cpu::disable_interrupts();
        wait_for(20 * per_ms);
        let (early, _) = over();
        check_eq!(early, 0, "deadlines {what} without any");
        while over().0 < 5 {
            cpu::cpuid(0);
        }
        say!("deadlines {what}: none without, all with them");
    }
}

/// The guest's task priority stays its own, by CR8 and in the local APIC.
fn task_priority(per_ms: u64) {
    const TASK_PRIORITY: u32 = 0x80;
    let read = || {
        let value: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, cr8", out(reg) value) };
        value
    };
    let write = |value: u64| {
        // SAFETY: no interrupt is awaited.
        unsafe { asm!("mov cr8, {}", in(reg) value) };
    };
    // QEMU 7.2 aborts at a write of CR8 while a virtual interrupt is pending: none may wait for its window meanwhile.
    cpu::enable_interrupts();
    wait_for(4 * per_ms);
    cpu::disable_interrupts();
    begin(HARD, 1, 1_000_000);
    for value in [0, 5, 15, 14, 1, 0] {
        write(value);
        check_eq!(read(), value, "CR8 as written");
        cpu::cpuid(0);
        check_eq!(read(), value, "CR8 after an exit");
        wait_for(4 * per_ms);
        let register = apic::read(TASK_PRIORITY) >> 4;
        // The highest class is kept off the local APIC while its timer is lent.
        check!(u64::from(register) == value || value == 15, "the register of the local APIC shows {register:#x}");
    }
    for value in [3, 0] {
        apic::write(TASK_PRIORITY, value << 4);
        cpu::cpuid(0);
        check_eq!(read(), u64::from(value), "CR8 after a write to the local APIC");
    }
    let (count, late) = over();
    check!(count > 10 && late <= LATE_US, "{count} deadlines, {late} us late");
    begin(HARD, 1, 1);
}

/// The guest switches its local APIC off and on again by software: it finds what it has written, and Shoji's deadlines go on.
fn software_disable(per_ms: u64) {
    const ENABLED: u32 = 1 << 8;
    let before = apic::read(apic::SPURIOUS);
    check!(before & ENABLED != 0, "the local APIC is on");
    let check_all = |what: &str| {
        for value in [before & !ENABLED, before] {
            apic::write(apic::SPURIOUS, value);
            check_eq!(apic::read(apic::SPURIOUS), value, "the spurious vector register {what}");
            let first = over().0;
            wait_for(10 * per_ms);
            let count = over().0 - first;
            check!(count > 5, "{count} deadlines in 10 ms, with {value:#x} {what}");
        }
    };
    begin(HARD, 1, 1_000_000);
    check_all("while its timer is lent");
    begin(HARD, 1, 1);
    wait_for(4 * per_ms);
    check_eq!(apic::read(apic::SPURIOUS), before, "the spurious vector register after the loan");
    apic::write(apic::SPURIOUS, before & !ENABLED);
    begin(HARD, 1, 1_000_000);
    wait_for(4 * per_ms);
    check_all("where it was off");
    begin(HARD, 1, 1);
    wait_for(4 * per_ms);
    check_eq!(apic::read(apic::SPURIOUS), before, "the local APIC stays on");
    say!("the local APIC is switched off and on while its timer is lent");
}

const LINT0: u32 = 0x350;
// The local APIC's timer.
const LOCAL_VECTOR: u32 = 0x320;
const INITIAL: u32 = 0x380;
const CURRENT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;
const BY_16: u32 = 3;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const VECTOR: u8 = 0x51;

/// Counts, divided by 16, in 2 to the power of 24 ticks of the TSC.
fn calibrate(per_ms: u64) -> u64 {
    apic::write(LOCAL_VECTOR, MASKED | u32::from(VECTOR));
    apic::write(DIVIDE, BY_16);
    apic::write(INITIAL, u32::MAX);
    let start = rdtsc();
    wait_for(20 * per_ms);
    let left = apic::read(CURRENT);
    let ticks = rdtsc() - start;
    apic::write(INITIAL, 0);
    (u64::from(u32::MAX - left) << 24) / ticks
}

fn taken() -> u32 {
    crate::machine::area::this().interrupts[usize::from(VECTOR)].load(Relaxed)
}

/// One-shot and periodic, with and without Shoji's deadlines besides: times and counts are the same.
fn own_timer(class: u64, speed: u64, per_ms: u64) {
    with_lines(0, || {
        let begin = || {
            if class != 0 {
                begin(class, 1, 1_000_000);
            }
        };
        let ticks_of = |count: u32| (u64::from(count) << 24) / speed;
        let count = ((16 * per_ms * speed) >> 24) as u32;
        begin();
        apic::write(LOCAL_VECTOR, VECTOR.into());
        for halts in [true, false] {
            for part in [4, 2, 1] {
                let before = (taken(), rdtsc());
                apic::write(INITIAL, count / part);
                check_eq!(apic::read(INITIAL), count / part, "initial count");
                check_eq!(apic::read(LOCAL_VECTOR) & !(1 << 12), VECTOR.into(), "local vector");
                let mut last = u32::MAX;
                while taken() == before.0 {
                    if halts {
                        cpu::wait_for_interrupt();
                    } else {
                        let current = apic::read(CURRENT);
                        check!(current <= last.min(count / part), "the counter goes from {last} to {current}");
                        last = current;
                        cpu::enable_interrupts();
                        cpu::disable_interrupts();
                    }
                }
                let took = rdtsc() - before.1;
                let wanted = ticks_of(count / part);
                say!("one-shot: {took} ticks, wanted {wanted}");
                check!(took + wanted / 64 >= wanted && took <= wanted + wanted / 8, "{took} ticks, wanted {wanted}");
                check_eq!(apic::read(CURRENT), 0, "the count of a timer that is over");
            }
        }
        apic::write(LOCAL_VECTOR, PERIODIC | u32::from(VECTOR));
        let before = (taken(), rdtsc());
        apic::write(INITIAL, count / 8);
        while taken() - before.0 < 100 {
            cpu::wait_for_interrupt();
        }
        let (took, wanted) = (rdtsc() - before.1, 100 * ticks_of(count / 8));
        say!("periodic: 100 in {took} ticks, wanted {wanted}");
        check!(took.abs_diff(wanted) <= wanted / 50, "100 periods in {took} ticks, wanted {wanted}");
        if class != 0 {
            let (deadlines, late) = over();
            say!("meanwhile {deadlines} deadlines of Shoji's, the latest by {late} us");
            check!(deadlines > 100 && late <= LATE_US, "{deadlines} deadlines, {late} us late");
            self::begin(class, 1, 1);
            wait_for(4 * per_ms);
            // The timer is the guest's own again.
            let before = (taken(), rdtsc());
            while taken() - before.0 < 20 {
                cpu::wait_for_interrupt();
            }
            let (took, wanted) = (rdtsc() - before.1, 20 * ticks_of(count / 8));
            check!(took.abs_diff(wanted) <= wanted / 8, "20 periods in {took} ticks, wanted {wanted}");
        }
        apic::write(LOCAL_VECTOR, MASKED);
        apic::write(INITIAL, 0);
        // One may be pending.
        cpu::enable_interrupts();
        cpu::disable_interrupts();
    });
}
