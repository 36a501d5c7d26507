//! CPUs that do everything at once. The hardware counts what must not reach it.

use super::bus::copy_work;
use super::mock::*;
use super::random::Random;
use crate::*;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::{Byte, Dword};
use mediator::pci::Place;
use mediator::{Access, ConfigAccess, Ctx, Gpa, Instant, Op, Verdict, Violation, Width, Work};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

const STEPS: usize = 4_000;
const TICK_NS: u64 = 1_000_000;
/// Far longer than it takes on a busy host; a deadlock lasts for ever.
const PATIENCE: Duration = Duration::from_secs(120);

const GUARDED: u32 = 0x8000_0900;
const FREE: u32 = 0x8000_1000;
const BAR4: u32 = 0x20;
/// A register of the guarded function that only its mediator reads.
const OWN: u16 = 0x40;
const STATUS: u16 = 0x1f7;
const BASES: [u16; 3] = [0xc000, 0xc008, 0xc010];

/// What all CPUs share.
#[derive(Default)]
pub(super) struct Hardware {
    config_address: u32,
    /// Where the bus master's registers are.
    bus_master: u16,
    /// The keyboard controller takes the next data for its output port.
    output_port: bool,
    /// Number of the last command.
    status: u8,
    wrong: Vec<String>,
}

impl Hardware {
    fn check(&mut self, right: bool, what: &str) {
        if !right {
            self.wrong.push(what.into());
        }
    }

    fn is_bus_master(&self, port: u16) -> bool {
        (self.bus_master..self.bus_master + 16).contains(&port)
    }

    fn read(&mut self, port: u16) -> u32 {
        self.check(!self.is_bus_master(port), "a bus master register is read past its mediator");
        match port {
            0xcf8 | 0xcfc => self.config_address,
            STATUS => self.status.into(),
            _ => 0,
        }
    }

    fn write(&mut self, port: u16, value: u32) {
        let opens_a20 = value & 2 != 0;
        self.check(!self.is_bus_master(port), "a bus master register is written past its mediator");
        match port {
            0x92 => self.check(opens_a20, "port 92h closes A20"),
            0x64 => {
                self.check(value != 0xdd && (value < 0xf0 || opens_a20), "a command closes A20");
                self.output_port = value == 0xd1;
            }
            0x60 => {
                self.check(!self.output_port || opens_a20, "the output port closes A20");
                self.output_port = false;
            }
            0xcf8 => self.config_address = value,
            0xcfc if self.config_address == GUARDED | BAR4 => self.bus_master = value as u16,
            0xcfc => self.check(self.config_address & !0xff != GUARDED, "a guarded function is written"),
            STATUS => self.status = value as u8,
            _ => {}
        }
    }
}

/// The machine as one CPU has it.
pub(super) struct SmpMachine<'r> {
    /// Held for reading by each CPU over an exit, and for writing by the one that has stopped the others.
    pub running: &'r RwLock<()>,
    pub exit: Option<RwLockReadGuard<'r, ()>>,
    /// How often others were stopped; and what each look at the clock adds to the time.
    pub stops: Arc<AtomicU64>,
    pub clock: Arc<AtomicU64>,
    /// Calls of `plan_anew`.
    pub plans: usize,
    ports: SmpPorts,
    device_memory: MockDeviceMemory,
    memory: MockMemory,
    arena: MockArena,
}

pub(super) struct SmpPorts(Arc<Mutex<Hardware>>);

impl SmpPorts {
    /// Another CPU may come first.
    fn hardware(&self) -> MutexGuard<'_, Hardware> {
        (0..100).for_each(|_| core::hint::spin_loop());
        thread::yield_now();
        self.0.lock().unwrap()
    }
}

impl Ports for SmpPorts {
    fn read(&mut self, port: u16, _: Width) -> u32 {
        self.hardware().read(port)
    }
    fn write(&mut self, port: u16, _: Width, value: u32) {
        self.hardware().write(port, value);
    }
    fn read_string(&mut self, _: u16, _: Width, _: &mut [u8]) {}
    fn write_string(&mut self, _: u16, _: Width, _: &[u8]) {}
}

