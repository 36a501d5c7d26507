//! Addresses by router advertisements (RFC 4861 s. 6.3, RFC 4862 s. 5.5, RFC 8106).
//!
//! smoltcp has this too, but its version 0.14 panics at prefixes longer than 128 bits and at multicast ones, which anybody on the link can
//! send, and gives up after three solicitations.

use alloc::vec::Vec;
use core::net::Ipv6Addr;
use mediator::Instant;
use mediator::net::MacAddr;

/// s. 10 of RFC 4861: this many solicitations 4 s apart; then, by RFC 7559, in doubling intervals.
const SOLICITATIONS: u32 = 3;
const INTERVAL_S: u64 = 4;
const MAX_INTERVAL_S: u64 = 3600;
const NS_PER_S: u64 = 1_000_000_000;
/// RFC 4862 s. 5.5.3 e: a lifetime is not shortened below this by what may be forged.
const TWO_HOURS_S: u64 = 7200;
/// The only length that interface identifiers of Ethernet leave (RFC 2464 s. 4).
const PREFIX_BITS: u8 = 64;
const FIXED_BYTES: usize = 16;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_DNS: u8 = 25;
const FLAG_AUTONOMOUS: u8 = 0x40;
const MIN_MTU: u32 = 1280;
const MAX_SERVERS: usize = 4;

/// An address by a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Address {
    own: Ipv6Addr,
    /// From then on it is deprecated (RFC 4862 s. 5.5.4): one of another prefix takes its place.
    preferred_until: Instant,
    until: Instant,
}

/// What routers have told.
pub struct Slaac {
    mac: MacAddr,
    solicit_at: Option<Instant>,
    sent: u32,
    router: Option<(Ipv6Addr, Instant)>,
    address: Option<Address>,
    /// Servers, and when each ends.
    dns: Vec<(Ipv6Addr, Instant)>,
    /// The accepted router's word; it ends with the router.
    mtu: Option<u16>,
}

impl Slaac {
    pub fn new(mac: MacAddr, now: Instant) -> Self {
        Self { mac, solicit_at: Some(now), sent: 0, router: None, address: None, dns: Vec::new(), mtu: None }
    }

    pub fn router(&self) -> Option<Ipv6Addr> {
        self.router.map(|(router, _)| router)
    }

    pub fn address(&self) -> Option<Ipv6Addr> {
        self.address.map(|address| address.own)
    }

    pub fn dns(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.dns.iter().map(|(server, _)| *server)
    }

