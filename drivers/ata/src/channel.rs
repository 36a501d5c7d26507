//! One channel: its state, and the guest's accesses to its registers.

use crate::bounce::Bounce;
use crate::denied::Denied;
use crate::dma::HeldDma;
use crate::own::OwnChannel;
use crate::pio::{PioIn, PioOut};
use crate::ports::Ports;
use crate::spec::{control, reg, status};
use crate::taskfile::{Form, Geometry, Request, Taskfile};
use crate::unit::{Setting, Unit};
use block::{Part, Queue};
use mediator::{Ctx, Device, DmaBuffer, Op, Verdict, Violation, Width};

/// What status shows while a command is with us and not with the device, or not wholly done: a busy drive. With BSY
/// set no other bit counts and the guest may write no register (ATA/ATAPI-7 s. 5.14), which is just what is wanted
/// of it; a real drive shows the same from a DMA command until DMARQ.
const BUSY: u8 = status::BSY | status::DRDY | status::DSC;
/// What status shows while the guest has not taken a whole PIO block from us.
const DATA_READY: u8 = status::DRDY | status::DSC | status::DRQ;

/// What happens on a channel.
pub enum State {
    /// No command has been let through since a reset or the last one of ours: registers are the device's, the data
    /// port is nobody's. A device that still waits for sectors, whatever the reason, gets no plain ones.
    Idle,
    /// The last command is the device's own business: registers and data are its.
    Transparent,
    PioIn(PioIn),
    PioOut(PioOut),
    /// A DMA command that waits for the bus master to be started. The device has not seen it.
    DmaHeld(HeldDma),
    /// A PACKET command by DMA that waits for the bus master to be started. The device has it.
    PacketHeld,
    /// The device works on guest memory itself, by a shadow PRD table.
    DmaDirect,
    /// The device works on the bounce buffer.
    Bounce(Bounce),
    /// A transfer cannot go on; the device may still wait for its data. Only a reset leads out, so that no other
    /// transfer can feed the device plain data in place of the missing rest.
    Stuck,
}

/// The bus master registers as the guest wrote them.
#[derive(Default)]
pub struct BusMaster {
    pub command: u8,
    pub prdt: u32,
    /// Started since the last DMA command; a command consumes it.
    pub armed: bool,
    /// The ACTIVE bit that the guest sees while the real one is not its business.
    pub active: bool,
    /// An error of ours, shown until the guest clears it.
    pub error: bool,
}

/// VMM memory that the channel's device may address.
#[derive(Default)]
pub struct Buffers {
    pub table: Option<DmaBuffer>,
    /// Requests that go through a bounce buffer; a channel has one at a time.
    pub queue: Option<Queue>,
}

/// The device holds another address than the guest wrote.
#[derive(Clone, Copy)]
pub struct Moved {
    pub form: Form,
    pub geometry: Geometry,
    /// What the device was sent.
    pub part: Part,
    pub device_ext: bool,
    /// The shadow shows the outcome already.
    pub resolved: bool,
}

/// One of the two channels of a controller.
pub struct Channel {
    pub number: u8,
    pub ports: Ports,
    pub units: [Unit; 2],
    pub state: State,
    pub taskfile: Taskfile,
    pub control: u8,
    pub bm: BusMaster,
    pub buffers: Buffers,
    pub moved: Option<Moved>,
    /// The unit and its error register, where the device has aborted a NOP in place of a request for sectors that are not the
    /// guest's to move: the shadow shows the address.
    pub denied: Option<(usize, u8)>,
    pub setting: Option<(usize, Setting)>,
    pub own: OwnChannel,
    /// A refused DMA request was logged.
    pub complained: bool,
}

impl Channel {
    pub fn new(number: u8) -> Self {
        Self {
            number,
            ports: Ports::of(number),
            units: [Unit::Absent, Unit::Absent],
            state: State::Idle,
            taskfile: Taskfile::after_reset(0),
            control: 0,
            bm: BusMaster::default(),
            buffers: Buffers::default(),
            moved: None,
            denied: None,
            setting: None,
            own: OwnChannel::default(),
            complained: false,
        }
    }

