//! A command that the guest issues: copied once, and judged from the copy.

use crate::fis::{self, Fis, Header, NO_GEOMETRY};
use crate::port::{Kind, Payload, Port, Shared, Slot, bit, slots_of};
use crate::prdt::{self, PrdtError, Table};
use crate::spec::{fis as bits, header, log, table};
use crate::unit::Unit;
use acs::cmd::{self, Class};
use acs::denied::Denied;
use acs::spec::{SECTOR_BYTES, code, packet};
use acs::taskfile::{Form, Request, Taskfile};
use alloc::sync::Arc;
use block::{Content, Part, Plan, Refusal, Scatter, Sectors};
use mediator::disk::RangeMap;
use mediator::{Ctx, Gpa};

/// DATA SET MANAGEMENT: the payload is a list of unused sectors.
const TRIM_FEATURE: u8 = 1;
/// Most sectors of a payload.
const PAYLOAD_SECTORS: u32 = 64;

/// Why a command is not sent.
type Refused = &'static str;

const UNKNOWN: Refused = "the range map or the command table has no place for it";
const NOT_WHOLE: Refused = "its sectors do not lie together on the disk";

/// A command as it was copied.
struct Command {
    slot: usize,
    header: Header,
    fis: Fis,
    packet: [u8; 16],
}

impl Command {
    fn taskfile(&self) -> Taskfile {
        fis::taskfile(&self.fis)
    }

    fn table(&self, shared: &Shared) -> Result<Table, Refused> {
        let at = Gpa(self.header.table).checked_add(table::HEAD_BYTES as u64).ok_or("its table wraps")?;
        Ok(Table { at, entries: self.header.entries(), wide: shared.wide })
    }
}

impl Port {
    /// The guest writes PxCI. What is new is looked at when it is the port's turn ([`crate::mediator::Ahci::take_steps`]).
    pub fn on_issue(&mut self, shared: &mut Shared, value: u32) {
        let new = value & !self.issued;
        if !self.running {
            return;
        }
        self.issued |= new;
        // The port has halted; what is issued now waits for it to be started anew, which forgets it.
        if self.failed {
            return;
        }
        self.held |= new;
        if self.held != 0 {
            shared.held |= self.regs.bit;
        }
    }

    /// May a command that was issued be looked at, and is there room for it?
    pub fn may_start(&self, shared: &Shared) -> bool {
        self.running && !self.failed && shared.queue.has_room_for(self.number)
    }

    /// Takes the next command. Those that are beyond what the queue has room for stay with the guest until then.
    pub fn start_next(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        let Some(slot) = slots_of(self.held).next() else {
            shared.held &= !self.regs.bit;
            return;
        };
        self.held &= !bit(slot);
        if self.held == 0 {
            shared.held &= !self.regs.bit;
        }
        self.on_command(cx, shared, slot);
    }

    fn on_command(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, slot: usize) {
        if let Some(it) = self.slot_mut(slot) {
            *it = Slot::default();
        }
        if let Err(why) = self.copy_command(cx, shared, slot) {
            self.refuse(slot, why);
        }
    }

    /// The device is to abort the command.
    pub fn refuse(&mut self, slot: usize, why: Refused) {
        self.refuse_as(slot, why, None);
    }

    /// The device is to abort the command, and the guest sees a sector fail.
    pub fn deny(&mut self, slot: usize, why: Refused, denied: Denied) {
        self.refuse_as(slot, why, Some(denied));
    }

    fn refuse_as(&mut self, slot: usize, why: Refused, denied: Option<Denied>) {
        let port = self.number;
        // A guest can repeat it at will: the first one of a port tells all.
        if !core::mem::replace(&mut self.complained, true) {
            let command = self.slots.get(slot).map_or(0, |it| fis::command(&it.fis));
            ::log::warn!("ahci: port {port}: command {command:#04x} refused: {why}; further ones are not logged");
        }
        let Some(it) = self.slots.get_mut(slot) else { return };
        (it.kind, it.ends) = (Kind::Refused, denied);
        self.before &= !bit(slot);
        if it.queued {
            // Those that were issued with it end first.
            let refused =
                slots_of(self.ready).filter(|other| self.is_refused(*other)).fold(0, |all, other| all | bit(other));
            if self.before == 0 && refused == 0 {
                self.before = self.issued & self.active & !bit(slot);
            }
        }
        self.ready |= bit(slot);
    }

