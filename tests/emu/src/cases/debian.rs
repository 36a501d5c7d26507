//! A real Debian 12 on the encrypted disk.

use super::power_cut::{come_back, last_synced};
use super::{dmesg, inside, nvme};
use crate::case::{Case, Cx};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use testbed::disk::Disk;
use testbed::disks;
use testbed::ext::{self, Check};
use testbed::qemu::{Qemu, Writes};
use testbed::shell::Shell;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("debian_on_4_cpus_passes_load_and_a_reboot_and_stays_clean", 1500, |cx| load_and_reboot(cx, IDE)),
        Case::new("debian_survives_a_power_cut_in_mid_write", 900, |cx| power_cut(cx, IDE)),
    ];
    for drive in [Drive::Ahci, Drive::Nvme] {
        let name = drive.name();
        cases.extend([2, 1, 4].map(|cpus| {
            let name = format!("debian_on_{name}_with_{cpus}_cpus_passes_load_and_a_reboot_and_stays_clean");
            Case::new(name, 900, move |cx| load_and_reboot(cx, Hardware { drive, cpus })).only_in_long_runs()
        }));
        let name = format!("debian_on_{name}_survives_a_power_cut_in_mid_write");
        let hardware = Hardware { drive, cpus: 2 };
        cases.push(Case::new(name, 300, move |cx| power_cut(cx, hardware)).only_in_long_runs());
    }
    cases
}

const MEMORY_MIB: u32 = 1024;
const MINUTE: Duration = Duration::from_secs(60);

/// What the root file system is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drive {
    Ide,
    Ahci,
    /// SeaBIOS boots from IDE, where GRUB and Shoji are.
    Nvme,
}

impl Drive {
    const fn name(self) -> &'static str {
        match self {
            Self::Ide => "ide",
            Self::Ahci => "ahci",
            Self::Nvme => "nvme",
        }
    }

    const fn root(self) -> &'static str {
        match self {
            Self::Ide | Self::Ahci => "/dev/sda2",
            Self::Nvme => "/dev/nvme0n1p2",
        }
    }
}

/// The machine that Debian runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hardware {
    pub drive: Drive,
    pub cpus: u32,
}

pub const IDE: Hardware = Hardware { drive: Drive::Ide, cpus: 4 };

impl Hardware {
    /// The machine with Debian's disk in it.
    pub fn machine(self, cx: &Cx, disk: &Disk, writes: Writes, how: &str) -> Result<Qemu> {
        let qemu = cx.machine(MEMORY_MIB)?.cpus(self.cpus).request("quiet", how);
        Ok(match self.drive {
            Drive::Ide => qemu.ide_disk(0, &disk.path, writes),
            Drive::Ahci => qemu.ahci_disk(0, &disk.path, writes),
            Drive::Nvme => {
                let boot = boot_disk(cx, disk)?;
                qemu.ide_disk(0, &boot, Writes::Dropped).nvme_disk(&disk.path, nvme::SERIAL, writes)
            }
        })
    }

    /// A copy of Debian's disk. Its rule passes TRIM but for IDE.
    fn disk(self, cx: &Cx) -> Result<Disk> {
        let key = cx.key_file()?;
        let rule = match self.drive {
            Drive::Ide | Drive::Ahci => disks::configuration(&key),
            Drive::Nvme => nvme::rule(&key),
        };
        let trim = if self.drive == Drive::Ide { "" } else { "trim = true\n" };
        inside::configured(cx, &cx.debian_disk()?, &rule, trim)
    }
}

/// What is before the data partition, on a disk of the same size.
fn boot_disk(cx: &Cx, disk: &Disk) -> Result<PathBuf> {
    let path = cx.dir.join("boot.img");
    let boot = File::create(&path)?;
    std::io::copy(&mut File::open(&disk.path)?.take(disk.data.offset_bytes()), &mut &boot)?;
    boot.set_len(disk.all_sectors()? * 512)?;
    Ok(path)
}

