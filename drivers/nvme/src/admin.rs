//! Commands of the guest's admin queue (NVMe s. 5).

use crate::cmd::{Command, Completion, Status, high};
use crate::controller::Nvme;
use crate::guard;
use crate::namespaces::Namespace;
use crate::policy::{self, Admin, Unit};
use crate::queues::{ADMIN, Cq, Kind, MAX_IO_QUEUES, NewQueue, Sq, Then};
use crate::registers;
use crate::ring::{CQ_ENTRIES, Ring, SQ_ENTRIES};
use crate::spec::{IDENTIFY_BYTES, PAGE_BYTES, cns, dword0, feature, queue};
use alloc::boxed::Box;
use mediator::{BusAddr, Ctx};

/// Dword 0 of a completed ABORT: the command was not aborted.
const NOT_ABORTED: u32 = 1;
/// Dword 10 of GET FEATURES, select: what can be done with the feature, which is no data.
const SELECT_CAPABILITIES: u32 = 3;

impl Nvme {
    pub fn namespace(&self, nsid: u32) -> Option<&Namespace> {
        self.namespaces.iter().find(|ns| ns.nsid == nsid)
    }

    /// Has any namespace a protected range?
    pub fn is_protected(&self) -> bool {
        self.namespaces.iter().any(|ns| ns.protection().is_some())
    }

    /// May sectors of any protected namespace be told unused?
    pub fn allows_trim(&self) -> bool {
        self.namespaces.iter().filter_map(Namespace::protection).any(|ranges| ranges.allows_trim())
    }

    /// Starts a command.
    ///
    /// # Errors
    /// The status that refuses it.
    pub fn start_admin(&mut self, cx: &mut Ctx<'_>, command: Command) -> Result<(), Status> {
        let protected = self.is_protected();
        let class = policy::admin(command.opcode(), protected);
        if class == Admin::Refused {
            return Err(Status::INVALID_OPCODE);
        }
        if command.dword(0) & (dword0::FUSE | dword0::PSDT) != 0 {
            return Err(Status::INVALID_FIELD);
        }
        match class {
            Admin::CreateCq => self.create_cq(cx, command),
            Admin::CreateSq => self.create_sq(cx, command),
            Admin::DeleteCq => self.delete_cq(cx, command),
            Admin::DeleteSq => self.delete_sq(cx, command),
            Admin::Identify => self.identify(cx, command),
            Admin::Abort => self.abort(cx, command),
            Admin::GetLog => {
                let [log, ..] = command.dword(10).to_le_bytes();
                if !policy::log_passes(log, protected) {
                    return Err(Status::INVALID_LOG_PAGE);
                }
                let dwords = u32::from(high(command.dword(10))) | (command.dword(11) & 0xffff) << 16;
                self.data(cx, command, false, dwords.checked_add(1))
            }
            Admin::SetFeatures => self.features(cx, command, true),
            Admin::GetFeatures => self.features(cx, command, false),
            Admin::AsyncEvent => {
                self.pass_then(cx, ADMIN, command, Then::Event)?;
                self.events_by_pin = !guard::signals_by_message(cx.device);
                if let Some(sq) = self.sq(ADMIN) {
                    sq.events = sq.events.saturating_add(1);
                }
                Ok(())
            }
            Admin::Pass => self.pass(cx, ADMIN, command),
            Admin::Data { dword, unit } => {
                let told = command.dword(dword.into());
                // Bit 0 of an opcode: data goes to the device.
                let write = command.opcode() & 1 != 0;
                match unit {
                    Unit::DwordsLessOne => self.data(cx, command, write, told.checked_add(1)),
                    Unit::Bytes if told == 0 => self.pass(cx, ADMIN, command),
                    Unit::Bytes => self.submit_payload(cx, ADMIN, command, Kind::Data, write, told),
                }
            }
            Admin::Refused => Err(Status::INVALID_OPCODE),
        }
    }

    fn data(&mut self, cx: &mut Ctx<'_>, command: Command, write: bool, dwords: Option<u32>) -> Result<(), Status> {
        let len_bytes = dwords.and_then(|dwords| dwords.checked_mul(4)).ok_or(Status::INVALID_FIELD)?;
        self.submit_payload(cx, ADMIN, command, Kind::Data, write, len_bytes)
    }

