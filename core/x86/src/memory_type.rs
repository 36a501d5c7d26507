//! Memory types (SDM Vol. 3A 12.3, table 12-8; the numbers are the same in MTRRs, in the PAT and in EPT entries).

/// How the CPU caches a range of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MemoryType {
    Uncacheable = 0,
    WriteCombining = 1,
    WriteThrough = 4,
    WriteProtected = 5,
    WriteBack = 6,
}

impl MemoryType {
    /// `None` for reserved numbers, and for 7, which only the PAT has (UC-).
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Uncacheable),
            1 => Some(Self::WriteCombining),
            4 => Some(Self::WriteThrough),
            5 => Some(Self::WriteProtected),
            6 => Some(Self::WriteBack),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_belong_together() {
        for number in 0..=u8::MAX {
            if let Some(memory) = MemoryType::new(number) {
                assert_eq!(memory as u8, number);
            } else {
                assert!(matches!(number, 2 | 3 | 7..));
            }
        }
    }
}
