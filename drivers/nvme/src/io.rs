//! Commands of the guest's I/O queues (NVMe s. 6).

use crate::cmd::{Command, Status};
use crate::controller::Nvme;
use crate::namespaces::Namespace;
use crate::policy::{self, Nvm};
use crate::prp;
use crate::queues::{Flight, Kind, Then};
use crate::spec::dword0;
use crate::spec::nvm::{DEALLOCATE, FLUSH, RANGE_BYTES};
use crate::unused::status_of;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{Content, Plan};
use mediator::disk::RangeMap;
use mediator::{BusAddr, Ctx, GuestSegment};

/// Dword 12 of READ and WRITE: limited retry, unit access, number of blocks. The rest is for metadata and directives, which are
/// not offered.
const DWORD_12: u32 = 1 << 31 | 1 << 30 | 0xffff;
/// Dword 13 of READ and WRITE: hints about the future of the data.
const DWORD_13: u32 = 0xff;
/// Every namespace.
const BROADCAST: u32 = u32::MAX;

impl Nvme {
    /// Starts a command.
    ///
    /// # Errors
    /// The status that refuses it.
    pub fn start_io(&mut self, cx: &mut Ctx<'_>, sq: u16, command: Command) -> Result<(), Status> {
        let place = self.namespaces.iter().position(|ns| ns.nsid == command.nsid());
        let ns = place.and_then(|place| self.namespaces.get(place));
        let ranges = ns.and_then(Namespace::protection);
        let class = policy::nvm(command.opcode(), ranges.is_some());
        if class == Nvm::Refused {
            return Err(Status::INVALID_OPCODE);
        }
        if command.dword(0) & (dword0::FUSE | dword0::PSDT) != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let broadcast = command.opcode() == FLUSH && command.nsid() == BROADCAST;
        let (Some(place), Some(ns)) = (place, ns) else {
            return if broadcast { self.pass(cx, sq, command) } else { Err(Status::INVALID_NAMESPACE) };
        };
        if !self.is_known || !ns.is_known {
            return Err(Status::INVALID_NAMESPACE);
        }
        match class {
            Nvm::Pass => self.pass(cx, sq, command),
            _ if !ns.identity.usable => Err(Status::INVALID_FIELD),
            Nvm::Transfer { write } => self.transfer(cx, sq, command, place, write, ranges),
            Nvm::DatasetManagement => {
                let count = (command.dword(10) & 0xff).saturating_add(1);
                if let Some(ranges) = ranges {
                    if !ranges.allows_trim() {
                        return Err(Status::INVALID_OPCODE);
                    }
                    if command.dword(11) & DEALLOCATE == 0 {
                        // Hints about how data will be used.
                        self.answer_ourselves(sq, command.id(), Status::SUCCESS, 0);
                        return Ok(());
                    }
                }
                let len_bytes = count.saturating_mul(RANGE_BYTES as u32);
                let template = command.with_dword(0, u32::from(command.opcode())).with_id(command.id());
                self.submit_payload(cx, sq, template, Kind::Unused { place }, true, len_bytes)
            }
            Nvm::Refused => Err(Status::INVALID_OPCODE),
        }
    }

    /// Passes a command as it is, but for its data, of which it has none.
    ///
    /// # Errors
    /// As [`Nvme::send`].
    pub fn pass(&mut self, cx: &mut Ctx<'_>, sq: u16, command: Command) -> Result<(), Status> {
        self.pass_then(cx, sq, command, Then::Nothing)
    }

    /// As [`Nvme::pass`], with something to follow.
    ///
    /// # Errors
    /// As [`Nvme::send`].
    pub fn pass_then(&mut self, cx: &mut Ctx<'_>, sq: u16, command: Command, then: Then) -> Result<(), Status> {
        self.send(cx, sq, command, core::iter::empty(), Flight::Guest { id: command.id(), then })
    }

    fn transfer(
        &mut self,
        cx: &mut Ctx<'_>,
        sq: u16,
        command: Command,
        place: usize,
        write: bool,
        ranges: Option<Arc<dyn RangeMap>>,
    ) -> Result<(), Status> {
        let max_bytes = self.identity.max_transfer_bytes;
        let ns = self.namespaces.get(place).ok_or(Status::INTERNAL_ERROR)?;
        let (lba, sectors, sector_bytes) = (command.lba(), command.blocks(), ns.identity.sector_bytes);
        let len_bytes = sectors.saturating_mul(sector_bytes);
        if len_bytes > max_bytes {
            return Err(Status::INVALID_FIELD);
        }
        if !ns.holds(lba, sectors) {
            return Err(Status::LBA_OUT_OF_RANGE);
        }
        let plan = match &ranges {
            None => Plan::Direct { disk_lba: lba },
            Some(ranges) => {
                ns.sectors(&**ranges).plan(lba, sectors, write).map_err(|refusal| status_of(refusal, write))?
            }
        };
        let own = Command::new(command.opcode(), command.nsid()).with_id(command.id());
        let own = own.with_dword(12, command.dword(12) & DWORD_12).with_dword(13, command.dword(13) & DWORD_13);
        match (plan, ranges) {
            (Plan::Direct { disk_lba }, _) => {
                prp::copy(cx.guest, command.prps(), len_bytes, &mut self.segments)?;
                let mut pieces = core::mem::take(&mut self.pieces);
                let flight = Flight::Guest { id: command.id(), then: Then::Nothing };
                let sent = check(cx, &self.segments, &mut pieces).and_then(|()| {
                    self.send(cx, sq, own.with_blocks(disk_lba, sectors), pieces.iter().copied(), flight)
                });
                self.pieces = pieces;
                sent
            }
            (Plan::Bounced, Some(ranges)) => {
                let content = Content::Sectors { lba, sectors, sector_bytes, ranges };
                let disk = u32::try_from(place).unwrap_or(u32::MAX);
                let [first, second] = command.prps();
                let template = own.with_prps([first.0, second.0]);
                self.submit(cx, sq, template, Kind::Sectors, (disk, write), content)
            }
            (Plan::Bounced, None) => Err(Status::INTERNAL_ERROR),
        }
    }
}

/// Puts into `pieces` where the device finds the guest's memory.
fn check(cx: &mut Ctx<'_>, segments: &[GuestSegment], pieces: &mut Vec<(BusAddr, u32)>) -> Result<(), Status> {
    pieces.clear();
    pieces.try_reserve(segments.len()).map_err(|_| Status::INTERNAL_ERROR)?;
    for segment in segments {
        let bus = cx.guest.bus_addr(segment.at, segment.len_bytes.into()).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
        pieces.push((bus, segment.len_bytes));
    }
    Ok(())
}
