//! The range table.

use super::*;

fn range(first_lba: u64, sectors: u64) -> Range {
    let cipher = Some(Cipher { transform: Arc::new(Numbered(0, 512)), first_tweak: 0 });
    Range { first_lba, sectors, disk_lba: first_lba, cipher, rights: Rights::ReadWrite, trim: false }
}

fn table(ranges: &[(u64, u64)], sector_bytes: usize) -> Result<RangeTable, RangeError> {
    RangeTable::new(ranges.iter().map(|(first, sectors)| range(*first, *sectors)).collect(), sector_bytes)
}

/// Sectors, and the tweak if they are transformed.
fn extent(table: &RangeTable, lba: u64, sectors: u64) -> (u64, Option<u64>) {
    let extent = table.extent(lba, sectors);
    assert_eq!(extent.disk_lba, lba);
    match extent.treatment {
        Treatment::Plain => (extent.sectors, None),
        Treatment::Transform { first_sector, .. } => (extent.sectors, Some(first_sector)),
    }
}

#[test]
fn a_request_is_cut_at_each_border_of_a_range() {
    let table = table(&[(200, 50), (100, 100), (300, 1)], 512).unwrap();
    assert_eq!(extent(&table, 0, 1000), (100, None));
    assert_eq!(extent(&table, 99, 1), (1, None));
    assert_eq!(extent(&table, 100, 1000), (100, Some(0)));
    assert_eq!(extent(&table, 199, 2), (1, Some(99)));
    assert_eq!(extent(&table, 200, 2), (2, Some(0)));
    assert_eq!(extent(&table, 249, 2), (1, Some(49)));
    assert_eq!(extent(&table, 250, 100), (50, None));
    assert_eq!(extent(&table, 300, 100), (1, Some(0)));
    assert_eq!(extent(&table, 301, 100), (100, None));
    assert_eq!(extent(&table, u64::MAX, 7), (7, None));
    assert!(table.is_protected());
}

#[test]
fn every_sector_has_the_treatment_of_a_plain_search() {
    let mut random = Random(2);
    for _ in 0..200 {
        let (mut ranges, mut at) = (Vec::new(), 0);
        for _ in 0..random.below(6) {
            at += random.next() % 5;
            let sectors = 1 + random.next() % 7;
            ranges.push((at, sectors));
            at += sectors;
        }
        ranges.reverse();
        let table = table(&ranges, 512).unwrap();
        assert_eq!(table.is_protected(), !ranges.is_empty());
        for lba in 0..at + 3 {
            let expected = ranges.iter().find(|(first, n)| (*first..first + n).contains(&lba)).map(|(f, _)| lba - f);
            assert_eq!(extent(&table, lba, 1), (1, expected));
            let (sectors, first) = extent(&table, lba, 100);
            for i in 0..sectors.min(20) {
                assert_eq!(extent(&table, lba + i, 1).1, first.map(|first| first + i));
            }
        }
    }
}

#[test]
fn on_large_sectors_the_tweak_counts_512_bytes() {
    let table = table(&[(10, 10)], 4096).unwrap();
    assert_eq!(extent(&table, 12, 3), (3, Some(16)));
}

#[test]
fn a_disk_without_ranges_is_not_protected() {
    let table = table(&[], 512).unwrap();
    assert!(!table.is_protected());
    assert_eq!(extent(&table, 5, 9), (9, None));
}

#[test]
fn impossible_ranges_are_refused() {
    assert_eq!(table(&[(5, 0)], 512).err(), Some(RangeError::Extent(0)));
    assert_eq!(table(&[(0, 1), (u64::MAX, 2)], 512).err(), Some(RangeError::Extent(1)));
    assert_eq!(table(&[(10, 5), (0, 11)], 512).err(), Some(RangeError::Overlap(0, 1)));
    assert_eq!(table(&[(10, 5), (10, 5)], 512).err(), Some(RangeError::Overlap(0, 1)));
    assert_eq!(table(&[(0, 1)], 500).err(), Some(RangeError::SectorBytes(0)));
    for (transformed, sectors) in [(0, 1), (500, 1), (4096, 7), (1536, 4)] {
        let cipher = Some(Cipher { transform: Arc::new(Numbered(0, transformed)), first_tweak: 0 });
        let odd = Range { cipher, ..range(0, sectors) };
        assert_eq!(RangeTable::new(vec![odd], 512).err(), Some(RangeError::SectorBytes(0)), "{transformed}");
    }
    let behind = Range { disk_lba: u64::MAX, ..range(0, 2) };
    assert_eq!(RangeTable::new(vec![behind], 512).err(), Some(RangeError::Extent(0)));
}

#[test]
fn trim_passes_only_where_every_range_of_the_disk_wants_it() {
    let table = |trims: &[bool]| {
        let ranges = trims.iter().enumerate().map(|(i, &trim)| Range { trim, ..range(i as u64 * 10, 10) }).collect();
        RangeTable::new(ranges, 512).unwrap()
    };
    assert!(table(&[true, true]).allows_trim());
    assert!(!table(&[true, false]).allows_trim());
    assert!(!table(&[false]).allows_trim());
}

#[test]
fn large_crypto_sectors_are_found_from_within() {
    let cipher = Some(Cipher { transform: Arc::new(Numbered(0, 4096)), first_tweak: 5 });
    let table = RangeTable::new(vec![Range { cipher, ..range(100, 16) }], 512).unwrap();
    assert_eq!(table.largest_sector_bytes(), 4096);
    for (lba, within, tweak) in [(100, 0, 5), (101, 1, 5), (107, 7, 5), (108, 0, 6), (115, 7, 6)] {
        assert_eq!((table.within_transform_sector(lba), extent(&table, lba, 1)), (Some(within), (1, Some(tweak))));
    }
    assert_eq!((table.within_transform_sector(99), table.within_transform_sector(116)), (None, None));
    let small = RangeTable::new(vec![range(0, 16)], 512).unwrap();
    assert_eq!((small.within_transform_sector(3), small.largest_sector_bytes()), (None, 512));
}

#[test]
fn a_range_without_a_cipher_may_take_rights_away() {
    let with = |rights| RangeTable::new(vec![Range { cipher: None, rights, ..range(100, 16) }], 512).unwrap();
    for rights in [Rights::ReadOnly, Rights::None] {
        let table = with(rights);
        assert!(table.is_protected());
        assert_eq!((table.extent(99, 9).sectors, table.extent(99, 9).rights), (1, Rights::ReadWrite));
        assert_eq!((table.extent(100, 99).sectors, table.extent(100, 99).rights), (16, rights));
    }
}
