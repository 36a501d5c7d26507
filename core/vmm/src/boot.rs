//! From the loader to the guest's first instruction, one phase a line.

use crate::bios::Ground;
use crate::defect;
use crate::failure::{self, Failure};
use crate::loaded::{self, Content, Loaded};
use crate::machine::{RealMachine, Shared};
use crate::sleep::{self, Sleep};
use crate::vendor::{self, Amd, Intel, Vendor};
use crate::volumes::Opener;
use crate::world::{NO_MEMORY, World};
use crate::{calls, cards, cpus, devices, heartbeat, home, login, programs, reset, screen, services, tasks, tunnels};
use alloc::boxed::Box;
use alloc::format;
use config::Config;
use core::convert::Infallible as Never;
use core::sync::atomic::AtomicU64;
use exit::{Guest, Machine, Policy};
use hw::heap::Heap;
use hw::{HpaRange, acpi};
use initfunc::Phase;
use mediator::Gpa;

#[global_allocator]
pub static HEAP: Heap = Heap::new();

/// Ranks of the locks that the first CPU holds before it has an area of its own.
static HELD: AtomicU64 = AtomicU64::new(0);

/// Called by the start code with what the loader left in EAX and EBX.
#[unsafe(no_mangle)]
extern "sysv64" fn shoji_main(magic: u32, information: u32) -> ! {
    lock::set_held(|| hw::cpus::here().map_or(&HELD, |cpu| &cpu.held_locks));
    HEAP.init();
    hw::descriptors::set_fault_handler(defect::on_fault);
    hw::cpus::set_silence_handler(reset::on_silence);
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
    initialise(Phase::Msg)?;
    initialise(Phase::VmmCall)?;
    let loaded = loaded::read(magic, information)?;
    initialise(Phase::Config0)?;
    if vendor::is_intel() { start_on::<Intel>(loaded) } else { start_on::<Amd>(loaded) }
}

/// The rest, monomorphised for the CPU's vendor.
fn start_on<V: Vendor>(loaded: Loaded) -> Result<Never, Failure> {
    let features = V::detect()?;
    log::info!("CPU: {features}");
    let found = cpus::find()?;
    let vmm = home::settle(&loaded.info.memory_map, loaded.header_files.places(), loaded.public.memory.reserve_mib)?;
    calls::status::note_reserved(vmm.len_bytes());
    HEAP.grow_for(found.apic_ids.len(), devices::storage_controllers(), devices::network_cards()).ok_or(NO_MEMORY)?;
    hw::cpus::add_all(found.apic_ids, hw::paging::root()).ok_or(NO_MEMORY)?;
    hw::logger::add_cpus(hw::cpus::all().len());
    let [first, ..] = hw::cpus::all() else { return Err(NO_MEMORY.into()) };
    // SAFETY: it is the first, and its stack was just made.
    unsafe { hw::cpus::on_own_stack(first, || guard::<V>(loaded, features, vmm, found.may_grow)) }
}

