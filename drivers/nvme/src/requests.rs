//! Requests through the arena: what the crate `block` asks for becomes commands, and its answers completions.

use crate::cmd::{Command, Completion, Status};
use crate::controller::Nvme;
use crate::identify::{self, Page};
use crate::prp;
use crate::queues::{Flight, Kind, Open};
use crate::spec::IDENTIFY_BYTES;
use crate::unused;
use alloc::vec::Vec;
use block::{Content, DeviceError, Failure, Request, Scatter, Step, Transfer};
use mediator::{BusAddr, Ctx, Work, WorkError};

/// Parts of dword 12 that are the guest's to choose for each transfer of a request: limited retry, unit access.
const CHOICES: u32 = 1 << 31 | 1 << 30;

impl Nvme {
    /// Takes a command whose data goes through the arena.
    ///
    /// # Errors
    /// The status for the guest: its memory cannot be followed.
    pub fn submit(
        &mut self,
        cx: &mut Ctx<'_>,
        sq: u16,
        command: Command,
        kind: Kind,
        (disk, write): (u32, bool),
        content: Content,
    ) -> Result<(), Status> {
        let len_bytes = match &content {
            Content::Sectors { sectors, sector_bytes, .. } => sectors.saturating_mul(*sector_bytes),
            Content::Payload { len_bytes } => *len_bytes,
        };
        let mut segments = Vec::new();
        prp::copy(cx.guest, command.prps(), len_bytes, &mut segments)?;
        let tag = self.next_tag;
        // The upper half is not the guest's.
        self.next_tag = tag.wrapping_add(1) & !(1 << 31);
        let open = Open {
            sq,
            id: command.id(),
            template: command,
            kind,
            status: Status::SUCCESS,
            result: 0,
            buffer: BusAddr(0),
            interrupts_seen: None,
        };
        self.open.try_reserve(1).map_err(|_| Status::INTERNAL_ERROR)?;
        self.open.push((tag, open));
        self.block.submit(cx, Request { tag, disk, write, content, memory: Scatter::new(segments).into() });
        Ok(())
    }

    /// A command with a buffer of data that holds no sectors.
    ///
    /// # Errors
    /// As [`Nvme::submit`].
    pub fn submit_payload(
        &mut self,
        cx: &mut Ctx<'_>,
        sq: u16,
        command: Command,
        kind: Kind,
        write: bool,
        len_bytes: u32,
    ) -> Result<(), Status> {
        if len_bytes == 0 || len_bytes > identify::MAX_TRANSFER_BYTES {
            return Err(Status::INVALID_FIELD);
        }
        self.submit(cx, sq, command, kind, (0, write), Content::Payload { len_bytes })
    }

    /// Does what the requests are to do next.
    pub fn steps(&mut self, cx: &mut Ctx<'_>) {
        while let Some(step) = self.block.poll() {
            let Some(step) = self.take_own(cx, step) else { continue };
            match step {
                Step::Send(transfer) => self.send_transfer(cx, transfer),
                Step::Done { tag, result, .. } => self.on_request_done(tag, result),
            }
        }
    }

    fn open_mut(&mut self, tag: u32) -> Option<&mut Open> {
        self.open.iter_mut().find(|(other, _)| *other == tag).map(|(_, open)| open)
    }

    fn send_transfer(&mut self, cx: &mut Ctx<'_>, transfer: Transfer) {
        let Transfer { tag, buffer, len_bytes, .. } = transfer;
        let Some(open) = self.open_mut(tag) else { return };
        open.buffer = buffer;
        open.interrupts_seen = None;
        let (sq, kind) = (open.sq, open.kind);
        let mut command = open.template;
        match kind {
            Kind::Sectors => {
                let opcode = if transfer.write { crate::spec::nvm::WRITE } else { crate::spec::nvm::READ };
                let choices = command.dword(12) & CHOICES;
                let own = Command::new(opcode, command.nsid()).with_dword(12, choices);
                command = own.with_dword(13, command.dword(13)).with_blocks(transfer.disk_lba, transfer.sectors);
            }
            Kind::Unused { place } => match self.translate_unused(cx, place, buffer, len_bytes) {
                Ok(0) => return self.block.on_device_done(cx, tag, Ok(())),
                Ok(ranges) => command = command.with_dword(10, ranges.saturating_sub(1)),
                Err(status) => return self.fail(cx, tag, status),
            },
            Kind::IdentifyController | Kind::IdentifyNamespace | Kind::Data => {}
        }
        if self.sq(sq).is_none_or(|sq| sq.stopped) {
            return self.fail(cx, tag, Status::ABORTED_BY_DELETION);
        }
        let data = core::iter::once((buffer, len_bytes));
        if let Err(status) = self.send(cx, sq, command, data, Flight::Transfer { tag }) {
            self.fail(cx, tag, status);
        }
    }

