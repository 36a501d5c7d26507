//! The way into ring 3 and back: [`Thread::run`] returns when the program stops running, as a virtual CPU's `run` does.
//!
//! System calls come by `int 4`: no MSR has a part in it, as those of SYSCALL are the guest's. What leaves ring 3 goes on on the
//! stack that entered it (RSP0 in the TSS).
//! Sources: APM Vol. 2 (24593, 3.41) s. 8.9.3 and 12.2.5.

use crate::descriptors::{ExceptionFrame, USER_CODE_SELECTOR, USER_DATA_SELECTOR, fail};
use crate::lapic::{self, Lapic};
use crate::space::Space;
use crate::{alarm, cpus, interrupts, nmi, time};
use core::mem::offset_of;
use domain::{Arguments, Fault, Trap};
use spin::Once;
use x86_64::PhysAddr;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr2, Cr3, Cr3Flags, Cr4, Cr4Flags};
use x86_64::structures::paging::PhysFrame;

const NMI: u64 = 2;
const SYSTEM_CALL: u64 = 4;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;
const MACHINE_CHECK: u64 = 18;
const SECURITY: u64 = 30;
const SPURIOUS: u64 = lapic::SPURIOUS_VECTOR as u64;

/// Flags that a program may set: CF, PF, AF, ZF, SF, DF, OF. TF and AC would only hurt it.
const PROGRAM_FLAGS: u64 = 0xcd5;
/// Always set.
const RESERVED_FLAG: u64 = 2;
const INTERRUPT_FLAG: u64 = 1 << 9;
/// Task priority while a program runs: the timer's interrupt comes, and of the guest's only those of the same class, which are put
/// off ([`crate::interrupts`]); the others stay where they are until the guest runs.
pub(crate) const TIMER_CLASS: u64 = (timer::VECTOR as u64 >> 4) - 1;

/// Lets no state of the guest be reached: XGETBV, RDPMC, RDFSBASE and RDPKRU fault.
const WITHHELD: Cr4Flags = Cr4Flags::OSXSAVE
    .union(Cr4Flags::PERFORMANCE_MONITOR_COUNTER)
    .union(Cr4Flags::FSGSBASE)
    .union(Cr4Flags::PROTECTION_KEY_USER);

// In: RDI, the program's registers; RSI, where the TSS has RSP0. All registers but RBX, RBP, RSP and R12 to R15 are lost.
core::arch::global_asm!(
    r#"
    .text
    .balign 16
    .global ring3_enter, ring3_leave
ring3_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    mov [rsi], rsp
    push [rdi + {ss}]
    push [rdi + {rsp}]
    push [rdi + {rflags}]
    push [rdi + {cs}]
    push [rdi + {rip}]
    mov rax, [rdi + {rax}]
    mov rcx, [rdi + {rcx}]
    mov rdx, [rdi + {rdx}]
    mov rbx, [rdi + {rbx}]
    mov rbp, [rdi + {rbp}]
    mov rsi, [rdi + {rsi}]
    mov r8, [rdi + {r8}]
    mov r9, [rdi + {r9}]
    mov r10, [rdi + {r10}]
    mov r11, [rdi + {r11}]
    mov r12, [rdi + {r12}]
    mov r13, [rdi + {r13}]
    mov r14, [rdi + {r14}]
    mov r15, [rdi + {r15}]
    mov rdi, [rdi + {rdi}]
    iretq

    /* On the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS, and what ring3_enter has left there, of which the CPU has aligned
       nothing away, because its RSP is a multiple of 16. */
ring3_leave:
    push rdi
    mov rdi, [rsp + 64]
    mov [rdi + {rax}], rax
    mov [rdi + {rcx}], rcx
    mov [rdi + {rdx}], rdx
    mov [rdi + {rbx}], rbx
    mov [rdi + {rbp}], rbp
    mov [rdi + {rsi}], rsi
    mov [rdi + {r8}], r8
    mov [rdi + {r9}], r9
    mov [rdi + {r10}], r10
    mov [rdi + {r11}], r11
    mov [rdi + {r12}], r12
    mov [rdi + {r13}], r13
    mov [rdi + {r14}], r14
    mov [rdi + {r15}], r15
    pop qword ptr [rdi + {rdi}]
    pop qword ptr [rdi + {vector}]
    pop qword ptr [rdi + {error}]
    pop qword ptr [rdi + {rip}]
    add rsp, 8
    pop qword ptr [rdi + {rflags}]
    pop qword ptr [rdi + {rsp}]
    add rsp, 16
    /* Neither DF nor AC, with which SMAP would be off, are the program's any more. */
    push 2
    popfq
    mov eax, {data}
    mov ds, eax
    mov es, eax
    mov ss, eax
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    "#,
    data = const crate::descriptors::DATA_SELECTOR,
    rax = const offset_of!(ExceptionFrame, rax),
    rcx = const offset_of!(ExceptionFrame, rcx),
    rdx = const offset_of!(ExceptionFrame, rdx),
    rbx = const offset_of!(ExceptionFrame, rbx),
    rbp = const offset_of!(ExceptionFrame, rbp),
    rsi = const offset_of!(ExceptionFrame, rsi),
    rdi = const offset_of!(ExceptionFrame, rdi),
    r8 = const offset_of!(ExceptionFrame, r8),
    r9 = const offset_of!(ExceptionFrame, r9),
    r10 = const offset_of!(ExceptionFrame, r10),
    r11 = const offset_of!(ExceptionFrame, r11),
    r12 = const offset_of!(ExceptionFrame, r12),
    r13 = const offset_of!(ExceptionFrame, r13),
    r14 = const offset_of!(ExceptionFrame, r14),
    r15 = const offset_of!(ExceptionFrame, r15),
    vector = const offset_of!(ExceptionFrame, vector),
    error = const offset_of!(ExceptionFrame, error),
    rip = const offset_of!(ExceptionFrame, rip),
    cs = const offset_of!(ExceptionFrame, cs),
    rflags = const offset_of!(ExceptionFrame, rflags),
    rsp = const offset_of!(ExceptionFrame, rsp),
    ss = const offset_of!(ExceptionFrame, ss),
);

