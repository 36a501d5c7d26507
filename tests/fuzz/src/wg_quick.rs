//! A file as `shoji config build` gets it: any bytes.
//!
//! What is accepted goes through its wire form unchanged, and makes a tunnel. Findings lie within the file, and hold nothing of it.

use crate::wireguard_rig::Chance;
use wg_quick::{Severity, TunnelConfig, read};
use wireguard::{PeerConfig, PrivateKey, Tunnel};

/// In all keys and values of the seeds; in no message.
const SECRET: &str = "ZQXJ";

/// Runs one input.
pub fn run(data: &[u8]) {
    let (config, findings) = read(data);
    let lines = data.split(|byte| *byte == b'\n').count();
    for finding in &findings {
        assert!((1..=lines).contains(&finding.line) && (1..=data.len() + 1).contains(&finding.column), "{finding}");
        assert!(finding.message.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{finding}");
        assert!(!finding.message.contains(SECRET), "{finding}");
    }
    assert_eq!(config.is_none(), findings.iter().any(|finding| finding.severity == Severity::Error));
    if let Some(config) = config {
        let bytes = postcard::to_allocvec(&config).expect("it can be written");
        let again: TunnelConfig = postcard::from_bytes(&bytes).expect("and read");
        assert!(postcard::to_allocvec(&again).expect("and written") == bytes, "it reads as something else");
        build(config);
    }
}

/// Every peer that was accepted is one.
fn build(config: TunnelConfig) {
    let key = PrivateKey::new(*config.private_key.as_bytes());
    let mut tunnel = Tunnel::new(Chance::new(0), key, Default::default());
    for peer in config.peers {
        let wg_quick::Peer { public_key, preshared_key, allowed_ips, persistent_keepalive_s, .. } = peer;
        let peer = PeerConfig { public_key, preshared_key, endpoint: None, allowed_ips, persistent_keepalive_s };
        tunnel.add_peer(0, peer).expect("a peer of an accepted file");
    }
}

/// A file with all keys there are, and one that is wrong throughout.
pub fn seeds() -> Vec<Vec<u8>> {
    let good = "[Interface]
PrivateKey = ZQXJaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaA=
Address = 10.0.0.2/24, fd00::2/64
DNS = 10.0.0.1, ZQXJ.example
MTU = 1420
ListenPort = 51820
FwMark = 0x1
Table = ZQXJ
PreUp = ZQXJ
PostDown = ZQXJ
SaveConfig = true
[Peer] # ZQXJ
PublicKey = ZQXJbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbA=
PresharedKey = ZQXJccccccccccccccccccccccccccccccccccccccA=
Endpoint = [2001:db8::1]:51820
AllowedIPs = 0.0.0.0/0, ::/0
PersistentKeepalive = 25
[Peer]
PublicKey = ZQXJddddddddddddddddddddddddddddddddddddddA=
Endpoint = ZQXJ.example:1
AllowedIPs = 10.0.0.0/8
PersistentKeepalive = off
";
    let bad = good.replace(" = ", " = ZQXJ ").replace("Peer", "ZQXJ").replace("Listen", "ZQXJ");
    let windows = format!("\u{FEFF}{}", good.replace('\n', "\r\n"));
    vec![good.into(), bad.into(), windows.into(), b"PrivateKey ZQXJ\n[\n[ZQXJ]\nZQXJ=ZQXJ\n".to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_good_seeds_are_accepted_and_the_others_are_not() {
        let accepted: Vec<bool> = seeds().iter().map(|seed| read(seed).0.is_some()).collect();
        assert_eq!(accepted, [true, false, true, false]);
    }
}
