//! Interrupts that leave the guest for the sake of a controller whose guest looks at memory alone.

use super::bus::copy_work;
use super::mock::*;
use super::random::Random;
use super::smp;
use crate::*;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::Byte;
use mediator::{Access, Ctx, Verdict, Width};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, RwLock};
use std::thread;

const INTERRUPT: Exit = Exit::Answered(ExitKind::ExternalInterrupt);
const DOORBELL: u16 = 0x1f6;

/// A guest with such a controller, whose wish is told by the flag; and how often its mediator was told of interrupts.
fn guest() -> (MockMachine, Cpu<'static>, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (wants, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&told);
    let on_interrupt = Box::new(move |cx: &mut Ctx<'_>| {
        count.fetch_add(1, SeqCst);
        cx.push(copy_work(1));
    });
    let mut machine = MockMachine::new();
    machine.now_step_ns = 1_000_000;
    machine.arena.0[0x100..0x104].copy_from_slice(b"data");
    let script = Script { wants: Some(Arc::clone(&wants)), on_interrupt, ..Script::default() };
    let mut cpu = cpu_with(&mut machine, script);
    // As if it had been calm for long.
    machine.now_ns.set(1 << 40);
    cpu.recall(Recall::NONE);
    interrupt(&mut machine, &mut cpu);
    machine.plans = 0;
    assert_eq!(cpu.recall(Recall::NONE), Recall::NONE);
    (machine, cpu, wants, told)
}

fn interrupt(machine: &mut MockMachine, cpu: &mut Cpu<'_>) {
    assert_eq!(cpu.on_exit(&mut MockVcpu::long(), machine, INTERRUPT), Outcome::Resume);
}

fn is_watched(cpu: &mut Cpu<'_>) -> bool {
    cpu.recall(Recall::NONE).at_interrupt
}

#[test]
fn the_first_access_stops_the_others_and_the_next_ones_do_not() {
    let (mut machine, mut cpu, wants, _) = guest();
    wants.store(true, SeqCst);
    for _ in 0..100 {
        write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
        assert_eq!(machine.stops, 1);
        assert!(is_watched(&mut cpu));
    }
}

#[test]
fn before_the_guest_gets_an_interrupt_the_mediator_is_told_and_its_work_is_done() {
    let (mut machine, mut cpu, wants, told) = guest();
    write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
    is_watched(&mut cpu);
    interrupt(&mut machine, &mut cpu);
    assert_eq!(told.load(SeqCst), 0, "it wants nothing");
    wants.store(true, SeqCst);
    interrupt(&mut machine, &mut cpu);
    assert_eq!(told.load(SeqCst), 1);
    assert_eq!(machine.memory.bytes[0x2000..0x2004], *b"data");
    // Interrupts may have been taken together with others' wishes.
    for exit in [Exit::Answered(ExitKind::Recall), Exit::Signal] {
        cpu.on_exit(&mut MockVcpu::long(), &mut machine, exit);
    }
    assert_eq!(told.load(SeqCst), 3);
}

#[test]
fn the_watch_lasts_as_long_as_it_is_wanted_and_a_while_longer() {
    let (mut machine, mut cpu, wants, _) = guest();
    wants.store(true, SeqCst);
    write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
    assert!(is_watched(&mut cpu));
    machine.now_ns.set(machine.now_ns.get() + (1 << 40));
    interrupt(&mut machine, &mut cpu);
    wants.store(false, SeqCst);
    machine.now_ns.set(machine.now_ns.get() + 15_000_000);
    interrupt(&mut machine, &mut cpu);
    assert!(is_watched(&mut cpu), "the next request may be near");
    machine.now_ns.set(machine.now_ns.get() + 10_000_000);
    assert_eq!(machine.plans, 0);
    interrupt(&mut machine, &mut cpu);
    assert_eq!(machine.plans, 1, "the recall is to be asked for again");
    assert!(!is_watched(&mut cpu));
    write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
    assert_eq!(machine.stops, 2);
    assert!(is_watched(&mut cpu));
}

#[test]
fn a_cpu_that_watches_for_nobody_any_more_ceases_at_its_next_interrupt() {
    let (mut machine, mut cpu, _, _) = guest();
    let mut other = Cpu::new(cpu.guest, 1);
    write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
    assert!(is_watched(&mut cpu) && is_watched(&mut other));
    machine.now_ns.set(machine.now_ns.get() + (1 << 40));
    interrupt(&mut machine, &mut cpu);
    machine.plans = 0;
    interrupt(&mut machine, &mut other);
    assert_eq!(machine.plans, 1);
    assert!(!is_watched(&mut other));
}

#[test]
fn the_vmms_own_wishes_are_kept() {
    let (mut machine, mut cpu, _, _) = guest();
    let own = Recall { at_interrupt: true, at_tsc: Some(5) };
    assert_eq!(cpu.recall(own), own);
    let timed = Recall { at_interrupt: false, at_tsc: Some(5) };
    assert_eq!(cpu.recall(timed), timed);
    write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
    assert_eq!(cpu.recall(timed), own);
}

#[test]
fn a_controller_with_registers_to_be_read_watches_nothing() {
    let mut machine = MockMachine::new();
    let mut cpu = cpu_with(&mut machine, Script::default());
    write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
    assert_eq!(machine.stops, 0);
    assert!(!is_watched(&mut cpu));
}