    /// Copies header, FIS and packet, and has the copy judged.
    fn copy_command(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, slot: usize) -> Result<(), Refused> {
        const NOT_RAM: Refused = "command list or table is no guest memory";
        let at = Gpa(self.list).checked_add(header::offset(slot)).ok_or(NOT_RAM)?;
        let mut bytes = [0; header::BYTES];
        cx.guest.read(at, &mut bytes).map_err(|_| NOT_RAM)?;
        let header = Header::parse(&bytes);
        if header.table >> 32 != 0 && !shared.wide {
            return Err(NOT_RAM);
        }
        let mut head = [0; table::COMMAND_BYTES];
        cx.guest.read(Gpa(header.table), &mut head).map_err(|_| NOT_RAM)?;
        let fis = *head.first_chunk().ok_or(NOT_RAM)?;
        let packet = *head.last_chunk().ok_or(NOT_RAM)?;
        let command = Command { slot, header, fis, packet };
        if let Some(it) = self.slot_mut(slot) {
            it.fis.copy_from_slice(&command.fis);
            it.sent.copy_from_slice(&command.fis);
        }
        let [kind, flags, ..] = command.fis;
        let length = header.flags & header::CFL;
        if kind != bits::HOST_TO_DEVICE || !(5..=16).contains(&length) || header.flags & header::BIST != 0 {
            return Err("it is no register FIS");
        }
        if header.flags & header::PMP != 0 || flags & bits::PMP != 0 {
            return Err("it is for a port multiplier");
        }
        self.judge(cx, shared, &command)
    }

    fn judge(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, command: &Command) -> Result<(), Refused> {
        let [_, flags, ..] = command.fis;
        if flags & bits::COMMAND == 0 {
            // Device control, as in a software reset.
            let kept = command.header.flags & (header::RESET | header::CLEAR_BUSY);
            return self.send_direct(command, kept, 0);
        }
        if self.is_packet(cx.device) {
            return self.judge_packet(cx, shared, command);
        }
        self.judge_disk(cx, shared, command)
    }

    fn judge_packet(&mut self, cx: &mut Ctx<'_>, shared: &Shared, command: &Command) -> Result<(), Refused> {
        let features = command.taskfile().features();
        let written = command.header.flags & header::WRITE;
        match fis::command(&command.fis) {
            code::PACKET if features & packet::OVERLAP != 0 => Err("overlapped packets are not followed"),
            code::PACKET => self.direct(cx, shared, command, None, header::ATAPI | written),
            code::SET_FEATURES if !cmd::set_features_passes(features, false) => Err(UNKNOWN),
            // SERVICE belongs to overlapped commands.
            0xa2 => Err(UNKNOWN),
            _ => self.direct(cx, shared, command, None, written),
        }
    }

    fn judge_disk(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, command: &Command) -> Result<(), Refused> {
        let known = self.unit != Unit::Unknown;
        let disk = shared.disks.get(self.unit);
        let ranges = disk.and_then(|disk| disk.protection());
        // A device that has not told who it is may be a protected disk.
        let protected = ranges.is_some() || !known;
        let features = command.taskfile().features();
        match cmd::classify(fis::command(&command.fis)) {
            Class::Identify => self.payload(cx, shared, command, Payload::Identify, 1),
            Class::SetFeatures if cmd::set_features_passes(features, protected) => {
                self.direct(cx, shared, command, None, 0)
            }
            Class::Smart if cmd::smart_passes(features, protected) => {
                // Only of plain disks logs are written that way.
                let written = if protected { 0 } else { command.header.flags & header::WRITE };
                self.direct(cx, shared, command, None, written)
            }
            Class::ReadLog => self.read_log(cx, shared, command, protected),
            Class::Pass | Class::SetMultiple | Class::InitializeParameters | Class::Diagnostic => {
                self.direct(cx, shared, command, None, 0)
            }
            Class::Transfer(_) | Class::Queued { .. } | Class::Verify { .. } | Class::DataSetManagement if !known => {
                Err("the device has not been identified since it came or was reset")
            }
            Class::Transfer(transfer) => {
                let request = command.taskfile().request(transfer.ext, NO_GEOMETRY).ok_or("it names no LBA")?;
                self.transfer(cx, shared, command, request, transfer.write, ranges)
            }
            Class::Queued { write } => {
                if fis::tag(&command.fis) != command.slot {
                    return Err("its tag is not its slot");
                }
                if let Some(it) = self.slot_mut(command.slot) {
                    it.queued = true;
                }
                self.transfer(cx, shared, command, fis::queued_request(&command.fis), write, ranges)
            }
            Class::Verify { ext } => self.verify(cx, shared, command, ext, ranges),
            Class::DataSetManagement => self.data_set_management(cx, shared, command, ranges),
            Class::PlainOnly if !protected => {
                self.direct(cx, shared, command, None, command.header.flags & header::WRITE)
            }
            _ => Err("the command is not allowed on this disk"),
        }
    }

