//! NMIs, sent by the local APIC and by a timer, while instructions exit.
//! Intel SDM Vol. 3A (325462) 7.7 (NMI), 12.6.1 (ICR); 82093AA I/O APIC data sheet (290566) 3.2.4.

use crate::machine::cpu::{self, rdtsc};
use crate::machine::exceptions::with_entry;
use crate::machine::irq::{self, set_timer, with_lines};
use crate::machine::memory::{peek, poke};
use crate::machine::port::in8;
use core::arch::{asm, global_asm};

const VECTOR: u8 = 2;
const SPURIOUS: u64 = 0xfee0_00f0;
const ICR_LOW: u64 = 0xfee0_0300;
const ICR_HIGH: u64 = 0xfee0_0310;
const ICR_NMI: u32 = 0x400 | 1 << 14;
const ICR_PENDING: u32 = 1 << 12;
const IO_APIC: u64 = 0xfec0_0000;
/// Redirection entry of pin 2, where the timer's line 0 is.
const PIN_2: u32 = 0x14;
const MASKED: u32 = 1 << 16;
const NMI_MODE: u32 = 0x400;
/// 400 Hz.
const DIVISOR: u16 = 2983;
const TIMER: u8 = 0;
const SYSTEM_CONTROL_A: u16 = 0x92;
const LONG_TICKS: u64 = 20_000_000_000;

// Counts, exits, and on request sends two more from within.
global_asm!(
    "nmi_entry:",
    "push rax",
    "push rbx",
    "push rcx",
    "push rdx",
    "inc dword ptr [nmi_count]",
    "inc dword ptr [nmi_depth]",
    "cmp dword ptr [nmi_depth], 1",
    "je 2f",
    "inc dword ptr [nmi_nested]",
    "2:",
    "cmp dword ptr [nmi_send], 0",
    "je 4f",
    "dec dword ptr [nmi_send]",
    "mov ebx, 0xfee00300",
    "mov dword ptr [rbx + 0x10], 0",
    "mov dword ptr [rbx], 0x4400",
    "mov ecx, 100",
    "3:",
    "in al, 0x92",
    "push rcx",
    "xor eax, eax",
    "cpuid",
    "pop rcx",
    "loop 3b",
    "jmp 2b",
    "4:",
    "in al, 0x92",
    "dec dword ptr [nmi_depth]",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    "iretq",
    ".balign 4",
    "nmi_count: .long 0",
    "nmi_depth: .long 0",
    "nmi_nested: .long 0",
    "nmi_send: .long 0",
);

unsafe extern "C" {
    fn nmi_entry();
    static nmi_count: u32;
    static nmi_nested: u32;
    static nmi_send: u32;
}

fn count() -> u32 {
    peek((&raw const nmi_count) as u64)
}

fn nested() -> u32 {
    peek((&raw const nmi_nested) as u64)
}

fn send() {
    poke(ICR_HIGH, 0u32);
    poke(ICR_LOW, ICR_NMI);
    while peek::<u32>(ICR_LOW) & ICR_PENDING != 0 {}
}

fn exits(rounds: usize) {
    for _ in 0..rounds {
        in8(SYSTEM_CONTROL_A);
        cpu::cpuid(0);
    }
}

pub fn run() {
    poke(SPURIOUS, peek::<u32>(SPURIOUS) | 1 << 8); // software enable
    with_entry(VECTOR, nmi_entry, || {
        sent_to_itself();
        within_the_handler();
        set_timer(DIVISOR);
        with_lines(1, stream);
        with_lines(0, || {
            while_halted();
            in_shadows();
        });
        set_timer(0);
    });
    check_eq!(nested(), 0, "NMIs within another's handler");
}

fn sent_to_itself() {
    for round in 1..=100 {
        let before = count();
        send();
        exits(10);
        check_eq!(count(), before + 1, "NMIs taken, after {round} that were sent");
    }
    say!("100 NMIs one by one");
}

