//! Q35's AHCI controller: SeaBIOS and GRUB read the disk there.
//!
//! The cloud kernel of the small guest has no AHCI driver, so Linux's part ends with its first program; what it does with
//! 32 queued commands the scenarios do (`tests/scenario/tests/ahci_*`).

use crate::case::{Boot, Case, Cx};
use anyhow::{Context, Result, ensure};
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![Case::new("seabios_and_grub_boot_linux_from_an_ahci_disk", 120, boots).beside_others()]
}

fn boots(cx: &Cx) -> Result<()> {
    let disk = cx.small_disk()?;
    let qemu = cx.machine(512)?.request("shoji.test=boot", cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Dropped).start()?;
    // Kernel and initial root were read by SeaBIOS's AHCI driver, some 20 MiB.
    machine.expect("STARTED").context("Linux's first program")?;
    if cx.boot == Boot::Shoji {
        let log = machine.shoji_log();
        ensure!(log.contains("(channel 0, unit 0), 262144 sectors"), "the rule is not applied to the AHCI disk");
        ensure!(!log.contains("refused"), "Shoji has refused something of the firmware's");
    }
    Ok(())
}
