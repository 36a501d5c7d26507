//! The file that holds the tables of all machines.

use crate::Emulator;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

const INTRODUCTION: &str = "\
# The attacks bare and under Shoji, side by side

Each case of `tests/guest/attack` runs on the bare machine and under Shoji. A line that only one of the two shows is counted with
its reason, from `tests/images/src/explained` or from Shoji's table of MSRs (`core/policy/POLICY.md`).
";

/// Begins the part on a machine, whose name follows.
const HEADING: &str = "\n## ";

/// Writes the part on one machine; those on others stay as they are.
///
/// # Errors
/// When the file cannot be written, or there is no `date`.
pub fn write_section(file: &Path, emulator: Emulator, text: &str) -> io::Result<()> {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?.stdout;
    let date = String::from_utf8_lossy(&date);
    let before = match fs::read_to_string(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    fs::write(file, with_section(&before, emulator.name(), &section(emulator, file, date.trim(), text)))
}

fn section(emulator: Emulator, file: &Path, date: &str, text: &str) -> String {
    let option = if let Emulator::Bochs(model) = emulator { format!(" --bochs {model}") } else { String::new() };
    let command = format!("cargo run -p guest-images --{option} compare target/shoji/shoji.elf DIR --write");
    format!("\n`{command} {}`, {date}:\n\n{text}", file.display())
}

fn with_section(before: &str, machine: &str, section: &str) -> String {
    let mut sections: Vec<_> = before.split(HEADING).skip(1).filter_map(|part| part.split_once('\n')).collect();
    match sections.iter_mut().find(|(name, _)| *name == machine) {
        Some((_, text)) => *text = section,
        None => sections.push((machine, section)),
    }
    // Each ends in a newline, as the heading begins with one.
    let parts = sections.iter().map(|(name, text)| format!("{HEADING}{name}\n{}\n", text.trim_end()));
    INTRODUCTION.to_owned() + &parts.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::with_section;

    #[test]
    fn a_machine_s_part_takes_the_place_of_its_last_one_and_leaves_the_others() {
        let first = with_section("", "A", "\none\n\n### within\n");
        let both = with_section(&first, "B", "\ntwo\n");
        assert!(both.starts_with("# ") && both.ends_with("\n\n## A\n\none\n\n### within\n\n## B\n\ntwo\n"), "{both}");
        assert_eq!(with_section(&both, "B", "\ntwo\n"), both);
        let again = with_section(&both, "A", "\nthree\n");
        assert!(again.ends_with("\n\n## A\n\nthree\n\n## B\n\ntwo\n"), "{again}");
    }
}
