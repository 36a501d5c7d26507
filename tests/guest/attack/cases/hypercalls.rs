//! VMCALL and VMMCALL with random registers at CPL 0 and 3.
//!
//! Safe: #UD, #GP, or an answer in registers; no memory of the guest changes that it did not name, and it goes on.

use crate::frame::How;
use crate::frame::code::{self, Registers};
use crate::frame::random::Random;
use tiny::machine::exceptions::{GP, UD};
use tiny::machine::memory::buffer;

const CALLS: [(&str, [u8; 3]); 2] = [("VMCALL", [0x0f, 0x01, 0xc1]), ("VMMCALL", [0x0f, 0x01, 0xd9])];
const ROUNDS: usize = 5000;
const GUARD: usize = 27;

pub fn run() {
    let mut random = Random::new(0xca11);
    let guard = &mut buffer(GUARD)[..0x1_0000];
    guard.fill(0x3c);
    for (name, bytes) in CALLS {
        let mut answered = 0;
        for i in 0..ROUNDS {
            // Small numbers first: those that a hypervisor may know.
            let rax = if i < 512 { i as u64 } else { random.value() };
            let r =
                Registers { rax, rcx: random.value(), rdx: random.value(), rsi: random.value(), rdi: random.value() };
            let ended = code::run(&bytes, r);
            let vector = ended.fault.vector;
            check!(matches!((vector, ended.distance), (UD | GP, 0) | (UD, 3)), "{name} with RAX {rax:#x}: {ended:x?}");
            answered += u32::from(ended.distance == 3);
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
