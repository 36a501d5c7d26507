//! The table, for people and for programs.

use super::disks;
use super::figures::{Figures, On};
use super::rows::{ROWS, Row, Target};
use super::vendors::{self, Machine};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testbed::program::{command, run};

const HEADINGS: [&str; 6] = ["", "bare", "Shoji", "ratio", "target", "BitVisor"];

/// Headings and rows, the first cell of each its name.
pub type Grid = Vec<Vec<String>>;

/// For the terminal.
pub fn text(figures: &Figures, others: &[Machine]) -> String {
    let (one, all) = (aligned(&grid(figures)), aligned(&vendors::grid(figures, others)));
    format!("{one}{}\n\n{}\n{all}", exits(figures), aligned(&disks::grid(figures)))
}

/// Of disks alone.
pub fn disks_text(figures: &Figures) -> String {
    aligned(&disks::grid(figures))
}

/// The same for README.md.
pub fn disks_markdown(figures: &Figures) -> String {
    markdown_table(&disks::grid(figures))
}

fn aligned(grid: &Grid) -> String {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| grid.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let name = format!("{:1$}", row[0], widths[0]);
        let rest: String = row.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}")).collect();
        name + &rest + "\n"
    };
    grid.iter().map(line).collect()
}

/// For README.md.
pub fn markdown(figures: &Figures, others: &[Machine]) -> Result<String> {
    let (one, all) = (markdown_table(&grid(figures)), markdown_table(&vendors::grid(figures, others)));
    let version = run(command("qemu-system-x86_64").arg("--version"))?;
    let version = version.lines().next().unwrap_or_default();
    Ok(format!("{one}\n{}.\n\n{VENDORS}\n\n{all}\n{METHOD} ({version}).\n", exits(figures)))
}

fn markdown_table(grid: &Grid) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let columns = grid.first().map_or(0, Vec::len);
    let rule = format!("|---|{}\n", "--:|".repeat(columns.saturating_sub(1)));
    let (headings, rows) = grid.split_at(1);
    headings.iter().map(line).chain([rule]).chain(rows.iter().map(line)).collect()
}

/// Above the second table.
const VENDORS: &str = "\
The same tiny guest on machines of both vendors, in instructions, bare -> under Shoji. What is as on the bare machine \
does not exit.";

/// How the figures came about.
const METHOD: &str = "\
All figures are counted in one run of `cargo xtask bench`, in instructions unless a row names another unit; nothing is \
timed. BitVisor's were measured on the same QEMU, bare -> under BitVisor, in the second table on Bochs. Single \
instructions, the driver alone and SeaBIOS: time stamps of a tiny guest under `-icount shift=0`, where a tick is an \
instruction, the VMM's included (in Bochs it always is); the least of 20 rounds, measuring and HLT taken off. Linux: \
`dd` with direct I/O on the data partition (bare: the same, not encrypted), instructions counted by QEMU's recorder, \
which leaves idle time out; what does not depend on the number of operations is taken off. Entry to first VMRUN: every \
instruction between, by single steps; waiting for the disk varies with the host. Exits: QEMU's log";

pub fn json(figures: &Figures, others: &[Machine]) -> Result<String> {
    let all = json!({
        "rows": json_rows(ROWS, figures),
        "disks": disks::json(figures),
        "exits": figures.exits.iter().map(|(title, kinds)| json!({ "what": title, "kinds": kinds })).collect::<Value>(),
        "machines": vendors::json(figures, others),
    });
    Ok(serde_json::to_string_pretty(&all)?)
}

pub fn json_rows(rows: &[Row], figures: &Figures) -> Value {
    rows.iter()
        .map(|row| {
            json!({
                "key": row.key,
                "name": row.name,
                "bare": figures.get(row.key, On::Bare),
                "shoji": figures.get(row.key, On::Shoji),
                "ratio": figures.ratio(row.key),
                "target": limit(row, figures),
                "reached": reached(row, figures),
                "bitvisor": row.bitvisor,
            })
        })
        .collect()
}

