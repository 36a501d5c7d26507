//! What is read from the text of manifests and source files.

use super::{Colour, Crate, Finding, VMM_ROOMS};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 600;
const FORBID_UNSAFE: &str = "#![forbid(unsafe_code)]";
/// Without white space, as it is compared.
const DENY_HEADER: &str = "#![cfg_attr(not(test),deny(clippy::unwrap_used,clippy::expect_used,clippy::panic,\
                           clippy::indexing_slicing,clippy::arithmetic_side_effects))]";

/// Every dependency says in a comment what it is for.
pub(super) fn check_manifest(root: &Path, of: &Crate) -> Result<Vec<Finding>> {
    let file = of.file("Cargo.toml");
    let finding = |(line, name): (usize, String)| {
        let remedy = "say it in a comment behind it: # what it is for";
        Finding::new(format!("{file}:{line}"), format!("nothing says why {name} is there"), remedy)
    };
    Ok(dependencies_without_reason(&read(root, &file)?).into_iter().map(finding).collect())
}

/// Line numbers and names. The reason stands beside the dependency or in a comment on the line above.
pub(super) fn dependencies_without_reason(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_dependencies = false;
    let mut above = "";
    for (n, line) in manifest.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            in_dependencies = section.split(']').next().is_some_and(|name| name.ends_with("dependencies"));
        } else if in_dependencies {
            // A line within a list, or blank, or a comment, does not begin with a name.
            let is_name = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_');
            let name: String = line.chars().take_while(is_name).collect();
            if !name.is_empty() && reason(line).is_none() && !(above.starts_with('#') && reason(above).is_some()) {
                found.push((n + 1, name));
            }
        }
        above = line;
    }
    found
}

/// The comment behind the value; a `#` between quotes begins none.
fn reason(line: &str) -> Option<&str> {
    let outside = line.char_indices().scan(false, |quoted, (at, c)| {
        *quoted ^= c == '"';
        Some((at, c, *quoted))
    });
    let at = outside.filter(|&(_, c, quoted)| c == '#' && !quoted).map(|(at, ..)| at).next()?;
    line.get(at + 1..).map(str::trim).filter(|text| !text.is_empty())
}

/// A green crate forbids unsafe code, and in the VMM what could panic.
pub(super) fn check_root_file(root: &Path, of: &Crate) -> Result<Vec<Finding>> {
    if of.colour != Some(Colour::Green) {
        return Ok(Vec::new());
    }
    let Some(file) =
        ["src/lib.rs", "src/main.rs"].map(|name| of.file(name)).into_iter().find(|f| root.join(f).is_file())
    else {
        let what = "the crate has neither src/lib.rs nor src/main.rs";
        return Ok(vec![Finding::new(of.file("src"), what, "add the one that it is")]);
    };
    let text: String = read(root, &file)?.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut findings = Vec::new();
    if !dense.contains(FORBID_UNSAFE) {
        let remedy = format!("add {FORBID_UNSAFE}, or give the crate another colour and a reason");
        findings.push(Finding::new(&file, "a green crate does not forbid unsafe code", remedy));
    }
    if VMM_ROOMS.contains(&of.room()) && !dense.contains(DENY_HEADER) {
        let what = "a green crate of the VMM does not deny what could panic";
        findings.push(Finding::new(&file, what, "copy the attribute cfg_attr(not(test), deny(...)) from another one"));
    }
    Ok(findings)
}

/// No file is too long, no unsafe block goes without its reason.
pub(super) fn check_files(root: &Path, of: &Crate) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in rust_files(&root.join(&of.folder))? {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let text = read(root, &name)?;
        let lines = text.lines().count();
        if lines > MAX_LINES {
            let what = format!("has {lines} lines, more than {MAX_LINES}");
            findings.push(Finding::new(&name, what, "split it where it changes its subject"));
        }
        // In a green crate the compiler refuses what is unsafe.
        let unreasoned = if of.colour == Some(Colour::Green) { Vec::new() } else { unsafe_without_safety(&text) };
        findings.extend(unreasoned.into_iter().map(|line| {
            let remedy = "say above it in a comment // SAFETY: why it is sound";
            Finding::new(format!("{name}:{line}"), "an unsafe block or impl without SAFETY comment", remedy)
        }));
    }
    Ok(findings)
}

/// Numbers of the lines with an unsafe block or impl that no comment with `SAFETY:` leads. `SAFETY (for all of these)`
/// leads every block up to the end of the function.
pub(super) fn unsafe_without_safety(text: &str) -> Vec<usize> {
    let raw: Vec<&str> = text.lines().collect();
    let lines: Vec<&str> = raw.iter().map(|line| line.trim()).collect();
    let is_for_all = |line: &&str| line.starts_with("//") && line.contains("SAFETY (for all of these)");
    let has_reason = |n: usize| {
        let item = raw[..n].iter().rposition(|&line| line == "}").unwrap_or(0);
        lines[n].contains("SAFETY:")
            || comment_above(&lines[..n]).contains("SAFETY:")
            || lines[item..n].iter().any(is_for_all)
    };
    (0..lines.len()).filter(|&n| opens_unsafe(lines[n]) && !has_reason(n)).map(|n| n + 1).collect()
}

pub fn opens_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("unsafe").any(|(at, word)| {
        let (before, after) = (&code[..at], code[at + word.len()..].trim_start());
        let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let is_quoted = before.matches('"').count() % 2 == 1;
        is_word && !is_quoted && (after.starts_with('{') || after.starts_with("impl ") || after.starts_with("impl<"))
    })
}

/// The comment that leads the statement which the last line is followed by, `#[...]` lines between them skipped.
fn comment_above(lines: &[&str]) -> String {
    let is_comment = |line: &&&str| line.starts_with("//");
    // Lines of the same statement end neither a statement nor a block, nor are they blank.
    let of_statement = |line: &&&str| {
        !is_comment(line) && !line.is_empty() && (line.starts_with("#[") || !line.ends_with([';', '{', '}', ',']))
    };
    let comment = lines.iter().rev().skip_while(of_statement).take_while(is_comment);
    comment.copied().collect::<Vec<_>>().join("\n")
}

/// The sources of a crate, in a fixed order; crates nested in its folder included, build output not.
pub fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn read(root: &Path, file: &str) -> Result<String> {
    std::fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
}
