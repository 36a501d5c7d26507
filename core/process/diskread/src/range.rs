//! What is to be read, and in which pieces.

/// A range of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub disk: u64,
    pub lba: u64,
    pub bytes: u64,
}

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    pub lba: u64,
    /// Whole sectors.
    pub whole_bytes: usize,
    /// What of them belongs to the range.
    pub wanted_bytes: usize,
}

impl Range {
    /// `DISK FIRST_SECTOR BYTES`.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().map(str::parse);
        let mut next = || words.next()?.ok();
        let range = Self { disk: next()?, lba: next()?, bytes: next()? };
        (words.next().is_none() && range.disk < 0x100).then_some(range)
    }

    /// In order; none where sectors have no length.
    pub fn pieces(self, sector_bytes: usize, most_bytes: usize) -> impl Iterator<Item = Piece> {
        let piece = most_bytes.checked_div(sector_bytes).unwrap_or(0).saturating_mul(sector_bytes);
        let sectors = piece.checked_div(sector_bytes).unwrap_or(0) as u64;
        let count = if piece == 0 { 0 } else { self.bytes.div_ceil(piece as u64) };
        (0..count).map(move |n| {
            let left = self.bytes.saturating_sub(n.saturating_mul(piece as u64));
            let wanted_bytes = usize::try_from(left).unwrap_or(usize::MAX).min(piece);
            let whole_bytes = wanted_bytes.div_ceil(sector_bytes).saturating_mul(sector_bytes);
            Piece { lba: self.lba.saturating_add(n.saturating_mul(sectors)), whole_bytes, wanted_bytes }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, Range};

    #[test]
    fn a_line_is_three_numbers_and_nothing_else() {
        assert_eq!(Range::parse("1 2048 100000"), Some(Range { disk: 1, lba: 2048, bytes: 100_000 }));
        for bad in ["", "1", "1 2", "1 2 3 4", "a 2 3", "1 2 -3", "256 0 1"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn pieces_are_whole_sectors_and_together_the_range() {
        let pieces: Vec<Piece> = Range { disk: 0, lba: 10, bytes: 2500 }.pieces(512, 1100).collect();
        assert_eq!(
            pieces,
            [
                Piece { lba: 10, whole_bytes: 1024, wanted_bytes: 1024 },
                Piece { lba: 12, whole_bytes: 1024, wanted_bytes: 1024 },
                Piece { lba: 14, whole_bytes: 512, wanted_bytes: 452 },
            ]
        );
        assert_eq!(Range { disk: 0, lba: 0, bytes: 0 }.pieces(512, 1100).count(), 0);
        assert_eq!(Range { disk: 0, lba: 0, bytes: 10 }.pieces(0, 1100).count(), 0);
        assert_eq!(Range { disk: 0, lba: 0, bytes: 10 }.pieces(4096, 1100).count(), 0);
    }
}
