//! Key files: raw bytes, readable by their owner only; 64 of them where a disk is encrypted.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes of the key of a disk, and of each new key file.
pub const XTS_KEY_BYTES: usize = 64;

/// Makes a key file from the operating system's random numbers. Mode 0600; an existing file is never overwritten.
///
/// # Errors
/// As the operating system says; `AlreadyExists` for an existing file.
pub fn create(path: &Path) -> io::Result<()> {
    let mut key = Zeroizing::new([0; XTS_KEY_BYTES]);
    getrandom::fill(&mut *key).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(explain)?;
    file.write_all(&*key)?;
    file.sync_all()
}

/// A key that exists may be the only one that opens a disk.
fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::AlreadyExists => {
            io::Error::new(error.kind(), "the file exists and may hold a key in use; choose another name")
        }
        _ => error,
    }
}

/// A file with a secret that was read.
pub struct KeyFile {
    pub bytes: Zeroizing<Vec<u8>>,
    /// Of the whole file.
    pub len_bytes: u64,
    /// May others read it?
    pub exposed: bool,
}

/// Reads a key file whose length must be in `lengths`.
///
/// # Errors
/// What is wrong and what to do, as the end of a sentence that begins with the key's name.
pub fn read(path: &Path, lengths: RangeInclusive<usize>) -> Result<KeyFile, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| match error.kind() {
        ErrorKind::InvalidInput => format!("names {shown}, which is not a file; make a key with `shoji key new FILE`"),
        io::ErrorKind::NotFound => format!("names {shown}, which does not exist; make it with `shoji key new {shown}`"),
        _ => format!("names {shown}, which cannot be read ({error}); make it a file that you may read"),
    };
    // One byte more than a key tells a longer file.
    let file = read_file(path, lengths.end() + 1).map_err(unreadable)?;
    if !lengths.contains(&file.bytes.len()) {
        let len = file.len_bytes;
        let wanted = if lengths.start() == lengths.end() {
            format!("{}", lengths.start())
        } else {
            format!("{} to {}", lengths.start(), lengths.end())
        };
        return Err(format!(
            "names {shown}, which has {len} bytes; a key has {wanted} raw bytes, make one with `shoji key new FILE`"
        ));
    }
    Ok(file)
}

/// The first bytes of a file that holds secrets, at most `most`.
///
/// # Errors
/// As the operating system says; `InvalidInput` for what is not a file.
pub fn read_file(path: &Path, most: usize) -> io::Result<KeyFile> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a file"));
    }
    let bytes = read_open(file, most)?;
    Ok(KeyFile { bytes, len_bytes: metadata.len(), exposed: is_exposed(&metadata) })
}

/// At most `most` bytes of a file that may hold a secret.
///
/// # Errors
/// As the operating system says.
pub fn read_bytes(path: &Path, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    read_open(file, most)
}

fn read_open(file: File, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // The capacity keeps the buffer from being copied.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1024));
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether anybody but the owner may read or write the file.
pub fn is_exposed(metadata: &std::fs::Metadata) -> bool {
    metadata.mode() & 0o077 != 0
}