unsafe extern "sysv64" {
    fn ring3_enter(registers: *mut ExceptionFrame, rsp0: *mut u64);
}

/// What the virtualization extension wants done where the guest's registers are in the CPU although the VMM runs.
pub struct Extension {
    /// Saves TR, LDTR, FS and GS, loads the VMM's TR ([`load_task`]), and lets NMIs come.
    pub open: fn(),
    /// The reverse. NMIs that have come meanwhile are not lost.
    pub close: fn(),
}

static EXTENSION: Once<&'static Extension> = Once::new();

/// From now on `extension` is called around ring 3. Only the first call counts.
pub fn set_extension(extension: &'static Extension) {
    EXTENSION.call_once(|| extension);
}

/// The running CPU's task register is the VMM's from now on, and there is no local descriptor table.
///
/// # Safety
/// What was in the registers is saved.
pub unsafe fn load_task() {
    // SAFETY: the caller's promise.
    unsafe { cpus::this().descriptors.load_task() };
}

/// A program's registers.
pub struct Thread(ExceptionFrame);

impl Thread {
    /// Starts at `entry` with this stack, all other registers zero.
    pub fn new(entry: u64, stack: u64) -> Self {
        let (cs, ss) = (USER_CODE_SELECTOR.into(), USER_DATA_SELECTOR.into());
        Self(ExceptionFrame { rip: entry, rsp: stack, cs, ss, ..ExceptionFrame::default() })
    }

