//! `shell`: a line in, a text out, for those who know the key.

use abi::hypercall::{Error, name};
use abi::shell::{Answer, Request};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use dbgsh::{Server, SharedKey, Step};
use exit::{Call, Caller, register};
use initfunc::initfunc;
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
        Step::Run(line) => run(caller, line, room.len().saturating_sub(FRAME_BYTES))?,
    };
    postcard::to_slice(&answer, room).map(|written| written.len()).map_err(|_| Error::BufferTooSmall)
}

/// Carries out a line; its text is at most so many bytes long.
fn run(caller: &Caller<'_>, line: &str, most_bytes: usize) -> Result<Answer, Error> {
    let mut text = Bounded::new(most_bytes).ok_or(Error::Unavailable)?;
    // What has no room is left out.
    let _ = builtin(caller, line, &mut text);
    Ok(Answer::Text { cut: text.cut, text: String::from_utf8(text.bytes).unwrap_or_default() })
}

/// Texts of ring 0.
fn builtin(caller: &Caller<'_>, line: &str, out: &mut Bounded) -> fmt::Result {
    match line.trim() {
        "" => Ok(()),
        "help" => writeln!(out, "exits\nheap\nhelp\nlog"),
        "heap" => {
            let (used, all) = (crate::boot::HEAP.used_bytes(), hw::heap::HEAP_BYTES);
            writeln!(out, "{used} of {all} bytes")
        }
        "exits" => caller.guest.counters().iter().try_for_each(|(cpu, counters)| {
            let named = exit::ExitKind::NAMES.into_iter().zip(counters.all()).filter(|(_, count)| *count > 0);
            named.into_iter().try_for_each(|(name, count)| writeln!(out, "CPU {cpu}: {name}: {count}"))
        }),
        "log" => {
            hw::logger::logs().read(0, logs::Level::Debug, |record| writeln!(out, "{record}").is_ok());
            Ok(())
        }
        other => writeln!(out, "no command `{}`; see `help`", logs::Text::of(format_args!("{other}")).as_str()),
    }
}

/// A text that takes no more memory than it was given.
struct Bounded {
    bytes: Vec<u8>,
    cut: bool,
}

impl Bounded {
    fn new(most_bytes: usize) -> Option<Self> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(most_bytes).ok()?;
        Some(Self { bytes, cut: false })
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut || text.len() > self.bytes.capacity() - self.bytes.len() {
            self.cut = true;
            return Err(fmt::Error);
        }
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn init() -> Result<(), &'static str> {
    register(&SHELL)
}
initfunc!("vmmcall0", init);
