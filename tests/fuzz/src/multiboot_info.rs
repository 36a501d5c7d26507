//! Multiboot 1 and 2 information: any bytes where the loader left it.
//!
//! Input: a byte whose lowest bit chooses the version, then memory from [`INFO`] on, so that an input can hold what
//! its own pointers point to.

use multiboot::{Kind, PhysicalMemory, map, place};

/// Where the information lies.
const INFO: u32 = 0x1000;

/// Memory from [`INFO`] on; nothing below or behind it.
struct Memory<'a>(&'a [u8]);

impl PhysicalMemory for Memory<'_> {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let offset = at.checked_sub(INFO.into()).and_then(|offset| usize::try_from(offset).ok());
        let piece = offset.and_then(|offset| self.0.get(offset..)?.get(..into.len()));
        piece.map(|piece| into.copy_from_slice(piece)).is_some()
    }
}

/// Runs one input. What is accepted keeps the promises of [`multiboot::BootInfo`], and the place chosen for the VMM is
/// usable memory.
pub fn run(data: &[u8]) {
    let Some((version, memory)) = data.split_first() else { return };
    let magic = [multiboot::header::v1::LOADER_MAGIC, multiboot::header::v2::LOADER_MAGIC][usize::from(version & 1)];
    let boot = match multiboot::parse(magic, INFO, &Memory(memory)) {
        Ok(boot) => boot,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!boot.memory_map.is_empty() && boot.memory_map.len() <= multiboot::MAX_MAP_ENTRIES);
    assert!(boot.memory_map.iter().all(|e| e.len_bytes > 0 && e.base.checked_add(e.len_bytes - 1).is_some()));
    assert!(boot.modules.len() <= multiboot::MAX_MODULES);
    assert!(boot.modules.iter().all(|module| module.start <= module.end));
    let mut arguments = boot.modules.iter().filter_map(|module| module.argument("luks2:"));
    assert!(arguments.all(|argument| !argument.contains(' ')), "a word has no spaces");
    check_map(&boot);
}

fn check_map(boot: &multiboot::BootInfo) {
    let map = map::normalise(&boot.memory_map);
    assert!(map.windows(2).all(|pair| pair[0].end() <= pair[1].base), "overlap after normalising");
    assert_eq!(map::normalise(&map), map, "normalising twice differs");
    let all = boot.modules.iter().map(|module| module.start..module.end);
    let avoid: Vec<_> = all.filter(|module| !module.is_empty()).collect();
    let Some(place) = place::choose(&boot.memory_map, 16 << 20, &avoid) else { return };
    assert!(place.end <= place::LIMIT && place.start % place::ALIGN_BYTES == 0 && place.end - place.start >= 16 << 20);
    let taken = |range: &std::ops::Range<u64>| range.start < place.end && place.start < range.end;
    assert!(!avoid.iter().any(taken), "the place lies over a module");
    let withheld = boot.memory_map.iter().filter(|entry| entry.kind != Kind::Usable);
    assert!(!withheld.map(multiboot::Entry::range).any(|range| taken(&range)), "the place is not usable");
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A tag, padded to 8 bytes (Multiboot2 2.0 s. 3.6.1).
fn tag(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut tag = [words(&[kind, body.len() as u32 + 8]), body.to_vec()].concat();
    tag.resize(tag.len().next_multiple_of(8), 0);
    tag
}

/// Version 1: the fixed part, then strings, a module and a memory map at fixed offsets.
fn version_1() -> Vec<u8> {
    let mut memory = words(&[0x1a4f, 639, 0x1f_fc00, 0x80ff_ffff, INFO + 0x80, 1, INFO + 0x90]);
    memory.resize(0x100, 0);
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    put(44, &words(&[48, INFO + 0xa0]));
    put(64, &words(&[INFO + 0x88]));
    put(0x80, b"shoji\0\0\0GRUB\0");
    put(0x90, &words(&[0x20_0000, 0x20_1000, INFO + 0x80, 0]));
    put(0xa0, &words(&[20, 0, 0, 0x9_fc00, 0, 1]));
    put(0xb8, &words(&[20, 0x10_0000, 0, 0x3ff0_0000, 0, 1]));
    memory
}

/// Version 2 with a tag of each kind that is read.
fn version_2() -> Vec<u8> {
    let map = words(&[24, 0, 0, 0, 0x9_fc00, 0, 1, 0, 0x10_0000, 0, 0x3ff0_0000, 0, 1, 0]);
    let tags = [
        tag(1, b"shoji\0"),
        tag(2, b"GRUB\0"),
        tag(3, &[words(&[0x20_0000, 0x20_1000]), b"config\0".to_vec()].concat()),
        tag(4, &words(&[639, 0x1f_fc00])),
        tag(5, &words(&[0x80, 0, u32::MAX])),
        tag(6, &map),
        tag(8, &words(&[0xb_8000, 0, 160, 80, 25, 0x0210, 0, 0])),
        tag(14, &[b"RSD PTR ".to_vec(), vec![0; 12]].concat()),
        tag(0, &[]),
    ]
    .concat();
    [words(&[tags.len() as u32 + 8, 0]), tags].concat()
}

/// One information of each version.
pub fn seeds() -> Vec<Vec<u8>> {
    [(0, version_1()), (1, version_2())].map(|(version, memory)| [vec![version], memory].concat()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_accepted() {
        use multiboot::header::{v1, v2};
        for (magic, memory) in [(v1::LOADER_MAGIC, version_1()), (v2::LOADER_MAGIC, version_2())] {
            let boot = multiboot::parse(magic, INFO, &Memory(&memory)).unwrap();
            assert_eq!((boot.memory_map.len(), boot.modules.len(), boot.loader.as_str()), (2, 1, "GRUB"));
        }
    }
}
