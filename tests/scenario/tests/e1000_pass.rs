//! A network card whose guest may use the cable itself.
#![forbid(unsafe_code)]

use mediator::net::NetPolicy;
use scenario::e1000::{E1000Rig, frame};
use sim::VMM;
use sim::e1000::*;

fn rig(id: u16) -> E1000Rig {
    let mut rig = E1000Rig::bare(id);
    rig.machine.set_policy(NetPolicy::Pass).expect("the card passes");
    rig.start();
    rig
}

/// As `E1000Rig::run`, without a tunnel that could tell what may be on the wire.
fn run(rig: &mut E1000Rig, steps: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for _ in 0..steps {
        rig.machine.tick();
        rig.machine.poll_if_due();
        frames.extend(rig.guest.interrupt(&mut rig.machine).into_iter().flat_map(|(_, frames)| frames));
    }
    assert_eq!(rig.machine.faults, []);
    frames
}

#[test]
fn frames_go_both_ways_as_they_are() {
    for id in [I82540EM, I82545EM, I82574L] {
        let mut rig = rig(id);
        for len in [60, 1000, 1514] {
            rig.guest.send(&mut rig.machine, &frame(len));
            rig.machine.card.coming.push_back(frame(len));
        }
        let got = run(&mut rig, 10);
        assert!(rig.machine.card.sent == [60, 1000, 1514].map(frame));
        assert_eq!(got.len(), 3);
        assert!(got.iter().zip([60, 1000, 1514]).all(|(it, len)| it.bytes.starts_with(&frame(len))));
    }
}

#[test]
fn a_promiscuous_guest_gets_what_is_for_others_and_another_does_not() {
    let mut rig = rig(I82540EM);
    assert_eq!(rig.machine.card.get(RCTL) >> 3 & 1, 1, "the real card takes all");
    let mut other = frame(100);
    other[5] ^= 1;
    rig.machine.card.coming.push_back(other.clone());
    assert!(run(&mut rig, 5).is_empty());
    rig.machine.write(RCTL, 0x800a);
    rig.machine.card.coming.push_back(other);
    assert_eq!(run(&mut rig, 5).len(), 1);
}

#[test]
fn a_burst_is_taken_whole() {
    let mut rig = E1000Rig::bare(I82574L);
    rig.machine.set_policy(NetPolicy::Pass).unwrap();
    rig.guest.count = 512;
    rig.start();
    rig.machine.card.coming.extend((0..200).map(|_| frame(1514)));
    for _ in 0..200 {
        rig.machine.tick();
    }
    assert_eq!(run(&mut rig, 3).len(), 200);
}

#[test]
fn a_guest_that_passes_still_gets_the_card_nowhere_else() {
    let mut rig = rig(I82574L);
    rig.guest.put(&mut rig.machine, u128::from(VMM.start) | 128 << 64 | 0x0b << 88);
    rig.machine.ram.poke(rig.guest.rx_at(0), &VMM.start.to_le_bytes());
    rig.machine.card.coming.push_back(frame(100));
    rig.guest.ring(&mut rig.machine);
    for _ in 0..5 {
        rig.machine.tick();
        rig.machine.poll();
    }
    assert!(rig.machine.card.sent.is_empty());
    assert_eq!(rig.machine.faults, []);
}

#[test]
fn a_card_that_passes_is_not_polled_for_a_guest_that_receives_nothing() {
    for id in [I82540EM, I82545EM, I82574L] {
        let mut rig = E1000Rig::bare(id);
        rig.machine.set_policy(NetPolicy::Pass).unwrap();
        assert_eq!(rig.machine.poll_timeout(), None, "no driver");
        rig.start();
        // It looks at memory alone.
        rig.machine.write(IMC, u32::MAX);
        assert!(rig.machine.poll_timeout().is_some());
        rig.machine.write(RCTL, 0);
        assert_eq!(rig.machine.poll_timeout(), None);
    }
}

#[test]
fn frames_that_came_while_the_receiver_was_off_are_lost() {
    for id in [I82540EM, I82545EM, I82574L] {
        let mut rig = rig(id);
        let control = rig.machine.read(RCTL);
        rig.machine.write(RCTL, 0);
        for _ in 0..300 {
            rig.machine.card.coming.push_back(frame(100));
            rig.machine.tick();
        }
        rig.machine.write(RCTL, control);
        assert!(run(&mut rig, 5).is_empty(), "from before");
        rig.machine.card.coming.push_back(frame(200));
        assert_eq!(run(&mut rig, 5).len(), 1);
    }
}
