//! An interrupt that is queued for the guest arrives once, and no sooner than the guest can take it: from Shoji by debug
//! hypercall, on the bare machine from the local APIC to itself, which makes the same sequence.
//! Intel SDM Vol. 3A (order number 325384) 6.8.1 (IF), 6.8.3 (MOV SS), 6.9 (priorities), 11.5.1 and 11.6.1 (local APIC).

use crate::machine::cpu;
use crate::machine::exceptions::{Fault, catch, with_entry};
use crate::machine::irq::{count, set_timer, with_lines};
use crate::machine::memory::{peek, poke};
use crate::machine::modes::run16;
use crate::machine::port::{in8, out16};
use core::arch::{asm, global_asm};

const LOW: u8 = 0x51;
const MIDDLE: u8 = 0xa0;
const HIGH: u8 = 0xfe;

const APIC: u64 = 0xfee0_0000;
const END_OF_INTERRUPT: u64 = APIC + 0xb0;
const SPURIOUS: u64 = APIC + 0xf0;
const ICR_LOW: u64 = APIC + 0x300;
const ICR_HIGH: u64 = APIC + 0x310;
const APIC_ENABLE: u32 = 1 << 8;
const FIXED_TO_SELF: u32 = 1 << 18 | 1 << 14;
/// To the CPU with the identifier in `ICR_HIGH`.
const SEND_NMI: u32 = 1 << 14 | 0x400;
const ICR_PENDING: u32 = 1 << 12;

const TIMER: u8 = 0;
const KILOHERTZ: u16 = 1193;
/// Hooked by Shoji; reading it has no effect.
const SYSTEM_CONTROL_A: u16 = 0x92;
/// Mapped in the guest, without memory behind it, and not in Shoji's nested tables before the first access.
const FIRST_TOUCHED: u64 = 5 << 30;
const DEBUG: u64 = 1;
const NMI: u64 = 2;

/// As in the crate `abi`.
const QUEUE_INTERRUPT: u64 = 2;
const UNKNOWN: u64 = u64::MAX;

pub fn run() {
    with_entry(LOW, enter_low, || with_entry(MIDDLE, enter_middle, || with_entry(HIGH, enter_high, all)));
}

fn all() {
    let source = Source::of_this_machine();
    say!("interrupts come by {source:?}");
    if source == Source::LocalApic {
        poke(SPURIOUS, peek::<u32>(SPURIOUS) | APIC_ENABLE);
    }
    with_lines(0, || {
        behind_sti(source);
        at_once(source);
        halted(source);
        highest_first(source);
        during_a_handler(source);
        behind_a_nested_fault(source);
        behind_a_single_step(source);
        behind_an_nmi(source);
        if source != Source::LocalApic {
            in_real_mode(source);
            refused(source);
        }
    });
    many(source);
}

/// What sends the interrupts, by one instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Vmmcall,
    Vmcall,
    LocalApic,
}

impl Source {
    fn of_this_machine() -> Self {
        match (super::shoji(), cpu::is_intel()) {
            (false, _) => Self::LocalApic,
            (true, true) => Self::Vmcall,
            (true, false) => Self::Vmmcall,
        }
    }
}

/// Where label 3 is in the code that [`send_between`] or [`return_to_if`] runs, for code that does not come to its end.
static mut LABEL: u64 = 0;

fn label() -> u64 {
    // SAFETY: one CPU; whoever writes it has ended.
    unsafe { (&raw const LABEL).read_volatile() }
}

/// Sends an interrupt between two pieces of code, with interrupts off before and after, and tells where label 3 is.
macro_rules! send_between {
    ($source:expr, $vector:expr, $before:literal, $after:literal) => {
        match $source {
            Source::Vmmcall => send_by!("vmmcall", $before, $after, QUEUE_INTERRUPT, $vector),
            Source::Vmcall => send_by!("vmcall", $before, $after, QUEUE_INTERRUPT, $vector),
            Source::LocalApic => {
                send_by!("mov [rcx], eax", $before, $after, u64::from(FIXED_TO_SELF | u32::from($vector)), $vector)
            }
        }
    };
}

macro_rules! send_by {
    ($send:literal, $before:literal, $after:literal, $rax:expr, $vector:expr) => {{
        let label: u64;
        // SAFETY: handlers keep all registers, and RBX is kept here. The code around uses the stack and RDX.
        unsafe {
            asm!(
                "xchg rbx, rdi", "lea r8, [rip + 3f]", "mov [rsi], r8", $before, $send, $after, "cli", "xchg rbx, rdi",
                inout("rax") $rax => _, inout("rdi") u64::from($vector) => _, in("rcx") ICR_LOW, in("rsi") &raw mut LABEL,
                out("rdx") _, out("r8") label,
            )
        };
        label
    }};
}

