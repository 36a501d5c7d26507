//! VLAN tags (IEEE 802.1Q s. 9.6): four bytes behind the addresses, a type and the tag control information.

use crate::be16;
use alloc::vec::Vec;

/// Length of a tag.
pub const TAG_BYTES: usize = 4;
/// Length of the two addresses.
const ADDRESSES: usize = 12;

/// The tag control information of a frame that is tagged with this type.
pub fn tag_of(frame: &[u8], tag_type: u16) -> Option<u16> {
    (be16(frame, ADDRESSES)? == tag_type).then(|| be16(frame, ADDRESSES.saturating_add(2))).flatten()
}

/// The frame without its tag, which it has.
pub fn strip(frame: &mut [u8]) -> &mut [u8] {
    if frame.len() >= ADDRESSES.saturating_add(TAG_BYTES) {
        frame.copy_within(..ADDRESSES, TAG_BYTES);
        return frame.get_mut(TAG_BYTES..).unwrap_or_default();
    }
    frame
}

/// Appends a frame to `to`, with a tag of this type and control information.
pub fn push_tagged(to: &mut Vec<u8>, frame: &[u8], tag_type: u16, control: u16) {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES).unwrap_or((frame, &[]));
    to.extend_from_slice(addresses);
    to.extend_from_slice(&tag_type.to_be_bytes());
    to.extend_from_slice(&control.to_be_bytes());
    to.extend_from_slice(rest);
}
