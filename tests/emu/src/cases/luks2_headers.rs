//! LUKS2 headers of every making and in every state: by `shoji disk init`, by cryptsetup as it is, detached, in a file, damaged,
//! garbage.

use super::disk_image::changed_sectors;
use super::luks2::{CONFIG, PHRASE, SOON, configure, cryptsetup, disk, log_in, volume_key};
use crate::case::{Boot, Case, Cx, On, Tier};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;
use testbed::disk::{Disk, MARKER};
use testbed::ext::{self, Check};
use testbed::mbr::Extent;
use testbed::monitor::Monitor;
use testbed::program::{command, run};
use testbed::qemu::Writes;
use testbed::{disks, guest_tools, small};

/// The header of `shoji disk init`, and of cryptsetup as it is.
const HEADER_BYTES: usize = 16 << 20;
/// The space behind the last partition of the small disk.
const TAIL_SECTORS: u64 = 2048;
/// Names of the NVMe drive.
const SERIAL: &str = "SHOJI-LUKS";

pub fn cases() -> Vec<Case> {
    let by_shoji =
        |name: &str, timeout_s, run: fn(&Cx) -> Result<()>| Case::new(name, timeout_s, run).on(On::ShojiOnly);
    vec![
        by_shoji("a_volume_of_shoji_disk_init_opens_by_its_second_header_when_the_first_is_damaged", 400, damaged),
        by_shoji("a_detached_header_leaves_the_guest_all_of_the_partition", 400, detached).only_in_long_runs(),
        by_shoji("a_volume_of_cryptsetup_as_it_is_opens_in_2_gib_of_ram", 900, as_it_is).only_in_long_runs(),
        by_shoji(
            "a_header_file_of_cryptsetup_in_the_boot_partition_opens_the_volume_and_without_it_no_guest_starts",
            400,
            in_file,
        ),
        by_shoji("16_mib_of_garbage_for_a_header_start_no_guest", 120, garbage),
        by_shoji("single_sectors_of_a_4096_byte_volume_on_nvme_are_read_changed_and_written", 500, sectors),
    ]
}

/// A volume whose payload holds a file system with the marker.
struct Volume {
    disk: Disk,
    /// Its device, to be read by cryptsetup.
    header: PathBuf,
    /// Of the partition, before the payload.
    header_bytes: usize,
    sector_bytes: usize,
}

impl Volume {
    fn payload_bytes(&self) -> u64 {
        self.disk.data.len_bytes() - self.header_bytes as u64
    }

    /// Makes the file system and encrypts it to its place.
    fn fill(&self, cx: &Cx) -> Result<()> {
        let (tree, plain) = (cx.dir.join("tree"), cx.dir.join("plain"));
        fs::create_dir_all(&tree)?;
        fs::write(tree.join("marker"), MARKER)?;
        File::create(&plain)?.set_len(self.payload_bytes())?;
        let extent = Extent { first_lba: 0, sectors: self.payload_bytes() / 512 };
        ext::make("ext4", "data", &plain, extent, &tree, false)?;
        let mut bytes = fs::read(&plain)?;
        volume_key(&self.header)?.encrypt_range(&mut bytes, self.sector_bytes);
        let at = self.disk.data.offset_bytes() + self.header_bytes as u64;
        File::options().write(true).open(&self.disk.path)?.write_all_at(&bytes, at)?;
        Ok(fs::remove_file(plain)?)
    }

