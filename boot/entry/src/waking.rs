//! The point that a CPU comes back to after it was reset while the machine slept.

use core::mem::ManuallyDrop;

/// What a CPU that comes by the trampoline goes on with to come back: see [`crate::Jump`].
#[derive(Clone, Copy, Debug)]
pub struct Return {
    pub stack: u64,
    pub entry: u64,
}

/// Calls `sleep`, in which the CPU may be reset. True: it was, and has come back by [`Return`]; `sleep` is never finished then.
/// False: `sleep` has come back.
///
/// # Safety
/// Who jumps to the entry of [`Return`] does so at most once, after a reset of this CPU in `sleep`, with the stack and all
/// memory as they were then, in 64-bit mode with the same mappings.
pub unsafe fn leave<F: FnOnce(Return)>(sleep: F) -> bool {
    extern "sysv64" fn call<F: FnOnce(Return)>(stack: u64, sleep: &mut ManuallyDrop<F>) {
        // SAFETY: called once, by `save`; nobody drops the value afterwards.
        let sleep = unsafe { ManuallyDrop::take(sleep) };
        sleep(Return { stack, entry: &raw const waking_return as u64 });
    }
    let mut sleep = ManuallyDrop::new(sleep);
    // SAFETY: `call` is as `save` wants it; the rest is the caller's promise.
    unsafe { save(call::<F> as *const () as u64, (&raw mut sleep).cast()) != 0 }
}

/// Calls `function(RSP, argument)`, with all registers on the stack that a function has to keep. 0: it has come back.
#[unsafe(naked)]
unsafe extern "sysv64" fn save(function: u64, argument: *mut ()) -> u64 {
    core::arch::naked_asm!(
        ".global waking_return",
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8", // calls want RSP a multiple of 16
        "mov rax, rdi",
        "mov rdi, rsp",
        "call rax",
        "xor eax, eax",
        "jmp 2f",
        "waking_return:",
        "mov eax, 1",
        "2:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

unsafe extern "C" {
    static waking_return: [u8; 0];
}
