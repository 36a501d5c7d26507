//! What all network cards share: memory that a card may be pointed at, frames that wait, and in software what guests expect of a card's
//! hardware: checksums, segmentation, VLAN tags, filters.
//!
//! Nothing here knows a card. Frames are as in [`mediator::net`]. Sources: IEEE 802.3-2018, IEEE 802.1Q-2018, RFC 1071 (checksum), RFC 791,
//! RFC 8200, RFC 9293, RFC 768.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod checksum;
mod filter;
mod offload;
mod queue;
mod ring;
mod straight;
mod vlan;

pub use checksum::{Sum, Verified, verify};
pub use filter::{Bitmap, SIZE_CLASSES, is_broadcast, is_multicast, size_class};
pub use offload::{Checksum, Lie, MAX_PACKET_BYTES, MAX_SEGMENTS, Offload, Segmentation};
pub use queue::FrameQueue;
pub use ring::{Descriptors, Frames};
pub use straight::Straight;
pub use vlan::{TAG_BYTES, push_tagged, strip, tag_of};

#[cfg(test)]
mod tests;

/// Length of a frame's addresses and type.
pub const HEADER_BYTES: usize = 14;
/// The shortest frame on a cable, without its check sequence (IEEE 802.3 s. 3.2.8); shorter ones are padded with zeros.
pub const MIN_FRAME_BYTES: usize = 60;
/// Length of the frame check sequence.
pub const FCS_BYTES: usize = 4;

/// The big-endian number at a place of a frame.
pub(crate) fn be16(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Puts one there; nothing happens where the frame ends before.
pub(crate) fn put_be16(frame: &mut [u8], at: usize, value: u16) {
    if let Some(bytes) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *bytes = value.to_be_bytes();
    }
}
