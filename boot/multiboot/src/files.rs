//! Modules that have a name and are read where they lie, as they may be large.

use crate::{Module, PhysicalMemory};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Files that the loader has brought, by their names.
#[derive(Default)]
pub struct Files {
    names: Vec<String>,
    /// In the order of the names.
    places: Vec<Range<u64>>,
}

/// Why a module is not taken. Displayed as the end of a sentence that names the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileError {
    /// Longer than any file of its kind.
    TooLong { bytes: u64 },
    /// It ends behind what can be read.
    TooHigh,
    /// There is one of this name.
    Twice,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(f, "has {bytes} bytes, more than any: wrong file?"),
            Self::TooHigh => f.write_str("lies above 4 GiB, where Shoji cannot read it"),
            Self::Twice => f.write_str("is there twice; remove one of its lines from the GRUB entry"),
        }
    }
}

impl core::error::Error for FileError {}

impl Files {
    /// Takes a module that has at most `most_bytes` and ends at `limit` or before.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn take(&mut self, name: &str, module: &Module, most_bytes: u64, limit: u64) -> Result<(), FileError> {
        let bytes = module.len_bytes();
        if bytes > most_bytes {
            return Err(FileError::TooLong { bytes });
        }
        if module.end > limit {
            return Err(FileError::TooHigh);
        }
        if self.place(name).is_some() {
            return Err(FileError::Twice);
        }
        self.names.push(name.into());
        self.places.push(module.range());
        Ok(())
    }

    /// Where they lie, in the order of [`Self::names`].
    #[must_use]
    pub fn places(&self) -> &[Range<u64>] {
        &self.places
    }

    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    #[must_use]
    pub fn place(&self, name: &str) -> Option<&Range<u64>> {
        self.places.get(self.names.iter().position(|other| other == name)?)
    }

    /// Copies a part of a file. False, with `into` in any state, where there is no file or it ends before that.
    #[must_use]
    pub fn read(&self, memory: &dyn PhysicalMemory, name: &str, at_bytes: u64, into: &mut [u8]) -> bool {
        let part = self.place(name).and_then(|place| {
            let start = place.start.checked_add(at_bytes)?;
            start.checked_add(into.len() as u64).filter(|end| *end <= place.end).map(|_| start)
        });
        part.is_some_and(|start| memory.read(start, into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte is the lowest one of its address, below 4096.
    struct Numbers;

    impl PhysicalMemory for Numbers {
        fn read(&self, at: u64, into: &mut [u8]) -> bool {
            (at..).zip(into.iter_mut()).for_each(|(at, byte)| *byte = at as u8);
            at + into.len() as u64 <= 4096
        }
    }

    fn module(start: u64, end: u64) -> Module {
        Module { start, end, command_line: String::new() }
    }

    #[test]
    fn a_file_is_read_within_its_bounds_only() {
        let mut files = Files::default();
        files.take("a", &module(100, 110), 10, 4096).unwrap();
        files.take("b", &module(200, 220), 20, 4096).unwrap();
        let read = |name, at, len: usize| {
            let mut data = alloc::vec![0; len];
            files.read(&Numbers, name, at, &mut data).then_some(data)
        };
        assert_eq!(read("a", 8, 2), Some([108, 109].into()));
        assert_eq!(read("b", 0, 1), Some([200].into()));
        assert_eq!(read("a", 10, 0), Some([].into()));
        for (name, at, len) in [("a", 8, 3), ("a", 10, 1), ("a", u64::MAX, 1), ("a", u64::MAX - 100, 1), ("c", 0, 1)] {
            assert_eq!(read(name, at, len), None, "{name} {at} {len}");
        }
        assert_eq!((files.names().len(), files.places()), (2, &[100..110, 200..220][..]));
    }

    #[test]
    fn modules_that_cannot_be_such_files_are_refused() {
        let mut files = Files::default();
        let mut take = |name, start, end| files.take(name, &module(start, end), 10, 1000);
        assert_eq!(take("a", 0, 10), Ok(()));
        assert_eq!(take("b", 0, 11), Err(FileError::TooLong { bytes: 11 }));
        assert_eq!(take("b", 991, 1001), Err(FileError::TooHigh));
        assert_eq!(take("a", 20, 30), Err(FileError::Twice));
        assert_eq!(take("b", 990, 1000), Ok(()));
        assert_eq!(take("empty", 5, 5), Ok(()));
    }
}
