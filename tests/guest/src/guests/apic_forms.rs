//! Every register of the local APIC, by every form of instruction that programs use on devices; with more than one CPU the page
//! is the hypervisor's business. Intel SDM Vol. 3A (325384) 11.4.1.

use crate::machine::apic::{self, *};
use crate::machine::code::{self, Registers};
use crate::machine::cpu;
use crate::machine::exceptions::{UD, load_ldt};
use crate::machine::memory::{buffer, buffer_address};
use crate::machine::modes::run32;
use crate::machine::smp;
use core::arch::global_asm;

/// Offset, what is written, and which bits of it can be read back.
const WRITABLE: [(u32, u32, u32); 13] = [
    (TASK_PRIORITY, 0x5a, 0xff),
    (LOGICAL_ID, 0x4200_0000, 0xff00_0000),
    (LOGICAL_FORMAT, 0x0fff_ffff, 0xf000_0000),
    (SPURIOUS, 0x1ff, 0x1ff),
    (ICR_HIGH, 0x0100_0000, 0xff00_0000),
    (TIMER, 0x1_0071, 0x1_00ff),
    (0x330, 0x1_0072, 0x1_00ff),
    (0x340, 0x1_0073, 0x1_00ff),
    (LINT0, 0x1_0074, 0x1_00ff),
    (LINT1, 0x1_0075, 0x1_00ff),
    (LVT_ERROR, 0x1_0076, 0x1_00ff),
    (INITIAL_COUNT, 0x7000_1234, !0),
    (DIVIDE, 0xb, 0xb),
];
/// Bochs' models have no performance counters' entry.
const MAY_BE_MISSING: [u32; 2] = [0x330, 0x340];
const LDT: usize = 29;
const DATA: u32 = 0x04;
/// Selector of the LDT: the APIC's page as a segment.
const SCRATCH: usize = 33;

/// Stores of ECX (EAX holds the same) to the register at RDI, RDX = 0. `IMM`: four bytes of the value; `ABS`: eight of the
/// address, or four.
const STORES: [(&str, &[u8], Fill); 14] = [
    ("MOV [RDI], ECX", &[0x89, 0x0f], Fill::None),
    ("MOV [RDI], R8D", &[0x41, 0x89, 0xc8, 0x44, 0x89, 0x07], Fill::None),
    ("MOV [RDI+0], ECX", &[0x89, 0x4f, 0], Fill::None),
    ("MOV [RDI+0], ECX with 32 bits", &[0x89, 0x8f, 0, 0, 0, 0], Fill::None),
    ("MOV [RDI+RDX], ECX", &[0x89, 0x0c, 0x17], Fill::None),
    ("MOV [RDI+8*RDX], ECX", &[0x89, 0x0c, 0xd7], Fill::None),
    ("MOV [EDI], ECX", &[0x67, 0x89, 0x0f], Fill::None),
    ("MOV DWORD [RDI], imm", &[0xc7, 0x07, 0, 0, 0, 0], Fill::Value),
    ("MOV [moffs], EAX", &[0xa3, 0, 0, 0, 0, 0, 0, 0, 0], Fill::Address),
    ("STOSD", &[0xab], Fill::None),
    ("REP STOSD", &[0xb9, 1, 0, 0, 0, 0xf3, 0xab], Fill::None),
    ("XCHG [RDI], ECX", &[0x87, 0x0f], Fill::None),
    ("MOVNTI [RDI], ECX", &[0x0f, 0xc3, 0x0f], Fill::None),
    ("ES MOV [RDI], ECX", &[0x26, 0x89, 0x0f], Fill::None),
];

/// Read and write of a register that holds 0 before, but for what is fixed.
const CHANGES: [(&str, &[u8], Fill); 5] = [
    ("OR [RDI], ECX", &[0x09, 0x0f], Fill::None),
    ("XOR [RDI], ECX", &[0x31, 0x0f], Fill::None),
    ("ADD [RDI], ECX", &[0x01, 0x0f], Fill::None),
    ("OR DWORD [RDI], imm", &[0x81, 0x0f, 0, 0, 0, 0], Fill::Value),
    ("ADD DWORD [RDI], imm", &[0x81, 0x07, 0, 0, 0, 0], Fill::Value),
];

