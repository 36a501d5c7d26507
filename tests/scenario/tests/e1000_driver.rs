//! What drivers do with a network card: resets, interrupts, polling, links, EEPROM and PHY.
#![forbid(unsafe_code)]

use scenario::e1000::{E1000Rig, frame};
use sim::e1000::*;

const CARDS: [u16; 3] = [I82540EM, I82545EM, I82574L];

#[test]
fn a_reset_after_every_step_of_the_driver_leaves_a_card_that_works() {
    for id in CARDS {
        let steps = E1000Guest::default().script().len();
        for step in (0..steps).filter(|step| !(10..130).contains(step) || step % 16 == 0) {
            let mut rig = E1000Rig::new(id);
            rig.guest.prepare(&mut rig.machine);
            for (offset, value) in rig.guest.script().into_iter().take(step + 1) {
                rig.incoming(&frame(80));
                rig.machine.write(offset, value);
                rig.machine.tick();
            }
            rig.machine.write(CTRL, 1 << 26);
            assert_eq!([TCTL, RDLEN, TDLEN, IMS].map(|register| rig.machine.read(register)), [0; 4]);
            rig.check();
            rig.start();
            rig.works();
        }
    }
}

#[test]
fn a_reset_in_mid_traffic_loses_the_guests_frames_only() {
    let mut rig = E1000Rig::new(I82574L);
    rig.machine.card.slow = 3;
    for n in 0..30 {
        rig.guest.put_legacy(&mut rig.machine, &frame(100 + n), &[20], None);
    }
    rig.guest.ring(&mut rig.machine);
    // Half a packet, and then a reset: the next one does not begin with it.
    rig.guest.put_legacy(&mut rig.machine, &frame(500), &[50], None);
    let middle = (rig.guest.tail() + 63) % 64;
    rig.machine.write(TDT, middle);
    rig.machine.write(CTRL, 1 << 26);
    rig.start();
    rig.run(300);
    assert_eq!(rig.machine.card.sent.len(), 30, "the tunnel had them");
    rig.works();
}

#[test]
fn an_interrupt_is_owed_until_icr_is_read_and_no_longer() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        assert!(!rig.machine.card.line());
        rig.guest.send(&mut rig.machine, &frame(100));
        assert!(rig.machine.card.line(), "a frame was sent");
        let asserted = if id == I82574L { 1 << 31 } else { 0 };
        assert_eq!(rig.machine.read(ICR), TXDW | TXQE | asserted);
        assert!(!rig.machine.card.line());
        assert_eq!(rig.machine.read(ICR), 0);
        rig.machine.write(ICS, LSC);
        assert!(rig.machine.card.line());
        rig.machine.write(IMC, u32::MAX);
        assert!(!rig.machine.card.line(), "masked");
        rig.machine.write(IMS, RXT0);
        assert!(!rig.machine.card.line(), "another cause");
        rig.machine.write(IMS, LSC);
        assert!(rig.machine.card.line());
        rig.machine.write(ICR, LSC);
        assert!(!rig.machine.card.line(), "cleared by writing");
        rig.machine.write(IMC, u32::MAX);
        rig.incoming(&frame(100));
        rig.machine.tick();
        assert!(!rig.machine.card.line(), "nobody wants interrupts");
        rig.machine.write(IMS, RXT0);
        assert!(rig.machine.card.line(), "the frame came in the meantime");
        assert_eq!(rig.machine.read(ICR) & RXT0, RXT0);
    }
}

#[test]
fn an_interrupt_of_the_real_card_that_brings_nothing_is_still_the_guests() {
    let mut rig = E1000Rig::new(I82540EM);
    // Only the tunnel's.
    rig.machine.card.coming.push_back(frame(100));
    rig.machine.tick();
    assert!(rig.machine.card.line());
    assert_eq!(rig.machine.read(ICR), RXT0);
    assert!(!rig.machine.card.line());
    assert_eq!(rig.machine.read(ICR), 0);
}

#[test]
fn reading_icr_masks_what_iam_names_in_the_82574() {
    let mut rig = E1000Rig::new(I82574L);
    rig.machine.write(IAM, u32::MAX);
    rig.machine.write(CTRL_EXT, 1 << 27);
    rig.machine.write(ICS, RXT0);
    assert_eq!(rig.machine.read(ICR), 1 << 31 | RXT0);
    assert_eq!(rig.machine.read(IMS), 0);
    rig.machine.write(ICS, RXT0);
    assert!(!rig.machine.card.line());
    assert_eq!((rig.machine.read(ICR), rig.machine.read(IMS)), (RXT0, 0));
}

