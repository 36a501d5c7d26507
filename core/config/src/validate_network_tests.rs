use alloc::string::ToString;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::*;
use crate::network::{TunnelSecret, Wire};
use crate::validate::validate;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn rule(name: &str, card: CardSelector, policy: NetworkPolicy) -> NetworkRule {
    NetworkRule { name: name.into(), card, policy }
}

fn function(bus: u8, device: u8, function: u8) -> CardSelector {
    CardSelector::Function { bus, device, function }
}

/// Keys of the problems of these rules.
fn keys(networks: Vec<NetworkRule>) -> Vec<&'static str> {
    validate(&Config { networks, ..Config::default() }).iter().map(|problem| problem.key).collect()
}

fn keys_of_card(card: CardSelector) -> Vec<&'static str> {
    keys(vec![rule("lan", card, NetworkPolicy::Block)])
}

fn keys_of_wire(wire: Wire) -> Vec<&'static str> {
    let protocol = TunnelProtocol::WireGuard(TunnelSecret(vec![1; 100]));
    keys(vec![rule("lan", CardSelector::Mac(MAC), NetworkPolicy::Tunnel(TunnelRule { wire, protocol }))])
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn static_v4(address: &str, prefix_len: u8, gateway: Option<&str>) -> Vec<&'static str> {
    let ipv4 = WireIpv4::Static { address: v4(address), prefix_len, gateway: gateway.map(v4) };
    keys_of_wire(Wire { ipv4, ..Wire::default() })
}

fn static_v6(address: &str, prefix_len: u8, gateway: Option<&str>) -> Vec<&'static str> {
    let ipv6 = WireIpv6::Static { address: v6(address), prefix_len, gateway: gateway.map(v6) };
    keys_of_wire(Wire { ipv6, ..Wire::default() })
}

#[test]
fn a_rule_of_each_policy_is_good_and_names_are_those_of_disks_too() {
    let tunnel = TunnelRule { wire: Wire::default(), protocol: TunnelProtocol::WireGuard(TunnelSecret(vec![1])) };
    let policies = [NetworkPolicy::Pass, NetworkPolicy::Block, NetworkPolicy::Tunnel(tunnel)];
    let rules = (0..).zip(policies).map(|(device, policy)| rule(&format!("n{device}"), function(0, device, 0), policy));
    assert!(keys(rules.collect()).is_empty());
    assert_eq!(keys(vec![rule("", CardSelector::Mac(MAC), NetworkPolicy::Pass)]), ["name"]);
    assert_eq!(keys(vec![rule(&"x".repeat(65), CardSelector::Mac(MAC), NetworkPolicy::Pass)]), ["name"]);
}

