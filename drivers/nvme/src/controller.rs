//! The controller: its queues, and what moves commands and completions between them.

use crate::cmd::{Command, Completion, Status};
use crate::identify;
use crate::namespaces::Namespace;
use crate::own::OwnRequests;
use crate::prp;
use crate::queues::{ADMIN, Cq, Flight, MAX_IO_QUEUES, MAX_PENDING, Open, Sq, Then};
use crate::registers::Registers;
use crate::spec::{admin, nvm};
use alloc::string::String;
use alloc::vec::Vec;
use mediator::{BusAddr, Ctx, DmaBuffer, GuestSegment, Instant};
use pci::MemoryGuard;

/// A guest that polls gets its completion before its doorbell write ends, unless the device takes longer than this.
const POLL_NS: u64 = 50_000_000;

/// The mediator of one NVMe controller.
pub struct Nvme {
    pub name: String,
    pub registers: Registers,
    /// Of the configuration that places them.
    pub guard: MemoryGuard,
    /// By identifier, the admin queues first.
    pub sqs: Vec<Option<Sq>>,
    pub cqs: Vec<Option<Cq>>,
    /// The highest identifier that was used since the controller was enabled.
    pub last_queue: u16,
    /// The queue whose turn it is to have a command fetched.
    pub turn: u16,
    pub identity: identify::Controller,
    /// It was there all the while, or has told since its reset that it is the one of `identity`.
    pub is_known: bool,
    pub namespaces: Vec<Namespace>,
    /// Requests through the arena, and what is to become of them.
    pub block: block::Queue,
    /// By the request's tag.
    pub open: Vec<(u32, Open)>,
    pub next_tag: u32,
    /// Interrupts that came to [`mediator::Mediator::on_interrupt`].
    pub interrupts: u64,
    /// Others reach the guest before they come there: it has looked in vain.
    pub interrupts_pass: bool,
    /// Interrupts are to come to us before they come to the guest ([`Nvme::is_busy`]).
    pub busy: bool,
    /// Events interrupt by pin, whose level stays until their completion was seen: they must not pass unseen.
    pub events_by_pin: bool,
    /// A page for what nobody wants to read.
    pub scratch: DmaBuffer,
    /// Of the command in hand: the guest's memory, and where the device finds it. Kept, so that no request needs the heap.
    pub segments: Vec<GuestSegment>,
    pub pieces: Vec<(BusAddr, u32)>,
    /// The answer to the last command of ours.
    pub own: Option<Completion>,
    /// The VMM's own requests while the guest runs.
    pub own_requests: OwnRequests,
    /// A queue in no memory of the guest was logged.
    pub complained: bool,
}

/// Room for the admin queues and all others.
pub fn no_queues<T>() -> Vec<Option<T>> {
    (ADMIN..=MAX_IO_QUEUES).map(|_| None).collect()
}

impl Nvme {
    pub fn sq(&mut self, id: u16) -> Option<&mut Sq> {
        self.sqs.get_mut(usize::from(id))?.as_mut()
    }

    pub fn cq(&mut self, id: u16) -> Option<&mut Cq> {
        self.cqs.get_mut(usize::from(id))?.as_mut()
    }

    fn queue_ids(&self) -> core::ops::RangeInclusive<u16> {
        ADMIN..=self.last_queue
    }

    /// Most guests use few of the queues that they may have.
    fn used_sqs(&self) -> impl Iterator<Item = &Sq> {
        self.sqs.iter().take(usize::from(self.last_queue).saturating_add(1)).flatten()
    }

    /// Is anything of the guest's, or a nudge, still to come to an end? Events may take for ever.
    pub fn is_busy(&self) -> bool {
        let event = |sq: &Sq| self.events_by_pin && sq.events > 0;
        let sqs = self.used_sqs().any(|sq| !sq.is_done() || sq.is_flying() || event(sq));
        let used = usize::from(self.last_queue).saturating_add(1);
        sqs || self.cqs.iter().take(used).flatten().any(|cq| cq.shadow.has_taken())
    }

    /// The guest has written the tail of a submission queue. True: its CPU is to be kept a little longer, because nobody else would
    /// find the completion.
    pub fn on_tail(&mut self, cx: &mut Ctx<'_>, id: u16, tail: u32) -> bool {
        let cq = self.sq(id).map_or(ADMIN, |sq| sq.cq);
        // Firmware polls the admin queue too, although that cannot be without interrupts.
        let polled = id == ADMIN || self.cq(cq).is_some_and(|cq| !cq.interrupts);
        let until = polled.then(|| Instant(cx.now.0.saturating_add(POLL_NS)));
        let now = cx.now;
        let Some(sq) = self.sq(id) else { return false };
        if sq.tail != tail {
            sq.tail = tail;
            // CPUs that write different tails, and are asked again with them, do not keep one another waiting for longer.
            sq.polled_until = sq.polled_until.filter(|until| now < *until).or(until);
        }
        self.run(cx, polled);
        let Some(sq) = self.sq(id) else { return false };
        let wait = sq.polled_until.is_some_and(|until| now < until) && !sq.is_done();
        if !wait {
            sq.polled_until = None;
        }
        wait
    }

