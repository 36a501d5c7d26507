//! Every class of error in a TOML file: line, column, key and remedy.

mod common;

use std::os::unix::fs::PermissionsExt;

use common::Folder;

/// A good file, of which each test spoils one line. Line 11 is `[[disk]]`.
const GOOD: &str = r#"[memory]
reserve = "16 MiB"
[boot]
drive = 0x80
on-failure = "stop"
[log]
level = "info"
serial = "com1"
[debug]
hypercalls = false
[[disk]]
name = "root"
disk = { model = "QEMU HARDDISK", serial = "QM00001" }
range = { partition = 2 }
cipher = "aes-xts-plain64"
key-file = "root.key"
check = "signature"
trim = false
"#;

fn key() -> Vec<u8> {
    (0..64).collect()
}

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    assert_eq!(folder.shoji("key new root.key").status, 0);
    folder
}

/// Checks the file with one line replaced and gives the findings.
fn check(folder: &Folder, old: &str, new: &str) -> (i32, String) {
    let text = GOOD.replacen(old, new, 1);
    assert!(text != GOOD, "{old} is in the file");
    std::fs::set_permissions(folder.write("bad.toml", text), PermissionsExt::from_mode(0o600)).unwrap();
    let outcome = folder.shoji("config check bad.toml");
    (outcome.status, outcome.stderr)
}

/// Each case: a line, what takes its place, and the finding from `line:column` on.
fn assert_errors(name: &str, cases: &[(&str, &str, &str)]) {
    let folder = folder(name);
    for (old, new, finding) in cases {
        let (status, stderr) = check(&folder, old, new);
        assert_eq!(status, 1, "{new}: {stderr}");
        let expected = format!("bad.toml:{finding}");
        assert!(stderr.lines().any(|line| line.starts_with(&expected)), "{new}\nwanted {expected}\ngot    {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{new}: only one finding: {stderr}");
    }
}

#[test]
fn the_good_file_is_good() {
    let folder = folder("good");
    folder.write("good.toml", GOOD);
    let outcome = folder.shoji("config check good.toml");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_eq!(outcome.stdout, "good.toml: good, 1 disk rule\n");
}

#[test]
fn unknown_keys_get_a_suggestion_or_the_list() {
    assert_errors(
        "unknown",
        &[
            ("level =", "levle =", "7:1: error: unknown key `levle`; did you mean `level`?"),
            ("on-failure", "on_failure", "5:1: error: unknown key `on_failure`; did you mean `on-failure`?"),
            ("[debug]", "[debgu]", "9:2: error: unknown key `debgu`; did you mean `debug`?"),
            ("drive = 0x80", "colour = 1", "4:1: error: unknown key `colour`; `boot` takes `drive` or `on-failure`"),
            ("model =", "modle =", "13:10: error: unknown key `modle`; did you mean `model`?"),
            ("trim = false", "trimm = false", "18:1: error: unknown key `trimm`; did you mean `trim`?"),
        ],
    );
}

#[test]
fn values_of_the_wrong_type_are_shown_how_to_write() {
    assert_errors(
        "types",
        &[
            (
                "\"16 MiB\"",
                "16",
                "2:11: error: `reserve` must be a string, not an integer; write e.g. `reserve = \"16 MiB\"`",
            ),
            ("0x80", "\"sda\"", "4:9: error: `drive` must be a number, not a string; write e.g. `drive = 0x80`"),
            ("trim = false", "trim = 0", "18:8: error: `trim` must be true or false, not an integer"),
            (
                "{ partition = 2 }",
                "2",
                "14:9: error: `range` must be a table, not an integer; write e.g. `range = { part",
            ),
            ("[[disk]]", "[disk]", "11:1: error: `disk` must be a list of tables, not a table; write e.g. `[[disk]]`"),
            (
                "[memory]\nreserve =",
                "memory =",
                "1:10: error: `memory` must be a table, not a string; write e.g. `[memory]`",
            ),
        ],
    );
}

#[test]
fn words_and_numbers_outside_the_schema_are_refused() {
    assert_errors(
        "values",
        &[
            (
                "\"info\"",
                "\"inof\"",
                "7:9: error: `level` cannot be `inof`; did you mean `info`? it must be `error`, `warn`",
            ),
            (
                "\"com1\"",
                "\"usb\"",
                "8:10: error: `serial` cannot be `usb`; it must be `COM1`, `COM2`, `COM3`, `COM4` or `off`",
            ),
            (
                "\"stop\"",
                "\"boot\"",
                "5:14: error: `on-failure` cannot be `boot`; it must be `stop` or `boot-without-shoji`",
            ),
            ("aes-xts-plain64", "rot13", "15:10: error: `cipher` cannot be `rot13`; it must be `aes-xts-plain64`"),
            ("\"signature\"", "\"yes\"", "17:9: error: `check` cannot be `yes`; it must be `signature` or `none`"),
            ("0x80", "0x180", "4:9: error: `drive` must be a whole number from 0 to 255; write e.g. `drive = 0x80`"),
            (
                "partition = 2",
                "partition = -1",
                "14:23: error: `partition` must be a whole number from 0 to 4294967295",
            ),
            ("16 MiB", "16 MB", "2:11: error: `reserve` is no size in MiB or GiB; write e.g. `reserve = \"16 MiB\"`"),
            ("partition = 2", "guid = \"x\"", "14:18: error: `guid` is no GUID; copy the PARTUUID that `blkid` shows"),
        ],
    );
}

