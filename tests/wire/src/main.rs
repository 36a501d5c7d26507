//! `cargo run -p wire -- CAPTURE --card MAC --peer ADDRESS:PORT`: judges a capture of the emulator tests, or any other of their form.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use wire::oracle::{Rules, judge};
use wire::pcapng::Reader;

/// Does a capture hold anything of the machine's but its tunnel?
#[derive(Parser)]
struct Cli {
    /// Of the emulator tests (pcapng, with the direction of each frame)
    capture: PathBuf,
    /// The card's hardware address
    #[arg(long)]
    card: String,
    /// Endpoint of a peer; may be repeated
    #[arg(long, required = true)]
    peer: Vec<SocketAddr>,
    /// Longest packet in the tunnel
    #[arg(long, default_value_t = wire::peer::TUNNEL_MTU)]
    mtu: usize,
    /// Address of the card outside, where DHCP does not give it
    #[arg(long)]
    address: Vec<IpAddr>,
    /// DHCP is allowed outside
    #[arg(long)]
    dhcp: bool,
    /// So are neighbour discovery and addresses made by router advertisements
    #[arg(long)]
    ipv6: bool,
    /// Server that may be asked for names of endpoints
    #[arg(long)]
    dns: Vec<IpAddr>,
    /// Name of an endpoint
    #[arg(long)]
    name: Vec<String>,
    /// Words that must not be in any frame
    #[arg(long)]
    secret: Vec<String>,
}

fn main() -> ExitCode {
    match perform(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli) -> Result<()> {
    let bytes: Option<Vec<u8>> = cli.card.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let card = bytes.and_then(|bytes| bytes.try_into().ok());
    let rules = Rules {
        card: card.with_context(|| format!("{} is no hardware address", cli.card))?,
        peers: cli.peer,
        tunnel_mtu: cli.mtu,
        addresses: cli.address,
        dhcp: cli.dhcp,
        ipv6: cli.ipv6,
        dns: cli.dns,
        names: cli.name,
        secrets: cli.secret.into_iter().map(String::into_bytes).collect(),
    };
    let verdict = judge(rules, Reader::open(&cli.capture)?)?;
    let [initiations, responses, cookies, data] = verdict.messages;
    println!("{} frames of the machine, {} to it", verdict.sent, verdict.received);
    println!("ARP {}, neighbour discovery {}, DHCP {}, DNS {}", verdict.arp, verdict.ndp, verdict.dhcp, verdict.dns);
    println!(
        "initiations {initiations}, responses {responses}, cookies {cookies}, data {data} ({} empty)",
        verdict.keepalives
    );
    verdict.accept()?;
    ensure!(data > 0, "there is no data of a tunnel in it: it proves nothing");
    println!("nothing but the tunnel");
    Ok(())
}
