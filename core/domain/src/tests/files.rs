use super::machine::elf;
use crate::{BadElf, HEAP, Image, PAGE_BYTES, Rights};
use std::vec::Vec;

fn with(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadElf> {
    let mut file = elf(0x20_0000).to_vec();
    change(&mut file);
    Image::parse(&file).map(drop)
}

fn put(file: &mut [u8], at: usize, value: u64) {
    file[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn a_program_is_mapped_by_its_segments() {
    let image = Image::parse(elf(0x20_0040)).unwrap();
    let rights: Vec<_> = image.segments.iter().map(|segment| (segment.pages.clone(), segment.rights)).collect();
    let page = 0x20_0000..0x20_0000 + PAGE_BYTES;
    assert_eq!(rights, [(page.clone(), Rights::Execute), (page.end..page.end + PAGE_BYTES, Rights::Write)]);
    assert_eq!((image.entry, image.text().count()), (0x20_0040, 1));
}

#[test]
fn what_is_no_program_is_refused_with_its_reason() {
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|file| file[18] = 3), Err(BadElf::Format), "another CPU");
    assert_eq!(with(|file| file[16] = 3), Err(BadElf::Format), "not linked at fixed addresses");
    assert_eq!(with(|file| file.truncate(100)), Err(BadElf::Format), "cut off");
    assert_eq!(with(|file| file[64 + 4] = 7), Err(BadElf::Rights));
    assert_eq!(with(|file| put(file, 64 + 56 + 16, 0x20_0800)), Err(BadElf::Overlap));
    assert_eq!(with(|file| put(file, 24, 0x20_1000)), Err(BadElf::Entry), "in the data");
    for at in [0, 0x1000, HEAP, 0xffff_8000_0000_0000, u64::MAX] {
        assert_eq!(with(|file| put(file, 64 + 16, at)), Err(BadElf::Place), "{at:#x}");
    }
    assert_eq!(with(|file| put(file, 64 + 40, u64::MAX)), Err(BadElf::Place), "too large");
    assert_eq!(Image::parse(&[]), Err(BadElf::Format));
}
