//! The other CPUs: start, work for them, signs of life.
//! Intel SDM Vol. 3A (order number 325384) 9.4.4 (INIT-SIPI-SIPI).

use super::apic::{self, ASSERT, INIT, STARTUP, TO_OTHERS};
use super::area::{self, Area};
use super::cpu::{self, rdtsc};
use super::memory::peek;
use super::time::{Since, delay_ms};
use super::{exceptions, irq};
use crate::boot;
use core::arch::global_asm;
use core::ffi::c_void;
use core::hint::spin_loop;
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU64};

/// Wakes a CPU that has work. The highest class, so that nothing keeps it away.
pub const WAKE: u8 = 0xf0;
/// Nothing takes longer that ends at all; on Bochs a second is 50 million instructions.
const PATIENCE_MS: u32 = 60_000;

// An NMI, counted in the area that the interrupted stack is in.
global_asm!(
    ".section .text.smp, \"ax\"",
    ".code64",
    "count_nmi_entry:",
    "push rbx",
    "mov rbx, rsp",
    "and rbx, -0x10000",
    "lock inc dword ptr [rbx + {count}]",
    "pop rbx",
    "iretq",
    count = const core::mem::offset_of!(Area, interrupts) + 4 * 2,
);

unsafe extern "C" {
    fn count_nmi_entry();
    static cpu_start: c_void;
    static cpu_state: State;
    static cpu_starts: u32;
    static cpus_known: u32;
}

/// What a CPU found when it was started; see `start/cpus.s`.
#[repr(C, packed(2))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ebp: u32,
    pub esp: u32,
    pub data_segments: [u16; 5],
    pub cs: u16,
    pub cr0: u32,
    pub cr2: u32,
    pub cr3: u32,
    pub cr4: u32,
    pub dr6: u32,
    pub dr7: u32,
    pub gdt_limit: u16,
    pub gdt_base: u32,
    pub idt_limit: u16,
    pub idt_base: u32,
    pub eflags: u32,
    pub efer: u32,
}

/// The page that a startup IPI names to start a CPU here.
pub fn start_page() -> u32 {
    (&raw const cpu_start) as u32 >> 12
}

/// What the CPU found that was started last.
pub fn start_state() -> State {
    peek((&raw const cpu_state) as u64)
}

/// Times that a CPU has been started.
pub fn starts() -> u32 {
    peek((&raw const cpu_starts) as u64)
}

/// This CPU's number: 0 is the first.
pub fn number() -> usize {
    area::this().number as usize
}

/// Starts all other CPUs by broadcast, as an operating system does that does not know them; gives how many there are, this one
/// included.
pub fn start() -> usize {
    prepare();
    if boot::cpus() > 1 {
        apic::send(0, TO_OTHERS | INIT | ASSERT);
        delay_ms(10);
        for _ in 0..2 {
            apic::send(0, TO_OTHERS | STARTUP | start_page());
            delay_ms(1);
        }
    }
    await_cpus(boot::cpus());
    boot::cpus()
}

/// What this CPU needs before it starts others. From here on no interrupt comes from the PIC, so that interrupts can be on.
pub fn prepare() {
    irq::mask_all();
    exceptions::open_all_gates();
    (1..area::MOST).for_each(area::init);
    area::this().apic_id.store(cpu::cpuid(1).ebx >> 24, Relaxed);
    apic::enable();
}

/// Waits until so many CPUs are there, and then a little for one too many.
pub fn await_cpus(count: usize) {
    let known = || peek::<u32>((&raw const cpus_known) as u64) as usize;
    wait_until("the other CPUs start", || known() >= count);
    delay_ms(5);
    check_eq!(known(), count, "CPUs that have started");
    (1..count).for_each(|cpu| await_arrival(cpu, 0));
}

/// Times that a CPU has come to wait for work.
pub fn arrivals(cpu: usize) -> u32 {
    area::of(cpu).arrivals.load(Acquire)
}

/// Waits until a CPU has come once more than `before`.
pub fn await_arrival(cpu: usize, before: u32) {
    wait_until("a CPU starts", || arrivals(cpu) > before);
}

/// Sends INIT to a CPU, which forgets its work.
pub fn init(cpu: usize) {
    // QEMU keeps a startup IPI that its CPU has not taken yet over the INIT: the CPU may look for work once more.
    area::of(cpu).work.store(0, Release);
    apic::send(destination(cpu), INIT | ASSERT);
    delay_ms(10);
}

/// A CPU as destination of an IPI.
pub fn destination(cpu: usize) -> u32 {
    area::of(cpu).apic_id.load(Relaxed)
}

/// Starts a CPU anew.
pub fn restart(cpu: usize) {
    let before = arrivals(cpu);
    init(cpu);
    startup(cpu);
    await_arrival(cpu, before);
}

/// Sends the startup IPI to a CPU.
pub fn startup(cpu: usize) {
    apic::send(destination(cpu), STARTUP | start_page());
}

/// Waits for something that must come.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let mut since = Since::now();
    while !condition() {
        check!(since.ms() < PATIENCE_MS, "{what}: not in {PATIENCE_MS} ms");
        spin_loop();
    }
}