impl Machine for SmpMachine<'_> {
    type Ports = SmpPorts;
    type DeviceMemory = MockDeviceMemory;
    type Memory = MockMemory;
    type Arena = MockArena;

    fn parts(&mut self) -> Parts<'_, Self> {
        let Self { ports, device_memory, memory, arena, .. } = self;
        Parts { ports, device_memory, memory, arena }
    }
    fn read_code<const N: usize>(&mut self, _: Gpa) -> Option<[u8; N]> {
        None
    }
    fn cpuid(&mut self, _: u32, _: u32) -> CpuidLeaf {
        CpuidLeaf::default()
    }
    fn read_msr(&mut self, _: u32) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64) -> Option<()> {
        None
    }
    fn set_port_intercept(&mut self, _: u16, _: u16, _: bool) {}
    fn tsc(&self) -> u64 {
        0
    }

    fn now(&self) -> Instant {
        Instant(self.clock.fetch_add(TICK_NS, SeqCst))
    }
    fn call_service(&mut self, service: u64, op: u64) -> [u64; 2] {
        [service, op]
    }

    fn take_interrupt(&mut self) -> Option<u8> {
        None
    }

    fn provoke_defect(&mut self, _: u64) {}
    fn try_deadlines(&mut self, _: u64) -> u64 {
        0
    }
    fn stop_others<R>(&mut self, then: impl FnOnce(&mut Self) -> R) -> R {
        self.exit = None;
        let stopped = self.running.write().unwrap();
        self.stops.fetch_add(1, SeqCst);
        let result = then(self);
        drop(stopped);
        self.exit = Some(self.running.read().unwrap());
        result
    }
    fn cpu_number(&self) -> usize {
        0
    }
    fn apic_ids(&self) -> &[u32] {
        &[0]
    }
    fn init_cpu(&mut self, _: usize) {}
    fn start_cpu(&mut self, _: usize, _: u8) {}
    fn plan_anew(&mut self) {
        self.plans += 1;
    }
    fn is_vmm_memory(&self, at: Gpa) -> bool {
        VMM.contains(&at.0)
    }
}

/// A guest on the hardware, with its mediator.
struct Rig {
    hardware: Arc<Mutex<Hardware>>,
    guest: Guest,
    /// Number of the last command whose work is done.
    done: Arc<AtomicU8>,
    /// The guest's own lock over its commands: number of the last one.
    commands: Mutex<u8>,
    running: RwLock<()>,
}

std::thread_local! {
    static HELD: &'static AtomicU64 = Box::leak(Box::default());
}

/// One thread at a time; another that comes in between is told to the hardware.
fn alone<R>(hardware: &Mutex<Hardware>, inside: &AtomicBool, call: impl FnOnce() -> R) -> R {
    let others = inside.swap(true, SeqCst);
    hardware.lock().unwrap().check(!others, "two CPUs in one mediator");
    thread::yield_now();
    let result = call();
    inside.store(false, SeqCst);
    result
}

