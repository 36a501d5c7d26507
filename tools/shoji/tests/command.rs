//! The command as a user types it: results, exit status, files.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Folder;

const TOML: &str = r#"
[boot]
drive = 0x81
[log]
serial = "off"
[guest-calls]
status = "any"
shell = "kernel"
[dbgsh]
key-file = "dbgsh.key"
[[disk]]
name = "root \"1\""
disk = { serial = "QM\\1" }
range = { guid = "01234567-89AB-cdef-0123-456789abcdef" }
cipher = "aes-xts-plain64"
key-file = "root.key"
"#;

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    let key: Vec<u8> = (100..164).collect();
    let key = folder.write("root.key", key);
    fs::set_permissions(key, PermissionsExt::from_mode(0o600)).unwrap();
    let key = folder.write("dbgsh.key", [9; 32]);
    fs::set_permissions(key, PermissionsExt::from_mode(0o600)).unwrap();
    folder.write("shoji.toml", TOML);
    folder
}

fn mode(folder: &Folder, name: &str) -> u32 {
    fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_built_configuration_is_what_the_vmm_reads() {
    let folder = folder("build");
    let outcome = folder.shoji("config build shoji.toml");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let blob = fs::read(folder.path("shoji.conf")).unwrap();
    assert_eq!(outcome.stdout, format!("shoji.conf: {} bytes, 1 disk rule, not locked\n", blob.len()));
    let config = config::parse(&blob).unwrap();
    assert_eq!((config.boot.drive, config.log.serial), (Some(0x81), None));
    assert_eq!(config.dbgsh.unwrap().key.0, [9; 32]);
    let rule = &config.disks[0];
    assert_eq!(rule.name, "root \"1\"");
    assert_eq!(rule.disk, config::DiskSelector::Identity { model: None, serial: Some("QM\\1".into()) });
    // The first three fields are little endian in a GPT entry.
    let guid = *b"\x67\x45\x23\x01\xab\x89\xef\xcd\x01\x23\x45\x67\x89\xab\xcd\xef";
    assert_eq!(rule.range, config::RangeSelector::PartitionGuid(guid));
    let config::Format::DmCrypt(format) = &rule.format else { panic!("it is another format") };
    assert!(format.key.0.iter().copied().eq(100..164));
    assert!(!rule.trim);
}

#[test]
fn the_result_is_for_its_owner_only_and_replaces_an_older_one() {
    let folder = folder("replace");
    let old = folder.write("out.bin", "old");
    fs::set_permissions(old, PermissionsExt::from_mode(0o644)).unwrap();
    folder.write("out.bin.new", "leftover");
    assert_eq!(folder.shoji("config build shoji.toml -o out.bin").status, 0);
    assert_eq!(mode(&folder, "out.bin"), 0o600);
    assert!(!folder.path("out.bin.new").exists() && !folder.path("shoji.conf").exists());
    assert!(config::parse(&fs::read(folder.path("out.bin")).unwrap()).is_ok());
}

#[test]
fn nothing_is_built_from_a_bad_file_or_over_the_source() {
    let folder = folder("no-build");
    folder.write("bad.toml", "colour = 1");
    assert_eq!(folder.shoji("config build bad.toml").status, 1);
    assert!(!folder.path("bad.conf").exists());
    let outcome = folder.shoji("config build shoji.toml -o shoji.toml");
    assert_eq!(outcome.status, 2);
    assert!(outcome.stderr.contains("name the result with -o"), "{}", outcome.stderr);
    assert_eq!(fs::read_to_string(folder.path("shoji.toml")).unwrap(), TOML);
}

#[test]
fn show_is_the_same_for_both_forms_and_has_no_key() {
    let folder = folder("show");
    assert_eq!(folder.shoji("config build shoji.toml").status, 0);
    let (source, blob) = (folder.shoji("config show shoji.toml"), folder.shoji("config show shoji.conf"));
    assert_eq!((source.status, &source.stdout), (0, &blob.stdout));
    let expected = r#"[memory]
reserve = "16 MiB"

[boot]
drive = 0x81
on-failure = "stop"

[log]
level = "info"
serial = "off"
speed = 115200
screen = true

[login]
keyboard = "us"
tries = 3
after-failure = "reboot"
memory = "256 MiB"
passes = 3

[guest-calls]
status = "any"
log = "off"
shell = "kernel"

[debug]
hypercalls = false
defects = false
heartbeat = false

[dbgsh]
key = "(32 bytes, not shown)"

[[disk]]
name = "root \"1\""
disk = { serial = "QM\\1" }
range = { guid = "01234567-89ab-cdef-0123-456789abcdef" }
format = "dm-crypt"
cipher = "aes-xts-plain64"
key = "(64 bytes, not shown)"
check = "signature"
access = "read-write"
trim = false
"#;
    assert_eq!(source.stdout, expected);
}

#[test]
fn what_show_prints_is_good_again_with_a_key_file() {
    let folder = folder("round-trip");
    let shown = folder.shoji("config show shoji.toml").stdout;
    let again = shown.replace("key = \"(64 bytes, not shown)\"", "key-file = \"root.key\"");
    folder.write("again.toml", again.replace("key = \"(32 bytes, not shown)\"", "key-file = \"dbgsh.key\""));
    assert_eq!(folder.shoji("config build shoji.toml").status, 0);
    assert_eq!(folder.shoji("config build again.toml").status, 0);
    assert_eq!(fs::read(folder.path("again.conf")).unwrap(), fs::read(folder.path("shoji.conf")).unwrap());
}

#[test]
fn show_as_json_has_the_same_keys() {
    let folder = folder("show-json");
    let outcome = folder.shoji("config show --json shoji.toml");
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["boot"]["drive"], 0x81);
    assert_eq!(json["disk"][0]["disk"]["serial"], "QM\\1");
    assert_eq!(json["disk"][0]["key"], "(64 bytes, not shown)");
}