/// Sends an interrupt while they are off.
fn send(source: Source, vector: u8) {
    send_between!(source, vector, "", "3:");
    for _ in 0..10 {
        in8(SYSTEM_CONTROL_A);
        cpu::cpuid(0);
    }
}

/// Interrupts on for two instructions; tells where they can come first.
fn open() -> u64 {
    let at;
    // SAFETY: handlers keep all registers.
    unsafe { asm!("lea {}, [rip + 3f]", "sti", "nop", "3:", "nop", "cli", out(reg) at) };
    at
}

const KEPT: usize = 8;
/// Code between the instruction that sends an interrupt and that before which it comes.
const ON_ITS_WAY_BYTES: u64 = 4;

/// Vectors and return addresses of the interrupts since `take`.
struct Taken {
    count: usize,
    first: [(u8, u64); KEPT],
}

impl Taken {
    const NONE: Self = Self { count: 0, first: [(0, 0); KEPT] };
}

static mut TAKEN: Taken = Taken::NONE;
/// What the next handler sends.
static mut TO_SEND: Option<(Source, u8)> = None;

/// These interrupts have come since the last call, and no others.
fn expect(interrupts: &[(u8, u64)], what: &str) {
    // SAFETY: interrupts are off, and so no handler runs.
    let mut taken = unsafe { (&raw mut TAKEN).replace(Taken::NONE) };
    if !super::shoji() {
        // What the local APIC sends is on its way for some instructions.
        for (entry, wanted) in taken.first.iter_mut().zip(interrupts) {
            let late = entry.1.wrapping_sub(wanted.1);
            entry.1 -= if late <= ON_ITS_WAY_BYTES { late } else { 0 };
        }
    }
    check_eq!(&taken.first[..taken.count.min(KEPT)], interrupts, "{what}");
    check_eq!(taken.count, interrupts.len(), "{what}");
}

#[unsafe(no_mangle)]
extern "C" fn on_queued_interrupt(vector: u64, rip: u64) {
    poke(END_OF_INTERRUPT, 0u32); // without effect where none is in service
    // SAFETY: interrupts are off; nobody else uses the statics at the same time.
    unsafe {
        let taken = &raw mut TAKEN;
        let taken = &mut *taken;
        if let Some(entry) = taken.first.get_mut(taken.count) {
            *entry = (vector as u8, rip);
        }
        taken.count += 1;
        if let Some((source, vector)) = (&raw mut TO_SEND).replace(None) {
            send(source, vector);
        }
    }
}

// Stack at `queued_common`: vector, RIP, CS, RFLAGS, RSP, SS; the nine registers come on top.
global_asm!(
    ".section .text.interrupt_window, \"ax\"",
    ".code64",
    "enter_low:",
    "push 0x51",
    "jmp queued_common",
    "enter_middle:",
    "push 0xa0",
    "jmp queued_common",
    "enter_high:",
    "push 0xfe",
    "queued_common:",
    "push rax",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "mov rdi, [rsp + 72]",
    "mov rsi, [rsp + 80]",
    "cld",
    "call on_queued_interrupt",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "add rsp, 8",
    "iretq",
);

unsafe extern "C" {
    fn enter_low();
    fn enter_middle();
    fn enter_high();
}

/// Not before STI, whatever exits meanwhile, and not in its shadow, whether the instruction there exits or not.
fn behind_sti(source: Source) {
    send(source, LOW);
    expect(&[], "while IF = 0");
    let at = open();
    expect(&[(LOW, at)], "behind STI and NOP");
    send(source, LOW);
    let at: u64;
    // SAFETY: a port read without effect; handlers keep all registers.
    unsafe {
        asm!("lea {}, [rip + 3f]", "sti", "in al, dx", "3:", "nop", "cli", out(reg) at, in("dx") SYSTEM_CONTROL_A,
            out("al") _)
    };
    expect(&[(LOW, at)], "behind STI and an instruction that exits");
    let at = send_between!(source, LOW, "", "pushfq; or dword ptr [rsp], 0x200; popfq; 3: nop");
    expect(&[(LOW, at)], "behind POPF, which casts no shadow");
}

/// With IF = 1 right behind the instruction that sends it, whose end is also that of a shadow.
fn at_once(source: Source) {
    let at = send_between!(source, LOW, "sti; nop", "3: jmp 4f; 4: nop; nop");
    expect(&[(LOW, at)], "sent with IF = 1");
    let at = send_between!(source, LOW, "sti", "3: jmp 4f; 4: nop; nop");
    expect(&[(LOW, at)], "sent in the shadow of STI");
    let at = send_between!(source, LOW, "mov edx, ss; sti; nop; mov ss, edx", "3: jmp 4f; 4: nop; nop");
    expect(&[(LOW, at)], "sent in the shadow of MOV SS");
}

