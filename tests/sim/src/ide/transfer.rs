//! How data moves: in DRQ blocks through the data port, or by the bus master (ATA7 vol. 2, s. 11.5 to 11.8).

use super::channel::{Next, Phase};
use super::{Channel, Disk, Kind, status};
use crate::{Bus, DmaFault, SECTOR_BYTES};

/// What the data belongs to.
pub(super) enum Role {
    /// Sectors of the medium, `left` of them from `lba` on.
    Media { lba: u64, left: u32, ext: bool },
    /// The device's answer, and how much of it makes one block.
    Answer { rest: Vec<u8>, chunk: usize },
    /// DATA SET MANAGEMENT ranges, so many sectors of them.
    Trim { left: u32 },
    /// WRITE BUFFER: nobody looks.
    Discard,
    /// The command packet of an ATAPI unit.
    Packet,
}

/// A data transfer; `block` is the piece at hand.
pub(super) struct Transfer {
    pub to_device: bool,
    pub role: Role,
    /// Sectors of one DRQ block.
    pub per_block: u32,
    /// In: the bytes to give. Out: the bytes got so far.
    block: Vec<u8>,
    given: usize,
    expected: usize,
    /// The host was asked for a block before.
    begun: bool,
}

impl Transfer {
    pub fn new(to_device: bool, role: Role, per_block: u32) -> Self {
        Self { to_device, role, per_block, block: Vec::new(), given: 0, expected: 0, begun: false }
    }

    pub fn pop(&mut self) -> u8 {
        let byte = self.block.get(self.given).copied().unwrap_or(0xff);
        self.given += 1;
        byte
    }

    pub fn push(&mut self, byte: u8) {
        if self.block.len() < self.expected {
            self.block.push(byte);
        }
    }

    pub fn block_is_done(&self) -> bool {
        if self.to_device { self.block.len() >= self.expected } else { self.given >= self.block.len() }
    }

    /// Is nothing left but the block at hand?
    fn is_last(&self) -> bool {
        match &self.role {
            Role::Media { left, .. } | Role::Trim { left } => *left == 0,
            Role::Answer { rest, .. } => rest.is_empty(),
            Role::Discard | Role::Packet => self.begun,
        }
    }

    /// Bytes of the next block that comes from the host.
    fn next_len(&self) -> usize {
        match &self.role {
            Role::Media { left, .. } | Role::Trim { left } => (*left).min(self.per_block) as usize * SECTOR_BYTES,
            Role::Packet => 12,
            Role::Discard | Role::Answer { .. } => SECTOR_BYTES,
        }
    }
}

impl Channel {
    /// The busy phase before a PIO block ends.
    pub(super) fn next_block(&mut self, mut transfer: Transfer) {
        let outcome = if transfer.to_device { self.store(&mut transfer) } else { self.load(&mut transfer) };
        if let Err(error) = outcome {
            return self.end(error);
        }
        if transfer.to_device && transfer.begun && transfer.is_last() {
            return self.end(0);
        }
        // A unit that wants its first block of data, or its packet, does not interrupt for it.
        let silent = transfer.to_device && !transfer.begun;
        transfer.expected = transfer.next_len();
        transfer.begun = true;
        let unit = &mut self.units[self.active];
        unit.taskfile.status &= !status::ERR;
        unit.intrq = !silent;
        if unit.kind.is_cdrom() {
            super::atapi::announce(&mut unit.taskfile, matches!(transfer.role, Role::Packet), transfer.block.len());
        }
        self.go(Phase::Block(transfer));
    }

    /// The host has moved the block.
    pub(super) fn block_done(&mut self) {
        let Phase::Block(transfer) = core::mem::replace(&mut self.phase, Phase::Idle) else { return };
        if let Role::Packet = transfer.role {
            return self.packet(transfer.block);
        }
        let answered = !transfer.to_device && transfer.is_last();
        if !answered {
            self.go(Phase::Busy(Next::Block(transfer)));
        } else if self.units[self.active].kind.is_cdrom() {
            self.go(Phase::Busy(Next::End(0)));
        } else {
            self.go(Phase::Idle);
        }
    }