/// Loads to ECX of the register at RDI and RSI, RDX = 0.
const LOADS: [(&str, &[u8], Fill); 10] = [
    ("MOV ECX, [RDI]", &[0x8b, 0x0f], Fill::None),
    ("MOV ECX, [RDI+RDX]", &[0x8b, 0x0c, 0x17], Fill::None),
    ("MOV ECX, [EDI]", &[0x67, 0x8b, 0x0f], Fill::None),
    ("MOV EAX, [moffs]", &[0xa1, 0, 0, 0, 0, 0, 0, 0, 0, 0x89, 0xc1], Fill::Address),
    ("LODSD", &[0xad, 0x89, 0xc1], Fill::None),
    ("REP LODSD", &[0xb9, 1, 0, 0, 0, 0xf3, 0xad, 0x89, 0xc1], Fill::None),
    ("ADD ECX, [RDI]", &[0x31, 0xc9, 0x03, 0x0f], Fill::None),
    ("OR ECX, [RDI]", &[0x31, 0xc9, 0x0b, 0x0f], Fill::None),
    ("AND ECX, [RDI]", &[0x83, 0xc9, 0xff, 0x23, 0x0f], Fill::None),
    ("MOVSXD RCX, [RDI]", &[0x48, 0x63, 0x0f], Fill::None),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    None,
    /// The value behind opcode and ModRM.
    Value,
    /// The address behind the opcode.
    Address,
}

// 32-bit code without paging, and with 16-bit operands of addresses.
global_asm!(
    ".section .text.apic_forms, \"ax\"",
    ".code32",
    "apic_forms_32:",
    "mov edi, 0xfee00080",
    "mov eax, 0x31",
    "mov [edi], eax",
    "mov eax, [edi]",
    "mov [apic_forms_seen], eax",
    "mov dword ptr [edi], 0x32",
    "mov eax, [edi]",
    "mov [apic_forms_seen + 4], eax",
    "mov eax, 0x33",
    "stosd",
    "mov eax, [0xfee00080]",
    "mov [apic_forms_seen + 8], eax",
    "mov eax, 0x34",
    "mov [0xfee00080], eax",
    "xor ecx, ecx",
    "mov edi, 0xfee00000",
    "mov ebx, 0x20",
    "mov eax, [edi + 4 * ebx]",
    "mov [apic_forms_seen + 12], eax",
    "mov dword ptr [0xfee00080], 0",
    "ret",
    ".code64",
    ".balign 4",
    "apic_forms_seen: .long 0, 0, 0, 0",
);

unsafe extern "C" {
    fn apic_forms_32();
    static apic_forms_seen: [u32; 4];
}

pub fn run() {
    let cpus = smp::start();
    let saved: [u32; WRITABLE.len()] = core::array::from_fn(|i| apic::read(WRITABLE[i].0));
    every_register();
    forms();
    counter();
    sixteen_bit_addresses();
    // SAFETY: the routine ends by RET and keeps ESP.
    unsafe { run32(apic_forms_32) };
    check_eq!(
        crate::machine::memory::peek::<[u32; 4]>((&raw const apic_forms_seen) as u64),
        [0x31, 0x32, 0x33, 0x34],
        "task priority by 32-bit code"
    );
    for ((register, ..), value) in WRITABLE.iter().zip(saved) {
        apic::write(*register, value);
    }
    apic::enable();
    // Each on its own APIC at once.
    if cpus > 1 {
        smp::on_all(&|| {
            let own = 0x10 + smp::number() as u32;
            for _ in 0..2000 {
                apic::write(TASK_PRIORITY, own);
                check_eq!(apic::read(TASK_PRIORITY), own, "task priority of CPU {}", smp::number());
            }
            apic::write(TASK_PRIORITY, 0);
        });
        say!("each CPU has a task priority of its own");
    }
}

/// What is written can be read, and what cannot be written stays.
fn every_register() {
    for (register, value, mask) in WRITABLE {
        apic::write(register, value);
        let read = apic::read(register);
        let missing = MAY_BE_MISSING.contains(&register) && read == 0;
        check!(missing || read & mask == value & mask, "register {register:#x} is {read:#x} after {value:#x}");
    }
    let version = apic::read(VERSION);
    check!((0x10..=0x1f).contains(&(version & 0xff)), "version {version:#x}");
    for register in [VERSION, 0xa0, IN_SERVICE, 0x180, REQUEST, CURRENT_COUNT] {
        let before = apic::read(register);
        if register != CURRENT_COUNT {
            apic::write(register, !before);
            check_eq!(apic::read(register), before, "read-only register {register:#x}");
        }
    }
    apic::write(ERROR, 0);
    apic::write(ERROR, 0);
    check_eq!(apic::read(ERROR), 0, "errors");
    apic::write(EOI, 0); // nothing is in service
    (0..0x400).step_by(16).for_each(|register| _ = apic::read(register));
}

