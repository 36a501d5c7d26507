//! Guests that attack a network card, and cards that do.
#![forbid(unsafe_code)]

use mediator::{Op, Width};
use scenario::e1000::{E1000Rig, dword, frame};
use sim::e1000::*;
use sim::{ARENA, RAM_TOP, VMM};

const CARDS: [u16; 3] = [I82540EM, I82545EM, I82574L];
/// Where no RAM of the guest is, or where it ends.
const NOT_RAM: [u64; 8] =
    [VMM.start, ARENA.start, VMM.start - 8, VMM.end - 64, RAM_TOP.end, 0xa_0000, 0xfeb8_0000, u64::MAX - 0xff];

#[test]
fn a_blocked_card_is_quiet_and_forgets_what_firmware_has_left() {
    for id in CARDS {
        let mut rig = E1000Rig::bare(id);
        for register in [IMS, RCTL, TCTL, RDBAL, RDLEN, TDLEN, WUC, WUFC] {
            assert_eq!(rig.machine.card.get(register), 0, "{register:x}");
        }
        rig.start();
        let index = rig.guest.send(&mut rig.machine, &frame(100));
        rig.incoming(&frame(100));
        assert!(rig.run(10).is_empty());
        assert!(rig.guest.is_done(&rig.machine, index), "the guest's driver goes on");
        assert!(rig.machine.card.sent.is_empty() && rig.seen().from_guest.is_empty());
        assert_eq!(rig.machine.counters().guest_dropped, 1);
    }
}

#[test]
fn descriptors_rewritten_after_the_doorbell_change_nothing() {
    let mut rig = E1000Rig::new(I82574L);
    rig.machine.card.stuck = true;
    // More than the real ring takes: the rest waits in the guest's ring, and may still be rewritten; what was taken may not.
    rig.guest.count = 64;
    for n in 0..20 {
        rig.guest.send(&mut rig.machine, &frame(100 + n));
    }
    for n in 0..20 {
        rig.machine.ram.poke(rig.guest.tx_at(n), &[0xff; 12]);
        rig.machine.ram.poke(TX_BUFFERS + u64::from(n) * 0x2_0000, &[0xee; 200]);
    }
    rig.machine.card.stuck = false;
    rig.run(50);
    assert_eq!(rig.seen().from_guest, (0..20).map(|n| frame(100 + n)).collect::<Vec<_>>());
    assert_eq!(rig.machine.card.sent.len(), 20);
}

#[test]
fn memory_that_changes_after_every_read_is_read_once() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        rig.machine.ram.changes_after_read = true;
        rig.guest.put_legacy(&mut rig.machine, &frame(100), &[50], None);
        let offload = Offload { transport: Some((20, 30, 0)), ..Offload::default() };
        rig.guest.put_extended(&mut rig.machine, &frame(200), &[50, 60], offload);
        rig.guest.ring(&mut rig.machine);
        assert_eq!(rig.machine.ram.peek(rig.guest.tx_at(0) + 12, 1), [1], "it was asked to report");
        rig.machine.ram.changes_after_read = false;
        rig.run(5);
        let mut second = frame(200);
        second[30..32].copy_from_slice(&rig.seen().from_guest[1][30..32]);
        assert_eq!(rig.seen().from_guest, [frame(100), second]);
        rig.start();
        rig.machine.ram.changes_after_read = true;
        rig.incoming(&frame(200));
        rig.machine.tick();
        rig.machine.poll();
        rig.machine.ram.changes_after_read = false;
        rig.check();
        rig.start();
        rig.works();
    }
}

#[test]
fn buffers_and_rings_in_no_memory_of_the_guest_send_and_receive_nothing() {
    for id in CARDS {
        for at in NOT_RAM {
            let mut rig = E1000Rig::new(id);
            rig.guest.put(&mut rig.machine, u128::from(at) | 128 << 64 | 0x0b << 88);
            rig.guest.ring(&mut rig.machine);
            rig.run(5);
            assert!(rig.seen().from_guest.is_empty() && rig.machine.card.sent.is_empty(), "{at:x}");
            // A receive buffer.
            rig.machine.ram.poke(rig.guest.rx_at(0), &at.to_le_bytes());
            rig.incoming(&frame(100));
            rig.machine.tick();
            rig.machine.poll();
            assert_eq!(
                rig.machine.ram.peek(rig.guest.rx_at(0) + 12, 1)[0] & 1,
                1,
                "the descriptor is done all the same"
            );
            // Rings.
            for base in [TDBAL, RDBAL] {
                rig.machine.write(base, at as u32);
                rig.machine.write(base + 4, (at >> 32) as u32);
            }
            rig.machine.write(TDT, (rig.guest.tail() + 9) % 64);
            rig.incoming(&frame(100));
            rig.run(5);
            assert!(rig.machine.card.sent.is_empty());
            rig.check();
            rig.start();
            rig.works();
        }
    }
}

