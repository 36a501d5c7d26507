//! The interrupt command register of a local APIC: what a write to it sends, and to which CPUs.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, 11.6 (xAPIC), 11.12.9 and 11.12.10 (x2APIC).

/// What is sent, as far as the VMM sends it itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// INIT, edge or level assert.
    Init,
    /// INIT level de-assert: sets arbitration IDs of APICs long gone.
    InitDeassert,
    /// Startup IPI with this page of real-mode code.
    Startup(u8),
}

/// Who is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    Own,
    Everyone,
    Others,
    /// One local APIC ID.
    Physical(u32),
    /// Message destination address: 8 bits in xAPIC mode, 32 in x2APIC mode.
    Logical(u32),
}

/// A command that must not reach the APIC: no CPU may leave the virtual machine by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Command {
    pub message: Message,
    pub destination: Destination,
}

/// Bits 10:8: delivery mode.
const DELIVERY: u32 = 7 << 8;
const INIT: u32 = 5 << 8;
const STARTUP: u32 = 6 << 8;
const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL_TRIGGERED: u32 = 1 << 15;
/// Bits 12 (delivery status of the xAPIC), 13, 17:16 and 31:20 (SDM Vol. 3A figure 11-28): #GP.
const X2APIC_RESERVED: u64 = 0xfff3_3000;

/// Broadcast to all CPUs.
const XAPIC_EVERYONE: u32 = 0xff;
const X2APIC_EVERYONE: u32 = u32::MAX;

/// Whether the VMM may pass a command with this low half on as it is: it is neither INIT nor startup.
#[inline]
pub(crate) fn passes(low: u32) -> bool {
    !matches!(low & DELIVERY, INIT | STARTUP)
}

/// A command that does not pass, of the two halves of the register at 300h and 310h.
pub(crate) fn of_xapic(low: u32, high: u32) -> Command {
    command(low, high >> 24, XAPIC_EVERYONE)
}

/// A command that does not pass, as it is written to MSR 830h. `None`: reserved bits are set.
pub(crate) fn of_x2apic(value: u64) -> Option<Command> {
    (value & X2APIC_RESERVED == 0).then(|| command(value as u32, (value >> 32) as u32, X2APIC_EVERYONE))
}

fn command(low: u32, target: u32, everyone: u32) -> Command {
    let message = match low & DELIVERY {
        STARTUP => Message::Startup(low as u8),
        // Level and trigger mode mean nothing else any more (SDM Vol. 3A 11.6.1).
        _ if low & ASSERT == 0 && low & LEVEL_TRIGGERED != 0 => Message::InitDeassert,
        _ => Message::Init,
    };
    let destination = match low >> 18 & 3 {
        1 => Destination::Own,
        2 => Destination::Everyone,
        3 => Destination::Others,
        _ if low & LOGICAL != 0 => Destination::Logical(target),
        _ if target == everyone => Destination::Everyone,
        _ => Destination::Physical(target),
    };
    Command { message, destination }
}

/// How a local APIC compares a logical destination with itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogicalId {
    /// xAPIC: logical destination register (D0h) and destination format register (E0h).
    XApic { destination: u32, format: u32 },
    /// x2APIC: derived from the APIC ID.
    X2Apic,
}

impl Destination {
    /// Does the command of CPU `sender` mean CPU `cpu`, whose local APIC has `apic_id` and `logical`?
    pub fn includes(self, sender: usize, cpu: usize, apic_id: u32, logical: LogicalId) -> bool {
        match self {
            Self::Own => cpu == sender,
            Self::Everyone => true,
            Self::Others => cpu != sender,
            Self::Physical(target) => target == apic_id,
            Self::Logical(target) => logical.accepts(target, apic_id),
        }
    }
}