    /// The guest has found the marker, and what it has written is there, encrypted; the header is as it was.
    fn used_in(&self, cx: &Cx, memory_mib: u32, argon2_mib: u32, more: &str) -> Result<String> {
        let before = fs::read(&self.disk.path)?;
        let kib = self.payload_bytes() / 1024;
        let args = format!("shoji.test=luks2 shoji.luks2=keep shoji.payload_kib={kib} {more}");
        let qemu = cx.machine(memory_mib)?.request(&args, Boot::Shoji.how());
        let (qemu, mut terminal) = qemu.ide_disk(0, &self.disk.path, Writes::Kept).terminal()?;
        let mut machine = qemu.start()?;
        log_in(&mut terminal, argon2_mib, cx.left())?;
        cx.expect_pass(&mut machine)?;
        let log = machine.shoji_log();
        cx.expect_starts(&log, 1)?;
        let after = fs::read(&self.disk.path)?;
        let data = self.disk.data.offset_bytes() as usize..self.disk.data.end_lba() as usize * 512;
        let (start, end) = (data.start + self.header_bytes, data.end);
        ensure!(before[data.start..start] == after[data.start..start], "the header has changed");
        ensure!(before[end..] == after[end..], "what lies behind the partition has changed");
        ensure!(memchr::memmem::find(&after, MARKER.trim().as_bytes()).is_none(), "plaintext is on the disk");
        let mut payload = after[start..end].to_vec();
        volume_key(&self.header)?.decrypt_range(&mut payload, self.sector_bytes);
        let plain = cx.dir.join("payload");
        fs::write(&plain, &payload)?;
        ensure!(ext::check(&plain)? == Check::Clean, "the payload is no clean file system");
        ensure!(ext::read_file(&plain, "/second")? == MARKER.as_bytes(), "what the guest has written is not there");
        fs::remove_file(plain)?;
        Ok(log)
    }
}

/// As a user would make it, on the small disk.
fn made_by_shoji(cx: &Cx, header_partition: Option<u32>, sector_bytes: usize) -> Result<Volume> {
    let disk = cx.copy(&disks::small(&cx.workspace, false)?)?;
    let phrase = cx.dir.join("phrase");
    fs::write(&phrase, PHRASE)?;
    let mut shoji = command(&guest_tools::build(&cx.workspace)?.to_string_lossy());
    shoji.args(["disk", "init"]).arg(&disk.path).args(["--partition", "2", "--memory", "8 MiB", "--yes", "--force"]);
    shoji.args(["--sector-size", &sector_bytes.to_string(), "--pass-phrase-file"]).arg(&phrase);
    let (header_bytes, header_at, len) = match header_partition {
        None => (HEADER_BYTES, disk.data.offset_bytes(), HEADER_BYTES),
        Some(number) => {
            let tail = Extent { first_lba: disk.data.end_lba(), sectors: TAIL_SECTORS };
            add_partition(&disk, number, tail)?;
            shoji.args(["--header-partition", &number.to_string()]);
            (0, tail.offset_bytes(), tail.len_bytes() as usize)
        }
    };
    run(&mut shoji)?;
    let mut bytes = vec![0; len];
    File::open(&disk.path)?.read_exact_at(&mut bytes, header_at)?;
    let header = cx.dir.join("header");
    // cryptsetup wants room for a payload.
    bytes.resize(len + (1 << 20), 0);
    fs::write(&header, bytes)?;
    cryptsetup("luksOpen --test-passphrase", &header).context("cryptsetup does not open what Shoji has made")?;
    let volume = Volume { disk, header, header_bytes, sector_bytes };
    volume.fill(cx)?;
    let detached = header_partition.map_or_else(String::new, |number| format!("header = {{ partition = {number} }}\n"));
    configure(cx, &volume.disk, &format!("{CONFIG}{detached}"))?;
    Ok(volume)
}

/// An entry of the MBR.
fn add_partition(disk: &Disk, number: u32, extent: Extent) -> Result<()> {
    let image = File::options().read(true).write(true).open(&disk.path)?;
    let mut entry = [0; 16];
    entry[4] = 0x83;
    entry[8..12].copy_from_slice(&u32::try_from(extent.first_lba)?.to_le_bytes());
    entry[12..].copy_from_slice(&u32::try_from(extent.sectors)?.to_le_bytes());
    Ok(image.write_all_at(&entry, 446 + 16 * u64::from(number - 1))?)
}

fn damaged(cx: &Cx) -> Result<()> {
    let volume = made_by_shoji(cx, None, 4096)?;
    let image = File::options().write(true).open(&volume.disk.path)?;
    // The text of the first copy.
    image.write_all_at(&[0xEE; 64], volume.disk.data.offset_bytes() + 4096)?;
    let log = volume.used_in(cx, 512, 8, "")?;
    let warning = "WARNING: its primary header is damaged (the checksum does not match)";
    ensure!(log.contains(warning), "the log does not tell of the damage: {log}");
    Ok(())
}

