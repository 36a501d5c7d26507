//! What each CPU has for itself: an area that its stack pointer finds.

use super::exceptions::Fault;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// As in `start/modes.s`.
const AREAS: u64 = 0x1a0_0000;
const AREA: u64 = 0x1_0000;
const EXCEPTION_STACK: u64 = 0x4000;
/// CPUs that a guest can use.
pub const MOST: usize = 16;

/// The bottom of an area; the stack for exceptions, then the ordinary one, lie above. `fault` and `catch_stack` are where
/// `start/exceptions.s` has them.
#[repr(C)]
pub struct Area {
    pub fault: Fault,
    pub catch_stack: u64,
    pub number: u64,
    /// 64-bit TSS: IST1 at byte 36, I/O map base at byte 102.
    pub task_state: [u8; 104],
    /// This CPU's copy; the first CPU uses the one of the start code.
    pub gdt: [u64; 12],
    /// Initial identifier of the local APIC.
    pub apic_id: AtomicU32,
    /// Times that it has come to its place of work.
    pub arrivals: AtomicU32,
    /// Interrupts by vector, from 48 on.
    pub interrupts: [AtomicU32; 256],
    /// What this CPU is to do; see `smp`. 0: nothing.
    pub work: AtomicU64,
    pub argument: AtomicU64,
}

impl Area {
    /// Top of the stack for exceptions.
    pub fn exception_stack(&self) -> u64 {
        core::ptr::from_ref(self) as u64 + EXCEPTION_STACK
    }
}

fn address(number: usize) -> u64 {
    assert!(number < MOST, "CPU {number}");
    AREAS + AREA * number as u64
}

/// Empties an area, whose CPU is not running yet, or is this one.
pub fn init(number: usize) {
    let at = address(number) as *mut Area;
    // SAFETY: memory of this program that nobody else uses yet; zeros are a value of every field.
    unsafe {
        at.write_bytes(0, 1);
        (&raw mut (*at).number).write(number as u64);
    }
}

/// A CPU's area. Fields without interior mutability are the CPU's own.
pub fn of(number: usize) -> &'static Area {
    // SAFETY: areas lie where nothing else does, and exist for good.
    unsafe { &*(address(number) as *const Area) }
}

/// This CPU's.
pub fn this() -> &'static Area {
    let stack: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    of((stack.wrapping_sub(AREAS) / AREA) as usize)
}