#[test]
fn moderation_is_left_to_the_real_card() {
    let mut rig = E1000Rig::new(I82574L);
    rig.machine.write(ITR, 0x1_00c8);
    assert_eq!(rig.machine.card.get(ITR), 0xc8);
    rig.machine.write(CTRL, 1 << 26);
    assert_eq!(rig.machine.card.get(ITR), 0);
}

#[test]
fn a_driver_that_polls_icr_needs_no_interrupts() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        rig.machine.write(IMC, u32::MAX);
        let index = rig.guest.send(&mut rig.machine, &frame(100));
        rig.incoming(&frame(200));
        rig.machine.tick();
        assert_eq!(rig.machine.read(ICR) & (TXDW | RXT0), TXDW | RXT0);
        assert!(rig.guest.is_done(&rig.machine, index));
        assert_eq!(rig.guest.poll(&mut rig.machine).len(), 1);
        assert_eq!(rig.machine.card.interrupts, 0);
    }
}

#[test]
fn a_driver_that_looks_at_memory_alone_gets_its_frames_by_poll() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.machine.write(IMC, u32::MAX);
    rig.incoming(&frame(200));
    for _ in 0..200 {
        rig.machine.tick();
        rig.machine.poll_if_due();
    }
    assert_eq!(rig.guest.poll(&mut rig.machine).len(), 1);
}

#[test]
fn frames_that_find_no_descriptor_wait_in_the_tunnel() {
    let mut rig = E1000Rig::new(I82540EM);
    for n in 0..100 {
        rig.incoming(&frame(60 + n));
    }
    for _ in 0..100 {
        rig.machine.tick();
        rig.machine.poll();
    }
    assert_eq!(rig.seen().handed_to_guest, 63, "one descriptor is the ring's");
    let mut got = rig.guest.poll(&mut rig.machine);
    assert_eq!(rig.machine.read(ICR) & (RXT0 | RXDMT0 | RXO), RXT0 | RXDMT0);
    got.extend(rig.guest.poll(&mut rig.machine));
    assert_eq!(got.len(), 100);
    assert!(got.iter().enumerate().all(|(n, it)| it.bytes.starts_with(&frame(60 + n))), "in order");
}

#[test]
fn a_slow_cable_keeps_frames_in_the_guests_ring_and_loses_none() {
    let mut rig = E1000Rig::with(I82540EM, E1000Guest { count: 512, ..E1000Guest::default() });
    rig.machine.card.slow = 2;
    for n in 0..500 {
        rig.guest.put_legacy(&mut rig.machine, &frame(60 + n), &[], None);
    }
    rig.guest.ring(&mut rig.machine);
    let head = rig.machine.read(TDH);
    assert!((100..256).contains(&head), "{head}");
    assert!(rig.machine.poll_timeout().is_some());
    rig.run(2000);
    assert_eq!(rig.machine.card.sent.len(), 500);
    assert_eq!(rig.seen().dropped, 0);
    rig.works();
}

#[test]
fn the_link_is_that_of_the_cable() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        assert_eq!(rig.machine.read(STATUS) & 0xc3, 0x83);
        rig.machine.card.plug(false);
        assert!(rig.machine.card.line());
        assert_eq!(rig.machine.read(ICR) & LSC, LSC);
        assert_eq!((rig.machine.read(STATUS) & 2, rig.machine.info().link_up), (0, false));
        // What is sent meanwhile does not hang the driver.
        for n in 0..400 {
            let index = rig.guest.send(&mut rig.machine, &frame(60 + n));
            assert!(rig.guest.is_done(&rig.machine, index));
        }
        rig.machine.card.plug(true);
        assert_eq!(rig.machine.read(ICR) & LSC, LSC);
        assert_eq!(rig.seen().links, [true, false, true]);
        rig.run(800);
        rig.works();
    }
}

#[test]
fn a_link_that_changes_unseen_is_found_by_poll() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.machine.write(IMC, u32::MAX);
    rig.machine.card.plug(false);
    rig.machine.poll();
    assert_eq!(rig.seen().links, [true, false]);
    assert_eq!(rig.machine.read(ICR) & LSC, LSC);
}

