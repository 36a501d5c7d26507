//! Network rules: what a file of wg-quick becomes, and what is shown of it.

mod common;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use common::Folder;
use config::{CardSelector, Config, NetworkPolicy, TunnelProtocol, TunnelRule, Wire, WireIpv4, WireIpv6};
use wg_quick::{Endpoint, TunnelConfig};

const INTERFACE: &str =
    "[Interface]\nAddress = 10.9.0.2/32\nPrivateKey = AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n";
const PEER: &str = "[Peer]\nPublicKey = XZMCHAoG5hyz+tlgIm+qib3JlaHRdUnuwiXeTeSVG4U=\n";

const TOML: &str = r#"[[network]]
name = "lan"
card = { mac = "52:54:00:12:34:56" }
policy = "tunnel"
wireguard = "wg0.conf"
[network.wire]
mtu = 1492
ipv4 = { address = "192.0.2.10/24", gateway = "192.0.2.1" }
ipv6 = "off"
dns = ["192.0.2.53"]
[[network]]
name = "wlan"
card = { function = "02:00.1" }
policy = "block"
[[network]]
name = "test"
card = { function = "0000:00:03.0" }
policy = "pass"
"#;

const PRESHARED: &str = "DEg7ZUVYuXV1aux/zjR8h25UILZlEMj4dfZ/4jHc4UA=";

fn write_private(folder: &Folder, name: &str, content: &str) {
    fs::set_permissions(folder.write(name, content), PermissionsExt::from_mode(0o600)).unwrap();
}

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    write_private(
        &folder,
        "wg0.conf",
        &format!(
            "{INTERFACE}DNS = 10.9.0.1, example.org\nMTU = 1380\nListenPort = 51820\n{PEER}PresharedKey = {PRESHARED}\n\
             Endpoint = vpn.example.org:51820\nAllowedIPs = 0.0.0.0/0, fd00::/8\nPersistentKeepalive = 25\n"
        ),
    );
    folder.write("shoji.toml", TOML);
    folder
}

fn built(folder: &Folder) -> Config {
    let outcome = folder.shoji("config build shoji.toml");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    config::parse(&fs::read(folder.path("shoji.conf")).unwrap()).unwrap()
}

fn tunnel(config: &Config) -> (&Wire, TunnelConfig) {
    let NetworkPolicy::Tunnel(TunnelRule { wire, protocol }) = &config.networks[0].policy else {
        panic!("it is another policy")
    };
    let TunnelProtocol::WireGuard(secret) = protocol;
    (wire, postcard::from_bytes(&secret.0).unwrap())
}

#[test]
fn a_file_of_wg_quick_is_taken_in_as_the_tunnels_program_reads_it() {
    let folder = folder("network-build");
    let config = built(&folder);
    let cards: Vec<_> = config.networks.iter().map(|rule| (rule.name.as_str(), rule.card)).collect();
    let function = |bus, device, function| CardSelector::Function { bus, device, function };
    let mac = CardSelector::Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(cards, [("lan", mac), ("wlan", function(2, 0, 1)), ("test", function(0, 3, 0))]);
    assert!(matches!(config.networks[1].policy, NetworkPolicy::Block));
    assert!(matches!(config.networks[2].policy, NetworkPolicy::Pass));
    let (wire, tunnel) = tunnel(&config);
    let ipv4 = WireIpv4::Static {
        address: Ipv4Addr::new(192, 0, 2, 10),
        prefix_len: 24,
        gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
    };
    let dns = vec![IpAddr::from([192, 0, 2, 53])];
    assert_eq!(*wire, Wire { mtu: 1492, ipv4, ipv6: WireIpv6::Off, dns });
    assert_eq!(*tunnel.private_key.as_bytes(), std::array::from_fn(|i| i as u8 + 1));
    assert_eq!((tunnel.mtu, tunnel.listen_port), (Some(1380), Some(51820)));
    let peer = &tunnel.peers[0];
    assert!(peer.preshared_key.as_ref().unwrap().as_bytes().starts_with(&[0x0C, 0x48, 0x3B, 0x65]));
    // The name stays a name: nothing was asked for it.
    assert_eq!(peer.endpoint, Some(Endpoint::Name { host: "vpn.example.org".into(), port: 51820 }));
    assert_eq!(peer.persistent_keepalive_s, 25);
}

