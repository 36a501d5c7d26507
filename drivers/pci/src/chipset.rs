//! Registers of chipsets that decide where memory, firmware and power management lie: who may change them can take what a guard
//! relies on from under it.
//!
//! Intel 440FX PCIset datasheet (290549-001), 3.2; Intel 3 Series Express Chipset Family Datasheet (316966) revision 004, 5.1;
//! Intel 82371AB (PIIX4) datasheet (290562-001), 7.1; Intel I/O Controller Hub 9 Family Datasheet (316972) revision 004, 13.1.

use crate::{ConfigSpace, PCIEXBAR, VENDOR_INTEL, function, scan::functions_of_bus};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use mediator::Width;
use mediator::pci::{Bdf, Function};

/// Where chipsets have their host bridge.
pub const HOST_BRIDGE: Bdf = Bdf { bus: 0, device: 0, function: 0 };

/// Registers of one function, by their offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    pub function: Bdf,
    pub registers: RangeInclusive<u16>,
    /// What is done by a change.
    pub what: &'static str,
}

const MEMORY: &str = "change what lies where in memory, or open the firmware's";
const POWER: &str = "move the power management registers";
const WINDOW: &str = "move PCI configuration space";

const INTEL_440FX: u16 = 0x1237;
const INTEL_Q35: u16 = 0x29c0;
/// Function 3 of the PIIX4.
const PIIX4_POWER: u16 = 0x7113;
/// Function 0 of this device is the ICH9, of which each kind has its own number.
const ICH_DEVICE: u8 = 0x1f;
const ICH9_KINDS: RangeInclusive<u16> = 0x2910..=0x291f;

/// In both.
const PMBASE: u16 = 0x40;
const PMBASE_END: u16 = 0x43;
/// PIIX4: bit 0 switches the ports on.
const PMREGMISC: u16 = 0x80;
/// ICH: bit 7 switches the ports on.
const ACPI_CNTL: u16 = 0x44;
/// PM1 event and control block (status, enable, control), as they lie behind the base in both.
const PM1_CONTROL: u16 = 4;

/// PCIEXBAR of an Intel host bridge, if this is one.
pub fn config_window(space: &mut dyn ConfigSpace) -> Option<Registers> {
    function(space, HOST_BRIDGE).filter(|bridge| bridge.vendor == VENDOR_INTEL)?;
    let last = PCIEXBAR.saturating_add(7);
    Some(Registers { function: HOST_BRIDGE, registers: PCIEXBAR..=last, what: WINDOW })
}

/// What places memory: the attributes of the BIOS area (PAM), SMRAM, holes and ends of RAM. `None`: the host bridge is not known.
pub fn memory(space: &mut dyn ConfigSpace) -> Option<Registers> {
    let bridge = function(space, HOST_BRIDGE).filter(|bridge| bridge.vendor == VENDOR_INTEL)?;
    let registers = match bridge.device {
        // PAM, DRB, FDHC, ..., SMRAM.
        INTEL_440FX => 0x59..=0x72,
        // PAM, LAC, REMAPBASE, REMAPLIMIT, SMRAM, ESMRAMC, TOM, TOUUD, GBSM, BGSM, TSEGMB, TOLUD.
        INTEL_Q35 => 0x90..=0xb1,
        _ => return None,
    };
    Some(Registers { function: HOST_BRIDGE, registers, what: MEMORY })
}

/// What places the PM1 control register at port `pm1_control`, as the firmware calls it, and leaves it there. `None`: it is not
/// known.
pub fn power(space: &mut dyn ConfigSpace, pm1_control: u16) -> Option<Vec<Registers>> {
    let (home, switch, on) = functions_of_bus(space, 0).iter().find_map(power_home)?;
    let base = space.read(home, PMBASE, Width::Word) as u16 & 0xffc0;
    let is_on = space.read(home, switch, Width::Byte) & on != 0;
    (is_on && base.checked_add(PM1_CONTROL) == Some(pm1_control)).then_some(())?;
    let ranges = [PMBASE..=PMBASE_END, switch..=switch];
    Some(ranges.map(|registers| Registers { function: home, registers, what: POWER }).into())
}

