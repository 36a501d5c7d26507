//! One channel: register access, unit selection, interrupt line, resets (ATA7 vol. 2, s. 9 to 11).

use super::taskfile::{COMMAND, CONTROL, COUNT, DEV, DEVICE, FEATURES, LBA_HIGH, LBA_LOW};
use super::transfer::Transfer;
use super::{BusMaster, Kind, Unit, control, status};
use crate::Bus;
use mediator::Width;

/// What the channel is at.
pub(super) enum Phase {
    Idle,
    /// BSY; the next step ends the command or brings the next block.
    Busy(Next),
    /// DRQ: the host moves the block.
    Block(Transfer),
    /// BSY until the bus master has moved everything.
    Dma(Transfer),
}

/// What follows a busy phase.
pub(super) enum Next {
    /// The command ends with this error register (0: without error).
    End(u8),
    /// Next DRQ block, or the end.
    Block(Transfer),
    /// Reset or diagnostics of the whole channel are done.
    Reset { diagnostic: bool },
    /// DEVICE RESET of the active unit is done.
    DeviceReset,
}

/// A command that reached a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    pub unit: usize,
    pub command: u8,
    pub features: u8,
}

/// The channel.
pub struct Channel {
    pub units: [Unit; 2],
    pub bm: BusMaster,
    /// Every command that reached a unit, in order.
    pub received: Vec<Received>,
    /// How many reads of the status register end a busy phase; `None`: only [`crate::Machine::tick`] does.
    pub patience: Option<u32>,
    /// Sectors that one tick moves by DMA.
    pub sectors_per_tick: u32,
    pub(super) phase: Phase,
    /// The unit whose command runs.
    pub(super) active: usize,
    selected: usize,
    control: u8,
    polls: u32,
    line: bool,
}

impl Channel {
    pub fn new(master: Kind, slave: Kind) -> Self {
        Self {
            units: [Unit::new(master), Unit::new(slave)],
            bm: BusMaster::default(),
            received: Vec::new(),
            patience: Some(3),
            sectors_per_tick: u32::MAX,
            phase: Phase::Idle,
            active: 0,
            selected: 0,
            control: 0,
            polls: 0,
            line: false,
        }
    }

    /// Level of the interrupt line.
    pub fn irq(&self) -> bool {
        self.control & control::NIEN == 0 && self.units[self.selected].intrq
    }

    /// Is a command under way?
    pub fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// The host reads a register; 8 is alternate status.
    pub fn read(&mut self, offset: u16) -> u8 {
        match offset {
            COMMAND => {
                let value = self.poll_status();
                self.units[self.selected].intrq = false;
                self.settle();
                value
            }
            CONTROL => self.poll_status(),
            _ if self.answering().is_none() => 0,
            _ => {
                let previous = self.control & control::HOB != 0;
                let answering = self.answering().unwrap_or(0);
                self.units[answering].taskfile.read(offset, previous)
            }
        }
    }

    /// The host writes a register; 8 is device control.
    pub fn write(&mut self, offset: u16, value: u8) {
        match offset {
            CONTROL => self.write_control(value),
            FEATURES | COUNT | LBA_LOW..=LBA_HIGH | DEVICE => {
                self.control &= !control::HOB;
                self.write_parameter(offset, value);
            }
            COMMAND => {
                self.control &= !control::HOB;
                self.write_command(value);
            }
            _ => {}
        }
        self.settle();
    }

    /// The unit whose registers the host sees: an absent slave's are the master's.
    fn answering(&self) -> Option<usize> {
        [self.selected, 0].into_iter().find(|&unit| !self.units[unit].kind.is_empty())
    }

    fn poll_status(&mut self) -> u8 {
        if matches!(self.phase, Phase::Busy(_)) && self.control & control::SRST == 0 {
            self.polls += 1;
            if self.patience.is_some_and(|patience| self.polls > patience) {
                self.advance();
            }
        }
        self.status()
    }

    /// Status of the selected unit, without effect.
    pub fn status(&self) -> u8 {
        let unit = &self.units[self.selected];
        if unit.kind.is_empty() {
            return 0;
        }
        let resetting = matches!(self.phase, Phase::Busy(Next::Reset { .. }));
        let phase = match &self.phase {
            _ if self.active != self.selected && !resetting => 0,
            Phase::Idle => 0,
            Phase::Busy(_) | Phase::Dma(_) => status::BSY,
            Phase::Block(_) => status::DRQ,
        };
        unit.taskfile.status | phase
    }

