//! Guests and wires that do as they please. The oracle judges every frame that comes out to the wire.

use super::oracle::{self, MARKER};
use super::scenarios::udp_frame_of_guest;
use super::world::*;
use crate::GATEWAY_MAC;
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, Side, Tunnel as _};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

#[derive(Clone, Debug)]
enum Step {
    Guest(Vec<u8>),
    Wire(Vec<u8>),
    Wait(u64),
    Link(bool),
}

/// A frame with the marker somewhere.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let macs = || prop_oneof![Just(GATEWAY_MAC), Just(MAC), Just([0xFF; 6]), any::<[u8; 6]>()];
    let kinds = prop_oneof![Just(0x0800u16), Just(0x0806), Just(0x86DD), Just(0x8100), any::<u16>()];
    let noise = || prop::collection::vec(any::<u8>(), 0..200);
    let plain = (macs(), macs(), kinds, noise())
        .prop_map(|(to, from, kind, bytes)| [&to[..], &from, &kind.to_be_bytes(), &bytes, MARKER].concat());
    let changed = prop::collection::vec((0..80usize, any::<u8>()), 0..8).prop_map(|changes| {
        let mut frame = udp_frame_of_guest(b"of a hostile guest");
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame
    });
    prop_oneof![plain, changed]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => frame().prop_map(Step::Guest),
        4 => frame().prop_map(Step::Wire),
        1 => (0..20_000_000_000u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Link),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn whatever_guest_and_wire_do_no_frame_leaves_but_of_the_listed_kinds(steps in prop::collection::vec(steps(), 1..60)) {
        let mut world = World::new(Setup::default());
        prop_assert!(world.exchange_or_not());
        let mut frame = vec![0; MAX_FRAME_BYTES];
        for step in steps {
            let now = world.now;
            match step {
                Step::Guest(frame) => world.tunnel.on_frame(now, Side::Guest, &frame),
                Step::Wire(frame) => world.tunnel.on_frame(now, Side::Wire, &frame),
                Step::Link(up) => world.tunnel.on_link(now, up),
                Step::Wait(ns) => {
                    world.now = Instant(now.0 + ns);
                    world.tunnel.on_timeout(world.now);
                }
            }
            while let Some((side, len)) = world.tunnel.poll_transmit(world.now, &|_| true, &mut frame) {
                if side == Side::Wire
                    && let Err(why) = oracle::judge(&frame[..len])
                {
                    return Err(TestCaseError::fail(why));
                }
            }
        }
    }
}

impl World {
    /// Brings the tunnel up.
    fn exchange_or_not(&mut self) -> bool {
        self.run_until(5, |world| world.tunnel.is_up() && world.guest.has_address())
    }
}