    fn identify(&mut self, cx: &mut Ctx<'_>, command: Command) -> Result<(), Status> {
        let [what, ..] = command.dword(10).to_le_bytes();
        let kind = match what {
            cns::CONTROLLER => Kind::IdentifyController,
            cns::NAMESPACE | cns::ALLOCATED_NAMESPACE => Kind::IdentifyNamespace,
            cns::ACTIVE_NAMESPACES | cns::DESCRIPTORS | cns::ALLOCATED_NAMESPACES => Kind::Data,
            cns::CONTROLLERS_OF_NAMESPACE | cns::CONTROLLERS => Kind::Data,
            // Other command sets are not offered; those of the NVM command set came after revision 1.4.
            _ => return Err(Status::INVALID_FIELD),
        };
        self.submit_payload(cx, ADMIN, command, kind, false, IDENTIFY_BYTES as u32)
    }

    fn features(&mut self, cx: &mut Ctx<'_>, command: Command, set: bool) -> Result<(), Status> {
        let [feature, ..] = command.dword(10).to_le_bytes();
        let len_bytes = policy::feature_bytes(feature).ok_or(Status::INVALID_FIELD)?;
        let capabilities = !set && command.dword(10) >> 8 & 7 == SELECT_CAPABILITIES;
        if len_bytes > 0 && !capabilities {
            return self.submit_payload(cx, ADMIN, command, Kind::Data, set, len_bytes);
        }
        if feature != feature::NUMBER_OF_QUEUES || capabilities {
            return self.pass(cx, ADMIN, command);
        }
        let wanted = if set { command.with_dword(11, count_queues(command.dword(11))) } else { command };
        self.pass_then(cx, ADMIN, wanted, Then::CountQueues)
    }

