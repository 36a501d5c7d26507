//! Frames between the guest's card, the tunnel and the real one, and the interrupts that come of them.
//!
//! The VMM has no interrupts of its own. What the model owes to the guest is raised by the real card: a write of ICS, for a cause that the card
//! itself never has ([`crate::card::OWED`]). What the real card has itself, a frame or a change of the link, interrupts the guest as
//! well, whose handler reads ICR: there the real causes are cleared first and what has come is taken after that, so that nothing is missed,
//! and the model's causes are the answer. A real cause of which nothing came for the guest is told as a received frame, so that its
//! system does not take the interrupt for nobody's: a driver that finds none goes on.
//!
//! The real card interrupts only for what the guest's mask lets through. While that is nothing, frames come by [`Traffic::poll`], at
//! the latest after [`POLL_NS`], as long as anybody is there for them.

use crate::card::Card;
use crate::model::Model;
use crate::rx::Delivered;
use crate::spec::{cause, reg, status};
use crate::tx::Outlet;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use mediator::net::{CardCounters, MAX_FRAME_BYTES, PolicyError, Side, Tunnel};
use mediator::{Ctx, DmaArena, Instant};
use net::{FCS_BYTES, TAG_BYTES};

/// Most frames that are taken from the cable before the tunnel is asked for what became of them, and how often that is done in one call.
const BATCH: usize = 32;
const MAX_BATCHES: usize = 8;
/// Most frames that the tunnel hands out each time.
const MAX_FRAMES: usize = 256;
/// How long the card may go unseen while it interrupts nobody.
const POLL_NS: u64 = 1_000_000;

/// See the module.
pub struct Traffic {
    pub card: Card,
    /// `None`: no frame goes anywhere.
    tunnel: Option<Box<dyn Tunnel>>,
    pub counters: CardCounters,
    pub link_up: bool,
    /// A frame for the guest, or of the tunnel's, with room behind it.
    frame: Vec<u8>,
    /// A frame of the guest's.
    segment: Vec<u8>,
    /// An interrupt was raised, and the guest has not read ICR since.
    raised: bool,
    /// There is work left over, and whether that waits for room in the real ring.
    more: bool,
    full: bool,
    seen: Instant,
}

/// The guest's frames go into the tunnel, and what comes out of it for the cable at once on: the tunnel keeps few frames.
struct Uplink<'a> {
    tunnel: Option<&'a mut dyn Tunnel>,
    card: &'a mut Card,
    arena: &'a mut dyn DmaArena,
    counters: &'a mut CardCounters,
    frame: &'a mut [u8],
    now: Instant,
    link_up: bool,
    full: bool,
}

impl Outlet for Uplink<'_> {
    fn has_room(&mut self) -> bool {
        // With no cable nothing is ever sent, and waiting would only hang the guest's driver.
        let room = self.tunnel.is_none() || !self.link_up || self.card.has_much_room(self.arena);
        self.full = !room;
        room
    }

    fn emit(&mut self, frame: &[u8]) {
        self.counters.guest_sent = self.counters.guest_sent.wrapping_add(1);
        let Some(tunnel) = self.tunnel.as_deref_mut() else {
            self.counters.guest_dropped = self.counters.guest_dropped.wrapping_add(1);
            return;
        };
        tunnel.on_frame(self.now, Side::Guest, frame);
        let mut ready = self.link_up && self.card.has_room(self.arena);
        while ready && self.card.is_started() {
            let buffer = self.frame.get_mut(..MAX_FRAME_BYTES).unwrap_or_default();
            let Some((side, len)) = tunnel.poll_transmit(self.now, &|side| side == Side::Wire, buffer) else { return };
            let frame = self.frame.get(..len).filter(|_| side == Side::Wire);
            to_wire(self.card, self.arena, self.counters, frame);
            ready = self.card.has_room(self.arena);
        }
    }
}

/// Sends what the tunnel has handed out. `None`: it was no frame, or for a side that it was not asked for, and goes nowhere.
fn to_wire(card: &mut Card, arena: &mut dyn DmaArena, counters: &mut CardCounters, frame: Option<&[u8]>) {
    let counter = match frame.is_some_and(|frame| card.send(arena, frame)) {
        true => &mut counters.wire_sent,
        false => &mut counters.guest_dropped,
    };
    *counter = counter.wrapping_add(1);
}

