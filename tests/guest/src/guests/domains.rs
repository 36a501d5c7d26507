//! Programs in ring 3, which Shoji calls on behalf of debug hypercalls: `hello`, which answers, and `crash`, which fails. What the
//! operations mean is in `core/process/{hello,crash}`.

use super::nmi::with_timer_nmis;
use super::shoji;
use crate::machine::cpu::{self, rdtsc};
use crate::machine::exceptions::with_entry;
use crate::machine::irq::{set_timer, set_timer_once};
use crate::machine::memory::peek;
use crate::machine::{apic, irq};
use crate::{boot, machine};
use abi::hypercall::DEBUG_CALL_SERVICE;
use abi::hypercall::service::{CRASH, FAILURES, FREE_FRAMES, HELLO, RESTART_NS, STARTS};
use core::arch::{asm, global_asm};

/// Numbers of errors, as in the crate `message`.
const DEAD: u64 = 2;
const BAD_ARGUMENT: u64 = 9;
const NOT_NOW: u64 = 13;

/// What `crash` does not survive: by itself, and by instructions that ring 3 may not execute.
const OVERFLOW: u64 = 1;
const ENDLESS: u64 = 3;
const LEAK: u64 = 5;
const DEADLY: [u64; 5] = [OVERFLOW, 2, ENDLESS, 4, LEAK];
const INSTRUCTIONS: core::ops::RangeInclusive<u64> = 16..=46;
/// Sets RFLAGS.AC: nothing to ring 3, as CR0.AM is clear, but with it SMAP would be off in ring 0.
const ALIGNMENT_CHECK: u64 = 41;
/// What it does.
const ANSWER: u64 = 0;
const WILD_CALLS: u64 = 6;
const CHANCE: u64 = 7;
const PORTS: u64 = 8;
/// `hello` asks `crash`, with the rest as the operation.
const ASK: u64 = 2;

/// Calls a service; gives its answer or the number of the error.
fn call(service: u64, op: u64) -> Result<u64, u64> {
    let (mut status, mut answer) = (DEBUG_CALL_SERVICE, service);
    // SAFETY: RBX is kept.
    unsafe {
        asm!("xchg rbx, rdi", "cmp {vmcall}, 0", "jne 2f", "vmmcall", "jmp 3f", "2:", "vmcall", "3:", "xchg rbx, rdi",
            vmcall = in(reg_byte) u8::from(cpu::is_intel()), inout("rax") status, inout("rdi") answer, in("rcx") op)
    };
    if status == 0 { Ok(answer) } else { Err(status) }
}

pub fn calls() {
    if !shoji() {
        return;
    }
    check_eq!(call(HELLO, 1), Ok(1), "hello answers");
    guest_state_stays();
    check_eq!(call(CRASH, ANSWER | 0x1234 << 8), Ok(0x1234), "crash answers");
    check_eq!(call(HELLO, ASK | (ANSWER | 7 << 8) << 8), Ok(7), "crash answers hello");
    check!(call(CRASH, ALIGNMENT_CHECK).is_ok(), "the flag AC does nothing");
    check_eq!(call(CRASH, PORTS), Ok(16), "a program has so many ports");
    check_eq!(call(CRASH, 255), Err(3), "what a program does not know it refuses");
    check_eq!(call(1000, 0), Err(BAD_ARGUMENT), "there is no such service");
    let refused = call(CRASH, WILD_CALLS);
    check!(refused.is_ok_and(|count| count > 300), "calls that make no sense are refused: {refused:?}");
    check_eq!(call(CRASH, ANSWER | 1 << 8), Ok(1), "and do no harm");
}