fn load_and_reboot(cx: &Cx, hardware: Hardware) -> Result<()> {
    let work = work(cx, hardware.drive);
    let reference = dmesg::reference(cx, hardware.drive, &work)?;
    let disk = hardware.disk(cx)?;
    let mut machine = hardware.machine(cx, &disk, Writes::Kept, cx.boot.how())?.start()?;
    let mut shell = Shell::login(&mut machine)?;
    let root = shell.run("findmnt -no SOURCE /", MINUTE)?;
    ensure!(root == hardware.drive.root(), "the root file system is on {root}");
    perform(&mut shell, &work)?;
    let complaints = dmesg::complaints(&mut shell)?;
    let new: Vec<&String> = complaints.difference(&reference).collect();
    ensure!(new.is_empty(), "the kernel complains of what it does not on the bare machine: {new:#?}");
    shell.run("md5sum /root/sync.0.0 > /root/sum && sync && rm -f /root/async.*", MINUTE)?;
    if hardware.drive != Drive::Ide {
        shell.run("fstrim /", MINUTE)?;
    }
    shell.start("systemctl reboot")?.expect("reboot: Restarting system")?;
    let mut shell = Shell::login(&mut machine).context("after the reboot inside the guest")?;
    shell.run("md5sum -c /root/sum", MINUTE)?;
    shell.power_off()?;
    // The machine's reset went through the firmware and GRUB to Shoji again, not past it.
    cx.expect_starts(&machine.shoji_log(), 2)?;
    let found = ext::check(&cx.plaintext(&disk)?)?;
    ensure!(found == Check::Clean, "e2fsck after an orderly end: {found:?}");
    Ok(())
}

/// Everything at once that makes CPUs interrupt each other, and two programs that verify what they write to the disk.
pub struct Work {
    pub command: String,
    seconds: u32,
}

fn work(cx: &Cx, drive: Drive) -> Work {
    let (seconds, size_mib) = (cx.count(40, 300), cx.count(8, 64));
    // An IDE disk has one command at a time. With writers beside it the work did not end within ten minutes on a busy host.
    let (writers, depth) =
        if drive == Drive::Ide { ("", 16) } else { ("--hdd 1 --hdd-bytes 16m --temp-path /root ", 32) };
    let fio = |name: &str, how: &str| {
        format!(
            "fio --name={name} --directory=/root --size={size_mib}m --rw=randwrite --bsrange=512-2m {how} \
             --verify=crc32c --do_verify=1 --verify_fatal=1 --output=/root/{name}.out || {{ echo \"fio: $?\"; cat /root/{name}.out; {WHY}; exit 1; }}"
        )
    };
    let command = format!(
        "(stress-ng --cpu 1 --vm 1 --vm-bytes 64m --fork 1 --switch 1 --futex 1 --affinity 1 --membarrier 1 {writers}\
         --tlb-shootdown 2 --timer 1 --verify --timeout {seconds}s > /root/stress.out 2>&1 & \
         until [ $SECONDS -ge {seconds} ]; do {}; {}; done; wait $! || {{ cat /root/stress.out; exit 1; }})",
        fio("sync", "--ioengine=psync --fsync=8"),
        fio("async", &format!("--ioengine=libaio --iodepth={depth} --direct=1")),
    );
    Work { command: format!("SECONDS=0; {command}"), seconds }
}

/// What tells more of a failure: messages of the kernel, which the console does not show, and who answers CPUID on each CPU. One
/// that has left the virtual machine reaches the disk's registers past the mediator.
const WHY: &str = "dmesg | tail -60; for cpu in /sys/bus/cpu/devices/cpu*; do echo ${cpu##*/}; \
    SYSTEMD_LOG_LEVEL=debug taskset -c ${cpu##*cpu} systemd-detect-virt 2>&1 | grep CPUID; done";

/// Runs it in the guest.
pub fn perform(shell: &mut Shell<'_>, work: &Work) -> Result<()> {
    shell.run(&work.command, 10 * MINUTE + Duration::from_secs(work.seconds.into())).map(drop)
}

fn power_cut(cx: &Cx, hardware: Hardware) -> Result<()> {
    let disk = hardware.disk(cx)?;
    let mut machine = hardware.machine(cx, &disk, Writes::Kept, cx.boot.how())?.start()?;
    let mut shell = Shell::login(&mut machine)?;
    let machine_in_loop = shell.start(WRITER)?;
    machine_in_loop.expect("SYNCED 20\r")?;
    std::thread::sleep(Duration::from_millis(1500));
    let text = machine.console.text();
    machine.kill()?;
    let synced = last_synced(&text).context("no record was announced")?;

    let plain = cx.plaintext(&disk)?;
    come_back(&plain)?;
    let records = String::from_utf8_lossy(&ext::read_file(&plain, "/root/records")?).into_owned();
    for number in 1..=synced {
        ensure!(
            records.contains(&format!("record {number:09}\n")),
            "record {number} of {synced} was synced and is lost"
        );
    }
    Ok(())
}

/// Records, each announced after its fsync; bulk writes beside them.
const WRITER: &str = "(while :; do dd if=/dev/urandom of=/root/bulk bs=256k count=16 conv=fsync 2>/dev/null; done) & \
    for i in $(seq 100000); do printf 'record %09d\\n' $i >> /root/records; sync /root/records; echo SYNCED $i; done";
