//! The packets inside the tunnel: what one end sent against what the other end saw.
//!
//! Both lists come from captures. Between two pings of lengths that nothing else has, every packet from the one end to the other must be seen
//! once, in its flow's order; what the wire has lost on purpose may be missing. A packet is compared by everything but what a
//! way may change or an end may leave to its card: hop limit, checksums, and the greatest segment in a SYN.

use crate::frame::be16;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of data in the pings around what is compared.
pub const FIRST_PING: usize = 999;
pub const LAST_PING: usize = 998;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_HEADER: usize = 8;
const ECHO: [u8; 2] = [8, 0];
const SYN: u8 = 2;
const TCP_MAX_SEGMENT: u8 = 2;

/// Addresses, protocol, and ports or the echo's identifier.
type Flow = (IpAddr, IpAddr, u8, [u8; 4]);

/// What was compared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    pub sent: usize,
    pub missing: usize,
    pub flows: usize,
}

/// Compares what went `from` one address `to` the other. `order` false: the wire was asked to change it.
///
/// # Errors
/// Something was seen that was not sent, or more often, or in another order, or more than `may_miss` are missing.
pub fn compare(
    sent: &[Vec<u8>],
    seen: &[Vec<u8>],
    ends: [&[IpAddr]; 2],
    may_miss: u64,
    order: bool,
) -> Result<Summary> {
    let (sent, seen) = (between_pings(sent)?, between_pings(seen)?);
    let [sent, seen] = [sent, seen].map(|packets| flows(packets, ends));
    let mut summary = Summary::default();
    let stray = seen.keys().find(|flow| !sent.contains_key(*flow));
    ensure!(stray.is_none(), "packets of {} were seen that nobody has sent", stray.map(shown).unwrap_or_default());
    for (flow, sent) in &sent {
        let none = Vec::new();
        let seen = seen.get(flow).unwrap_or(&none);
        let found = if order { ordered(sent, seen) } else { unordered(sent, seen) };
        found.with_context(|| format!("of {} sent and {} seen packets of {}", sent.len(), seen.len(), shown(flow)))?;
        summary.sent += sent.len();
        summary.missing += sent.len() - seen.len();
        summary.flows += 1;
    }
    ensure!(summary.missing as u64 <= may_miss, "{} packets are missing, {may_miss} may be", summary.missing);
    Ok(summary)
}

fn shown((from, to, protocol, ports): &Flow) -> String {
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    format!("{from} to {to}, protocol {protocol}, {} to {}", port(0), port(2))
}

/// Behind the last ping of the first kind (the ones before it may have got no answer), before the first of the last kind.
fn between_pings(packets: &[Vec<u8>]) -> Result<&[Vec<u8>]> {
    let is_ping = |packet: &[u8], bytes: usize| {
        packet.first() == Some(&0x45)
            && packet.get(9) == Some(&ICMP)
            && packet.len() == 20 + ICMP_HEADER + bytes
            && matches!(packet.get(20), Some(0 | 8))
    };
    let first =
        packets.iter().rposition(|packet| is_ping(packet, FIRST_PING)).context("no first ping in the capture")?;
    let last = packets.iter().position(|packet| is_ping(packet, LAST_PING)).context("no last ping in the capture")?;
    packets.get(first + 1..last).context("the last ping comes before the first")
}

fn flows(packets: &[Vec<u8>], [from, to]: [&[IpAddr]; 2]) -> BTreeMap<Flow, Vec<Vec<u8>>> {
    let mut flows: BTreeMap<Flow, Vec<Vec<u8>>> = BTreeMap::new();
    for packet in packets {
        if let Some((flow, same)) =
            normal(packet).filter(|((source, target, ..), _)| from.contains(source) && to.contains(target))
        {
            flows.entry(flow).or_default().push(same);
        }
    }
    flows
}

/// The packet's flow, and its bytes without what may differ.
fn normal(packet: &[u8]) -> Option<(Flow, Vec<u8>)> {
    let mut same = packet.to_vec();
    let (source, target, protocol, payload): (IpAddr, IpAddr, u8, usize) = if packet.first()? >> 4 == 4 {
        // Time to live, checksum.
        same[8] = 0;
        same.get_mut(10..12)?.fill(0);
        let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
        let header = usize::from(packet[0] & 0xF) * 4;
        (address(12)?.into(), address(16)?.into(), packet[9], header)
    } else {
        same[7] = 0;
        let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
        (address(8)?.into(), address(24)?.into(), packet[6], 40)
    };
    let fragment = packet[0] >> 4 == 4 && be16(packet, 6)? & 0x1FFF != 0;
    let upper = packet.get(payload..)?;
    let mut ports = [0; 4];
    match protocol {
        _ if fragment => {}
        UDP => {
            ports = *upper.first_chunk()?;
            same.get_mut(payload + 6..payload + 8)?.fill(0);
        }
        TCP => {
            ports = *upper.first_chunk()?;
            same.get_mut(payload + 16..payload + 18)?.fill(0);
            forget_segment(&mut same[payload..]);
        }
        // Of an echo its identifier, so that each run of ping is a flow.
        ICMP if upper.starts_with(&ECHO) || upper.starts_with(&[0, 0]) => ports[..2].copy_from_slice(upper.get(4..6)?),
        _ => {}
    }
    Some(((source, target, protocol, ports), same))
}

