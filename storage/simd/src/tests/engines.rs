//! Which engine is chosen for which CPU.

use super::*;
use crate::PacketEngine;
use core::arch::x86_64::CpuidResult;
use std::string::ToString;

/// A CPU by the bits of leaf 1 ECX, leaf 7 EBX and ECX, leaf 0DH EAX, and its subleaf 1 EAX.
#[derive(Clone, Copy)]
struct Cpu {
    highest: u32,
    basic: u32,
    extended: [u32; 2],
    components: u32,
    xsave: u32,
}

/// Ice Lake and later.
const FULL: Cpu = Cpu {
    highest: 0x1b,
    basic: 1 << 25 | 1 << 26 | 1 << 27 | 1 << 28,
    extended: [1 << 5 | 1 << 16, 1 << 9 | 1 << 10],
    components: 0x2e7,
    xsave: 0xf,
};

fn chosen(cpu: Cpu) -> Engine {
    Engine::by(of(cpu))
}

fn of(cpu: Cpu) -> impl Fn(u32, u32) -> CpuidResult {
    move |leaf, subleaf| {
        let zero = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
        match (leaf, subleaf) {
            (0, _) => CpuidResult { eax: cpu.highest, ..zero },
            (1, _) => CpuidResult { ecx: cpu.basic, ..zero },
            (7, 0) => CpuidResult { ebx: cpu.extended[0], ecx: cpu.extended[1], ..zero },
            (0xd, 0) => CpuidResult { eax: cpu.components, ..zero },
            (0xd, 1) => CpuidResult { eax: cpu.xsave, ..zero },
            _ => zero,
        }
    }
}

#[test]
fn the_widest_engine_is_chosen_of_which_the_cpu_has_every_part() {
    assert_eq!(chosen(FULL), Engine::Vaes512);
    for (cpu, engine) in [
        (Cpu { extended: [1 << 5, FULL.extended[1]], components: 7, ..FULL }, Engine::Vaes256),
        (Cpu { extended: [1 << 5, FULL.extended[1]], ..FULL }, Engine::Vaes256),
        (Cpu { components: 7, ..FULL }, Engine::Vaes256),
        (Cpu { components: 0x67, ..FULL }, Engine::Vaes256),
        (Cpu { components: 3, ..FULL }, Engine::AesNi),
        (Cpu { xsave: 0xb, ..FULL }, Engine::AesNi),
        (Cpu { extended: [FULL.extended[0], 1 << 9], ..FULL }, Engine::AesNi),
        (Cpu { extended: [FULL.extended[0], 1 << 10], ..FULL }, Engine::AesNi),
        (Cpu { extended: [1 << 16, FULL.extended[1]], ..FULL }, Engine::AesNi),
        (Cpu { basic: FULL.basic & !(1 << 27), ..FULL }, Engine::AesNi),
        (Cpu { basic: FULL.basic & !(1 << 28), ..FULL }, Engine::AesNi),
        (Cpu { highest: 7, ..FULL }, Engine::AesNi),
        (Cpu { basic: FULL.basic & !(1 << 25), ..FULL }, Engine::Software),
    ] {
        assert_eq!(chosen(cpu), engine);
    }
}

#[test]
fn packets_get_the_widest_engine_of_which_the_cpu_has_every_part() {
    const IFMA: u32 = 1 << 21;
    const WIDE: Cpu = Cpu { extended: [FULL.extended[0] | IFMA, 0], ..FULL };
    for (cpu, engine) in [
        (WIDE, PacketEngine::Avx512),
        (Cpu { basic: FULL.basic & !(1 << 25), ..WIDE }, PacketEngine::Avx512),
        (FULL, PacketEngine::Avx2),
        (Cpu { extended: [1 << 5 | IFMA, 0], ..WIDE }, PacketEngine::Avx2),
        (Cpu { components: 0x67, ..WIDE }, PacketEngine::Avx2),
        (Cpu { components: 3, ..WIDE }, PacketEngine::Sse2),
        (Cpu { xsave: 0xb, ..WIDE }, PacketEngine::Sse2),
        (Cpu { extended: [1 << 16 | IFMA, 0], ..WIDE }, PacketEngine::Sse2),
        (Cpu { basic: FULL.basic & !(1 << 27), ..WIDE }, PacketEngine::Sse2),
        (Cpu { basic: FULL.basic & !(1 << 28), ..WIDE }, PacketEngine::Sse2),
        (Cpu { highest: 7, ..WIDE }, PacketEngine::Sse2),
    ] {
        assert_eq!(PacketEngine::by(of(cpu)), engine);
    }
}

#[test]
fn the_log_can_name_the_engine() {
    assert_eq!(Engine::Software.to_string(), "software, constant-time");
    assert_eq!(Engine::AesNi.to_string(), "AES-NI");
    assert_eq!(Engine::Vaes256.to_string(), "VAES-256");
    assert_eq!(Engine::Vaes512.to_string(), "VAES-512");
    let engines = [PacketEngine::Sse2, PacketEngine::Avx2, PacketEngine::Avx512];
    assert_eq!(engines.map(|engine| engine.to_string()), ["SSE2", "AVX2", "AVX-512"]);
}
