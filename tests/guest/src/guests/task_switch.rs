//! Hardware task switches: every source, both sizes, with and without paging, and the faults on the way.
//! Intel SDM Vol. 3A (325462), chapter 8; table 8-1 for the faults.

mod run;

use crate::machine::irq::{set_timer, with_lines};
use run::{A, Action, B, Back, C, GATE_B, Paging, Rig, Seen};

const NT: u32 = 1 << 14;
const TS: u32 = 1 << 3;
const NOT_PRESENT: u8 = 11;
const STACK_FAULT: u8 = 12;
const BUSY: u8 = 0x8b;
const AVAILABLE: u8 = 0x89;

pub fn run() {
    for paging in [Paging::Off, Paging::Bits32, Paging::Pae] {
        by_instructions(paging);
        nested(paging);
        by_exceptions(paging);
        by_interrupts(paging);
    }
    by_nmi();
    of_16_bits();
    debug_trap();
    faults_of_the_old_task();
    faults_of_the_new_task();
}

/// A's registers are as it set them, whoever ran in between; and TS is set, as after every switch.
fn check_a(seen: &Seen, what: &str) {
    let expected = [0, 1, 2, 3, 4, 5, 6].map(|i| 0xa0a0_a0a0 + i);
    check_eq!(seen.registers(), expected, "{what}: registers of A");
    check_eq!((seen.tr, seen.cr0 & TS, seen.flags & NT), (u32::from(A), TS, 0), "{what}: TR, TS and NT of A");
}

fn by_instructions(paging: Paging) {
    for (action, back, what) in [
        (Action::Call, Back::Iret, "CALL"),
        (Action::Jump, Back::Jump, "JMP"),
        (Action::CallGate, Back::Iret, "CALL of a task gate"),
        (Action::JumpGate, Back::Jump, "JMP to a task gate"),
        (Action::Int, Back::Iret, "INT 30h"),
    ] {
        let mut rig = Rig::new(paging);
        for round in 0..3 {
            rig.run(action, back);
            check_eq!((rig.vector(), rig.b_count()), (None, round + 1), "{what}, {paging:?}: exception, runs of B");
            check_a(&rig.a(), what);
            let b = rig.b();
            // From its second run on, B goes on where it left.
            let pattern = if round == 0 { 0x1b00_0000 } else { 0xb0b0_b0b0 };
            check_eq!(b.registers(), [0, 1, 2, 3, 4, 5, 6].map(|i| pattern + i), "{what}: registers of B");
            let nests = back == Back::Iret;
            check_eq!(b.flags & NT, if nests { NT } else { 0 }, "{what}: NT of B");
            check_eq!((b.tr, b.cr0 & TS), (u32::from(B), TS), "{what}: TR and TS of B");
            check_eq!(rig.link(B), if nests { A } else { 0 }, "{what}: back link of B");
            check_eq!((rig.access(A), rig.access(B)), (BUSY, AVAILABLE), "{what}: busy marks");
            check_eq!((rig.a().alias, b.alias), paging.aliases(), "{what}, {paging:?}: what A and B see");
            rig.again();
        }
    }
    say!("{paging:?}: CALL, JMP, task gates, INT: three times each");
}

/// A calls B, B calls C; both return.
fn nested(paging: Paging) {
    let mut rig = Rig::new(paging);
    rig.run(Action::Call, Back::Nest);
    check_eq!((rig.vector(), rig.b_count()), (None, 1), "nested calls: exception, runs of B");
    check_a(&rig.a(), "nested calls");
    check_eq!((rig.c().tr, rig.c().flags & NT), (u32::from(C), NT), "TR and NT of C");
    check_eq!((rig.link(C), rig.link(B)), (B, A), "back links of C and B");
    check_eq!((rig.access(A), rig.access(B), rig.access(C)), (BUSY, AVAILABLE, AVAILABLE), "busy marks");
}

/// #GP with its error code, and #DF, by a task that lets A go on behind the instruction.
fn by_exceptions(paging: Paging) {
    for (gate, expected) in [(13, 0xfff8), (8, 0)] {
        let mut rig = Rig::new(paging);
        rig.task_gate(gate, B);
        if gate == 8 {
            rig.no_gate(13);
        }
        rig.pop_error();
        for round in 0..2 {
            rig.run(Action::Fault, Back::Iret);
            check_eq!((rig.vector(), rig.b_count()), (None, round + 1), "vector {gate}: exception, runs of B");
            check_eq!(rig.error(), expected, "error code of vector {gate}");
            check_a(&rig.a(), "a fault by a task gate");
            check_eq!((rig.b().flags & NT, rig.link(B)), (NT, A), "NT and back link");
            rig.again();
        }
    }
}

/// The timer's interrupt by a task gate, while A halts.
fn by_interrupts(paging: Paging) {
    set_timer(1193);
    with_lines(1, || {
        let mut rig = Rig::new(paging);
        rig.task_gate(32, B);
        rig.end_interrupt();
        for round in 0..20 {
            let before = rig.b_count();
            rig.run(Action::Wait, Back::Iret);
            check_eq!(rig.vector(), None, "interrupts: exception");
            // Another may come before A's CLI.
            check!(rig.b_count() > before, "interrupts: no run of B in round {round}");
            check_a(&rig.a(), "an interrupt by a task gate");
            rig.again();
        }
    });
    set_timer(0);
    say!("{paging:?}: nested calls, exceptions and interrupts by task gates");
}

/// The IRET of an NMI's task unblocks the next one.
fn by_nmi() {
    let mut rig = Rig::new(Paging::Off);
    rig.task_gate(2, B);
    for round in 0..5 {
        rig.run(Action::Nmi, Back::Iret);
        check_eq!((rig.vector(), rig.b_count()), (None, round + 1), "NMIs: exception, runs of B");
        check_a(&rig.a(), "an NMI by a task gate");
        rig.again();
    }
}

