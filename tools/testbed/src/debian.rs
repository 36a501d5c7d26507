//! A Debian 12 root file system, made once by debootstrap and cached for the user.

use crate::artifact;
use crate::program::{command, command_as_root, is_root, locate, run};
use crate::{ext, mbr::Extent, progress, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const SUITE: &str = "bookworm";
const PACKAGES: &str = "systemd-sysv,udev,kmod,iproute2,login,procps,util-linux,e2fsprogs,fio,cryptsetup-bin,\
    stress-ng,kexec-tools,cpp-12,isc-dhcp-client,iputils-ping,bind9-dnsutils,iperf3,curl,tcpdump,ethtool,wireguard-tools,\
    linux-image-cloud-amd64,linux-image-amd64";
const CONFIGURE: &str = include_str!("../guest/debian.sh");
/// Space that making it takes for a while: tree and archive.
const NEED_MIB: u64 = 2500;

/// The kernels of the tree, both 6.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// "cloud": PIIX IDE and NVMe are in, AHCI is not; it boots in seconds on an emulated CPU.
    Cloud,
    /// The usual one, with drivers for all disks here; it takes a quarter of a minute longer.
    Generic,
}

impl Kernel {
    pub const ALL: [Self; 2] = [Self::Cloud, Self::Generic];

    /// Whether something is this one's whose name ends with the kernel's version.
    fn owns(self, name: &str) -> bool {
        name.ends_with("-cloud-amd64") == (self == Self::Cloud)
    }

    /// What a boot partition calls its kernel and initrd.
    pub const fn files(self) -> [&'static str; 2] {
        match self {
            Self::Cloud => ["vmlinuz", "initrd.img"],
            Self::Generic => ["vmlinuz.generic", "initrd.img.generic"],
        }
    }
}

/// The tree as `tar` archive.
pub fn archive() -> Result<PathBuf> {
    let dir = workspace::user_cache()?;
    let inputs = format!("{SUITE} {PACKAGES}\n{CONFIGURE}");
    let archive = dir.join(format!("debian-{}.tar", artifact::fingerprint_of(inputs.as_bytes())));
    artifact::ensure(&archive, &inputs, |part| {
        artifact::require_space(&dir, NEED_MIB, "Making the Debian root")?;
        let _progress = progress::spinner("Making a Debian 12 root by debootstrap (some minutes, once)");
        let tree = dir.join("debian.tree");
        remove_tree(&tree)?;
        let result = bootstrap(&tree, part);
        remove_tree(&tree)?;
        result
    })?;
    Ok(archive)
}

fn bootstrap(tree: &Path, archive: &Path) -> Result<()> {
    let mut debootstrap = command_as_root("debootstrap");
    run(debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]).arg(tree))
        .context("debootstrap needs the Debian package mirror: is the network there?")?;
    let chroot = ["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "chroot"];
    let env = locate("env").context("there is no program env")?;
    run(command_as_root(&env.to_string_lossy()).args(chroot).arg(tree).args(["/bin/sh", "-c", CONFIGURE]))?;
    run(command_as_root("tar").args(["--numeric-owner", "-cf"]).arg(archive).arg("-C").arg(tree).arg("."))?;
    if !is_root() {
        run(command_as_root("chown").arg(nix::unistd::getuid().to_string()).arg(archive))?;
    }
    Ok(())
}

/// Unpacks some paths (`./boot`) for the user.
pub fn unpack(archive: &Path, paths: &[&str], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    run(command("tar").arg("-xf").arg(archive).arg("-C").arg(to).args(paths)).map(drop)
}

/// The file `boot/PREFIX-VERSION`, e.g. the kernel.
pub fn boot_file(tree: &Path, prefix: &str, kernel: Kernel) -> Result<PathBuf> {
    named(&tree.join("boot"), prefix, kernel)
}

/// The folder with a kernel's modules.
pub fn modules(tree: &Path, kernel: Kernel) -> Result<PathBuf> {
    named(&tree.join("usr/lib/modules"), "", kernel)
}

fn named(dir: &Path, prefix: &str, kernel: Kernel) -> Result<PathBuf> {
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && kernel.owns(&name)
    };
    let mut files = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(fits).with_context(|| format!("no {prefix}* of the {kernel:?} kernel in {}", dir.display()))
}

/// The root as an ext4 image of `size_mib`.
pub fn ext4_image(archive: &Path, size_mib: u64, image: &Path) -> Result<()> {
    let _progress = progress::spinner("Making Debian's ext4 file system");
    let tree = artifact::with_suffix(image, "tree");
    remove_tree(&tree)?;
    fs::create_dir_all(&tree)?;
    run(command_as_root("tar").args(["--numeric-owner", "-xpf"]).arg(archive).arg("-C").arg(&tree))?;
    fs::File::create(image)?.set_len(size_mib << 20)?;
    let result = ext::make("ext4", "root", image, Extent { first_lba: 0, sectors: size_mib * 2048 }, &tree, true);
    remove_tree(&tree)?;
    result
}

/// A tree may belong to root.
fn remove_tree(tree: &Path) -> Result<()> {
    run(command_as_root("rm").arg("-rf").arg("--one-file-system").arg(tree)).map(drop)
}
