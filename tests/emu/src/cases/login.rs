//! The login: a locked configuration is opened on the keyboard or the serial port, and nothing of what opened it stays in memory.
//! Pictures of the screen are kept under `target/shoji/screens`.

use crate::case::{Case, Cx, On};
use anyhow::{Context, Result, ensure};
use argon2::{Algorithm, Argon2, Params, Version};
use config::{
    Access, AfterFailure, Block, Boot, Config, Cost, Credential, DiskRule, DiskSelector, Envelope, Format, KeyCheck,
    Keyboard, Login, Method, Opened, RangeSelector, RecoveryKey, XtsKey,
};
use guest_images::{Before, DRIVE_UNDER_SHOJI, Files, KEY, boot_media};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use testbed::bochs::{Bochs, End, TICKS_PER_SECOND, expect};
use testbed::qemu::{Machine, Qemu, Writes};

/// Says a word on COM2 and ends, in Bochs.
const BOOT_SECTOR: &[u8] = &[
    0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
    0xbe, 0x1b, 0x7c, // mov si, the word
    0xfc, // cld
    0xac, 0x84, 0xc0, // lodsb; test al, al
    0x74, 0x06, // jz to the end
    0xba, 0xf8, 0x02, // mov dx, COM2
    0xee, // out dx, al
    0xeb, 0xf5, // back to lodsb
    0xba, 0x00, 0x89, // mov dx, the port that ends Bochs
    0xb0, 0x44, // mov al, 'D'
    0xee, 0xeb, 0xfd, // out dx, al; again
    b'G', b'U', b'E', b'S', b'T', b'\n', 0,
];
const GUEST: &str = "GUEST\n";

const MEMORY_MIB: u32 = 128;
const MASTER_KEY: [u8; 32] = *b"\x91\x04master key of this test\xfe\xdc\x10\x20\x30\x40\x50";
const RAW_KEY: [u8; 32] = [0x5a; 32];
const RECOVERY_KEY: [u8; 16] = *b"recovery-of-test";
const COST: Cost = Cost { memory_mib: 8, passes: 1 };
/// The highest of the 16 MiB that Shoji keeps end here, in a machine of that size.
const KEPT_BYTES: u64 = 16 << 20;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("a_pass_phrase_typed_on_a_german_keyboard_opens_and_leaves_no_trace", 120, german).on(On::ShojiOnly),
        Case::new("keys_that_only_japanese_keyboards_have_open_on_a_framebuffer", 120, japanese).on(On::ShojiOnly),
        Case::new("a_usb_keyboard_opens_through_the_bios", 120, usb).on(On::ShojiOnly),
        Case::new("a_recovery_key_on_the_serial_port_opens_and_a_typo_costs_no_try", 120, recovery).on(On::ShojiOnly),
        Case::new(
            "a_pass_phrase_that_takes_more_memory_than_is_free_is_told_and_the_recovery_key_opens",
            120,
            too_large,
        )
        .on(On::ShojiOnly),
        Case::new("a_wrong_pass_phrase_counts_although_another_slot_takes_too_much_memory", 120, half_too_large)
            .on(On::ShojiOnly),
        Case::new("a_key_file_beside_the_configuration_opens_without_a_login", 120, key_file).on(On::ShojiOnly),
        Case::new("three_wrong_pass_phrases_reset_the_machine", 120, |cx| wrong(cx, AfterFailure::Reboot))
            .on(On::ShojiOnly),
        Case::new("three_wrong_pass_phrases_switch_the_machine_off", 120, |cx| wrong(cx, AfterFailure::PowerOff))
            .on(On::ShojiOnly),
        Case::new("a_locked_configuration_that_was_altered_is_refused_after_the_login", 120, altered).on(On::ShojiOnly),
        Case::new("a_failure_before_the_login_never_boots_without_shoji", 120, no_way_round)
            .on(On::ShojiOnly)
            .only_by_tcg("the CPU must be AMD's"),
        Case::new("a_pass_phrase_opens_on_vt_x", 300, vt_x).on(On::ShojiOnly).beside_others(),
        Case::new("a_pass_phrase_of_one_gib_opens", 600, large).on(On::ShojiOnly).only_in_long_runs(),
    ]
}

