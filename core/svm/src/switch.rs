//! The world switch (APM s. 15.5 and 15.6).

use exit::Gpr;

/// The guest's general purpose registers that the VMCB does not hold, by [`Gpr`] number. RAX and RSP have a place here
/// too but live in the VMCB.
#[derive(Default)]
#[repr(C)]
pub struct Gprs(pub [u64; 16]);

const fn at(register: Gpr) -> usize {
    register as usize * 8
}

/// Runs the guest of the VMCB at physical address `vmcb` until its next exit. GIF is and stays 0 in the host.
///
/// FS, GS, TR, LDTR and the SYSCALL and SYSENTER registers are not switched: the VMM uses none of them, so the guest's
/// stay in the CPU. Nor are x87, SSE and AVX registers: the VMM is compiled without them.
///
/// # Safety
/// EFER.SVME is set, VM_HSAVE_PA is valid, the VMCB is valid and keeps all VMM memory from the guest.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run(registers: &mut Gprs, vmcb: u64) {
    core::arch::naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "mov rax, rsi",
        "mov rcx, [rdi + {rcx}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rbx, [rdi + {rbx}]",
        "mov rbp, [rdi + {rbp}]",
        "mov rsi, [rdi + {rsi}]",
        "mov r8, [rdi + {r8}]",
        "mov r9, [rdi + {r9}]",
        "mov r10, [rdi + {r10}]",
        "mov r11, [rdi + {r11}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "mov rdi, [rdi + {rdi}]",
        "vmrun rax",
        // RAX and RSP are the host's again, as they were at VMRUN.
        "mov rax, [rsp]",
        "mov [rax + {rcx}], rcx",
        "mov [rax + {rdx}], rdx",
        "mov [rax + {rbx}], rbx",
        "mov [rax + {rbp}], rbp",
        "mov [rax + {rsi}], rsi",
        "mov [rax + {rdi}], rdi",
        "mov [rax + {r8}], r8",
        "mov [rax + {r9}], r9",
        "mov [rax + {r10}], r10",
        "mov [rax + {r11}], r11",
        "mov [rax + {r12}], r12",
        "mov [rax + {r13}], r13",
        "mov [rax + {r14}], r14",
        "mov [rax + {r15}], r15",
        "pop rdi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        rcx = const at(Gpr::Rcx),
        rdx = const at(Gpr::Rdx),
        rbx = const at(Gpr::Rbx),
        rbp = const at(Gpr::Rbp),
        rsi = const at(Gpr::Rsi),
        rdi = const at(Gpr::Rdi),
        r8 = const at(Gpr::R8),
        r9 = const at(Gpr::R9),
        r10 = const at(Gpr::R10),
        r11 = const at(Gpr::R11),
        r12 = const at(Gpr::R12),
        r13 = const at(Gpr::R13),
        r14 = const at(Gpr::R14),
        r15 = const at(Gpr::R15),
    )
}
