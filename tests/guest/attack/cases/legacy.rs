//! What 64-bit code cannot do: POP SS with pending traps before instructions that exit, at CPL 0 and 3 of 32-bit protected mode and in
//! virtual-8086 mode; task switches to a TSS in the hypervisor's memory by every way; PAE page directory pointers there.
//! Intel SDM Vol. 3A (325384) 4.4.1, 6.8.3, chapters 8 and 21.
//!
//! Safe: an exception in the guest, or a reset of the machine, after which the hypervisor is there again.

use crate::frame::{How, qemu, steps, target_memory};
use core::arch::{asm, global_asm};
use tiny::machine::exceptions::{self, Fault};
use tiny::machine::memory::{buffer, buffer_address, peek, poke};
use tiny::machine::modes::run32;

global_asm!(include_str!("legacy.s"), options(raw));

const TABLES: usize = 41;
const GDT: u64 = 0;
const IDT: u64 = 0x400;
const TASK_A: u64 = 0x800;
/// Vectors of the IDT.
const VECTORS: u64 = 64;
/// A task gate that leads to the other task.
const GATE_VECTOR: u64 = 0x30;
const OTHER_TASK: u64 = 0x30;

unsafe extern "C" {
    fn legacy_run();
    static legacy_vectors: u8;
    static legacy_slot: u8;
    static legacy_level: u32;
    static legacy_eax: u32;
    static legacy_dr7: u32;
    static legacy_vector: u32;
    static legacy_error: u32;
    static legacy_eip: u32;
    static legacy_gdtr: u8;
    static legacy_idtr: u8;
    static legacy_word: u8;
    static legacy_stack_top: u8;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Kernel,
    User,
    Virtual8086,
}

const LEVELS: [Level; 3] = [Level::Kernel, Level::User, Level::Virtual8086];

