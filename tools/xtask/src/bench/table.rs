//! The table, for people and for programs.

use super::figures::{Figures, On};
use super::rows::{ROWS, Row, Target};
use anyhow::Result;
use serde_json::json;
use testbed::program::{command, run};

const HEADINGS: [&str; 6] = ["", "bare", "Shoji", "ratio", "target", "BitVisor"];

/// For the terminal.
pub fn text(figures: &Figures) -> String {
    let rows = rows(figures);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let name = format!("{:1$}", row[0], widths[0]);
        let rest: String = (1..6).map(|i| format!("  {:>1$}", row[i], widths[i])).collect();
        name + &rest + "\n"
    };
    rows.iter().map(line).collect::<String>() + &exits(figures) + "\n"
}

/// For README.md.
pub fn markdown(figures: &Figures) -> Result<String> {
    let rows = rows(figures);
    let line = |row: &[String; 6]| format!("| {} |\n", row.join(" | "));
    let mut table: String = rows.iter().take(1).map(line).collect();
    table += "|---|--:|--:|--:|--:|--:|\n";
    table.extend(rows.iter().skip(1).map(line));
    let version = run(command("qemu-system-x86_64").arg("--version"))?;
    let version = version.lines().next().unwrap_or_default();
    Ok(format!("{table}\n{}.\n\n{METHOD} ({version}).\n", exits(figures)))
}

/// How the figures came about.
const METHOD: &str = "\
All figures are counted in one run of `cargo xtask bench`, in instructions unless a row names another unit; nothing is \
timed. BitVisor's were measured on the same QEMU, bare -> under BitVisor. Single instructions, the driver alone and \
SeaBIOS: time stamps of a tiny guest under `-icount shift=0`, where a tick is an instruction, the VMM's included; the \
least of 20 rounds, measuring and HLT taken off. Linux: `dd` with direct I/O on the data partition (bare: the same, not \
encrypted), instructions counted by QEMU's recorder, which leaves idle time out; what does not depend on the number of \
operations is taken off. Entry to first VMRUN: every instruction between, by single steps; waiting for the disk varies \
with the host. Exits: QEMU's log";

pub fn json(figures: &Figures) -> Result<String> {
    let rows: Vec<_> = ROWS
        .iter()
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
        .collect();
    Ok(serde_json::to_string_pretty(&json!({ "rows": rows, "exits_to_init": figures.exits }))?)
}

/// Headings and rows.
fn rows(figures: &Figures) -> Vec<[String; 6]> {
    let shown = |value: Option<f64>| value.map_or(String::new(), number);
    let row = |row: &Row| {
        [
            row.name.to_owned(),
            shown(figures.get(row.key, On::Bare)),
            shown(figures.get(row.key, On::Shoji)),
            figures.ratio(row.key).map_or(String::new(), |ratio| format!("{ratio:.2}")),
            verdict(row, figures),
            row.bitvisor.to_owned(),
        ]
    };
    std::iter::once(HEADINGS.map(str::to_owned)).chain(ROWS.iter().map(row)).collect()
}

fn exits(figures: &Figures) -> String {
    let kinds: Vec<String> = figures.exits.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("Exits from first VMRUN to guest init: {}", kinds.join(", "))
}

fn limit(row: &Row, figures: &Figures) -> Option<f64> {
    match row.target {
        Target::None => None,
        Target::AtMost(limit) => Some(limit),
        Target::AsBare => figures.get(row.key, On::Bare),
    }
}

fn reached(row: &Row, figures: &Figures) -> Option<bool> {
    Some(figures.get(row.key, On::Shoji)? <= limit(row, figures)?)
}

fn verdict(row: &Row, figures: &Figures) -> String {
    let (Some(limit), Some(reached)) = (limit(row, figures), reached(row, figures)) else { return String::new() };
    format!("<= {} {}", number(limit), if reached { "reached" } else { "MISSED" })
}

/// 1,234,567; two decimals below ten, where there are any.
fn number(value: f64) -> String {
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

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.4, 1.004].map(number), ["0", "999", "1,000", "1,234,567", "1.00"]);
    }

    #[test]
    fn a_target_is_reached_or_missed_and_nothing_without_a_figure() {
        let row = |target| Row { key: "k", name: "", target, bitvisor: "" };
        let mut figures = Figures::default();
        assert_eq!(verdict(&row(Target::AtMost(5.0)), &figures), "");
        figures.set("k", On::Shoji, 6.0);
        assert_eq!(verdict(&row(Target::AtMost(5.0)), &figures), "<= 5 MISSED");
        assert_eq!(verdict(&row(Target::AtMost(6.0)), &figures), "<= 6 reached");
        assert_eq!(verdict(&row(Target::AsBare), &figures), "");
        figures.set("k", On::Bare, 3.0);
        assert_eq!(verdict(&row(Target::AsBare), &figures), "<= 3 MISSED");
        assert_eq!(figures.ratio("k"), Some(2.0));
    }

    #[test]
    fn every_row_has_a_key_of_its_own() {
        for row in ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.key == row.key).count(), 1, "{}", row.key);
        }
    }
}
