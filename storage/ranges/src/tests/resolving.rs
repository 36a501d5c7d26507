//! Rules against disks.

use super::*;

pub struct Bench {
    pub disks: Vec<DiskInfo>,
    pub images: Vec<Vec<u8>>,
    pub key_error: Option<&'static str>,
    /// What is typed when a volume is to be opened.
    pub phrase: &'static str,
    /// What the loader has brought, by name.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Machine for Bench {
    fn read(&mut self, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        read_from(&self.images[disk], self.disks[disk].sector_bytes as usize, lba, data)
    }

    fn transform(&mut self, key: &[u8; 64], sector_bytes: usize) -> Result<Arc<dyn SectorTransform>, String> {
        match self.key_error {
            Some(reason) => Err(reason.to_string()),
            None => match <xts::Aes256Xts>::new(key, sector_bytes) {
                Ok(xts) => Ok(Arc::new(xts)),
                Err(e) => Err(e.to_string()),
            },
        }
    }

    fn has_header_file(&self, name: &str) -> bool {
        self.files.iter().any(|(file, _)| *file == name)
    }

    fn read_header_file(&mut self, name: &str, at_bytes: u64, data: &mut [u8]) -> Result<(), String> {
        let (_, bytes) = self.files.iter().find(|(file, _)| *file == name).ok_or("no file")?;
        let piece = bytes.get(at_bytes as usize..).and_then(|rest| rest.get(..data.len()));
        data.copy_from_slice(piece.ok_or("it ends before that")?);
        Ok(())
    }

    fn unlock(
        &mut self,
        _: &str,
        source: HeaderSource<'_>,
        header: &luks2::Header,
    ) -> Result<luks2::VolumeKey, String> {
        let mut memory = vec![luks2::Block::new(); header.argon2_blocks()];
        let text = self.phrase.as_bytes();
        let mut read = |at, data: &mut [u8]| match source {
            HeaderSource::Disk(place) => place.read(at, data, |lba, data| self.read(place.disk, lba, data)),
            HeaderSource::File(name) => self.read_header_file(name, at, data),
        };
        header.unlock(text, &mut memory, &mut read).map_err(|error| error.to_string())
    }
}

pub fn key(byte: u8) -> XtsKey {
    XtsKey(core::array::from_fn(|i| byte ^ i as u8))
}

/// Two disks of the same model: disk 0 (serial A) with an MBR, disk 1 (serial B) with a GPT whose partition 3 and
/// LBA 300 on hold a swap area under key 7.
pub fn bench() -> Bench {
    let mut gpt = gpt_image(512);
    for first in [100, 300] {
        let mut area = vec![0; 4096];
        area[4086..].copy_from_slice(b"SWAPSPACE2");
        <xts::Aes256Xts>::new(&key(7).0, 512).unwrap().encrypt(0, &mut area);
        gpt[first * 512..][..4096].copy_from_slice(&area);
    }
    let disk = |serial: &str, channel| DiskInfo {
        model: "QEMU HARDDISK".to_string(),
        serial: serial.to_string(),
        channel,
        unit: 0,
        sectors: 2048,
        sector_bytes: 512,
    };
    Bench {
        disks: vec![disk("A", 0), disk("B", 1)],
        images: vec![mbr_image(), gpt],
        key_error: None,
        phrase: "",
        files: vec![],
    }
}

pub fn rule(disk: DiskSelector, range: RangeSelector) -> DiskRule {
    let (name, format) = ("root".to_string(), Format::dm_crypt(key(7), KeyCheck::Signature));
    DiskRule { name, disk, range, format, access: Access::ReadWrite, trim: false }
}

/// The rule without a look at what the range holds.
fn unchecked(rule: DiskRule) -> DiskRule {
    DiskRule { format: Format::dm_crypt(key(7), KeyCheck::None), ..rule }
}

pub fn by_serial(serial: &str) -> DiskSelector {
    DiskSelector::Identity { model: None, serial: Some(serial.to_string()) }
}

pub fn run(bench: &mut Bench, rules: &[DiskRule]) -> Result<Vec<DiskRanges>, String> {
    let disks = bench.disks.clone();
    resolve(rules, &disks, bench).map_err(|e| e.to_string())
}

