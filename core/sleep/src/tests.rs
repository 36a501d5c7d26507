use crate::control::{WAKE_STATUS, asks_for, request};
use crate::{FACS_BYTES, Facs, State, Types, Unwakeable, WakingVector};
use std::string::ToString;
use std::vec::Vec;

/// From the DSDT of QEMU 7.2, machines `pc` and `q35`, with what stands around it.
const QEMU: &[u8] = &[
    0x5c, 0x00, 0x08, 0x5f, 0x53, 0x33, 0x5f, 0x12, 0x06, 0x04, 0x01, 0x01, 0x00, 0x00, 0x08, 0x5f, 0x53, 0x34, 0x5f,
    0x12, 0x08, 0x04, 0x0a, 0x02, 0x0a, 0x02, 0x00, 0x00, 0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x06, 0x04, 0x00, 0x00,
    0x00, 0x00, 0x10, 0x3b, 0x5c, 0x2e, 0x5f, 0x53, 0x42, 0x5f,
];
/// From the DSDT of Bochs 2.7.
const BOCHS: &[u8] = &[
    0x08, b'_', b'S', b'3', b'_', 0x12, 0x06, 0x04, 0x01, 0x01, 0x00, 0x00, 0x08, b'_', b'S', b'4', b'_', 0x12, 0x06,
    0x04, 0x00, 0x00, 0x00, 0x00, 0x08, b'_', b'S', b'5', b'_', 0x12, 0x06, 0x04, 0x00, 0x00, 0x00, 0x00,
];

fn types(aml: &[u8]) -> Types {
    let mut types = Types::default();
    types.scan(aml);
    types
}

fn named(digit: u8, package: &[u8]) -> Vec<u8> {
    [&[0x08, b'_', b'S', digit, b'_'], package].concat()
}

#[test]
fn the_way_off_is_one_of_those_that_the_firmware_names() {
    assert_eq!(types(QEMU).off(), Some((0, 0)));
    assert_eq!(types(BOCHS).off(), Some((0, 0)));
    let only_s4 = types(&named(b'4', &[0x12, 0x08, 0x04, 0x0a, 0x06, 0x0a, 0x05, 0x00, 0x00]));
    assert_eq!(only_s4.off(), Some((6, 5)));
    assert_eq!(Types::default().off(), None);
    // SCI_EN stays, and the type is the one that is asked for.
    assert_eq!(request(0x1c01, 5), 0x3401);
    assert_eq!(asks_for(request(0x0001, 6)), Some(6));
}

#[test]
fn qemu_calls_them_1_2_and_0() {
    let types = types(QEMU);
    let states: Vec<_> = (0..8).map(|value| types.state(value, None)).collect();
    let (off, suspended) = (Some(State::Off), Some(State::Suspended));
    assert_eq!(states, [off, suspended, off, None, None, None, None, None]);
}

#[test]
fn bochs_calls_them_1_and_0() {
    let types = types(BOCHS);
    assert_eq!(types.state(1, None), Some(State::Suspended));
    assert_eq!(types.state(0, None), Some(State::Off));
    assert_eq!(types.state(2, None), None);
}

#[test]
fn numbers_of_all_lengths_are_read() {
    for package in [
        &[0x12, 0x0a, 0x04, 0x0a, 0x05, 0x0a, 0x06, 0x00, 0x00][..],
        &[0x12, 0x0a, 0x02, 0x0b, 0x05, 0x00, 0x0b, 0x06, 0x00],
        &[0x12, 0x4a, 0x00, 0x02, 0x0c, 0x05, 0x00, 0x00, 0x00, 0x0a, 0x06],
        &[0x12, 0xca, 0x00, 0x00, 0x00, 0x02, 0x0a, 0x05, 0x0a, 0x06],
    ] {
        let types = types(&named(b'3', package));
        assert_eq!(types.state(5, Some(6)), Some(State::Suspended), "{package:x?}");
        assert_eq!(types.state(6, Some(5)), None, "{package:x?}");
    }
}

#[test]
fn a_package_with_one_number_has_it_for_both_registers() {
    assert_eq!(types(&named(b'3', &[0x12, 0x04, 0x01, 0x0a, 0x05])).state(5, Some(5)), Some(State::Suspended));
}

#[test]
fn a_name_at_the_root_is_found_too() {
    let aml = [&[0x08, b'\\'], &named(b'5', &[0x12, 0x04, 0x02, 0x00, 0x01])[1..]].concat();
    assert_eq!(types(&aml).state(0, Some(1)), Some(State::Off));
}