#[test]
fn heads_tails_and_lengths_that_make_no_sense_end() {
    for (len, head, tail) in
        [(0, 0, 0), (0, 1, 5), (64, 0, 64), (64, 0, 65535), (64, 64, 0), (64, 65535, 65535), (8, 7, 3), (65528, 9, 3)]
    {
        for id in CARDS {
            let mut rig = E1000Rig::new(id);
            for base in [TDBAL, RDBAL] {
                rig.machine.write(base + 8, len * 16);
                rig.machine.write(base + 0x10, head);
                rig.machine.write(base + 0x18, tail);
            }
            rig.incoming(&frame(100));
            for _ in 0..400 {
                rig.machine.tick();
                rig.machine.poll_if_due();
            }
            rig.check();
            rig.start();
            rig.works();
        }
    }
}

#[test]
fn one_call_does_no_more_than_it_says() {
    let mut rig = E1000Rig::new(I82540EM);
    // A ring of 65,528 descriptors of 64 KiB each, none of them the end of a packet, over the same memory.
    rig.machine.write(TDLEN, 0xf_ff80);
    rig.machine.write(TDH, 0);
    for n in 0..65_528_u64 {
        let descriptor = u128::from(0x100_0000_u64) | 0xffff << 64 | 0x08 << 88;
        rig.machine.ram.poke(rig.guest.tx_at(0) + n * 16, &descriptor.to_le_bytes());
    }
    rig.machine.write(TDT, 65_527);
    let mut head = rig.machine.read(TDH);
    assert!(head <= 1024, "{head} at once");
    assert_eq!(rig.machine.poll_timeout().unwrap().0, 0, "it wants to go on");
    for _ in 0..200 {
        rig.machine.poll();
        let now = rig.machine.read(TDH);
        assert!(now - head <= 1024);
        head = now;
    }
    assert_eq!(head, 65_527);
    rig.start();
    rig.works();
}

#[test]
fn packets_of_no_length_and_of_64_kib_are_dropped_and_told() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        rig.guest.put(&mut rig.machine, u128::from(TX_BUFFERS) | 0x0b << 88);
        rig.guest.put_legacy(&mut rig.machine, &vec![1; 0xffff], &[], None);
        rig.guest.put_legacy(&mut rig.machine, &vec![1; 0x1_8000], &[0xffff], None);
        rig.guest.put_extended(&mut rig.machine, &vec![1; 0x1_8000], &[], Offload::default());
        let last = rig.guest.put_legacy(&mut rig.machine, &frame(13), &[], None);
        rig.guest.ring(&mut rig.machine);
        rig.run(20);
        assert!(rig.guest.is_done(&rig.machine, last));
        assert!(rig.seen().from_guest.is_empty());
        assert_eq!(rig.machine.counters().guest_dropped, 5);
        rig.works();
    }
}

#[test]
fn a_context_that_lies_sends_nothing_and_the_next_packet_goes() {
    let lies = [
        Offload { segments: Some((54, 0, true, true)), ..Offload::default() },
        Offload { segments: Some((255, 1, true, true)), ..Offload::default() },
        Offload { segments: Some((20, 1000, true, true)), ..Offload::default() },
        Offload { segments: Some((54, 1, true, false)), network: Some((14, 200, 0)), ..Offload::default() },
        Offload { segments: Some((54, 500, false, true)), transport: Some((250, 255, 0)), ..Offload::default() },
        Offload { transport: Some((255, 255, 1)), ..Offload::default() },
    ];
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        for lie in lies {
            let len = if lie.segments.is_some() { 3000 } else { 200 };
            rig.guest.put_extended(&mut rig.machine, &frame(len), &[100], lie);
            rig.guest.ring(&mut rig.machine);
        }
        rig.run(20);
        assert!(rig.seen().from_guest.is_empty(), "{:?}", rig.seen().from_guest);
        rig.works();
    }
}

#[test]
fn every_register_takes_every_value_and_the_card_stays_ours() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        let before: Vec<u32> =
            [RCTL, TCTL, RDBAL, TDBAL, RDLEN, TDLEN, CTRL, RAL, RAH, WUC, WUFC, EECD, MDIC, CTRL_EXT]
                .map(|register| rig.machine.card.get(register))
                .into();
        let mut value = 0x1234_5678_u32;
        for offset in (0..0x6000).step_by(4).chain((0x6000..0x2_0000).step_by(0x404)) {
            for _ in 0..2 {
                value = value.wrapping_mul(0x915f_77f5).wrapping_add(1);
                rig.machine.write(offset, value);
                let _ = rig.machine.read(offset);
            }
        }
        rig.check();
        let after: Vec<u32> = [RCTL, TCTL, RDBAL, TDBAL, RDLEN, TDLEN, CTRL, RAL, RAH, WUC, WUFC, EECD, MDIC, CTRL_EXT]
            .map(|register| rig.machine.card.get(register))
            .into();
        assert_eq!(before, after);
        rig.machine.write(CTRL, 1 << 31);
        rig.start();
        rig.works();
    }
}

