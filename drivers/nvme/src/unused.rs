//! DATASET MANAGEMENT, deallocate: the guest's list of unused sectors becomes the disk's (NVMe s. 6.7).

use crate::cmd::Status;
use crate::namespaces::Namespace;
use crate::spec::nvm::RANGE_BYTES;
use alloc::vec::Vec;
use block::Refusal;

/// Bytes of the largest list.
const LIST_BYTES: usize = 256 * RANGE_BYTES;

/// Changes the list where it lies. Gives the number of ranges in it, which can be 0. As the command is a hint, what does not fit the
/// list, and what would lose a part of a sector of the transform, is left out.
///
/// # Errors
/// The status for the guest: a range is not on the disk, or not the guest's to change.
pub fn translate(ns: &Namespace, list: &mut [u8]) -> Result<u32, Status> {
    let Some(ranges) = ns.protection() else {
        return u32::try_from(list.len() / RANGE_BYTES).map_err(|_| Status::INVALID_FIELD);
    };
    let sectors = ns.sectors(&*ranges);
    let mut made: Vec<u8> = Vec::new();
    made.try_reserve_exact(LIST_BYTES).map_err(|_| Status::INTERNAL_ERROR)?;
    for range in list.as_chunks::<RANGE_BYTES>().0 {
        let [_, _, _, _, l0, l1, l2, l3, a, b, c, d, e, f, g, h] = *range;
        let mut left = u32::from_le_bytes([l0, l1, l2, l3]);
        let mut lba = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if !ns.holds(lba, left) {
            return Err(Status::LBA_OUT_OF_RANGE);
        }
        sectors.check_rights(lba, left, true).map_err(|refusal| status_of(refusal, true))?;
        while left > 0 {
            let part = sectors.part(lba, left).map_err(|_| Status::INTERNAL_ERROR)?;
            if !part.is_edge() && made.len() < list.len() {
                made.extend([0; 4]);
                made.extend(part.sectors.to_le_bytes());
                made.extend(part.disk_lba.to_le_bytes());
            }
            // At least one, or this would be endless.
            let done = part.sectors.max(1);
            lba = lba.saturating_add(done.into());
            left = left.saturating_sub(done);
        }
    }
    list.iter_mut().zip(&made).for_each(|(to, from)| *to = *from);
    u32::try_from(made.len() / RANGE_BYTES).map_err(|_| Status::INTERNAL_ERROR)
}

/// What the device itself says where something may not be written or read.
pub fn status_of(refusal: Refusal, write: bool) -> Status {
    match refusal {
        Refusal::ReadOnly { .. } => Status::READ_ONLY_RANGE,
        Refusal::Absent { .. } if write => Status::WRITE_FAULT,
        Refusal::Absent { .. } => Status::UNRECOVERED_READ_ERROR,
        Refusal::Unserved => Status::INTERNAL_ERROR,
    }
}
