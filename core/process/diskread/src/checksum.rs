//! The checksum of RFC 1950 (ZLIB 3.3) s. 8.2: any tool at the other end can compute it, too.

/// The largest prime below 65536.
const BASE: u32 = 65_521;
/// So many bytes fit before a sum could overflow.
const RUN: usize = 5552;

pub struct Adler32 {
    a: u32,
    b: u32,
}

impl Default for Adler32 {
    fn default() -> Self {
        Self { a: 1, b: 0 }
    }
}

impl Adler32 {
    pub fn add(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(RUN) {
            for byte in run {
                self.a = self.a.wrapping_add((*byte).into());
                self.b = self.b.wrapping_add(self.a);
            }
            (self.a, self.b) = (self.a % BASE, self.b % BASE);
        }
    }

    pub fn value(&self) -> u32 {
        self.b << 16 | self.a
    }
}

#[cfg(test)]
mod tests {
    use super::Adler32;

    #[test]
    fn known_sums_come_out_in_one_piece_and_in_several() {
        let sum_of = |pieces: &[&[u8]]| {
            let mut sum = Adler32::default();
            pieces.iter().for_each(|piece| sum.add(piece));
            sum.value()
        };
        assert_eq!(sum_of(&[]), 1);
        assert_eq!(sum_of(&[b"Wikipedia"]), 0x11e6_0398);
        assert_eq!(sum_of(&[b"Wiki", b"", b"pedia"]), 0x11e6_0398);
        // 100,000 bytes FFh, which overflow where the sums are not reduced in time.
        assert_eq!(sum_of(&[&[0xff; 100_000]]), sum_of(&vec![&[0xff_u8; 1][..]; 100_000]));
    }
}