    /// READ and WRITE in all their forms.
    fn transfer(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &mut Shared,
        command: &Command,
        request: Request,
        write: bool,
        ranges: Option<Arc<dyn RangeMap>>,
    ) -> Result<(), Refused> {
        let disk = shared.disks.get(self.unit);
        let sector_bytes = disk.map_or(SECTOR_BYTES as u32, |disk| disk.identity.sector_bytes);
        if ranges.is_some() && !disk.is_some_and(|disk| disk.holds(&request)) {
            return Err("its sectors do not lie on the disk");
        }
        let flags = if write { header::WRITE } else { 0 };
        let (lba, mut sectors) = (request.lba, request.sectors);
        let plan = match &ranges {
            None => Plan::Direct { disk_lba: lba },
            Some(ranges) => match (Sectors { ranges: &**ranges, sector_bytes }).plan(lba, sectors, write) {
                Ok(plan) => plan,
                Err(refusal) => {
                    let denied = Denied::new(refusal, write).ok_or(why(refusal))?;
                    sectors = denied.sectors_before(lba);
                    if sectors == 0 {
                        self.deny(command.slot, why(refusal), denied);
                        return Ok(());
                    }
                    self.slot_mut(command.slot).ok_or(UNKNOWN)?.ends = Some(denied);
                    Plan::Bounced
                }
            },
        };
        let wanted = u64::from(sectors).saturating_mul(u64::from(sector_bytes));
        let direct = match plan {
            Plan::Bounced => false,
            // A newcomer's sector size is its own affair; its table is copied whole.
            Plan::Direct { .. } if disk.is_none() => return self.direct(cx, shared, command, None, flags),
            Plan::Direct { disk_lba } => match self.shadow(cx, shared, command, Some(wanted)) {
                Ok(entries) => {
                    self.place(command.slot, request, Part { disk_lba, ..whole(&request) })?;
                    return self.send_direct(command, flags, entries);
                }
                Err(PrdtError::TooLong) => false,
                Err(_) => true,
            },
        };
        if direct {
            return Err(uncopied(PrdtError::Invalid));
        }
        let segments = prdt::copy(cx.guest, command.table(shared)?, wanted).map_err(uncopied)?;
        let it = self.slot_mut(command.slot).ok_or(UNKNOWN)?;
        it.kind = Kind::Bounced { write };
        it.flags = flags;
        let ranges = ranges.unwrap_or_else(|| shared.plain.clone());
        let content = Content::Sectors { lba, sectors, sector_bytes, ranges };
        let (tag, disk) = (self.tag(command.slot), self.number);
        shared.queue.submit(cx, block::Request { tag, disk, write, content, memory: Scatter::new(segments).into() });
        Ok(())
    }

    /// Puts the place of a part on the disk into the FIS that is sent.
    pub fn place(&mut self, slot: usize, request: Request, part: Part) -> Result<(), Refused> {
        let it = self.slot_mut(slot).ok_or(UNKNOWN)?;
        it.part = Some(part);
        let end = part.disk_lba.saturating_add(u64::from(part.disk_sectors));
        let form = match request.form {
            Form::Lba48 => Form::Lba48,
            _ if end <= 1 << 28 && part.disk_sectors <= 256 => Form::Lba28,
            _ => {
                let ext = cmd::ext_form(fis::command(&it.sent)).ok_or("its address needs a 48-bit command")?;
                fis::set_command(&mut it.sent, ext);
                Form::Lba48
            }
        };
        let placed = Request { form, lba: part.disk_lba, sectors: part.disk_sectors };
        // Where the guest has named the same place, too: without its LBA bit a device may take the address of a 48-bit command for
        // cylinder, head and sector.
        fis::address(&mut it.sent, placed, it.queued);
        Ok(())
    }

    fn verify(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &Shared,
        command: &Command,
        ext: bool,
        ranges: Option<Arc<dyn RangeMap>>,
    ) -> Result<(), Refused> {
        let Some(ranges) = ranges else { return self.direct(cx, shared, command, None, 0) };
        let disk = shared.disks.get(self.unit).ok_or(UNKNOWN)?;
        let request = command.taskfile().request(ext, NO_GEOMETRY).filter(|request| disk.holds(request));
        let request = request.ok_or("its sectors do not lie on the disk")?;
        let map = Sectors { ranges: &*ranges, sector_bytes: disk.identity.sector_bytes };
        if let Err(refusal) = map.check_rights(request.lba, request.sectors, false) {
            let denied = Denied::new(refusal, false).ok_or(why(refusal))?;
            self.deny(command.slot, why(refusal), denied.at(request.lba));
            return Ok(());
        }
        let part = map.part(request.lba, request.sectors).map_err(|_| UNKNOWN)?;
        if part.sectors != request.sectors {
            return Err(NOT_WHOLE);
        }
        let disk_lba = part.disk_lba.saturating_add(u64::from(part.skip));
        self.place(command.slot, request, Part { disk_lba, ..whole(&request) })?;
        self.send_direct(command, 0, 0)
    }

