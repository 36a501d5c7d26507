//! Sectors that are not the guest's to move: what a disk tells of such ones.

use crate::spec::error;
use block::Refusal;

/// Where a request ends, and the error register then.
///
/// A host takes the sectors before the named one for moved. So they are, or the first sector of the request is named.
/// And it takes ABRT alone for a fault of the disk: Linux stops queuing and lowers the speed after some of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Denied {
    /// The guest's number of the sector.
    pub lba: u64,
    /// Bits of the error register.
    pub error: u8,
}

impl Denied {
    /// Of a request that the range map refuses. `None`: not because of one of its sectors.
    pub fn new(refusal: Refusal, write: bool) -> Option<Self> {
        match refusal {
            Refusal::Absent { lba } if write => Some(Self { lba, error: error::IDNF }),
            Refusal::Absent { lba } => Some(Self { lba, error: error::UNC }),
            Refusal::ReadOnly { lba } => Some(Self { lba, error: error::WP }),
            Refusal::Unserved => None,
        }
    }

    /// How many sectors of a request from `first` on lie before.
    pub fn sectors_before(&self, first: u64) -> u32 {
        u32::try_from(self.lba.saturating_sub(first)).unwrap_or(0)
    }

    /// The same error, where nothing of the request from `first` on was moved.
    pub fn at(self, first: u64) -> Self {
        Self { lba: first, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sector_is_told_by_abrt_which_hosts_take_for_a_fault_of_the_disk() {
        let of = |refusal, write| Denied::new(refusal, write).map(|denied| (denied.lba, denied.error));
        assert_eq!(of(Refusal::Absent { lba: 7 }, false), Some((7, 0x40)));
        assert_eq!(of(Refusal::Absent { lba: 7 }, true), Some((7, 0x10)));
        assert_eq!(of(Refusal::ReadOnly { lba: 7 }, true), Some((7, 0x40)));
        assert_eq!(of(Refusal::Unserved, true), None);
    }

    #[test]
    fn the_sectors_before_are_counted_from_the_requests_first() {
        let denied = Denied { lba: 107, error: 0x40 };
        assert_eq!((denied.sectors_before(100), denied.sectors_before(107), denied.sectors_before(108)), (7, 0, 0));
        assert_eq!(denied.at(100).lba, 100);
    }
}
