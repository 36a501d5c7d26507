//! VMMCALL or VMCALL. A CPU that has none, or a Shoji that answers none, raises #UD; Linux makes SIGILL of it.

use core::arch::global_asm;
use core::arch::x86_64::__cpuid;
use std::sync::{Once, OnceLock};

// Each is a function of its own (System V ABI: RDI number, RSI and RDX parameters, RCX and R8 buffer for the answer), so that the
// handler of the signal knows the instruction by its address. RDX says afterwards whether there is
// none; RBX is the caller's.
global_asm!(
    ".macro shoji_hypercall name, instruction",
    ".globl \\name",
    "\\name:",
    "push rbx",
    "mov rax, rdi",
    "mov rbx, rsi",
    "xchg rcx, rdx",
    "mov rsi, r8",
    ".globl \\name\\()_instruction",
    "\\name\\()_instruction:",
    "\\instruction",
    "xor edx, edx",
    "pop rbx",
    "ret",
    ".globl \\name\\()_absent",
    "\\name\\()_absent:",
    "mov edx, 1",
    "pop rbx",
    "ret",
    ".endm",
    "shoji_hypercall shoji_vmmcall, vmmcall",
    "shoji_hypercall shoji_vmcall, vmcall",
);

/// RAX and RDX: the result, and whether there is none.
#[repr(C)]
struct Returned {
    result: u64,
    is_absent: u64,
}

type Function = unsafe extern "sysv64" fn(u64, *const u8, u64, *mut u8, u64) -> Returned;

// SAFETY: as defined above; the labels are only compared.
unsafe extern "sysv64" {
    fn shoji_vmmcall(number: u64, from: *const u8, from_bytes: u64, to: *mut u8, to_bytes: u64) -> Returned;
    fn shoji_vmcall(number: u64, from: *const u8, from_bytes: u64, to: *mut u8, to_bytes: u64) -> Returned;
    fn shoji_vmmcall_instruction();
    fn shoji_vmmcall_absent();
    fn shoji_vmcall_instruction();
    fn shoji_vmcall_absent();
}

/// The one of this CPU's vendor.
fn function() -> Function {
    static FUNCTION: OnceLock<Function> = OnceLock::new();
    *FUNCTION.get_or_init(|| {
        let vendor = __cpuid(0);
        let name: Vec<u8> = [vendor.ebx, vendor.edx, vendor.ecx].into_iter().flat_map(u32::to_le_bytes).collect();
        match name.as_slice() {
            b"GenuineIntel" | b"CentaurHauls" | b"  Shanghai  " => shoji_vmcall,
            _ => shoji_vmmcall,
        }
    })
}

/// Makes a hypercall; gives RAX. `None`: there is no such instruction here.
pub fn hypercall(number: u64, parameters: &[u8], answer: &mut [u8]) -> Option<u64> {
    static CATCH: Once = Once::new();
    CATCH.call_once(catch_illegal_instruction);
    // SAFETY: Shoji reads and writes these two buffers only, as if this program did; #UD is caught.
    let returned = unsafe {
        function()(number, parameters.as_ptr(), parameters.len() as u64, answer.as_mut_ptr(), answer.len() as u64)
    };
    (returned.is_absent == 0).then_some(returned.result)
}

fn catch_illegal_instruction() {
    // SAFETY: `sigaction` is plain data of which zeroes are a value, and `on_illegal_instruction` is a handler of SA_SIGINFO's type.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = on_illegal_instruction as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGILL, &raw const action, core::ptr::null_mut());
    }
}

/// Goes on behind a hypercall instruction; any other one ends the program as it would without this handler.
unsafe extern "C" fn on_illegal_instruction(signal: i32, _: *const libc::siginfo_t, context: *mut libc::c_void) {
    let places = [
        (shoji_vmmcall_instruction as *const () as i64, shoji_vmmcall_absent as *const () as i64),
        (shoji_vmcall_instruction as *const () as i64, shoji_vmcall_absent as *const () as i64),
    ];
    // SAFETY: the kernel hands over a `ucontext_t`, which is ours until this returns; async-signal-safe functions only.
    unsafe {
        let rip = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize];
        match places.iter().find(|(at, _)| at == rip) {
            Some((_, absent)) => *rip = *absent,
            None => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn without_shoji_there_is_nobody_and_the_program_lives_on() {
        for _ in 0..2 {
            assert_eq!(crate::Shoji::find().unwrap_err(), crate::Absent::NoShoji);
        }
    }

    #[test]
    fn any_other_illegal_instruction_ends_the_program() {
        let _ = crate::Shoji::find();
        let mut status = 0;
        // SAFETY: the child does nothing but die.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                core::arch::asm!("ud2", options(noreturn));
            }
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        }
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGILL, "{status:#x}");
    }
}