impl Traffic {
    pub fn new(card: Card) -> Self {
        Self {
            card,
            tunnel: None,
            counters: CardCounters::default(),
            link_up: false,
            frame: vec![0; MAX_FRAME_BYTES.saturating_add(TAG_BYTES).saturating_add(FCS_BYTES)],
            segment: Vec::with_capacity(MAX_FRAME_BYTES),
            raised: false,
            more: false,
            full: false,
            seen: Instant(0),
        }
    }

    /// From now on frames go through the tunnel.
    ///
    /// # Errors
    /// The arena is too small: the card stays blocked.
    pub fn begin(&mut self, cx: &mut Ctx<'_>, model: &mut Model, tunnel: Box<dyn Tunnel>) -> Result<(), PolicyError> {
        if !self.card.start(cx) {
            return Err(PolicyError("no DMA memory for a card's rings"));
        }
        self.tunnel = Some(tunnel);
        // The tunnel is told of a link that was up before.
        self.link_up = false;
        self.look_at_link(cx, model);
        Ok(())
    }

    /// The machine has slept.
    pub fn resume(&mut self, cx: &mut Ctx<'_>, model: &mut Model) -> bool {
        (self.raised, self.more, self.full) = (false, false, false);
        let is_back = self.card.resume(cx);
        self.look_at_link(cx, model);
        is_back
    }

    pub fn look_at_link(&mut self, cx: &mut Ctx<'_>, model: &mut Model) {
        let link = Card::link(cx.device);
        let up = link & status::LU != 0;
        if up != self.link_up {
            self.link_up = up;
            if let Some(tunnel) = &mut self.tunnel {
                tunnel.on_link(cx.now, up);
            }
        }
        model.set_link(link);
    }

    /// Before the guest gets the value of a register.
    pub fn before_read(&mut self, cx: &mut Ctx<'_>, model: &mut Model, offset: u32) {
        match offset {
            reg::ICR => self.answer_interrupt(cx, model),
            reg::STATUS => self.look_at_link(cx, model),
            // Head registers, and whatever a driver may look at in a loop.
            _ => self.exchange(cx, model),
        }
    }

    /// The guest reads ICR: its handler, or it polls.
    fn answer_interrupt(&mut self, cx: &mut Ctx<'_>, model: &mut Model) {
        let causes = Card::take_causes(cx.device);
        self.raised = false;
        if causes & cause::LSC != 0 {
            self.look_at_link(cx, model);
        }
        self.exchange(cx, model);
        if causes & self.card.enabled() != 0 && !model.is_asserted() {
            model.add_cause(model.ims & cause::RXT0);
        }
    }

    /// Before the guest writes a register: what came while its receiver was off is lost, as with any card.
    pub fn before_write(&mut self, cx: &mut Ctx<'_>, model: &mut Model, offset: u32) {
        if offset == reg::RCTL && !model.receives() {
            self.exchange(cx, model);
        }
    }

    pub fn after_write(&mut self, cx: &mut Ctx<'_>, model: &mut Model, offset: u32) {
        match offset {
            // How often the card may interrupt is up to the guest: what is raised is moderated there.
            reg::ITR => crate::regs::write(cx.device, reg::ITR, model.kept(reg::ITR)),
            reg::CTRL | reg::CTRL_DUP => crate::regs::write(cx.device, reg::ITR, model.kept(reg::ITR)),
            reg::MDIC => self.look_at_link(cx, model),
            _ => {}
        }
        self.after_access(cx, model);
    }

    /// Moves what there is, and lets the guest know.
    pub fn after_access(&mut self, cx: &mut Ctx<'_>, model: &mut Model) {
        self.exchange(cx, model);
        self.signal(cx, model);
    }

    /// The real card interrupts as the model does.
    pub fn signal(&mut self, cx: &mut Ctx<'_>, model: &Model) {
        self.card.enable(cx.device, Card::wanted(model.ims, self.full));
        let owed = model.is_asserted();
        if owed && !self.raised {
            Card::raise(cx.device);
        } else if !owed && self.raised {
            Card::withdraw(cx.device);
        }
        self.raised = owed;
    }