fn of_16_bits() {
    for paging in [Paging::Off, Paging::Bits32] {
        for (action, back) in [(Action::Call, Back::Iret), (Action::Jump, Back::Jump), (Action::Int, Back::Iret)] {
            let mut rig = Rig::new(paging);
            rig.b_of_16_bits();
            for round in 0..2 {
                rig.run(action, back);
                check_eq!((rig.vector(), rig.b_count()), (None, round + 1), "16-bit TSS: exception, runs of B");
                check_a(&rig.a(), "a 16-bit TSS");
                let pattern = if round == 0 { 0x1b00 } else { 0xb0b0 };
                let b = rig.b();
                check_eq!(
                    b.registers().map(|r| r & 0xffff),
                    [0, 1, 2, 3, 4, 5, 6].map(|i| pattern + i),
                    "16-bit TSS: registers of B"
                );
                // There is no CR3 in it: A's stays.
                check_eq!((b.tr, b.alias), (u32::from(B), rig.a().alias), "16-bit TSS: TR and what B sees");
                rig.again();
            }
        }
    }
    say!("16-bit TSS: CALL, JMP, INT");
}

/// T of the TSS: #DB with DR6.BT before B's first instruction.
fn debug_trap() {
    let mut rig = Rig::new(Paging::Off);
    rig.set_debug_trap(B);
    rig.run(Action::Call, Back::Iret);
    if rig.vector().is_none() {
        say!("T of the TSS: not done by this CPU");
        return;
    }
    check_eq!((rig.vector(), rig.b_count(), rig.c().tr), (Some(1), 0, u32::from(B)), "T: vector, runs of B, TR");
    check_eq!(rig.dr6() & 1 << 15, 1 << 15, "T: DR6.BT");
}

type Spoil = fn(&mut Rig);

fn expect(action: Action, spoil: Spoil, vector: u8, error: u32, task: u16, what: &str) {
    for paging in [Paging::Off, Paging::Bits32] {
        let mut rig = Rig::new(paging);
        rig.handler_task(vector);
        if vector == STACK_FAULT {
            rig.handler_task(NOT_PRESENT); // QEMU 7.2 raises that for a stack segment too
        }
        spoil(&mut rig);
        rig.run(action, Back::Iret);
        check_eq!(rig.vector(), Some(run::HANDLED), "{what}, {paging:?}: not by vector {vector}");
        check_eq!((rig.error(), rig.b_count()), (error, 0), "{what}, {paging:?}: error code, runs of B");
        check_eq!(rig.link(C), task, "{what}, {paging:?}: the task that faults");
    }
}

/// The switch does not take place.
fn faults_of_the_old_task() {
    let b = u32::from(B);
    let absent: Spoil = |rig| rig.set_access(B, 0x09);
    let busy: Spoil = |rig| rig.set_access(B, BUSY);
    let short: Spoil = |rig| rig.set_limit(B, 0x66);
    expect(Action::Jump, absent, 11, b, A, "JMP to a TSS that is not present");
    expect(Action::Call, absent, 11, b, A, "CALL of a TSS that is not present");
    expect(Action::Int, absent, 11, b, A, "INT to a TSS that is not present");
    expect(Action::Jump, busy, 13, b, A, "JMP to a busy TSS");
    expect(Action::Call, busy, 13, b, A, "CALL of a busy TSS");
    expect(Action::CallGate, busy, 13, b, A, "CALL of a task gate to a busy TSS");
    expect(Action::JumpGate, |rig| rig.set_access(GATE_B, 0x05), 11, GATE_B.into(), A, "JMP to an absent task gate");
    expect(Action::Jump, short, 10, b, A, "JMP to a TSS that is too short");
    expect(Action::Call, short, 10, b, A, "CALL of a TSS that is too short");
    expect(Action::Iret, |rig| rig.set_link(A, B), 10, b, A, "IRET to a TSS that is not busy");
    expect(Action::Iret, |rig| rig.set_link(A, 0x10), 10, 0x10, A, "IRET to a data segment");
    expect(Action::Iret, |rig| rig.set_link(A, 0x78), 10, 0x78, A, "IRET to an empty descriptor");
    say!("faults before the switch");
}

/// The switch has taken place, and the new task faults before its first instruction.
fn faults_of_the_new_task() {
    for action in [Action::Call, Action::Jump, Action::Int] {
        expect(action, |rig| rig.set_segment(B, run::CS, 0), 10, 0, B, "CS null");
        expect(action, |rig| rig.set_segment(B, run::CS, 0x10), 10, 0x10, B, "CS of a data segment");
        expect(action, |rig| rig.set_segment(B, run::CS, 0x60), 11, 0x60, B, "CS not present");
        expect(action, |rig| rig.set_segment(B, run::SS, 0), 10, 0, B, "SS null");
        expect(action, |rig| rig.set_segment(B, run::SS, 0x68), 12, 0x68, B, "SS not present");
        expect(action, |rig| rig.set_segment(B, run::SS, 0x08), 10, 0x08, B, "SS of a code segment");
        expect(action, |rig| rig.set_segment(B, run::DS, 0xf8), 10, 0xf8, B, "DS beyond the table");
        expect(action, |rig| rig.set_segment(B, run::ES, 0x68), 11, 0x68, B, "ES not present");
        expect(action, |rig| rig.set_segment(B, run::GS, 0x40), 10, 0x40, B, "GS of a TSS");
        expect(action, |rig| rig.set_segment(B, run::LDT, 0x10), 10, 0x10, B, "LDT of a data segment");
    }
    say!("faults after the switch");
}
