//! A port: its registers, and how it takes commands.

use super::command::{Late, Queued, Running};
use super::px;
use crate::ide::Disk;
use crate::{Bus, DmaFault};

pub(super) const DHRS: u32 = 1;
pub(super) const PSS: u32 = 1 << 1;
pub(super) const SDBS: u32 = 1 << 3;
pub(super) const TFES: u32 = 1 << 30;
/// More bytes came than the PRD table has room for.
pub(super) const OFS: u32 = 1 << 24;
const FATAL: u32 = 0xf << 27;
const ST: u32 = 1;
const FRE: u32 = 1 << 4;

/// The device's registers beside status and error, as its last register FIS told them.
#[derive(Clone, Copy, Default)]
pub(super) struct Registers {
    pub lba: u64,
    pub count: u8,
    pub device: u8,
}

/// As after every reset: diagnostics passed, and a disk's signature (ATA8-ACS s. 9.2, 9.12). The status is QEMU's.
const SIGNATURE: Registers = Registers { lba: 1, count: 1, device: 0xa0 };
const SIGNED: u32 = 0x130;

pub struct SimPort {
    pub disk: Option<Disk>,
    /// A CD drive is there instead.
    pub packet: bool,
    /// Commands that the device has and that are queued.
    pub queued: Vec<Queued>,
    pub(super) running: Option<Running>,
    /// The status of the last command that failed.
    pub(super) log: [u8; 512],
    pub(super) tfd: u32,
    pub(super) registers: Registers,
    /// The register FIS after a reset is still to come, for it needs PxCMD.FRE: until then task file and signature are empty.
    unsigned: bool,
    pub(super) is: u32,
    /// The port's bit in IS.
    pub latched: bool,
    pub(super) list: u64,
    pub(super) received: u64,
    ie: u32,
    pub(super) cmd: u32,
    sctl: u32,
    serr: u32,
    pub(super) sact: u32,
    pub(super) ci: u32,
    /// Ticks from a command to its end.
    pub delay: u32,
    /// Which of several queued commands ends next.
    pub order: usize,
    /// The drive behaves: link up.
    pub connected: bool,
    /// The port takes so many reads of PxCMD to stop. Until then it goes on moving the data of the commands that it had.
    pub slow_stop: u32,
    stopping: u32,
    /// It goes on after that, too, until it is reset (as QEMU does).
    pub lingers: bool,
    /// It goes on with other commands after an error, and then begins again with the one that failed; nor has it the log that tells
    /// which queued one failed (as QEMU does). Set by [`SimAhci::take_qemus_habits`](super::SimAhci::take_qemus_habits).
    pub(super) goes_on: bool,
    /// The slot to look at next, for one that goes on.
    pub(super) next: u32,
    pub(super) late: Vec<Late>,
    /// Ticks until it does.
    pub late_wait: u32,
    /// Commands received: code, LBA, sectors, queued.
    pub commands: Vec<(u8, u64, u32, bool)>,
    /// FISes that were no commands.
    pub controls: Vec<u8>,
}

impl SimPort {
    /// With a disk, or without anything.
    pub fn new(disk: Option<Disk>) -> Self {
        let connected = disk.is_some();
        Self {
            disk,
            packet: false,
            queued: Vec::new(),
            running: None,
            log: [0; 512],
            tfd: 0x50,
            registers: Registers::default(),
            unsigned: false,
            is: 0,
            latched: false,
            list: 0,
            received: 0,
            ie: 0,
            cmd: 6,
            sctl: 0,
            serr: 0,
            sact: 0,
            ci: 0,
            delay: 0,
            order: 0,
            connected,
            slow_stop: 0,
            stopping: 0,
            lingers: false,
            goes_on: false,
            next: 0,
            late: Vec::new(),
            late_wait: 0,
            commands: Vec::new(),
            controls: Vec::new(),
        }
    }

    /// With a CD drive.
    pub fn cdrom() -> Self {
        Self { packet: true, connected: true, ..Self::new(None) }
    }

    pub(super) fn latch(&mut self) {
        self.latched |= self.has_cause();
    }

    /// One that is enabled.
    pub(super) fn has_cause(&self) -> bool {
        self.is & self.ie != 0
    }

    pub(super) fn cause(&mut self, bits: u32) {
        self.is |= bits;
        self.latch();
    }

    fn runs(&self) -> bool {
        self.cmd & ST != 0
    }

    fn halted(&self) -> bool {
        !self.goes_on && self.is & FATAL != 0 && self.tfd & 1 != 0
    }

    pub fn read(&mut self, register: u32) -> u32 {
        if register == px::CMD && self.stopping > 0 {
            self.stopping -= 1;
            if self.stopping == 0 && !self.lingers {
                self.late.clear();
            }
            return self.read_only(px::CMD) | 1 << 15;
        }
        self.read_only(register)
    }

    /// Without any effect.
    pub fn read_only(&self, register: u32) -> u32 {
        match register {
            px::CLB => self.list as u32,
            px::CLBU => (self.list >> 32) as u32,
            px::FB => self.received as u32,
            px::FBU => (self.received >> 32) as u32,
            px::IS => self.is,
            px::IE => self.ie,
            px::CMD => self.cmd | (self.cmd & ST) << 15 | (self.cmd & FRE) << 10,
            px::TFD if !self.connected || self.unsigned => 0x7f,
            px::TFD => self.tfd,
            px::SIG if !self.connected || self.unsigned => u32::MAX,
            px::SIG => {
                if self.packet {
                    0xeb14_0101
                } else {
                    0x101
                }
            }
            px::SSTS => {
                if self.connected {
                    0x113
                } else {
                    0
                }
            }
            px::SCTL => self.sctl,
            px::SERR => self.serr,
            px::SACT => self.sact,
            px::CI => self.ci,
            _ => 0xa5a5_a5a5,
        }
    }

