//! The file as sections and entries.

use crate::finding::{Findings, Place};
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// A line that says something.
pub enum Line<'a> {
    /// What stands between brackets.
    Section {
        place: Place,
        name: &'a str,
    },
    Entry(Entry<'a>),
}

/// `key = value`, both trimmed.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Of the key.
    pub place: Place,
    pub key: &'a str,
    value: &'a str,
    value_place: Place,
}

/// A value, or one of several between commas, without its white space; it may be a key, so it is wiped.
pub struct Item {
    pub place: Place,
    pub text: Zeroizing<String>,
}

/// All lines; what is neither section nor entry is told.
pub fn lines<'a>(text: &'a str, findings: &mut Findings) -> Vec<Line<'a>> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        let code = line.split('#').next().unwrap_or_default();
        let (place, code) = trimmed(Place { line: number, column: 1 }, code);
        if code.is_empty() {
            continue;
        }
        if let Some(name) = code.strip_prefix('[') {
            let closed = name.strip_suffix(']');
            if closed.is_none() {
                findings.error(place, "a section has no closing bracket; write `[Interface]` or `[Peer]`");
            }
            found.push(Line::Section { place, name: closed.unwrap_or(name).trim() });
        } else if let Some((key, value)) = code.split_once('=') {
            let column = place.column.saturating_add(key.chars().count()).saturating_add(1);
            let (value_place, value) = trimmed(Place { column, ..place }, value);
            found.push(Line::Entry(Entry { place, key: key.trim(), value, value_place }));
        } else {
            let message =
                "this is neither a section nor `Key = value`; correct the line, or make it a comment with `#`";
            findings.error(place, message);
        }
    }
    found
}

/// Without white space at its ends, and where it then begins.
fn trimmed(place: Place, text: &str) -> (Place, &str) {
    let rest = text.trim_start();
    let skipped = text.chars().count().saturating_sub(rest.chars().count());
    (Place { column: place.column.saturating_add(skipped), ..place }, rest.trim_end())
}

impl Entry<'_> {
    /// The value as a whole.
    pub fn item(&self) -> Item {
        Item { place: self.value_place, text: dense(self.value) }
    }

    /// What stands between commas; nothing of an empty value.
    pub fn items(&self) -> Vec<Item> {
        let mut column = self.value_place.column;
        let parts = self.value.split(',').map(|part| {
            let (place, text) = trimmed(Place { column, ..self.value_place }, part);
            column = column.saturating_add(part.chars().count()).saturating_add(1);
            Item { place, text: dense(text) }
        });
        if self.value.is_empty() { Vec::new() } else { parts.collect() }
    }
}

fn dense(text: &str) -> Zeroizing<String> {
    // Of its final size at once, so that no copy is left behind.
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    out.extend(text.chars().filter(|c| !c.is_whitespace()));
    out
}
