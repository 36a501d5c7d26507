use super::calls::{CPU, install};
use super::machine::{FakeMachine, FakeSpace, Next, PAGES, Script, Step, advance, data, elf, now, server};
use crate::{Cause, Domains, Fault, Program, Space, State};
use abi::call::{self, status};
use message::{Error, NoLeases, Port};
use std::boxed::Box;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::vec::Vec;

const FRAGILE: u64 = 0x20_0000;
const STILLBORN: u64 = 0x20_0010;

const MS: u64 = 1_000_000;

fn scripts(entry: u64) -> Script {
    match entry {
        FRAGILE => server("fragile", fragile()),
        STILLBORN => Box::new(|_, _| Step::Call(call::EXIT, [7, 0, 0, 0])),
        _ => unreachable!("no such script"),
    }
}

/// Does what the operation tells.
fn fragile() -> impl FnMut(u64, &mut FakeSpace) -> Next + Send {
    let (mut op, mut own) = (0, None);
    move |value, space| {
        if op == 0 {
            op = value;
        }
        let at = data(space);
        match op {
            1 => Next::Do(Step::Fault(Fault { vector: 14, error: 6, address: 0 })),
            2 => Next::Do(Step::Hang),
            3 => Next::Do(Step::Call(call::LOG, [3, at, 4, 0])),
            4 if value >> 32 == Error::NoMemory.code() => {
                Next::Do(Step::Call(call::EXIT, [status::OUT_OF_MEMORY, 0, 0, 0]))
            }
            4 => Next::Do(Step::Call(call::GROW, [4096, 0, 0, 0])),
            5 => Next::Do(Step::Call(call::EXIT, [0; 4])),
            7 | 8 => match own.take() {
                None => {
                    own = Some(());
                    let name: &[u8] = if op == 7 { b"disk" } else { b"vpn" };
                    space.write(at, name).unwrap();
                    Next::Do(Step::Call(call::OPEN, [at, name.len() as u64, 0, 0]))
                }
                Some(()) => {
                    op = 0;
                    Next::Reply(value >> 32, 0)
                }
            },
            6 => match own.take() {
                None => {
                    own = Some(());
                    space.write(at, b"hello").unwrap();
                    Next::Do(Step::Call(call::NEW_PROCESS, [at, 5, 0, 0]))
                }
                Some(()) => {
                    op = 0;
                    Next::Reply(value >> 32, 0)
                }
            },
            answer => {
                op = 0;
                Next::Reply(0, answer)
            }
        }
    }
}

pub fn domains_of(service: &str) -> Option<&'static Domains<FakeMachine>> {
    ["fragile", "stillborn"].contains(&service).then(domains)
}

fn domains() -> &'static Domains<FakeMachine> {
    static DOMAINS: std::sync::OnceLock<&'static Domains<FakeMachine>> = std::sync::OnceLock::new();
    DOMAINS.get_or_init(|| {
        install();
        let programs: &'static [Program] = Box::leak(Box::new([
            Program { name: "fragile", elf: elf(FRAGILE), services: &["fragile"], ..Program::USUAL },
            Program {
                name: "stillborn",
                elf: elf(STILLBORN),
                services: &["stillborn"],
                restart_ms: None,
                ..Program::USUAL
            },
        ]));
        let machine = FakeMachine { scripts, failures: AtomicU64::new(0) };
        Box::leak(Box::new(Domains::new(machine, programs, 1)))
    })
}

fn open() -> Port {
    domains();
    // Whatever has happened before.
    advance(60_000 * MS);
    message::open("fragile").unwrap()
}

#[test]
fn whatever_is_deadly_ends_the_program_and_gives_its_memory_back() {
    let _cpu = CPU.lock();
    let causes = [
        (1, Cause::Fault(Fault { vector: 14, error: 6, address: 0 })),
        (2, Cause::TimeOut),
        (3, Cause::Flood),
        (4, Cause::Exit(status::OUT_OF_MEMORY)),
    ];
    for (op, cause) in causes {
        let before = domains().list().unwrap()[0];
        let port = open();
        let pages = PAGES.load(SeqCst);
        assert_eq!(port.call(op, &mut NoLeases), Err(Error::Dead), "{cause}");
        assert_eq!(PAGES.load(SeqCst), pages - 10, "{cause}");
        assert_eq!(domains().machine.failures.load(SeqCst), before.failures + 1, "the machine is to start it again");
        let after = domains().list().unwrap()[0];
        assert_eq!((after.failures, after.last_end), (before.failures + 1, Some(cause)));
        assert_eq!(open().call(77, &mut NoLeases), Ok(77), "and it lives again after: {cause}");
    }
}

#[test]
fn a_program_that_fails_again_and_again_waits_twice_as_long_each_time() {
    let _cpu = CPU.lock();
    let mut waits = Vec::new();
    drop(open());
    for _ in 0..4 {
        assert_eq!(message::open("fragile").unwrap().call(1, &mut NoLeases), Err(Error::Dead));
        assert_eq!(message::open("fragile").map(drop), Err(Error::Dead), "it is not started at once");
        let State::Failed { until } = domains().list().unwrap()[0].state else { panic!("it has failed") };
        waits.push((until - now()).div_ceil(MS));
        assert_eq!(domains().restart(), Some(until));
        advance(until - now());
        assert_eq!(domains().restart(), None);
        assert!(matches!(domains().list().unwrap()[0].state, State::Runs));
    }
    assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]), "{waits:?}");

    let restart = domains().list().unwrap()[0].restart_ns.unwrap();
    assert!(restart >= (waits[3] - 1) * MS, "from the failure to the new life: {restart}");
}

#[test]
fn a_program_that_ends_well_is_no_failure() {
    let _cpu = CPU.lock();
    let before = domains().list().unwrap()[0].failures;
    assert_eq!(open().call(5, &mut NoLeases), Err(Error::Dead));
    let after = domains().list().unwrap()[0];
    assert_eq!((after.failures, after.state), (before, State::Stopped));
}

#[test]
fn one_that_ends_before_it_serves_is_no_service() {
    let _cpu = CPU.lock();
    domains();
    assert_eq!(message::open("stillborn").map(drop), Err(Error::Dead));
    assert_eq!(domains().list().unwrap()[1].last_end, Some(Cause::Exit(7)));
    assert_eq!(domains().restart(), None, "the manifest does not want it started anew");
}

#[test]
fn only_a_program_that_manages_may_start_others() {
    let _cpu = CPU.lock();
    assert_eq!(open().call(6, &mut NoLeases), Err(Error::NotAllowed));
}

#[test]
fn only_a_program_whose_manifest_says_so_reaches_the_disks() {
    let _cpu = CPU.lock();
    assert_eq!(open().call(7, &mut NoLeases), Err(Error::NotAllowed));
}

#[test]
fn no_program_reaches_the_tunnels() {
    let _cpu = CPU.lock();
    assert_eq!(open().call(8, &mut NoLeases), Err(Error::NotAllowed));
}

#[test]
fn an_integer_reaches_a_program_that_is_free_at_once() {
    let _cpu = CPU.lock();
    let port = open();
    assert_eq!(port.send_int(5), Ok(()), "it is free, and gets it at once");
    assert_eq!(port.send_int(5), Err(Error::Dead), "5 is its end");
}
