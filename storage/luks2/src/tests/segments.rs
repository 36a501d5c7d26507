//! What a header says of its payload.

use super::{PHRASE, device, open, read, with};
use crate::Segment;
use std::string::{String, ToString};

/// What stands in the text, what takes its place, and a word of the reason.
const REFUSED: [(&str, &str, &str); 16] = [
    (r#""type":"crypt""#, r#""type":"linear""#, "linear"),
    (r#""offset":"1048576""#, r#""offset":"1048577""#, "place, size or tweak"),
    (r#""offset":"1048576","size":"dynamic""#, r#""offset":"1048576","size":"0""#, "place, size or tweak"),
    (r#""offset":"1048576","size":"dynamic""#, r#""offset":"1048576","size":"513""#, "place, size or tweak"),
    (r#""offset":"1048576","size":"dynamic""#, r#""offset":"1048576","size":"18446744073709551104""#, "place, size or"),
    (r#""sector_size":512"#, r#""sector_size":1024"#, "512 and 4096"),
    (r#""sector_size":512"#, r#""sector_size":0"#, "512 and 4096"),
    (r#""iv_tweak":"0","encryption":"aes-xts-plain64""#, r#""iv_tweak":"0","encryption":"null""#, "`null`"),
    (r#""iv_tweak":"0""#, r#""iv_tweak":"0","integrity":{"type":"hmac(sha256)"}"#, "--integrity"),
    (r#""iv_tweak":"0""#, r#""iv_tweak":"0","flags":["backup-final"]"#, "--resume-only"),
    (r#""keyslots_size""#, r#""requirements":{"mandatory":["online-reencrypt-v2"]},"keyslots_size""#, "--resume-only"),
    (r#""keyslots_size""#, r#""requirements":{"mandatory":["inline-hw-tags"]},"keyslots_size""#, "inline-hw-tags"),
    (r#""segments":{"0":"#, r#""segments":{"1":"#, "segment 0 alone"),
    (
        r#""sector_size":512}}"#,
        r#""sector_size":512},"1":{"type":"crypt","offset":"0","size":"dynamic"}}"#,
        "2 segments",
    ),
    (r#"{"0":{"type":"luks2""#, r#"{"3":{"type":"reencrypt"},"0":{"type":"luks2""#, "--resume-only"),
    (
        r#""iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512"#,
        r#""iv_tweak":"1","encryption":"aes-xts-plain64","sector_size":4096"#,
        "tweak",
    ),
];

#[test]
fn what_shoji_does_not_have_is_refused_by_name() {
    for (from, to, word) in REFUSED {
        let device = with(from, to);
        let error = read(&device).unwrap().segment().unwrap_err();
        assert!(error.contains(word), "{to}: {error}");
        assert_eq!(open(&device, PHRASE).err().unwrap(), error, "it is not opened either");
    }
}

#[test]
fn sizes_and_tweaks_are_taken_as_they_stand() {
    let segment = read(&device()).unwrap().segment().unwrap();
    let expected = Segment { offset_bytes: 1 << 20, size_bytes: None, sector_bytes: 512, first_tweak: 0 };
    assert_eq!(segment, expected);
    let to = r#""size":"8192","iv_tweak":"16","encryption":"aes-xts-plain64","sector_size":4096"#;
    let from = r#""size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512"#;
    let segment = read(&with(from, to)).unwrap().segment().unwrap();
    assert_eq!(segment, Segment { size_bytes: Some(8192), sector_bytes: 4096, first_tweak: 2, ..expected });
}

#[test]
fn a_payload_lies_behind_its_header_and_on_its_device() {
    let dynamic = Segment { offset_bytes: 8192, size_bytes: None, sector_bytes: 4096, first_tweak: 0 };
    let place = |segment: Segment, header, device| segment.place(header, device).map_err(|_: String| ());
    assert_eq!(place(dynamic, 8192, 16384), Ok((8192, 8192)));
    assert_eq!(place(dynamic, 8192, 16384 + 512), Ok((8192, 8192)), "half a crypto sector is none");
    assert_eq!(place(dynamic, 8193, 16384), Err(()), "it begins within its header");
    assert_eq!(place(dynamic, 0, 8192), Err(()), "there is nothing left for it");
    assert_eq!(place(dynamic, 0, 4096), Err(()));
    let fixed = Segment { size_bytes: Some(4096), ..dynamic };
    assert_eq!(place(fixed, 0, 16384), Ok((8192, 4096)));
    assert_eq!(place(Segment { size_bytes: Some(12288), ..fixed }, 0, 16384), Err(()));
    assert!(dynamic.place(0, 1).unwrap_err().to_string().contains("does not fit into 1 bytes"));
}
