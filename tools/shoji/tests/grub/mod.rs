//! A disk with GRUB made by hand, and QEMU with its serial port on pipes.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use abi::{SECOND_PASS_ADDRESS, SECOND_PASS_MARK};
use shoji::grub::{Entry, MODULES, environment_block, script, standalone};

const PARTITION_START: usize = 2048 * 512;
const PARTITION_LEN: usize = 16 << 20;
const GRUB_FILES: &str = "/usr/lib/grub/i386-pc";

/// What the scripts of `/etc/grub.d` print before Shoji's, as far as it matters here.
const HEADER: &str = r#"
if [ -s $prefix/grubenv ]; then load_env; fi
if [ "${next_entry}" ]; then
  set default="${next_entry}"
  set next_entry=
  save_env next_entry
  set boot_once=true
else
  set default=0
fi
set timeout=1
"#;

const SYSTEMS: &str = r#"
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
function report {
  echo "$1, pass $shoji_pass, flag [$shoji_starting], default $seen_default, timeout $seen_timeout"
  sleep 1000
}
set seen_default=$default
set seen_timeout=$timeout
menuentry "First system" --id first { report "first system" }
menuentry "Second system" --id other { report "second system" }
"#;

/// Stands in for GRUB's own library where no device can be probed.
const MKCONFIG_LIB: &str = r#"
grub_probe=true
grub_warn() { echo "$@" >&2; }
prepare_grub_to_access_device() { echo "  insmod ext2"; }
make_system_path_relative_to_its_root() { echo "/boot/shoji/${1##*/}"; }
"#;

pub struct Disk {
    image: PathBuf,
}

impl Disk {
    pub fn new(name: &str, mode: &str) -> Self {
        Self::make(name, mode, &Self::generated(name), true)
    }

    pub fn without_environment(name: &str, mode: &str) -> Self {
        Self::make(name, mode, &Self::generated(name), false)
    }

    pub fn standalone(name: &str, mode: &str) -> Self {
        Self::make(name, mode, &standalone(&entry(Path::new("/boot/shoji")), SYSTEMS), true)
    }

    /// `grub.cfg` as update-grub would make it.
    fn generated(name: &str) -> String {
        let dir = fresh_dir(&format!("{name}-scripts"));
        fs::write(dir.join("grub-mkconfig_lib"), MKCONFIG_LIB).unwrap();
        fs::write(dir.join("shoji.elf"), "").unwrap();
        fs::write(dir.join("shoji.conf"), "").unwrap();
        fs::write(dir.join("09_shoji"), script(&entry(&dir))).unwrap();
        let part = output(Command::new("sh").arg(dir.join("09_shoji")).env("pkgdatadir", &dir));
        [HEADER, &part, SYSTEMS].concat()
    }

    fn make(name: &str, mode: &str, menu: &str, environment: bool) -> Self {
        let dir = fresh_dir(name);
        let (root, file_system) = (dir.join("root"), dir.join("ext2"));
        fs::create_dir_all(root.join("boot/grub")).unwrap();
        fs::create_dir_all(root.join("boot/shoji")).unwrap();
        fs::write(root.join("boot/grub/grub.cfg"), menu).unwrap();
        fs::write(root.join("boot/shoji/shoji.conf"), format!("{mode}\r\n\0")).unwrap();
        assemble(&root.join("boot/shoji/shoji.elf"));
        if environment {
            fs::write(root.join("boot/grub/grubenv"), environment_block()).unwrap();
        }
        fs::write(&file_system, vec![0; PARTITION_LEN]).unwrap();
        output(Command::new("mke2fs").args(["-q", "-t", "ext2", "-d"]).arg(&root).arg(&file_system));
        let image = dir.join("disk.img");
        fs::write(&image, [boot_sectors(&dir), fs::read(&file_system).unwrap()].concat()).unwrap();
        Self { image }
    }

    /// Replaces a text in the raw image.
    pub fn patch(&self, old: &str, new: &str) {
        let mut bytes = fs::read(&self.image).unwrap();
        assert_eq!(old.len(), new.len());
        let at = find_once(&bytes, old.as_bytes());
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
        fs::write(&self.image, bytes).unwrap();
    }

    /// Sets a variable of an environment that has none.
    pub fn set(&self, assignment: &str) {
        let line = format!("# GRUB Environment Block\n{assignment}\n");
        self.patch(&format!("{:#<1$}", "# GRUB Environment Block\n", line.len()), &line);
    }