/// The start code ends here, in 64-bit mode, on the CPU's own stack.
#[unsafe(no_mangle)]
extern "C" fn cpu_main() -> ! {
    exceptions::init_other();
    let area = area::this();
    area.apic_id.store(cpu::cpuid(1).ebx >> 24, Relaxed);
    apic::follow();
    apic::enable();
    area.arrivals.fetch_add(1, Release);
    loop {
        work(area);
        // An IPI that comes between the look and HLT ends the HLT.
        cpu::wait_for_interrupt();
    }
}

fn work(area: &Area) {
    let code = area.work.load(Acquire);
    if code != 0 {
        // SAFETY: `beside` has put a reference there that lives until `work` is 0 again.
        unsafe { (*(code as *const &(dyn Fn() + Sync)))() };
        area.work.store(0, Release);
    }
}

/// Runs `theirs` on another CPU, and `ours` here meanwhile; waits for both.
pub fn beside<T>(cpu: usize, theirs: &(dyn Fn() + Sync), ours: impl FnOnce() -> T) -> T {
    give(cpu, &theirs);
    let result = ours();
    wait_until("a CPU has done its work", || area::of(cpu).work.load(Acquire) == 0);
    result
}

/// Runs `theirs` on another CPU, and `ours` here meanwhile; then starts the other one anew, whatever it is doing.
pub fn beside_forever<T>(cpu: usize, theirs: &(dyn Fn() + Sync), ours: impl FnOnce() -> T) -> T {
    give(cpu, &theirs);
    let result = ours();
    restart(cpu);
    result
}

fn give(cpu: usize, code: &&(dyn Fn() + Sync)) {
    let area = area::of(cpu);
    check!(arrivals(cpu) > 0 && area.work.load(Acquire) == 0, "CPU {cpu} has no time");
    area.work.store(core::ptr::from_ref(code) as u64, Release);
    apic::send(destination(cpu), u32::from(WAKE));
}

/// Runs code on another CPU and waits for its end.
pub fn on_cpu(cpu: usize, code: &(dyn Fn() + Sync)) {
    beside(cpu, code, || ());
}

/// Runs code on all CPUs at once.
pub fn on_all(code: &(dyn Fn() + Sync)) {
    on_others(code, code);
}

/// Runs `theirs` on all other CPUs at once, and `ours` here meanwhile; waits for all.
pub fn on_others<T>(theirs: &(dyn Fn() + Sync), ours: impl FnOnce() -> T) -> T {
    on_range(1..boot::cpus(), theirs, ours)
}

/// The same on some of the others.
pub fn on_range<T>(cpus: Range<usize>, theirs: &(dyn Fn() + Sync), ours: impl FnOnce() -> T) -> T {
    cpus.clone().for_each(|cpu| give(cpu, &theirs));
    let result = ours();
    for cpu in cpus {
        wait_until("a CPU has done its work", || area::of(cpu).work.load(Acquire) == 0);
    }
    result
}

/// Runs code while all CPUs count their NMIs, as interrupts of vector 2.
pub fn counting_nmis<T>(code: impl FnOnce() -> T) -> T {
    exceptions::with_entry(2, count_nmi_entry, code)
}

/// Interrupts of a vector that a CPU has taken.
pub fn interrupts(cpu: usize, vector: u8) -> u32 {
    area::of(cpu).interrupts[usize::from(vector)].load(Relaxed)
}

/// All CPUs that come here go on together.
pub struct Meeting(AtomicU64);

impl Meeting {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Waits for the `n`th time (from 1 on) that so many CPUs are here.
    pub fn meet(&self, n: u64, cpus: u64) {
        self.0.fetch_add(1, Release);
        while self.0.load(Acquire) < n * cpus {
            spin_loop();
        }
    }
}

/// How a CPU has lived while others did something.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub rounds: u64,
    /// Time stamp ticks from its first round to its last.
    pub ticks: u64,
    /// The longest time without a round.
    pub longest_gap: u64,
}

/// Counts rounds on another CPU while code runs here.
pub fn watched_by<T>(cpu: usize, code: impl FnOnce() -> T) -> (T, Life) {
    let stop = AtomicBool::new(false);
    let [rounds, ticks, longest] = [const { AtomicU64::new(0) }; 3];
    let live = || {
        let start = rdtsc();
        let (mut last, mut count, mut gap) = (start, 0, 0);
        while !stop.load(Relaxed) {
            let now = rdtsc();
            gap = gap.max(now.wrapping_sub(last));
            last = now;
            count += 1;
            spin_loop();
        }
        rounds.store(count, Relaxed);
        ticks.store(last - start, Relaxed);
        longest.store(gap, Relaxed);
    };
    let result = beside(cpu, &live, || {
        let result = code();
        stop.store(true, Relaxed);
        result
    });
    let life = Life { rounds: rounds.load(Relaxed), ticks: ticks.load(Relaxed), longest_gap: longest.load(Relaxed) };
    (result, life)
}