    /// The command block.
    pub fn on_command_block(
        &mut self,
        cx: &mut Ctx<'_>,
        register: u32,
        width: Width,
        op: Op,
    ) -> Result<Verdict, Violation> {
        match (register, width, op) {
            (reg::DATA, Width::Word | Width::Dword, Op::Read) => Ok(self.data_word_in(cx, width)),
            (reg::DATA, Width::Word | Width::Dword, Op::Write(value)) => Ok(self.data_word_out(cx, width, value)),
            (reg::STATUS, Width::Byte, Op::Read) => Ok(self.status(cx, true)),
            (reg::ERROR..=reg::DEVICE, Width::Byte, Op::Read) => Ok(self.read_register(cx, register)),
            (reg::COMMAND, Width::Byte, Op::Write(value)) => Ok(self.on_command(cx, byte(value))),
            (reg::FEATURES..=reg::DEVICE, Width::Byte, Op::Write(value)) => {
                Ok(self.write_register(cx, register, byte(value)))
            }
            _ => Err(Violation { what: "ATA command block: no such register", detail: u64::from(register) }),
        }
    }

    /// Device control and alternate status.
    pub fn on_control_block(&mut self, cx: &mut Ctx<'_>, width: Width, op: Op) -> Result<Verdict, Violation> {
        match (width, op) {
            (Width::Byte, Op::Read) => Ok(self.status(cx, false)),
            (Width::Byte, Op::Write(value)) => {
                let value = byte(value);
                let rising = value & !self.control & control::SRST != 0;
                self.control = value;
                if rising {
                    self.reset(cx);
                    self.show_device(true);
                    self.taskfile = Taskfile::after_reset(0);
                }
                Ok(if self.own_control(cx.device, value) { Verdict::Done } else { Verdict::Passthrough })
            }
            _ => Err(Violation { what: "ATA control block: access is not a byte", detail: width.bytes() as u64 }),
        }
    }

    /// Status and alternate status. They differ in the device only: where the value is the device's the access
    /// passes, and clears INTRQ or not as the guest asked; where it is ours there is no cause to clear. Both notice
    /// that a part is done, because a guest with nIEN set may poll either.
    fn status(&mut self, cx: &mut Ctx<'_>, acknowledges: bool) -> Verdict {
        if self.has_own() {
            self.look_after_own(cx);
        }
        let shown = self.shown_status();
        match &self.state {
            _ if !self.shows_busy() => match shown {
                Some(shown) => Verdict::Value(shown.into()),
                None if acknowledges && self.wants_acknowledge() => Verdict::Value(self.acknowledge(cx.device).into()),
                None => Verdict::Passthrough,
            },
            _ if self.holds_command() => Verdict::Value(u64::from(BUSY)),
            State::PioIn(_) => Verdict::Value(u64::from(DATA_READY)),
            State::Bounce(_) => {
                let again = self.poll_bounce(cx);
                match self.state {
                    _ if again => Verdict::Again,
                    State::Idle => Verdict::Passthrough,
                    _ => Verdict::Value(u64::from(BUSY)),
                }
            }
            _ => Verdict::Value(u64::from(BUSY)),
        }
    }

    /// Does the guest see a drive that takes no register writes and no commands, although the device would? If not, what
    /// it reads of status is the device's, and no news to us.
    pub fn shows_busy(&self) -> bool {
        match &self.state {
            _ if self.holds_command() => true,
            State::Idle | State::Transparent | State::PioOut(_) | State::PacketHeld | State::DmaDirect => false,
            State::PioIn(pio) => pio.has_data(),
            State::DmaHeld(_) | State::Bounce(_) | State::Stuck => true,
        }
    }

    /// Is a command under way, with the device or with us? `now` is the device's status.
    ///
    /// A PIO write is not over before all its blocks are there, even when the device has not yet (400 ns) set BSY
    /// after one of them: whoever looked away then could feed it plain data later.
    pub fn is_occupied(&self, now: u8) -> bool {
        let failed = now & (status::ERR | status::DF) != 0;
        self.shows_busy() || is_busy(now) || (matches!(self.state, State::PioOut(_)) && !failed)
    }

    /// May the device not be cut off, because it works on a request of ours and a reset could not reach it?
    pub fn in_transfer(&self, device: &mut dyn Device) -> bool {
        match &self.state {
            _ if self.has_own() => true,
            State::Idle | State::Transparent | State::PacketHeld | State::DmaDirect => false,
            _ => self.is_occupied(self.ports.alt_status(device)),
        }
    }

    /// Does the device wait for sectors that only we may give it?
    pub fn feeds_device(&self) -> bool {
        match &self.state {
            _ if self.feeds_own() => true,
            State::PioOut(_) | State::Stuck => true,
            State::Bounce(bounce) => bounce.is_write(),
            _ => false,
        }
    }