/// Registers that the VMM does not switch by itself.
fn guest_state_stays() {
    let before: u64 = 0x1122_3344_5566_7788;
    let (after, cr2_after): (u64, u64);
    // SAFETY: CR2 and XMM5 are nobody's here.
    unsafe {
        cpu::set_cr0(cpu::cr0() & !(cpu::CR0_EM | cpu::CR0_TS));
        cpu::set_cr4(cpu::cr4() | cpu::CR4_OSFXSR);
        asm!("movq xmm5, {0}", "mov cr2, {0}", in(reg) before);
    }
    let (task_before, results) = (task_register(), [call(HELLO, 1), call(CRASH, OVERFLOW)]);
    // SAFETY: as above.
    unsafe { asm!("movq {0}, xmm5", "mov {1}, cr2", out(reg) after, out(reg) cr2_after) };
    check_eq!(results, [Ok(1), Err(DEAD)], "an answer and a page fault in ring 3");
    check_eq!((after, cr2_after), (before, before), "XMM5 and CR2 over ring 3");
    check_eq!(task_register(), task_before, "the task register over ring 3");
}

fn task_register() -> u16 {
    let selector;
    // SAFETY: reads a register.
    unsafe { asm!("str {0:x}", out(reg) selector) };
    selector
}

/// What messages take, the least of some.
pub fn bench() {
    if !shoji() {
        return;
    }
    let time = |service, op| {
        (0..20)
            .map(|_| {
                let start = rdtsc();
                let _ = call(service, op);
                rdtsc() - start
            })
            .min()
    };
    check_eq!([call(HELLO, 1), call(CRASH, ANSWER)], [Ok(1), Ok(0)], "both answer");
    // All but the message itself: a hypercall whose argument makes no sense.
    let hypercall = time(1000, 0).unwrap_or(0);
    say!("BENCH message_round_trip {}", time(HELLO, 1).unwrap_or(0).saturating_sub(hypercall));
    say!("BENCH message_nested {}", time(HELLO, ASK).unwrap_or(0).saturating_sub(hypercall));
}

pub fn faults() {
    if !shoji() {
        return;
    }
    check_eq!(call(CRASH, ANSWER), Ok(0), "crash answers");
    let failures = || call(FAILURES, 0).unwrap_or(u64::MAX);
    let mut frames = None;
    let instructions = INSTRUCTIONS.filter(|&number| number != ALIGNMENT_CHECK);
    for deadly in DEADLY.into_iter().chain(instructions) {
        let (before, starts) = (failures(), starts_of_crash());
        let start = rdtsc();
        check_eq!(call(CRASH, deadly), Err(DEAD), "what is deadly for crash, {deadly}");
        let ticks = rdtsc() - start;
        check_eq!(failures(), before + 1, "it is counted, {deadly}");
        check_eq!(call(HELLO, 1), Ok(1), "nobody else notices, {deadly}");
        check!(is_started_anew(starts), "it is started anew though nobody asks for it, {deadly}");
        check_eq!(call(CRASH, ANSWER | deadly << 8), Ok(deadly), "and it answers, {deadly}");
        check_eq!(starts_of_crash(), starts + 1, "it was started once, {deadly}");
        let free = call(FREE_FRAMES, 0);
        check_eq!(free, *frames.get_or_insert(free), "all its memory was given back, {deadly}");
        say!("{deadly}: {ticks} ticks; restart {} us", call(RESTART_NS, 0).unwrap_or(0) / 1000);
    }
    for deadly in [OVERFLOW, ENDLESS, LEAK] {
        check_eq!(call(HELLO, ASK | deadly << 8), Err(DEAD), "crash ends while hello waits for it");
        check_eq!(call(HELLO, 1), Ok(1), "hello lives");
        say!("{deadly}, while hello waits");
    }
    irq::with_lines(0, while_interrupts_wait);
    check_eq!(call(CRASH, ANSWER), Ok(0), "crash answers in the end");
}

/// Of the highest class, which a task priority that lets Shoji's timer in lets in as well.
const HIGHEST: u8 = 0xfd;
const NMI: u8 = 2;
const BIOS_TIMER: u8 = 8;

// No EOI: the interrupt stays in service.
global_asm!("domains_entry:", "inc dword ptr [domains_taken]", "iretq", ".balign 4", "domains_taken: .long 0");

