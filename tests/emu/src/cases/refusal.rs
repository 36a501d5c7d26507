//! Starts that must not happen: a clear sentence on COM1, nothing written to the disk, no operating system.

use super::disk_image::changed_sectors;
use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::Duration;
use testbed::disk::Disk;
use testbed::disks;
use testbed::qemu::{Qemu, Writes};

const AMD_CPU: &str = "the CPU must be AMD's";
/// Offsets of the configuration's header; see `core/config/src/blob.rs`.
const VERSION: usize = 8;

pub fn cases() -> Vec<Case> {
    let with = |name: &str, sentence: &'static str, change: fn(&mut Vec<u8>)| {
        Case::new(name, 120, move |cx| refuses_configuration(cx, change, sentence)).on(On::ShojiOnly)
    };
    let cases = vec![
        with("a_truncated_configuration_is_refused", "truncated", |blob| blob.truncate(blob.len() / 2)),
        with("a_flipped_byte_in_the_configuration_is_refused", "checksum", |blob| {
            let middle = blob.len() / 2;
            blob[middle] ^= 0x10;
        }),
        with("a_configuration_of_another_version_is_refused", "version", |blob| blob[VERSION] ^= 0x40),
        with("a_file_that_is_no_configuration_is_refused", "not a compiled Shoji configuration", |blob| {
            blob.fill(b'x')
        }),
        Case::new("a_missing_configuration_module_is_refused", 120, missing_module).on(On::ShojiOnly),
        Case::new("a_wrong_key_is_refused", 120, wrong_key).on(On::ShojiOnly),
        Case::new("a_cpu_without_amd_v_is_refused", 120, no_svm).on(On::ShojiOnly).only_by_tcg(AMD_CPU),
        Case::new("a_machine_that_does_not_tell_of_its_cpus_is_refused", 120, silent).on(On::ShojiOnly),
        Case::new("configuration_space_in_memory_that_may_be_moved_is_refused", 120, mapped).on(On::ShojiOnly),
        Case::new("without_amd_v_the_system_starts_alone_where_that_is_allowed", 180, boots_alone)
            .on(On::ShojiOnly)
            .only_by_tcg(AMD_CPU),
    ];
    cases.into_iter().map(Case::beside_others).collect()
}

fn refuses_configuration(cx: &Cx, change: fn(&mut Vec<u8>), sentence: &str) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    let mut blob = fs::read(disks::Parts::ensure(&cx.workspace)?.config)?;
    change(&mut blob);
    disk.replace_boot_file("/shoji/shoji.conf", &blob)?;
    refuses(cx, &disk, "normal", &[], sentence)
}

fn missing_module(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    refuses(cx, &disk, "no-module", &[], "module is missing")
}

fn wrong_key(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    let mut key = fs::read(cx.key_file()?)?;
    key[0] ^= 1;
    let wrong = cx.dir.join("wrong.key");
    fs::write(&wrong, key)?;
    let blob = cx.dir.join("wrong.conf");
    disks::compile(&disks::configuration(&wrong), &blob)?;
    disk.replace_boot_file("/shoji/shoji.conf", &fs::read(blob)?)?;
    refuses(cx, &disk, "normal", &[], "key does not open")
}

fn no_svm(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    refuses_in(cx.machine(512)?.without_virtualization(), cx, &disk, "normal", "AMD-V")
}

fn mapped(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    // Reserved bytes, then one window: base E000_0000h, segment 0, buses 0 to 255, reserved bytes.
    let body = [&[0; 8][..], &0xe000_0000_u64.to_le_bytes(), &[0, 0, 0, 255, 0, 0, 0, 0]].concat();
    let table = cx.dir.join("mcfg");
    fs::write(&table, body)?;
    refuses(cx, &disk, "normal", &["-acpitable", &format!("sig=MCFG,data={}", table.display())], "is not known")
}

fn silent(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    refuses(cx, &disk, "normal", &["-no-acpi", "-smp", "2"], "has no table of the CPUs")
}

fn boots_alone(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    let blob = cx.dir.join("lenient.conf");
    let text = format!("[boot]\non-failure = \"boot-without-shoji\"\n{}", disks::configuration(&cx.key_file()?));
    disks::compile(&text, &blob)?;
    disk.replace_boot_file("/shoji/shoji.conf", &fs::read(blob)?)?;
    let qemu = cx.machine(512)?.without_virtualization().request("shoji.test=boot", "normal");
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    machine.expect_log("WITHOUT Shoji", Duration::from_secs(60))?;
    // The guest comes up; its encrypted partition stays closed to it.
    machine.expect("INIT test=boot").context("the operating system without Shoji")?;
    machine.expect("FAILED: the data partition does not mount").map(drop)
}

/// Boots `disk`, and Shoji stops with `sentence`.
fn refuses(cx: &Cx, disk: &Disk, way: &str, qemu_args: &[&str], sentence: &str) -> Result<()> {
    refuses_in(cx.machine(512)?.args(qemu_args), cx, disk, way, sentence)
}

fn refuses_in(qemu: Qemu, cx: &Cx, disk: &Disk, way: &str, sentence: &str) -> Result<()> {
    debug_assert_eq!(cx.boot, Boot::Shoji);
    let before = Disk { path: cx.dir.join("before.img"), ..disk.clone() };
    fs::copy(&disk.path, &before.path)?;
    let qemu = qemu.request("shoji.test=boot", way).ide_disk(0, &disk.path, Writes::Kept);
    let mut machine = qemu.start()?;
    machine.expect_log("Stopped.", Duration::from_secs(60))?;
    let log = machine.shoji_log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    ensure!(errors.iter().any(|line| line.contains(sentence)), "no word of \"{sentence}\" in: {}", errors.join("\n"));
    // Long enough for a guest to show up.
    std::thread::sleep(Duration::from_secs(3));
    ensure!(!machine.console.text().contains("INIT"), "the operating system was started");
    machine.kill()?;
    let changed = changed_sectors(&before, disk, 0..disk.all_sectors()?)?;
    ensure!(changed.is_empty(), "sectors have changed: {changed:?}");
    Ok(())
}
