//! LUKS2 volumes and read-only rules against disks.

use super::resolving::{Bench, by_serial, refusal, rule, run};
use super::*;
use luks2::{Block, Cost, New, VolumeKey};

const PHRASE: &str = "correct horse";
const AREA_BYTES: u64 = 512 << 10;

/// A disk of 2 MiB with partition 1 from LBA 8 on, 3 of 4 quarters of a MiB long, and partition 2 behind it.
fn disk(sector_bytes: usize) -> Bench {
    let mut image = vec![0; 2 << 20];
    let unit = 4096 / sector_bytes as u32;
    record(&mut image, 0, 0x83, 8 * unit, 192 * unit);
    record(&mut image, 1, 0x83, 200 * unit, 256 * unit);
    let info = DiskInfo {
        model: "M".to_string(),
        serial: "A".to_string(),
        channel: 0,
        unit: 0,
        sectors: (image.len() / sector_bytes) as u64,
        sector_bytes: sector_bytes as u32,
    };
    Bench { disks: vec![info], images: vec![image], key_error: None, phrase: PHRASE, files: vec![] }
}

fn put_header(bench: &mut Bench, at: usize, crypto_bytes: u32, payload_at: u64) {
    let header = header(crypto_bytes, payload_at);
    bench.images[0][at..][..header.len()].copy_from_slice(&header);
}

fn header(crypto_bytes: u32, payload_at: u64) -> Vec<u8> {
    let mut state = 3u32;
    let mut random = |into: &mut [u8]| {
        into.iter_mut().for_each(|byte| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        });
    };
    let cost = Cost { memory_kib: 32, passes: 4 };
    let new = New { label: "", sector_bytes: crypto_bytes, area_bytes: AREA_BYTES, payload_at, cost };
    let mut memory = vec![Block::new(); cost.blocks()];
    let key = VolumeKey::new(&mut volume_key());
    luks2::create(&new, PHRASE.as_bytes(), &key, &mut memory, &mut random).unwrap()
}

fn volume_key() -> [u8; 64] {
    core::array::from_fn(|i| 3 * i as u8)
}

fn luks(header: Option<RangeSelector>) -> DiskRule {
    luks_with(header.map_or(HeaderSelector::InRange, HeaderSelector::Range))
}

fn luks_with(header: HeaderSelector) -> DiskRule {
    DiskRule { format: Format::Luks2 { header }, ..rule(by_serial("A"), RangeSelector::Partition(1)) }
}

/// First LBA, sectors, place on the disk, first tweak, rights of each range.
fn table(found: &[DiskRanges]) -> Vec<(u64, u64, u64, Option<u64>, Rights)> {
    let of = |range: &Range| {
        let tweak = range.cipher.as_ref().map(|cipher| cipher.first_tweak);
        (range.first_lba, range.sectors, range.disk_lba, tweak, range.rights)
    };
    found[0].ranges.ranges().iter().map(of).collect()
}

#[test]
fn the_payload_is_shown_at_the_first_sector_and_the_header_nowhere() {
    let mut bench = disk(512);
    put_header(&mut bench, 64 * 512, 512, AREA_BYTES);
    let found = run(&mut bench, &[luks(None)]).unwrap();
    let expected = [(64, 512, 1088, Some(0), Rights::ReadWrite), (576, 1024, 576, None, Rights::None)];
    assert_eq!(table(&found), expected);
    // No sector of the header and none of the payload's own place answers by its number, in any length.
    let ranges = &found[0].ranges;
    for lba in 64..1600 {
        let extent = ranges.extent(lba, 2000);
        let header = 64..1088;
        assert!(extent.rights == Rights::None || !header.contains(&extent.disk_lba), "LBA {lba}");
    }
    assert_eq!(ranges.extent(63, 5).sectors, 1);
    assert_eq!(ranges.extent(1600, 5).rights, Rights::ReadWrite);
}

