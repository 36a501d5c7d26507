//! The guest's registers over a call.

use super::*;
use std::arch::asm;

/// Overwrites all XMM registers, as an entry point may.
#[unsafe(naked)]
unsafe extern "sysv64" fn spoil_xmm(_: *mut State, _: u64, _: *mut u8, _: u64) -> u64 {
    core::arch::naked_asm!(
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "pcmpeqd xmm\\n, xmm\\n",
        ".endr",
        "lea rax, [rdi + rsi]",
        "add rax, rdx",
        "add rax, rcx",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "sysv64" fn spoil_ymm(_: *mut State, _: u64, _: *mut u8, _: u64) -> u64 {
    core::arch::naked_asm!(
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vpcmpeqd ymm\\n, ymm\\n, ymm\\n",
        ".endr",
        "lea rax, [rdi + rsi]",
        "add rax, rdx",
        "add rax, rcx",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "sysv64" fn spoil_zmm(_: *mut State, _: u64, _: *mut u8, _: u64) -> u64 {
    core::arch::naked_asm!(
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vpternlogd zmm\\n, zmm\\n, zmm\\n, 0xff",
        ".endr",
        "lea rax, [rdi + rsi]",
        "add rax, rdx",
        "add rax, rcx",
        "ret",
    )
}

/// A call's arguments, and what there was before and after it.
#[repr(C, align(64))]
struct Call {
    before: [[u8; 64]; 16],
    after: [[u8; 64]; 16],
    arguments: [u64; 4],
    entry: u64,
    result: u64,
    in_use: [u64; 2],
    mxcsr: [u32; 2],
}

/// Round to zero, all exceptions masked, no flag set yet: a flag that an entry point sets would stay.
const MXCSR: u32 = 0x7f80;
/// XGETBV with ECX = 1: the upper halves of YMM and ZMM registers.
const UPPER: u64 = 1 << 2 | 1 << 6;

impl Call {
    fn new(entry: Entry, arguments: [u64; 4]) -> Box<Self> {
        let before = core::array::from_fn(|i| random_bytes(i as u64 + 1, 64).try_into().unwrap());
        let (after, entry) = ([[0; 64]; 16], entry as *const () as u64);
        Box::new(Self { before, after, arguments, entry, result: 0, in_use: [0; 2], mxcsr: [MXCSR, 0] })
    }

    /// All registers are as before, as far as they were loaded; the rest of them is not in use if it was not before.
    fn check(&self, engine: &str, bytes: usize) {
        for (i, (before, after)) in self.before.iter().zip(&self.after).enumerate() {
            assert_eq!(before[..bytes], after[..bytes], "{engine}: register {i}, {bytes} bytes");
        }
        assert_eq!(self.in_use[0] & UPPER, self.in_use[1] & UPPER, "{engine}: in use");
        assert_eq!(self.mxcsr[0], self.mxcsr[1], "{engine}: MXCSR");
    }
}

/// Clears all upper halves, loads the registers with the given instruction, calls, and stores them again.
macro_rules! call {
    ($call:expr, $caller:path, $move:literal, $register:literal, $in_use:literal, $vzeroupper:literal) => {
        // SAFETY: all registers that the block and the called function change are declared, RBX is kept; MXCSR gets the
        // value back that Rust demands.
        unsafe {
            asm!(
                "push rbx",
                "push rbx",
                "mov rbx, {call}",
                "ldmxcsr [rbx + {mxcsr}]",
                $vzeroupper,
                ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                concat!($move, " ", $register, "\\n, [rbx + \\n * 64]"),
                ".endr",
                "mov ecx, 1",
                $in_use,
                "mov [rbx + {in_use}], rax",
                "mov rdi, [rbx + {arguments}]",
                "mov rsi, [rbx + {arguments} + 8]",
                "mov rdx, [rbx + {arguments} + 16]",
                "mov rcx, [rbx + {arguments} + 24]",
                "mov r8, [rbx + {entry}]",
                "call {caller}",
                "mov [rbx + {result}], rax",
                "mov ecx, 1",
                $in_use,
                "mov [rbx + {in_use} + 8], rax",
                "stmxcsr [rbx + {mxcsr} + 4]",
                ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                concat!($move, " [rbx + {after} + \\n * 64], ", $register, "\\n"),
                ".endr",
                $vzeroupper,
                "push 0x1f80",
                "ldmxcsr [rsp]",
                "pop rax",
                "pop rbx",
                "pop rbx",
                call = in(reg) &raw mut *$call,
                caller = sym $caller,
                after = const core::mem::offset_of!(Call, after),
                arguments = const core::mem::offset_of!(Call, arguments),
                entry = const core::mem::offset_of!(Call, entry),
                result = const core::mem::offset_of!(Call, result),
                in_use = const core::mem::offset_of!(Call, in_use),
                mxcsr = const core::mem::offset_of!(Call, mxcsr),
                clobber_abi("sysv64"),
            );
        }
    };
}

const ARGUMENTS: [u64; 4] = [1_000, 200, 30, 4];

#[test]
fn all_xmm_registers_survive_a_call() {
    let mut call = Call::new(spoil_xmm, ARGUMENTS);
    call!(call, call_with_xmm_kept, "movups", "xmm", "xor eax, eax", "");
    call.check("XMM", 16);
    assert_eq!(call.result, 1_234, "arguments and result pass through");
}

#[test]
fn all_vector_registers_survive_a_call_that_overwrites_them() {
    let engine = Engine::of_this_cpu();
    let spoilers: &[(&str, Entry)] = match engine {
        Engine::Vaes512 => &[("YMM", spoil_ymm), ("ZMM", spoil_zmm)],
        Engine::Vaes256 => &[("YMM", spoil_ymm)],
        _ => &[],
    };
    if engine != Engine::Vaes512 {
        eprintln!("SKIPPED in part: this CPU has {engine} only");
    }
    for (name, spoil) in spoilers {
        let mut call = Call::new(*spoil, ARGUMENTS);
        call!(call, call_with_vectors_kept, "vmovdqu", "ymm", "xgetbv", "vzeroupper");
        call.check(name, 32);
        assert_eq!(call.result, 1_234, "arguments and result pass through");
        assert_eq!(call.in_use[0] & UPPER, 1 << 2, "the test wants YMM registers in use, and no more");

        // Nothing but XMM registers in use: it stays so.
        call!(call, call_with_vectors_kept, "movups", "xmm", "xgetbv", "vzeroupper");
        call.check(name, 16);
        assert_eq!(call.in_use[1] & UPPER, 0);
        assert_eq!(call.result, 1_234);
        let mut whole = Call::new(*spoil, ARGUMENTS);
        for register in &mut whole.before {
            register[16..].fill(0);
        }
        call!(whole, call_with_vectors_kept, "vmovdqu", "ymm", "xgetbv", "vzeroupper");
        whole.check_values(name, 32);

        if engine == Engine::Vaes512 {
            let mut call = Call::new(*spoil, ARGUMENTS);
            call!(call, call_with_vectors_kept, "vmovdqu64", "zmm", "xgetbv", "vzeroupper");
            call.check(name, 64);
            assert_eq!(call.result, 1_234);
        }
    }
}

impl Call {
    /// The registers only: a CPU may take halves for unused that hold zeroes.
    fn check_values(&self, engine: &str, bytes: usize) {
        for (before, after) in self.before.iter().zip(&self.after) {
            assert_eq!(before[..bytes], after[..bytes], "{engine}");
        }
    }
}

/// The object itself (on the host, `memset` of the C library may use any register), with everything in use that the CPU has, and with nothing but XMM registers in use.
#[cfg(simd_object)]
#[test]
fn vector_registers_and_mxcsr_survive_the_object() {
    for engine in engines() {
        let (_, encrypt, decrypt) = entries(engine);
        let mut state = new_state(&mut random_key(5), 512);
        let mut data = random_bytes(6, 16 * 512);
        for entry in [encrypt, decrypt] {
            let arguments = [&raw mut *state as u64, 77, data.as_mut_ptr() as u64, data.len() as u64];
            let mut call = Call::new(entry, arguments);
            match (engine, Engine::of_this_cpu()) {
                (Engine::AesNi, Engine::AesNi) => {
                    call!(call, call_with_xmm_kept, "movups", "xmm", "xor eax, eax", "");
                    call.check("AES-NI", 16);
                }
                (Engine::AesNi, Engine::Vaes256) => {
                    call!(call, call_with_xmm_kept, "vmovdqu", "ymm", "xgetbv", "vzeroupper");
                    call.check("AES-NI", 32);
                }
                (Engine::AesNi, _) => {
                    call!(call, call_with_xmm_kept, "vmovdqu64", "zmm", "xgetbv", "vzeroupper");
                    call.check("AES-NI", 64);
                }
                (_, Engine::Vaes512) => {
                    call!(call, call_with_vectors_kept, "vmovdqu64", "zmm", "xgetbv", "vzeroupper");
                    call.check("VAES", 64);
                }
                _ => {
                    call!(call, call_with_vectors_kept, "vmovdqu", "ymm", "xgetbv", "vzeroupper");
                    call.check("VAES", 32);
                    call!(call, call_with_vectors_kept, "movups", "xmm", "xgetbv", "vzeroupper");
                    call.check("VAES", 16);
                }
            }
            assert_eq!(call.result, 1);
        }
    }
}

/// The same for the cipher of packets.
#[cfg(simd_object)]
#[test]
fn vector_registers_and_mxcsr_survive_the_cipher_of_packets() {
    use super::packets::{packet_engines, packet_entries, request};
    use crate::PacketEngine;

    for engine in packet_engines() {
        let (_, seal, open) = packet_entries(engine);
        let (mut request, mut packet) = (request(8), random_bytes(6, 1420));
        for entry in [seal, open] {
            let arguments = [request.as_mut_ptr() as u64, 0, packet.as_mut_ptr() as u64, packet.len() as u64];
            let mut call = Call::new(entry, arguments);
            match (engine, PacketEngine::of_this_cpu()) {
                (PacketEngine::Sse2, PacketEngine::Sse2) => {
                    call!(call, call_with_xmm_kept, "movups", "xmm", "xor eax, eax", "");
                    call.check("SSE2", 16);
                }
                (PacketEngine::Sse2, PacketEngine::Avx2) => {
                    call!(call, call_with_xmm_kept, "vmovdqu", "ymm", "xgetbv", "vzeroupper");
                    call.check("SSE2", 32);
                }
                (PacketEngine::Sse2, PacketEngine::Avx512) => {
                    call!(call, call_with_xmm_kept, "vmovdqu64", "zmm", "xgetbv", "vzeroupper");
                    call.check("SSE2", 64);
                }
                (_, PacketEngine::Avx512) => {
                    call!(call, call_with_vectors_kept, "vmovdqu64", "zmm", "xgetbv", "vzeroupper");
                    call.check("wide", 64);
                }
                _ => {
                    call!(call, call_with_vectors_kept, "vmovdqu", "ymm", "xgetbv", "vzeroupper");
                    call.check("wide", 32);
                }
            }
            assert_eq!(call.result, 1);
        }
    }
}