/// A locked configuration.
struct Lock {
    pass_phrase: &'static str,
    keyboard: Keyboard,
    after_failure: AfterFailure,
    cost: Cost,
    /// Of a second slot, for the same pass phrase.
    other_cost: Option<Cost>,
    without_shoji: bool,
}

const LOCK: Lock = Lock {
    pass_phrase: "correct horse",
    keyboard: Keyboard::Us,
    after_failure: AfterFailure::Reboot,
    cost: COST,
    other_cost: None,
    without_shoji: false,
};

impl Lock {
    fn blob(&self) -> Result<Vec<u8>> {
        let rule = DiskRule {
            name: "data".into(),
            disk: DiskSelector::Position { channel: 0, unit: 0 },
            range: RangeSelector::Lba { first: 64, sectors: 64 },
            format: Format::dm_crypt(XtsKey(KEY), KeyCheck::None),
            access: Access::ReadWrite,
            trim: false,
        };
        let on_failure = if self.without_shoji { config::OnFailure::BootWithoutShoji } else { config::OnFailure::Stop };
        let (keyboard, after_failure) = (self.keyboard, self.after_failure);
        let config = Config {
            boot: Boot { drive: Some(DRIVE_UNDER_SHOJI), on_failure },
            login: Login { keyboard, after_failure, ..Login::default() },
            disks: vec![rule],
            ..Config::default()
        };
        let mut envelope = Envelope::new(&mut MASTER_KEY.clone(), 0);
        for (cost, random) in [(Some(self.cost), 7), (self.other_cost, 11)] {
            let Some(cost) = cost else { continue };
            let mut memory = vec![Block::default(); cost.blocks()];
            let pass_phrase = Credential::PassPhrase(self.pass_phrase.as_bytes(), &mut memory);
            envelope.add("pass phrase", pass_phrase, cost, [random; config::SLOT_RANDOM_BYTES])?;
        }
        let recovery = RecoveryKey(RECOVERY_KEY);
        envelope.add("paper", Credential::RecoveryKey(&recovery), self.cost, [8; config::SLOT_RANDOM_BYTES])?;
        envelope.add("file", Credential::RawKey(&RAW_KEY), self.cost, [10; config::SLOT_RANDOM_BYTES])?;
        Ok(envelope.encode(&config, [9; config::NONCE_BYTES])?)
    }

    /// The key that wraps the master key.
    fn derived(&self, blob: &[u8]) -> Result<[u8; 32]> {
        let Opened::Locked(locked) = config::open(blob)? else { anyhow::bail!("it is not locked") };
        let salt = locked.slots().iter().find_map(|slot| match &slot.method {
            Method::PassPhrase { salt, .. } => Some(*salt),
            _ => None,
        });
        let parameters = Params::new(self.cost.memory_mib * 1024, self.cost.passes, 1, Some(32));
        let parameters = parameters.map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password_into(self.pass_phrase.as_bytes(), &salt.context("no slot")?, &mut key)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(key)
    }
}

/// Disk and boot medium.
fn media(cx: &Cx, blob: &[u8], key: Option<&[u8]>, before: Option<Before>) -> Result<(PathBuf, PathBuf)> {
    let (disk, medium) = (cx.dir.join("guest.img"), cx.dir.join("medium.iso"));
    let mut sectors = vec![0; 1 << 20];
    sectors[..BOOT_SECTOR.len()].copy_from_slice(BOOT_SECTOR);
    sectors[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&disk, sectors)?;
    boot_media(&cx.workspace.shoji_elf()?, &Files { blob, key }, before, &medium)?;
    Ok((disk, medium))
}