#[test]
fn what_only_mentions_the_name_defines_nothing() {
    let package = [0x12, 0x04, 0x02, 0x01, 0x01];
    // A method of that name, a reference to it, a name with something else behind it.
    for aml in [
        [&[0x14, 0x0a, b'_', b'S', b'3', b'_'], &package[..]].concat(),
        [b"_S3_", &package[..]].concat(),
        named(b'3', &[0x0a, 0x01]),
        named(b'6', &package),
    ] {
        assert_eq!(types(&aml), Types::default(), "{aml:x?}");
    }
}

#[test]
fn a_table_that_ends_anywhere_is_read_as_far_as_it_goes() {
    let whole = types(BOCHS);
    for len in 0..BOCHS.len() {
        let cut = types(&BOCHS[..len]);
        for value in 0..8 {
            let state = cut.state(value, None);
            assert!(state.is_none() || state == whole.state(value, None), "cut to {len}");
        }
    }
}

#[test]
fn one_value_with_two_states_is_taken_for_the_one_that_keeps_the_memory() {
    let one = [0x12, 0x04, 0x02, 0x01, 0x01];
    for digits in [*b"513", *b"315", *b"135"] {
        let aml: Vec<u8> = digits.iter().flat_map(|&digit| named(digit, &one)).collect();
        assert_eq!(types(&aml).state(1, None), Some(State::Suspended));
        assert_eq!(types(&aml).state(1, Some(1)), Some(State::Suspended));
    }
}

#[test]
fn numbers_that_no_register_can_hold_are_left_out() {
    assert_eq!(types(&named(b'3', &[0x12, 0x06, 0x02, 0x0a, 0x08, 0x0a, 0xff])), Types::default());
    assert_eq!(types(&named(b'3', &[0x12, 0x08, 0x02, 0x0b, 0x01, 0x01, 0x0b, 0x01, 0x01])), Types::default());
}

#[test]
fn only_a_write_with_sleep_enable_asks() {
    assert_eq!(asks_for(0x2401), Some(1));
    assert_eq!(asks_for(0x3c01), Some(7));
    assert_eq!(asks_for(0x0401), None);
    assert_eq!(asks_for(!(1 << 13)), None);
    assert_eq!(WAKE_STATUS, 0x8000);
}

fn facs(vector: u32, extended: u64) -> [u8; FACS_BYTES] {
    let mut bytes = [0; FACS_BYTES];
    bytes[..8].copy_from_slice(b"FACS\x40\0\0\0");
    bytes[8..12].fill(0xaa);
    bytes[12..16].copy_from_slice(&vector.to_le_bytes());
    bytes[16..24].fill(0xbb);
    bytes[24..32].copy_from_slice(&extended.to_le_bytes());
    bytes[32] = 2;
    bytes
}

#[test]
fn the_vector_is_entered_by_its_paragraph() {
    let at = |vector| Facs::parse(facs(vector, 0)).unwrap().waking_vector();
    assert_eq!(at(0x9_90c5), Ok(WakingVector { segment: 0x990c, ip: 5 }));
    assert_eq!(at(0xf_ffff), Ok(WakingVector { segment: 0xffff, ip: 15 }));
    assert_eq!(at(0), Err(Unwakeable::None));
    assert_eq!(at(0x10_0000), Err(Unwakeable::High(0x10_0000)));
}

#[test]
fn protected_mode_is_refused_by_name() {
    let refusal = Facs::parse(facs(0x9_9000, 1)).unwrap().waking_vector().unwrap_err();
    assert_eq!(refusal, Unwakeable::Extended(1));
    assert!(refusal.to_string().contains("X_Firmware_Waking_Vector 0x1"));
}

#[test]
fn only_the_vectors_are_replaced() {
    let ours = Facs::parse(facs(0x9_9000, u64::MAX)).unwrap().with_waking_vector(0x8_0000);
    assert_eq!(*ours.bytes(), facs(0x8_0000, 0));
}

#[test]
fn what_is_no_facs_is_refused() {
    let mut bytes = facs(1, 0);
    bytes[0] = b'f';
    assert_eq!(Facs::parse(bytes), None);
    let mut bytes = facs(1, 0);
    bytes[4] = 32;
    assert_eq!(Facs::parse(bytes), None);
    assert_eq!(Facs::parse([0; FACS_BYTES]), None);
}