fn forms() {
    for register in [TASK_PRIORITY, TIMER, LVT_ERROR, LOGICAL_ID, ICR_HIGH, INITIAL_COUNT] {
        let at = PAGE + u64::from(register);
        for (i, (name, form, fill)) in STORES.into_iter().chain(CHANGES).enumerate() {
            let value = pattern(register, i as u32 + 1);
            apic::write(register, 0);
            let rest = apic::read(register);
            let registers =
                Registers { rax: value.into(), rcx: value.into(), rdx: 0, rdi: at, rsi: buffer_address(SCRATCH) };
            done(name, &filled(form, fill, value, at), registers);
            check_eq!(apic::read(register), value | rest, "register {register:#x} after {name}");
        }
        let value = pattern(register, 0x15);
        apic::write(register, value);
        let value = apic::read(register);
        for (name, form, fill) in LOADS {
            let registers = Registers { rdi: at, rsi: at, ..Registers::default() };
            let read = done(name, &filled(form, fill, 0, at), registers);
            check_eq!(read as u32, value, "register {register:#x} by {name}");
        }
    }
    apic::write(INITIAL_COUNT, 0);
    say!("{} forms of stores, {} of loads", STORES.len() + CHANGES.len(), LOADS.len());
}

/// A value that the register keeps in whole.
fn pattern(register: u32, value: u32) -> u32 {
    match register {
        TASK_PRIORITY => value,
        TIMER | LVT_ERROR => MASKED | 0x40 | value,
        INITIAL_COUNT => value << 8,
        _ => value << 24,
    }
}

fn filled(form: &[u8], fill: Fill, value: u32, address: u64) -> Bytes {
    let mut bytes = Bytes { all: [0; 16], len: form.len() };
    bytes.all[..form.len()].copy_from_slice(form);
    match fill {
        Fill::None => {}
        Fill::Value => bytes.all[2..6].copy_from_slice(&value.to_le_bytes()),
        Fill::Address => bytes.all[1..9].copy_from_slice(&address.to_le_bytes()),
    }
    bytes
}

struct Bytes {
    all: [u8; 16],
    len: usize,
}

/// Carries a form out; RCX afterwards.
fn done(name: &str, bytes: &Bytes, registers: Registers) -> u64 {
    let code = &bytes.all[..bytes.len];
    let ended = code::run(code, registers);
    check!(ended.fault.vector == UD && ended.distance == bytes.len as i64, "{name}: {ended:x?}");
    ended.fault.rcx
}

/// The timer counts down from what was written.
fn counter() {
    apic::write(TIMER, MASKED | 0x71);
    apic::write(DIVIDE, 0xb);
    apic::write(INITIAL_COUNT, 0xf000_0000);
    let first = apic::read(CURRENT_COUNT);
    (0..1000).for_each(|_| _ = cpu::cpuid(0));
    let second = apic::read(CURRENT_COUNT);
    check!(second < first && first <= 0xf000_0000, "the timer counts from {first:#x} to {second:#x}");
    apic::write(INITIAL_COUNT, 0);
}

/// Compatibility mode, with a segment at the page and addresses of 16 bits.
fn sixteen_bit_addresses() {
    let descriptor = 0xfffu64 | (PAGE & 0xff_ffff) << 16 | 0x93 << 40 | 1 << 54 | (PAGE >> 24 & 0xff) << 56;
    buffer(LDT)[..8].copy_from_slice(&descriptor.to_le_bytes());
    load_ldt(buffer_address(LDT), 7);
    let registers = Registers { rcx: 0x47, rsi: 0x80, rdi: 0, ..Registers::default() };
    for (name, form) in [
        ("MOV [80h], ECX", &[0x67, 0x89, 0x0e, 0x80, 0][..]),
        ("MOV [SI], ECX", &[0x67, 0x89, 0x0c]),
        ("MOV [SI+0], ECX", &[0x67, 0x89, 0x4c, 0]),
        ("MOV [ESI], ECX", &[0x89, 0x0e]),
        ("XCHG [SI], ECX", &[0x67, 0x87, 0x0c]),
    ] {
        apic::write(TASK_PRIORITY, 0);
        let ended = code::run_compatible(form, DATA, registers);
        check!(ended.fault.vector == UD && ended.distance == form.len() as i64, "{name}: {ended:x?}");
        check_eq!(apic::read(TASK_PRIORITY), 0x47, "task priority after {name}");
    }
    apic::write(TASK_PRIORITY, 0);
    say!("addresses of 16 and 32 bits");
}
