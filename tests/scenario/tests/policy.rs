//! What a protected disk is not asked, and what the guest is not told.
#![forbid(unsafe_code)]

use scenario::{DATA, Rig};
use sim::guest::{Command, Failure, GuestDriver, Style};

/// What may reach a protected disk: reads, writes and verifies of sectors, flushes, power, IDENTIFY, SMART and logs,
/// modes, and SECURITY FREEZE LOCK, which keeps others from locking it.
fn is_allowed(command: u8) -> bool {
    let media = [0x20, 0x21, 0x24, 0x25, 0x29, 0x30, 0x31, 0x34, 0x35, 0x39, 0x3c, 0x3d, 0xce];
    let more = [0x00, 0x2f, 0x40, 0x41, 0x42, 0x90, 0x91, 0xb0, 0xec, 0xef, 0x27, 0xf8, 0xe4, 0xe7, 0xea, 0xf5];
    media.contains(&command)
        || more.contains(&command)
        || matches!(command, 0x10..=0x1f | 0x70..=0x7f | 0x94..=0x99 | 0xc4..=0xc6 | 0xc8..=0xcb | 0xe0..=0xe3 | 0xe5 | 0xe6)
}

#[test]
fn everything_unknown_or_dangerous_is_aborted_and_never_reaches_the_disk() {
    for code in (0..=0xff).filter(|code| !is_allowed(*code)) {
        let mut rig = Rig::new();
        let outcome = rig.disk().non_data(Command { command: code, count: 1, lba: 2000, ..Command::default() });
        assert!(matches!(outcome, Err(Failure::Device { error: 4, .. })), "{code:#04x}: {outcome:?}");
        let reached = rig.machine.ide.channels[0].received.iter().any(|received| received.command == code);
        assert!(!reached, "{code:#04x} reached the disk");
        rig.check();
        rig.read(scenario::Way::ODD, 998, 4).unwrap();
    }
}

#[test]
fn smart_is_read_but_no_log_is_written() {
    let mut rig = Rig::new();
    let smart = |features| Command { command: 0xb0, features, count: 1, lba: 0xc2_4f00, ..Command::default() };
    let mut data = vec![1; 512];
    rig.disk().pio_in(smart(0xd0), 512, Style::default(), &mut data).unwrap();
    rig.disk().non_data(smart(0xda)).unwrap();
    for features in [0xd6, 0xd2, 0xd4, 0xff] {
        let outcome = rig.disk().non_data(smart(features));
        assert!(matches!(outcome, Err(Failure::Device { error: 4, .. })), "{features:#x}: {outcome:?}");
    }
    let sct = Command { lba: 0xc2_4fe0, ..smart(0xd6) };
    assert!(matches!(rig.disk().non_data(sct), Err(Failure::Device { error: 4, .. })));
    let received = &rig.machine.ide.channels[0].received;
    assert!(!received.iter().any(|r| r.command == 0xb0 && r.features == 0xd6));
}

#[test]
fn trim_is_refused_unless_it_is_allowed() {
    let mut rig = Rig::new();
    rig.machine.ram.poke(DATA, &(1u64 << 48 | 2000).to_le_bytes());
    let trim = Command { command: 0x06, features: 1, count: 1, ext: true, ..Command::default() };
    let outcome = rig.disk().dma(trim, true, &[(DATA, 512)]);
    assert!(matches!(outcome, Err(Failure::Device { error: 4, .. })), "{outcome:?}");
    assert!(rig.machine.ide.disk(0, 0).trimmed.is_empty());
}

fn word(identify: &[u8], word: usize) -> u16 {
    u16::from_le_bytes([identify[2 * word], identify[2 * word + 1]])
}

#[test]
fn identify_does_not_promise_what_is_refused() {
    let mut rig = Rig::new();
    let id = rig.disk().identify(0xec).unwrap();
    assert_eq!(id.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "checksum");
    let promised: Vec<_> = [
        ("Trusted Computing", 48, 0x0001),
        ("Security", 82, 0x0002),
        ("HPA", 82, 0x0400),
        ("download microcode", 83, 0x0001),
        ("SET MAX security", 83, 0x0100),
        ("DCO", 83, 0x0800),
        ("Security enabled", 85, 0x0002),
        ("Security status", 128, 0xffff),
        ("TRIM", 169, 0x0001),
        ("SCT", 206, 0x0001),
        ("WRITE UNCORRECTABLE", 119, 0x0004),
    ]
    .into_iter()
    .filter(|(_, at, bits)| word(&id, *at) & bits != 0)
    .collect();
    assert!(promised.is_empty(), "{promised:?}");
    assert_eq!(word(&id, 49) & 0x0300, 0x0300, "DMA and LBA stay");
    assert_eq!(word(&id, 83) & 0x3400, 0x3400, "48-bit and flushes stay");
}

#[test]
fn identify_is_the_same_by_words_and_by_rep_and_polled() {
    let mut rig = Rig::new();
    let id = rig.disk().identify(0xec).unwrap();
    let command = Command { command: 0xec, ..Command::default() };
    for (width, rep, polled) in [
        (mediator::Width::Word, false, false),
        (mediator::Width::Word, true, true),
        (mediator::Width::Dword, true, false),
        (mediator::Width::Dword, false, true),
    ] {
        let mut data = vec![0; 512];
        rig.disk().pio_in(command, 512, Style { width, rep, polled }, &mut data).unwrap();
        assert_eq!(data, id);
    }
}

#[test]
fn the_cd_drive_works_by_pio_and_dma() {
    let mut rig = Rig::new();
    let read = [0x28, 0, 0, 0, 0, 42, 0, 0, 2, 0, 0, 0];
    let expected = [sim::ide::atapi::block(42), sim::ide::atapi::block(43)].concat();
    assert_eq!(rig.cd().packet_in(read, 2048).unwrap(), expected);
    rig.cd().packet_dma(read, &[(DATA, 1000), (DATA + 0x1000, 3096)]).unwrap();
    assert_eq!(rig.load(&[(DATA, 1000), (DATA + 0x1000, 3096)]), expected);
    assert_eq!(rig.cd().identify(0xa1).unwrap()[1], 0x85);
    rig.check();
}

#[test]
fn an_empty_unit_stays_empty() {
    let mut rig = Rig::new();
    let mut guest = GuestDriver::new(&mut rig.machine, 1, 1);
    guest.out(6, 0xb0).unwrap();
    assert_eq!(guest.input(7).unwrap(), 0);
}

#[test]
fn flush_standby_and_diagnostics_reach_the_disk() {
    let mut rig = Rig::new();
    for code in [0xe7, 0xea, 0xe0, 0xe5, 0x90] {
        rig.disk().non_data(Command { command: code, ..Command::default() }).unwrap();
        assert!(rig.machine.ide.channels[0].received.iter().any(|r| r.command == code), "{code:#x}");
    }
}
