//! Hypercalls by name from a kernel: buffers across pages, in no page, in memory of Shoji's, at addresses that are none.

use super::shoji;
use crate::machine::code;
use crate::machine::cpu;
use crate::machine::exceptions::{Fault, GP, PF, UD};
use crate::machine::hypercall::{Buffer, hypercall};
use crate::machine::memory::{BUFFER_BYTES, Map, Remapped, buffer, buffer_address, vmm_range};
use abi::hypercall::{Error, FIRST_NAMED, LOOKUP, MAX_ANSWER_BYTES, MAX_PARAMETER_BYTES, VERSION, VERSION_1, name};
use abi::log::HEADER_BYTES;

const NONE: Buffer = (0, 0);
/// Buffers: parameters, answers, and the page that lies elsewhere.
const IN: usize = 0;
const OUT: usize = 1;
const ELSEWHERE: usize = 4;
/// Behind them in linear addresses.
const PAGE: u64 = (32 >> 1) + OUT as u64 + 1;
/// A request for all records of the log: a postcard of `abi::log::Request`.
const ALL_RECORDS: [u8; 3] = [0, 0, 3];
const RANDOM_CALLS: u64 = 3000;

pub fn run() {
    if !shoji() {
        check_eq!(hypercall(VERSION, NONE, NONE).map_err(|f| f.vector), Err(UD), "a hypercall on the bare machine");
        return;
    }
    check_eq!(hypercall(VERSION, NONE, NONE).ok(), Some(VERSION_1), "the version");
    let [status, log, shell] = [name::STATUS, name::LOG, name::SHELL].map(look_up);
    check!(status.min(log).min(shell) >= FIRST_NAMED, "numbers {status} {log} {shell}");
    for (wrong, name) in [("nothing", "nothing"), ("an empty name", ""), ("a longer name", "statuses")] {
        check_eq!(ask_number(name), Ok(Error::Unknown.code()), "the number of {wrong}");
    }
    across_pages(status, log);
    refused(status, log);
    from_user_code();
    random(log);
    check_eq!(look_up(name::STATUS), status, "the number of the status in the end");
}

fn look_up(name: &str) -> u64 {
    match ask_number(name).map(Error::result) {
        Ok(Ok(number)) => number,
        other => crate::report::fail(format_args!("the call `{name}` is not found: {other:x?}")),
    }
}

fn ask_number(name: &str) -> Result<u64, Fault> {
    hypercall(LOOKUP, parameters(name.as_bytes()), NONE)
}

fn parameters(bytes: &[u8]) -> Buffer {
    buffer(IN)[..bytes.len()].copy_from_slice(bytes);
    (buffer_address(IN), bytes.len() as u64)
}

/// The answer goes to where its linear addresses lead, whatever lies behind them in physical memory.
fn across_pages(status: u64, log: u64) {
    let _elsewhere = Remapped::new(PAGE, Some(buffer_address(ELSEWHERE)));
    for bytes in [1, 10, 20] {
        buffer(OUT).fill(0);
        buffer(OUT + 1).fill(0xaa);
        buffer(ELSEWHERE)[..MAX_ANSWER_BYTES].fill(0);
        let at = buffer_address(OUT) + BUFFER_BYTES as u64 - bytes;
        let whole = hypercall(log, parameters(&ALL_RECORDS), (buffer_address(OUT), MAX_ANSWER_BYTES as u64));
        let Ok(Ok(whole)) = whole.map(Error::result) else {
            crate::report::fail(format_args!("the log gives {whole:x?}"))
        };
        check!(whole > HEADER_BYTES as u64, "the log is {whole} bytes long");
        let said = &buffer(OUT)[HEADER_BYTES..whole as usize];
        check!(said.windows(16).any(|text| text == b"the guest starts"), "the log tells nothing of the guest's start");
        let len = match hypercall(status, NONE, (at, MAX_ANSWER_BYTES as u64)).map(Error::result) {
            Ok(Ok(len)) => len,
            other => crate::report::fail(format_args!("the status across pages: {other:x?}")),
        };
        check!(len > bytes && len <= MAX_ANSWER_BYTES as u64, "the status is {len} bytes long");
        // The version's length, its text.
        let start = &buffer(OUT)[BUFFER_BYTES - bytes as usize..];
        check!((3..20).contains(&start[0]), "the version is {} bytes long", start[0]);
        check!(buffer(ELSEWHERE)[..(len - bytes) as usize].iter().any(|byte| *byte != 0), "nothing in the other page");
        check!(buffer(ELSEWHERE)[(len - bytes) as usize..MAX_ANSWER_BYTES].iter().all(|byte| *byte == 0), "too much");
    }
}

