//! Inside a guest: what a program asks of the Shoji that it runs under.

mod cards;
pub mod journal;
pub mod log;
pub mod prometheus;
pub mod shell;
pub mod status;
#[cfg(test)]
mod tests;

use abi::hypercall::Error;
use std::fmt::Write;

/// The hypercalls. Shoji answers them; in tests, a stand-in.
pub trait Vmm {
    /// Makes the call of this name; gives the answer.
    ///
    /// # Errors
    /// As Shoji says.
    fn call(&self, name: &str, parameters: &[u8]) -> Result<Vec<u8>, Error>;
}

impl Vmm for hypercall::Shoji {
    fn call(&self, name: &str, parameters: &[u8]) -> Result<Vec<u8>, Error> {
        hypercall::Shoji::call(self, self.look_up(name)?, parameters)
    }
}

/// Encodes a call's parameters.
fn encode(request: &impl serde::Serialize) -> Vec<u8> {
    // Only a type that cannot be encoded fails, and all of these can.
    postcard::to_allocvec(request).unwrap_or_default()
}

/// The text with nothing in it that a terminal would obey: what is no printable ASCII becomes `\xNN`, a backslash two. The VMM does
/// the same to its log.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for byte in text.bytes() {
        match byte {
            b'\\' => shown.push_str("\\\\"),
            b' '..=b'~' => shown.push(byte.into()),
            _ => {
                let _ = write!(shown, "\\x{byte:02x}");
            }
        }
    }
    shown
}
