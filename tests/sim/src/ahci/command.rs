//! Commands: fetched from the list, done by the device, ended with a FIS.

use super::SimPort;
use super::port::{DHRS, OFS, PSS, Registers, SDBS, TFES};
use crate::ide::identify;
use crate::{Bus, DmaFault, SECTOR_BYTES};

/// A queued command that the device has.
#[derive(Clone, Debug)]
pub struct Queued {
    pub slot: u32,
    pub write: bool,
    pub lba: u64,
    pub sectors: u32,
    pub left: u32,
    /// As they were when it was taken.
    pub regions: Vec<(u64, u64)>,
}

/// Data that is moved although the port has forgotten the command.
pub(super) struct Late {
    pub write: bool,
    pub lba: u64,
    pub sectors: u32,
    pub regions: Vec<(u64, u64)>,
}

/// A command that is not queued, at work.
pub(super) struct Running {
    slot: u32,
    fis: [u8; 20],
    packet: [u8; 16],
    pub left: u32,
    regions: Vec<(u64, u64)>,
}

/// ABRT: the command, or what it asks for, is unknown, or lies beyond the end (ATA8-ACS s. 6.2.1 leaves a device the choice between
/// this and IDNF there; QEMU's takes this one).
const ABORTED: u8 = 4;

/// What SET FEATURES can set: transfer mode, caches, power and noise, defaults, features of Serial ATA.
const FEATURES: &[u8] = &[0x02, 0x03, 0x05, 0x10, 0x42, 0x55, 0x66, 0x82, 0x85, 0x90, 0xaa, 0xc2, 0xcc];

/// What a command does.
enum Doing {
    Media {
        write: bool,
        lba: u64,
        sectors: u32,
    },
    Answer(Vec<u8>),
    Trim(u32),
    Nothing,
    /// As this count tells.
    Told(u8),
    Flush,
    /// Error register, and the sector that is to blame.
    Error(u8, Option<u64>),
}

fn address(fis: &[u8; 20], ext: bool) -> (u64, u32) {
    let low = u64::from(fis[4]) | u64::from(fis[5]) << 8 | u64::from(fis[6]) << 16;
    if ext {
        let high = u64::from(fis[8]) | u64::from(fis[9]) << 8 | u64::from(fis[10]) << 16;
        let count = u32::from(fis[12]) | u32::from(fis[13]) << 8;
        return (low | high << 24, if count == 0 { 65536 } else { count });
    }
    (low | u64::from(fis[7] & 15) << 24, if fis[12] == 0 { 256 } else { fis[12].into() })
}

/// The sector that the FIS names by cylinder, head and sector: without the LBA bit some devices take every command so, 48-bit ones
/// too. `None`: there is none.
fn chs(fis: &[u8; 20], (heads, per_track): (u64, u64)) -> Option<u64> {
    let (cylinder, head) = (u64::from(fis[5]) | u64::from(fis[6]) << 8, u64::from(fis[7] & 15));
    let in_track = u64::from(fis[4]).checked_sub(1)?;
    (head < heads && in_track < per_track).then(|| (cylinder * heads + head) * per_track + in_track)
}