#[test]
fn what_the_shared_validation_refuses_has_a_place_too() {
    assert_errors(
        "validation",
        &[
            (
                "16 MiB",
                "15 MiB",
                "2:11: error: `memory.reserve` is 15 MiB but must be an even number of MiB from 8 to 1024",
            ),
            ("0x80", "0x00", "4:9: error: `boot.drive` is 0x00 but BIOS hard disks count from 0x80"),
            ("\"root\"", "\"\"", "12:8: error: `name` is empty; give the rule a short name"),
            ("\"QM00001\"", "\" QM1\"", "13:44: error: `disk.serial` begins or ends with a space"),
            ("partition = 2", "partition = 0", "14:23: error: `range.partition` is 0 but partitions count from 1"),
            ("partition = 2", "first-lba = 9, sectors = 0", "14:36: error: `range.sectors` is 0; write how many"),
            (
                "partition = 2",
                "guid = \"00000000-0000-0000-0000-000000000000\"",
                "14:18: error: `range.guid` is all zeros, which marks an unused entry; copy the unique GUID",
            ),
            (
                "model = \"QEMU HARDDISK\", serial = \"QM00001\"",
                "channel = 1, unit = 2",
                "13:30: error: `disk.unit` is 2 but must be 0 (master) or 1 (slave)",
            ),
        ],
    );
}

#[test]
fn missing_keys_are_named_at_their_table() {
    assert_errors(
        "missing",
        &[
            ("name = \"root\"", "", "11:1: error: `[[disk]]` lacks the key `name`; add e.g. `name = \"root\"`"),
            ("disk = {", "#", "11:1: error: `[[disk]]` lacks the key `disk`; add e.g. `disk = { model"),
            ("range = {", "#", "11:1: error: `[[disk]]` lacks the key `range`; add e.g. `range = { partition = 2 }`"),
            (
                "cipher =",
                "#",
                "11:1: error: `[[disk]]` lacks the key `cipher`; add e.g. `cipher = \"aes-xts-plain64\"`",
            ),
            ("key-file =", "#", "11:1: error: `[[disk]]` lacks the key `key-file`; add e.g. `key-file = \"root.key\"`"),
            (
                "partition = 2",
                "first-lba = 5",
                "14:9: error: `range` lacks the key `sectors`; add e.g. `sectors = 4096`",
            ),
            (
                "model = \"QEMU HARDDISK\", serial = \"QM00001\"",
                "channel = 0",
                "13:8: error: `disk` lacks the key `unit`; add e.g. `unit = 0`",
            ),
        ],
    );
}

#[test]
fn selectors_choose_in_exactly_one_way() {
    assert_errors(
        "selectors",
        &[
            ("model =", "unit = 0, model =", "13:8: error: `disk` is given twice; give either `model` and `serial`"),
            ("model = \"QEMU HARDDISK\", serial = \"QM00001\"", "", "13:8: error: `disk` names no disk; give either"),
            ("partition = 2", "partition = 2, sectors = 1", "14:9: error: `range` names several ranges; give one of"),
            ("partition = 2", "", "14:9: error: `range` names no range; give one of `partition`, `guid`"),
        ],
    );
}

#[test]
fn syntax_errors_have_their_place() {
    assert_errors(
        "syntax",
        &[
            (
                "\"info\"",
                "info",
                "7:9: error: invalid float, expected `inf`; correct the TOML syntax here (text stands in double quotes)",
            ),
            (
                "\"com1\"",
                "com1",
                "8:10: error: string values must be quoted, expected literal string; correct the TOML",
            ),
            (
                "level = \"info\"",
                "serial = \"com1\"",
                "8:1: error: duplicate key `serial`; correct the TOML syntax here",
            ),
            ("[boot]", "[boot", "3:6: error: unclosed table, expected `]`; correct the TOML syntax here"),
        ],
    );
}

#[test]
fn keys_that_cannot_be_used_are_explained() {
    let same_halves = format!("key = \"{}\"", "a5".repeat(64));
    let both = format!("key = \"{}\"\ncheck =", hex::encode(key()));
    assert_errors(
        "keys",
        &[
            (
                "root.key",
                "none.key",
                "16:12: error: `key-file` names none.key, which does not exist; make it with `shoji key new none.key`",
            ),
            ("root.key", ".", "16:12: error: `key-file` names ., which is not a file"),
            ("root.key", "bad.toml", "16:12: error: `key-file` names bad.toml, which has "),
            (
                "key-file = \"root.key\"",
                "key = \"0102\"",
                "16:7: error: `key` must be 128 hexadecimal digits (64 bytes), not these 4",
            ),
            ("key-file = \"root.key\"", &same_halves, "16:7: error: `key` has two equal halves"),
            ("check =", &both, "11:1: error: `key` and `key-file` are both given; keep `key-file`"),
        ],
    );
}

