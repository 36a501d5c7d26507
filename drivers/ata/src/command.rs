//! The command register: what becomes of each command of the guest.

use crate::channel::{Channel, Moved, State};
use crate::cmd::{self, Class, Mode, Transfer};
use crate::denied::Denied;
use crate::dma::HeldDma;
use crate::extents;
use crate::identify::Identity;
use crate::pio::{PioIn, PioOut};
use crate::spec::{code, device, packet, reg};
use crate::taskfile::{Form, Geometry, Request, Taskfile};
use crate::unit::{Setting, Unit};
use alloc::sync::Arc;
use block::Part;
use mediator::disk::RangeMap;
use mediator::{Ctx, Device, Verdict};

/// DATA SET MANAGEMENT: the payload is a list of unused sectors.
const TRIM_FEATURE: u8 = 1;
/// Most sectors of its list.
const LIST_SECTORS: u32 = 64;
/// First LBA that a 28-bit command cannot name.
const LBA28_END: u64 = 1 << 28;

/// A command that this mediator does not send.
pub struct Refused;

impl Channel {
    /// The guest writes the command register.
    pub fn on_command(&mut self, cx: &mut Ctx<'_>, command: u8) -> Verdict {
        if self.own_comes_first(cx, command) {
            return Verdict::Done;
        }
        let stuck = matches!(self.state, State::Stuck);
        if command == code::DEVICE_RESET && matches!(self.unit(), Unit::Packet) && !stuck {
            // The one command that a busy device takes.
            let device_register = self.taskfile.device;
            self.reset(cx);
            self.show_device(false);
            self.taskfile = Taskfile::after_reset(device_register);
            self.ports.write(cx.device, reg::COMMAND, command);
            return Verdict::Done;
        }
        let now = self.ports.alt_status(cx.device);
        if self.is_occupied(now) {
            // As the drive would: a command that comes before the last one is done is not looked at.
            return Verdict::Done;
        }
        self.settle(now);
        self.moved = None;
        self.denied = None;
        self.state = State::Transparent;
        if command == code::EXECUTE_DEVICE_DIAGNOSTIC {
            self.show_device(true);
            self.taskfile = Taskfile::after_reset(0);
            self.ports.write(cx.device, reg::COMMAND, command);
            return Verdict::Done;
        }
        if !matches!(self.unit(), Unit::Absent) {
            self.show_device(false);
        }
        let outcome = match self.unit() {
            Unit::Absent => Ok(()),
            Unit::Packet => self.packet_unit_command(cx, command),
            Unit::Disk(_) => self.disk_command(cx, command),
        };
        if outcome.is_err() {
            self.refuse(cx.device);
        }
        Verdict::Done
    }

    /// Answers a command as a drive that does not know it: every drive aborts NOP, with interrupt
    /// (ATA/ATAPI-7 s. 6.23).
    pub fn refuse(&mut self, device: &mut dyn Device) {
        self.state = State::Idle;
        self.ports.write(device, reg::DEVICE, self.taskfile.device);
        self.ports.write(device, reg::FEATURES, 0);
        self.ports.write(device, reg::COMMAND, code::NOP);
    }

    fn packet_unit_command(&mut self, cx: &mut Ctx<'_>, command: u8) -> Result<(), Refused> {
        let features = self.taskfile.features();
        match command {
            code::PACKET if features & packet::OVERLAP != 0 => Err(Refused),
            code::PACKET if features & packet::DMA != 0 => {
                self.send_as_written(cx, command)?;
                self.state = State::PacketHeld;
                self.start_if_armed(cx);
                Ok(())
            }
            code::SET_FEATURES if !cmd::set_features_passes(features, false) => Err(Refused),
            // SERVICE belongs to overlapped commands.
            0xa2 => Err(Refused),
            _ => self.send_as_written(cx, command),
        }
    }

