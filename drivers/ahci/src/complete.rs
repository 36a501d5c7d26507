//! Commands that the device has done, and what the guest is shown of them.

use crate::fis::{self, Fis};
use crate::port::{Kind, Payload, Port, QueuedFailure, Shared, Shown, Slot, bit, slots_of};
use crate::spec::{fis as bits, header, is, log, port, received};
use acs::identify::{self, Identity, Transport};
use acs::spec::{SECTOR_BYTES, error, reg, status};
use acs::taskfile::{Form, Taskfile};
use block::DeviceError;
use mediator::{Ctx, Gpa};

impl Port {
    /// The guest looks: what the device has done is taken note of. Gives the causes of PxIS that the guest may see, or
    /// `None` while data is still on its way to guest memory.
    pub fn sync(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) -> Option<u32> {
        self.sync_own(cx, shared);
        // In this order: what the causes tell of has left the list of commands before.
        let causes = self.regs.read(cx.device, port::IS) & !self.own_causes();
        let done = self.done(cx);
        let failed = causes & is::FATAL & !self.stale != 0 || self.has_failed(cx, done);
        if self.running && !self.failed && failed {
            self.on_failure(cx, shared, done);
        } else {
            slots_of(done).for_each(|slot| self.on_slot_done(cx, shared, slot));
        }
        if self.delivering != 0 || !shared.queue.is_settled() {
            return None;
        }
        if !self.has_own() {
            // A command may leave the list before its cause shows (AHCI s. 5.3: RegFIS:ClearCI, RegFIS:SetIS), and its guest may be
            // polling. The FIS is there by then.
            let now = match (done, self.queuing) {
                (0, _) => 0,
                (_, true) => is::SDBS,
                (_, false) => is::DHRS | is::PSS,
            };
            self.copy_received(cx, causes | now | self.extra);
        }
        Some(causes | self.extra)
    }

    /// What has left the device's list since the last time. A port that is stopped forgets its list, done or not, before it lets go of
    /// the commands (AHCI s. 3.3.14).
    fn done(&mut self, cx: &mut Ctx<'_>) -> u32 {
        if self.at_device == 0 || self.failed || !self.running || self.stopping {
            return 0;
        }
        let active = if self.queuing { self.regs.read(cx.device, port::SACT) } else { 0 };
        self.at_device & !(active | self.regs.read(cx.device, port::CI))
    }

    /// A command that is not queued has left the list: with an error? (It should not leave it then, but does so in some
    /// controllers.) Device control is answered by nothing: what the task file says is of the command before.
    fn has_failed(&mut self, cx: &mut Ctx<'_>, done: u32) -> bool {
        let bad = u32::from(status::ERR | status::DF);
        let commands = slots_of(done).any(|slot| self.slots.get(slot).is_some_and(Slot::is_command));
        commands && !self.queuing && self.regs.read(cx.device, port::TFD) & bad != 0
    }

    #[inline]
    fn on_slot_done(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, slot: usize) {
        self.at_device &= !bit(slot);
        let Some(it) = self.slots.get(slot) else { return };
        // Whatever comes after the frame that began it.
        self.own.in_reset &= it.begins_reset();
        match it.kind {
            Kind::Direct => self.finish(cx, shared, slot, None),
            // A drive that takes a NOP for a command: the guest's is not done, and is left to time out.
            Kind::Refused => {}
            Kind::Bounced { .. } | Kind::Payload(_) => self.on_moved(cx, shared, slot),
        }
    }

    /// The device has done a command whose data lies in the arena.
    #[inline(never)]
    fn on_moved(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, slot: usize) {
        let Some(&Slot { kind, flags, .. }) = self.slots.get(slot) else { return };
        if let Kind::Payload(payload) = kind {
            self.look_at(cx, shared, slot, payload);
        }
        if flags & header::WRITE == 0 {
            self.delivering |= bit(slot);
        }
        shared.queue.on_device_done(cx, self.tag(slot), Ok(()));
    }

    /// The port has halted. Of queued commands only the log tells which; one that is not queued is the one.
    fn on_failure(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, done: u32) {
        if self.queuing {
            slots_of(done).for_each(|slot| self.on_slot_done(cx, shared, slot));
        }
        self.failed = true;
        // The log is of this failure, and of none before.
        self.failure = None;
        let Some(slot) = slots_of(self.at_device).next().filter(|_| !self.queuing) else { return };
        self.at_device = 0;
        let Some(it) = self.slots.get(slot) else { return };
        if !matches!(it.kind, Kind::Bounced { .. } | Kind::Payload(_)) {
            let failure = QueuedFailure { tag: slot as u8 & log::TAG, fis: it.fis, denied: it.ends };
            self.shown = it.ends.map(|denied| Shown { denied, queued: it.queued });
            self.failure = it.queued.then_some(failure);
            return;
        }
        if it.flags & header::WRITE == 0 {
            self.delivering |= bit(slot);
        }
        let disk_lba = self.failed_lba(cx);
        shared.queue.on_device_done(cx, self.tag(slot), Err(DeviceError { disk_lba }));
    }

