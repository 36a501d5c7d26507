//! Why a guest that attacks sees something else under Shoji than on the bare machine.

use crate::explained::EXPLAINED;
use policy::{MsrRow, Rule};

/// Lines that only one of the two machines shows, and the reason. In names and lines `*` stands for any characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The machine: as [`Emulator::name`](crate::Emulator::name) has it.
    pub on: &'static str,
    pub guest: &'static str,
    /// What the lines begin with.
    pub lines: &'static [&'static str],
    /// How they end on the bare machine; `None`: they are seen under Shoji only.
    pub bare: Option<&'static str>,
    /// How they end under Shoji; `None`: they are seen on the bare machine only.
    pub shoji: Option<&'static str>,
    pub why: &'static str,
}

impl Difference {
    fn covers(&self, side: Side, line: &str) -> bool {
        let end = if side == Side::Bare { self.bare } else { self.shoji };
        end.is_some_and(|end| self.lines.iter().any(|begin| matches(&format!("{begin}{end}"), line)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Bare,
    Shoji,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Shoji => "under Shoji",
        }
    }
}

/// Why this line of a guest's is seen on one side only, if anybody knows.
pub fn explanation(machine: &str, guest: &str, side: Side, line: &str) -> Option<String> {
    let known =
        |known: &&Difference| matches(known.on, machine) && matches(known.guest, guest) && known.covers(side, line);
    let refused = || refused_msr(machine, side, readable_msr(line)?);
    EXPLAINED.iter().copied().flatten().find(known).map(|known| known.why.into()).or_else(refused)
}

/// Does a pattern cover a text from end to end?
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(tail, rest)))
}

/// A range of MSRs that a guest has seen, as one line for each of them; other lines as they are.
pub fn single_msrs(line: &str) -> Vec<String> {
    let range = || {
        let (first, last) = line.strip_prefix("MSRs ")?.strip_suffix(" can be read")?.split_once(" to ")?;
        Some(number(first)?..=number(last)?)
    };
    range().map_or_else(|| vec![line.into()], |msrs| msrs.map(|msr| format!("MSR {msr:#x} can be read")).collect())
}

fn readable_msr(line: &str) -> Option<u32> {
    number(line.strip_prefix("MSR ")?.strip_suffix(" can be read")?)
}

fn number(hexadecimal: &str) -> Option<u32> {
    u32::from_str_radix(hexadecimal.strip_prefix("0x")?, 16).ok()
}

/// What the tables of Shoji's policy say to an MSR that the bare machine alone lets the guest read.
fn refused_msr(machine: &str, side: Side, msr: u32) -> Option<String> {
    // AMD-V has them all in one table. Those under VT-x whose row depends on the CPU are in none of these.
    let table: &[MsrRow] = if machine.starts_with("corei7") { policy::intel::MSRS } else { policy::amd::MSRS };
    match (side, policy::find(table, msr)) {
        (Side::Bare, None) => Some("MSRs that the policy does not list: #GP, as on a CPU without them".into()),
        (Side::Bare, Some(row)) if row.rule() == Rule::Absent => {
            Some(format!("the policy refuses {}: {}", row.name(), row.reason()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Side, explanation, matches, single_msrs};

    #[test]
    fn a_star_stands_for_any_characters_and_the_rest_for_itself() {
        for (pattern, text) in [("a", "a"), ("a*", "a"), ("*c", "abc"), ("a*c*e", "abcde"), ("*", ""), ("a*a", "aaa")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*", "ba"), ("*c", "cd"), ("a*c*e", "abde"), ("a*a", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn ranges_of_msrs_are_told_one_by_one() {
        assert_eq!(single_msrs("MSRs 0xf to 0x10 can be read"), ["MSR 0xf can be read", "MSR 0x10 can be read"]);
        assert_eq!(single_msrs("MSR 0xf can be read"), ["MSR 0xf can be read"]);
    }

    #[test]
    fn an_msr_is_explained_by_the_policy_that_refuses_it_and_by_nothing_else() {
        let why = |machine, side, msr: &str| explanation(machine, "msr_reads", side, &format!("MSR {msr} can be read"));
        // VM_HSAVE_PA, VMX_BASIC, TSC.
        assert!(
            why("QEMU", Side::Bare, "0xc0010117")
                .is_some_and(|why| why.starts_with("the policy refuses VM_HSAVE_PA: "))
        );
        assert!(
            why("corei7_haswell_4770", Side::Bare, "0x480").is_some_and(|why| why.contains("the guest has no VMX"))
        );
        assert!(why("trinity_apu", Side::Bare, "0x480").is_some_and(|why| why.contains("does not list")));
        assert_eq!(why("QEMU", Side::Shoji, "0xc0010117"), None);
        assert_eq!(why("QEMU", Side::Bare, "0x10"), None);
    }
}
