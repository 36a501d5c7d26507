//! As `validate.rs`, of network rules.

use alloc::format;
use alloc::string::{String, ToString};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

use crate::network::{CardSelector, NetworkPolicy, NetworkRule, TunnelProtocol, Wire, WireIpv4, WireIpv6};
use crate::network::{MAX_TUNNEL_SECRET_BYTES, TunnelRule};
use crate::schema::Config;
use crate::validate::{Problem, RuleIndex, check_text};

/// Greatest number of network rules.
pub const MAX_NETWORK_RULES: usize = 16;

/// Greatest number of DNS servers of an outer network.
pub const MAX_WIRE_DNS: usize = 4;

/// Bytes that the longest packet of an outer network may be allowed to have: what IPv6 needs (RFC 8200 s. 5), up to what
/// cards can.
pub const WIRE_MTU: RangeInclusive<u16> = 1280..=9000;

/// Adds what is wrong with the network rules.
pub fn check_networks(config: &Config, found: &mut alloc::vec::Vec<Problem>) {
    let rules = &config.networks;
    if rules.len() > MAX_NETWORK_RULES {
        let message = format!("occurs more than {MAX_NETWORK_RULES} times; remove rules");
        found.push(Problem { rule: None, key: "network", message });
        return;
    }
    for (index, rule) in rules.iter().enumerate() {
        let rule_index = Some(RuleIndex::Network(index));
        let mut report = |key, message| found.push(Problem { rule: rule_index, key, message });
        check_rule(rule, &mut report);
        for (number, earlier) in (1..).zip(rules.iter().take(index)) {
            check_pair(rule, earlier, number, &mut report);
        }
    }
}

