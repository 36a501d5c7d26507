//! ARP (RFC 826, 5227) and neighbour discovery (RFC 4861).

use super::ip::{Packet, checksum_is_right};
use super::{ICMPV6, Rules, Wrong};
use crate::frame::be16;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ARP_BYTES: usize = 28;
/// Ethernet, IPv4, and how long their addresses are.
const ARP_START: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Options: the sender's hardware address, the target's, a nonce (RFC 7527).
const OPTIONS: [u8; 3] = [1, 2, 14];

/// Gives the message's length.
pub fn check_arp(to: &[u8], message: &[u8], rules: &Rules) -> Result<usize, Wrong> {
    let message = message.get(..ARP_BYTES).ok_or("ARP that is too short")?;
    let operation = be16(message, 6);
    if !message.starts_with(&ARP_START) || !matches!(operation, Some(1 | 2)) {
        return Err("ARP of another kind".into());
    }
    if message[8..14] != rules.card {
        return Err("ARP that tells another hardware address than the card's".into());
    }
    // A question has no answer yet; an answer goes to whoever has asked.
    let target = &message[18..24];
    if operation == Some(1) && !(target == [0; 6] || target == [0xFF; 6] || target == to || target == rules.card) {
        return Err("an ARP question that tells a hardware address".into());
    }
    let [sender, wanted] =
        [14, 24].map(|at| Ipv4Addr::new(message[at], message[at + 1], message[at + 2], message[at + 3]));
    if !sender.is_unspecified() && !is_of_card(sender.into(), rules) {
        return Err(format!("ARP of {sender}, which the card does not have outside (for {wanted})"));
    }
    Ok(ARP_BYTES)
}

/// Link-local addresses and those of a prefix end as the card's hardware address tells (RFC 4291 app. A): nobody else made them.
pub fn is_of_card(address: IpAddr, rules: &Rules) -> bool {
    let made_of_card = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => rules.ipv6 && address.octets()[8..] == interface_identifier(&rules.card),
    };
    made_of_card || rules.addresses.contains(&address)
}

fn interface_identifier(mac: &[u8; 6]) -> [u8; 8] {
    [mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]]
}

pub fn check_ndp(packet: &Packet<'_>, rules: &Rules) -> Result<(), Wrong> {
    let message = packet.payload;
    let (Some(kind), Some(0)) = (message.first(), message.get(1)) else {
        return Err("ICMPv6 that is no neighbour discovery".into());
    };
    let body = match *kind {
        ROUTER_SOLICITATION => 8,
        NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => 24,
        other => return Err(format!("ICMPv6 of type {other}")),
    };
    if packet.hop_limit != 255 || !checksum_is_right(packet, ICMPV6) {
        return Err("neighbour discovery with a wrong hop limit or checksum".into());
    }
    let unspecified = packet.source == IpAddr::from(Ipv6Addr::UNSPECIFIED);
    if !unspecified && !is_of_card(packet.source, rules) {
        return Err(format!("neighbour discovery of {}, which the card does not have outside", packet.source));
    }
    let target = message.get(8..24).and_then(|target| target.first_chunk::<16>());
    if *kind == NEIGHBOUR_ADVERTISEMENT && !target.is_some_and(|it| is_of_card(Ipv6Addr::from(*it).into(), rules)) {
        return Err("an advertisement of an address that the card does not have outside".into());
    }
    check_options(message.get(body..).ok_or("neighbour discovery that is too short")?, rules)
}

fn check_options(mut options: &[u8], rules: &Rules) -> Result<(), Wrong> {
    while let Some(&kind) = options.first() {
        let len = usize::from(options.get(1).copied().unwrap_or(0)) * 8;
        let option = options.get(..len).filter(|_| len == 8).ok_or("a neighbour discovery option of another length")?;
        if !OPTIONS.contains(&kind) {
            return Err(format!("a neighbour discovery option {kind}"));
        }
        if kind != 14 && option[2..] != rules.card {
            return Err("neighbour discovery that tells another hardware address than the card's".into());
        }
        options = &options[len..];
    }
    Ok(())
}
