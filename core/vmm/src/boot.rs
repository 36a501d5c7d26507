//! From the loader to the guest's first instruction, one phase a line.

use crate::failure::{self, Failure};
use crate::loaded::{self, Loaded};
use crate::machine::RealMachine;
use crate::{devices, home, reset};
use alloc::format;
use exit::{Guest, MSR_INTERCEPTS, Machine, Outcome, Vcpu};
use hw::heap::Heap;
use initfunc::Phase;
use svm::{Nested, Setup, SvmVcpu};

#[global_allocator]
static HEAP: Heap = Heap::new();

enum Never {}

/// Called by the start code with what the loader left in EAX and EBX.
#[unsafe(no_mangle)]
extern "sysv64" fn shoji_main(magic: u32, information: u32) -> ! {
    HEAP.init();
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
    let Loaded { info, config, drive } = loaded::read(magic, information)?;
    refuse_several_cpus()?;
    svm::detect().map_err(|e| format!("{e}"))?;
    let vmm = home::settle(&info.memory_map, config.memory.reserve_mib)?;
    let features = svm::enable().map_err(|e| format!("{e}"))?;
    log::info!("AMD-V {features:?}");
    let mut machine = RealMachine::new(&info.memory_map, vmm).ok_or(NO_MEMORY)?;
    exit::init();
    let mut guest = Guest::new(&mut machine, config.debug.hypercalls);
    guest.bus.guard_platform(&mut machine);
    if config.log.serial {
        guest.bus.hide_com1(&mut machine);
    }
    initialise(Phase::Driver)?;
    devices::attach(&mut guest, &mut machine)?;
    devices::protect(&mut guest, &mut machine, &config.disks)?;
    initialise(Phase::Config1)?;
    let nested = Nested::new(vmm, features.gib_pages).ok_or(NO_MEMORY)?;
    let setup = Setup {
        nested,
        io_permissions: machine.io_permissions(),
        msr_intercepts: MSR_INTERCEPTS,
        next_rip_save: features.next_rip_save,
    };
    let prepared =
        guest::prepare(machine.memory(), &info.memory_map, &(vmm.start..vmm.end), drive).map_err(|e| format!("{e}"))?;
    guest.set_firmware_call(prepared.call_at, prepared.handler);
    let mut vcpu = SvmVcpu::new(setup, prepared.segment).ok_or(NO_MEMORY)?;
    drop(config);
    home::wipe_loaded_image();
    failure::never_boot_without_shoji();
    log::info!("the guest starts");
    run(&mut vcpu, &mut guest, &mut machine)
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
    match hw::acpi::cpus() {
        Some(cpus @ 2..) => Err(format!(
            "this machine has {cpus} CPUs, and Shoji can guard only one yet; switch the others off in the firmware setup"
        )
        .into()),
        _ => Ok(()),
    }
}

/// The exit loop, monomorphised for the vendor.
fn run<V: Vcpu>(vcpu: &mut V, guest: &mut Guest, machine: &mut RealMachine) -> Result<Never, Failure> {
    loop {
        let exit = vcpu.run();
        match guest.on_exit(vcpu, machine, exit) {
            Outcome::Resume => {}
            Outcome::Reset => reset::machine(),
            Outcome::Stop => return Err("the guest cannot go on; the log tells why".into()),
        }
    }
}