impl LogicalId {
    fn accepts(self, target: u32, apic_id: u32) -> bool {
        match self {
            // SDM Vol. 3A 11.12.10.2: cluster in bits 31:16, one bit each for 16 CPUs.
            Self::X2Apic => {
                let own = apic_id >> 4 << 16 | 1_u32.wrapping_shl(apic_id & 0xf);
                target == X2APIC_EVERYONE || (target >> 16 == own >> 16 && target & own & 0xffff != 0)
            }
            Self::XApic { destination, format } => {
                let own = destination >> 24;
                // The model in bits 31:28: Fh flat, 0 cluster (SDM Vol. 3A 11.6.2.2).
                if format >> 28 == 0xf {
                    return target & own & 0xff != 0;
                }
                let cluster = target >> 4 & 0xf;
                (cluster == 0xf || cluster == own >> 4) && target & own & 0xf != 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn init_and_startup_are_taken_in_hand_and_every_other_delivery_mode_passes() {
        let taken: Vec<u32> = (0..8).filter(|mode| !passes(mode << 8 | 0xfff0_c8ff)).collect();
        assert_eq!(taken, [5, 6]);
    }

    fn message(low: u32) -> Message {
        of_xapic(low, 0).message
    }

    #[test]
    fn messages_are_told_apart_by_mode_level_and_trigger() {
        // Linux: assert and de-assert, both level-triggered; then a startup IPI.
        assert_eq!(message(0xc500), Message::Init);
        assert_eq!(message(0x8500), Message::InitDeassert);
        assert_eq!(message(0x0699), Message::Startup(0x99));
        // Edge-triggered, with and without level (BIOSes).
        assert_eq!((message(0x4500), message(0x0500)), (Message::Init, Message::Init));
        // What stands in the vector of INIT, and level and trigger of a startup IPI, mean nothing.
        assert_eq!((message(0x45ff), message(0x8610)), (Message::Init, Message::Startup(0x10)));
    }

    fn xapic(low: u32, target: u8) -> Destination {
        of_xapic(0x4500 | low, u32::from(target) << 24 | 0xff_ffff).destination
    }

    #[test]
    fn shorthands_come_before_the_destination() {
        for (shorthand, meant) in [(1, Destination::Own), (2, Destination::Everyone), (3, Destination::Others)] {
            for mode in [0, LOGICAL] {
                assert_eq!(xapic(shorthand << 18 | mode, 7), meant);
            }
        }
    }

    #[test]
    fn destinations_are_eight_bits_or_thirty_two() {
        assert_eq!(xapic(0, 3), Destination::Physical(3));
        assert_eq!(xapic(LOGICAL, 0xff), Destination::Logical(0xff));
        assert_eq!(xapic(0, 0xff), Destination::Everyone);
        let x2apic = |value| of_x2apic(value).map(|command| command.destination);
        assert_eq!(x2apic(0x0000_00ff_0000_4500), Some(Destination::Physical(0xff)));
        assert_eq!(x2apic(0xffff_ffff_0000_4500), Some(Destination::Everyone));
        assert_eq!(x2apic(0x0001_0002_0000_4d00), Some(Destination::Logical(0x1_0002)));
    }

    #[test]
    fn reserved_bits_of_the_x2apic_register_are_refused_each() {
        for bit in 0..32 {
            let reserved = [12, 13, 16, 17].contains(&bit) || (20..32).contains(&bit);
            assert_eq!(of_x2apic(0x4500 | 1 << bit).is_none(), reserved, "bit {bit}");
        }
    }

    /// Which of four CPUs with the APIC IDs 0, 1, 4, 0x21 are meant by CPU 1.
    fn meant(destination: Destination, logical: [LogicalId; 4]) -> Vec<usize> {
        let ids = [0, 1, 4, 0x21];
        (0..4).filter(|&cpu| destination.includes(1, cpu, ids[cpu], logical[cpu])).collect()
    }

    #[test]
    fn physical_destinations_and_shorthands_find_their_cpus() {
        let any = [LogicalId::X2Apic; 4];
        assert_eq!(meant(Destination::Own, any), [1]);
        assert_eq!(meant(Destination::Everyone, any), [0, 1, 2, 3]);
        assert_eq!(meant(Destination::Others, any), [0, 2, 3]);
        assert_eq!(meant(Destination::Physical(4), any), [2]);
        assert_eq!(meant(Destination::Physical(2), any), [0_usize; 0]);
    }

    #[test]
    fn flat_destinations_are_a_set_of_bits() {
        let flat = [1_u32, 2, 4, 0x80].map(|id| LogicalId::XApic { destination: id << 24, format: u32::MAX });
        assert_eq!(meant(Destination::Logical(5), flat), [0, 2]);
        assert_eq!(meant(Destination::Logical(0xff), flat), [0, 1, 2, 3]);
        assert_eq!(meant(Destination::Logical(0x78), flat), [0_usize; 0]);
        // After a reset the register is 0: such an APIC has no logical destination at all.
        let reset = [LogicalId::XApic { destination: 0, format: u32::MAX }; 4];
        assert_eq!(meant(Destination::Logical(0xff), reset), [0_usize; 0]);
    }

    #[test]
    fn cluster_destinations_are_a_cluster_and_a_set_of_its_four() {
        let cluster =
            [0x01_u32, 0x02, 0x11, 0x18].map(|id| LogicalId::XApic { destination: id << 24, format: 0x0fff_ffff });
        assert_eq!(meant(Destination::Logical(0x03), cluster), [0, 1]);
        assert_eq!(meant(Destination::Logical(0x19), cluster), [2, 3]);
        assert_eq!(meant(Destination::Logical(0x10), cluster), [0_usize; 0]);
        assert_eq!(meant(Destination::Logical(0xff), cluster), [0, 1, 2, 3]);
        assert_eq!(meant(Destination::Logical(0xf1), cluster), [0, 2]);
    }

    #[test]
    fn x2apic_clusters_are_derived_from_the_id() {
        let any = [LogicalId::X2Apic; 4];
        assert_eq!(meant(Destination::Logical(0x0000_0013), any), [0, 1, 2]);
        assert_eq!(meant(Destination::Logical(0x0002_0002), any), [3]);
        assert_eq!(meant(Destination::Logical(0x0002_0001), any), [0_usize; 0]);
        assert_eq!(meant(Destination::Logical(u32::MAX), any), [0, 1, 2, 3]);
    }
}