    fn disk_command(&mut self, cx: &mut Ctx<'_>, command: u8) -> Result<(), Refused> {
        let Unit::Disk(disk) = self.unit() else { return Err(Refused) };
        let ranges = disk.protection();
        let protected = ranges.is_some();
        let features = self.taskfile.features();
        match cmd::classify(command) {
            Class::Transfer(transfer) => self.transfer(cx, command, transfer, ranges),
            Class::Verify { ext } => match ranges {
                None => self.send_as_written(cx, command),
                Some(ranges) => {
                    let (request, part, _) = self.whole(ext, &*ranges, false, false)?;
                    // Of a sector of the transform that is not wholly named the device verifies what is.
                    let disk_lba = part.disk_lba.saturating_add(u64::from(part.skip));
                    let named = Part { disk_lba, disk_sectors: part.sectors, skip: 0, ..part };
                    self.send_part(cx.device, command, request, named)
                }
            },
            Class::Identify => {
                let pio = PioIn::identify(ranges)?;
                self.send_as_written(cx, command)?;
                self.state = State::PioIn(pio);
                Ok(())
            }
            Class::SetMultiple => self.send_setting(cx, command, Setting::Multiple(self.taskfile.count())),
            Class::InitializeParameters => {
                let heads = (self.taskfile.device & device::HEAD).saturating_add(1);
                let geometry = Geometry { heads, sectors: self.taskfile.count() };
                self.send_setting(cx, command, Setting::Geometry(geometry))
            }
            Class::SetFeatures if cmd::set_features_passes(features, protected) => self.send_as_written(cx, command),
            Class::Smart if cmd::smart_passes(features, protected) => self.send_as_written(cx, command),
            Class::DataSetManagement => self.data_set_management(cx, command, ranges),
            Class::Pass | Class::ReadLog => self.send_as_written(cx, command),
            Class::PlainOnly if !protected => self.send_as_written(cx, command),
            _ => Err(Refused),
        }
    }

    fn transfer(
        &mut self,
        cx: &mut Ctx<'_>,
        command: u8,
        transfer: Transfer,
        ranges: Option<Arc<dyn RangeMap>>,
    ) -> Result<(), Refused> {
        let dma = transfer.mode == Mode::Dma;
        let Some(ranges) = ranges else {
            if dma {
                self.hold(cx, HeldDma { command, write: transfer.write, protected: None });
                return Ok(());
            }
            return self.send_as_written(cx, command);
        };
        if dma {
            let request = self.request(transfer.ext)?;
            self.hold(cx, HeldDma { command, write: transfer.write, protected: Some((request, ranges)) });
            return Ok(());
        }
        let (request, part, ends) = self.whole(transfer.ext, &*ranges, transfer.write, !transfer.write)?;
        let block = if transfer.mode == Mode::PioMultiple { self.multiple() } else { 1 };
        let state = match (part.plain, transfer.write) {
            (true, _) if ends.is_none() => State::Transparent,
            (_, true) => State::PioOut(PioOut::new(request, block, ranges)?),
            (_, false) => State::PioIn(PioIn::new(request, block, ranges, ends)?),
        };
        self.send_part(cx.device, command, request, part)?;
        self.state = state;
        Ok(())
    }

    /// TRIM, where the ranges allow it: the list of sectors goes through the bounce buffer, whole.
    fn data_set_management(
        &mut self,
        cx: &mut Ctx<'_>,
        command: u8,
        ranges: Option<Arc<dyn RangeMap>>,
    ) -> Result<(), Refused> {
        let protected = match ranges {
            None => None,
            Some(ranges) => {
                let list = self.taskfile.request(true, Geometry { heads: 1, sectors: 1 }).ok_or(Refused)?;
                let only_trim = self.taskfile.features() == TRIM_FEATURE;
                if !ranges.allows_trim() || !only_trim || list.sectors > LIST_SECTORS {
                    return Err(Refused);
                }
                Some((list, ranges))
            }
        };
        self.hold(cx, HeldDma { command, write: true, protected });
        Ok(())
    }

    /// Sectors per DRQ of the MULTIPLE commands. While they are off the device aborts them itself.
    fn multiple(&self) -> u32 {
        match self.unit() {
            Unit::Disk(disk) => u32::from(disk.multiple.max(1)),
            _ => 1,
        }
    }

