//! Tables for the three tasks, one run, and what it left.

use crate::machine::exceptions;
use crate::machine::memory::{buffer, buffer_address, peek, poke};
use crate::machine::modes::run32;
use core::arch::global_asm;

global_asm!(include_str!("tasks.s"), options(raw));

pub const A: u16 = 0x40;
pub const B: u16 = 0x48;
pub const C: u16 = 0x50;
pub const GATE_B: u16 = 0x58;
/// Segments that are not present.
const ABSENT_CODE: u16 = 0x60;
const ABSENT_DATA: u16 = 0x68;
const DATA16: u16 = 0x70;

/// Slots of a 32-bit TSS.
pub const ES: u64 = 0x48;
pub const CS: u64 = 0x4c;
pub const SS: u64 = 0x50;
pub const DS: u64 = 0x54;
pub const GS: u64 = 0x5c;
pub const LDT: u64 = 0x60;

/// [`Rig::vector`] of an exception that the handler task took.
pub const HANDLED: u32 = 0x100;

/// Both tasks' page tables map this to a page of their own.
const ALIAS: u32 = 1 << 30;
const SEEN_BY_A: u32 = 0x0a0a_0a0a;
const SEEN_BY_B: u32 = 0x0b0b_0b0b;

unsafe extern "C" {
    fn tasks_run();
    fn tasks_call();
    fn tasks_jump();
    fn tasks_call_gate();
    fn tasks_jump_gate();
    fn tasks_int();
    fn tasks_wait();
    fn tasks_fault();
    fn tasks_nmi();
    fn tasks_iret();
    fn tasks_b();
    fn tasks_c();
    fn tasks_iret_back();
    fn tasks_jump_back();
    fn tasks_nest();
    fn tasks_handler();
    fn tasks_vectors();
    static tasks_gdtr: u8;
    static tasks_idtr: u8;
    static tasks_cr3: u8;
    static tasks_cr4: u8;
    static tasks_alias: u8;
    static tasks_action: u8;
    static tasks_back: u8;
    static tasks_eoi: u8;
    static tasks_pop_error: u8;
    static tasks_a_eip: u8;
    static tasks_resume: u8;
    static tasks_b_count: u8;
    static tasks_error: u8;
    static tasks_vector: u8;
    static tasks_dr6: u8;
    static tasks_seen_a: Seen;
    static tasks_seen_b: Seen;
    static tasks_seen_c: Seen;
}

/// A variable of `tasks.s`.
macro_rules! variable {
    ($name:ident) => {
        (&raw const $name) as u64
    };
}

/// Registers as a task found them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    general: [u32; 7],
    pub esp: u32,
    pub flags: u32,
    pub cr0: u32,
    pub tr: u32,
    pub alias: u32,
}

impl Seen {
    /// EAX, EBX, ECX, EDX, ESI, EDI, EBP.
    pub fn registers(&self) -> [u32; 7] {
        self.general
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paging {
    Off,
    Bits32,
    Pae,
}

impl Paging {
    /// What A and B find at their alias.
    pub fn aliases(self) -> (u32, u32) {
        if self == Self::Off { (SEEN_BY_A, SEEN_BY_A) } else { (SEEN_BY_A, SEEN_BY_B) }
    }
}

/// What A does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Call,
    Jump,
    CallGate,
    JumpGate,
    /// INT 30h, whose task gate leads to B.
    Int,
    /// STI, HLT.
    Wait,
    /// A bad selector, error code FFF8h.
    Fault,
    /// An NMI to itself.
    Nmi,
    /// IRET with NT set, from A.
    Iret,
}

impl Action {
    fn routine(self) -> unsafe extern "C" fn() {
        match self {
            Self::Call => tasks_call,
            Self::Jump => tasks_jump,
            Self::CallGate => tasks_call_gate,
            Self::JumpGate => tasks_jump_gate,
            Self::Int => tasks_int,
            Self::Wait => tasks_wait,
            Self::Fault => tasks_fault,
            Self::Nmi => tasks_nmi,
            Self::Iret => tasks_iret,
        }
    }
}

/// How B goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Back {
    Iret,
    Jump,
    /// By way of a call of C.
    Nest,
}

fn gdt() -> u64 {
    buffer_address(0)
}

fn idt() -> u64 {
    buffer_address(0) + 0x1000
}

/// B's TSS lies across a page boundary.
fn tss(task: u16) -> u64 {
    buffer_address(0)
        + match task {
            A => 0x2000,
            B => 0x3fd0,
            _ => 0x5000,
        }
}

