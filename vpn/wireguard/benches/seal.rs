//! A packet of 1,420 bytes sealed and opened: the cipher alone, and the whole way through two tunnels. `cargo bench -p wireguard`; what a machine
//! without vector instructions takes is told with RUSTFLAGS='--cfg chacha20_backend="soft" --cfg poly1305_backend="soft"'.
//!
//! All take turns, several rounds of them; the median counts. Time is that of the CPU, so that others on the machine hardly matter. OpenSSL is
//! measured by its own `openssl speed`.

#[path = "../src/tests/rig.rs"]
mod rig;

use rig::{A_IN, B_IN, Pair, packet};
use std::fs;
use std::hint::black_box;
use std::process::Command;
use wireguard::{CipherKey, DATA_HEADER_BYTES, OVERHEAD_BYTES, Received, Sent, open, seal};

const PACKET_BYTES: usize = 1420;
const ROUNDS: usize = 7;
/// CPU time that one measurement takes at least.
const MEASURE_NS: u64 = 100_000_000;

fn main() {
    let mut rounds = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let (sealed, opened) = tunnel();
        let of_round = [cipher(), cipher_open(), sealed, opened];
        rounds.iter_mut().zip(of_round).for_each(|(all, ns)| all.push(ns));
    }
    let names = ["cipher, seal", "cipher, open", "tunnel, on_packet", "tunnel, on_datagram"];
    println!("| {PACKET_BYTES} bytes | ns | GB/s |\n|---|--:|--:|");
    for (name, mut all) in names.into_iter().zip(rounds) {
        all.sort_by(f64::total_cmp);
        let ns = all[ROUNDS / 2];
        println!("| {name} | {ns:.0} | {:.2} |", PACKET_BYTES as f64 / ns);
    }
    match openssl() {
        Some(rate) => println!("| OpenSSL, seal | {:.0} | {rate:.2} |", PACKET_BYTES as f64 / rate),
        None => println!("no `openssl`"),
    }
}

/// Time of the CPU for one call, in ns.
fn measure(mut call: impl FnMut()) -> f64 {
    let begin = cpu_ns();
    let mut calls = 0;
    loop {
        (0..100).for_each(|_| call());
        calls += 100;
        let spent = cpu_ns() - begin;
        if spent >= MEASURE_NS {
            return spent as f64 / f64::from(calls);
        }
    }
}

fn cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    text.split(' ').next().and_then(|field| field.parse().ok()).expect("nanoseconds")
}

fn cipher() -> f64 {
    let (key, mut data, mut counter) = (CipherKey::new([7; 32]), vec![1; PACKET_BYTES], 0);
    measure(|| {
        counter += 1;
        black_box(seal(&key, counter, &[], black_box(&mut data)));
    })
}

fn cipher_open() -> f64 {
    let (key, mut sealed) = (CipherKey::new([7; 32]), vec![1; PACKET_BYTES]);
    let tag = seal(&key, 0, &[], &mut sealed).expect("sealed");
    let mut data = sealed.clone();
    measure(|| {
        data.copy_from_slice(&sealed);
        assert!(open(&key, 0, &[], black_box(&mut data), &tag).is_some());
    })
}

/// Sealed by one and opened by the other.
fn tunnel() -> (f64, f64) {
    const BATCH: usize = 100;
    let mut pair = Pair::new();
    pair.a_sends(0);
    let bytes = packet(A_IN, B_IN, 1, PACKET_BYTES);
    let mut buffers = vec![vec![0; PACKET_BYTES + OVERHEAD_BYTES]; BATCH];
    let (mut seal_ns, mut open_ns, mut calls) = (0, 0, 0);
    while seal_ns < MEASURE_NS {
        buffers.iter_mut().for_each(|buffer| buffer[DATA_HEADER_BYTES..][..PACKET_BYTES].copy_from_slice(&bytes));
        let begin = cpu_ns();
        for buffer in &mut buffers {
            assert!(matches!(pair.a.tunnel.on_packet(pair.now_ms, buffer, PACKET_BYTES), Sent::Sealed(_)));
        }
        let middle = cpu_ns();
        for buffer in &mut buffers {
            let received = pair.b.tunnel.on_datagram(pair.now_ms, pair.a.at, buffer);
            assert!(matches!(received, Received::Packet(..)));
        }
        seal_ns += middle - begin;
        open_ns += cpu_ns() - middle;
        calls += BATCH;
    }
    (seal_ns as f64 / calls as f64, open_ns as f64 / calls as f64)
}

/// GB/s.
fn openssl() -> Option<f64> {
    let bytes = PACKET_BYTES.to_string();
    let arguments = ["speed", "-mr", "-seconds", "1", "-bytes", &bytes, "-evp", "chacha20-poly1305"];
    let output = Command::new("openssl").args(arguments).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find(|line| line.starts_with("+F:"))?;
    line.rsplit(':').next()?.parse::<f64>().ok().map(|rate| rate / 1e9)
}