#[test]
fn a_key_file_of_another_length_says_both_lengths() {
    let folder = folder("length");
    for length in [0, 63, 65, 4096] {
        folder.write("root.key", vec![7; length]);
        let (status, stderr) = check(&folder, "trim = false", "");
        assert_eq!(status, 1);
        assert!(
            stderr.contains(&format!("has {length} bytes; a key has 64 raw bytes, make one with `shoji key new FILE`")),
            "{stderr}"
        );
    }
}

#[test]
fn a_key_file_with_equal_halves_is_refused_at_its_place() {
    let folder = folder("halves");
    folder.write("root.key", [0x5A; 64]);
    let (status, stderr) = check(&folder, "trim = false", "");
    assert_eq!(status, 1);
    assert!(stderr.starts_with("bad.toml:16:12: error: `key` has two equal halves"), "{stderr}");
}

#[test]
fn two_rules_for_one_range_point_at_the_second() {
    let folder = folder("twice");
    let rule = &GOOD[GOOD.find("[[disk]]").unwrap()..];
    folder.write("bad.toml", [GOOD, rule].concat());
    let outcome = folder.shoji("config check bad.toml");
    assert_eq!(outcome.status, 1);
    let expected = "bad.toml:20:8: error: `name` is that of disk rule 1 too; names must differ, so that the log is clear\n\
                    bad.toml:22:9: error: `range` shares sectors with disk rule 1 on the same disk; remove one of the rules\n";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn all_errors_come_in_one_run_in_the_order_of_the_file() {
    let folder = folder("several");
    folder.write("bad.toml", GOOD.replace("info", "inof").replace("16 MiB", "7 MiB").replace("trim =", "trimm ="));
    let outcome = folder.shoji("config check bad.toml");
    let places: Vec<_> = outcome.stderr.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["bad.toml:2:11", "bad.toml:7:9", "bad.toml:18:1"]);
}

#[test]
fn a_rule_that_cannot_be_read_does_not_shift_the_places_of_the_others() {
    let folder = folder("shift");
    let rule = GOOD[GOOD.find("[[disk]]").unwrap()..].replace("\"root\"", "\"home\"").replace("= 2", "= 0");
    folder.write("bad.toml", [&GOOD.replace("aes-xts-plain64", "rot13"), rule.as_str()].concat());
    let outcome = folder.shoji("config check bad.toml");
    assert!(outcome.stderr.contains("bad.toml:22:23: error: `range.partition` is 0"), "{}", outcome.stderr);
}

#[test]
fn columns_count_characters_not_bytes() {
    let (status, stderr) = check(&folder("columns"), "name = \"root\"", "\"näme\" = \"ö\" # ü\nname = \"ä\"");
    assert_eq!(status, 1);
    assert!(stderr.contains("bad.toml:12:1: error: unknown key `näme`; did you mean `name`?"), "{stderr}");
    assert!(stderr.contains("bad.toml:13:8: error: `name` holds characters other than printable ASCII"), "{stderr}");
}

#[test]
fn no_message_repeats_a_key() {
    let folder = folder("secret");
    let secret = "0123456789abcdef".repeat(8);
    for line in [
        format!("key = \"{secret}0\""),
        format!("key = {secret}"),
        format!("key = \"{secret}"),
        format!("key = [\"{secret}\"]"),
    ] {
        let (status, stderr) = check(&folder, "key-file = \"root.key\"", &line);
        assert_eq!(status, 1);
        assert!(!stderr.contains("0123456789"), "{stderr}");
    }
}

#[test]
fn open_key_files_are_warned_about_with_the_remedy() {
    let folder = folder("open-key");
    std::fs::set_permissions(folder.path("root.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let (status, stderr) = check(&folder, "trim = false", "");
    assert_eq!(status, 0);
    assert_eq!(
        stderr,
        "bad.toml:16:12: warning: `key-file` root.key is open to other users; run `chmod 600 root.key`\n"
    );
}

#[test]
fn a_key_inside_an_open_toml_file_is_warned_about() {
    let folder = folder("inline-key");
    let line = format!("key = \"{}\"", hex::encode(key()));
    assert_eq!(check(&folder, "key-file = \"root.key\"", &line), (0, String::new()));
    std::fs::set_permissions(folder.path("bad.toml"), PermissionsExt::from_mode(0o640)).unwrap();
    let outcome = folder.shoji("config check bad.toml");
    assert_eq!(outcome.status, 0);
    let expected =
        "bad.toml:16:7: warning: `key` stands in bad.toml, which is open to other users; run `chmod 600 bad.toml`\n";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn a_file_without_rules_is_good_but_doubtful() {
    let folder = Folder::new("empty");
    folder.write("empty.toml", "");
    let outcome = folder.shoji("config check empty.toml");
    assert_eq!(outcome.status, 0);
    assert!(outcome.stderr.starts_with("empty.toml:1:1: warning: there is no `[[disk]]`"), "{}", outcome.stderr);
}
