//! Reads a configuration in either form.

use std::io;
use std::path::Path;

use config::{BlobError, Config, MAX_BLOB_BYTES, Opened};
use zeroize::Zeroizing;

use crate::form;
use crate::keys;
use crate::report::{Finding, Report, Severity};

/// Reads a TOML file or a blob that is not locked. The configuration is there when the report has no errors.
///
/// # Errors
/// When the file itself cannot be read. A key file that cannot be read is a finding.
pub fn load(path: &Path) -> io::Result<(Option<Config>, Report)> {
    Ok(match load_any(path)? {
        (Some(Opened::Plain(config)), report) => (Some(config), report),
        (Some(Opened::Locked(_)), _) => (None, finding(BlobError::Locked)),
        (None, report) => (None, report),
    })
}

/// Reads a TOML file or a blob, locked or not. It is there when the report has no errors.
///
/// # Errors
/// As [`load`].
pub fn load_any(path: &Path) -> io::Result<(Option<Opened>, Report)> {
    let bytes = read(path)?;
    if bytes.len() > MAX_BLOB_BYTES {
        let bytes = usize::try_from(path.metadata()?.len()).unwrap_or(usize::MAX);
        return Ok((None, finding(BlobError::TooLarge { bytes })));
    }
    Ok(match (config::open(&bytes), std::str::from_utf8(&bytes)) {
        (Ok(opened), _) => (Some(opened), Report::default()),
        (Err(BlobError::NotShoji), Ok(text)) => {
            let (config, report) = form::read(text, path);
            (config.map(Opened::Plain), report)
        }
        (Err(BlobError::NotShoji), Err(_)) => {
            let why = "the file is neither a compiled Shoji configuration nor text in UTF-8; give the TOML file";
            (None, finding(why))
        }
        (Err(error), _) => (None, finding(error)),
    })
}

/// The bytes of a file, one more than a blob may have where there are more.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    keys::read_bytes(path, MAX_BLOB_BYTES + 1)
}

fn finding(why: impl ToString) -> Report {
    let mut report = Report::default();
    let (severity, path) = (Severity::Error, String::new());
    report.push(Finding { severity, place: None, path, message: why.to_string(), within: None });
    report
}
