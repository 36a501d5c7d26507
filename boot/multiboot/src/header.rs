//! What must stand in the image so that a loader takes it. The start code builds its headers from these numbers.

/// Multiboot Specification 0.6.96.
pub mod v1 {
    /// First field of the header (s. 3.1.1).
    pub const MAGIC: u32 = 0x1BAD_B002;
    /// EAX at the entry point (s. 3.2).
    pub const LOADER_MAGIC: u32 = 0x2BAD_B002;
    /// Modules start at page boundaries.
    pub const PAGE_ALIGN: u32 = 1 << 0;
    /// The loader must tell `mem_*` and, if it can, the memory map.
    pub const MEMORY_INFO: u32 = 1 << 1;
    /// What Shoji asks for. No video mode: the screen stays as it is.
    pub const FLAGS: u32 = PAGE_ALIGN | MEMORY_INFO;
    /// Third field: the three add up to zero.
    pub const CHECKSUM: u32 = checksum(FLAGS);
    /// The header lies wholly in this many bytes from the start of the file (s. 3.1) ...
    pub const SEARCH_BYTES: usize = 8192;
    /// ... at a multiple of this.
    pub const ALIGN: usize = 4;
    /// Magic, flags, checksum.
    pub const LEN_BYTES: usize = 12;

    /// Third field of a header with these flags.
    pub const fn checksum(flags: u32) -> u32 {
        0_u32.wrapping_sub(MAGIC).wrapping_sub(flags)
    }
}

/// Multiboot2 Specification 2.0.
pub mod v2 {
    /// First field of the header (s. 3.1.2).
    pub const MAGIC: u32 = 0xE852_50D6;
    /// EAX at the entry point (s. 3.3).
    pub const LOADER_MAGIC: u32 = 0x36D7_6289;
    /// Second field: 32-bit protected mode of i386.
    pub const ARCHITECTURE_I386: u32 = 0;
    /// The header lies wholly in this many bytes from the start of the file (s. 3.1) ...
    pub const SEARCH_BYTES: usize = 32768;
    /// ... at a multiple of this; so do its tags.
    pub const ALIGN: usize = 8;
    /// Magic, architecture, length, checksum; tags follow.
    pub const FIXED_BYTES: usize = 16;

    /// Header tags: type, flags (16 bits each), size with these eight bytes (32 bits) (s. 3.1.3).
    pub const TAG_END: u16 = 0;
    /// Wanted kinds of information, 32 bits each (s. 3.1.4).
    pub const TAG_INFORMATION_REQUEST: u16 = 1;
    /// A framebuffer of this width, height and depth is welcome; 0: any (s. 3.1.10).
    pub const TAG_FRAMEBUFFER: u16 = 5;
    /// Modules start at page boundaries (s. 3.1.11).
    pub const TAG_MODULE_ALIGN: u16 = 6;
    /// Tag flag: a loader that does not know the tag may go on.
    pub const OPTIONAL: u16 = 1;

    /// Fourth field: the four add up to zero.
    pub const fn checksum(header_len_bytes: u32) -> u32 {
        0_u32.wrapping_sub(MAGIC).wrapping_sub(ARCHITECTURE_I386).wrapping_sub(header_len_bytes)
    }
}

use crate::bytes::u32_at;

/// Offset of the Multiboot 1 header in an image, as a loader finds it.
pub fn find_v1(image: &[u8]) -> Option<usize> {
    let window = image.get(..v1::SEARCH_BYTES.min(image.len()))?;
    (0..window.len()).step_by(v1::ALIGN).find(|&at| {
        let field = |n: usize| u32_at(window, at.saturating_add(n));
        let (Some(v1::MAGIC), Some(flags), Some(checksum)) = (field(0), field(4), field(8)) else { return false };
        checksum == v1::checksum(flags)
    })
}

/// Offset and length in bytes of the Multiboot 2 header in an image, as a loader finds it.
pub fn find_v2(image: &[u8]) -> Option<(usize, usize)> {
    let window = image.get(..v2::SEARCH_BYTES.min(image.len()))?;
    (0..window.len()).step_by(v2::ALIGN).find_map(|at| {
        let field = |n: usize| u32_at(window, at.saturating_add(n));
        let (v2::MAGIC, v2::ARCHITECTURE_I386) = (field(0)?, field(4)?) else { return None };
        let len = field(8)?;
        let len_bytes = usize::try_from(len).ok()?;
        let whole = len_bytes >= v2::FIXED_BYTES && window.get(at..)?.get(..len_bytes).is_some();
        (whole && field(12)? == v2::checksum(len)).then_some((at, len_bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    #[test]
    fn checksums_make_the_header_add_up_to_zero() {
        assert_eq!(v1::MAGIC.wrapping_add(v1::FLAGS).wrapping_add(v1::CHECKSUM), 0);
        assert_eq!(v2::MAGIC.wrapping_add(48).wrapping_add(v2::checksum(48)), 0);
        // The numbers that every Multiboot example has.
        assert_eq!(v1::checksum(3), 0xE452_4FFB);
        assert_eq!(v2::checksum(24), 0x17AD_AF12);
    }

    #[test]
    fn a_version_1_header_is_found_where_a_loader_looks() {
        let header = words(&[v1::MAGIC, v1::FLAGS, v1::CHECKSUM]);
        let mut image = vec![0; 16384];
        image[8180..8192].copy_from_slice(&header);
        assert_eq!(find_v1(&image), Some(8180));
        image[8180] ^= 1;
        assert_eq!(find_v1(&image), None);
        image[8184..8196].copy_from_slice(&header);
        assert_eq!(find_v1(&image), None, "behind the first 8 KiB");
        image[101..113].copy_from_slice(&header);
        assert_eq!(find_v1(&image), None, "misaligned");
    }

    #[test]
    fn a_version_2_header_is_found_with_its_length() {
        let header = words(&[v2::MAGIC, 0, 24, v2::checksum(24), 0, 8]);
        let mut image = vec![0; 40000];
        image[64..88].copy_from_slice(&header);
        assert_eq!(find_v2(&image), Some((64, 24)));
        assert_eq!(find_v2(&image[..80]), None, "cut off");
        image[76] ^= 1;
        assert_eq!(find_v2(&image), None, "checksum");
        assert_eq!(find_v2(&[]), None);
    }
}
