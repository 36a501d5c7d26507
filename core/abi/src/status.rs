//! What Shoji is doing, as the call [`STATUS`](crate::hypercall::name::STATUS) tells it: a postcard of [`Status`].
//!
//! Texts come from the configuration and from devices: show them with what is not printable escaped.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Shoji's.
    pub version: String,
    /// Nanoseconds since Shoji started, without those in which the machine slept.
    pub uptime_ns: u64,
    pub memory: Memory,
    /// What the counters in [`Cpu::exits`] count, in their order.
    pub exit_names: Vec<String>,
    pub cpus: Vec<Cpu>,
    pub disks: Vec<Disk>,
    pub domains: Vec<Domain>,
    /// Records written to the log since Shoji started.
    pub log_records: u64,
}

/// Of Shoji, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// RAM that the guest does not have, everything included.
    pub reserved_bytes: u64,
    pub heap_bytes: u64,
    pub heap_used_bytes: u64,
}

/// One CPU of the machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// From 0 on.
    pub number: u32,
    pub apic_id: u32,
    /// How often the guest was left, by cause.
    pub exits: Vec<u64>,
}

/// A disk of a guarded controller.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Disk {
    /// IDE channel, and unit on it; AHCI port, or NVMe namespace, and 0.
    pub channel: u32,
    pub unit: u32,
    pub model: String,
    pub serial: String,
    pub sectors: u64,
    pub sector_bytes: u32,
    /// What of it is encrypted.
    pub rules: Vec<Rule>,
}

/// One protected range of a disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rule {
    /// From the configuration.
    pub name: String,
    /// First sector of the range on the disk.
    pub first_lba: u64,
    pub sectors: u64,
    /// As the configuration names it.
    pub cipher: String,
}

/// A program in a protection domain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Domain {
    pub name: String,
    /// One word.
    pub state: String,
    /// How often it was started anew after it was killed.
    pub restarts: u64,
    /// From the last fault to the restart, if there was one.
    pub last_restart_ns: Option<u64>,
    pub memory_bytes: u64,
}
