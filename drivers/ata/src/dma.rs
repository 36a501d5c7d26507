//! DMA requests: a command and a started bus master come together. Where everything is plain a shadow table points at
//! guest memory itself; where something is not, the request goes through the bounce buffer.
//!
//! The order of the registers is BMIDE s. 3.1.

use crate::channel::{Channel, State};
use crate::denied::Denied;
use crate::extents;
use crate::guard;
use crate::prd::{self, PrdError, TABLE_BYTES};
use crate::spec::{bm, code};
use crate::taskfile::Request;
use alloc::sync::Arc;
use block::{Part, Plan, Refusal};
use core::mem;
use mediator::disk::RangeMap;
use mediator::{Ctx, Device};

const SWITCHED_OFF: &str = "bus mastering or the ports are switched off";

/// A DMA command that waits for the bus master.
pub struct HeldDma {
    pub command: u8,
    pub write: bool,
    /// The request, on a disk with protected ranges.
    pub protected: Option<(Request, Arc<dyn RangeMap>)>,
}

impl Channel {
    /// The bus master is started, or a DMA command has come: with both there, the request starts.
    pub fn start_if_armed(&mut self, cx: &mut Ctx<'_>) {
        if !self.bm.armed || !matches!(self.state, State::DmaHeld(_) | State::PacketHeld) {
            return;
        }
        self.bm.armed = false;
        let off = !guard::can_transfer(cx.device);
        match mem::replace(&mut self.state, State::Idle) {
            State::DmaHeld(_) if off => self.fail_dma(cx, SWITCHED_OFF),
            State::DmaHeld(held) => self.start(cx, held),
            _ if off => self.fail_packet(SWITCHED_OFF),
            _ => match self.load_shadow(cx) {
                Ok(()) => self.run_direct(cx.device, self.bm.command & bm::TO_MEMORY != 0),
                Err(_) => self.fail_packet("PRD table of a packet is no guest memory"),
            },
        }
    }

    /// The device has the packet already and waits; the guest sees the bus master's error and resets it.
    fn fail_packet(&mut self, why: &'static str) {
        self.complain(why);
        self.bm.error = true;
        self.bm.active = false;
    }

    fn start(&mut self, cx: &mut Ctx<'_>, held: HeldDma) {
        let to_memory = self.bm.command & bm::TO_MEMORY != 0;
        if to_memory == held.write {
            return self.fail_dma(cx, "direction of the bus master is not that of the command");
        }
        let Some((request, ranges)) = held.protected else {
            return match self.load_shadow(cx) {
                Ok(()) => {
                    let _ = self.send_as_written(cx, held.command);
                    self.run_direct(cx.device, to_memory);
                }
                Err(_) => self.fail_dma(cx, "PRD table is no guest memory"),
            };
        };
        let list = held.command == code::DATA_SET_MANAGEMENT;
        let disk_lba = match extents::sectors(&*ranges).plan(request.lba, request.sectors, held.write) {
            Ok(Plan::Direct { disk_lba }) if !list => disk_lba,
            Err(refusal) if !list => return self.deny_dma(cx, held.command, held.write, request, ranges, refusal),
            _ => return self.start_bounce(cx, held.command, held.write, request, ranges, None),
        };
        if self.load_shadow(cx).is_err() {
            return self.fail_dma(cx, "PRD table is no guest memory");
        }
        let (lba, sectors) = (request.lba, request.sectors);
        let part = Part { lba, sectors, plain: true, disk_lba, disk_sectors: sectors, skip: 0 };
        match self.send_part(cx.device, held.command, request, part) {
            Ok(()) => self.run_direct(cx.device, to_memory),
            Err(_) => self.fail_dma(cx, "address needs a 48-bit command"),
        }
    }

