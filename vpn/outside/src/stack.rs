//! The stack as a whole: frames, datagrams and time in and out.

use crate::addresses::{Addresses, Lease};
use crate::config::{Config, ConfigError, Ipv4, Ipv6};
use crate::counters::{Counters, Unwanted};
use crate::device::Device;
use crate::dhcp;
use crate::discovery;
use crate::egress::Egress;
use crate::ingress::{self, Judged};
use crate::lanes::{Lanes, NoRoom};
use crate::names::{Families, Names, Resolved};
use crate::reassembly::Reassembly;
use crate::slaac::{self, Slaac};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use frames::ETHERNET_BYTES;
use mediator::Instant;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::{dhcpv4, dns, udp};
use smoltcp::time;
use smoltcp::wire::{EthernetAddress, HardwareAddress};

const UDP_HEADER_BYTES: usize = 8;
/// Why a datagram was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// There is no address to send from, or no way there, or the cable is out.
    Unreachable,
    /// It does not fit into a packet of the wire.
    TooLong,
    /// Too many wait.
    NoRoom,
    NoSuchPort,
}

/// The stack.
pub struct Outside {
    config: Config,
    device: Device,
    interface: Interface,
    sockets: SocketSet<'static>,
    /// Of each port of the tunnel.
    lanes: Vec<Lanes>,
    dhcp: Option<SocketHandle>,
    dns: SocketHandle,
    lease: Option<Lease>,
    slaac: Option<Slaac>,
    addresses: Addresses,
    reassembly: Reassembly,
    names: Names,
    link_up: bool,
}

impl Outside {
    /// # Errors
    /// [`ConfigError`]: what is wrong with the configuration.
    pub fn new(config: Config, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let egress =
            Egress { mac: config.mac, ports: config.ports.clone(), dhcp: config.ipv4 == Ipv4::Dhcp, dns: Vec::new() };
        let [.., high, low] = config.seed.to_be_bytes();
        let mut device = Device::new(egress, config.mtu, u16::from_be_bytes([high, low]));
        let mut settings = smoltcp::iface::Config::new(HardwareAddress::Ethernet(EthernetAddress(config.mac)));
        settings.random_seed = config.seed;
        let interface = Interface::new(settings, &mut device, to_smoltcp(now));
        let mut sockets = SocketSet::new(Vec::new());
        let mut lanes = Vec::new();
        for number in &config.ports {
            lanes.push(Lanes::new(*number, &mut sockets).ok_or(ConfigError("a port of the tunnel is 0"))?);
        }
        let dhcp = (config.ipv4 == Ipv4::Dhcp).then(|| sockets.add(dhcpv4::Socket::new()));
        let dns = sockets.add(dns::Socket::new(&[], vec![]));
        let slaac = (config.ipv6 == Ipv6::Slaac).then(|| Slaac::new(config.mac, now));
        let mut outside = Self {
            config,
            device,
            interface,
            sockets,
            lanes,
            dhcp,
            dns,
            lease: None,
            slaac,
            addresses: Addresses::default(),
            reassembly: Reassembly::default(),
            names: Names::default(),
            // Until told.
            link_up: false,
        };
        outside.settle();
        Ok(outside)
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.device.transmitter.counters
    }

    /// Our addresses, but for the link-local one.
    #[must_use]
    pub fn addresses(&self) -> (Option<core::net::Ipv4Addr>, Option<core::net::Ipv6Addr>) {
        (self.addresses.v4.map(|(address, ..)| address), self.addresses.v6.map(|(address, ..)| address))
    }

    /// Is there an address to send from at all?
    #[must_use]
    pub fn has_address(&self) -> bool {
        self.link_up && (self.addresses.v4.is_some() || self.addresses.v6.is_some())
    }

    /// Is there an address to send to this one from?
    #[must_use]
    pub fn reaches(&self, to: IpAddr) -> bool {
        self.link_up && if to.is_ipv4() { self.addresses.v4.is_some() } else { self.addresses.v6.is_some() }
    }

