use crate::*;
use alloc::vec;
use alloc::vec::Vec;
use mediator::net::MAX_FRAME_BYTES;

/// The sum of RFC 1071, word by word.
fn plain_sum(data: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in data.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn the_sum_is_that_of_rfc_1071_for_every_length() {
    // The example of RFC 1071 s. 3.
    assert_eq!(Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).folded(), 0xddf2);
    let data: Vec<u8> = (0..3000u32).map(|n| ((n * n) >> 3) as u8).collect();
    for len in 0..200 {
        assert_eq!(Sum::default().bytes(&data[..len]).folded(), plain_sum(&data[..len]), "{len}");
    }
    assert_eq!(Sum::default().bytes(&data).folded(), plain_sum(&data));
    assert_eq!(Sum::default().word(0xffff).checksum(), 0xffff, "0 is no checksum in UDP");
}

/// A frame with an IPv4 or IPv6 packet of TCP or UDP, checksums correct, and where its headers begin and end.
fn packet(ipv4: bool, tcp: bool, payload: usize) -> (Vec<u8>, Segmentation) {
    let (ip_len, l4_len) = (if ipv4 { 20 } else { 40 }, if tcp { 20 } else { 8 });
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(if ipv4 { [8, 0] } else { [0x86, 0xdd] });
    let l4 = 14 + ip_len;
    frame.resize(l4 + l4_len, 0);
    frame.extend((0..payload).map(|n| n as u8 ^ (n >> 8) as u8));
    let len = frame.len();
    let protocol = if tcp { 6 } else { 17 };
    if ipv4 {
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
        frame[18..20].copy_from_slice(&0xfffe_u16.to_be_bytes());
        frame[22..24].copy_from_slice(&[64, protocol]);
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = !plain_sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        frame[14] = 0x60;
        frame[18..20].copy_from_slice(&((len - 54) as u16).to_be_bytes());
        frame[20..22].copy_from_slice(&[protocol, 64]);
        frame[22] = 0xfd;
        frame[38] = 0xfd;
        frame[53] = 9;
    }
    frame[l4..l4 + 4].copy_from_slice(&[0x12, 0x34, 0, 80]);
    if tcp {
        frame[l4 + 4..l4 + 8].copy_from_slice(&0xffff_ff00_u32.to_be_bytes());
        frame[l4 + 12..l4 + 14].copy_from_slice(&[0x50, 0x19]);
    } else {
        frame[l4 + 4..l4 + 6].copy_from_slice(&((len - l4) as u16).to_be_bytes());
    }
    let at = l4 + if tcp { 16 } else { 6 };
    let sum = !plain_sum(&[pseudo(&frame, ipv4, protocol, len - l4), frame[l4..].to_vec()].concat());
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    (frame, Segmentation { header_bytes: l4 + l4_len, mss: 1000, network: 14, ipv4, transport: l4, tcp })
}

fn pseudo(frame: &[u8], ipv4: bool, protocol: u8, len: usize) -> Vec<u8> {
    let addresses = if ipv4 { &frame[26..34] } else { &frame[22..54] };
    [addresses, &[0, protocol], &(len as u16).to_be_bytes()].concat()
}

const FORMS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

fn good(ipv4: bool, tcp: bool) -> Verified {
    Verified { network: ipv4.then_some(true), transport: Some(true), udp: !tcp }
}

#[test]
fn checksums_of_received_frames_are_checked_and_a_wrong_bit_shows() {
    for (ipv4, tcp) in FORMS {
        let (frame, _) = packet(ipv4, tcp, 333);
        assert_eq!(verify(&frame), good(ipv4, tcp));
        let mut tagged = Vec::new();
        push_tagged(&mut tagged, &frame, 0x8100, 5);
        assert_eq!(verify(&tagged), good(ipv4, tcp));
        let mut bad = frame.clone();
        *bad.last_mut().unwrap() ^= 4;
        assert_eq!(verify(&bad).transport, Some(false));
        if ipv4 {
            bad = frame.clone();
            bad[22] ^= 1;
            assert_eq!(verify(&bad).network, Some(false));
            bad = frame.clone();
            bad[20] = 0x20;
            assert_eq!(verify(&bad).transport, None, "a fragment");
        }
        // Padding behind the packet is no part of it.
        let mut padded = frame.clone();
        padded.extend([1; 9]);
        assert_eq!(verify(&padded), good(ipv4, tcp));
        for len in 0..frame.len() {
            let _ = verify(&frame[..len]);
        }
    }
}