    pub fn write(&mut self, register: u32, value: u32) {
        let low = u64::from(value);
        match register {
            px::CLB => self.list = self.list & !0xffff_ffff | low & !0x3ff,
            px::CLBU => self.list = self.list & 0xffff_ffff | low << 32,
            px::FB => self.received = self.received & !0xffff_ffff | low & !0xff,
            px::FBU => self.received = self.received & 0xffff_ffff | low << 32,
            px::IS => self.is &= !value,
            px::IE => self.ie = value,
            px::CMD => self.write_command(value),
            px::SCTL => {
                if self.sctl & 0xf == 1 && value & 0xf == 0 {
                    self.comreset();
                }
                self.sctl = value;
            }
            px::SERR => self.serr &= !value,
            px::SACT if self.runs() => self.sact |= value,
            px::CI if self.runs() => {
                self.ci |= value;
                self.next = 0;
            }
            _ => {}
        }
        self.latch();
    }

    fn write_command(&mut self, value: u32) {
        let stops = self.runs() && value & ST == 0;
        self.cmd = value & 0x0fff_00ff;
        if stops {
            (self.ci, self.sact) = (0, 0);
            self.stopping = self.slow_stop;
            self.let_go();
        }
    }

    /// The list is empty, but data is still on its way.
    fn let_go(&mut self) {
        let late = |Queued { write, lba, sectors, regions, .. }| Late { write, lba, sectors, regions };
        self.late.extend(self.queued.drain(..).map(late));
        let running = self.running.take().and_then(|running| self.late_of(running));
        self.late.extend(running);
        if self.stopping == 0 && !self.lingers {
            self.late.clear();
        }
    }

    /// The device is reset.
    fn comreset(&mut self) {
        // QEMU's list forgets what was queued, done or not, although the port may run.
        self.sact = 0;
        self.queued.clear();
        self.late.clear();
        self.running = None;
        self.unsigned = true;
        if self.connected {
            self.serr |= 1 << 26;
        }
    }

    /// The device tells that it has been reset.
    pub(super) fn sign(&mut self, bus: &mut Bus<'_>) {
        self.unsigned = false;
        self.tfd = SIGNED;
        self.registers = if self.packet { Registers { lba: 0xeb_1401, ..SIGNATURE } } else { SIGNATURE };
        self.register(bus);
    }

    pub(super) fn reset(&mut self) {
        self.write_command(6);
        (self.is, self.ie, self.latched, self.sctl) = (0, 0, false, 0);
        self.stopping = 0;
        self.comreset();
    }

    pub(super) fn lose_power(&mut self) {
        self.reset();
        (self.list, self.received, self.serr) = (0, 0, 0);
    }

    /// The device is unplugged: what it had is lost. Gives its disk.
    pub fn unplug(&mut self) -> Option<Disk> {
        self.connected = false;
        self.queued.clear();
        self.late.clear();
        self.running = None;
        self.serr |= 1 << 16;
        self.cause(1 << 22);
        self.disk.take()
    }

    /// A disk is plugged in.
    pub fn plug(&mut self, disk: Disk) {
        self.connected = true;
        self.disk = Some(disk);
        self.unsigned = true;
        self.serr |= 1 << 26;
        self.cause(1 << 6);
    }

    /// Takes a command, or ends one.
    pub fn tick(&mut self, bus: &mut Bus<'_>, wide: bool) {
        if self.late_wait > 0 {
            self.late_wait -= 1;
        } else if let Some(late) = self.late.pop() {
            self.move_late(bus, late);
        }
        if self.unsigned && self.connected && self.cmd & FRE != 0 {
            self.sign(bus);
        }
        if !self.runs() || self.halted() || !self.connected || self.unsigned {
            return;
        }
        if let Some(running) = &mut self.running {
            if running.left > 0 {
                running.left -= 1;
                return;
            }
            return self.end_running(bus, wide);
        }
        let waiting = self.ci & !self.queued.iter().fold(0, |bits, queued| bits | 1 << queued.slot);
        let fresh = waiting.checked_shr(self.next).unwrap_or(0).checked_shl(self.next).unwrap_or(0);
        if fresh != 0 {
            return self.take(bus, fresh.trailing_zeros(), wide);
        }
        if let Some(index) = self.queued.len().checked_sub(1).map(|last| self.order.min(last)) {
            if self.queued[index].left > 0 {
                self.queued[index].left -= 1;
                return;
            }
            self.end_queued(bus, index, wide);
        }
    }

    /// Sends the host a FIS.
    pub(super) fn post(&mut self, bus: &mut Bus<'_>, offset: u64, fis: &[u8]) {
        if self.cmd & FRE != 0 {
            bus.write(self.received + offset, fis);
        }
    }

    /// Walks everything that the port may reach.
    pub(super) fn audit(&mut self, bus: &mut Bus<'_>, wide: bool) {
        if self.cmd & FRE != 0 && !bus.arena.holds(self.received, 256) {
            bus.fault(DmaFault::TableOutsideArena { at: self.received });
        }
        if self.cmd & ST == 0 {
            return;
        }
        for slot in (0..32).filter(|slot| (self.ci | self.sact) & 1 << slot != 0) {
            for (at, len) in self.regions(bus, slot, wide) {
                if !bus.arena.holds(at, len) && crate::SimMemory::touches_vmm(at, len) {
                    bus.fault(DmaFault::Vmm { at, len_bytes: len });
                }
            }
        }
    }
}
