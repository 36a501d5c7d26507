//! The commands against a stand-in for Shoji that answers as the VMM does.

use super::log::{Lines, copy, previous};
use super::shell::{Session, ShellError};
use super::{Vmm, prometheus, status};
use abi::hypercall::{Error, name};
use abi::log::{Level, MAX_TEXT_BYTES};
use abi::shell::Answer;
use abi::status::{Cpu, Disk, Domain, Memory, Rule, Status};
use dbgsh::{Server, SharedKey, Step};
use logs::Logs;
use std::cell::Cell;

struct Fake {
    logs: Logs,
    previous: String,
    status: Status,
    room: usize,
    calls: Cell<usize>,
    shell: Server,
    now_ns: Cell<u64>,
}

impl Fake {
    fn new() -> Self {
        let logs = Logs::new();
        assert!(logs.start(8192));
        Self {
            logs,
            previous: String::new(),
            status: sample(),
            room: 1024,
            calls: Cell::new(0),
            shell: Server::new(key(1), [3; 40]),
            now_ns: Cell::new(1),
        }
    }
}

impl Vmm for Fake {
    fn call(&self, name: &str, parameters: &[u8]) -> Result<Vec<u8>, Error> {
        self.calls.set(self.calls.get() + 1);
        match name {
            name::STATUS => Ok(postcard::to_allocvec(&self.status).unwrap()),
            name::LOG => {
                let mut answer = vec![0; self.room];
                let len = logs::answer(&self.logs, &self.previous, 5_000_000_000, parameters, &mut answer)?;
                answer.truncate(len);
                Ok(answer)
            }
            name::SHELL => {
                let answer = match self.shell.handle(self.now_ns.get(), postcard::from_bytes(parameters).unwrap()) {
                    Step::Answer(answer) => answer,
                    Step::Run(line) => Answer::Text { text: format!("you say {line}\n\x1b[2J"), cut: line == "long" },
                };
                Ok(postcard::to_allocvec(&answer).unwrap())
            }
            _ => Err(Error::Unknown),
        }
    }
}

fn sample() -> Status {
    Status {
        version: "0.1.0".into(),
        uptime_ns: 3_723_000_000_001,
        memory: Memory { reserved_bytes: 16 << 20, heap_bytes: 2 << 20, heap_used_bytes: 700_000 },
        exit_names: vec!["cpuid".into(), "string port".into()],
        cpus: vec![Cpu { number: 0, apic_id: 0, exits: vec![10, 0] }, Cpu { number: 1, apic_id: 2, exits: vec![3, 4] }],
        disks: vec![Disk {
            channel: 0,
            unit: 1,
            model: "A \"disk\" \\\x1b[2J".into(),
            serial: "S1".into(),
            sectors: 4096,
            sector_bytes: 512,
            rules: vec![Rule { name: "data".into(), first_lba: 2048, sectors: 1024, cipher: "aes-xts-plain64".into() }],
        }],
        domains: vec![Domain {
            name: "shell".into(),
            state: "running".into(),
            restarts: 2,
            last_restart_ns: Some(1_500_000),
            memory_bytes: 1 << 20,
        }],
        log_records: 42,
    }
}

