//! Takes a TOML table apart key by key. Every complaint goes to the shared [`Notes`] with its place, so that one run
//! shows all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::report::{Finding, Place, Report, Severity};
use crate::words::{guess, list};

/// The text of a file, what was found in it, and where each value lies.
pub struct Notes<'a> {
    pub text: &'a str,
    report: RefCell<Report>,
    spans: RefCell<BTreeMap<String, Range<usize>>>,
}

impl<'a> Notes<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, report: RefCell::default(), spans: RefCell::default() }
    }

    pub fn add(&self, severity: Severity, span: &Range<usize>, path: &str, message: String) {
        self.report.borrow_mut().add(severity, self.text, span, path, message);
    }

    pub fn remember(&self, path: &str, span: &Range<usize>) {
        self.spans.borrow_mut().insert(path.into(), span.clone());
    }

    /// Adds a finding about a value that was read earlier, or the nearest table around it.
    pub fn add_at(&self, severity: Severity, path: &str, message: String) {
        self.add(severity, &self.span_of(path), path, message);
    }

    /// Where a value or the nearest table around it lies.
    fn span_of(&self, path: &str) -> Range<usize> {
        let mut around = path;
        loop {
            if let Some(span) = self.spans.borrow().get(around) {
                return span.clone();
            }
            match around.rfind(['.', '[']) {
                Some(end) => around = &around[..end],
                None => return 0..0,
            }
        }
    }

    pub fn into_report(self) -> Report {
        self.report.into_inner()
    }
}

/// One table, of which values are taken until [`Table::finish`].
pub struct Table<'n, 't> {
    notes: &'n Notes<'t>,
    /// E.g. `disk[0].range`; empty for the whole file.
    pub path: String,
    span: Range<usize>,
    entries: Vec<(Spanned<DeString<'t>>, Spanned<DeValue<'t>>)>,
    asked: Vec<&'static str>,
}

impl<'n, 't> Table<'n, 't> {
    pub fn new(notes: &'n Notes<'t>, path: String, span: Range<usize>, table: DeTable<'t>) -> Self {
        notes.remember(&path, &span);
        Self { notes, path, span, entries: table.into_iter().collect(), asked: Vec::new() }
    }

    /// The path of one of its keys.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// An error about a value of this table.
    pub fn error(&self, key: &str, message: String) {
        self.notes.add_at(Severity::Error, &self.path_of(key), message);
    }

    /// A warning about a value of this table.
    pub fn warn(&self, key: &str, message: String) {
        self.notes.add_at(Severity::Warning, &self.path_of(key), message);
    }

    /// A finding about another file, which the value of `key` names.
    pub fn add_within(&self, key: &str, severity: Severity, (file, inner): (&str, Place), message: String) {
        let path = self.path_of(key);
        let place = Some(Place::of(self.notes.text, self.notes.span_of(&path).start));
        let within = Some((file.into(), inner));
        self.notes.report.borrow_mut().push(Finding { severity, place, path, message, within });
    }

    /// An error about this table as a whole.
    pub fn error_here(&self, message: String) {
        self.notes.add_at(Severity::Error, &self.path, message);
    }

    /// Lets findings about `key` point at the value of `other`.
    pub fn alias(&self, key: &str, other: &str) {
        let span = self.notes.spans.borrow()[&self.path_of(other)].clone();
        self.notes.remember(&self.path_of(key), &span);
    }

    /// Whether the key is there and has not been taken.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Reports the key when it is not there. `example` shows how it is written.
    pub fn need(&mut self, key: &str, example: &str) -> &mut Self {
        if !self.has(key) {
            let message = format!("{} lacks the key `{key}`; add e.g. `{example}`", self.title());
            self.notes.add(Severity::Error, &self.span, &self.path_of(key), message);
        }
        self
    }

    fn title(&self) -> String {
        match self.path.split_once('[') {
            None if self.path.is_empty() => "the file".into(),
            Some((list, rest)) if rest.ends_with(']') => format!("`[[{list}]]`"),
            _ => format!("`{}`", self.path.rsplit('.').next().unwrap_or_default()),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<DeValue<'t>> {
        self.asked.push(key);
        let at = self.entries.iter().position(|(name, _)| name.get_ref() == key)?;
        let (_, value) = self.entries.swap_remove(at);
        self.notes.remember(&self.path_of(key), &value.span());
        Some(value.into_inner())
    }

    /// Counts a key as read.
    pub fn skip(&mut self, key: &'static str) {
        self.take(key);
    }

    /// Reports a key that is there but does not go with the others; it counts as read.
    pub fn refuse(&mut self, key: &'static str, why: &str) {
        if self.take(key).is_some() {
            self.error(key, format!("`{key}` {why}"));
        }
    }

    fn wrong_type<T>(&self, key: &str, value: &DeValue<'_>, wanted: &str, example: &str) -> Option<T> {
        let message = format!("`{key}` must be {wanted}, not {}; write e.g. `{example}`", article(value.type_str()));
        self.error(key, message);
        None
    }

    pub fn text(&mut self, key: &'static str, example: &str) -> Option<String> {
        match self.take(key)? {
            DeValue::String(text) => Some(text.into_owned()),
            other => self.wrong_type(key, &other, "a string", example),
        }
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            DeValue::Boolean(flag) => Some(flag),
            other => self.wrong_type(key, &other, "true or false", &format!("{key} = false")),
        }
    }