#[test]
fn without_a_wire_there_are_dhcp_and_slaac() {
    let folder = folder("network-default");
    folder.write("shoji.toml", &TOML[..TOML.find("[network.wire]").unwrap()]);
    let config = built(&folder);
    assert_eq!(*tunnel(&config).0, Wire { mtu: 1500, ipv4: WireIpv4::Dhcp, ipv6: WireIpv6::Slaac, dns: vec![] });
}

#[test]
fn the_summary_counts_network_rules() {
    let folder = folder("network-summary");
    let outcome = folder.shoji("config check shoji.toml");
    assert_eq!(outcome.stdout, "shoji.toml: good, 0 disk rules, 3 network rules\n");
    assert_eq!(outcome.stderr, "", "a machine may have no disk to encrypt");
}

const SHOWN: &str = r#"
[[network]]
name = "lan"
card = { mac = "52:54:00:12:34:56" }
policy = "tunnel"

[network.wire]
mtu = 1492
ipv4 = { address = "192.0.2.10/24", gateway = "192.0.2.1" }
ipv6 = "off"
dns = ["192.0.2.53"]

[network.wireguard]
private-key = "(32 bytes, not shown)"
public-key = "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw="
listen-port = 51820
address = ["10.9.0.2/32"]
dns = ["10.9.0.1"]
search = ["example.org"]
mtu = 1380

[[network.wireguard.peer]]
public-key = "XZMCHAoG5hyz+tlgIm+qib3JlaHRdUnuwiXeTeSVG4U="
preshared-key = "(32 bytes, not shown)"
endpoint = "vpn.example.org:51820"
allowed-ips = ["0.0.0.0/0", "fd00::/8"]
persistent-keepalive = 25

[[network]]
name = "wlan"
card = { function = "02:00.1" }
policy = "block"

[[network]]
name = "test"
card = { function = "00:03.0" }
policy = "pass"
"#;

#[test]
fn show_tells_of_a_tunnel_what_is_no_secret() {
    let folder = folder("network-show");
    built(&folder);
    let (source, blob) = (folder.shoji("config show shoji.toml"), folder.shoji("config show shoji.conf"));
    assert_eq!((source.status, &source.stdout), (0, &blob.stdout));
    assert!(source.stdout.ends_with(SHOWN), "{}", source.stdout);
    let json = folder.shoji("config show --json shoji.conf").stdout;
    let tree: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(tree["network"][0]["wireguard"]["peer"][0]["allowed-ips"][1], "fd00::/8");
    assert_eq!(tree["network"][0]["wire"]["ipv4"]["gateway"], "192.0.2.1");
    for text in [source.stdout, json] {
        assert!(
            !text.contains("AQIDBAUG") && !text.contains(&PRESHARED[..12]) && !text.contains("0102030405"),
            "{text}"
        );
    }
}

#[test]
fn what_show_prints_is_good_toml_and_good_again_with_the_file() {
    let folder = folder("network-round-trip");
    built(&folder);
    let shown = folder.shoji("config show shoji.toml").stdout;
    let (start, end) =
        (shown.find("[network.wireguard]").unwrap(), shown.find("[[network]]\nname = \"wlan\"").unwrap());
    let again = [&shown[..start], &shown[end..]].concat();
    folder.write("again.toml", again.replace("policy = \"tunnel\"", "policy = \"tunnel\"\nwireguard = \"wg0.conf\""));
    assert_eq!(folder.shoji("config build again.toml").status, 0);
    assert_eq!(fs::read(folder.path("again.conf")).unwrap(), fs::read(folder.path("shoji.conf")).unwrap());
    folder.write("shown.toml", &shown);
    let outcome = folder.shoji("config check shown.toml").stderr;
    assert_eq!(outcome.lines().count(), 1, "no other key is strange: {outcome}");
    assert!(
        outcome.contains("error: `wireguard` must be a string, not a table; write e.g. `wireguard = \"wg0.conf\"`")
    );
}

