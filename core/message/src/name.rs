//! Names of services.

use crate::Error;
use core::fmt;

/// At most 16 letters, digits and `-_.`, at least one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    bytes: [u8; Self::MAX_BYTES],
    len: u8,
}

impl Name {
    pub const MAX_BYTES: usize = 16;

    /// # Errors
    /// [`Error::BadArgument`].
    pub fn new(text: &[u8]) -> Result<Self, Error> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let mut bytes = [0; Self::MAX_BYTES];
        let place = bytes.get_mut(..text.len()).filter(|place| !place.is_empty()).ok_or(Error::BadArgument)?;
        if !text.iter().all(allowed) {
            return Err(Error::BadArgument);
        }
        place.copy_from_slice(text);
        Ok(Self { bytes, len: text.len() as u8 })
    }

    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
