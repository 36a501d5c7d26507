//! `shell`: a line in, a text out, for those who know the key.

use abi::hypercall::{Error, name};
use abi::shell::{Answer, Request};
use alloc::string::String;
use alloc::vec::Vec;
use dbgsh::{Server, SharedKey, Step};
use exit::{Call, Caller, register};
use initfunc::initfunc;
use message::Lease;
use spin::Once;
use zeroize::Zeroizing;

static SHELL: Call = Call { name: name::SHELL, handler: answer };
static SERVER: Once<Server> = Once::new();

/// What an answer is longer than its text by.
const FRAME_BYTES: usize = 16;

/// From now on whoever knows the key gets answers. False: it is too short.
pub fn open(key: &config::ShellKey) -> bool {
    let key = SharedKey::new(Zeroizing::new(key.0.clone()));
    key.map(|key| SERVER.call_once(|| Server::new(key, hw::random::boot_nonce()))).is_some()
}

fn answer(caller: &Caller<'_>, request: &[u8], room: &mut [u8]) -> Result<usize, Error> {
    let server = SERVER.get().ok_or(Error::Unavailable)?;
    let request: Request<'_> = postcard::from_bytes(request).map_err(|_| Error::Parameters)?;
    let answer = match server.handle(caller.now.0, request) {
        Step::Answer(answer) => answer,
        Step::Run(line) => run(line, room.len().saturating_sub(FRAME_BYTES))?,
    };
    postcard::to_slice(&answer, room).map(|written| written.len()).map_err(|_| Error::BufferTooSmall)
}

/// Carries out a line by the program that does it; its text is at most so many bytes long.
fn run(line: &str, most_bytes: usize) -> Result<Answer, Error> {
    const RUN: u64 = 1;
    let mut text = Vec::new();
    text.try_reserve_exact(most_bytes).map_err(|_| Error::Unavailable)?;
    text.resize(most_bytes, 0);
    let shell = message::open("shell").map_err(|_| Error::Unavailable)?;
    let len = shell.call(RUN, &mut [Lease::Read(line.as_bytes()), Lease::Write(&mut text)]);
    let len = len.map_err(|_| Error::Unavailable)? as usize;
    let cut = len >= text.len();
    text.truncate(len);
    let text = String::from_utf8(text).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
    Ok(Answer::Text { cut, text })
}

fn init() -> Result<(), &'static str> {
    register(&SHELL)
}
initfunc!("vmmcall0", init);