fn halted(source: Source) {
    for _ in 0..20 {
        let at = send_between!(source, LOW, "", "sti; hlt; 3:");
        expect(&[(LOW, at)], "during HLT");
    }
}

fn highest_first(source: Source) {
    for vector in [MIDDLE, LOW, HIGH, MIDDLE, HIGH] {
        send(source, vector);
    }
    let at = open();
    expect(&[(HIGH, at), (MIDDLE, at), (LOW, at)], "three vectors of five interrupts");
    open();
    expect(&[], "without a cause");
}

/// The handler's IRET lets the second one in.
fn during_a_handler(source: Source) {
    for second in [LOW, HIGH] {
        // SAFETY: interrupts are off, and so no handler runs.
        unsafe { TO_SEND = Some((source, second)) };
        let at = send_between!(source, MIDDLE, "sti; nop", "3: jmp 4f; 4: nop; nop");
        expect(&[(MIDDLE, at), (second, at)], "sent by a handler");
    }
}

/// The instruction in the shadow faults in the nested tables and is executed again, the shadow still on it.
fn behind_a_nested_fault(source: Source) {
    send(source, LOW);
    let (shadowed, at): (u64, u64);
    // SAFETY: a read from where nothing is; handlers keep all registers.
    unsafe {
        asm!("lea {}, [rip + 2f]", "lea {}, [rip + 3f]", "sti", "2:", "mov {t}, [{from}]", "3:", "nop", "cli",
            out(reg) shadowed, out(reg) at, t = out(reg) _, from = in(reg) FIRST_TOUCHED)
    };
    if source == Source::Vmmcall {
        // VMRUN in a shadow: QEMU 7.2 forgets the shadow, and Bochs 2.7 the interrupt, until the next VMRUN.
        cpu::cpuid(0);
        open();
        // SAFETY: interrupts are off, and so no handler runs.
        let came_at = unsafe { core::mem::replace(&mut TAKEN.first[0].1, at) };
        check!(came_at != shadowed || qemu_emulates_amd_v(source), "an interrupt in the shadow of STI");
    }
    expect(&[(LOW, at)], "behind STI and a nested fault");
}

/// QEMU's firmware configuration device (QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device"): item 0 is its name.
fn qemu_emulates_amd_v(source: Source) -> bool {
    out16(0x510, 0);
    source == Source::Vmmcall && [0; 4].map(|_: u8| in8(0x511)) == *b"QEMU"
}

/// The trap of the instruction that sends the interrupt comes first.
fn behind_a_single_step(source: Source) {
    let result = catch(&mut || {
        send_between!(source, LOW, "pushfq; or dword ptr [rsp], 0x300; popfq", "3: nop; nop");
    });
    let at = label();
    check!(matches!(result, Err(f) if (f.vector, f.rip) == (DEBUG, at)), "a single step to {at:#x}: {result:x?}");
    expect(&[], "before the trap");
    let at = open();
    expect(&[(LOW, at)], "behind the trap");
}

/// An NMI and a queued interrupt wait for the same IRET: the NMI comes first, and neither is lost.
fn behind_an_nmi(source: Source) {
    for _ in 0..20 {
        is_nmi(catch(&mut send_nmi));
        // Further NMIs are blocked until IRET.
        send(source, LOW);
        send_nmi();
        let rip = is_nmi(catch(&mut || return_to_if(true)));
        check_eq!(rip, label(), "where the second NMI comes");
        expect(&[], "before the second NMI");
        return_to_if(false);
        let at = open();
        expect(&[(LOW, at)], "behind two NMIs");
    }
}

fn send_nmi() {
    poke(ICR_HIGH, 0u32);
    poke(ICR_LOW, SEND_NMI);
    while peek::<u32>(ICR_LOW) & ICR_PENDING != 0 {}
    in8(SYSTEM_CONTROL_A);
}

fn is_nmi(result: Result<(), Fault>) -> u64 {
    match result {
        Err(f) if f.vector == NMI => f.rip,
        other => crate::report::fail(format_args!("an NMI ends in {other:x?}")),
    }
}

/// IRET to label 3, with IF as told; interrupts are off afterwards.
fn return_to_if(interrupts: bool) {
    // SAFETY: an IRET to the next instruction, with the stack of now; handlers keep all registers.
    unsafe {
        asm!("mov rax, rsp", "push 0x10", "push rax", "push {flags}", "push 0x18", "lea rax, [rip + 3f]",
            "mov [{label}], rax", "push rax", "iretq", "3:", "nop", "nop", "cli", flags = in(reg) 2 | u64::from(interrupts) << 9,
            label = in(reg) &raw mut LABEL, out("rax") _)
    };
}

