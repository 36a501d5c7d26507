//! How the configuration names a disk: model and serial number, as the kernel and udev know them.

use std::fs;
use std::path::{Path, PathBuf};

/// What is known of a disk; nothing of an image file.
#[derive(Default)]
pub struct Identity {
    pub model: Option<String>,
    pub serial: Option<String>,
    /// Number of the partition, of a device that is one.
    pub partition: Option<u32>,
}

/// The folder of a block device in sysfs.
pub fn sysfs(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    let link = Path::new("/sys/class/block").join(real.file_name()?);
    fs::canonicalize(link).ok()
}

/// Model and serial number of the disk that a block device is, or is a partition of.
pub fn identify(path: &Path) -> Identity {
    let Some(folder) = sysfs(path) else { return Identity::default() };
    let partition = line(&folder.join("partition")).and_then(|number| number.parse().ok());
    let disk = if partition.is_some() { folder.parent().map(Path::to_owned) } else { Some(folder) };
    let Some(disk) = disk else { return Identity::default() };
    // NVMe tells all of it here; of an ATA disk the kernel cuts the model short, but udev has asked the disk itself.
    if disk.join("device/serial").exists() {
        return Identity {
            model: line(&disk.join("device/model")),
            serial: line(&disk.join("device/serial")),
            partition,
        };
    }
    let number = line(&disk.join("dev")).unwrap_or_default();
    let known = fs::read_to_string(format!("/run/udev/data/b{number}")).unwrap_or_default();
    let value = |key: &str| known.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(key));
    let serial = value("ID_SERIAL_SHORT=").map(str::to_owned);
    Identity { model: value("ID_MODEL_ENC=").and_then(decode), serial, partition }
}

fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// udev's way to write a space is `\x20`.
fn decode(text: &str) -> Option<String> {
    let mut parts = text.split("\\x");
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok())?;
        out.push(char::from(code));
        out.push_str(&part[2..]);
    }
    Some(out.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_decoded_and_trimmed() {
        let cases = [("QEMU\\x20HARDDISK\\x20\\x20", Some("QEMU HARDDISK")), ("plain", Some("plain")), ("a\\xg", None)];
        for (text, model) in cases {
            assert_eq!(decode(text).as_deref(), model, "{text}");
        }
    }
}