/// Reads a word by EERD.
fn eerd(rig: &mut E1000Rig, word: u32) -> u16 {
    let (shift, done) = if rig.machine.is_82574() { (2, 2) } else { (8, 0x10) };
    rig.machine.write(EERD, word << shift | 1);
    let value = rig.machine.read(EERD);
    assert_eq!(value & done, done);
    (value >> 16) as u16
}

/// Reads a word by the wires, as Linux does for an 82540.
fn microwire(rig: &mut E1000Rig, word: u32) -> u16 {
    const CS: u32 = 2;
    let clock = |rig: &mut E1000Rig, bit: u32| {
        rig.machine.write(EECD, CS | bit << 2);
        rig.machine.write(EECD, CS | bit << 2 | 1);
        let out = rig.machine.read(EECD) >> 3 & 1;
        rig.machine.write(EECD, CS | bit << 2);
        out
    };
    rig.machine.write(EECD, 0x40);
    assert_eq!(rig.machine.read(EECD) & 0xc0, 0xc0, "granted");
    rig.machine.write(EECD, 0);
    let command = 0b110 << 6 | word;
    for n in (0..9).rev() {
        let _ = clock(rig, command >> n & 1);
    }
    let value = (0..16).fold(0, |value, _| value << 1 | clock(rig, 0));
    rig.machine.write(EECD, 0);
    value as u16
}

#[test]
fn the_eeprom_reads_as_the_cards_without_wake_up_and_its_sum_is_right() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        let words: Vec<u16> = (0..64).map(|word| eerd(&mut rig, word)).collect();
        assert_eq!(words[..3], [0x5452, 0x1200, 0x5634]);
        assert_eq!(words.iter().fold(0_u16, |sum, word| sum.wrapping_add(*word)), 0xbaba);
        assert_eq!((words[0x0f] | words[0x24]) & 0x400, 0);
        if id != I82574L {
            let wires: Vec<u16> = (0..64).map(|word| microwire(&mut rig, word)).collect();
            assert_eq!(wires, words);
        }
        assert_eq!(eerd(&mut rig, 0xff), 0xffff);
    }
}

#[test]
fn the_eeprom_cannot_be_written_by_its_wires() {
    let mut rig = E1000Rig::new(I82540EM);
    let before = microwire(&mut rig, 5);
    // Write enable, then a write of 0 to word 5.
    for command in [0b1_0011_0000_u32, 0b1_0100_0101] {
        rig.machine.write(EECD, 2);
        for n in (0..9).rev() {
            let bit = (command >> n & 1) << 2;
            rig.machine.write(EECD, 2 | bit);
            rig.machine.write(EECD, 3 | bit);
        }
        for _ in 0..20 {
            rig.machine.write(EECD, 2);
            rig.machine.write(EECD, 3);
        }
        rig.machine.write(EECD, 0);
    }
    assert_eq!((microwire(&mut rig, 5), rig.machine.card.get(EECD)), (before, 0));
}

fn mdic(rig: &mut E1000Rig, register: u32, write: Option<u16>) -> Result<u16, ()> {
    let op = write.map_or(2 << 26, |value| 1 << 26 | u32::from(value));
    rig.machine.write(MDIC, op | register << 16 | 1 << 21);
    let value = rig.machine.read(MDIC);
    assert_eq!(value >> 28 & 1, 1, "ready");
    if value >> 30 & 1 == 0 { Ok(value as u16) } else { Err(()) }
}

#[test]
fn the_phy_tells_of_the_link_and_what_is_written_stays_in_the_model() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        let old = if id == I82574L { 0x0cb1 } else { 0x0c20 };
        assert_eq!((mdic(&mut rig, 2, None), mdic(&mut rig, 3, None)), (Ok(0x0141), Ok(old)));
        assert_eq!(mdic(&mut rig, 1, None).unwrap() & 0x24, 0x24);
        assert_eq!(mdic(&mut rig, 17, None).unwrap() & 0xec00, 0xac00, "1000 Mb/s, full, link");
        // Power down: the link is gone for the guest, and for nobody else.
        mdic(&mut rig, 0, Some(0x1940)).unwrap();
        assert_eq!((mdic(&mut rig, 1, None).unwrap() & 0x24, rig.machine.read(STATUS) & 2), (0, 0));
        assert_eq!((rig.machine.card.get(MDIC), rig.machine.info().link_up), (0, true));
        assert_eq!(rig.machine.read(ICR) & LSC, LSC);
        mdic(&mut rig, 0, Some(0x9140)).unwrap();
        assert_eq!(rig.machine.read(STATUS) & 2, 2);
        rig.machine.write(MDIC, 2 << 26 | 7 << 21);
        assert_eq!(rig.machine.read(MDIC) >> 30 & 1, 1, "no other PHY");
        rig.works();
    }
}

