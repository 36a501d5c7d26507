//! What Bochs' log tells of a run.

use super::End;
use anyhow::Result;
use std::io::BufRead;
use std::process::ExitStatus;

/// How the emulator's process came to its end.
pub enum Stopped {
    Ended(ExitStatus),
    /// `has_halted`: because there was nothing to come.
    Killed {
        has_halted: bool,
    },
}

/// What matters in `bochs.log`.
#[derive(Default, Debug)]
pub struct Log {
    pub panic: Option<String>,
    /// It has come to its end in order. (The thread of the display may crash after that.)
    pub quit: bool,
    pub failed_entries: Vec<String>,
}

/// Bochs notes it of a CPU that nothing but an NMI can wake.
pub const HALTED: &str = "HLT instruction with IF=0!";

/// How complaints of the CPU about a VM entry or a VMX instruction begin. (Bochs 2.7, cpu/vmx.cc, cpu/svm.cc)
const FAILED_ENTRY: [&str; 5] = ["VMFAIL", "VMENTER", "VMRUN", "SVM: VMRUN", "SvmInjectEvents"];
/// What they say without harm: a user program's instruction is refused before it is one of VMX or SVM; and an NMI may come to a CPU
/// whose VMCS is put away, so that its handler finds none to write to.
const HARMLESS: [&str; 2] = ["CPL!=0", "VMWRITE with invalid VMCS ptr"];

impl Log {
    pub fn read(log: impl BufRead) -> Result<Self> {
        let mut read = Self::default();
        for line in log.split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            match message(&line) {
                // Only the last one can have stopped it.
                Some(('p', text)) => read.panic = Some(text.trim_start_matches(">>PANIC<< ").to_owned()),
                Some(('i', "quit_sim called with exit code 0")) => read.quit = true,
                Some(('e', text)) if is_failed_entry(text) => read.failed_entries.push(text.to_owned()),
                _ => {}
            }
        }
        Ok(read)
    }
}

fn is_failed_entry(text: &str) -> bool {
    FAILED_ENTRY.iter().any(|begin| text.starts_with(begin)) && !HARMLESS.iter().any(|word| text.contains(word))
}

/// Kind (d, i, e, p) and text of a line like `00154661817e[CPU0  ] text`.
fn message(line: &str) -> Option<(char, &str)> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let kind = rest.chars().next()?;
    let (_, text) = rest.get(1..)?.strip_prefix('[')?.split_once("] ")?;
    Some((kind, text))
}

/// What ended a run; `debugger` is what the debugger has said.
pub fn end(stopped: Stopped, log: &Log, debugger: &str) -> End {
    let status = match stopped {
        Stopped::Killed { has_halted: true } => return End::LastWord,
        Stopped::Killed { has_halted: false } => return End::Deadline,
        Stopped::Ended(status) => status,
    };
    match log.panic.as_deref().filter(|_| !log.quit) {
        Some("Shutdown port: shutdown requested") => End::Shutdown,
        Some("ACPI control: soft power off") => End::PowerOff,
        Some(reason) => End::Panic(reason.to_owned()),
        None if !status.success() && !log.quit => End::Panic(format!("it ended with {status}")),
        None if debugger.contains("Caught time breakpoint") => End::Budget,
        None => End::Quit,
    }
}
