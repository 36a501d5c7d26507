use alloc::string::ToString;
use alloc::{format, vec};

use super::*;
use crate::schema::{COM4, Dbgsh, KeyCheck, ShellKey};

fn key() -> XtsKey {
    XtsKey(core::array::from_fn(|i| i as u8))
}

fn rule(name: &str, partition: u32) -> DiskRule {
    let (disk, range) = (DiskSelector::Position { channel: 0, unit: 0 }, RangeSelector::Partition(partition));
    let format = Format::dm_crypt(key(), KeyCheck::Signature);
    DiskRule { name: name.into(), disk, range, format, access: Access::ReadWrite, trim: false }
}

/// Keys of the problems of a configuration with one rule, after `change`.
fn keys(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
    let mut config = Config { disks: vec![rule("root", 2)], ..Config::default() };
    change(&mut config);
    validate(&config).iter().map(|problem| problem.key).collect()
}

fn lba(first: u64, sectors: u64) -> RangeSelector {
    RangeSelector::Lba { first, sectors }
}

#[test]
fn the_defaults_with_one_rule_are_good() {
    assert!(keys(|_| ()).is_empty());
    assert!(validate(&Config::default()).is_empty());
}

#[test]
fn the_reservation_is_even_and_in_range() {
    for (mib, good) in [(0, false), (6, false), (8, true), (9, false), (16, true), (1024, true), (1026, false)] {
        assert_eq!(keys(|c| c.memory.reserve_mib = mib).is_empty(), good, "{mib}");
    }
}

#[test]
fn a_floppy_is_no_boot_drive() {
    assert_eq!(keys(|c| c.boot.drive = Some(0x7F)), ["boot.drive"]);
    assert!(keys(|c| c.boot.drive = Some(0x80)).is_empty());
}

#[test]
fn serial_ports_are_where_serial_ports_can_be() {
    for (port, good) in [(COM4, true), (0x2F9, false), (0x1F0, false), (0x60, false), (0x3B0, false), (0x3F0, false)] {
        assert_eq!(keys(|c| c.log.serial = Some(port)).is_empty(), good, "{port:#x}");
    }
    assert_eq!(keys(|c| c.log.serial = Some(0xCF8)), ["log.serial"]);
    assert!(keys(|c| c.log.serial = None).is_empty() && keys(|c| c.log.serial = Some(0xE050)).is_empty());
}

#[test]
fn a_serial_port_has_a_speed_that_divides_115200() {
    for (baud, good) in [(0, false), (299, false), (300, true), (9600, true), (19200, true), (14000, false)] {
        assert_eq!(keys(|c| c.log.speed_baud = baud).is_empty(), good, "{baud}");
    }
    assert_eq!(keys(|c| c.log.speed_baud = 230_400), ["log.speed"]);
}

#[test]
fn the_login_has_one_to_ten_tries() {
    for (tries, good) in [(0, false), (1, true), (10, true), (11, false)] {
        assert_eq!(keys(|c| c.login.tries = tries).is_empty(), good, "{tries}");
    }
}

#[test]
fn what_a_pass_phrase_takes_is_bounded() {
    let with = |mib, passes| keys(|c| (c.login.memory_mib, c.login.passes) = (mib, passes));
    assert!(with(1, 1).is_empty() && with(4096, 4).is_empty() && with(1024, 16).is_empty());
    assert_eq!(with(0, 3), ["login.memory"]);
    assert_eq!(with(4097, 3), ["login.memory"]);
    assert_eq!(with(u32::MAX, u32::MAX), ["login.memory"]);
    assert_eq!(with(256, 0), ["login.passes"]);
    assert_eq!(with(256, 17), ["login.passes"]);
    assert_eq!(with(4096, 5), ["login.passes"]);
}

#[test]
fn a_shell_needs_a_key_and_a_key_alone_does_no_harm() {
    let key = || Some(Dbgsh { key: ShellKey([7; 32].to_vec()) });
    assert_eq!(keys(|c| c.guest_calls.shell = Callers::Kernel), ["guest-calls.shell"]);
    assert!(keys(|c| (c.guest_calls.shell, c.dbgsh) = (Callers::Any, key())).is_empty());
    assert!(keys(|c| c.dbgsh = key()).is_empty());
    assert_eq!(keys(|c| c.dbgsh = Some(Dbgsh { key: ShellKey([7; 31].to_vec()) })), ["dbgsh.key"]);
}

#[test]
fn names_are_short_printable_and_trimmed() {
    for (name, good) in [("", false), (" a", false), ("a\n", false), ("ä", false), ("a b", true)] {
        assert_eq!(keys(|c| c.disks[0].name = name.into()).is_empty(), good, "{name:?}");
    }
    assert!(keys(|c| c.disks[0].name = "x".repeat(64)).is_empty());
    assert_eq!(keys(|c| c.disks[0].name = "x".repeat(65)), ["name"]);
}

#[test]
fn an_identity_needs_a_model_or_a_serial() {
    let with = |model: Option<&str>, serial: Option<&str>| {
        let (model, serial) = (model.map(Into::into), serial.map(Into::into));
        keys(|c| c.disks[0].disk = DiskSelector::Identity { model, serial })
    };
    assert_eq!(with(None, None), ["disk"]);
    assert_eq!(with(Some(""), Some("QM1 ")), ["disk.model", "disk.serial"]);
    assert!(with(None, Some("QM00001")).is_empty());
}

