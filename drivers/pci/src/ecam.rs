//! The registers that place configuration space in memory.
//!
//! Intel 3 Series Express Chipset Family Datasheet (316966) revision 004, 5.1.14 (PCIEXBAR; at the same place in Intel's
//! later host bridges of desktops and laptops); AMD64 APM Vol. 2 (24593) rev. 3.41, appendix A.

use crate::ConfigSpace;
use mediator::Width;
use mediator::pci::Bdf;

pub const VENDOR_INTEL: u16 = 0x8086;
/// Eight bytes in the configuration space of Intel's host bridges.
pub const PCIEXBAR: u16 = 0x60;
const ENABLE: u64 = 1 << 0;
/// Bits 2:1: 256, 128 or 64 MiB.
const LENGTH: u64 = 3 << 1;
/// Physical addresses have no more bits.
const ADDRESS: u64 = (1 << 52) - 1;
const MIB: u64 = 1 << 20;

/// Where an Intel host bridge places configuration space in memory; `None`: nowhere.
pub fn read_pciexbar(space: &mut dyn ConfigSpace, host_bridge: Bdf) -> Option<u64> {
    let mut half = |offset| u64::from(space.read(host_bridge, offset, Width::Dword));
    pciexbar(half(PCIEXBAR) | half(PCIEXBAR | 4) << 32)
}

fn pciexbar(value: u64) -> Option<u64> {
    let len_bytes = match (value & LENGTH) >> 1 {
        0 => 256 * MIB,
        1 => 128 * MIB,
        2 => 64 * MIB,
        _ => return None,
    };
    (value & ENABLE != 0).then_some(value & ADDRESS & !len_bytes.saturating_sub(1))
}

/// Where an AMD CPU whose MSR C001_0058h has this value places configuration space in memory; `None`: nowhere.
pub fn mmio_config_base(value: u64) -> Option<u64> {
    (value & ENABLE != 0).then_some(value & ADDRESS & !MIB.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pciexbar_places_a_window_of_one_of_three_sizes_when_it_is_enabled() {
        assert_eq!(pciexbar(0xb000_0001), Some(0xb000_0000));
        assert_eq!(pciexbar(0xb000_0000), None, "disabled");
        assert_eq!(pciexbar(0xbc00_0001), Some(0xb000_0000), "reserved bits");
        assert_eq!(pciexbar(0xf800_0003), Some(0xf800_0000), "128 MiB");
        assert_eq!(pciexbar(0x10_fc00_0005), Some(0x10_fc00_0000), "64 MiB above 4 GiB");
        assert_eq!(pciexbar(0xb000_0007), None, "a length that there is not");
        assert_eq!(pciexbar(!2), Some(0xf_ffff_fc00_0000), "what no bridge answers");
    }

    #[test]
    fn mmio_config_base_is_a_multiple_of_a_mib() {
        assert_eq!(mmio_config_base(0xf800_0021), Some(0xf800_0000));
        assert_eq!(mmio_config_base(0xe012_3401), Some(0xe010_0000));
        assert_eq!(mmio_config_base(0xf800_0020), None);
        assert_eq!(mmio_config_base(0), None);
    }
}