    /// Longest packet that the wire takes whatever its version, in bytes: as configured, or less if its router says so.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.config.mtu.min(self.slaac.as_ref().and_then(Slaac::mtu).unwrap_or(u16::MAX))
    }

    /// Longest datagram that fits into a packet of the wire, to an address of this family.
    #[must_use]
    pub fn max_datagram_bytes(&self, to: IpAddr) -> usize {
        let (mtu, header_bytes) = match to {
            IpAddr::V4(_) => (self.config.mtu, 20usize),
            IpAddr::V6(_) => (self.mtu(), 40),
        };
        usize::from(mtu).saturating_sub(header_bytes).saturating_sub(UDP_HEADER_BYTES)
    }

    /// A frame of the wire.
    pub fn on_frame(&mut self, now: Instant, frame: &[u8]) {
        if self.link_up
            && let Err(why) = self.take(now, frame)
        {
            self.device.transmitter.counters.ignore(why);
        }
    }

    fn take(&mut self, now: Instant, frame: &[u8]) -> Result<(), Unwanted> {
        let is_own = |address| self.addresses.has(address);
        match ingress::judge(frame, &self.device.transmitter.egress, &is_own)? {
            Judged::Stack => self.device.receive(&[frame]),
            Judged::Dhcp => match dhcp::with_one_router(frame) {
                Some(changed) => self.device.receive(&[&changed]),
                None => self.device.receive(&[frame]),
            },
            Judged::RouterAdvertisement(packet) => {
                if let (Some(slaac), IpAddr::V6(source)) = (&mut self.slaac, packet.source)
                    && slaac.on_advertisement(now, source, packet.payload())
                {
                    self.settle();
                }
            }
            Judged::Fragment(piece) => {
                let whole = self.reassembly.on_piece(now, &piece).map_err(|_| Unwanted::Fragment)?;
                let (Some(packet), Some(header)) = (whole, frame.get(..ETHERNET_BYTES)) else { return Ok(()) };
                let frame = [header, &packet].concat();
                match ingress::judge(&frame, &self.device.transmitter.egress, &is_own)? {
                    Judged::Stack => self.device.receive(&[&frame]),
                    _ => return Err(Unwanted::Fragment),
                }
            }
        }
        let counters = &mut self.device.transmitter.counters;
        counters.received = counters.received.wrapping_add(1);
        self.poll(now);
        Ok(())
    }

    /// The next frame for the wire, at the start of `frame`.
    pub fn poll_frame(&mut self, frame: &mut [u8]) -> Option<usize> {
        self.device.transmitter.poll_frame(frame)
    }

    /// Do datagrams wait for a neighbour, or for room in the wire's queue?
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.link_up && self.lanes.iter().any(Lanes::has_waiting)
    }

    /// Sends a datagram from the tunnel's port with this number in the configuration's list.
    ///
    /// # Errors
    /// [`SendError`]: it is lost.
    pub fn send(&mut self, now: Instant, port: usize, to: SocketAddr, data: &[u8]) -> Result<(), SendError> {
        if !frames::is_unicast(to.ip()) || to.port() == 0 || !self.reaches(to.ip()) {
            return Err(SendError::Unreachable);
        }
        if data.len() > self.max_datagram_bytes(to.ip()) {
            return Err(SendError::TooLong);
        }
        let next_hop = self.addresses.next_hop(to.ip()).ok_or(SendError::Unreachable)?;
        let lanes = self.lanes.get_mut(port).ok_or(SendError::NoSuchPort)?;
        lanes.send(&mut self.sockets, next_hop, to, data).map_err(|NoRoom| SendError::NoRoom)?;
        self.poll(now);
        Ok(())
    }

    /// The next datagram that has come, at the start of `data`: the number of its port, its sender, its length.
    pub fn receive(&mut self, data: &mut [u8]) -> Option<(usize, SocketAddr, usize)> {
        for (number, lanes) in self.lanes.iter().enumerate() {
            let socket = self.sockets.get_mut::<udp::Socket<'_>>(lanes.receiver);
            while let Ok((datagram, from)) = socket.recv() {
                if let Some(place) = data.get_mut(..datagram.len()) {
                    place.copy_from_slice(datagram);
                    let from = SocketAddr::new(from.endpoint.addr.into(), from.endpoint.port);
                    return Some((number, from, datagram.len()));
                }
                self.device.transmitter.counters.ignore(Unwanted::NoRoom);
            }
        }
        None
    }

    /// Begins to ask for the addresses of a name. False: names are not asked for, too many are, or this is none.
    pub fn resolve(&mut self, name: &str) -> bool {
        self.config.names && self.names.ask(name)
    }

    /// A name whose addresses are known, or known not to be.
    pub fn poll_resolved(&mut self, now: Instant) -> Option<Resolved> {
        if self.names.is_empty() || !self.link_up {
            return None;
        }
        let families = Families { v4: self.addresses.v4.is_some(), v6: self.addresses.v6.is_some() };
        let socket = self.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        let resolved = self.names.poll(socket, self.interface.context(), families);
        // Questions that were asked just now go out.
        self.poll(now);
        resolved
    }

    /// When [`Outside::on_timeout`] is wanted at the latest.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if !self.link_up {
            return None;
        }
        let stack = self.interface.poll_at(to_smoltcp(now), &self.sockets).map(|at| from_smoltcp(at).max(now));
        // Frames that wait for the wire go first: until they have, the stack has nothing to do.
        let stack = stack.filter(|_| self.device.transmitter.is_empty());
        let stuck = self.lanes.iter().filter_map(Lanes::poll_timeout);
        stack.into_iter().chain(self.slaac.as_ref().and_then(Slaac::poll_timeout)).chain(stuck).min()
    }

    pub fn on_timeout(&mut self, now: Instant) {
        if self.link_up {
            self.poll(now);
        }
    }

    /// The cable was plugged in or out; at first it is out. What waits is lost, and addresses that the link gave are asked for anew.
    pub fn on_link(&mut self, now: Instant, up: bool) {
        if self.link_up == up {
            return;
        }
        self.link_up = up;
        self.device.transmitter.clear();
        self.reassembly.clear();
        if let Some(dhcp) = self.dhcp {
            self.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).reset();
        }
        self.slaac = self.slaac.is_some().then(|| Slaac::new(self.config.mac, now));
        self.lease = None;
        self.settle();
        if up {
            self.poll(now);
        }
    }

    /// Lets the stack work on what has come and what waits.
    fn poll(&mut self, now: Instant) {
        if let Some(slaac) = &mut self.slaac {
            let solicits = slaac.solicits(now);
            if slaac.expire(now) {
                self.settle();
            }
            if solicits {
                self.emit(discovery::router_solicitation(self.config.mac, slaac::link_local(self.config.mac)));
            }
        }
        self.interface.poll(to_smoltcp(now), &mut self.device, &mut self.sockets);
        if self.poll_dhcp() {
            self.interface.poll(to_smoltcp(now), &mut self.device, &mut self.sockets);
        }
        let mut ask = Vec::new();
        for lanes in &mut self.lanes {
            lanes.look(&mut self.sockets, now, &mut |next_hop| ask.push(next_hop));
        }
        ask.into_iter().for_each(|next_hop| self.ask_for(next_hop));
    }

    /// True: our addresses have changed.
    fn poll_dhcp(&mut self) -> bool {
        let Some(dhcp) = self.dhcp else { return false };
        let lease = match self.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll() {
            None => return false,
            Some(dhcpv4::Event::Configured(given)) => Lease::of(&given),
            Some(dhcpv4::Event::Deconfigured) => None,
        };
        let changed = self.lease != lease;
        self.lease = lease;
        if changed {
            self.settle();
        }
        changed
    }

    /// Addresses, routes, servers and the filter follow what is known now.
    fn settle(&mut self) {
        let addresses = Addresses::of(&self.config, self.lease.as_ref(), self.slaac.as_ref());
        if addresses == self.addresses {
            return;
        }
        addresses.apply(&mut self.interface);
        let servers: Vec<_> = addresses.dns.iter().map(|server| (*server).into()).collect();
        self.sockets.get_mut::<dns::Socket<'_>>(self.dns).update_servers(&servers);
        self.device.transmitter.egress.dns.clone_from(&addresses.dns);
        self.addresses = addresses;
    }

    /// Asks for a next hop that datagrams have waited for long.
    fn ask_for(&mut self, next_hop: IpAddr) {
        let mac = self.config.mac;
        let frame = match (next_hop, self.addresses.v4, self.addresses.v6) {
            (IpAddr::V4(target), Some((own, ..)), _) => discovery::arp_request(mac, own, target),
            (IpAddr::V6(target), _, Some((own, ..))) => discovery::neighbour_solicitation(mac, own, target),
            _ => return,
        };
        self.emit(frame);
    }

    fn emit(&mut self, mut frame: Vec<u8>) {
        self.device.transmitter.emit(&mut frame);
    }
}

#[cfg(test)]
impl Outside {
    pub(crate) fn dns(&self) -> &[IpAddr] {
        &self.addresses.dns
    }

    /// Hands a frame to smoltcp past the filter of what comes in.
    pub(crate) fn force(&mut self, now: Instant, frame: &[u8]) {
        self.device.receive(&[frame]);
        self.poll(now);
    }
}

fn to_smoltcp(now: Instant) -> time::Instant {
    time::Instant::from_micros(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX))
}

fn from_smoltcp(at: time::Instant) -> Instant {
    Instant(u64::try_from(at.total_micros()).unwrap_or_default().saturating_mul(1000))
}
