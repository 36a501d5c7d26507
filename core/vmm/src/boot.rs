//! From the loader to the guest's first instruction, one phase a line.

use crate::defect;
use crate::failure::{self, Failure};
use crate::loaded::{self, Loaded};
use crate::machine::{RealMachine, Shared};
use crate::vendor::{self, Amd, Intel, Vendor};
use crate::{devices, home, reset};
use alloc::format;
use alloc::vec;
use core::sync::atomic::AtomicU64;
use exit::{Cpu, Guest, Machine, Outcome, Policy, Vcpu};
use hw::HpaRange;
use hw::heap::Heap;
use initfunc::Phase;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Ranks of the locks that the only CPU holds.
static HELD: AtomicU64 = AtomicU64::new(0);

enum Never {}

/// Called by the start code with what the loader left in EAX and EBX.
#[unsafe(no_mangle)]
extern "sysv64" fn shoji_main(magic: u32, information: u32) -> ! {
    lock::set_held(|| &HELD);
    HEAP.init();
    hw::descriptors::set_fault_handler(defect::on_fault);
    match start(magic, information) {
        Ok(never) => match never {},
        Err(failure) => failure::stop(failure),
    }
}

fn start(magic: u32, information: u32) -> Result<Never, Failure> {
    initialise(Phase::Global)?;
    log::info!("Shoji {}", env!("CARGO_PKG_VERSION"));
    set_clock();
    initialise(Phase::Pcpu)?;
    let loaded = loaded::read(magic, information)?;
    initialise(Phase::Config0)?;
    refuse_several_cpus()?;
    if vendor::is_intel() { start_on::<Intel>(loaded) } else { start_on::<Amd>(loaded) }
}

/// The rest, monomorphised for the CPU's vendor.
fn start_on<V: Vendor>(loaded: Loaded) -> Result<Never, Failure> {
    let features = V::detect()?;
    log::info!("CPU: {features}");
    let vmm = home::settle(&loaded.info.memory_map, loaded.config.memory.reserve_mib)?;
    let apic_ids = vec![hw::cpu::initial_apic_id()];
    let shared = Shared::new(&loaded.info.memory_map, vmm, apic_ids).ok_or(NO_MEMORY)?;
    let mut machine = RealMachine::new(shared, 0);
    let mut guest = make_guest(&mut machine, V::policy(&features), &loaded)?;
    let mut vcpu = make_vcpu::<V>(&mut machine, &mut guest, &loaded, (shared, vmm), &features)?;
    drop(loaded);
    home::wipe_loaded_image();
    failure::never_boot_without_shoji();
    log::info!("the guest starts");
    run(&mut vcpu, &mut Cpu::new(&guest), &mut machine)
}

/// What answers the guest's exits: its bus with the guarded devices, and their ranges.
fn make_guest(machine: &mut RealMachine, policy: Policy, loaded: &Loaded) -> Result<Guest, Failure> {
    exit::init();
    let mut guest = Guest::new(machine, policy, loaded.config.debug.hypercalls);
    guest.bus.guard_platform(machine);
    if loaded.config.debug.defects {
        guest.allow_defects();
    }
    if loaded.config.log.serial {
        guest.bus.hide_com1(machine);
    }
    initialise(Phase::Driver)?;
    devices::attach(&mut guest, machine)?;
    devices::protect(&mut guest, machine, &loaded.config.disks)?;
    initialise(Phase::Config1)?;
    Ok(guest)
}

/// The virtual CPU, about to ask the BIOS for the boot sector.
fn make_vcpu<V: Vendor>(
    machine: &mut RealMachine,
    guest: &mut Guest,
    loaded: &Loaded,
    (shared, vmm): (&Shared, HpaRange),
    features: &V::Features,
) -> Result<V::Vcpu, Failure> {
    V::enable(features)?;
    let (map, without) = (&loaded.info.memory_map, vmm.start..vmm.end);
    let hypercall = V::policy(features).hypercall;
    let prepared =
        guest::prepare(machine.memory(), map, &without, loaded.drive, hypercall).map_err(|e| format!("{e}"))?;
    guest.set_firmware_call(prepared.call_at, prepared.handler);
    Ok(V::vcpu(features, vmm, shared.io_permissions(), prepared.segment).ok_or(NO_MEMORY)?)
}

const NO_MEMORY: &str = "the memory kept for Shoji does not suffice; raise `reserve` in [memory]";

/// Calls the init functions of a phase.
fn initialise(phase: Phase) -> Result<(), Failure> {
    initfunc::call(phase).map_err(|e| Failure(format!("{e}")))
}

fn set_clock() {
    // SAFETY: the port is the one that the firmware names for the timer.
    let frequency = hw::acpi::pm_timer_port().and_then(|port| unsafe { hw::time::calibrate(port) });
    match frequency {
        Some(hz) => log::info!("TSC {} MHz", hz / 1_000_000),
        None => log::warn!("no ACPI power management timer: time stamps count TSC ticks, not nanoseconds"),
    }
}

/// Only this CPU is guarded yet. The guest would start the others outside of the virtual machine, where nothing is
/// encrypted and nothing is out of its reach.
fn refuse_several_cpus() -> Result<(), Failure> {
    match hw::acpi::cpus().unwrap_or_else(hw::cpu::logical_processors) {
        cpus @ 2.. => Err(format!(
            "this machine has {cpus} CPUs, and Shoji can guard only one yet; switch the others off in the firmware setup"
        )
        .into()),
        _ => Ok(()),
    }
}

/// The exit loop.
fn run<V: Vcpu>(vcpu: &mut V, cpu: &mut Cpu<'_>, machine: &mut RealMachine) -> Result<Never, Failure> {
    loop {
        let exit = vcpu.run();
        match cpu.on_exit(vcpu, machine, exit) {
            Outcome::Resume | Outcome::Signal => {}
            Outcome::Reset => reset::machine(),
            Outcome::Stop => return Err("the guest cannot go on; the log tells why".into()),
        }
    }
}