/// A function that places them, its register that switches them on, and the bit in it.
fn power_home(function: &Function) -> Option<(Bdf, u16, u32)> {
    let at = function.bdf;
    match function.device {
        _ if function.vendor != VENDOR_INTEL => None,
        PIIX4_POWER => Some((at, PMREGMISC, 1 << 0)),
        device if (at.device, at.function) == (ICH_DEVICE, 0) && ICH9_KINDS.contains(&device) => {
            Some((at, ACPI_CNTL, 1 << 7))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Machine;

    const PIIX4: Bdf = Bdf { bus: 0, device: 1, function: 3 };
    const ICH9: Bdf = Bdf { bus: 0, device: 0x1f, function: 0 };

    /// A machine with these functions, whose bridges have this in PMBASE, PMREGMISC and ACPI_CNTL.
    fn machine(functions: &[(Bdf, u32)], base: u32, switches: u32) -> Machine {
        let mut machine = Machine::default();
        for &(bdf, id) in functions {
            let registers =
                [(0, id), (8, 0x0600_0000), (0xc, 0x0080_0000), (0x40, base), (0x44, switches), (0x80, switches)];
            registers.into_iter().for_each(|(offset, value)| machine.write(bdf, offset, Width::Dword, value));
        }
        machine
    }

    const PIIX4_FUNCTIONS: [(Bdf, u32); 2] =
        [(Bdf { bus: 0, device: 1, function: 0 }, 0x7000_8086), (PIIX4, 0x7113_8086)];

    #[test]
    fn the_home_of_the_power_management_ports_is_known_by_what_stands_in_it() {
        let found = |functions: &[_], base, switches, port| power(&mut machine(functions, base, switches), port);
        let at = |function, ranges: [RangeInclusive<u16>; 2]| {
            Some(Vec::from(ranges.map(|registers| Registers { function, registers, what: POWER })))
        };
        let piix4 = at(PIIX4, [0x40..=0x43, 0x80..=0x80]);
        assert_eq!(found(&PIIX4_FUNCTIONS, 0x601, 0x01, 0x604), piix4);
        assert_eq!(found(&PIIX4_FUNCTIONS, 0xb001, 0x01, 0xb004), piix4);
        let ich9 = [(ICH9, 0x2918_8086)];
        assert_eq!(found(&ich9, 0x601, 0x80, 0x604), at(ICH9, [0x40..=0x43, 0x44..=0x44]));
        assert_eq!(found(&ich9, 0x601, 0x80, 0xb004), None, "the firmware calls another port");
        assert_eq!(found(&ich9, 0x601, 0x7f, 0x604), None, "they are switched off");
        assert_eq!(found(&PIIX4_FUNCTIONS, 0x601, 0xfe, 0x604), None);
        assert_eq!(found(&[(ICH9, 0x7a04_8086)], 0x601, 0x80, 0x604), None, "a later one has them elsewhere");
        assert_eq!(found(&[(ICH9, 0x2918_1022)], 0x601, 0x80, 0x604), None);
        assert_eq!(found(&[], 0x601, 0x80, 0x604), None);
    }

    #[test]
    fn the_registers_of_memory_are_those_of_known_host_bridges() {
        let found = |id| memory(&mut machine(&[(HOST_BRIDGE, id)], 0, 0)).map(|found| found.registers);
        assert_eq!(found(0x1237_8086), Some(0x59..=0x72));
        assert_eq!(found(0x29c0_8086), Some(0x90..=0xb1));
        assert_eq!(found(0x1237_1022), None);
        assert_eq!(found(0x7190_8086), None);
        assert_eq!(memory(&mut machine(&[], 0, 0)), None);
    }

    #[test]
    fn the_window_is_placed_by_host_bridges_of_intel() {
        let found = |id| config_window(&mut machine(&[(HOST_BRIDGE, id)], 0, 0)).map(|found| found.registers);
        assert_eq!(found(0x29c0_8086), Some(0x60..=0x67));
        assert_eq!(found(0x1480_1022), None);
    }
}