#[test]
fn linux_finds_its_semaphores_and_its_master_in_the_82574() {
    let mut rig = E1000Rig::new(I82574L);
    assert_eq!(rig.machine.read(SWSM) & 1, 0);
    assert_eq!(rig.machine.read(SWSM) & 1, 1, "the read has taken it");
    rig.machine.write(SWSM, 2);
    assert_eq!(rig.machine.read(SWSM) & 3, 2);
    rig.machine.write(0xf00, 1 << 5);
    assert_eq!(rig.machine.read(0xf00), 1 << 5);
    assert_eq!(rig.machine.read(STATUS) >> 19 & 1, 1);
    rig.machine.write(CTRL, 0x45);
    assert_eq!(rig.machine.read(STATUS) >> 19 & 1, 0);
    assert_eq!(rig.machine.read(0x1010) >> 18 & 3, 3);
    assert_eq!(rig.machine.read(EECD) & 0x300, 0x300);
}

#[test]
fn after_sleep_the_card_is_ours_again_before_the_guest_sees_it() {
    for id in CARDS {
        let mut rig = E1000Rig::new(id);
        rig.works();
        rig.guest.send(&mut rig.machine, &frame(70));
        rig.machine.sleep();
        assert_eq!(rig.machine.config.command & 6, 6);
        assert_eq!(rig.machine.card.get(RCTL) & 2, 2);
        assert_eq!(rig.machine.read(STATUS), u32::MAX, "the guest has not switched it on");
        for bar in [0x10, 0x14, 0x18, 0x1c] {
            let _ = rig.machine.config_read(bar, mediator::Width::Dword);
        }
        rig.machine.config_write(4, mediator::Width::Word, 6);
        rig.start();
        rig.works();
    }
}

#[test]
fn the_tunnels_deadline_is_the_cards() {
    let mut rig = E1000Rig::new(I82540EM);
    rig.seen().deadline = Some(mediator::Instant(50_000));
    assert_eq!(rig.machine.poll_timeout(), Some(mediator::Instant(50_000)));
    rig.run(10);
    let timeouts = rig.seen().timeouts;
    assert_eq!((timeouts, rig.machine.poll_timeout()), (1, None));
}

#[test]
fn the_ports_of_an_82540_lead_to_the_model_as_linux_resets_it() {
    use mediator::pci::Place;
    use mediator::{Op, Width};
    for id in [I82540EM, I82545EM] {
        let mut rig = E1000Rig::new(id);
        let ports = rig
            .machine
            .regions()
            .iter()
            .find(|it| it.place == Some(Place::Port(0xc000)))
            .map(|it| (it.region.0, it.len));
        assert_eq!(ports, Some((1, 8)));
        rig.machine.other_region(1, 0, Op::Write(CTRL.into()));
        rig.machine.other_region(1, 4, Op::Write(1 << 26));
        assert_eq!([TCTL, RDLEN, TDLEN, IMS].map(|register| rig.machine.read(register)), [0; 4]);
        rig.check();
        rig.machine.other_region(1, 0, Op::Write(RAL.into()));
        assert_eq!(rig.machine.other_region(1, 4, Op::Read), Some(0x1200_5452));
        rig.machine.other_region(1, 0, Op::Write(0xffff_fff0));
        assert_eq!(rig.machine.other_region(1, 4, Op::Read), Some(0xffff_ffff), "no register");
        // Sizing; nothing of it reaches the card, which decodes no ports.
        assert_eq!(rig.machine.config_read(0x14, Width::Dword), 0xc001);
        rig.machine.config_write(0x14, Width::Dword, u32::MAX);
        assert_eq!(rig.machine.config_read(0x14, Width::Dword), 0xffc1);
        assert_eq!(rig.machine.other_region(1, 0, Op::Read), Some(0xffff_ffff), "placed elsewhere");
        rig.machine.config_write(0x14, Width::Dword, 0xc001);
        assert_eq!((rig.machine.config.command & 1, rig.machine.config_read(4, Width::Word) & 7), (0, 7));
        rig.start();
        rig.works();
    }
    let rig = E1000Rig::new(I82574L);
    assert!(rig.machine.regions().iter().all(|it| it.place.and_then(Place::port).is_none()));
}
