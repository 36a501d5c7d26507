//! Reads a configuration in either form.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use config::{BlobError, Config, MAX_BLOB_BYTES};
use zeroize::Zeroizing;

use crate::form;
use crate::report::{Finding, Report, Severity};

/// Reads a TOML file or a blob. The configuration is there when the report has no errors.
///
/// # Errors
/// When the file itself cannot be read. A key file that cannot be read is a finding.
pub fn load(path: &Path) -> io::Result<(Option<Config>, Report)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // The capacity keeps the buffer, which may hold keys, from being copied.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BLOB_BYTES + 1024));
    file.take(MAX_BLOB_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BLOB_BYTES {
        return Ok(refuse(BlobError::TooLarge { bytes: usize::try_from(metadata.len()).unwrap_or(usize::MAX) }));
    }
    Ok(match (config::parse(&bytes), std::str::from_utf8(&bytes)) {
        (Ok(config), _) => (Some(config), Report::default()),
        (Err(BlobError::NotShoji), Ok(text)) => form::read(text, path),
        (Err(BlobError::NotShoji), Err(_)) => {
            refuse("the file is neither a compiled Shoji configuration nor text in UTF-8; give the TOML file")
        }
        (Err(error), _) => refuse(error),
    })
}

fn refuse(why: impl ToString) -> (Option<Config>, Report) {
    let mut report = Report::default();
    let (severity, path) = (Severity::Error, String::new());
    report.push(Finding { severity, place: None, path, message: why.to_string() });
    (None, report)
}
