//! What a guest saw on two machines, side by side.

use crate::differences::{Side, explanation, single_msrs};
use crate::{Emulator, TinyGuest, Verdict};
use std::collections::{BTreeSet, HashMap};
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
        let seen = com2_log.lines().filter_map(|line| line.strip_prefix("SEEN ")).flat_map(single_msrs).collect();
        Self { verdict, seen }
    }

    fn short(&self) -> &'static str {
        match self.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail(_) => "FAIL",
            Verdict::Broken(_) => "BROKEN",
        }
    }

    /// Lines that the other has not, or not as often.
    fn only(&self, other: &Self) -> Vec<&str> {
        let mut theirs: HashMap<&str, usize> = HashMap::new();
        other.seen.iter().for_each(|line| *theirs.entry(line).or_default() += 1);
        let lines = self.seen.iter().map(String::as_str);
        let mut is_new =
            |line: &str| theirs.get_mut(line).is_none_or(|left| left.checked_sub(1).map(|less| *left = less).is_none());
        lines.filter(|line| is_new(line)).collect()
    }
}

/// A guest's runs bare and under Shoji.
#[derive(Clone, Debug)]
pub struct Pair {
    pub guest: &'static TinyGuest,
    pub cpus: u32,
    pub bare: Results,
    pub shoji: Results,
}

fn run_name(guest: &TinyGuest, cpus: u32) -> String {
    match cpus {
        1 => format!("`{}`", guest.name),
        cpus => format!("`{}`, {cpus} CPUs", guest.name),
    }
}

impl Pair {
    /// Each side, and the lines that it alone has.
    fn sides(&self) -> [(Side, &Results, Vec<&str>); 2] {
        [(Side::Bare, &self.bare, self.bare.only(&self.shoji)), (Side::Shoji, &self.shoji, self.shoji.only(&self.bare))]
    }
}

/// Markdown of guests bare and under Shoji, and how many lines differ that nobody has explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    pub text: String,
    pub unexplained: usize,
}

/// At most this many unexplained lines of a guest are shown.
const SHOWN: usize = 40;

/// Lays all runs on one machine side by side: a table, the explanations that apply, and every line that has none; and tells
/// which of the guests' runs the machine is not for.
pub fn compare(emulator: Emulator, guests: &[&TinyGuest], pairs: &[Pair]) -> Comparison {
    let mut text = String::from("| case | bare | under Shoji | seen by both | only bare | only under Shoji |\n");
    text += "|---|---|---|--:|--:|--:|\n";
    let mut reasons = Reasons::default();
    for pair in pairs {
        let (name, sides) = (run_name(pair.guest, pair.cpus), pair.sides());
        let [bare, shoji] = [0, 1].map(|side| sides[side].2.len());
        let (both, ends) = (pair.bare.seen.len() - bare, [pair.bare.short(), pair.shoji.short()]);
        let _ = writeln!(text, "| {name} | {} | {} | {both} | {bare} | {shoji} |", ends[0], ends[1]);
        for (side, results, lines) in sides {
            reasons.add(emulator.name(), pair.guest, &format!("{name}, {}", side.name()), (side, results), &lines);
        }
    }
    text += &left_out(emulator, guests);
    text += &reasons.text();
    Comparison { text, unexplained: reasons.unexplained }
}