/// A tunnel may lower the greatest segment.
fn forget_segment(segment: &mut [u8]) {
    let header = usize::from(segment[12] >> 4) * 4;
    if segment[13] & SYN == 0 || header > segment.len() {
        return;
    }
    let mut at = 20;
    while at + 3 < header {
        match segment[at] {
            0 => return,
            1 => at += 1,
            TCP_MAX_SEGMENT => {
                segment[at + 2..at + 4].fill(0);
                return;
            }
            _ => at += usize::from(segment[at + 1]).max(2),
        }
    }
}

/// All that was seen was sent, in this order.
fn ordered(sent: &[Vec<u8>], seen: &[Vec<u8>]) -> Result<()> {
    let mut rest = sent.iter();
    for (number, packet) in seen.iter().enumerate() {
        let found = rest.any(|one| one == packet);
        ensure!(found, "number {} was not sent, or not then, or not so often", number + 1);
    }
    Ok(())
}

/// All that was seen was sent, as often.
fn unordered(sent: &[Vec<u8>], seen: &[Vec<u8>]) -> Result<()> {
    let mut left: HashMap<&[u8], usize> = HashMap::new();
    sent.iter().for_each(|packet| *left.entry(packet).or_default() += 1);
    for (number, packet) in seen.iter().enumerate() {
        let count = left.get_mut(packet.as_slice()).filter(|count| **count > 0);
        *count.with_context(|| format!("number {} was not sent, or not so often", number + 1))? -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: [u8; 4] = [10, 77, 0, 2];
    const PEER: [u8; 4] = [10, 77, 0, 1];

    fn packet(protocol: u8, upper: &[u8]) -> Vec<u8> {
        let len = (20 + upper.len() as u16).to_be_bytes();
        [&[0x45, 0][..], &len, &[0, 0, 0, 0, 64, protocol, 1, 2], &GUEST, &PEER, upper].concat()
    }

    fn ping(bytes: usize) -> Vec<u8> {
        packet(ICMP, &[&[8, 0, 0, 0, 0, 1, 0, 1][..], &vec![1; bytes]].concat())
    }

    fn datagram(port: u8, number: u8) -> Vec<u8> {
        packet(UDP, &[0, port, 0, 9, 0, 9, 3, 4, number])
    }

    fn list(inside: &[Vec<u8>]) -> Vec<Vec<u8>> {
        // The first ping got no answer; what lies around the two does not count.
        [
            &[datagram(9, 9), ping(FIRST_PING), datagram(9, 8), ping(FIRST_PING)][..],
            inside,
            &[ping(LAST_PING), datagram(9, 7)],
        ]
        .concat()
    }

    fn compared(sent: &[Vec<u8>], seen: &[Vec<u8>], may_miss: u64, order: bool) -> Result<Summary> {
        let [guest, peer] = [GUEST, PEER].map(IpAddr::from);
        compare(&list(sent), &list(seen), [&[guest], &[peer]], may_miss, order)
    }

    fn numbers(numbers: &[u8]) -> Vec<Vec<u8>> {
        numbers.iter().map(|number| datagram(1, *number)).collect()
    }

    #[test]
    fn the_same_packets_are_the_same_whatever_a_router_changes() {
        let sent = [numbers(&[1, 2, 2, 3]), vec![datagram(2, 1), ping(56)]].concat();
        let mut seen = sent.clone();
        // Hop limit, checksums.
        seen.iter_mut().for_each(|packet| packet[8] -= 1);
        seen.iter_mut().for_each(|packet| packet[10] ^= 1);
        seen[0][26] ^= 7;
        // Flows may overtake each other.
        seen.rotate_right(1);
        let summary = compared(&sent, &seen, 0, true).unwrap();
        assert_eq!(summary, Summary { sent: 6, missing: 0, flows: 3 });
    }

    #[test]
    fn what_is_lost_doubled_moved_made_up_or_changed_is_found() {
        let sent = numbers(&[1, 2, 3]);
        for (seen, word) in [
            (numbers(&[1, 3]), "1 packets are missing"),
            (numbers(&[1, 2, 2, 3]), "number 3"),
            (numbers(&[2, 1, 3]), "number 2"),
            (numbers(&[1, 2, 4]), "number 3"),
            (vec![datagram(7, 1)], "nobody has sent"),
        ] {
            let error = format!("{:#}", compared(&sent, &seen, 0, true).unwrap_err());
            assert!(error.contains(word), "{error} without {word}");
        }
        assert_eq!(compared(&sent, &numbers(&[1, 3]), 1, true).unwrap().missing, 1);
        assert!(compared(&sent, &numbers(&[2, 1, 3]), 0, false).is_ok());
        assert!(compared(&sent, &numbers(&[2, 2, 3]), 9, false).is_err());
    }

    #[test]
    fn of_a_syn_only_the_greatest_segment_may_differ() {
        let syn = |segment: u8, window: u8| {
            let header =
                [&[0, 1, 0, 80][..], &[0; 8], &[0x70, SYN, window, 0, 5, 5, 0, 0], &[1, 1, 1, 1, 2, 4, 5, segment]];
            packet(TCP, &header.concat())
        };
        assert!(compared(&[syn(1, 1)], &[syn(2, 1)], 0, true).is_ok());
        assert!(compared(&[syn(1, 1)], &[syn(1, 2)], 0, true).is_err());
    }

    #[test]
    fn a_capture_without_its_pings_proves_nothing() {
        let ends = [&[GUEST.into()][..], &[PEER.into()]];
        assert!(compare(&numbers(&[1]), &numbers(&[1]), ends, 0, true).is_err());
    }
}