fn stack(task: u16) -> u32 {
    buffer_address(0) as u32 + 0x1_0000 + u32::from(task) * 0x100
}

fn address(routine: unsafe extern "C" fn()) -> u32 {
    routine as usize as u32
}

fn descriptor(base: u64, limit: u64, access: u64, flags: u64) -> u64 {
    limit & 0xffff | (base & 0xff_ffff) << 16 | access << 40 | (limit >> 16) << 48 | flags << 52 | (base >> 24) << 56
}

/// One set of tables. The next replaces it.
pub struct Rig {
    paging: Paging,
}

impl Rig {
    pub fn new(paging: Paging) -> Self {
        buffer(0)[..0x2_0000].fill(0);
        let rig = Self { paging };
        for (selector, value) in [
            (0x08, descriptor(0, 0xf_ffff, 0x9b, 0xc)),
            (0x10, descriptor(0, 0xf_ffff, 0x93, 0xc)),
            (A, descriptor(tss(A), 0x67, 0x89, 0)),
            (B, descriptor(tss(B), 0x67, 0x89, 0)),
            (C, descriptor(tss(C), 0x67, 0x89, 0)),
            (GATE_B, u64::from(B) << 16 | 0x85 << 40),
            (ABSENT_CODE, descriptor(0, 0xf_ffff, 0x1b, 0xc)),
            (ABSENT_DATA, descriptor(0, 0xf_ffff, 0x13, 0xc)),
            (DATA16, descriptor(0, 0xffff, 0x93, 0)),
        ] {
            poke(gdt() + u64::from(selector), value);
        }
        let vectors = u64::from(address(tasks_vectors));
        for vector in 0..32 {
            let at = vectors + 16 * vector;
            poke(idt() + 8 * vector, at & 0xffff | 0x8_0000 | 0x8e << 40 | (at >> 16) << 48);
        }
        rig.task_gate(0x30, B);
        poke(variable!(tasks_gdtr) + 2, gdt() as u32);
        poke(variable!(tasks_idtr) + 2, idt() as u32);
        rig.page_tables();
        rig.tss_of_32_bits(B, address(tasks_b));
        rig.tss_of_32_bits(C, address(tasks_c));
        for variable in [variable!(tasks_eoi), variable!(tasks_pop_error), variable!(tasks_b_count)] {
            poke(variable, 0u32);
        }
        poke(variable!(tasks_a_eip), tss(A) as u32 + 0x20);
        rig
    }

    /// A page directory for A and C, and one for B: 64 MiB to themselves, and the alias.
    fn page_tables(&self) {
        let tables = buffer_address(1);
        let pages = [buffer_address(4), buffer_address(6)];
        for (page, value) in pages.into_iter().zip([SEEN_BY_A, SEEN_BY_B]) {
            poke(page, value);
        }
        buffer(1)[..0x10000].fill(0);
        for (task, page) in (0..).zip(pages) {
            let at = tables + task * 0x8000;
            for i in 0..32 {
                poke(at + 0x1000 + i * 8, i << 21 | 0x83);
            }
            poke(at + 0x2000, page | 0x83);
            poke(at, (at + 0x1000) | 1);
            poke(at + 8, (at + 0x2000) | 1);
            for i in 0..16 {
                poke(at + 0x3000 + i * 4, (i as u32) << 22 | 0x83);
            }
            poke(at + 0x3000 + u64::from(ALIAS >> 22) * 4, page as u32 | 0x83);
        }
        let alias = if self.paging == Paging::Off { pages[0] as u32 } else { ALIAS };
        poke(variable!(tasks_alias), alias);
        poke(variable!(tasks_cr3), self.cr3(A));
        let cr4 = match self.paging {
            Paging::Off => 0u32,
            Paging::Bits32 => 1 << 4,
            Paging::Pae => 1 << 5,
        };
        poke(variable!(tasks_cr4), cr4);
    }

    fn cr3(&self, task: u16) -> u32 {
        let at = buffer_address(1) as u32 + if task == B { 0x8000 } else { 0 };
        match self.paging {
            Paging::Off => 0,
            Paging::Bits32 => at + 0x3000,
            Paging::Pae => at,
        }
    }

