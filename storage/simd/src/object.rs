//! The SIMD object: its entry points, which one does a job, and the [`SectorTransform`] of them.

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
    // Instead of a state, a request of `abi::seal`.
    pub fn vmm_simd_chacha_seal(request: *mut State, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_chacha_open(request: *mut State, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_chacha_seal_256(request: *mut State, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_chacha_open_256(request: *mut State, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_chacha_seal_512(request: *mut State, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64;
    pub fn vmm_simd_chacha_open_512(request: *mut State, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64;
}

/// What does a job: an entry point for whatever the guest's XCR0 holds, and where the CPU has it one that is faster.
#[derive(Clone, Copy)]
pub struct Job {
    pub narrow: Entry,
    pub wide: Option<Wide>,
}

/// An entry point that uses YMM or ZMM registers.
#[derive(Clone, Copy)]
pub struct Wide {
    pub entry: Entry,
    /// The XCR0 that [`call_with_vectors_kept`] wants: [`kept_components`].
    pub components: u64,
    /// Bytes from which on it is faster, although XCR0 must be looked at and more registers are kept.
    pub from_bytes: usize,
    /// The same while the guest's XCR0 lacks what it wants. The two XSETBV, which serialize, cannot be measured outside of ring 0;
    /// they may take 2000 cycles, an exit to a hypervisor below included.
    pub switch_from_bytes: usize,
}

impl Job {
    /// Calls one of the two, whichever is the faster for so many bytes.
    ///
    /// # Safety
    /// That of the entry points. The CPU has what the wide one uses, and CR4.OSXSAVE is set if there is one.
    pub unsafe fn run(&self, state: *mut State, number: u64, bytes: &mut [u8]) -> u64 {
        let (data, len) = (bytes.as_mut_ptr(), bytes.len() as u64);
        // SAFETY: the caller's promise; the bytes are borrowed for the length of the call.
        unsafe {
            if let Some(wide) = self.wide.filter(|wide| bytes.len() >= wide.from_bytes) {
                let guest = xcr0();
                let wanted = guest | wide.components;
                if guest == wanted {
                    return call_with_vectors_kept(state, number, data, len, wide.entry);
                }
                if bytes.len() >= wide.switch_from_bytes {
                    // What is kept may be more than the guest can see now; it may enable it again.
                    set_xcr0(wanted);
                    let result = call_with_vectors_kept(state, number, data, len, wide.entry);
                    set_xcr0(guest);
                    return result;
                }
            }
            call_with_xmm_kept(state, number, data, len, self.narrow)
        }
    }
}

/// All that the CPU has of what [`call_with_vectors_kept`] asks for.
pub fn kept_components() -> u64 {
    u64::from(core::arch::x86_64::__cpuid_count(0xd, 0).eax) & (SSE_AVX | AVX_512)
}

/// From here on VAES is faster than AES-NI: measured on a CPU with VAES-256 (`cargo bench -p simd`), a run of 512 bytes takes as long
/// either way.
const WIDE_FROM_BYTES: usize = 1024;
/// See [`Wide::switch_from_bytes`].
const SWITCH_FROM_BYTES: usize = 16 << 10;

/// AES-256-XTS on AES-NI or VAES. The round keys are wiped when it is dropped.
pub struct SimdXts {
    state: Box<State>,
    sector_bytes: usize,
    encrypt: Job,
    decrypt: Job,
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
            let [encrypt, decrypt] = jobs(engine);
            Ok(Self { state, sector_bytes, encrypt, decrypt })
        } else {
            Err(XtsError::SectorBytes(sector_bytes))
        }
    }

    fn transform(&self, job: Job, first_sector: u64, sectors: &mut [u8]) {
        // SAFETY: an engine with wide entry points was found with CR4.OSXSAVE set. The state was made by `new` and is only read.
        unsafe { job.run(from_ref(&*self.state).cast_mut(), first_sector, sectors) };
    }
}

/// Encryption and decryption.
fn jobs(engine: Engine) -> [Job; 2] {
    let wide = |entry| Wide {
        entry,
        components: kept_components(),
        from_bytes: WIDE_FROM_BYTES,
        switch_from_bytes: SWITCH_FROM_BYTES,
    };
    let [encrypt, decrypt]: [Option<Entry>; 2] = match engine {
        Engine::Software | Engine::AesNi => [None; 2],
        Engine::Vaes256 => [Some(vmm_simd_xts_encrypt_256), Some(vmm_simd_xts_decrypt_256)],
        Engine::Vaes512 => [Some(vmm_simd_xts_encrypt_512), Some(vmm_simd_xts_decrypt_512)],
    };
    [
        Job { narrow: vmm_simd_xts_encrypt, wide: encrypt.map(wide) },
        Job { narrow: vmm_simd_xts_decrypt, wide: decrypt.map(wide) },
    ]
}

impl SectorTransform for SimdXts {
    fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.transform(self.encrypt, first_sector, sectors);
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.transform(self.decrypt, first_sector, sectors);
    }
}

impl Drop for SimdXts {
    fn drop(&mut self) {
        // SAFETY: `state` was made by `new` and is not used again.
        unsafe { call_with_xmm_kept(&raw mut *self.state, 0, null_mut(), 0, vmm_simd_xts_drop) };
    }
}