    /// Fills the block for the host.
    fn load(&mut self, transfer: &mut Transfer) -> Result<(), u8> {
        transfer.block.clear();
        transfer.given = 0;
        match &mut transfer.role {
            Role::Answer { rest, chunk } => transfer.block.extend(rest.drain(..rest.len().min(*chunk))),
            Role::Media { lba, left, ext } => {
                for _ in 0..transfer.per_block.min(*left) {
                    transfer.block.extend(self.media(*lba, *ext)?.platter.read(*lba));
                    *lba += 1;
                    *left -= 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes what came from the host.
    fn store(&mut self, transfer: &mut Transfer) -> Result<(), u8> {
        for sector in core::mem::take(&mut transfer.block).chunks_exact(SECTOR_BYTES) {
            match &mut transfer.role {
                Role::Media { lba, left, ext } => {
                    let data = sector.try_into().expect("a chunk is a sector");
                    self.media(*lba, *ext)?.platter.write(*lba, data);
                    *lba += 1;
                    *left -= 1;
                }
                Role::Trim { left } => {
                    *left -= 1;
                    self.trim(sector);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The disk, if this sector can be moved.
    pub(super) fn media(&mut self, lba: u64, ext: bool) -> Result<&mut Disk, u8> {
        let unit = &mut self.units[self.active];
        let Kind::Disk(disk) = &mut unit.kind else { return Err(super::error::ABRT) };
        match disk.platter.error(lba) {
            None => Ok(disk),
            Some(error) => {
                unit.taskfile.report(lba, ext, disk.geometry);
                Err(error)
            }
        }
    }

    fn trim(&mut self, ranges: &[u8]) {
        let Kind::Disk(disk) = &mut self.units[self.active].kind else { return };
        for entry in ranges.chunks_exact(8) {
            let entry = crate::machine::little_endian(entry);
            let (lba, sectors) = (entry & 0xffff_ffff_ffff, entry >> 48);
            if sectors > 0 {
                disk.trimmed.push((lba, sectors));
            }
        }
    }

    /// Moves what the bus master can move now.
    pub(super) fn step_dma(&mut self, bus: &mut Bus<'_>) {
        let Phase::Dma(mut transfer) = core::mem::replace(&mut self.phase, Phase::Idle) else { return };
        for _ in 0..self.sectors_per_tick {
            match self.dma_block(&mut transfer, bus) {
                Err(error) => return self.end(error),
                Ok(true) => return self.end(0),
                Ok(false) if !self.bm.moves(!transfer.to_device) => break,
                Ok(false) => {}
            }
        }
        self.go(Phase::Dma(transfer));
    }

    /// Moves the block at hand; `true` when the transfer is complete.
    fn dma_block(&mut self, transfer: &mut Transfer, bus: &mut Bus<'_>) -> Result<bool, u8> {
        if !self.bm.moves(!transfer.to_device) {
            return Ok(false);
        }
        let bounced = self.must_bounce(&transfer.role, transfer.to_device, transfer.block.is_empty());
        if transfer.to_device {
            transfer.expected = transfer.next_len();
            while !transfer.block_is_done() {
                let want = transfer.expected - transfer.block.len();
                let Some((at, len)) = self.take(bus, want, bounced) else { return Ok(false) };
                let mut piece = vec![0; len];
                bus.read(at, &mut piece);
                transfer.block.extend(piece);
            }
            self.store(transfer)?;
        } else {
            if transfer.block_is_done() {
                self.load(transfer)?;
            }
            while !transfer.block_is_done() {
                let Some((at, len)) = self.take(bus, transfer.block.len() - transfer.given, bounced) else {
                    return Ok(false);
                };
                bus.write(at, &transfer.block[transfer.given..transfer.given + len]);
                transfer.given += len;
            }
        }
        Ok(transfer.is_last())
    }

    fn take(&mut self, bus: &mut Bus<'_>, want: usize, bounced: bool) -> Option<(u64, usize)> {
        let (at, len) = self.bm.take(bus, want as u64)?;
        if bounced && !bus.arena.holds(at, len) {
            bus.fault(DmaFault::ProtectedWithoutBounce { at });
        }
        Some((at, len as usize))
    }

    /// Is the sector that moves next one that must go through the arena?
    fn must_bounce(&self, role: &Role, to_device: bool, fresh: bool) -> bool {
        let (Kind::Disk(disk), Role::Media { lba, .. }) = (&self.units[self.active].kind, role) else { return false };
        // While a sector is being read out, `lba` is already the next one.
        let at = if to_device || fresh { *lba } else { lba.saturating_sub(1) };
        disk.bounced.contains(&at)
    }
}
