//! The SIMD object as a [`SectorTransform`].

use crate::guest::call_with_xmm_kept;
use alloc::boxed::Box;
use core::ptr::{from_ref, null_mut};
use mediator::disk::SectorTransform;
use xts::{KEY_BYTES, STATE_ALIGN, STATE_BYTES, XtsError};

/// Memory for what the object keeps per key; only the object knows what is inside.
#[repr(C, align(16))]
pub struct State([u8; STATE_BYTES]);

const _: () = assert!(align_of::<State>() >= STATE_ALIGN);

impl State {
    pub const fn zeroed() -> Self {
        Self([0; STATE_BYTES])
    }

    #[cfg(test)]
    pub fn bytes(&self) -> &[u8; STATE_BYTES] {
        &self.0
    }
}

/// The one signature of all entry points: state, sector number or size, data, its length; 1 on success.
pub type Entry = unsafe extern "sysv64" fn(*mut State, u64, *mut u8, u64) -> u64;

// See the crate `simd_object`.
unsafe extern "sysv64" {
    pub fn vmm_simd_xts_new(state: *mut State, sector_bytes: u64, key: *mut u8, key_bytes: u64) -> u64;
    pub fn vmm_simd_xts_encrypt(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_decrypt(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_drop(state: *mut State, _: u64, _: *mut u8, _: u64) -> u64;
}

/// AES-256-XTS on AES-NI. The round keys are wiped when it is dropped.
pub struct SimdXts {
    state: Box<State>,
    sector_bytes: usize,
}

impl SimdXts {
    /// `key` is the data key, then the tweak key; the caller wipes it. The CPU must have AES-NI: see
    /// [`crate::Engine`].
    ///
    /// # Errors
    /// See [`XtsError`].
    pub(crate) fn new(key: &[u8; KEY_BYTES], sector_bytes: usize) -> Result<Self, XtsError> {
        xts::check(key, sector_bytes)?;
        let mut state = Box::new(State::zeroed());
        let key = from_ref(key).cast_mut().cast();
        // SAFETY: `state` and `key` have the sizes and the alignment that the object demands; it only reads the key.
        let made = unsafe {
            call_with_xmm_kept(&raw mut *state, sector_bytes as u64, key, KEY_BYTES as u64, vmm_simd_xts_new)
        };
        // The object checks again what was checked above, so this fails only if the two were built from different
        // sources.
        if made == 1 { Ok(Self { state, sector_bytes }) } else { Err(XtsError::SectorBytes(sector_bytes)) }
    }

    fn transform(&self, entry: Entry, first_sector: u64, sectors: &mut [u8]) {
        let state = from_ref(&*self.state).cast_mut();
        // SAFETY: `state` was made by `new` and is only read; the sectors are borrowed for the length of the call.
        unsafe { call_with_xmm_kept(state, first_sector, sectors.as_mut_ptr(), sectors.len() as u64, entry) };
    }
}

impl SectorTransform for SimdXts {
    fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.transform(vmm_simd_xts_encrypt, first_sector, sectors);
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.transform(vmm_simd_xts_decrypt, first_sector, sectors);
    }
}

impl Drop for SimdXts {
    fn drop(&mut self) {
        // SAFETY: `state` was made by `new` and is not used again.
        unsafe { call_with_xmm_kept(&raw mut *self.state, 0, null_mut(), 0, vmm_simd_xts_drop) };
    }
}
