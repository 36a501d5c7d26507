//! A serial console as a program sees it: wait for text, type.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Text that has arrived, shared with the thread that reads it.
#[derive(Default)]
struct Received {
    text: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

/// Both directions of a serial line.
pub struct Console {
    received: Arc<Received>,
    input: Box<dyn Write + Send>,
    /// What lies before was seen by an earlier [`Console::expect`].
    position: usize,
}

impl Console {
    pub fn new(mut output: impl Read + Send + 'static, input: impl Write + Send + 'static) -> Self {
        let received = Arc::new(Received::default());
        let writer = received.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = output.read(&mut buffer).unwrap_or(0);
                let mut text = writer.text.lock().unwrap_or_else(PoisonError::into_inner);
                text.0.extend_from_slice(&buffer[..count]);
                text.1 = count == 0;
                writer.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { received, input: Box::new(input), position: 0 }
    }

    /// Waits for the first of `patterns` that arrives after what was expected before.
    ///
    /// Returns its index and the text up to its end.
    ///
    /// # Errors
    /// None of them within `timeout`, or the machine ended; the message shows the last lines.
    pub fn expect_any(&mut self, patterns: &[&str], timeout: Duration) -> Result<(usize, String)> {
        let end = Instant::now() + timeout;
        let mut text = self.received.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let new = &text.0[self.position..];
            let hits = patterns.iter().enumerate().filter_map(|(i, p)| Some((find(new, p.as_bytes())? + p.len(), i)));
            if let Some((len, index)) = hits.min() {
                let seen = String::from_utf8_lossy(&new[..len]).into_owned();
                self.position += len;
                return Ok((index, seen));
            }
            let left = end.saturating_duration_since(Instant::now());
            if text.1 || left.is_zero() {
                let why =
                    if text.1 { "the machine ended".to_owned() } else { format!("{} s passed", timeout.as_secs()) };
                bail!("{why} before {} was seen; last lines:\n{}", patterns.join(" or "), tail(new));
            }
            text = self.received.changed.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn expect(&mut self, pattern: &str, timeout: Duration) -> Result<String> {
        Ok(self.expect_any(&[pattern], timeout)?.1)
    }

    /// Types a line.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.send(&format!("{line}\n"))
    }

    /// Types these keys.
    pub fn send(&mut self, keys: &str) -> Result<()> {
        self.input.write_all(keys.as_bytes()).and_then(|()| self.input.flush()).context("the console is closed")
    }

    /// Nothing has arrived since what was expected last.
    pub fn is_quiet(&self) -> bool {
        let text = self.received.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.0.len() == self.position
    }

    /// Everything that has arrived so far.
    pub fn text(&self) -> String {
        let text = self.received.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text.0).into_owned()
    }
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &'static str) -> Console {
        Console::new(text.as_bytes(), std::io::sink())
    }

    #[test]
    fn what_was_expected_is_not_seen_again() {
        let mut console = console("login: one login: two");
        console.expect("login:", Duration::from_secs(1)).unwrap();
        assert!(console.expect("login:", Duration::from_secs(1)).unwrap().contains("one"));
        assert!(console.expect("login:", Duration::from_secs(1)).unwrap_err().to_string().contains("machine ended"));
    }

    #[test]
    fn the_earliest_of_several_patterns_wins() {
        assert_eq!(console("a b c").expect_any(&["c", "b"], Duration::from_secs(1)).unwrap(), (1, "a b".to_owned()));
    }

    #[test]
    fn waiting_ends_in_time() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let mut console = Console::new(reader, std::io::sink());
        assert!(console.expect("never", Duration::from_millis(50)).is_err());
    }
}
