//! What a network mediator is given, and what it offers.
//!
//! Frames are Ethernet frames from the destination address to the end of the payload: no preamble, no frame check sequence, no padding that
//! a card adds by itself (IEEE 802.3-2018 s. 3.1.1).

use crate::{Ctx, Instant, Mediator};
use alloc::boxed::Box;

/// Longest frame that any card of the family moves: an IP packet of 9,000 bytes with header and VLAN tag.
pub const MAX_FRAME_BYTES: usize = 9_018;

/// The hardware address of an Ethernet card.
pub type MacAddr = [u8; 6];

/// Who sent a frame, or shall get it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The guest's driver.
    Guest,
    /// The cable.
    Wire,
}

/// All that stands between the guest's frames and the cable: bytes and time in, bytes and a deadline out.
///
/// No frame goes from one side to the other but through here, and there is no way round it: what it does not hand out is lost. It answers the
/// guest in place of the local network, and speaks with the real one for itself.
pub trait Tunnel: Send {
    /// A frame has come. Whatever is wrong with it, it is dropped and counted.
    fn on_frame(&mut self, now: Instant, from: Side, frame: &[u8]);

    /// The next frame to hand out, at the start of `frame` ([`MAX_FRAME_BYTES`] long): where it goes and its length in bytes. A side that has no
    /// room now is left out (`room_for`), and its frames stay, up to a bounded number.
    fn poll_transmit(
        &mut self,
        now: Instant,
        room_for: &dyn Fn(Side) -> bool,
        frame: &mut [u8],
    ) -> Option<(Side, usize)>;

    /// When it wants [`Tunnel::on_timeout`] at the latest.
    fn poll_timeout(&self) -> Option<Instant>;

    fn on_timeout(&mut self, now: Instant);

    /// The cable was plugged in or out. Until told there is none.
    fn on_link(&mut self, now: Instant, up: bool);

    /// Do packets of the guest get through as things stand?
    fn is_up(&self) -> bool;
}

/// What happens to a card's frames.
pub enum NetPolicy {
    /// Every frame passes as it is, in both directions. Who drives the card is the driver's matter.
    Pass,
    /// No frame in either direction.
    Block,
    /// Shoji drives the card, and every frame goes through this.
    Tunnel(Box<dyn Tunnel>),
}

/// A card as it tells itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardInfo {
    pub mac: MacAddr,
    pub link_up: bool,
}

/// What a card has moved. All counters wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CardCounters {
    /// Frames from the guest, and to it.
    pub guest_sent: u64,
    pub guest_received: u64,
    /// Frames to the cable, and from it.
    pub wire_sent: u64,
    pub wire_received: u64,
    /// Frames that were dropped: the guest's that were no frames, or not allowed; the cable's for which there was no room.
    pub guest_dropped: u64,
    pub wire_dropped: u64,
}

/// The card cannot have this policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyError(pub &'static str);

/// A mediator of a network card.
pub trait NetController: Mediator {
    fn card(&self) -> CardInfo;

    /// Sets the card up for the policy. Called once, before the guest starts; until then a card is as under [`NetPolicy::Block`].
    ///
    /// # Errors
    /// [`PolicyError`]: the card stays blocked.
    fn set_policy(&mut self, cx: &mut Ctx<'_>, policy: NetPolicy) -> Result<(), PolicyError>;

    /// Time has come, or the tunnel may have something to hand out: takes what the card has received, and hands out what there is room
    /// for. Never waits.
    fn poll(&mut self, cx: &mut Ctx<'_>);

    /// When [`NetController::poll`] is wanted at the latest, whatever the guest does.
    fn poll_timeout(&self) -> Option<Instant>;

    fn counters(&self) -> CardCounters;
}