    pub fn poll(&mut self, cx: &mut Ctx<'_>, model: &mut Model) {
        self.look_at_link(cx, model);
        let due = self.tunnel.as_mut().filter(|tunnel| tunnel.poll_timeout().is_some_and(|at| at <= cx.now));
        if let Some(tunnel) = due {
            tunnel.on_timeout(cx.now);
        }
        self.after_access(cx, model);
    }

    pub fn poll_timeout(&self, model: &Model) -> Option<Instant> {
        let rest = (self.more && !self.full).then_some(Instant(0));
        let Some(tunnel) = &self.tunnel else { return rest };
        // A guest that receives nothing misses nothing, but a tunnel has frames of its own.
        let heard = model.receives() || !self.card.takes_all;
        let unseen = heard && self.card.enabled() & cause::RXT0 == 0 || self.full;
        let look = unseen.then_some(Instant(self.seen.0.saturating_add(POLL_NS)));
        [tunnel.poll_timeout(), look, rest].into_iter().flatten().min()
    }

    fn exchange(&mut self, cx: &mut Ctx<'_>, model: &mut Model) {
        self.seen = cx.now;
        self.more = false;
        let mut left = true;
        for _ in 0..MAX_BATCHES {
            left = !self.take_from_wire(cx);
            self.hand_out(cx, model);
            if !left {
                break;
            }
        }
        self.more |= left;
        self.take_from_guest(cx, model);
        self.hand_out(cx, model);
        self.card.ring(cx.device);
    }

    /// Gives whether these were all.
    fn take_from_wire(&mut self, cx: &mut Ctx<'_>) -> bool {
        let Some(tunnel) = &mut self.tunnel else { return true };
        for _ in 0..BATCH {
            match self.card.receive(cx.arena, &mut self.frame) {
                None => return true,
                Some(Ok(len)) => {
                    self.counters.wire_received = self.counters.wire_received.wrapping_add(1);
                    tunnel.on_frame(cx.now, Side::Wire, self.frame.get(..len).unwrap_or_default());
                }
                Some(Err(_)) => self.counters.wire_dropped = self.counters.wire_dropped.wrapping_add(1),
            }
        }
        false
    }

    fn take_from_guest(&mut self, cx: &mut Ctx<'_>, model: &mut Model) {
        if !model.has_to_send() {
            self.full = false;
            return;
        }
        let mut uplink = Uplink {
            tunnel: self.tunnel.as_deref_mut().map(|tunnel| tunnel as &mut dyn Tunnel),
            card: &mut self.card,
            arena: &mut *cx.arena,
            counters: &mut self.counters,
            frame: &mut self.frame,
            now: cx.now,
            link_up: self.link_up,
            full: false,
        };
        let sent = model.transmit(&mut *cx.guest, &mut self.segment, &mut uplink);
        self.full = uplink.full;
        self.more |= sent.more;
        self.counters.guest_dropped = self.counters.guest_dropped.wrapping_add(sent.dropped);
    }

    fn hand_out(&mut self, cx: &mut Ctx<'_>, model: &mut Model) {
        let Some(tunnel) = &mut self.tunnel else { return };
        for _ in 0..MAX_FRAMES {
            let wire = self.link_up && self.card.has_room(cx.arena);
            let guest = model.has_room();
            let room = |side| if side == Side::Wire { wire } else { guest };
            let buffer = self.frame.get_mut(..MAX_FRAME_BYTES).unwrap_or_default();
            match tunnel.poll_transmit(cx.now, &room, buffer) {
                None => {
                    // It may have frames for the cable that nobody else would come for.
                    self.full |= self.link_up && !wire;
                    return;
                }
                Some((Side::Wire, len)) => {
                    let frame = self.frame.get(..len).filter(|_| wire);
                    to_wire(&mut self.card, cx.arena, &mut self.counters, frame);
                }
                Some((Side::Guest, len)) => {
                    let counter = match model.deliver(cx.guest, &mut self.frame, len) {
                        Delivered::Yes => &mut self.counters.guest_received,
                        Delivered::NotWanted | Delivered::Missed => &mut self.counters.wire_dropped,
                    };
                    *counter = counter.wrapping_add(1);
                }
            }
        }
        self.more = true;
    }
}
