//! Any frames of the wire.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Frame(Vec<u8>),
    Wait(u64),
    Send(bool, usize),
    Link(bool),
}

fn steps() -> impl Strategy<Value = Step> {
    let noise = || prop::collection::vec(any::<u8>(), 0..300);
    let ports = || prop_oneof![Just(PORT), Just(53u16), Just(67), Just(68), any::<u16>()];
    let v4 = || {
        prop_oneof![
            Just(OWN),
            Just(PEER),
            Just(ROUTER),
            Just(Ipv4Addr::BROADCAST),
            any::<u32>().prop_map(Ipv4Addr::from)
        ]
    };
    let v6 = || {
        prop_oneof![
            Just(OWN6),
            Just(ROUTER6),
            Just(Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1)),
            any::<u128>().prop_map(Ipv6Addr::from)
        ]
    };
    let plain = (prop_oneof![Just(0x0800u16), Just(0x0806), Just(0x86DD), any::<u16>()], noise())
        .prop_map(|(kind, bytes)| [&MAC[..], &ROUTER_MAC, &kind.to_be_bytes(), &bytes].concat());
    let datagram4 = (v4(), ports(), v4(), ports(), noise()).prop_map(|(a, b, c, d, data)| udp((a, b), (c, d), &data));
    let datagram6 = (v6(), ports(), v6(), ports(), noise()).prop_map(|(a, b, c, d, data)| udp((a, b), (c, d), &data));
    let message = (v6(), v6(), 128..140u8, noise()).prop_map(|(from, to, kind, mut bytes)| {
        bytes.resize(bytes.len().max(24), 1);
        (bytes[0], bytes[1]) = (kind, 0);
        icmp6(from, to, &bytes)
    });
    // Replies of DHCP with some sense: fixed part, cookie, then options.
    let lease = (v4(), any::<u32>(), noise()).prop_map(|(from, given, options)| {
        let mut data = vec![2, 1, 6, 0, 0, 0, 0, 1];
        data.resize(236, 0);
        data[16..20].copy_from_slice(&given.to_be_bytes());
        data[28..34].copy_from_slice(&MAC);
        data.extend([99, 130, 83, 99, 53, 1, 2, 54, 4, 1, 2, 3, 4]);
        data.extend(options);
        udp((from, 67), (Ipv4Addr::BROADCAST, 68), &data)
    });
    let frame = prop_oneof![plain, datagram4, datagram6, message, lease, noise()];
    prop_oneof![
        8 => frame.prop_map(Step::Frame),
        2 => (0..10_000_000_000u64).prop_map(Step::Wait),
        1 => (0..10_000u64).prop_map(|s| Step::Wait(s * S)),
        2 => (any::<bool>(), 0..2000usize).prop_map(|(v6, len)| Step::Send(v6, len)),
        1 => any::<bool>().prop_map(Step::Link),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn a_hostile_wire_neither_stops_the_stack_nor_makes_it_say_more_than_it_may(
        steps in prop::collection::vec(steps(), 1..40), automatic: bool
    ) {
        let mut config = Config { names: true, ..config() };
        if automatic {
            (config.ipv4, config.ipv6) = (Ipv4::Dhcp, Ipv6::Slaac);
        }
        let mut outside = plugged_in(config);
        let mut now = NOW;
        outside.resolve("vpn.example.org");
        for step in steps {
            match step {
                Step::Frame(frame) => outside.on_frame(now, &frame),
                Step::Wait(ns) => {
                    now = Instant(now.0 + ns);
                    outside.on_timeout(now);
                }
                Step::Send(v6, len) => {
                    let to = if v6 { SocketAddr::from((PEER6, 9)) } else { (PEER, 9).into() };
                    let _ = outside.send(now, 0, to, &vec![0xA5; len]);
                }
                Step::Link(up) => outside.on_link(now, up),
            }
            outside.poll_resolved(now);
            prop_assert!(outside.poll_timeout(now).is_none_or(|at| at.0 + 3 * S >= now.0));
            while received(&mut outside).is_some() {}
            for frame in sent(&mut outside) {
                prop_assert!(frame.len() <= 1514 && frame[6..12] == MAC, "{:?}", frame);
                let kind = (frame[12], frame[13], frame[23], frame.get(20).copied());
                let is_listed = match kind {
                    (8, 6, ..) => frame.len() == 42,
                    (8, 0, 17, _) => true,
                    (0x86, 0xDD, _, Some(17)) => true,
                    (0x86, 0xDD, _, Some(58)) => matches!(frame[54], 133 | 135 | 136),
                    _ => false,
                };
                prop_assert!(is_listed, "{:?}", frame);
            }
        }
    }
}
