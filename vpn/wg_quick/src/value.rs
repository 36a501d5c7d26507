//! Single values. An error tells what is wanted, never what was there.

use crate::config::{Address, Endpoint};
use alloc::borrow::ToOwned;
use base64ct::{Base64, Encoding};
use core::net::{IpAddr, SocketAddr};
use wireguard::{IpPrefix, KEY_BYTES};
use zeroize::Zeroizing;

/// What is wrong with a value, and what to write.
pub type Wrong = &'static str;

/// 32 bytes in Base64, as `wg genkey` writes them.
pub fn key(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, Wrong> {
    const WRONG: Wrong =
        "this is no key; a key has 44 characters of Base64, the last one `=`, as `wg genkey` and `wg pubkey` write it";
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let len = Base64::decode(text, &mut *bytes).map_err(|_| WRONG)?.len();
    (len == KEY_BYTES).then_some(bytes).ok_or(WRONG)
}

/// Decimal digits alone.
fn number(text: &str) -> Option<u32> {
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub fn port(text: &str) -> Result<u16, Wrong> {
    let number = number(text).and_then(|number| number.try_into().ok());
    number.ok_or("this is no port; write a number from 0 to 65535")
}

/// A port of ours. Datagrams of DNS and DHCP are not told from the tunnel's by anything but their ports.
pub fn listen_port(text: &str) -> Result<u16, Wrong> {
    match port(text)? {
        53 | 67 | 68 => Err("DNS and DHCP have this port; write another one, e.g. `ListenPort = 51820`"),
        port => Ok(port),
    }
}

pub fn mtu(text: &str) -> Result<u16, Wrong> {
    let number = number(text).and_then(|number| number.try_into().ok()).filter(|mtu| crate::MTU.contains(mtu));
    number.ok_or("this is no usable MTU; write a number from 576 to 9000, or leave the line out")
}

/// Seconds; 0 and `off` are none.
pub fn keepalive(text: &str) -> Result<u16, Wrong> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    let number = number(text).and_then(|number| number.try_into().ok());
    number.ok_or("this is no interval; write seconds from 1 to 65535, or `off`")
}

/// An inner address of ours, with the length of its network or without.
pub fn address(text: &str) -> Result<Address, Wrong> {
    const WRONG: Wrong = "this is no address; write e.g. `10.0.0.2/24` or `fd00::2/64`";
    let prefix: IpPrefix = text.parse().map_err(|_| WRONG)?;
    let address: IpAddr = text.split('/').next().and_then(|address| address.parse().ok()).ok_or(WRONG)?;
    if !is_one_hosts(address) {
        return Err(
            "this is not the address of one machine that others reach through the tunnel; write e.g. `10.0.0.2/24`",
        );
    }
    Address::try_from((address, prefix.len())).map_err(|_| WRONG)
}

/// A prefix, and whether bits behind it were set.
pub fn prefix(text: &str) -> Result<(IpPrefix, bool), Wrong> {
    let wrong = "this is no prefix; write e.g. `0.0.0.0/0`, `10.1.0.0/16` or `fd00::/64`";
    let prefix: IpPrefix = text.parse().map_err(|_| wrong)?;
    let address: Option<IpAddr> = text.split('/').next().and_then(|address| address.parse().ok());
    Ok((prefix, address != Some(prefix.address())))
}

/// A DNS server, or a search domain.
pub enum Dns {
    Server(IpAddr),
    Domain,
}

pub fn dns(text: &str) -> Result<Dns, Wrong> {
    match text.parse() {
        Ok(server) if is_one_hosts(server) => Ok(Dns::Server(server)),
        Ok(_) => Err("this is not the address of a server that is reached through the tunnel; write e.g. `10.0.0.1`"),
        Err(_) if is_host_name(text) => Ok(Dns::Domain),
        Err(_) => Err(
            "this is neither the address of a DNS server nor a search domain; write e.g. `10.0.0.1` or `example.org`",
        ),
    }
}

/// `ADDRESS:PORT`, `[ADDRESS]:PORT` or `NAME:PORT`.
pub fn endpoint(text: &str) -> Result<Endpoint, Wrong> {
    let (host, port_text) = text.rsplit_once(':').ok_or("the port is missing; write e.g. `vpn.example.org:51820`")?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && text.parse::<core::net::Ipv6Addr>().is_ok() || bracketed.is_none() && host.contains(':') {
        return Err("an IPv6 address stands between brackets; write e.g. `[2001:db8::1]:51820`");
    }
    let port = port(port_text)?;
    if port == 0 {
        return Err("no peer listens on port 0; write e.g. `vpn.example.org:51820`");
    }
    match bracketed {
        Some(host) => {
            let address = host
                .parse()
                .map_err(|_| "between brackets stands an IPv6 address alone; write e.g. `[2001:db8::1]:51820`")?;
            Ok(Endpoint::Address(SocketAddr::new(IpAddr::V6(address), port)))
        }
        None => match host.parse() {
            Ok(address) => Ok(Endpoint::Address(SocketAddr::new(IpAddr::V4(address), port))),
            Err(_) if is_host_name(host) && !is_all_numbers(host) => Ok(Endpoint::Name { host: host.to_owned(), port }),
            Err(_) => Err(
                "this is neither an address nor a host name; write e.g. `192.0.2.1:51820` or `vpn.example.org:51820`",
            ),
        },
    }
}

/// Neither of a group, nor of this machine or link alone, nor reserved (RFC 6890).
fn is_one_hosts(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            (1..224).contains(&first) && !v4.is_loopback() && !v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            !v6.is_multicast() && !v6.is_unspecified() && !v6.is_loopback() && !v6.is_unicast_link_local()
        }
    }
}

/// RFC 1123 s. 2.1, and underscores, which are in use; a final dot may be there.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// An IPv4 address that is none.
fn is_all_numbers(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