    /// The environment block as it lies on the disk.
    pub fn environment(&self) -> String {
        let bytes = fs::read(&self.image).unwrap();
        let at = find_once(&bytes, b"# GRUB Environment Block\n");
        String::from_utf8_lossy(&bytes[at..at + 1024]).trim_end_matches('#').to_string()
    }
}

fn entry(dir: &Path) -> Entry {
    let path = |name: &str| dir.join(name).to_str().unwrap().parse().unwrap();
    Entry { image: path("shoji.elf"), config: path("shoji.conf"), headers: Vec::new(), timeout_s: 1 }
}

/// Sector 0 with GRUB's boot code and one partition, and GRUB's core from sector 1 on.
fn boot_sectors(dir: &Path) -> Vec<u8> {
    let core = dir.join("core.img");
    let modules = ["biosdisk", "part_msdos", "ext2", "serial", "terminal"];
    let mut command = Command::new("grub-mkimage");
    command.args(["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-d", GRUB_FILES, "-o"]).arg(&core);
    output(command.args(modules).args(MODULES));
    let mut disk = fs::read(format!("{GRUB_FILES}/boot.img")).unwrap();
    let sectors = |bytes: usize| u32::try_from(bytes / 512).unwrap().to_le_bytes();
    disk[446..510].fill(0);
    disk[446] = 0x80;
    disk[450] = 0x83;
    disk[454..458].copy_from_slice(&sectors(PARTITION_START));
    disk[458..462].copy_from_slice(&sectors(PARTITION_LEN));
    disk.extend(fs::read(core).unwrap());
    assert!(disk.len() <= PARTITION_START);
    disk.resize(PARTITION_START, 0);
    disk
}

fn assemble(elf: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grub/fake_shoji.S");
    let mut command = Command::new("cc");
    command.args(["-m32", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x10000,--build-id=none,-n", "-o"]).arg(elf);
    command.arg(format!("-DMARK={SECOND_PASS_MARK:#x}")).arg(format!("-DADDRESS={SECOND_PASS_ADDRESS:#x}"));
    output(command.arg(source));
}

/// QEMU with the disk; ended when dropped.
pub struct Machine {
    qemu: Child,
    keys: ChildStdin,
    serial: Receiver<u8>,
}

impl Machine {
    pub fn boot(disk: &Disk) -> Self {
        let drive = format!("file={},format=raw,if=ide", disk.image.display());
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-m", "64", "-display", "none", "-nic", "none", "-serial", "stdio"]);
        command.args(["-monitor", "none", "-drive", &drive]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut qemu = command.spawn().expect("qemu-system-x86_64 is installed");
        let (sender, serial) = channel();
        let mut stdout = qemu.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut byte = [0];
            while stdout.read_exact(&mut byte).is_ok() && sender.send(byte[0]).is_ok() {}
        });
        let keys = qemu.stdin.take().unwrap();
        Self { qemu, keys, serial }
    }

    /// Waits for a text and gives everything before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        match self.wait_for(text, Duration::from_secs(60)) {
            Ok(before) => before,
            Err(seen) => panic!("no `{text}` on the serial port, but:\n{seen}"),
        }
    }

    #[track_caller]
    pub fn expect_silence_about(&mut self, text: &str) {
        if let Ok(before) = self.wait_for(text, Duration::from_secs(6)) {
            panic!("unexpected `{text}` after:\n{before}");
        }
    }

    fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String, String> {
        let (mut seen, end) = (String::new(), Instant::now() + limit);
        while let Ok(byte) = self.serial.recv_timeout(end.saturating_duration_since(Instant::now())) {
            seen.push(char::from(byte));
            if let Some(before) = seen.strip_suffix(text) {
                return Ok(before.to_string());
            }
        }
        Err(seen)
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Pulls the plug.
    pub fn off(self) {}
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
    }
}

fn fresh_dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The only place of a text in the partition; before it lies GRUB's core, which knows some texts too.
#[track_caller]
fn find_once(bytes: &[u8], text: &[u8]) -> usize {
    let mut windows = bytes.windows(text.len()).enumerate().skip(PARTITION_START);
    let mut next = || windows.find(|(_, window)| *window == text).map(|(at, _)| at);
    let at = next().expect("the text is there");
    assert_eq!(next(), None, "the text is there once");
    at
}
