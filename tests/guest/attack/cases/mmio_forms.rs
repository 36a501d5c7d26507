//! Operands in the local APIC's page, which a hypervisor hooks when there are several CPUs: every size and place in it, across both
//! of its borders, at limits of segments; instructions that no driver uses on a device; prefix salads; stacks, descriptor tables, page
//! tables and string I/O in it. Intel SDM Vol. 3A (325384) 11.4.1 leaves most of it undefined.
//!
//! Safe: carried out as on the bare CPU, ignored, or an exception in the guest; a limit that is passed raises #GP or #SS; the guest
//! goes on, or the machine is reset and the hypervisor is there again; the task priority that is written last can be read.

use crate::frame::code::{self, Ended, Registers};
use crate::frame::random::Random;
use crate::frame::{How, steps};
use core::arch::asm;
use tiny::machine::apic::{self, PAGE, TASK_PRIORITY};
use tiny::machine::cpu;
use tiny::machine::exceptions::{catch, load_ldt};
use tiny::machine::memory::{Remapped, buffer, buffer_address, peek, poke};
use tiny::machine::smp;

const LDT: usize = 29;
const DATA: u32 = 0x04;
const UD: u64 = 6;
const PREFIXES: [u8; 12] = [0x66, 0x67, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf2, 0xf3, 0xf0, 0x48];

/// With RDI and RSI at the operand. None jumps by what it reads there, or executes it: that may run on for ever.
const FORMS: [(&str, &[u8]); 41] = [
    ("MOV [RDI], CL", &[0x88, 0x0f]),
    ("MOV [RDI], CX", &[0x66, 0x89, 0x0f]),
    ("MOV [RDI], RCX", &[0x48, 0x89, 0x0f]),
    ("MOV RCX, [RDI]", &[0x48, 0x8b, 0x0f]),
    ("LOCK OR [RDI], ECX", &[0xf0, 0x09, 0x0f]),
    ("LOCK XCHG [RDI], ECX", &[0xf0, 0x87, 0x0f]),
    ("INC [RDI]", &[0xff, 0x07]),
    ("NOT [RDI]", &[0xf7, 0x17]),
    ("NEG [RDI]", &[0xf7, 0x1f]),
    ("ADC [RDI], ECX", &[0x11, 0x0f]),
    ("SBB [RDI], ECX", &[0x19, 0x0f]),
    ("SHL [RDI], 1", &[0xd1, 0x27]),
    ("BTS [RDI], 3", &[0x0f, 0xba, 0x2f, 3]),
    ("BTS [RDI], RCX", &[0x48, 0x0f, 0xab, 0x0f]),
    ("CMPXCHG [RDI], ECX", &[0x0f, 0xb1, 0x0f]),
    ("CMPXCHG16B [RDI]", &[0xf0, 0x48, 0x0f, 0xc7, 0x0f]),
    ("XADD [RDI], ECX", &[0x0f, 0xc1, 0x0f]),
    ("MOVSD", &[0xa5]),
    ("REP MOVSB", &[0xf3, 0xa4]),
    ("CMPSD", &[0xa7]),
    ("SCASD", &[0xaf]),
    ("REPNE SCASB", &[0xf2, 0xae]),
    ("REP STOSB", &[0xf3, 0xaa]),
    ("REP STOSQ", &[0xf3, 0x48, 0xab]),
    ("INSB", &[0x6c]),
    ("INSD", &[0x6d]),
    ("REP OUTSB", &[0xf3, 0x6e]),
    ("PUSH [RDI]", &[0xff, 0x37]),
    ("POP [RDI]", &[0x6a, 0x11, 0x8f, 0x07]),
    ("CALL FAR [RDI]", &[0xff, 0x1f]),
    ("FXSAVE [RDI]", &[0x0f, 0xae, 0x07]),
    ("FXRSTOR [RDI]", &[0x0f, 0xae, 0x0f]),
    ("FNSTENV [RDI]", &[0xd9, 0x37]),
    ("SGDT [RDI]", &[0x0f, 0x01, 0x07]),
    ("STR [RDI]", &[0x0f, 0x00, 0x0f]),
    ("SMSW [RDI]", &[0x0f, 0x01, 0x27]),
    ("LMSW [RDI]", &[0x0f, 0x01, 0x37]),
    ("MOV [RDI], DS", &[0x8c, 0x1f]),
    ("SETZ [RDI]", &[0x0f, 0x94, 0x07]),
    ("CLFLUSH [RDI]", &[0x0f, 0xae, 0x3f]),
    ("MOVNTI [RDI], RCX", &[0x48, 0x0f, 0xc3, 0x0f]),
];

