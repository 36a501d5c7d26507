//! `cargo xtask run`: the demo.

use crate::{build, setup};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use std::path::Path;
use std::time::Duration;
use testbed::Workspace;
use testbed::accel::{self, Wish};
use testbed::disk::Disk;
use testbed::disks;
use testbed::progress::spinner;
use testbed::qemu::{Chipset, Machine, Qemu, Writes};
use testbed::shell::Shell;
use testbed::xts::DiskKey;

#[derive(Args)]
pub struct RunArgs {
    /// Boot, log in, check that Shoji is there and that the disk works, power off
    #[arg(long)]
    smoke: bool,
    /// Chipset; the disk is on an IDE controller of either
    #[arg(long, value_enum, default_value_t = Vm::Pc)]
    vm: Vm,
    /// Number of CPUs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    cpus: u32,
    /// What executes the guest: auto (KVM with nested virtualization where the host has it), kvm or tcg
    #[arg(long, default_value_t)]
    accel: Wish,
    /// RAM in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=65536))]
    memory: u32,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Vm {
    Pc,
    Q35,
}

impl Vm {
    fn chipset(self) -> Chipset {
        match self {
            Self::Pc => Chipset::Pc,
            Self::Q35 => Chipset::Q35,
        }
    }
}

pub fn run(workspace: &Workspace, args: &RunArgs) -> Result<()> {
    let accelerator = accel::announce(args.accel)?;
    setup::ensure(&[setup::For::Build, setup::For::Emulate], args.yes)?;
    build::build(workspace, false, args.yes)?;
    let disk = disks::demo(workspace, false)?;
    let logs = workspace.output("run")?;
    let qemu = Qemu::new(&logs, args.memory, accelerator)?.chipset(args.vm.chipset()).cpus(args.cpus);
    let qemu = qemu.request("quiet", "normal").ide_disk(0, &disk.path, Writes::Kept);
    let log = logs.join("shoji.log");
    println!("Shoji's log (COM1): {}", log.display());
    if args.smoke {
        let mut machine = qemu.start()?;
        let result = smoke(&mut machine, &disk, &disks::key(workspace)?);
        result.with_context(|| format!("smoke test failed; logs are in {}", logs.display()))?;
        println!("Smoke test passed; logs are in {}", logs.display());
        return Ok(());
    }
    println!("Debian's console (COM2) follows: log in as root, password shoji. Ctrl-A X leaves.\n");
    qemu.on_terminal()
}

/// What a user would look at first, done by a program.
fn smoke(machine: &mut Machine, disk: &Disk, key: &Path) -> Result<()> {
    let progress = spinner("Booting Debian under Shoji");
    let mut shell = Shell::login(machine)?;
    progress.set_message("Checking the guest");
    let root = shell.run("findmnt -no SOURCE /", MINUTE)?;
    ensure!(root == "/dev/sda2", "the root file system is on {root}, not on the encrypted partition");
    // The CPU's virtualization is Shoji's own: a guest that sees it is not inside Shoji.
    shell
        .run("! grep -Eqw 'svm|vmx' /proc/cpuinfo", MINUTE)
        .context("the guest sees AMD-V or VT-x: it does not run under Shoji")?;
    shell.run(FIO, 10 * MINUTE)?;
    shell.run("rm -f /root/smoke* && sync", MINUTE)?;
    progress.set_message("Powering off");
    shell.power_off()?;
    progress.finish_and_clear();
    check_encrypted(disk, key)
}

const MINUTE: Duration = Duration::from_secs(60);
const FIO: &str = "fio --name=smoke --directory=/root --size=4m --rw=randwrite --bsrange=4k-256k --direct=1 \
                   --ioengine=libaio --iodepth=4 --verify=crc32c --do_verify=1 --verify_fatal=1 --output=/dev/null";

/// On the disk lies ciphertext; decrypted it is the ext4 that the guest uses.
fn check_encrypted(disk: &Disk, key: &Path) -> Result<()> {
    let mut start = disk.read_data(0, 4)?;
    ensure!(!is_ext(&start), "the file system lies on the disk in plaintext");
    DiskKey::read(key)?.decrypt(&mut start, 0);
    ensure!(is_ext(&start), "the partition does not decrypt to a file system");
    Ok(())
}

/// An ext2/3/4 superblock lies 1024 bytes in and has its magic number at 38h.
fn is_ext(start: &[u8]) -> bool {
    start.get(1024 + 0x38..1024 + 0x3a) == Some(&[0x53, 0xef])
}
