//! The DHCPv6 server (RFC 8415): one client, one address, for ever the same. It has no state.

use crate::emit::{self, Ends};
use crate::{Inside, Reason};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use frames::Packet;
use mediator::net::MacAddr;

pub(crate) const SERVER_PORT: u16 = 547;
const CLIENT_PORT: u16 = 546;
const UDP_HEADER_BYTES: usize = 8;
/// A DUID has at most 130 bytes (s. 11.1).
const MAX_DUID_BYTES: usize = 130;
/// Identity associations that are answered; a guest has one for each of its interfaces' addresses.
const MAX_ASSOCIATIONS: usize = 4;
/// Addresses of one that are looked at.
const MAX_ADDRESSES: usize = 4;
const PREFERRED_S: u32 = 43_200;
const VALID_S: u32 = 86_400;

/// Message types (s. 7.3).
mod message {
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORMATION_REQUEST: u8 = 11;
}

/// Options (s. 21; RFC 3646 s. 3).
mod option {
    pub const CLIENT: u16 = 1;
    pub const SERVER: u16 = 2;
    pub const ASSOCIATION: u16 = 3;
    pub const ADDRESS: u16 = 5;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const DNS: u16 = 23;
}

/// Status codes (s. 21.13).
const SUCCESS: u16 = 0;
const NO_ADDRESS: u16 = 2;
const NOT_ON_LINK: u16 = 4;

/// An identity association of the client's: its number, and the addresses that it has or wishes.
struct Association {
    id: [u8; 4],
    addresses: Vec<Ipv6Addr>,
}

/// What the server looks at.
struct Message<'a> {
    kind: u8,
    transaction: [u8; 3],
    client: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    rapid_commit: bool,
    associations: Vec<Association>,
}

/// The options of a message or of an option, one by one; `None` where one is longer than what is left.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let whole = core::mem::take(&mut self.0);
        let split = || {
            let (code, len) = (frames::be16(whole, 0)?, frames::be16(whole, 2)?);
            let (value, rest) = whole.get(4..)?.split_at_checked(len.into())?;
            Some((code, value, rest))
        };
        Some(split().map(|(code, value, rest)| {
            self.0 = rest;
            (code, value)
        }))
    }
}

impl<'a> Message<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let (&[kind, ref transaction @ ..], options) = data.split_first_chunk::<4>()?;
        let mut message = Self {
            kind,
            transaction: *transaction,
            client: None,
            server: None,
            rapid_commit: false,
            associations: Vec::new(),
        };
        for option in Options(options) {
            match option? {
                (option::CLIENT, duid) if duid.len() <= MAX_DUID_BYTES => message.client = Some(duid),
                (option::CLIENT, _) => return None,
                (option::SERVER, duid) => message.server = Some(duid),
                (option::RAPID_COMMIT, _) => message.rapid_commit = true,
                (option::ASSOCIATION, value) if message.associations.len() < MAX_ASSOCIATIONS => {
                    message.associations.push(Association::parse(value)?);
                }
                _ => {}
            }
        }
        Some(message)
    }

    /// The answer's type, or why there is none (s. 16 and 18.3).
    fn answer(&self, own: &[u8]) -> Option<u8> {
        let (client, server) = (self.client.is_some(), self.server);
        match self.kind {
            message::SOLICIT if client && server.is_none() => {
                Some(if self.rapid_commit { message::REPLY } else { message::ADVERTISE })
            }
            message::REQUEST | message::RENEW | message::RELEASE | message::DECLINE
                if client && server == Some(own) =>
            {
                Some(message::REPLY)
            }
            // Nothing can be said of no address (s. 18.3.3).
            message::CONFIRM if self.associations.iter().all(|association| association.addresses.is_empty()) => None,
            message::CONFIRM | message::REBIND if client && server.is_none() => Some(message::REPLY),
            message::INFORMATION_REQUEST if server.is_none_or(|named| named == own) => Some(message::REPLY),
            _ => None,
        }
    }
}

impl Association {
    /// s. 21.4: number, T1, T2, options.
    fn parse(value: &[u8]) -> Option<Self> {
        let (id, rest) = value.split_first_chunk::<4>()?;
        let mut addresses = Vec::new();
        for option in Options(rest.get(8..)?) {
            let (code, value) = option?;
            if code == option::ADDRESS && addresses.len() < MAX_ADDRESSES {
                let octets: &[u8; 16] = value.first_chunk()?;
                addresses.push(Ipv6Addr::from(*octets));
            }
        }
        Some(Self { id: *id, addresses })
    }

