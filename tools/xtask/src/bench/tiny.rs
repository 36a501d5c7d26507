//! Costs that the tiny guest `bench` measures by its time stamp counter.

use super::figures::{Figures, On};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use testbed::Workspace;
use testbed::program::{command, run};

/// What it costs to measure nothing.
const NOTHING: &str = "nothing";
/// Single instructions: the cost of measuring is taken off. (The guest does so itself for the longer ones.)
const INSTRUCTIONS: [&str; 7] =
    ["rdtsc", "cpuid", "rdmsr_intercepted", "in_port_92", "in_ata_alt_status", "in_unhooked", "mov_cr3"];

/// The folder where the guest leaves its disk and logs.
fn dir(logs: &Path, on: On) -> PathBuf {
    logs.join(if on == On::Bare { "tiny-bare" } else { "tiny-shoji" })
}

/// Disk and boot medium of the guest, once [`measure`] has run under Shoji.
pub fn disks(logs: &Path) -> [PathBuf; 2] {
    ["bench.img", "bench.medium"].map(|file| dir(logs, On::Shoji).join(file))
}

/// Runs the guest to its end.
pub fn measure(workspace: &Workspace, logs: &Path, on: On, figures: &mut Figures) -> Result<()> {
    let dir = dir(logs, on);
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).args(["run", "--quiet", "-p", "guest-images", "--"]);
    match on {
        On::Bare => cargo.arg("bare"),
        On::Shoji => cargo.arg("shoji").arg(workspace.shoji_elf()?),
    };
    run(cargo.arg(&dir).arg("bench")).context("the tiny guest `bench` fails")?;
    let log = dir.join("bench/com2.log");
    let log = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let values = parse(&log);
    let overhead = values.get(NOTHING).copied().context("the tiny guest did not measure nothing")?;
    for (name, value) in values {
        let overhead = if INSTRUCTIONS.contains(&name.as_str()) { overhead } else { 0 };
        ensure!(value >= overhead, "{name} takes less than nothing");
        figures.set(name, on, (value - overhead) as f64);
    }
    Ok(())
}

/// Lines `BENCH name value`.
fn parse(log: &str) -> BTreeMap<String, u64> {
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
        assert_eq!(values.into_iter().collect::<Vec<_>>(), [("cpuid".to_owned(), 87)]);
    }
}
