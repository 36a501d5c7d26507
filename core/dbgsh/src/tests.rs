//! Both sides, and those who do not know the key.

use crate::{Client, Hello, Server, SharedKey, Step};
use abi::shell::{Answer, CHALLENGE_NS, MAX_LINE_BYTES, Request};
use std::string::String;
use std::vec;
use zeroize::Zeroizing;

const SECOND: u64 = 1_000_000_000;

fn key(byte: u8) -> SharedKey {
    SharedKey::new(Zeroizing::new(vec![byte; 32])).unwrap()
}

fn server() -> Server {
    started(3)
}

/// A start of the VMM of its own.
fn started(boot: u8) -> Server {
    Server::new(key(1), [boot; 40])
}

/// Challenge and proof of a client with this key.
fn prove(server: &Server, with: &SharedKey, client: u8, now_ns: u64) -> Result<(Request<'static>, Proof), Answer> {
    let hello = Hello::new([client; 32]);
    match server.handle(now_ns, hello.request()) {
        Step::Answer(Answer::Challenge { time_ns, challenge }) => Ok(hello.prove(with, time_ns, challenge)),
        Step::Answer(answer) => Err(answer),
        Step::Run(line) => panic!("{line}"),
    }
}

type Proof = crate::client::Proven;

fn open(server: &Server, now_ns: u64) -> Result<Client, Answer> {
    let (request, proven) = prove(server, &key(1), 7, now_ns)?;
    match server.handle(now_ns, request) {
        Step::Answer(Answer::Open { session }) => Ok(proven.open(session)),
        Step::Answer(answer) => Err(answer),
        Step::Run(line) => panic!("{line}"),
    }
}

/// A client with the wrong key tries.
fn try_wrong(server: &Server, now_ns: u64) -> Answer {
    let (request, _) = match prove(server, &key(2), 8, now_ns) {
        Ok(proof) => proof,
        Err(answer) => return answer,
    };
    match server.handle(now_ns, request) {
        Step::Answer(answer) => answer,
        Step::Run(line) => panic!("{line}"),
    }
}

#[test]
fn who_knows_the_key_gets_its_lines_through() {
    let server = server();
    let mut client = open(&server, SECOND).unwrap();
    for line in ["help", "", "a b c"] {
        assert_eq!(server.handle(2 * SECOND, client.line(line)), Step::Run(line));
    }
    let long = "x".repeat(MAX_LINE_BYTES + 1);
    assert_eq!(server.handle(2 * SECOND, client.line(&long[1..])), Step::Run(&long[1..]));
    assert_eq!(server.handle(2 * SECOND, client.line(&long)), Step::Answer(Answer::Refused));
}

#[test]
fn who_does_not_know_it_gets_nothing() {
    let server = server();
    assert_eq!(try_wrong(&server, SECOND), Answer::Refused);
    let request = Request::Line { session: 1, count: 1, mac: [0; 32], line: "help" };
    assert_eq!(server.handle(SECOND, request), Step::Answer(Answer::Refused));
    assert!(SharedKey::new(Zeroizing::new(vec![1; 31])).is_none(), "a short key");
}

#[test]
fn each_wrong_proof_doubles_the_pause_for_everybody() {
    let server = server();
    let mut now = SECOND;
    for pause in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
        assert_eq!(try_wrong(&server, now), Answer::Refused, "{pause}");
        // New sessions, and those who know the key, wait as well.
        for later in [0, SECOND / 2, pause * SECOND - 1] {
            assert!(matches!(try_wrong(&server, now + later), Answer::Wait { .. }));
            assert!(matches!(open(&server, now + later), Err(Answer::Wait { .. })));
        }
        assert_eq!(open(&server, now).err(), Some(Answer::Wait { ms: pause * 1000 }));
        now += pause * SECOND;
    }
    assert!(open(&server, now).is_ok());
    assert_eq!(try_wrong(&server, now + 1), Answer::Refused);
    assert_eq!(open(&server, now + 1).err(), Some(Answer::Wait { ms: 1000 }), "a right proof has ended the series");
}

