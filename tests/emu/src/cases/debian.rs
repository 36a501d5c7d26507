//! A real Debian 12 on the encrypted disk.

use super::dmesg;
use super::power_cut::{come_back, last_synced};
use crate::case::{Case, Cx};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use testbed::disk::Disk;
use testbed::ext::{self, Check};
use testbed::qemu::{Machine, Qemu, Writes};
use testbed::shell::Shell;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("debian_on_4_cpus_passes_load_and_a_reboot_and_stays_clean", 1500, load_and_reboot),
        Case::new("debian_survives_a_power_cut_in_mid_write", 900, power_cut),
    ]
}

const CPUS: u32 = 4;
pub const MEMORY_MIB: u32 = 1024;
const MINUTE: Duration = Duration::from_secs(60);

fn load_and_reboot(cx: &Cx) -> Result<()> {
    let work = work(cx);
    let reference = dmesg::reference(cx, &work)?;
    let disk = cx.copy(&cx.debian_disk()?)?;
    let mut machine = boot(cx, &disk)?;
    let mut shell = Shell::login(&mut machine)?;
    let root = shell.run("findmnt -no SOURCE /", MINUTE)?;
    ensure!(root == "/dev/sda2", "the root file system is on {root}");
    perform(&mut shell, &work)?;
    let complaints = dmesg::complaints(&mut shell)?;
    let new: Vec<&String> = complaints.difference(&reference).collect();
    ensure!(new.is_empty(), "the kernel complains of what it does not on the bare machine: {new:#?}");
    shell.run("md5sum /root/sync.0.0 > /root/sum && sync && rm -f /root/async.*", MINUTE)?;
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

fn work(cx: &Cx) -> Work {
    let (seconds, size_mib) = (cx.count(40, 300), cx.count(8, 64));
    let fio = |name: &str, how: &str| {
        format!(
            "fio --name={name} --directory=/root --size={size_mib}m --rw=randwrite --bsrange=512-2m {how} \
             --verify=crc32c --do_verify=1 --verify_fatal=1 --output=/root/{name}.out || {{ cat /root/{name}.out; exit 1; }}"
        )
    };
    let command = format!(
        "(stress-ng --cpu 1 --vm 1 --vm-bytes 64m --fork 1 --switch 1 --futex 1 --affinity 1 --membarrier 1 \
         --tlb-shootdown 2 --timer 1 --verify --timeout {seconds}s > /root/stress.out 2>&1 & \
         until [ $SECONDS -ge {seconds} ]; do {}; {}; done; wait $! || {{ cat /root/stress.out; exit 1; }})",
        fio("sync", "--ioengine=psync --fsync=8"),
        fio("async", "--ioengine=libaio --iodepth=16 --direct=1"),
    );
    Work { command: format!("SECONDS=0; {command}"), seconds }
}

/// Runs it in the guest.
pub fn perform(shell: &mut Shell<'_>, work: &Work) -> Result<()> {
    shell.run(&work.command, 10 * MINUTE + Duration::from_secs(work.seconds.into())).map(drop)
}

/// What Debian is booted with.
pub fn request(qemu: Qemu, how: &str) -> Qemu {
    qemu.cpus(CPUS).request("quiet", how)
}

fn power_cut(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.debian_disk()?)?;
    let mut machine = boot(cx, &disk)?;
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

fn boot(cx: &Cx, disk: &Disk) -> Result<Machine> {
    request(cx.machine(MEMORY_MIB)?, cx.boot.how()).ide_disk(0, &disk.path, Writes::Kept).start()
}
