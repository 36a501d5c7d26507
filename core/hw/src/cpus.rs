//! The CPUs of the machine: an area of memory for each, and how they reach each other.
//!
//! FS and GS are the guest's whenever the VMM runs, so a CPU knows itself by its stack: each has an area, aligned to its size,
//! with its [`Cpu`] at the bottom and its stack at the top.

use crate::alarm::Alarm;
use crate::apic_timer::Lent;
use crate::descriptors::Tables as DescriptorTables;
use crate::interrupts::Noted;
use crate::nmi::NmiState;
use crate::paging::{KIB_4, Tables};
use crate::{Hpa, frames, lapic, time};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use spin::Once;
use x86_64::structures::paging::PageTableFlags as Flags;

/// What one CPU's area takes of the address space; of the memory all but the two guard pages.
pub const AREA_BYTES: u64 = 128 << 10;
/// PML4 entry 257, behind the direct map.
const AREAS: u64 = 0xffff_8080_0000_0000;

// Offsets into an area. The pages in between are unmapped.
const CPU_END: u64 = KIB_4;
const FAULT_STACK: Range<u64> = 2 * KIB_4..4 * KIB_4;
const STACK: Range<u64> = 5 * KIB_4..AREA_BYTES;

/// What is kept of one CPU.
#[repr(C, align(4096))]
pub struct Cpu {
    number: usize,
    apic_id: u32,
    /// The VMM runs on it, and it answers kicks.
    here: AtomicBool,
    /// See [`request`].
    request: AtomicU32,
    /// An NMI was sent by [`Cpu::kick`].
    kicked: AtomicBool,
    /// It waits in the host and holds no lock.
    stands: AtomicBool,
    pub nmi: NmiState,
    /// Ranks of the locks that it holds.
    pub held_locks: AtomicU64,
    /// See [`Cpu::extension_area`] and [`Cpu::switch_area`].
    extension_area: AtomicU64,
    switch_area: AtomicU64,
    pub(crate) alarm: Alarm,
    /// See [`Cpu::set_return_point`].
    return_point: [AtomicU64; 2],
    pub(crate) interrupts: Noted,
    pub(crate) timer: Lent,
    pub(crate) descriptors: DescriptorTables,
}
const _: () = assert!(size_of::<Cpu>() as u64 <= CPU_END);

/// What the guest's INIT and startup IPIs want of a CPU.
mod request {
    /// Nothing: it runs the guest.
    pub const NONE: u32 = 0;
    /// An INIT has come: it is to wait for a startup IPI.
    pub const WAIT: u32 = 1;
    /// The startup IPI has come; the low byte is its page.
    pub const START: u32 = 0x100;
}

/// What all CPUs but one are to do.
mod order {
    pub const GO: u32 = 0;
    /// Stand still until the order changes.
    pub const STAND: u32 = 1;
    /// Leave the VMM, before there is a guest.
    pub const LEAVE: u32 = 2;
    /// Stand still for good.
    pub const HALT: u32 = 3;
}
static ORDER: AtomicU32 = AtomicU32::new(order::GO);

static CPUS: Once<Vec<&'static Cpu>> = Once::new();

static SILENCE_HANDLER: Once<fn(cpu: usize) -> !> = Once::new();

/// `handler` is called with the number of a CPU that does not come when it is to stand still.
pub fn set_silence_handler(handler: fn(cpu: usize) -> !) {
    SILENCE_HANDLER.call_once(|| handler);
}

/// How long a CPU is waited for; the longest exit takes some milliseconds.
const PATIENCE_MS: u64 = 5000;

/// Makes the areas of the CPUs with these local APICs, in the page tables at `root`. The first is the one that runs. `None` when
/// the frames do not suffice.
pub fn add_all(apic_ids: impl IntoIterator<Item = u32>, root: Hpa) -> Option<()> {
    let mut tables = Tables::of(root);
    let cpus = apic_ids.into_iter().enumerate().map(|(number, apic_id)| add(&mut tables, number, apic_id));
    let cpus = cpus.collect::<Option<Vec<_>>>()?;
    CPUS.call_once(|| cpus);
    Some(())
}

