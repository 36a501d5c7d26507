//! The oracle: does a capture hold anything of the machine's but the tunnel, and what the network outside needs for it?
//!
//! What may leave is a list, written from the RFCs and WireGuard's whitepaper, not from Shoji's own filter: that is what is judged here.
//!
//! | frame of the machine | it is right if |
//! |---|---|
//! | any | it comes from the card's hardware address, and behind its packet are zeros only, up to Ethernet's least length |
//! | ARP | Ethernet and IPv4, 28 bytes, the sender is the card, with no address or one of its outer ones (`oracle/link.rs`) |
//! | IPv6 neighbour discovery | solicitations and advertisements only, hop limit 255, checksum, options of known kinds (`oracle/link.rs`) |
//! | DHCP | a client's message with options that an implementation without a host name, vendor or user sends (`oracle/dhcp.rs`) |
//! | DNS | one question for a name of an endpoint, to a server that may be asked (`oracle/dns.rs`) |
//! | UDP to a peer | a WireGuard message of a known type and length; counters of data rise; nothing is sent twice (`oracle/wireguard.rs`) |
//! | anything else | never |
//!
//! IP packets have no options, no extension headers, and are not fragments. And no frame of either direction holds a secret: words that
//! the guest is known to have sent.

mod dhcp;
mod dns;
mod ip;
mod link;
#[cfg(test)]
mod tests;
mod wireguard;

use crate::frame::{Direction, Frame, be16, shown_mac};
use anyhow::Result;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

const ETHERNET_HEADER: usize = 14;
/// Without the checksum.
const LEAST_FRAME: usize = 60;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86DD;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const DHCP_CLIENT: u16 = 68;
const DHCP_SERVER: u16 = 67;
const DNS: u16 = 53;
/// Violations that are kept in words, the first of each kind; the rest are counted.
const KEPT: usize = 40;

/// What the machine may say.
#[derive(Clone, Debug)]
pub struct Rules {
    pub card: [u8; 6],
    /// Endpoints of the tunnel's peers.
    pub peers: Vec<SocketAddr>,
    /// Of the tunnel: packets of that length are not padded.
    pub tunnel_mtu: usize,
    /// Addresses that the card may have outside; with DHCP also those that the capture gives it.
    pub addresses: Vec<IpAddr>,
    pub dhcp: bool,
    /// IPv6 outside: neighbour discovery and addresses that the card makes itself.
    pub ipv6: bool,
    /// Servers that may be asked for names, and for which.
    pub dns: Vec<IpAddr>,
    pub names: Vec<String>,
    /// Words that the guest sends.
    pub secrets: Vec<Vec<u8>>,
}

/// A frame that should not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    pub number: u64,
    /// Since the capture's first frame.
    pub time_ns: u64,
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {} at {:.3} s: {}", self.number, self.time_ns as f64 / 1e9, self.why)
    }
}

/// The verdict. The counts are of right frames of the machine: a capture without any proves nothing.
#[derive(Clone, Default, Debug)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// All frames that are wrong, also those that are not kept.
    pub wrong: u64,
    /// From the machine.
    pub sent: u64,
    pub received: u64,
    pub arp: u64,
    pub ndp: u64,
    pub dhcp: u64,
    pub dns: u64,
    /// WireGuard's messages by type: initiations, responses, cookies, data; and of data those without a packet.
    pub messages: [u64; 4],
    pub keepalives: u64,
}

impl Verdict {
    pub fn initiations(&self) -> u64 {
        self.messages[0]
    }

    pub fn data(&self) -> u64 {
        self.messages[3]
    }

    /// # Errors
    /// The capture holds what it should not, in words.
    pub fn accept(&self) -> Result<()> {
        let list: Vec<String> = self.violations.iter().map(|violation| format!("  {violation}")).collect();
        anyhow::ensure!(
            self.wrong == 0,
            "{} frames should not be; the first of each kind:\n{}",
            self.wrong,
            list.join("\n")
        );
        Ok(())
    }
}

/// The judge of one capture.
pub struct Oracle {
    rules: Rules,
    verdict: Verdict,
    start_ns: Option<u64>,
    wireguard: wireguard::Judge,
}

/// Judges a capture from its first frame to its last.
///
/// # Errors
/// It cannot be read.
pub fn judge(rules: Rules, frames: impl Iterator<Item = Result<Frame>>) -> Result<Verdict> {
    let mut oracle = Oracle::new(rules);
    for frame in frames {
        oracle.take(&frame?);
    }
    Ok(oracle.verdict)
}

/// Why a frame is wrong.
type Wrong = String;

