//! The bare machine, as far as the guests need it.

pub mod ahci;
pub mod apic;
pub mod area;
pub mod ata;
pub mod cmos;
pub mod code;
pub mod com2;
pub mod cpu;
pub mod exceptions;
mod heap;
pub mod hypercall;
pub mod hypervisor;
pub mod irq;
pub mod memory;
pub mod modes;
pub mod nvme;
pub mod pci;
pub mod port;
pub mod smp;
pub mod time;
pub mod vmx;
