//! VMCALL and VMMCALL with random registers at CPL 0 and 3; as `debug_calls` where the hypervisor answers some.
//!
//! Safe: #UD, #GP, or an answer in registers; no memory of the guest changes that it did not name, and it goes on.

use crate::frame::How;
use crate::frame::code::{self, Registers};
use crate::frame::random::Random;
use tiny::machine::cpu;
use tiny::machine::exceptions::{GP, UD};
use tiny::machine::memory::buffer;

const CALLS: [(&str, [u8; 3]); 2] = [("VMCALL", [0x0f, 0x01, 0xc1]), ("VMMCALL", [0x0f, 0x01, 0xd9])];
const ROUNDS: usize = 5000;
const GUARD: usize = 27;

/// So many small numbers are tried in turn, and the lowest as often as random ones come by.
const SMALL: usize = 512;
/// What the hypervisor may log at each call: not thousands of times.
const LOGGED: u64 = 1;
/// The debug hypercall that has deadlines tried: with random arguments it sends NMIs, to wherever this guest is by then.
const SENDS_NMIS: u64 = 4;

/// The same where debug hypercalls are allowed: interrupts that they queue come when the guest can take them.
pub fn debug() {
    tiny::machine::irq::mask_all();
    tiny::machine::exceptions::open_all_gates();
    let before = arrived();
    run();
    for _ in 0..1000 {
        cpu::enable_interrupts();
        cpu::cpuid(0);
        cpu::disable_interrupts();
    }
    say!("{} interrupts were queued and came", arrived() - before);
}

fn arrived() -> u32 {
    (48..=255).map(|vector| tiny::machine::smp::interrupts(0, vector)).sum()
}

pub fn run() {
    let mut random = Random::new(0xca11);
    let guard = &mut buffer(GUARD)[..0x1_0000];
    guard.fill(0x3c);
    for (name, bytes) in CALLS {
        let mut answered = 0;
        for i in 0..ROUNDS {
            // Small numbers first: those that a hypervisor may know.
            let rax = if i < SMALL { i as u64 } else { random.value() };
            let rax = if i > SMALL && rax == LOGGED || rax == SENDS_NMIS { 2 } else { rax };
            let r =
                Registers { rax, rcx: random.value(), rdx: random.value(), rsi: random.value(), rdi: random.value() };
            // RBX from RDX: MOV RBX, RDX.
            let ended = code::run(&[0x48, 0x89, 0xd3, bytes[0], bytes[1], bytes[2]], r);
            let vector = ended.fault.vector;
            check!(matches!((vector, ended.distance), (UD | GP, 3) | (UD, 6)), "{name} with RAX {rax:#x}: {ended:x?}");
            answered += u32::from(ended.distance == 6);
        }
        let user = code::run_user(&bytes);
        for _ in 0..ROUNDS / 10 {
            check_eq!(code::run_user(&bytes), user, "{name} at CPL 3, once more");
        }
        check!(matches!(user.fault.vector, UD | GP), "{name} at CPL 3: {user:x?}");
        seen!("{name}: {answered} of {ROUNDS} are answered; at CPL 3 {} at {}", How(Err(user.fault)), user.distance);
    }
    check!(guard.iter().all(|&byte| byte == 0x3c), "memory that nobody named has changed");
}
