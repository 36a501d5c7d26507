//! The table as text, Markdown and JSON.

use super::Row;
use super::image::Image;
use super::lines::Lines;
use anyhow::Result;
use serde_json::json;

/// Others' crates with less code than that share a line.
const SMALL_BYTES: u64 = 1024;

/// Name, colour, lines, unsafe blocks, bytes of code.
type Cells = [String; 5];

const HEAD: [&str; 5] = ["crate", "colour", "lines", "unsafe blocks", "bytes of code"];

fn cells(rows: &[Row], image: &Image) -> Vec<Cells> {
    let (own, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.folder.is_some());
    let (mut large, small): (Vec<&Row>, Vec<&Row>) = others.iter().partition(|row| row.code_bytes >= SMALL_BYTES);
    large.sort_by_key(|row| std::cmp::Reverse(row.code_bytes));
    let mut table: Vec<Cells> = own.iter().map(|row| one(row)).collect();
    table.push(sum("**Shoji**", &own));
    table.extend(large.iter().map(|row| one(row)));
    if !small.is_empty() {
        table.push(sum(&format!("{} smaller ones", small.len()), &small));
    }
    table.push(sum("**crates of others**", &others));
    let parts = [("padding", image.padding()), ("constants", image.constants), ("data", image.data)];
    let parts = parts.into_iter().chain([("zeroed: heap, stacks, log ring", image.bss)]);
    table.extend(parts.map(|(name, bytes)| [name.into(), String::new(), String::new(), String::new(), grouped(bytes)]));
    table
}

fn one(row: &Row) -> Cells {
    let colour = row.colour.clone().unwrap_or_default();
    let count = |of: fn(Lines) -> u64| row.lines.map_or_else(|| "-".into(), |lines| grouped(of(lines)));
    let name = row.folder.clone().unwrap_or_else(|| row.name.clone());
    [name, colour, count(|l| l.code), count(|l| l.unsafe_blocks), grouped(row.code_bytes)]
}

fn sum(name: &str, rows: &[&Row]) -> Cells {
    let lines = rows.iter().filter_map(|row| row.lines).fold(Lines::default(), |sum, lines| sum + lines);
    let bytes = rows.iter().map(|row| row.code_bytes).sum();
    [name.into(), String::new(), grouped(lines.code), grouped(lines.unsafe_blocks), grouped(bytes)]
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or_default()).collect();
    groups.join(",")
}

pub fn text(rows: &[Row], image: &Image) -> String {
    let table = cells(rows, image);
    let width =
        |n: usize| table.iter().map(|row| row[n].trim_matches('*').len()).chain([HEAD[n].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: [&str; 5]| {
        let [a, b, c, d, e] = row.map(|cell| cell.trim_matches('*'));
        format!("{a:<0$}  {b:<1$}  {c:>2$}  {d:>3$}  {e:>4$}\n", widths[0], widths[1], widths[2], widths[3], widths[4])
    };
    line(HEAD) + &table.iter().map(|row| line(row.each_ref().map(String::as_str))).collect::<String>()
}

pub fn markdown(rows: &[Row], image: &Image) -> String {
    let line = |row: [&str; 5]| format!("| {} |\n", row.join(" | "));
    let table = cells(rows, image);
    let lines: String = table.iter().map(|row| line(row.each_ref().map(String::as_str))).collect();
    format!("{}|---|---|--:|--:|--:|\n{lines}", line(HEAD))
}

pub fn json(rows: &[Row], image: &Image) -> Result<String> {
    let of_row = |row: &Row| {
        json!({
            "crate": row.name,
            "folder": row.folder,
            "colour": row.colour,
            "lines": row.lines.map(|lines| lines.code),
            "unsafe_blocks": row.lines.map(|lines| lines.unsafe_blocks),
            "code_bytes": row.code_bytes,
        })
    };
    let value = json!({
        "crates": rows.iter().map(of_row).collect::<Vec<_>>(),
        "image_bytes": { "code": image.code, "padding": image.padding(), "constants": image.constants, "data": image.data, "bss": image.bss },
    });
    Ok(serde_json::to_string_pretty(&value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn row(name: &str, folder: Option<&str>, lines: u64, code_bytes: u64) -> Row {
        let lines = Some(Lines { code: lines, unsafe_blocks: 1 });
        Row {
            name: name.into(),
            folder: folder.map(String::from),
            colour: folder.map(|_| "green".into()),
            lines,
            code_bytes,
        }
    }

    #[test]
    fn own_crates_come_first_and_small_ones_of_others_share_a_line() {
        let rows = [
            row("exit", Some("core/exit"), 1500, 2000),
            row("big", None, 10, 3000),
            row("bigger", None, 10, 1_234_567),
            row("small", None, 7, 100),
            Row { lines: None, ..row("core", None, 0, 5) },
        ];
        let image = Image { by_crate: BTreeMap::new(), code: 0, constants: 1, data: 2, bss: 3 };
        let text = markdown(&rows, &image);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines[..6],
            [
                "| core/exit | green | 1,500 | 1 | 2,000 |",
                "| **Shoji** |  | 1,500 | 1 | 2,000 |",
                "| bigger |  | 10 | 1 | 1,234,567 |",
                "| big |  | 10 | 1 | 3,000 |",
                "| 2 smaller ones |  | 7 | 1 | 105 |",
                "| **crates of others** |  | 27 | 3 | 1,237,672 |",
            ]
        );
        assert!(json(&rows, &image).unwrap().contains("\"code_bytes\": 1234567"));
        assert!(super::text(&rows, &image).lines().all(|line| !line.contains('*')));
    }
}
