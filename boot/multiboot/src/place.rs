//! Where the VMM goes.

use crate::map::{self, Entry, Kind};
use alloc::vec::Vec;
use core::ops::Range;

/// The VMM takes whole large pages, so that one border of the nested page tables is enough to keep it from the guest.
pub const ALIGN_BYTES: u64 = 2 << 20;
/// The start code and devices with 32-bit addressing reach no further.
pub const LIMIT: u64 = 1 << 32;

/// The highest usable place below 4 GiB for `need_bytes`, aligned to 2 MiB at both ends (the length is rounded up).
///
/// Only what no entry withholds counts as usable: never reserved, ACPI or defective memory. `avoid` is kept free
/// besides, e.g. modules that are still to be read. `None`: nothing fits.
pub fn choose(memory_map: &[Entry], need_bytes: u64, avoid: &[Range<u64>]) -> Option<Range<u64>> {
    let len = need_bytes.max(1).checked_next_multiple_of(ALIGN_BYTES)?;
    let mut all: Vec<Entry> = memory_map.to_vec();
    all.extend(avoid.iter().map(|range| Entry::of(range, Kind::Reserved)));
    map::normalise(&all).iter().rev().filter(|entry| entry.kind == Kind::Usable).find_map(|entry| {
        let last_start = entry.end().min(LIMIT).checked_sub(len)?;
        let start = last_start.checked_sub(last_start.checked_rem(ALIGN_BYTES)?)?;
        (start >= entry.base).then_some(start..start.checked_add(len)?)
    })
}

/// The largest usable place of all, without those in `avoid`. `None`: there is none.
pub fn largest(memory_map: &[Entry], avoid: &[Range<u64>]) -> Option<Range<u64>> {
    let mut all: Vec<Entry> = memory_map.to_vec();
    all.extend(avoid.iter().map(|range| Entry::of(range, Kind::Reserved)));
    let usable = map::normalise(&all).into_iter().filter(|entry| entry.kind == Kind::Usable);
    usable.max_by_key(|entry| entry.len_bytes).map(|entry| entry.range())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const MIB: u64 = 1 << 20;
    const NEED: u64 = 16 * MIB;

    fn entry(base: u64, end: u64, kind: Kind) -> Entry {
        Entry::of(&(base..end), kind)
    }

    /// The map that SeaBIOS gives on QEMU's machine `pc`: ACPI tables in the last 128 KiB of low RAM.
    fn seabios(low_end: u64, high_end: Option<u64>) -> Vec<Entry> {
        let mut map = vec![
            entry(0, 0x9_fc00, Kind::Usable),
            entry(0x9_fc00, 0xa_0000, Kind::Reserved),
            entry(0xf_0000, 0x10_0000, Kind::Reserved),
            entry(MIB, low_end - 0x2_0000, Kind::Usable),
            entry(low_end - 0x2_0000, low_end, Kind::Reserved),
            entry(0xfeff_c000, 0xff00_0000, Kind::Reserved),
            entry(0xfffc_0000, LIMIT, Kind::Reserved),
        ];
        map.extend(high_end.map(|end| entry(LIMIT, end, Kind::Usable)));
        map
    }

    #[test]
    fn a_machine_of_512_mib_gives_its_last_whole_large_pages() {
        let map = seabios(512 * MIB, None);
        assert_eq!(choose(&map, NEED, &[]), Some(494 * MIB..510 * MIB));
    }

    #[test]
    fn a_machine_of_3_gib_gives_the_end_of_low_memory() {
        let map = seabios(3072 * MIB, None);
        assert_eq!(choose(&map, NEED, &[]), Some(3054 * MIB..3070 * MIB));
    }

    #[test]
    fn a_machine_of_6_gib_gives_nothing_above_4_gib() {
        let map = seabios(3072 * MIB, Some(7168 * MIB));
        assert_eq!(choose(&map, NEED, &[]), Some(3054 * MIB..3070 * MIB));
    }

    #[test]
    fn an_odd_need_is_rounded_up_to_large_pages() {
        let map = [entry(MIB, 64 * MIB, Kind::Usable)];
        assert_eq!(choose(&map, 1, &[]), Some(62 * MIB..64 * MIB));
        assert_eq!(choose(&map, 0, &[]), Some(62 * MIB..64 * MIB));
        assert_eq!(choose(&map, 2 * MIB + 1, &[]), Some(60 * MIB..64 * MIB));
        assert_eq!(choose(&map, u64::MAX, &[]), None);
    }

    #[test]
    fn a_range_across_4_gib_counts_up_to_there() {
        let map = [entry(MIB, 2 * LIMIT, Kind::Usable)];
        assert_eq!(choose(&map, NEED, &[]), Some(LIMIT - NEED..LIMIT));
        let map = [entry(LIMIT - MIB, 2 * LIMIT, Kind::Usable)];
        assert_eq!(choose(&map, NEED, &[]), None);
    }

    #[test]
    fn only_usable_memory_is_taken() {
        for kind in [Kind::Reserved, Kind::AcpiReclaimable, Kind::AcpiNvs, Kind::Bad] {
            let map = [entry(64 * MIB, 256 * MIB, kind), entry(MIB, 64 * MIB, Kind::Usable)];
            assert_eq!(choose(&map, NEED, &[]), Some(48 * MIB..64 * MIB), "{kind:?}");
        }
    }

    #[test]
    fn what_an_overlapping_entry_withholds_is_not_taken() {
        let map = [
            entry(100 * MIB, 101 * MIB, Kind::AcpiNvs),
            entry(MIB, 110 * MIB, Kind::Usable),
            entry(109 * MIB, 110 * MIB, Kind::Bad),
        ];
        assert_eq!(choose(&map, NEED, &[]), Some(84 * MIB..100 * MIB));
        assert_eq!(choose(&map, 4 * MIB, &[]), Some(104 * MIB..108 * MIB));
    }

    #[test]
    fn a_module_in_the_way_is_avoided() {
        let map = [entry(MIB, 128 * MIB, Kind::Usable)];
        let module = 120 * MIB + 5..120 * MIB + 6;
        assert_eq!(choose(&map, NEED, core::slice::from_ref(&module)), Some(104 * MIB..120 * MIB));
        assert_eq!(choose(&map, 4 * MIB, &[module]), Some(124 * MIB..128 * MIB));
    }

    #[test]
    fn the_largest_place_is_found_on_either_side_of_4_gib_and_of_what_is_avoided() {
        let vmm = 3054 * MIB..3070 * MIB;
        let map = seabios(3072 * MIB, Some(LIMIT + 3072 * MIB));
        assert_eq!(largest(&map, core::slice::from_ref(&vmm)), Some(LIMIT..LIMIT + 3072 * MIB));
        let map = seabios(3072 * MIB, None);
        assert_eq!(largest(&map, &[vmm, MIB..8 * MIB]), Some(8 * MIB..3054 * MIB));
        assert_eq!(largest(&[], &[]), None);
    }

    #[test]
    fn too_little_memory_gives_nothing() {
        assert_eq!(choose(&seabios(16 * MIB, None), NEED, &[]), None);
        assert_eq!(choose(&[], NEED, &[]), None);
        let unaligned = [entry(33 * MIB, 49 * MIB, Kind::Usable)];
        assert_eq!(choose(&unaligned, NEED, &[]), None);
    }
}
