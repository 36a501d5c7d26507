//! smoltcp's device: a queue each way, and the filter in between.

use crate::counters::{Counters, Refused};
use crate::egress::Egress;
use alloc::vec::Vec;
use frames::{ETHERNET_BYTES, FrameQueue, IPV4, Packet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::Ipv4Packet;

/// Frames that wait for the wire.
const QUEUE_FRAMES: usize = 128;

/// The way to the wire.
pub struct Transmitter {
    queue: FrameQueue,
    pub egress: Egress,
    pub counters: Counters,
    scratch: Vec<u8>,
    /// Identification of IPv4 packets that routers may cut.
    ident: u16,
}

impl Transmitter {
    /// Puts a frame into the wire's queue, if it is on the list. The only way there.
    pub fn emit(&mut self, frame: &mut [u8]) {
        let checked = self.egress.check(frame);
        if checked.is_ok() {
            self.let_routers_cut(frame);
        }
        let sent = checked.and_then(|()| if self.queue.push(&[frame]) { Ok(()) } else { Err(Refused::NoRoom) });
        match sent {
            Ok(()) => self.counters.sent = self.counters.sent.wrapping_add(1),
            Err(why) => self.counters.refuse(why),
        }
    }

    pub fn poll_frame(&mut self, frame: &mut [u8]) -> Option<usize> {
        self.queue.pop(frame)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// smoltcp forbids routers to cut what it sends, and does not look at what they say then. A tunnel's datagram that is too long for a path
    /// is rather cut on it than lost for good: the flag is cleared, and an identification set (RFC 791 s. 3.1).
    fn let_routers_cut(&mut self, frame: &mut [u8]) {
        let is_tunnel = frames::split_frame(frame)
            .and_then(|(ether_type, payload)| Packet::of_frame(ether_type, payload).filter(|_| ether_type == IPV4))
            .is_some_and(|packet| self.egress.is_of_tunnel(&packet));
        if let Some(packet) = frame.get_mut(ETHERNET_BYTES..).filter(|_| is_tunnel) {
            self.ident = self.ident.wrapping_add(1);
            let mut header = Ipv4Packet::new_unchecked(packet);
            header.set_dont_frag(false);
            header.set_ident(self.ident);
            header.fill_checksum();
        }
    }
}

/// Both ways.
pub struct Device {
    /// A frame for the stack, which takes each at once.
    received: Vec<u8>,
    is_new: bool,
    pub transmitter: Transmitter,
    /// Longest IP packet.
    mtu: usize,
}

impl Device {
    pub fn new(egress: Egress, mtu: u16, ident: u16) -> Self {
        let queue = FrameQueue::new(QUEUE_FRAMES);
        let transmitter = Transmitter { queue, egress, counters: Counters::default(), scratch: Vec::new(), ident };
        Self { received: Vec::new(), is_new: false, transmitter, mtu: mtu.into() }
    }

    /// The next frame that the stack gets.
    pub fn receive(&mut self, parts: &[&[u8]]) {
        self.received.clear();
        parts.iter().for_each(|part| self.received.extend_from_slice(part));
        self.is_new = true;
    }
}

/// A frame for the stack.
pub struct RxToken<'a>(&'a [u8]);
/// Room for a frame to the wire.
pub struct TxToken<'a>(&'a mut Transmitter);

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut scratch = core::mem::take(&mut self.0.scratch);
        scratch.clear();
        scratch.resize(len, 0);
        let result = f(&mut scratch);
        self.0.emit(&mut scratch);
        self.0.scratch = scratch;
        result
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        if !core::mem::take(&mut self.is_new) {
            return None;
        }
        Some((RxToken(&self.received), TxToken(&mut self.transmitter)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        if self.transmitter.queue.is_full() { None } else { Some(TxToken(&mut self.transmitter)) }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu.saturating_add(ETHERNET_BYTES);
        capabilities
    }
}
