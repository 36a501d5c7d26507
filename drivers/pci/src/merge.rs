//! Partial writes.

use mediator::Width;

/// The dword that `old` becomes when `value` is written at `offset` (its place in the dword is `offset` modulo 4).
/// What runs past the dword is dropped.
pub fn merge(old: u32, offset: u16, width: Width, value: u32) -> u32 {
    let shift = u32::from(offset & 3).saturating_mul(8);
    let mask = u32::try_from(width.ones() & 0xffff_ffff).unwrap_or(u32::MAX).wrapping_shl(shift);
    (old & !mask) | (value.wrapping_shl(shift) & mask)
}
