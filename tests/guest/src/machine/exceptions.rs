//! IDT, TSS, and running code that may end in an exception.
//! Intel SDM Vol. 3A (order number 325384) 6.14.1 (gates), 7.7 (64-bit TSS).

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

const VECTORS: usize = 48;
const CODE64: u64 = 0x18;
const TSS: u16 = 0x40;

#[repr(C, align(16))]
struct Gate(u64, u64);

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// 104 bytes; IST1 at byte 36, I/O map base at byte 102.
#[repr(C, align(16))]
struct TaskState([u8; 104]);

static mut IDT: [Gate; VECTORS] = [const { Gate(0, 0) }; VECTORS];
static mut TASK_STATE: TaskState = TaskState([0; 104]);
#[unsafe(no_mangle)]
static mut idt_pointer: TablePointer = TablePointer { limit: 0, base: 0 };

unsafe extern "C" {
    static vector_entries: c_void;
    static exception_stack_top: c_void;
    static mut gdt: [u64; 12];
    static fault: Fault;
    fn catch_call(routine: extern "C" fn(u64), argument: u64) -> u32;
    fn enter_user(rip: u64) -> !;
}

/// Loads IDT and task register; again after a guest has loaded others. Exceptions run on a stack of their own (IST1), so that a guest may lose its stack.
pub fn init() {
    // SAFETY: nothing else uses the tables meanwhile; all addresses are of this program.
    unsafe {
        let entries = (&raw const vector_entries) as u64;
        let idt = (&raw mut IDT).cast::<Gate>();
        for vector in 0..VECTORS {
            let at = entries + 16 * vector as u64;
            let ist = if vector < 32 { 1u64 } else { 0 };
            let low = at & 0xffff | CODE64 << 16 | ist << 32 | 0x8e << 40 | (at >> 16 & 0xffff) << 48;
            idt.add(vector).write(Gate(low, at >> 32));
        }
        (&raw mut idt_pointer).write(TablePointer { limit: (VECTORS * 16 - 1) as u16, base: (&raw const IDT) as u64 });
        asm!("lidt [{}]", in(reg) &raw const idt_pointer);

        let tss = (&raw mut TASK_STATE) as u64;
        let stack = ((&raw const exception_stack_top) as u64).to_le_bytes();
        (&raw mut TASK_STATE.0).cast::<u8>().add(36).cast::<[u8; 8]>().write(stack);
        (&raw mut TASK_STATE.0).cast::<u8>().add(102).write(104);
        (&raw mut gdt[8]).write(103 | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56);
        asm!("ltr {:x}", in(reg) TSS);
    }
}

/// Runs code while `entry` takes a vector, on the stack of whoever is interrupted. It ends by IRETQ and keeps all
/// registers.
pub fn with_entry<T>(vector: u8, entry: unsafe extern "C" fn(), code: impl FnOnce() -> T) -> T {
    let at = entry as usize as u64;
    // SAFETY: the gate is an interrupt gate at CPL 0; the old one comes back.
    unsafe {
        let gate = (&raw mut IDT).cast::<Gate>().add(vector.into());
        let old = gate.read();
        gate.write(Gate(at & 0xffff | CODE64 << 16 | 0x8e << 40 | (at >> 16 & 0xffff) << 48, at >> 32));
        let result = code();
        gate.write(old);
        result
    }
}

/// Sets the LDT descriptor of the GDT and loads it. `base` may be anywhere.
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
        // SAFETY: `fault` is written by the exception entry only, which has run.
        _ => Err(unsafe { (&raw const fault).read_volatile() }),
    }
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
    // SAFETY: as in `catch`.
    let f = unsafe { (&raw const fault).read_volatile() };
    report::fail(format_args!("unexpected exception {f:#x?}"))
}
