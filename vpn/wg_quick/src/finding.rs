//! What is told of a file.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The file cannot be used as it is.
    Error,
    /// Something has no effect, or hardly the one that was meant.
    Warning,
}

/// Where something begins: line and column from 1 on, columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong or without effect. Displayed as `3:14: error: ...`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    /// From 1 on.
    pub line: usize,
    /// In characters, from 1 on.
    pub column: usize,
    /// What it is and what to do. Holds nothing of the file.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: {}", self.line, self.column, self.message)
    }
}

/// Findings as they are made.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn error(&mut self, place: Place, message: impl Into<String>) {
        self.add(Severity::Error, place, message.into());
    }

    pub fn warning(&mut self, place: Place, message: impl Into<String>) {
        self.add(Severity::Warning, place, message.into());
    }

    fn add(&mut self, severity: Severity, Place { line, column }: Place, message: String) {
        self.0.push(Finding { severity, line, column, message });
    }

    /// In the order of the file; are there errors?
    pub fn finish(mut self) -> (Vec<Finding>, bool) {
        self.0.sort_by_key(|finding| (finding.line, finding.column));
        let wrong = self.0.iter().any(|finding| finding.severity == Severity::Error);
        (self.0, wrong)
    }
}