// Sends LOW with IF = 0 and comes to STI and NOP; then sends it with IF = 1.
macro_rules! real_mode_routine {
    ($name:literal, $send:literal) => {
        global_asm!(
            ".section .text16, \"ax\"",
            ".code16",
            concat!($name, ":"),
            concat!("mov word ptr [real_labels], offset ", $name, "_1"),
            concat!("mov word ptr [real_labels + 2], offset ", $name, "_2"),
            "mov word ptr [real_count], 0",
            "mov eax, 2",
            "mov ebx, 0x51",
            $send,
            "sti",
            "nop",
            concat!($name, "_1:"),
            "nop",
            "mov eax, 2",
            $send,
            concat!($name, "_2:"),
            "nop",
            "cli",
            ".byte 0xc3", // near RET with 16-bit operands; the assembler would make it 32
            ".code64",
        );
    };
}
real_mode_routine!("vmmcall_in_real_mode", "vmmcall");
real_mode_routine!("vmcall_in_real_mode", "vmcall");

global_asm!(
    ".section .text16, \"ax\"",
    ".code16",
    "enter_in_real_mode:",
    "push bp",
    "mov bp, sp",
    "push ax",
    "push bx",
    "mov ax, [bp + 2]",
    "mov bx, [real_count]",
    "and bx, 1",
    "add bx, bx",
    "mov [bx + real_returns], ax",
    "inc word ptr [real_count]",
    "pop bx",
    "pop ax",
    "pop bp",
    ".byte 0xcf", // IRET with 16-bit operands
    ".code64",
    ".balign 2",
    "real_labels: .word 0, 0",
    "real_returns: .word 0, 0",
    "real_count: .word 0",
);

unsafe extern "C" {
    fn vmmcall_in_real_mode();
    fn vmcall_in_real_mode();
    fn enter_in_real_mode();
    static real_labels: [u16; 2];
    static real_returns: [u16; 2];
    static real_count: u16;
}

fn in_real_mode(source: Source) {
    let entry = u64::from(LOW) * 4;
    let old: u32 = peek(entry);
    poke(entry, enter_in_real_mode as *const () as u32);
    // SAFETY: routines for real mode that use what follows them; the lines of the PIC are masked.
    unsafe {
        run16(if source == Source::Vmcall { vmcall_in_real_mode } else { vmmcall_in_real_mode });
        check_eq!((&raw const real_count).read_volatile(), 2, "interrupts in real mode");
        let (returns, labels) = ((&raw const real_returns).read_volatile(), (&raw const real_labels).read_volatile());
        check_eq!(returns, labels, "return addresses in real mode");
    }
    poke(entry, old);
}

/// Vectors of exceptions, and such as are none.
fn refused(source: Source) {
    for vector in [0, 13, 31, 256, 1 << 32 | 0x51, u64::MAX] {
        let (number, result): (u64, u64);
        // SAFETY: RBX is kept; nothing comes of it.
        unsafe {
            asm!("xchg rbx, rdi", "cmp {vmcall}, 0", "jne 2f", "vmmcall", "jmp 3f", "2:", "vmcall", "3:", "xchg rbx, rdi",
                vmcall = in(reg_byte) u8::from(source == Source::Vmcall), inout("rax") QUEUE_INTERRUPT => result,
                inout("rdi") vector => number)
        };
        check_eq!((number, result), (vector, UNKNOWN), "the hypercall's answer");
    }
    open();
    expect(&[], "of a vector that is refused");
}

/// None is lost and none comes twice, while interrupts of a device come too.
fn many(source: Source) {
    // A device's interrupt makes QEMU 7.2 forget the virtual one until the next VMRUN, and inject an injected one again.
    let alone = qemu_emulates_amd_v(source);
    set_timer(if alone { 0 } else { KILOHERTZ });
    with_lines(if alone { 0 } else { 1 << TIMER }, || {
        let (mut rounds, start) = (0, count(TIMER));
        while rounds < 1000 || count(TIMER) - start < if alone { 0 } else { 20 } {
            let at = send_between!(source, LOW, "sti; nop", "3: jmp 4f; 4: nop; nop");
            expect(&[(LOW, at)], "one of many with IF = 1");
            send_between!(source, HIGH, "", "3:");
            let at = open();
            expect(&[(HIGH, at)], "one of many behind STI");
            rounds += 1;
        }
        say!("{} interrupts beside {} of the timer", 2 * rounds, count(TIMER) - start);
    });
    set_timer(0);
}
