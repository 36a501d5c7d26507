//! The host's side of locking a configuration: random numbers, memory, rules for pass phrases.

use std::time::Duration;

use config::{Block, Cost, Credential, Envelope, MAX_PASS_PHRASE_BYTES, RecoveryKey};
use indicatif::{ProgressBar, ProgressStyle};
use zeroize::Zeroize;

/// Shortest pass phrase; Argon2id makes a try dear, not a word unguessable.
pub const MIN_PASS_PHRASE_BYTES: usize = 8;

/// Random bytes of the operating system.
///
/// # Errors
/// A sentence, when it has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("the operating system gives no random numbers: {error}"))?;
    Ok(bytes)
}

/// An envelope with a new master key, whose blob takes the place of one with the rollback counter `after`.
///
/// # Errors
/// As [`random`].
pub fn new_envelope(after: u64) -> Result<Envelope, String> {
    Ok(Envelope::new(&mut random()?, after))
}

/// A new recovery key.
///
/// # Errors
/// As [`random`].
pub fn new_recovery_key() -> Result<RecoveryKey, String> {
    random().map(RecoveryKey)
}

/// Adds a slot with new random numbers.
///
/// # Errors
/// A sentence.
pub fn add(envelope: &mut Envelope, name: &str, credential: Credential<'_>, cost: Cost) -> Result<(), String> {
    envelope.add(name, credential, cost, random()?).map_err(|error| error.to_string())
}

/// Puts a slot with new random numbers in the place of one, counted from 0.
///
/// # Errors
/// A sentence.
pub fn replace(envelope: &mut Envelope, index: usize, credential: Credential<'_>, cost: Cost) -> Result<(), String> {
    envelope.replace(index, credential, cost, random()?).map_err(|error| error.to_string())
}

/// Lends `work` so many blocks for Argon2id, and shows on a terminal that it goes on.
///
/// # Errors
/// A sentence, when there is not as much memory.
pub fn with_memory<T>(blocks: usize, what: &str, work: impl FnOnce(&mut [Block]) -> T) -> Result<T, String> {
    let mib = blocks.div_ceil(1024);
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(blocks)
        .map_err(|_| format!("a pass phrase takes {mib} MiB of memory, more than there is"))?;
    memory.resize(blocks, Block::new());
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})").unwrap_or(ProgressStyle::default_spinner());
    let line = ProgressBar::new_spinner().with_style(style).with_message(format!("{what}: Argon2id, {mib} MiB"));
    line.enable_steady_tick(Duration::from_millis(100));
    let result = work(&mut memory);
    line.finish_and_clear();
    memory.iter_mut().for_each(Block::zeroize);
    Ok(result)
}

/// Whether it can be typed at the login, on any keyboard there and over a serial port, and is not too short.
///
/// # Errors
/// A sentence that does not repeat it.
pub fn check_pass_phrase(text: &str) -> Result<(), String> {
    check_typable(text)?;
    if text.len() < MIN_PASS_PHRASE_BYTES {
        return Err(format!(
            "a pass phrase has at least {MIN_PASS_PHRASE_BYTES} characters, better five words or more"
        ));
    }
    Ok(())
}

/// Whether it can be typed at the login, on any keyboard there and over a serial port.
///
/// # Errors
/// A sentence that does not repeat it.
pub fn check_typable(text: &str) -> Result<(), String> {
    let len = text.len();
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("a pass phrase has printable ASCII characters only, so that it can be typed at the login".into());
    }
    if len > MAX_PASS_PHRASE_BYTES {
        return Err(format!("a pass phrase has at most {MAX_PASS_PHRASE_BYTES} characters, not {len}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_phrases_can_be_typed_and_are_not_short() {
        let long = "x".repeat(MAX_PASS_PHRASE_BYTES + 1);
        for (text, good) in [("correct horse", true), ("x234567", false), ("x2345678", true), (&long[1..], true)] {
            assert_eq!(check_pass_phrase(text).is_ok(), good, "{text}");
        }
        for text in ["", "grüß dich!", "tab\tbetween", &long] {
            assert!(check_pass_phrase(text).is_err_and(|why| text.is_empty() || !why.contains(text)), "{text}");
        }
    }

    #[test]
    fn random_numbers_differ() {
        assert!(random::<32>().unwrap() != random::<32>().unwrap());
    }
}