    /// An integer that fits the unsigned type `T`; TOML's integers end at `i64::MAX`.
    pub fn number<T: TryFrom<i64>>(&mut self, key: &'static str, example: &str) -> Option<T> {
        match self.take(key)? {
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| T::try_from(n).ok());
                if value.is_none() {
                    let max = (u64::MAX >> (64 - 8 * size_of::<T>())).min(i64::MAX.unsigned_abs());
                    let message = format!("`{key}` must be a whole number from 0 to {max}; write e.g. `{example}`");
                    self.error(key, message);
                }
                value
            }
            other => self.wrong_type(key, &other, "a number", example),
        }
    }

    /// Whether the key is there, has not been taken, and is an integer.
    pub fn is_number(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|(name, _)| name.get_ref() == key);
        entry.is_some_and(|(_, value)| matches!(value.get_ref(), DeValue::Integer(_)))
    }

    /// Whether the key is there, has not been taken, and is a table.
    pub fn is_table(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|(name, _)| name.get_ref() == key);
        entry.is_some_and(|(_, value)| matches!(value.get_ref(), DeValue::Table(_)))
    }

    /// A list of strings, empty where the key is not there.
    pub fn texts(&mut self, key: &'static str, example: &str) -> Option<Vec<String>> {
        let Some(value) = self.take(key) else { return Some(Vec::new()) };
        let items = match value {
            DeValue::Array(items) => items,
            other => return self.wrong_type(key, &other, "a list of strings", example),
        };
        let text = |item: Spanned<DeValue<'t>>| match item.into_inner() {
            DeValue::String(text) => Some(text.into_owned()),
            other => self.wrong_type(key, &other, "a list of strings", example),
        };
        items.into_iter().map(text).collect()
    }

    /// One of some words, in capitals or not.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.choice_or(key, words, None)
    }

    /// As [`Table::choice`]; `other`: what could stand in place of a word.
    pub fn choice_or<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        other: Option<&str>,
    ) -> Option<T> {
        let word = self.text(key, &format!("{key} = \"{}\"", words[0].0))?;
        let found = words.iter().find(|(other, _)| other.eq_ignore_ascii_case(&word)).map(|(_, value)| *value);
        if found.is_none() {
            let known = || words.iter().map(|(word, _)| *word);
            let hint = guess(&word, known()).map(|word| format!("did you mean `{word}`? ")).unwrap_or_default();
            let other = other.map(|example| format!(", or e.g. `{example}`")).unwrap_or_default();
            self.error(key, format!("`{key}` cannot be `{word}`; {hint}it must be {}{other}", list(known())));
        }
        found
    }

    pub fn table(&mut self, key: &'static str, example: &str) -> Option<Table<'n, 't>> {
        match self.take(key)? {
            DeValue::Table(table) => {
                let path = self.path_of(key);
                let span = self.notes.spans.borrow()[&path].clone();
                Some(Table::new(self.notes, path, span, table))
            }
            other => self.wrong_type(key, &other, "a table", example),
        }
    }

    /// A list of tables, `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'n, 't>> {
        let heading = format!("[[{key}]]");
        match self.take(key) {
            None => Vec::new(),
            Some(DeValue::Array(items)) => {
                let item = |(index, item): (usize, Spanned<DeValue<'t>>)| {
                    let (path, span) = (format!("{key}[{index}]"), item.span());
                    self.notes.remember(&path, &span);
                    match item.into_inner() {
                        DeValue::Table(table) => Some(Table::new(self.notes, path, span, table)),
                        other => self.wrong_type(key, &other, "a list of tables", &heading),
                    }
                };
                items.into_iter().enumerate().filter_map(item).collect()
            }
            Some(other) => self.wrong_type(key, &other, "a list of tables", &heading).into_iter().collect(),
        }
    }

    /// Complains about all keys that nobody asked for.
    pub fn finish(self) {
        for (name, _) in &self.entries {
            let key = name.get_ref();
            let known = || self.asked.iter().copied();
            let hint = match guess(key, known()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("{} takes {}", self.title(), list(known())),
            };
            let message = format!("unknown key `{key}`; {hint}");
            self.notes.add(Severity::Error, &name.span(), &self.path_of(key), message);
        }
    }
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
