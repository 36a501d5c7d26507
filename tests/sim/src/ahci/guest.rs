//! What libata does at a port, step by step.

use super::{AhciMachine, at, hba, px};

/// More steps than this without what the guest waits for is a hang.
const PATIENCE: u32 = 5000;

/// A command FIS.
pub type Fis = [u8; 20];

/// Why a command did not end well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// [`AhciMachine::budget`] is used up.
    Stopped,
    /// PxIS.TFES: task file, that is status, then error.
    Device { tfd: u32 },
    /// What the guest waited for never came.
    Timeout,
}

/// Makes the FIS of a command with a 48-bit address; queued ones have their count in the features.
pub fn fis(command: u8, lba: u64, count: u32, slot: u32) -> Fis {
    let l = lba.to_le_bytes();
    let [c0, c1, ..] = count.to_le_bytes();
    let queued = matches!(command, 0x60 | 0x61);
    let (features, count) = if queued { ([c0, c1], [(slot << 3) as u8, 0]) } else { ([0, 0], [c0, c1]) };
    let (f, n) = (features, count);
    [0x27, 0x80, command, f[0], l[0], l[1], l[2], 0x40, l[3], l[4], l[5], f[1], n[0], n[1], 0, 0, 0, 0, 0, 0]
}

/// A command table of the guest: where it is, and its regions.
#[derive(Clone, Debug)]
pub struct Table {
    pub at: u64,
    pub regions: Vec<(u64, u64)>,
}

/// The guest's driver for one port. Lists and tables lie from `base` on, a mebibyte for each port.
pub struct AhciGuest<'a> {
    pub machine: &'a mut AhciMachine,
    pub port: u32,
    pub base: u64,
}

impl<'a> AhciGuest<'a> {
    pub fn new(machine: &'a mut AhciMachine, port: u32) -> Self {
        Self { machine, port, base: 0x10_0000 + u64::from(port) * 0x10_0000 }
    }

    fn step(&mut self) -> Result<(), Failure> {
        if let Some(budget) = &mut self.machine.budget {
            *budget = budget.checked_sub(1).ok_or(Failure::Stopped)?;
        }
        Ok(())
    }

    pub fn get(&mut self, register: u32) -> Result<u32, Failure> {
        self.step()?;
        Ok(self.machine.read(at(self.port, register)))
    }

    pub fn put(&mut self, register: u32, value: u32) -> Result<(), Failure> {
        self.step()?;
        self.machine.write(at(self.port, register), value);
        Ok(())
    }

    /// Sets the port up and starts it (as `ahci_port_resume` and `ahci_start_engine`).
    ///
    /// # Errors
    /// [`Failure`].
    pub fn start(&mut self) -> Result<(), Failure> {
        self.stop()?;
        let base = self.base;
        self.put(px::CLB, base as u32)?;
        self.put(px::CLBU, (base >> 32) as u32)?;
        self.put(px::FB, base as u32 + 0x400)?;
        self.put(px::FBU, (base >> 32) as u32)?;
        self.put(px::SERR, u32::MAX)?;
        self.put(px::IS, u32::MAX)?;
        self.put(px::CMD, 6 | 1 << 4)?;
        self.put(px::CMD, 7 | 1 << 4)?;
        self.put(px::IE, 0x7dc0_007f)?;
        self.machine.write(hba::GHC, 1 << 31 | 2);
        Ok(())
    }

    /// # Errors
    /// [`Failure`].
    pub fn stop(&mut self) -> Result<(), Failure> {
        for (off, running) in [(1, 1 << 15), (1 << 4, 1 << 14)] {
            let now = self.get(px::CMD)?;
            self.put(px::CMD, now & !off)?;
            self.until(px::CMD, |value| value & running == 0)?;
        }
        Ok(())
    }