impl Oracle {
    pub fn new(rules: Rules) -> Self {
        Self { rules, verdict: Verdict::default(), start_ns: None, wireguard: wireguard::Judge::default() }
    }

    /// The next frame.
    pub fn take(&mut self, frame: &Frame) {
        let start_ns = *self.start_ns.get_or_insert(frame.time_ns);
        let result = match frame.direction {
            Direction::FromMachine => {
                self.verdict.sent += 1;
                self.check(&frame.bytes)
            }
            Direction::ToMachine => {
                self.verdict.received += 1;
                self.learn(&frame.bytes);
                Ok(())
            }
        };
        let secret = self.rules.secrets.iter().find(|secret| holds(&frame.bytes, secret));
        let told = secret.map(|secret| format!("it holds \"{}\"", String::from_utf8_lossy(secret)));
        if let Some(why) = result.err().into_iter().chain(told).reduce(|one, other| format!("{one}; {other}")) {
            self.verdict.wrong += 1;
            let is_told = self.verdict.violations.iter().any(|violation| violation.why == why);
            if !is_told && self.verdict.violations.len() < KEPT {
                let time_ns = frame.time_ns.saturating_sub(start_ns);
                self.verdict.violations.push(Violation { number: frame.number, time_ns, why });
            }
        }
    }

    /// Of the network's answers only what gives the card an address.
    fn learn(&mut self, frame: &[u8]) {
        if self.rules.dhcp
            && let Some(address) = dhcp::granted(frame, &self.rules.card)
            && !self.rules.addresses.contains(&address)
        {
            self.rules.addresses.push(address);
        }
    }

    fn check(&mut self, frame: &[u8]) -> Result<(), Wrong> {
        let (Some(to), Some(from), Some(kind)) = (frame.get(..6), frame.get(6..12), be16(frame, 12)) else {
            return Err("it is too short for Ethernet".into());
        };
        if from != self.rules.card {
            return Err(format!("it comes from {}, which is not the card", shown_mac(from)));
        }
        let payload = &frame[ETHERNET_HEADER..];
        let len = match kind {
            ARP => link::check_arp(to, payload, &self.rules).inspect(|_| self.verdict.arp += 1)?,
            IPV4 | IPV6 => self.check_ip(to, kind, payload)?,
            _ => return Err(format!("its protocol is {kind:04x}: neither ARP nor IP")),
        };
        let padding = payload.get(len..).ok_or("it is shorter than its header says")?;
        if !padding.is_empty() && (frame.len() > LEAST_FRAME || padding.iter().any(|byte| *byte != 0)) {
            return Err(format!("{} bytes lie behind its packet", padding.len()));
        }
        Ok(())
    }

    /// Gives the packet's length.
    fn check_ip(&mut self, to: &[u8], kind: u16, payload: &[u8]) -> Result<usize, Wrong> {
        let packet = ip::parse(kind, payload)?;
        let shown = format!("IP protocol {}, {} to {}", packet.protocol, packet.source, packet.destination);
        match packet.protocol {
            UDP => self.check_udp(to, &packet, &shown)?,
            ICMPV6 if self.rules.ipv6 && packet.source.is_ipv6() => {
                link::check_ndp(&packet, &self.rules)?;
                self.verdict.ndp += 1;
            }
            _ => return Err(format!("{shown}: it is not of the tunnel")),
        }
        Ok(packet.len)
    }

    fn check_udp(&mut self, to: &[u8], packet: &ip::Packet<'_>, shown: &str) -> Result<(), Wrong> {
        let datagram = ip::udp(packet)?;
        let way = (datagram.source, datagram.destination);
        if self.rules.dhcp && packet.source.is_ipv4() && way == (DHCP_CLIENT, DHCP_SERVER) {
            dhcp::check(to, packet, datagram.payload, &self.rules)?;
            self.verdict.dhcp += 1;
            return Ok(());
        }
        if !link::is_of_card(packet.source, &self.rules) {
            return Err(format!("{shown}: the card does not have that address"));
        }
        if datagram.destination == DNS && self.rules.dns.contains(&packet.destination) {
            dns::check(datagram.payload, &self.rules.names)?;
            self.verdict.dns += 1;
            return Ok(());
        }
        if !self.rules.peers.contains(&SocketAddr::new(packet.destination, datagram.destination)) {
            return Err(format!("{shown}, UDP port {}: it is not of the tunnel", datagram.destination));
        }
        let message = self.wireguard.check(datagram.payload, self.rules.tunnel_mtu)?;
        self.verdict.messages[message.kind] += 1;
        self.verdict.keepalives += u64::from(message.is_keepalive);
        Ok(())
    }
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    !secret.is_empty() && bytes.windows(secret.len()).any(|window| window == secret)
}
