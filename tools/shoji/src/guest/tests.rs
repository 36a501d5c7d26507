//! The commands against a stand-in for Shoji that answers as the VMM does.

use super::log::{Lines, copy, previous};
use super::shell::{Session, ShellError};
use super::{Vmm, prometheus, status};
use abi::hypercall::{Error, name};
use abi::log::{Level, MAX_TEXT_BYTES};
use abi::shell::Answer;
use abi::status::{Card, Cpu, Disk, Domain, DrivenCard, Frames, MAX_PEERS_TOLD, Memory, Peer, Rule, Status, Tunnel};
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
        cards: vec![
            Card {
                name: "lan\x1b[2J".into(),
                device: 3,
                policy: "tunnel".into(),
                driven: Some(driven()),
                tunnel: Some(tunnel()),
                ..Card::default()
            },
            Card { name: "wlan".into(), bus: 0xA, device: 31, function: 7, policy: "block".into(), ..Card::default() },
        ],
    }
}

fn driven() -> DrivenCard {
    let frames = Frames {
        guest_sent: 10,
        guest_received: 12,
        wire_sent: 9,
        wire_received: 11,
        guest_dropped: 3,
        wire_dropped: 1,
    };
    DrivenCard { mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56], link_up: true, frames }
}

fn tunnel() -> Tunnel {
    let known = Peer {
        public_key: core::array::from_fn(|i| i as u8 + 1),
        endpoint: Some("[2001:db8::7]:51820".parse().unwrap()),
        handshake_age_s: Some(84),
        rx_bytes: 3_303_014,
        tx_bytes: 53_084_160,
    };
    let unheard = Peer { public_key: [7; 32], ..Peer::default() };
    Tunnel {
        is_up: true,
        wire_ipv4: Some([192, 0, 2, 10].into()),
        wire_ipv6: None,
        peers: vec![known, unheard],
        more_peers: 240,
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
fn status_shows_a_tunnel_as_wg_show_does() {
    let text = status::to_text(&sample());
    let expected = r"card `lan\x1b[2J` (00:03.0, 52:54:00:12:34:56): tunnel, link up
  guest: 10 frames sent, 12 received, 3 of its own dropped
  wire: 9 frames sent, 11 received, 1 of its own dropped
  tunnel up, on the wire: 192.0.2.10
  peer: AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=
    endpoint: [2001:db8::7]:51820
    latest handshake: 1 min 24 s ago
    transfer: 3.14 MiB received, 50.62 MiB sent
  peer: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=
  and 240 peers more
card `wlan` (0a:1f.7): block, not driven by Shoji
";
    assert!(text.contains(expected), "{text}");
    let mut down = sample();
    down.cards[0].tunnel = Some(Tunnel::default());
    assert!(status::to_text(&down).contains("  tunnel down, on the wire: no address\n"));
}

#[test]
fn status_of_a_card_in_json_tells_none_from_zero() {
    let json = status::to_json(&sample());
    let [lan, wlan] = [&json["cards"][0], &json["cards"][1]];
    assert_eq!((&lan["function"], &lan["policy"]), (&"00:03.0".into(), &"tunnel".into()));
    assert_eq!((&lan["driven"]["mac"], &lan["driven"]["link_up"]), (&"52:54:00:12:34:56".into(), &true.into()));
    let frames = ["guest_sent", "guest_received", "guest_dropped", "wire_sent", "wire_received", "wire_dropped"];
    assert_eq!(frames.map(|name| lan["driven"][name].as_u64().unwrap()), [10, 12, 3, 9, 11, 1]);
    let tunnel = &lan["tunnel"];
    assert_eq!((&tunnel["up"], &tunnel["wire_ipv4"]), (&true.into(), &"192.0.2.10".into()));
    assert!(tunnel["wire_ipv6"].is_null() && tunnel["more_peers"] == 240);
    assert_eq!(tunnel["peers"][0]["endpoint"], "[2001:db8::7]:51820");
    assert_eq!(tunnel["peers"][0]["handshake_age_s"], 84);
    assert_eq!(
        (&tunnel["peers"][0]["rx_bytes"], &tunnel["peers"][0]["tx_bytes"]),
        (&3_303_014.into(), &53_084_160.into())
    );
    assert!(tunnel["peers"][1]["endpoint"].is_null() && tunnel["peers"][1]["handshake_age_s"].is_null());
    assert!(wlan["driven"].is_null() && wlan["tunnel"].is_null());
}

#[test]
fn prometheus_gets_the_counters_of_cards_and_peers() {
    let text = prometheus::to_text(&sample());
    let peer = r#"public_key="AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=""#;
    let lan = "card=\"lan\x1b[2J\"";
    for line in [
        r#"shoji_card_info{card="wlan",function="0a:1f.7",policy="block"} 1"#.into(),
        format!(r#"shoji_card_info{{{lan},function="00:03.0",policy="tunnel",mac="52:54:00:12:34:56"}} 1"#),
        format!("shoji_card_link_up{{{lan}}} 1"),
        format!(r#"shoji_card_frames_total{{{lan},side="guest",what="dropped"}} 3"#),
        format!(r#"shoji_card_frames_total{{{lan},side="wire",what="received"}} 11"#),
        format!("shoji_tunnel_up{{{lan}}} 1"),
        format!("shoji_wireguard_handshake_age_seconds{{{lan},{peer}}} 84"),
        format!("shoji_wireguard_received_bytes_total{{{lan},{peer}}} 3303014"),
        format!("shoji_wireguard_sent_bytes_total{{{lan},{peer}}} 53084160"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
    let ages = text.lines().filter(|line| line.starts_with("shoji_wireguard_handshake_age_seconds{"));
    assert_eq!(ages.count(), 1, "a peer that was never heard has none");
    assert!(!text.contains("shoji_card_link_up{card=\"wlan\"}"));
}

#[test]
fn sixteen_cards_and_four_tunnels_leave_half_of_an_answer_to_the_rest() {
    let peer = Peer {
        public_key: [0xFF; 32],
        endpoint: Some("[2001:db8::7]:51820".parse().unwrap()),
        handshake_age_s: Some(u64::MAX),
        rx_bytes: u64::MAX,
        tx_bytes: u64::MAX,
    };
    let wire_ipv6 = Some([0x2001, 0xDB8, 0, 0, 0, 0, 0, 7].into());
    let peers = vec![peer; MAX_PEERS_TOLD];
    let tunnel = Tunnel { peers, wire_ipv6, more_peers: u32::MAX, ..tunnel() };
    let most = u64::MAX;
    let frames = Frames {
        guest_sent: most,
        guest_received: most,
        wire_sent: most,
        wire_received: most,
        guest_dropped: most,
        wire_dropped: most,
    };
    let card = |number| Card {
        name: "x".repeat(config::MAX_TEXT_BYTES),
        policy: "tunnel".into(),
        driven: Some(DrivenCard { frames, ..driven() }),
        tunnel: (number < 4).then(|| tunnel.clone()),
        ..Card::default()
    };
    let cards: Vec<Card> = (0..config::MAX_NETWORK_RULES).map(card).collect();
    let bytes = postcard::to_allocvec(&cards).unwrap().len();
    assert!(bytes <= abi::hypercall::MAX_ANSWER_BYTES / 2, "{bytes} bytes");
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