    /// The first one of a message gets the address; other addresses that the client holds end (s. 18.3.4).
    fn encode(&self, own: Option<Ipv6Addr>) -> Vec<u8> {
        let mut value = Vec::with_capacity(64);
        value.extend(self.id);
        value.extend((PREFERRED_S / 2).to_be_bytes());
        value.extend((PREFERRED_S / 5).saturating_mul(4).to_be_bytes());
        let mut address = |address: Ipv6Addr, preferred: u32, valid: u32| {
            let mut lifetimes = address.octets().to_vec();
            lifetimes.extend(preferred.to_be_bytes());
            lifetimes.extend(valid.to_be_bytes());
            add(&mut value, option::ADDRESS, &lifetimes);
        };
        own.into_iter().for_each(|own| address(own, PREFERRED_S, VALID_S));
        self.addresses.iter().filter(|held| Some(**held) != own).for_each(|held| address(*held, 0, 0));
        if own.is_none() {
            add(&mut value, option::STATUS, &NO_ADDRESS.to_be_bytes());
        }
        value
    }
}

impl Inside {
    pub(crate) fn on_dhcp6(&mut self, packet: &Packet<'_>) -> Result<(), Reason> {
        let (Some(own), IpAddr::V6(client), None) = (self.link.v6(), packet.source, packet.fragment) else {
            return Err(Reason::Local);
        };
        if !client.is_unicast_link_local() && !self.link.has(packet.source) {
            return Err(Reason::WrongSource);
        }
        let data = packet.payload().get(UDP_HEADER_BYTES..).ok_or(Reason::Malformed)?;
        let message = Message::parse(data).ok_or(Reason::Malformed)?;
        let duid = duid(self.link.gateway_mac);
        let kind = message.answer(&duid).ok_or(Reason::Local)?;
        let reply = self.reply6(&message, kind, &duid, own);
        let (to_mac, from_mac) = (self.guest, self.link.gateway_mac);
        let ends = Ends { to_mac, from_mac, from: self.link.gateway_v6().into(), to: client.into() };
        let pushed = emit::udp(&mut self.to_guest, ends, (SERVER_PORT, CLIENT_PORT), &reply);
        self.answered(pushed)
    }

    fn reply6(&self, to: &Message<'_>, kind: u8, duid: &[u8], own: Ipv6Addr) -> Vec<u8> {
        let mut reply = Vec::with_capacity(256);
        reply.push(kind);
        reply.extend(to.transaction);
        to.client.into_iter().for_each(|client| add(&mut reply, option::CLIENT, client));
        add(&mut reply, option::SERVER, duid);
        if to.kind == message::SOLICIT && kind == message::REPLY {
            add(&mut reply, option::RAPID_COMMIT, &[]);
        }
        match to.kind {
            message::CONFIRM => {
                let held = to.associations.iter().all(|association| association.addresses.iter().all(|a| *a == own));
                add(&mut reply, option::STATUS, &if held { SUCCESS } else { NOT_ON_LINK }.to_be_bytes());
            }
            message::RELEASE | message::DECLINE => add(&mut reply, option::STATUS, &SUCCESS.to_be_bytes()),
            _ => {
                let own = core::iter::once(Some(own)).chain(core::iter::repeat(None));
                for (association, own) in to.associations.iter().zip(own) {
                    add(&mut reply, option::ASSOCIATION, &association.encode(own));
                }
            }
        }
        let dns: Vec<u8> = self.link.dns6().flat_map(|server| server.octets()).collect();
        if !dns.is_empty() {
            add(&mut reply, option::DNS, &dns);
        }
        reply
    }
}

fn add(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    if let Ok(len) = u16::try_from(value.len()) {
        to.extend(code.to_be_bytes());
        to.extend(len.to_be_bytes());
        to.extend(value);
    }
}

/// The server's name: by its link-layer address (s. 11.4).
fn duid(mac: MacAddr) -> [u8; 10] {
    let mut duid = [0, 3, 0, 1, 0, 0, 0, 0, 0, 0];
    frames::put(&mut duid, 4, &mac);
    duid
}
