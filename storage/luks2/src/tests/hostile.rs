//! Headers that lie.

use super::{PHRASE, device, open, read, read_at, rewrite, text, with};
use crate::{Flaw, MAX_JSON_TEXT_BYTES, ReadError, UnlockError};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

#[test]
fn nothing_and_garbage_are_no_header() {
    assert!(matches!(read(&[]), Err(ReadError::Damaged { primary: Flaw::Read(_), secondary: Flaw::Magic })));
    assert!(matches!(read(&vec![0; 16 << 20]), Err(ReadError::NotLuks)));
    let mut garbage = vec![0; 16 << 20];
    super::noise(99)(&mut garbage);
    assert!(matches!(read(&garbage), Err(ReadError::NotLuks)));
}

#[test]
fn garbage_behind_each_magic_is_a_damaged_header() {
    let mut garbage = vec![0; 16 << 20];
    super::noise(5)(&mut garbage);
    garbage[..8].copy_from_slice(b"LUKS\xba\xbe\0\x02");
    for at in crate::HEADER_SIZES {
        garbage[at as usize..][..8].copy_from_slice(b"SKUL\xba\xbe\0\x02");
    }
    let error = read(&garbage).err().unwrap();
    assert!(matches!(error, ReadError::Damaged { primary: Flaw::Size(_), secondary: Flaw::Size(_) }), "{error}");
}

/// A bit of any field of a binary header, of its text or of its checksum.
#[test]
fn a_flipped_bit_in_one_copy_leaves_the_other_and_in_both_nothing() {
    for at in [0, 7, 12, 20, 30, 80, 110, 180, 220, 260, 300, 450, 600, 4096, 4500, 0x3FFF] {
        let mut device = device();
        device[at] ^= 0x40;
        let header = read(&device).unwrap();
        assert!(header.copies().primary.is_err() && header.copies().secondary.is_ok(), "byte {at}");
        device[0x4000 + at] ^= 0x40;
        let error = read(&device).err().unwrap();
        assert!(matches!(error, ReadError::Damaged { .. } | ReadError::NotLuks), "byte {at}: {error}");
    }
}

#[test]
fn a_copy_of_the_primary_in_another_place_is_none() {
    let mut device = device();
    device.copy_within(0x4000..0x8000, 0x8000);
    device[..0x8000].fill(0);
    assert!(matches!(read(&device), Err(ReadError::Damaged { secondary: Flaw::Place(0x4000), .. })));
}

#[test]
fn a_device_that_cannot_be_read_is_named() {
    let error = crate::parse(&mut |_, _| Err("bad sector".to_string())).err().unwrap();
    assert!(error.to_string().contains("bad sector"), "{error}");
}