#[test]
fn what_is_shown_is_what_luks2_says() {
    for (sector_bytes, crypto_bytes) in [(512, 512), (512, 4096), (4096, 512), (4096, 4096)] {
        let mut bench = disk(sector_bytes);
        put_header(&mut bench, 8 * 4096, crypto_bytes, AREA_BYTES);
        let found = run(&mut bench, &[luks(None)]).unwrap();
        let plain: Vec<u8> = (0..16384u32).map(|i| (i / 16) as u8).collect();
        let mut expected = plain.clone();
        xts::Aes256Xts::new(&volume_key(), crypto_bytes as usize).unwrap().encrypt(0, &mut expected);
        let first = (8 * 4096 / sector_bytes) as u64;
        let extent = found[0].ranges.extent(first, (plain.len() / sector_bytes) as u64);
        assert_eq!(extent.disk_lba, first + AREA_BYTES / sector_bytes as u64);
        let Treatment::Transform { transform, first_sector } = extent.treatment else { panic!("it is encrypted") };
        let mut written = plain;
        transform.encrypt(first_sector, &mut written);
        assert!(written == expected, "{crypto_bytes} on {sector_bytes}");
    }
}

#[test]
fn a_detached_header_costs_the_partition_nothing_and_is_hidden_itself() {
    let mut bench = disk(512);
    put_header(&mut bench, 1600 * 512, 512, 0);
    let found = run(&mut bench, &[luks(Some(RangeSelector::Partition(2)))]).unwrap();
    let expected = [(64, 1536, 64, Some(0), Rights::ReadWrite), (1600, 2048, 1600, None, Rights::None)];
    assert_eq!(table(&found), expected);
    assert!(found[0].notes[0].contains("LUKS2 volume"), "{}", found[0].notes[0]);
}

fn in_file(name: &str) -> DiskRule {
    luks_with(HeaderSelector::File(name.to_string()))
}

#[test]
fn a_header_in_a_file_leaves_all_of_the_partition_to_the_payload() {
    for sector_bytes in [512, 4096] {
        let mut bench = disk(sector_bytes);
        bench.files = vec![("other", vec![0; 4096]), ("data", header(4096, 0))];
        let found = run(&mut bench, &[in_file("data")]).unwrap();
        let unit = 4096 / sector_bytes as u64;
        assert_eq!(table(&found), [(8 * unit, 192 * unit, 8 * unit, Some(0), Rights::ReadWrite)]);
        let Treatment::Transform { transform, first_sector } = found[0].ranges.extent(8 * unit, unit).treatment else {
            panic!("it is encrypted")
        };
        let (mut expected, mut written) = (vec![9; 4096], vec![9; 4096]);
        xts::Aes256Xts::new(&volume_key(), 4096).unwrap().encrypt(0, &mut expected);
        transform.encrypt(first_sector, &mut written);
        assert!(written == expected);
    }
}

#[test]
fn a_segment_that_begins_later_is_shown_at_the_first_sector_with_its_header_in_a_file_too() {
    let mut bench = disk(512);
    bench.files = vec![("data", header(512, AREA_BYTES))];
    let found = run(&mut bench, &[in_file("data")]).unwrap();
    let expected = [(64, 512, 1088, Some(0), Rights::ReadWrite), (576, 1024, 576, None, Rights::None)];
    assert_eq!(table(&found), expected);
}

#[test]
fn a_header_file_that_was_not_loaded_is_named_before_any_volume_is_opened() {
    let mut bench = disk(512);
    bench.phrase = "nobody is asked";
    bench.files = vec![("home", header(512, 0))];
    let other = DiskRule { name: "other".to_string(), ..rule(by_serial("A"), RangeSelector::Partition(2)) };
    let missing = DiskRule { format: in_file("data").format, ..other };
    let said = refusal(&mut bench, &[in_file("home"), missing]);
    let line = "`module2 /boot/shoji/data.luks luks2:data`";
    assert!(said.contains("disk rule `other`: its header file `data` was not loaded") && said.contains(line), "{said}");
}