    /// TRIM, where the ranges allow it: the list goes through the arena, whole.
    fn data_set_management(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &mut Shared,
        command: &Command,
        ranges: Option<Arc<dyn RangeMap>>,
    ) -> Result<(), Refused> {
        let Some(ranges) = ranges else { return self.direct(cx, shared, command, None, header::WRITE) };
        if !ranges.allows_trim() || command.taskfile().features() != TRIM_FEATURE {
            return Err("TRIM is not allowed on this disk");
        }
        let list = command.taskfile().request(true, NO_GEOMETRY).ok_or(UNKNOWN)?;
        self.payload(cx, shared, command, Payload::List, list.sectors)
    }

    fn read_log(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &mut Shared,
        command: &Command,
        protected: bool,
    ) -> Result<(), Refused> {
        let request = command.taskfile().request(true, NO_GEOMETRY).ok_or(UNKNOWN)?;
        let [log, ..] = request.lba.to_le_bytes();
        match log {
            log::QUEUED_ERROR if self.failure.is_some() && request.sectors == 1 => {
                self.payload(cx, shared, command, Payload::OwnLog, 1)
            }
            log::QUEUED_ERROR if protected => self.payload(cx, shared, command, Payload::Log, request.sectors),
            _ => self.direct(cx, shared, command, None, 0),
        }
    }

    /// Data that the mediator looks at, through the arena.
    fn payload(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &mut Shared,
        command: &Command,
        payload: Payload,
        sectors: u32,
    ) -> Result<(), Refused> {
        if sectors > PAYLOAD_SECTORS {
            return Err("its data is longer than the mediator looks at");
        }
        let write = payload == Payload::List;
        let len_bytes = sectors.saturating_mul(SECTOR_BYTES as u32);
        let segments = prdt::copy(cx.guest, command.table(shared)?, u64::from(len_bytes));
        let memory = Scatter::new(segments.map_err(uncopied)?);
        let it = self.slot_mut(command.slot).ok_or(UNKNOWN)?;
        it.kind = Kind::Payload(payload);
        it.flags = if write { header::WRITE } else { 0 };
        if payload == Payload::OwnLog {
            fis::set_command(&mut it.sent, code::IDENTIFY_DEVICE);
        }
        let (tag, disk) = (self.tag(command.slot), self.number);
        let content = Content::Payload { len_bytes };
        shared.queue.submit(cx, block::Request { tag, disk, write, content, memory: memory.into() });
        Ok(())
    }

    /// A command as the guest wrote it, whose regions the device may reach itself. `flags`: what is not the guest's to
    /// say.
    fn direct(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &Shared,
        command: &Command,
        wanted: Option<u64>,
        flags: u32,
    ) -> Result<(), Refused> {
        let entries = self.shadow(cx, shared, command, wanted).map_err(|error| match error {
            PrdtError::TooLong => "it has more regions than the mediator follows for this command",
            PrdtError::Invalid | PrdtError::Short => "a region is no guest memory, or odd",
        })?;
        self.send_direct(command, flags, entries)
    }

    fn shadow(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &Shared,
        command: &Command,
        wanted: Option<u64>,
    ) -> Result<u32, PrdtError> {
        let memory = self.memory.as_ref().ok_or(PrdtError::Invalid)?;
        let table = command.table(shared).map_err(|_| PrdtError::Invalid)?;
        let ours = memory.prdt(cx.arena, command.slot).map_err(|_| PrdtError::Invalid)?;
        prdt::shadow(cx.guest, table, wanted, ours)
    }

    fn send_direct(&mut self, command: &Command, flags: u32, entries: u32) -> Result<(), Refused> {
        let it = self.slot_mut(command.slot).ok_or(UNKNOWN)?;
        it.kind = Kind::Direct;
        (it.flags, it.entries, it.packet) = (flags, entries, command.packet);
        self.ready |= bit(command.slot);
        Ok(())
    }
}

/// A request in one piece, where the guest named it.
fn whole(request: &Request) -> Part {
    let Request { lba, sectors, .. } = *request;
    Part { lba, sectors, plain: true, disk_lba: lba, disk_sectors: sectors, skip: 0 }
}

fn uncopied(error: PrdtError) -> Refused {
    match error {
        PrdtError::TooLong => "it has more regions than the mediator follows",
        PrdtError::Invalid | PrdtError::Short => "a region is no guest memory, or too short, or odd",
    }
}

fn why(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::ReadOnly { .. } => "the range may not be written",
        Refusal::Absent { .. } => "the range may not be used",
        Refusal::Unserved => UNKNOWN,
    }
}
