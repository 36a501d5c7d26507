//! `shoji disk` on image files, with the real `cryptsetup` on the other side.

mod common;

use common::{Folder, Outcome};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// First byte and length of the partitions: one for a volume, one for a detached header.
const PARTITIONS: [(u64, u64); 2] = [(MIB, 64 * MIB), (80 * MIB, MIB)];
const CHEAP: &str = "--memory 1MiB --pass-phrase-file phrase --yes";

/// A disk with an MBR, and a file with a pass phrase.
fn folder(name: &str) -> Folder {
    let folder = Folder::new(&format!("disk-{name}"));
    folder.write("phrase", "correct horse\n");
    let mut mbr = [0; 512];
    for (number, (first, len)) in PARTITIONS.into_iter().enumerate() {
        let entry = &mut mbr[446 + 16 * number..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&((first / SECTOR) as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&((len / SECTOR) as u32).to_le_bytes());
    }
    mbr[510..].copy_from_slice(&[0x55, 0xAA]);
    let image = folder.write("disk.img", mbr);
    File::options().write(true).open(image).unwrap().set_len(96 * MIB).unwrap();
    folder
}

fn image(folder: &Folder) -> File {
    File::options().read(true).write(true).open(folder.path("disk.img")).unwrap()
}

/// A copy of a partition, as `cryptsetup` takes it.
fn extract(folder: &Folder, index: usize) -> std::path::PathBuf {
    let (first, len) = PARTITIONS[index];
    let mut bytes = vec![0; len as usize];
    image(folder).read_exact_at(&mut bytes, first).unwrap();
    folder.write("part.img", bytes)
}

fn cryptsetup(args: &str, path: &Path, phrase: &Path) -> bool {
    let mut command = Command::new("cryptsetup");
    command.args(args.split_whitespace()).arg(path).stdin(File::open(phrase).unwrap());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.expect("cryptsetup (Debian: cryptsetup-bin) is not installed").success()
}

fn opens(folder: &Folder, path: &Path) -> bool {
    folder.write("phrase.raw", "correct horse");
    cryptsetup("luksOpen --test-passphrase --key-file -", path, &folder.path("phrase.raw"))
}

/// Runs `shoji` where no file can be written from this byte on, as if it were killed or the disk full there.
fn stopped_at(folder: &Folder, byte: u64, line: &str) -> Outcome {
    // The shell counts in 512 bytes. The signal would end the command without a word.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" {line}", byte / 512);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_shoji")]).current_dir(folder.path("."));
    let output = shell.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { status: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn good(outcome: &Outcome) {
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn what_init_makes_opens_with_cryptsetup_and_adopt_writes_its_rule() {
    let folder = folder("init");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 --sector-size 4096 --label vault {CHEAP}")));
    assert!(opens(&folder, &extract(&folder, 0)));
    let status = folder.shoji("disk status disk.img --partition 1");
    good(&status);
    for line in
        ["label \"vault\"", "primary header: good", "crypto sectors of 4096 bytes", "Argon2id over 1 MiB, passes: 4"]
    {
        assert!(status.stdout.contains(line), "{}", status.stdout);
    }
    let adopt = folder.shoji("disk adopt disk.img --partition 1 --name root");
    good(&adopt);
    let expected =
        "[[disk]]\nname = \"root\"\ndisk = { serial = \"...\" }\nrange = { partition = 1 }\nformat = \"luks2\"\n";
    assert_eq!(adopt.stdout, expected);
    assert!(adopt.stderr.contains("borrows 1 MiB"), "{}", adopt.stderr);
}

#[test]
fn a_detached_header_lies_on_its_own_partition_and_leaves_the_other_one_alone() {
    let folder = folder("detached");
    image(&folder).write_all_at(&[0x5A; 4096], PARTITIONS[0].0).unwrap();
    good(&folder.shoji(&format!("disk init disk.img --partition 1 --header-partition 2 --force {CHEAP}")));
    assert!(opens(&folder, &extract(&folder, 1)));
    let mut first = [0; 4096];
    image(&folder).read_exact_at(&mut first, PARTITIONS[0].0).unwrap();
    assert!(first == [0x5A; 4096], "the payload begins at the first sector and is not touched");
    let adopt = "disk adopt disk.img --partition 1 --header-partition 2 --append-to rules.toml";
    let unknown = folder.shoji(adopt);
    assert!(unknown.status == 1 && unknown.stderr.contains("serial number are not known"), "{}", unknown.stderr);
    assert!(!folder.path("rules.toml").exists());
    good(&folder.shoji(&format!("{adopt} --serial QM00001")));
    good(&folder.shoji("config check rules.toml"));
    assert!(fs::read_to_string(folder.path("rules.toml")).unwrap().ends_with("header = { partition = 2 }\n"));
    let whole = folder.shoji("disk status disk.img");
    assert!(whole.stdout.contains("partition 2: from LBA 163840, 2048 sectors: LUKS"), "{}", whole.stdout);
}

/// `cryptsetup` with a header file; the volume's device need not be one.
fn opens_by(folder: &Folder, header: &str, part: &Path) -> bool {
    folder.write("phrase.raw", "correct horse");
    let open = format!("luksOpen --test-passphrase --key-file - --header {}", folder.path(header).display());
    cryptsetup(&open, part, &folder.path("phrase.raw"))
}

#[test]
fn a_header_file_of_init_opens_with_cryptsetup_and_adopt_writes_its_rule() {
    let folder = folder("header-file");
    image(&folder).write_all_at(&[0x5A; 4096], PARTITIONS[0].0).unwrap();
    let init = format!("disk init disk.img --partition 1 --header-file data.luks {CHEAP}");
    let held = folder.shoji(&init);
    assert!(held.status == 1 && held.stderr.contains("data that Shoji does not know"), "{}", held.stderr);
    assert!(!folder.path("data.luks").exists());
    let made = folder.shoji(&format!("{init} --force"));
    good(&made);
    assert!(
        made.stdout.contains("`shoji disk adopt disk.img --partition 1 --header-file data.luks`"),
        "{}",
        made.stdout
    );
    let found = fs::metadata(folder.path("data.luks")).unwrap();
    assert_eq!((found.len(), found.permissions().mode() & 0o777), (4 * MIB, 0o600));
    let part = extract(&folder, 0);
    assert!(
        fs::read(&part).unwrap()[..4096] == [0x5A; 4096],
        "the payload begins at the first sector and is not touched"
    );
    assert!(opens_by(&folder, "data.luks", &part));
    // The room for key slots is there.
    folder.write("more", "battery staple");
    let add = format!(
        "luksAddKey -q --key-file {} --pbkdf-memory 1024 --pbkdf-force-iterations 4 --header",
        folder.path("phrase.raw").display()
    );
    let add = format!("{add} {}", folder.path("data.luks").display());
    let status = Command::new("cryptsetup").args(add.split_whitespace()).arg(&part).arg(folder.path("more")).status();
    assert!(status.unwrap().success());
    let adopt = "disk adopt disk.img --partition 1 --header-file data.luks --pass-phrase-file more --serial QM00001";
    let adopted = folder.shoji(&format!("{adopt} --append-to rules.toml"));
    good(&adopted);
    assert!(
        adopted.stderr.contains("The pass phrase opens it.") && adopted.stderr.contains("luks2:data"),
        "{}",
        adopted.stderr
    );
    good(&folder.shoji("config check rules.toml"));
    assert!(fs::read_to_string(folder.path("rules.toml")).unwrap().ends_with("header = { file = \"data\" }\n"));
    good(&folder.shoji("config build rules.toml -o shoji.conf"));
    let shown = folder.shoji("config show shoji.conf");
    assert!(shown.stdout.contains("header = { file = \"data\" }"), "{}", shown.stdout);
}

#[test]
fn a_header_file_of_cryptsetup_is_adopted_as_it_is() {
    let folder = folder("their-file");
    let part = extract(&folder, 0);
    folder.write("phrase.raw", "correct horse");
    let header = folder.path("their.luks");
    let format = format!(
        "luksFormat --type luks2 --batch-mode --key-file - --pbkdf-memory 1024 --pbkdf-force-iterations 4 --header {}",
        header.display()
    );
    assert!(cryptsetup(&format, &part, &folder.path("phrase.raw")));
    let adopt = folder.shoji("disk adopt disk.img -p 1 --header-file their.luks --pass-phrase-file phrase");
    good(&adopt);
    assert!(adopt.stdout.ends_with("header = { file = \"their\" }\n"), "{}", adopt.stdout);
    let status = folder.shoji("disk status their.luks");
    good(&status);
    assert!(status.stdout.contains("payload: from byte 0, aes-xts-plain64"), "{}", status.stdout);
}

#[test]
fn a_header_file_is_kept_and_put_back() {
    let folder = folder("file-backup");
    good(&folder.shoji(&format!("disk init disk.img -p 1 --header-file data.luks {CHEAP}")));
    let part = extract(&folder, 0);
    good(&folder.shoji("disk header-backup data.luks copy.img"));
    assert!(fs::read(folder.path("copy.img")).unwrap() == fs::read(folder.path("data.luks")).unwrap());
    let file = File::options().write(true).open(folder.path("data.luks")).unwrap();
    [4096, 0x4000 + 4096].iter().for_each(|at| file.write_all_at(&[0xEE; 16], *at).unwrap());
    assert!(folder.shoji("disk status data.luks").status == 1 && !opens_by(&folder, "data.luks", &part));
    assert_eq!(folder.shoji("disk adopt disk.img -p 1 --header-file data.luks").status, 1);
    good(&folder.shoji("disk header-restore data.luks copy.img --yes"));
    assert!(opens_by(&folder, "data.luks", &part));
    good(&folder.shoji("disk status data.luks"));
    // Nothing of it is lost by chance.
    let again = folder.shoji(&format!("disk init disk.img -p 1 --header-file data.luks {CHEAP}"));
    assert!(again.status == 1 && again.stderr.contains("data.luks holds LUKS"), "{}", again.stderr);
    assert!(opens_by(&folder, "data.luks", &part));
    good(&folder.shoji(&format!("disk init disk.img -p 1 --header-file data.luks --force {CHEAP}")));
    let other = folder.shoji("disk header-restore data.luks copy.img --yes");
    assert!(other.status == 1 && other.stderr.contains("the header of another volume"), "{}", other.stderr);
}

#[test]
fn a_header_file_that_rules_could_not_name_is_refused() {
    let folder = folder("file-refused");
    fs::create_dir(folder.path("folder.luks")).unwrap();
    std::os::unix::fs::symlink("disk.img", folder.path("same.luks")).unwrap();
    for (options, status, word) in [
        ("--header-file data.img", 2, "a header file is called NAME.luks"),
        ("--header-file .luks", 2, "a header file is called NAME.luks"),
        ("--header-file folder.luks", 2, "is no file"),
        ("--header-file same.luks", 2, "is the volume itself"),
        ("--header-file a.luks --header-partition 2", 2, "cannot be used with"),
        ("--header-file none/a.luks", 3, "cannot write none/a.luks"),
    ] {
        let outcome = folder.shoji(&format!("disk init disk.img -p 1 {options} {CHEAP}"));
        assert!(outcome.status == status && outcome.stderr.contains(word), "{options}: {}", outcome.stderr);
    }
    let missing = folder.shoji("disk adopt disk.img -p 1 --header-file none.luks");
    assert!(missing.status == 3 && missing.stderr.contains("cannot open none.luks"), "{}", missing.stderr);
}

#[test]
fn nothing_is_written_without_yes_nor_over_what_is_known_without_force() {
    let folder = folder("consent");
    let before = fs::read(folder.path("disk.img")).unwrap();
    let asked = folder.shoji("disk init disk.img --partition 1 --memory 1MiB --pass-phrase-file phrase");
    assert_eq!(asked.status, 2);
    assert!(asked.stderr.contains("nothing was written; add --yes"), "{}", asked.stderr);
    let whole = folder.shoji(&format!("disk init disk.img {CHEAP}"));
    assert_eq!(whole.status, 1);
    assert!(whole.stderr.contains("holds a partition table (MBR)"), "{}", whole.stderr);
    assert!(fs::read(folder.path("disk.img")).unwrap() == before);
    image(&folder).write_all_at(&[7; 512], PARTITIONS[0].0 + 9000).unwrap();
    let held = folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}"));
    assert!(held.status == 1 && held.stderr.contains("holds data that Shoji does not know"), "{}", held.stderr);
    image(&folder).write_all_at(b"XFSB", PARTITIONS[0].0).unwrap();
    let held = folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}"));
    assert!(held.status == 1 && held.stderr.contains("holds XFS"), "{}", held.stderr);
    good(&folder.shoji(&format!("disk init disk.img --partition 1 --force {CHEAP}")));
    let again = folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}"));
    assert!(again.status == 1 && again.stderr.contains("holds LUKS"), "{}", again.stderr);
}

#[test]
fn a_header_is_kept_and_put_back() {
    let folder = folder("backup");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    good(&folder.shoji("disk header-backup disk.img -p 1 header.img"));
    assert_eq!(fs::metadata(folder.path("header.img")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.shoji("disk header-backup disk.img -p 1 header.img").status, 3, "it is not overwritten");
    // Both copies and the key slot, behind which the payload is left as it is.
    image(&folder).write_all_at(&vec![0xEE; 300_000], PARTITIONS[0].0).unwrap();
    image(&folder).write_all_at(&[0x5A; 512], PARTITIONS[0].0 + 16 * MIB).unwrap();
    assert_eq!(folder.shoji("disk status disk.img -p 1").status, 0, "it holds nothing that is known");
    assert_eq!(folder.shoji("disk adopt disk.img -p 1").status, 1);
    assert_eq!(folder.shoji("disk header-restore disk.img -p 1 header.img --force").status, 2);
    let held = folder.shoji("disk header-restore disk.img -p 1 header.img --yes");
    assert!(held.status == 1 && held.stderr.contains("holds data that Shoji does not know"), "{}", held.stderr);
    good(&folder.shoji("disk header-restore disk.img -p 1 header.img --yes --force"));
    let part = extract(&folder, 0);
    assert!(opens(&folder, &part));
    let bytes = fs::read(part).unwrap();
    assert!(bytes[16 * MIB as usize..][..512] == [0x5A; 512]);
    assert!(bytes[..16 * MIB as usize] == fs::read(folder.path("header.img")).unwrap());
}

#[test]
fn backups_of_cryptsetup_are_put_back_and_those_of_another_volume_are_not() {
    let folder = folder("exchange");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    let part = extract(&folder, 0);
    let file = folder.path("theirs.img");
    let backup = format!("luksHeaderBackup --header-backup-file {}", file.display());
    assert!(cryptsetup(&backup, &part, &folder.path("phrase")));
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    good(&folder.shoji("disk header-restore disk.img -p 1 theirs.img --yes"));
    good(&folder.shoji(&format!("disk init disk.img --partition 1 --force {CHEAP}")));
    let other = folder.shoji("disk header-restore disk.img -p 1 theirs.img --yes");
    assert!(other.status == 1 && other.stderr.contains("the header of another volume"), "{}", other.stderr);
    good(&folder.shoji("disk header-restore disk.img -p 1 theirs.img --yes --force"));
}

#[test]
fn a_copy_goes_nowhere_but_where_its_header_was() {
    let folder = folder("place");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    good(&folder.shoji("disk header-backup disk.img -p 1 header.img"));
    let restore = |force: &str| folder.shoji(&format!("disk header-restore disk.img -p 1 header.img --yes {force}"));
    let refused = |word: &str| {
        let outcome = restore("");
        assert!(outcome.status == 1 && outcome.stderr.contains(word), "{word}: {}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.stderr.contains("add --force"), "{}", outcome.stderr);
    };
    good(&restore(""));
    // The UUID of a header can be set; its volume key cannot.
    let saved = fs::read(folder.path("header.img")).unwrap();
    let uuid = String::from_utf8(saved[168..168 + 36].to_vec()).unwrap();
    good(&folder.shoji(&format!("disk init disk.img --partition 1 --force {CHEAP}")));
    let part = extract(&folder, 0);
    assert!(cryptsetup(&format!("luksUUID -q --uuid {uuid}"), &part, &folder.path("phrase")));
    let other = fs::read(&part).unwrap();
    image(&folder).write_all_at(&other, PARTITIONS[0].0).unwrap();
    refused("same UUID, but of another volume key");
    assert!(fs::read(extract(&folder, 0)).unwrap() == other, "nothing was written");
    good(&restore("--force"));
    // Damaged: its own, and another's.
    let damage = |at: u64, bytes: &[u8]| image(&folder).write_all_at(bytes, PARTITIONS[0].0 + at).unwrap();
    [4096, 0x4000 + 4096].into_iter().for_each(|at| damage(at, &[0xEE; 16]));
    damage(168, b"00000000");
    good(&restore(""));
    [4096, 0x4000 + 4096].into_iter().for_each(|at| damage(at, &[0xEE; 16]));
    [168, 0x4000 + 168].into_iter().for_each(|at| damage(at, b"00000000"));
    refused("no copy has the UUID");
}

#[test]
fn a_copy_of_a_detached_header_is_not_put_over_its_volume() {
    let folder = folder("detached-copy");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 --header-partition 2 {CHEAP}")));
    good(&folder.shoji("disk header-backup disk.img -p 2 header.img"));
    let wrong = folder.shoji("disk header-restore disk.img -p 1 header.img --yes");
    assert!(wrong.status == 1 && wrong.stderr.contains("detached"), "{}{}", wrong.stdout, wrong.stderr);
    let mut first = [0; 4096];
    image(&folder).read_exact_at(&mut first, PARTITIONS[0].0).unwrap();
    assert!(first == [0; 4096]);
    good(&folder.shoji("disk header-restore disk.img -p 2 header.img --yes"));
}

#[test]
fn members_of_sets_of_disks_are_not_overwritten_without_force() {
    const END: u64 = 64 * MIB;
    let bcachefs = [0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef];
    let md = 0xa92b_4efc_u32.to_le_bytes();
    let zfs = 0x00ba_b10c_u64.to_le_bytes();
    for (at, mark, word) in [
        (0, &md[..], "RAID"),
        (4096, &md, "RAID"),
        (END - 8192, &md, "RAID"),
        (END - 65536, &md, "RAID"),
        (4096 + 24, &bcachefs, "bcachefs"),
        ((128 << 10) + 5 * 1024, &zfs, "ZFS"),
        (END - (128 << 10), &zfs, "ZFS"),
    ] {
        let folder = folder("sets");
        image(&folder).write_all_at(mark, PARTITIONS[0].0 + at).unwrap();
        let held = folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}"));
        assert!(held.status == 1 && held.stderr.contains(word), "{at}: {}{}", held.stdout, held.stderr);
    }
}

#[test]
fn a_damaged_header_is_told_and_the_other_copy_used() {
    let folder = folder("damaged");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    image(&folder).write_all_at(&[0xEE; 16], PARTITIONS[0].0 + 4096).unwrap();
    let status = folder.shoji("disk status disk.img -p 1 --json");
    assert_eq!(status.status, 1);
    let tree: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(tree["luks2"]["primary"]["good"], false);
    assert_eq!(tree["luks2"]["secondary"]["good"], true);
    assert!(tree["error"].as_str().unwrap().contains("cryptsetup repair"), "{tree}");
    good(&folder.shoji("disk header-backup disk.img -p 1 header.img"));
    good(&folder.shoji("disk header-restore disk.img -p 1 header.img --yes"));
    good(&folder.shoji("disk status disk.img -p 1"));
    assert!(opens(&folder, &extract(&folder, 0)), "cryptsetup takes the copy that was made anew");
    // The other one.
    image(&folder).write_all_at(&[0xEE; 16], PARTITIONS[0].0 + 0x4000 + 4096).unwrap();
    fs::remove_file(folder.path("header.img")).unwrap();
    good(&folder.shoji("disk header-backup disk.img -p 1 header.img"));
    good(&folder.shoji("disk header-restore disk.img -p 1 header.img --yes"));
    good(&folder.shoji("disk status disk.img -p 1"));
    [4096, 0x4000 + 4096].iter().for_each(|at| image(&folder).write_all_at(&[0xEE; 16], PARTITIONS[0].0 + at).unwrap());
    let status = folder.shoji("disk status disk.img -p 1");
    assert!(status.status == 1 && status.stdout.contains("both copies"), "{}", status.stdout);
}

#[test]
fn what_is_left_of_a_header_is_not_taken_for_the_volume() {
    let folder = folder("overwritten");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    good(&folder.shoji("disk header-backup disk.img -p 1 header.img"));
    image(&folder).write_all_at(b"XFSB", PARTITIONS[0].0).unwrap();
    for line in ["disk adopt disk.img -p 1", "disk header-restore disk.img -p 1 header.img --yes"] {
        let held = folder.shoji(line);
        assert!(held.status == 1 && held.stderr.contains("holds XFS"), "{line}: {}{}", held.stdout, held.stderr);
    }
}

#[test]
fn a_key_slot_that_is_to_be_ignored_is_told() {
    let folder = folder("ignored");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    let part = extract(&folder, 0);
    assert!(cryptsetup("config --key-slot 0 --priority ignore", &part, &folder.path("phrase")));
    image(&folder).write_all_at(&fs::read(&part).unwrap(), PARTITIONS[0].0).unwrap();
    let adopt = folder.shoji("disk adopt disk.img -p 1");
    assert!(adopt.status == 1 && adopt.stderr.contains("priority `ignore`"), "{}", adopt.stderr);
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let folder = folder("refused");
    for (line, status, word) in [
        ("disk init disk.img -p 2".to_owned(), 1, "detach it"),
        ("disk init disk.img -p 3".to_owned(), 3, "has no partition 3; its MBR has: 1, 2"),
        ("disk init disk.img -p 1 --sector-size 1024".to_owned(), 1, "choose 512 or 4096"),
        ("disk init disk.img -p 1 --passes 3".to_owned(), 1, "4 passes"),
        ("disk init disk.img -p 1 --header-partition 1".to_owned(), 2, "name another"),
        ("disk init phrase -p 1".to_owned(), 3, "sector 0 is not on the disk"),
        ("disk init nowhere".to_owned(), 3, "cannot open nowhere"),
        ("disk init .".to_owned(), 3, "neither an image file nor a block device"),
    ] {
        let outcome = folder.shoji(&format!("{line} {CHEAP}"));
        assert!(outcome.status == status && outcome.stderr.contains(word), "{line}: {}", outcome.stderr);
    }
    // Told before anybody is asked for a pass phrase, or gigabytes are filled.
    let large = folder.shoji("disk init disk.img -p 1 --memory 8GiB --yes");
    assert!(large.status == 1 && large.stderr.contains("32 KiB to 4 GiB"), "{}", large.stderr);
    let outcome = folder.shoji("disk adopt disk.img -p 1");
    assert!(outcome.status == 1 && outcome.stderr.contains("shoji disk init"), "{}", outcome.stderr);
}

#[test]
fn a_header_that_was_not_written_to_its_end_is_none_and_the_same_command_makes_it() {
    let folder = folder("stopped");
    let init = format!("disk init disk.img --partition 1 {CHEAP}");
    good(&folder.shoji(&init));
    good(&folder.shoji("disk header-backup disk.img -p 1 header.img"));
    let restore = "disk header-restore disk.img -p 1 header.img --yes --force";
    let start = PARTITIONS[0].0;
    // Within the marks of older copies, behind the first key slot, at the end.
    for at in [20 << 10, 5 * MIB, 16 * MIB - 4096] {
        for line in [format!("{init} --force"), restore.to_owned()] {
            let stopped = stopped_at(&folder, start + at, &line);
            assert_eq!(stopped.status, 3, "{line} at {at}: {}{}", stopped.stdout, stopped.stderr);
            assert!(stopped.stderr.contains("do the same once more"), "{}", stopped.stderr);
            let status = folder.shoji("disk status disk.img -p 1");
            assert!(status.stdout.contains("nothing that Shoji knows"), "{line} at {at}: {}", status.stdout);
            assert!(!opens(&folder, &extract(&folder, 0)));
            good(&folder.shoji(&line));
            assert!(opens(&folder, &extract(&folder, 0)), "{line} at {at}");
        }
    }
}

#[test]
fn an_older_header_of_another_size_does_not_come_back() {
    let folder = folder("older");
    let old = folder.write("old.img", vec![0; 20 << 20]);
    folder.write("phrase.raw", "battery staple");
    let format = "luksFormat --type luks2 --batch-mode --key-file - --pbkdf argon2id --pbkdf-memory 1024 \
                  --pbkdf-force-iterations 4 --luks2-metadata-size 4m --luks2-keyslots-size 4m";
    assert!(cryptsetup(format, &old, &folder.path("phrase.raw")));
    image(&folder).write_all_at(&fs::read(old).unwrap(), PARTITIONS[0].0).unwrap();
    let stopped = stopped_at(&folder, PARTITIONS[0].0 + 6 * MIB, &format!("disk init disk.img -p 1 --force {CHEAP}"));
    assert_eq!(stopped.status, 3, "{}", stopped.stderr);
    let status = folder.shoji("disk status disk.img -p 1");
    assert!(status.stdout.contains("nothing that Shoji knows"), "{}", status.stdout);
}

#[test]
fn a_copy_that_does_not_fit_on_the_disk_leaves_no_file() {
    let folder = folder("full");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    let full = stopped_at(&folder, 3 * MIB, "disk header-backup disk.img -p 1 header.img");
    assert!(full.status == 3 && full.stderr.contains("cannot write header.img"), "{}", full.stderr);
    let left: Vec<_> = fs::read_dir(folder.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("header")), "{left:?}");
    good(&folder.shoji("disk header-backup disk.img -p 1 header.img"));
    // One that was cut off since is not put back.
    File::options().write(true).open(folder.path("header.img")).unwrap().set_len(3 * MIB).unwrap();
    let cut = folder.shoji("disk header-restore disk.img -p 1 header.img --yes");
    assert!(cut.status == 1 && cut.stderr.contains("take another copy"), "{}", cut.stderr);
    assert!(opens(&folder, &extract(&folder, 0)));
}

#[test]
fn a_pass_phrase_can_be_tried_before_the_login_asks_for_it() {
    let folder = folder("tried");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    let adopt = |text: &str| {
        folder.write("typed", text);
        folder.shoji("disk adopt disk.img -p 1 --pass-phrase-file typed")
    };
    let right = adopt("correct horse\n");
    good(&right);
    assert!(right.stderr.contains("The pass phrase opens it.") && right.stdout.contains("[[disk]]"));
    let wrong = adopt("wrong horse\n");
    assert!(wrong.status == 1 && wrong.stderr.contains("opens no key slot"), "{}", wrong.stderr);
    assert!(wrong.stdout.is_empty(), "no rule: {}", wrong.stdout);
    let untypable = adopt("gr\u{fc}\u{df} dich");
    assert!(untypable.status == 1 && untypable.stderr.contains("typed at the login"), "{}", untypable.stderr);
}

#[test]
fn a_file_that_is_no_copy_of_a_header_is_not_put_back() {
    let folder = folder("no-copy");
    good(&folder.shoji(&format!("disk init disk.img --partition 1 {CHEAP}")));
    for (content, word) in
        [(&b"a letter"[..], "it does not begin with the magic"), (&[0x5A; 9000], "it does not begin with the magic")]
    {
        folder.write("letter", content);
        let refused = folder.shoji("disk header-restore disk.img -p 1 letter --yes --force");
        assert_eq!(refused.status, 1, "{}", refused.stdout);
        assert!(refused.stderr.contains("letter is no copy of a LUKS2 header") && refused.stderr.contains(word));
        // That advice is for volumes.
        assert!(!refused.stderr.contains("put back"), "{}", refused.stderr);
    }
    assert!(opens(&folder, &extract(&folder, 0)));
}

#[test]
fn garbage_for_a_header_is_named_and_nothing_more() {
    let folder = folder("garbage");
    let mut state = 1u32;
    let mut garbage: Vec<u8> = (0..16 * MIB)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    image(&folder).write_all_at(&garbage, PARTITIONS[0].0).unwrap();
    let status = folder.shoji("disk status disk.img -p 1");
    assert!(status.status == 0 && status.stdout.contains("nothing that Shoji knows"), "{}", status.stdout);
    for line in ["disk adopt disk.img -p 1", "disk header-backup disk.img -p 1 header.img"] {
        let refused = folder.shoji(line);
        assert!(refused.status == 1 && refused.stderr.contains("there is no LUKS2 header"), "{}", refused.stderr);
    }
    // With the marks of a header of 4 MiB, and garbage for its text.
    for (at, magic) in [(0, b"LUKS\xba\xbe"), (4 << 20, b"SKUL\xba\xbe")] {
        garbage[at..][..6].copy_from_slice(magic);
        garbage[at + 6..][..2].copy_from_slice(&2_u16.to_be_bytes());
        garbage[at + 8..][..8].copy_from_slice(&(4_u64 << 20).to_be_bytes());
        garbage[at + 72..][..7].copy_from_slice(b"sha256\0");
        garbage[at + 256..][..8].copy_from_slice(&(at as u64).to_be_bytes());
    }
    image(&folder).write_all_at(&garbage, PARTITIONS[0].0).unwrap();
    let status = folder.shoji("disk status disk.img -p 1");
    assert!(status.status == 1, "{}", status.stdout);
    assert_eq!(status.stdout.matches("the checksum does not match").count(), 2, "{}", status.stdout);
}