pub fn run() {
    smp::start();
    let priority = PAGE + u64::from(TASK_PRIORITY);
    // Not the bytes of the ICR, which would send anything to anybody.
    let places = [priority, priority + 1, priority + 3, priority + 4, priority + 15, PAGE, PAGE + 0xffc, PAGE + 0xfff];
    steps::run(&[
        ("every form at a register", &|| FORMS.iter().for_each(|form| one(form, priority))),
        ("every form at odd places", &|| {
            places[1..5].iter().for_each(|&at| FORMS.iter().for_each(|form| one(form, at)))
        }),
        ("every form at the page's start and end", &|| {
            places[5..].iter().for_each(|&at| FORMS.iter().for_each(|form| one(form, at)));
        }),
        ("operands across the page's borders", &|| borders(priority)),
        ("limits of segments", &|| limits()),
        ("prefix salads", &|| salads(priority)),
        ("a stack in it", &|| stack(priority)),
        ("a page table in it", &|| tables()),
        ("an LDT in it", &|| descriptors(priority)),
        ("a page map in it", &|| {
            // SAFETY: ends in a triple fault: nothing is mapped.
            unsafe { cpu::set_cr3(PAGE) };
            cpu::cpuid(0);
        }),
        ("an IDT in it", &|| {
            let idt = [0xfffu64 | PAGE << 16, PAGE >> 48];
            // SAFETY: ends in a triple fault, or at no gate.
            unsafe { asm!("lidt [{}]", "int3", in(reg) &raw const idt) };
            tiny::machine::exceptions::init();
        }),
    ]);
}

fn alive(what: &str) {
    for value in [0x11, 0] {
        apic::write(TASK_PRIORITY, value);
        check_eq!(apic::read(TASK_PRIORITY), value, "task priority after {what}");
    }
    check_eq!(cpu::cr8(), 0, "CR8 after {what}");
}

fn run_form(code: &[u8], at: u64) -> Ended {
    let r = Registers { rax: 0, rcx: 2, rdx: 0x80, rsi: at, rdi: at };
    // Far pointers, new task words and jumps may lead anywhere: nowhere, most of all.
    let r = if code == [0x6c] || code == [0x6d] { Registers { rdx: 0x92, ..r } } else { r };
    code::run(code, r)
}

fn one(&(name, form): &(&str, &[u8]), at: u64) {
    seen!("{name} at {:#x}: {}", at - PAGE, How::of(run_form(form, at), form));
    alive(name);
}

/// From RAM into the page, and out of it, by linear addresses that are moved there.
fn borders(priority: u64) {
    let table = buffer_address(37);
    buffer(37)[..4096].fill(0);
    poke(table, (buffer_address(38)) | 7);
    poke(table + 8, PAGE | 7);
    poke(table + 16, (buffer_address(38) + 0x1000) | 7);
    let window = Remapped::through_table(484, table);
    let linear = window.linear();
    for (name, form) in FORMS {
        for at in [linear + 0xfff, linear + 0xffd, linear + 0xff9, linear + 0x1ffe, linear + 0x1ff9] {
            let ended = run_form(form, at);
            let done = ended.fault.vector == UD && ended.distance == form.len() as i64;
            check!(done || ended.fault.vector != 8, "{name} across the border: {ended:x?}");
        }
        alive(name);
    }
    drop(window);
    let _: u32 = peek(priority);
    seen!("operands across the borders");
}

