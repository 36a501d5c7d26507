//! The tiny guests: one exit kind each, with a verdict of their own.

use crate::case::{Boot, Case, Cx};
use anyhow::{Context, Result, bail};
use guest_images::{GUESTS, TinyGuest, Verdict};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use testbed::qemu::qemu_command;

/// Measures instead of judging: `cargo xtask bench` runs it.
const BENCH: &str = "bench";

pub fn cases() -> Vec<Case> {
    GUESTS.iter().map(case).collect()
}

fn case(guest: &'static TinyGuest) -> Case {
    let timeout_s = guest.timeout_s as usize * guest.memory_mib.len();
    let case = Case::new(format!("tiny_guest_{}", guest.name), timeout_s as u64, |cx| run(cx, guest));
    let case = match guest.tcg_only {
        Some(why) => case.only_by_tcg(why),
        None => case,
    };
    if guest.name == BENCH { case.only_in_long_runs() } else { case }
}

fn run(cx: &Cx, guest: &TinyGuest) -> Result<()> {
    let medium = (cx.boot == Boot::Shoji).then(|| boot_medium(cx, guest)).transpose()?;
    let program = guest_images::build_program(cx.workspace.root())?;
    guest.memory_mib.iter().try_for_each(|&memory_mib| {
        let disk = cx.dir.join(format!("{memory_mib}.img"));
        guest_images::write_disk(&program, guest, &disk)?;
        run_machine(cx, guest, memory_mib, &disk, medium.as_deref())
            .with_context(|| format!("with {memory_mib} MiB"))?;
        match guest_images::plain_text(guest, &disk, cx.boot == Boot::Shoji)? {
            Some(wrong) => bail!("{wrong}"),
            None => Ok(()),
        }
    })
}

/// A disk with GRUB, Shoji and the configuration that this guest wants.
fn boot_medium(cx: &Cx, guest: &TinyGuest) -> Result<PathBuf> {
    let (blob, medium) = (guest_images::blob(guest)?, cx.dir.join("medium.img"));
    guest_images::boot_media(&cx.workspace.shoji_elf()?, &blob, &medium).context("cannot make the boot medium")?;
    Ok(medium)
}

fn run_machine(cx: &Cx, guest: &TinyGuest, memory_mib: u32, disk: &Path, medium: Option<&Path>) -> Result<()> {
    let log = |name: &str| cx.dir.join(format!("{name}-{memory_mib}.log"));
    let (com1, com2) = (log("shoji"), log("com2"));
    let mut qemu = qemu_command();
    qemu.args(guest_images::qemu_arguments(guest, memory_mib, cx.accelerator, disk, medium, &com1, &com2));
    qemu.stdin(Stdio::null()).stderr(std::fs::File::create(log("qemu"))?);
    let mut child = qemu.spawn().context("cannot run qemu-system-x86_64")?;
    let end = Instant::now() + Duration::from_secs(guest.timeout_s.into()).min(cx.left());
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status.code(),
            None if Instant::now() > end => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let said = String::from_utf8_lossy(&std::fs::read(&com2)?).into_owned();
    match guest_images::verdict(guest, status, &said) {
        Verdict::Pass => Ok(()),
        Verdict::Fail(reason) => bail!("the guest says: {reason}"),
        Verdict::Broken(why) => bail!("{why}"),
    }
}
