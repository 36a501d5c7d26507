//! The controller: routes the guest's accesses to the channels, and is what the VMM holds.

use crate::channel::Channel;
use crate::guard::{self, Transfer};
use crate::own::PATIENCE_NS;
use crate::ports::BUS_MASTER;
use crate::probe;
use crate::spec::{SECTOR_BYTES, bm, reg};
use crate::unit::{Disk, Unit};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::Queue;
use mediator::disk::{DiskController, DiskError, DiskInfo, OwnError, OwnRequest, RangeMap};
use mediator::{
    Access, ConfigAccess, Ctx, Mediator, Op, RegionId, StringIo, Verdict, Violation, Width, Work, WorkError,
};

/// The mediator of one IDE controller.
pub struct Ata {
    pub name: String,
    pub channels: [Channel; 2],
}

/// The blocks of a channel (see [`crate::ports::Ports::of`]).
enum Block {
    Command,
    Control,
}

impl Ata {
    fn channel(&mut self, region: RegionId) -> Option<(&mut Channel, Block)> {
        let block = if region.0 & 1 == 0 { Block::Command } else { Block::Control };
        self.channels.get_mut(usize::from(region.0 >> 1)).map(|channel| (channel, block))
    }

    fn bus_master(&mut self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        let bytes = access.width.bytes() as u32;
        let aligned = bytes <= 4 && access.offset & bytes.saturating_sub(1) == 0;
        let [first, second] = &mut self.channels;
        let channel = if access.offset < bm::CHANNEL_PORTS { first } else { second };
        if !aligned || access.offset >= bm::CHANNEL_PORTS << 1 {
            return Err(Violation { what: "IDE bus master: no such register", detail: u64::from(access.offset) });
        }
        let first = access.offset & (bm::CHANNEL_PORTS - 1);
        let registers = first..first.saturating_add(bytes);
        if let Op::Write(value) = access.op {
            for (register, byte) in registers.zip(value.to_le_bytes()) {
                channel.bm_write(cx, register, byte);
            }
            return Ok(Verdict::Done);
        }
        let mut value = [0; 8];
        for (register, byte) in registers.zip(&mut value) {
            match channel.bm_read(cx, register) {
                Some(read) => *byte = read,
                None => return Ok(Verdict::Again),
            }
        }
        Ok(Verdict::Value(u64::from_le_bytes(value)))
    }

    /// The disks, in the order of channel and unit.
    fn each_disk(&self) -> impl Iterator<Item = (u8, u8, &Disk)> {
        self.channels.iter().flat_map(|channel| {
            channel.units.iter().zip(0_u8..).filter_map(move |(unit, number)| match unit {
                Unit::Disk(disk) => Some((channel.number, number, disk)),
                Unit::Absent | Unit::Packet => None,
            })
        })
    }

    /// The channel of a disk, and the disk's unit.
    fn place(&mut self, disk: usize) -> Option<(&mut Channel, usize)> {
        let (channel, unit) = self.position(disk).ok()?;
        Some((self.channels.get_mut(channel)?, unit))
    }

    /// Do requests of the VMM's own keep a write to configuration space waiting?
    fn own_delays(&mut self, cx: &mut Ctx<'_>) -> bool {
        let pushed = cx.work.len();
        let mut delays = false;
        for channel in self.channels.iter_mut().filter(|channel| channel.has_own()) {
            channel.look_after_own(cx);
            delays |= channel.own_age_ns(cx.now).is_some_and(|age| age < PATIENCE_NS);
        }
        delays || cx.work.len() > pushed
    }

    fn position(&self, disk: usize) -> Result<(usize, usize), DiskError> {
        let (channel, unit, _) = self.each_disk().nth(disk).ok_or(DiskError::Request)?;
        Ok((usize::from(channel), usize::from(unit)))
    }
}

impl Mediator for Ata {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_access(&mut self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        if access.region == BUS_MASTER {
            return self.bus_master(cx, access);
        }
        match self.channel(access.region) {
            Some((channel, Block::Command)) => channel.on_command_block(cx, access.offset, access.width, access.op),
            Some((channel, Block::Control)) if access.offset == 0 => {
                channel.on_control_block(cx, access.width, access.op)
            }
            _ => Err(Violation { what: "ATA: access to no register", detail: u64::from(access.offset) }),
        }
    }

