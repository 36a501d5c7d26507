//! What the handlers need of the machine. The VMM implements it over the real one, the tests over a mock.

use crate::CpuidLeaf;
use mediator::{DmaArena, Gpa, GuestMemory, Instant, Width};

/// The I/O ports of the real machine. Widths are byte, word and dword; never a qword.
pub trait Ports {
    /// IN; the value is zero-extended.
    fn read(&mut self, port: u16, width: Width) -> u32;
    /// OUT of the low `width` bytes of `value`.
    fn write(&mut self, port: u16, width: Width, value: u32);
    /// REP INS: fills `data`, whose length is a multiple of the width.
    fn read_string(&mut self, port: u16, width: Width, data: &mut [u8]);
    /// REP OUTS of `data`, whose length is a multiple of the width.
    fn write_string(&mut self, port: u16, width: Width, data: &[u8]);
}

/// The registers of devices in memory below 4 GiB, uncached. An address is a multiple of the width.
pub trait DeviceMemory {
    /// The value is zero-extended.
    fn read(&mut self, at: Gpa, width: Width) -> u64;
    /// Writes the low `width` bytes of `value`.
    fn write(&mut self, at: Gpa, width: Width, value: u64);
}

/// The parts of a machine that one call of a mediator borrows at once.
pub struct Parts<'a, M: Machine + ?Sized> {
    pub ports: &'a mut M::Ports,
    pub device_memory: &'a mut M::DeviceMemory,
    pub memory: &'a mut M::Memory,
    pub arena: &'a mut M::Arena,
}

/// The machine under one CPU of a guest: each CPU has a value of its own, with the parts that they share behind it. Calls on the hot path are monomorphised, so implementations should inline.
pub trait Machine {
    type Ports: Ports;
    type DeviceMemory: DeviceMemory;
    type Memory: GuestMemory;
    type Arena: DmaArena;

    fn parts(&mut self) -> Parts<'_, Self>;

    fn ports(&mut self) -> &mut Self::Ports {
        self.parts().ports
    }

    fn memory(&mut self) -> &mut Self::Memory {
        self.parts().memory
    }

    /// Bytes that the guest can execute: its RAM and, unlike [`GuestMemory::read`], firmware ROM (at least all of the
    /// first MiB outside VMM memory). `None` when a byte is neither, or is the VMM's.
    fn read_code<const N: usize>(&mut self, at: Gpa) -> Option<[u8; N]>;

    /// The CPU's own answer.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidLeaf;

    /// RDMSR on the real CPU; `None` where it raises #GP.
    fn read_msr(&mut self, msr: u32) -> Option<u64>;

    /// WRMSR on the real CPU; `None` where it raises #GP.
    fn write_msr(&mut self, msr: u32, value: u64) -> Option<()>;

    /// The time stamp counter of this CPU, without the guest's offset.
    fn tsc(&self) -> u64;

    /// Whether the guest's accesses to `len` ports from `first` on leave the guest. All start as off. Once the guest runs,
    /// only while the other CPUs are stopped.
    fn set_port_intercept(&mut self, first: u16, len: u16, on: bool);

    /// Whether the guest's accesses to a page of device memory leave the guest, beside those to [`crate::Guest::hooked_pages`], which
    /// always do. Only while the other CPUs are stopped; each CPU, this one too, forgets what it has cached of the page before it runs
    /// the guest again. False: the page stays as it is, for want of memory or because it is none of the guest's.
    fn set_page_hook(&mut self, _page: Gpa, _on: bool) -> bool {
        false
    }

    /// Is there a CPU that was asked to leave the guest at interrupts, and cannot? It leaves it soon after instead.
    fn interrupts_pass(&self) -> bool {
        false
    }

    fn now(&self) -> Instant;

    /// Provokes the defect of this number (`abi::hypercall::defect`), of which the VMM stops. Returns where there is none.
    fn provoke_defect(&mut self, defect: u64);

    /// Calls a service by its number in the list of `abi::hypercall`, for tests; gives RAX and RBX.
    fn call_service(&mut self, service: u64, op: u64) -> [u64; 2];

    /// A vector that was noted in the host while this CPU ran something else than the guest: it is to be queued.
    fn take_interrupt(&mut self) -> Option<u8>;

    /// Begins or tells of `abi::hypercall::DEBUG_DEADLINES`.
    fn try_deadlines(&mut self, argument: u64) -> u64;

    /// Calls `then` while every other CPU of the guest stands still between two exits, with no lock held; afterwards all of
    /// them find what it has changed, intercepts of ports among it. The caller holds no lock either. Before the guest runs on, each
    /// CPU, this one too, asks [`crate::Cpu::recall`] anew.
    fn stop_others<R>(&mut self, then: impl FnOnce(&mut Self) -> R) -> R;

    /// Number of this CPU, from 0 on.
    fn cpu_number(&self) -> usize;

    /// Initial local APIC IDs of the guest's CPUs, by their numbers.
    fn apic_ids(&self) -> &[u32];

    /// The guest sends an INIT to that CPU, which may be this one: it stops and waits for a startup IPI.
    fn init_cpu(&mut self, cpu: usize);

    /// The guest sends a startup IPI with the vector `page` to that CPU, which ignores it unless it waits for one
    /// ([`crate::Vcpu::start`]).
    fn start_cpu(&mut self, cpu: usize, page: u8);

    /// As [`DeviceMemory::read`], where it may also be the local APIC, of which a part may be lent.
    fn read_mmio(&mut self, at: Gpa, width: Width) -> u64 {
        self.parts().device_memory.read(at, width)
    }

    /// As [`DeviceMemory::write`], likewise.
    fn write_mmio(&mut self, at: Gpa, width: Width, value: u64) {
        self.parts().device_memory.write(at, width, value);
    }

    /// Before the guest runs on, [`crate::Cpu::recall`] is asked anew.
    fn plan_anew(&mut self);

    /// Does the byte belong to the VMM, so that the guest has no mapping of it?
    fn is_vmm_memory(&self, at: Gpa) -> bool;
}
