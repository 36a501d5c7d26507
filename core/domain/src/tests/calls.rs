use super::machine::{FakeMachine, MAY_RUN, Next, Script, Step, data, elf, server};
use crate::{Cause, Domains, Program, Space, Start, State};
use abi::call;
use message::{Error, Lease, NoLeases};
use std::boxed::Box;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::vec;

/// Scripts by entry.
const ECHO: u64 = 0x20_0000;
const CALLER: u64 = 0x20_0010;
const LOOP: u64 = 0x20_0020;
const COLLECTOR: u64 = 0x20_0030;
const LATE: u64 = 0x20_0090;
/// Each calls the next one.
const CHAIN: [(&str, u64); 5] =
    [("first", 0x20_0040), ("second", 0x20_0050), ("third", 0x20_0060), ("fourth", 0x20_0070), ("fifth", 0x20_0080)];

fn programs() -> &'static [Program] {
    let of = |name, entry, services| Program { name, elf: elf(entry), services, ..Program::USUAL };
    let mut programs = vec![
        of("echo", ECHO, &["echo"]),
        of("caller", CALLER, &["caller"]),
        of("loop", LOOP, &["loop"]),
        of("collector", COLLECTOR, &["collector"]),
        of("late", LATE, &["late"]),
    ];
    programs.extend(CHAIN.iter().map(|(name, entry)| of(name, *entry, std::slice::from_ref(name))));
    programs.leak()
}

fn scripts(entry: u64) -> Script {
    match entry {
        ECHO => server("echo", echo()),
        CALLER => server("caller", caller("echo")),
        LOOP => server("loop", caller("loop")),
        COLLECTOR => server("collector", |op, _| Next::Reply(0, op)),
        LATE => server("late", |op, _| Next::Reply(0, op)),
        _ => match CHAIN.iter().position(|(_, of)| *of == entry) {
            Some(4) => server(CHAIN[4].0, |op, _| Next::Reply(0, op)),
            Some(at) => server(CHAIN[at].0, caller(CHAIN[at + 1].0)),
            None => unreachable!("no such script"),
        },
    }
}

/// Copies the first lease to the second, upside down; else gives the operation.
fn echo() -> impl FnMut(u64, &mut super::machine::FakeSpace) -> Next + Send {
    let mut step = 0;
    move |op, space| {
        step += 1;
        let at = data(space);
        match step {
            1 if op == 5 => Next::Do(Step::Call(call::LEASE_READ, [0, 1, at, 100])),
            2 => {
                let mut bytes = [0; 4];
                assert_eq!(op, 4, "as many bytes as there are");
                space.read(at, &mut bytes).unwrap();
                bytes.reverse();
                space.write(at, &bytes).unwrap();
                Next::Do(Step::Call(call::LEASE_WRITE, [1, 0, at, 4]))
            }
            3 => {
                step = 0;
                Next::Reply(0, op)
            }
            _ => {
                step = 0;
                Next::Reply(0, op)
            }
        }
    }
}

/// Opens a service, calls it with the operation that it got, and gives what came.
fn caller(whom: &'static str) -> impl FnMut(u64, &mut super::machine::FakeSpace) -> Next + Send {
    let (mut step, mut asked) = (0, 0);
    move |value, space| {
        step += 1;
        let at = data(space);
        match step {
            1 => {
                asked = value;
                space.write(at, whom.as_bytes()).unwrap();
                Next::Do(Step::Call(call::OPEN, [at, whom.len() as u64, 0, 0]))
            }
            2 if value >> 32 != 0 => {
                step = 0;
                Next::Reply(value >> 32, 0)
            }
            2 => Next::Do(Step::Call(call::CALL, [value, asked, 0, 0])),
            3 => {
                step = 3;
                let (status, answer) = (value >> 32, value & 0xffff_ffff);
                asked = status << 32 | answer;
                Next::Do(Step::Call(call::CLOSE, [0; 4]))
            }
            _ => {
                step = 0;
                Next::Reply(asked >> 32, asked & 0xffff_ffff)
            }
        }
    }
}

