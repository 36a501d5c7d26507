//! Debug exceptions, interrupt shadows and alignment checks around instructions that exit.
//! Intel SDM Vol. 3B (325462) 19.2 (debug registers), 19.3.1 (#DB); Vol. 3A 7.8.3 (MOV SS), 7.15 (#AC).

use crate::machine::cpu;
use crate::machine::exceptions::{AC, UD, catch_user, with_entry};
use crate::machine::irq::{set_timer, with_lines};
use crate::machine::memory::{peek, poke};
use crate::machine::port::{in8, out8};
use core::arch::{asm, global_asm};

global_asm!(include_str!("debug.s"), options(raw));

const DB: u8 = 1;
const TIMER: u8 = 32;
const KILOHERTZ: u16 = 1193;
const PIC: u16 = 0x20;
const CR0_AM: u64 = 1 << 18;
/// DR6: what is clear of the bits that a CPU leaves set.
const SINGLE_STEP: u64 = 1 << 14;
const DR6_CAUSES: u64 = 0xe00f;

unsafe extern "C" {
    fn debug_entry();
    fn debug_timer();
    fn debug_steps();
    fn debug_move_ss();
    fn debug_targets();
    fn debug_cpuid();
    fn debug_in();
    fn debug_rdmsr();
    fn debug_data();
    fn debug_sti_cpuid();
    fn debug_sti_in();
    fn debug_after_cpuid();
    fn debug_after_in();
    fn debug_misaligned();
    fn debug_misaligned_read();
    static debug_step_ends: [u64; 16];
    static debug_shadow_ends: [u64; 5];
    static debug_data_ends: [u64; 2];
    static debug_count: u64;
    static debug_log: [Trap; 32];
    static debug_interrupted: u64;
    static debug_word: u64;
}

/// One #DB: where it came, and its causes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Trap {
    rip: u64,
    causes: u64,
}

pub fn run() {
    with_entry(DB, debug_entry, || {
        single_steps();
        move_ss();
        breakpoints();
        data_breakpoints();
    });
    interrupts_behind_sti();
    alignment_checks();
}

fn address(routine: unsafe extern "C" fn()) -> u64 {
    routine as usize as u64
}

/// Runs a routine; the debug exceptions that it raises.
fn traps(routine: unsafe extern "C" fn()) -> ([Trap; 32], usize) {
    poke((&raw const debug_count) as u64, 0u64);
    // SAFETY: a routine of `debug.s`: it keeps what C wants kept, and changes no memory but its own.
    unsafe {
        asm!("mov dr6, {}", in(reg) 0xffff_0ff0u64);
        routine();
    }
    let mut log: [Trap; 32] = peek((&raw const debug_log) as u64);
    for trap in &mut log {
        trap.causes &= DR6_CAUSES;
    }
    (log, peek::<u64>((&raw const debug_count) as u64) as usize)
}

/// Exactly one #DB after each instruction, whether or not it exits.
fn single_steps() {
    let ends: [u64; 16] = peek((&raw const debug_step_ends) as u64);
    for _ in 0..10 {
        let (log, count) = traps(debug_steps);
        check_eq!(count, ends.len(), "single steps");
        for (trap, end) in log.iter().zip(ends) {
            check_eq!(*trap, Trap { rip: end, causes: SINGLE_STEP }, "a single step");
        }
    }
    say!("single steps over CPUID, IN, OUT, RDMSR, WRMSR");
}

/// No #DB behind MOV SS; one behind the instruction that exits in its shadow.
fn move_ss() {
    let ends: [u64; 5] = peek((&raw const debug_shadow_ends) as u64);
    let (log, count) = traps(debug_move_ss);
    check_eq!(count, ends.len(), "single steps over MOV SS and what follows");
    for (trap, end) in log.iter().zip(ends) {
        check_eq!(*trap, Trap { rip: end, causes: SINGLE_STEP }, "a single step behind MOV SS");
    }
    say!("single steps over MOV SS");
}

