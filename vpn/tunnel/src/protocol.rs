//! What stands between packets and datagrams.

use core::net::SocketAddr;
use core::ops::Range;
use mediator::Instant;

/// What is to be done with a buffer now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A part of it is a datagram, to be sent from the port with this number in the configuration of the wire's side.
    Datagram { port: usize, to: SocketAddr, range: Range<usize> },
    /// A part of it is a packet for the guest.
    Packet(Range<usize>),
    /// It holds nothing.
    Nothing,
}

/// An outer protocol as a state machine: packets, datagrams and time in, the same out. Nothing that it is given may make it panic or take
/// memory without bound, and a packet leaves it inside of a datagram only.
pub trait Protocol: Send {
    /// Bytes that must be free before a packet.
    fn headroom_bytes(&self) -> usize;

    /// What a packet grows by on its way to the wire, outer headers included, at most.
    fn overhead_bytes(&self) -> u16;

    /// The longest packet that it is given from now on, in bytes.
    fn set_mtu(&mut self, mtu: u16);

    /// A packet of the guest's lies in `buffer` behind the headroom, `len` bytes long; behind it there is room for what the protocol adds.
    /// [`Step::Nothing`]: it was dropped and counted, or waits for [`Protocol::poll_transmit`].
    fn on_packet(&mut self, now: Instant, buffer: &mut [u8], len: usize) -> Step;

    /// A datagram has come to the port with this number.
    fn on_datagram(&mut self, now: Instant, port: usize, from: SocketAddr, datagram: &mut [u8]) -> Step;

    /// The next thing that waits, in `buffer`; after each other call, until [`Step::Nothing`].
    fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Step;

    /// When [`Protocol::on_timeout`] is wanted at the latest.
    fn poll_timeout(&self) -> Option<Instant>;

    fn on_timeout(&mut self, now: Instant);

    /// When [`Protocol::wipe`] is wanted at the latest, whether anything can be sent or not.
    fn wipe_timeout(&self) -> Option<Instant>;

    /// Wipes keys whose time is over. All that [`Protocol::on_timeout`] does of itself but sending.
    fn wipe(&mut self, now: Instant);

    /// Is there a peer that packets get to, as far as is known? One that was reached last time, however long ago, is taken to be there.
    fn is_up(&self) -> bool;

    /// Is this peer, by its number, being looked for where we know it to be, and does not answer?
    fn is_unanswered(&self, peer: usize) -> bool;

    /// Tells where a peer is, by its number.
    fn set_endpoint(&mut self, peer: usize, endpoint: SocketAddr);
}
