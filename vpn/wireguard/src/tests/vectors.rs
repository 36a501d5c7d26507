//! The primitives, as far as the handshakes with another implementation (`tests/boringtun.rs`) would not tell where they are wrong.

use crate::hash::hash;
use crate::{CipherKey, PublicKey, open, seal};

#[test]
fn blake2s_is_that_of_rfc_7693() {
    let expected =
        [0x508C_5E8Cu32, 0x327C_14E2, 0xE1A7_2BA3, 0x4EEB_452F, 0x3745_8B20, 0x9ED6_3A29, 0x4D99_9B4C, 0x8667_5982];
    assert_eq!(hash(&[b"a", b"bc"]), *expected.map(u32::to_be_bytes).as_flattened(), "appendix B");
}

#[test]
fn chacha20_poly1305_binds_key_counter_text_and_what_is_said_beside() {
    let key = CipherKey::new(core::array::from_fn(|i| i as u8));
    let mut data = *b"a packet";
    let tag = seal(&key, 7, b"bound", &mut data).unwrap();
    assert!(data != *b"a packet");
    assert!(open(&key, 8, b"bound", &mut data.clone(), &tag).is_none());
    assert!(open(&key, 7 << 32, b"bound", &mut data.clone(), &tag).is_none());
    assert!(open(&key, 7, b"", &mut data.clone(), &tag).is_none());
    assert!(open(&CipherKey::new([0; 32]), 7, b"bound", &mut data.clone(), &tag).is_none());
    assert!(open(&key, 7, b"bound", &mut data, &tag).is_some() && data == *b"a packet");
}

#[test]
fn a_point_with_which_everyone_agrees_on_the_same_is_no_key() {
    use crate::tests::rig::{Chance, peer, private};
    use crate::{AddPeerError, Tunnel};
    let mut tunnel = Tunnel::new(Chance::new(1), private(1), Default::default());
    let own = tunnel.public_key();
    assert_eq!(tunnel.add_peer(0, peer(PublicKey([0; 32]), None, &[])), Err(AddPeerError::WeakKey));
    assert_eq!(tunnel.add_peer(0, peer(own, None, &[])), Err(AddPeerError::OwnKey));
    assert!(tunnel.add_peer(0, peer(private(2).public(), None, &[])).is_ok());
    assert_eq!(tunnel.add_peer(0, peer(private(2).public(), None, &[])), Err(AddPeerError::Twice));
}
