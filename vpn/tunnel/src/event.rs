//! What is worth a line of the log.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A change, told once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The wire has other addresses than before; none of them: nothing can be sent.
    Wire { v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr> },
    /// Packets get through.
    Up,
    /// They do not any more, or not yet; what the guest sends is dropped.
    Down,
    /// A peer's name has this address.
    Resolved { name: String, address: IpAddr },
    /// A peer's name has no address that the wire reaches; it is asked for again.
    Unresolved { name: String },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire { v4: None, v6: None } => f.write_str("the wire has no address: packets are dropped"),
            Self::Wire { v4: Some(v4), v6: Some(v6) } => write!(f, "the wire has the addresses {v4} and {v6}"),
            Self::Wire { v4: Some(v4), v6: None } => write!(f, "the wire has the address {v4}"),
            Self::Wire { v4: None, v6: Some(v6) } => write!(f, "the wire has the address {v6}"),
            Self::Up => f.write_str("the tunnel is up"),
            Self::Down => f.write_str("the tunnel is down: packets are dropped until it is up"),
            Self::Resolved { name, address } => write!(f, "the peer {name} is at {address}"),
            Self::Unresolved { name } => write!(f, "the peer {name} has no address that the wire reaches"),
        }
    }
}