fn detached(cx: &Cx) -> Result<()> {
    let volume = made_by_shoji(cx, Some(3), 512)?;
    volume.used_in(cx, 512, 8, "shoji.header=3").map(drop)
}

/// In the long runs with the 1 GiB that cryptsetup takes here, which an emulated CPU is a minute at.
fn as_it_is(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&disks::small(&cx.workspace, false)?)?;
    let header = cx.dir.join("header");
    File::create(&header)?.set_len(disk.data.len_bytes())?;
    let (cost, mib) = match cx.tier {
        Tier::Ci => ("--pbkdf-memory 65536 --pbkdf-force-iterations 4", 64),
        Tier::Long => ("", 1024),
    };
    cryptsetup(&format!("luksFormat --type luks2 --batch-mode {cost}"), &header)?;
    let told = cryptsetup("luksDump", &header)?;
    let memory = told.lines().find_map(|line| line.trim().strip_prefix("Memory:")).context("no memory")?.trim();
    ensure!(memory == (mib * 1024).to_string(), "cryptsetup takes {memory} KiB here, the case wants {mib} MiB");
    let size = told.lines().find_map(|line| line.trim().strip_prefix("sector:")).context("no sector size")?;
    let sector_bytes = size.trim().trim_end_matches(" [bytes]").parse()?;
    let bytes = fs::read(&header)?;
    File::options().write(true).open(&disk.path)?.write_all_at(&bytes[..HEADER_BYTES], disk.data.offset_bytes())?;
    let volume = Volume { disk, header, header_bytes: HEADER_BYTES, sector_bytes };
    volume.fill(cx)?;
    configure(cx, &volume.disk, CONFIG)?;
    volume.used_in(cx, 2048, mib, "").map(drop)
}

/// The header file of a volume, and one that no rule names: as long as what the pass phrase's memory would be taken from else.
const HEADER_FILE: &str = "/shoji/vault.luks";
const SPARE_FILE: &str = "/shoji/spare.luks";
const SPARE_BYTES: u64 = 96 << 20;

/// All of the partition is the payload's, from its first sector on.
fn in_file(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&disks::small(&cx.workspace, false)?)?;
    let (header, part) = (cx.dir.join("vault.luks"), cx.dir.join("part"));
    File::create(&part)?.set_len(disk.data.len_bytes())?;
    let format =
        "luksFormat --type luks2 --batch-mode --sector-size 4096 --pbkdf-memory 65536 --pbkdf-force-iterations 4";
    cryptsetup(&format!("{format} --header {}", header.display()), &part)?;
    let bytes = fs::read(&header)?;
    ensure!(bytes.len() == HEADER_BYTES, "cryptsetup makes a file of {} bytes", bytes.len());
    let volume = Volume { disk, header, header_bytes: 0, sector_bytes: 4096 };
    volume.fill(cx)?;
    let disk = &volume.disk;
    configure(cx, disk, &format!("{CONFIG}header = {{ file = \"vault\" }}\n"))?;
    disk.replace_boot_file(HEADER_FILE, &bytes)?;
    not_loaded(cx, disk)?;
    let spare = cx.dir.join("spare");
    File::create(&spare)?.set_len(SPARE_BYTES)?;
    ext::replace_file(&disk.path, disk.boot, SPARE_FILE, &spare)?;
    let menu = small::MENU.configuration(&[SPARE_FILE, HEADER_FILE])?;
    disk.replace_boot_file("/boot/grub/grub.cfg", menu.as_bytes())?;
    volume.used_in(cx, 512, 64, "shoji.tail=none")?;
    is_wiped(cx, disk, &bytes)
}

