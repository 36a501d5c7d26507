//! Frames through a network card: every form of descriptor, every offload.
#![forbid(unsafe_code)]

use scenario::e1000::{E1000Rig, frame, veiled};
use sim::e1000::*;

const CARDS: [u16; 3] = [I82540EM, I82545EM, I82574L];

/// Lengths: shortest, around buffers, the longest without and with a tag.
const LENGTHS: [usize; 7] = [14, 59, 60, 61, 1000, 1514, 1518];

#[test]
fn frames_of_every_length_go_out_whole_and_in_order_by_every_card() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        for len in LENGTHS {
            rig.guest.send(&mut rig.machine, &frame(len));
        }
        rig.run(20);
        assert_eq!(rig.seen().from_guest, LENGTHS.map(frame));
        assert_eq!(rig.machine.card.sent.len(), LENGTHS.len());
        assert_eq!(rig.guest.causes & (TXDW | TXQE), TXDW | TXQE);
        assert!((0..7).all(|index| rig.guest.is_done(&rig.machine, index)));
        assert_eq!(rig.machine.counters().wire_sent, 7);
    }
}

#[test]
fn a_frame_in_pieces_is_put_together_whatever_the_form() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        rig.guest.put_legacy(&mut rig.machine, &frame(1500), &[1, 13, 0, 700], None);
        rig.guest.put_extended(&mut rig.machine, &frame(1501), &[14, 1000], Offload::default());
        rig.guest.ring(&mut rig.machine);
        rig.run(5);
        assert_eq!(rig.seen().from_guest, [frame(1500), frame(1501)]);
    }
}

fn guest(form: Form, rctl: u32, buffer: usize) -> E1000Guest {
    E1000Guest { form, rctl: rctl | 0x8002, buffer, ..E1000Guest::default() }
}

#[test]
fn frames_come_in_by_buffers_of_all_sizes_and_in_all_forms() {
    const LPE: u32 = 1 << 5;
    const SECRC: u32 = 1 << 26;
    let sizes = [(0, 2048), (1 << 16, 1024), (2 << 16, 512), (3 << 16, 256)];
    let large = [(1 << 16, 16384), (2 << 16, 8192), (3 << 16, 4096)].map(|(bits, len)| (bits | 1 << 25, len));
    for id in CARDS {
        for (bits, size) in sizes.into_iter().chain(large) {
            for form in [Form::Legacy, Form::Extended] {
                if form == Form::Extended && id != I82574L {
                    continue;
                }
                let mut rig = E1000Rig::with(id, guest(form, bits | LPE | SECRC, size));
                for len in LENGTHS.into_iter().chain([9000]) {
                    rig.incoming(&frame(len));
                    let got = rig.run(3);
                    let mut want = frame(len);
                    want.resize(len.max(60), 0);
                    // Its own header and veil pad a frame that is shorter.
                    assert_eq!(got.len(), 1, "{id:x} {form:?} {size} {len}");
                    assert_eq!(got[0].bytes[..len], want[..len]);
                    assert_eq!(got[0].bytes.len(), if len < 46 { 60 } else { want.len() });
                    assert_eq!(got[0].descriptors, want.len().div_ceil(size));
                }
            }
        }
    }
}

#[test]
fn packet_split_fills_the_four_buffers_in_turn() {
    let mut rig = E1000Rig::with(I82574L, guest(Form::Split, 1 << 5 | 1 << 26, 2048));
    for (len, descriptors) in [(60, 1), (256, 1), (257, 1), (1514, 1), (9000, 1)] {
        rig.incoming(&frame(len));
        let got = rig.run(3);
        assert_eq!((got.len(), got[0].descriptors), (1, descriptors), "{len}");
        assert_eq!(got[0].bytes, frame(len));
    }
    // A first buffer of 256 bytes, and three of 1 KiB: longer frames take a second descriptor, whose first buffer stays empty.
    rig.machine.write(PSRCTL, 0x0101_0102);
    rig.incoming(&frame(5000));
    rig.machine.tick();
    rig.machine.poll();
    let at = rig.guest.rx_at(5);
    let lens =
        |at: u64| [12, 18, 20, 22].map(|n| u16::from_le_bytes(rig.machine.ram.peek(at + n, 2).try_into().unwrap()));
    assert_eq!((lens(at), lens(at + 32)), ([256, 1024, 1024, 1024], [0, 1024, 648, 0]));
}

#[test]
fn the_check_sequence_is_counted_unless_it_is_stripped() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.incoming(&frame(100));
    assert_eq!(rig.run(3)[0].bytes.len(), 104);
}