#[test]
fn what_is_written_to_configuration_space_needs_no_second_stop() {
    let (mut machine, mut cpu, _, _) = guest();
    write_port(&mut cpu, &mut machine, 0xcf8, Width::Dword, 0x8000_0904);
    write_port(&mut cpu, &mut machine, 0xcfc, Width::Dword, 0);
    assert_eq!(machine.stops, 1);
    assert!(is_watched(&mut cpu));
}

/// The device: numbers of commands.
#[derive(Default)]
struct Device {
    started: u64,
    completed: u64,
    /// To the guest.
    published: u64,
}

/// What CPUs and device share.
struct Shared {
    device: Mutex<Device>,
    /// By CPU: an interrupt is pending, of so many completed commands.
    pending: Vec<AtomicU64>,
    lost: AtomicUsize,
    /// Of all CPUs; there are calm times.
    steps: AtomicU64,
    /// Taken by a CPU that did not watch.
    native: AtomicUsize,
}

const CPUS: usize = 3;
const STEPS: usize = 6_000;

fn script(shared: &Arc<Shared>) -> Script {
    let wants = Arc::new(AtomicBool::new(false));
    let (w1, w2) = (Arc::clone(&wants), Arc::clone(&wants));
    let (s1, s2) = (Arc::clone(shared), Arc::clone(shared));
    let on_access = Box::new(move |_: &mut Ctx<'_>, _: Access| {
        s1.device.lock().unwrap().started += 1;
        w1.store(true, SeqCst);
        Ok(Verdict::Done)
    });
    let on_interrupt = Box::new(move |_: &mut Ctx<'_>| {
        let mut device = s2.device.lock().unwrap();
        device.published = device.completed;
        w2.store(device.published < device.started, SeqCst);
    });
    Script { on_access, on_interrupt, wants: Some(wants), ..Script::default() }
}

/// One CPU: now and then it rings, now and then the device gets on, and it takes its interrupts in the guest, or by an exit first.
fn live(guest: &Guest, number: usize, shared: &Shared, mut machine: smp::SmpMachine<'_>) {
    let (mut cpu, mut random) = (Cpu::new(guest, number), Random(0xbe11 + number as u64));
    let mut stops = u64::MAX;
    let mut watches = false;
    for _ in 0..STEPS {
        // As long as this is held no other CPU finds this one standing: it is in the guest, or in an exit.
        machine.exit = Some(machine.running.read().unwrap());
        if core::mem::take(&mut machine.plans) > 0 || stops != machine.stops.load(SeqCst) {
            stops = machine.stops.load(SeqCst);
            watches = cpu.recall(Recall::NONE).at_interrupt;
        }
        let completed = shared.pending[number].swap(0, SeqCst);
        if completed > 0 {
            if watches {
                cpu.on_exit(&mut MockVcpu::long(), &mut machine, INTERRUPT);
            } else {
                shared.native.fetch_add(1, SeqCst);
            }
            if shared.device.lock().unwrap().published < completed {
                shared.lost.fetch_add(1, SeqCst);
            }
        } else if shared.steps.fetch_add(1, SeqCst) % 1500 < 300 && random.chance(1) {
            write_port(&mut cpu, &mut machine, DOORBELL, Byte, 1);
        } else if random.chance(4) {
            let mut device = shared.device.lock().unwrap();
            // An interrupt of some other device, or one of this one.
            device.completed = (device.completed + random.below(2)).min(device.started);
            shared.pending[random.below(CPUS as u64) as usize].store(device.completed, SeqCst);
        }
        machine.exit = None;
        thread::yield_now();
    }
}

#[test]
fn no_completion_is_announced_before_it_is_published_however_interrupts_fall() {
    let pending = (0..CPUS).map(|_| AtomicU64::new(0)).collect();
    let (lost, native) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (device, steps) = (Mutex::default(), AtomicU64::new(0));
    let shared = Arc::new(Shared { device, pending, lost, steps, native });
    let running = RwLock::new(());
    let new_machine = || smp::machine(&Arc::default(), &running);
    let mut first = new_machine();
    let mut guest = Guest::new(&mut first, policy(), false);
    set_next(script(&shared));
    guest.bus.attach(&mut first, &DRIVER, &IDE).unwrap();
    let (stops, clock) = (Arc::clone(&first.stops), Arc::clone(&first.clock));
    thread::scope(|scope| {
        for number in 0..CPUS {
            let (guest, shared, stops, clock, new_machine) = (&guest, &shared, &stops, &clock, &new_machine);
            scope.spawn(move || {
                let (stops, clock) = (Arc::clone(stops), Arc::clone(clock));
                let mut machine = new_machine();
                (machine.stops, machine.clock) = (stops, clock);
                live(guest, number, shared, machine);
            });
        }
    });
    let device = shared.device.lock().unwrap();
    assert_eq!(shared.lost.load(SeqCst), 0, "of {} commands", device.started);
    let tried = (device.published, stops.load(SeqCst), shared.native.load(SeqCst));
    assert!(tried.0 > 50 && tried.1 > 5 && tried.2 > 20, "published, stopped, native: {tried:?}");
}