    pub fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = [self.solicit_at, self.router.map(|(_, until)| until), self.address.map(|address| address.until)];
        ends.into_iter().flatten().chain(self.dns.iter().map(|(_, until)| *until)).min()
    }

    /// Is a solicitation due? Counts it as sent.
    pub fn solicits(&mut self, now: Instant) -> bool {
        let is_due = self.solicit_at.is_some_and(|at| at <= now);
        if is_due {
            self.sent = self.sent.saturating_add(1);
            let doublings = self.sent.saturating_sub(SOLICITATIONS).min(10);
            let pause_s = INTERVAL_S.saturating_mul(1 << doublings).min(MAX_INTERVAL_S);
            self.solicit_at = Some(after(now, pause_s));
        }
        is_due
    }

    /// Forgets what has ended. True: something has.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = (self.router, self.address, self.dns.len());
        self.router = self.router.filter(|(_, until)| *until > now);
        self.address = self.address.filter(|address| address.until > now);
        self.dns.retain(|(_, until)| *until > now);
        if self.router.is_none() {
            self.mtu = None;
            if self.solicit_at.is_none() {
                (self.sent, self.solicit_at) = (0, Some(now));
            }
        }
        before != (self.router, self.address, self.dns.len())
    }

    /// A message whose checksum and hop limit hold. True: something has changed. A message that contradicts itself changes nothing.
    pub fn on_advertisement(&mut self, now: Instant, source: Ipv6Addr, message: &[u8]) -> bool {
        let Some(options) = message.get(FIXED_BYTES..).and_then(split_options) else { return false };
        let Some(lifetime_s) = frames::be16(message, 6).filter(|_| source.is_unicast_link_local()) else {
            return false;
        };
        let before = self.told();
        if lifetime_s != 0 {
            // The first router stays until it ends, whoever else speaks.
            if self.router().is_none_or(|router| router == source) {
                self.router = Some((source, after(now, lifetime_s.into())));
            }
            self.solicit_at = None;
        } else if self.router() == Some(source) {
            self.router = None;
        }
        for (kind, value) in options {
            match kind {
                OPTION_PREFIX => self.on_prefix(now, value),
                OPTION_MTU if self.router() == Some(source) => self.on_mtu(value),
                OPTION_DNS => self.on_dns(now, value),
                _ => {}
            }
        }
        self.expire(now);
        before != self.told()
    }

    /// All that others see of it.
    fn told(&self) -> (Option<Ipv6Addr>, Option<Ipv6Addr>, Vec<Ipv6Addr>, Option<u16>) {
        (self.router(), self.address(), self.dns().collect(), self.mtu)
    }

    /// RFC 4861 s. 4.6.2, RFC 4862 s. 5.5.3. One address is enough: of the first prefix that is not deprecated.
    fn on_prefix(&mut self, now: Instant, value: &[u8]) {
        let [Some(&bits), Some(&flags)] = [0, 1].map(|at| value.get(at)) else { return };
        let (Some(valid_s), Some(preferred_s)) = (frames::be32(value, 2), frames::be32(value, 6)) else { return };
        let Some(prefix) = value.get(14..).and_then(|rest| rest.first_chunk::<8>()) else { return };
        let address = self.address_of(*prefix);
        let is_usable = frames::is_unicast(address.into()) && !address.is_unicast_link_local();
        if bits != PREFIX_BITS || flags & FLAG_AUTONOMOUS == 0 || preferred_s > valid_s || !is_usable {
            return;
        }
        let (valid_s, preferred_until) = (u64::from(valid_s), after(now, preferred_s.into()));
        let until = match self.address {
            Some(known) if known.own == address => {
                let left_s = known.until.0.saturating_sub(now.0) / NS_PER_S;
                if valid_s > TWO_HOURS_S || valid_s > left_s {
                    after(now, valid_s)
                } else {
                    known.until.min(after(now, TWO_HOURS_S))
                }
            }
            // Another prefix: only in the place of a deprecated address, and only if it is not deprecated itself.
            Some(known) if known.preferred_until > now || preferred_s == 0 => return,
            _ if valid_s == 0 => return,
            _ => after(now, valid_s),
        };
        self.address = Some(Address { own: address, preferred_until, until });
    }

    fn on_mtu(&mut self, value: &[u8]) {
        let mtu = frames::be32(value, 2).filter(|mtu| *mtu >= MIN_MTU);
        self.mtu = mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX)).or(self.mtu);
    }

    /// RFC 8106 s. 5.1. A server's end is renewed where it stands: the order is that in which they were told.
    fn on_dns(&mut self, now: Instant, value: &[u8]) {
        let Some(lifetime_s) = frames::be32(value, 2) else { return };
        let until = after(now, lifetime_s.into());
        let servers = value.get(6..).unwrap_or_default().as_chunks::<16>().0;
        for server in servers.iter().map(|octets| Ipv6Addr::from(*octets)) {
            let has_room = self.dns.len() < MAX_SERVERS;
            match self.dns.iter_mut().find(|(known, _)| *known == server) {
                // One that ends now goes with `expire`.
                Some((_, end)) => *end = until,
                None if lifetime_s != 0 && has_room && frames::is_unicast(server.into()) => {
                    self.dns.push((server, until));
                }
                None => {}
            }
        }
    }

    fn address_of(&self, prefix: [u8; 8]) -> Ipv6Addr {
        let [_, _, _, _, _, _, _, _, identifier @ ..] = link_local(self.mac).octets();
        let mut octets = [0; 16];
        frames::put(&mut octets, 0, &prefix);
        frames::put(&mut octets, 8, &identifier);
        octets.into()
    }
}

/// By the hardware address (RFC 4291 appendix A).
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xFE, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xFF, 0xFE, d, e, f])
}

/// Kinds and values behind kind and length; `None` if one is empty or longer than what is left (RFC 4861 s. 4.6, 6.1.2).
fn split_options(mut rest: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut options = Vec::new();
    while let Some((kind, behind)) = rest.split_first() {
        let units = usize::from(*behind.first()?);
        let (option, next) = rest.split_at_checked(units.checked_mul(8)?)?;
        options.push((*kind, option.get(2..)?));
        rest = next;
    }
    Some(options)
}

fn after(now: Instant, seconds: u64) -> Instant {
    Instant(now.0.saturating_add(seconds.saturating_mul(NS_PER_S)))
}
