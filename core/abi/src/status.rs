//! What Shoji is doing, as the call [`STATUS`](crate::hypercall::name::STATUS) tells it: a postcard of [`Status`].
//!
//! Texts come from the configuration and from devices: show them with what is not printable escaped.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
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
    /// Network cards that have a rule.
    pub cards: Vec<Card>,
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

/// A network card that has a rule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Card {
    /// Of the rule, from the configuration.
    pub name: String,
    /// Where it is on the first PCI segment.
    pub bus: u8,
    pub device: u8,
    pub function: u8,
    /// As the configuration names it.
    pub policy: String,
    /// `None`: the guest drives it, or does not find it.
    pub driven: Option<DrivenCard>,
    pub tunnel: Option<Tunnel>,
}

/// What is known of a card that Shoji drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DrivenCard {
    pub mac: [u8; 6],
    pub link_up: bool,
    pub frames: Frames,
}

/// What a card has moved. All counters wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Frames {
    /// From the guest, and to it.
    pub guest_sent: u64,
    pub guest_received: u64,
    /// To the cable, and from it.
    pub wire_sent: u64,
    pub wire_received: u64,
    /// By who sent them.
    pub guest_dropped: u64,
    pub wire_dropped: u64,
}

/// The tunnel of a card.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tunnel {
    /// Packets of the guest get through.
    pub is_up: bool,
    /// Shoji's own addresses on the wire.
    pub wire_ipv4: Option<Ipv4Addr>,
    pub wire_ipv6: Option<Ipv6Addr>,
    /// In the order of the configuration, at most [`MAX_PEERS_TOLD`].
    pub peers: Vec<Peer>,
    /// How many more there are.
    pub more_peers: u32,
}

/// Peers of one tunnel that a status tells of: the answer to a hypercall is bounded
/// ([`MAX_ANSWER_BYTES`](crate::hypercall::MAX_ANSWER_BYTES)), and tunnels may have hundreds.
pub const MAX_PEERS_TOLD: usize = 16;

/// A peer of a tunnel by WireGuard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Peer {
    pub public_key: [u8; 32],
    /// Where it was heard last, or is expected.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the latest handshake; `None`: there was none.
    pub handshake_age_s: Option<u64>,
    /// Bytes of authentic datagrams. Both counters wrap.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}
