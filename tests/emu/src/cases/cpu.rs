//! CPUs as Bochs has them and firmware leaves them: Shoji refuses with one clear sentence on COM1 and nothing of the
//! guest's disk is run, or it switches on what it needs.

use crate::case::{Case, Cx, On};
use anyhow::{Context, Result, ensure};
use guest_images::{Before, Verdict, verdict};
use std::fs;
use std::path::{Path, PathBuf};
use testbed::bochs::{Bochs, End, Firmware, expect};
use testbed::qemu::Writes;

/// Any guest will do.
const GUEST: &str = "cpuid";
const HASWELL: &str = "corei7_haswell_4770";
/// IA32_FEATURE_CONTROL with nothing but its lock bit (SDM Vol. 3C s. 24.7), as some firmware leaves it.
const LOCK_OFF: Before = Before { module: "wrmsr", command: "wrmsr 0x3a 1" };

pub fn cases() -> Vec<Case> {
    let refused = |name: &str, model: &'static str, words: &'static [&'static str]| {
        Case::new(name, 300, move |cx| refuses(cx, machine(cx, model, None)?, words)).on(On::ShojiOnly)
    };
    let cases = vec![
        refused("a_cpu_without_ept_is_refused", "core2_penryn_t9600", &["EPT", "2010"]),
        refused("a_cpu_without_unrestricted_guest_is_refused", "corei5_lynnfield_750", &["unrestricted guest", "2010"]),
        refused("an_intel_cpu_without_vt_x_is_refused", "p4_prescott_celeron_336", &["no VT-x"]),
        refused("an_amd_cpu_without_amd_v_is_refused", "athlon64_venice", &["no AMD-V"]),
        Case::new("vt_x_that_is_locked_off_is_refused", 300, locked_off).on(On::ShojiOnly),
        Case::new("vt_x_that_the_firmware_left_open_is_switched_on", 300, left_open).on(On::ShojiOnly),
    ];
    cases.into_iter().map(Case::beside_others).collect()
}

/// Bochs' own firmware switches VT-x on and locks it; SeaBIOS leaves the register as it is after a reset.
fn locked_off(cx: &Cx) -> Result<()> {
    let bochs = machine(cx, HASWELL, Some(LOCK_OFF))?.firmware(Firmware::SeaBios);
    refuses(cx, bochs, &["VT-x", "locked"])
}

fn left_open(cx: &Cx) -> Result<()> {
    let bochs = machine(cx, HASWELL, None)?.firmware(Firmware::SeaBios);
    expect(bochs.until(cx.deadline).run()?, End::Quit)?;
    let said = read(&logs(cx).join("com2.log"));
    let guest = guest_images::guest(GUEST).context("there is such a guest")?;
    let verdict = verdict(guest, &guest_images::End::Passed, &said);
    ensure!(verdict == Verdict::Pass, "{verdict:?}");
    ensure!(said.contains("under Shoji"), "the guest runs without Shoji");
    Ok(())
}

/// A machine with a guest's disk, and Shoji on a CD.
fn machine(cx: &Cx, model: &str, before: Option<Before>) -> Result<Bochs> {
    let guest = guest_images::guest(GUEST).context("there is such a guest")?;
    let (disk, medium) = (cx.dir.join("guest.img"), cx.dir.join("medium.iso"));
    guest_images::write_disk(&guest_images::build_programs(cx.workspace.root())?, guest, &disk)?;
    let files = guest_images::Files { blob: &guest_images::blob(guest)?, key: None };
    guest_images::boot_media(&cx.workspace.shoji_elf()?, &files, before, &medium)?;
    Ok(Bochs::new(&logs(cx), model, 512)?.disk(&disk, Writes::Dropped).cd(&medium))
}

fn logs(cx: &Cx) -> PathBuf {
    cx.dir.join("machine")
}

fn refuses(cx: &Cx, bochs: Bochs, words: &[&str]) -> Result<()> {
    expect(bochs.last_word("Stopped.").until(cx.deadline).run()?, End::LastWord)?;
    let log = read(&logs(cx).join("shoji.log"));
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let sentence = errors.iter().find(|line| words.iter().all(|word| line.contains(word)));
    ensure!(sentence.is_some(), "no line with {words:?} in: {}", errors.join("\n"));
    ensure!(read(&logs(cx).join("com2.log")).is_empty(), "the guest was started");
    Ok(())
}

/// Nothing, where nobody has written.
fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}
