//! What a guest, a card and a program do.

use super::world::*;
use crate::link::QUEUE_BYTES;
use crate::{Next, Outcome};
use abi::vpn::op;
use core::task::{Context, Waker};
use mediator::Instant;
use mediator::net::{Side, Tunnel as _};
use message::Error;
use std::vec;
use std::vec::Vec;

fn is_rung(world: &mut World) -> bool {
    world.far.poll_rung(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn a_guest_reaches_its_peer_and_is_answered() {
    let mut world = World::up();
    let before = (world.numbers().len(), world.back.len());
    assert!((0..10).all(|_| world.ping(1)));
    assert_eq!((world.numbers().len(), world.back.len()), (before.0 + 10, before.1 + 10));
    assert_eq!(world.near.poll_timeout(), None, "the card has no clock to keep");
    assert!(world.program.told.iter().any(|line| line.contains("packets get through") || line.contains("up")));
}

#[test]
fn a_send_of_the_guest_is_one_call_and_so_are_many_that_wait_together() {
    let mut world = World::up();
    for count in [1, 20] {
        assert!(world.run_until(1, |world| world.next_is_far_off()));
        let calls = world.program.calls.len();
        let numbers: Vec<u32> = (0..count).map(|_| world.send(1000)).collect();
        assert!(is_rung(&mut world));
        let outcome = world.pump();
        assert!(outcome.card);
        assert_eq!(&world.program.calls[calls..], [op::EXCHANGE]);
        world.poll_card();
        world.step();
        assert!(world.numbers().ends_with(&numbers), "{count}");
    }
}

#[test]
fn order_is_kept_through_many_batches() {
    let mut world = World::up();
    let seen = world.numbers().len();
    // As many as the queue takes, which is more than two batches.
    let sent: Vec<u32> = (0..90).map(|_| world.send(1300)).collect();
    let calls = world.program.count(op::EXCHANGE);
    assert!(world.run_until(2, |world| world.numbers().len() == seen + sent.len()));
    assert_eq!(&world.numbers()[seen..], sent);
    assert!(world.program.count(op::EXCHANGE) >= calls + 2);
    assert!(world.run_until(2, |world| world.back.ends_with(&sent)), "{:?}", world.back);
}

#[test]
fn a_full_queue_drops_what_comes_and_nothing_that_waits() {
    let mut world = World::up();
    let (seen, before) = (world.numbers().len(), world.far.watch().counters());
    let sent: Vec<u32> = (0..5000).map(|_| world.send(1300)).collect();
    let counters = world.far.watch().counters();
    let dropped = (counters.full.guest - before.full.guest) as usize;
    let kept = QUEUE_BYTES / (frame(1, 1300).len() + 2);
    assert_eq!(dropped, sent.len() - kept);
    assert!(world.run_until(2, |world| world.numbers().len() == seen + kept));
    assert_eq!(&world.numbers()[seen..], &sent[..kept]);
}

#[test]
fn a_guest_that_floods_does_not_keep_the_wire_out() {
    let mut world = World::up();
    for _ in 0..2000 {
        world.send(1300);
    }
    let before = world.far.watch().counters();
    for _ in 0..40 {
        world.near.on_frame(world.now, Side::Wire, &[0xff; 1500]);
    }
    world.pump();
    let counters = world.far.watch().counters();
    assert_eq!(counters.full.wire, before.full.wire);
    assert_eq!(counters.taken.wire - before.taken.wire, 21, "half of the next batch is the wire's");
    assert!(counters.taken.guest - before.taken.guest >= 20, "the other half is the guest's");
}

#[test]
fn frames_that_the_card_has_no_room_for_wait_and_the_rest_goes_on() {
    let mut world = World::up();
    let sent: Vec<u32> = (0..40).map(|_| world.send(1300)).collect();
    // The guest takes nothing, for a while.
    let mut buffer = vec![0; 9018];
    for _ in 0..5 {
        world.pump();
        assert!(world.near.poll_transmit(world.now, &|_| false, &mut buffer).is_none());
    }
    assert!(world.run_until(2, |world| world.back.ends_with(&sent)));
}

/// The losses that a program can have at the `n`th call from now.
fn faults() -> Vec<Fault> {
    let ends = |after_ns, has_worked| Fault::Ends { after_ns, has_worked };
    vec![ends(0, false), ends(0, true), ends(500 * MS, false), Fault::Restarted, Fault::Error(Error::NotFound)]
}

#[test]
fn a_program_that_is_lost_at_any_call_loses_packets_leaks_none_and_comes_back() {
    for fault in faults() {
        for at in 0..14 {
            let mut world = World::new();
            world.program.faults = (0..at).map(|_| None).chain([Some(fault)]).collect();
            for _ in 0..40 {
                world.send(600);
                world.run_ms(5);
            }
            assert!(world.program.faults.is_empty(), "{fault:?} at {at}");
            assert!(world.ping(30), "{fault:?} at {at}: {:?}", world.program.told);
            assert!(world.near.is_up());
            let told = |what: &str| world.program.told.iter().filter(|line| line.contains(what)).count();
            assert_eq!(
                (told("is lost"), told("its program runs again")),
                (1, 1),
                "{fault:?} at {at}: {:?}",
                world.program.told
            );
            assert_eq!(world.far.watch().counters().losses, 1);
            assert!(world.numbers().is_sorted() && world.numbers().windows(2).all(|two| two[0] != two[1]), "order");
        }
    }
}

#[test]
fn what_waits_when_a_program_is_lost_is_dropped_and_counted() {
    let mut world = World::up();
    world.program.faults = [Some(Fault::Ends { after_ns: 0, has_worked: true })].into();
    let (sent, seen) = (world.sent, world.numbers().len());
    let before = world.far.watch().counters().down.guest;
    let _sent: Vec<u32> = (0..90).map(|_| world.send(1300)).collect();
    let Outcome { next, card } = world.pump();
    assert!(!card && matches!(next, Next::At(at) if at > world.now));
    assert!(!world.near.is_up());
    world.send(1300);
    world.poll_card();
    assert_eq!((world.sent, world.numbers().len()), (sent, seen), "nothing leaves");
    assert_eq!(world.far.watch().counters().down.guest, before + 91);
}

#[test]
fn a_program_that_never_comes_back_is_asked_ever_more_rarely_and_told_of_once() {
    let mut world = World::up();
    world.program.is_broken = true;
    let (calls, told) = (world.program.calls.len(), world.program.told.len());
    for _ in 0..60 {
        world.send(100);
        world.run_ms(1000);
    }
    assert_eq!(world.program.told.len(), told + 1, "{:?}", world.program.told);
    let asked = world.program.calls.len() - calls;
    assert!((60..70).contains(&asked), "{asked}");
    assert!(!world.near.is_up());
    world.program.is_broken = false;
    assert!(world.ping(10));
}

#[test]
fn a_call_that_cannot_be_made_now_is_made_later_with_the_same_frames() {
    let mut world = World::up();
    for error in [Error::NotNow, Error::TimedOut] {
        let seen = world.numbers().len();
        world.program.faults = (0..50).map(|_| Some(Fault::Error(error))).collect();
        let sent: Vec<u32> = (0..60).map(|_| world.send(1300)).collect();
        assert!(world.run_until(2, |world| world.numbers().len() == seen + sent.len()));
        assert_eq!(&world.numbers()[seen..], sent, "{error:?}");
        assert_eq!(world.far.watch().counters().losses, 0);
    }
}

#[test]
fn a_call_that_can_never_be_made_is_a_loss() {
    let mut world = World::up();
    world.program.faults = (0..1100).map(|_| Some(Fault::Error(Error::TimedOut))).collect();
    world.send(100);
    assert!(world.run_until(2, |world| world.far.watch().counters().losses == 1));
    assert!(!world.near.is_up());
}

#[test]
fn each_life_of_a_program_has_another_seed_and_is_told_of_the_cable() {
    let mut world = World::up();
    world.near.on_link(world.now, false);
    world.run_ms(10);
    world.program.faults = [Some(Fault::Restarted)].into();
    let sent = world.sent;
    assert!(!world.ping(5));
    assert_eq!((world.sent, world.program.seeds), (sent, 2), "without a cable nothing leaves");
    world.near.on_link(world.now, true);
    assert!(world.ping(10));
}

#[test]
fn what_the_program_gave_before_its_end_goes_nowhere() {
    let mut world = World::up();
    (0..20).for_each(|_| assert!(world.send(1300) > 0));
    // Its answer waits for the card, which has not come by yet.
    assert!(world.pump().card);
    let before = world.far.watch().counters().late.wire;
    world.program.faults = [Some(Fault::Error(Error::Dead))].into();
    world.pump();
    let sent = world.sent;
    world.poll_card();
    assert_eq!((world.sent, world.far.watch().counters().late.wire), (sent, before + 20));
}

#[test]
fn what_the_program_gave_for_a_cable_that_is_out_goes_nowhere() {
    let mut world = World::up();
    (0..20).for_each(|_| assert!(world.send(1300) > 0));
    assert!(world.pump().card);
    world.near.on_link(world.now, false);
    let sent = world.sent;
    world.poll_card();
    assert_eq!(world.sent, sent, "what waited");
    // It was under way while the cable was pulled.
    world.near.on_link(world.now, true);
    world.send(1300);
    world.program.pulls = Some(world.near.clone_for_tests());
    world.pump();
    world.near.on_link(world.now, true);
    world.poll_card();
    assert_eq!(world.sent, sent, "what came then");
}

#[test]
fn without_random_numbers_there_is_no_tunnel() {
    let mut world = World::unstarted(setup());
    world.program.no_seed = true;
    assert!(world.far.begin(world.now, &mut world.program).unwrap_err().contains("random"));
    assert!(world.program.calls.is_empty());
}

#[test]
fn before_it_is_set_up_a_tunnel_takes_nothing() {
    let mut world = World::unstarted(setup());
    world.near.on_link(world.now, true);
    world.send(100);
    assert_eq!(world.pump().next, Next::At(Instant(u64::MAX)));
    assert_eq!(world.far.watch().counters().down.guest, 1);
    assert!(world.program.calls.is_empty() && !world.near.is_up());
}

#[test]
fn parameters_that_make_no_tunnel_are_refused_with_the_reason() {
    let mut world = World::unstarted(setup_of(b"what is this"));
    let why = world.far.begin(world.now, &mut world.program).unwrap_err();
    assert_eq!(why, "its parameters cannot be read");
    world.send(100);
    world.run_ms(100);
    assert_eq!(world.sent, 0);
}

#[test]
fn the_text_tells_peers_and_never_a_key() {
    let mut world = World::up();
    let text = text(&mut world);
    for part in ["wire: 192.0.2.10", "endpoint: 192.0.2.1:51820", "allowed ips: 0.0.0.0/0", "latest handshake: "] {
        assert!(text.contains(part), "{text}");
    }
    // [1; 32] in base64.
    assert!(!text.contains("AQEBAQEB"), "{text}");
}
