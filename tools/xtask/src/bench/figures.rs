//! What was measured.

use std::collections::BTreeMap;
use std::fmt;

/// Where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// The machine alone.
    Bare,
    Shoji,
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::Shoji => "under Shoji",
        })
    }
}

/// The figures of one run, by the keys of `rows`.
#[derive(Default)]
pub struct Figures {
    values: BTreeMap<String, [Option<f64>; 2]>,
    /// Exits by kind, under a title.
    pub exits: Vec<(String, BTreeMap<String, f64>)>,
}

impl Figures {
    pub fn set(&mut self, key: impl Into<String>, on: On, value: f64) {
        self.values.entry(key.into()).or_default()[on as usize] = Some(value);
    }

    pub fn add(&mut self, on: On, values: BTreeMap<String, f64>) {
        values.into_iter().for_each(|(key, value)| self.set(key, on, value));
    }

    pub fn set_exits(&mut self, title: impl Into<String>, kinds: impl IntoIterator<Item = (&'static str, f64)>) {
        self.exits.push((title.into(), kinds.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect()));
    }

    pub fn get(&self, key: &str, on: On) -> Option<f64> {
        self.values.get(key)?[on as usize]
    }

    /// Shoji's figure in bare ones.
    pub fn ratio(&self, key: &str) -> Option<f64> {
        let bare = self.get(key, On::Bare).filter(|bare| *bare > 0.0)?;
        Some(self.get(key, On::Shoji)? / bare)
    }
}
