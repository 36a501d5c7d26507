use crate::{Fragment, FrameQueue, Packet, updated_checksum};
use proptest::prelude::*;
use smoltcp::wire::checksum;
use std::vec::Vec;

extern crate std;

fn v4(total_len: u16, flags: u16) -> Vec<u8> {
    let mut bytes = std::vec![0u8; usize::from(total_len)];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&total_len.to_be_bytes());
    bytes[4..6].copy_from_slice(&7u16.to_be_bytes());
    bytes[6..8].copy_from_slice(&flags.to_be_bytes());
    bytes[8] = 64;
    bytes[9] = 17;
    bytes[12..16].copy_from_slice(&[10, 0, 0, 2]);
    bytes[16..20].copy_from_slice(&[10, 0, 0, 1]);
    bytes
}

/// An IPv6 packet whose next header is `next`, followed by `rest`.
fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0x60, 0, 0, 0, 0, rest.len() as u8, next, 255];
    bytes.extend([0xFD; 16]);
    bytes.extend([0xFC; 16]);
    bytes.extend(rest);
    bytes
}

#[test]
fn padding_behind_a_packet_is_no_part_of_it() {
    let mut frame = v4(28, 0x4000);
    frame.extend([0xEE; 18]);
    let packet = Packet::parse(&frame).unwrap();
    assert_eq!((packet.bytes.len(), packet.payload().len(), packet.protocol), (28, 8, 17));
    assert!(packet.dont_fragment && packet.fragment.is_none());
}

#[test]
fn a_packet_longer_than_its_bytes_is_none() {
    assert!(Packet::parse(&v4(28, 0)[..27]).is_none());
    assert!(Packet::parse(&v6(17, &[0; 8])[..47]).is_none());
    assert!(Packet::parse(&[]).is_none());
}

#[test]
fn the_ether_type_and_the_version_must_agree() {
    assert!(Packet::of_frame(crate::IPV6, &v4(28, 0)).is_none());
    assert!(Packet::of_frame(crate::IPV4, &v4(28, 0)).is_some());
}

#[test]
fn fragments_tell_their_place() {
    let packet = v4(28, 0x2000 | 3);
    let fragment = Packet::parse(&packet).unwrap().fragment;
    assert_eq!(fragment, Some(Fragment { id: 7, offset: 24, more: true }));
    let packet = v6(44, &[17, 0, 0, 8 | 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
    let packet = Packet::parse(&packet).unwrap();
    assert_eq!(packet.fragment, Some(Fragment { id: 9, offset: 8, more: true }));
    assert_eq!((packet.payload(), packet.unfragmentable_bytes), (&[1, 2, 3, 4, 5, 6, 7, 8][..], 40));
}

#[test]
fn the_payload_of_ipv6_is_behind_the_extension_headers() {
    let packet = v6(0, &[60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0xAA]);
    let packet = Packet::parse(&packet).unwrap();
    assert_eq!((packet.protocol, packet.payload()), (17, &[0xAA][..]));
    assert!(Packet::parse(&v6(0, &[17, 1, 0, 0, 0, 0, 0, 0])).is_none(), "a header beyond the packet");
    assert!(Packet::parse(&v6(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(9))).is_none(), "no end of headers");
    assert!(Packet::parse(&v6(44, &[44, 0, 0, 1, 0, 0, 0, 0].repeat(2))).is_none(), "a fragment of a fragment");
}

#[test]
fn a_full_queue_refuses_and_an_order_is_kept() {
    let mut queue = FrameQueue::new(2);
    assert!(queue.push(&[b"a", b"b"]) && queue.push(&[b"c"]) && !queue.push(&[b"d"]));
    let mut frame = [0; 4];
    assert_eq!(queue.pop(&mut frame), Some(2));
    assert_eq!(&frame[..2], b"ab");
    assert!(queue.push_empty(3).is_some_and(|frame| frame == [0; 3]), "a buffer used again is clean");
    assert_eq!(queue.pop(&mut []), None, "frames without room are lost, not looked at for ever");
    assert!(queue.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_give_a_packet_within_them_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0..4u8) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() {
            *byte = [0x45, 0x60, 0x4F, *byte][usize::from(first)];
        }
        if let Some(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.bytes.len() <= bytes.len() && packet.payload_at <= packet.bytes.len());
            prop_assert!(packet.unfragmentable_bytes <= packet.payload_at);
        }
    }

    #[test]
    fn an_updated_checksum_is_that_of_the_whole(words in prop::collection::vec(any::<u16>(), 2..20), at in 0..20usize, new: u16) {
        let mut words = words;
        let at = at % words.len();
        let sum = |words: &[u16]| !checksum::data(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
        let (before, old) = (sum(&words), words[at]);
        words[at] = new;
        // Both zeros of one's complement mean the same; words that are all zero alone have a sum of zero.
        prop_assume!(words.iter().any(|word| *word != 0));
        prop_assert_eq!(updated_checksum(before, old, new), sum(&words));
    }
}