#[test]
fn a_unit_is_0_or_1_and_a_channel_any_port_or_namespace() {
    let with = |channel, unit| keys(|c| c.disks[0].disk = DiskSelector::Position { channel, unit });
    assert!(with(1, 1).is_empty());
    assert!(with(31, 0).is_empty() && with(u32::MAX, 0).is_empty());
    assert_eq!(with(2, 255), ["disk.unit"]);
}

#[test]
fn ranges_are_not_empty_and_do_not_overflow() {
    let with = |range| keys(|c| c.disks[0].range = range);
    assert_eq!(with(RangeSelector::Partition(0)), ["range.partition"]);
    assert_eq!(with(RangeSelector::PartitionGuid([0; 16])), ["range.guid"]);
    assert_eq!(with(lba(5, 0)), ["range.sectors"]);
    assert_eq!(with(lba(u64::MAX, 1)), ["range.sectors"]);
    assert!(with(lba(u64::MAX - 1, 1)).is_empty());
}

#[test]
fn the_two_halves_of_a_key_differ() {
    let with = |key| keys(|c| c.disks[0].format = Format::dm_crypt(key, KeyCheck::None));
    assert_eq!(with(XtsKey([0x5A; 64])), ["key"]);
    let mut other = key();
    other.0[32..].fill(0);
    assert!(with(other).is_empty());
}

#[test]
fn a_plain_rule_takes_rights_away() {
    let with = |access| {
        keys(|c| {
            c.disks[0].format = Format::Plain;
            c.disks[0].access = access;
        })
    };
    assert_eq!(with(Access::ReadWrite), ["format"]);
    assert!(with(Access::ReadOnly).is_empty());
}

#[test]
fn a_detached_header_is_a_range_of_its_own() {
    let luks = |header| Format::Luks2 { header };
    let with = |header| keys(|c| c.disks[0].format = luks(header));
    assert!(with(HeaderSelector::InRange).is_empty());
    let with = |range| with(HeaderSelector::Range(range));
    assert!(with(RangeSelector::Partition(3)).is_empty());
    assert_eq!(with(RangeSelector::Partition(0)), ["header.partition"]);
    assert_eq!(with(lba(5, 0)), ["header.sectors"]);
    assert_eq!(with(RangeSelector::Partition(2)), ["header"], "the range itself");
    let luks = |range| luks(HeaderSelector::Range(range));
    let pair = |header| {
        keys(|c| {
            c.disks[0].format = luks(RangeSelector::Partition(3));
            c.disks.push(DiskRule { format: luks(header), ..rule("home", 4) });
        })
    };
    assert!(pair(RangeSelector::Partition(5)).is_empty());
    assert_eq!(pair(RangeSelector::Partition(3)), ["header"], "of the other rule, too");
    assert_eq!(pair(RangeSelector::Partition(2)), ["header"], "the other rule's range");
    let range = keys(|c| {
        c.disks[0].format = luks(RangeSelector::Partition(3));
        c.disks.push(rule("home", 3));
    });
    assert_eq!(range, ["range"], "the other rule's header");
}

#[test]
fn a_header_file_has_a_plain_name_and_one_volume() {
    let luks = |name: &str| Format::Luks2 { header: HeaderSelector::File(name.into()) };
    let with = |name: &str| keys(|c| c.disks[0].format = luks(name));
    for good in ["data", "2.home_+-", &"x".repeat(64)] {
        assert!(with(good).is_empty(), "{good}");
    }
    for bad in ["", "/boot/data", "my data", "-q", "..", "da\"ta", "$root", "d\u{e4}ta", &"x".repeat(65)] {
        assert_eq!(with(bad), ["header.file"], "{bad}");
    }
    let pair = |name: &str| {
        keys(|c| {
            c.disks[0].format = luks("data");
            let other = rule("home", 3);
            let disk = DiskSelector::Position { channel: 7, unit: 0 };
            c.disks.push(DiskRule { disk, format: luks(name), ..other });
        })
    };
    assert!(pair("home").is_empty());
    assert_eq!(pair("data"), ["header.file"], "on another disk, too");
}

#[test]
fn two_rules_for_the_same_sectors_or_of_the_same_name_are_refused() {
    let with = |second: DiskRule| keys(|c| c.disks.push(second));
    assert!(with(rule("home", 3)).is_empty());
    assert_eq!(with(rule("home", 2)), ["range"]);
    assert_eq!(with(rule("root", 3)), ["name"]);
    let other_disk = DiskSelector::Position { channel: 0, unit: 1 };
    assert!(with(DiskRule { disk: other_disk, ..rule("home", 2) }).is_empty());
}

#[test]
fn lba_ranges_may_touch_but_not_overlap() {
    let with = |a, b| {
        keys(|c| {
            c.disks[0].range = a;
            c.disks.push(DiskRule { range: b, ..rule("home", 0) });
        })
    };
    assert!(with(lba(100, 50), lba(150, 50)).is_empty());
    assert!(with(lba(150, 50), lba(100, 50)).is_empty());
    assert_eq!(with(lba(100, 51), lba(150, 50)), ["range"]);
    assert_eq!(with(lba(150, 50), lba(149, 2)), ["range"]);
}

#[test]
fn a_problem_of_a_rule_counts_rules_from_1() {
    let config = Config { disks: vec![rule("root", 2), rule("home", 0)], ..Config::default() };
    let text = validate(&config)[0].to_string();
    assert!(text.starts_with("`range.partition` of disk rule 2 is 0"), "{text}");
}

#[test]
fn sixty_five_rules_are_too_many() {
    let disks = |n: u32| (1..=n).map(|i| rule(&format!("r{i}"), i)).collect();
    assert!(keys(|c| c.disks = disks(64)).is_empty());
    assert_eq!(keys(|c| c.disks = disks(65)), ["disk"]);
}
