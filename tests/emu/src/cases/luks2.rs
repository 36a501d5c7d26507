//! LUKS2 volumes: made by the real cryptsetup, used under Shoji, judged on the host by another AES and by cryptsetup.

use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use testbed::console::Console;
use testbed::disk::{Disk, MARKER};
use testbed::disks;
use testbed::ext::{self, Check};
use testbed::program::{command, run};
use testbed::qemu::Writes;
use testbed::xts::DiskKey;

pub const PHRASE: &str = "correct-horse";
pub const SOON: Duration = Duration::from_secs(100);
/// Where the payload begins: the header that cryptsetup makes here is as small as one can be.
pub const HEADER_KIB: u64 = 1024;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("a_luks2_volume_of_cryptsetup_is_used_under_shoji_and_its_header_hidden", 300, |cx| volume(cx, 512))
            .on(On::ShojiOnly),
        Case::new("a_luks2_volume_with_4096_byte_sectors_takes_writes_of_any_sector", 300, |cx| volume(cx, 4096))
            .on(On::ShojiOnly),
        Case::new("a_wrong_pass_phrase_or_a_damaged_header_of_a_volume_starts_no_guest", 200, refused)
            .on(On::ShojiOnly),
        Case::new("shoji_and_cryptsetup_read_what_the_other_has_written_to_a_luks2_volume", 900, |cx| {
            both_ways(cx, 4096)?;
            both_ways(cx, 512)
        })
        .on(On::ShojiOnly)
        .only_in_long_runs(),
    ]
}

/// As a user would write it.
pub const CONFIG: &str = r#"[[disk]]
name = "vault"
disk = { channel = 0, unit = 0 }
range = { partition = 2 }
format = "luks2"
"#;

/// The small disk with a LUKS2 volume on its data partition, its own plaintext gone; and a copy of the header.
pub fn disk(cx: &Cx, sector_bytes: u64) -> Result<(Disk, PathBuf)> {
    let disk = cx.copy_as(&disks::small(&cx.workspace, false)?, &format!("luks2-{sector_bytes}.img"))?;
    let header = cx.dir.join(format!("header-{sector_bytes}"));
    File::create(&header)?.set_len(disk.data.len_bytes())?;
    let offset = HEADER_KIB * 2;
    let args = format!(
        "luksFormat --type luks2 --batch-mode --cipher aes-xts-plain64 --key-size 512 --sector-size {sector_bytes} \
         --pbkdf argon2id --pbkdf-memory 4096 --pbkdf-force-iterations 4 --pbkdf-parallel 2 \
         --luks2-metadata-size 16k --luks2-keyslots-size 512k --offset {offset}"
    );
    cryptsetup(&args, &header)?;
    let image = File::options().write(true).open(&disk.path)?;
    let mut bytes = fs::read(&header)?;
    // What the partition held would be taken for plaintext otherwise.
    bytes.truncate(16 << 20);
    image.write_all_at(&bytes, disk.data.offset_bytes())?;
    configure(cx, &disk, CONFIG)?;
    Ok((disk, header))
}

/// Puts a configuration on the disk.
pub fn configure(cx: &Cx, disk: &Disk, text: &str) -> Result<()> {
    let config = cx.dir.join("shoji.conf");
    disks::compile(text, &config)?;
    disk.replace_boot_file("shoji/shoji.conf", &fs::read(config)?)
}

