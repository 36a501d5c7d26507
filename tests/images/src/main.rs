//! `guest-images [--accel auto|kvm|tcg]` and `list`, `build DIR [NAME...]`, `bare DIR [NAME...]`, `shoji ELF DIR [NAME...]`: what there is, the disks,
//! a run of each on the bare machine, a run of each under Shoji.
#![forbid(unsafe_code)]

use guest_images::{
    GUESTS, TinyGuest, Verdict, blob, boot_media, build_program, guest, plain_text, qemu_arguments, verdict, write_disk,
};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use testbed::accel::{self, Accelerator, Wish};

const USAGE: &str = "usage: guest-images [--accel auto|kvm|tcg] \
                     list | build DIR [NAME...] | bare DIR [NAME...] | shoji ELF DIR [NAME...]";

fn main() -> ExitCode {
    match command(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("guest-images: {e}");
            ExitCode::from(2)
        }
    }
}

fn command(arguments: &[String]) -> Result<bool, Box<dyn Error>> {
    match arguments {
        [option, wish, rest @ ..] if option == "--accel" => {
            verb(rest, wish.parse().map_err(|why| format!("--accel {why}"))?)
        }
        _ => verb(arguments, Wish::Auto),
    }
}

fn verb(arguments: &[String], accel: Wish) -> Result<bool, Box<dyn Error>> {
    match arguments {
        [verb] if verb == "list" => {
            for g in GUESTS {
                println!("{:16} {}", g.name, g.purpose);
            }
            Ok(true)
        }
        [verb, dir, names @ ..] if verb == "build" => build(names, Path::new(dir)).map(|_| true),
        [verb, dir, names @ ..] if verb == "bare" => run(names, Path::new(dir), None, accel),
        [verb, elf, dir, names @ ..] if verb == "shoji" => run(names, Path::new(dir), Some(Path::new(elf)), accel),
        _ => Err(USAGE.into()),
    }
}

/// Writes the disks of the named guests, or of all.
fn build(names: &[String], dir: &Path) -> Result<Vec<&'static TinyGuest>, Box<dyn Error>> {
    let guests = select(names)?;
    fs::create_dir_all(dir)?;
    let program = build_program(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    for g in &guests {
        write_disk(&program, g, &dir.join(g.name).with_extension("img"))?;
    }
    Ok(guests)
}

fn select(names: &[String]) -> Result<Vec<&'static TinyGuest>, String> {
    if names.is_empty() {
        return Ok(GUESTS.iter().collect());
    }
    names.iter().map(|n| guest(n).ok_or_else(|| format!("no guest is called {n}; `list` shows them"))).collect()
}

/// Runs guests on every machine that they are for; says whether all passed.
fn run(names: &[String], dir: &Path, shoji: Option<&Path>, accel: Wish) -> Result<bool, Box<dyn Error>> {
    let accelerator = accel::announce(accel)?;
    let guests = build(names, dir)?;
    let mut summary = Vec::new();
    for (g, memory_mib) in guests.iter().flat_map(|g| g.memory_mib.iter().map(move |&m| (g, m))) {
        summary.push((g.name, memory_mib, run_one(g, memory_mib, accelerator, dir, shoji)?));
    }
    println!();
    for (name, memory_mib, verdict) in &summary {
        println!("{name} ({memory_mib} MiB): {verdict:?}");
    }
    Ok(summary.iter().all(|(.., verdict)| *verdict == Verdict::Pass))
}

/// Runs one guest; the logs stay in `DIR/NAME.com1` (Shoji's) and `DIR/NAME.com2` (the guest's).
fn run_one(
    g: &TinyGuest,
    memory_mib: u32,
    accelerator: Accelerator,
    dir: &Path,
    shoji: Option<&Path>,
) -> Result<Verdict, Box<dyn Error>> {
    if let (Some(why), Accelerator::Kvm(_)) = (g.tcg_only, accelerator) {
        println!("{} runs by TCG, because {why}", g.name);
    }
    let file = |extension| dir.join(g.name).with_extension(extension);
    let medium = shoji.map(|_| file("medium"));
    if let (Some(elf), Some(medium)) = (shoji, &medium) {
        boot_media(elf, &blob(g)?, medium)?;
    }
    let status = Command::new("timeout")
        .args(["--signal=KILL", &g.timeout_s.to_string(), "qemu-system-x86_64"])
        .args(qemu_arguments(g, memory_mib, accelerator, &file("img"), medium.as_deref(), &file("com1"), &file("com2")))
        .status()?;
    let log = String::from_utf8_lossy(&fs::read(file("com2"))?).into_owned();
    print!("{log}");
    // `timeout` ends by its own signal when it had to kill, with 137 when it could not.
    Ok(
        match (
            verdict(g, status.code().filter(|&code| code != 137), &log),
            plain_text(g, &file("img"), shoji.is_some())?,
        ) {
            (Verdict::Pass, Some(wrong)) => Verdict::Fail(wrong),
            (verdict, _) => verdict,
        },
    )
}
