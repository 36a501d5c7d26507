//! A program that is somebody else's.

use super::world::*;
use crate::Next;
use abi::vpn::{Answer, Both, MAX_BATCH_BYTES, Side as AbiSide, record_header};
use core::fmt;
use mediator::net::{MAX_FRAME_BYTES, Side, Tunnel as _};
use message::{Error, Leases};
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// A pair whose program answers with `bytes`, and says that there are `len` of them.
fn answered(bytes: &[u8], len: u64) -> (World, Next) {
    let mut world = World::unstarted(setup());
    let mut liar = Liar(bytes.to_vec(), len);
    world.far.begin(world.now, &mut liar).unwrap();
    world.near.on_link(world.now, true);
    world.send(100);
    let next = world.far.exchange(world.now, &mut liar).next;
    (world, next)
}

fn handed_out(world: &mut World) -> Vec<(Side, Vec<u8>)> {
    let mut buffer = vec![0; MAX_FRAME_BYTES];
    let mut all = vec![];
    while let Some((side, len)) = world.near.poll_transmit(world.now, &|_| true, &mut buffer) {
        all.push((side, buffer[..len].to_vec()));
    }
    all
}

fn batch(records: &[(AbiSide, &[u8])]) -> Vec<u8> {
    let mut bytes = Answer { is_up: true, ..Answer::default() }.encode().to_vec();
    for (side, frame) in records {
        bytes.extend(record_header(*side, frame.len()).unwrap());
        bytes.extend(*frame);
    }
    bytes
}

#[test]
fn an_answer_that_cannot_be_is_a_loss_and_nothing_of_it_goes_anywhere() {
    let good = batch(&[(AbiSide::Wire, b"a frame"), (AbiSide::Guest, b"another")]);
    let (mut world, _) = answered(&good, good.len() as u64);
    assert_eq!(handed_out(&mut world).len(), 2);
    assert!(world.near.is_up());
    let with = |tail: &[u8]| [&good, tail].concat();
    let bad = [
        (good.clone(), good.len() as u64 - 1),
        (good.clone(), MAX_BATCH_BYTES as u64 + 1),
        (good.clone(), u64::MAX),
        (good.clone(), 3),
        (vec![], 0),
        (with(&[2, 1, 0, 9]), good.len() as u64 + 4),
        (with(&[1, 0, 0]), good.len() as u64 + 3),
        (with(&[1, 0xff, 0xff]), good.len() as u64 + 3),
    ];
    for (bytes, len) in bad {
        let (mut world, next) = answered(&bytes, len);
        assert_eq!(handed_out(&mut world), [], "{len}");
        assert!(!world.near.is_up());
        assert!(matches!(next, Next::At(at) if at > world.now));
        let counters = world.far.watch().counters();
        assert_eq!((counters.losses, counters.down.guest), (1, 1));
    }
}

#[test]
fn a_program_that_gives_more_than_there_is_room_for_fills_no_memory() {
    let frame = [7; 9000];
    let bytes = batch(&[(AbiSide::Guest, &frame[..]); 7]);
    let mut liar = Liar(bytes.clone(), bytes.len() as u64);
    let (mut world, _) = answered(&bytes, bytes.len() as u64);
    for _ in 0..100 {
        world.far.exchange(world.now, &mut liar);
    }
    let counters = world.far.watch().counters();
    assert_eq!(counters.given.guest + counters.late.guest, 707);
    assert_eq!(counters.given.guest as usize, crate::link::QUEUE_BYTES / 9002);
}

#[test]
fn a_program_that_always_wants_to_be_asked_again_is_asked_once_a_millisecond() {
    let answers = [
        Answer { deadline_ns: Some(0), ..Answer::default() },
        Answer { more: Both { guest: true, wire: true }, ..Answer::default() },
    ];
    for answer in answers {
        let bytes = answer.encode();
        let (mut world, _) = answered(&bytes, bytes.len() as u64);
        // The first one has taken the guest's frame.
        let mut liar = Liar(bytes.to_vec(), bytes.len() as u64);
        let next = world.far.exchange(world.now, &mut liar).next;
        assert_eq!(next, Next::At(mediator::Instant(world.now.0 + MS)), "{answer:?}");
    }
}

/// One that always has a line to tell.
struct Talker(Vec<String>);

impl crate::Host for Talker {
    fn call(&mut self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        let bytes = Answer { has_event: true, ..Answer::default() }.encode();
        Liar(bytes.to_vec(), bytes.len() as u64).call(op, leases)
    }

    fn seed(&mut self) -> Option<zeroize::Zeroizing<[u8; 32]>> {
        Some(zeroize::Zeroizing::new([1; 32]))
    }

    fn tell(&mut self, line: fmt::Arguments<'_>) {
        self.0.push(line.to_string());
    }
}

#[test]
fn a_program_cannot_flood_the_log() {
    let mut world = World::unstarted(setup());
    let mut talker = Talker(vec![]);
    world.far.begin(world.now, &mut talker).unwrap();
    for _ in 0..10_000 {
        world.far.exchange(world.now, &mut talker);
        world.now.0 += MS;
    }
    assert!((16..=27).contains(&talker.0.len()), "{}", talker.0.len());
}

proptest! {
    #[test]
    fn whatever_a_program_answers_only_its_own_frames_come_out(
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(2), any::<u8>()], 0..200),
        len in 0_u64..220,
    ) {
        let (mut world, _) = answered(&bytes, len);
        let mut answer = vec![0; MAX_BATCH_BYTES];
        answer[..bytes.len()].copy_from_slice(&bytes);
        let expected: Option<Vec<_>> = Answer::decode(&answer[..len as usize])
            .and_then(|(_, records)| records.collect::<Result<_, _>>().ok());
        let count = |wanted| expected.iter().flatten().filter(|(side, _)| *side == wanted).count();
        let out = handed_out(&mut world);
        prop_assert_eq!(out.iter().filter(|(side, _)| *side == Side::Wire).count(), count(AbiSide::Wire));
        prop_assert_eq!(out.iter().filter(|(side, _)| *side == Side::Guest).count(), count(AbiSide::Guest));
        prop_assert_eq!(world.far.watch().counters().losses, u64::from(expected.is_none()));
    }
}
