//! Takes a file of wg-quick(8) into the configuration, and shows it again without its secrets.
//!
//! Names of peers stay names: Shoji asks for them on the outer network whenever it needs them, so that a changed address needs no
//! new configuration.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use base64ct::{Base64, Encoding};
use config::{MAX_TUNNEL_SECRET_BYTES, TunnelSecret, WIRE_MTU, Wire, WireIpv4, WireIpv6};
use mediator::Instant;
use serde_json::{Value, json};
use tunnel::SetupError;
use wg_quick::{Endpoint, MAX_FILE_BYTES, Peer, TunnelConfig};
use wireguard::{Platform, PublicKey, Tai64n, Unavailable};
use zeroize::Zeroizing;

use crate::keys::{self, KeyFile};
use crate::report::{Place, Severity};
use crate::table::Table;

/// The key of the TOML file that names it.
const KEY: &str = "wireguard";

/// Reads the file that `table` names; all that is found in it is told with its own lines. `wire`: the outer network, if it could be
/// read. `None`: what is wrong was told.
pub fn read(table: &Table<'_, '_>, path: &Path, wire: Option<&Wire>) -> Option<TunnelSecret> {
    let shown = path.display().to_string();
    let file = read_file(table, path, &shown)?;
    let (config, findings) = wg_quick::read(&file.bytes);
    for finding in findings {
        let severity = match finding.severity {
            wg_quick::Severity::Error => Severity::Error,
            wg_quick::Severity::Warning => Severity::Warning,
        };
        let place = Place { line: finding.line, column: finding.column };
        table.add_within(KEY, severity, (&shown, place), finding.message);
    }
    let config = config?;
    let wire = wire?;
    check_reach(table, &config, wire);
    let secret = encode(&config);
    if secret.is_none() {
        let message = format!(
            "`{KEY}` {shown} has more parameters than the {MAX_TUNNEL_SECRET_BYTES} bytes that there is room for; join \
             prefixes of `AllowedIPs`"
        );
        table.error(KEY, message);
    }
    if let Some((error, remedy)) = try_to_start(config, wire.mtu) {
        table.error(KEY, format!("`{KEY}` {shown} cannot be used: {error}; {remedy}"));
    }
    secret
}

fn read_file(table: &Table<'_, '_>, path: &Path, shown: &str) -> Option<KeyFile> {
    // One byte more tells a longer file.
    let file = keys::read_file(path, MAX_FILE_BYTES + 1).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "which does not exist; put the file of wg-quick there, or correct the name".into(),
        _ => format!("which cannot be read ({error}); make it a file that you may read"),
    });
    match file {
        Ok(file) => {
            if file.exposed {
                table.warn(KEY, format!("`{KEY}` {shown} is open to other users; run `chmod 600 {shown}`"));
            }
            Some(file)
        }
        Err(why) => {
            table.error(KEY, format!("`{KEY}` names {shown}, {why}"));
            None
        }
    }
}

/// Tells of peers that the outer network does not lead to.
fn check_reach(table: &Table<'_, '_>, config: &TunnelConfig, wire: &Wire) {
    for (number, peer) in (1..).zip(&config.peers) {
        let (version, key) = match &peer.endpoint {
            Some(Endpoint::Address(address)) if address.is_ipv4() && wire.ipv4 == WireIpv4::Off => (4, "ipv4"),
            Some(Endpoint::Address(address)) if address.is_ipv6() && wire.ipv6 == WireIpv6::Off => (6, "ipv6"),
            _ => continue,
        };
        let message = format!(
            "`{KEY}` has an IPv{version} endpoint for peer {number}, but `wire.{key}` is off; change one of them"
        );
        table.error(KEY, message);
    }
    let has_names = config.peers.iter().any(|peer| matches!(peer.endpoint, Some(Endpoint::Name { .. })));
    let tells_no_server = wire.ipv4 != WireIpv4::Dhcp && wire.dns.is_empty();
    let remedy = "add e.g. `dns = [\"192.0.2.53\"]` to `[network.wire]`";
    if has_names && tells_no_server && wire.ipv6 == WireIpv6::Slaac {
        let message = "names a peer by its host name, for which only a server can be asked that IPv6 routers tell of";
        table.warn(KEY, format!("`{KEY}` {message}; {remedy}"));
    } else if has_names && tells_no_server {
        table.error(
            KEY,
            format!("`{KEY}` names a peer by its host name, for which there is no server to ask; {remedy}"),
        );
    }
}