/// Alike in 16 and 32 bits. No HLT at CPL 0.
const INSTRUCTIONS: [(&str, &[u8]); 28] = [
    ("INT 80h", &[0xcd, 0x80]),
    ("INT 3", &[0xcd, 0x03]),
    ("INT3", &[0xcc]),
    ("INTO", &[0xce]),
    ("ICEBP", &[0xf1]),
    ("SYSCALL", &[0x0f, 0x05]),
    ("SYSENTER", &[0x0f, 0x34]),
    ("VMCALL", &[0x0f, 0x01, 0xc1]),
    ("VMMCALL", &[0x0f, 0x01, 0xd9]),
    ("CPUID", &[0x0f, 0xa2]),
    ("IN from 92h", &[0xe4, 0x92]),
    ("OUT to 80h", &[0xe6, 0x80]),
    ("RDMSR", &[0x0f, 0x32]),
    ("XSETBV", &[0x0f, 0x01, 0xd1]),
    ("VMRUN", &[0x0f, 0x01, 0xd8]),
    ("VMXOFF", &[0x0f, 0x01, 0xc4]),
    ("INVD", &[0x0f, 0x08]),
    ("RSM", &[0x0f, 0xaa]),
    ("MOV of CR0 to itself", &[0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0]),
    ("MOV of CR4 to itself", &[0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0]),
    ("MOV from DR7", &[0x0f, 0x21, 0xf8]),
    ("CLTS", &[0x0f, 0x06]),
    ("CLI", &[0xfa]),
    ("PUSHF", &[0x9c]),
    ("POPF", &[0x6a, 0x02, 0x9d]),
    ("IRET", &[0xcf]),
    ("LAR of the task", &[0x0f, 0x02, 0xc0]),
    ("SGDT", &[0x0f, 0x01, 0x05, 0, 0, 0, 0]),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Before {
    Nothing,
    PopSs,
    PopSsAndBreakpoint,
    PopSsAndStep,
}

pub fn run() {
    let target = target_memory();
    let (start, middle) = (target.start as u32, (target.start + target.len / 2) as u32 & !0xfff);
    steps::run(&[
        ("POP SS, and instructions that exit", &instructions),
        ("a far jump to a task there", &|| tasks("a far jump", &[0xea, 0, 0, 0, 0, OTHER_TASK as u8, 0], start)),
        ("a far call to a task there", &|| tasks("a far call", &[0x9a, 0, 0, 0, 0, OTHER_TASK as u8, 0], middle)),
        ("an interrupt's task gate to a task there", &|| tasks("a task gate", &[0xcd, GATE_VECTOR as u8], middle)),
        ("IRET to a task there", &|| {
            // PUSHFD; OR [ESP], NT; POPFD; IRETD, with the back link of the TSS.
            tasks("IRET", &[0x9c, 0x81, 0x0c, 0x24, 0, 0x40, 0, 0, 0x9d, 0xcf], start);
        }),
        ("an exception at CPL 3 on a stack from a TSS there", &|| {
            prepare(start);
            let user = ((&raw const legacy_slot) as u32 + 22).to_le_bytes();
            // MOV EAX; LTR; PUSH SS, ESP, EFLAGS, CS, EIP: the UD2 behind; IRETD.
            let code = [
                0xb8,
                OTHER_TASK as u8,
                0,
                0,
                0,
                0x0f,
                0x00,
                0xd8,
                0x6a,
                0x23,
                0x6a,
                0,
                0x6a,
                2,
                0x6a,
                0x1b,
                0x68,
                user[0],
                user[1],
                user[2],
                user[3],
                0xcf,
            ];
            let ended = carry_out(&code, Level::Kernel, Before::Nothing);
            seen!("LTR of a TSS there, and IRET to CPL 3: {}", How(Err(ended)));
        }),
        ("PAE page directory pointers there", &|| page_directory_pointers(start)),
    ]);
}

/// Tables for a run, with the other task's TSS at an address.
fn prepare(other_task: u32) {
    buffer(TABLES)[..0x1000].fill(0);
    let at = buffer_address(TABLES);
    let task = |base: u32| {
        let base = u64::from(base);
        0x67 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56
    };
    let descriptors = [
        0,
        0x00cf_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        task((at + TASK_A) as u32),
        task(other_task),
    ];
    for (i, descriptor) in descriptors.into_iter().enumerate() {
        poke(at + GDT + 8 * i as u64, descriptor);
    }
    for vector in 0..VECTORS {
        let entry = (&raw const legacy_vectors) as u64 + 16 * vector;
        // From CPL 3 by INT n as well.
        poke(at + IDT + 8 * vector, entry & 0xffff | 0x08 << 16 | 0xee << 40 | (entry >> 16 & 0xffff) << 48);
    }
    poke(at + IDT + 8 * GATE_VECTOR, OTHER_TASK << 16 | 0xe5 << 40);
    let stack = (&raw const legacy_stack_top) as u32 - 0x100;
    poke(at + TASK_A, OTHER_TASK as u32); // the back link
    poke(at + TASK_A + 4, stack);
    poke(at + TASK_A + 8, 0x10u32);
    poke(at + TASK_A + 0x66, 0x68u16); // no port is permitted
    for (pointer, limit, base) in
        [(&raw const legacy_gdtr, 6 * 8 + 7, GDT), (&raw const legacy_idtr, VECTORS * 8 - 1, IDT)]
    {
        poke(pointer as u64, limit as u16);
        poke(pointer as u64 + 2, (at + base) as u32);
    }
}

/// Runs code with a UD2 behind it; how it ended, EIP counted from its first byte.
fn carry_out(code: &[u8], level: Level, before: Before) -> Fault {
    let slot = (&raw const legacy_slot) as u64;
    let mut bytes = [0x90u8; 60];
    let mut len = 0;
    let mut put = |part: &[u8]| {
        bytes[len..][..part.len()].copy_from_slice(part);
        len += part.len();
    };
    let word = (&raw const legacy_word) as u64;
    let (selector, short) = match level {
        Level::Kernel => (0x10u64, false),
        Level::User => (0x23, false),
        Level::Virtual8086 => (0, true),
    };
    poke(word, selector);
    let at = (word as u32).to_le_bytes();
    match (before, short) {
        (Before::Nothing, _) => {}
        // PUSH SS; PUSHF; OR [stack], TF; POPF; POP SS. In 16 bits the stack is reached by way of BP.
        (Before::PopSsAndStep, true) => put(&[0x16, 0x9c, 0x89, 0xe5, 0x81, 0x4e, 0, 0, 1, 0x9d, 0x17]),
        (Before::PopSsAndStep, false) => put(&[0x16, 0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x17]),
        // MOV SP or ESP to the word; POP SS.
        (_, true) => put(&[0xbc, at[0], at[1], 0x17]),
        (_, false) => put(&[0xbc, at[0], at[1], at[2], at[3], 0x17]),
    }
    put(code);
    put(&[0x0f, 0x0b]);
    for (i, byte) in bytes.into_iter().enumerate() {
        poke(slot + i as u64, byte);
    }
    let armed = before == Before::PopSsAndBreakpoint;
    poke((&raw const legacy_level) as u64, level as u32);
    poke((&raw const legacy_eax) as u64, 0u32);
    poke((&raw const legacy_dr7) as u64, if armed { 0x402u32 | 3 << 16 | 1 << 18 } else { 0x400 });
    // SAFETY: a breakpoint on data of this case, armed by the routine alone; every exception of it leads back.
    unsafe {
        asm!("mov dr0, {}", "mov dr6, {}", in(reg) word, in(reg) 0xffff_0ff0u64);
        run32(legacy_run);
    }
    exceptions::init();
    let read = |at: *const u32| u64::from(peek::<u32>(at as u64));
    let rip = read(&raw const legacy_eip).wrapping_sub(slot & if short { 0xffff } else { u64::MAX });
    let (vector, error) = (read(&raw const legacy_vector), read(&raw const legacy_error));
    check!(vector != 0xffff, "{code:x?}, {level:?}: no exception leads back");
    Fault { vector, error, rip, cr2: 0, rcx: 0, rsi: 0, rdi: 0 }
}

fn instructions() {
    for (name, code) in INSTRUCTIONS {
        for level in LEVELS {
            for before in [Before::Nothing, Before::PopSs, Before::PopSsAndBreakpoint, Before::PopSsAndStep] {
                // The first entry of the IVT is no address to return to.
                let nowhere = name == "IRET" && level != Level::User;
                // QEMU 7.2 aborts: it takes a lock twice.
                if nowhere || (before == Before::PopSsAndBreakpoint && qemu()) {
                    continue;
                }
                prepare(buffer_address(TABLES) as u32 + 0xc00);
                let ended = carry_out(code, level, before);
                check!(ended.vector != 8, "{name}, {level:?}, {before:?}: #DF");
                let place = if ended.rip < 64 { ended.rip as i64 } else { -1 };
                seen!("{name}, {level:?}, {before:?}: {} at {place}", How(Err(ended)));
            }
        }
    }
}

fn tasks(what: &str, code: &[u8], other_task: u32) {
    for level in [Level::User, Level::Kernel] {
        prepare(other_task);
        let ended = carry_out(code, level, Before::Nothing);
        seen!("{what}, {level:?}: {}", How(Err(ended)));
    }
}

/// MOV CR3 and paging with PAE: the CPU loads four pointers from there.
fn page_directory_pointers(at: u32) {
    prepare(at);
    let a = at.to_le_bytes();
    let code = [
        0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0, // CR4.PAE
        0xb8, a[0], a[1], a[2], a[3], 0x0f, 0x22, 0xd8, // CR3
        0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, // CR0.PG
        0x0f, 0xa2, 0x0f, 0x22, 0xd8, // CPUID; MOV CR3, EAX
    ];
    let ended = carry_out(&code, Level::Kernel, Before::Nothing);
    seen!("PAE pointers there: {}", How(Err(ended)));
}
