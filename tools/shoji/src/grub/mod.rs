//! GRUB's menu for Shoji: the script of `/etc/grub.d`, or a whole `grub.cfg`.
//!
//! Both hold the same part in GRUB's own language (`pass.cfg`), which tells the first pass from the second and knows
//! a start that failed.

use std::str::FromStr;

use abi::{SECOND_PASS_ADDRESS, SECOND_PASS_MARK};
use config::{HEADER_FILE_SUFFIX, HEADER_MODULE};

/// Modules of `i386-pc` that the menu needs; `grub-mkimage` may embed them.
pub const MODULES: [&str; 8] = ["normal", "loadenv", "memrw", "multiboot2", "test", "true", "echo", "sleep"];

/// A path that means the same to the shell, to GRUB and to a person: absolute, of letters, digits and `/._+-`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrubPath(String);

impl FromStr for GrubPath {
    type Err = &'static str;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
        if path.starts_with('/') && path.chars().all(plain) {
            Ok(Self(path.into()))
        } else {
            Err("must be an absolute path of letters, digits and / . _ + - only")
        }
    }
}

/// The path of a header file, whose name rules can have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderFile {
    path: GrubPath,
    name: String,
}

impl FromStr for HeaderFile {
    type Err = &'static str;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let path: GrubPath = path.parse()?;
        let name = path.0.rsplit('/').next().and_then(|file| file.strip_suffix(HEADER_FILE_SUFFIX));
        let name = name.filter(|name| config::check_file_name(name).is_ok()).map(str::to_owned);
        name.map(|name| Self { path, name }).ok_or("must be called NAME.luks, NAME beginning with a letter or digit")
    }
}

/// What the menu entry starts.
pub struct Entry {
    /// `shoji.elf`: for [`script`] as the running system names it, for [`standalone`] as GRUB does.
    pub image: GrubPath,
    /// The compiled configuration, named alike.
    pub config: GrubPath,
    /// LUKS2 headers that GRUB loads besides, each `NAME.luks` and named alike. None: the script looks for them in the folder of
    /// the configuration.
    pub headers: Vec<HeaderFile>,
    /// Seconds until Shoji starts in the first pass; 0 shows no menu.
    pub timeout_s: u32,
}

impl Entry {
    fn fill(&self, template: &str) -> String {
        let headers: Vec<_> = self.headers.iter().map(|header| header.path.0.as_str()).collect();
        template
            .replace("@PASS@", include_str!("pass.cfg"))
            .replace("@IMAGE@", &self.image.0)
            .replace("@CONFIG@", &self.config.0)
            .replace("@HEADERS@", &headers.join(" "))
            .replace("@MODULES@", &self.modules())
            .replace("@SUFFIX@", HEADER_FILE_SUFFIX)
            .replace("@MODULE@", HEADER_MODULE)
            .replace("@TIMEOUT@", &self.timeout_s.to_string())
            .replace("@ADDRESS@", &format!("{SECOND_PASS_ADDRESS:#x}"))
            .replace("@MARK@", &format!("{SECOND_PASS_MARK:#x}"))
    }

    /// GRUB's commands for the header files, where their paths are GRUB's.
    fn modules(&self) -> String {
        let line = |HeaderFile { path, name }: &HeaderFile| format!("  module2 \"{}\" {HEADER_MODULE}{name}\n", path.0);
        self.headers.iter().map(line).collect()
    }
}

/// The script for `/etc/grub.d`, which prints Shoji's part of `grub.cfg`.
#[must_use]
pub fn script(entry: &Entry) -> String {
    entry.fill(include_str!("script.sh"))
}

/// A whole `grub.cfg`: Shoji's part, then `entries` for the second pass, verbatim. Image and configuration lie on
/// the file system that GRUB was started from.
#[must_use]
pub fn standalone(entry: &Entry, entries: &str) -> String {
    entry.fill(include_str!("standalone.cfg")).replace("@ENTRIES@", entries)
}

/// An empty environment block, to be written to `grubenv` beside `grub.cfg`. As `grub-editenv create` makes it.
#[must_use]
pub fn environment_block() -> [u8; 1024] {
    const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";
    let mut block = [b'#'; 1024];
    block[..SIGNATURE.len()].copy_from_slice(SIGNATURE);
    block
}