#[test]
fn a_card_has_the_address_of_one_station() {
    assert!(keys_of_card(CardSelector::Mac(MAC)).is_empty());
    for bad in [[0; 6], [0xFF; 6], [0x01, 0, 0x5E, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
        assert_eq!(keys_of_card(CardSelector::Mac(bad)), ["card.mac"], "{bad:?}");
    }
}

#[test]
fn a_function_is_one_that_pci_has() {
    assert!(keys_of_card(function(0, 0, 0)).is_empty() && keys_of_card(function(255, 31, 7)).is_empty());
    for bad in [function(0, 32, 0), function(0, 0, 8), function(0, 255, 255)] {
        assert_eq!(keys_of_card(bad), ["card.function"], "{bad:?}");
    }
}

#[test]
fn two_rules_of_one_name_or_for_one_card_are_refused() {
    let with = |name, card| {
        let first = rule("lan", CardSelector::Mac(MAC), NetworkPolicy::Pass);
        keys(vec![first, rule(name, card, NetworkPolicy::Block)])
    };
    assert!(with("wlan", function(0, 3, 0)).is_empty());
    assert_eq!(with("lan", function(0, 3, 0)), ["name"]);
    assert_eq!(with("wlan", CardSelector::Mac(MAC)), ["card"]);
    assert_eq!(with("lan", CardSelector::Mac(MAC)), ["name", "card"]);
}

#[test]
fn seventeen_rules_are_too_many() {
    let rules = |count: u8| {
        let rule = |bus| rule(&format!("n{bus}"), function(bus, 0, 0), NetworkPolicy::Block);
        keys((0..count).map(rule).collect())
    };
    assert!(rules(16).is_empty());
    assert_eq!(rules(17), ["network"]);
}

#[test]
fn a_problem_of_a_network_rule_is_told_from_one_of_a_disk_rule() {
    let networks =
        vec![rule("lan", function(0, 0, 0), NetworkPolicy::Pass), rule("", function(0, 1, 0), NetworkPolicy::Pass)];
    let text = validate(&Config { networks, ..Config::default() })[0].to_string();
    assert!(text.starts_with("`name` of network rule 2 is empty"), "{text}");
}

#[test]
fn a_wire_carries_1280_to_9000_bytes() {
    for (mtu, good) in [(0, false), (1279, false), (1280, true), (1500, true), (9000, true), (9001, false)] {
        assert_eq!(keys_of_wire(Wire { mtu, ..Wire::default() }).is_empty(), good, "{mtu}");
    }
    assert_eq!(keys_of_wire(Wire { mtu: u16::MAX, ..Wire::default() }), ["wire.mtu"]);
}

#[test]
fn one_version_of_ip_is_enough_and_none_is_not() {
    let with = |ipv4, ipv6| keys_of_wire(Wire { ipv4, ipv6, ..Wire::default() });
    assert!(with(WireIpv4::Dhcp, WireIpv6::Off).is_empty() && with(WireIpv4::Off, WireIpv6::Slaac).is_empty());
    assert_eq!(with(WireIpv4::Off, WireIpv6::Off), ["wire"]);
}

#[test]
fn a_static_ipv4_address_is_that_of_a_host_in_a_network() {
    for good in [("192.0.2.10", 24), ("192.0.2.255", 16), ("192.0.2.0", 31), ("192.0.2.255", 32), ("223.255.255.1", 1)]
    {
        assert!(static_v4(good.0, good.1, None).is_empty(), "{good:?}");
    }
    let bad = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.0", "192.0.2.255"];
    for bad in bad {
        assert_eq!(static_v4(bad, 24, None), ["wire.ipv4.address"], "{bad}");
    }
    for prefix_len in [0, 33, 255] {
        assert_eq!(static_v4("192.0.2.10", prefix_len, None), ["wire.ipv4.address"], "{prefix_len}");
    }
}

#[test]
fn an_ipv4_gateway_is_another_host_of_the_same_network() {
    for (gateway, prefix_len) in [("192.0.2.1", 24), ("192.0.3.1", 16), ("192.0.2.11", 31)] {
        assert!(static_v4("192.0.2.10", prefix_len, Some(gateway)).is_empty(), "{gateway}");
    }
    for bad in ["192.0.2.10", "192.0.3.1", "192.0.2.0", "192.0.2.255", "0.0.0.0", "255.255.255.255"] {
        assert_eq!(static_v4("192.0.2.10", 24, Some(bad)), ["wire.ipv4.gateway"], "{bad}");
    }
    assert_eq!(static_v4("192.0.2.10", 32, Some("192.0.2.1")), ["wire.ipv4.gateway"]);
}

#[test]
fn a_static_ipv6_address_is_a_global_one_of_a_host() {
    assert!(static_v6("2001:db8::10", 64, None).is_empty() && static_v6("fd00::1", 128, None).is_empty());
    for bad in ["::", "::1", "ff02::1", "fe80::1"] {
        assert_eq!(static_v6(bad, 64, None), ["wire.ipv6.address"], "{bad}");
    }
    for prefix_len in [0, 129, 255] {
        assert_eq!(static_v6("2001:db8::10", prefix_len, None), ["wire.ipv6.address"], "{prefix_len}");
    }
}

#[test]
fn an_ipv6_gateway_is_another_host_of_the_network_or_of_the_link() {
    for good in ["2001:db8::1", "fe80::1"] {
        assert!(static_v6("2001:db8::10", 64, Some(good)).is_empty(), "{good}");
    }
    for bad in ["2001:db8::10", "2001:db8:1::1", "ff02::2", "::"] {
        assert_eq!(static_v6("2001:db8::10", 64, Some(bad)), ["wire.ipv6.gateway"], "{bad}");
    }
}

#[test]
fn dns_servers_are_few_and_can_be_reached() {
    let with = |ipv4, ipv6, dns: &[&str]| {
        let dns = dns.iter().map(|server| server.parse().unwrap()).collect();
        keys_of_wire(Wire { ipv4, ipv6, dns, ..Wire::default() })
    };
    let both = |dns: &[&str]| with(WireIpv4::Dhcp, WireIpv6::Slaac, dns);
    assert!(both(&["192.0.2.53", "2001:db8::53", "fe80::1", "10.0.0.1"]).is_empty());
    assert_eq!(both(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]), ["wire.dns"]);
    assert_eq!(both(&["127.0.0.53", "10.0.0.2", "ff02::fb"]), ["wire.dns", "wire.dns"]);
    assert_eq!(with(WireIpv4::Dhcp, WireIpv6::Off, &["2001:db8::53"]), ["wire.dns"]);
    assert_eq!(with(WireIpv4::Off, WireIpv6::Slaac, &["192.0.2.53"]), ["wire.dns"]);
}