/// One set for the process: services have names, and tests run side by side.
fn domains() -> &'static Domains<FakeMachine> {
    static DOMAINS: std::sync::OnceLock<&'static Domains<FakeMachine>> = std::sync::OnceLock::new();
    DOMAINS.get_or_init(|| {
        let machine = FakeMachine { scripts, failures: AtomicU64::new(0) };
        let domains: &'static _ = Box::leak(Box::new(Domains::new(machine, programs(), 1)));
        message::set_starter(|name| match super::budgets::domains_of(name.as_str()) {
            Some(others) => others.provide(name),
            None => self::domains().provide(name),
        });
        domains
    })
}

/// Tests of one CPU, one after another.
pub static CPU: std::sync::Mutex<()> = std::sync::Mutex::new(());

pub fn install() {
    domains();
}

#[test]
fn opening_a_service_starts_its_program_and_a_call_is_answered() {
    let _cpu = CPU.lock();
    let domains = domains();
    let echo = message::open("echo").unwrap();
    assert_eq!(echo.call(7, &mut NoLeases), Ok(7));
    let status = domains.list().unwrap().into_iter().find(|status| status.name == "echo").unwrap();
    assert_eq!((status.state, status.starts, status.pages), (State::Runs, 1, 2 + 8));
    assert_eq!(domains.start("echo"), Err(Error::Busy), "there is one of each");
}

#[test]
fn buffers_are_copied_as_far_as_they_go() {
    let _cpu = CPU.lock();
    domains();
    let mut back = [9; 6];
    let echo = message::open("echo").unwrap();
    let answer = echo.call(5, &mut [Lease::Read(&[0, 1, 2, 3, 4]), Lease::Write(&mut back)]);
    assert_eq!((answer, back), (Ok(4), [4, 3, 2, 1, 9, 9]));
}

#[test]
fn a_program_calls_another_and_never_itself() {
    let _cpu = CPU.lock();
    domains();
    assert_eq!(message::open("caller").unwrap().call(9, &mut NoLeases), Ok(9));
    assert_eq!(message::open("loop").unwrap().call(9, &mut NoLeases), Err(Error::Busy));
    assert_eq!(message::open("caller").unwrap().call(10, &mut NoLeases), Ok(10), "and goes on");
}

#[test]
fn where_the_cpu_can_run_no_program_none_is_harmed() {
    let _cpu = CPU.lock();
    let domains = domains();
    let may_run = |may| MAY_RUN.store(may, SeqCst);
    may_run(false);
    assert_eq!(domains.start("late"), Err(Error::NotNow));
    may_run(true);
    let late = message::open("late").unwrap();
    may_run(false);
    let refused = late.call(7, &mut NoLeases);
    may_run(true);
    assert_eq!([refused, late.call(7, &mut NoLeases)], [Err(Error::NotNow), Ok(7)]);
    let status = domains.list().unwrap().into_iter().find(|status| status.name == "late").unwrap();
    assert_eq!((status.state, status.failures), (State::Runs, 0));
}

#[test]
fn a_program_that_is_first_wanted_too_deep_starts_later() {
    let _cpu = CPU.lock();
    let domains = domains();
    let status = || domains.list().unwrap().into_iter().find(|status| status.name == "fifth").unwrap();
    assert_eq!(message::open("first").unwrap().call(9, &mut NoLeases), Err(Error::TooDeep));
    assert_eq!((status().state, status().starts), (State::Stopped, 0), "it has not run");
    assert_eq!(message::open("second").unwrap().call(9, &mut NoLeases), Ok(9));
    assert_eq!((status().state, status().starts), (State::Runs, 1));
}

#[test]
fn a_program_that_is_ended_is_an_error_of_its_ports() {
    let _cpu = CPU.lock();
    let domains = domains();
    let port = message::open("collector").unwrap();
    let process = || domains.list().unwrap().into_iter().find(|status| status.name == "collector").unwrap().process;
    let first = process().unwrap();
    assert_eq!(domains.end(first), Ok(()));
    assert_eq!(port.call(1, &mut NoLeases), Err(Error::Dead));
    assert_eq!(domains.end(first), Err(Error::NotFound));
    assert_eq!(message::open("collector").unwrap().call(1, &mut NoLeases), Ok(1), "it may be started again at once");
    assert!(process().unwrap() > first);
    let status = domains.list().unwrap().into_iter().find(|status| status.name == "collector").unwrap();
    assert_eq!((status.failures, status.last_end), (0, Some(Cause::Ended)));
    assert_eq!(Program::USUAL.start, Start::OnDemand);
}
