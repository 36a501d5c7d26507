//! The payload of DATA SET MANAGEMENT with TRIM (ATA8-ACS s. 7.5): which sectors are unused.

use crate::command::Refused;
use crate::extents;
use mediator::disk::RangeMap;

/// An entry: LBA in bits 47:0, number of sectors in bits 63:48; 0 sectors: not used.
const LBA_BITS: u32 = 48;

/// Puts the disk's own addresses into a list that the guest wrote with its own.
///
/// # Errors
/// [`Refused`]: an entry that does not lie on the disk in one piece.
pub fn translate(ranges: &dyn RangeMap, disk_sectors: u64, list: &mut [u8]) -> Result<(), Refused> {
    for entry in list.as_chunks_mut::<8>().0 {
        let value = u64::from_le_bytes(*entry);
        let (lba, count) = (value & (1_u64 << LBA_BITS).wrapping_sub(1), value >> LBA_BITS);
        let sectors = u32::try_from(count).map_err(|_| Refused)?;
        if sectors == 0 {
            continue;
        }
        if lba.saturating_add(count) > disk_sectors {
            return Err(Refused);
        }
        let part = extents::part(ranges, lba, sectors);
        if part.sectors != sectors || part.disk_lba >> LBA_BITS != 0 {
            return Err(Refused);
        }
        *entry = (part.disk_lba | (count << LBA_BITS)).to_le_bytes();
    }
    Ok(())
}