/// GRUB's entry lacks the line.
fn not_loaded(cx: &Cx, disk: &Disk) -> Result<()> {
    let qemu = cx.machine(512)?.request("shoji.test=boot", Boot::Shoji.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    machine.expect_log("Stopped.", SOON)?;
    let log = machine.shoji_log();
    let line = "`module2 /boot/shoji/vault.luks luks2:vault`";
    ensure!(log.contains("disk rule `vault`: its header file `vault` was not loaded") && log.contains(line), "{log}");
    ensure!(!log.contains("Pass phrase") && !log.contains("the guest starts"), "{log}");
    machine.kill()
}

/// Where the header file was, nothing of it is left when the guest has started. GRUB's own memory may hold what it has read.
fn is_wiped(cx: &Cx, disk: &Disk, header: &[u8]) -> Result<()> {
    let qemu = cx.machine(512)?.request("shoji.test=boot", "prompt");
    let (qemu, mut terminal) = qemu.ide_disk(0, &disk.path, Writes::Dropped).terminal()?;
    let (qemu, mut monitor) = qemu.monitor()?;
    let mut machine = qemu.start()?;
    machine.expect_log("Pass phrase: ", SOON)?;
    let log = machine.shoji_log();
    let (_, rest) = log.split_once("header file `vault` at 0x").context("it does not tell where the header file is")?;
    let start = u64::from_str_radix(rest.get(..9).context("no address")?, 16)?;
    let dump = cx.dir.join("memory");
    let look = |monitor: &mut Monitor| {
        monitor.dump(start, HEADER_BYTES as u64, &dump)?;
        Ok::<_, anyhow::Error>(fs::read(&dump)?)
    };
    ensure!(look(&mut monitor)? == header, "the header file is not where the log says");
    log_in(&mut terminal, 64, SOON)?;
    machine.expect_log("the guest starts", SOON)?;
    let left = look(&mut monitor)?;
    ensure!(left.len() == HEADER_BYTES && left.iter().all(|byte| *byte == 0), "the header file is still in memory");
    fs::remove_file(&dump)?;
    machine.kill()
}

fn garbage(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&disks::small(&cx.workspace, false)?)?;
    configure(cx, &disk, CONFIG)?;
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..HEADER_BYTES)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    File::options().write(true).open(&disk.path)?.write_all_at(&bytes, disk.data.offset_bytes())?;
    let before = cx.copy_as(&disk, "before.img")?;
    let qemu = cx.machine(512)?.request("shoji.test=boot", Boot::Shoji.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Kept).start()?;
    machine.expect_log("Stopped.", SOON)?;
    let log = machine.shoji_log();
    ensure!(
        log.contains("`vault`") && log.contains("there is no LUKS2 header; name the partition that has it"),
        "{log}"
    );
    ensure!(!log.contains("Pass phrase") && !log.contains("the guest starts"), "{log}");
    ensure!(!log.contains("defect in the VMM"), "{log}");
    // Long enough for a guest to show up.
    std::thread::sleep(Duration::from_secs(3));
    ensure!(!machine.console.text().contains("INIT"), "the operating system was started");
    machine.kill()?;
    let changed = changed_sectors(&before, &disk, 0..disk.all_sectors()?)?;
    ensure!(changed.is_empty(), "sectors have changed: {changed:?}");
    Ok(())
}

/// The drive has the volume; the machine boots from another disk.
fn sectors(cx: &Cx) -> Result<()> {
    const HEADER: usize = 1 << 20;
    let (drive, header) = disk(cx, 4096)?;
    let boot = cx.copy_as(&disks::small(&cx.workspace, false)?, "boot.img")?;
    let selector = format!("disk = {{ serial = \"{SERIAL}\" }}");
    configure(cx, &boot, &CONFIG.replace("disk = { channel = 0, unit = 0 }", &selector))?;
    let qemu = cx.machine(512)?.cpus(2).request("shoji.test=luks2_sectors", Boot::Shoji.how());
    let qemu = qemu.ide_disk(0, &boot.path, Writes::Dropped).nvme_disk(&drive.path, SERIAL, Writes::Kept);
    let (qemu, mut terminal) = qemu.terminal()?;
    let mut machine = qemu.start()?;
    log_in(&mut terminal, 4, SOON)?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    let said = machine.console.text();
    let digest = said.lines().find_map(|line| line.trim().strip_prefix("DIGEST ")).context("no digest")?;
    let mut payload = drive.read_data(HEADER as u64 / 512, 2 << 11)?;
    volume_key(&header)?.decrypt_range(&mut payload, 4096);
    let plain = cx.dir.join("payload");
    fs::write(&plain, payload)?;
    let found = run(command("sha256sum").arg(&plain))?;
    ensure!(found.starts_with(digest), "what lies on the drive is not what the guest has read");
    Ok(())
}
