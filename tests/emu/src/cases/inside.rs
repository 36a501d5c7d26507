//! What the command `shoji` asks from inside the guest.

use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::fs;
use testbed::disk::Disk;
use testbed::disks;
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("the_guest_asks_for_status_and_log", 180, asks).on(On::ShojiOnly),
        Case::new("a_guest_that_may_ask_nothing_finds_no_shoji", 120, is_alone),
    ]
}

/// `@KEY@`: the shell's key file.
const ALLOWED: &str = r#"
[guest-calls]
status = "any"
log = "any"
shell = "any"

[dbgsh]
key-file = @KEY@
"#;

/// The small disk with a configuration of its own: the usual one, and `more`.
fn disk_with(cx: &Cx, more: &str) -> Result<Disk> {
    let disk = cx.copy(&cx.small_disk()?)?;
    if cx.boot == Boot::Shoji {
        let (blob, key) = (cx.dir.join("calls.conf"), cx.dir.join("dbgsh.key"));
        if !key.exists() {
            shoji::keys::create(&key)?;
        }
        let more = more.replace("@KEY@", &format!("{:?}", key.to_string_lossy()));
        disks::compile(&(disks::configuration(&cx.key_file()?) + &more), &blob)?;
        disk.replace_boot_file("/tools/dbgsh.key", &fs::read(key)?)?;
        disk.replace_boot_file("/shoji/shoji.conf", &fs::read(blob)?)?;
    }
    Ok(disk)
}

fn asks(cx: &Cx) -> Result<()> {
    let disk = disk_with(cx, ALLOWED)?;
    let qemu = cx.machine(512)?.cpus(2).request("shoji.test=inside", cx.boot.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    cx.expect_pass(&mut machine)?;
    let said = machine.console.text();
    let metrics = said.split_once("PROMETHEUS BEGIN").and_then(|(_, rest)| rest.split_once("PROMETHEUS END"));
    let (metrics, _) = metrics.context("no metrics")?;
    ensure!(metrics.contains("shoji_exits_total{cpu=\"1\",reason=\"hypercall\"}"), "no second CPU in {metrics}");
    Ok(())
}

/// As on a machine without Shoji: the program is told by #UD.
fn is_alone(cx: &Cx) -> Result<()> {
    let disk = disk_with(cx, "")?;
    let qemu = cx.machine(512)?.request("shoji.test=alone", cx.boot.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    cx.expect_pass(&mut machine)
}