fn script(hardware: &Arc<Mutex<Hardware>>, done: &Arc<AtomicU8>) -> Script {
    let inside = Arc::new(AtomicBool::new(false));
    let [h1, h2] = [(); 2].map(|()| Arc::clone(hardware));
    let [d1, d2] = [(); 2].map(|()| Arc::clone(done));
    let (i1, i2) = (Arc::clone(&inside), inside);
    // While a work is out the status is not the device's to tell.
    let passing = Arc::new(AtomicU8::new(0b001));
    let [p1, p2] = [(); 2].map(|()| Arc::clone(&passing));
    let on_access = Box::new(move |cx: &mut Ctx<'_>, access: Access| {
        alone(&h1, &i1, || match access {
            Access { region: COMMAND, offset: 7, op: Op::Write(number), .. } => {
                cx.device.write(COMMAND, 7, Byte, number);
                p1.store(0, SeqCst);
                cx.push(Work { tag: number as u32, ..copy_work(1) });
                Ok(Verdict::Done)
            }
            Access { region: COMMAND, offset: 7, .. } => Ok(Verdict::Value(d1.load(SeqCst).into())),
            Access { op: Op::Read, .. } => Ok(Verdict::Value(0x77)),
            _ => Ok(Verdict::Done),
        })
    });
    let on_work_done = Box::new(move |_: &mut Ctx<'_>, work: Work, _| {
        // Long enough for another CPU to look at the device meanwhile.
        (0..2_000).for_each(|_| core::hint::spin_loop());
        d2.store(work.tag as u8, SeqCst);
        p2.store(0b001, SeqCst);
    });
    let on_config = Box::new(move |cx: &mut Ctx<'_>, access: ConfigAccess| {
        alone(&h2, &i2, || {
            let own = cx.device.config_read(OWN, Dword);
            h2.lock().unwrap().check(own == GUARDED | u32::from(OWN), "the mediator's own access is torn");
            match access {
                ConfigAccess { offset: 0x20, op: Op::Write(base), .. } => {
                    let moved = cx.hooks.move_region(BUS_MASTER, Some(Place::Port(base as u16)));
                    moved.map(|()| Verdict::Passthrough).map_err(|_| Violation { what: "conflict", detail: base })
                }
                ConfigAccess { op: Op::Read, .. } => Ok(Verdict::Value(0)),
                _ => Ok(Verdict::Done),
            }
        })
    });
    Script { on_access, on_config, on_work_done, passing, ..Script::default() }
}

impl Rig {
    fn new() -> Self {
        lock::set_held(|| HELD.with(|held| *held));
        let hardware = Arc::new(Mutex::new(Hardware { bus_master: BASES[0], ..Hardware::default() }));
        let done = Arc::<AtomicU8>::default();
        let running = RwLock::new(());
        let mut machine = machine(&hardware, &running);
        let mut guest = Guest::new(&mut machine, policy(), false);
        guest.bus.guard_platform(&mut machine);
        set_next(script(&hardware, &done));
        guest.bus.attach(&mut machine, &DRIVER, &IDE).unwrap();
        Self { hardware, guest, done, commands: Mutex::new(0), running: RwLock::new(()) }
    }
}

pub(super) fn machine<'r>(hardware: &Arc<Mutex<Hardware>>, running: &'r RwLock<()>) -> SmpMachine<'r> {
    SmpMachine {
        running,
        exit: None,
        stops: Arc::default(),
        clock: Arc::default(),
        plans: 0,
        ports: SmpPorts(Arc::clone(hardware)),
        device_memory: MockDeviceMemory::default(),
        memory: MockMemory { bytes: alloc::vec![0; RAM_BYTES as usize], ..MockMemory::default() },
        arena: MockArena(alloc::vec![0; 64 << 10]),
    }
}

/// One CPU of the rig.
struct OneCpu<'r> {
    rig: &'r Rig,
    cpu: Cpu<'r>,
    machine: SmpMachine<'r>,
    random: Random,
}

impl OneCpu<'_> {
    fn read(&mut self, port: u16, width: Width) -> u64 {
        self.machine.exit = Some(self.rig.running.read().unwrap());
        let value = read_port(&mut self.cpu, &mut self.machine, port, width);
        self.machine.exit = None;
        value
    }

    fn write(&mut self, port: u16, width: Width, value: u64) {
        self.machine.exit = Some(self.rig.running.read().unwrap());
        write_port(&mut self.cpu, &mut self.machine, port, width, value);
        self.machine.exit = None;
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len() as u64) as usize]
    }
}