    /// The guest has taken completions.
    pub fn on_head(&mut self, cx: &mut Ctx<'_>, id: u16, head: u32) {
        if let Some(cq) = self.cq(id) {
            cq.head = head;
        }
        self.run(cx, true);
    }

    /// Does all that can be done: completions of the device, if asked for, then commands of the guest, doorbells and nudges.
    pub fn run(&mut self, cx: &mut Ctx<'_>, collect: bool) {
        if collect {
            // The admin queue last: a queue is deleted after its completions were seen.
            self.queue_ids().rev().for_each(|id| self.collect(cx, id));
        }
        self.steps(cx);
        self.start_all(cx);
        self.queue_ids().for_each(|id| self.deliver(cx, id));
        self.ring(cx);
        self.nudge(cx);
        self.busy = self.is_busy();
    }

    /// Starts what there is room for, a command of each queue in turn (NVMe s. 4.13.1).
    fn start_all(&mut self, cx: &mut Ctx<'_>) {
        let mut idle = 0;
        while idle <= self.last_queue {
            let id = if self.turn > self.last_queue { ADMIN } else { self.turn };
            self.turn = id.saturating_add(1);
            match self.fetch(cx, id) {
                Some(command) => {
                    idle = 0;
                    self.start(cx, id, command);
                    self.steps(cx);
                }
                None => idle = idle.saturating_add(1),
            }
        }
    }

    /// The next command of a queue, copied.
    fn fetch(&mut self, cx: &mut Ctx<'_>, id: u16) -> Option<Command> {
        if !self.has_room(id)? {
            return None;
        }
        let sq = self.sq(id)?;
        let ring = sq.ring.filter(|_| sq.has_next())?;
        match ring.fetch(cx.guest, sq.head) {
            Ok(command) => {
                sq.head = ring.next(sq.head);
                sq.open = sq.open.saturating_add(1);
                Some(command)
            }
            Err(_) => {
                sq.stopped = true;
                self.complain("a submission queue");
                None
            }
        }
    }

    /// Is there room for a command of this queue, and for its completion? If not, what ends or what the guest takes makes some.
    /// Commands of the admin queue are few, and may be about those that do not end.
    fn has_room(&mut self, id: u16) -> Option<bool> {
        let sq = self.sq(id).filter(|sq| sq.has_next())?;
        let cq_id = sq.cq;
        let open: u32 = self.used_sqs().filter(|sq| sq.cq == cq_id).map(|sq| sq.open).sum();
        let to_come = usize::try_from(open).unwrap_or(usize::MAX);
        let cq = self.cq(cq_id)?;
        let posted = cq.pending.len().saturating_add(to_come) < MAX_PENDING;
        Some(posted && (id == ADMIN || self.block.has_room()))
    }

    fn start(&mut self, cx: &mut Ctx<'_>, sq: u16, command: Command) {
        let outcome = if sq == ADMIN { self.start_admin(cx, command) } else { self.start_io(cx, sq, command) };
        if let Err(status) = outcome {
            self.answer_ourselves(sq, command.id(), status, 0);
        }
    }

    /// Gives the device a command. `data` is where it moves its data.
    ///
    /// # Errors
    /// The status for the guest: the addresses do not make PRP entries.
    pub fn send(
        &mut self,
        cx: &mut Ctx<'_>,
        sq: u16,
        command: Command,
        data: impl Iterator<Item = (BusAddr, u32)>,
        flight: Flight,
    ) -> Result<(), Status> {
        let sq = self.sq(sq).ok_or(Status::INTERNAL_ERROR)?;
        let slot = sq.free_slot().ok_or(Status::INTERNAL_ERROR)?;
        let list_at = sq.shadow.list(slot).ok_or(Status::INTERNAL_ERROR)?;
        let list = cx.arena.bytes(list_at, prp::LIST_BYTES).map_err(|_| Status::INTERNAL_ERROR)?;
        let prps = prp::encode(data, list, list_at)?;
        sq.put(cx.arena, slot, flight, command.with_prps(prps));
        Ok(())
    }

    /// A completion of ours: no interrupt follows it by itself.
    pub fn answer_ourselves(&mut self, sq: u16, id: u16, status: Status, result: u32) {
        self.answer(sq, Completion::of(id, status, result), true);
    }