fn left_out(emulator: Emulator, guests: &[&TinyGuest]) -> String {
    let runs = guests.iter().flat_map(|guest| guest.cpus.iter().map(move |&cpus| (guest, cpus)));
    let lines = runs.filter_map(|(guest, cpus)| {
        emulator.excludes(guest, cpus).map(|why| format!("- {}: {why}\n", run_name(guest, cpus)))
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\nLeft out:\n\n{lines}") }
}

/// Why some lines differ.
struct Reason {
    why: String,
    guests: BTreeSet<&'static str>,
    /// So many of each side.
    lines: [usize; 2],
}

/// Why lines differ.
#[derive(Default)]
struct Reasons {
    /// In the order in which they have come up.
    explained: Vec<Reason>,
    /// Lines that nobody has explained.
    open: String,
    unexplained: usize,
}

impl Reasons {
    fn add(
        &mut self,
        machine: &str,
        guest: &'static TinyGuest,
        name: &str,
        (side, results): (Side, &Results),
        lines: &[&str],
    ) {
        if let Verdict::Fail(why) | Verdict::Broken(why) = &results.verdict {
            let _ = writeln!(self.open, "{name}: {why}");
        }
        let mut rest = Vec::new();
        for line in lines {
            match explanation(machine, guest.name, side, line) {
                Some(why) => self.count(why, guest.name, side),
                None => rest.push(line),
            }
        }
        self.unexplained += rest.len();
        rest.iter().take(SHOWN).for_each(|line| _ = writeln!(self.open, "{name}: {line}"));
        if rest.len() > SHOWN {
            let _ = writeln!(self.open, "{name}: ... and {} more", rest.len() - SHOWN);
        }
    }

    fn count(&mut self, why: String, guest: &'static str, side: Side) {
        let known = self.explained.iter().position(|reason| reason.why == why).unwrap_or_else(|| {
            self.explained.push(Reason { why, guests: BTreeSet::new(), lines: [0; 2] });
            self.explained.len() - 1
        });
        let reason = &mut self.explained[known];
        reason.guests.insert(guest);
        reason.lines[side as usize] += 1;
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.explained.is_empty() {
            text += "\n| cases | only bare | only under Shoji | why they differ |\n|---|--:|--:|---|\n";
            for Reason { why, guests, lines: [bare, shoji] } in &self.explained {
                let guests: Vec<_> = guests.iter().map(|name| format!("`{name}`")).collect();
                let _ = writeln!(text, "| {} | {bare} | {shoji} | {why} |", guests.join(", "));
            }
        }
        if !self.open.is_empty() {
            let _ = write!(text, "\nNot explained:\n\n```text\n{}```\n", self.open);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Pair, Results, compare};
    use crate::explained::EXPLAINED;
    use crate::{ATTACKS, Emulator, Verdict, guest};
    use testbed::accel::Accelerator;

    const QEMU: Emulator = Emulator::Qemu(Accelerator::Tcg);

    fn pair(cpus: u32, bare: &Results, shoji: &Results) -> Comparison {
        let pair = Pair { guest: &ATTACKS[0], cpus, bare: bare.clone(), shoji: shoji.clone() };
        compare(QEMU, &[&ATTACKS[0]], &[pair])
    }

    #[test]
    fn what_only_one_machine_shows_is_told_line_by_line() {
        let bare = Results::new(Verdict::Pass, "SEEN a\nother\nSEEN b\nSEEN twice\nSEEN twice\n");
        let shoji = Results::new(Verdict::Fail("why".into()), "SEEN a\nSEEN c\nSEEN twice\n");
        let comparison = pair(2, &bare, &shoji);
        let text = comparison.text;
        assert_eq!(comparison.unexplained, 3, "{text}");
        assert!(text.contains(&format!("| `{}`, 2 CPUs | pass | FAIL | 2 | 2 | 1 |", ATTACKS[0].name)), "{text}");
        for line in ["bare: b", "bare: twice", "under Shoji: c", "under Shoji: why"] {
            assert_eq!(text.matches(line).count(), 1, "{line}: {text}");
        }
        assert!(!text.contains("bare: a") && !text.contains("other"), "{text}");
    }

    #[test]
    fn a_difference_that_is_explained_is_counted_on_its_side_with_its_reason() {
        let known = EXPLAINED.iter().copied().flatten().find(|known| known.guest == "*").expect("one of all guests");
        let log = format!("SEEN {}{}\n", known.lines[0], known.bare.expect("lines of the bare machine"));
        let (with, without) = (Results::new(Verdict::Pass, &log), Results::new(Verdict::Pass, ""));
        let comparison = pair(1, &with, &without);
        assert_eq!(comparison.unexplained, 0, "{}", comparison.text);
        let row = format!("| `{}` | 1 | 0 | {} |", ATTACKS[0].name, known.why);
        assert!(comparison.text.contains(&row), "{}", comparison.text);
        // The same line on the other side has another cause.
        assert_eq!(pair(1, &without, &with).unexplained, 1);
    }

    #[test]
    fn what_the_machine_cannot_run_is_told_with_the_reason() {
        let guests = ["legacy", "msr_reads", "self_ipi"].map(|name| guest(name).expect("a guest"));
        let text = compare(Emulator::Bochs("trinity_apu"), &guests, &[]).text;
        assert!(text.contains("- `legacy`: Bochs") && text.contains("- `self_ipi`, 2 CPUs: "), "{text}");
        assert!(!text.contains("- `self_ipi`: ") && !text.contains("msr_reads"), "{text}");
        assert!(!compare(QEMU, &guests, &[]).text.contains("Left out"));
    }
}
