//! Coverage-guided fuzz targets on the pinned stable toolchain, without cargo-fuzz.
//!
//! A target is a function over bytes in this library, so that `cargo test` replays its seeds, and a bin of the same
//! name that hands it to libFuzzer. The bins need the feature `fuzz` and a C++ compiler. Build and run, from the root
//! of the workspace (`NAME` is one of [`TARGETS`]):
//!
//! ```text
//! cargo run -q -p fuzz --bin seeds -- NAME CORPUS_DIR
//! RUSTFLAGS="$FLAGS" cargo build --release -p fuzz --features fuzz --bin NAME \
//!     --target x86_64-unknown-linux-gnu --target-dir target/fuzz
//! target/fuzz/x86_64-unknown-linux-gnu/release/NAME -max_total_time=60 -timeout=10 -artifact_prefix=DIR/ CORPUS_DIR
//! ```
//!
//! where FLAGS are `--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
//! -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1
//! -Cdebug-assertions -Coverflow-checks`. The `--target` keeps the flags away from build scripts, the target directory
//! of its own keeps the normal builds. Name the bins (`--bins` would instrument `seeds`, which does not link). That it is guided shows in the growing `cov:` of its output. A finding ends the
//! run with status 77 and leaves `crash-*` in DIR; to replay it, give the file instead of the corpus.
#![forbid(unsafe_code)]

pub mod ahci_stream;
pub mod ata_stream;
pub mod config_blob;
pub mod decoder;
pub mod e1000_stream;
pub mod hypercall;
pub mod luks2_header;
pub mod multiboot_info;
pub mod nvme_stream;
pub mod prd_walk;
pub mod sleep_tables;
pub mod system_calls;
pub mod tunnel_inside;
pub mod tunnel_outside;
mod tunnel_rig;
pub mod wg_quick;
pub mod wireguard_messages;
pub mod wireguard_peers;
// The tunnels of the crate's own tests.
#[path = "../../../vpn/wireguard/src/tests/rig.rs"]
mod wireguard_rig;

/// A target: its function, and inputs to start from.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 17] = [
    Target { name: "ahci_stream", run: ahci_stream::run, seeds: ahci_stream::seeds },
    Target { name: "ata_stream", run: ata_stream::run, seeds: ata_stream::seeds },
    Target { name: "config_blob", run: config_blob::run, seeds: config_blob::seeds },
    Target { name: "decoder", run: decoder::run, seeds: decoder::seeds },
    Target { name: "e1000_stream", run: e1000_stream::run, seeds: e1000_stream::seeds },
    Target { name: "hypercall", run: hypercall::run, seeds: hypercall::seeds },
    Target { name: "luks2_header", run: luks2_header::run, seeds: luks2_header::seeds },
    Target { name: "multiboot_info", run: multiboot_info::run, seeds: multiboot_info::seeds },
    Target { name: "nvme_stream", run: nvme_stream::run, seeds: nvme_stream::seeds },
    Target { name: "prd_walk", run: prd_walk::run, seeds: prd_walk::seeds },
    Target { name: "sleep_tables", run: sleep_tables::run, seeds: sleep_tables::seeds },
    Target { name: "system_calls", run: system_calls::run, seeds: system_calls::seeds },
    Target { name: "tunnel_inside", run: tunnel_inside::run, seeds: tunnel_inside::seeds },
    Target { name: "tunnel_outside", run: tunnel_outside::run, seeds: tunnel_outside::seeds },
    Target { name: "wg_quick", run: wg_quick::run, seeds: wg_quick::seeds },
    Target { name: "wireguard_messages", run: wireguard_messages::run, seeds: wireguard_messages::seeds },
    Target { name: "wireguard_peers", run: wireguard_peers::run, seeds: wireguard_peers::seeds },
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_of_every_target_passes() {
        for target in super::TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
        }
    }

    #[test]
    fn bytes_without_sense_pass() {
        for target in super::TARGETS {
            (target.run)(&[]);
            for first in 0..=255u8 {
                let noise: Vec<u8> = (0..400u32).map(|i| (i * i / 7) as u8 ^ first).collect();
                (target.run)(&noise);
            }
        }
    }
}