fn add(tables: &mut Tables, number: usize, apic_id: u32) -> Option<&'static Cpu> {
    let area = AREAS + number as u64 * AREA_BYTES;
    let flags = Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE;
    for range in [0..CPU_END, FAULT_STACK, STACK] {
        for offset in range.step_by(KIB_4 as usize) {
            tables.map(area + offset, frames::alloc(1)?.0, KIB_4, flags)?;
        }
    }
    let cpu = area as *mut Cpu;
    let waits = if number == 0 { request::NONE } else { request::WAIT };
    let new = Cpu {
        number,
        apic_id,
        here: AtomicBool::new(false),
        request: AtomicU32::new(waits),
        kicked: AtomicBool::new(false),
        stands: AtomicBool::new(false),
        nmi: NmiState::new(),
        held_locks: AtomicU64::new(0),
        extension_area: AtomicU64::new(0),
        switch_area: AtomicU64::new(0),
        alarm: Alarm::new(),
        return_point: [const { AtomicU64::new(0) }; 2],
        interrupts: Noted::new(),
        timer: Lent::new(),
        descriptors: DescriptorTables::new(area + FAULT_STACK.end),
    };
    // SAFETY: just mapped, as large, and nobody else's; it stays so for good.
    unsafe {
        cpu.write(new);
        Some(&*cpu)
    }
}

/// All CPUs by their numbers; none before [`add_all`].
pub fn all() -> &'static [&'static Cpu] {
    CPUS.get().map_or(&[], Vec::as_slice)
}

/// The CPU that runs this, once it runs on its area's stack.
#[inline(always)]
pub fn this() -> &'static Cpu {
    debug_assert!(here().is_some(), "not on a CPU's own stack");
    // SAFETY: the stack pointer lies inside of the area, whose lowest page is the CPU's.
    unsafe { &*((stack_pointer() & !(AREA_BYTES - 1)) as *const Cpu) }
}

/// As [`this`]; `None` before this CPU has an area.
pub fn here() -> Option<&'static Cpu> {
    all().get((stack_pointer().checked_sub(AREAS)? / AREA_BYTES) as usize).copied()
}

#[inline(always)]
fn stack_pointer() -> u64 {
    let rsp;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags)) };
    rsp
}

impl Cpu {
    /// 0 is the one that the firmware has started.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Of its local APIC, when the machine was switched on.
    pub fn apic_id(&self) -> u32 {
        self.apic_id
    }

    fn area(&self) -> u64 {
        core::ptr::from_ref(self) as u64
    }

    /// A frame that the CPU's virtualization extension has for itself (VM_HSAVE_PA, the VMXON region): always the same one,
    /// zeroed when it is first asked for. `None`: no frame is left.
    pub fn extension_area(&self) -> Option<Hpa> {
        frame_of(&self.extension_area)
    }

    /// A further one, for what the extension leaves in the CPU's registers while a program runs in ring 3.
    pub fn switch_area(&self) -> Option<Hpa> {
        frame_of(&self.switch_area)
    }

    /// Linear addresses of its stack.
    pub fn stack(&self) -> Range<u64> {
        self.area() + STACK.start..self.area() + STACK.end
    }

    /// Zeroes what finished functions have left of its stack, which this CPU runs on.
    pub fn wipe_unused_stack(&self) {
        let start = self.stack().start;
        // SAFETY: below the stack pointer nothing is in use; an NMI that comes meanwhile has gone again when this goes on.
        unsafe {
            core::arch::asm!(
                "mov rcx, rsp",
                "sub rcx, rdi",
                "rep stosb",
                inout("rdi") start => _,
                in("al") 0_u8,
                out("rcx") _,
            );
        }
    }

    /// The VMM runs on it from now on.
    pub fn arrive(&self) {
        self.here.store(true, SeqCst);
    }

    /// Waits some time for [`Cpu::arrive`]; tells whether it came.
    pub fn await_arrival(&self, patience_ms: u64) -> bool {
        wait_until(patience_ms, || self.here.load(SeqCst))
    }

    /// It was reset: it is to be started again.
    pub fn depart(&self) {
        self.here.store(false, SeqCst);
        self.stands.store(false, SeqCst);
        self.kicked.store(false, SeqCst);
        self.request.store(if self.number == 0 { request::NONE } else { request::WAIT }, SeqCst);
    }

    /// Where it goes on, on the stack at `stack`, if it is reset while it waits for others.
    pub fn set_return_point(&self, stack: u64, entry: u64) {
        let [stack_slot, entry_slot] = &self.return_point;
        stack_slot.store(stack, SeqCst);
        entry_slot.store(entry, SeqCst);
    }

    /// It waits no more.
    pub fn clear_return_point(&self) {
        self.set_return_point(0, 0);
    }

