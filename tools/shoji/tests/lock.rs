//! Locked configurations, as a user makes and opens them.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{Folder, Outcome};
use config::{Locked, Opened, RecoveryKey};

const TOML: &str = r#"
[log]
serial = "COM2"
[login]
memory = "1 MiB"
passes = 1
[[disk]]
name = "topsecret"
disk = { serial = "QM00001" }
range = { partition = 2 }
cipher = "aes-xts-plain64"
key-file = "root.key"
"#;

/// What stands above: a pass phrase that is cheap to guess.
const WARNING: &str = "below 32 MiB makes it cheap to guess";

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    let secrets: [(&str, &[u8]); 6] = [
        ("root.key", &core::array::from_fn::<u8, 64, _>(|i| i as u8)),
        ("alice", b"correct horse\n"),
        ("bob", b"battery staple\r\nanother line"),
        ("short", b"seven77"),
        ("foreign", "gr\u{fc}\u{df} dich!".as_bytes()),
        ("raw.key", &[0x3C; 48]),
    ];
    for (name, bytes) in secrets {
        fs::set_permissions(folder.write(name, bytes), PermissionsExt::from_mode(0o600)).unwrap();
    }
    folder.write("s.toml", TOML);
    folder
}

fn locked(folder: &Folder) -> Locked {
    match config::open(&fs::read(folder.path("s.conf")).unwrap()).unwrap() {
        Opened::Locked(locked) => locked,
        Opened::Plain(_) => panic!("it is not locked"),
    }
}

fn names(folder: &Folder) -> Vec<String> {
    locked(folder).slots().iter().map(|slot| slot.name.clone()).collect()
}

fn opens(folder: &Folder, file: &str) -> bool {
    let outcome = folder.shoji(&format!("config show s.conf --unlock-pass-phrase-file {file}"));
    assert_eq!(outcome.status == 0, outcome.stdout.contains("topsecret"), "{}", outcome.stderr);
    outcome.status == 0
}

fn good(folder: &Folder, line: &str) -> Outcome {
    let outcome = folder.shoji(line);
    assert_eq!(outcome.status, 0, "{line}: {}", outcome.stderr);
    assert!(outcome.stderr.lines().all(|line| line.contains(WARNING)), "{}", outcome.stderr);
    outcome
}

fn refused(folder: &Folder, status: i32, line: &str) -> String {
    let before = fs::read(folder.path("s.conf")).ok();
    let outcome = folder.shoji(line);
    assert_eq!(outcome.status, status, "{line}: {}", outcome.stderr);
    assert!(before == fs::read(folder.path("s.conf")).ok(), "{line} leaves the file alone");
    outcome.stderr
}

/// The recovery key that was printed.
fn printed_key(outcome: &Outcome) -> String {
    let text = outcome.stdout.lines().find(|line| line.starts_with("    ")).expect("a recovery key").trim().to_owned();
    assert_eq!((text.len(), text.split('-').count()), (55, 8), "{text}");
    text
}

/// Runs `shoji` on a terminal of its own and answers each prompt with a line; gives all that the terminal shows.
fn on_a_terminal(folder: &Folder, line: &str, answers: &[&str]) -> (i32, String) {
    let shoji = format!("{} {line}", env!("CARGO_BIN_EXE_shoji"));
    let mut script = Command::new("script");
    script.args(["-qec", &shoji, "/dev/null"]).current_dir(folder.path(""));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut answers) = (Vec::new(), answers.iter());
    let mut byte = [0];
    while output.read(&mut byte).unwrap() == 1 {
        shown.extend(byte);
        let asked = [&b"phrase: "[..], b"more: ", b"s.conf: "].iter().any(|prompt| shown.ends_with(prompt));
        if asked && let Some(answer) = answers.next() {
            // The prompt is shown just before the echo is switched off.
            thread::sleep(Duration::from_millis(300));
            writeln!(input, "{answer}").unwrap();
        }
    }
    (child.wait().unwrap().code().unwrap(), String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn a_locked_configuration_is_what_the_vmm_opens() {
    let folder = folder("lock-build");
    let outcome = good(&folder, "config build s.toml --pass-phrase-file alice --recovery-key --raw-key-file raw.key");
    assert!(outcome.stdout.starts_with("s.conf: "), "{}", outcome.stdout);
    assert!(outcome.stdout.contains(" bytes, 1 disk rule, locked, 3 slots\n"), "{}", outcome.stdout);
    assert_eq!(fs::metadata(folder.path("s.conf")).unwrap().permissions().mode() & 0o777, 0o600);
    let locked = locked(&folder);
    assert_eq!(locked.public().log.serial, Some(config::COM2));
    let recovery = RecoveryKey::parse(printed_key(&outcome).as_bytes()).unwrap();
    let mut memory = vec![config::Block::new(); locked.argon2_blocks()];
    for config in [
        locked.unlock_with_pass_phrase(b"correct horse", &mut memory),
        locked.unlock_with_recovery_key(&recovery),
        locked.unlock_with_raw_key(&[0x3C; 48]),
    ] {
        assert!(config.unwrap().disks[0].key.0.iter().copied().eq(0..64));
    }
    let blob = fs::read(folder.path("s.conf")).unwrap();
    assert!(!blob.windows(9).any(|window| window == b"topsecret"));
}

#[test]
fn without_opening_it_the_slots_and_the_public_part_are_shown() {
    let folder = folder("lock-show");
    good(&folder, "config build s.toml --pass-phrase-file alice --name alice");
    let shown = good(&folder, "config show s.conf").stdout;
    let head = "# locked: only what can be read without opening it, and could be forged\n# rollback counter 1\n\
                # slot 1: \"alice\", pass phrase, 1 MiB 1 times\n\n[memory]\n";
    assert!(shown.starts_with(head) && shown.contains("serial = \"COM2\"") && !shown.contains("topsecret"), "{shown}");
    let json = good(&folder, "config show --json s.conf").stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["lock"]["counter"], &json["lock"]["slots"][0]["memory"]), (&1.into(), &"1 MiB".into()));
    assert!(json["disk"].is_null() && json["lock"]["opened"] == false);
    let checked = good(&folder, "config check s.conf").stdout;
    assert_eq!(checked, "s.conf: good as far as can be seen without opening it, 1 slot\n");
    assert!(opens(&folder, "alice") && !opens(&folder, "bob"));
}