pub fn cryptsetup(args: &str, device: &Path) -> Result<String> {
    let mut command = command("cryptsetup");
    command.args(args.split_whitespace()).arg(device).args(["--key-file", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cryptsetup does not run")?;
    child.stdin.take().context("cryptsetup has no input")?.write_all(PHRASE.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "cryptsetup {args} ends with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The volume key, as cryptsetup tells it.
pub fn volume_key(header: &Path) -> Result<DiskKey> {
    let text = cryptsetup("luksDump --dump-volume-key --batch-mode", header)?;
    let digits = text.split_once("MK dump:").context("no key")?.1;
    let bytes: Vec<u8> =
        digits.split_whitespace().map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    Ok(DiskKey::new(bytes.as_slice().try_into().context("a key of another length")?))
}

fn payload_kib(disk: &Disk) -> u64 {
    disk.data.sectors / 2 - HEADER_KIB
}

/// Boots under Shoji, types the pass phrase, and waits for the verdict.
fn under_shoji(cx: &Cx, disk: &Disk, what: &str) -> Result<()> {
    let args = format!("shoji.test=luks2 {what} shoji.payload_kib={}", payload_kib(disk));
    let qemu = cx.machine(512)?.request(&args, Boot::Shoji.how()).ide_disk(0, &disk.path, Writes::Kept);
    let (qemu, mut terminal) = qemu.terminal()?;
    let mut machine = qemu.start()?;
    terminal.expect("the volume `vault` is locked.", SOON)?;
    terminal.expect("Pass phrase: ", SOON)?;
    terminal.send("wrong-horse\r")?;
    terminal.expect("Wrong. 2 more tries.", SOON)?;
    log_in(&mut terminal, 4, SOON)?;
    cx.expect_pass(&mut machine)?;
    let log = machine.shoji_log();
    ensure!(log.contains("the volume `vault` is open; wrong tries before: 1"), "{log}");
    cx.expect_starts(&log, 1)
}

/// Types the pass phrase, for a key slot that takes so many MiB and is done in that time.
pub fn log_in(terminal: &mut Console, mib: u32, within: Duration) -> Result<()> {
    terminal.expect("Pass phrase: ", SOON)?;
    terminal.send(&format!("{PHRASE}\r"))?;
    terminal.expect(&format!("Argon2id over {mib} MiB, passes: "), SOON)?;
    terminal.expect("is open; wrong tries before", within).map(drop)
}

fn volume(cx: &Cx, sector_bytes: usize) -> Result<()> {
    let (disk, header) = disk(cx, sector_bytes as u64)?;
    let tail = if sector_bytes == 512 { "first" } else { "last" };
    under_shoji(cx, &disk, &format!("shoji.luks2=make shoji.tail={tail}"))?;
    judge(cx, &disk, &header, sector_bytes)
}

/// Another AES finds the guest's file system in the payload, the header is as it was, and nothing of the plaintext shows.
fn judge(cx: &Cx, disk: &Disk, header: &Path, sector_bytes: usize) -> Result<()> {
    let header_bytes = (HEADER_KIB << 10) as usize;
    let raw = disk.read_data(0, disk.data.sectors)?;
    ensure!(raw[..header_bytes] == fs::read(header)?[..header_bytes], "the header has changed");
    ensure!(memchr::memmem::find(&raw, MARKER.trim().as_bytes()).is_none(), "plaintext is on the disk");
    let part = cx.dir.join("partition");
    fs::write(&part, &raw)?;
    cryptsetup("luksOpen --test-passphrase", &part).context("after the guest")?;
    let mut payload = raw[header_bytes..].to_vec();
    volume_key(header)?.decrypt_range(&mut payload, sector_bytes);
    let plain = cx.dir.join("payload");
    fs::write(&plain, &payload)?;
    ensure!(ext::check(&plain)? == Check::Clean, "the payload is no clean file system");
    ensure!(ext::read_file(&plain, "/marker")? == MARKER.as_bytes(), "the marker is another");
    let file = cx.dir.join("file");
    fs::write(&file, ext::read_file(&plain, "/file")?)?;
    let digest = run(command("sha256sum").arg(&file))?;
    let kept = ext::read_file(&plain, "/digest")?;
    ensure!(digest.get(..64).map(str::as_bytes) == kept.get(..64), "the file is not what the guest wrote");
    fs::remove_file(part)?;
    fs::remove_file(plain)?;
    Ok(())
}

fn refused(cx: &Cx) -> Result<()> {
    let (disk, _) = disk(cx, 512)?;
    let image = File::options().write(true).open(&disk.path)?;
    // Both copies of the header: the text of the first, the checksum of the second.
    for at in [4096 + 100, 0x4000 + 450] {
        image.write_all_at(&[0xEE; 8], disk.data.offset_bytes() + at)?;
        let qemu = cx.machine(512)?.end_at_reset().ide_disk(0, &disk.path, Writes::Dropped);
        let (qemu, mut terminal) = qemu.request("shoji.test=boot", Boot::Shoji.how()).terminal()?;
        let mut machine = qemu.start()?;
        if at < 0x4000 {
            // The other copy is good, so it asks; but nobody knows the pass phrase.
            for _ in 0..3 {
                terminal.expect("Pass phrase: ", SOON)?;
                terminal.send("guess\r")?;
            }
            machine.wait(SOON)?;
            ensure!(machine.shoji_log().contains("Wrong. No more tries."), "{}", machine.shoji_log());
        } else {
            machine.expect_log("Stopped.", SOON)?;
            let log = machine.shoji_log();
            ensure!(
                log.contains("both copies of the LUKS2 header are damaged") && !log.contains("Pass phrase"),
                "{log}"
            );
            machine.kill()?;
            return Ok(());
        }
        ensure!(!machine.shoji_log().contains("the guest starts"), "{}", machine.shoji_log());
    }
    Ok(())
}

/// Shoji makes, cryptsetup on the bare machine looks and adds, Shoji looks.
fn both_ways(cx: &Cx, sector_bytes: usize) -> Result<()> {
    let (disk, header) = disk(cx, sector_bytes as u64)?;
    under_shoji(cx, &disk, "shoji.luks2=make")?;
    let kib = payload_kib(&disk);
    let args = format!("shoji.test=luks2 shoji.luks2=add shoji.payload_kib={kib} shoji.phrase={PHRASE}");
    let mut machine = cx.boot_with(&disk, Writes::Kept, &args, Boot::Bare)?;
    cx.expect_pass(&mut machine).context("bare machine with cryptsetup")?;
    under_shoji(cx, &disk, "shoji.luks2=look")?;
    judge(cx, &disk, &header, sector_bytes)
}