fn refused(status: u64, log: u64) {
    let request = parameters(&ALL_RECORDS);
    let out = (buffer_address(OUT), MAX_ANSWER_BYTES as u64);
    {
        let _nowhere = Remapped::new(PAGE, None);
        let missing = PAGE << 21;
        for (what, parameters, answer, error) in [
            ("parameters in no page", (missing, 3), out, 0),
            ("parameters that reach into none", (missing - 1, 3), out, 0),
            ("an answer into none", request, (missing + 5, 1), 2),
            ("an answer that reaches into none", request, (missing - 4096, 4097), 2),
        ] {
            let fault = hypercall(log, parameters, answer).map_err(|f| (f.vector, f.error));
            check_eq!(fault, Err((PF, error)), "{what}");
            let at = hypercall(log, parameters, answer).map_err(|f| f.cr2.wrapping_sub(missing));
            check!(matches!(at, Err(0 | 5)), "{what}: at {at:x?}");
        }
    }
    for (what, parameters, answer) in [
        ("parameters at an address that is none", (1 << 63, 3), out),
        ("an answer to one", request, (0x8000_0000_0000, 1)),
        ("an answer up to one", request, (0x7fff_ffff_ffff, 2)),
        ("an answer beyond all of them", request, (u64::MAX, 2)),
    ] {
        check_eq!(hypercall(log, parameters, answer).map_err(|f| f.vector), Err(GP), "{what}");
    }
    let Some(vmm) = vmm_range(&Map::from_bios()) else { crate::report::fail(format_args!("no memory of Shoji's")) };
    for (what, number, parameters, answer, error) in [
        ("parameters in Shoji's memory", log, (vmm.start, 3), out, Error::NoRam),
        ("an answer into it", log, request, (vmm.start + 0x1000, 100), Error::NoRam),
        ("an answer that reaches into it", status, NONE, (vmm.start - 4096, 8192), Error::NoRam),
        ("too many parameters", log, (request.0, MAX_PARAMETER_BYTES as u64 + 1), out, Error::TooLong),
        ("parameters without sense", log, (buffer_address(ELSEWHERE), 64), out, Error::Parameters),
        ("parameters where none are wanted", status, request, out, Error::Parameters),
        ("a small buffer", status, NONE, (out.0, 3), Error::BufferTooSmall),
        ("no buffer", log, request, NONE, Error::BufferTooSmall),
        ("a number behind the last", FIRST_NAMED + 100, NONE, out, Error::Unknown),
        ("a number before the first", FIRST_NAMED - 1, NONE, out, Error::Unknown),
    ] {
        buffer(ELSEWHERE)[..64].fill(0xff);
        check_eq!(hypercall(number, parameters, answer).ok(), Some(error.code()), "{what}");
    }
}

/// A program may make them too, as the configuration says.
fn from_user_code() {
    let [low, high, ..] = VERSION.to_le_bytes();
    let last = if cpu::is_intel() { 0xc1 } else { 0xd9 };
    let ended = code::run_user(&[0xb8, low, high, 0, 0, 0x0f, 0x01, last]);
    check_eq!((ended.fault.vector, ended.distance), (UD, 8), "at CPL 3 the call is answered, and UD2 comes behind it");
}

/// Registers full of chance: an answer, or an exception of the instruction's own; nobody else's memory changes.
fn random(log: u64) {
    let guard = &mut buffer(ELSEWHERE + 1)[..0x1_0000];
    guard.fill(0x3c);
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut answered, mut raised) = (0, 0);
    for _ in 0..RANDOM_CALLS {
        let mut address = |to| match next() % 4 {
            0 => next(),
            1 => next() % (6 << 30),
            2 => buffer_address(to) + next() % BUFFER_BYTES as u64 / 2,
            _ => buffer_address(to),
        };
        // Only where nothing else lies is the answer welcome.
        let (from, to) = (address(IN), buffer_address(OUT) + address(OUT) % (BUFFER_BYTES as u64 / 2));
        let [from_bytes, to_bytes] = [next(), next()].map(|value| value >> (value % 64));
        let number = [LOOKUP, log - 1, log, log + 1, next() % 0x200][(next() % 5) as usize];
        // The debug hypercalls are not allowed here: numbers below are unknown.
        match hypercall(number, (from, from_bytes), (to, to_bytes % (1 << 19))) {
            Ok(rax) => {
                check!(rax as i64 >= -6 && (rax as i64) < 1 << 62, "RAX is {rax:#x}");
                answered += 1;
            }
            Err(Fault { vector: PF | GP, .. }) => raised += 1,
            Err(fault) => crate::report::fail(format_args!("call {number:#x}: {fault:x?}")),
        }
    }
    say!("{answered} random calls were answered, {raised} raised an exception");
    check!(answered > 50 && raised > 50, "chance is on one side");
    check!(guard.iter().all(|&byte| byte == 0x3c), "memory that nobody named has changed");
}