pub fn refusal(bench: &mut Bench, rules: &[DiskRule]) -> String {
    match run(bench, rules) {
        Ok(_) => panic!("not refused"),
        Err(sentence) => sentence,
    }
}

#[test]
fn a_rule_finds_its_partition_by_number_guid_and_lba() {
    for (selector, range, place) in [
        (by_serial("B"), RangeSelector::Partition(3), (100, 100)),
        (DiskSelector::Position { channel: 1, unit: 0 }, RangeSelector::PartitionGuid([0x33; 16]), (100, 100)),
        (by_serial("B"), RangeSelector::Lba { first: 300, sectors: 8 }, (300, 8)),
    ] {
        let found = run(&mut bench(), &[rule(selector, range)]).unwrap();
        let [only] = &found[..] else { panic!("one disk has ranges") };
        assert_eq!(only.disk, 1);
        let ranges: Vec<_> = only.ranges.ranges().iter().map(|r| (r.first_lba, r.sectors)).collect();
        assert_eq!(ranges, [place]);
        assert!(only.notes[0].ends_with("swap"), "{}", only.notes[0]);
    }
}

#[test]
fn rules_of_several_disks_are_sorted_out() {
    let rules = vec![
        rule(by_serial("B"), RangeSelector::Lba { first: 300, sectors: 8 }),
        unchecked(rule(by_serial("A"), RangeSelector::Partition(5))),
        rule(by_serial("B"), RangeSelector::Partition(3)),
    ];
    let found = run(&mut bench(), &rules).unwrap();
    let counts: Vec<_> = found.iter().map(|d| (d.disk, d.ranges.ranges().len(), d.notes.len())).collect();
    assert_eq!(counts, [(0, 1, 1), (1, 2, 2)]);
    assert!(found[0].notes[0].ends_with("not checked"));
    for disk in &found {
        let at = |ranges: Vec<(u64, u64)>| {
            let mut sorted = ranges;
            sorted.sort_unstable();
            sorted
        };
        let ranges = disk.ranges.ranges().iter().map(|range| (range.first_lba, range.sectors)).collect();
        let rules = disk.rules.iter().map(|rule| (rule.first_lba, rule.sectors)).collect();
        assert_eq!(at(ranges), at(rules), "what is told of the rules is what is done");
    }
}

#[test]
fn a_wrong_key_does_not_open_the_range() {
    let mut wrong = rule(by_serial("B"), RangeSelector::Partition(3));
    let mut other = key(7);
    other.0[40] ^= 1;
    wrong.format = Format::dm_crypt(other, KeyCheck::Signature);
    let sentence = refusal(&mut bench(), &[wrong]);
    assert!(sentence.starts_with("disk rule `root`: the key does not open the range"), "{sentence}");
    assert!(sentence.contains("nothing has been written"), "{sentence}");
    // So does a range that is there but begins elsewhere.
    let shifted = rule(by_serial("B"), RangeSelector::Lba { first: 101, sectors: 90 });
    assert!(refusal(&mut bench(), &[shifted]).contains("does not open"));
}

#[test]
fn a_missing_disk_is_answered_with_those_found() {
    let sentence = refusal(&mut bench(), &[rule(by_serial("C"), RangeSelector::Partition(1))]);
    assert_eq!(
        sentence,
        "disk rule `root`: there is no disk with serial number `C`; found: `QEMU HARDDISK` serial `A` (channel 0, \
         unit 0), `QEMU HARDDISK` serial `B` (channel 1, unit 0); correct `disk` in the configuration"
    );
    let both = DiskSelector::Identity { model: Some("QEMU HARDDISK".into()), serial: Some("C".into()) };
    assert!(refusal(&mut bench(), &[rule(both, RangeSelector::Partition(1))]).contains("no disk with model"));
    let neither = DiskSelector::Identity { model: None, serial: None };
    assert!(refusal(&mut bench(), &[rule(neither, RangeSelector::Partition(1))]).contains("no disk with neither"));
    let mut empty = Bench { disks: vec![], images: vec![], key_error: None, phrase: "", files: vec![] };
    assert!(refusal(&mut empty, &[rule(by_serial("A"), RangeSelector::Partition(1))]).contains("found: none"));
}

