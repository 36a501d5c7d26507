//! The registers that all ports share.

use super::port::SimPort;
use super::{hba, px};
use crate::Bus;

/// Every capability that a mediator may have to hide: coalescing, FIS-based switching, port multipliers, enclosure
/// management; command queuing with 32 slots; 64-bit addresses.
const CAP: u32 = 1 << 31 | 1 << 30 | 1 << 17 | 1 << 16 | 31 << 8 | 1 << 7 | 1 << 6 | 2;

pub struct SimAhci {
    pub ports: Vec<SimPort>,
    /// Cleared: addresses have 32 bits, and the upper halves are cut off.
    pub wide: bool,
    /// Bits of IS are gone with their causes.
    follows: bool,
    ghc: u32,
    bohc: u32,
    /// Has the power failed? Then everything reads all ones.
    dead: bool,
}

impl SimAhci {
    pub fn new(ports: Vec<SimPort>) -> Self {
        Self { ports, wide: true, follows: false, ghc: 1 << 31, bohc: 0, dead: false }
    }

    /// It takes the habits of QEMU's controller and disk that break the specification, as the crate `traces` shows them: IS follows
    /// the ports, and errors stop nothing.
    pub fn take_qemus_habits(&mut self) {
        self.follows = true;
        self.ports.iter_mut().for_each(|port| port.goes_on = true);
    }

    /// The interrupt: a port has a cause that is enabled, and so has the controller.
    pub fn irq(&self) -> bool {
        self.ghc & 2 != 0 && self.interrupts() != 0
    }

    fn interrupts(&self) -> u32 {
        let bits = self.ports.iter().enumerate();
        bits.filter(|(_, port)| if self.follows { port.has_cause() } else { port.latched })
            .fold(0, |bits, (n, _)| bits | 1 << n)
    }

    pub fn read(&mut self, offset: u32) -> u32 {
        if self.dead {
            return u32::MAX;
        }
        if let Some((port, register)) = self.port(offset) {
            return port.read(register);
        }
        match offset {
            hba::CAP => CAP & if self.wide { u32::MAX } else { u32::MAX >> 1 },
            hba::GHC => self.ghc,
            hba::IS => self.interrupts(),
            hba::PI => (1 << self.ports.len()) - 1,
            0x10 => 0x0001_0301,
            hba::CAP2 => 3,
            hba::BOHC => self.bohc,
            _ => 0x5a5a_5a5a,
        }
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        if self.dead {
            return;
        }
        if let Some((port, register)) = self.port(offset) {
            return port.write(register, value);
        }
        match offset {
            hba::GHC if value & 1 != 0 => {
                self.ghc = 1 << 31;
                self.ports.iter_mut().for_each(SimPort::reset);
            }
            hba::GHC => self.ghc = value & 2 | 1 << 31,
            hba::IS => {
                for (n, port) in self.ports.iter_mut().enumerate() {
                    port.latched &= value & 1 << n == 0;
                    // The cause is still there.
                    port.latch();
                }
            }
            hba::BOHC => self.bohc = value,
            _ => {}
        }
    }

    fn port(&mut self, offset: u32) -> Option<(&mut SimPort, u32)> {
        let offset = offset.checked_sub(0x100)?;
        Some((self.ports.get_mut(offset as usize / 0x80)?, offset % 0x80))
    }

    /// Every port makes one step.
    pub fn tick(&mut self, bus: &mut Bus<'_>) {
        if self.dead {
            return;
        }
        let wide = self.wide;
        self.ports.iter_mut().for_each(|port| port.tick(bus, wide));
        self.dead = self.ports.iter().any(|port| port.disk.as_ref().is_some_and(|disk| disk.platter.is_cut()));
    }

    /// Notes whatever address the controller holds and must not.
    pub fn audit(&mut self, bus: &mut Bus<'_>) {
        let wide = self.wide;
        self.ports.iter_mut().for_each(|port| port.audit(bus, wide));
    }

    /// The machine sleeps: all is as after power-on.
    pub fn lose_power(&mut self) {
        self.ghc = 0;
        self.ports.iter_mut().for_each(SimPort::lose_power);
    }

    /// Is nothing issued or queued?
    pub fn is_idle(&self) -> bool {
        self.ports.iter().all(|port| port.read_only(px::CI) | port.read_only(px::SACT) == 0)
    }
}