#[test]
fn a_hostile_header_file_is_refused_with_the_reason() {
    let refused = |bytes: Vec<u8>| {
        let mut bench = disk(512);
        bench.files = vec![("data", bytes)];
        refusal(&mut bench, &[in_file("data")])
    };
    for empty in [vec![], vec![0; 4095], vec![0; 1 << 20], b"LUKS".to_vec()] {
        let said = refused(empty);
        assert!(said.contains("its LUKS2 header cannot be used"), "{said}");
    }
    let whole = header(512, 0);
    let cut = refused(whole[..0x8000].to_vec());
    assert!(cut.contains("a key slot of the LUKS2 header cannot be read: it ends before that"), "{cut}");
    let small = refused(header(512, 1 << 20));
    assert!(small.contains("does not fit"), "{small}");
}

#[test]
fn a_detached_header_in_the_range_itself_is_refused_before_the_volume_is_opened() {
    let mut bench = disk(512);
    put_header(&mut bench, 64 * 512, 512, 0);
    bench.phrase = "nobody is asked";
    let said = refusal(&mut bench, &[luks(Some(RangeSelector::Lba { first: 1599, sectors: 400 }))]);
    assert!(said.contains("its detached header lies in its own range"), "{said}");
}

#[test]
fn read_only_rules_are_for_ranges_of_any_format() {
    let mut bench = disk(512);
    put_header(&mut bench, 64 * 512, 512, AREA_BYTES);
    let plain = DiskRule { format: Format::Plain, ..rule(by_serial("A"), RangeSelector::Partition(2)) };
    let rules = [luks(None), DiskRule { name: "boot".to_string(), ..plain }];
    let rules = rules.map(|rule| DiskRule { access: Access::ReadOnly, ..rule });
    let found = run(&mut bench, &rules).unwrap();
    let rights: Vec<_> = table(&found).into_iter().map(|(.., tweak, rights)| (tweak, rights)).collect();
    assert_eq!(rights, [(Some(0), Rights::ReadOnly), (None, Rights::None), (None, Rights::ReadOnly)]);
    let told: Vec<_> = found[0].rules.iter().map(|rule| rule.protection.as_str()).collect();
    assert_eq!(told, ["luks2 aes-xts-plain64, read-only", "plain, read-only"]);
    assert!(found[0].notes[1].ends_with("not encrypted, read-only"), "{}", found[0].notes[1]);
}

#[test]
fn a_volume_that_cannot_be_used_is_refused_with_the_reason() {
    let refused = |change: &dyn Fn(&mut Bench)| {
        let mut bench = disk(512);
        put_header(&mut bench, 64 * 512, 512, AREA_BYTES);
        change(&mut bench);
        refusal(&mut bench, &[luks(None)])
    };
    let wrong = refused(&|bench| bench.phrase = "wrong horse");
    assert!(wrong.contains("opens no key slot"), "{wrong}");
    let none = refused(&|bench| bench.images[0][64 * 512..576 * 512].fill(0));
    assert!(none.contains("there is no LUKS2 header"), "{none}");
    let small = refused(&|bench| record(&mut bench.images[0], 0, 0x83, 64, 1024));
    assert!(small.contains("does not fit"), "{small}");
    let cut = refused(&|bench| record(&mut bench.images[0], 0, 0x83, 64, 16));
    assert!(cut.contains("damaged") && cut.contains("it ends before that"), "{cut}");
}

#[test]
fn a_damaged_primary_header_is_told_in_the_log() {
    let mut bench = disk(512);
    put_header(&mut bench, 64 * 512, 512, AREA_BYTES);
    bench.images[0][64 * 512 + 5000] ^= 1;
    let found = run(&mut bench, &[luks(None)]).unwrap();
    assert!(found[0].notes[0].contains("WARNING: its primary header is damaged"), "{}", found[0].notes[0]);
}

#[test]
fn a_header_in_another_rules_range_is_an_overlap() {
    let mut bench = disk(512);
    put_header(&mut bench, 1600 * 512, 512, 0);
    let other =
        DiskRule { format: Format::Plain, ..rule(by_serial("A"), RangeSelector::Lba { first: 1700, sectors: 8 }) };
    let other = DiskRule { name: "boot".to_string(), access: Access::ReadOnly, ..other };
    let sentence = refusal(&mut bench, &[luks(Some(RangeSelector::Partition(2))), other]);
    assert!(sentence.contains("`boot`: its range overlaps that of disk rule `root`"), "{sentence}");
}