#[test]
fn parts_of_registers_can_be_read_but_not_written() {
    let mut rig = E1000Rig::new(I82540EM);
    assert_eq!(rig.machine.read_wide(RAL + 2, Width::Word), 0x1200);
    assert_eq!(rig.machine.read_wide(RAL, Width::Qword), 0x8000_5634_1200_5452);
    rig.machine.write_wide(RAL, Width::Byte, 0);
    assert_eq!((rig.machine.violations.len(), rig.machine.read(RAL)), (1, 0x1200_5452));
    rig.machine.write_wide(RAL, Width::Qword, 0x1_0000_0002);
    assert_eq!((rig.machine.read(RAL), rig.machine.read(RAH)), (2, 1));
}

#[test]
fn a_card_that_lies_about_what_it_has_received_harms_nobody() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.machine.card.mad = true;
    for len in 0..300 {
        rig.incoming(&frame(60 + len * 8));
        rig.run(1);
    }
    rig.machine.card.mad = false;
    // A frame without an end is ended by the next one.
    rig.incoming(&frame(60));
    rig.run(5);
    rig.works();
}

#[test]
fn a_tunnel_that_hands_out_nonsense_puts_nothing_on_the_wire_but_its_own() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.seen().mad = true;
    for n in 0..100 {
        rig.guest.send(&mut rig.machine, &frame(60 + n));
        rig.incoming(&frame(60 + n));
        rig.run(2);
    }
    rig.seen().mad = false;
    rig.run(100);
    rig.works();
}

#[test]
fn the_configuration_hides_what_the_guest_shall_not_use() {
    let mut rig = E1000Rig::new(I82574L);
    let (pm, msi, msi_x) = (0xc8, 0xd0, 0xa0);
    assert_eq!(dword(&mut rig, msi_x) & 0xff, 0, "no MSI-X");
    assert_eq!((dword(&mut rig, msi_x + 4), dword(&mut rig, 0x18)), (0, 0), "no table, no ports");
    assert_eq!(dword(&mut rig, pm) >> 27, 0, "it does not wake");
    rig.machine.config_write(msi_x + 2, Width::Word, 0x8000);
    assert_eq!((rig.machine.config.msi_x, rig.machine.violations.len()), (0, 1));
    rig.machine.config_write(pm + 4, Width::Word, 0x0103);
    assert_eq!(rig.machine.config.power, 0, "neither asleep nor waking");
    rig.machine.config_write(msi + 4, Width::Dword, 0xfee0_0000);
    rig.machine.config_write(msi + 2, Width::Word, 0x81);
    assert_eq!(rig.machine.config.msi[0] >> 16 & 1, 1, "MSI is the guest's");
    assert_eq!(rig.machine.other_region(1, 0, Op::Read), Some(0xffff_ffff), "no flash");
    rig.machine.other_region(1, 0, Op::Write(0));
    rig.works();
}

#[test]
fn the_card_works_on_while_the_guest_has_its_decoding_and_mastering_off() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.machine.config_write(4, Width::Word, 0);
    assert_eq!((dword(&mut rig, 4) & 7, rig.machine.config.command & 6), (0, 6));
    assert_eq!(rig.machine.read(STATUS), u32::MAX);
    rig.machine.write(CTRL, 1 << 26);
    rig.seen().deadline = Some(mediator::Instant(1));
    rig.machine.card.coming.push_back(frame(100));
    rig.machine.tick();
    rig.machine.poll();
    assert_eq!(rig.seen().from_wire.len(), 1, "the tunnel goes on");
    assert_eq!(rig.seen().timeouts, 1);
    rig.machine.config_write(4, Width::Byte, 6);
    assert_eq!(dword(&mut rig, 4) & 7, 6);
    rig.works();
}

#[test]
fn a_card_without_room_for_its_rings_stays_blocked() {
    for nth in 0..4 {
        let mut rig = E1000Rig::bare(I82540EM);
        rig.machine.arena.fail_nth = Some(rig.machine.arena.asked + nth);
        let live = rig.machine.arena.live_buffers();
        let tunnel = mediator::net::NetPolicy::Tunnel(Box::new(Nothing));
        assert!(rig.machine.set_policy(tunnel).is_err());
        assert_eq!(rig.machine.arena.live_buffers(), live, "nothing is kept");
        rig.start();
        rig.guest.send(&mut rig.machine, &frame(100));
        rig.run(5);
        assert!(rig.machine.card.sent.is_empty());
        rig.machine.arena.fail_nth = None;
        rig.set_tunnel();
        rig.works();
    }
}

/// A tunnel to nowhere.
struct Nothing;

impl mediator::net::Tunnel for Nothing {
    fn on_frame(&mut self, _: mediator::Instant, _: mediator::net::Side, _: &[u8]) {}
    fn poll_transmit(
        &mut self,
        _: mediator::Instant,
        _: &dyn Fn(mediator::net::Side) -> bool,
        _: &mut [u8],
    ) -> Option<(mediator::net::Side, usize)> {
        None
    }
    fn poll_timeout(&self) -> Option<mediator::Instant> {
        None
    }
    fn on_timeout(&mut self, _: mediator::Instant) {}
    fn on_link(&mut self, _: mediator::Instant, _: bool) {}
    fn is_up(&self) -> bool {
        false
    }
}