/// A data segment whose limit ends before, within and behind the register.
fn limits() {
    for (form, bytes) in [(&[0x89u8, 0x0e][..], 4u64), (&[0x88, 0x0e], 1), (&[0x66, 0x89, 0x0e], 2), (&[0x87, 0x0e], 4)]
    {
        for limit in [0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0xfff] {
            let descriptor = limit | (PAGE & 0xff_ffff) << 16 | 0x93 << 40 | 1 << 54 | (PAGE >> 24 & 0xff) << 56;
            buffer(LDT)[..8].copy_from_slice(&descriptor.to_le_bytes());
            load_ldt(buffer_address(LDT), 7);
            let r = Registers { rsi: TASK_PRIORITY.into(), rcx: 0x11, ..Registers::default() };
            let ended = code::run_compatible(form, DATA, r);
            let inside = u64::from(TASK_PRIORITY) + bytes <= limit + 1;
            check!(inside || crate::frame::qemu() || ended.fault.vector == 13, "limit {limit:#x}: {ended:x?}");
            seen!("{bytes} bytes with limit {limit:#x}: {}", How::of(ended, form));
        }
    }
    alive("limits");
}

fn salads(priority: u64) {
    let mut random = Random::new(0x3a1ad);
    for _ in 0..4000 {
        let (_, form) = [FORMS[0], FORMS[1], FORMS[2], FORMS[4], FORMS[6], FORMS[22], FORMS[40]][random.below(7)];
        let count = random.below(17 - form.len());
        let mut bytes = [0u8; 16];
        bytes[..count].fill_with(|| PREFIXES[random.below(PREFIXES.len())]);
        bytes[count..][..form.len()].copy_from_slice(form);
        let len = count + form.len();
        let ended = run_form(&bytes[..len], priority);
        let done = ended.fault.vector == UD && ended.distance == len as i64;
        check!(
            done || (ended.distance == 0 && matches!(ended.fault.vector, UD | 12 | 13 | 14)),
            "{:x?}: {ended:x?}",
            &bytes[..len]
        );
        check!(!done || len <= 15, "{:x?} of 16 bytes is carried out", &bytes[..len]);
    }
    alive("prefix salads");
    seen!("4000 salads");
}

/// PUSH, CALL and the delivery of exceptions with the stack pointer there.
fn stack(priority: u64) {
    for code in [&[0x50u8][..], &[0xe8, 0, 0, 0, 0], &[0x9c], &[0x0f, 0x0b], &[0x0f, 0xa2], &[0xc8, 8, 0, 0]] {
        let at = code::place(code);
        // SAFETY: exceptions have a stack of their own, which is the way back.
        let result = catch(&mut || unsafe {
            asm!("mov rsp, {stack}", "jmp {at}", stack = in(reg) priority + 16, at = in(reg) at, options(noreturn))
        });
        seen!("{code:x?} on a stack there: {}", How(result));
    }
    alive("a stack in the page");
}

/// The walk reads entries there, and writes their accessed bits.
fn tables() {
    apic::write(TASK_PRIORITY, 0x87); // as an entry: present, writable, and no address but 0
    let window = Remapped::through_table(485, PAGE);
    for index in [u64::from(TASK_PRIORITY) / 8, 0, 6, 0x38] {
        let at = window.linear() + index * 4096;
        let result = catch(&mut || _ = peek::<u8>(at));
        let written = catch(&mut || poke(at + 8, 0u8));
        say!("a walk through register {:#x}: {}, {}", index * 8, How(result), How(written));
    }
    drop(window);
    alive("a page table in the page");
    seen!("walks through it");
}

fn descriptors(priority: u64) {
    load_ldt(priority & !7, 0xff);
    // SAFETY: FS is nobody's.
    let result = catch(&mut || unsafe { asm!("mov fs, {0:e}", "mov fs, {1:e}", in(reg) DATA, in(reg) 0u32) });
    say!("a descriptor there: {}", How(result));
    alive("a descriptor in the page");
}