#[test]
fn locked_network_rules_are_shown_only_once_opened() {
    let folder = folder("network-locked");
    assert_eq!(folder.shoji("key new raw.key").status, 0);
    let outcome = folder.shoji("config build shoji.toml --raw-key-file raw.key");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let blob = fs::read(folder.path("shoji.conf")).unwrap();
    assert!(!blob.windows(11).any(|bytes| bytes == b"example.org"));
    assert!(!folder.shoji("config show shoji.conf").stdout.contains("network"));
    let opened = folder.shoji("config show shoji.conf --unlock-raw-key-file raw.key").stdout;
    assert!(opened.ends_with(SHOWN), "{opened}");
}

#[test]
fn a_file_that_others_may_read_is_named() {
    let folder = folder("network-exposed");
    fs::set_permissions(folder.path("wg0.conf"), PermissionsExt::from_mode(0o640)).unwrap();
    let outcome = folder.shoji("config build shoji.toml");
    let warning = "shoji.toml:5:13: warning: `wireguard` wg0.conf is open to other users; run `chmod 600 wg0.conf`\n";
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, warning));
}

#[test]
fn lines_without_effect_are_named_with_their_file() {
    let folder = folder("network-warnings");
    fs::create_dir_all(folder.path("etc")).unwrap();
    let text =
        format!("{INTERFACE}PostUp = touch evil\nTable = off\n{PEER}Endpoint = 192.0.2.7:1\nAllowedIPs = ::/0\n");
    write_private(&folder, "etc/wg1.conf", &text);
    folder.write("etc/shoji.toml", TOML.replace("wg0.conf", "wg1.conf"));
    let outcome = folder.shoji("config build etc/shoji.toml");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let warnings = [
        "etc/wg1.conf:4:1: warning: `PostUp` has no effect here: nothing of the file is executed; the line can be removed\n",
        "etc/wg1.conf:5:1: warning: `Table` has no effect here: the guest sets up its own routes; the line can be removed\n",
    ];
    assert_eq!(outcome.stderr, warnings.concat());
    assert!(!folder.path("evil").exists());
    let absolute = folder.path("etc/wg1.conf").display().to_string();
    folder.write("shoji.toml", TOML.replace("wg0.conf", &absolute));
    let report = folder.shoji("config check --json shoji.toml");
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!((&report["file"], &report["ok"]), (&"shoji.toml".into(), &true.into()));
    let finding = &report["findings"][1];
    assert_eq!((&finding["file"], &finding["line"], &finding["column"]), (&absolute.into(), &5.into(), &1.into()));
    assert_eq!(finding["key"], "network[0].wireguard");
}

#[test]
fn findings_in_the_toml_file_name_it_in_json_too() {
    let folder = folder("network-json");
    folder.write("bad.toml", TOML.replace("1492", "1"));
    let report = folder.shoji("config check --json bad.toml");
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let finding = &report["findings"][0];
    assert_eq!((&finding["file"], &finding["line"]), (&"bad.toml".into(), &7.into()));
    assert_eq!(finding["key"], "network[0].wire.mtu");
}

#[test]
fn a_peer_that_is_reached_by_its_address_needs_no_server_for_names() {
    let folder = folder("network-no-names");
    write_private(&folder, "wg0.conf", &format!("{INTERFACE}{PEER}Endpoint = 192.0.2.7:51820\nAllowedIPs = ::/0\n"));
    folder.write("shoji.toml", TOML.replace("dns = [\"192.0.2.53\"]\n", ""));
    assert!(tunnel(&built(&folder)).0.dns.is_empty());
}

#[test]
fn any_port_is_what_no_port_is() {
    let folder = folder("network-port");
    let text = fs::read_to_string(folder.path("wg0.conf")).unwrap();
    write_private(&folder, "wg0.conf", &text.replace("ListenPort = 51820", "ListenPort = 0"));
    assert_eq!(tunnel(&built(&folder)).1.listen_port, None);
}
