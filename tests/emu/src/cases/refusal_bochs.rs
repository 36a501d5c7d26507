//! CPUs that Shoji cannot run on, as Bochs has them: one clear sentence on COM1, and nothing of the guest's disk is run.

use crate::case::{Case, Cx, On};
use anyhow::{Context, Result, ensure};
use guest_images::{Before, GUESTS};
use std::fs;
use testbed::bochs::{Bochs, End, expect};
use testbed::qemu::Writes;

/// IA32_FEATURE_CONTROL with nothing but its lock bit (SDM Vol. 3C s. 24.7), as some firmware leaves it.
const LOCKED_OFF: Before = Before { module: "wrmsr", command: "wrmsr 0x3a 1" };

pub fn cases() -> Vec<Case> {
    let with = |name: &str, model: &'static str, before: Option<Before>, words: &'static [&'static str]| {
        Case::new(name, 300, move |cx| refuses(cx, model, before, words)).on(On::ShojiOnly)
    };
    vec![
        with("a_cpu_without_ept_is_refused", "core2_penryn_t9600", None, &["EPT", "2010"]),
        with(
            "a_cpu_without_unrestricted_guest_is_refused",
            "corei5_lynnfield_750",
            None,
            &["unrestricted guest", "2010"],
        ),
        with("vt_x_that_is_locked_off_is_refused", "corei7_haswell_4770", Some(LOCKED_OFF), &["locked"]),
        with("an_intel_cpu_without_vt_x_is_refused", "p4_prescott_celeron_336", None, &["no VT-x"]),
        with("an_amd_cpu_without_amd_v_is_refused", "athlon64_venice", None, &["no AMD-V"]),
    ]
}

fn refuses(cx: &Cx, model: &str, before: Option<Before>, words: &[&str]) -> Result<()> {
    let guest = GUESTS.first().context("there is a guest")?;
    let (disk, medium) = (cx.dir.join("guest.img"), cx.dir.join("medium.iso"));
    guest_images::write_disk(&guest_images::build_program(cx.workspace.root())?, guest, &disk)?;
    guest_images::boot_media(&cx.workspace.shoji_elf()?, &guest_images::blob(guest)?, before, &medium)?;

    let logs = cx.dir.join("machine");
    let bochs = Bochs::new(&logs, model, 512)?.disk(&disk, Writes::Dropped).cd(&medium);
    expect(bochs.last_word("Stopped.").until(cx.deadline).run()?, End::LastWord)?;

    let log = String::from_utf8_lossy(&fs::read(logs.join("shoji.log"))?).into_owned();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let sentence = errors.iter().find(|line| words.iter().all(|word| line.contains(word)));
    ensure!(sentence.is_some(), "no line with {words:?} in: {}", errors.join("\n"));
    let guests_words = fs::read(logs.join("com2.log")).unwrap_or_default();
    ensure!(guests_words.is_empty(), "the guest was started");
    Ok(())
}