fn check_rule(rule: &NetworkRule, report: &mut impl FnMut(&'static str, String)) {
    if let Err(why) = check_text(&rule.name) {
        report("name", format!("{why}; give the rule a short name, which the log will show"));
    }
    match rule.card {
        CardSelector::Mac([first, ..]) if first & 1 == 1 => {
            report("card.mac", "is the address of a group; write that of the card, as `ip link` shows it".to_string());
        }
        CardSelector::Mac([0, 0, 0, 0, 0, 0]) => {
            report("card.mac", "is all zeros; write the address of the card, as `ip link` shows it".to_string());
        }
        CardSelector::Function { device, function, .. } if device > 31 || function > 7 => report(
            "card.function",
            "is none of PCI, whose devices are 00 to 1f and functions 0 to 7; write it as `lspci` shows it".to_string(),
        ),
        _ => {}
    }
    if let NetworkPolicy::Tunnel(TunnelRule { wire, protocol: TunnelProtocol::WireGuard(secret) }) = &rule.policy {
        check_wire(wire, report);
        let bytes = secret.0.len();
        if !(1..=MAX_TUNNEL_SECRET_BYTES).contains(&bytes) {
            let message = format!(
                "has {bytes} bytes of parameters but may have 1 to {MAX_TUNNEL_SECRET_BYTES}; join prefixes of `AllowedIPs`"
            );
            report("wireguard", message);
        }
    }
}

/// `rule` against one before it, whose number (from 1 on) is `number`.
fn check_pair(rule: &NetworkRule, earlier: &NetworkRule, number: usize, report: &mut impl FnMut(&'static str, String)) {
    if rule.name == earlier.name {
        report("name", format!("is that of network rule {number} too; names must differ, so that the log is clear"));
    }
    if rule.card == earlier.card {
        report("card", format!("is that of network rule {number} too; remove one of the rules"));
    }
}

fn check_wire(wire: &Wire, report: &mut impl FnMut(&'static str, String)) {
    if !WIRE_MTU.contains(&wire.mtu) {
        report("wire.mtu", format!("is {} but must be from 1280 to 9000; the default is 1500", wire.mtu));
    }
    if wire.ipv4 == WireIpv4::Off && wire.ipv6 == WireIpv6::Off {
        report("wire", "has neither IPv4 nor IPv6, so no peer can be reached; remove one `\"off\"`".to_string());
    }
    check_ipv4(wire.ipv4, report);
    check_ipv6(wire.ipv6, report);
    check_dns(wire, report);
}

const NOT_A_HOST: &str = "is not the address of one host";

fn check_ipv4(from: WireIpv4, report: &mut impl FnMut(&'static str, String)) {
    let WireIpv4::Static { address, prefix_len, gateway } = from else { return };
    const ADDRESS: &str = "wire.ipv4.address";
    const GATEWAY: &str = "wire.ipv4.gateway";
    if !is_host(address.into()) {
        return report(ADDRESS, format!("{NOT_A_HOST}; write e.g. \"192.0.2.10/24\""));
    }
    let Some(mask) = mask_v4(prefix_len) else {
        return report(ADDRESS, format!("has a network of {prefix_len} bits but may have 1 to 32; write e.g. /24"));
    };
    if !is_host_of(address, mask) {
        return report(
            ADDRESS,
            "is its network's own or the one for all its hosts; write that of one host".to_string(),
        );
    }
    let Some(gateway) = gateway else { return };
    if !is_host(gateway.into()) || !is_host_of(gateway, mask) {
        report(GATEWAY, format!("{NOT_A_HOST}; write that of the router"));
    } else if gateway == address {
        report(GATEWAY, "is `address` itself; write that of the router".to_string());
    } else if (gateway.to_bits() ^ address.to_bits()) & mask != 0 {
        report(
            GATEWAY,
            "is not in the network of `address`; correct one of them, or the number behind `/`".to_string(),
        );
    }
}

/// `None`: no network has so many bits.
fn mask_v4(prefix_len: u8) -> Option<u32> {
    let host_bits = 32_u32.checked_sub(prefix_len.into())?;
    u32::MAX.checked_shl(host_bits)
}

/// Neither the first nor the last address of a network; one of two addresses or of one has no such (RFC 3021).
fn is_host_of(address: Ipv4Addr, mask: u32) -> bool {
    let host = address.to_bits() & !mask;
    !mask <= 1 || (host != 0 && host != !mask)
}

fn check_ipv6(from: WireIpv6, report: &mut impl FnMut(&'static str, String)) {
    let WireIpv6::Static { address, prefix_len, gateway } = from else { return };
    const ADDRESS: &str = "wire.ipv6.address";
    const GATEWAY: &str = "wire.ipv6.gateway";
    if !is_host(address.into()) {
        return report(ADDRESS, format!("{NOT_A_HOST}; write e.g. \"2001:db8::10/64\""));
    }
    if address.is_unicast_link_local() {
        let message = "is of the link alone and reaches no peer; write a global one, or `ipv6 = \"slaac\"`";
        return report(ADDRESS, message.to_string());
    }
    let Some(mask) = mask_v6(prefix_len) else {
        return report(ADDRESS, format!("has a network of {prefix_len} bits but may have 1 to 128; write e.g. /64"));
    };
    let Some(gateway) = gateway else { return };
    if !is_host(gateway.into()) {
        report(GATEWAY, format!("{NOT_A_HOST}; write that of the router"));
    } else if gateway == address {
        report(GATEWAY, "is `address` itself; write that of the router".to_string());
    } else if !gateway.is_unicast_link_local() && (gateway.to_bits() ^ address.to_bits()) & mask != 0 {
        let message = "is neither in the network of `address` nor in fe80::/10; correct one of them";
        report(GATEWAY, message.to_string());
    }
}

fn mask_v6(prefix_len: u8) -> Option<u128> {
    let host_bits = 128_u32.checked_sub(prefix_len.into())?;
    u128::MAX.checked_shl(host_bits)
}

fn check_dns(wire: &Wire, report: &mut impl FnMut(&'static str, String)) {
    const DNS: &str = "wire.dns";
    if wire.dns.len() > MAX_WIRE_DNS {
        report(DNS, format!("has {} servers but at most {MAX_WIRE_DNS} are asked; remove some", wire.dns.len()));
    }
    for (number, server) in (1..).zip(&wire.dns) {
        let is_off = match server {
            IpAddr::V4(_) => wire.ipv4 == WireIpv4::Off,
            IpAddr::V6(_) => wire.ipv6 == WireIpv6::Off,
        };
        if !is_host(*server) {
            report(DNS, format!("names as server {number} {server}, which {NOT_A_HOST}; correct it"));
        } else if is_off {
            let message =
                format!("names as server {number} {server}, which cannot be reached: its IP version is off here");
            report(DNS, format!("{message}; remove it"));
        }
    }
}

/// Could a host have this address for itself? 0/8 means "this network", 240/4 is reserved (RFC 6890).
fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            (1..224).contains(&first) && !address.is_loopback()
        }
        IpAddr::V6(address) => is_host_v6(address),
    }
}

fn is_host_v6(address: Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}

#[cfg(test)]
#[path = "validate_network_tests.rs"]
mod tests;