type Job = fn(&mut OneCpu<'_>);

/// Nobody keeps CF8 and CFC together.
fn configure(one: &mut OneCpu<'_>) {
    let address = one.any(&[GUARDED | 4, FREE, FREE | 8, GUARDED | 0x44]);
    one.write(0xcf8, Dword, address.into());
    if one.random.chance(8) {
        one.write(0xcfc, Dword, 5);
    } else {
        one.read(0xcfc, Dword);
    }
}

/// A region moves while others access where it was and will be.
fn move_bus_master(one: &mut OneCpu<'_>) {
    let port = BASES[0] + one.random.below(0x20) as u16;
    match one.random.below(3) {
        0 => {
            let base = one.any(&BASES);
            one.write(0xcf8, Dword, (GUARDED | BAR4).into());
            one.write(0xcfc, Dword, base.into());
        }
        1 => one.write(port, Byte, 1),
        _ => {
            one.read(port, Byte);
        }
    }
}

/// Whoever sees a command done finds its work done.
fn command_and_poll(one: &mut OneCpu<'_>) {
    if one.random.chance(4) {
        let mut number = one.rig.commands.lock().unwrap();
        *number = number.wrapping_add(1);
        one.write(STATUS, Byte, (*number).into());
        return;
    }
    let seen = one.read(STATUS, Byte) as u8;
    let behind = one.rig.done.load(SeqCst).wrapping_sub(seen) as i8;
    one.rig.hardware.lock().unwrap().check(behind >= 0, "a command looks done before its work is");
}

fn close_a20(one: &mut OneCpu<'_>) {
    let (port, value) =
        one.any(&[(0x92, 0), (0x92, 2), (0x64, 0xd1), (0x64, 0x20), (0x60, 1), (0x60, 0xdd), (0x64, 0xdd)]);
    one.write(port, Byte, value);
    one.read(port, Byte);
}

/// Each of `cpus` CPUs does one of the jobs after another.
fn hammer(cpus: usize, jobs: &'static [Job]) {
    let (end, ended) = channel();
    thread::spawn(move || {
        let rig = Rig::new();
        thread::scope(|scope| {
            for number in 0..cpus {
                let rig = &rig;
                scope.spawn(move || {
                    let (cpu, machine) = (Cpu::new(&rig.guest, number), machine(&rig.hardware, &rig.running));
                    let mut one = OneCpu { rig, cpu, machine, random: Random(0xace + number as u64) };
                    (0..STEPS).for_each(|_| one.any(jobs)(&mut one));
                });
            }
        });
        let wrong = core::mem::take(&mut rig.hardware.lock().unwrap().wrong);
        let _ = end.send(wrong);
    });
    // A thread that panics ends without a word.
    let wrong = ended.recv_timeout(PATIENCE).expect("a deadlock, or a CPU has panicked");
    assert_eq!(wrong.len(), 0, "{} times: {}", wrong.len(), wrong[0]);
}

#[test]
fn configuration_address_and_data_stay_together_whoever_writes_the_address_meanwhile() {
    hammer(2, &[configure]);
}

#[test]
fn a_region_on_the_move_is_guarded_at_both_places() {
    hammer(2, &[move_bus_master]);
}

#[test]
fn no_cpu_sees_a_command_done_before_its_work_is() {
    hammer(2, &[command_and_poll]);
}

#[test]
fn no_two_cpus_close_a20_together() {
    hammer(2, &[close_a20]);
}

#[test]
fn all_of_it_at_once_neither_tears_a_decision_nor_locks_up() {
    hammer(4, &[configure, move_bus_master, command_and_poll, close_a20]);
}

#[test]
fn each_cpu_counts_for_itself() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (cpu, machine) = (Cpu::new(&rig.guest, 0), machine(&rig.hardware, &rig.running));
                let mut one = OneCpu { rig: &rig, cpu, machine, random: Random(1) };
                for _ in 0..1000 {
                    one.read(0x92, Byte);
                }
                assert_eq!(one.cpu.counters.get(ExitKind::Port), 1000);
            });
        }
    });
    log_lines();
    rig.guest.log_counters();
    assert!(log_lines().contains(&format!("exits: port: {}", 2000)));
}