    /// Copies the guest's table to ours, entry by entry, and points the stopped bus master at it.
    fn load_shadow(&mut self, cx: &mut Ctx<'_>) -> Result<(), PrdError> {
        self.ports.bm_stop(cx.device);
        let table = self.buffers.table.as_ref().ok_or(PrdError::OutOfMemory)?.bus_addr();
        let bytes = cx.arena.bytes(table, TABLE_BYTES).map_err(|_| PrdError::OutOfMemory)?;
        prd::shadow(cx.guest, self.bm.prdt, bytes)?;
        self.ports.bm_table(cx.device, u32::try_from(table.0).map_err(|_| PrdError::TooLong)?);
        Ok(())
    }

    fn run_direct(&mut self, device: &mut dyn Device, to_memory: bool) {
        self.run_bus_master(device, to_memory);
        self.state = State::DmaDirect;
    }

    pub fn run_bus_master(&self, device: &mut dyn Device, to_memory: bool) {
        let direction = if to_memory { bm::TO_MEMORY } else { 0 };
        self.ports.bm_write(device, bm::COMMAND, direction);
        self.ports.bm_write(device, bm::COMMAND, direction | bm::START);
    }

    /// Ends a request that the device does not have (any more): it aborts a NOP in its place, with interrupt, and the
    /// bus master shows an error.
    pub fn fail_dma(&mut self, cx: &mut Ctx<'_>, why: &'static str) {
        self.complain(why);
        self.refuse(cx.device);
        self.bm.error = true;
        self.bm.active = false;
    }

    /// The range map refuses a sector of a request: those before it are moved, then it fails.
    fn deny_dma(
        &mut self,
        cx: &mut Ctx<'_>,
        command: u8,
        write: bool,
        request: Request,
        ranges: Arc<dyn RangeMap>,
        refusal: Refusal,
    ) {
        let Some(denied) = Denied::new(refusal, write) else { return self.fail_dma(cx, why(refusal)) };
        self.complain(why(refusal));
        match denied.sectors_before(request.lba) {
            0 => self.end_denied(cx, &request, denied),
            sectors => {
                let request = Request { sectors, ..request };
                self.start_bounce(cx, command, write, request, ranges, Some(denied));
            }
        }
    }

    /// Ends a DMA request as a disk that has come to a bad sector: with its interrupt, the bus master's table not used up
    /// (BMIDE s. 3.2).
    pub fn end_denied(&mut self, cx: &mut Ctx<'_>, request: &Request, denied: Denied) {
        // The interrupt of the sectors before must not pass for the NOP's.
        let capable = self.ports.bm_read(cx.device, bm::STATUS) & bm::CAPABLE;
        self.ports.bm_write(cx.device, bm::STATUS, capable | bm::INTERRUPT);
        self.refuse(cx.device);
        self.show_denied(request, denied);
    }

    fn complain(&mut self, why: &'static str) {
        // A guest can repeat it at will: the first one of a channel tells all.
        if !core::mem::replace(&mut self.complained, true) {
            let (channel, unit) = (self.number, self.taskfile.unit());
            log::warn!("ata: channel {channel} unit {unit}: DMA refused: {why}; further ones are not logged");
        }
    }

    /// The guest stops the bus master.
    pub fn on_stop(&mut self, cx: &mut Ctx<'_>) {
        if let State::DmaDirect = self.state {
            self.ports.bm_stop(cx.device);
            self.state = State::Idle;
            return;
        }
        if self.poll_bounce(cx) || !matches!(self.state, State::Bounce(_)) {
            return;
        }
        // In mid-transfer. The device may wait for the rest of encrypted data: nothing else may reach it before a
        // reset.
        self.ports.bm_stop(cx.device);
        self.drop_bounced(cx);
        self.state = State::Stuck;
    }
}

/// A range map's refusal, for the log.
fn why(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::ReadOnly { .. } => "the range may not be written",
        Refusal::Absent { .. } => "the range may not be used",
        Refusal::Unserved => "sectors of the transform that do not fit the disk's",
    }
}
