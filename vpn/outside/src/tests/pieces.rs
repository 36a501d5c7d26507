//! Datagrams that come in pieces.

use super::*;
use crate::Unwanted;
use smoltcp::wire::Ipv4Packet;

/// Pieces of a datagram with `data`, cut at these offsets of its payload.
fn pieces4(data: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let payload = datagram((PEER.into(), 7), (OWN.into(), PORT), data);
    let ends = cuts.iter().copied().chain([payload.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts
        .zip(ends)
        .map(|(start, end)| {
            let mut frame = ip(MAC, PEER.into(), OWN.into(), frames::UDP, 64, &payload[start..end]);
            let mut header = Ipv4Packet::new_unchecked(&mut frame[14..]);
            header.set_dont_frag(false);
            header.set_ident(77);
            header.set_more_frags(end < payload.len());
            header.set_frag_offset(start as u16);
            header.fill_checksum();
            frame
        })
        .collect()
}

fn pieces6(data: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let payload = datagram((PEER6.into(), 7), (OWN6.into(), PORT), data);
    let ends = cuts.iter().copied().chain([payload.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts
        .zip(ends)
        .map(|(start, end)| {
            let place = start as u16 | u16::from(end < payload.len());
            let header = [&[frames::UDP, 0][..], &place.to_be_bytes(), &[0, 0, 0, 9]].concat();
            ip(MAC, PEER6.into(), OWN6.into(), 44, 64, &[&header, &payload[start..end]].concat())
        })
        .collect()
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 / 3) as u8).collect()
}

#[test]
fn pieces_in_any_order_make_the_datagram() {
    let data = data(3000);
    for pieces in [pieces4(&data, &[1000, 2000]), pieces6(&data, &[1000, 2000])] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let mut outside = outside();
            order.iter().for_each(|at| outside.on_frame(NOW, &pieces[*at]));
            assert_eq!(received(&mut outside).expect("a datagram").1, data);
        }
    }
}

#[test]
fn a_piece_that_comes_twice_does_no_harm() {
    let data = data(2000);
    let pieces = pieces4(&data, &[800, 1600]);
    let mut outside = outside();
    [0, 0, 1, 1, 2].iter().for_each(|at| outside.on_frame(NOW, &pieces[*at]));
    assert_eq!(received(&mut outside).expect("a datagram").1, data);
}

#[test]
fn pieces_that_overlap_end_their_datagram() {
    let data = data(2000);
    let (pieces, others) = (pieces4(&data, &[800, 1600]), pieces4(&data, &[792, 1600]));
    let mut outside = outside();
    for frame in [&pieces[0], &others[1], &pieces[1], &pieces[2]] {
        outside.on_frame(NOW, frame);
    }
    assert!(received(&mut outside).is_none());
    assert_eq!(outside.counters().unwanted(Unwanted::Fragment), 1);
}

#[test]
fn a_missing_piece_is_waited_for_fifteen_seconds() {
    let pieces = pieces4(&data(2000), &[800]);
    let mut outside = outside();
    outside.on_frame(NOW, &pieces[0]);
    outside.on_frame(Instant(NOW.0 + 16 * S), &pieces[1]);
    assert!(received(&mut outside).is_none());
}

#[test]
fn datagrams_that_are_put_together_are_bounded_in_number_and_length() {
    let mut outside = outside();
    let pieces = pieces4(&data(2000), &[800]);
    // Others of the same sender push the first one out.
    outside.on_frame(NOW, &pieces[0]);
    for ident in 0..4 {
        let mut other = pieces[0].clone();
        Ipv4Packet::new_unchecked(&mut other[14..]).set_ident(ident);
        outside.on_frame(Instant(NOW.0 + 1), &other);
    }
    outside.on_frame(NOW, &pieces[1]);
    assert!(received(&mut outside).is_none());
    let mut far = pieces[0].clone();
    Ipv4Packet::new_unchecked(&mut far[14..]).set_frag_offset(9000 - 800 + 8);
    outside.on_frame(NOW, &far);
    assert_eq!(outside.counters().unwanted(Unwanted::Fragment), 1);
    // More pieces than there may be.
    let many = pieces4(&data(400), &(1..40).map(|n| n * 8).collect::<Vec<_>>());
    many.iter().for_each(|piece| outside.on_frame(NOW, piece));
    assert!(received(&mut outside).is_none());
}

#[test]
fn pieces_for_others_or_of_other_protocols_take_no_room() {
    let mut outside = outside();
    let mut tcp = pieces4(&data(2000), &[800]).remove(0);
    tcp[23] = frames::TCP;
    outside.on_frame(NOW, &tcp);
    let mut other = pieces4(&data(2000), &[800]).remove(0);
    other[33] = 99;
    outside.on_frame(NOW, &other);
    let unwanted = [Unwanted::NoListener, Unwanted::OtherAddress].map(|why| outside.counters().unwanted(why));
    assert_eq!(unwanted, [1, 1]);
}