    fn write_control(&mut self, value: u8) {
        let was = self.control;
        self.control = value;
        if value & control::SRST != 0 && was & control::SRST == 0 {
            self.units.iter_mut().for_each(|unit| unit.intrq = false);
            self.go(Phase::Busy(Next::Reset { diagnostic: false }));
        }
    }

    fn write_parameter(&mut self, offset: u16, value: u8) {
        // While a unit is busy or wants data, what is written is lost.
        if self.is_busy() {
            return;
        }
        self.units.iter_mut().for_each(|unit| unit.taskfile.write(offset, value));
        if offset == DEVICE {
            self.selected = usize::from(value & DEV != 0);
        }
    }

    fn write_command(&mut self, value: u8) {
        let unit = &mut self.units[self.selected];
        let is_device_reset = value == super::command::DEVICE_RESET && unit.kind.is_cdrom();
        let busy = matches!(self.phase, Phase::Busy(_) | Phase::Dma(_));
        if self.control & control::SRST != 0 || busy && !is_device_reset {
            return;
        }
        unit.intrq = false;
        // EXECUTE DEVICE DIAGNOSTIC is for both units, whichever is selected.
        let to = if value == super::command::EXECUTE_DEVICE_DIAGNOSTIC { 0 } else { self.selected };
        if !self.units[to].kind.is_empty() {
            let features = self.units[to].taskfile.features[0];
            self.received.push(Received { unit: to, command: value, features });
            self.active = to;
            self.start(value);
        }
    }

    pub(super) fn go(&mut self, phase: Phase) {
        self.polls = 0;
        self.phase = phase;
    }

    /// One step of the device. Without a bus (bus mastering off) DMA waits.
    pub fn tick(&mut self, bus: Option<&mut Bus<'_>>) {
        match (&self.phase, bus) {
            (Phase::Dma(_), Some(bus)) => self.step_dma(bus),
            (Phase::Busy(_), _) if self.control & control::SRST == 0 => self.advance(),
            _ => {}
        }
        self.settle();
    }

    fn advance(&mut self) {
        match core::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Busy(Next::End(error)) => self.end(error),
            Phase::Busy(Next::Block(transfer)) => self.next_block(transfer),
            Phase::Busy(Next::Reset { diagnostic }) => self.reset(diagnostic),
            Phase::Busy(Next::DeviceReset) => {
                self.units[self.active].reset();
                self.go(Phase::Idle);
            }
            other => self.phase = other,
        }
        self.settle();
    }

    /// SRST and EXECUTE DEVICE DIAGNOSTIC end with unit 0 selected; only the latter interrupts.
    fn reset(&mut self, diagnostic: bool) {
        self.go(Phase::Idle);
        self.units.iter_mut().for_each(Unit::reset);
        self.units.iter_mut().for_each(|unit| unit.taskfile.device = 0);
        self.selected = 0;
        self.active = 0;
        self.units[0].intrq = diagnostic;
    }

    /// The command ends.
    pub(super) fn end(&mut self, error: u8) {
        let unit = &mut self.units[self.active];
        unit.taskfile.error = error;
        unit.taskfile.status = status::DRDY | status::DSC | if error != 0 { status::ERR } else { 0 };
        unit.intrq = true;
        self.go(Phase::Idle);
    }

    /// Follows the interrupt line; its rising edge is latched by the bus master.
    pub(super) fn settle(&mut self) {
        let level = self.irq();
        if level && !self.line {
            self.bm.interrupt();
        }
        self.line = level;
    }

    /// The host reads the data port.
    pub fn read_data(&mut self, width: Width) -> u64 {
        let Phase::Block(transfer) = &mut self.phase else { return width.ones() };
        if transfer.to_device || self.active != self.selected {
            return width.ones();
        }
        let mut value = 0;
        for i in 0..width.bytes() {
            value |= u64::from(transfer.pop()) << (8 * i);
        }
        if transfer.block_is_done() {
            self.block_done();
        }
        value
    }

    /// The host writes the data port.
    pub fn write_data(&mut self, width: Width, value: u64) {
        let Phase::Block(transfer) = &mut self.phase else { return };
        if !transfer.to_device || self.active != self.selected {
            return;
        }
        value.to_le_bytes().into_iter().take(width.bytes()).for_each(|byte| transfer.push(byte));
        if transfer.block_is_done() {
            self.block_done();
        }
    }
}
