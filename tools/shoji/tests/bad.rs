//! Bad files, each with what must be said of it: every `# expect` line is a finding, from `line:column` on, and there are
//! no others.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::Folder;

const INTERFACE: &str =
    "[Interface]\nAddress = 10.9.0.2/32\nPrivateKey = AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n";
const PEER: &str = "[Peer]\nPublicKey = XZMCHAoG5hyz+tlgIm+qib3JlaHRdUnuwiXeTeSVG4U=\n";
const OTHER_PEER: &str =
    "[Peer]\nPublicKey = CAgIBgUEAwIBCQgHBgUEAwIBCQgHBgUEAwIBCQgHBgU=\nEndpoint = 192.0.2.7:51820\n";

/// Files of wg-quick, names and contents; `wg0.conf` is a good one.
fn wireguard_files() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let wrong_keys = "[Interface]\nAddress = 10.9.0.2/32\nPrivateKey = secretsecret\n\
                      [Peer]\nPublicKey = alsosecret\nEndpoint = vpn.example.org:51820\nAllowedIPs = 0.0.0.0/0\n";
    let one_prefix = "AllowedIPs = 10.0.0.0/8\n";
    let files = [
        ("wg0.conf", format!("{INTERFACE}{PEER}Endpoint = vpn.example.org:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n")),
        ("no-peer.conf", INTERFACE.into()),
        ("wrong-keys.conf", wrong_keys.into()),
        (
            "two-peers.conf",
            format!("{INTERFACE}{PEER}Endpoint = 192.0.2.6:51820\n{one_prefix}{OTHER_PEER}{one_prefix}"),
        ),
        // Each takes four bytes here, and 18 in the configuration.
        ("prefixes.conf", format!("{INTERFACE}{OTHER_PEER}AllowedIPs = {}::1\n", "::1,".repeat(2000))),
        ("port.conf", format!("{INTERFACE}ListenPort = 53\n{OTHER_PEER}AllowedIPs = 0.0.0.0/0\n")),
        (
            "ipv6.conf",
            format!("{INTERFACE}Address = fd00::2/128\n{PEER}Endpoint = [2001:db8::7]:51820\nAllowedIPs = ::/0\n"),
        ),
    ];
    files.into_iter().map(|(name, text)| (name, text.into_bytes()))
}

#[test]
fn each_bad_file_gets_its_messages_and_no_others() {
    let folder = Folder::new("bad-files");
    let keys = [("root.key", (0..64).collect::<Vec<u8>>()), ("short.key", vec![7; 31])];
    for (name, bytes) in keys.into_iter().chain(wireguard_files()) {
        fs::set_permissions(folder.write(name, bytes), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let mut count = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# expect ")).collect();
        let file = folder.write("bad.toml", &text);
        fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
        let outcome = folder.shoji("config check bad.toml");
        let found: Vec<_> = outcome.stderr.lines().map(|line| line.trim_start_matches("bad.toml:")).collect();
        assert_eq!((outcome.status, outcome.stdout.as_str(), found), (1, "", expected), "{}", path.display());
        assert_eq!(folder.shoji("config build bad.toml").status, 1, "{}", path.display());
        count += 1;
    }
    assert!(count >= 30, "{count} files");
}