    /// As if the device had refused the transfer.
    fn fail(&mut self, cx: &mut Ctx<'_>, tag: u32, status: Status) {
        if let Some(open) = self.open_mut(tag) {
            open.status = status;
        }
        self.block.on_device_done(cx, tag, Err(DeviceError { disk_lba: None }));
    }

    fn translate_unused(
        &mut self,
        cx: &mut Ctx<'_>,
        place: usize,
        buffer: BusAddr,
        len_bytes: u32,
    ) -> Result<u32, Status> {
        let ns = self.namespaces.get(place).ok_or(Status::INTERNAL_ERROR)?;
        let len = usize::try_from(len_bytes).map_err(|_| Status::INTERNAL_ERROR)?;
        let list = cx.arena.bytes(buffer, len).map_err(|_| Status::INTERNAL_ERROR)?;
        unused::translate(ns, list)
    }

    /// The device has ended a transfer.
    pub fn on_transfer_done(&mut self, cx: &mut Ctx<'_>, tag: u32, completion: Completion) {
        if let Some(disk) = block::Own::disk_of(tag) {
            return self.on_own_done(cx, disk, completion);
        }
        let interrupts_seen = Some(self.interrupts);
        let Some(open) = self.open_mut(tag) else { return };
        open.status = completion.status;
        open.result = completion.result;
        open.interrupts_seen = interrupts_seen;
        let (kind, buffer, nsid) = (open.kind, open.buffer, open.template.nsid());
        if !completion.status.is_success() {
            // A completion names no sector (the error log does, but nobody waits for that).
            return self.block.on_device_done(cx, tag, Err(DeviceError { disk_lba: None }));
        }
        self.compare(cx, kind, nsid, buffer);
        let filtered = match kind {
            Kind::IdentifyController => {
                let (protected, trim) = (self.is_protected(), self.allows_trim());
                with_page(cx, buffer, |page| identify::filter_controller(page, protected, trim))
            }
            Kind::IdentifyNamespace => match self.namespace(nsid).and_then(|ns| ns.protection()) {
                Some(ranges) => {
                    with_page(cx, buffer, |page| identify::filter_namespace(page, ranges.largest_sector_bytes()))
                }
                None => Ok(()),
            },
            Kind::Sectors | Kind::Unused { .. } | Kind::Data => Ok(()),
        };
        match filtered {
            Ok(()) => self.block.on_device_done(cx, tag, Ok(())),
            Err(status) => self.fail(cx, tag, status),
        }
    }

    /// After a reset: is what the controller tells of itself, or of a namespace, what it told before? Else there are no sectors.
    fn compare(&mut self, cx: &mut Ctx<'_>, kind: Kind, nsid: u32, buffer: BusAddr) {
        if !matches!(kind, Kind::IdentifyController | Kind::IdentifyNamespace) {
            return;
        }
        let page = cx.arena.bytes(buffer, IDENTIFY_BYTES).ok().and_then(|bytes| bytes.first_chunk::<IDENTIFY_BYTES>());
        match kind {
            Kind::IdentifyController if !self.is_known => {
                self.is_known = page.is_some_and(|page| identify::Controller::parse(page) == self.identity);
                if !self.is_known {
                    log::warn!("{}: another disk than `{}`; it is not served", self.name, self.identity.serial);
                }
            }
            Kind::IdentifyNamespace => {
                let ns = self.namespaces.iter_mut().find(|ns| ns.nsid == nsid && !ns.is_known);
                if let Some(ns) = ns {
                    let now = page.and_then(identify::Namespace::parse);
                    ns.is_known = now == Some(ns.identity);
                }
            }
            _ => {}
        }
    }

    fn on_request_done(&mut self, tag: u32, result: Result<(), Failure>) {
        let Some(place) = self.open.iter().position(|(other, _)| *other == tag) else { return };
        let (_, open) = self.open.swap_remove(place);
        let status = match result {
            Ok(()) => Status::SUCCESS,
            Err(Failure::Device { .. }) => open.status,
            Err(Failure::Memory) => Status::DATA_TRANSFER_ERROR,
            Err(Failure::Unserved) => Status::INTERNAL_ERROR,
        };
        // The device has raised its interrupt when it was done, and the guest may have taken it since.
        let owed = open.interrupts_seen != Some(self.interrupts);
        self.answer(open.sq, Completion::of(open.id, status, open.result), owed);
    }

    /// Work is back.
    pub fn on_work(&mut self, cx: &mut Ctx<'_>, work: &Work, result: Result<(), WorkError>) {
        self.block.on_work_done(cx, work, result);
        self.run(cx, false);
    }
}

fn with_page(cx: &mut Ctx<'_>, at: BusAddr, change: impl FnOnce(&mut Page)) -> Result<(), Status> {
    let bytes = cx.arena.bytes(at, IDENTIFY_BYTES).map_err(|_| Status::INTERNAL_ERROR)?;
    change(bytes.first_chunk_mut().ok_or(Status::INTERNAL_ERROR)?);
    Ok(())
}
