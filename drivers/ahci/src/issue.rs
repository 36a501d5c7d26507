//! Commands on their way to the device: the parts of bounced requests, and when the device takes what.

use crate::fis;
use crate::memory::NoMemory;
use crate::port::{Kind, NOP, Payload, Port, Shared, bit, slots_of};
use crate::prdt;
use crate::spec::{header, is, port};
use acs::cmd::{self, Class};
use acs::taskfile::{Form, Request};
use block::{Failure, Sectors, Step, Transfer};
use mediator::Ctx;

/// The length of a command FIS in dwords.
const CFL: u32 = 5;

impl Port {
    /// What the queue wants done for a slot of this port.
    pub fn on_step(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, slot: usize, step: Step) {
        if !self.running {
            // The guest has stopped the port, which has forgotten its commands; once it stands, the queue forgets them, too.
            self.delivering &= !bit(slot);
            return;
        }
        match step {
            Step::Send(transfer) => {
                if let Err(why) = self.prepare(cx, shared, slot, &transfer) {
                    let tag = self.tag(slot);
                    shared.queue.cancel(cx, |other| other == tag);
                    self.refuse(slot, why);
                }
            }
            Step::Done { sectors, result, .. } => {
                self.delivering &= !bit(slot);
                let ends = self.slots.get(slot).and_then(|it| it.ends);
                match (result, ends) {
                    (Ok(()), None) => self.finish(cx, shared, slot, Some(sectors)),
                    (Ok(()), Some(denied)) => {
                        self.hide_part(cx, shared, slot);
                        self.deny(slot, "a range ends within it", denied);
                    }
                    // The device tells itself, and the port stands still.
                    (Err(Failure::Device { .. }), _) => {}
                    (Err(Failure::Memory), _) => self.refuse(slot, "a region is no RAM of the guest"),
                    (Err(Failure::Unserved), _) => {
                        self.refuse(slot, "no memory, or sectors that cannot be transformed")
                    }
                }
            }
        }
    }

    /// Makes the command of a part.
    fn prepare(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &mut Shared,
        slot: usize,
        transfer: &Transfer,
    ) -> Result<(), &'static str> {
        const NO_MEMORY: &str = "no memory for its table";
        self.delivering &= !bit(slot);
        if !transfer.first {
            self.hide_part(cx, shared, slot);
        }
        let memory = self.memory.as_ref().ok_or(NO_MEMORY)?;
        let ours = memory.prdt(cx.arena, slot).map_err(|NoMemory| NO_MEMORY)?;
        let entries = prdt::contiguous(transfer.buffer, transfer.len_bytes, ours).map_err(|_| NO_MEMORY)?;
        let it = self.slots.get_mut(slot).ok_or(NO_MEMORY)?;
        it.entries = entries;
        it.buffer = transfer.buffer;
        it.flags = if transfer.write { header::WRITE } else { 0 };
        match it.kind {
            Kind::Bounced { write } => {
                let written = fis::command(&it.fis);
                let code = if transfer.write == write { Some(written) } else { cmd::read_form(written) };
                it.sent = it.fis;
                fis::set_command(&mut it.sent, code.ok_or("it has no form that reads")?);
                let request = match cmd::classify(written) {
                    Class::Queued { .. } => fis::queued_request(&it.fis),
                    Class::Transfer(transfer) => {
                        let request = fis::taskfile(&it.fis).request(transfer.ext, fis::NO_GEOMETRY);
                        request.ok_or("it names no LBA")?
                    }
                    _ => Request { form: Form::Lba48, lba: 0, sectors: 0 },
                };
                self.place(slot, request, transfer.part)?;
            }
            Kind::Payload(Payload::List) => self.translate_list(cx, shared, transfer)?,
            // What the device does not fill is nobody's answer.
            Kind::Payload(_) => {
                let len = usize::try_from(transfer.len_bytes).map_err(|_| NO_MEMORY)?;
                cx.arena.bytes(transfer.buffer, len).map_err(|_| NO_MEMORY)?.fill(0);
            }
            _ => {}
        }
        self.ready |= bit(slot);
        Ok(())
    }

    /// The list of a TRIM is in the arena: the guest's addresses become the disk's.
    fn translate_list(&self, cx: &mut Ctx<'_>, shared: &Shared, transfer: &Transfer) -> Result<(), &'static str> {
        const WRONG: &str = "its list names sectors that it may not";
        let disk = shared.disks.get(self.unit).ok_or(WRONG)?;
        let ranges = disk.ranges.as_ref().ok_or(WRONG)?;
        let len = usize::try_from(transfer.len_bytes).map_err(|_| WRONG)?;
        let list = cx.arena.bytes(transfer.buffer, len).map_err(|_| WRONG)?;
        let map = Sectors { ranges: &**ranges, sector_bytes: disk.identity.sector_bytes };
        acs::trim::translate(map, disk.identity.sectors, list).map_err(|_| WRONG)
    }

    /// The causes that the last part has left are none of the guest's, unless there is something else that it has not
    /// heard of yet.
    fn hide_part(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, slot: usize) {
        if self.news {
            return;
        }
        self.regs.clear(cx.device, is::PROGRESS);
        let others = self.at_device & !bit(slot);
        if others != 0 && others & !self.regs.read(cx.device, port::SACT) != 0 {
            // It came with the same cause, and would not be told again.
            self.add_extra(shared, is::SDBS);
        }
    }

    /// Gives the device what it can take: any number of queued commands, or one other.
    #[inline]
    pub fn issue(&mut self, cx: &mut Ctx<'_>) {
        if self.running && !self.failed && (self.ready != 0 || self.has_own()) {
            self.issue_ready(cx);
        }
    }

    fn issue_ready(&mut self, cx: &mut Ctx<'_>) {
        self.unmask_own(cx);
        if self.ready == 0 || self.is_held() {
            return;
        }
        let queued = |slot: &usize| self.slots.get(*slot).is_some_and(|it| it.queued) && !self.is_refused(*slot);
        let (queuing, others): (u32, u32) = slots_of(self.ready).fold((0, 0), |(queuing, others), slot| {
            if queued(&slot) { (queuing | bit(slot), others) } else { (queuing, others | bit(slot)) }
        });
        let (queuing, others) = if self.before == 0 { (queuing, others) } else { (queuing & self.before, 0) };
        let now = match (others, self.at_device) {
            // They wait for the queue to drain, and no more is added to it.
            (0, 0) => queuing,
            (0, _) if self.queuing => queuing,
            (others, 0) => others & others.wrapping_neg(),
            _ => 0,
        };
        for slot in slots_of(now) {
            self.send(cx, slot, others == 0);
        }
    }

    fn send(&mut self, cx: &mut Ctx<'_>, slot: usize, queuing: bool) {
        let (Some(memory), Some(it)) = (&self.memory, self.slots.get(slot)) else { return };
        let written = match it.kind {
            Kind::Refused => memory.set_command(cx.arena, slot, CFL, 0, &NOP, &[0; 16]),
            _ => memory.set_command(cx.arena, slot, CFL | it.flags, it.entries, &it.sent, &it.packet),
        };
        self.ready &= !bit(slot);
        if written.is_err() {
            // The slot stays as it is: the guest times out. The arena knows its own memory, so this does not happen.
            return;
        }
        self.own.task_file = None;
        self.own.in_reset |= it.begins_reset();
        self.shown = None;
        self.at_device |= bit(slot);
        self.queuing = queuing;
        if queuing {
            self.regs.write(cx.device, port::SACT, bit(slot));
        } else {
            self.last = Some(slot);
        }
        self.regs.write(cx.device, port::CI, bit(slot));
    }
}
