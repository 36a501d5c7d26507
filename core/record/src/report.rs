//! The words for a defect.

use crate::Trail;
use core::fmt::{self, Write};

/// Values of RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15.
pub type GprValues = [u64; 15];
const GPR_NAMES: [&str; 15] =
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// The VMM's registers where the CPU raised an exception.
#[derive(Clone, Debug)]
pub struct Registers {
    pub rip: u64,
    pub rsp: u64,
    pub rflags: u64,
    pub cr0: u64,
    /// The address of a page fault.
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    /// Any of them may hold a part of a key or of the guest's data.
    pub gprs: GprValues,
}

/// What is known of a defect.
pub struct Report<'a> {
    pub message: fmt::Arguments<'a>,
    /// `None`: no exception of the CPU, but a panic, whose place `message` tells.
    pub registers: Option<&'a Registers>,
    /// Return addresses, innermost first.
    pub callers: &'a [u64],
    /// Of each CPU, in their order.
    pub trails: &'a [&'a Trail],
    /// Writes the name of an exit code, e.g. `CPUID`.
    pub name: fn(u32, &mut dyn Write) -> fmt::Result,
}

impl Report<'_> {
    /// Everything, for the console of who runs the machine.
    pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
        self.write_head(out)?;
        if let Some(registers) = self.registers {
            for (names, values) in GPR_NAMES.chunks(3).zip(registers.gprs.chunks(3)) {
                for (name, value) in names.iter().zip(values) {
                    write!(out, "{name:>3} {value:016x}  ")?;
                }
                writeln!(out)?;
            }
        }
        self.write_tail(out)
    }

    /// The same without values of general purpose registers: nothing that may be a secret.
    pub fn write_without_secrets(&self, out: &mut dyn Write) -> fmt::Result {
        self.write_head(out)?;
        self.write_tail(out)
    }

    /// Message and back trace, as much as a screen holds.
    pub fn write_head(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "Shoji: defect in the VMM: {}", self.message)?;
        if let Some(Registers { rip, rsp, rflags, cr0, cr2, cr3, cr4, .. }) = self.registers {
            writeln!(out, "at {rip:#018x}, rsp {rsp:#x}, rflags {rflags:#x}")?;
            writeln!(out, "cr0 {cr0:#x} cr2 {cr2:#x} cr3 {cr3:#x} cr4 {cr4:#x}")?;
        }
        self.callers.iter().try_for_each(|caller| writeln!(out, "called from {caller:#018x}"))
    }

    fn write_tail(&self, out: &mut dyn Write) -> fmt::Result {
        for (cpu, trail) in self.trails.iter().enumerate() {
            writeln!(out, "last exits of CPU {cpu}, newest first: what, where in the guest")?;
            for step in trail.newest_first() {
                (self.name)(step.code, out)?;
                writeln!(out, " {:#x}", step.rip)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Page, RECORD_BYTES, take};
    use std::string::String;

    fn name(code: u32, out: &mut dyn Write) -> fmt::Result {
        write!(out, "X{code}")
    }

    fn registers() -> Registers {
        Registers { rip: 0x1000, rsp: 0x2000, rflags: 2, cr0: 1, cr2: 0, cr3: 3, cr4: 4, gprs: [0x5ec2e7; 15] }
    }

    fn with_report<R>(trails: &[&Trail], then: impl FnOnce(&Report<'_>) -> R) -> R {
        let registers = registers();
        then(&Report {
            message: format_args!("exception 14"),
            registers: Some(&registers),
            callers: &[0x1100, 0x1200],
            trails,
            name,
        })
    }

    #[test]
    fn everything_is_told_in_order() {
        let (first, second) = (Trail::new(), Trail::new());
        first.note(7, 0x7c00);
        second.note(8, 0x7c02);
        let mut text = String::new();
        with_report(&[&first, &second], |report| report.write(&mut text)).unwrap();
        let lines: std::vec::Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Shoji: defect in the VMM: exception 14");
        assert_eq!(lines[1], "at 0x0000000000001000, rsp 0x2000, rflags 0x2");
        assert_eq!(lines[2], "cr0 0x1 cr2 0x0 cr3 0x3 cr4 0x4");
        assert_eq!(lines[3..5], ["called from 0x0000000000001100", "called from 0x0000000000001200"]);
        assert!(lines[5].starts_with("rax 00000000005ec2e7  rbx 00000000005ec2e7"), "{}", lines[5]);
        assert!(lines[10].starts_with("last exits of CPU 0"), "{}", lines[10]);
        assert_eq!(lines[11], "X7 0x7c00");
        assert!(lines[12].starts_with("last exits of CPU 1"), "{}", lines[12]);
        assert_eq!(lines[13..], ["X8 0x7c02"]);
    }

    #[test]
    fn what_outlives_a_reboot_has_no_general_purpose_register() {
        let mut text = String::new();
        with_report(&[], |report| report.write_without_secrets(&mut text)).unwrap();
        assert!(text.contains("0x0000000000001000") && text.contains("called from"), "{text}");
        assert!(!text.contains("5ec2e7"), "{text}");
    }

    #[test]
    fn a_full_trail_and_a_deep_stack_fit_into_the_record() {
        let trail = Trail::new();
        (0..SHOWN_EXITS).for_each(|_| trail.note(u32::MAX, u64::MAX));
        let registers = registers();
        let report = Report {
            message: format_args!("{}", "m".repeat(300)),
            registers: Some(&registers),
            callers: &[u64::MAX; 32],
            trails: &[&trail],
            name: |_, out| write!(out, "EXCEPTION_OR_NMI"),
        };
        let mut memory = [0; RECORD_BYTES];
        let mut page = Page::new(&mut memory);
        report.write_without_secrets(&mut page).unwrap();
        page.seal();
        let mut exits = 0;
        take(&mut memory, |line| exits += usize::from(line == "EXCEPTION_OR_NMI 0xffffffffffffffff"));
        assert_eq!(exits, crate::SHOWN);
    }
    const SHOWN_EXITS: usize = crate::SHOWN;
}
