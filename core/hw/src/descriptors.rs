//! GDT, TSS and IDT of the VMM (APM s. 4.6, 12.2.5 and 8.2). What the IDT catches are NMIs, the VMM's own faults, and interrupts
//! where they are let in ([`crate::interrupts`]).

use crate::{cpus, interrupts, msr, nmi, xcr};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, Ordering};
use initfunc::initfunc;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::{lgdt, lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::SegmentSelector;

const CODE: u64 = 0x0020_9a00_0000_0000;
const DATA: u64 = 0x0000_9200_0000_0000;
/// An available 64-bit TSS of 104 bytes at address 0.
const TASK: u64 = 0x0000_8900_0000_0067;
/// The same with DPL 3.
const USER_CODE: u64 = CODE | DPL_3;
const USER_DATA: u64 = DATA | DPL_3;
const DPL_3: u64 = 3 << 45;

pub const CODE_SELECTOR: u16 = 8;
pub const DATA_SELECTOR: u16 = 16;
pub const TASK_SELECTOR: u16 = 24;
/// With RPL 3.
pub(crate) const USER_CODE_SELECTOR: u16 = 40 | 3;
pub(crate) const USER_DATA_SELECTOR: u16 = 48 | 3;

/// Of the GDT.
const ENTRIES: usize = 7;

/// GDT and TSS of one CPU, which writes to them where it marks the TSS busy.
#[repr(C, align(16))]
pub(crate) struct Tables {
    gdt: UnsafeCell<[u64; ENTRIES]>,
    /// Holds the stack for what leaves ring 3 ([`crate::ring3`]), and that for double faults.
    tss: UnsafeCell<[u32; 26]>,
}
// SAFETY: once made, only their own CPU touches them.
unsafe impl Sync for Tables {}

impl Tables {
    /// Double faults, where they have a stack of their own (see [`take_double_faults_apart`]), are taken on the one that ends at
    /// `fault_stack`.
    pub const fn new(fault_stack: u64) -> Self {
        let mut tss = [0; 26];
        (tss[IST1], tss[IST1 + 1]) = (fault_stack as u32, (fault_stack >> 32) as u32);
        tss[IO_MAP_BASE] = NO_IO_MAP;
        Self { gdt: UnsafeCell::new([0, CODE, DATA, TASK, 0, USER_CODE, USER_DATA]), tss: UnsafeCell::new(tss) }
    }

    /// RSP0 in the TSS, where the CPU takes the stack pointer from when it leaves ring 3. Not aligned.
    pub(crate) fn rsp0(&self) -> *mut u64 {
        self.tss.get().cast::<u32>().wrapping_add(RSP0).cast()
    }

    /// The task register is the VMM's from now on, and there is no local descriptor table.
    ///
    /// # Safety
    /// They are the running CPU's tables, and whatever the registers held before is saved.
    pub(crate) unsafe fn load_task(&self) {
        self.set_task_descriptor();
        // SAFETY: the descriptor was just written.
        unsafe {
            load_task_register();
            core::arch::asm!("lldt {0:x}", in(reg) 0_u16, options(nostack, preserves_flags));
        }
    }

    /// An available TSS, also where it has been busy before.
    fn set_task_descriptor(&self) {
        let tss = self.addresses().tss;
        // SAFETY: only this CPU uses them.
        let [_, _, _, low, high, ..] = unsafe { &mut *self.gdt.get() };
        *low = TASK | (tss & 0xff_ffff) << 16 | (tss >> 24 & 0xff) << 56;
        *high = tss >> 32;
    }

    fn addresses(&self) -> Addresses {
        Addresses { gdt: self.gdt.get() as u64, idt: IDT.0.get() as u64, tss: self.tss.get() as u64 }
    }
}

/// Those of the time before the CPU has an area.
static EARLY: Tables = Tables::new(0);

/// Vectors that there are; the lowest are raised by CPUs themselves.
const VECTORS: usize = 256;
const EXCEPTIONS: u64 = 32;

/// A 64-bit interrupt gate (APM s. 4.8.3).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    options: u16,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

const NO_GATE: Gate = Gate { offset_low: 0, selector: 0, options: 0, offset_middle: 0, offset_high: 0, reserved: 0 };

/// The one for all CPUs.
struct Idt(UnsafeCell<[Gate; VECTORS]>);
// SAFETY: written before any other CPU runs.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([NO_GATE; VECTORS]));

/// Linear addresses of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub gdt: u64,
    pub idt: u64,
    pub tss: u64,
}

/// Where the tables of this CPU lie.
pub fn addresses() -> Addresses {
    cpus::here().map_or(&EARLY, |cpu| &cpu.descriptors).addresses()
}

/// What the stubs below leave on the stack; [`crate::ring3`] keeps a program's registers in the same order.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct ExceptionFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

// One stub per vector, 16 bytes apart. Vectors 8, 10-14, 17, 21, 29 and 30 push an error code themselves.
core::arch::global_asm!(
    r#"
    .text
    .balign 16
    .global exception_stubs
exception_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push 0
    .endif
    push vector
    jmp exception_common
    .set vector, vector + 1
    .endr

    /* The CPU aligns RSP to 16 before it pushes (APM s. 8.9.3), so it tells whether an error code came. Without one where an
       exception has one, it is an interrupt: the legacy controller's, say, which begins at vector 8 in real mode. */
exception_common:
    test spl, 8
    jnz 1f
    push [rsp]
    mov qword ptr [rsp + 8], 0
    add qword ptr [rsp], 256
1:
    /* Double faults may have come on a stack of their own; they are never a program's. */
    cmp byte ptr [rsp], 8
    je 2f
    test byte ptr [rsp + 24], 3
    jnz ring3_leave
2:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    cld
    mov rbx, rsp
    and rsp, -16
    call {on_exception}
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq
    "#,
    on_exception = sym on_exception,
);

