//! The real machine, as the exit handlers see it.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use exit::{CpuidLeaf, DeviceMemory, Machine, Parts, Ports};
use hw::apic_timer::{self, Access};
use hw::arena::{Arena, Pool};
use hw::frames::FRAME_BYTES;
use hw::guest_ram::{GuestRam, RamMap};
use hw::{Hpa, HpaRange, cpus, direct, frames, port};
use mediator::{Gpa, Instant, Width};
use multiboot::Kind;
use spin::Once;
use timer::Register;
use x86::IoPermissionMap;

/// All ports are the VMM's to use; what the guest may use is decided before.
pub struct RealPorts;

impl Ports for RealPorts {
    #[inline]
    fn read(&mut self, port: u16, width: Width) -> u32 {
        // SAFETY: on behalf of the guest that owns the device, or of its mediator.
        unsafe { port::read(port, width) }
    }

    #[inline]
    fn write(&mut self, port: u16, width: Width, value: u32) {
        // SAFETY: as above.
        unsafe { port::write(port, width, value) }
    }

    fn read_string(&mut self, port: u16, width: Width, data: &mut [u8]) {
        // SAFETY: as above.
        unsafe { port::read_string(port, width, data) }
    }

    fn write_string(&mut self, port: u16, width: Width, data: &[u8]) {
        // SAFETY: as above.
        unsafe { port::write_string(port, width, data) }
    }
}

/// Device memory below 4 GiB, through the direct map; the firmware's MTRRs make it uncacheable.
pub struct RealDeviceMemory;

impl DeviceMemory for RealDeviceMemory {
    #[inline]
    fn read(&mut self, at: Gpa, width: Width) -> u64 {
        // SAFETY: on behalf of the guest that owns the device, or of its mediator.
        unsafe { direct::read(Hpa(at.0), width) }
    }

    #[inline]
    fn write(&mut self, at: Gpa, width: Width, value: u64) {
        // SAFETY: as above.
        unsafe { direct::write(Hpa(at.0), width, value) }
    }
}

/// For page tables, stacks and programs.
const OTHERS_BYTES: u64 = 2 << 20;

/// What the CPUs share of the machine.
pub struct Shared {
    ram: RamMap,
    arena: Pool,
    io_permissions: &'static IoPermissionMap,
    io_permissions_at: Hpa,
    apic_ids: Vec<u32>,
    /// The page of the local APICs.
    local_apic: Hpa,
    /// Hooks a page of the guest's memory for a time, once there is one.
    page_hook: Once<PageHook>,
}

/// As [`crate::vendor::Vendor::hook_for_a_time`].
type PageHook = Box<dyn Fn(Gpa, bool) -> Option<()> + Send + Sync>;

impl Shared {
    /// `apic_ids`: initial local APIC IDs of the CPUs, by their numbers. `arena_bytes`: of what devices may be pointed at. It lives as
    /// long as the VMM. `None` when the frames do not suffice.
    pub fn new(
        memory_map: &[multiboot::Entry],
        vmm: HpaRange,
        apic_ids: Vec<u32>,
        arena_bytes: u64,
    ) -> Option<&'static Self> {
        let arena = Pool::new(arena_bytes, OTHERS_BYTES)?;
        log::info!("{} MiB for what devices read and write", arena.len_bytes() >> 20);
        let io_permissions_at = frames::alloc(size_of::<IoPermissionMap>() / FRAME_BYTES as usize)?;
        Some(Box::leak(Box::new(Self {
            ram: RamMap::new(ram(memory_map), vmm),
            arena,
            // SAFETY: zeroed frames of our own, as large as the map; zeroes are a valid map, and only CPUs read it besides.
            io_permissions: unsafe { &*direct::pointer(io_permissions_at).cast::<IoPermissionMap>() },
            io_permissions_at,
            apic_ids,
            local_apic: hw::lapic::base(),
            page_hook: Once::new(),
        })))
    }

    /// The guest's memory is there.
    pub fn set_page_hook(&self, hook: impl Fn(Gpa, bool) -> Option<()> + Send + Sync + 'static) {
        self.page_hook.call_once(|| Box::new(hook));
    }

    pub fn io_permissions(&self) -> Hpa {
        self.io_permissions_at
    }
}

/// The machine, as one CPU has it.
pub struct RealMachine {
    shared: &'static Shared,
    number: usize,
    ports: RealPorts,
    device_memory: RealDeviceMemory,
    memory: GuestRam,
    arena: Arena,
}

impl RealMachine {
    /// For CPU `number`.
    pub fn new(shared: &'static Shared, number: usize) -> Self {
        let (memory, arena) = (GuestRam::new(&shared.ram), Arena(&shared.arena));
        Self { shared, number, ports: RealPorts, device_memory: RealDeviceMemory, memory, arena }
    }
}

/// The registers of the local APIC's timer, which may be lent to the VMM when the guest reaches for them.
mod lent {
    use timer::Register;

    pub const TSC_DEADLINE: u32 = 0x6e0;

    /// In x2APIC mode: one MSR from 800h on for 16 bytes of the page.
    pub fn of_msr(msr: u32) -> Option<Register> {
        let number = msr.checked_sub(0x800).filter(|number| *number < 0x100)?;
        Register::at((number as u16) << 4)
    }
}

impl RealMachine {
    /// The register of the local APIC's timer at this address.
    #[inline]
    fn lent_register(&self, at: Gpa) -> Option<Register> {
        let offset = at.0.checked_sub(self.shared.local_apic.0).filter(|offset| *offset < 0x1000)?;
        Register::at(offset as u16)
    }
}

