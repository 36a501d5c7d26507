//! A real Debian 12 on the encrypted disk.

use super::power_cut::{come_back, last_synced};
use crate::case::{Boot, Case, Cx};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use testbed::disk::Disk;
use testbed::ext::{self, Check};
use testbed::qemu::{Machine, Writes};
use testbed::shell::Shell;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("debian_passes_fio_and_a_reboot_and_stays_clean", 1200, fio_and_reboot),
        Case::new("debian_survives_a_power_cut_in_mid_write", 900, power_cut),
    ]
}

const MINUTE: Duration = Duration::from_secs(60);

fn fio_and_reboot(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.debian_disk()?)?;
    let mut machine = boot(cx, &disk)?;
    let mut shell = Shell::login(&mut machine)?;
    let root = shell.run("findmnt -no SOURCE /", MINUTE)?;
    ensure!(root == "/dev/sda2", "the root file system is on {root}");
    let size_mib = cx.count(8, 64);
    for (name, how) in [("sync", "--ioengine=psync --fsync=8"), ("async", "--ioengine=libaio --iodepth=16 --direct=1")]
    {
        let fio = format!(
            "fio --name={name} --directory=/root --size={size_mib}m --rw=randwrite --bsrange=512-2m {how} \
             --verify=crc32c --do_verify=1 --verify_fatal=1 --output=/root/{name}.out || {{ cat /root/{name}.out; false; }}"
        );
        shell.run(&fio, 10 * MINUTE)?;
    }
    shell.run("md5sum /root/sync.0.0 > /root/sum && sync && rm -f /root/async.*", MINUTE)?;
    shell.start("systemctl reboot")?.expect("reboot: Restarting system")?;
    let mut shell = Shell::login(&mut machine).context("after the reboot inside the guest")?;
    shell.run("md5sum -c /root/sum", MINUTE)?;
    shell.power_off()?;
    if cx.boot == Boot::Shoji {
        ensure!(machine_log_tells_two_starts(&machine), "Shoji's log does not show two starts");
    }
    let found = ext::check(&cx.plaintext(&disk)?)?;
    ensure!(found == Check::Clean, "e2fsck after an orderly end: {found:?}");
    Ok(())
}

/// The machine's reset went through the firmware and GRUB to Shoji again, not past it.
fn machine_log_tells_two_starts(machine: &Machine) -> bool {
    machine.shoji_log().matches("Shoji ").count() >= 2
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
    cx.machine(1024)?.request("quiet", cx.boot.how()).ide_disk(0, &disk.path, Writes::Kept).start()
}
