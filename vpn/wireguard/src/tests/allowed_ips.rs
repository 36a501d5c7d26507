use crate::tests::rig::Chance;
use crate::{AllowedIps, IpPrefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::string::ToString;
use std::vec::Vec;

/// The same by going through all of them.
fn reference(entries: &[(IpPrefix, u32)], address: IpAddr) -> Option<u32> {
    let holds = |prefix: &IpPrefix| match (prefix.address(), address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (0..u32::from(prefix.len())).all(|bit| (a.to_bits() ^ b.to_bits()) >> (31 - bit) & 1 == 0)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (0..u32::from(prefix.len())).all(|bit| (a.to_bits() ^ b.to_bits()) >> (127 - bit) & 1 == 0)
        }
        _ => false,
    };
    let held = entries.iter().filter(|(prefix, _)| holds(prefix));
    let longest = held.clone().map(|(prefix, _)| prefix.len()).max()?;
    // Of the same prefix, the last one counts.
    held.filter(|(prefix, _)| prefix.len() == longest).map(|(_, owner)| *owner).next_back()
}

/// Addresses that have much in common.
fn address(chance: &mut Chance) -> IpAddr {
    let few = |chance: &mut Chance| chance.draw() & chance.draw() & chance.draw();
    if chance.draw().is_multiple_of(2) {
        Ipv4Addr::from_bits(0x0A00_0000 ^ few(chance) as u32).into()
    } else {
        Ipv6Addr::from_bits(u128::from(few(chance)) << 64 | u128::from(few(chance))).into()
    }
}

#[test]
fn the_table_answers_as_going_through_all_prefixes_does() {
    for seed in 0..60 {
        let mut chance = Chance::new(seed);
        let (mut table, mut entries) = (AllowedIps::new(), Vec::new());
        for owner in 0..chance.draw() % 60 {
            let address = address(&mut chance);
            let most = if address.is_ipv4() { 33 } else { 129 };
            let prefix = IpPrefix::new(address, (chance.draw() % most) as u8).unwrap();
            table.insert(prefix, owner as u32);
            entries.push((prefix, owner as u32));
        }
        for _ in 0..400 {
            let address = address(&mut chance);
            assert_eq!(table.lookup(address), reference(&entries, address), "{address}, seed {seed}");
        }
    }
}

#[test]
fn a_prefix_of_no_bits_holds_all_of_its_family_and_nothing_of_the_other() {
    let mut table = AllowedIps::new();
    table.insert("0.0.0.0/0".parse().unwrap(), 4);
    assert_eq!(table.lookup("203.0.113.9".parse().unwrap()), Some(4));
    assert_eq!(table.lookup("::ffff:203.0.113.9".parse().unwrap()), None);
    table.insert("::/0".parse().unwrap(), 6);
    assert_eq!(table.lookup("2001:db8::1".parse().unwrap()), Some(6));
}

#[test]
fn a_prefix_is_written_as_wg_writes_it() {
    for (text, shown) in [("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("fd00::1:2/64", "fd00::/64")] {
        assert_eq!(text.parse::<IpPrefix>().unwrap().to_string(), shown);
    }
    for text in ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/8/8", "fd00::/129", "10.0.0/8", "x/8"] {
        assert!(text.parse::<IpPrefix>().is_err(), "{text}");
    }
}
