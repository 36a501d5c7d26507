//! A server for one download and for files that the guest hands in (HTTP/1.1, RFC 9112, as little as curl and wget need).
//!
//! `GET /download/BYTES` gives so many bytes, the same each time, which no other file holds; `PUT` or `POST /NAME` puts a file into the
//! server's folder.

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PIECE: usize = 64 << 10;
/// Nothing is taken or given that is longer.
const MAX_BYTES: u64 = 1 << 30;
const MAX_HEADER: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(120);

/// Serves in threads that share the caller's namespaces, until the program ends.
pub fn serve(address: &str, folder: &Path) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("nobody can listen at {address}"))?;
    let folder = folder.to_owned();
    std::thread::Builder::new().name("http".into()).spawn(move || {
        for connection in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || {
                if let Err(error) = answer(connection, &folder) {
                    eprintln!("http: {error:#}");
                }
            });
        }
    })?;
    Ok(())
}

/// The checksum of a download, in hexadecimal digits.
pub fn checksum(bytes: u64) -> String {
    let mut hash = Sha256::new();
    content(bytes).for_each(|piece| hash.update(&piece));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pieces of a download. No two of them are alike, so that one that is lost, moved or doubled changes the checksum.
fn content(bytes: u64) -> impl Iterator<Item = Vec<u8>> {
    let pieces = bytes.div_ceil(PIECE as u64);
    (0..pieces).map(move |n| {
        let len = PIECE.min((bytes - n * PIECE as u64) as usize);
        let words = (0..PIECE as u64 / 8).map(|at| (n << 32 | at).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23));
        words.flat_map(u64::to_le_bytes).take(len).collect()
    })
}

fn answer(connection: TcpStream, folder: &Path) -> Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let (request, len) = header(&mut reader)?;
    let words: Vec<&str> = request.split_whitespace().collect();
    match words.as_slice() {
        ["GET", path, _] => give(connection, path),
        ["PUT" | "POST", path, _] => take(connection, reader, &file_for(folder, path)?, len),
        _ => bail!("not understood: {request}"),
    }
}

/// The request, and the length of what follows.
fn header(reader: &mut impl BufRead) -> Result<(String, u64)> {
    let mut lines = reader.take(MAX_HEADER).lines();
    let request = lines.next().context("nothing was asked")??;
    let mut len = 0;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return Ok((request, len));
        }
        if let Some((name, value)) =
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            len = value.trim().parse().with_context(|| format!("{name}: {value}"))?;
        }
    }
    bail!("a header without end")
}

fn give(mut to: TcpStream, path: &str) -> Result<()> {
    let bytes =
        path.strip_prefix("/download/").and_then(|bytes| bytes.parse().ok()).filter(|bytes| *bytes <= MAX_BYTES);
    let Some(bytes) = bytes else {
        to.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        bail!("nothing is called {path}");
    };
    write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n")?;
    for piece in content(bytes) {
        to.write_all(&piece)?;
    }
    Ok(())
}

fn take(mut to: TcpStream, from: impl Read, file: &Path, len: u64) -> Result<()> {
    ensure!(len <= MAX_BYTES, "{len} bytes are too many");
    let part = file.with_extension("part");
    let got = std::io::copy(&mut from.take(len), &mut fs::File::create(&part)?)?;
    ensure!(got == len, "{} was cut off after {got} of {len} bytes", file.display());
    fs::rename(&part, file)?;
    to.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").map_err(Into::into)
}

/// A plain name, whatever was asked for.
fn file_for(folder: &Path, path: &str) -> Result<PathBuf> {
    let name = path.trim_start_matches('/');
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    ensure!(is_plain, "{path} is no name for a file");
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: &str, request: &[u8]) -> Vec<u8> {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(request).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn downloads_have_the_checksum_that_is_told_and_files_are_taken() {
        let folder = std::env::temp_dir().join(format!("wire-{}-http", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        serve(&address, &folder).unwrap();
        let bytes = 3 * PIECE + 17;
        let answer = ask(&address, format!("GET /download/{bytes} HTTP/1.1\r\n\r\n").as_bytes());
        let body = &answer[answer.len() - bytes..];
        let sum: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum, checksum(bytes as u64));
        assert!(ask(&address, b"PUT /seen HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").starts_with(b"HTTP/1.1 201"));
        assert_eq!(fs::read(folder.join("seen")).unwrap(), b"abc");
        assert!(ask(&address, b"PUT /../seen HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").is_empty());
        assert!(ask(&address, b"GET /other HTTP/1.1\r\n\r\n").starts_with(b"HTTP/1.1 404"));
        fs::remove_dir_all(folder).unwrap();
    }
}