    /// Stack and entry. `None`: it does not wait, or never has, and starts from nothing.
    pub fn return_point(&self) -> Option<(u64, u64)> {
        let [stack, entry] = &self.return_point;
        Some((stack.load(SeqCst), entry.load(SeqCst))).filter(|&(_, entry)| entry != 0)
    }

    /// The running CPU was reset: an NMI that was on its way is lost.
    pub fn forget_kicks(&self) {
        self.kicked.store(false, SeqCst);
    }

    /// Gets it out of the guest soon, by an NMI; what it is to do then must be told before. While one is on its way no further one
    /// is sent: it would be taken for the guest's.
    pub fn kick(&self) {
        if self.here.load(SeqCst) && !self.kicked.swap(true, SeqCst) {
            lapic::send_nmi(self.apic_id);
        }
    }

    /// For NMI handlers: was this NMI a kick? One that falls together with the guest's own hides it.
    pub fn take_kick(&self) -> bool {
        self.kicked.swap(false, SeqCst)
    }

    /// The guest has sent it an INIT.
    pub fn init(&self) {
        self.request.store(request::WAIT, SeqCst);
        self.kick();
    }

    /// The guest has sent it a startup IPI, for the page with this number. Without an INIT before nothing happens.
    pub fn start(&self, page: u8) {
        let start = request::START | u32::from(page);
        if self.request.compare_exchange(request::WAIT, start, SeqCst, SeqCst).is_ok() {
            self.kick();
        }
    }

    /// Do others want something of this CPU?
    pub fn is_asked(&self) -> bool {
        self.request.load(SeqCst) != request::NONE || ORDER.load(SeqCst) != order::GO
    }

    /// After a kick, on this CPU, without a lock: does what the others want of it. A page: the guest starts anew there.
    pub fn serve(&self) -> Option<u8> {
        self.stand_while_ordered();
        if self.request.load(SeqCst) == request::NONE { None } else { self.wait_for_start() }
    }

    /// Waits in the host for the startup IPI that follows an INIT; gives the number of its page. `None`: the VMM is to be left.
    ///
    /// NMIs must be able to reach the CPU: they wake it.
    pub fn wait_for_start(&self) -> Option<u8> {
        self.stands.store(true, SeqCst);
        let page = loop {
            match ORDER.load(SeqCst) {
                order::LEAVE => return None,
                order::HALT => halt(),
                _ => {}
            }
            let request = self.request.load(SeqCst);
            let started = request & request::START != 0;
            if started && self.request.compare_exchange(request, request::NONE, SeqCst, SeqCst).is_ok() {
                break request as u8;
            }
            halt_while(&self.request, request::WAIT);
        };
        self.stands.store(false, SeqCst);
        self.stand_while_ordered();
        Some(page)
    }

    fn stand_while_ordered(&self) {
        while ORDER.load(SeqCst) != order::GO {
            self.stands.store(true, SeqCst);
            if ORDER.load(SeqCst) == order::HALT {
                halt();
            }
            core::hint::spin_loop();
            self.stands.store(false, SeqCst);
        }
    }
}

/// Runs `action` while all other CPUs stand still in the host: none is in the guest, none holds a lock. The caller holds none
/// either.
///
/// One that does not come may be anywhere: then the handler of [`set_silence_handler`] ends it all. Where the guest can keep a CPU
/// from its exits (SMM, a stalled device), it has done that to itself.
pub fn while_others_stand<R>(action: impl FnOnce() -> R) -> R {
    let Some(this) = here() else { return action() };
    while ORDER.compare_exchange(order::GO, order::STAND, SeqCst, SeqCst).is_err() {
        this.stand_while_ordered();
    }
    for cpu in others(this) {
        cpu.kick();
        if !wait_until(PATIENCE_MS, || cpu.stands.load(SeqCst)) {
            match SILENCE_HANDLER.get() {
                Some(handler) => handler(cpu.number),
                None => halt(),
            }
        }
    }
    let result = action();
    if ORDER.compare_exchange(order::STAND, order::GO, SeqCst, SeqCst).is_err() {
        // Another CPU stops them all for good, this one among them.
        this.stand_while_ordered();
    }
    result
}

/// The other CPUs stand still for good, as soon as they can; those that cannot are not waited for long.
pub fn halt_others() {
    const PATIENCE_MS: u64 = 50;
    ORDER.store(order::HALT, SeqCst);
    let Some(this) = here() else { return };
    others(this).for_each(Cpu::kick);
    others(this).for_each(|cpu| {
        wait_until(PATIENCE_MS, || cpu.stands.load(Relaxed));
    });
}

