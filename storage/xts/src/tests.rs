extern crate std;

use super::*;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::string::String;
use std::vec::Vec;
use std::{eprintln, format, vec};
use xts_mode::{Xts128, get_tweak_default};

fn hex(text: &str) -> Vec<u8> {
    let text: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    text.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn key(text: &str) -> [u8; KEY_BYTES] {
    hex(text).try_into().unwrap()
}

/// SplitMix64: repeatable test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn key(&mut self) -> [u8; KEY_BYTES] {
        self.bytes(KEY_BYTES).try_into().unwrap()
    }
}

/// A data unit of any number of blocks under any 128-bit tweak, as in NIST's vectors.
fn data_unit(key: &[u8; KEY_BYTES], tweak: &[u8], data: &mut [u8], encrypt: bool) {
    let xts = Aes256Xts::new(key, 512).unwrap();
    let mut first = Block::try_from(tweak).unwrap();
    xts.tweak.encrypt_block(&mut first);
    let (blocks, []) = Block::slice_as_chunks_mut(data) else { panic!("not whole blocks") };
    let unit = Unit { mask: u128::from_le_bytes(first.into()), blocks };
    if encrypt { xts.data.encrypt_with_backend(unit) } else { xts.data.decrypt_with_backend(unit) }
}

/// NIST CAVP, XTSTestVectors, "format tweak value input - 128 hex str", XTSGenAES256.rsp.
#[test]
fn nist_vectors_hold() {
    let vectors = [
        (
            "1ea661c58d943a0e4801e42f4b0947149e7f9f8e3e68d0c7505210bd311a0e7c
             d6e13ffdf2418d8d1911c004cda58da3d619b7e2b9141e58318eea392cf41b08",
            "adf8d92627464ad2f0428e84a9f87564",
            "2eedea52cd8215e1acc647e810bbc3642e87287f8d2e57e36c0a24fbc12a202e",
            "cbaad0e2f6cea3f50b37f934d46a9b130b9d54f07e34f36af793e86f73c6d7db",
        ),
        (
            "e149be00177d76b7c1d85bcbb6b5054ee10b9f51cd73f59e0840628b9e7d854e
             2e1c0ab0537186a2a7c314bbc5eb23b6876a26bcdbf9e6b758d1cae053c2f278",
            "0ea18818fab95289b1caab4e61349501",
            "f5f101d8e3a7681b1ddb21bd2826b24e32990bca49b39291b5369a9bca277d75",
            "5bf2479393cc673306fbb15e72600598e33d4d8a470727ce098730fd80afa959",
        ),
    ];
    for (k, tweak, plain, cipher) in vectors {
        let (k, mut data) = (key(k), hex(plain));
        data_unit(&k, &hex(tweak), &mut data, true);
        assert_eq!(data, hex(cipher));
        data_unit(&k, &hex(tweak), &mut data, false);
        assert_eq!(data, hex(plain));
    }
}