fn grid(figures: &Figures) -> Grid {
    let shown = |value: Option<f64>| value.map_or(String::new(), number);
    let row = |row: &Row| {
        vec![
            row.name.to_owned(),
            shown(figures.get(row.key, On::Bare)),
            shown(figures.get(row.key, On::Shoji)),
            figures.ratio(row.key).map_or(String::new(), |ratio| format!("{ratio:.2}")),
            verdict(row, std::iter::once(figures)),
            row.bitvisor.to_owned(),
        ]
    };
    std::iter::once(HEADINGS.map(str::to_owned).to_vec()).chain(ROWS.iter().map(row)).collect()
}

/// A line for each title.
fn exits(figures: &Figures) -> String {
    let line = |(title, kinds): &(String, BTreeMap<String, f64>)| {
        let total = kinds.values().sum();
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {}", number(*count))).collect();
        format!("{title}: {}{}{}", number(total), if kinds.is_empty() { "" } else { ": " }, kinds.join(", "))
    };
    figures.exits.iter().map(line).collect::<Vec<_>>().join(".\n\n")
}

fn limit(row: &Row, figures: &Figures) -> Option<f64> {
    match row.target {
        Target::None => None,
        Target::AtMost(limit) => Some(limit),
        Target::Ratio(ratio) => Some(figures.get(row.key, On::Bare)? * ratio),
        Target::AsBare => figures.get(row.key, On::Bare),
    }
}

fn reached(row: &Row, figures: &Figures) -> Option<bool> {
    Some(figures.get(row.key, On::Shoji)? <= limit(row, figures)?)
}

/// The target, and whether it is reached on every machine.
pub fn verdict<'a>(row: &Row, mut machines: impl Iterator<Item = &'a Figures> + Clone) -> String {
    let Some(limit) = machines.clone().find_map(|figures| limit(row, figures)) else { return String::new() };
    let reached: Option<Vec<bool>> = machines.by_ref().map(|figures| reached(row, figures)).collect();
    let Some(reached) = reached else { return String::new() };
    format!("<= {} {}", number(limit), if reached.iter().all(|reached| *reached) { "reached" } else { "MISSED" })
}

/// 1,234,567; two decimals below ten, where there are any.
pub fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::VENDOR_ROWS;
    use std::iter::once;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.4, 1.004].map(number), ["0", "999", "1,000", "1,234,567", "1.00"]);
    }

    #[test]
    fn a_target_is_reached_or_missed_and_nothing_without_a_figure() {
        let row = |target| Row { key: "k", name: "", target, bitvisor: "" };
        let mut figures = Figures::default();
        assert_eq!(verdict(&row(Target::AtMost(5.0)), once(&figures)), "");
        figures.set("k", On::Shoji, 6.0);
        assert_eq!(verdict(&row(Target::AtMost(5.0)), once(&figures)), "<= 5 MISSED");
        assert_eq!(verdict(&row(Target::AtMost(6.0)), once(&figures)), "<= 6 reached");
        assert_eq!(verdict(&row(Target::AsBare), once(&figures)), "");
        figures.set("k", On::Bare, 3.0);
        assert_eq!(verdict(&row(Target::AsBare), once(&figures)), "<= 3 MISSED");
        assert_eq!(verdict(&row(Target::Ratio(2.0)), once(&figures)), "<= 6 reached");
        assert_eq!(verdict(&row(Target::Ratio(1.5)), once(&figures)), "<= 4.50 MISSED");
        assert_eq!(figures.ratio("k"), Some(2.0));
    }

    #[test]
    fn every_row_has_a_key_of_its_own() {
        for rows in [ROWS, VENDOR_ROWS] {
            for row in rows {
                assert_eq!(rows.iter().filter(|other| other.key == row.key).count(), 1, "{}", row.key);
            }
        }
    }
}
