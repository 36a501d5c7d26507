//! An instruction that exits is rewritten by another CPU all the time, between its exit and the hypervisor's look at it too; and the
//! page tables that lead to it, and to its operand, change as fast.
//!
//! Safe: each attempt ends as one of the instructions, or a mixture of two, would, or with #PF where a page was missing; what the hypervisor carries out
//! is one of those that stood there; nothing of its memory is read, executed or written.

use crate::frame::code::{self, Registers};
use crate::frame::random::Random;
use crate::frame::target_memory;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tiny::machine::apic;
use tiny::machine::exceptions::{GP, PF, UD};
use tiny::machine::memory::{Remapped, buffer, buffer_address, peek, poke};
use tiny::machine::smp;
use tiny::machine::time::Since;

const SLOTS: usize = 34;
const TABLE: usize = 35;
const OPERAND: usize = 36;
const WINDOW: u64 = 482;
const MS: u32 = 1500;
const RET: u8 = 0xc3;
const DB: u64 = 1;
const BP: u64 = 3;

/// All are harmless with the registers of [`registers`], from any byte on, and so are mixtures of two: a CPU may fetch
/// those. No operand-size prefix stands among them: before RET it makes QEMU's CPU return to an address of 16 bits.
const INSTRUCTIONS: [&[u8]; 18] = [
    &[0x0f, 0xa2],             // CPUID
    &[0xe4, 0x92],             // IN AL, 92h
    &[0xec],                   // IN AL, DX
    &[0xed],                   // IN EAX, DX
    &[0x6c],                   // INSB
    &[0xf3, 0x6c],             // REP INSB
    &[0x0f, 0x32],             // RDMSR
    &[0x0f, 0x01, 0xd9],       // VMMCALL
    &[0x0f, 0x01, 0xc1],       // VMCALL
    &[0x0f, 0x01, 0xd8],       // VMRUN
    &[0x0f, 0x01, 0xd1],       // XSETBV
    &[0x89, 0x07],             // MOV [RDI], EAX
    &[0x87, 0x07],             // XCHG [RDI], EAX
    &[0x67, 0x48, 0x89, 0x07], // MOV [EDI], RAX
    &[0x8b, 0x07],             // MOV EAX, [RDI]
    &[0xab],                   // STOSD
    &[0x0f, 0x0b],             // UD2
    &[0xcc],                   // INT3
];

/// RDI is the task priority of the APIC, or the operand's page.
fn registers(operand: u64) -> Registers {
    Registers { rax: 0x20, rcx: 0x10, rdx: 0x92, rsi: operand, rdi: operand }
}

fn slot(random: &mut Random) -> u64 {
    let mut bytes = [RET; 8];
    let instruction = INSTRUCTIONS[random.below(INSTRUCTIONS.len())];
    bytes[..instruction.len()].copy_from_slice(instruction);
    u64::from_le_bytes(bytes)
}

/// Calls from `entries` on CPU 1 while `disturb` runs here; how many came back, and how many raised an exception.
fn race(what: &str, entries: &(dyn Fn(&mut Random) -> (u64, u64) + Sync), mut disturb: impl FnMut(&mut Random)) {
    let (stop, done, raised) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let theirs = || {
        // Mixtures may be those of the x87, whose exceptions all are unmasked after reset.
        // SAFETY: nothing here uses it.
        unsafe { asm!("fninit") };
        let mut random = Random::new(0x7ace);
        while !stop.load(Relaxed) {
            let (at, operand) = entries(&mut random);
            match code::call(at, registers(operand)) {
                Ok(()) => done.fetch_add(1, Relaxed),
                Err(f) if [DB, BP, UD, GP, PF].contains(&f.vector) => raised.fetch_add(1, Relaxed),
                Err(f) => tiny::report::fail(format_args!("{what}: {f:x?}")),
            };
        }
    };
    smp::beside(1, &theirs, || {
        let (mut since, mut random) = (Since::now(), Random::new(0xd157));
        while since.ms() < MS {
            (0..20).for_each(|_| disturb(&mut random));
        }
        stop.store(true, Relaxed);
    });
    say!("{what}: {} came back, {} raised an exception", done.load(Relaxed), raised.load(Relaxed));
    check!(done.load(Relaxed) > 0 && raised.load(Relaxed) > 0, "{what}: no race");
    seen!("{what}: each attempt ends as one of the instructions would");
}

