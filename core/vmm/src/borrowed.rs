//! Conventional memory of the guest that is the VMM's for a while.

use alloc::vec;
use alloc::vec::Vec;
use hw::{Hpa, direct};

/// Bytes that are borrowed, and what was there.
pub struct Borrowed {
    at: Hpa,
    content: Vec<u8>,
}

impl Borrowed {
    /// Takes `len_bytes` of RAM below 1 MiB. No CPU of the guest runs until they are given back.
    pub fn take(at: Hpa, len_bytes: usize) -> Self {
        let mut borrowed = Self { at, content: vec![0; len_bytes] };
        borrowed.content = borrowed.read();
        borrowed
    }

    /// Writes to their beginning; no more than there are.
    pub fn put(&self, bytes: &[u8]) {
        let len_bytes = bytes.len().min(self.content.len());
        // SAFETY: conventional memory, in the direct map, as much as was taken; nobody else uses it.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.pointer(), len_bytes) };
    }

    /// What they hold.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.content.len()];
        // SAFETY: as above.
        unsafe { core::ptr::copy_nonoverlapping(self.pointer(), bytes.as_mut_ptr(), bytes.len()) };
        bytes
    }

    pub fn pointer(&self) -> *mut u8 {
        direct::pointer(self.at)
    }

    /// What was there comes back.
    pub fn give_back(self) {
        self.put(&self.content);
    }
}
