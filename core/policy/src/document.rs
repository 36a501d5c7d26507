//! The tables as a document.

use crate::{HiddenBits, MsrRow, Rule, amd, intel};
use alloc::format;
use alloc::string::{String, ToString};

const HEAD: &str = "# What the guest reaches of the CPU

Generated from `core/policy` by `cargo xtask policy`; `cargo xtask lint` compares. What is not listed raises #GP.

";

/// All tables, in Markdown.
pub fn document() -> String {
    let mut text = HEAD.to_string();
    text.push_str(&msrs("MSRs under AMD-V", amd::MSRS));
    text.push_str(&msrs("MSRs under VT-x", intel::MSRS));
    text.push_str(&msrs("Performance counters under VT-x, where the CPU switches them", intel::COUNTERS));
    text.push_str(&bits("CPUID bits hidden under AMD-V", amd::HIDDEN.iter()));
    text.push_str(&bits("CPUID bits hidden under VT-x", intel::HIDDEN.iter()));
    let controlled = intel::CONTROLLED.iter().map(|(_, bits)| bits);
    text.push_str(&bits("CPUID bits hidden under VT-x where the CPU lacks a control", controlled));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn msrs(title: &str, table: &[MsrRow]) -> String {
    let mut text = format!("## {title}\n\n| MSR | name | read | write | because |\n|---|---|---|---|---|\n");
    for row in table {
        let (first, last) = (*row.msrs().start(), *row.msrs().end());
        let range =
            if first == last { hex(first.into()) } else { format!("{} - {}", hex(first.into()), hex(last.into())) };
        let (read, write) = words(row.rule());
        text.push_str(&format!("| {range} | {} | {read} | {write} | {} |\n", row.name(), row.reason()));
    }
    text.push('\n');
    text
}

/// What happens to reads and writes.
fn words(rule: Rule) -> (String, String) {
    let (read, write) = match rule {
        Rule::Pass => ("native", "native".to_string()),
        Rule::Absent => ("#GP", "#GP".to_string()),
        Rule::Frozen { free: 0 } => ("native", "#GP if it changes anything".to_string()),
        Rule::Frozen { free } => ("native", format!("#GP if it changes {}", hex(!free))),
        Rule::IGNORED => ("native", "dropped".to_string()),
        Rule::Masked { free, set_only: 0 } if free.count_ones() > 32 => ("native", format!("all but {}", hex(!free))),
        Rule::Masked { free, set_only: 0 } => ("native", format!("{} only", hex(free))),
        Rule::Masked { free: 0, set_only } => ("native", format!("sets {} only", hex(set_only))),
        Rule::Masked { free, set_only } => ("native", format!("{} only, sets {} only", hex(free), hex(set_only))),
        Rule::Forced { set, clear } => ("native", format!("native, {} set, {} clear", hex(set), hex(clear))),
        Rule::Locked { native, set, ignored } => {
            let read = if native == 0 {
                hex(set)
            } else {
                format!("native without {}, {} set", hex(!native & !set), hex(set))
            };
            let write = ignored.map_or("#GP".to_string(), |bits| format!("#GP outside {}, else dropped", hex(bits)));
            return (read, write);
        }
        Rule::Efer => ("virtual", "virtual".to_string()),
        Rule::ApicBase => ("native", "#GP if it changes the address".to_string()),
        Rule::InterruptCommand => ("native", "native but INIT and startup".to_string()),
        Rule::MemoryType => ("virtual", "virtual".to_string()),
        Rule::Tsc => ("native with offset", "virtual".to_string()),
        Rule::TscAdjust => ("virtual", "virtual".to_string()),
        Rule::TscDeadline => ("native, or less the offset", "native, or less the offset".to_string()),
        Rule::CounterControl => ("native", "switched with the guest".to_string()),
    };
    (read.to_string(), write)
}

fn bits<'a>(title: &str, table: impl Iterator<Item = &'a HiddenBits>) -> String {
    let mut text = format!("## {title}\n\n| leaf | bits | name | because |\n|---|---|---|---|\n");
    for HiddenBits { leaf, subleaf, bits, name, reason } in table {
        let subleaf = subleaf.map_or(String::new(), |subleaf| format!(".{subleaf}"));
        let registers = [("EAX", bits.eax), ("EBX", bits.ebx), ("ECX", bits.ecx), ("EDX", bits.edx)];
        let all = registers.iter().all(|(_, bits)| *bits == u32::MAX);
        let mut hidden = if all { "all".to_string() } else { String::new() };
        for (register, bits) in registers.into_iter().filter(|(_, bits)| !all && *bits != 0) {
            hidden.push_str(&format!("{register} {}", hex(bits.into())));
        }
        text.push_str(&format!("| {}{subleaf} | {hidden} | {name} | {reason} |\n", hex((*leaf).into())));
    }
    text.push('\n');
    text
}

/// As the manuals write it: `C001_0015h`.
fn hex(value: u64) -> String {
    match (value >> 32, value >> 16 & 0xffff, value & 0xffff) {
        (0, 0, low) => format!("{low:X}h"),
        (0, high, low) => format!("{high:X}_{low:04X}h"),
        (top, high, low) if top >> 16 == 0 => format!("{top:X}_{high:04X}_{low:04X}h"),
        (top, high, low) => format!("{:X}_{:04X}_{high:04X}_{low:04X}h", top >> 16, top & 0xffff),
    }
}
