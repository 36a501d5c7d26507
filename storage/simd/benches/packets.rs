//! ChaCha20-Poly1305 as the VMM calls it, the guest's registers kept around each packet, against OpenSSL and the crate chacha20poly1305.
//! `cargo xtask bench --crypto` runs it on the SIMD object, pinned to one core.
//!
//! All take turns, several rounds of them; the best of each counts. Time is that of the CPU. OpenSSL is measured by its own
//! `openssl speed -aead`, which seals.

mod measure;

use abi::seal::{REQUEST_BYTES, TAG_AT};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use measure::rate;
use simd::PacketEngine;
#[cfg(not(simd_object))]
use simd_object as _;
use std::hint::black_box;

const ROUNDS: usize = 5;
/// Bytes of a packet: a small one, one that fills WireGuard's usual MTU, and more than there is on a wire.
const PACKETS: [usize; 3] = [64, 1420, 16384];
const ENGINES: [PacketEngine; 3] = [PacketEngine::Avx512, PacketEngine::Avx2, PacketEngine::Sse2];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Seal,
    Open,
}

/// Gigabytes per second, by column: engines, OpenSSL, RustCrypto.
type Rates = [Option<f64>; ENGINES.len() + 2];

fn main() {
    let best = PacketEngine::of_this_cpu();
    println!("|  | bytes | AVX-512 | AVX2 | SSE2 | OpenSSL | RustCrypto | {best} : OpenSSL |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for direction in [Direction::Seal, Direction::Open] {
        for bytes in PACKETS {
            let mut rates = Rates::default();
            for _ in 0..ROUNDS {
                for (rate, new) in rates.iter_mut().zip(round(best, direction, bytes)) {
                    *rate = new.map(|new| rate.map_or(new, |rate| rate.max(new)));
                }
            }
            print_row(direction, bytes, &rates, best);
        }
    }
    let openssl = measure::openssl_version();
    println!("\nGB/s of CPU time, best of {ROUNDS} rounds, {}, {openssl}, which seals in both.", measure::cpu());
}

fn round(best: PacketEngine, direction: Direction, bytes: usize) -> Rates {
    let mut rates = Rates::default();
    let usable =
        |engine: &PacketEngine| ENGINES.iter().skip_while(|usable| **usable != best).any(|usable| usable == engine);
    for (rate, engine) in rates.iter_mut().zip(ENGINES) {
        *rate = usable(&engine).then(|| of_engine(engine, direction, bytes));
    }
    rates[ENGINES.len()] = measure::openssl("chacha20-poly1305", bytes, &["-aead"]);
    rates[ENGINES.len() + 1] = Some(of_rust_crypto(direction, bytes));
    rates
}

/// What is opened is copied first, which counts.
fn of_engine(engine: PacketEngine, direction: Direction, bytes: usize) -> f64 {
    let cipher = engine.chacha_poly();
    let mut request = [7; REQUEST_BYTES];
    if direction == Direction::Seal {
        return rate(bytes, |_, packet| cipher.seal(black_box(&mut request), 0, packet).expect("a good length"));
    }
    let mut sealed = vec![0; bytes];
    cipher.seal(&mut request, 0, &mut sealed).expect("a good length");
    rate(bytes, |_, packet| {
        packet.copy_from_slice(&sealed);
        cipher.open(black_box(&mut request), 0, packet).expect("authentic");
    })
}

fn of_rust_crypto(direction: Direction, bytes: usize) -> f64 {
    let (request, nonce) = ([7; REQUEST_BYTES], [7; 12].into());
    let (key, _) = request[..TAG_AT].split_first_chunk::<32>().expect("a key comes first");
    // With the key schedule, as for each packet of ours.
    let cipher = || ChaCha20Poly1305::new(black_box(key).into());
    if direction == Direction::Seal {
        return rate(bytes, |_, packet| {
            black_box(cipher().encrypt_inout_detached(&nonce, &[], packet.into()).expect("a good length"));
        });
    }
    let mut sealed = vec![0; bytes];
    let tag = cipher().encrypt_inout_detached(&nonce, &[], sealed.as_mut_slice().into()).expect("a good length");
    rate(bytes, |_, packet| {
        packet.copy_from_slice(&sealed);
        cipher().decrypt_inout_detached(&nonce, &[], packet.into(), &tag).expect("authentic");
    })
}

fn print_row(direction: Direction, bytes: usize, rates: &Rates, best: PacketEngine) {
    let name = if direction == Direction::Seal { "seal" } else { "open" };
    let cells = rates.map(|rate| rate.map_or(String::new(), |rate| format!("{rate:.2}")));
    let ours = ENGINES.iter().position(|engine| *engine == best).and_then(|column| rates[column]);
    let ratio = ours.zip(rates[ENGINES.len()]);
    let ratio = ratio.map_or(String::new(), |(ours, openssl)| format!("{:.2}", ours / openssl));
    println!("| {name} | {bytes} | {} | {ratio} |", cells.join(" | "));
}