    fn on_string(
        &mut self,
        cx: &mut Ctx<'_>,
        region: RegionId,
        offset: u32,
        io: StringIo<'_>,
    ) -> Result<usize, Violation> {
        let (StringIo::In { width, .. } | StringIo::Out { width, .. }) = &io;
        let width = *width;
        let channel = match self.channel(region) {
            Some((channel, Block::Command)) if offset == reg::DATA && matches!(width, Width::Word | Width::Dword) => {
                channel
            }
            _ => return Err(Violation { what: "ATA: string access beside the data port", detail: u64::from(offset) }),
        };
        let len_bytes = match io {
            StringIo::In { data, .. } => {
                channel.data_in(cx, width, data);
                data.len()
            }
            StringIo::Out { data, .. } => {
                channel.data_out(cx, width, data);
                data.len()
            }
        };
        Ok(if width == Width::Word { len_bytes >> 1 } else { len_bytes >> 2 })
    }

    fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation> {
        let Op::Write(value) = access.op else { return Ok(Verdict::Passthrough) };
        if self.own_delays(cx) {
            return Ok(Verdict::Again);
        }
        let transfer = Transfer {
            running: self.channels.iter().any(|channel| channel.in_transfer(cx.device)),
            feeding: self.channels.iter().any(Channel::feeds_device),
        };
        guard::on_config_write(cx, access, value, transfer)
    }

    fn passing_reads(&self) -> u8 {
        let [first, second] = &self.channels;
        let both = |channel: &Channel| match channel.shows_busy() || channel.shows_own() {
            true => 0,
            false if channel.wants_acknowledge() => 0b10,
            false => 0b11,
        };
        both(first) | both(second) << 2
    }

    fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        guard::on_resume(cx);
        self.channels.iter_mut().for_each(|channel| channel.on_resume(cx));
    }

    fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: Work, result: Result<(), WorkError>) {
        let [first, second] = &mut self.channels;
        let channel = if Queue::number_of(&work) == first.number { first } else { second };
        channel.on_work_done(cx, &work, result);
    }

    fn as_disks(&mut self) -> Option<&mut dyn DiskController> {
        Some(self)
    }
}

impl DiskController for Ata {
    fn disks(&self) -> Vec<DiskInfo> {
        let info = |(channel, unit, disk): (u8, u8, &Disk)| DiskInfo {
            model: disk.identity.model.clone(),
            serial: disk.identity.serial.clone(),
            channel: channel.into(),
            unit: unit.into(),
            sectors: disk.identity.sectors,
            sector_bytes: disk.identity.sector_bytes,
        };
        self.each_disk().map(info).collect()
    }

    fn read_before_guest(&mut self, cx: &mut Ctx<'_>, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let (channel, unit) = self.position(disk)?;
        let channel = self.channels.get(channel).ok_or(DiskError::Request)?;
        let Some(Unit::Disk(disk)) = channel.units.get(unit) else { return Err(DiskError::Request) };
        probe::read(cx.device, channel.ports, unit, &disk.identity, lba, data)
    }

    fn set_ranges(&mut self, disk: usize, ranges: Arc<dyn RangeMap>) -> Result<(), DiskError> {
        let (channel, unit) = self.position(disk)?;
        match self.channels.get_mut(channel).and_then(|channel| channel.units.get_mut(unit)) {
            // Protected ranges are numbered by LBA and in sectors of 512 bytes.
            Some(Unit::Disk(disk)) if disk.identity.lba && disk.identity.sector_bytes as usize == SECTOR_BYTES => {
                disk.ranges = Some(ranges);
                Ok(())
            }
            _ => Err(DiskError::Request),
        }
    }

    fn submit_own(&mut self, cx: &mut Ctx<'_>, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        let (channel, unit) = self.place(disk).ok_or(OwnError::Request)?;
        channel.begin_own(cx, unit, request)
    }

    fn poll_own(&mut self, cx: &mut Ctx<'_>, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        let Some((channel, unit)) = self.place(disk) else { return Some(Err(OwnError::Request)) };
        channel.look_after_own(cx);
        channel.own.requests.poll(unit)
    }

    fn drop_own(&mut self, disk: usize) {
        if let Some((channel, unit)) = self.place(disk) {
            channel.own.forget(unit);
        }
    }
}
