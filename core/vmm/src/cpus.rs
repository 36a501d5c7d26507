//! The other CPUs: found, started, and brought into the VMM before the guest's first instruction.

use crate::borrowed::Borrowed;
use crate::failure::{Failure, halt};
use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use entry::{Jump, TRAMPOLINE_AT, TRAMPOLINE_BYTES};
use hw::cpus::Cpu;
use hw::{Hpa, acpi, cpu, descriptors, lapic, paging, time};
use spin::{Mutex, Once};

const NO_MEMORY: &str = "the memory kept for Shoji does not suffice for its CPUs; raise `reserve` in [memory]";

/// What a CPU does once it has arrived in the VMM. It comes back only to leave the VMM, or because it cannot go on.
pub type Life = dyn Fn(&'static Cpu) -> Result<(), Failure> + Sync;

static LIFE: Once<&'static Life> = Once::new();
/// Page tables of all CPUs, and those with the trampoline.
static TABLES: AtomicU64 = AtomicU64::new(0);
static TRAMPOLINE_TABLES: Once<Hpa> = Once::new();
/// Why the CPU that is being started cannot go on.
static FAILURE: Mutex<Option<Failure>> = Mutex::new(None);

/// After INIT a CPU wants 10 ms until it takes the startup IPI (Intel MultiProcessor Specification 1.4 s. B.4).
const INIT_MS: u64 = 10;
/// It begins with the trampoline in this time.
const STARTUP_MS: u64 = 50;
/// It may miss the lot: QEMU 7.2 keeps a startup IPI of the firmware's that its CPU has not taken yet over our INIT, and sends it
/// there instead.
const ATTEMPTS: u32 = 5;
/// It makes its virtual CPU in this time.
const PATIENCE_MS: u64 = 4000;

/// The machine's CPUs as the firmware tells them.
pub struct Found {
    /// Local APICs of those that are there; the first is this CPU's.
    pub apic_ids: Vec<u32>,
    /// There may be others: to be plugged in, or such as the firmware does not tell of, which the guest could start.
    pub may_grow: bool,
}

/// Asks the firmware.
///
/// # Errors
/// It does not tell of its CPUs, or not of this one.
pub fn find() -> Result<Found, Failure> {
    let own = cpu::apic_id();
    let Some(told) = acpi::local_apics().filter(|apics| !apics.is_empty()) else {
        return match cpu::logical_processors() {
            2.. => {
                Err("the firmware has no table of the CPUs (ACPI table MADT), so that Shoji cannot guard them all; \
                        switch ACPI on in the firmware setup, or all CPUs but one off"
                    .into())
            }
            _ => Ok(Found { apic_ids: Vec::from([own]), may_grow: false }),
        };
    };
    if !told.iter().any(|apic| apic.enabled && apic.id == own) {
        return Err(
            format!("the firmware's table of the CPUs (ACPI table MADT) lacks this one, {own:#x}; update it").into()
        );
    }
    let mut apic_ids = Vec::from([own]);
    for apic in told.iter().filter(|apic| apic.enabled) {
        if !apic_ids.contains(&apic.id) {
            apic_ids.push(apic.id);
        }
    }
    let may_grow = told.iter().any(|apic| !apic.enabled) || cpu::logical_processors() > apic_ids.len();
    Ok(Found { apic_ids, may_grow })
}

/// Starts all CPUs but this one; each then does what `life` tells. They are waited for until they have arrived.
///
/// # Errors
/// One does not come, or cannot be guarded.
pub fn start_others(life: &'static Life) -> Result<(), Failure> {
    LIFE.call_once(|| life);
    TABLES.store(paging::root().0, Ordering::Relaxed);
    restart_others()
}

/// As [`start_others`], again: the CPUs were reset.
pub fn restart_others() -> Result<(), Failure> {
    let Some((_, others)) = hw::cpus::all().split_first() else { return Ok(()) };
    if others.is_empty() {
        return Ok(());
    }
    let page = Borrowed::take(Hpa(TRAMPOLINE_AT), TRAMPOLINE_BYTES);
    let result = others.iter().try_for_each(|cpu| start(cpu, &page));
    page.give_back();
    result
}

/// `page` is borrowed for the trampoline.
fn start(cpu: &'static Cpu, page: &Borrowed) -> Result<(), Failure> {
    let root = Hpa(TABLES.load(Ordering::Relaxed));
    let tables = TRAMPOLINE_TABLES.try_call_once(|| paging::with_page_below(root, TRAMPOLINE_AT).ok_or(NO_MEMORY))?;
    let (stack, entry) = cpu.return_point().unwrap_or((cpu.stack().end, arrive as *const () as u64));
    let jump = Jump {
        page_tables: tables.0 as u32,
        allow_no_execute: cpu::has_no_execute_switch(),
        stack,
        argument: core::ptr::from_ref(cpu) as u64,
        entry,
    };
    // SAFETY: the page is borrowed.
    unsafe { entry::install(page.pointer(), TRAMPOLINE_AT, &jump) };
    for _ in 0..ATTEMPTS {
        send_it_there(cpu);
        // SAFETY: installed above.
        if unsafe { entry::is_entered(page.pointer()) } {
            break;
        }
    }
    if cpu.await_arrival(PATIENCE_MS) {
        return Ok(());
    }
    let why = FAILURE.lock().take().map_or_else(|| "it does not start".into(), |failure| failure.0);
    let (number, id) = (cpu.number(), cpu.apic_id());
    Err(format!("CPU {number} (local APIC {id:#x}) cannot be guarded: {why}; or switch it off in the firmware setup")
        .into())
}

/// INIT, and startup IPIs to the trampoline (SDM Vol. 3A s. 9.4.4.1).
fn send_it_there(cpu: &Cpu) {
    // SAFETY: the CPU runs nothing that is needed, as no guest runs on it, and there is code for it.
    unsafe {
        lapic::send_init(cpu.apic_id());
        time::wait_ms(INIT_MS);
        lapic::send_startup(cpu.apic_id(), (TRAMPOLINE_AT >> 12) as u8);
        if !cpu.await_arrival(STARTUP_MS) && FAILURE.lock().is_none() {
            // Older CPUs may miss the first one; the others ignore the second.
            lapic::send_startup(cpu.apic_id(), (TRAMPOLINE_AT >> 12) as u8);
            cpu.await_arrival(STARTUP_MS);
        }
    }
}

/// A CPU that has come back from the trampoline to where it was before its reset leaves the page tables and descriptors of there.
///
/// # Errors
/// Those of the init functions.
pub fn settle() -> Result<(), Failure> {
    let root = TABLES.load(Ordering::Relaxed);
    // SAFETY: the VMM's own tables, which map all that the others do but the trampoline.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
    descriptors::load();
    crate::boot::initialise(initfunc::Phase::Wakeup)
}

/// Where a CPU comes from the trampoline, on its own stack.
#[unsafe(naked)]
unsafe extern "sysv64" fn arrive(cpu: &'static Cpu) -> ! {
    core::arch::naked_asm!("mov rax, [rip + {tables}]", "mov cr3, rax", "call {live}", tables = sym TABLES, live = sym live)
}

extern "sysv64" fn live(cpu: &'static Cpu) -> ! {
    descriptors::load();
    let result = match LIFE.get() {
        Some(life) => crate::boot::initialise(initfunc::Phase::Pcpu).and_then(|()| life(cpu)),
        None => Err("a defect: it starts before it has something to do".into()),
    };
    if let Err(failure) = result {
        *FAILURE.lock() = Some(failure);
    }
    cpu.depart();
    halt()
}
