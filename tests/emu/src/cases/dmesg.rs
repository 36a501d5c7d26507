//! What Debian's kernel complains of, held against what it complains of on the bare machine.

use super::debian::{self, Drive, Hardware, Work};
use crate::case::{Boot, Cx};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::time::Duration;
use testbed::grub::ENTRIES;
use testbed::program::{command, run};
use testbed::qemu::Writes;
use testbed::shell::Shell;
use testbed::workspace::user_cache;
use testbed::{artifact, disks};

const MINUTE: Duration = Duration::from_secs(60);
/// Complaints of a busy host, not of a machine: they come and go on the bare one as well.
const OF_BUSY_HOSTS: [&str; 4] = [
    "hrtimer: interrupt took",
    "perf: interrupt took too long",
    "tsc: Unable to calibrate against PIT",
    "clocksource: timekeeping watchdog",
];

/// Warnings and worse so far, without what differs from boot to boot.
pub fn complaints(shell: &mut Shell<'_>) -> Result<BTreeSet<String>> {
    let said = shell.run("dmesg --notime --level=emerg,alert,crit,err,warn", MINUTE)?;
    Ok(normalized(&said))
}

/// One line for each kind of complaint: numbers, which are addresses, times and amounts, are all the same.
fn normalized(said: &str) -> BTreeSet<String> {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !OF_BUSY_HOSTS.iter().any(|words| line.contains(words)));
    // A number alone is the end of a line that another one has cut: the kernel counts its CPUs while they start.
    let lines = lines.filter(|line| line.chars().any(char::is_alphabetic));
    lines.map(|line| line.split_inclusive(char::is_whitespace).map(without_number).collect()).collect()
}

/// `#` instead of digits that follow each other, and of a whole hexadecimal number.
fn without_number(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_address = core.len() >= 8 && core.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_address || core.starts_with("0x") {
        return word.replace(core, "#");
    }
    let mut text = String::new();
    for c in word.chars() {
        match c.is_ascii_digit() {
            true if text.ends_with('#') => {}
            true => text.push('#'),
            false => text.push(c),
        }
    }
    text
}

/// The same of the bare machine after the same work; made once for an image and a kind of drive.
pub fn reference(cx: &Cx, drive: Drive, work: &Work) -> Result<BTreeSet<String>> {
    let archive = testbed::debian::archive()?;
    let emulator = run(command("qemu-system-x86_64").arg("--version"))?;
    let machine = format!("{:?} {drive:?}", cx.accelerator);
    let inputs = format!("{}\n{emulator}{machine}\n{ENTRIES}{}", archive.display(), work.command);
    let name = format!("debian-{}.dmesg", artifact::fingerprint_of(inputs.as_bytes()));
    let path = user_cache()?.join(name);
    artifact::ensure(&path, &inputs, |part| {
        let disk = disks::debian_for_tests(&cx.workspace, true)?;
        let hardware = Hardware { drive, ..debian::IDE };
        let mut machine = hardware.machine(cx, &disk, Writes::Dropped, Boot::Bare.how())?.start()?;
        let mut shell = Shell::login(&mut machine)?;
        debian::perform(&mut shell, work)?;
        let lines: Vec<String> = complaints(&mut shell)?.into_iter().collect();
        std::fs::write(part, lines.join("\n")).context("cannot keep the bare machine's complaints")
    })
    .context("on the bare machine, for comparison")?;
    Ok(std::fs::read_to_string(path)?.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn the_same_complaint_of_other_numbers_is_one() {
        let of = |said: &str| normalized(said).into_iter().collect::<Vec<_>>();
        let said = "ata1.00: failed command 0xca after 12.5 ms\r\nata2.01: failed command 0x1ca after 3 ms\n\n";
        assert_eq!(of(said), ["ata#.#: failed command # after # ms", "ata#.#: failed command # after #.# ms"]);
        assert_eq!(of("RIP: ffffffff81000000 a").as_slice(), ["RIP: # a"]);
        assert!(of("hrtimer: interrupt took 12345 ns\n #3").is_empty());
        assert_ne!(of("watchdog: BUG: soft lockup - CPU#1 stuck for 22s!"), of("watchdog: fine"));
    }
}
