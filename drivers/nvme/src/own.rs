//! Commands of the VMM's own, beside the guest's.
//!
//! They go with the guest's through the shadow of one of its submission queues, with an identifier that no command of the
//! guest's has there, so the controller's arbitration is the guest's, too. Completions are ours alone; of the interrupt that
//! comes with one the guest finds no cause.

use crate::cmd::{Command, Completion};
use crate::controller::Nvme;
use crate::queues::{ADMIN, Flight, MAX_OWN};
use crate::registers::Power;
use crate::spec::nvm;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use block::{DeviceError, Own, OwnDisk, Plain, Step, Transfer};
use mediator::Ctx;
use mediator::disk::{OwnError, OwnOp, OwnRequest};

/// Of one controller.
#[derive(Default)]
pub struct OwnRequests {
    pub requests: Own,
    /// By disk: the submission queue that its command was put into.
    queues: BTreeMap<usize, u16>,
}

impl Nvme {
    /// The I/O queue that has least to do, of those that interrupt if there are such.
    fn own_queue(&self) -> Option<u16> {
        let served = (ADMIN..).zip(&self.sqs).skip(1).filter_map(|(id, sq)| Some((id, sq.as_ref()?)));
        let has_room = |id: u16| self.own_requests.queues.values().filter(|queue| **queue == id).count() < MAX_OWN;
        let served = served.filter(|(id, sq)| sq.ring.is_some() && !sq.stopped && has_room(*id));
        let polled = |cq: u16| self.cqs.get(usize::from(cq)).and_then(Option::as_ref).is_none_or(|cq| !cq.interrupts);
        served.min_by_key(|(_, sq)| (polled(sq.cq), sq.open)).map(|(id, _)| id)
    }

    /// See [`mediator::disk::DiskController::submit_own`].
    ///
    /// # Errors
    /// [`OwnError`].
    pub fn begin_own(&mut self, cx: &mut Ctx<'_>, number: usize, request: OwnRequest) -> Result<(), OwnError> {
        // One that nobody asks for any more has ended perhaps.
        self.look_after_own(cx, number);
        let ns = self.namespaces.get(number).filter(|ns| ns.identity.usable).ok_or(OwnError::Request)?;
        if !self.is_known || !ns.is_known {
            return Err(OwnError::NotReady);
        }
        if request.op != OwnOp::Flush && request.data.len() > self.identity.max_transfer_bytes as usize {
            return Err(OwnError::Request);
        }
        if self.registers.power != Power::On || !self.guard.decodes() || self.own_queue().is_none() {
            return Err(OwnError::NotReady);
        }
        let queue_disk = u32::try_from(number).unwrap_or(u32::MAX);
        let (sectors, sector_bytes) = (ns.identity.sectors, ns.identity.sector_bytes);
        let ranges = ns.ranges.clone().unwrap_or_else(|| Arc::new(Plain));
        let disk = OwnDisk { number, queue_disk, sectors, sector_bytes, ranges };
        let request = self.own_requests.requests.begin(disk, request)?;
        self.block.submit(cx, request);
        self.run(cx, false);
        Ok(())
    }

    /// Looks after the request of a disk.
    pub fn look_after_own(&mut self, cx: &mut Ctx<'_>, disk: usize) {
        if self.registers.power == Power::On && self.guard.decodes() && self.own_requests.requests.is_under_way(disk) {
            self.forget_if_disabled(cx);
            self.run(cx, true);
        }
    }

    /// Takes a step of a request of ours; gives one of the guest's back.
    pub fn take_own(&mut self, cx: &mut Ctx<'_>, step: Step) -> Option<Step> {
        let (Step::Send(Transfer { tag, .. }) | Step::Done { tag, .. }) = &step;
        let Some(disk) = Own::disk_of(*tag) else { return Some(step) };
        match step {
            Step::Done { result, own, .. } => self.own_requests.requests.end(disk, result, own),
            Step::Send(transfer) => {
                if self.send_own(cx, disk, &transfer).is_none() {
                    self.lose_own(cx, |other, _| other == disk);
                }
            }
        }
        None
    }

    fn send_own(&mut self, cx: &mut Ctx<'_>, disk: usize, transfer: &Transfer) -> Option<()> {
        let (queue, nsid) = (self.own_queue()?, self.namespaces.get(disk)?.nsid);
        let command = match (transfer.sectors, transfer.write) {
            (0, _) => Command::new(nvm::FLUSH, nsid),
            (sectors, true) => Command::new(nvm::WRITE, nsid).with_blocks(transfer.disk_lba, sectors),
            (sectors, false) => Command::new(nvm::READ, nsid).with_blocks(transfer.disk_lba, sectors),
        };
        let data = (transfer.len_bytes > 0).then_some((transfer.buffer, transfer.len_bytes));
        self.send(cx, queue, command, data.into_iter(), Flight::Transfer { tag: transfer.tag }).ok()?;
        self.own_requests.queues.insert(disk, queue);
        Some(())
    }

    /// The device has ended the command of a disk.
    pub fn on_own_done(&mut self, cx: &mut Ctx<'_>, disk: usize, completion: Completion) {
        self.own_requests.queues.remove(&disk);
        let result = if completion.status.is_success() { Ok(()) } else { Err(DeviceError { disk_lba: None }) };
        self.block.on_device_done(cx, Own::tag(disk), result);
    }

    /// The device has forgotten the commands of these disks, by the queues that they were put into.
    pub fn lose_own(&mut self, cx: &mut Ctx<'_>, which: impl Fn(usize, Option<u16>) -> bool) {
        let OwnRequests { requests, queues } = &mut self.own_requests;
        let lost = |disk: usize| which(disk, queues.get(&disk).copied());
        self.block.cancel(cx, |tag| Own::disk_of(tag).is_some_and(lost));
        requests.lose(lost);
        queues.retain(|disk, queue| !which(*disk, Some(*queue)));
    }
}