#[test]
fn status_tells_people_everything_and_obeys_no_device() {
    let text = status::to_text(&status::ask(&Fake::new()).unwrap());
    for line in [
        "Shoji 0.1.0, up 1 h 2 min",
        "memory: 16.0 MiB reserved; heap: 0.6 MiB of 2.0 MiB used",
        r#"disk 0/1: `A "disk" \\\x1b[2J` serial `S1`, 2.0 MiB"#,
        "  `data`: 1024 sectors from LBA 2048, aes-xts-plain64",
        "domain shell: running, 1.0 MiB, 2 restarts, the last within 1500 us",
        "CPU 0 (APIC ID 0): 10 exits: cpuid 10",
        "CPU 1 (APIC ID 2): 7 exits: cpuid 3, string port 4",
        "log: 42 records",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn status_in_json_has_names_for_all_numbers() {
    let json = status::to_json(&sample());
    assert_eq!(json["cpus"][1]["exits"]["string port"], 4);
    assert_eq!(json["disks"][0]["rules"][0]["first_lba"], 2048);
    assert_eq!(json["disks"][0]["model"], "A \"disk\" \\\u{1b}[2J");
    assert_eq!(json["memory"]["heap_used_bytes"], 700_000);
    assert_eq!(json["domains"][0]["last_restart_ns"], 1_500_000);
    assert_eq!(json["uptime_ns"], 3_723_000_000_001_u64);
}

#[test]
fn prometheus_gets_one_head_and_escaped_labels() {
    let text = prometheus::to_text(&sample());
    for line in [
        "# TYPE shoji_exits_total counter",
        r#"shoji_exits_total{cpu="1",reason="string port"} 4"#,
        "shoji_uptime_seconds 3723.000000001",
        r#"shoji_disk_protected_bytes{disk="0/1",rule="data",cipher="aes-xts-plain64"} 524288"#,
        r#"shoji_domain_state{domain="shell",state="running"} 1"#,
        "shoji_domain_restarts_total{domain=\"shell\"} 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
    assert!(text.contains(r#"model="A \"disk\" \\"#));
    let mut heads: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let all = heads.len();
    heads.dedup();
    assert_eq!(heads.len(), all);
}

fn lines(vmm: &Fake, from: u64, level: Level) -> (u64, String) {
    let mut text = Vec::new();
    let next = copy(vmm, from, level, &mut Lines(&mut text)).unwrap();
    (next, String::from_utf8(text).unwrap())
}

#[test]
fn a_log_of_any_length_comes_whole() {
    let vmm = Fake::new();
    for n in 0..60 {
        vmm.logs.write(0, Level::Info, || n * 1_000_000, format_args!("record {n}"));
    }
    let (next, text) = lines(&vmm, 0, Level::Debug);
    assert_eq!((next, text.lines().count()), (60, 60));
    assert_eq!(text.lines().nth(59), Some("[    0.059000] INFO  record 59"));
    assert!(vmm.calls.get() > 2);
    assert_eq!(lines(&vmm, next, Level::Debug), (60, String::new()));
    assert_eq!(lines(&vmm, 0, Level::Warn), (60, String::new()));
}

#[test]
fn who_comes_late_is_told_what_is_lost() {
    let vmm = Fake::new();
    for n in 0..1000 {
        vmm.logs.write(0, Level::Info, || n, format_args!("{}", "x".repeat(100)));
    }
    let (next, text) = lines(&vmm, 10, Level::Debug);
    let lost: u64 = text.lines().next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!((next, lost + text.lines().count() as u64 - 1), (1000, 990));
}

#[test]
fn a_record_that_has_no_room_is_an_error_and_no_endless_loop() {
    let vmm = Fake { room: 100, ..Fake::new() };
    vmm.logs.write(0, Level::Info, || 0, format_args!("{}", "x".repeat(MAX_TEXT_BYTES)));
    assert!(copy(&vmm, 0, Level::Debug, &mut Lines(Vec::new())).is_err());
}

#[test]
fn the_record_of_the_last_run_comes_whole_and_harmless() {
    let text = "Shoji: defect\n".repeat(300);
    let vmm = Fake { previous: text.clone(), ..Fake::new() };
    assert_eq!(previous(&vmm).unwrap(), text);
    assert!(vmm.calls.get() > 4);
    assert_eq!(previous(&Fake::new()).unwrap(), "");
    assert_eq!(previous(&Fake { previous: "a\x1bb".into(), ..Fake::new() }).unwrap(), "a\\x1bb\n");
}

fn key(byte: u8) -> SharedKey {
    SharedKey::new(vec![byte; 32].into()).unwrap()
}

#[test]
fn the_shell_answers_who_has_the_key() {
    let vmm = Fake::new();
    let mut session = Session::open(&vmm, &key(1), [7; 32]).unwrap();
    assert_eq!(session.line(&vmm, "hello").unwrap(), "you say hello\n\\x1b[2J\n");
    assert!(session.line(&vmm, "long").unwrap().ends_with("\n[...]\n"));
    vmm.now_ns.set(3_600_000_000_000);
    assert_eq!(session.line(&vmm, "late").unwrap_err(), ShellError::Ended);
}

#[test]
fn the_shell_tells_others_that_they_must_wait() {
    let vmm = Fake::new();
    assert_eq!(Session::open(&vmm, &key(2), [7; 32]).err(), Some(ShellError::WrongKey));
    assert_eq!(Session::open(&vmm, &key(1), [8; 32]).err(), Some(ShellError::Wait(1000)));
    vmm.now_ns.set(1_000_000_001);
    assert!(Session::open(&vmm, &key(1), [9; 32]).is_ok());
}