/// A machine that boots Shoji with this configuration; it ends when it is reset.
fn machine(cx: &Cx, blob: &[u8], memory_mib: u32, before: Option<Before>) -> Result<Qemu> {
    machine_with(cx, blob, None, memory_mib, before)
}

/// With a key file as second module.
fn machine_with(cx: &Cx, blob: &[u8], key: Option<&[u8]>, memory_mib: u32, before: Option<Before>) -> Result<Qemu> {
    Ok(lasting_machine(cx, blob, key, memory_mib, before)?.end_at_reset())
}

/// It starts again when it is reset.
fn lasting_machine(cx: &Cx, blob: &[u8], key: Option<&[u8]>, memory_mib: u32, before: Option<Before>) -> Result<Qemu> {
    let (disk, medium) = media(cx, blob, key, before)?;
    let cd = format!("file={},format=raw,if=ide,index=2,media=cdrom", medium.to_string_lossy().replace(',', ",,"));
    let qemu = cx.machine(memory_mib)?.ide_disk(0, &disk, Writes::Dropped);
    Ok(qemu.args(["-drive", &cd, "-boot", "order=d"]))
}

const PROMPT: &str = "Pass phrase (Tab: recovery key): ";
const SOON: Duration = Duration::from_secs(60);

/// Waits until the log has so many of these.
fn until(cx: &Cx, machine: &Machine, text: &str, times: usize) -> Result<()> {
    let end = std::time::Instant::now() + SOON.min(cx.left());
    while machine.shoji_log().matches(text).count() < times {
        ensure!(std::time::Instant::now() < end, "\"{text}\" does not come for the {times}. time");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn german(cx: &Cx) -> Result<()> {
    let lock = Lock { pass_phrase: "Zürich/ß{y€}", keyboard: Keyboard::De, ..LOCK };
    let blob = lock.blob()?;
    let (qemu, mut monitor) = machine(cx, &blob, MEMORY_MIB, None)?.monitor()?;
    let mut machine = qemu.start()?;
    until(cx, &machine, PROMPT, 1)?;
    // By their places on a US keyboard.
    monitor.type_keys(&["shift-y", "x", "backspace", "ret"])?;
    until(cx, &machine, PROMPT, 2)?;
    ensure!(machine.shoji_log().contains("Wrong. 2 more tries."), "a wrong one is not told");
    let keys =
        ["shift-y", "bracket_left", "r", "i", "c", "h", "shift-7", "minus", "alt_r-7", "z", "alt_r-e", "alt_r-0"];
    monitor.type_keys(&keys)?;
    monitor.screenshot(&cx.workspace.output("screens/login-text.png")?)?;
    let text = cx.dir.join("screen");
    monitor.dump(0xb8000, 4000, &text)?;
    let shown: String = fs::read(&text)?.chunks(2).map(|cell| char::from(cell[0])).collect();
    ensure!(shown.contains(&(PROMPT.to_owned() + &"*".repeat(keys.len()))), "not on the screen: {shown}");
    monitor.type_keys(&["ret"])?;
    machine.expect(GUEST)?;
    let log = machine.shoji_log();
    ensure!(log.contains("the configuration is open; wrong tries before: 1") && !log.contains("ERROR"), "{log}");

    let dump = cx.dir.join("memory");
    let bytes = u64::from(MEMORY_MIB) << 20;
    monitor.dump(0, bytes, &dump)?;
    let memory = fs::read(&dump)?;
    fs::remove_file(&dump)?;
    ensure!(memory.len() as u64 == bytes, "a part of memory only");
    let kept = kept(&log)?;
    let derived = lock.derived(&blob)?;
    // The last part of each, too: a copy may be partly overwritten.
    for (name, secret) in [
        ("the pass phrase", lock.pass_phrase.as_bytes()),
        ("its end", &lock.pass_phrase.as_bytes()[6..]),
        ("the derived key", &derived),
        ("half of the derived key", &derived[16..]),
        ("the master key", &MASTER_KEY),
        ("half of the master key", &MASTER_KEY[16..]),
    ] {
        let found = places(&memory, secret);
        ensure!(found.is_empty(), "{name} is in memory, at {found:x?}; Shoji's own is {kept:x?}");
    }
    // What shows that the scan would find it: the disk's key has its home.
    let found = places(&memory, &KEY[..16]);
    // The cipher's round keys begin with it, those of both directions.
    let home = found.iter().max().zip(found.iter().min()).map(|(last, first)| last - first);
    ensure!(home.is_some_and(|len| len < 4096), "the key of the disk has no home, or several: {found:x?}");
    ensure!(found.iter().all(|at| kept.contains(at)), "the key of the disk at {found:x?}, Shoji's memory is {kept:x?}");
    machine.kill()
}

/// Where Shoji lives, as its log tells.
fn kept(log: &str) -> Result<Range<u64>> {
    let (_, rest) = log.split_once("Shoji keeps 0x").context("it does not tell what it keeps")?;
    let (start, rest) = rest.split_once("-0x").context("no range")?;
    let end: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    let kept = u64::from_str_radix(start, 16)?..u64::from_str_radix(&end, 16)?;
    ensure!(kept.end - kept.start == KEPT_BYTES, "{kept:x?}");
    Ok(kept)
}

fn places(memory: &[u8], needle: &[u8]) -> Vec<u64> {
    memchr::memmem::find_iter(memory, needle).map(|at| at as u64).collect()
}

fn japanese(cx: &Cx) -> Result<()> {
    let lock = Lock { pass_phrase: "\\_|@\"", keyboard: Keyboard::Jp, ..LOCK };
    let graphics = Before { module: "all_video", command: "set mode=1024x768x32" };
    let (qemu, mut monitor) = machine(cx, &lock.blob()?, MEMORY_MIB, Some(graphics))?.monitor()?;
    let mut machine = qemu.start()?;
    until(cx, &machine, PROMPT, 1)?;
    monitor.type_keys(&["ro", "shift-ro", "shift-yen", "bracket_left", "shift-2"])?;
    let picture = cx.workspace.output("screens/login-framebuffer.png")?;
    monitor.screenshot(&picture)?;
    // IHDR comes first; its first two fields are width and height (PNG Specification, 11.2.2).
    let head = fs::read(&picture)?;
    ensure!(head.get(16..24) == Some(&[0, 0, 4, 0, 0, 0, 3, 0]), "the screen has not 1024 by 768 dots");
    monitor.type_keys(&["ret"])?;
    machine.expect(GUEST)?;
    // The guest starts in text mode.
    let picture = cx.dir.join("guest.png");
    monitor.screenshot(&picture)?;
    let head = fs::read(&picture)?;
    ensure!(head.get(16..24) == Some(&[0, 0, 2, 0xd0, 0, 0, 1, 0x90]), "the screen has not 720 by 400 dots");
    machine.kill()
}

/// There is no PS/2 keyboard.
fn usb(cx: &Cx) -> Result<()> {
    let qemu = machine(cx, &LOCK.blob()?, MEMORY_MIB, None)?;
    let (qemu, mut monitor) =
        qemu.args(["-machine", "i8042=off", "-device", "piix3-usb-uhci", "-device", "usb-kbd"]).monitor()?;
    let mut machine = qemu.start()?;
    until(cx, &machine, PROMPT, 1)?;
    monitor.type_keys(&["c", "o", "r", "r", "e", "c", "t", "spc", "h", "o", "r", "s", "e", "ret"])?;
    machine.expect(GUEST)?;
    machine.kill()
}

fn too_large(cx: &Cx) -> Result<()> {
    let lock = Lock { cost: Cost { memory_mib: MEMORY_MIB, passes: 1 }, ..LOCK };
    let (qemu, mut terminal) = machine(cx, &lock.blob()?, MEMORY_MIB, None)?.terminal()?;
    let mut machine = qemu.start()?;
    terminal.expect("use the recovery key, or set a pass phrase with less `memory`", SOON)?;
    terminal.expect(PROMPT, SOON)?;
    terminal.send(&format!("{}\r", lock.pass_phrase))?;
    terminal.expect("takes 128 MiB of memory, more than there is; use the recovery key", SOON)?;
    terminal.expect(PROMPT, SOON)?;
    terminal.send(&format!("\t{}\r", RecoveryKey(RECOVERY_KEY).to_text().as_str()))?;
    machine.expect(GUEST)?;
    ensure!(!machine.shoji_log().contains("Wrong."), "what was not tried was counted");
    machine.kill()
}

fn half_too_large(cx: &Cx) -> Result<()> {
    let lock = Lock { other_cost: Some(Cost { memory_mib: MEMORY_MIB, passes: 1 }), ..LOCK };
    let (qemu, mut terminal) = machine(cx, &lock.blob()?, MEMORY_MIB, None)?.terminal()?;
    let mut machine = qemu.start()?;
    terminal.expect(PROMPT, SOON)?;
    terminal.send("guess\r")?;
    terminal.expect("another one takes 128 MiB of memory, more than there is", SOON)?;
    terminal.expect("Wrong. 2 more tries.", SOON)?;
    terminal.expect(PROMPT, SOON)?;
    terminal.send(&format!("{}\r", lock.pass_phrase))?;
    machine.expect(GUEST)?;
    ensure!(machine.shoji_log().contains("wrong tries before: 1"), "it was not counted");
    machine.kill()
}

fn key_file(cx: &Cx) -> Result<()> {
    let blob = LOCK.blob()?;
    for (key, sentence) in [(RAW_KEY, "the guest starts"), ([1; 32], "the key of the second module: ")] {
        let qemu = machine_with(cx, &blob, Some(&key), MEMORY_MIB, None)?;
        let mut machine = qemu.start()?;
        machine.expect_log(sentence, SOON)?;
        ensure!(!machine.shoji_log().contains(PROMPT), "it asks all the same");
        machine.kill()?;
    }
    Ok(())
}

/// With a second CPU, which comes after the login.
fn recovery(cx: &Cx) -> Result<()> {
    let (qemu, mut terminal) = machine(cx, &LOCK.blob()?, MEMORY_MIB, None)?.cpus(2).terminal()?;
    let mut machine = qemu.start()?;
    terminal.expect(PROMPT, SOON)?;
    terminal.send("half a phrase\t")?;
    let text = RecoveryKey(RECOVERY_KEY).to_text();
    let typo = "111112".to_owned() + &text[6..];
    terminal.expect("Recovery key (Tab: pass phrase): ", SOON)?;
    terminal.send(&format!("{typo}\r"))?;
    terminal.expect("******-******-", SOON)?;
    terminal.expect("Recovery key (Tab: pass phrase): ", SOON)?;
    terminal.send(&format!("{}\r", text.as_str()))?;
    machine.expect(GUEST)?;
    let log = machine.shoji_log();
    ensure!(!log.contains("Wrong."), "a typo was counted: {log}");
    ensure!(!log.contains(&text[..13]), "the recovery key is in the log");
    ensure!(log.contains("the guest starts, on 2 CPUs"), "{log}");
    machine.kill()
}

fn wrong(cx: &Cx, after_failure: AfterFailure) -> Result<()> {
    let lock = Lock { after_failure, ..LOCK };
    let (qemu, mut terminal) = lasting_machine(cx, &lock.blob()?, None, MEMORY_MIB, None)?.terminal()?;
    let mut machine = qemu.start()?;
    for _ in 0..3 {
        terminal.expect(PROMPT, SOON)?;
        terminal.send("guess\r")?;
    }
    terminal.expect("Wrong. No more tries.", SOON)?;
    match after_failure {
        // The machine that has started again ends with this function.
        AfterFailure::Reboot => terminal.expect(PROMPT, SOON).map(drop)?,
        AfterFailure::PowerOff => {
            let status = machine.wait(SOON)?;
            ensure!(status.success(), "the emulator ended with {status}");
        }
    }
    ensure!(!machine.shoji_log().contains("the guest starts"), "it starts without a login");
    Ok(())
}

/// The public part was changed by somebody who could write the file, checksum included.
fn altered(cx: &Cx) -> Result<()> {
    const CHECKSUM: Range<usize> = 16..20;
    let mut blob = LOCK.blob()?;
    let before = blob.clone();
    // Another blob's public part, which is as long: a boot without Shoji is allowed.
    let other = Lock { without_shoji: true, ..LOCK }.blob()?;
    let changed = blob.iter().zip(&other).position(|(a, b)| a != b);
    let first = (CHECKSUM.end..blob.len()).find(|&at| blob[at] != other[at]).context("nothing to change")?;
    ensure!(changed.is_some() && blob.len() == other.len(), "the two differ in length");
    blob[first] = other[first];
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    digest.update(&blob[..CHECKSUM.start]);
    digest.update(&blob[CHECKSUM.end..]);
    blob[CHECKSUM].copy_from_slice(&digest.finalize().to_le_bytes());
    ensure!(blob != before);
    let (qemu, mut terminal) = machine(cx, &blob, MEMORY_MIB, None)?.terminal()?;
    let mut machine = qemu.start()?;
    terminal.expect(PROMPT, SOON)?;
    terminal.send(&format!("{}\r", LOCK.pass_phrase))?;
    machine.expect_log("Stopped.", SOON)?;
    let log = machine.shoji_log();
    ensure!(log.contains("was altered") && !log.contains("WITHOUT") && !log.contains("the guest starts"), "{log}");
    machine.kill()
}

/// `on-failure` of a configuration that nobody has opened counts for nothing.
fn no_way_round(cx: &Cx) -> Result<()> {
    let lock = Lock { without_shoji: true, ..LOCK };
    let mut machine = machine(cx, &lock.blob()?, MEMORY_MIB, None)?.without_virtualization().start()?;
    machine.expect_log("Stopped.", SOON)?;
    ensure!(!machine.shoji_log().contains("WITHOUT"), "the operating system was started");
    machine.kill()
}

/// The keyboard of Bochs cannot be pressed from outside: the terminal is a pseudo-terminal.
fn vt_x(cx: &Cx) -> Result<()> {
    let (disk, medium) = media(cx, &LOCK.blob()?, None, None)?;
    let logs = cx.dir.join("machine");
    let bochs = Bochs::new(&logs, "corei7_haswell_4770", MEMORY_MIB)?.disk(&disk, Writes::Dropped).cd(&medium);
    let (bochs, mut terminal) = bochs.terminal()?;
    let line = format!("{}\r", LOCK.pass_phrase);
    let typist = std::thread::spawn(move || {
        terminal.expect(PROMPT, Duration::from_secs(200))?;
        terminal.send(&line)?;
        terminal.expect("the guest starts", Duration::from_secs(100)).map(drop)
    });
    let ended = bochs.ticks(60 * TICKS_PER_SECOND).until(cx.deadline).run()?;
    typist.join().map_err(|_| anyhow::anyhow!("the typist fell off the chair"))??;
    expect(ended, End::Quit)
}

fn large(cx: &Cx) -> Result<()> {
    let lock = Lock { cost: Cost { memory_mib: 1024, passes: 1 }, ..LOCK };
    let (qemu, mut terminal) = machine(cx, &lock.blob()?, 3072, None)?.terminal()?;
    let mut machine = qemu.start()?;
    terminal.expect(PROMPT, SOON)?;
    terminal.send(&format!("{}\r", lock.pass_phrase))?;
    terminal.expect("Argon2id over 1024 MiB, passes: 1 ... ", SOON)?;
    terminal.expect("the configuration is open", cx.left())?;
    machine.expect(GUEST)?;
    machine.kill()
}
