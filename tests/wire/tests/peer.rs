//! The peer itself, without a machine: it starts, answers, and leaves nothing.

use wire::peer::{INNER, Rig};

/// Users without namespaces, or without the peer's packages, cannot run it: the emulator's cases are where it must run.
fn rig(name: &str) -> Option<(Rig, std::path::PathBuf)> {
    let dir = std::env::temp_dir().join(format!("wire-{}-{name}", std::process::id()));
    match Rig::start(&dir) {
        Ok(rig) => Some((rig, dir)),
        Err(error) => {
            eprintln!("not shown: {error:#}");
            None
        }
    }
}

#[test]
fn the_peer_starts_and_starts_again_and_is_gone_afterwards() {
    let Some((rig, dir)) = rig("peer") else { return };
    let addresses = rig.with(|peer| peer.run("ip -o address")).unwrap();
    assert!(addresses.contains(INNER), "{addresses}");
    rig.with(|peer| {
        peer.stop_wireguard();
        peer.start_wireguard()
    })
    .unwrap();
    assert!(rig.with(wire::peer::Peer::last_handshake).unwrap().is_none());
    rig.end().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    let links = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("outer"));
}
