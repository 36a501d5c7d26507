//! ChaCha20-Poly1305: each engine against RFC 8439 and another implementation.

use super::*;
use crate::{PacketCipher, PacketEngine};
use abi::seal::{KEY_BYTES, NONCE_AT, NONCE_BYTES, REQUEST_BYTES, TAG_AT};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

/// What this CPU can run.
pub fn packet_engines() -> Vec<PacketEngine> {
    let all = [PacketEngine::Sse2, PacketEngine::Avx2, PacketEngine::Avx512];
    let best = all.iter().position(|engine| *engine == PacketEngine::of_this_cpu()).unwrap();
    let (runnable, skipped) = all.split_at(best + 1);
    for engine in skipped {
        eprintln!("SKIPPED: this CPU has no {engine}");
    }
    runnable.to_vec()
}

/// Seal and open, and their caller.
pub fn packet_entries(engine: PacketEngine) -> (Caller, Entry, Entry) {
    match engine {
        PacketEngine::Sse2 => (call_with_xmm_kept, object::vmm_simd_chacha_seal, object::vmm_simd_chacha_open),
        PacketEngine::Avx2 => {
            (call_with_vectors_kept, object::vmm_simd_chacha_seal_256, object::vmm_simd_chacha_open_256)
        }
        PacketEngine::Avx512 => {
            (call_with_vectors_kept, object::vmm_simd_chacha_seal_512, object::vmm_simd_chacha_open_512)
        }
    }
}

/// Key and nonce, and no tag yet.
pub fn request(seed: u64) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[..TAG_AT].copy_from_slice(&random_bytes(seed, TAG_AT));
    request
}