    /// A DMA command waits for the bus master. A real drive drops INTRQ when the command register is written.
    fn hold(&mut self, cx: &mut Ctx<'_>, held: HeldDma) {
        self.ports.read(cx.device, reg::STATUS);
        self.state = State::DmaHeld(held);
        self.start_if_armed(cx);
    }

    /// The request in the task file, if it lies on the selected disk.
    fn request(&self, ext: bool) -> Result<Request, Refused> {
        let Unit::Disk(disk) = self.unit() else { return Err(Refused) };
        let request = self.taskfile.request(ext, disk.geometry).filter(|request| disk.holds(request));
        request.ok_or(Refused)
    }

    /// The request, and the one part that it must be: a PIO or verify command cannot be sent in parts, because the
    /// guest counts interrupts by block. Where a sector of it may not be moved, `cuts` leaves those before, and the error that is to
    /// follow them; without it nothing is moved.
    fn whole(
        &mut self,
        ext: bool,
        ranges: &dyn RangeMap,
        write: bool,
        cuts: bool,
    ) -> Result<(Request, Part, Option<Denied>), Refused> {
        let (mut request, sectors, mut ends) = (self.request(ext)?, extents::sectors(ranges), None);
        if let Err(refusal) = sectors.check_rights(request.lba, request.sectors, write) {
            let denied = Denied::new(refusal, write).ok_or(Refused)?;
            let before = denied.sectors_before(request.lba);
            if before == 0 || !cuts {
                self.show_denied(&request, denied.at(request.lba));
                return Err(Refused);
            }
            (request.sectors, ends) = (before, Some(denied));
        }
        let part = sectors.part(request.lba, request.sectors).map_err(|_| Refused)?;
        if part.sectors == request.sectors { Ok((request, part, ends)) } else { Err(Refused) }
    }

    fn send_setting(&mut self, cx: &mut Ctx<'_>, command: u8, setting: Setting) -> Result<(), Refused> {
        self.setting = Some((self.taskfile.unit(), setting));
        self.send_as_written(cx, command)
    }

    /// Sends a command with the registers as the guest wrote them. They are written again, because a device that was
    /// busy when the guest wrote them may hold others than those that the command was judged by.
    ///
    /// # Errors
    /// None; it is the last step of callers that have some.
    pub fn send_as_written(&mut self, cx: &mut Ctx<'_>, command: u8) -> Result<(), Refused> {
        self.moved = None;
        self.ports.send(cx.device, &self.taskfile, command);
        Ok(())
    }

    /// Sends a part of a request, with the address that it has on the disk.
    ///
    /// # Errors
    /// [`Refused`]: the address needs a 48-bit command and there is none.
    pub fn send_part(
        &mut self,
        device: &mut dyn Device,
        command: u8,
        request: Request,
        part: Part,
    ) -> Result<(), Refused> {
        let Unit::Disk(disk) = self.unit() else { return Err(Refused) };
        let geometry = disk.geometry;
        let end = part.disk_lba.saturating_add(u64::from(part.disk_sectors));
        let (command, form) = match request.form {
            Form::Lba48 => (command, Form::Lba48),
            _ if end <= LBA28_END => (command, Form::Lba28),
            _ if !disk.identity.lba48 => return Err(Refused),
            _ => (cmd::ext_form(command).ok_or(Refused)?, Form::Lba48),
        };
        let sent = Request { form, lba: part.disk_lba, sectors: part.disk_sectors };
        let mut taskfile = self.taskfile;
        taskfile.set_request(sent, geometry);
        let moved = Moved { form: request.form, geometry, part, device_ext: form == Form::Lba48, resolved: false };
        self.moved = (sent != request).then_some(moved);
        self.ports.send(device, &taskfile, command);
        Ok(())
    }

    /// IDENTIFY DEVICE tells what settings and resets have made of the block size and the translation.
    pub fn learn(&mut self, identity: &Identity) {
        let unit = self.taskfile.unit();
        if let Some(Unit::Disk(disk)) = self.units.get_mut(unit) {
            disk.multiple = identity.multiple;
            disk.geometry = identity.geometry;
        }
    }
}
