use crate::{Endpoint, Finding, Peer, Severity, TunnelConfig, read};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

const GOOD: &str = "[Interface]
PrivateKey = AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=
Address = 10.0.0.2/24, fd00::2
DNS = 10.0.0.1, example.org
DNS = fd00::1
MTU = 1380
ListenPort = 51820

[Peer]
PublicKey = CQgHBgUEAwIBCQgHBgUEAwIBCQgHBgUEAwIBCQgHBgU=
PresharedKey = BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=
Endpoint = [2001:db8::1]:51820
AllowedIPs = 0.0.0.0/0
AllowedIPs = ::/0, 10.0.0.0/8
PersistentKeepalive = 25

[Peer]
PublicKey = CAgIBgUEAwIBCQgHBgUEAwIBCQgHBgUEAwIBCQgHBgU=
Endpoint = vpn.example.org.:443
AllowedIPs = 192.0.2.7
";

fn good(text: &str) -> TunnelConfig {
    let (config, findings) = read(text.as_bytes());
    assert!(findings.is_empty(), "{findings:?}");
    config.unwrap()
}

#[test]
fn port_0_is_any_port() {
    let text = GOOD.replace("ListenPort = 51820", "ListenPort = 0");
    assert!(text != GOOD);
    assert_eq!(good(&text).listen_port, None);
}

fn findings(bytes: &[u8]) -> Vec<Finding> {
    read(bytes).1
}

fn texts(peer: &Peer) -> Vec<String> {
    peer.allowed_ips.iter().map(ToString::to_string).collect()
}

/// Everything of it, keys too.
fn check(config: &TunnelConfig) {
    assert_eq!(*config.private_key.as_bytes(), core::array::from_fn(|i| i as u8 + 1));
    assert_eq!((config.listen_port, config.mtu), (Some(51820), Some(1380)));
    let addresses: Vec<_> =
        config.addresses.iter().map(|a| (a.address().to_string(), a.network().unwrap().to_string())).collect();
    let expected = [("10.0.0.2", "10.0.0.0/24"), ("fd00::2", "fd00::2/128")];
    assert_eq!(addresses, expected.map(|(a, n)| (a.to_string(), n.to_string())));
    assert_eq!(config.dns, ["10.0.0.1", "fd00::1"].map(|server| server.parse::<core::net::IpAddr>().unwrap()));
    assert_eq!(config.search, ["example.org"]);
    let [first, second] = config.peers.as_slice() else { panic!("two peers") };
    assert_eq!(first.public_key.0[..4], [9, 8, 7, 6]);
    assert_eq!(first.preshared_key.as_ref().unwrap().as_bytes(), &[7; 32]);
    assert_eq!(first.endpoint, Some(Endpoint::Address("[2001:db8::1]:51820".parse().unwrap())));
    assert_eq!(
        (texts(first), first.persistent_keepalive_s),
        (vec!["0.0.0.0/0".into(), "::/0".into(), "10.0.0.0/8".into()], 25)
    );
    assert!(second.preshared_key.is_none());
    assert_eq!(second.endpoint, Some(Endpoint::Name { host: "vpn.example.org.".into(), port: 443 }));
    assert_eq!((texts(second), second.persistent_keepalive_s), (vec!["192.0.2.7/32".into()], 0));
}

#[test]
fn every_value_of_a_file_arrives() {
    check(&good(GOOD));
}

#[test]
fn case_white_space_comments_and_line_ends_change_nothing() {
    let changed = GOOD.lines().map(|line| match line.split_once('=') {
        // Keys are Base64, where case counts.
        Some((key, value)) if key.contains("Key") => format!("{} ={value}# comment\r\n", key.to_uppercase()),
        _ => format!("\t {} \r\n", line.to_lowercase().replace(',', " ,\t")),
    });
    check(&good(&changed.collect::<String>()));
    check(&good(&format!("\u{FEFF}# comment\n\n{GOOD}")));
}

#[test]
fn a_configuration_goes_through_its_wire_form_unchanged() {
    let bytes = postcard::to_allocvec(&good(GOOD)).unwrap();
    assert!(bytes.len() < 300, "{} bytes", bytes.len());
    check(&postcard::from_bytes(&bytes).unwrap());
    for len in 0..bytes.len() {
        assert!(postcard::from_bytes::<TunnelConfig>(&bytes[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn a_wire_form_with_a_network_longer_than_its_address_is_refused() {
    let config = good(GOOD);
    let bytes = postcard::to_allocvec(&config).unwrap();
    let prefix = postcard::to_allocvec(&(config.addresses[0].address(), 24u8)).unwrap();
    let at = bytes.windows(prefix.len()).position(|window| window == prefix).unwrap();
    let mut longer = bytes.clone();
    longer[at + prefix.len() - 1] = 33;
    assert!(postcard::from_bytes::<TunnelConfig>(&longer).is_err());
    // The first allowed prefix of the second peer.
    let prefix = [0, 192, 0, 2, 7, 32];
    let at = bytes.windows(6).position(|window| window == prefix).unwrap();
    let mut longer = bytes;
    longer[at + 5] = 33;
    assert!(postcard::from_bytes::<TunnelConfig>(&longer).is_err());
}

#[test]
fn what_is_no_text_is_told_by_its_line() {
    let found = findings(b"[Interface]\nAddress = \xFF\n");
    assert_eq!((found.len(), found[0].line), (1, 2));
    let utf16: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(findings(&[&[0xFF, 0xFE][..], &utf16].concat())[0].message.contains("UTF-8"));
    assert!(findings(&utf16)[0].message.contains("UTF-8"));
    assert!(findings(&vec![b'#'; crate::MAX_FILE_BYTES + 1])[0].message.contains("64 KiB"));
    assert!(findings(format!("{GOOD}{}", "#".repeat(crate::MAX_FILE_BYTES - GOOD.len())).as_bytes()).is_empty());
}

#[test]
fn more_peers_than_a_tunnel_takes_are_an_error() {
    let peers: String = (0..=256u32)
        .map(|n| {
            // 32 bytes that differ: Base64 of zeros with a number in its first characters.
            let digits: String = (0..4).map(|at| char::from(b'B' + (n >> (4 * at)) as u8 % 16)).collect();
            format!(
                "[Peer]\nPublicKey={digits}{}=\nEndpoint=192.0.2.1:1\nAllowedIPs=10.0.{}.{}\n",
                "A".repeat(39),
                n >> 8,
                n & 255
            )
        })
        .collect();
    let interface = GOOD.split("\n[Peer]").next().unwrap();
    let found = findings(format!("{interface}\n{peers}").as_bytes());
    let errors: Vec<_> = found.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message.contains("more than 256 peers"));
}

#[test]
fn columns_count_characters() {
    let found = findings("[Interface]\nDNS = ä, 日本, 10.0.0.1, ö\n".as_bytes());
    let columns: Vec<_> = found.iter().filter(|finding| finding.line == 2).map(|finding| finding.column).collect();
    assert_eq!(columns, [7, 10, 24]);
}