#[test]
fn check_as_json_has_place_key_and_message() {
    let folder = folder("check-json");
    folder.write("bad.toml", TOML.replace("off", "usb"));
    let outcome = folder.shoji("config check --json bad.toml");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (1, ""));
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&json["ok"], &json["file"]), (&false.into(), &"bad.toml".into()));
    let finding = &json["findings"][0];
    assert_eq!((&finding["line"], &finding["column"], &finding["key"]), (&5.into(), &10.into(), &"log.serial".into()));
    assert!(finding["message"].as_str().unwrap().starts_with("`serial` cannot be `usb`"));
    let good = folder.shoji("config check --json shoji.toml");
    assert_eq!(
        (good.status, serde_json::from_str::<serde_json::Value>(&good.stdout).unwrap()["ok"] == true),
        (0, true)
    );
}

#[test]
fn a_damaged_blob_is_explained() {
    let folder = folder("damaged");
    assert_eq!(folder.shoji("config build shoji.toml").status, 0);
    let mut blob = fs::read(folder.path("shoji.conf")).unwrap();
    *blob.last_mut().unwrap() ^= 1;
    folder.write("shoji.conf", &blob);
    let outcome = folder.shoji("config check shoji.conf");
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.starts_with("shoji.conf: error: the configuration is damaged"), "{}", outcome.stderr);
    folder.write("shoji.conf", &blob[..50]);
    assert!(folder.shoji("config show shoji.conf").stderr.contains("truncated, 50 of "));
}

#[test]
fn files_that_are_no_configuration_at_all_are_refused() {
    let folder = folder("no-config");
    folder.write("latin1.toml", b"name = \"\xFC\"");
    let outcome = folder.shoji("config check latin1.toml");
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("neither a compiled Shoji configuration nor text in UTF-8"), "{}", outcome.stderr);
    folder.write("huge.toml", vec![b'#'; (1 << 20) + 5]);
    let outcome = folder.shoji("config check huge.toml");
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("1048581 bytes, more than the 1048576"), "{}", outcome.stderr);
}

#[test]
fn deeply_nested_toml_is_refused_without_a_crash() {
    let folder = folder("nested");
    folder.write("deep.toml", format!("a = {}", "[".repeat(100_000)));
    folder.write("dots.toml", format!("a{} = 1", ".a".repeat(100_000)));
    assert_eq!(folder.shoji("config check deep.toml").status, 1);
    assert_eq!(folder.shoji("config check dots.toml").status, 1);
}

#[test]
fn what_cannot_be_read_or_written_ends_with_3() {
    let folder = folder("io");
    for line in [
        "config check none.toml",
        "config check .",
        "config build shoji.toml -o none/out",
        "grub-entry --standalone none",
    ] {
        let outcome = folder.shoji(line);
        assert_eq!(outcome.status, 3, "{line}: {}", outcome.stderr);
        assert!(outcome.stderr.starts_with("shoji: cannot "), "{}", outcome.stderr);
    }
}

#[test]
fn wrong_usage_ends_with_2_and_every_command_has_help() {
    let folder = folder("usage");
    for line in ["", "config", "config chekc x", "key new", "grub-entry --timeout x", "grub-entry --image a;b"] {
        assert_eq!(folder.shoji(line).status, 2, "{line}");
    }
    for line in ["", "config", "config check", "config build", "config show", "key", "key new", "grub-entry"] {
        let outcome = folder.shoji(&format!("{line} --help"));
        assert!(outcome.status == 0 && outcome.stdout.contains("Usage: shoji"), "{line}: {}", outcome.stdout);
    }
}

#[test]
fn new_keys_are_random_private_and_never_overwritten() {
    let folder = Folder::new("new-key");
    assert_eq!(folder.shoji("key new a.key").status, 0);
    assert_eq!(folder.shoji("key new b.key").status, 0);
    let read = |name| fs::read(folder.path(name)).unwrap();
    let (a, b) = (read("a.key"), read("b.key"));
    assert!(a.len() == 64 && b.len() == 64 && a != b && a[..32] != a[32..]);
    assert_eq!(mode(&folder, "a.key"), 0o600);
    let outcome = folder.shoji("key new a.key");
    assert_eq!(outcome.status, 3);
    assert!(outcome.stderr.contains("cannot make a.key"), "{}", outcome.stderr);
    assert_eq!(read("a.key"), a);
}

#[test]
fn without_shoji_the_guests_commands_say_so() {
    let folder = Folder::new("without_shoji");
    for line in ["status", "status --json", "log", "log --previous", "log -f"] {
        let outcome = folder.shoji(line);
        assert_eq!((outcome.status, &outcome.stdout[..]), (4, ""), "{line}");
        assert!(outcome.stderr.starts_with("shoji: Shoji does not run here"), "{}", outcome.stderr);
    }
    assert_eq!(folder.shoji("status --json --prometheus").status, 2);
    assert_eq!(folder.shoji("log --level loud").status, 2);
}
