//! The memory map that the guest is told by INT 15h: the loader's without what the VMM keeps.
//!
//! E820h: ACPI Specification 6.5 s. 15.1. E801h and 88h: Ralf Brown's Interrupt List, INT 15h.

#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::ops::Range;
use mediator::{Gpa, GuestMemory, NotRam};
use multiboot::map::{self, Entry, Kind};

/// `SMAP`: EDX of a caller of E820h and EAX of the answer.
pub const SIGNATURE: u32 = 0x534D_4150;
/// Length of an E820h answer in bytes: base, length, type. Extended attributes are never given.
pub const E820_BYTES: usize = 20;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Video memory begins here: the end of conventional memory of any PC.
const CONVENTIONAL_END: u64 = 640 * KIB;
/// Boot sectors and loaders place their stacks and buffers below this without asking.
const LEAST_CONVENTIONAL: u64 = 512 * KIB;

/// One answer of E820h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct E820Answer {
    /// To be stored at ES:DI; ECX becomes the length.
    pub bytes: [u8; E820_BYTES],
    /// EBX; 0 after the last entry.
    pub continuation: u32,
}

/// The answer of E801h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct E801Answer {
    /// AX and CX: KiB from 1 MiB up to 16 MiB, at most 3C00h.
    pub below_16_mib_kib: u16,
    /// BX and DX: blocks of 64 KiB from 16 MiB on.
    pub above_16_mib_blocks: u16,
}

/// Conventional memory with a piece taken off its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conventional {
    /// For 40:13 in the BIOS data area, and the answer of INT 12h.
    pub kib: u16,
    /// The piece taken.
    pub taken: Range<u64>,
    /// The map that agrees with it.
    pub map: Vec<Entry>,
}

/// BIOS data area: conventional memory in KiB.
pub(crate) const CONVENTIONAL_KIB: Gpa = Gpa(0x413);

/// What is there.
pub(crate) fn conventional_kib(memory: &mut dyn GuestMemory) -> Result<u16, NotRam> {
    let mut kib = [0; 2];
    memory.read(CONVENTIONAL_KIB, &mut kib)?;
    Ok(u16::from_le_bytes(kib))
}

/// The map, normalised, with a range turned reserved.
pub fn hide(memory_map: &[Entry], range: &Range<u64>) -> Vec<Entry> {
    map::overlay(memory_map, range, Kind::Reserved)
}

/// Answers E820h. `continuation` is EBX as the caller gave it, `size_bytes` ECX. `None`: carry flag and AH = 86h,
/// because the buffer is too small or the continuation is none of ours. EDX must have been [`SIGNATURE`].
pub fn answer_e820(map: &[Entry], continuation: u32, size_bytes: u32) -> Option<E820Answer> {
    let index = usize::try_from(continuation).ok()?;
    let entry = map.get(index)?;
    if usize::try_from(size_bytes).ok()? < E820_BYTES {
        return None;
    }
    let mut bytes = [0; E820_BYTES];
    bytes[..8].copy_from_slice(&entry.base.to_le_bytes());
    bytes[8..16].copy_from_slice(&entry.len_bytes.to_le_bytes());
    bytes[16..].copy_from_slice(&u32::from(entry.kind).to_le_bytes());
    let is_last = index + 1 == map.len();
    Some(E820Answer { bytes, continuation: if is_last { 0 } else { continuation + 1 } })
}

/// Answers E801h from a normalised map: memory behind a gap is not counted.
pub fn answer_e801(map: &[Entry]) -> E801Answer {
    let end = extended_end(map);
    E801Answer {
        below_16_mib_kib: clip((end.min(16 * MIB) - MIB) / KIB),
        above_16_mib_blocks: clip(end.saturating_sub(16 * MIB) / (64 * KIB)),
    }
}

/// Answers 88h from a normalised map: KiB from 1 MiB on without a gap, at most 63 MiB as BIOSes do.
pub fn answer_88h(map: &[Entry]) -> u16 {
    clip((extended_end(map) - MIB).min(63 * MIB) / KIB)
}

