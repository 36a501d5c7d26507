//! Interrupts arrive once each, where they may, and disturb nothing, while port instructions exit.

use crate::machine::ata;
use crate::machine::cpu;
use crate::machine::exceptions::catch;
use crate::machine::irq::{count, set_timer, with_lines};
use crate::machine::memory::{buffer, peek, poke};
use crate::machine::port::in8;
use core::arch::asm;

const TIMER: u8 = 0;
const KILOHERTZ: u16 = 1193;
/// Hooked by Shoji; reading it has no effect.
const SYSTEM_CONTROL_A: u16 = 0x92;
/// PIC command port: nobody's.
const PIC: u16 = 0x20;

pub fn run() {
    ata::settle();
    set_timer(KILOHERTZ);
    with_lines(1 << TIMER, || {
        under_port_reads();
        under_string_reads();
        not_while_off();
        after_the_shadow();
    });
    set_timer(0);
    non_maskable();
    say!("{} timer interrupts in all", count(TIMER));
}

/// Registers and the values read stay right while interrupts come in between.
fn under_port_reads() {
    let expected = u64::from(in8(SYSTEM_CONTROL_A));
    let start = count(TIMER);
    let mut rounds = 0u64;
    while count(TIMER) - start < 200 {
        let (sum, left): (u64, u64);
        // SAFETY: port reads without effect; interrupt handlers keep all registers.
        unsafe {
            asm!(
                "sti",
                "2:",
                "xor eax, eax",
                "in al, dx",
                "add {sum}, rax",
                "xchg edx, {other:e}",
                "in al, dx",
                "xchg edx, {other:e}",
                "dec {left}",
                "jnz 2b",
                "cli",
                sum = inout(reg) 0u64 => sum,
                left = inout(reg) 100u64 => left,
                other = inout(reg) u64::from(PIC) => _,
                inout("rdx") u64::from(SYSTEM_CONTROL_A) => _,
                out("rax") _,
            )
        };
        check_eq!((sum, left), (100 * expected, 0), "sum of 100 reads of port 92h, and the loop's counter");
        rounds += 1;
    }
    say!("200 interrupts in {rounds} rounds of 100 hooked and 100 unhooked reads");
}

/// REP INSW is interrupted or not, but never loses or doubles a word.
fn under_string_reads() {
    let reference = buffer(0);
    let sectors = 64 * ata::SECTOR;
    if let Err(e) = ata::read_dma(0, &mut reference[..sectors]) {
        crate::report::fail(format_args!("READ DMA: {e:x?}"));
    }
    let start = count(TIMER);
    let mut rounds = 0;
    while count(TIMER) - start < 50 {
        let data = buffer(1);
        data[..=sectors].fill(0xee);
        cpu::enable_interrupts();
        let result = ata::read_pio(0, &mut data[..sectors]);
        cpu::disable_interrupts();
        check!(result.is_ok(), "READ SECTORS: {result:x?}");
        check!(data[..sectors] == reference[..sectors], "PIO data differs under interrupts, round {rounds}");
        check_eq!(data[sectors], 0xee, "the byte behind the buffer");
        rounds += 1;
    }
    say!("50 interrupts in {rounds} reads of 64 sectors by PIO");
}

/// With IF = 0 none comes, however often the guest exits; the pending one comes right after STI.
fn not_while_off() {
    for _ in 0..20 {
        let before = count(TIMER);
        let start = cpu::rdtsc();
        // Until the timer's request is pending in the PIC (read IRR), and then some more exits.
        while !pending() {
            check!(cpu::rdtsc() - start < 20_000_000_000, "the timer raises no request");
        }
        for _ in 0..100 {
            in8(SYSTEM_CONTROL_A);
            cpu::cpuid(0);
        }
        check_eq!(count(TIMER), before, "timer interrupts while IF = 0");
        // SAFETY: interrupt handlers keep all registers.
        unsafe { asm!("sti", "nop", "nop", "cli") };
        check!(count(TIMER) > before, "the pending interrupt is lost");
    }
}

fn pending() -> bool {
    crate::machine::port::out8(PIC, 0x0a); // OCW3: read IRR
    in8(PIC) & 1 != 0
}

/// An instruction that exits ends the interrupt shadow of the STI before it: the interrupt comes behind it.
fn after_the_shadow() {
    for hooked in [true, false] {
        let port = if hooked { SYSTEM_CONTROL_A } else { PIC };
        while !pending() {}
        let before = count(TIMER);
        // SAFETY: a port read without effect.
        unsafe { asm!("sti", "in al, dx", "nop", "cli", in("dx") port, out("al") _) };
        check!(count(TIMER) > before, "no interrupt behind STI and IN (hooked: {hooked})");
    }
}

/// Interrupt command register of the local APIC (SDM Vol. 3A 11.6.1): an NMI to the CPU with identifier 0.
const ICR_LOW: u64 = 0xfee0_0300;
const ICR_HIGH: u64 = 0xfee0_0310;
const ICR_NMI: u32 = 0x400 | 1 << 14;
const ICR_PENDING: u32 = 1 << 12;
const NMI: u64 = 2;

/// Each NMI arrives once, whether the guest exits before and after it or not.
fn non_maskable() {
    let mut taken = 0;
    for _ in 0..20 {
        let result = catch(&mut || {
            poke(ICR_HIGH, 0u32);
            poke(ICR_LOW, ICR_NMI);
            while peek::<u32>(ICR_LOW) & ICR_PENDING != 0 {}
            for _ in 0..100 {
                in8(SYSTEM_CONTROL_A);
                cpu::cpuid(0);
            }
        });
        match result {
            Err(f) if f.vector == NMI => taken += 1,
            other => crate::report::fail(format_args!("an NMI ends in {other:x?}, after {taken} that arrived")),
        }
        unblock_nmis();
    }
    let more = catch(&mut || {
        for _ in 0..1000 {
            in8(SYSTEM_CONTROL_A);
        }
    });
    check!(more.is_ok(), "an NMI that nobody sent: {more:x?}");
    say!("{taken} NMIs");
}

/// NMIs are blocked from an NMI's delivery to the next IRET; `catch` leaves the handler without one.
fn unblock_nmis() {
    // SAFETY: an IRET to the next instruction, with the stack and the flags of now.
    unsafe {
        asm!("mov rax, rsp", "push 0x10", "push rax", "pushfq", "push 0x18", "lea rax, [rip + 2f]", "push rax", "iretq",
            "2:", out("rax") _)
    };
}
