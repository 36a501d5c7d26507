//! The SIMD object as a cipher of packets: ChaCha20-Poly1305.

use crate::PacketEngine;
use crate::object::{
    Entry, Job, Wide, kept_components, vmm_simd_chacha_open, vmm_simd_chacha_open_256, vmm_simd_chacha_open_512,
    vmm_simd_chacha_seal, vmm_simd_chacha_seal_256, vmm_simd_chacha_seal_512,
};
use abi::seal::REQUEST_BYTES;

/// From here on AVX2 and AVX-512 are faster than SSE2 ([`Wide::from_bytes`]); an estimate, by the pace of each on longer packets.
const WIDE_FROM_BYTES: usize = 128;
/// See [`Wide::switch_from_bytes`].
const SWITCH_FROM_BYTES: usize = 1024;

/// ChaCha20-Poly1305 (RFC 8439, 2.8) on the best that a CPU has.
#[derive(Clone, Copy)]
pub struct PacketCipher {
    seal: Job,
    open: Job,
}

impl PacketCipher {
    /// The CPU must have what `engine` says.
    pub(crate) fn new(engine: PacketEngine) -> Self {
        let wide = |entry| Wide {
            entry,
            components: kept_components(),
            from_bytes: WIDE_FROM_BYTES,
            switch_from_bytes: SWITCH_FROM_BYTES,
        };
        let [seal, open]: [Option<Entry>; 2] = match engine {
            PacketEngine::Sse2 => [None; 2],
            PacketEngine::Avx2 => [Some(vmm_simd_chacha_seal_256), Some(vmm_simd_chacha_open_256)],
            PacketEngine::Avx512 => [Some(vmm_simd_chacha_seal_512), Some(vmm_simd_chacha_open_512)],
        };
        Self {
            seal: Job { narrow: vmm_simd_chacha_seal, wide: seal.map(wide) },
            open: Job { narrow: vmm_simd_chacha_open, wide: open.map(wide) },
        }
    }

    /// Encrypts a packet in place, but for its first `bound_bytes`, which only are authenticated too. Sets the tag in the request
    /// ([`abi::seal`]). `None`: there are not so many bytes.
    #[must_use]
    pub fn seal(&self, request: &mut [u8; REQUEST_BYTES], bound_bytes: usize, packet: &mut [u8]) -> Option<()> {
        // SAFETY: the engine was found with CR4.OSXSAVE set if it is wide; the request is as long as the object demands.
        let done = unsafe { self.seal.run(request.as_mut_ptr().cast(), bound_bytes as u64, packet) };
        (done == 1).then_some(())
    }

    /// Decrypts a packet in place, but for its first `bound_bytes`. `None`: it is forged, and what it was.
    #[must_use]
    pub fn open(&self, request: &mut [u8; REQUEST_BYTES], bound_bytes: usize, packet: &mut [u8]) -> Option<()> {
        // SAFETY: as above.
        let authentic = unsafe { self.open.run(request.as_mut_ptr().cast(), bound_bytes as u64, packet) };
        (authentic == 1).then_some(())
    }
}
