//! Init functions: registered from any file, called in order by the VMM.
//!
//! ```
//! fn find_disks() -> Result<(), &'static str> {
//!     Ok(())
//! }
//! initfunc::initfunc!("driver0", find_disks);
//! ```
//!
//! To add one:
//! 1. Write a function as above. Its error is one sentence for the user; the VMM does not start a guest after it.
//! 2. Choose the label: a prefix of [`Phase`] says when, a digit says in which order within the phase. Functions of
//!    one label must not care about their order (it is that of their paths).
//! 3. If the file belongs to a crate that the VMM did not have before, name the crate in the manifest of `core/vmm`:
//!    the linker drops crates that nobody names, and their init functions with them.
//! 4. Add the line that the test of the built image asks for to `tests/emu/golden/initfunc.txt`: it tells a dropped function from
//!    one that was never there.
//!
//! The entries lie in the linker section `initfunc`. Linkers bound a section whose name is a C identifier by
//! `__start_` and `__stop_` symbols, so host tests need no linker script; a linker script must `KEEP` the section and,
//! if it gives it another output name, define both symbols.
#![no_std]
// Unsafe: the bounds of the section come from the linker as two symbols; see `all`.

mod label;

pub use label::{Label, Phase};

use core::fmt;

/// A registered function. Made by [`initfunc!`] only.
///
/// The layout is read from the linked image by `xtask`: label (8 bytes), path (address, length), function (address).
#[repr(C)]
#[derive(Debug)]
pub struct InitFunc {
    label: Label,
    path: &'static str,
    function: fn() -> Result<(), &'static str>,
}

/// An init function that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitError {
    pub label: Label,
    pub path: &'static str,
    /// What the function said.
    pub reason: &'static str,
}

impl InitFunc {
    /// For [`initfunc!`]. `label` must be checked when the program is compiled, so call it in a constant.
    #[doc(hidden)]
    pub const fn new(label: &str, path: &'static str, function: fn() -> Result<(), &'static str>) -> Self {
        Self { label: Label::new(label), path, function }
    }

    pub fn label(&self) -> Label {
        self.label
    }

    /// Where the function is: crate, modules, name.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// What sorts the functions.
    fn key(&self) -> (Label, &'static str) {
        (self.label, self.path)
    }
}

/// Registers a function of the type `fn() -> Result<(), &'static str>` under a label, see the crate's text.
#[macro_export]
macro_rules! initfunc {
    ($label:literal, $function:path) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = "initfunc")]
            static ENTRY: $crate::InitFunc =
                $crate::InitFunc::new($label, concat!(module_path!(), "::", stringify!($function)), $function);
        };
    };
}

/// Calls all functions of a phase, in the order of their labels, then of their paths.
///
/// # Errors
/// The first failure; the functions behind it are not called.
pub fn call(phase: Phase) -> Result<(), InitError> {
    for entry in in_order(all()).filter(|entry| entry.label.phase() == phase) {
        (entry.function)().map_err(|reason| InitError { label: entry.label, path: entry.path, reason })?;
    }
    Ok(())
}

/// All functions that are linked into this program, in the order in which they would be called within their phases.
pub fn registered() -> impl Iterator<Item = &'static InitFunc> {
    in_order(all())
}

/// A function that is registered twice under one label: a mistake of a source file. It is called once.
pub fn duplicate() -> Option<&'static InitFunc> {
    find_duplicate(all())
}

/// In ascending order without duplicates. No heap is needed, because `global` comes before the heap.
fn in_order<'a>(entries: &'a [InitFunc]) -> impl Iterator<Item = &'a InitFunc> {
    let after = |last: Option<&'a InitFunc>| {
        let rest = entries.iter().filter(move |entry| last.is_none_or(|last| entry.key() > last.key()));
        rest.min_by_key(|entry| entry.key())
    };
    core::iter::successors(after(None), move |&last| after(Some(last)))
}

fn find_duplicate(entries: &[InitFunc]) -> Option<&InitFunc> {
    entries.iter().enumerate().find(|(n, entry)| entries[..*n].iter().any(|e| e.key() == entry.key())).map(|(_, e)| e)
}

/// Makes the section exist, and with it its two symbols, in a program that registers nothing.
#[used]
#[unsafe(link_section = "initfunc")]
static NOTHING: [InitFunc; 0] = [];

/// The section.
fn all() -> &'static [InitFunc] {
    // SAFETY: declares what the linker defines; the array without elements gives the address its alignment and reads
    // nothing.
    unsafe extern "Rust" {
        #[link_name = "__start_initfunc"]
        static START: [InitFunc; 0];
        #[link_name = "__stop_initfunc"]
        static STOP: [InitFunc; 0];
    }
    let (start, stop) = (&raw const START, &raw const STOP);
    let len = (stop.addr() - start.addr()) / size_of::<InitFunc>();
    // SAFETY: only `initfunc!` and `NOTHING` place anything in the section, statics of type `InitFunc` whose size is a
    // multiple of their alignment, so they lie back to back between the two symbols and live as long as the program.
    unsafe { core::slice::from_raw_parts(start.cast(), len) }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Init function {} ({}) failed: {}", self.path, self.label, self.reason)
    }
}

impl core::error::Error for InitError {}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;
    use std::vec;
    use std::vec::Vec;

    fn ok() -> Result<(), &'static str> {
        Ok(())
    }

    fn paths<'a>(entries: impl Iterator<Item = &'a InitFunc>) -> Vec<&'static str> {
        entries.map(InitFunc::path).collect()
    }

    #[test]
    fn functions_are_ordered_by_label_then_path_wherever_the_linker_put_them() {
        let entries = [
            InitFunc::new("driver1", "b", ok),
            InitFunc::new("driver0", "d", ok),
            InitFunc::new("driver1", "a", ok),
            InitFunc::new("driver0", "c", ok),
        ];
        assert_eq!(paths(in_order(&entries)), ["c", "d", "a", "b"]);
        assert_eq!(paths(in_order(&[])), Vec::<&str>::new());
    }

    #[test]
    fn a_function_registered_twice_is_found_and_called_once() {
        let entries = vec![
            InitFunc::new("driver0", "a", ok),
            InitFunc::new("driver1", "a", ok),
            InitFunc::new("driver0", "a", ok),
        ];
        assert_eq!(find_duplicate(&entries).map(InitFunc::key), Some(entries[0].key()));
        assert!(find_duplicate(&entries[..2]).is_none());
        assert_eq!(paths(in_order(&entries)), ["a", "a"]);
    }

    #[test]
    fn a_failure_names_the_function() {
        let error = InitError { label: Label::new("driver0"), path: "ata::find", reason: "No disk answers." };
        assert_eq!(error.to_string(), "Init function ata::find (driver0) failed: No disk answers.");
    }

    #[test]
    fn the_layout_is_the_one_that_is_read_from_the_image() {
        assert_eq!((size_of::<InitFunc>(), align_of::<InitFunc>()), (32, 8));
        assert_eq!(core::mem::offset_of!(InitFunc, path), 8);
        assert_eq!(core::mem::offset_of!(InitFunc, function), 24);
    }
}