/// The rest, on this CPU's own stack.
fn guard<V: Vendor>(loaded: Loaded, features: V::Features, vmm: HpaRange, may_grow: bool) -> Result<Never, Failure> {
    hw::descriptors::load();
    let cpu = hw::cpus::this();
    cpu.arrive();
    tasks::start();
    let apic_ids = hw::cpus::all().iter().map(|cpu| cpu.apic_id()).collect();
    let arena_bytes = devices::arena_bytes(vmm);
    let shared = Shared::new(&loaded.info.memory_map, vmm, apic_ids, arena_bytes).ok_or(NO_MEMORY)?;
    let mut machine = RealMachine::new(shared, cpu.number());
    exit::init();
    let Loaded { info, public, content, header_files, drive } = loaded;
    let memory_map = &info.memory_map;
    let (kept, serial) = (header_files.places(), public.log.serial);
    let ground = Ground::<V> { features: &features, memory_map, vmm, kept, shared, serial };
    let is_locked = matches!(content, Content::Locked(_));
    let (config, phrases) = login::open(content, &ground, &mut machine)?;
    if is_locked {
        loaded::allow_without_shoji(config.boot.on_failure, drive);
    }
    let opener = Opener { ground: &ground, settings: &config.login, header_files: &header_files, phrases };
    let (mut guest, way_to_sleep) = make_guest(&mut machine, V::policy(&features), &config, opener)?;
    header_files.wipe();
    calls::allow(&mut guest, &config)?;
    devices::offer(&mut guest, shared);
    let segment = prepare_firmware(&mut machine, &mut guest, &ground, drive)?;
    let sleep = way_to_sleep.map(|way| Sleep::new(way, segment)).transpose()?;
    guest.set_local_apic_page(Gpa(hw::lapic::base().0));
    if may_grow || hw::cpus::all().len() > 1 {
        guest.guard_local_apic(Gpa(hw::lapic::base().0), hw::cpus::all().len());
    }
    let listed = memory_map.iter().map(|entry| entry.base..entry.base.saturating_add(entry.len_bytes));
    listed.chain(core::iter::once(vmm.start..vmm.end)).for_each(|range| guest.close_to_registers(range));
    let memory = &*Box::leak(Box::new(V::memory(&features, vmm).ok_or(NO_MEMORY)?));
    guest.hooked_pages().try_for_each(|(at, hook)| V::hook_page(memory, at, hook)).ok_or(NO_MEMORY)?;
    shared.set_page_hook(|at, on| V::hook_for_a_time(memory, at, on));
    guest.adopt_local_apic(&mut machine);
    let world: &World<V> = Box::leak(Box::new(World { features, guest, memory, machine: shared, sleep }));
    V::enable(&world.features)?;
    services::GUEST.call_once(|| &world.guest);
    programs::start();
    tunnels::start()?;
    cards::start(shared);
    let mut vcpu = world.make_vcpu(segment)?;
    cpus::start_others(Box::leak(Box::new(|cpu| world.join(cpu))))?;
    if config.debug.heartbeat {
        heartbeat::start();
    }
    drop(config);
    home::wipe_loaded_image();
    cpu.wipe_unused_stack();
    failure::never_boot_without_shoji();
    log::info!("the guest starts, on {} CPUs", hw::cpus::all().len());
    screen::release();
    world.serve(cpu, &mut vcpu)
}

/// What answers the guest's exits: its bus with the guarded devices, and their ranges.
fn make_guest<V: Vendor>(
    machine: &mut RealMachine,
    policy: Policy,
    config: &Config,
    opener: Opener<'_, '_, V>,
) -> Result<(Guest, Option<acpi::Sleep>), Failure> {
    let mut guest = Guest::new(machine, policy, config.debug.hypercalls);
    guest.bus.guard_platform(machine);
    if config.debug.defects {
        guest.allow_defects();
    }
    if let Some(port) = config.log.serial {
        guest.bus.hide_serial(machine, port);
    }
    let way_to_sleep = sleep::guard(&mut guest, machine)?;
    initialise(Phase::Driver)?;
    devices::attach(&mut guest, machine, way_to_sleep.as_ref(), &config.networks)?;
    devices::protect(&mut guest, machine, &config.disks, opener)?;
    initialise(Phase::Config1)?;
    Ok((guest, way_to_sleep))
}

/// Shoji's lines in the guest's memory, which ask the BIOS for the boot sector; gives the segment where the guest starts.
fn prepare_firmware<V: Vendor>(
    machine: &mut RealMachine,
    guest: &mut Guest,
    ground: &Ground<'_, V>,
    drive: u8,
) -> Result<u16, Failure> {
    let without = ground.vmm.start..ground.vmm.end;
    let hypercall = V::policy(ground.features).hypercall;
    let start = guest::Start { drive, clear_screen: screen::is_used() };
    let prepared = guest::prepare(machine.memory(), ground.memory_map, &without, start, hypercall);
    let prepared = prepared.map_err(|e| format!("{e}"))?;
    guest.set_firmware_call(prepared.call_at, prepared.handler);
    Ok(prepared.segment)
}

/// Calls the init functions of a phase.
pub fn initialise(phase: Phase) -> Result<(), Failure> {
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