/// Takes `kib` KiB off the end of conventional memory. Its end is what the BIOS data area (`bda_kib`, 40:13) and
/// the map both allow. `None`: less than 512 KiB would be left.
pub fn take_conventional(memory_map: &[Entry], bda_kib: u16, kib: u16) -> Option<Conventional> {
    let usable = usable_from(&map::normalise(memory_map), 0).min(CONVENTIONAL_END);
    let end_kib = (usable / KIB).min(u64::from(bda_kib));
    let left_kib = end_kib.checked_sub(u64::from(kib))?;
    if left_kib * KIB < LEAST_CONVENTIONAL {
        return None;
    }
    Some(Conventional {
        kib: clip(left_kib),
        taken: left_kib * KIB..end_kib * KIB,
        map: hide(memory_map, &(left_kib * KIB..CONVENTIONAL_END)),
    })
}

/// End of the memory that is usable without a gap from 1 MiB on; 1 MiB if there is none.
fn extended_end(map: &[Entry]) -> u64 {
    usable_from(map, MIB)
}

/// End of the usable memory around `start` in a normalised map, where neighbours are joined; `start` if there is none.
fn usable_from(map: &[Entry], start: u64) -> u64 {
    let around = map.iter().find(|entry| entry.kind == Kind::Usable && entry.range().contains(&start));
    around.map_or(start, Entry::end)
}