    /// The address in the FIS of a failed command, if its error says that it is one.
    fn failed_lba(&self, cx: &mut Ctx<'_>) -> Option<u64> {
        let fis: Fis = *self.memory.as_ref()?.fis(cx.arena, received::REGISTER)?.first_chunk()?;
        let [_, _, _, error, ..] = fis;
        (error & (error::UNC | error::IDNF) != 0).then(|| self.lba_of(&fis))
    }

    /// The address in a FIS from the device.
    fn lba_of(&self, fis: &Fis) -> u64 {
        let taskfile = fis::taskfile(fis);
        taskfile.request(true, fis::NO_GEOMETRY).map_or(0, |request| request.lba)
    }

    /// The answer or the list of a command is in the arena; answers are not the guest's yet.
    fn look_at(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, slot: usize, payload: Payload) {
        let Some(buffer) = self.slots.get(slot).map(|it| it.buffer) else { return };
        let Ok(Some(answer)) = cx.arena.bytes(buffer, SECTOR_BYTES).map(|bytes| bytes.first_chunk_mut()) else {
            return;
        };
        match payload {
            Payload::List => {}
            Payload::Identify => {
                let unit = shared.disks.recognise(self.number, &Identity::parse(answer));
                self.unit = unit;
                let protection = shared.disks.get(unit).and_then(|disk| disk.protection());
                identify::edit(answer, Transport::Serial, protection.as_deref());
            }
            Payload::Log => {
                // A drive that gives this log has given up whatever else was queued (ATA8-ACS s. A.14).
                self.release(cx, shared);
                let Ok(Some(answer)) = cx.arena.bytes(buffer, SECTOR_BYTES).map(|bytes| bytes.first_chunk_mut()) else {
                    return;
                };
                self.translate_log(answer);
            }
            Payload::OwnLog => self.write_log(answer),
        }
    }

    /// The log of the device names a sector by its own number.
    fn translate_log(&self, log: &mut [u8; SECTOR_BYTES]) {
        let [tag, ..] = *log;
        let part = self.slots.get(usize::from(tag & log::TAG)).and_then(|it| it.part);
        let Some(part) = part.filter(|_| tag & log::NOT_QUEUED == 0) else { return };
        let Some(fis) = log.first_chunk_mut::<20>() else { return };
        let lba = part.guest_lba(self.lba_of(fis));
        set_lba(fis, lba);
        seal(log);
    }

    /// The log of a queued command that the mediator has refused.
    fn write_log(&mut self, log: &mut [u8; SECTOR_BYTES]) {
        let Some(failure) = self.failure.take() else { return };
        log.fill(0);
        if let Some(fis) = log.first_chunk_mut::<20>() {
            // Tag, reserved, status, error, then as in a FIS from the device.
            let mut taskfile = fis::taskfile(&failure.fis);
            taskfile.write(reg::FEATURES, 0);
            taskfile.write(reg::FEATURES, 0);
            fis::load(fis, &taskfile);
            let [first, _, now, error, ..] = fis;
            (*first, *now, *error) = (failure.tag, status::DRDY | status::ERR, error::ABRT);
            if let Some(denied) = failure.denied {
                *error = denied.error;
                set_lba(fis, denied.lba);
            }
        }
        seal(log);
    }

    /// The guest may know that a command is done. `sectors`: what was moved, of bounced ones.
    #[inline]
    pub fn finish(&mut self, cx: &mut Ctx<'_>, shared: &Shared, slot: usize, sectors: Option<u32>) {
        let Some(&Slot { kind, queued, .. }) = self.slots.get(slot) else { return };
        self.issued &= !bit(slot);
        self.before &= !bit(slot);
        self.news = true;
        if queued {
            self.active &= !bit(slot);
        } else {
            self.tell_moved(cx, shared, slot, kind, sectors);
        }
    }

