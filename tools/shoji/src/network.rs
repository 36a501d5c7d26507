//! The TOML form of network rules -> the schema shared with the VMM.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use config::{CardSelector, NetworkPolicy, NetworkRule, TunnelProtocol, TunnelRule, Wire, WireIpv4, WireIpv6};

use crate::table::Table;
use crate::wireguard;
use crate::words::{POLICY, Policy, WIRE_IPV4, WIRE_IPV6};

const WIREGUARD: &str = "wireguard = \"wg0.conf\"";

/// A rule; `None`: what is wrong was told.
pub fn read_rule(mut table: Table<'_, '_>, file: &Path) -> Option<NetworkRule> {
    const NAME: &str = "name = \"lan\"";
    const CARD: &str = "card = { mac = \"52:54:00:12:34:56\" }";
    let name = table.need("name", NAME).text("name", NAME);
    let card = table.need("card", CARD).table("card", CARD).and_then(read_card);
    let policy = table.need("policy", "policy = \"tunnel\"").choice("policy", POLICY);
    let policy = match policy {
        Some(Policy::Tunnel) => read_tunnel(&mut table, file).map(NetworkPolicy::Tunnel),
        Some(other) => {
            let why = "goes with `policy = \"tunnel\"` alone; remove it, or change `policy`";
            ["wireguard", "wire"].into_iter().for_each(|key| table.refuse(key, why));
            Some(if other == Policy::Pass { NetworkPolicy::Pass } else { NetworkPolicy::Block })
        }
        // What belongs to it cannot be told.
        None => {
            ["wireguard", "wire"].into_iter().for_each(|key| table.skip(key));
            None
        }
    };
    table.finish();
    Some(NetworkRule { name: name?, card: card?, policy: policy? })
}

fn read_card(mut table: Table<'_, '_>) -> Option<CardSelector> {
    const MAC: &str = "mac = \"52:54:00:12:34:56\"";
    const FUNCTION: &str = "function = \"00:03.0\"";
    if table.has("mac") == table.has("function") {
        let problem = if table.has("mac") { "is named twice" } else { "names no card" };
        table.error_here(format!("`card` {problem}; give either `mac` or `function`"));
    }
    let mac = table.text("mac", MAC).map(|text| mac(&text).map(CardSelector::Mac));
    if mac == Some(None) {
        table.error("mac", format!("`mac` is no hardware address; copy it from `ip link`, e.g. `{MAC}`"));
    }
    let function = table.text("function", FUNCTION).map(|text| function(&text));
    if function == Some(None) {
        let message =
            format!("`function` is no PCI function of the first segment; copy it from `lspci`, e.g. `{FUNCTION}`");
        table.error("function", message);
    }
    table.finish();
    mac.or(function).flatten()
}

/// Exactly so many hexadecimal digits; `parse` alone would take a sign.
fn hex(text: &str, digits: usize) -> Option<u8> {
    let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| u8::from_str_radix(text, 16).ok())?
}

/// `52:54:00:12:34:56`, or with `-`.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let bytes: Option<Vec<u8>> = text.split(separator).map(|part| hex(part, 2)).collect();
    bytes?.try_into().ok()
}

/// `00:03.0`, or `0000:00:03.0`. Whether there is such a device is the validation's matter.
pub fn function(text: &str) -> Option<CardSelector> {
    let text = text.strip_prefix("0000:").unwrap_or(text);
    let (bus, rest) = text.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    Some(CardSelector::Function { bus: hex(bus, 2)?, device: hex(device, 2)?, function: hex(function, 1)? })
}

fn read_tunnel(table: &mut Table<'_, '_>, file: &Path) -> Option<TunnelRule> {
    let given = table.has("wire");
    let wire = table.table("wire", "[network.wire]").and_then(read_wire);
    let wire = if given { wire } else { Some(Wire::default()) };
    let name = table.need("wireguard", WIREGUARD).text("wireguard", WIREGUARD)?;
    let secret = wireguard::read(table, &file.with_file_name(name), wire.as_ref());
    Some(TunnelRule { wire: wire?, protocol: TunnelProtocol::WireGuard(secret?) })
}

fn read_wire(mut table: Table<'_, '_>) -> Option<Wire> {
    let default = Wire::default();
    let mtu = or_default(&mut table, "mtu", default.mtu, |table| table.number("mtu", "mtu = 1500"));
    let ipv4 = or_default(&mut table, "ipv4", default.ipv4, read_ipv4);
    let ipv6 = or_default(&mut table, "ipv6", default.ipv6, read_ipv6);
    let dns = read_dns(&mut table);
    table.finish();
    Some(Wire { mtu: mtu?, ipv4: ipv4?, ipv6: ipv6?, dns: dns? })
}

/// `None`: it is there, and wrong.
fn or_default<'n, 't, T>(
    table: &mut Table<'n, 't>,
    key: &'static str,
    default: T,
    read: impl FnOnce(&mut Table<'n, 't>) -> Option<T>,
) -> Option<T> {
    let given = table.has(key);
    let value = read(table);
    if given { value } else { Some(default) }
}