/// Memory that the guest's CPU can run from and that descriptors may point to: usable and ACPI ranges, the lowest MiB
/// without the VGA window (firmware keeps data and code there that no map tells), and what firmware keeps of the end of
/// usable memory (SeaBIOS: command lists of its AHCI driver).
fn ram(memory_map: &[multiboot::Entry]) -> Vec<HpaRange> {
    const VGA: u64 = 0xa_0000;
    const OPTION_ROMS: u64 = 0xc_0000;
    const MIB: u64 = 1 << 20;
    // Shorter than the smallest window of configuration space, which no copy of the VMM may reach.
    let usable_ends =
        |at| memory_map.iter().any(|other| other.kind == Kind::Usable && other.base + other.len_bytes == at);
    let firmwares = |entry: &multiboot::Entry| {
        entry.kind == Kind::Reserved
            && entry.len_bytes < MIB
            && entry.base < u64::from(u32::MAX)
            && usable_ends(entry.base)
    };
    let mut ram = vec![HpaRange { start: 0, end: VGA }, HpaRange { start: OPTION_ROMS, end: MIB }];
    let memory = memory_map
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Usable | Kind::AcpiReclaimable | Kind::AcpiNvs) || firmwares(entry))
        .filter(|entry| entry.base >= MIB)
        .map(|entry| HpaRange { start: entry.base, end: entry.base + entry.len_bytes });
    ram.extend(memory);
    ram
}

impl Machine for RealMachine {
    type Ports = RealPorts;
    type DeviceMemory = RealDeviceMemory;
    type Memory = GuestRam;
    type Arena = Arena;

    #[inline]
    fn parts(&mut self) -> Parts<'_, Self> {
        let Self { ports, device_memory, memory, arena, .. } = self;
        Parts { ports, device_memory, memory, arena }
    }

    #[inline]
    fn read_code<const N: usize>(&mut self, at: Gpa) -> Option<[u8; N]> {
        self.memory.read_code(at)
    }

    #[inline]
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        let native = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        CpuidLeaf { eax: native.eax, ebx: native.ebx, ecx: native.ecx, edx: native.edx }
    }

    fn read_msr(&mut self, msr: u32) -> Option<u64> {
        let access = match msr {
            lent::TSC_DEADLINE => Some(Access::ReadDeadline),
            _ => lent::of_msr(msr).map(Access::Read),
        };
        access.and_then(apic_timer::access).or_else(|| hw::msr::read(msr))
    }

    fn write_msr(&mut self, msr: u32, value: u64) -> Option<()> {
        let access = match msr {
            lent::TSC_DEADLINE => Some(Access::WriteDeadline(value)),
            _ => lent::of_msr(msr).map(|register| Access::Write(register, value as u32)),
        };
        if access.and_then(apic_timer::access).is_some() {
            return Some(());
        }
        // SAFETY: only what the rules of the table let through is handed on: nothing that touches the VMM.
        unsafe { hw::msr::write(msr, value) }
    }

    fn tsc(&self) -> u64 {
        hw::time::tsc()
    }

    fn set_port_intercept(&mut self, first: u16, len: u16, on: bool) {
        for offset in 0..len {
            self.shared.io_permissions.intercept(first.wrapping_add(offset), on);
        }
    }

    fn set_page_hook(&mut self, page: Gpa, on: bool) -> bool {
        self.shared.page_hook.get().is_some_and(|hook| hook(page, on).is_some())
    }

    fn now(&self) -> Instant {
        hw::time::now()
    }

    fn provoke_defect(&mut self, defect: u64) {
        crate::defect::provoke(defect);
    }

    fn call_service(&mut self, service: u64, op: u64) -> [u64; 2] {
        crate::programs::call_by_number(service, op).map_or_else(|error| [error.code(), 0], |answer| [0, answer])
    }

    fn take_interrupt(&mut self) -> Option<u8> {
        hw::interrupts::take()
    }

    fn try_deadlines(&mut self, argument: u64) -> u64 {
        crate::deadlines::try_them(argument)
    }

    fn interrupts_pass(&self) -> bool {
        hw::lapic::interrupts_pass()
    }

    fn stop_others<R>(&mut self, then: impl FnOnce(&mut Self) -> R) -> R {
        let result = cpus::while_others_stand(|| then(self));
        // It may have stood itself, while another CPU came first.
        self.plan_anew();
        result
    }

    fn cpu_number(&self) -> usize {
        self.number
    }

    fn apic_ids(&self) -> &[u32] {
        &self.shared.apic_ids
    }

    fn init_cpu(&mut self, cpu: usize) {
        match cpus::all().get(cpu) {
            // As hardware: it starts anew with the firmware.
            Some(first) if first.number() == 0 => {
                log::warn!("INIT for the first CPU: the machine is reset");
                crate::reset::machine()
            }
            Some(other) => other.init(),
            None => {}
        }
    }

    fn start_cpu(&mut self, cpu: usize, page: u8) {
        if let Some(cpu) = cpus::all().get(cpu) {
            cpu.start(page);
        }
    }

    fn read_mmio(&mut self, at: Gpa, width: Width) -> u64 {
        let lent = self.lent_register(at).and_then(|register| apic_timer::access(Access::Read(register)));
        if let Some(value) = lent {
            return value;
        }
        self.device_memory.read(at, width)
    }

    fn write_mmio(&mut self, at: Gpa, width: Width, value: u64) {
        let access = self.lent_register(at).map(|register| Access::Write(register, value as u32));
        if access.and_then(apic_timer::access).is_some() {
            return;
        }
        self.device_memory.write(at, width, value);
    }

    fn plan_anew(&mut self) {
        task::plan_anew();
    }

    fn is_vmm_memory(&self, at: Gpa) -> bool {
        self.shared.ram.is_vmm(at)
    }
}
