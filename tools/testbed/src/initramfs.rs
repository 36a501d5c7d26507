//! The small guest's root: busybox, the disk driver and shell scripts, packed as a cpio archive.

use crate::debian::{self, Kernel};
use crate::program::locate;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Modules of disks, their controllers and file systems, in loading order. The cloud kernel has NVMe and ext4 in it.
const fn disk_modules(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        Kernel::Cloud => &["scsi_common", "scsi_mod", "libata", "ata_piix", "sd_mod"],
        Kernel::Generic => &[
            "scsi_common",
            "scsi_mod",
            "libata",
            "libahci",
            "ahci",
            "ata_piix",
            "crct10dif_common",
            "crct10dif_generic",
            "crc-t10dif",
            "crc64",
            "crc64-rocksoft",
            "t10-pi",
            "sd_mod",
            "nvme-core",
            "nvme",
            "crc16",
            "crc32c_generic",
            "mbcache",
            "jbd2",
            "ext4",
        ],
    }
}

/// Of network cards. The cloud kernel has none.
const fn network_modules(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        Kernel::Cloud => &[],
        Kernel::Generic => &["e1000", "e1000e"],
    }
}

/// What the kernel's WireGuard needs, in loading order.
pub const WIREGUARD_MODULES: [&str; 9] = [
    "libchacha",
    "chacha-x86_64",
    "poly1305-x86_64",
    "libchacha20poly1305",
    "libcurve25519-generic",
    "curve25519-x86_64",
    "udp_tunnel",
    "ip6_udp_tunnel",
    "wireguard",
];

/// What dm-crypt needs for aes-xts-plain64, in loading order.
pub const CRYPT_MODULES: [&str; 6] = ["dm-mod", "cryptd", "crypto_simd", "aesni-intel", "xts", "dm-crypt"];

/// Scripts that `shoji.test=NAME` on the kernel command line selects.
pub const SCRIPTS: [(&str, &str); 27] = [
    ("boot", include_str!("../guest/tests/boot.sh")),
    ("cpus", include_str!("../guest/tests/cpus.sh")),
    ("hotplug", include_str!("../guest/tests/hotplug.sh")),
    ("kexec", include_str!("../guest/tests/kexec.sh")),
    ("reboots", include_str!("../guest/tests/reboots.sh")),
    ("write_verify", include_str!("../guest/tests/write_verify.sh")),
    ("write_digest", include_str!("../guest/tests/write_digest.sh")),
    ("fio", include_str!("../guest/tests/fio.sh")),
    ("nvme", include_str!("../guest/tests/nvme.sh")),
    ("net", include_str!("../guest/tests/net.sh")),
    ("tunnel", include_str!("../guest/tests/tunnel.sh")),
    ("wireguard", include_str!("../guest/tests/wireguard.sh")),
    ("own", include_str!("../guest/tests/own.sh")),
    ("replug", include_str!("../guest/tests/replug.sh")),
    ("sleep", include_str!("../guest/tests/sleep.sh")),
    ("fsync_loop", include_str!("../guest/tests/fsync_loop.sh")),
    ("reboot_once", include_str!("../guest/tests/reboot_once.sh")),
    ("bench", include_str!("../guest/tests/bench.sh")),
    ("bench_idle", include_str!("../guest/tests/bench_idle.sh")),
    ("bench_load", include_str!("../guest/tests/bench_load.sh")),
    ("alone", include_str!("../guest/tests/alone.sh")),
    ("inside", include_str!("../guest/tests/inside.sh")),
    ("idle", include_str!("../guest/tests/idle.sh")),
    ("cryptsetup", include_str!("../guest/tests/cryptsetup.sh")),
    ("luks2", include_str!("../guest/tests/luks2.sh")),
    ("luks2_sectors", include_str!("../guest/tests/luks2_sectors.sh")),
    ("read_only", include_str!("../guest/tests/read_only.sh")),
];
const INIT: &str = include_str!("../guest/init.sh");

/// All text that goes in, for telling whether an archive is current.
pub fn inputs() -> String {
    let scripts: Vec<&str> = SCRIPTS.iter().map(|(_, text)| *text).collect();
    let modules = Kernel::ALL.map(|kernel| (disk_modules(kernel), network_modules(kernel)));
    crate::artifact::fingerprint_of(format!("{INIT}{}{modules:?}{WIREGUARD_MODULES:?}", scripts.join("\n")).as_bytes())
}

/// Packs the archive for a kernel of the Debian in `tree`.
pub fn build(tree: &Path, kernel: Kernel, archive: &Path) -> Result<()> {
    let root = tree.join(format!("initramfs.{kernel:?}"));
    for dir in ["bin", "dev", "proc", "sys", "modules", "tests"] {
        fs::create_dir_all(root.join(dir))?;
    }
    let busybox = locate("busybox").context("busybox is not installed")?;
    ensure!(is_static(&busybox)?, "{} is not a static program: install busybox-static", busybox.display());
    fs::copy(busybox, root.join("bin/busybox"))?;
    let disk_modules = disk_modules(kernel);
    let modules = disk_modules.iter().chain(&CRYPT_MODULES).chain(network_modules(kernel)).chain(&WIREGUARD_MODULES);
    copy_modules(&debian::modules(tree, kernel)?, modules, &root.join("modules"))?;
    for (name, text) in SCRIPTS {
        fs::write(root.join("tests").join(name), text)?;
    }
    let names: Vec<String> = disk_modules.iter().map(|name| format!("{name}.ko")).collect();
    fs::write(
        root.join("init"),
        INIT.replace("@MODULES@", &names.join(" ")).replace("@WIREGUARD@", &WIREGUARD_MODULES.join(" ")),
    )?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    pack(&root, archive)
}

fn copy_modules<'a>(from: &Path, names: impl Iterator<Item = &'a &'a str>, to: &Path) -> Result<()> {
    let all = files_below(&from.join("kernel"))?;
    for name in names {
        let file = format!("{name}.ko");
        let found = all.iter().find(|path| path.ends_with(&file));
        let found = found.with_context(|| format!("the guest kernel has no module {name}"))?;
        fs::copy(found, to.join(file))?;
    }
    Ok(())
}

/// An ELF program without an interpreter needs no libraries.
fn is_static(program: &Path) -> Result<bool> {
    let said = crate::program::run(crate::program::command("readelf").arg("-l").arg(program))?;
    Ok(!said.contains("INTERP"))
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files.extend(files_below(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    Ok(files)
}

/// cpio in the "newc" form, uncompressed: the guest's CPU is an emulated one, reading is cheaper than unpacking.
fn pack(root: &Path, archive: &Path) -> Result<()> {
    let mut names = files_and_dirs(root, root)?;
    names.sort();
    let mut cpio = Command::new(locate("cpio").context("cpio is not installed")?)
        .args(["--quiet", "-o", "-H", "newc", "-R", "0:0"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(archive)?)
        .spawn()
        .context("cannot run cpio")?;
    let mut input = cpio.stdin.take().context("cpio has no input")?;
    input.write_all((names.join("\n") + "\n").as_bytes())?;
    drop(input);
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(())
}

fn files_and_dirs(dir: &Path, root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        names.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        if path.is_dir() {
            names.extend(files_and_dirs(&path, root)?);
        }
    }
    Ok(names)
}