/// In the TSS, in words of 4 bytes (APM s. 12.2.5).
const RSP0: usize = 1;
const IST1: usize = 9;
const IO_MAP_BASE: usize = 25;
/// Past the end of the TSS: ring 3 has no port.
const NO_IO_MAP: u32 = 104 << 16;
const DOUBLE_FAULT: usize = 8;
/// #OF: no instruction of 64-bit mode raises it but `int 4`, and no interrupt has this vector. So it can be nothing but a system call.
const SYSTEM_CALL: usize = 4;
/// A gate that `int` in ring 3 may use (DPL 3).
const OPEN: u16 = 0x6000;
/// Present, interrupt gate; the lowest bits are the number of an interrupt stack.
const GATE: u16 = 0x8e00;

/// From now on double faults are taken on a stack of their own: the one that has overflowed holds no frame. To be called on a
/// CPU's own stack, before others run. Only where the task register is the VMM's own whenever the VMM runs. On AMD-V it is the
/// guest's after an exit: the CPU would read the stack pointer from an address that the guest chooses.
pub fn take_double_faults_apart() {
    // SAFETY: this CPU alone uses the table; it reads it when an exception comes, and none does in here.
    unsafe { (*IDT.0.get())[DOUBLE_FAULT].options = GATE | 1 };
}

static FAULT_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// From now on `handler` is told of exceptions that the VMM raises and does not expect. It runs on the stack of what failed.
pub fn set_fault_handler(handler: fn(&ExceptionFrame) -> !) {
    FAULT_HANDLER.store(handler as *mut (), Ordering::Relaxed);
}

/// Exceptions that push one (APM s. 8.2).
const HAS_ERROR_CODE: [u64; 10] = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];
const DEBUG: u64 = 1;
const NMI: u64 = 2;
const GENERAL_PROTECTION: u64 = 13;

extern "sysv64" fn on_exception(frame: &mut ExceptionFrame) {
    match frame.vector {
        NMI => {
            frame.rip = nmi::on_nmi(frame.rip);
            return;
        }
        // No CPU of today raises 9 and 15.
        9 | 15 | EXCEPTIONS.. => return interrupts::on_interrupt(frame.vector as u8),
        // Those with an error code have other numbers where they are interrupts.
        vector if !HAS_ERROR_CODE.contains(&vector) && interrupts::is_interrupt(vector) => {
            return interrupts::on_interrupt(vector as u8);
        }
        // The VMM steps nothing and sets no breakpoint, so it can only be the guest's: in Bochs 2.7 a #DB that leaves the
        // guest, and the trap of a stepped instruction that does, stay pending. The guest gets its own.
        DEBUG => return,
        _ => {}
    }
    let expected = [msr::fault_handler, xcr::fault_handler].into_iter().find_map(|handler| handler(frame.rip));
    if frame.vector == GENERAL_PROTECTION
        && let Some(handler) = expected
    {
        frame.rip = handler;
        return;
    }
    fail(frame)
}

/// Tells of an exception that nobody expects.
pub(crate) fn fail(frame: &ExceptionFrame) -> ! {
    let handler = FAULT_HANDLER.load(Ordering::Relaxed);
    if handler.is_null() {
        panic!("exception {} error {:#x} at {:#x}", frame.vector, frame.error, frame.rip);
    }
    // SAFETY: only `set_fault_handler` writes it.
    let handler = unsafe { core::mem::transmute::<*mut (), fn(&ExceptionFrame) -> !>(handler) };
    handler(frame)
}

/// Fills the IDT, and loads the tables. They lie in the image and stay valid when it moves.
fn init() -> Result<(), &'static str> {
    unsafe extern "C" {
        fn exception_stubs();
    }
    let stubs = exception_stubs as *const () as u64;
    for vector in 0..VECTORS {
        let at = stubs + vector as u64 * 16;
        let gate = Gate {
            offset_low: at as u16,
            selector: CODE_SELECTOR,
            options: if vector == SYSTEM_CALL { GATE | OPEN } else { GATE },
            offset_middle: (at >> 16) as u16,
            offset_high: (at >> 32) as u32,
            reserved: 0,
        };
        // SAFETY: before any other CPU runs and before the table is loaded; `vector` is inside.
        unsafe { (*IDT.0.get())[vector] = gate };
    }
    load();
    Ok(())
}
initfunc!("global3", init);

/// # Safety
/// The descriptor is there, and the TSS is available.
unsafe fn load_task_register() {
    // SAFETY: the caller's promise.
    unsafe { load_tss(SegmentSelector(TASK_SELECTOR)) };
}

/// Loads the tables of this CPU: those of its area once it runs on its stack, else those for the time before.
pub fn load() {
    let tables = cpus::here().map_or(&EARLY, |cpu| &cpu.descriptors);
    let at = tables.addresses();
    tables.set_task_descriptor();
    let pointer =
        |base: u64, bytes: usize| DescriptorTablePointer { base: VirtAddr::new(base), limit: bytes as u16 - 1 };
    // SAFETY: the tables are valid for good; the selectors name the 64-bit code, the data and the TSS descriptor.
    unsafe {
        lgdt(&pointer(at.gdt, size_of::<[u64; ENTRIES]>()));
        CS::set_reg(SegmentSelector(CODE_SELECTOR));
        DS::set_reg(SegmentSelector(DATA_SELECTOR));
        ES::set_reg(SegmentSelector(DATA_SELECTOR));
        SS::set_reg(SegmentSelector(DATA_SELECTOR));
        load_task_register();
        lidt(&pointer(at.idt, size_of::<[Gate; VECTORS]>()));
    }
}
