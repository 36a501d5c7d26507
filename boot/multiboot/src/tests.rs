//! Whole informations of both versions, right and wrong.

use super::*;
use crate::header::{v1 as h1, v2 as h2};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Memory from 0 on.
struct Ram(Vec<u8>);

impl PhysicalMemory for Ram {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let piece = usize::try_from(at).ok().and_then(|at| self.0.get(at..)?.get(..into.len()));
        piece.map(|piece| into.copy_from_slice(piece)).is_some()
    }
}

impl Ram {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_words(&mut self, at: usize, words: &[u32]) {
        for (n, word) in words.iter().enumerate() {
            self.put(at + 4 * n, &word.to_le_bytes());
        }
    }
}

const INFO: u32 = 0x1000;
const I: usize = INFO as usize;

/// A version 1 information as GRUB makes it, with two modules and three memory map entries.
fn v1_ram() -> Ram {
    let mut ram = Ram(vec![0; 0x4000]);
    ram.put_words(I, &[0b1_0010_0100_1111, 639, 0x1F_FC00, 0x80FF_FF00, 0x2000, 2, 0x2100]);
    ram.put_words(I + 44, &[72, 0x2200]);
    ram.put_words(I + 64, &[0x2040]);
    ram.put_words(I + 88, &[0xB_8000, 0, 160, 80, 25]);
    ram.put(I + 108, &[16, 2]);
    ram.put(0x2000, b"/shoji.elf debug\0");
    ram.put(0x2040, b"GRUB 2.06-13\0");
    ram.put(0x2080, b"config\0");
    ram.put_words(0x2100, &[0x10_0000, 0x10_0200, 0x2080, 0]);
    ram.put_words(0x2110, &[0x20_0000, 0x20_0000, 0, 0]);
    ram.put_words(0x2200, &[20, 0, 0, 0x9_FC00, 0, 1]);
    ram.put_words(0x2218, &[20, 0x10_0000, 0, 0xBFEE_0000, 0, 1]);
    ram.put_words(0x2230, &[20, 0, 1, 0, 1, 4]);
    ram
}

fn v1_parse(change: impl FnOnce(&mut Ram)) -> Result<BootInfo, BootError> {
    let mut ram = v1_ram();
    change(&mut ram);
    parse(h1::LOADER_MAGIC, INFO, &ram)
}