    /// After an error: the port is stopped and started, the device is reset if it must be (as `ahci_error_handler`).
    ///
    /// # Errors
    /// [`Failure`].
    pub fn recover(&mut self, reset: bool) -> Result<(), Failure> {
        let now = self.get(px::CMD)?;
        self.put(px::CMD, now & !1)?;
        self.until(px::CMD, |value| value & 1 << 15 == 0)?;
        if reset {
            self.put(px::SCTL, 0x301)?;
            self.put(px::SCTL, 0x300)?;
        }
        self.put(px::SERR, u32::MAX)?;
        self.put(px::IS, u32::MAX)?;
        let now = self.get(px::CMD)?;
        self.put(px::CMD, now | 1)
    }

    fn until(&mut self, register: u32, good: impl Fn(u32) -> bool) -> Result<u32, Failure> {
        for _ in 0..PATIENCE {
            let value = self.get(register)?;
            if good(value) {
                return Ok(value);
            }
            self.machine.tick();
        }
        Err(Failure::Timeout)
    }

    /// The default place of a slot's table.
    pub fn table_at(&self, slot: u32) -> u64 {
        self.base + 0x1000 + u64::from(slot) * 0x4000
    }

    /// Writes a command into the list, without ringing.
    pub fn prepare(&mut self, slot: u32, fis: Fis, write: bool, table: &Table) {
        let mut flags = 5 | u32::from(write) << 6 | (table.regions.len() as u32) << 16;
        if fis[2] == 0xa0 {
            flags |= 1 << 5;
        }
        self.put_table(fis, table);
        self.put_header(slot, flags, table.at);
    }

    pub fn put_header(&mut self, slot: u32, flags: u32, table: u64) {
        let at = self.base + u64::from(slot) * 32;
        self.machine.ram.poke(at, &u64::from(flags).to_le_bytes());
        self.machine.ram.poke(at + 8, &table.to_le_bytes());
    }

    fn put_table(&mut self, fis: Fis, table: &Table) {
        self.machine.ram.poke(table.at, &fis);
        for (n, &(at, len)) in (0..).zip(&table.regions) {
            let entry = table.at + 0x80 + 16 * n;
            self.machine.ram.poke(entry, &at.to_le_bytes());
            self.machine.ram.poke(entry + 8, &((len - 1) << 32).to_le_bytes());
        }
    }

    /// Rings: PxSACT for queued commands, then PxCI.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn ring(&mut self, slots: u32, queued: bool) -> Result<(), Failure> {
        if queued {
            self.put(px::SACT, slots)?;
        }
        self.put(px::CI, slots)
    }

    /// Sleeps until the interrupt, and handles it (as `ahci_single_level_irq_intr`). Gives what is still under way.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn interrupt(&mut self) -> Result<u32, Failure> {
        for _ in 0..PATIENCE {
            if !self.machine.ahci.irq() {
                self.step()?;
                self.machine.tick();
                continue;
            }
            self.step()?;
            let ports = self.machine.read(hba::IS);
            if ports & 1 << self.port == 0 {
                // Nobody's: a spurious one.
                self.machine.tick();
                continue;
            }
            let causes = self.get(px::IS)?;
            self.put(px::IS, causes)?;
            let under_way = self.get(px::SACT)? | self.get(px::CI)?;
            self.machine.write(hba::IS, ports);
            if causes & 0xf << 27 != 0 {
                return Err(Failure::Device { tfd: self.get(px::TFD)? });
            }
            return Ok(under_way);
        }
        Err(Failure::Timeout)
    }

    /// Makes a command and waits for its end.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(&mut self, slot: u32, fis: Fis, write: bool, regions: Vec<(u64, u64)>) -> Result<(), Failure> {
        let table = Table { at: self.table_at(slot), regions };
        self.prepare(slot, fis, write, &table);
        self.ring(1 << slot, matches!(fis[2], 0x60 | 0x61))?;
        self.finish(1 << slot)
    }

    /// Waits until none of these is under way.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn finish(&mut self, slots: u32) -> Result<(), Failure> {
        while self.interrupt()? & slots != 0 {}
        Ok(())
    }

    /// The register FIS that came last, in the guest's memory.
    pub fn register_fis(&self) -> Fis {
        self.machine.ram.peek(self.base + 0x440, 20).try_into().expect("20 bytes")
    }
}