fn read_ipv4(table: &mut Table<'_, '_>) -> Option<WireIpv4> {
    const EXAMPLE: &str = "ipv4 = { address = \"192.0.2.10/24\", gateway = \"192.0.2.1\" }";
    if !table.is_table("ipv4") {
        return table.choice_or("ipv4", WIRE_IPV4, Some(EXAMPLE));
    }
    let (address, prefix_len, gateway) = read_static(table.table("ipv4", EXAMPLE)?, "192.0.2.10/24", "192.0.2.1")?;
    Some(WireIpv4::Static { address, prefix_len, gateway })
}

fn read_ipv6(table: &mut Table<'_, '_>) -> Option<WireIpv6> {
    const EXAMPLE: &str = "ipv6 = { address = \"2001:db8::10/64\", gateway = \"fe80::1\" }";
    if !table.is_table("ipv6") {
        return table.choice_or("ipv6", WIRE_IPV6, Some(EXAMPLE));
    }
    let (address, prefix_len, gateway) = read_static(table.table("ipv6", EXAMPLE)?, "2001:db8::10/64", "fe80::1")?;
    Some(WireIpv6::Static { address, prefix_len, gateway })
}

/// Address, bits of its network, gateway. The examples tell how they are written in this version of IP.
fn read_static<A: FromStr>(
    mut table: Table<'_, '_>,
    address_example: &str,
    gateway_example: &str,
) -> Option<(A, u8, Option<A>)> {
    let example = format!("address = \"{address_example}\"");
    let address = table.need("address", &example).text("address", &example).and_then(|text| {
        let read = with_prefix(&text);
        if read.is_none() {
            let message =
                format!("`address` is no address with the number of bits of its network; write e.g. `{example}`");
            table.error("address", message);
        }
        read
    });
    let example = format!("gateway = \"{gateway_example}\"");
    let gateway = or_default(&mut table, "gateway", None, |table| {
        let gateway = table.text("gateway", &example)?.parse().ok();
        if gateway.is_none() {
            table.error("gateway", format!("`gateway` is no address of this version of IP; write e.g. `{example}`"));
        }
        gateway.map(Some)
    });
    table.finish();
    let (address, prefix_len) = address?;
    Some((address, prefix_len, gateway?))
}

/// `192.0.2.10/24`.
fn with_prefix<A: FromStr>(text: &str) -> Option<(A, u8)> {
    let (address, prefix_len) = text.split_once('/')?;
    // `parse` alone would take a sign.
    let digits = prefix_len.bytes().all(|byte| byte.is_ascii_digit());
    Some((address.parse().ok()?, prefix_len.parse().ok().filter(|_| digits)?))
}

fn read_dns(table: &mut Table<'_, '_>) -> Option<Vec<IpAddr>> {
    const EXAMPLE: &str = "dns = [\"192.0.2.53\"]";
    let servers = table.texts("dns", EXAMPLE)?;
    let servers: Option<Vec<IpAddr>> = servers.iter().map(|server| server.parse().ok()).collect();
    if servers.is_none() {
        table.error("dns", format!("`dns` holds what is no address; write e.g. `{EXAMPLE}`"));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_six_bytes() {
        let right = Some([0x52, 0x54, 0, 0xAB, 0xCD, 0xEF]);
        for text in ["52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF"] {
            assert_eq!(mac(text), right, "{text}");
        }
        let wrong =
            ["", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:00", "52:54:0:ab:cd:ef", "525400abcdef", "52:54:00:ab:cd:+f"];
        for text in wrong.into_iter().chain([
            "52:54:00:ab:cd:eg",
            "52:54-00:ab:cd:ef",
            " 52:54:00:ab:cd:ef",
            "é:54:00:ab:cd:ef",
        ]) {
            assert_eq!(mac(text), None, "{text}");
        }
    }

    #[test]
    fn functions_are_as_lspci_shows_them() {
        let of = |bus, device, function| Some(CardSelector::Function { bus, device, function });
        assert_eq!([function("00:03.0"), function("0000:ff:1f.7")], [of(0, 3, 0), of(255, 31, 7)]);
        assert_eq!(function("00:20.8"), of(0, 32, 8), "which validation refuses");
        for text in ["", "3", "00:03", "0:3.0", "00:03.", "0001:00:03.0", "00:03.0.0", "00:+3.0", "00:03.g"] {
            assert_eq!(function(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_has_the_bits_of_its_network() {
        assert_eq!(with_prefix("192.0.2.10/24"), Some((std::net::Ipv4Addr::new(192, 0, 2, 10), 24)));
        for text in ["192.0.2.10", "192.0.2.10/", "192.0.2.10/+24", "192.0.2.10/256", "192.0.2/24", "2001:db8::1/64"] {
            assert_eq!(with_prefix::<std::net::Ipv4Addr>(text), None, "{text}");
        }
    }
}
