//! The table's place in README.md.

use anyhow::{Context, Result};
use std::path::Path;
use testbed::artifact;

const START: &str = "<!-- figures -->";
const END: &str = "<!-- /figures -->";

/// Puts `table` between the markers.
///
/// # Errors
/// There is no such file, or it has no markers.
pub fn replace(file: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = replaced(&text, table)
        .with_context(|| format!("{} has no place for the table: no lines {START} and {END}", file.display()))?;
    artifact::write(file, text.as_bytes())
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(START)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{START}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{END, START, replaced};

    #[test]
    fn only_what_lies_between_the_markers_changes() {
        let text = format!("before\n{START}\nold\n{END}\nafter\n");
        let new = replaced(&text, "new\n").unwrap();
        assert_eq!(new, format!("before\n{START}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
    }

    #[test]
    fn a_text_without_both_markers_stays() {
        assert_eq!(replaced(&format!("{START} no end"), "new"), None);
        assert_eq!(replaced(&format!("{END} {START}"), "new"), None);
    }
}
