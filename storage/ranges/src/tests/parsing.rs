//! Partition tables, whole and damaged.

use super::*;

#[test]
fn primary_and_logical_partitions_are_counted_as_linux_does() {
    let table = table_of(&mbr_image(), 512).unwrap();
    assert_eq!(table.scheme, Scheme::Mbr);
    assert_eq!(places(&table), [(1, 64, 100), (5, 1008, 40), (6, 1216, 50)]);
}

#[test]
fn an_mbr_of_sfdisk_is_read() {
    let script = "label: dos\nstart=2048,size=4096,type=83\nstart=8192,size=20480,type=5\n\
                  start=10240,size=2048,type=83\nstart=14336,size=4096,type=82\nstart=20480,size=1000,type=83\n";
    let Some(image) = partitioned("dos", 16, "sfdisk", &["-q"], script) else { return };
    let expected = [(1, 2048, 4096), (5, 10240, 2048), (6, 14336, 4096), (7, 20480, 1000)];
    assert_eq!(places(&table_of(&image, 512).unwrap()), expected);
}

#[test]
fn a_gpt_of_sgdisk_is_read_from_either_end() {
    let guid = "-u=2:00112233-4455-6677-8899-aabbccddeeff";
    let args = ["-a1", "-n=1:2048:4095", "-n=2:5000:9999", "-n=4:10000:10000", guid];
    let Some(mut image) = partitioned("gpt", 16, "sgdisk", &args, "") else { return };
    let table = table_of(&image, 512).unwrap();
    assert_eq!(table.scheme, Scheme::Gpt);
    assert_eq!(places(&table), [(1, 2048, 2048), (2, 5000, 5000), (4, 10000, 1)]);
    let on_disk = [0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    assert_eq!(table.partitions[1].guid, Some(on_disk));
    image[512..1024].fill(0);
    let backup = table_of(&image, 512).unwrap();
    assert_eq!(backup.scheme, Scheme::GptBackup);
    assert_eq!(backup.partitions, table.partitions);
}

#[test]
fn a_gpt_on_4096_byte_sectors_is_read() {
    let table = table_of(&gpt_image(4096), 4096).unwrap();
    assert_eq!((table.scheme, places(&table)), (Scheme::Gpt, vec![(1, 50, 50), (3, 100, 100)]));
}

#[test]
fn any_flipped_bit_of_header_or_entries_sends_us_to_the_backup() {
    let good = gpt_image(512);
    let table = table_of(&good, 512).unwrap();
    for at in (512..512 + 92).chain(1024..1024 + 16 * 128) {
        let mut image = good.clone();
        image[at] ^= 1 << (at % 8);
        let other = table_of(&image, 512).unwrap();
        assert_eq!((other.scheme, &other.partitions), (Scheme::GptBackup, &table.partitions), "byte {at}");
    }
}

#[test]
fn a_gpt_damaged_at_both_ends_is_an_error_with_both_reasons() {
    let mut image = gpt_image(512);
    image[1024 + 40] ^= 1;
    let last = image.len() - 512;
    image[last] = 0;
    let error = table_of(&image, 512).unwrap_err();
    assert_eq!(
        error,
        TableError::Gpt { primary: "the checksum of its entries is wrong", backup: "there is no header" }
    );
}

#[test]
fn headers_with_good_checksums_and_bad_values_are_refused() {
    let spoiled = |at: usize, value: u64, len: usize| {
        let mut image = gpt_image(512);
        let last = image.len() - 512;
        image[last] = 0;
        put(&mut image[512..], at, value, len);
        put(&mut image[512..], 16, 0, 4);
        let covered = usize::try_from(u32::from_le_bytes(image[524..528].try_into().unwrap())).unwrap();
        let crc = crc32(&image[512..512 + covered.min(512)]);
        put(&mut image[512..], 16, u64::from(crc), 4);
        match table_of(&image, 512) {
            Err(TableError::Gpt { primary, .. }) => primary,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(spoiled(12, 91, 4), "it is too short");
    assert_eq!(spoiled(12, 513, 4), "it is too short");
    assert_eq!(spoiled(12, u64::from(u32::MAX), 4), "it is too short");
    assert_eq!(spoiled(24, 2, 8), "it belongs elsewhere");
    assert_eq!(spoiled(40, 1 << 40, 8), "its usable sectors lie outside the disk");
    assert_eq!(spoiled(48, 1 << 40, 8), "its usable sectors lie outside the disk");
    assert_eq!(spoiled(72, 2047, 8), "its entries lie outside the disk");
    assert_eq!(spoiled(72, u64::MAX, 8), "its entries lie outside the disk");
    assert_eq!(spoiled(80, 0, 4), "it has no entries or too many");
    assert_eq!(spoiled(80, u64::from(u32::MAX), 4), "it has no entries or too many");
    assert_eq!(spoiled(84, 64, 4), "the size of its entries is wrong");
    assert_eq!(spoiled(84, 136, 4), "the size of its entries is wrong");
    assert_eq!(spoiled(88, 0, 4), "the checksum of its entries is wrong");
}

#[test]
fn entries_outside_the_usable_sectors_are_no_partitions() {
    for (first, last) in [(1, 99), (50, 1 << 50), (99, 50), (0, u64::MAX)] {
        let mut image = gpt_image(512);
        put(&mut image[1024..], 32, first, 8);
        put(&mut image[1024..], 40, last, 8);
        write_header(&mut image, 512, 1, 2, 16);
        let table = table_of(&image, 512).unwrap();
        assert_eq!((table.scheme, places(&table)), (Scheme::Gpt, vec![(3, 100, 100)]));
    }
}

#[test]
fn a_loop_of_extended_boot_records_ends() {
    let mut image = mbr_image();
    record(&mut image[1200 * 512..], 1, 0x05, 0, 100);
    let table = table_of(&image, 512).unwrap();
    assert_eq!(table.partitions.len(), 1 + 128);
}

#[test]
fn a_chain_that_leaves_its_extended_partition_ends() {
    for link in [500, 5000, u32::MAX] {
        let mut image = mbr_image();
        // Good records lie there, but not in the extended partition.
        record(&mut image[1500 * 512..], 0, 0x83, 8, 40);
        record(&mut image[1000 * 512..], 1, 0x05, link, 100);
        assert_eq!(places(&table_of(&image, 512).unwrap()), [(1, 64, 100), (5, 1008, 40)]);
    }
}

#[test]
fn a_blank_disk_or_a_boot_sector_of_a_file_system_is_no_table() {
    assert_eq!(table_of(&vec![0; 4096], 512), Err(TableError::NoTable));
    let mut fat = mbr_image();
    fat[446] = 0xeb;
    assert_eq!(table_of(&fat, 512), Err(TableError::NoTable));
    let unreadable = table_of(&[], 512).unwrap_err();
    assert_eq!(unreadable, TableError::Read { lba: 0, error: DiskError::Request });
}

#[test]
fn random_damage_never_panics() {
    let mut random = Random(1);
    for image in [mbr_image(), gpt_image(512), gpt_image(4096)] {
        for _ in 0..400 {
            let mut damaged = image.clone();
            for _ in 0..1 + random.below(8) {
                let at = if random.below(2) == 0 { random.below(4096) } else { random.below(damaged.len()) };
                damaged[at] = [0, 0xff, 0x7f, 0x80, random.next() as u8][random.below(5)];
            }
            if random.below(2) == 0 {
                write_header(&mut damaged, 512, 1, 2, 16);
            }
            damaged.truncate(512 * (1 + random.below(damaged.len() / 512)));
            for sector_bytes in [512, 4096] {
                let _ = table_of(&damaged, sector_bytes);
            }
        }
    }
}