    /// Identifier and memory of a queue that is to be created.
    fn new_ring(&mut self, command: Command) -> Result<(u16, Ring), Status> {
        let (id, [base, _]) = (command.low10(), command.prps());
        if id == ADMIN || id > MAX_IO_QUEUES {
            return Err(Status::INVALID_QUEUE_IDENTIFIER);
        }
        let entries = u32::from(command.high10()).saturating_add(1);
        if !(2..=self.registers.max_entries()).contains(&entries) {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        if command.dword(11) & queue::PC == 0 {
            return Err(Status::INVALID_FIELD);
        }
        if base.0 % PAGE_BYTES != 0 {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        Ok((id, Ring { base, entries }))
    }

    fn create_cq(&mut self, cx: &mut Ctx<'_>, command: Command) -> Result<(), Status> {
        let (id, ring) = self.new_ring(command)?;
        if self.cq(id).is_some() {
            return Err(Status::INVALID_QUEUE_IDENTIFIER);
        }
        let interrupts = command.dword(11) & queue::IEN != 0;
        let last = self.registers.last_entry(CQ_ENTRIES);
        let cq = Cq::new(cx.arena, Some(ring), interrupts, last.saturating_add(1)).ok_or(Status::INTERNAL_ERROR)?;
        let at = cq.shadow.bus_addr();
        self.create(cx, command, NewQueue::Cq(id, cq), at, last)
    }

    fn create_sq(&mut self, cx: &mut Ctx<'_>, command: Command) -> Result<(), Status> {
        let (id, ring) = self.new_ring(command)?;
        if self.sq(id).is_some() {
            return Err(Status::INVALID_QUEUE_IDENTIFIER);
        }
        let cq = command.high11();
        if cq == ADMIN || self.cq(cq).is_none() {
            return Err(Status::COMPLETION_QUEUE_INVALID);
        }
        let sq = Sq::new(cx.arena, Some(ring), cq).ok_or(Status::INTERNAL_ERROR)?;
        let (at, last) = (sq.shadow.bus_addr(), self.registers.last_entry(SQ_ENTRIES));
        self.create(cx, command, NewQueue::Sq(id, sq), at, last)
    }

    fn create(
        &mut self,
        cx: &mut Ctx<'_>,
        command: Command,
        queue: NewQueue,
        at: BusAddr,
        last: u16,
    ) -> Result<(), Status> {
        let own = registers::create_queue(command, last);
        let flight = crate::queues::Flight::Guest { id: command.id(), then: Then::Created(Box::new(queue)) };
        self.send(cx, ADMIN, own, core::iter::once((at, PAGE_BYTES as u32)), flight)
    }

    fn delete_cq(&mut self, cx: &mut Ctx<'_>, command: Command) -> Result<(), Status> {
        let id = command.low10();
        if id == ADMIN || self.cq(id).is_none() {
            return Err(Status::INVALID_QUEUE_IDENTIFIER);
        }
        if self.sqs.iter().flatten().any(|sq| sq.cq == id) {
            return Err(Status::INVALID_QUEUE_DELETION);
        }
        self.pass_then(cx, ADMIN, command, Then::DeletedCq(id))
    }

    fn delete_sq(&mut self, cx: &mut Ctx<'_>, command: Command) -> Result<(), Status> {
        let id = command.low10();
        match self.sq(id) {
            Some(sq) if id != ADMIN && !sq.stopped => sq.stopped = true,
            _ => return Err(Status::INVALID_QUEUE_IDENTIFIER),
        }
        // What waits for the device does not reach it any more.
        self.ring(cx);
        self.pass_then(cx, ADMIN, command, Then::DeletedSq(id))
    }

    fn abort(&mut self, cx: &mut Ctx<'_>, command: Command) -> Result<(), Status> {
        let (queue, id) = (command.low10(), command.high10());
        match self.sq(queue).and_then(|sq| sq.slot_of(id)) {
            Some(slot) => {
                let target = u32::from(queue) | u32::from(slot) << 16;
                self.pass(cx, ADMIN, command.with_dword(10, target))
            }
            None => {
                self.answer_ourselves(ADMIN, command.id(), Status::SUCCESS, NOT_ABORTED);
                Ok(())
            }
        }
    }

    /// A command of the guest has ended; gives its result.
    pub fn followed(&mut self, cx: &mut Ctx<'_>, completion: Completion, then: Then) -> u32 {
        let success = completion.status.is_success();
        match then {
            Then::Nothing => {}
            Then::Event => {
                if let Some(sq) = self.sq(completion.sq_id) {
                    sq.events = sq.events.saturating_sub(1);
                }
            }
            Then::CountQueues if success => return count_queues(completion.result),
            Then::Created(queue) if success => self.add(cx, *queue),
            Then::Created(queue) => queue.free(cx.arena),
            Then::DeletedSq(id) if success => self.remove_sq(cx, id),
            Then::DeletedSq(id) => {
                if let Some(sq) = self.sq(id) {
                    sq.stopped = false;
                }
            }
            Then::DeletedCq(id) if success => {
                if let Some(cq) = self.cqs.get_mut(usize::from(id)).and_then(Option::take) {
                    cq.free(cx.arena);
                }
            }
            Then::CountQueues | Then::DeletedCq(_) => {}
        }
        completion.result
    }

    fn add(&mut self, cx: &mut Ctx<'_>, queue: NewQueue) {
        let (NewQueue::Sq(id, _) | NewQueue::Cq(id, _)) = &queue;
        self.last_queue = self.last_queue.max(*id);
        let unused = match queue {
            NewQueue::Sq(id, sq) => match self.sqs.get_mut(usize::from(id)) {
                Some(place) => place.replace(sq).map(|old| NewQueue::Sq(id, old)),
                None => Some(NewQueue::Sq(id, sq)),
            },
            NewQueue::Cq(id, cq) => match self.cqs.get_mut(usize::from(id)) {
                Some(place) => place.replace(cq).map(|old| NewQueue::Cq(id, old)),
                None => Some(NewQueue::Cq(id, cq)),
            },
        };
        // Two commands created the same queue, and the device let them.
        if let Some(unused) = unused {
            unused.free(cx.arena);
        }
    }

    /// The device has forgotten a submission queue. What it has completed before is there by now; the rest is aborted.
    fn remove_sq(&mut self, cx: &mut Ctx<'_>, id: u16) {
        if let Some(cq) = self.sq(id).map(|sq| sq.cq) {
            self.collect(cx, cq);
            self.steps(cx);
        }
        let Some(sq) = self.sqs.get_mut(usize::from(id)).and_then(Option::take) else { return };
        sq.free(cx.arena);
        let open = &self.open;
        self.block.cancel(cx, |tag| open.iter().any(|(other, open)| *other == tag && open.sq == id));
        self.open.retain(|(_, open)| open.sq != id);
        self.lose_own(cx, |_, queue| queue == Some(id));
        for cq in self.cqs.iter_mut().flatten() {
            cq.pending.retain(|completion| completion.sq_id != id);
        }
    }
}

/// Numbers of submission and completion queues, from 0, bounded.
fn count_queues(dword: u32) -> u32 {
    let most = MAX_IO_QUEUES.saturating_sub(1);
    u32::from(crate::cmd::low(dword).min(most)) | u32::from(high(dword).min(most)) << 16
}