/// IEEE Std 1619-2018, annex B, vector 10: XTS-AES-256, a 512-byte data unit with sequence number FFh.
#[test]
fn ieee_vector_of_a_whole_sector_holds() {
    let xts = Aes256Xts::new(
        &key("2718281828459045235360287471352662497757247093699959574966967627
              3141592653589793238462643383279502884197169399375105820974944592"),
        512,
    )
    .unwrap();
    let plain: Vec<u8> = (0..512).map(|i| i as u8).collect();
    let cipher = hex("1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b
        5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc3345befecb4bb188fd
        5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0
        c5cd4d5fff9dac89aeba122961d03a757123e9870f8acf1000020887891429ca
        2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500dc4cd120c0f7418dae3d0
        b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f
        93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec
        583e9645e07b8d9670655ba5bbcfecc6dc3966380ad8fecb17b6ba02469a020a
        84e18e8f84252070c13e9f1f289be54fbc481457778f616015e1327a02b140f1
        505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae
        9be69a2ffeceb1bec9de244fbe15992b11b77c040f12bd8f6a975a44a0f90c29
        a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac
        6e333b93eb4aff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f
        645e8b7e9bfdef33943054ff84011493c27b3429eaedb4ed5376441a77ed4385
        1ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa
        773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151");
    let mut data = plain.clone();
    xts.encrypt(0xff, &mut data);
    assert_eq!(data, cipher);
    xts.decrypt(0xff, &mut data);
    assert_eq!(data, plain);
}

#[test]
fn random_sectors_are_those_of_the_crate_xts_mode() {
    let mut random = Random(1);
    for sector_bytes in [512, 1024, 4096] {
        for sectors in [1, 2, 7, 8, 9, 33] {
            let key = random.key();
            let plain = random.bytes(sectors * sector_bytes);
            let first = random.next() >> 4;

            let (data_key, tweak_key) = <&Array<u8, U64>>::from(&key).split_ref();
            let oracle = Xts128::new(Aes256::new(data_key), Aes256::new(tweak_key));
            let mut expected = plain.clone();
            for (sector, number) in expected.chunks_mut(sector_bytes).zip(first..) {
                let units = u128::from(number) * (sector_bytes / 512) as u128;
                oracle.encrypt_sector(sector, get_tweak_default(units));
            }

            let xts = Aes256Xts::new(&key, sector_bytes).unwrap();
            let mut data = plain.clone();
            xts.encrypt(first, &mut data);
            assert!(data == expected, "{sectors} sectors of {sector_bytes} bytes, first {first:#x}");
            xts.decrypt(first, &mut data);
            assert!(data == plain);
        }
    }
}

/// AES-256-ECB by the `openssl` command (its `enc` has no XTS); `None` when it is not installed.
fn openssl_aes(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let child = Command::new("openssl")
        .args(["enc", "-aes-256-ecb", "-nopad", "-K", &key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        child => child.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = data.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "openssl enc failed");
    Some(output.stdout)
}

/// Times alpha, byte by byte as IEEE Std 1619-2018 s. 5.2 writes it down.
fn times_alpha(a: [u8; 16]) -> [u8; 16] {
    let mut b = [0; 16];
    for k in 0..16 {
        b[k] = (a[k] << 1) | if k > 0 { a[k - 1] >> 7 } else { 0 };
    }
    b[0] ^= 135 * (a[15] >> 7);
    b
}

#[test]
fn random_sectors_are_those_of_openssl() {
    let mut random = Random(2);
    for sector_bytes in [512, 4096] {
        let (key, first, sectors) = (random.key(), random.next() >> 4, 64);
        let plain = random.bytes(sectors * sector_bytes);

        let units = sector_bytes as u64 / 512;
        let numbers = (first..).take(sectors).flat_map(|number| u128::from(number * units).to_le_bytes());
        let Some(tweaks) = openssl_aes(&key[32..], &numbers.collect::<Vec<u8>>()) else {
            eprintln!("SKIPPED: the openssl command is not installed; install it to compare with OpenSSL");
            return;
        };
        let mut masks = Vec::new();
        for tweak in tweaks.chunks(16) {
            let mut mask = tweak.try_into().unwrap();
            for _ in 0..sector_bytes / 16 {
                masks.extend(mask);
                mask = times_alpha(mask);
            }
        }
        let xor = |data: &[u8]| data.iter().zip(&masks).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
        let expected = xor(&openssl_aes(&key[..32], &xor(&plain)).unwrap());

        let mut data = plain.clone();
        Aes256Xts::new(&key, sector_bytes).unwrap().encrypt(first, &mut data);
        assert!(data == expected, "sectors of {sector_bytes} bytes");
    }
}

/// Three sectors by the XTS of OpenSSL's libcrypto (EVP_aes_256_xts, called through Python's `cryptography`), each with
/// the tweak that dm-crypt gives it: the first block of the first and of the second sector, and the last block of all.
#[test]
fn sectors_of_all_sizes_are_those_of_dm_crypt() {
    let key = core::array::from_fn(|i| (i * 7 + 1) as u8);
    for (sector_bytes, first, second, last) in [
        (
            512,
            "233f7cca389ab86be5023f2e9439943f",
            "bae22109f40e2a16c598f3e1fb1d7a59",
            "0009ba502fe0ab2da9bf382e48c2da02",
        ),
        (
            1024,
            "52aca07b0da82efd708298491419de9b",
            "3b864893a0ddcdd624d6935094e2299c",
            "72f0e65b75b2bb1080c1d32f9849b37f",
        ),
        (
            4096,
            "86c4aa99e2d76114fa6a13ae92073aab",
            "aac38ae70cc2abd705acd10f8366e06f",
            "754239bb7d791f3a371c3540bfdbafd4",
        ),
    ] {
        let mut data: Vec<u8> = (0..3 * sector_bytes).map(|i| (i * i + 3 * i + (i >> 8)) as u8).collect();
        Aes256Xts::new(&key, sector_bytes).unwrap().encrypt(0x0001_2345_6789_abcd, &mut data);
        assert_eq!(data[..16], hex(first), "sectors of {sector_bytes} bytes");
        assert_eq!(data[sector_bytes..][..16], hex(second), "sectors of {sector_bytes} bytes");
        assert_eq!(data[3 * sector_bytes - 16..], hex(last), "sectors of {sector_bytes} bytes");
    }
}

#[test]
fn a_run_of_sectors_equals_its_sectors_one_by_one() {
    let mut random = Random(3);
    for sector_bytes in [512, 4096] {
        let xts = Aes256Xts::new(&random.key(), sector_bytes).unwrap();
        let plain = random.bytes(21 * sector_bytes);
        let mut run = plain.clone();
        // Also across the end of the number space.
        let first = u64::MAX - 10;
        xts.encrypt(first, &mut run);
        for (i, sector) in plain.chunks(sector_bytes).enumerate() {
            let mut sector = sector.to_vec();
            xts.encrypt(first.wrapping_add(i as u64), &mut sector);
            assert_eq!(sector, run[i * sector_bytes..][..sector_bytes]);
        }
    }
}

#[test]
fn bytes_beyond_the_last_whole_sector_never_stay_in_plain() {
    let xts = Aes256Xts::new(&Random(4).key(), 512).unwrap();
    let mut data = vec![0xa5; 512 + 40];
    xts.encrypt(0, &mut data);
    assert!(data[512..].chunks(8).all(|piece| piece != [0xa5; 8]));
    xts.encrypt(0, &mut []);
}

#[test]
fn equal_halves_are_refused_as_key() {
    let mut key = [7; KEY_BYTES];
    assert_eq!(check(&key, 512), Err(XtsError::EqualKeys));
    assert!(matches!(Aes256Xts::new(&key, 512), Err(XtsError::EqualKeys)));
    key[63] ^= 1;
    assert!(Aes256Xts::new(&key, 512).is_ok());
}

#[test]
fn odd_sector_sizes_are_refused() {
    let key = Random(5).key();
    for good in [512, 1024, 2048, 4096] {
        assert_eq!(check(&key, good), Ok(()));
    }
    for bad in [0, 16, 256, 496, 513, 520, 528, 1536, 4112, 8192, usize::MAX] {
        assert_eq!(check(&key, bad), Err(XtsError::SectorBytes(bad)));
    }
}

#[test]
fn round_keys_are_wiped_on_drop() {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<Aes256>();
    wiped::<Aes256Enc>();
}