    /// Puts the count of bytes that were moved into the header of a command that was not queued.
    #[inline(never)]
    fn tell_moved(&self, cx: &mut Ctx<'_>, shared: &Shared, slot: usize, kind: Kind, sectors: Option<u32>) {
        let disk = shared.disks.get(self.unit);
        let sector_bytes = disk.map_or(SECTOR_BYTES as u32, |disk| disk.identity.sector_bytes);
        let moved = match (kind, sectors) {
            (Kind::Bounced { .. }, Some(sectors)) => sectors.saturating_mul(sector_bytes),
            _ => self.memory.as_ref().map_or(0, |memory| memory.moved_bytes(cx.arena, slot)),
        };
        let at = self.list.checked_add(header::offset(slot).saturating_add(4));
        if let Some(at) = at {
            // A guest whose list is no memory any more does not look there.
            let _ = cx.guest.write(Gpa(at), &moved.to_le_bytes());
        }
    }

    /// Gives the guest the FISes that `causes` tell of.
    pub fn copy_received(&self, cx: &mut Ctx<'_>, causes: u32) {
        if causes & (is::DHRS | is::TFES) != 0 {
            self.copy_one(cx, received::REGISTER, |fis| self.translate_register(fis));
        }
        if causes & is::PSS != 0 {
            self.copy_one::<20>(cx, received::PIO_SETUP, |_| {});
        }
        if causes & is::DSS != 0 {
            self.copy_one::<28>(cx, received::DMA_SETUP, |_| {});
        }
        if causes & (is::SDBS | is::TFES) != 0 {
            self.copy_one(cx, received::SET_DEVICE_BITS, |fis| self.show_queued(fis));
        }
        if causes & is::UFS != 0 {
            self.copy_one::<64>(cx, received::UNKNOWN, |_| {});
        }
    }

    fn copy_one<const N: usize>(&self, cx: &mut Ctx<'_>, place: (usize, usize), edit: impl FnOnce(&mut [u8; N])) {
        let from = self.memory.as_ref().and_then(|memory| memory.fis(cx.arena, place));
        let Some(mut copy) = from.and_then(<[u8]>::first_chunk).copied() else { return };
        edit(&mut copy);
        if let Some(at) = self.received.checked_add(place.0 as u64) {
            let _ = cx.guest.write(Gpa(at), &copy);
        }
    }

    /// Of a queued command the drive tells the failure by a set device bits FIS, which has no address (Serial ATA 3.2 s. 10.5.7).
    fn show_queued(&self, fis: &mut [u8; 8]) {
        if let Some(Shown { denied, queued: true }) = self.shown {
            *fis = [bits::SET_DEVICE_BITS, bits::INTERRUPT, status::DRDY | status::ERR, denied.error, 0, 0, 0, 0];
        }
    }

    /// PxTFD as the guest sees it, where it is `now`.
    pub fn shown_task_file(&self, now: u32) -> u32 {
        match self.shown {
            Some(Shown { denied, .. }) if now & u32::from(status::ERR) != 0 => {
                (now & !0xff00) | u32::from(denied.error) << 8
            }
            _ => now,
        }
    }

    /// A register FIS names a sector by the disk's own number, of a part perhaps.
    fn translate_register(&self, fis: &mut Fis) {
        if let Some(Shown { denied, .. }) = self.shown {
            let [_, _, _, error, ..] = fis;
            *error = denied.error;
            return set_lba(fis, denied.lba);
        }
        let last = self.last.and_then(|slot| self.slots.get(slot)).filter(|it| it.kind != Kind::Refused);
        if let Some((it, part)) = last.and_then(|it| Some((it, it.part?))) {
            let [_, _, _, error, ..] = *fis;
            if error & (error::UNC | error::IDNF) != 0 {
                set_lba(fis, part.guest_lba(self.lba_of(fis)));
            } else if part.disk_lba != part.lba {
                let own = fis::taskfile(&it.fis).request(true, fis::NO_GEOMETRY);
                set_lba(fis, own.map_or(part.lba, |request| request.lba));
            }
        }
    }
}

/// Puts an address into a FIS from the device, or into a log that is laid out as one.
fn set_lba(fis: &mut Fis, lba: u64) {
    let mut taskfile: Taskfile = fis::taskfile(fis);
    let device = taskfile.device;
    taskfile.set_lba(Form::Lba48, lba, fis::NO_GEOMETRY);
    taskfile.device = device;
    // Features are the error there, and stay; so does the count.
    fis::load(fis, &taskfile);
}

/// The sum of all bytes of a log is 0.
fn seal(log: &mut [u8; SECTOR_BYTES]) {
    let [body @ .., checksum] = log;
    *checksum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
}