/// What stands in the text, what takes its place, and a word of the reason.
const TEXTS: [(&str, &str, &str); 13] = [
    (r#"{"keyslots":"#, r#"{{"keyslots":"#, "JSON"),
    (r#""json_size":"12288""#, r#""json_size":"16384""#, "another size"),
    (r#""json_size":"12288""#, r#""json_size":12288"#, "JSON"),
    (r#""json_size":"12288""#, r#""json_size":"-1""#, "64-bit"),
    (r#""json_size":"12288""#, r#""json_size":"99999999999999999999999""#, "64-bit"),
    (r#""keyslots_size":"1015808""#, r#""keyslots_size":"1015809""#, "4096"),
    (r#""keyslots_size":"1015808""#, r#""keyslots_size":"1099511627776""#, "too large"),
    (r#""offset":"32768""#, r#""offset":"0""#, "outside"),
    (r#""offset":"32768""#, r#""offset":"18446744073709551615""#, "outside"),
    (r#"{"0":{"type":"luks2""#, r#"{"32":{"type":"luks2""#, "0 to 31"),
    (r#"{"0":{"type":"luks2""#, r#"{"+1":{"type":"luks2""#, "0 to 31"),
    (r#""keyslots":["0"]"#, r#""keyslots":["a"]"#, "0 to 31"),
    (r#""salt":""#, r#""salt":"====="#, "Base64"),
];

#[test]
fn texts_that_lie_are_refused_with_their_reason() {
    for (from, to, word) in TEXTS {
        let error = read(&with(from, to)).err().unwrap().to_string();
        assert!(error.contains(word), "{to}: {error}");
    }
}

#[test]
fn the_number_of_objects_and_their_depth_are_bounded() {
    let slot = |number| std::format!(r#""{number}":{{"type":"x"}},"#);
    let many: String = (1..32).map(slot).collect();
    assert!(read(&with(r#"{"0":{"type":"luks2""#, &std::format!(r#"{{{many}"0":{{"type":"luks2""#))).is_ok());
    let twice = slot(1).repeat(2);
    let error = read(&with(r#"{"0":{"type":"luks2""#, &std::format!(r#"{{{twice}"0":{{"type":"luks2""#))).err();
    assert!(error.unwrap().to_string().contains("twice"));
    // Deep nonsense in a place that nobody reads is read over; elsewhere it ends.
    let deep = std::format!(r#""tokens":{{"0":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let device = with(r#""tokens":{}"#, &deep);
    assert!(open(&device, PHRASE).is_ok());
    let error = read(&with(r#""keyslots":["0"]"#, &std::format!(r#""keyslots":{}"#, "[".repeat(3000)))).err();
    assert!(error.unwrap().to_string().contains("JSON"));
    let names = std::format!(r#""keyslots":[{}"0"]"#, r#""0","#.repeat(40));
    assert!(read(&with(r#""keyslots":["0"]"#, &names)).is_err());
}

#[test]
fn a_text_without_end_or_with_more_behind_it_is_refused() {
    let mut device = device();
    let text = text(&device);
    let full = text.clone() + &" ".repeat(0x3000 - text.len());
    rewrite(&mut device, &full, [1, 1]);
    assert!(matches!(read(&device), Err(ReadError::Damaged { primary: Flaw::TextLength, .. })));
    rewrite(&mut device, &(text + "\0x"), [1, 1]);
    assert!(matches!(read(&device), Err(ReadError::Damaged { primary: Flaw::TextLength, .. })));
}

#[test]
fn a_text_as_long_as_a_header_can_have_is_not_kept() {
    let size = 0x40_0000_u64;
    let device = device();
    let first = device[..4096].try_into().unwrap();
    let mut binary = crate::binary::parse(first, crate::binary::Which::Primary).unwrap();
    binary.size_bytes = size;
    let text = vec![b'['; size as usize - 4097];
    let mut long = crate::binary::encode(&binary, crate::binary::Which::Primary, &[0; 64], &text);
    long.resize(16 << 20, 0);
    assert!(text.len() > MAX_JSON_TEXT_BYTES);
    assert!(matches!(read(&long), Err(ReadError::Damaged { primary: Flaw::TextLength, .. })));
}

/// What stands in the key slot, what takes its place, and a word of the reason why it is not tried.
const SLOTS: [(&str, &str, &str); 13] = [
    (r#""type":"luks2""#, r#""type":"other""#, "other"),
    (r#""memory":32"#, r#""memory":4194305"#, "more than Shoji spends"),
    (r#""memory":32"#, r#""memory":0"#, "for nothing"),
    (r#""time":4"#, r#""time":4294967295"#, "more than Shoji spends"),
    (r#""time":4"#, r#""time":0"#, "for nothing"),
    (r#""cpus":1"#, r#""cpus":0"#, "for nothing"),
    (r#""cpus":1"#, r#""cpus":65536"#, "more than Shoji spends"),
    (r#""argon2id""#, r#""argon2\u001b[""#, "argon2?["),
    (r#""type":"argon2id""#, r#""type":"pbkdf2","hash":"sha256","iterations":4294967295"#, "more than Shoji spends"),
    (r#""stripes":4000"#, r#""stripes":1"#, "splitter"),
    (r#""size":"258048""#, r#""size":"4096""#, "place or size"),
    (r#""iterations":100000"#, r#""iterations":0"#, "digest"),
    (r#""keyslots":["0"]"#, r#""keyslots":["1"]"#, "not of the volume"),
];

#[test]
fn slots_that_cost_too_much_or_are_unknown_are_not_tried() {
    for (from, to, word) in SLOTS {
        let error = open(&with(from, to), PHRASE).err().unwrap();
        assert!(error.contains(word) && error.contains("luksAddKey"), "{to}: {error}");
    }
}

#[test]
fn a_damaged_or_older_copy_is_made_anew_from_the_other() {
    let good = device();
    for (at, byte) in [(4096 + 9, 0xEE), (0x4000 + 4096 + 9, 0xEE), (0, 0), (0x4000, 0)] {
        let mut device = good.clone();
        device[at] = byte;
        let header = read(&device).ok().unwrap();
        assert!(header.copies().primary.is_err() != header.copies().secondary.is_err());
        header.mend(&mut device);
        let header = read(&device).ok().unwrap();
        assert_eq!((&header.copies().primary, &header.copies().secondary), (&Ok(1), &Ok(1)), "{at}");
        assert!(open(&device, PHRASE).is_ok());
    }
    let header = read(&good).ok().unwrap();
    let mut same = good.clone();
    header.mend(&mut same);
    assert!(same == good);
    // Too short a copy of it is left alone.
    let mut short = good[..5000].to_vec();
    header.mend(&mut short);
    assert!(short == good[..5000]);
}

#[test]
fn a_slot_of_priority_zero_is_never_tried() {
    let device = with(r#""type":"luks2","#, r#""type":"luks2","priority":0,"#);
    assert!(open(&device, PHRASE).err().unwrap().contains("luksAddKey"));
    let device = with(r#""type":"luks2","#, r#""type":"luks2","priority":2,"#);
    assert!(open(&device, PHRASE).is_ok());
}

#[test]
fn too_little_memory_is_told_before_anything_is_tried() {
    let device = device();
    let header = read(&device).unwrap();
    let mut reads = 0;
    let error = header.unlock(PHRASE, &mut [], &mut |at, data| {
        reads += 1;
        read_at(&device, at, data)
    });
    assert_eq!((error.err(), reads), (Some(UnlockError::Memory { needed_kib: 32 }), 0));
}

#[test]
fn a_slot_area_that_cannot_be_read_is_an_error_not_a_wrong_pass_phrase() {
    let device = device();
    let header = read(&device).unwrap();
    let mut memory: Vec<_> = vec![crate::Block::new(); 32];
    let error = header.unlock(PHRASE, &mut memory, &mut |_, _| Err("bad sector".into())).err().unwrap();
    assert!(matches!(&error, UnlockError::Device(why) if why == "bad sector"), "{error}");
}

#[test]
fn a_slot_area_that_cannot_be_read_keeps_no_other_slot_from_opening() {
    const AREA: core::ops::Range<usize> = 32768..32768 + 258_048;
    let mut device = device();
    let text = text(&device);
    let slot = text.split_once(r#""keyslots":{"0":"#).unwrap().1.split_once(r#"},"tokens""#).unwrap().0;
    let second = slot.replace(r#""offset":"32768""#, r#""offset":"290816""#);
    assert_ne!(slot, second);
    let text = text.replacen(slot, &std::format!(r#"{slot},"1":{second}"#), 1);
    rewrite(&mut device, &text.replace(r#""keyslots":["0"]"#, r#""keyslots":["0","1"]"#), [1, 1]);
    device.copy_within(AREA, AREA.end);
    let header = read(&device).unwrap();
    assert_eq!(header.slots().iter().filter(|(_, slot)| slot.is_ok()).count(), 2);
    let mut memory: Vec<_> = vec![crate::Block::new(); 32];
    let mut unlock = |text: &[u8]| {
        header.unlock(text, &mut memory, &mut |at, data| {
            if AREA.contains(&(at as usize)) { Err("bad sector".into()) } else { read_at(&device, at, data) }
        })
    };
    assert!(unlock(PHRASE).unwrap().bytes() == super::key().bytes());
    let error = unlock(b"wrong horse").err();
    assert_eq!(error, Some(UnlockError::Device("bad sector".into())), "it may be the pass phrase of that slot");
}
