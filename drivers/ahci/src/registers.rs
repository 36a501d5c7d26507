//! The guest's accesses to the registers.

use crate::mediator::Ahci;
use crate::port::Port;
use crate::regs;
use crate::spec::{cap, cap2, cmd, ghc, hba, port, serr};
use crate::unit::Unit;
use acs::spec::status;
use mediator::{Ctx, Violation};

/// A register as the guest is to see it, or not yet.
type Seen = Result<Option<u32>, Violation>;

impl Ahci {
    /// Reads a dword. `None`: data is on its way to guest memory, ask again.
    pub fn read(&mut self, cx: &mut Ctx<'_>, offset: u32) -> Seen {
        match offset.checked_sub(hba::PORTS) {
            Some(offset) => self.read_port(cx, offset / hba::PORT_BYTES, offset % hba::PORT_BYTES),
            None => self.read_hba(cx, offset),
        }
    }

    pub fn write(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u32) -> Result<(), Violation> {
        match offset.checked_sub(hba::PORTS) {
            Some(offset) => self.write_port(cx, offset / hba::PORT_BYTES, offset % hba::PORT_BYTES, value),
            None => self.write_hba(cx, offset, value),
        }
    }

    fn read_hba(&mut self, cx: &mut Ctx<'_>, offset: u32) -> Seen {
        let value = regs::read(cx.device, offset);
        Ok(Some(match offset {
            hba::CAP => value & !cap::HIDDEN,
            hba::CAP2 => value & !cap2::NVMP,
            hba::GHC | hba::PI | hba::VS | hba::BOHC => value,
            hba::IS => return Ok(self.read_interrupts(cx, value)),
            // Coalescing and enclosure management, which are not offered; reserved, and the maker's own.
            _ => 0,
        }))
    }

    /// The first port from `place` on with a bit in IS, or a cause that the device does not show any more; with its place.
    fn next_with_cause(&self, place: usize, real: u32) -> Option<(usize, &Port)> {
        let mut rest = self.ports.iter().enumerate().skip(place);
        rest.find(|(_, it)| real & it.regs.bit != 0 || it.extra != 0)
    }

    /// A port's bit shows when it has a cause that the guest may see.
    fn read_interrupts(&mut self, cx: &mut Ctx<'_>, real: u32) -> Option<u32> {
        let mut shown = 0;
        let mut place = 0;
        // Most of the time at most one has anything to tell.
        while let Some((next, it)) = self.next_with_cause(place, real) {
            let (bit, number) = (it.regs.bit, it.number);
            place = next.saturating_add(1);
            let causes = self.sync(cx, number)?;
            let Some(it) = self.ports.get(next) else { continue };
            let enabled = |cx: &mut Ctx<'_>| it.enabled().unwrap_or_else(|| it.regs.read(cx.device, port::IE));
            if causes != 0 && (real & bit != 0 || causes & enabled(cx) != 0) {
                shown |= bit;
            }
        }
        Some(shown)
    }

    fn write_hba(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u32) -> Result<(), Violation> {
        match offset {
            hba::GHC => {
                regs::write(cx.device, hba::GHC, value);
                if value & ghc::HR != 0 {
                    self.each_port(cx, |it, cx, shared| it.on_reset(cx, shared));
                }
            }
            hba::IS | hba::BOHC => regs::write(cx.device, offset, value),
            // Read-only (some chips let firmware write them), or not offered.
            _ => {}
        }
        Ok(())
    }

    fn read_port(&mut self, cx: &mut Ctx<'_>, number: u32, offset: u32) -> Seen {
        let Some(it) = self.port(number) else { return Ok(Some(0)) };
        let half = |value: u64, upper: bool| u32::try_from(if upper { value >> 32 } else { value & 0xffff_ffff }).ok();
        match offset {
            port::CLB | port::CLBU => return Ok(half(it.list, offset == port::CLBU)),
            port::FB | port::FBU => return Ok(half(it.received, offset == port::FBU)),
            port::IS => return Ok(self.sync(cx, number)),
            port::CI | port::SACT | port::TFD if self.sync(cx, number).is_none() => return Ok(None),
            port::CMD => self.with_port(cx, number, |it, cx, shared| it.finish_stop(cx, shared)),
            _ => {}
        }
        let Some(it) = self.port(number) else { return Ok(Some(0)) };
        Ok(Some(match offset {
            port::CI => it.issued,
            port::SACT => it.active,
            // A command that the device does not have yet keeps the drive busy all the same.
            port::TFD => {
                let held = it.issued & !it.active & !it.at_device != 0 && !it.failed;
                let now = it.shown_task_file(it.own.task_file.unwrap_or_else(|| it.regs.read(cx.device, offset)));
                now | if held { u32::from(status::BSY) } else { 0 }
            }
            port::CMD if it.running && it.restarts() => it.regs.read(cx.device, offset) & !cmd::PMA | cmd::ST | cmd::CR,
            port::CMD => it.regs.read(cx.device, offset) & !cmd::PMA,
            port::IE if it.has_own() => it.enabled().unwrap_or(0),
            port::IE | port::SIG | port::SSTS | port::SCTL | port::SERR | port::SNTF | port::DEVSLP => {
                it.regs.read(cx.device, offset)
            }
            // FIS-based switching is not offered; reserved, and the maker's own.
            _ => 0,
        }))
    }

    fn write_port(&mut self, cx: &mut Ctx<'_>, number: u32, offset: u32, value: u32) -> Result<(), Violation> {
        let wide = self.shared.wide;
        let Some(it) = self.port(number) else { return Ok(()) };
        let low = u64::from(value);
        match offset {
            // Lists are aligned to 1 KiB, received FISes to 256 bytes.
            port::CLB => it.list = (it.list & !0xffff_ffff) | (low & !0x3ff),
            port::FB => it.received = (it.received & !0xffff_ffff) | (low & !0xff),
            port::CLBU if wide => it.list = (it.list & 0xffff_ffff) | low << 32,
            port::FBU if wide => it.received = (it.received & 0xffff_ffff) | low << 32,
            port::IS => {
                it.extra &= !value;
                it.stale &= !value;
                it.news = false;
                it.regs.write(cx.device, offset, value & !it.own_causes());
            }
            port::CMD => self.with_port(cx, number, |it, cx, shared| it.write_command(cx, shared, value)),
            port::CI => self.with_port(cx, number, |it, _, shared| it.on_issue(shared, value)),
            port::SACT if it.running => it.active |= value,
            port::SERR => {
                // The device may be another one from here on.
                if it.regs.read(cx.device, offset) & value & serr::CHANGED != 0 {
                    it.own.task_file = None;
                    it.shown = None;
                    it.unit = Unit::Unknown;
                }
                it.regs.write(cx.device, offset, value);
            }
            port::SCTL => self.with_port(cx, number, |it, cx, shared| it.write_control(cx, shared, value)),
            port::IE if it.has_own() => it.set_enabled(cx, value),
            port::IE | port::SNTF | port::DEVSLP => it.regs.write(cx.device, offset, value),
            _ => {}
        }
        Ok(())
    }
}
