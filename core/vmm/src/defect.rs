//! When the VMM itself fails: a panic, or an exception that it does not expect. All that is known goes to a record that
//! outlives a warm reboot, to the screen and to COM1; then the keys are wiped and the machine stands still.

use crate::failure::halt;
use crate::{home, vendor};
use abi::hypercall::defect;
use alloc::string::String;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hw::console::{Screen, Serial};
use hw::descriptors::ExceptionFrame;
use hw::{Hpa, HpaRange, cpu, cpus, direct, trails};
use record::{Frames, Page, RECORD_BYTES, Registers, Report};
use spin::Once;
use x86_64::registers::control::{Cr0, Cr2, Cr3, Cr4};

/// Physical address of the record; 0 before there is memory of Shoji's own.
static RECORD_AT: AtomicU64 = AtomicU64::new(0);
/// Set by the first defect: a second one, while it is told, would come without end.
static TOLD: AtomicBool = AtomicBool::new(false);

/// See [`previous`].
static PREVIOUS: Once<String> = Once::new();

const MOST_CALLERS: usize = 32;

/// #SX: an INIT that came while the VMM ran (APM Vol. 2 s. 15.28). No CPU raises it for anything else here.
const SECURITY: u64 = 30;

/// Keeps the memory at `at` for the record, and gives its range. What a defect before the last reboot has left there is logged
/// and cleared.
///
/// # Safety
/// The memory is Shoji's, nobody else uses it, and the direct map covers it.
pub unsafe fn keep_record(at: Hpa) -> HpaRange {
    // SAFETY: the caller's promise.
    let memory = unsafe { memory(at) };
    let mut text = String::new();
    record::take(memory, |line| {
        if text.is_empty() {
            log::warn!("Shoji's last run on this machine ended in a defect, of which it has left this record:");
        }
        log::warn!("| {line}");
        text.push_str(line);
        text.push('\n');
    });
    PREVIOUS.call_once(|| text);
    RECORD_AT.store(at.0, Ordering::Relaxed);
    HpaRange { start: at.0, end: at.0 + RECORD_BYTES as u64 }
}

/// What the defect before the last reboot has left; empty: there was none.
pub fn previous() -> &'static str {
    PREVIOUS.get().map_or("", String::as_str)
}

/// # Safety
/// As [`keep_record`], and only one reference is alive at a time.
unsafe fn memory(at: Hpa) -> &'static mut [u8; RECORD_BYTES] {
    // SAFETY: the caller's promise.
    unsafe { &mut *direct::pointer(at).cast() }
}

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    stop(format_args!("{info}"), None, rbp)
}

/// The CPU has raised an exception in the VMM.
pub fn on_fault(frame: &ExceptionFrame) -> ! {
    let f = frame;
    if f.vector == SECURITY {
        log::warn!("INIT from outside of the CPUs: the machine is reset");
        crate::reset::machine();
    }
    let registers = Registers {
        rip: f.rip,
        rsp: f.rsp,
        rflags: f.rflags,
        cr0: Cr0::read_raw(),
        cr2: Cr2::read_raw(),
        cr3: Cr3::read_raw().0.start_address().as_u64(),
        cr4: Cr4::read_raw(),
        gprs: [f.rax, f.rbx, f.rcx, f.rdx, f.rsi, f.rdi, f.rbp, f.r8, f.r9, f.r10, f.r11, f.r12, f.r13, f.r14, f.r15],
    };
    stop(format_args!("exception {}, error code {:#x}", f.vector, f.error), Some(&registers), f.rbp)
}

fn stop(message: fmt::Arguments<'_>, registers: Option<&Registers>, rbp: u64) -> ! {
    if !TOLD.swap(true, Ordering::Relaxed) {
        cpus::halt_others();
        let mut callers = [0; MOST_CALLERS];
        // SAFETY: an aligned address inside of the stack.
        let frames = Frames::new(rbp, home::stack(), home::text(), |at| unsafe { (at as *const u64).read() });
        let found = callers.iter_mut().zip(frames).map(|(to, caller)| *to = caller).count();
        let callers = &callers[..found];
        trails::look(|trails| {
            tell(&Report { message, registers, callers, trails, name: vendor::write_exit });
        });
    }
    halt()
}

/// The record first: nothing in its way can fail. COM1's lock may be held by what has failed.
fn tell(report: &Report<'_>) {
    let at = Hpa(RECORD_AT.load(Ordering::Relaxed));
    // None of the sinks fails.
    if at != Hpa(0) {
        // SAFETY: `keep_record` was promised so, and its own reference is gone.
        let mut page = Page::new(unsafe { memory(at) });
        let _ = report.write_without_secrets(&mut page);
        page.seal();
        // A reset drops what is in the caches alone.
        cpu::write_back_caches();
    }
    let _ = report.write_head(&mut Screen::new());
    let _ = Serial.write_str("\n");
    let _ = report.write(&mut Serial);
    // What resets the machine now does so without Shoji.
    home::wipe_heap();
    let _ = Serial.write_str("Stopped.\n");
}

/// Provokes a defect; returns where none has this number.
pub fn provoke(number: u64) {
    match number {
        defect::PANIC => panic!("provoked by hypercall"),
        // SAFETY (for all of these): none; they are to fail.
        defect::NULL_READ => unsafe {
            core::arch::asm!("mov {0}, [{0}]", inout(reg) 8_u64 => _);
        },
        defect::STACK_OVERFLOW => overflow(),
        defect::CODE_WRITE => {
            let at = home::text_at();
            // SAFETY: as above.
            unsafe { direct::pointer(at).write_volatile(0xcc) };
        }
        _ => {}
    }
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "it is what is wanted")]
fn overflow() {
    let frame = [0_u64; 32];
    core::hint::black_box(&frame);
    overflow();
    core::hint::black_box(&frame);
}
