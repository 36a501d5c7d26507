//! The DHCP server (RFC 2131, options of RFC 2132): one client, one address, for ever the same.
//!
//! It has no state: a lease is for the tunnel's own address, which nobody else can have.

use crate::emit::{self, Ends};
use crate::{Inside, Reason, is_group, mac_at};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use frames::Packet;
use mediator::net::MacAddr;

pub(crate) const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const UDP_HEADER_BYTES: usize = 8;
/// The fixed part (RFC 2131 s. 2), and the cookie that begins the options (s. 3).
const FIXED_BYTES: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const CLIENT_ADDRESS_AT: usize = 12;
const YOUR_ADDRESS_AT: usize = 16;
const RELAY_AT: usize = 24;
const HARDWARE_AT: usize = 28;
const FLAGS_AT: usize = 10;
const BROADCAST_FLAG: u16 = 0x8000;
/// A reply is at least as long as a BOOTP message (RFC 1542 s. 2.1).
const LEAST_BYTES: usize = 300;
const LEASE_S: u32 = 86_400;

/// Option codes (RFC 2132).
mod option {
    pub const PAD: u8 = 0;
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const MTU: u8 = 26;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE: u8 = 51;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const CLIENT: u8 = 61;
    pub const END: u8 = 255;
}

/// Message types (RFC 2132 s. 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

/// What the server looks at.
struct Message<'a> {
    fixed: &'a [u8],
    kind: u8,
    client_address: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let (fixed, options) = data.split_at_checked(FIXED_BYTES)?;
        // A request over Ethernet, with a hardware address of six bytes, from no relay.
        let is_request = fixed.starts_with(&[1, 1, 6]) && address(fixed.get(RELAY_AT..)?)?.is_unspecified();
        let options = options.strip_prefix(&COOKIE).filter(|_| is_request)?;
        let mut message = Self {
            fixed,
            kind: 0,
            client_address: address(fixed.get(CLIENT_ADDRESS_AT..)?)?,
            requested: None,
            server: None,
            client: None,
        };
        message.read_options(options)?;
        Some(message)
    }

    fn read_options(&mut self, mut options: &'a [u8]) -> Option<()> {
        loop {
            let (code, rest) = options.split_first()?;
            match *code {
                option::PAD => options = rest,
                option::END => return Some(()),
                code => {
                    let (len, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked((*len).into())?;
                    match code {
                        option::MESSAGE_TYPE => self.kind = *value.first()?,
                        option::REQUESTED_ADDRESS => self.requested = Some(address(value)?),
                        option::SERVER => self.server = Some(address(value)?),
                        option::CLIENT => self.client = Some(value),
                        _ => {}
                    }
                    options = rest;
                }
            }
        }
    }

    /// The answer's type, if there is one (RFC 2131 s. 4.3).
    fn answer(&self, own: Ipv4Addr, server: Ipv4Addr) -> Option<u8> {
        let for_us = self.server.is_none_or(|named| named == server);
        // Selecting and rebooting clients name the address in an option, renewing and rebinding ones use it (s. 4.3.2).
        let asks_for = self.requested.unwrap_or(self.client_address);
        match self.kind {
            DISCOVER => Some(OFFER),
            REQUEST if for_us && asks_for == own => Some(ACK),
            REQUEST if for_us => Some(NAK),
            INFORM => Some(ACK),
            _ => None,
        }
    }
}

impl Inside {
    pub(crate) fn on_dhcp4(&mut self, packet: &Packet<'_>) -> Result<(), Reason> {
        let (Some((own, prefix)), None) = (self.link.v4(), packet.fragment) else { return Err(Reason::Local) };
        let data = packet.payload().get(UDP_HEADER_BYTES..).ok_or(Reason::Malformed)?;
        let message = Message::parse(data).ok_or(Reason::Malformed)?;
        let kind = message.answer(own, self.link.router).ok_or(Reason::Local)?;
        let reply = self.reply(&message, kind, own, prefix).ok_or(Reason::Malformed)?;
        let (to_mac, to) = place(&message, kind, own)?;
        let ends = Ends { to_mac, from_mac: self.link.gateway_mac, from: self.link.router.into(), to: IpAddr::V4(to) };
        let pushed = emit::udp(&mut self.to_guest, ends, (SERVER_PORT, CLIENT_PORT), &reply);
        self.answered(pushed)
    }

    /// RFC 2131 table 3.
    fn reply(&self, to: &Message<'_>, kind: u8, own: Ipv4Addr, prefix: u8) -> Option<Vec<u8>> {
        let mut reply = Vec::with_capacity(LEAST_BYTES);
        reply.extend(to.fixed);
        // What the server does not set is zero; identifier, flags, relay and hardware address stay.
        reply.get_mut(..4)?.copy_from_slice(&[2, 1, 6, 0]);
        reply.get_mut(8..10)?.fill(0);
        reply.get_mut(CLIENT_ADDRESS_AT..RELAY_AT)?.fill(0);
        reply.get_mut(HARDWARE_AT.checked_add(16)?..)?.fill(0);
        let gives_address = matches!((kind, to.kind), (OFFER, _) | (ACK, REQUEST));
        if gives_address {
            frames::put(&mut reply, YOUR_ADDRESS_AT, &own.octets());
        }
        if kind == ACK {
            frames::put(&mut reply, CLIENT_ADDRESS_AT, &to.client_address.octets());
        }
        reply.extend(COOKIE);
        let mut add = |code: u8, value: &[u8]| {
            if let Ok(len) = u8::try_from(value.len()) {
                reply.extend([code, len]);
                reply.extend(value);
            }
        };
        add(option::MESSAGE_TYPE, &[kind]);
        add(option::SERVER, &self.link.router.octets());
        // RFC 6842: as the client has sent it.
        to.client.into_iter().for_each(|client| add(option::CLIENT, client));
        if gives_address {
            add(option::LEASE, &LEASE_S.to_be_bytes());
            add(option::RENEWAL, &(LEASE_S / 2).to_be_bytes());
            add(option::REBINDING, &(LEASE_S / 8).saturating_mul(7).to_be_bytes());
        }
        if kind != NAK {
            let mask = !u32::MAX.checked_shr(prefix.into()).unwrap_or_default();
            let dns: Vec<u8> = self.link.dns4().flat_map(|server| server.octets()).collect();
            add(option::MASK, &mask.to_be_bytes());
            add(option::ROUTER, &self.link.router.octets());
            if !dns.is_empty() {
                add(option::DNS, &dns);
            }
            add(option::MTU, &self.link.mtu.to_be_bytes());
        }
        reply.push(option::END);
        reply.resize(reply.len().max(LEAST_BYTES), 0);
        Some(reply)
    }
}

/// Where a reply goes (RFC 2131 s. 4.1).
fn place(to: &Message<'_>, kind: u8, own: Ipv4Addr) -> Result<(MacAddr, Ipv4Addr), Reason> {
    let hardware = mac_at(to.fixed, HARDWARE_AT)?;
    let wants_broadcast = frames::be16(to.fixed, FLAGS_AT).is_some_and(|flags| flags & BROADCAST_FLAG != 0);
    if kind == NAK || is_group(hardware) {
        return Ok((emit::BROADCAST, Ipv4Addr::BROADCAST));
    }
    if frames::is_unicast(IpAddr::V4(to.client_address)) {
        return Ok((hardware, to.client_address));
    }
    Ok(if wants_broadcast { (emit::BROADCAST, Ipv4Addr::BROADCAST) } else { (hardware, own) })
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk().map(|four: &[u8; 4]| Ipv4Addr::from(*four))
}