impl SimPort {
    fn header(&self, bus: &mut Bus<'_>, slot: u32) -> ([u32; 4], u64) {
        let at = self.list + u64::from(slot) * 32;
        let mut bytes = [0; 16];
        for (n, part) in bytes.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&bus.fetch(at + 8 * n as u64));
        }
        let dword = |n: usize| u32::from_le_bytes(bytes[4 * n..4 * n + 4].try_into().unwrap());
        let words = [dword(0), dword(1), dword(2), dword(3)];
        (words, u64::from(words[2] & !0x7f) | u64::from(words[3]) << 32)
    }

    /// The regions of a command.
    pub(super) fn regions(&self, bus: &mut Bus<'_>, slot: u32, wide: bool) -> Vec<(u64, u64)> {
        let ([flags, ..], table) = self.header(bus, slot);
        let entry = |bus: &mut Bus<'_>, n: u64| {
            let low = u64::from_le_bytes(bus.fetch(table + 0x80 + 16 * n));
            let high = u64::from_le_bytes(bus.fetch(table + 0x88 + 16 * n));
            assert!(low & 1 == 0 && high >> 32 & 1 == 1, "an odd region: {low:#x}, {high:#x}");
            (if wide { low } else { low & 0xffff_ffff }, (high >> 32 & 0x3f_ffff) + 1)
        };
        (0..u64::from(flags >> 16)).map(|n| entry(bus, n)).collect()
    }

    /// Fetches a command. Queued ones leave the list at once.
    pub(super) fn take(&mut self, bus: &mut Bus<'_>, slot: u32, wide: bool) {
        let ([flags, ..], table) = self.header(bus, slot);
        assert!(flags & 0x1f >= 5, "a command FIS of {} dwords", flags & 0x1f);
        let mut bytes = [0; 0x50];
        for (n, part) in bytes.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&bus.fetch(table + 8 * n as u64));
        }
        let fis: [u8; 20] = bytes[..20].try_into().unwrap();
        assert_eq!((fis[0], fis[1] & 15), (0x27, 0), "no register FIS for the drive itself");
        if fis[1] & 0x80 == 0 {
            self.controls.push(fis[15]);
            self.ci &= !(1 << slot);
            if fis[15] & 4 == 0 {
                self.sign(bus);
            }
            return;
        }
        if !self.packet && matches!(fis[2], 0x60 | 0x61) {
            return self.take_queued(bus, slot, &fis, wide);
        }
        let packet = bytes[0x40..0x50].try_into().unwrap();
        let (lba, sectors) = address(&fis, true);
        self.commands.push((fis[2], lba, sectors, false));
        if !self.queued.is_empty() {
            // The drive gives up all that is queued.
            return self.fail_queued(bus, None);
        }
        self.tfd = 0x80;
        let regions = self.regions(bus, slot, wide);
        self.running = Some(Running { slot, fis, packet, left: self.delay, regions });
    }

    fn take_queued(&mut self, bus: &mut Bus<'_>, slot: u32, fis: &[u8; 20], wide: bool) {
        let (lba, _) = address(fis, true);
        let count = u32::from(fis[3]) | u32::from(fis[11]) << 8;
        let sectors = if count == 0 { 65536 } else { count };
        assert_eq!(u32::from(fis[12] >> 3), slot, "the tag is not the slot");
        assert_ne!(self.sact & 1 << slot, 0, "PxSACT was not set");
        self.commands.push((fis[2], lba, sectors, true));
        // The device has it, and is free for the next one (Serial ATA s. 13.6.4.1).
        self.ci &= !(1 << slot);
        self.tell(bus, false);
        let regions = self.regions(bus, slot, wide);
        self.queued.push(Queued { slot, write: fis[2] == 0x61, lba, sectors, left: self.delay, regions });
        let end = self.disk.as_ref().map_or(0, |disk| disk.platter.sectors());
        if lba + u64::from(sectors) > end {
            self.fail_queued(bus, Some((slot, ABORTED, lba)));
        }
    }

    /// Everything queued is given up; the log says why.
    fn fail_queued(&mut self, bus: &mut Bus<'_>, why: Option<(u32, u8, u64)>) {
        match why {
            Some((slot, ..)) if self.goes_on => self.queued.retain(|it| it.slot != slot),
            _ => self.queued.clear(),
        }
        let (tag, error, lba) = why.unwrap_or((0x80, 4, 0));
        self.log = [0; 512];
        self.log[0] = tag as u8;
        (self.log[2], self.log[3]) = (0x41, error);
        let lba = lba.to_le_bytes();
        self.log[4..7].copy_from_slice(&lba[..3]);
        self.log[8..11].copy_from_slice(&lba[3..6]);
        self.log[511] = self.log.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        self.tfd = u32::from(error) << 8 | 0x41;
        self.post(bus, 0x58, &[0xa1, 0x40, 0x41, error, 0, 0, 0, 0]);
        self.cause(TFES);
    }

    pub(super) fn end_queued(&mut self, bus: &mut Bus<'_>, index: usize, wide: bool) {
        let Queued { slot, write, lba, sectors, .. } = self.queued[index].clone();
        match self.media(bus, slot, write, lba, sectors, wide) {
            Ok(_) => {
                self.queued.remove(index);
                self.sact &= !(1 << slot);
                let bits = (1_u32 << slot).to_le_bytes();
                self.tfd = self.tfd & 0xff00 | 0x50;
                let error = (self.tfd >> 8) as u8;
                self.post(bus, 0x58, &[0xa1, 0x40, 0x50, error, bits[0], bits[1], bits[2], bits[3]]);
                self.cause(SDBS);
            }
            Err((bad, error)) => self.fail_queued(bus, Some((slot, error, bad))),
        }
    }

    pub(super) fn end_running(&mut self, bus: &mut Bus<'_>, wide: bool) {
        let Some(running) = self.running.take() else { return };
        let doing = if self.packet { self.packet_command(&running) } else { self.disk_command(&running.fis) };
        let (lba, count) = (address(&running.fis, true).0, running.fis[12]);
        self.registers = Registers { lba, count, device: running.fis[7] };
        let result = match doing {
            Doing::Media { write, lba, sectors } => {
                let result = self.media(bus, running.slot, write, lba, sectors, wide);
                result
                    .inspect(|_| self.moved_all(bus, &running.fis, write, lba, sectors))
                    .map_err(|(lba, e)| (e, Some(lba)))
            }
            Doing::Answer(mut data) => {
                let moved = self.transfer(bus, running.slot, &mut data, false, false, wide);
                if running.fis[2] != 0xa0 {
                    self.set_up_pio(bus, false, 1);
                }
                Ok(moved)
            }
            Doing::Trim(sectors) => self.trim(bus, running.slot, sectors, wide).map_err(|(e, lba)| (e, Some(lba))),
            Doing::Nothing => Ok(0),
            Doing::Told(count) => {
                self.registers.count = count;
                Ok(0)
            }
            Doing::Flush => {
                self.disk.iter_mut().for_each(|disk| disk.platter.flush());
                Ok(0)
            }
            Doing::Error(error, lba) => Err((error, lba)),
        };
        match result {
            Ok(moved) => {
                bus.write(self.list + u64::from(running.slot) * 32 + 4, &moved.to_le_bytes());
                self.tfd = 0x50;
                self.ci &= !(1 << running.slot);
                self.next = 0;
                self.register(bus);
            }
            Err((error, lba)) => {
                self.tfd = u32::from(error) << 8 | 0x41;
                self.registers.lba = lba.unwrap_or(self.registers.lba);
                self.next = if self.goes_on { running.slot + 1 } else { 0 };
                self.register(bus);
                self.cause(TFES);
            }
        }
    }

    /// Registers, and for PIO the setup FIS before the last sector, or behind it where the device has counted already.
    fn moved_all(&mut self, bus: &mut Bus<'_>, fis: &[u8; 20], write: bool, lba: u64, sectors: u32) {
        let end = lba + u64::from(sectors);
        let pio = matches!(fis[2], 0x20 | 0x24 | 0x30 | 0x34);
        if pio && write {
            self.registers = Registers { lba: end - 1, count: 1, ..self.registers };
            self.set_up_pio(bus, true, sectors);
        }
        self.registers = Registers { lba: end, count: 0, ..self.registers };
        if pio && !write {
            self.set_up_pio(bus, false, sectors);
        }
    }

    /// The PIO setup FIS of the last sector (Serial ATA s. 10.5.11): the first one of a write tells of no interrupt, and after a
    /// sector from the host the device is busy.
    fn set_up_pio(&mut self, bus: &mut Bus<'_>, write: bool, sectors: u32) {
        let interrupts = !write || sectors > 1;
        let Registers { lba, count, device } = self.registers;
        let l = lba.to_le_bytes();
        let flags = u8::from(!write) << 5 | u8::from(interrupts) << 6;
        let after = if write { 0xd0 } else { 0x50 };
        let fis = [0x5f, flags, 0x58, 0, l[0], l[1], l[2], device, l[3], l[4], l[5], 0, count, 0, 0, after, 0, 2, 0, 0];
        self.post(bus, 0x20, &fis);
        if interrupts {
            self.cause(PSS);
        }
    }

    /// A register FIS with interrupt.
    pub(super) fn register(&mut self, bus: &mut Bus<'_>) {
        self.tell(bus, true);
        self.cause(DHRS);
    }

    /// A register FIS.
    fn tell(&mut self, bus: &mut Bus<'_>, interrupts: bool) {
        let Registers { lba, count, device } = self.registers;
        let (l, [status, error, ..]) = (lba.to_le_bytes(), self.tfd.to_le_bytes());
        let flags = u8::from(interrupts) << 6;
        let fis =
            [0x34, flags, status, error, l[0], l[1], l[2], device, l[3], l[4], l[5], 0, count, 0, 0, 0, 0, 0, 0, 0];
        self.post(bus, 0x40, &fis);
    }

    fn disk_command(&mut self, fis: &[u8; 20]) -> Doing {
        let Some(disk) = &self.disk else { return Doing::Error(ABORTED, None) };
        let media = |write, ext| {
            let (named, sectors) = address(fis, ext);
            let lba = if fis[7] & 0x40 == 0 { chs(fis, disk.geometry) } else { Some(named) };
            let Some(lba) = lba else { return Doing::Error(0x10, Some(named)) };
            if lba + u64::from(sectors) > disk.platter.sectors() {
                return Doing::Error(ABORTED, None);
            }
            Doing::Media { write, lba, sectors }
        };
        match fis[2] {
            0x20 | 0xc4 | 0xc8 => media(false, false),
            0x24 | 0x25 | 0x29 => media(false, true),
            0x30 | 0xc5 | 0xca => media(true, false),
            0x34 | 0x35 | 0x39 | 0x3d => media(true, true),
            0x40 | 0x42 => Doing::Nothing,
            0xec => Doing::Answer(identify::sata_disk(disk).to_vec()),
            0x2f if self.goes_on => Doing::Error(ABORTED, None),
            0x2f if fis[4] == 0x10 => Doing::Answer(self.log.to_vec()),
            0x2f => Doing::Answer(vec![0; SECTOR_BYTES]),
            0x06 => Doing::Trim(address(fis, true).1),
            0xe7 | 0xea => Doing::Flush,
            // Active.
            0xe5 => Doing::Told(0xff),
            0xef if FEATURES.contains(&fis[3]) => Doing::Nothing,
            0xe0..=0xe3 | 0xc6 | 0x91 | 0x10 => Doing::Nothing,
            // NOP among them.
            _ => Doing::Error(ABORTED, None),
        }
    }

    fn packet_command(&mut self, running: &Running) -> Doing {
        match (running.fis[2], running.packet[0]) {
            (0xa1, _) => Doing::Answer(identify::cdrom().to_vec()),
            // READ (10).
            (0xa0, 0x28) => {
                let p = &running.packet;
                let first = u32::from_be_bytes([p[2], p[3], p[4], p[5]]);
                let blocks = u32::from(u16::from_be_bytes([p[7], p[8]]));
                Doing::Answer((first..first + blocks).flat_map(crate::ide::atapi::block).collect())
            }
            (0xa0, 0) | (0xef, _) => Doing::Nothing,
            _ => Doing::Error(ABORTED, None),
        }
    }

    /// Moves sectors. An error tells the sector and the error register.
    fn media(
        &mut self,
        bus: &mut Bus<'_>,
        slot: u32,
        write: bool,
        lba: u64,
        sectors: u32,
        wide: bool,
    ) -> Result<u32, (u64, u8)> {
        let Some(disk) = &self.disk else { return Err((lba, 4)) };
        let end = lba + u64::from(sectors);
        let bad = (lba..end).find_map(|lba| disk.platter.error(lba).map(|error| (lba, error)));
        let good = bad.map_or(end, |(lba, _)| lba);
        let bounced = (lba..end).any(|lba| disk.bounced.contains(&lba));
        let mut data: Vec<u8> = (lba..good).flat_map(|lba| disk.platter.read(lba)).collect();
        let moved = self.transfer(bus, slot, &mut data, write, bounced, wide);
        if let (true, Some(disk)) = (write, &mut self.disk) {
            for (lba, sector) in (lba..good).zip(data.chunks_exact(SECTOR_BYTES)) {
                disk.platter.write(lba, sector.try_into().unwrap());
            }
        }
        bad.map_or(Ok(moved), Err)
    }

    /// What is left of a command that moves sectors when its port is stopped.
    pub(super) fn late_of(&mut self, running: Running) -> Option<Late> {
        let doing = if self.packet { return None } else { self.disk_command(&running.fis) };
        let Doing::Media { write, lba, sectors } = doing else { return None };
        Some(Late { write, lba, sectors, regions: running.regions })
    }

    pub(super) fn move_late(&mut self, bus: &mut Bus<'_>, Late { write, lba, sectors, regions }: Late) {
        let Some(disk) = &mut self.disk else { return };
        let all = lba..lba + u64::from(sectors);
        let mut data: Vec<u8> = all.clone().flat_map(|lba| disk.platter.read(lba)).collect();
        let mut rest = &mut data[..];
        for (at, len) in regions {
            let (piece, tail) = rest.split_at_mut((len as usize).min(rest.len()));
            if write {
                bus.read(at, piece)
            } else {
                bus.write(at, piece)
            }
            rest = tail;
        }
        if write {
            all.zip(data.chunks_exact(SECTOR_BYTES))
                .for_each(|(lba, sector)| disk.platter.write(lba, sector.try_into().unwrap()));
        }
    }

    /// Moves bytes between the device and the regions of a command.
    fn transfer(
        &mut self,
        bus: &mut Bus<'_>,
        slot: u32,
        data: &mut [u8],
        from_host: bool,
        bounced: bool,
        wide: bool,
    ) -> u32 {
        let ([flags, ..], _) = self.header(bus, slot);
        assert!(data.is_empty() || (flags & 0x40 != 0) == from_host, "the direction of slot {slot} is wrong");
        let mut done = 0;
        for (at, len) in self.regions(bus, slot, wide) {
            let len = (len as usize).min(data.len() - done);
            let piece = &mut data[done..done + len];
            if bounced && len > 0 && !bus.arena.holds(at, len as u64) {
                bus.fault(DmaFault::ProtectedWithoutBounce { at });
            }
            if from_host {
                bus.read(at, piece)
            } else {
                bus.write(at, piece)
            }
            done += len;
        }
        if !from_host && done < data.len() {
            self.cause(OFS);
        }
        done as u32
    }

    fn trim(&mut self, bus: &mut Bus<'_>, slot: u32, sectors: u32, wide: bool) -> Result<u32, (u8, u64)> {
        let mut list = vec![0; sectors as usize * SECTOR_BYTES];
        let moved = self.transfer(bus, slot, &mut list, true, false, wide);
        for entry in list.chunks_exact(8) {
            let value = u64::from_le_bytes(entry.try_into().unwrap());
            if let (true, Some(disk)) = (value >> 48 != 0, &mut self.disk) {
                disk.trimmed.push((value & 0xffff_ffff_ffff, value >> 48));
            }
        }
        Ok(moved)
    }
}
