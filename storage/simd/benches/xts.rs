//! AES-256-XTS as the VMM calls it, the guest's registers kept around each request, against OpenSSL and the crates of
//! RustCrypto. `cargo xtask bench --crypto` runs it on the SIMD object, pinned to one core.
//!
//! All take turns, several rounds of them; the median of the rounds counts. Time is that of the CPU, not of the clock on
//! the wall, so that others on the machine hardly matter. OpenSSL is measured by its own `openssl speed`, which takes a
//! request for one data unit with one tweak, where Shoji's has as many as it has sectors.

mod measure;

use aes::Aes256;
use aes::cipher::KeyInit;
use measure::rate;
use mediator::disk::SectorTransform;
use simd::Engine;
#[cfg(not(simd_object))]
use simd_object as _;
use std::sync::Arc;
use xts_mode::{Xts128, get_tweak_default};

const ROUNDS: usize = 5;
/// Bytes of a request and of a sector. 1024 is where VAES begins to be used.
const REQUESTS: [(usize, usize); 6] = [(512, 512), (1024, 512), (4096, 512), (4096, 4096), (65536, 512), (65536, 4096)];
const ENGINES: [Engine; 3] = [Engine::Vaes512, Engine::Vaes256, Engine::AesNi];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// Gigabytes per second, by column: engines, OpenSSL, RustCrypto.
type Rates = [Option<f64>; ENGINES.len() + 2];

fn main() {
    let best = Engine::of_this_cpu();
    let usable = ENGINES.into_iter().skip_while(|engine| *engine != best).collect::<Vec<_>>();
    println!("|  | request | sector | VAES-512 | VAES-256 | AES-NI | OpenSSL | RustCrypto | {best} : OpenSSL |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for direction in [Direction::Encrypt, Direction::Decrypt] {
        for (request, sector) in REQUESTS {
            let rounds: Vec<Rates> = (0..ROUNDS).map(|_| round(&usable, direction, request, sector)).collect();
            let rates: Rates = core::array::from_fn(|column| median(rounds.iter().map(|rates| rates[column])));
            print_row(direction, request, sector, &rates, usable.first().copied());
        }
    }
    println!("\nGB/s of CPU time, median of {ROUNDS} rounds, {}, {}.", measure::cpu(), measure::openssl_version());
}

fn round(usable: &[Engine], direction: Direction, request: usize, sector: usize) -> Rates {
    let key: [u8; 64] = core::array::from_fn(|i| (i * 7 + 1) as u8);
    let mut rates = [None; ENGINES.len() + 2];
    for (rate, engine) in rates.iter_mut().zip(ENGINES) {
        if usable.contains(&engine) {
            *rate = Some(of_transform(&engine.aes_xts(&key, sector).expect("a good key"), direction, request));
        }
    }
    let decrypt: &[&str] = if direction == Direction::Decrypt { &["-decrypt"] } else { &[] };
    rates[ENGINES.len()] = measure::openssl("aes-256-xts", request, decrypt);
    rates[ENGINES.len() + 1] = Some(of_rust_crypto(&key, direction, request, sector));
    rates
}

fn of_transform(transform: &Arc<dyn SectorTransform>, direction: Direction, request: usize) -> f64 {
    rate(request, |number, data| match direction {
        Direction::Encrypt => transform.encrypt(number, data),
        Direction::Decrypt => transform.decrypt(number, data),
    })
}

fn of_rust_crypto(key: &[u8; 64], direction: Direction, request: usize, sector: usize) -> f64 {
    let [data_key, tweak_key] = [&key[..32], &key[32..]].map(|half| Aes256::new_from_slice(half).expect("32 bytes"));
    let xts = Xts128::new(data_key, tweak_key);
    rate(request, |number, data| match direction {
        Direction::Encrypt => xts.encrypt_area(data, sector, number.into(), get_tweak_default),
        Direction::Decrypt => xts.decrypt_area(data, sector, number.into(), get_tweak_default),
    })
}

fn print_row(direction: Direction, request: usize, sector: usize, rates: &Rates, best: Option<Engine>) {
    let name = if direction == Direction::Encrypt { "encrypt" } else { "decrypt" };
    let cells = rates.map(|rate| rate.map_or(String::new(), |rate| format!("{rate:.2}")));
    let ours = ENGINES.iter().position(|engine| Some(*engine) == best).and_then(|column| rates[column]);
    let ratio =
        ours.zip(rates[ENGINES.len()]).map_or(String::new(), |(ours, openssl)| format!("{:.2}", ours / openssl));
    println!("| {name} | {request} | {sector} | {} | {ratio} |", cells.join(" | "));
}

fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values = values.collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