    fn read_register(&mut self, cx: &mut Ctx<'_>, register: u32) -> Verdict {
        if self.shows_busy() {
            return Verdict::Value(u64::from(self.taskfile.read(register, false)));
        }
        if let Some(value) = self.shown_register(register) {
            return Verdict::Value(value.into());
        }
        let denied = self.denied.filter(|(unit, _)| *unit == self.taskfile.unit());
        match denied {
            Some((_, error)) if register == reg::ERROR => return Verdict::Value(error.into()),
            None if register == reg::ERROR || self.moved.is_none() => return Verdict::Passthrough,
            _ => {}
        }
        self.resolve(cx.device);
        let hob = self.control & control::HOB != 0;
        Verdict::Value(u64::from(self.taskfile.read(register, hob)))
    }

    /// The guest sees the request end with this error. The device is to abort a NOP in its place ([`Channel::refuse`]).
    pub fn show_denied(&mut self, request: &Request, denied: Denied) {
        let Unit::Disk(disk) = self.unit() else { return };
        let geometry = disk.geometry;
        self.moved = None;
        self.taskfile.set_lba(request.form, denied.lba, geometry);
        self.denied = Some((self.taskfile.unit(), denied.error));
    }

    /// The device holds the address of a part; the guest wants its own, or on an error that of the bad sector.
    pub fn resolve(&mut self, device: &mut dyn Device) {
        let Some(moved) = self.moved.as_mut().filter(|moved| !moved.resolved) else { return };
        let now = self.ports.alt_status(device);
        if now & status::BSY != 0 {
            return;
        }
        moved.resolved = true;
        if now & status::ERR != 0 {
            let failed = self.ports.failed_lba(device, moved.device_ext, self.control);
            self.taskfile.set_lba(moved.form, moved.part.guest_lba(failed), moved.geometry);
        }
    }

    fn write_register(&mut self, cx: &mut Ctx<'_>, register: u32, value: u8) -> Verdict {
        if self.shows_busy() {
            return Verdict::Done;
        }
        if self.has_own() {
            self.taskfile.write(register, value);
            self.write_shown(register, value);
            return Verdict::Done;
        }
        if register == reg::DEVICE {
            // The selection must not change under a running command: a busy device would not see it, and we would
            // take the other unit for the selected one.
            let now = self.ports.alt_status(cx.device);
            if self.is_occupied(now) {
                return Verdict::Done;
            }
            self.settle(now);
        }
        self.taskfile.write(register, value);
        self.write_shown(register, value);
        Verdict::Passthrough
    }

    /// A setting is in force when the device did not refuse it; `now` is its status with the command done.
    pub fn settle(&mut self, now: u8) {
        let Some((unit, setting)) = self.setting.take() else { return };
        if now & status::ERR != 0 {
            return;
        }
        if let Some(Unit::Disk(disk)) = self.units.get_mut(unit) {
            match setting {
                Setting::Geometry(geometry) => disk.geometry = geometry,
                Setting::Multiple(sectors) => disk.multiple = sectors,
            }
        }
    }

    /// Forgets what is under way. The bus master is stopped first: the bounce buffer and the table are free then.
    pub fn reset(&mut self, cx: &mut Ctx<'_>) {
        self.ports.bm_stop(cx.device);
        self.lose_own(cx);
        self.drop_bounced(cx);
        self.state = State::Idle;
        self.moved = None;
        self.denied = None;
        self.setting = None;
        self.bm.armed = false;
        self.bm.active = false;
    }

    /// The controller and its devices were reset and have lost their settings.
    pub fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        self.reset(cx);
        self.show_device(true);
        self.forget_own();
        self.taskfile = Taskfile::after_reset(0);
        self.control = 0;
        self.bm = BusMaster::default();
        for unit in &mut self.units {
            if let Unit::Disk(disk) = unit {
                disk.forget_settings();
            }
        }
    }

    /// The selected unit.
    pub fn unit(&self) -> &Unit {
        let [first, second] = &self.units;
        if self.taskfile.unit() == 0 { first } else { second }
    }
}

/// Does this status forbid a new command? A floating bus forbids nothing: nobody is there.
pub fn is_busy(now: u8) -> bool {
    now & (status::BSY | status::DRQ) != 0 && !status::FLOATING.contains(&now)
}

pub fn byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}