pub fn run() {
    smp::start();
    let vmm = target_memory();
    let before: u64 = peek(vmm.start);
    code_rewritten();
    pages_moved(vmm.start);
    operands_moved(vmm.start);
    check_eq!(peek::<u64>(vmm.start), before, "memory of the hypervisor");
    smp::on_cpu(1, &|| apic::write(apic::TASK_PRIORITY, 0));
}

/// Two slots, each rewritten in one store.
fn code_rewritten() {
    buffer(SLOTS)[..4096].fill(RET);
    let at = buffer_address(SLOTS) + 0x100;
    let priority = apic::PAGE + u64::from(apic::TASK_PRIORITY);
    race("code that is rewritten", &|random| (at + 64 * (random.next() & 1), priority), |random| {
        poke(at + 64 * (random.next() & 1), slot(random))
    });
}

/// Code that crosses into a page which is now this one, now that one, now none.
fn pages_moved(vmm: u64) {
    const EDGE: u64 = 0x1000;
    let (code, table) = (buffer_address(SLOTS), buffer_address(TABLE));
    buffer(SLOTS)[..0x8000].fill(RET);
    buffer(TABLE)[..4096].fill(0);
    // The beginnings of instructions at the end of the first page; ends of them on the next ones. None raises an exception
    // by itself: Bochs 2.7 keeps for ever what it has decoded from two pages, whichever is the second one by then.
    let page = buffer(SLOTS);
    page[0xffc..0x1000].copy_from_slice(&[0x66, 0x67, 0x2e, 0x0f]);
    for (page_number, end) in [(1, 0xa2), (2, 0x32), (3, 0x31), (4, 0x08)] {
        page[page_number * 0x1000] = end;
    }
    poke(table, code | 7);
    poke(table + 8, (code + 0x1000) | 7);
    let window = Remapped::through_table(WINDOW, table);
    let linear = window.linear();
    let forget = |at: u64| {
        // SAFETY: forgets a translation of this case.
        unsafe { asm!("invlpg [{}]", in(reg) at) }
    };
    race(
        "code whose second page moves",
        &|_| {
            forget(linear);
            forget(linear + EDGE);
            (linear + EDGE - 4, linear)
        },
        |random| {
            let target = match random.below(8) {
                0 => 0,
                1 => vmm | 7,
                // Not the APIC's page: QEMU 7.2 and Bochs 2.7 end themselves where half an instruction is a device's.
                2 | 3 => 1 << 51 | 7,
                n => (code + 0x1000 * (n as u64 - 3)) | 7,
            };
            poke(table + 8, target);
        },
    );
    drop(window);
}

/// An operand whose page is RAM, the APIC's, the hypervisor's, or none; the tables themselves move too.
fn operands_moved(vmm: u64) {
    let (table, other) = (buffer_address(TABLE), buffer_address(TABLE) + 0x1000);
    let operand = buffer_address(OPERAND);
    buffer(TABLE)[..0x2000].fill(0);
    poke(other, operand | 7);
    poke(table, operand | 7);
    buffer(SLOTS)[..4096].fill(RET);
    let at = buffer_address(SLOTS) + 0x200;
    let forms: [&[u8]; 8] = [
        &[0x89, 0x07],
        &[0x87, 0x07],
        &[0xab],
        &[0x6c],
        &[0x8b, 0x07],
        &[0x09, 0x07],
        &[0xf0, 0xff, 0x07],
        &[0x0f, 0xae, 0x07],
    ];
    for (i, form) in forms.iter().enumerate() {
        buffer(SLOTS)[0x200 + 16 * i..][..form.len()].copy_from_slice(form);
    }
    let window = Remapped::through_table(WINDOW, table);
    let linear = window.linear();
    race(
        "operands whose page moves",
        &|random| {
            // SAFETY: as above.
            unsafe { asm!("invlpg [{}]", in(reg) linear) };
            (at + 16 * random.below(forms.len()) as u64, linear + u64::from(apic::TASK_PRIORITY))
        },
        |random| match random.below(6) {
            0 => window.set(table | 7),
            1 => window.set(other | 7),
            2 => window.set(vmm | 7),
            3 => poke(table, 0u64),
            4 => poke(table, vmm | 7),
            _ => poke(table, if random.below(2) == 0 { apic::PAGE | 7 } else { operand | 7 }),
        },
    );
    drop(window);
}