/// What a driver leaves to the card: the sum of the pseudo header in place of the checksum, without the length if it is segmented.
fn offloaded(ipv4: bool, tcp: bool, payload: usize, segmented: bool) -> (Vec<u8>, Offload) {
    let (mut frame, it) = packet(ipv4, tcp, payload);
    let at = it.transport + if tcp { 16 } else { 6 };
    let len = if segmented { 0 } else { frame.len() - it.transport };
    let sum = plain_sum(&pseudo(&frame, ipv4, if tcp { 6 } else { 17 }, len));
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    if ipv4 {
        frame[24..26].fill(0);
    }
    let network = ipv4.then_some(Checksum { start: 14, at: 24, last: Some(33) });
    let transport = Some(Checksum { start: it.transport, at, last: None });
    (frame, Offload { network, transport, segmentation: segmented.then_some(it), tag: None })
}

fn frames(offload: Offload, packet: &mut [u8]) -> Result<Vec<Vec<u8>>, Lie> {
    let mut out = Vec::new();
    offload.perform(packet, &mut Vec::new(), &mut |frame| out.push(frame.to_vec()))?;
    Ok(out)
}

#[test]
fn checksums_that_the_card_puts_in_are_those_of_the_whole_packet() {
    for (ipv4, tcp) in FORMS {
        let (mut frame, offload) = offloaded(ipv4, tcp, 1001, false);
        assert_eq!(frames(offload, &mut frame).unwrap(), [packet(ipv4, tcp, 1001).0]);
    }
}

#[test]
fn segments_are_whole_packets_with_their_own_headers() {
    for (ipv4, tcp) in FORMS {
        for (payload, count) in [(1, 1), (1000, 1), (1001, 2), (2500, 3), (60_000, 60)] {
            let (mut all, offload) = offloaded(ipv4, tcp, payload, true);
            let it = offload.segmentation.unwrap();
            let data = all[it.header_bytes..].to_vec();
            let out = frames(offload, &mut all).unwrap();
            assert_eq!(out.len(), count);
            for (n, frame) in out.iter().enumerate() {
                assert_eq!(verify(frame), good(ipv4, tcp), "{ipv4} {tcp} {payload} {n}");
                let piece = &data[n * 1000..(n * 1000 + 1000).min(payload)];
                assert_eq!(&frame[it.header_bytes..], piece);
                if ipv4 {
                    assert_eq!(&frame[18..20], 0xfffe_u16.wrapping_add(n as u16).to_be_bytes());
                }
                if tcp {
                    let sequence = 0xffff_ff00_u32.wrapping_add(n as u32 * 1000);
                    assert_eq!(&frame[it.transport + 4..it.transport + 8], sequence.to_be_bytes());
                    let flags = if n + 1 == count { 0x19 } else { 0x10 };
                    assert_eq!(frame[it.transport + 13], flags);
                } else {
                    assert_eq!(be16(frame, it.transport + 4), Some(piece.len() as u16 + 8));
                }
            }
        }
    }
}

#[test]
fn a_tag_is_put_into_every_frame_and_comes_off_again() {
    let (mut all, offload) = offloaded(true, true, 2500, true);
    let tagged = frames(Offload { tag: Some((0x8100, 0x2005)), ..offload }, &mut all.clone()).unwrap();
    let plain = frames(offload, &mut all).unwrap();
    for (mut tagged, plain) in tagged.into_iter().zip(plain) {
        assert_eq!(tag_of(&tagged, 0x8100), Some(0x2005));
        assert_eq!(tag_of(&plain, 0x8100), None);
        assert_eq!(strip(&mut tagged), plain);
    }
    assert_eq!(strip(&mut [1; 15]), [1; 15], "too short for a tag");
}

