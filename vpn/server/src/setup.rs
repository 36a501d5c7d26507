//! From what ring 0 has sent to a tunnel.

use crate::chance::{Chance, Clock};
use abi::vpn::{Protocol, SETUP_VERSION, Setup, Start, Wire, WireIpv4, WireIpv6};
use core::fmt;
use outside::{Ipv4, Ipv6};
use tunnel::{SetupError, Tunnel, WireGuard};
use wg_quick::TunnelConfig;

/// Why there can be no such tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Ring 0 and this program are not of one build.
    Version,
    /// They are no parameters of the protocol.
    Parameters,
    Tunnel(SetupError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("its setup is of another version"),
            Self::Parameters => f.write_str("its parameters cannot be read"),
            Self::Tunnel(error) => error.fmt(f),
        }
    }
}

/// # Errors
/// [`Refusal`].
pub fn tunnel(setup: &[u8], start: &Start<'_>) -> Result<(Tunnel<WireGuard<Chance>>, Clock), Refusal> {
    let setup = setup.strip_prefix(&[SETUP_VERSION]).ok_or(Refusal::Version)?;
    let Setup { mac, wire, unix_ns, protocol } = postcard::from_bytes(setup).map_err(|_| Refusal::Parameters)?;
    let Protocol::WireGuard(parameters) = protocol;
    let config: TunnelConfig = postcard::from_bytes(parameters).map_err(|_| Refusal::Parameters)?;
    let clock = Clock::default();
    let now = clock.advance(start.now_ns);
    let mut chance = Chance::new(start.seed, clock.clone(), unix_ns);
    let wire = wire_of(mac, wire, chance.draw());
    let tunnel = tunnel::wireguard(config, wire, chance, now).map_err(Refusal::Tunnel)?;
    Ok((tunnel, clock))
}

fn wire_of(mac: [u8; 6], wire: Wire, seed: u64) -> tunnel::Wire {
    let ipv4 = match wire.ipv4 {
        WireIpv4::Off => Ipv4::Off,
        WireIpv4::Dhcp => Ipv4::Dhcp,
        WireIpv4::Static { address, prefix_len: prefix, gateway: router } => Ipv4::Static { address, prefix, router },
    };
    let ipv6 = match wire.ipv6 {
        WireIpv6::Off => Ipv6::Off,
        WireIpv6::Slaac => Ipv6::Slaac,
        WireIpv6::Static { address, prefix_len: prefix, gateway: router } => Ipv6::Static { address, prefix, router },
    };
    tunnel::Wire { mac, mtu: wire.mtu, ipv4, ipv6, dns: wire.dns, seed }
}
