//! The tables of `core/policy` as a document that is kept with them.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use testbed::artifact;

/// Relative to the root.
const DOCUMENT: &str = "core/policy/POLICY.md";

/// Writes it anew.
///
/// # Errors
/// It cannot be written.
pub fn write(root: &Path) -> Result<()> {
    artifact::write(&root.join(DOCUMENT), ::policy::document().as_bytes())
}

/// Compares it with the tables.
///
/// # Errors
/// It cannot be read, or tells something else.
pub fn check(root: &Path) -> Result<()> {
    let text = std::fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("cannot read {DOCUMENT}"))?;
    ensure!(text == ::policy::document(), "{DOCUMENT} is not what core/policy holds: run `cargo xtask policy`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, check, write};

    #[test]
    fn document_that_differs_in_a_word_is_told_with_its_remedy() {
        let root = std::env::temp_dir().join(format!("policy-document-{}", std::process::id()));
        std::fs::create_dir_all(root.join(DOCUMENT).parent().unwrap()).unwrap();
        assert!(check(&root).unwrap_err().to_string().contains("cannot read"));
        write(&root).unwrap();
        check(&root).unwrap();
        let text = std::fs::read_to_string(root.join(DOCUMENT)).unwrap();
        std::fs::write(root.join(DOCUMENT), text.replacen("native", "virtual", 1)).unwrap();
        let told = check(&root).unwrap_err().to_string();
        std::fs::remove_dir_all(&root).unwrap();
        assert!(told.contains("cargo xtask policy"), "{told}");
    }
}