unsafe extern "C" {
    fn domains_entry();
    static domains_taken: u32;
}

fn taken() -> u32 {
    peek((&raw const domains_taken) as u64)
}

fn take_what_waits() {
    cpu::enable_interrupts();
    for _ in 0..100 {
        core::hint::spin_loop();
    }
    cpu::disable_interrupts();
}

/// The guest's interrupts and NMIs come while a program loops in ring 3: it is ended in time, and none is lost or doubled.
fn while_interrupts_wait() {
    apic::follow();
    apic::enable();
    // One of the BIOS's timer may have been taken already: Bochs 2.7 passes them by where LINT0 is masked, as it is in ring 3.
    with_entry(BIOS_TIMER, domains_entry, take_what_waits);
    let before = apic::read(apic::TIMER);
    with_entry(HIGHEST, domains_entry, || {
        take_what_waits();
        let first = taken();
        // A program has 100 ms; it is over long before.
        apic::write(apic::DIVIDE, 0xb);
        apic::write(apic::TIMER, HIGHEST.into());
        apic::write(apic::INITIAL_COUNT, 100_000);
        check_eq!(call(CRASH, ENDLESS), Err(DEAD), "a loop, with an interrupt of the highest class");
        check_eq!(taken(), first, "interrupts before the guest lets them in");
        take_what_waits();
        check_eq!(taken(), first + 1, "interrupts of the highest class");
        check!(apic::bit(apic::IN_SERVICE, HIGHEST), "it is in service");
        check_eq!(call(HELLO, 1), Err(NOT_NOW), "a program is called in the handler");
        check_eq!(call(CRASH, ANSWER), Err(NOT_NOW), "another one, which was to be started");
        apic::end_of_interrupt();
        check_eq!([call(HELLO, 1), call(CRASH, ANSWER)], [Ok(1), Ok(0)], "and after it");
        take_what_waits();
        check_eq!(taken(), first + 1, "interrupts of the highest class later");
    });
    with_entry(NMI, domains_entry, || {
        for round in 0..3 {
            let first = taken();
            let looped = with_timer_nmis(|| {
                // Once, in 20 ms.
                set_timer_once(0x6000);
                call(CRASH, ENDLESS)
            });
            check_eq!(looped, Err(DEAD), "a loop, with an NMI, {round}");
            for _ in 0..100 {
                cpu::cpuid(0);
            }
            check_eq!(taken(), first + 1, "NMIs while a program loops, {round}");
            check_eq!(call(CRASH, ANSWER), Ok(0), "crash is started anew");
        }
    });
    apic::write(apic::TIMER, before | apic::MASKED);
    set_timer(0);
    say!("interrupts of the highest class and NMIs, while a program loops");
}

fn starts_of_crash() -> u64 {
    call(STARTS, 0).unwrap_or(u64::MAX)
}

/// The question starts nothing; the task that does has its turn at exits.
fn is_started_anew(before: u64) -> bool {
    (0..10_000).any(|_| starts_of_crash() == before + 1)
}

pub fn chance() {
    if !shoji() {
        return;
    }
    check_eq!([call(HELLO, 1), call(CRASH, ANSWER)], [Ok(1), Ok(0)], "both answer");
    let free = call(FREE_FRAMES, 0);
    let mut ends = 0;
    for seed in 0..u64::from(boot::rounds()) {
        ends += u32::from(call(CRASH, CHANCE | seed << 8) == Err(DEAD));
        if seed % 100 == 0 {
            check_eq!(call(HELLO, 1), Ok(1), "hello answers after seed {seed}");
        }
    }
    machine::com2::drain();
    say!("{ends} ends");
    // A heap that has grown, and letters, are still its own: a new life has none.
    let _ = call(CRASH, OVERFLOW);
    check_eq!(call(CRASH, ANSWER), Ok(0), "crash answers in the end");
    check_eq!(call(FREE_FRAMES, 0), free, "all memory was given back");
}