fn tag(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut tag = [kind.to_le_bytes(), (body.len() as u32 + 8).to_le_bytes()].concat();
    tag.extend_from_slice(body);
    tag.resize(tag.len().next_multiple_of(8), 0xA5);
    tag
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Entry size and version, then one entry of 2 MiB at 1 MiB.
fn map_tag() -> Vec<u8> {
    tag(6, &words(&[24, 0, 0x10_0000, 0, 0x20_0000, 0, 1, 0]))
}

fn v2_ram(tags: &[Vec<u8>]) -> Ram {
    let tags = tags.concat();
    let mut ram = Ram(vec![0; I + 8 + tags.len()]);
    ram.put_words(I, &[tags.len() as u32 + 8, 0]);
    ram.put(I + 8, &tags);
    ram
}

fn v2_parse(tags: &[Vec<u8>]) -> Result<BootInfo, BootError> {
    parse(h2::LOADER_MAGIC, INFO, &v2_ram(tags))
}

fn end() -> Vec<u8> {
    tag(0, &[])
}

#[test]
fn version_1_information_is_read_whole() {
    let boot = v1_parse(|_| {}).unwrap();
    assert_eq!(boot.loader, "GRUB 2.06-13");
    assert_eq!(boot.command_line, "/shoji.elf debug");
    assert_eq!(boot.lower_kib, Some(639));
    assert_eq!(boot.boot_drive, Some(BootDrive { drive: 0x80, partition: None }));
    assert_eq!(
        boot.modules,
        [
            Module { start: 0x10_0000, end: 0x10_0200, command_line: "config".to_string() },
            Module { start: 0x20_0000, end: 0x20_0000, command_line: String::new() },
        ]
    );
    assert_eq!(
        boot.memory_map,
        [
            Entry { base: 0, len_bytes: 0x9_FC00, kind: Kind::Usable },
            Entry { base: 0x10_0000, len_bytes: 0xBFEE_0000, kind: Kind::Usable },
            Entry { base: 1 << 32, len_bytes: 1 << 32, kind: Kind::AcpiNvs },
        ]
    );
    assert_eq!(boot.rsdp, None);
    assert_eq!(boot.console, Some(Console::Text { at: 0xB_8000, pitch_bytes: 160, columns: 80, rows: 25 }));
}

#[test]
fn version_1_fields_that_are_not_flagged_are_not_looked_at() {
    let boot = v1_parse(|ram| {
        ram.put_words(I, &[1 << 6]);
        ram.put_words(I + 16, &[0xFFFF_0000, 1_000_000, 0xFFFF_0000]);
    })
    .unwrap();
    assert_eq!((boot.command_line.as_str(), boot.modules.len(), boot.lower_kib), ("", 0, None));
    assert_eq!(boot.memory_map.len(), 3);
}

#[test]
fn version_1_memory_map_entries_may_be_longer_than_20_bytes() {
    let boot = v1_parse(|ram| {
        ram.put_words(0x2200, &[24, 0, 0, 0x9_0000, 0, 1, 0xFFFF_FFFF, 20, 0x10_0000, 0, 0x1000, 0, 3]);
        ram.put_words(I + 44, &[28 + 24]);
    })
    .unwrap();
    assert_eq!(boot.memory_map.len(), 2);
    assert_eq!(boot.memory_map[1], Entry { base: 0x10_0000, len_bytes: 0x1000, kind: Kind::AcpiReclaimable });
}

#[test]
fn version_1_oddities_are_named() {
    let malformed = |result: Result<BootInfo, BootError>| match result {
        Err(BootError::Malformed { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let short = BootError::Malformed { what: "memory map", why: "an entry is shorter than 20 bytes" };
    assert_eq!(v1_parse(|ram| ram.put_words(0x2200, &[0])), Err(short));
    assert_eq!(v1_parse(|ram| ram.put_words(0x2200, &[19])), Err(short));
    assert_eq!(malformed(v1_parse(|ram| ram.put_words(0x2200, &[u32::MAX]))), "memory map");
    assert_eq!(malformed(v1_parse(|ram| ram.put_words(I + 44, &[71]))), "memory map");
    assert_eq!(malformed(v1_parse(|ram| ram.put_words(I + 44, &[u32::MAX]))), "memory map");
    assert_eq!(malformed(v1_parse(|ram| ram.put_words(0x2104, &[0xF_FFFF]))), "list of modules");
    assert_eq!(malformed(v1_parse(|ram| ram.0[0x2000..0x3100].fill(b'x'))), "command line");
}

#[test]
fn version_1_pointers_out_of_memory_are_named() {
    let unreadable = |result: Result<BootInfo, BootError>| match result {
        Err(BootError::Unreadable { what, at }) => (what, at),
        other => panic!("{other:?}"),
    };
    assert_eq!(unreadable(v1_parse(|ram| ram.put_words(I + 16, &[0x4000]))), ("command line", 0x4000));
    assert_eq!(unreadable(v1_parse(|ram| ram.put_words(I + 24, &[0x3FF0]))), ("list of modules", 0x3FF0));
    assert_eq!(unreadable(v1_parse(|ram| ram.put_words(I + 48, &[u32::MAX]))), ("memory map", 0xFFFF_FFFF));
    assert_eq!(unreadable(parse(h1::LOADER_MAGIC, u32::MAX, &v1_ram())), ("Multiboot information", 0xFFFF_FFFF));
    let string_to_the_end = v1_parse(|ram| {
        ram.put_words(I + 16, &[0x3FFE]);
        ram.put(0x3FFE, b"ab");
    });
    assert_eq!(unreadable(string_to_the_end), ("command line", 0x4000));
}

#[test]
fn counts_are_bounded() {
    let many = v1_parse(|ram| ram.put_words(I + 20, &[MAX_MODULES as u32 + 1]));
    assert_eq!(many, Err(BootError::TooMany { what: "modules", limit: MAX_MODULES }));
    let module = tag(3, &words(&[0, 1, 0]));
    let mut tags = vec![module; MAX_MODULES];
    tags.extend([map_tag(), end()]);
    assert_eq!(v2_parse(&tags).unwrap().modules.len(), MAX_MODULES);
    tags.insert(0, tags[0].clone());
    assert_eq!(v2_parse(&tags), Err(BootError::TooMany { what: "modules", limit: MAX_MODULES }));
    let entries = vec![words(&[0, 0, 1, 0, 1, 0]); MAX_MAP_ENTRIES + 1].concat();
    let map = tag(6, &[words(&[24, 0]), entries].concat());
    assert_eq!(v2_parse(&[map, end()]), Err(BootError::TooMany { what: "memory map entries", limit: MAX_MAP_ENTRIES }));
}

#[test]
fn version_2_information_is_read_whole() {
    let colours = words(&[0xFD00_0000, 0, 4096, 1024, 768, 0x0000_0120, 0x0808_0810, 0x0000_0800]);
    let boot = v2_parse(&[
        tag(1, b"debug\0"),
        tag(2, b"GRUB 2.06\0"),
        tag(3, &[words(&[0x10_0000, 0x10_0200]), b"config\0".to_vec()].concat()),
        tag(4, &words(&[639, 0x1F_FC00])),
        tag(5, &words(&[0x80, 0, u32::MAX])),
        map_tag(),
        tag(8, &colours),
        tag(15, b"RSD PTR version two, 36 bytes long.."),
        tag(14, b"RSD PTR version one."),
        tag(999, b"unknown"),
        end(),
    ])
    .unwrap();
    assert_eq!((boot.loader.as_str(), boot.command_line.as_str()), ("GRUB 2.06", "debug"));
    assert_eq!(boot.lower_kib, Some(639));
    assert_eq!(boot.boot_drive, Some(BootDrive { drive: 0x80, partition: Some(0) }));
    assert_eq!(boot.modules, [Module { start: 0x10_0000, end: 0x10_0200, command_line: "config".to_string() }]);
    assert_eq!(boot.memory_map, [Entry { base: 0x10_0000, len_bytes: 0x20_0000, kind: Kind::Usable }]);
    assert_eq!(boot.rsdp.as_deref(), Some(&b"RSD PTR version two, 36 bytes long.."[..]));
    let channel = |shift| Channel { shift, bits: 8 };
    assert_eq!(
        boot.console,
        Some(Console::Framebuffer {
            at: 0xFD00_0000,
            pitch_bytes: 4096,
            width: 1024,
            height: 768,
            bits_per_pixel: 32,
            red: channel(16),
            green: channel(8),
            blue: channel(0),
        })
    );
}

#[test]
fn version_2_tags_that_lie_about_their_size_are_refused() {
    let cut = Err(BootError::Malformed { what: "Multiboot2 information", why: "a tag is cut off" });
    for size in [0, 7, 4096, u32::MAX] {
        let mut bad = tag(1, b"x\0");
        bad[4..8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(v2_parse(&[bad, map_tag(), end()]), cut, "size {size}");
    }
    assert_eq!(v2_parse(&[map_tag()]), cut, "no end tag");
    assert_eq!(v2_parse(&[tag(3, &[0; 7]), end()]), cut, "short module");
    assert_eq!(v2_parse(&[tag(6, &[24, 0, 0, 0]), end()]), cut, "short memory map");
}

#[test]
fn version_2_memory_maps_of_a_strange_shape_are_refused() {
    let why = |map: &[u32]| match v2_parse(&[tag(6, &words(map)), end()]) {
        Err(BootError::Malformed { what: "memory map", why }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&[0, 0, 1, 2]), "its entries are shorter than 24 bytes");
    assert_eq!(why(&[20, 0, 1, 0, 1, 0, 1]), "its entries are shorter than 24 bytes");
    assert_eq!(why(&[24, 0, 0, 0, 1, 0, 1, 0, 0, 0]), "its last entry is cut off");
}

#[test]
fn version_2_information_must_be_aligned_bounded_and_in_memory() {
    let ram = v2_ram(&[map_tag(), end()]);
    assert!(matches!(parse(h2::LOADER_MAGIC, INFO + 4, &ram), Err(BootError::Malformed { .. })));
    assert!(matches!(parse(h2::LOADER_MAGIC, 0x4000_0000, &ram), Err(BootError::Unreadable { .. })));
    for size in [0, 7, MAX_INFO_BYTES as u32 + 1, u32::MAX] {
        let mut ram = v2_ram(&[map_tag(), end()]);
        ram.put_words(I, &[size]);
        let result = parse(h2::LOADER_MAGIC, INFO, &ram);
        assert!(matches!(result, Err(BootError::Malformed { .. })), "size {size}: {result:?}");
    }
    let mut ram = v2_ram(&[map_tag(), end()]);
    ram.put_words(I, &[4096]);
    assert!(matches!(parse(h2::LOADER_MAGIC, INFO, &ram), Err(BootError::Unreadable { .. })));
}

#[test]
fn a_map_entry_that_wraps_round_ends_with_the_address_space() {
    let map = tag(6, &words(&[24, 0, 0xFFFF_F000, 0xFFFF_FFFF, 0x2000, 0, 1, 0, 0, 0, 0, 0, 1, 0]));
    let boot = v2_parse(&[map, end()]).unwrap();
    assert_eq!(boot.memory_map.len(), 1, "the empty entry is dropped");
    assert_eq!(boot.memory_map[0].end(), u64::MAX);
}

#[test]
fn screens_that_make_no_sense_are_no_screens() {
    let console = |fields: [u32; 6], colours: [u32; 2]| {
        let body = [words(&fields), words(&colours)].concat();
        v2_parse(&[map_tag(), tag(8, &body), end()]).unwrap().console
    };
    let (good, rgb) = ([0xFD00_0000, 0, 4096, 1024, 768, 0x0120], [0x0808_0810, 0x0800]);
    assert!(console(good, rgb).is_some());
    for (field, value) in [(2, 4095), (3, 0), (4, 0), (4, u32::MAX), (5, 0x0020), (5, 0x0720), (5, 0x0140)] {
        let mut bad = good;
        bad[field] = value;
        assert_eq!(console(bad, rgb), None, "field {field} = {value:#x}");
    }
    assert_eq!(console([0xFFFF_0000, u32::MAX, 4096, 1024, 768, 0x0120], rgb), None, "wraps round");
    assert_eq!(console(good, [0x0808_0819, 0x0800]), None, "red ends behind the pixel");
    assert_eq!(v2_parse(&[map_tag(), tag(8, &[0; 5]), end()]).unwrap().console, None, "cut off");
}

#[test]
fn nothing_starts_without_a_memory_map_or_without_multiboot() {
    assert_eq!(v2_parse(&[end()]), Err(BootError::NoMemoryMap));
    assert_eq!(v1_parse(|ram| ram.put_words(I, &[0])), Err(BootError::NoMemoryMap));
    assert_eq!(parse(0x1234, INFO, &v1_ram()), Err(BootError::NotMultiboot(0x1234)));
}

#[test]
fn errors_are_sentences_that_name_the_trouble() {
    let text = format!("{}", BootError::NotMultiboot(0x1234));
    assert!(text.contains("0x00001234") && text.contains("multiboot2"), "{text}");
    let all = [
        BootError::NotMultiboot(1),
        BootError::Unreadable { what: "memory map", at: 5 },
        BootError::Malformed { what: "memory map", why: "it is cut off" },
        BootError::TooMany { what: "modules", limit: 3 },
        BootError::NoMemoryMap,
    ];
    for error in all {
        let text = format!("{error}");
        assert!(text.ends_with('.') && !text.contains('\n'), "{text}");
    }
}

/// xorshift64*: repeatable noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize
    }
}

#[test]
fn damaged_information_never_panics_and_never_hangs() {
    let good_v2 = v2_ram(&[
        tag(1, b"debug\0"),
        tag(3, &words(&[0x10_0000, 0x10_0200, 0])),
        map_tag(),
        tag(8, &words(&[0xFD00_0000, 0, 4096, 1024, 768, 0x0120, 0x0808_0810, 0x0800])),
        end(),
    ]);
    let mut noise = Noise(0x5EED);
    let mut read = [0, 0];
    for round in 0..40_000 {
        let version = round % 2;
        let (magic, mut ram) =
            if version == 0 { (h1::LOADER_MAGIC, v1_ram()) } else { (h2::LOADER_MAGIC, Ram(good_v2.0.clone())) };
        let len = if version == 0 { 0x1300 } else { ram.0.len() - I };
        for _ in 0..1 + noise.next() % 4 {
            let at = I + noise.next() % len;
            ram.0[at] = noise.next() as u8;
        }
        if let Ok(boot) = parse(magic, INFO, &ram) {
            read[version] += 1;
            assert!(boot.memory_map.len() <= MAX_MAP_ENTRIES && boot.modules.len() <= MAX_MODULES);
            assert!(boot.memory_map.iter().all(|entry| entry.base.checked_add(entry.len_bytes).is_some()));
            let _ = place::choose(&boot.memory_map, 16 << 20, &[]);
        }
    }
    assert!(read.iter().all(|&count| (1000..19_900).contains(&count)), "both outcomes were met: {read:?}");
}

#[test]
fn modules_of_both_versions_come_with_their_arguments() {
    let line = b"luks2:data quick\0";
    let v1 = v1_parse(|ram| {
        ram.put(0x20c0, line);
        ram.put_words(0x2118, &[0x20c0]);
    });
    let module = [words(&[0x20_0000, 0x20_0000]), line.to_vec()].concat();
    let v2 = v2_parse(&[tag(3, &[words(&[1, 2]), b"config\0".to_vec()].concat()), tag(3, &module), map_tag(), end()]);
    for boot in [v1.unwrap(), v2.unwrap()] {
        let of = |prefix| boot.modules.iter().map(|module| module.argument(prefix)).collect::<Vec<_>>();
        assert_eq!(of("luks2:"), [None, Some("data")]);
        assert_eq!(of("luks2:data"), [None, Some("")]);
        assert_eq!(of("uks2:"), [None, None]);
        assert_eq!(boot.modules[1].range(), 0x20_0000..0x20_0000);
    }
}

#[test]
fn an_argument_is_found_behind_the_name_of_the_file() {
    let argument = |line: &str| {
        let module = Module { start: 0, end: 0, command_line: line.to_string() };
        module.argument("luks2:").map(ToString::to_string)
    };
    assert_eq!(argument("/boot/shoji/data.luks  luks2:data").as_deref(), Some("data"));
    assert_eq!(argument("luks2:").as_deref(), Some(""));
    assert_eq!(argument("/boot/luks2:data"), None);
    assert_eq!(argument(""), None);
}
