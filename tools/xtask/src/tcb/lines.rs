//! Lines of a crate that count: neither blank nor comment, and not of its tests.

use crate::rooms::sources::{opens_unsafe, rust_files};
use anyhow::{Context, Result};
use std::ops::Add;
use std::path::Path;

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Lines {
    pub code: u64,
    /// Lines that open an unsafe block or begin an unsafe impl.
    pub unsafe_blocks: u64,
}

impl Add for Lines {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { code: self.code + other.code, unsafe_blocks: self.unsafe_blocks + other.unsafe_blocks }
    }
}

impl Lines {
    /// Of all sources below `src`; none where there is no such folder.
    pub fn of_folder(src: &Path) -> Result<Self> {
        let mut all = Self::default();
        let files = if src.is_dir() { rust_files(src)? } else { Vec::new() };
        for file in files.iter().filter(|file| !is_test(file.strip_prefix(src).unwrap_or(file))) {
            let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            all = all + Self::of_text(&String::from_utf8_lossy(&text));
        }
        Ok(all)
    }

    fn of_text(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let is_tests =
            |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
        let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
        let code = lines[..end].iter().filter(|line| !line.is_empty() && !line.starts_with("//"));
        code.fold(Self::default(), |sum, line| sum + Self { code: 1, unsafe_blocks: u64::from(opens_unsafe(line)) })
    }
}

fn is_test(file: &Path) -> bool {
    let in_tests = file.components().any(|part| part.as_os_str() == "tests");
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    in_tests || stem == "tests" || stem.ends_with("_tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_tests_do_not_count() {
        let text = "//! doc\n\n/// doc\nfn a() {\n    // SAFETY: no\n    unsafe { b() }\n}\nunsafe impl X for Y {}\n\n#[cfg(test)]\nmod tests {\n    unsafe { c() }\n}\n";
        assert_eq!(Lines::of_text(text), Lines { code: 4, unsafe_blocks: 2 });
    }

    #[test]
    fn the_word_unsafe_alone_opens_nothing() {
        let text = "#![forbid(unsafe_code)]\nunsafe fn f() {}\nlet s = \"unsafe {\";\nx(unsafe { y });\n";
        assert_eq!(Lines::of_text(text), Lines { code: 4, unsafe_blocks: 1 });
    }

    #[test]
    fn files_of_tests_are_known_by_their_names() {
        for (file, test) in [
            ("tests/a.rs", true),
            ("tests.rs", true),
            ("blob_tests.rs", true),
            ("blob.rs", false),
            ("contests.rs", false),
        ] {
            assert_eq!(is_test(Path::new(file)), test, "{file}");
        }
    }
}
