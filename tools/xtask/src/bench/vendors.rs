//! The same on machines of both vendors: what the tiny guest `bench` measures.

use super::figures::{Figures, On};
use super::rows::{Row, VENDOR_ROWS};
use super::table::{self, Grid, number};
use super::tiny::{self, Emulator};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::path::Path;
use std::thread;
use testbed::Workspace;
use testbed::progress::spinner;

const QEMU: &str = "QEMU, EPYC (AMD-V)";
/// The one with VT-x.
pub const VTX: &str = "corei7_haswell_4770";
/// CPU models of Bochs, and how their columns are called.
const MODELS: [(&str, &str); 2] = [("trinity_apu", "Bochs, trinity_apu (AMD-V)"), (VTX, "Bochs, haswell_4770 (VT-x)")];

/// What was measured on one machine.
pub struct Machine {
    name: &'static str,
    figures: Figures,
}

/// Measures on all models of Bochs, bare and under Shoji at a time.
pub fn measure(workspace: &Workspace, logs: &Path) -> Result<Vec<Machine>> {
    MODELS
        .into_iter()
        .map(|(model, name)| {
            let _progress = spinner(&format!("Tiny guest on {model} of Bochs, bare and under Shoji"));
            let one = |on| tiny::measure(workspace, logs, Emulator::Bochs(model), on, tiny::BENCH);
            let (bare, shoji) = thread::scope(|scope| {
                let bare = scope.spawn(|| one(On::Bare));
                (bare.join(), one(On::Shoji))
            });
            let mut figures = Figures::default();
            figures.add(On::Bare, bare.map_err(|_| anyhow!("the thread that runs {model} has panicked"))??);
            figures.add(On::Shoji, shoji?);
            Ok(Machine { name, figures })
        })
        .collect()
}

/// Rows are costs, columns machines; `qemu` has been measured before.
pub fn grid(qemu: &Figures, others: &[Machine]) -> Grid {
    let all: Vec<(&str, &Figures)> = columns(qemu, others).collect();
    let names = all.iter().map(|(name, _)| (*name).to_owned());
    let mut grid = vec![std::iter::once("bare -> Shoji".to_owned()).chain(names).collect::<Vec<_>>()];
    grid[0].extend(["target", "BitVisor"].map(str::to_owned));
    grid.extend(VENDOR_ROWS.iter().map(|row| {
        let cells = all.iter().map(|(_, figures)| cell(row, figures));
        let verdict = table::verdict(row, all.iter().map(|(_, figures)| *figures));
        std::iter::once(row.name.to_owned()).chain(cells).chain([verdict, row.bitvisor.to_owned()]).collect()
    }));
    grid
}

pub fn json(qemu: &Figures, others: &[Machine]) -> Value {
    columns(qemu, others)
        .map(|(name, figures)| json!({ "machine": name, "rows": table::json_rows(VENDOR_ROWS, figures) }))
        .collect()
}

fn columns<'a>(qemu: &'a Figures, others: &'a [Machine]) -> impl Iterator<Item = (&'a str, &'a Figures)> {
    std::iter::once((QEMU, qemu)).chain(others.iter().map(|machine| (machine.name, &machine.figures)))
}

fn cell(row: &Row, figures: &Figures) -> String {
    let shown = |on| figures.get(row.key, on).map_or("?".into(), number);
    format!("{} -> {}", shown(On::Bare), shown(On::Shoji))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_reached_when_it_is_on_every_machine() {
        let machine = |cpuid| {
            let mut figures = Figures::default();
            figures.add(On::Bare, [("cpuid".to_owned(), 1.0)].into());
            figures.add(On::Shoji, [("cpuid".to_owned(), cpuid)].into());
            Machine { name: "other", figures }
        };
        let row = |cpuid| grid(&machine(100.0).figures, &[machine(cpuid)]).remove(1);
        assert_eq!(row(140.0), ["CPUID", "1 -> 100", "1 -> 140", "<= 140 reached", "429"]);
        assert_eq!(row(141.0)[3], "<= 140 MISSED");
    }
}