#[test]
fn a_selector_that_fits_two_disks_is_refused() {
    let model = DiskSelector::Identity { model: Some("QEMU HARDDISK".into()), serial: None };
    let sentence = refusal(&mut bench(), &[rule(model, RangeSelector::Partition(1))]);
    assert!(sentence.contains("several disks have model `QEMU HARDDISK`"), "{sentence}");
    assert!(sentence.contains("serial `A`") && sentence.contains("serial `B`"), "{sentence}");
}

#[test]
fn a_missing_partition_is_answered_with_those_found() {
    let sentence = refusal(&mut bench(), &[rule(by_serial("A"), RangeSelector::Partition(3))]);
    assert!(sentence.contains("no partition 3; found: MBR with partitions 1, 5, 6;"), "{sentence}");
    let guid = RangeSelector::PartitionGuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let sentence = refusal(&mut bench(), &[rule(by_serial("B"), guid)]);
    assert!(sentence.contains("no partition 04030201-0605-0807-090a-0b0c0d0e0f10;"), "{sentence}");
    assert!(sentence.contains("1 (11111111-1111-1111-1111-111111111111), 3 (33333333-"), "{sentence}");
}

#[test]
fn two_partitions_of_one_guid_are_refused() {
    let mut bench = bench();
    bench.images[1][1024 + 16..1024 + 32].fill(0x33);
    write_header(&mut bench.images[1], 512, 1, 2, 16);
    let sentence = refusal(&mut bench, &[rule(by_serial("B"), RangeSelector::PartitionGuid([0x33; 16]))]);
    assert!(sentence.contains("more than one partition"), "{sentence}");
}

#[test]
fn ranges_outside_the_disk_are_refused() {
    for (first, sectors) in [(2000, 49), (2048, 1), (5, 0), (u64::MAX, 1), (1, u64::MAX)] {
        let sentence = refusal(&mut bench(), &[rule(by_serial("A"), RangeSelector::Lba { first, sectors })]);
        assert!(sentence.contains("which has 2048 sectors"), "{sentence}");
    }
    let mut bench = bench();
    record(&mut bench.images[0], 0, 0x83, 2000, 100);
    let sentence = refusal(&mut bench, &[rule(by_serial("A"), RangeSelector::Partition(1))]);
    assert!(sentence.contains("100 sectors from LBA 2000"), "{sentence}");
}

#[test]
fn overlapping_rules_are_both_named() {
    let mut a = unchecked(rule(by_serial("A"), RangeSelector::Lba { first: 70, sectors: 10 }));
    let mut b = unchecked(rule(DiskSelector::Position { channel: 0, unit: 0 }, RangeSelector::Partition(1)));
    (a.name, b.name) = ("first".to_string(), "second".to_string());
    let sentence = refusal(&mut bench(), &[a, b]);
    assert!(sentence.starts_with("disk rule `second`: its range overlaps that of disk rule `first`"), "{sentence}");
}

#[test]
fn unusable_keys_disks_and_tables_are_named() {
    let some = || rule(by_serial("A"), RangeSelector::Partition(1));
    let mut keyless = bench();
    keyless.key_error = Some("equal halves");
    assert!(refusal(&mut keyless, &[some()]).contains("its key cannot be used: equal halves"));

    let mut blank = bench();
    blank.images[0].fill(0);
    assert!(refusal(&mut blank, &[some()]).contains("no partition table; repair the table, or give the range"));

    let mut odd = bench();
    odd.disks[0].sector_bytes = 520;
    assert!(refusal(&mut odd, &[some()]).contains("520 bytes"));

    let mut broken = bench();
    broken.images[0].truncate(66 * 512);
    let by_lba = rule(by_serial("A"), RangeSelector::Lba { first: 64, sectors: 100 });
    let sentence = refusal(&mut broken, &[by_lba]);
    assert!(sentence.contains("the key cannot be checked: sector 64 is not on the disk"), "{sentence}");
    let sentence = refusal(&mut broken, &[some()]);
    assert!(sentence.contains("sector 1000 is not on the disk; check the disk"), "{sentence}");
}

#[test]
fn a_range_shorter_than_the_marks_is_simply_unknown() {
    let short = rule(by_serial("B"), RangeSelector::Lba { first: 300, sectors: 3 });
    assert!(refusal(&mut bench(), &[short]).contains("does not open"));
}