#[test]
fn a_recovery_key_opens_it_and_a_mistyped_group_is_named() {
    let folder = folder("lock-recovery");
    let key = printed_key(&good(&folder, "config build s.toml --pass-phrase-file alice --recovery-key"));
    folder.write("paper", key.replace('-', " "));
    let show = "config show s.conf --unlock-recovery-key-file paper";
    assert!(good(&folder, show).stdout.contains("topsecret"));
    let digit = if key.ends_with('0') { "1" } else { "0" };
    folder.write("paper", format!("{}{digit}", &key[..key.len() - 1]));
    assert!(refused(&folder, 1, show).contains("group 8 of the recovery key is mistyped"));
    folder.write("paper", RecoveryKey([1; 16]).to_text().as_bytes());
    assert!(refused(&folder, 1, show).contains("stays locked by the recovery key: it does not open"));
}

#[test]
fn slots_come_and_go_and_the_counter_goes_up() {
    let folder = folder("lock-slots");
    good(&folder, "config build s.toml --pass-phrase-file alice --name alice");
    good(&folder, "config add-slot s.conf --pass-phrase-file bob --name bob --unlock-pass-phrase-file alice");
    assert!(opens(&folder, "alice") && opens(&folder, "bob"));
    good(&folder, "config add-slot s.conf --raw-key-file raw.key --unlock-pass-phrase-file bob");
    assert_eq!(names(&folder), ["alice", "bob", "key file"]);
    good(&folder, "config remove-slot s.conf 1 --unlock-raw-key-file raw.key");
    assert_eq!((names(&folder), locked(&folder).counter()), (vec!["bob".into(), "key file".into()], 4));
    assert!(!opens(&folder, "alice") && opens(&folder, "bob"));
    for (slot, why) in [("0", "no slot of this number"), ("3", "no slot of this number")] {
        let line = format!("config remove-slot s.conf {slot} --unlock-raw-key-file raw.key");
        assert!(refused(&folder, 1, &line).contains(why));
    }
    good(&folder, "config remove-slot s.conf 2 --unlock-raw-key-file raw.key");
    let last = refused(&folder, 1, "config remove-slot s.conf 1 --unlock-pass-phrase-file bob");
    assert!(last.contains("the last slot"), "{last}");
}

#[test]
fn a_changed_pass_phrase_keeps_its_slot() {
    let folder = folder("lock-change");
    good(&folder, "config build s.toml --pass-phrase-file alice --raw-key-file raw.key");
    good(&folder, "config change s.conf --unlock-pass-phrase-file alice --pass-phrase-file bob");
    assert_eq!(names(&folder), ["pass phrase", "key file"]);
    assert!(!opens(&folder, "alice") && opens(&folder, "bob"));
    let line = "config change s.conf --unlock-raw-key-file raw.key --pass-phrase-file alice";
    assert!(refused(&folder, 2, line).contains("open it with the pass phrase that shall be changed"));
}