    /// The end of a command of the guest's; it is delivered by [`Nvme::run`]. `owed`: the interrupt for it may have been taken
    /// already.
    pub fn answer(&mut self, sq_id: u16, completion: Completion, owed: bool) {
        let Some(sq) = self.sq(sq_id) else { return };
        let completion = Completion { sq_id, sq_head: crate::cmd::low(sq.head), ..completion };
        let cq = sq.cq;
        let owed = owed || self.interrupts_pass;
        if let Some(cq) = self.cq(cq) {
            cq.pending.push_back(completion);
            cq.owed |= owed;
        }
    }

    /// Writes what has ended to the guest's completion queue, as long as there is room.
    fn deliver(&mut self, cx: &mut Ctx<'_>, id: u16) {
        let Some(Some(cq)) = self.cqs.get_mut(usize::from(id)) else { return };
        let mut lost = false;
        while let Some(ring) = cq.with_room() {
            let Some(completion) = cq.pending.pop_front() else { break };
            cq.owed |= cq.starved;
            let completion = Completion { phase: cq.phase, ..completion };
            lost |= ring.post(cx.guest, cq.tail, &completion).is_err();
            cq.advance();
            if let Some(Some(sq)) = self.sqs.get_mut(usize::from(completion.sq_id)) {
                sq.open = sq.open.saturating_sub(1);
            }
        }
        cq.starved = !cq.pending.is_empty();
        if lost {
            self.complain("a completion queue");
        }
    }

    /// Tells the device of new commands.
    pub fn ring(&mut self, cx: &mut Ctx<'_>) {
        for id in self.queue_ids() {
            if let Some(tail) = self.sq(id).and_then(|sq| sq.shadow.take_doorbell()) {
                self.registers.write_doorbell(cx.device, id, false, tail);
            }
            // The guest's own head leads, so that a pin keeps its level until the guest has seen why.
            let head = self.cq(id).and_then(|cq| {
                let all = cq.is_drained() || !cq.interrupts;
                cq.shadow.take_doorbell(all)
            });
            if let Some(head) = head {
                self.registers.write_doorbell(cx.device, id, true, head);
            }
        }
    }

    /// Where an interrupt is owed and nothing is under way that will bring it, a command without effect does.
    fn nudge(&mut self, cx: &mut Ctx<'_>) {
        let mut any = false;
        for id in self.queue_ids() {
            let owed = self.cq(id).is_some_and(|cq| core::mem::take(&mut cq.owed) && cq.interrupts && !cq.is_drained());
            if owed {
                any = true;
                // What was in flight may have ended meanwhile, with an interrupt that the guest has taken.
                self.collect(cx, id);
                self.steps(cx);
                self.deliver(cx, id);
                let mut feeding = (ADMIN..).zip(&self.sqs).filter_map(|(sq_id, sq)| Some((sq_id, sq.as_ref()?)));
                let of_it = feeding.clone().filter(|(_, sq)| sq.cq == id);
                if !of_it.clone().any(|(_, sq)| sq.is_flying())
                    && let Some((sq, _)) = feeding.find(|(_, sq)| sq.cq == id && !sq.stopped)
                {
                    self.send_nudge(cx, sq);
                }
            }
        }
        if any {
            self.ring(cx);
        }
    }

    fn send_nudge(&mut self, cx: &mut Ctx<'_>, sq: u16) {
        let page = (self.scratch.bus_addr(), 0);
        let first = self.namespaces.iter().find(|ns| ns.identity.usable && self.is_known && ns.is_known);
        let (command, data) = match first {
            // GET FEATURES, arbitration.
            _ if sq == ADMIN => (Command::new(admin::GET_FEATURES, 0).with_dword(10, 1), page),
            Some(ns) => (Command::new(nvm::READ, ns.nsid).with_blocks(0, 1), (page.0, ns.identity.sector_bytes)),
            None => (Command::new(nvm::FLUSH, u32::MAX), page),
        };
        // There is a place for it: nothing else is in flight.
        let _ = self.send(cx, sq, command, core::iter::once(data), Flight::Nudge);
    }

    /// Takes the device's completions of one queue.
    pub fn collect(&mut self, cx: &mut Ctx<'_>, id: u16) {
        while let Some(completion) = self.cq(id).and_then(|cq| cq.shadow.take(cx)) {
            let flight = self.sq(completion.sq_id).and_then(|sq| sq.take(completion.id));
            match flight {
                Some(Flight::Guest { id, then }) => {
                    let event = matches!(then, Then::Event);
                    let result = self.followed(cx, completion, then);
                    self.answer(completion.sq_id, Completion { id, result, ..completion }, event);
                }
                Some(Flight::Transfer { tag }) => self.on_transfer_done(cx, tag, completion),
                Some(Flight::Own) => self.own = Some(completion),
                // A device that answers twice, or what nobody asked.
                Some(Flight::Nudge) | None => {}
            }
        }
    }

    fn complain(&mut self, what: &'static str) {
        if !core::mem::replace(&mut self.complained, true) {
            log::warn!("{}: {what} lies in no memory of the guest; further ones are not logged", self.name);
        }
    }
}