/// The handler sends two: one is kept until its IRET, the other is lost, as on every CPU.
fn within_the_handler() {
    for _ in 0..20 {
        let before = count();
        poke((&raw const nmi_send) as u64, 2u32);
        send();
        exits(10);
        check_eq!(count() - before, 2, "NMIs taken, of one and two within its handler");
        exits(100);
        check_eq!(count() - before, 2, "NMIs taken later");
    }
}

/// The timer's line as NMIs while the code runs.
pub fn with_timer_nmis<T>(code: impl FnOnce() -> T) -> T {
    let select = |register: u32| poke(IO_APIC, register);
    let write = |low: u32| {
        select(PIN_2 + 1);
        poke(IO_APIC + 0x10, 0u32); // to the CPU with identifier 0
        select(PIN_2);
        poke(IO_APIC + 0x10, low);
    };
    select(PIN_2);
    let old = peek::<u32>(IO_APIC + 0x10);
    write(NMI_MODE);
    let result = code();
    write(old | MASKED);
    result
}

/// The timer's line is an NMI by the I/O APIC and an interrupt by the PIC: as many come of one as of the other,
/// whatever exits meanwhile; and the registers stay.
fn stream() {
    let expected = u64::from(in8(SYSTEM_CONTROL_A));
    let (ticks, taken) = with_timer_nmis(|| {
        let (start, first) = (count(), irq::count(TIMER));
        let ticks = || irq::count(TIMER) - first;
        while ticks() < 150 {
            let (sum, left): (u64, u64);
            // SAFETY: port reads without effect; the handlers keep all registers.
            unsafe {
                asm!("2:", "sti", "xor eax, eax", "in al, dx", "add {sum}, rax", "cli", "dec {left}", "jnz 2b",
                    sum = inout(reg) 0u64 => sum, left = inout(reg) 10u64 => left,
                    in("dx") SYSTEM_CONTROL_A, out("rax") _)
            };
            check_eq!((sum, left), (10 * expected, 0), "sum of 10 reads of port 92h, and the loop's counter");
            cpu::cpuid(0);
        }
        (ticks(), count() - start)
    });
    say!("{taken} NMIs in {ticks} ticks of the timer");
    // None is lost, none is doubled. A tick that comes before the last one's interrupt was taken is an NMI only.
    check!(taken + 1 >= ticks && taken <= ticks + ticks / 10 + 3, "{taken} NMIs in {ticks} ticks of the timer");
    let after = count();
    exits(1000);
    check_eq!(count(), after, "NMIs after the timer's line was masked");
}

/// HLT with IF = 0 ends by an NMI only.
fn while_halted() {
    let longest = with_timer_nmis(|| {
        let mut longest = 0;
        for _ in 0..50 {
            let (before, start) = (count(), rdtsc());
            // SAFETY: an NMI comes within some milliseconds.
            unsafe { asm!("hlt") };
            check!(count() > before, "HLT ended without an NMI");
            longest = longest.max(rdtsc() - start);
            check!(longest < LONG_TICKS, "HLT of {longest} ticks");
            exits(5);
        }
        longest
    });
    check!(longest > 1000, "HLT does not wait");
}

/// NMIs meet the shadows of STI and MOV SS, each before an instruction that exits.
fn in_shadows() {
    with_timer_nmis(|| {
        let start = count();
        let mut rounds = 0u64;
        while count() - start < 100 {
            let mut left = 50u64;
            // SAFETY: interrupt lines are masked; SS stays what it is.
            unsafe {
                asm!("2:", "sti", "in al, dx", "cli", "mov ax, ss", "mov ss, ax", "in al, dx", "dec {left}", "jnz 2b",
                    left = inout(reg) left, in("dx") SYSTEM_CONTROL_A, out("ax") _)
            };
            check_eq!(left, 0, "the loop's counter");
            rounds += 50;
        }
        say!("{} NMIs in {rounds} shadows of both kinds", count() - start);
    });
}
