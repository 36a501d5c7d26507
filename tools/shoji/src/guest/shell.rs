//! `shoji sh`: the shell in the VMM.

use super::{Vmm, encode};
use abi::hypercall::{Error, name};
use abi::shell::{Answer, CLIENT_BYTES, Request};
use dbgsh::{Client, Hello, SharedKey};

/// An open session.
pub struct Session(Client);

/// Why there is none, or none any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShellError {
    Shoji(Error),
    /// After wrong keys: not before so many milliseconds have passed.
    Wait(u64),
    WrongKey,
    /// It was not used for long, or others took its place.
    Ended,
}

impl std::fmt::Display for ShellError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shoji(error) => write!(f, "{error}"),
            Self::Wait(ms) => {
                let seconds = ms.div_ceil(1000);
                write!(f, "somebody has tried a wrong key; Shoji wants no other for {seconds} s, then try again")
            }
            Self::WrongKey => f.write_str("this is not the key of [dbgsh] in Shoji's configuration"),
            Self::Ended => f.write_str("the session has ended; begin another one"),
        }
    }
}

impl std::error::Error for ShellError {}

impl From<Error> for ShellError {
    fn from(error: Error) -> Self {
        Self::Shoji(error)
    }
}

fn ask(vmm: &impl Vmm, request: &Request<'_>) -> Result<Answer, ShellError> {
    let answer = vmm.call(name::SHELL, &encode(request))?;
    match postcard::from_bytes(&answer) {
        Ok(Answer::Wait { ms }) => Err(ShellError::Wait(ms)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(Error::Unavailable.into()),
    }
}

impl Session {
    /// Proves that the key is known. `client`: random bytes of the operating system.
    ///
    /// # Errors
    /// It is not the right one; or not now.
    pub fn open(vmm: &impl Vmm, key: &SharedKey, client: [u8; CLIENT_BYTES]) -> Result<Self, ShellError> {
        let hello = Hello::new(client);
        let Answer::Challenge { time_ns, challenge } = ask(vmm, &hello.request())? else {
            return Err(Error::Unavailable.into());
        };
        let (request, proven) = hello.prove(key, time_ns, challenge);
        match ask(vmm, &request)? {
            Answer::Open { session } => Ok(Self(proven.open(session))),
            Answer::Refused => Err(ShellError::WrongKey),
            _ => Err(ShellError::Ended),
        }
    }

    /// Carries out a line; gives its text.
    ///
    /// # Errors
    /// The session has ended, or Shoji cannot answer.
    pub fn line(&mut self, vmm: &impl Vmm, line: &str) -> Result<String, ShellError> {
        match ask(vmm, &self.0.line(line))? {
            Answer::Text { text, cut } => {
                let mut shown: String = text.lines().map(|line| super::escaped(line) + "\n").collect();
                if cut {
                    shown.push_str("[...]\n");
                }
                Ok(shown)
            }
            _ => Err(ShellError::Ended),
        }
    }
}