#[test]
fn long_frames_come_only_to_a_driver_that_wants_them() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.incoming(&frame(1519));
    rig.incoming(&frame(1518));
    let got = rig.run(5);
    assert_eq!((got.len(), got[0].bytes.len()), (1, 1522));
    assert_eq!(rig.machine.counters().wire_dropped, 1);
}

/// An IPv4 frame of TCP or UDP, with right checksums.
fn packet(tcp: bool, payload: usize) -> Vec<u8> {
    let l4 = if tcp { 20 } else { 8 };
    let mut it = frame(14 + 20 + l4 + payload);
    it[12..14].copy_from_slice(&[8, 0]);
    let len = it.len();
    it[14..34].fill(0);
    it[14] = 0x45;
    it[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
    it[22..24].copy_from_slice(&[64, if tcp { 6 } else { 17 }]);
    it[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !sum(&it[14..34], 0);
    it[24..26].copy_from_slice(&sum.to_be_bytes());
    it[34..34 + l4].fill(0);
    it[34..38].copy_from_slice(&[1, 2, 3, 4]);
    if tcp {
        it[46..48].copy_from_slice(&[0x50, 0x18]);
    } else {
        it[38..40].copy_from_slice(&((len - 34) as u16).to_be_bytes());
    }
    let at = if tcp { 50 } else { 40 };
    let sum = !pseudo(&it, len - 34, &it[34..]);
    it[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    it
}

fn sum(data: &[u8], start: u32) -> u16 {
    let mut sum =
        data.chunks(2).fold(start, |sum, w| sum + (u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn pseudo(it: &[u8], len: usize, l4: &[u8]) -> u16 {
    sum(l4, u32::from(sum(&it[26..34], u32::from(it[23]) + len as u32)))
}

#[test]
fn sums_are_put_in_before_the_tunnel_sees_a_frame() {
    for tcp in [true, false] {
        let right = packet(tcp, 777);
        let mut left = right.clone();
        let at: u8 = if tcp { 50 } else { 40 };
        let partial = pseudo(&right, right.len() - 34, &[]);
        left[usize::from(at)..usize::from(at) + 2].copy_from_slice(&partial.to_be_bytes());
        left[24..26].fill(0);
        let offload = Offload { network: Some((14, 24, 33)), transport: Some((34, at, 0)), ..Offload::default() };
        let mut rig = E1000Rig::new(I82574L);
        rig.guest.put_extended(&mut rig.machine, &left, &[60], offload);
        rig.guest.ring(&mut rig.machine);
        assert_eq!(rig.seen().from_guest, [right]);
    }
}

#[test]
fn a_large_packet_becomes_the_frames_that_a_card_would_make_of_it() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        let mut big = packet(true, 60_000);
        let partial = pseudo(&big, 0, &[]);
        big[50..52].copy_from_slice(&partial.to_be_bytes());
        big[24..26].fill(0);
        let segments = Some((54, 1460, true, true));
        let offload = Offload { network: Some((14, 24, 33)), transport: Some((34, 50, 0)), segments, tag: None };
        rig.guest.put_extended(&mut rig.machine, &big, &[54, 20_000, 4096], offload);
        rig.guest.ring(&mut rig.machine);
        rig.run(60);
        let seen = rig.seen();
        assert_eq!(seen.from_guest.len(), 42);
        let payload: Vec<u8> = seen.from_guest.iter().flat_map(|it| it[54..].to_vec()).collect();
        assert_eq!(payload, big[54..]);
        for (n, it) in seen.from_guest.iter().enumerate() {
            assert_eq!(sum(&it[14..34], 0), 0xffff);
            assert_eq!(pseudo(it, it.len() - 34, &it[34..]), 0xffff);
            assert_eq!(it[47], if n == 41 { 0x18 } else { 0x10 });
        }
        assert_eq!(rig.machine.card.sent.len(), 42);
    }
}

#[test]
fn a_received_frame_tells_whether_its_sums_are_right() {
    let mut rig = E1000Rig::new(I82540EM);
    let mut bad = packet(true, 100);
    bad[90] ^= 1;
    let mut worse = packet(false, 100);
    worse[26] ^= 1;
    for it in [packet(true, 100), bad, worse, frame(100)] {
        rig.incoming(&it);
    }
    let status: Vec<u32> = rig.run(9).iter().map(|it| it.status).collect();
    assert_eq!(status, [0x63, 0x2000_0063, 0x6000_0063, 0x07]);
    rig.machine.write(RXCSUM, 0);
    rig.incoming(&packet(true, 100));
    let got = rig.run(9);
    assert_eq!(got[0].status, 0x07, "not asked for");
    assert_eq!(got[0].sum, !sum(&packet(true, 100), 0));
}

#[test]
fn tags_go_in_and_come_off_and_vlans_are_filtered() {
    let mut rig = E1000Rig::new(I82574L);
    rig.machine.write(CTRL, 0x4000_0041);
    rig.guest.put_legacy(&mut rig.machine, &frame(100), &[], Some(0x2064));
    rig.guest.ring(&mut rig.machine);
    let mut tagged = frame(100);
    tagged.splice(12..12, [0x81, 0, 0x20, 0x64]);
    assert_eq!(rig.seen().from_guest, [tagged.clone()]);
    rig.incoming(&tagged);
    let got = rig.run(3);
    assert_eq!((got[0].tag, got[0].status & 8, &got[0].bytes[..100]), (0x2064, 8, &frame(100)[..]));
    rig.machine.write(RCTL, 0x0004_8002);
    rig.incoming(&tagged);
    rig.incoming(&frame(100));
    assert_eq!(rig.run(3).len(), 1, "VLAN 100 is not in the table");
    rig.machine.write(VFTA + 4 * 3, 1 << 4);
    rig.incoming(&tagged);
    assert_eq!(rig.run(3).len(), 1);
    rig.machine.write(CTRL, 0x41);
    rig.incoming(&tagged);
    assert_eq!(rig.run(3)[0].bytes[..104], tagged);
}

#[test]
fn the_guests_filters_are_as_the_manual_has_them() {
    let to = |address: [u8; 6]| [&address[..], &frame(80)[6..]].concat();
    let mut rig = E1000Rig::new(I82545EM);
    let mut comes = |rctl: u32, address| {
        rig.machine.write(RCTL, rctl | 2);
        rig.incoming(&to(address));
        rig.run(3).first().map(|it| it.status & 0x80)
    };
    let group = [1, 0, 0x5e, 0, 0x12, 0x34];
    assert_eq!(comes(0, [0x52, 0x54, 0, 0x12, 0x34, 0x56]), Some(0));
    assert_eq!(comes(0, [0x52, 0x54, 0, 0x12, 0x34, 0x57]), None);
    assert_eq!(comes(1 << 3, [0x52, 0x54, 0, 0x12, 0x34, 0x57]), Some(0), "promiscuous");
    assert_eq!(comes(0, [0xff; 6]), None);
    assert_eq!(comes(1 << 15, [0xff; 6]), Some(0), "broadcasts");
    assert_eq!(comes(1 << 3, group), None);
    assert_eq!(comes(1 << 4, group), Some(0), "all groups");
    // 12h, 34h: bits 47:36 are 341h.
    rig.machine.write(MTA + 4 * (0x341 >> 5), 1 << (0x341 & 31));
    let mut comes = |rctl: u32, address| {
        rig.machine.write(RCTL, rctl | 2);
        rig.incoming(&to(address));
        rig.run(3).first().map(|it| it.status & 0x80)
    };
    assert_eq!(comes(0, group), Some(0x80), "by its hash");
    assert_eq!(comes(1 << 12, group), None, "another hash");
    rig.machine.write(RAL + 8 * 15, u32::from_le_bytes([2, 3, 4, 5]));
    rig.machine.write(RAH + 8 * 15, 0x8000_0706);
    rig.machine.write(RCTL, 2);
    rig.incoming(&to([2, 3, 4, 5, 6, 7]));
    assert_eq!(rig.run(3).len(), 1, "the last exact address");
}

#[test]
fn what_the_tunnel_does_not_take_never_reaches_the_guest() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.machine.card.coming.push_back(frame(100));
    assert!(rig.run(5).is_empty());
    assert_eq!(rig.seen().from_wire, [frame(100)]);
    rig.works();
}

#[test]
fn statistics_count_frames_and_forget_what_was_read() {
    let mut rig = E1000Rig::new(I82540EM);
    for len in [60, 1514] {
        rig.guest.send(&mut rig.machine, &frame(len));
        rig.incoming(&frame(len));
    }
    rig.run(5);
    for (register, value) in [(GPTC, 2), (GPRC, 2), (GOTCL, 64 + 1518), (GOTCH, 0), (0x40d8, 1), (0x40ec, 1), (MPC, 0)]
    {
        assert_eq!(rig.machine.read(register), value, "{register:x}");
    }
    assert_eq!([GPTC, GPRC, GOTCL].map(|register| rig.machine.read(register)), [0; 3]);
}

#[test]
fn frames_that_are_veiled_on_the_cable_are_the_only_ones_there() {
    let mut rig = E1000Rig::new(I82574L);
    rig.guest.send(&mut rig.machine, &frame(300));
    rig.run(5);
    assert_eq!(rig.machine.card.sent, [veiled(&frame(300))]);
}