/// Before there is a guest: the other CPUs leave the VMM, and are as the firmware has left them.
///
/// # Safety
/// No guest has run, and none of them runs anything but [`Cpu::wait_for_start`].
pub unsafe fn dismiss_others() {
    ORDER.store(order::LEAVE, SeqCst);
    let Some(this) = here() else { return };
    for cpu in others(this) {
        cpu.kick();
        wait_until(PATIENCE_MS, || !cpu.here.load(SeqCst));
        // SAFETY: the caller's promise.
        unsafe { lapic::send_init(cpu.apic_id) };
    }
}

/// The frame that is noted there; only its own CPU does so.
fn frame_of(slot: &AtomicU64) -> Option<Hpa> {
    if slot.load(Relaxed) == 0 {
        slot.store(frames::alloc(1)?.0, Relaxed);
    }
    Some(Hpa(slot.load(Relaxed)))
}

/// Those on which the VMM runs.
fn others(this: &Cpu) -> impl Iterator<Item = &'static Cpu> {
    let number = this.number;
    all().iter().copied().filter(move |cpu| cpu.number != number && cpu.here.load(SeqCst))
}

fn wait_until(patience_ms: u64, mut condition: impl FnMut() -> bool) -> bool {
    let start = time::now().0;
    loop {
        if condition() {
            return true;
        }
        if time::now().0.saturating_sub(start) > patience_ms * 1_000_000 {
            return false;
        }
        core::hint::spin_loop();
    }
}

fn halt() -> ! {
    loop {
        x86_64::instructions::hlt();
    }
}

/// HLT, unless the word has another value; any NMI ends it, also one that comes between look and HLT.
#[unsafe(naked)]
extern "sysv64" fn halt_while(word: &AtomicU32, value: u32) {
    core::arch::naked_asm!(
        ".global cpus_halt_end",
        "cmp [rdi], esi",
        "jne cpus_halt_end",
        "hlt",
        "cpus_halt_end:",
        "ret",
    );
}

/// HLT with interrupts let in, unless the word is not 0; interrupts and NMIs end it, also those that come between look and HLT.
#[unsafe(naked)]
pub extern "sysv64" fn halt_for_interrupts(word: &AtomicU32) {
    core::arch::naked_asm!(
        ".global cpus_idle_end",
        "cmp dword ptr [rdi], 0",
        "jne cpus_idle_end",
        // Holds interrupts off for one more instruction.
        "sti",
        "hlt",
        "cpus_idle_end:",
        "cli",
        "ret",
    );
}

/// Where an NMI that has interrupted the code at `rip` returns to, if not there.
pub(crate) fn nmi_return(rip: u64) -> Option<u64> {
    unsafe extern "C" {
        static cpus_halt_end: [u8; 0];
        static cpus_idle_end: [u8; 0];
    }
    [
        (halt_while as *const () as u64, &raw const cpus_halt_end as u64),
        (halt_for_interrupts as *const () as u64, &raw const cpus_idle_end as u64),
    ]
    .into_iter()
    .find_map(|(start, end)| (start..end).contains(&rip).then_some(end))
}

/// Calls `function` on `cpu`'s own stack, and comes back.
///
/// # Safety
/// The running CPU is `cpu`, and its stack is not in use.
pub unsafe fn on_own_stack<F: FnOnce() -> R, R>(cpu: &'static Cpu, function: F) -> R {
    extern "sysv64" fn perform<F: FnOnce() -> R, R>(call: &mut (Option<F>, Option<R>)) {
        call.1 = call.0.take().map(|function| function());
    }
    let mut call = (Some(function), None);
    let entry: extern "sysv64" fn(&mut (Option<F>, Option<R>)) = perform::<F, R>;
    // SAFETY: the caller's promise; `perform` is called once, with what it takes, and `call` is not touched meanwhile.
    unsafe { switch_stack(&raw mut call as u64, cpu.stack().end, entry as usize as u64) };
    match call.1 {
        Some(result) => result,
        None => unreachable!("a function that comes back has a result"),
    }
}

/// Calls `entry(argument)` with RSP at `stack`.
#[unsafe(naked)]
unsafe extern "sysv64" fn switch_stack(argument: u64, stack: u64, entry: u64) {
    core::arch::naked_asm!("push rbx", "mov rbx, rsp", "mov rsp, rsi", "call rdx", "mov rsp, rbx", "pop rbx", "ret")
}