#[test]
fn challenges_in_stock_are_no_way_round_the_pause() {
    let server = server();
    let stock: vec::Vec<_> = (0..10).map(|n| prove(&server, &key(2), n, SECOND + u64::from(n)).unwrap().0).collect();
    let mut refused = 0;
    for request in stock {
        match server.handle(2 * SECOND, request) {
            Step::Answer(Answer::Refused) => refused += 1,
            Step::Answer(Answer::Wait { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 1);
}

#[test]
fn a_proof_opens_one_session() {
    let server = server();
    let (request, _) = prove(&server, &key(1), 7, SECOND).unwrap();
    assert!(matches!(server.handle(SECOND, request), Step::Answer(Answer::Open { .. })));
    assert_eq!(server.handle(SECOND, request), Step::Answer(Answer::Expired), "replayed");
}

#[test]
fn what_was_heard_before_a_reset_opens_nothing_after_it() {
    let (before, after) = (started(3), started(4));
    let (request, proven) = prove(&before, &key(1), 7, SECOND).unwrap();
    let Step::Answer(Answer::Open { session }) = before.handle(SECOND, request) else { panic!() };
    let line = proven.open(session).line("help");
    assert_eq!(before.handle(SECOND, line), Step::Run("help"));
    // The same bytes at the same times of the next start.
    assert_eq!(after.handle(SECOND, request), Step::Answer(Answer::Refused));
    assert_eq!(after.handle(SECOND, line), Step::Answer(Answer::Refused));
}

#[test]
fn a_challenge_gets_old_and_cannot_be_made_up() {
    let server = server();
    let (request, _) = prove(&server, &key(1), 7, SECOND).unwrap();
    assert_eq!(server.handle(SECOND + CHALLENGE_NS + 1, request), Step::Answer(Answer::Expired));
    let Request::Prove { client, proof, .. } = request else { panic!() };
    for time_ns in [2 * SECOND, SECOND - 1] {
        let request = Request::Prove { client, time_ns, proof };
        let answer = server.handle(CHALLENGE_NS, request);
        assert_ne!(answer, Step::Answer(Answer::Open { session: 1 }), "{time_ns}");
    }
    let future = Request::Prove { client, time_ns: u64::MAX, proof };
    assert_eq!(self::server().handle(SECOND, future), Step::Answer(Answer::Expired));
}

#[test]
fn lines_are_their_sessions_own() {
    let server = server();
    let mut client = open(&server, SECOND).unwrap();
    let request = client.line("help");
    assert_eq!(server.handle(SECOND, request), Step::Run("help"));
    assert_eq!(server.handle(SECOND, request), Step::Answer(Answer::Refused), "the same once more");
    let Request::Line { session, count, mac, line } = client.line("ps") else { panic!() };
    for forged in [
        Request::Line { session, count, mac, line: "px" },
        Request::Line { session, count: count + 1, mac, line },
        Request::Line { session: session + 1, count, mac, line },
        Request::Line { session, count, mac: [0; 32], line },
    ] {
        assert_eq!(server.handle(SECOND, forged), Step::Answer(Answer::Refused), "{forged:?}");
    }
    assert_eq!(
        server.handle(SECOND, Request::Line { session, count, mac, line }),
        Step::Run("ps"),
        "its owner goes on"
    );
    assert!(matches!(open(&server, SECOND + 1), Err(Answer::Wait { .. })), "forged lines are counted as wrong proofs");
}

#[test]
fn of_wrong_lines_in_a_row_one_a_pause_is_logged_and_counted() {
    log::set_logger(&Count).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let server = server();
    let mut client = open(&server, SECOND).unwrap();
    let Request::Line { session, count, line, .. } = client.line("ps") else { panic!() };
    let forged = Request::Line { session, count, mac: [0; 32], line };
    // The pauses begin at 1, 2 and 4 seconds.
    for at in (SECOND..5 * SECOND).step_by(SECOND as usize / 8) {
        assert_eq!(server.handle(at, forged), Step::Answer(Answer::Refused));
    }
    assert_eq!(WARNINGS.get(), 3);
    assert_eq!(open(&server, 5 * SECOND).err(), Some(Answer::Wait { ms: 3000 }));
    assert_eq!(server.handle(5 * SECOND, client.line("ps")), Step::Run("ps"), "its owner has no pause");
}

std::thread_local! {
    static WARNINGS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// Counts the lines of a test, which is a thread.
struct Count;

impl log::Log for Count {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        WARNINGS.set(WARNINGS.get() + 1);
    }

    fn flush(&self) {}
}

#[test]
fn sessions_end_when_nobody_uses_them_or_newer_ones_come() {
    let server = server();
    let mut clients: vec::Vec<_> = (1..=4).map(|n| open(&server, n * SECOND).unwrap()).collect();
    assert_eq!(server.handle(10 * SECOND, clients[0].line("first")), Step::Run("first"));
    let mut fifth = open(&server, 11 * SECOND).unwrap();
    assert_eq!(server.handle(12 * SECOND, clients[1].line("x")), Step::Answer(Answer::Refused), "its place was taken");
    for client in [&mut clients[0], &mut fifth] {
        assert_eq!(server.handle(13 * SECOND, client.line("x")), Step::Run("x"));
    }
    assert_eq!(server.handle(13 * SECOND + 16 * 60 * SECOND, fifth.line("x")), Step::Answer(Answer::Refused));
}

#[test]
fn codes_are_those_that_another_implementation_computes() {
    // By Python's hmac (OpenSSL): the labels of `abi::shell`, client 07.., time 1 s, nonce 03...
    let server = server();
    let hello = Hello::new([7; 32]);
    let Step::Answer(Answer::Challenge { time_ns, challenge }) = server.handle(SECOND, hello.request()) else {
        panic!()
    };
    assert_eq!(hex(&challenge), CHALLENGE);
    let (Request::Prove { proof, .. }, proven) = hello.prove(&key(1), time_ns, challenge) else { panic!() };
    assert_eq!(hex(&proof), PROOF);
    let mut client = proven.open(1);
    let Request::Line { mac, .. } = client.line("help") else { panic!() };
    assert_eq!(hex(&mac), LINE);
}

const CHALLENGE: &str = "06687cea5cd06ae4a8b5f59aae3eff39457c721b342bff39bd1a9cf92600ee70";
const PROOF: &str = "d721a1a11da967bf0dc48f5f6126d895cac74de83a5299aa4dde6d6598c3c99c";
const LINE: &str = "21f0b0dbdba0afc7e33820f28a4af273b2f476aae734915a887efda284006e99";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
}
