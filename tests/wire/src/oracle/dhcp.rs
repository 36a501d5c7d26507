//! DHCP of a client (RFC 2131, 2132). Whoever names a host, a vendor or a user is a guest.

use super::ip::{self, Packet};
use super::{DHCP_CLIENT, DHCP_SERVER, ETHERNET_HEADER, IPV4, Rules, UDP, Wrong};
use crate::frame::be16;
use std::net::{IpAddr, Ipv4Addr};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const YOUR_ADDRESS_AT: usize = 16;
const HARDWARE_AT: usize = 28;
/// Hardware address's rest, server's name, boot file: nothing stands there.
const EMPTY: std::ops::Range<usize> = 34..236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTIONS_AT: usize = 240;
const PAD: u8 = 0;
const END: u8 = 255;
const MESSAGE_TYPE: u8 = 53;
const ACK: u8 = 5;
/// What a client says: discover, request, decline, release.
const OF_CLIENT: [u8; 4] = [1, 3, 4, 7];
/// Requested address, type, server, parameters asked for, greatest size, client identifier.
const OPTIONS: [u8; 6] = [50, MESSAGE_TYPE, 54, 55, 57, 61];
const CLIENT_IDENTIFIER: u8 = 61;

pub fn check(to: &[u8], packet: &Packet<'_>, message: &[u8], rules: &Rules) -> Result<(), Wrong> {
    let source_is_right =
        packet.source == IpAddr::from(Ipv4Addr::UNSPECIFIED) || super::link::is_of_card(packet.source, rules);
    if !source_is_right || to == rules.card {
        return Err(format!("DHCP from {}", packet.source));
    }
    if !message.starts_with(&[REQUEST, 1, 6, 0]) || message.get(HARDWARE_AT..HARDWARE_AT + 6) != Some(&rules.card) {
        return Err("DHCP that is not of the card".into());
    }
    if message.get(EMPTY).is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
        return Err("DHCP with a name or a file".into());
    }
    let options = options(message)?;
    for (kind, value) in &options {
        let is_known =
            OPTIONS.contains(kind) && (*kind != CLIENT_IDENTIFIER || (value[..] == [&[1][..], &rules.card].concat()));
        if !is_known {
            return Err(format!("DHCP with the option {kind}: {value:02x?}"));
        }
    }
    match options.iter().find(|(kind, _)| *kind == MESSAGE_TYPE) {
        Some((_, [kind])) if OF_CLIENT.contains(kind) => Ok(()),
        _ => Err("DHCP that is no client's".into()),
    }
}

/// Up to the end, behind which are zeros.
fn options(message: &[u8]) -> Result<Vec<(u8, &[u8])>, Wrong> {
    if message.get(236..OPTIONS_AT) != Some(&COOKIE) {
        return Err("BOOTP without DHCP's options".into());
    }
    let (mut rest, mut found) = (&message[OPTIONS_AT..], Vec::new());
    loop {
        match rest {
            [PAD, more @ ..] => rest = more,
            [END, more @ ..] if more.iter().all(|byte| *byte == 0) => return Ok(found),
            [END, ..] => return Err("DHCP with something behind its end".into()),
            [kind, len, more @ ..] if usize::from(*len) <= more.len() => {
                let (value, behind) = more.split_at(usize::from(*len));
                found.push((*kind, value));
                rest = behind;
            }
            _ => return Err("DHCP whose options do not end".into()),
        }
    }
}

/// The address that a server's ACK in this frame gives to the card.
pub fn granted(frame: &[u8], card: &[u8; 6]) -> Option<IpAddr> {
    let kind = be16(frame, 12).filter(|kind| *kind == IPV4)?;
    let packet = ip::parse(kind, &frame[ETHERNET_HEADER..]).ok().filter(|packet| packet.protocol == UDP)?;
    let datagram = ip::udp(&packet).ok()?;
    let message = datagram.payload;
    let is_answer =
        (datagram.source, datagram.destination) == (DHCP_SERVER, DHCP_CLIENT) && message.first() == Some(&REPLY);
    let is_for_card = message.get(HARDWARE_AT..HARDWARE_AT + 6) == Some(card);
    let is_ack = options(message).ok()?.iter().any(|(kind, value)| (*kind, *value) == (MESSAGE_TYPE, &[ACK]));
    let address: [u8; 4] = *message.get(YOUR_ADDRESS_AT..)?.first_chunk()?;
    (is_answer && is_for_card && is_ack).then(|| Ipv4Addr::from(address).into())
}