#[test]
fn lies_about_a_packet_give_no_frame() {
    let (all, offload) = offloaded(true, true, 2500, true);
    let it = offload.segmentation.unwrap();
    let sum = offload.transport.unwrap();
    let segmented = |it: Segmentation| Offload { segmentation: Some(it), ..offload };
    let lies = [
        segmented(Segmentation { mss: 0, ..it }),
        segmented(Segmentation { mss: 4, ..it }),
        segmented(Segmentation { mss: 20_000, header_bytes: 60_000, ..it }),
        segmented(Segmentation { header_bytes: all.len(), ..it }),
        segmented(Segmentation { header_bytes: all.len() + 1, ..it }),
        segmented(Segmentation { header_bytes: 53, ..it }),
        segmented(Segmentation { header_bytes: usize::MAX, ..it }),
        segmented(Segmentation { network: 0, ..it }),
        segmented(Segmentation { network: 30, ..it }),
        segmented(Segmentation { network: usize::MAX, ..it }),
        segmented(Segmentation { transport: usize::MAX, ..it }),
        segmented(Segmentation { ipv4: false, ..it }),
        Offload { transport: Some(Checksum { at: 300, ..sum }), ..offload },
        Offload { transport: Some(Checksum { start: 51, ..sum }), ..offload },
        Offload { network: Some(Checksum { start: usize::MAX, at: usize::MAX, last: None }), ..offload },
        Offload {
            transport: Some(Checksum { start: 34, at: all.len() - 1, last: None }),
            segmentation: None,
            ..offload
        },
        Offload { transport: Some(Checksum { start: 3000, at: 50, last: None }), segmentation: None, ..offload },
    ];
    for lie in lies {
        assert_eq!(frames(lie, &mut all.clone()), Err(Lie), "{lie:?}");
    }
    assert_eq!(frames(Offload::default(), &mut [0; 13]), Err(Lie));
    assert_eq!(frames(Offload::default(), &mut vec![0; MAX_FRAME_BYTES + 1]), Err(Lie));
    assert_eq!(frames(Offload { tag: Some((0, 0)), ..Offload::default() }, &mut vec![0; MAX_FRAME_BYTES]), Err(Lie));
    assert_eq!(frames(Offload::default(), &mut vec![0; MAX_FRAME_BYTES]).unwrap().len(), 1);
    let most = Segmentation { mss: 5, ..it };
    assert_eq!(frames(segmented(most), &mut all.clone()).unwrap().len(), 500);
}

#[test]
fn a_queue_gives_frames_back_in_order_and_takes_no_more_than_fit() {
    let mut queue = FrameQueue::new(1000);
    let (mut next_in, mut next_out, mut to) = (0_usize, 0_usize, [0; 400]);
    let frame = |n: usize| vec![n as u8; 1 + n * 37 % 300];
    for round in 0..200 {
        while queue.push(&frame(next_in)) {
            next_in += 1;
        }
        for _ in 0..=round % 4 {
            let len = queue.pop(&mut to).unwrap();
            assert_eq!(&to[..len], frame(next_out));
            next_out += 1;
        }
        assert_eq!(queue.len(), next_in - next_out);
    }
    while queue.pop(&mut to).is_some() {
        next_out += 1;
    }
    assert_eq!((next_in, queue.is_empty()), (next_out, true));
    assert!(queue.push(&[7; 998]) && !queue.push(&[1]) && !queue.push(&[]));
    assert_eq!(queue.pop(&mut to), None, "longer than what it shall go to");
    assert!(queue.push(&[1]) && !queue.push(&vec![0; 70_000]));
    assert_eq!(queue.pop(&mut to), Some(1));
}

#[test]
fn tables_of_bits_end_where_they_end() {
    let mut table = Bitmap::<128>::default();
    table.set_dword(2, 1 << 5);
    table.set_dword(128, u32::MAX);
    assert!(table.contains(69) && !table.contains(68) && !table.contains(4096) && !table.contains(u16::MAX));
    assert_eq!([0, 64, 65, 127, 128, 1023, 1024, 9000].map(size_class), [0, 0, 1, 1, 2, 4, 5, 5]);
    assert!(is_multicast(&[1, 0, 0, 0, 0, 0]) && is_broadcast(&[0xff; 6]) && !is_multicast(&[2, 0, 0, 0, 0, 0]));
}
