//! `shell`: a line in, a text out, for those who know the key.

use abi::hypercall::{Error, name};
use abi::shell::{Answer, RUN_LINE, Request};
use alloc::format;
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
    key.map(|key| SERVER.call_once(|| Server::new(key))).is_some()
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

/// Has the program `shell` carry out a line; its text is at most so many bytes long. That the program fails is a text too: whoever
/// asks is there to find out why.
fn run(line: &str, most_bytes: usize) -> Result<Answer, Error> {
    let mut text = Vec::new();
    text.try_reserve_exact(most_bytes).map_err(|_| Error::Unavailable)?;
    text.resize(most_bytes, 0);
    let mut leases = [Lease::Read(line.as_bytes()), Lease::Write(&mut text)];
    let answer = match message::open("shell").and_then(|shell| shell.call(RUN_LINE, &mut leases)) {
        Ok(len_bytes) => {
            text.truncate(usize::try_from(len_bytes).unwrap_or(usize::MAX));
            Answer::Text { cut: text.len() == most_bytes, text: text_of(text) }
        }
        Err(error) => Answer::Text { text: format!("the shell does not answer: {error}\n"), cut: false },
    };
    Ok(answer)
}

/// What is no UTF-8, which the program owes, is left out.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let mut bytes = error.into_bytes();
        bytes.truncate(valid);
        String::from_utf8(bytes).unwrap_or_default()
    })
}

fn init() -> Result<(), &'static str> {
    register(&SHELL)
}
initfunc!("vmmcall0", init);
