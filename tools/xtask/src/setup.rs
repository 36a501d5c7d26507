//! What the other commands need on this machine, and how to get it.

use anyhow::{Context, Result, bail};
use std::io::{IsTerminal, Write};
use std::path::Path;
use testbed::program::{command, command_as_root, is_root, locate, run};
use testbed::{progress, promtool};

/// Something that a step cannot do without.
struct Need {
    /// A program, or a file if it begins with `/`.
    probe: &'static str,
    /// Debian's package that brings it.
    package: &'static str,
}

const fn need(probe: &'static str, package: &'static str) -> Need {
    Need { probe, package }
}

/// For building Shoji.
const BUILD: [Need; 2] = [need("objcopy", "binutils"), need("size", "binutils")];
/// For making disks and booting them.
const EMULATE: [Need; 25] = [
    need("qemu-system-x86_64", "qemu-system-x86"),
    need("bochs-bin", "bochs"),
    // Of the displays that Bochs' package wants, the one that brings no desktop.
    need("bochs-bin", "bochs-term"),
    need("/usr/share/bochs/BIOS-bochs-latest", "bochsbios"),
    need("/usr/share/bochs/VGABIOS-lgpl-latest", "vgabios"),
    need("/usr/share/seabios/bios.bin", "seabios"),
    need("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    need("grub-mkimage", "grub-common"),
    need("debootstrap", "debootstrap"),
    need("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    need("mke2fs", "e2fsprogs"),
    need("debugfs", "e2fsprogs"),
    need("busybox", "busybox-static"),
    need("cpio", "cpio"),
    need("openssl", "openssl"),
    need("readelf", "binutils"),
    need("tar", "tar"),
    need("setpriv", "util-linux"),
    need("xz", "xz-utils"),
    // The peer of network cards under test.
    need("ip", "iproute2"),
    need("wireguard-go", "wireguard-go"),
    need("wg", "wireguard-tools"),
    need("dnsmasq", "dnsmasq-base"),
    need("iperf3", "iperf3"),
    need("tcpdump", "tcpdump"),
];
/// For the tests on the host.
const UNITS: [Need; 1] = [need("cryptsetup", "cryptsetup-bin")];
/// For the fuzzers.
const FUZZ: [Need; 1] = [need("g++", "g++")];

/// What a command is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Build,
    Units,
    Emulate,
    Fuzz,
    /// What judges in the emulator cases.
    Judge,
}

/// Installs what is missing for `purposes`; asks first unless root or `yes`.
///
/// # Errors
/// Something is missing and the user said no, or this is not a Debian; the message names all of it.
pub fn ensure(purposes: &[For], yes: bool) -> Result<()> {
    let needs = purposes.iter().flat_map(|purpose| match purpose {
        For::Build => BUILD.as_slice(),
        For::Units => UNITS.as_slice(),
        For::Emulate => EMULATE.as_slice(),
        For::Fuzz => FUZZ.as_slice(),
        For::Judge => &[],
    });
    let missing: Vec<&Need> = needs.filter(|need| !is_there(need.probe)).collect();
    if !missing.is_empty() {
        install_packages(&missing, yes)?;
    }
    if purposes.contains(&For::Build) {
        install_rust_source(yes)?;
    }
    if purposes.contains(&For::Judge) {
        fetch_promtool(yes)?;
    }
    Ok(())
}

fn is_there(probe: &str) -> bool {
    if probe.starts_with('/') { Path::new(probe).exists() } else { locate(probe).is_some() }
}

fn install_packages(missing: &[&Need], yes: bool) -> Result<()> {
    let probes = missing.iter().map(|need| need.probe).collect::<Vec<_>>().join(", ");
    if locate("apt-get").is_none() {
        bail!("missing: {probes}. This is not a Debian-like system: install them by its own means, then start again");
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    eprintln!("Missing: {probes}");
    agree(&format!("Install the packages {}?", packages.join(" ")), yes)?;
    let _progress = progress::spinner(&format!("Installing {}", packages.join(" ")));
    run(apt_get().arg("update")).context("apt-get update failed: is the network there?")?;
    run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&packages))?;
    match missing.iter().find(|need| !is_there(need.probe)) {
        Some(need) => bail!("{} is still not there after installing {}", need.probe, need.package),
        None => Ok(()),
    }
}

fn apt_get() -> std::process::Command {
    let mut command = command_as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

/// `core` and `alloc` are built from source. The toolchain file asks for them, but rustup may be told not to install.
fn install_rust_source(yes: bool) -> Result<()> {
    let sysroot = run(command("rustc").args(["--print", "sysroot"])).context("there is no rustc")?;
    let sysroot = Path::new(sysroot.trim());
    if sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        return Ok(());
    }
    if locate("rustup").is_none() {
        bail!(
            "Rust's library source is not in {}: install the component rust-src of this toolchain",
            sysroot.display()
        );
    }
    agree("Install the component rust-src of the pinned Rust toolchain?", yes)?;
    let _progress = progress::spinner("Installing rust-src");
    run(command("rustup").args(["component", "add", "rust-src", "llvm-tools"])).map(drop)
}

fn fetch_promtool(yes: bool) -> Result<()> {
    if promtool::is_there()? {
        return Ok(());
    }
    if locate("apt-get").is_none() {
        bail!("missing: promtool. This is not a Debian-like system: install it by its own means, then start again");
    }
    agree("Missing: promtool. Take it out of Debian's package prometheus, which is not installed for it?", yes)?;
    promtool::fetch()
}

fn agree(question: &str, yes: bool) -> Result<()> {
    if yes || is_root() {
        eprintln!("{question} yes");
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("{question} Nobody is there to ask: start again with --yes");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was installed"),
    }
}