    fn tss_of_32_bits(&self, task: u16, entry: u32) {
        let at = tss(task);
        poke(at + 0x1c, self.cr3(task));
        poke(at + 0x20, entry);
        poke(at + 0x24, 2u32);
        let pattern = 0x1b00_0000u32;
        // EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI
        for (slot, value) in (0..).zip([0, 2, 3, 1, 0, 6, 4, 5]) {
            poke(at + 0x28 + slot * 4, pattern + value);
        }
        poke(at + 0x38, stack(task));
        for (slot, selector) in [(ES, 0x10u16), (CS, 0x08), (SS, 0x10), (DS, 0x10), (0x58, 0), (GS, 0x10)] {
            poke(at + slot, selector);
        }
    }

    pub fn b_of_16_bits(&mut self) {
        let at = tss(B);
        poke(gdt() + u64::from(B), descriptor(at, 0x2b, 0x81, 0));
        buffer(0)[0x3fd0..0x4040].fill(0);
        poke(at + 0x0e, address(tasks_b) as u16);
        poke(at + 0x10, 2u16);
        for (slot, value) in (0..).zip([0, 2, 3, 1, 0, 6, 4, 5]) {
            poke(at + 0x12 + slot * 2, 0x1b00u16 + value);
        }
        // Below the boot sector, on a segment of 64 KiB.
        poke(at + 0x1a, 0x7800u16);
        for (slot, selector) in [(0x22, 0x10u16), (0x24, 0x08), (0x26, DATA16), (0x28, 0x10)] {
            poke(at + slot, selector);
        }
    }

    /// A task gate in the IDT.
    pub fn task_gate(&self, vector: u8, task: u16) {
        poke(idt() + 8 * u64::from(vector), u64::from(task) << 16 | 0x85 << 40);
    }

    pub fn no_gate(&self, vector: u8) {
        poke(idt() + 8 * u64::from(vector), 0u64);
    }

    /// C takes the exception, which ends the run.
    pub fn handler_task(&self, vector: u8) {
        self.task_gate(vector, C);
        poke(tss(C) + 0x20, address(tasks_handler));
    }

    pub fn pop_error(&self) {
        poke(variable!(tasks_pop_error), 1u32);
    }

    pub fn end_interrupt(&self) {
        poke(variable!(tasks_eoi), 1u32);
    }

    pub fn set_access(&self, selector: u16, access: u8) {
        poke(gdt() + u64::from(selector) + 5, access);
    }

    pub fn access(&self, selector: u16) -> u8 {
        peek(gdt() + u64::from(selector) + 5)
    }

    pub fn set_limit(&self, selector: u16, limit: u16) {
        poke(gdt() + u64::from(selector), limit);
    }

    pub fn set_segment(&self, task: u16, slot: u64, selector: u16) {
        poke(tss(task) + slot, selector);
    }

    pub fn set_link(&self, task: u16, link: u16) {
        poke(tss(task), link);
    }

    pub fn link(&self, task: u16) -> u16 {
        peek(tss(task))
    }

    pub fn set_debug_trap(&self, task: u16) {
        poke(tss(task) + 0x64, 1u16);
    }

    /// A becomes a task, acts, and ends.
    pub fn run(&mut self, action: Action, back: Back) {
        let back = match back {
            Back::Iret => tasks_iret_back,
            Back::Jump => tasks_jump_back,
            Back::Nest => tasks_nest,
        };
        poke(variable!(tasks_action), address(action.routine()));
        poke(variable!(tasks_back), address(back));
        poke(variable!(tasks_vector), u32::MAX);
        poke(variable!(tasks_resume), 0u32);
        // A's CR3 is that of the run; the CPU does not save it.
        poke(tss(A) + 0x1c, self.cr3(A));
        // SAFETY: the tables are complete, and the page tables map the program to itself.
        unsafe { run32(tasks_run) };
        exceptions::init(); // the task register
    }

    /// Makes A available for another run.
    pub fn again(&mut self) {
        self.set_access(A, 0x89);
    }

    /// The exception that ended the run.
    pub fn vector(&self) -> Option<u32> {
        let vector = peek(variable!(tasks_vector));
        (vector != u32::MAX).then_some(vector)
    }

    pub fn error(&self) -> u32 {
        peek(variable!(tasks_error))
    }

    pub fn dr6(&self) -> u32 {
        peek(variable!(tasks_dr6))
    }

    pub fn b_count(&self) -> u32 {
        peek(variable!(tasks_b_count))
    }

    pub fn a(&self) -> Seen {
        peek(variable!(tasks_seen_a))
    }

    pub fn b(&self) -> Seen {
        peek(variable!(tasks_seen_b))
    }

    pub fn c(&self) -> Seen {
        peek(variable!(tasks_seen_c))
    }
}
