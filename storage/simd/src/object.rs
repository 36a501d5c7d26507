//! The SIMD object as a [`SectorTransform`].

use crate::Engine;
use crate::guest::{AVX_512, SSE_AVX, call_with_vectors_kept, call_with_xmm_kept, set_xcr0, xcr0};
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

/// Both directions of one width.
#[derive(Clone, Copy)]
struct Entries {
    encrypt: Entry,
    decrypt: Entry,
}

// See the crate `simd_object`.
unsafe extern "sysv64" {
    pub fn vmm_simd_xts_new(state: *mut State, sector_bytes: u64, key: *mut u8, key_bytes: u64) -> u64;
    pub fn vmm_simd_xts_encrypt(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_decrypt(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_encrypt_256(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_decrypt_256(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_encrypt_512(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_decrypt_512(state: *mut State, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_xts_drop(state: *mut State, _: u64, _: *mut u8, _: u64) -> u64;
}

const NARROW: Entries = Entries { encrypt: vmm_simd_xts_encrypt, decrypt: vmm_simd_xts_decrypt };

/// Entry points that use YMM or ZMM registers, and the XCR0 that they want.
#[derive(Clone, Copy)]
struct Wide {
    entries: Entries,
    components: u64,
}

/// From here on VAES is faster than AES-NI although XCR0 must be looked at and more registers are kept: measured on a
/// CPU with VAES-256 (`cargo bench -p simd`), a run of 512 bytes takes as long either way.
const WIDE_FROM_BYTES: usize = 1024;
/// The same while the guest's XCR0 lacks what VAES wants. The two XSETBV, which serialize, cannot be measured outside
/// of ring 0; they may take 2000 cycles, an exit to a hypervisor below included, before AES-NI would have been faster.
const SWITCH_FROM_BYTES: usize = 16 << 10;

/// AES-256-XTS on AES-NI or VAES. The round keys are wiped when it is dropped.
pub struct SimdXts {
    state: Box<State>,
    sector_bytes: usize,
    wide: Option<Wide>,
}

impl SimdXts {
    /// `key` is the data key, then the tweak key; the caller wipes it. The CPU must have what `engine` says; at least
    /// AES-NI.
    ///
    /// # Errors
    /// See [`XtsError`].
    pub(crate) fn new(key: &[u8; KEY_BYTES], sector_bytes: usize, engine: Engine) -> Result<Self, XtsError> {
        xts::check(key, sector_bytes)?;
        let mut state = Box::new(State::zeroed());
        let key = from_ref(key).cast_mut().cast();
        // SAFETY: `state` and `key` have the sizes and the alignment that the object demands; it only reads the key.
        let made = unsafe {
            call_with_xmm_kept(&raw mut *state, sector_bytes as u64, key, KEY_BYTES as u64, vmm_simd_xts_new)
        };
        // The object checks again what was checked above, so this fails only if the two were built from different
        // sources.
        if made == 1 {
            Ok(Self { state, sector_bytes, wide: Wide::of(engine) })
        } else {
            Err(XtsError::SectorBytes(sector_bytes))
        }
    }

    /// `data` goes through one of the two, whichever is the faster for so many bytes.
    fn transform(&self, narrow: Entry, wide: Option<(Entry, u64)>, first_sector: u64, sectors: &mut [u8]) {
        let state = from_ref(&*self.state).cast_mut();
        let (data, len) = (sectors.as_mut_ptr(), sectors.len() as u64);
        if let Some((wide, components)) = wide
            && sectors.len() >= WIDE_FROM_BYTES
        {
            // SAFETY: an engine with wide entry points was found with CR4.OSXSAVE set. The state was made by `new` and
            // is only read; the sectors are borrowed for the length of the call.
            unsafe {
                let guest = xcr0();
                let wanted = guest | components;
                if guest == wanted {
                    call_with_vectors_kept(state, first_sector, data, len, wide);
                    return;
                }
                if sectors.len() >= SWITCH_FROM_BYTES {
                    // What is kept may be more than the guest can see now; it may enable it again.
                    set_xcr0(wanted);
                    call_with_vectors_kept(state, first_sector, data, len, wide);
                    set_xcr0(guest);
                    return;
                }
            }
        }
        // SAFETY: state and sectors as above.
        unsafe { call_with_xmm_kept(state, first_sector, data, len, narrow) };
    }
}

impl Wide {
    fn of(engine: Engine) -> Option<Self> {
        let (encrypt, decrypt): (Entry, Entry) = match engine {
            Engine::Software | Engine::AesNi => return None,
            Engine::Vaes256 => (vmm_simd_xts_encrypt_256, vmm_simd_xts_decrypt_256),
            Engine::Vaes512 => (vmm_simd_xts_encrypt_512, vmm_simd_xts_decrypt_512),
        };
        Some(Self { entries: Entries { encrypt, decrypt }, components: kept_components() })
    }
}

/// All that the CPU has of what [`call_with_vectors_kept`] asks for.
fn kept_components() -> u64 {
    u64::from(core::arch::x86_64::__cpuid_count(0xd, 0).eax) & (SSE_AVX | AVX_512)
}

impl SectorTransform for SimdXts {
    fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        let wide = self.wide.map(|wide| (wide.entries.encrypt, wide.components));
        self.transform(NARROW.encrypt, wide, first_sector, sectors);
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        let wide = self.wide.map(|wide| (wide.entries.decrypt, wide.components));
        self.transform(NARROW.decrypt, wide, first_sector, sectors);
    }
}

impl Drop for SimdXts {
    fn drop(&mut self) {
        // SAFETY: `state` was made by `new` and is not used again.
        unsafe { call_with_xmm_kept(&raw mut *self.state, 0, null_mut(), 0, vmm_simd_xts_drop) };
    }
}
