//! What a guest saw on two machines, side by side.

use crate::{TinyGuest, Verdict};
use std::collections::HashSet;
use std::fmt::Write;

/// A guest's run on one machine.
#[derive(Clone, Debug)]
pub struct Results {
    pub verdict: Verdict,
    /// Its `SEEN` lines.
    pub seen: Vec<String>,
}

impl Results {
    /// From what the guest has written to COM2.
    pub fn new(verdict: Verdict, com2_log: &str) -> Self {
        let seen = com2_log.lines().filter_map(|line| line.strip_prefix("SEEN ")).map(String::from).collect();
        Self { verdict, seen }
    }

    fn short(&self) -> &'static str {
        match self.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail(_) => "FAIL",
            Verdict::Broken(_) => "BROKEN",
        }
    }

    /// Lines that the other has not.
    fn only(&self, other: &Self) -> Vec<&str> {
        let theirs: HashSet<&str> = other.seen.iter().map(String::as_str).collect();
        self.seen.iter().map(String::as_str).filter(|line| !theirs.contains(line)).collect()
    }
}

/// At most this many lines of a guest are shown as different.
const SHOWN: usize = 40;

/// A table in Markdown of guests bare and under Shoji, and below it every line that only one of the two has.
pub fn table(machine: &str, runs: &[(&TinyGuest, Results, Results)]) -> String {
    let mut text =
        format!("| case on {machine} | bare | under Shoji | seen by both | only bare | only under Shoji |\n");
    text += "|---|---|---|--:|--:|--:|\n";
    let mut differences = String::new();
    for (guest, bare, shoji) in runs {
        let (only_bare, only_shoji) = (bare.only(shoji), shoji.only(bare));
        let both = bare.seen.len() - only_bare.len();
        let cells = [bare.short(), shoji.short()];
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {both} | {} | {} |",
            guest.name,
            cells[0],
            cells[1],
            only_bare.len(),
            only_shoji.len()
        );
        for (side, results, lines) in [("bare", bare, only_bare), ("Shoji", shoji, only_shoji)] {
            if let Verdict::Fail(why) | Verdict::Broken(why) = &results.verdict {
                let _ = writeln!(differences, "{}, {side}: {why}", guest.name);
            }
            for line in lines.iter().take(SHOWN) {
                let _ = writeln!(differences, "{}, {side}: {line}", guest.name);
            }
            if lines.len() > SHOWN {
                let _ = writeln!(differences, "{}, {side}: ... and {} more", guest.name, lines.len() - SHOWN);
            }
        }
    }
    if !differences.is_empty() {
        text += &format!("\n```text\n{differences}```\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Results, table};
    use crate::{ATTACKS, Verdict};

    #[test]
    fn what_only_one_machine_shows_is_told_line_by_line() {
        let bare = Results::new(Verdict::Pass, "SEEN a\nother\nSEEN b\n");
        let shoji = Results::new(Verdict::Fail("why".into()), "SEEN a\nSEEN c\n");
        let text = table("X", &[(&ATTACKS[0], bare, shoji)]);
        assert!(text.contains(&format!("| `{}` | pass | FAIL | 1 | 1 | 1 |", ATTACKS[0].name)), "{text}");
        for line in ["bare: b", "Shoji: c", "Shoji: why"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("bare: a") && !text.contains("other"), "{text}");
    }
}
