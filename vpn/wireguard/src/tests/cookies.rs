use crate::cookie::{Checker, Signer};
use crate::keys::PublicKey;
use crate::limiter::Limiter;
use crate::tests::rig::{Chance, a_out, b_out, private};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

fn sides() -> (Checker, Signer, Chance) {
    let key: PublicKey = private(9).public();
    (Checker::new(&key), Signer::new(&key), Chance::new(3))
}

fn signed(signer: &mut Signer, now_ms: u64) -> [u8; 148] {
    let mut message = [7; 148];
    message[116..].fill(0);
    signer.sign(now_ms, &mut message).unwrap();
    message
}

#[test]
fn mac1_is_wrong_for_another_key_or_a_changed_byte() {
    let (checker, mut signer, _) = sides();
    let message = signed(&mut signer, 0);
    assert!(checker.mac1_is_right(&message));
    assert!(!Checker::new(&private(8).public()).mac1_is_right(&message));
    for at in [0, 115, 116, 131] {
        let mut changed = message;
        changed[at] ^= 1;
        assert!(!checker.mac1_is_right(&changed), "byte {at}");
    }
    assert_eq!(message[132..], [0; 16], "no cookie, no MAC2");
}

#[test]
fn a_cookie_makes_mac2_right_for_its_own_source_until_the_secret_changes() {
    let (mut checker, mut signer, mut chance) = sides();
    let message = signed(&mut signer, 1000);
    let cookie = checker.cookie_of(1000, a_out(), &mut chance).unwrap();
    let reply = checker.reply(&message, 5, cookie, &mut chance).unwrap();
    assert!(reply.cookie != cookie, "it is encrypted");
    signer.take(1000, &reply).unwrap();
    assert!(signer.take(1000, &reply).is_none(), "a cookie is taken once");
    let message = signed(&mut signer, 6000);
    let right = |checker: &mut Checker, chance: &mut Chance, now_ms, from| {
        Checker::mac2_is_right(&message, &checker.cookie_of(now_ms, from, chance).unwrap())
    };
    assert!(right(&mut checker, &mut chance, 6000, a_out()));
    assert!(!right(&mut checker, &mut chance, 6000, b_out()));
    let other_port = SocketAddr::new(a_out().ip(), 1);
    assert!(!right(&mut checker, &mut chance, 6000, other_port));
    assert!(right(&mut checker, &mut chance, 120_999, a_out()));
    assert!(!right(&mut checker, &mut chance, 121_000, a_out()), "two minutes on, the secret is another one");
}

#[test]
fn a_cookie_is_no_longer_used_when_its_secret_may_have_changed() {
    let (mut checker, mut signer, mut chance) = sides();
    let message = signed(&mut signer, 0);
    let cookie = checker.cookie_of(0, a_out(), &mut chance).unwrap();
    signer.take(0, &checker.reply(&message, 5, cookie, &mut chance).unwrap()).unwrap();
    assert!(signed(&mut signer, 114_999)[132..] != [0; 16]);
    assert!(signed(&mut signer, 115_000)[132..] == [0; 16]);
}

#[test]
fn a_cookie_for_another_message_or_with_a_changed_byte_is_not_taken() {
    let (mut checker, mut signer, mut chance) = sides();
    let old = signed(&mut signer, 0);
    let cookie = checker.cookie_of(0, a_out(), &mut chance).unwrap();
    let mut new = [8; 148];
    signer.sign(0, &mut new).unwrap();
    assert!(signer.take(0, &checker.reply(&old, 5, cookie, &mut chance).unwrap()).is_none());
    let mut reply = checker.reply(&new, 5, cookie, &mut chance).unwrap();
    reply.cookie[3] ^= 1;
    assert!(signer.take(0, &reply).is_none());
    reply.cookie[3] ^= 1;
    assert!(signer.take(0, &reply).is_some());
}

#[test]
fn one_source_has_a_burst_of_five_and_twenty_a_second() {
    let mut limiter = Limiter::new(0);
    let source = a_out().ip();
    let burst = (0..100).filter(|_| limiter.allows(0, source)).count();
    assert_eq!(burst, 5);
    let steady = (1..=10_000).filter(|now| limiter.allows(*now, source)).count();
    assert_eq!(steady, 200);
    assert!(limiter.allows(10_000, b_out().ip()), "another source has its own");
}

#[test]
fn a_customer_of_ipv6_is_one_source() {
    let mut limiter = Limiter::new(0);
    let of = |host: u128| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | host));
    assert_eq!((0..100).filter(|host| limiter.allows(0, of(*host))).count(), 5);
    assert!(limiter.allows(0, of(1 << 64)));
}

#[test]
fn sources_do_not_fill_the_heap() {
    let mut limiter = Limiter::new(0);
    let of = |n| IpAddr::V4(Ipv4Addr::from_bits(n));
    assert_eq!((0..100_000).filter(|n| limiter.allows(1, of(*n))).count(), 1024);
    assert!(limiter.allows(1001, of(200_000)), "silent ones are forgotten");
}

#[test]
fn load_ends_a_second_after_its_last_sign() {
    let mut limiter = Limiter::new(3);
    let answers: [bool; 5] = core::array::from_fn(|_| limiter.is_under_load(10_500));
    assert_eq!(answers, [false, false, false, true, true]);
    assert!(limiter.is_under_load(11_499));
    assert!(!limiter.is_under_load(11_500));
}