#[test]
fn a_new_configuration_keeps_the_slots_when_asked() {
    let folder = folder("lock-keep");
    good(&folder, "config build s.toml --pass-phrase-file alice --name alice");
    folder.write("s.toml", TOML.replace("COM2", "COM3"));
    good(&folder, "config build s.toml --keep-slots --unlock-pass-phrase-file alice");
    assert!(opens(&folder, "alice") && locked(&folder).public().log.serial == Some(config::COM3));
    assert_eq!(locked(&folder).counter(), 2);
    good(&folder, "config build s.toml --pass-phrase-file bob");
    assert!(opens(&folder, "bob") && !opens(&folder, "alice") && locked(&folder).counter() == 3);
    let wrong = refused(&folder, 1, "config build s.toml --keep-slots --unlock-pass-phrase-file alice");
    assert!(wrong.contains("s.conf stays locked by the pass phrase: it does not open"), "{wrong}");
    let silent = refused(&folder, 2, "config build s.toml");
    assert!(silent.contains("would hold the keys in clear") && opens(&folder, "bob"), "{silent}");
    for other in ["--keep-slots", "--recovery-key"] {
        let both = refused(&folder, 2, &format!("config build s.toml --unlocked {other}"));
        assert!(both.contains("cannot be used with") && opens(&folder, "bob"), "{both}");
    }
    good(&folder, "config build s.toml --unlocked");
    let plain = refused(&folder, 2, "config build s.toml --keep-slots --unlock-pass-phrase-file bob");
    assert!(plain.contains("not a locked configuration"), "{plain}");
    assert!(refused(&folder, 2, "config add-slot s.conf --recovery-key").contains("is not locked"));
}

#[test]
fn what_is_no_good_key_is_refused_before_anything_is_written() {
    let folder = folder("lock-refused");
    for (options, why) in [
        ("--pass-phrase-file short", "at least 8 characters"),
        ("--pass-phrase-file foreign", "printable ASCII"),
        ("--raw-key-file short", "32 to 64 bytes"),
        ("--recovery-key --name \u{e4}", "a name of printable ASCII"),
    ] {
        let stderr = refused(&folder, 1, &format!("config build s.toml {options}"));
        assert!(stderr.contains(why) && !stderr.contains("seven77"), "{options}: {stderr}");
    }
    assert!(refused(&folder, 3, "config build s.toml --pass-phrase-file none").contains("cannot read none"));
    refused(&folder, 2, "config build s.toml --pass-phrase-file alice --raw-key-file raw.key --name x");
    refused(&folder, 2, "config build s.toml --pass-phrase-file alice --pass-phrase");
    good(&folder, "config build s.toml --pass-phrase-file alice");
    refused(&folder, 2, "config add-slot s.conf --unlock-pass-phrase-file alice");
    refused(&folder, 2, "config show s.conf --unlock-pass-phrase-file alice --unlock-recovery-key");
}

#[test]
fn an_altered_file_is_told_from_a_wrong_pass_phrase() {
    let folder = folder("lock-altered");
    good(&folder, "config build s.toml --pass-phrase-file alice");
    let mut blob = fs::read(folder.path("s.conf")).unwrap();
    *blob.last_mut().unwrap() ^= 1;
    folder.write("s.conf", &blob);
    assert!(refused(&folder, 1, "config show s.conf").contains("is damaged, its checksum does not match"));
    // As somebody does who knows the format.
    let sum = crc32([&blob[..16], &blob[20..]].concat());
    blob[16..20].copy_from_slice(&sum.to_le_bytes());
    folder.write("s.conf", &blob);
    let stderr = refused(&folder, 1, "config show s.conf --unlock-pass-phrase-file alice");
    assert!(stderr.contains("was altered by somebody who could not open it"), "{stderr}");
    assert!(refused(&folder, 1, "config show s.conf --unlock-pass-phrase-file bob").contains("does not open"));
}

/// CRC-32 (ISO-HDLC), bit by bit.
fn crc32(bytes: Vec<u8>) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn pass_phrases_are_asked_for_without_echo() {
    let folder = folder("lock-terminal");
    let build = "config build s.toml --pass-phrase";
    let (status, shown) = on_a_terminal(&folder, build, &["correct horse"; 2]);
    assert!(status == 0 && shown.contains("New pass phrase: ") && shown.contains("Once more: "), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    assert!(opens(&folder, "alice"));
    let (status, shown) = on_a_terminal(&folder, build, &["correct horse", "correct house"]);
    assert!(status == 1 && shown.contains("the two pass phrases differ"), "{shown}");
    let (status, shown) = on_a_terminal(&folder, "config show s.conf --unlock", &["correct horse"]);
    assert!(status == 0 && shown.contains("Pass phrase of s.conf: ") && shown.contains("topsecret"), "{shown}");
    let (status, shown) = on_a_terminal(&folder, "config show s.conf --unlock", &["correct house"]);
    assert!(status == 1 && shown.contains("stays locked") && !shown.contains("topsecret"), "{shown}");
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let folder = folder("lock-no-terminal");
    let mut command = Command::new("setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_shoji"), "config", "build", "s.toml", "--pass-phrase"]);
    let output = command.current_dir(folder.path("")).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("there is no terminal") && stderr.contains("or name a file"), "{stderr}");
}
