//! IDT, TSS, and running code that may end in an exception.
//! Intel SDM Vol. 3A (order number 325384) 6.14.1 (gates), 7.7 (64-bit TSS).

use super::area;
use crate::report;
use core::arch::asm;
use core::ffi::c_void;

/// An exception, and the registers that a partly done string instruction leaves.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cr2: u64,
    pub rcx: u64,
    pub rsi: u64,
    pub rdi: u64,
}

pub const UD: u64 = 6;
pub const AC: u64 = 17;
pub const MF: u64 = 16;
pub const GP: u64 = 13;
pub const PF: u64 = 14;

/// Those with a gate from the start.
const VECTORS: usize = 48;
const GATES: usize = 256;
const CODE64: u64 = 0x18;
const TSS: u16 = 0x40;
const GDT_LIMIT: u16 = 12 * 8 - 1;

#[repr(C, align(16))]
struct Gate(u64, u64);

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

static mut IDT: [Gate; GATES] = [const { Gate(0, 0) }; GATES];
#[unsafe(no_mangle)]
static mut idt_pointer: TablePointer = TablePointer { limit: 0, base: 0 };

unsafe extern "C" {
    static vector_entries: c_void;
    static mut gdt: [u64; 12];
    fn catch_call(routine: extern "C" fn(u64), argument: u64) -> u32;
    fn enter_user(rip: u64) -> !;
}

/// Loads IDT and task register; again after a guest has loaded others. Exceptions run on a stack of their own (IST1), so that
/// a guest may lose its stack.
pub fn init() {
    set_gates(0..VECTORS);
    // SAFETY: the table is this program's.
    unsafe {
        (&raw mut idt_pointer).write(TablePointer { limit: (GATES * 16 - 1) as u16, base: (&raw const IDT) as u64 });
    }
    load_tables((&raw mut gdt).cast());
}

/// The same on another CPU, with a GDT of its own.
pub fn init_other() {
    let own = (&raw const area::this().gdt).cast_mut();
    // SAFETY: this CPU's area; the first CPU's table is complete.
    unsafe { own.write((&raw const gdt).read()) };
    load_tables(own.cast());
}

/// Gates for vectors that have none from the start: the local APIC's interrupts are counted.
pub fn open_all_gates() {
    set_gates(VECTORS..GATES);
}

fn set_gates(vectors: core::ops::Range<usize>) {
    for vector in vectors {
        let ist = if vector < 32 { 1u64 } else { 0 };
        // SAFETY: an entry of this program; nothing comes by a gate that is half written.
        unsafe {
            let at = (&raw const vector_entries) as u64 + 16 * vector as u64;
            let low = at & 0xffff | CODE64 << 16 | ist << 32 | 0x8e << 40 | (at >> 16 & 0xffff) << 48;
            (&raw mut IDT).cast::<Gate>().add(vector).write(Gate(low, at >> 32));
        }
    }
}

/// GDT, IDT and TSS of this CPU.
fn load_tables(table: *mut u64) {
    let area = area::this();
    let tss = (&raw const area.task_state).cast::<u8>().cast_mut();
    let pointer = TablePointer { limit: GDT_LIMIT, base: table as u64 };
    // SAFETY: the area is this CPU's, and so is the table; all addresses are of this program.
    unsafe {
        tss.add(36).cast::<[u8; 8]>().write(area.exception_stack().to_le_bytes());
        tss.add(102).write(104);
        let base = tss as u64;
        table.add(8).write(103 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56);
        table.add(9).write(base >> 32);
        asm!("lgdt [{}]", "lidt [{}]", "ltr {:x}", in(reg) &raw const pointer, in(reg) &raw const idt_pointer, in(reg) TSS);
    }
}

/// Runs code while `entry` takes a vector, on the stack of whoever is interrupted. It ends by IRETQ and keeps all
/// registers.
pub fn with_entry<T>(vector: u8, entry: unsafe extern "C" fn(), code: impl FnOnce() -> T) -> T {
    with_gate(vector, 0, entry, code)
}

/// As [`with_entry`], on the CPU's stack for exceptions.
pub fn with_stack_entry<T>(vector: u8, entry: unsafe extern "C" fn(), code: impl FnOnce() -> T) -> T {
    with_gate(vector, 1, entry, code)
}

fn with_gate<T>(vector: u8, ist: u64, entry: unsafe extern "C" fn(), code: impl FnOnce() -> T) -> T {
    let at = entry as usize as u64;
    // SAFETY: the gate is an interrupt gate at CPL 0; the old one comes back.
    unsafe {
        let gate = (&raw mut IDT).cast::<Gate>().add(vector.into());
        let old = gate.read();
        gate.write(Gate(at & 0xffff | CODE64 << 16 | ist << 32 | 0x8e << 40 | (at >> 16 & 0xffff) << 48, at >> 32));
        let result = code();
        gate.write(old);
        result
    }
}

/// Sets the LDT descriptor of the first CPU's GDT and loads it there. `base` may be anywhere.
pub fn load_ldt(base: u64, limit: u16) {
    // SAFETY: the descriptor is nobody else's; nothing but a guest's probe uses an LDT selector.
    unsafe {
        let low = u64::from(limit) | (base & 0xff_ffff) << 16 | 0x82 << 40 | (base >> 24 & 0xff) << 56;
        (&raw mut gdt[10]).write(low);
        (&raw mut gdt[11]).write(base >> 32);
        asm!("lldt {:x}", in(reg) 0x50u16);
    }
}

/// Runs code that may end in an exception.
///
/// What the code borrows stays as it was at the exception; it must not hold anything that needs dropping.
pub fn catch(code: &mut dyn FnMut()) -> Result<(), Fault> {
    extern "C" fn run(code: u64) {
        // SAFETY: the address of `code` below.
        unsafe { (*(code as *mut &mut dyn FnMut()))() }
    }
    let mut code = code;
    // SAFETY: the stack of `catch` is live until the routine has ended, in whatever way.
    match unsafe { catch_call(run, (&raw mut code) as u64) } {
        0 => Ok(()),
        _ => Err(last_fault()),
    }
}

fn last_fault() -> Fault {
    // SAFETY: written by this CPU's exception entry only, which has run.
    unsafe { (&raw const area::this().fault).read_volatile() }
}

/// Runs code at an address at CPL 3; it must end in an exception.
pub fn catch_user(rip: u64) -> Fault {
    // SAFETY: all memory is mapped for user code; the exception leads back here.
    match catch(&mut || unsafe { enter_user(rip) }) {
        Err(f) => f,
        Ok(()) => report::fail(format_args!("user code came back without an exception")),
    }
}

#[unsafe(no_mangle)]
extern "C" fn unexpected_exception() -> ! {
    let f = last_fault();
    report::fail(format_args!("unexpected exception {f:#x?}"))
}
