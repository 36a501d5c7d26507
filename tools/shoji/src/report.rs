//! What is wrong or doubtful in a file, and where.

use std::fmt;
use std::ops::Range;

use serde_json::{Value, json};

/// Line and column, both from 1 on; columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The place of a byte offset. An offset beyond the end means the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let before: Vec<char> = text.char_indices().take_while(|(at, _)| *at < offset).map(|(_, c)| c).collect();
        let line = 1 + before.iter().filter(|c| **c == '\n').count();
        let column = 1 + before.iter().rev().take_while(|c| **c != '\n').count();
        Self { line, column }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong or doubtful. Never quotes the value of a key of the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    /// `None`: the file as a whole.
    pub place: Option<Place>,
    /// Where in the tree, e.g. `disk[0].range.partition`, rules counted from 0; empty: the file as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Where it is in another file, which the value at `place` names.
    pub within: Option<(String, Place)>,
}

/// All findings of one file, in the order of the file.
#[derive(Default, Debug)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding about the part of `text` at `span`.
    pub fn add(&mut self, severity: Severity, text: &str, span: &Range<usize>, path: &str, message: String) {
        let place = Some(Place::of(text, span.start));
        self.push(Finding { severity, place, path: path.into(), message, within: None });
    }

    pub fn push(&mut self, finding: Finding) {
        let after = self.findings.partition_point(|other| other.place <= finding.place);
        self.findings.insert(after, finding);
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// One object for `--json`.
    pub fn to_json(&self, file: &str) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(|finding| finding.to_json(file)).collect();
        json!({ "file": file, "ok": !self.has_errors(), "findings": findings })
    }

    /// One line for each finding, `file:line:column: error: ...`.
    pub fn to_text(&self, file: &str) -> String {
        let line = |finding: &Finding| match finding.whereabouts(file) {
            (file, Some(Place { line, column })) => format!("{file}:{line}:{column}: {finding}\n"),
            (file, None) => format!("{file}: {finding}\n"),
        };
        self.findings.iter().map(line).collect()
    }
}

impl Finding {
    /// The file and the place in it; `file` is the one that was given to the command.
    fn whereabouts<'a>(&'a self, file: &'a str) -> (&'a str, Option<Place>) {
        match &self.within {
            Some((file, place)) => (file, Some(*place)),
            None => (file, self.place),
        }
    }

    fn to_json(&self, file: &str) -> Value {
        let (file, place) = self.whereabouts(file);
        json!({
            "severity": self.severity.to_string(),
            "file": file,
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "key": self.path,
            "message": self.message,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_anew() {
        let place = |offset| {
            let place = Place::of("aä\nb\n", offset);
            (place.line, place.column)
        };
        assert_eq!([place(0), place(1), place(3), place(4)], [(1, 1), (1, 2), (1, 3), (2, 1)]);
        assert_eq!([place(6), place(99)], [(3, 1), (3, 1)]);
    }
}
