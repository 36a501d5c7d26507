//! The payload of DATA SET MANAGEMENT with TRIM (ATA8-ACS s. 7.5): which sectors are unused.

use block::{Part, Sectors, Unserved};

/// An entry: LBA in bits 47:0, number of sectors in bits 63:48; 0 sectors: not used.
const LBA_BITS: u32 = 48;

/// Puts the disk's own addresses into a list that the guest wrote with its own. Of sectors of a transform that an entry
/// covers only in part nothing is trimmed: the rest of them must stay.
///
/// # Errors
/// [`Unserved`]: an entry that does not lie on the disk in one piece, or names sectors that may not be written.
pub fn translate(map: Sectors<'_>, disk_sectors: u64, list: &mut [u8]) -> Result<(), Unserved> {
    for entry in list.as_chunks_mut::<8>().0 {
        let value = u64::from_le_bytes(*entry);
        let (lba, count) = (value & (1_u64 << LBA_BITS).wrapping_sub(1), value >> LBA_BITS);
        let sectors = u32::try_from(count).map_err(|_| Unserved)?;
        if sectors == 0 {
            continue;
        }
        if lba.saturating_add(count) > disk_sectors || map.check_rights(lba, sectors, true).is_err() {
            return Err(Unserved);
        }
        *entry = match inner(map, lba, sectors)? {
            Some(part) if part.disk_lba >> LBA_BITS != 0 => return Err(Unserved),
            Some(part) => (part.disk_lba | u64::from(part.sectors) << LBA_BITS).to_le_bytes(),
            None => [0; 8],
        };
    }
    Ok(())
}

/// The one part of a range that is left without sectors of the transform that are cut at its start and end.
fn inner(map: Sectors<'_>, mut lba: u64, mut left: u32) -> Result<Option<Part>, Unserved> {
    let mut inner = None;
    while left > 0 {
        let part = map.part(lba, left)?;
        match (part.is_edge(), inner) {
            (false, Some(_)) => return Err(Unserved),
            (false, None) => inner = Some(part),
            (true, _) => {}
        }
        lba = lba.saturating_add(u64::from(part.sectors));
        left = left.saturating_sub(part.sectors);
    }
    Ok(inner)
}
