//! Costs that the tiny guest `bench` measures by its time stamp counter.

use super::figures::On;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use testbed::Workspace;
use testbed::program::{command, run};

/// What runs the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emulator {
    Qemu,
    /// This CPU model.
    Bochs(&'static str),
}

/// The guest with every row.
pub const BENCH: &str = "bench";
/// With the rows that are different on a machine that may have a second CPU, and on a Q35.
pub const BENCH_CPUS: &str = "bench_cpus";
pub const BENCH_Q35: &str = "bench_q35";
/// With a disk of another kind, and its driver.
pub const BENCH_AHCI: &str = "bench_ahci";
pub const BENCH_NVME: &str = "bench_nvme";
/// Where no rule is for the disk.
pub const BENCH_AHCI_FREE: &str = "bench_ahci_free";
pub const BENCH_NVME_FREE: &str = "bench_nvme_free";
/// With calls of programs.
pub const MESSAGES: &str = "bench_messages";

/// The folder where guests leave disks and logs.
fn dir(logs: &Path, emulator: Emulator, on: On) -> PathBuf {
    let on = if on == On::Bare { "bare" } else { "shoji" };
    logs.join(match emulator {
        Emulator::Qemu => format!("tiny-{on}"),
        Emulator::Bochs(model) => format!("tiny-{model}-{on}"),
    })
}

/// Disk and boot medium of a guest, once [`measure`] has run it in QEMU under Shoji.
pub fn disks(logs: &Path, guest: &str) -> [PathBuf; 2] {
    ["img", "medium"].map(|file| dir(logs, Emulator::Qemu, On::Shoji).join(format!("{guest}.{file}")))
}

/// Runs a guest to its end; gives what it has measured.
pub fn measure(
    workspace: &Workspace,
    logs: &Path,
    emulator: Emulator,
    on: On,
    guest: &str,
) -> Result<BTreeMap<String, f64>> {
    let dir = dir(logs, emulator, on);
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).args(["run", "--quiet", "-p", "guest-images", "--"]);
    if let Emulator::Bochs(model) = emulator {
        cargo.args(["--bochs", model]);
    }
    match on {
        On::Bare => cargo.arg("bare"),
        On::Shoji => cargo.arg("shoji").arg(workspace.shoji_elf()?),
    };
    run(cargo.arg(&dir).arg(guest)).with_context(|| format!("the tiny guest `{guest}` fails: {emulator:?}, {on}"))?;
    let log = dir.join(guest).join("com2.log");
    let log = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let values = parse(&log);
    ensure!(!values.is_empty(), "the tiny guest `{guest}` measured nothing: {emulator:?}, {on}");
    Ok(values)
}

/// Lines `BENCH name value`.
fn parse(log: &str) -> BTreeMap<String, f64> {
    log.lines()
        .filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("BENCH ")?.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn figures_are_found_among_other_lines() {
        let values = parse("tiny guest bench\r\nBENCH cpuid 87\r\nBENCH broken\nPASS bench\n");
        assert_eq!(values.into_iter().collect::<Vec<_>>(), [("cpuid".to_owned(), 87.0)]);
    }
}
