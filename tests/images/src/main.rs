//! `guest-images list`, `guest-images build DIR [NAME...]`, `guest-images run DIR [NAME...]` (on the bare machine).
#![forbid(unsafe_code)]

use guest_images::{GUESTS, TinyGuest, Verdict, build_program, guest, qemu_arguments, verdict, write_disk};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: guest-images list | build DIR [NAME...] | run DIR [NAME...]";

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
        [verb] if verb == "list" => {
            for g in GUESTS {
                println!("{:16} {}", g.name, g.purpose);
            }
            Ok(true)
        }
        [verb, dir, names @ ..] if verb == "build" || verb == "run" => {
            let guests = select(names)?;
            let dir = Path::new(dir);
            fs::create_dir_all(dir)?;
            let program = build_program(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
            for g in &guests {
                write_disk(&program, g, &dir.join(g.name).with_extension("img"))?;
            }
            let mut all_passed = true;
            if verb == "run" {
                for (g, memory_mib) in guests.iter().flat_map(|g| g.memory_mib.iter().map(move |&m| (g, m))) {
                    all_passed &= run_bare(g, memory_mib, dir)?;
                }
            }
            Ok(all_passed)
        }
        _ => Err(USAGE.into()),
    }
}

fn select(names: &[String]) -> Result<Vec<&'static TinyGuest>, String> {
    if names.is_empty() {
        return Ok(GUESTS.iter().collect());
    }
    names.iter().map(|n| guest(n).ok_or_else(|| format!("no guest is called {n}; `list` shows them"))).collect()
}

/// Runs a guest on a bare QEMU; its log stays in `DIR/NAME.com2`.
fn run_bare(g: &TinyGuest, memory_mib: u32, dir: &Path) -> Result<bool, Box<dyn Error>> {
    let file = |extension| dir.join(g.name).with_extension(extension);
    let status = Command::new("timeout")
        .args(["--signal=KILL", &g.timeout_s.to_string(), "qemu-system-x86_64"])
        .args(qemu_arguments(g, memory_mib, &file("img"), None, &file("com1"), &file("com2")))
        .status()?;
    let log = String::from_utf8_lossy(&fs::read(file("com2"))?).into_owned();
    print!("{log}");
    let verdict = verdict(g, status.code().filter(|&c| c != 137), &log);
    println!("{} ({memory_mib} MiB): {verdict:?}", g.name);
    Ok(verdict == Verdict::Pass)
}
