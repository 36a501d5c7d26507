//! The guest's accesses to the registers.

use crate::mediator::Ahci;
use crate::port::{Port, bit, slots_of};
use crate::regs;
use crate::spec::{cap, cap2, cmd, ghc, hba, port};
use acs::spec::status;
use mediator::Ctx;

impl Ahci {
    /// Reads a dword. `None`: data is on its way to guest memory, ask again.
    #[inline(always)]
    pub fn read(&mut self, cx: &mut Ctx<'_>, offset: u32) -> Option<u32> {
        match offset.checked_sub(hba::PORTS) {
            Some(offset) => self.read_port(cx, offset / hba::PORT_BYTES, offset % hba::PORT_BYTES),
            None => self.read_hba(cx, offset),
        }
    }

    #[inline(always)]
    pub fn write(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u32) {
        match offset.checked_sub(hba::PORTS) {
            Some(offset) => self.write_port(cx, offset / hba::PORT_BYTES, offset % hba::PORT_BYTES, value),
            None => self.write_hba(cx, offset, value),
        }
    }

    fn read_hba(&mut self, cx: &mut Ctx<'_>, offset: u32) -> Option<u32> {
        let value = regs::read(cx.device, offset);
        Some(match offset {
            hba::CAP => value & !cap::HIDDEN,
            hba::CAP2 => value & !cap2::NVMP,
            hba::GHC | hba::PI | hba::VS | hba::BOHC => value,
            hba::IS => return self.read_interrupts(cx, value),
            // Coalescing and enclosure management, which are not offered; reserved, and the maker's own.
            _ => 0,
        })
    }

    /// A port's bit shows when it has a cause that the guest may see.
    fn read_interrupts(&mut self, cx: &mut Ctx<'_>, real: u32) -> Option<u32> {
        let (mut shown, mut asked) = (0, 0);
        // Most of the time at most one has anything to tell. What one tells may lead to a cause of another one.
        while let Some(number) = slots_of((real | self.shared.extra) & !asked).next() {
            asked |= bit(number);
            let number = number as u32;
            let causes = self.sync(cx, number)?;
            let Some(it) = self.ports.get(number) else { continue };
            let bit = it.regs.bit;
            let enabled = |cx: &mut Ctx<'_>| it.enabled().unwrap_or_else(|| it.regs.read(cx.device, port::IE));
            if causes != 0 && (real & bit != 0 || causes & enabled(cx) != 0) {
                shown |= bit;
            }
            if it.extra == 0 {
                self.shared.extra &= !bit;
            }
        }
        Some(shown)
    }

    fn write_hba(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u32) {
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
    }

    fn read_port(&mut self, cx: &mut Ctx<'_>, number: u32, offset: u32) -> Option<u32> {
        match offset {
            port::IS => return self.sync(cx, number),
            // The guest knows all, as it does when it looks for what is still active once it has cleared the causes.
            port::CI | port::SACT if self.is_settled() && self.ports.get(number).is_some_and(Port::is_quiet) => {}
            port::CI | port::SACT | port::TFD => {
                self.sync(cx, number)?;
            }
            port::CMD => self.with_port(cx, number, |it, cx, shared| it.finish_stop(cx, shared)),
            _ => {}
        }
        let Some(it) = self.ports.get(number) else { return Some(0) };
        let half = |value: u64, upper: bool| (if upper { value >> 32 } else { value & 0xffff_ffff }) as u32;
        Some(match offset {
            port::CLB | port::CLBU => half(it.list, offset == port::CLBU),
            port::FB | port::FBU => half(it.received, offset == port::FBU),
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
        })
    }

    /// Registers that are only kept, or passed on.
    fn write_port(&mut self, cx: &mut Ctx<'_>, number: u32, offset: u32, value: u32) {
        let wide = self.shared.wide;
        let Some(it) = self.ports.get_mut(number) else { return };
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
            port::SACT if it.running => it.active |= value,
            port::IE if !it.has_own() => it.regs.write(cx.device, offset, value),
            port::SNTF | port::DEVSLP => it.regs.write(cx.device, offset, value),
            port::CMD | port::CI | port::SERR | port::SCTL | port::IE => self.command_port(cx, number, offset, value),
            _ => {}
        }
    }

    /// Registers by which the guest has the port do something.
    #[inline(never)]
    fn command_port(&mut self, cx: &mut Ctx<'_>, number: u32, offset: u32, value: u32) {
        match offset {
            port::CMD => self.with_port(cx, number, |it, cx, shared| it.write_command(cx, shared, value)),
            port::CI => self.with_port(cx, number, |it, _, shared| it.on_issue(shared, value)),
            port::SCTL => self.with_port(cx, number, |it, cx, shared| it.write_control(cx, shared, value)),
            _ => {
                let Some(it) = self.ports.get_mut(number) else { return };
                if offset == port::SERR { it.write_errors(cx, value) } else { it.set_enabled(cx, value) }
            }
        }
    }
}
