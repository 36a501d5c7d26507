//! What an operation of an AHCI or NVMe disk costs: on the bare machine, on a disk without a rule, in a plain and in an encrypted
//! range of a protected disk.

use super::figures::{Figures, On};
use super::table::{Grid, number};
use super::tiny::{self, Emulator};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use testbed::Workspace;
use testbed::progress::spinner;

/// Names in figures and for people.
const CONTROLLERS: [(&str, &str); 2] = [("ahci", "AHCI"), ("nvme", "NVMe")];
/// How the guests call them; the first is that of a disk without a rule.
const PLACES: [&str; 3] = ["free", "plain", "encrypted"];

/// What is measured of each controller, and the most that it may be in each of [`PLACES`].
struct Operation {
    key: &'static str,
    name: &'static str,
    limits: [Option<f64>; PLACES.len()],
}

/// Linux's whole path takes 20.0 k instructions for 4 KiB on the bare machine with AHCI. 1.3 times that on a disk without a rule, and
/// 40 k encrypted, leave 6.0 k and 20.0 k for Shoji beside the guest's driver, which takes 200.
const SMALL: [Option<f64>; 3] = [Some(6.2e3), None, Some(20.2e3)];
const LARGE: [Option<f64>; 3] = [None, None, Some(3e6)];
const EXITS: [Option<f64>; 3] = [Some(7.0); 3];

const OPERATIONS: [Operation; 6] = [
    Operation { key: "write_4k", name: "write 4 KiB", limits: SMALL },
    Operation { key: "read_4k", name: "read 4 KiB", limits: SMALL },
    Operation { key: "write_1m", name: "write 1 MiB", limits: LARGE },
    Operation { key: "read_1m", name: "read 1 MiB", limits: LARGE },
    Operation { key: "exits_write_4k", name: "exits of a write of 4 KiB", limits: EXITS },
    Operation { key: "exits_read_4k", name: "exits of a read of 4 KiB", limits: EXITS },
];

/// Each guest, its figures named after the controller.
pub fn measure(workspace: &Workspace, logs: &Path, on: On, figures: &mut Figures) -> Result<()> {
    let _progress = spinner(&format!("Tiny guests with disks, {on}"));
    for (prefix, guest) in [
        ("ahci", tiny::BENCH_AHCI),
        ("ahci", tiny::BENCH_AHCI_FREE),
        ("nvme", tiny::BENCH_NVME),
        ("nvme", tiny::BENCH_NVME_FREE),
    ] {
        let values = tiny::measure(workspace, logs, Emulator::Qemu, on, guest)?;
        figures.add(on, values.into_iter().map(|(key, value)| (format!("{prefix}_{key}"), value)).collect());
    }
    Ok(())
}

/// One line of the table.
struct Line {
    name: String,
    bare: Option<f64>,
    shoji: [Option<f64>; PLACES.len()],
    limits: [Option<f64>; PLACES.len()],
}

fn lines(figures: &Figures) -> impl Iterator<Item = Line> {
    let of = |(prefix, name): (&str, &str), operation: &Operation| {
        let get = |place: &str, on| figures.get(&format!("{prefix}_{}_{place}", operation.key), on);
        let shoji = PLACES.map(|place| get(place, On::Shoji));
        Line {
            name: format!("{name}: {}", operation.name),
            bare: get("free", On::Bare),
            shoji,
            limits: operation.limits,
        }
    };
    CONTROLLERS.into_iter().flat_map(move |controller| OPERATIONS.iter().map(move |it| of(controller, it)))
}

impl Line {
    /// With what there is to be reached.
    fn cell(&self, place: usize) -> String {
        let Some(value) = self.shoji[place] else { return String::new() };
        let limit = |limit: f64| {
            let reached = if value <= limit { "reached" } else { "MISSED" };
            format!("{} (<= {} {reached})", number(value), number(limit))
        };
        self.limits[place].map_or_else(|| number(value), limit)
    }
}

pub fn grid(figures: &Figures) -> Grid {
    let headings = ["Driver alone", "bare", "disk without a rule", "plain range", "encrypted range"];
    let row = |line: Line| {
        let bare = line.bare.map_or(String::new(), number);
        [line.name.clone(), bare].into_iter().chain((0..PLACES.len()).map(|place| line.cell(place))).collect()
    };
    std::iter::once(headings.map(str::to_owned).to_vec()).chain(lines(figures).map(row)).collect()
}

pub fn json(figures: &Figures) -> Value {
    lines(figures)
        .map(|line| {
            let shoji: serde_json::Map<String, Value> =
                PLACES.iter().zip(line.shoji).map(|(place, value)| ((*place).to_owned(), json!(value))).collect();
            let limits: serde_json::Map<String, Value> =
                PLACES.iter().zip(line.limits).map(|(place, value)| ((*place).to_owned(), json!(value))).collect();
            json!({ "name": line.name, "bare": line.bare, "shoji": shoji, "limits": limits })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_held_against_its_own_limit() {
        let mut figures = Figures::default();
        figures.set("ahci_write_4k_free", On::Bare, 197.0);
        for (place, value) in [("free", 6201.0), ("plain", 6201.0), ("encrypted", 20000.0)] {
            figures.set(format!("ahci_write_4k_{place}"), On::Shoji, value);
        }
        let row = ["AHCI: write 4 KiB", "197", "6,201 (<= 6,200 MISSED)", "6,201", "20,000 (<= 20,200 reached)"];
        assert_eq!(grid(&figures)[1], row);
    }
}
