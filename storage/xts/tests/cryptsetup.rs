//! What cryptsetup encrypts, in its own program without the kernel, is what this crate decrypts: sectors of both sizes of
//! a LUKS2 volume, tweaks included.

use mediator::disk::SectorTransform;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xts::{Aes256Xts, KEY_BYTES};

const PLAIN_BYTES: usize = 1 << 20;
/// What cryptsetup takes from the end of the volume for its header, and where the payload begins afterwards.
const REDUCED_BYTES: usize = 32 << 20;
const PAYLOAD_AT: u64 = 16 << 20;

/// A folder that goes with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `None`: it is not installed.
fn cryptsetup(volume: &Path, arguments: &[&str]) -> Option<()> {
    let mut command = Command::new("cryptsetup");
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command.args(arguments).args(["--batch-mode", "--key-file", "-"]).arg(volume);
    let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn() {
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        child => child.unwrap(),
    };
    child.stdin.take().unwrap().write_all(b"pass phrase").unwrap();
    assert!(child.wait().unwrap().success(), "cryptsetup failed");
    Some(())
}

/// Encrypts a volume in place and gives its key.
fn encrypted(folder: &Path, plain: &[u8], sector_bytes: usize) -> Option<([u8; KEY_BYTES], Vec<u8>)> {
    let (volume, key) = (folder.join(format!("volume{sector_bytes}")), folder.join(format!("key{sector_bytes}")));
    let file = File::options().read(true).write(true).create_new(true).open(&volume).unwrap();
    file.write_all_at(plain, 0).unwrap();
    file.set_len((plain.len() + REDUCED_BYTES) as u64).unwrap();
    let (size, reduce) = (sector_bytes.to_string(), format!("{REDUCED_BYTES}"));
    let format = ["reencrypt", "--encrypt", "--type", "luks2", "--cipher", "aes-xts-plain64", "--key-size", "512"];
    let layout = ["--sector-size", &size, "--reduce-device-size", &reduce, "--disable-locks"];
    let slot = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    cryptsetup(&volume, &[&format[..], &layout, &slot].concat())?;
    cryptsetup(&volume, &["luksDump", "--dump-volume-key", "--volume-key-file", key.to_str().unwrap()])?;
    let mut payload = vec![0; plain.len()];
    file.read_exact_at(&mut payload, PAYLOAD_AT).unwrap();
    Some((fs::read(key).unwrap().try_into().unwrap(), payload))
}

#[test]
fn sectors_that_cryptsetup_encrypts_are_decrypted() {
    let folder = Folder(std::env::temp_dir().join(format!("shoji-xts-{}", std::process::id())));
    fs::create_dir(&folder.0).unwrap();
    let plain: Vec<u8> = (0..PLAIN_BYTES).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
    for sector_bytes in [512, 4096] {
        let Some((key, mut payload)) = encrypted(&folder.0, &plain, sector_bytes) else {
            eprintln!("SKIPPED: cryptsetup is not installed; install it to compare with it");
            return;
        };
        assert!(payload != plain);
        Aes256Xts::new(&key, sector_bytes).unwrap().decrypt(0, &mut payload);
        assert!(payload == plain, "sectors of {sector_bytes} bytes");
    }
}
