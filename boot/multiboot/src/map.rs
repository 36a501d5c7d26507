//! Memory maps in the terms of INT 15h AX=E820h (ACPI Specification 6.5 s. 15.1).

use alloc::vec::Vec;
use core::ops::Range;

/// A stretch of the physical address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub base: u64,
    pub len_bytes: u64,
    pub kind: Kind,
}

/// What a stretch is good for. In order: where two entries overlap, the later kind of this list counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Usable,
    /// Holds ACPI tables; usable when they have been read.
    AcpiReclaimable,
    /// Kept over sleep.
    AcpiNvs,
    Reserved,
    /// Defective.
    Bad,
}

impl From<u32> for Kind {
    /// Address range types (ACPI 6.5 table 15.3); an unknown one is reserved, as the section demands.
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Usable,
            3 => Self::AcpiReclaimable,
            4 => Self::AcpiNvs,
            5 => Self::Bad,
            _ => Self::Reserved,
        }
    }
}

impl From<Kind> for u32 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Usable => 1,
            Kind::Reserved => 2,
            Kind::AcpiReclaimable => 3,
            Kind::AcpiNvs => 4,
            Kind::Bad => 5,
        }
    }
}

impl Entry {
    /// The entry of a range; an empty one if it ends before it starts.
    pub fn of(range: &Range<u64>, kind: Kind) -> Self {
        Self { base: range.start, len_bytes: range.end.saturating_sub(range.start), kind }
    }

    /// First address behind the entry; the last of the address space if it would wrap round.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.len_bytes)
    }

    pub fn range(&self) -> Range<u64> {
        self.base..self.end()
    }
}

/// Sorted, free of overlaps and empty entries, neighbours of a kind joined. Where entries overlap the kind that
/// comes last in [`Kind`] counts, so what any entry withholds stays withheld.
pub fn normalise(entries: &[Entry]) -> Vec<Entry> {
    let mut borders: Vec<u64> = entries.iter().flat_map(|entry| [entry.base, entry.end()]).collect();
    borders.sort_unstable();
    borders.dedup();
    let mut map: Vec<Entry> = Vec::new();
    for (&start, &end) in borders.iter().zip(borders.iter().skip(1)) {
        // No border lies between the two: an entry covers all of it or nothing.
        let covering = entries.iter().filter(|entry| entry.base <= start && end <= entry.end());
        let Some(kind) = covering.map(|entry| entry.kind).max() else { continue };
        match map.last_mut() {
            Some(last) if last.kind == kind && last.end() == start => *last = Entry::of(&(last.base..end), kind),
            _ => map.push(Entry::of(&(start..end), kind)),
        }
    }
    map
}

/// The map with a range turned into `kind` wherever it was something weaker.
pub fn overlay(entries: &[Entry], range: &Range<u64>, kind: Kind) -> Vec<Entry> {
    let mut all = entries.to_vec();
    all.push(Entry::of(range, kind));
    normalise(&all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn entry(base: u64, end: u64, kind: Kind) -> Entry {
        Entry::of(&(base..end), kind)
    }

    #[test]
    fn an_unsorted_map_is_sorted_and_neighbours_are_joined() {
        let map = [
            entry(0x3000, 0x4000, Kind::Reserved),
            entry(0x1000, 0x2000, Kind::Usable),
            entry(0, 0x1000, Kind::Usable),
            entry(0x5000, 0x6000, Kind::Usable),
        ];
        assert_eq!(
            normalise(&map),
            vec![
                entry(0, 0x2000, Kind::Usable),
                entry(0x3000, 0x4000, Kind::Reserved),
                entry(0x5000, 0x6000, Kind::Usable)
            ]
        );
    }

    #[test]
    fn where_entries_overlap_the_one_that_withholds_wins() {
        let map = [
            entry(0, 0x10000, Kind::Usable),
            entry(0x4000, 0x6000, Kind::AcpiNvs),
            entry(0x5000, 0x7000, Kind::Bad),
            entry(0x5800, 0x5900, Kind::Reserved),
        ];
        assert_eq!(
            normalise(&map),
            vec![
                entry(0, 0x4000, Kind::Usable),
                entry(0x4000, 0x5000, Kind::AcpiNvs),
                entry(0x5000, 0x7000, Kind::Bad),
                entry(0x7000, 0x10000, Kind::Usable)
            ]
        );
    }

    #[test]
    fn empty_and_wrapping_entries_do_no_harm() {
        let map = [
            Entry { base: 0x1000, len_bytes: 0, kind: Kind::Bad },
            Entry { base: u64::MAX - 0xfff, len_bytes: u64::MAX, kind: Kind::Reserved },
            entry(0, 0x2000, Kind::Usable),
        ];
        assert_eq!(
            normalise(&map),
            vec![entry(0, 0x2000, Kind::Usable), entry(u64::MAX - 0xfff, u64::MAX, Kind::Reserved)]
        );
        assert_eq!(normalise(&[]), vec![]);
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for number in 1..=5 {
            assert_eq!(u32::from(Kind::from(number)), number);
        }
        assert_eq!(Kind::from(0), Kind::Reserved);
        assert_eq!(Kind::from(7), Kind::Reserved);
        assert_eq!(Kind::from(12), Kind::Reserved);
    }
}