/// What the other implementation makes of it; it gives the tag.
fn reference(request: &[u8; REQUEST_BYTES], bound_bytes: usize, packet: &mut [u8]) -> [u8; 16] {
    let (key, nonce) = (&request[..KEY_BYTES], &request[NONCE_AT..][..NONCE_BYTES]);
    let (bound, text) = packet.split_at_mut(bound_bytes);
    let cipher = ChaCha20Poly1305::new(key.try_into().unwrap());
    cipher.encrypt_inout_detached(nonce.try_into().unwrap(), bound, text.into()).unwrap().into()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.bytes().filter(u8::is_ascii_hexdigit).map(|digit| (digit as char).to_digit(16).unwrap() as u8);
    let digits: Vec<u8> = digits.collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_packet_of_rfc_8439_is_sealed_and_opened() {
    // 2.8.2
    let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let bound = bytes("50515253c0c1c2c3c4c5c6c7");
    let sealed = bytes(
        "d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6 3dbea45e8ca9671282fafb69da92728b \
         1a71de0a9e060b2905d6a5b67ecd3b36 92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc \
         3ff4def08e4b7a9de576d26586cec64b 6116",
    );
    let tag = bytes("1ae10b594f09e26a7e902ecbd0600691");
    for engine in packet_engines() {
        let cipher = engine.chacha_poly();
        let mut request = [0; REQUEST_BYTES];
        request[..KEY_BYTES].iter_mut().zip(0x80..).for_each(|(byte, value)| *byte = value);
        request[NONCE_AT..TAG_AT].copy_from_slice(&bytes("070000004041424344454647"));
        let plain = [&bound[..], text].concat();
        let mut packet = plain.clone();
        assert_eq!(cipher.seal(&mut request, bound.len(), &mut packet), Some(()));
        assert_eq!(packet, [&bound[..], &sealed].concat(), "{engine}");
        assert_eq!(request[TAG_AT..], tag, "{engine}");
        assert_eq!(cipher.open(&mut request, bound.len(), &mut packet), Some(()));
        assert_eq!(packet, plain, "{engine}");
    }
}

#[test]
fn packets_of_every_length_are_sealed_as_another_implementation_does() {
    for engine in packet_engines() {
        let (caller, seal, open) = packet_entries(engine);
        let chance = random_bytes(engine as u64, 2 * 4097);
        for len in 0..=4096 {
            // Any address, and now and then bytes that are bound.
            let (offset, bound_bytes) =
                ((chance[2 * len] % 64).into(), (chance[2 * len + 1] & 31).saturating_sub(16).into());
            let mut request = request(len as u64);
            let plain = random_bytes(!(len as u64), offset + bound_bytes + len + 1);
            let (mut expected, mut packet) = (plain.clone(), plain.clone());
            let end = offset + bound_bytes + len;
            let tag = reference(&request, bound_bytes, &mut expected[offset..end]);
            let mut call = |entry, packet: &mut [u8]| {
                let (request, packet, len) = (request.as_mut_ptr().cast(), packet.as_mut_ptr(), packet.len() as u64);
                // SAFETY: request and packet are as long as that; the CPU has the engine.
                unsafe { caller(request, bound_bytes as u64, packet, len, entry) }
            };
            assert_eq!(call(seal, &mut packet[offset..end]), 1);
            assert!(packet == expected, "{engine}: {len} bytes, {bound_bytes} bound, at {offset}");
            assert_eq!(call(open, &mut packet[offset..end]), 1);
            assert!(packet == plain, "{engine}: {len} bytes, {bound_bytes} bound, at {offset}");
            assert_eq!(request[TAG_AT..], tag, "{engine}: {len} bytes, {bound_bytes} bound, at {offset}");
        }
    }
}

#[test]
fn long_packets_are_sealed_as_another_implementation_does() {
    for engine in packet_engines() {
        for len in [16 << 10, 65_535, 1 << 20] {
            let mut request = request(len as u64);
            let mut packet = random_bytes(7, len);
            let mut expected = packet.clone();
            let tag = reference(&request, 0, &mut expected);
            assert_eq!(engine.chacha_poly().seal(&mut request, 0, &mut packet), Some(()));
            assert!(packet == expected && request[TAG_AT..] == tag, "{engine}: {len} bytes");
        }
    }
}

/// [`PacketCipher`] chooses by length and XCR0; every choice gives the same.
#[test]
fn a_cipher_seals_what_every_other_engine_opens() {
    let ciphers: Vec<PacketCipher> = packet_engines().into_iter().map(PacketEngine::chacha_poly).collect();
    for len in [0, 1, 64, 127, 128, 1420, 1500, 9000] {
        for from in &ciphers {
            for to in &ciphers {
                let (mut request, plain) = (request(len as u64), random_bytes(3, len));
                let mut packet = plain.clone();
                assert_eq!(from.seal(&mut request, 0, &mut packet), Some(()));
                assert_eq!(to.open(&mut request, 0, &mut packet), Some(()));
                assert!(packet == plain);
            }
        }
    }
}

#[test]
fn a_packet_of_which_one_bit_differs_is_forged_and_stays_as_it_is() {
    for engine in packet_engines() {
        let cipher = engine.chacha_poly();
        for len in [0, 5, 16, 200, 1420] {
            let bound_bytes = 8;
            let (mut request, mut packet) = (request(len as u64), random_bytes(5, bound_bytes + len));
            assert_eq!(cipher.seal(&mut request, bound_bytes, &mut packet), Some(()));
            for bit in 0..REQUEST_BYTES * 8 {
                let (mut request, mut other) = (request, packet.clone());
                request[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    cipher.open(&mut request, bound_bytes, &mut other),
                    None,
                    "{engine}: bit {bit} of the request"
                );
                assert!(other == packet);
            }
            for bit in 0..packet.len() * 8 {
                let mut other = packet.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                let forged = other.clone();
                assert_eq!(cipher.open(&mut request, bound_bytes, &mut other), None, "{engine}: bit {bit}");
                assert!(other == forged);
            }
            // The border between what is bound and the text is authentic too.
            let mut other = packet.clone();
            assert_eq!(cipher.open(&mut request, bound_bytes - 1, &mut other), None);
            let Some((_, short)) = other.split_last_mut() else { continue };
            assert_eq!(cipher.open(&mut request, bound_bytes.min(short.len()), short), None);
            assert_eq!(cipher.open(&mut request, bound_bytes, &mut packet), Some(()));
        }
    }
}

#[test]
fn more_bound_bytes_than_there_are_is_refused() {
    for engine in packet_engines() {
        let (mut request, mut packet) = (request(1), random_bytes(5, 300));
        let (same_request, same) = (request, packet.clone());
        for bound_bytes in [301, usize::MAX] {
            assert_eq!(engine.chacha_poly().seal(&mut request, bound_bytes, &mut packet), None);
            assert_eq!(engine.chacha_poly().open(&mut request, bound_bytes, &mut packet), None);
        }
        assert!(packet == same && request == same_request);
    }
}

/// What the call leaves in its part of the stack.
#[test]
fn the_key_does_not_stay_on_the_stack() {
    const BYTES: usize = 16 << 10;
    for engine in packet_engines() {
        let (caller, seal, open) = packet_entries(engine);
        for entry in [seal, open] {
            let mut request = request(77);
            // The key stream is the cipher text of zeroes.
            let mut packet = std::vec![0; 1420];
            let tag = reference(&request, 0, &mut packet);
            request[TAG_AT..].copy_from_slice(&tag);
            let stream = packet.clone();
            if entry as usize == seal as usize {
                packet.fill(0);
            }
            let mut stack = std::vec![0_u8; BYTES];
            // SAFETY: as for any call; what lies below the stack pointer is only copied, and is mapped: it was just filled.
            unsafe {
                std::arch::asm!(
                    "push rbx",
                    "push r12",
                    "mov rbx, {stack}",
                    "mov r12, rsp",
                    "lea rdi, [rsp - {bytes}]",
                    "mov r11, rcx",
                    "mov ecx, {bytes}",
                    "xor eax, eax",
                    "rep stosb",
                    "mov rcx, r11",
                    "mov rdi, r10",
                    "and rsp, -16",
                    "call r9",
                    "mov rsp, r12",
                    "lea rsi, [rsp - {bytes}]",
                    "mov rdi, rbx",
                    "mov ecx, {bytes}",
                    "rep movsb",
                    "pop r12",
                    "pop rbx",
                    bytes = const BYTES,
                    stack = in(reg) stack.as_mut_ptr(),
                    in("r9") caller as usize,
                    in("r10") request.as_mut_ptr(),
                    in("rsi") 0,
                    in("rdx") packet.as_mut_ptr(),
                    in("rcx") packet.len(),
                    in("r8") entry as usize,
                    clobber_abi("sysv64"),
                );
            }
            assert!(packet == if entry as usize == seal as usize { stream } else { std::vec![0; 1420] });
            let used = stack.iter().position(|byte| *byte != 0).map_or(0, |first| BYTES - first);
            assert!(used > 500 && used < BYTES - 4096, "{engine}: {used} bytes of stack");
            let found = |secret: &[u8]| stack.windows(8).any(|bytes| bytes == secret);
            assert!(!request[..KEY_BYTES].windows(8).any(found), "{engine}: the key");
        }
    }
}
