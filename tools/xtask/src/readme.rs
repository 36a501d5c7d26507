//! Generated tables and their places in README.md.

use anyhow::{Context, Result};
use std::path::Path;
use testbed::artifact;

/// Puts `table` between the markers `<!-- NAME -->` and `<!-- /NAME -->`.
///
/// # Errors
/// There is no such file, or it has no markers.
pub fn replace(file: &Path, name: &str, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = replaced(&text, name, table).with_context(|| {
        format!("{} has no place for the table: no lines <!-- {name} --> and <!-- /{name} -->", file.display())
    })?;
    artifact::write(file, text.as_bytes())
}

fn replaced(text: &str, name: &str, table: &str) -> Option<String> {
    let (start, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{start}\n{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    const START: &str = "<!-- figures -->";
    const END: &str = "<!-- /figures -->";

    #[test]
    fn only_what_lies_between_the_markers_changes() {
        let other = "<!-- other -->\nstays\n<!-- /other -->\n";
        let text = format!("{other}before\n{START}\nold\n{END}\nafter\n");
        let new = replaced(&text, "figures", "new\n").unwrap();
        assert_eq!(new, format!("{other}before\n{START}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&new, "figures", "new\n").unwrap(), new);
    }

    #[test]
    fn a_text_without_both_markers_stays() {
        assert_eq!(replaced(&format!("{START} no end"), "figures", "new"), None);
        assert_eq!(replaced(&format!("{END} {START}"), "figures", "new"), None);
    }
}