fn clip(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const GIB: u64 = 1 << 30;

    fn entry(base: u64, end: u64, kind: Kind) -> Entry {
        Entry::of(&(base..end), kind)
    }

    /// SeaBIOS on QEMU's machine `pc` with 3 GiB below 4 GiB and 3 GiB above, EBDA from 0x9FC00 on.
    fn seabios() -> Vec<Entry> {
        vec![
            entry(0, 0x9_FC00, Kind::Usable),
            entry(0x9_FC00, 0xA_0000, Kind::Reserved),
            entry(0xF_0000, 0x10_0000, Kind::Reserved),
            entry(MIB, 3 * GIB - 0x2_0000, Kind::Usable),
            entry(3 * GIB - 0x2_0000, 3 * GIB, Kind::Reserved),
            entry(0xFEFF_C000, 0xFF00_0000, Kind::Reserved),
            entry(0xFFFC_0000, 4 * GIB, Kind::Reserved),
            entry(4 * GIB, 7 * GIB, Kind::Usable),
        ]
    }

    fn answers(map: &[Entry]) -> Vec<Entry> {
        let mut entries = vec![];
        let mut continuation = 0;
        loop {
            let answer = answer_e820(map, continuation, 24).unwrap();
            let number = |at: usize| u64::from_le_bytes(answer.bytes[at..at + 8].try_into().unwrap());
            let kind = u32::from_le_bytes(answer.bytes[16..].try_into().unwrap());
            entries.push(Entry { base: number(0), len_bytes: number(8), kind: kind.into() });
            continuation = answer.continuation;
            if continuation == 0 {
                return entries;
            }
            assert!(entries.len() < map.len(), "no end");
        }
    }

    #[test]
    fn the_range_of_the_vmm_is_reserved_and_the_rest_stays() {
        let range = 3054 * MIB..3070 * MIB;
        let map = hide(&seabios(), &range);
        assert_eq!(map[3], entry(MIB, 3054 * MIB, Kind::Usable));
        assert_eq!(map[4], entry(3054 * MIB, 3070 * MIB, Kind::Reserved));
        assert_eq!(map[5], entry(3070 * MIB, 3 * GIB - 0x2_0000, Kind::Usable));
        assert_eq!(map.len(), seabios().len() + 2);
        let usable = |map: &[Entry]| -> u64 {
            map.iter().filter(|entry| entry.kind == Kind::Usable).map(|entry| entry.len_bytes).sum()
        };
        assert_eq!(usable(&seabios()) - usable(&map), 16 * MIB);
    }

    #[test]
    fn a_hidden_range_beside_reserved_memory_is_joined_with_it() {
        let map = hide(&seabios(), &(3 * GIB - 0x2_0000 - 2 * MIB..3 * GIB - 0x2_0000));
        assert_eq!(map[4], entry(3 * GIB - 0x2_0000 - 2 * MIB, 3 * GIB, Kind::Reserved));
        assert_eq!(map.len(), seabios().len());
    }

    #[test]
    fn e820_walks_the_whole_map_and_ends_with_zero() {
        let map = hide(&seabios(), &(3054 * MIB..3070 * MIB));
        assert_eq!(answers(&map), map);
    }

    #[test]
    fn e820_refuses_what_the_specification_refuses() {
        let map = seabios();
        assert_eq!(answer_e820(&map, 0, 19), None);
        assert!(answer_e820(&map, 0, 20).is_some());
        assert!(answer_e820(&map, 7, u32::MAX).is_some());
        assert_eq!(answer_e820(&map, 8, 20), None);
        assert_eq!(answer_e820(&map, u32::MAX, 20), None);
        assert_eq!(answer_e820(&[], 0, 20), None);
    }

    #[test]
    fn e801_and_88h_end_where_the_vmm_begins() {
        let map = hide(&seabios(), &(3054 * MIB..3070 * MIB));
        assert_eq!(
            answer_e801(&map),
            E801Answer { below_16_mib_kib: 0x3C00, above_16_mib_blocks: ((3054 - 16) * 16) as u16 }
        );
        assert_eq!(answer_88h(&map), 63 * 1024);
        let low = hide(&map, &(10 * MIB..12 * MIB));
        assert_eq!(answer_e801(&low), E801Answer { below_16_mib_kib: 9 * 1024, above_16_mib_blocks: 0 });
        assert_eq!(answer_88h(&low), 9 * 1024);
    }

    #[test]
    fn e801_and_88h_of_a_machine_without_extended_memory_are_zero() {
        let map = [entry(0, 0x9_FC00, Kind::Usable)];
        assert_eq!(answer_e801(&map), E801Answer { below_16_mib_kib: 0, above_16_mib_blocks: 0 });
        assert_eq!(answer_88h(&map), 0);
    }

    #[test]
    fn memory_across_1_mib_counts_from_there() {
        let map = [entry(0, 2 * MIB, Kind::Usable)];
        assert_eq!(answer_88h(&map), 1024);
    }

    #[test]
    fn taken_conventional_memory_is_gone_from_40_13_and_from_e820() {
        let taken = take_conventional(&seabios(), 639, 2).unwrap();
        assert_eq!((taken.kib, taken.taken.clone()), (637, 637 * KIB..639 * KIB));
        assert_eq!(taken.map[0], entry(0, 637 * KIB, Kind::Usable));
        assert_eq!(taken.map[1], entry(637 * KIB, 0xA_0000, Kind::Reserved));
    }

    #[test]
    fn the_smaller_end_of_conventional_memory_counts() {
        // Bochs: the EBDA at 0x9F000 is not in 40:13's 639 KiB of an old BIOS, or the map knows nothing of it.
        let small_map = [entry(0, 0x9_F000, Kind::Usable)];
        assert_eq!(take_conventional(&small_map, 639, 1).unwrap().taken, 635 * KIB..636 * KIB);
        let big_map = [entry(0, 0xA_0000, Kind::Usable), entry(MIB, 2 * MIB, Kind::Usable)];
        let taken = take_conventional(&big_map, 636, 1).unwrap();
        assert_eq!((taken.kib, taken.map[0].end()), (635, 635 * KIB));
        assert_eq!(taken.map[1], entry(635 * KIB, 0xA_0000, Kind::Reserved));
        assert_eq!(take_conventional(&[entry(0, GIB, Kind::Usable)], u16::MAX, 0).unwrap().kib, 640);
    }

    #[test]
    fn too_little_conventional_memory_is_refused() {
        assert_eq!(take_conventional(&seabios(), 512, 1), None);
        assert!(take_conventional(&seabios(), 513, 1).is_some());
        assert_eq!(take_conventional(&seabios(), 0, 1), None);
        assert_eq!(take_conventional(&seabios(), 639, 640), None);
        assert_eq!(take_conventional(&[], 639, 1), None);
    }
}