/// What the tunnel's program decodes. `None`: it is too long.
fn encode(config: &TunnelConfig) -> Option<TunnelSecret> {
    let mut room = Zeroizing::new(vec![0; MAX_TUNNEL_SECRET_BYTES]);
    let bytes = postcard::to_slice(config, &mut room).ok()?;
    Some(TunnelSecret(bytes.to_vec()))
}

/// A tunnel that never sends.
struct Idle;

impl Platform for Idle {
    fn random(&mut self, _: &mut [u8]) -> Result<(), Unavailable> {
        Err(Unavailable)
    }

    fn tai64n(&mut self) -> Result<Tai64n, Unavailable> {
        Err(Unavailable)
    }
}

/// Sets the tunnel up as its program will, so that what it would refuse is told here, with a remedy. The outer network is looked at by
/// `config::validate`, its MTU excepted, on which the inner one depends.
fn try_to_start(config: TunnelConfig, mtu: u16) -> Option<(SetupError, &'static str)> {
    const ANY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let mtu = if WIRE_MTU.contains(&mtu) { mtu } else { Wire::default().mtu };
    let (ipv4, ipv6) = (outside::Ipv4::Dhcp, outside::Ipv6::Off);
    let wire = tunnel::Wire { mac: ANY_MAC, mtu, ipv4, ipv6, dns: Vec::new(), seed: 0 };
    let error = tunnel::wireguard(config, wire, Idle, Instant(0)).err()?;
    let remedy = match error {
        SetupError::Inside(_) => "correct `Address`, `DNS` or `MTU` in it, or `mtu` of `[network.wire]`",
        SetupError::Outside(_) => "correct `ListenPort` in it",
        SetupError::Peer(_) => "correct its `[Peer]` sections",
    };
    Some((error, remedy))
}

/// What `wg showconf` would tell, secrets left out.
pub fn to_json(secret: &TunnelSecret) -> Value {
    let Ok(config) = postcard::from_bytes::<TunnelConfig>(&secret.0) else {
        return format!("({} bytes of another version, not shown)", secret.0.len()).into();
    };
    let address = |address: &wg_quick::Address| {
        let (address, prefix_len) = <(IpAddr, u8)>::from(*address);
        format!("{address}/{prefix_len}")
    };
    json!({
        "private-key": REDACTED,
        "public-key": public_key(&config.private_key.public()),
        "listen-port": config.listen_port,
        "address": config.addresses.iter().map(address).collect::<Vec<_>>(),
        "dns": config.dns,
        "search": config.search,
        "mtu": config.mtu,
        "peer": config.peers.iter().map(peer).collect::<Vec<_>>(),
    })
}

/// Stands for a private or preshared key.
const REDACTED: &str = "(32 bytes, not shown)";

fn peer(peer: &Peer) -> Value {
    let endpoint = peer.endpoint.as_ref().map(|endpoint| match endpoint {
        Endpoint::Address(address) => address.to_string(),
        Endpoint::Name { host, port } => format!("{host}:{port}"),
    });
    json!({
        "public-key": public_key(&peer.public_key),
        "preshared-key": peer.preshared_key.as_ref().map(|_| REDACTED),
        "endpoint": endpoint,
        "allowed-ips": peer.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "persistent-keepalive": peer.persistent_keepalive_s,
    })
}

/// As `wg pubkey` writes it.
pub fn public_key(key: &PublicKey) -> String {
    Base64::encode_string(&key.0)
}