    /// Runs it up to the next trap of any kind.
    fn enter(&mut self, space: &Space, is_timed: bool) -> Fault {
        let frame = &mut self.0;
        let interrupts = if is_timed { INTERRUPT_FLAG } else { 0 };
        frame.rflags = frame.rflags & PROGRAM_FLAGS | RESERVED_FLAG | interrupts;
        let cpu = cpus::this();
        // As they are: bits that are unknown here stay.
        let (cr0, cr2, cr4, (cr3, cr3_flags)) = (Cr0::read_raw(), Cr2::read_raw(), Cr4::read_raw(), Cr3::read_raw());
        let extension = EXTENSION.get();
        // SAFETY: the space has the VMM's own upper half, so that the code goes on under its tables; all that is changed is put
        // back. CS, SS and flags of the frame are ring 3's, whose pages are in the lower half alone: it reaches no state but
        // its registers and these.
        unsafe {
            if let Some(extension) = extension {
                (extension.open)();
            }
            let priority = swap_priority(TIMER_CLASS);
            Cr0::write_raw(cr0 | Cr0Flags::TASK_SWITCHED.bits());
            Cr4::write_raw(cr4 & !WITHHELD.bits());
            Cr3::write(PhysFrame::containing_address(PhysAddr::new(space.root().0)), Cr3Flags::empty());
            ring3_enter(frame, cpu.descriptors.rsp0());
            let fault = Fault { vector: frame.vector as u8, error: frame.error, address: Cr2::read_raw() };
            Cr3::write_raw(cr3, cr3_flags);
            Cr4::write_raw(cr4);
            Cr0::write_raw(cr0);
            swap_priority(priority);
            if frame.vector == NMI {
                _ = nmi::on_nmi(0);
                // Also if the program does not go on: no kick of another CPU's may be lost.
                nmi::unblock();
            }
            if frame.vector == PAGE_FAULT {
                // The guest's, on VT-x.
                core::arch::asm!("mov cr2, {}", in(reg) cr2, options(nomem, nostack, preserves_flags));
            }
            if let Some(extension) = extension {
                (extension.close)();
            }
            fault
        }
    }
}

/// CR8, the task priority register of the local APIC (APM s. 16.6.4).
pub(crate) fn swap_priority(priority: u64) -> u64 {
    let before;
    // SAFETY: interrupts are off; whoever changes it puts it back.
    unsafe {
        core::arch::asm!("mov {}, cr8", out(reg) before, options(nomem, nostack, preserves_flags));
        core::arch::asm!("mov cr8, {}", in(reg) priority, options(nomem, nostack, preserves_flags));
    }
    before
}

impl domain::Thread for Thread {
    type Space = Space;

    /// The guest chooses the vectors of the legacy controller, whose interrupts no task priority holds back. Those by LINT0 wait
    /// ([`Lapic::hold`]); by a pin of an I/O APIC or a message, with delivery mode ExtINT, they may come in a vector of an exception.
    /// It is an interrupt where ring 3 cannot raise that one (APM s. 8.2), or an error code or MCG_STATUS tells. Else it
    /// cannot be told: the program is ended by 0, 1, 3, 6, 7, 16 or 19, 2 is an NMI to the guest, and 4 a system call, whatever the
    /// program's registers make of it.
    fn run(&mut self, space: &mut Space, until: u64) -> Trap {
        let is_timed = alarm::set(until);
        loop {
            let fault = self.enter(space, is_timed);
            match self.0.vector {
                SYSTEM_CALL => return Trap::Call,
                SPURIOUS if !Lapic::this().is_in_service(lapic::SPURIOUS_VECTOR) => {}
                MACHINE_CHECK if !interrupts::is_machine_check() => interrupts::on_interrupt(MACHINE_CHECK as u8),
                5 | 9 | 15 | 20 | 22..=28 | 31.. => interrupts::on_interrupt(self.0.vector as u8),
                NMI => {}
                // The machine's, not the program's.
                DOUBLE_FAULT | MACHINE_CHECK | SECURITY => fail(&self.0),
                _ => return Trap::Fault(fault),
            }
            if time::now().0 >= until {
                return Trap::TimeOut;
            }
        }
    }

    fn arguments(&self) -> Arguments {
        let frame = &self.0;
        Arguments { number: frame.rax, values: [frame.rdi, frame.rsi, frame.rdx, frame.r8] }
    }

    fn set_results(&mut self, results: [u64; 4]) {
        let frame = &mut self.0;
        [frame.rax, frame.rdi, frame.rsi, frame.rdx] = results;
    }

    fn registers(&self) -> domain::Registers {
        let f = &self.0;
        domain::Registers {
            rip: f.rip,
            rsp: f.rsp,
            rflags: f.rflags,
            gprs: [
                f.rax, f.rbx, f.rcx, f.rdx, f.rsi, f.rdi, f.rbp, f.r8, f.r9, f.r10, f.r11, f.r12, f.r13, f.r14, f.r15,
            ],
        }
    }
}

/// Can the time of a program be watched over? Not while the guest is in an interrupt of the highest class, as that keeps the timer's
/// off. Where the local APIC is off there is no timer anyway ([`alarm::set`]).
pub fn may_run() -> bool {
    !Lapic::this().serves_timer_class()
}

/// No program runs on this CPU any more: what watches over their time is not needed for now.
pub fn rest() {
    alarm::stop();
}