/// Breakpoints in DR0 to DR3 while the code runs; DR7's low half.
fn with_breakpoints<T>(addresses: [u64; 4], control: u64, code: impl FnOnce() -> T) -> T {
    // SAFETY: the handler of #DB goes on behind or with the instruction.
    unsafe {
        asm!("mov dr0, {0}", "mov dr1, {1}", "mov dr2, {2}", "mov dr3, {3}", "mov dr7, {4}", in(reg) addresses[0],
            in(reg) addresses[1], in(reg) addresses[2], in(reg) addresses[3], in(reg) control | 0x400);
        let result = code();
        asm!("mov dr7, {}", in(reg) 0x400u64);
        result
    }
}

/// A breakpoint on an instruction that exits comes once, before it; the instruction is then carried out.
fn breakpoints() {
    let at = [debug_cpuid, debug_in, debug_rdmsr].map(address);
    for _ in 0..10 {
        let (log, count) = with_breakpoints([at[0], at[1], at[2], 0], 0x15, || traps(debug_targets));
        check_eq!(count, 3, "breakpoints on instructions that exit");
        for (i, at) in at.into_iter().enumerate() {
            check_eq!(log[i], Trap { rip: at, causes: 1 << i }, "breakpoint {i}");
        }
    }
    // No breakpoint on the first: those of the instructions right behind an exit.
    let (log, count) = with_breakpoints([at[1], 0, 0, 0], 1, || traps(debug_targets));
    check_eq!((count, log[0]), (1, Trap { rip: at[1], causes: 1 }), "a breakpoint right behind CPUID");
    say!("breakpoints on CPUID, IN, RDMSR");
}

/// A breakpoint on data comes behind the access, between instructions that exit.
fn data_breakpoints() {
    let (word, ends): (u64, [u64; 2]) = ((&raw const debug_word) as u64, peek((&raw const debug_data_ends) as u64));
    for (kind, expected) in [(1u64, &ends[..1]), (3, &ends[..])] {
        // DR1, local; 4 bytes: written, or read and written.
        let (log, count) = with_breakpoints([0, word, 0, 0], 1 << 2 | kind << 20 | 3 << 22, || traps(debug_data));
        check_eq!(count, expected.len(), "breakpoints on data");
        for (trap, &end) in log.iter().zip(expected) {
            check_eq!(*trap, Trap { rip: end, causes: 2 }, "a breakpoint on data");
        }
    }
    say!("breakpoints on data");
}

fn pending() -> bool {
    out8(PIC, 0x0a); // OCW3: read IRR
    in8(PIC) & 1 != 0
}

/// A pending interrupt comes behind the instruction in STI's shadow, though that instruction exits.
fn interrupts_behind_sti() {
    set_timer(KILOHERTZ);
    with_entry(TIMER, debug_timer, || {
        with_lines(1, || {
            for (routine, expected) in [
                (debug_sti_cpuid as unsafe extern "C" fn(), debug_after_cpuid as unsafe extern "C" fn()),
                (debug_sti_in, debug_after_in),
            ] {
                for _ in 0..20 {
                    while !pending() {}
                    // SAFETY: a routine of `debug.s`; the handler keeps all registers.
                    unsafe { routine() };
                    let at: u64 = peek((&raw const debug_interrupted) as u64);
                    check_eq!(at, address(expected), "where the interrupt behind STI comes");
                }
            }
        });
    });
    set_timer(0);
    say!("interrupts behind STI and an exit");
}

/// #AC with error code 0 at CPL 3, again and again.
fn alignment_checks() {
    let cr0 = cpu::cr0();
    // SAFETY: alignment is checked at CPL 3 only.
    unsafe { cpu::set_cr0(cr0 | CR0_AM) };
    let mut missing = 0;
    for _ in 0..20 {
        let f = catch_user(address(debug_misaligned));
        if f.vector == UD {
            missing += 1;
            continue;
        }
        check_eq!((f.vector, f.error, f.rip), (AC, 0, address(debug_misaligned_read)), "a misaligned access at CPL 3");
    }
    // SAFETY: the old value.
    unsafe { cpu::set_cr0(cr0) };
    check!(missing == 0 || missing == 20, "{missing} of 20 misaligned accesses without #AC");
    say!("alignment checks: {}", if missing == 0 { "#AC" } else { "this CPU has none" });
}
