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
/// Inlined into the exit loop, so that only what lives across it is saved.
///
/// # Safety
/// EFER.SVME is set, VM_HSAVE_PA is valid, the VMCB is valid and keeps all VMM memory from the guest.
#[inline(always)]
pub unsafe fn run(registers: &mut Gprs, vmcb: u64) {
    // SAFETY: the caller's promise. Every register that the guest may change is an output or saved on the stack; RAX and
    // RSP are the host's again after #VMEXIT, as they were at VMRUN.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "push rbp",
            "push rdi",
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
            "xchg rdi, [rsp]",
            "mov [rdi + {rcx}], rcx",
            "mov [rdi + {rdx}], rdx",
            "mov [rdi + {rbx}], rbx",
            "mov [rdi + {rbp}], rbp",
            "mov [rdi + {rsi}], rsi",
            "mov [rdi + {r8}], r8",
            "mov [rdi + {r9}], r9",
            "mov [rdi + {r10}], r10",
            "mov [rdi + {r11}], r11",
            "mov [rdi + {r12}], r12",
            "mov [rdi + {r13}], r13",
            "mov [rdi + {r14}], r14",
            "mov [rdi + {r15}], r15",
            "pop qword ptr [rdi + {rdi}]",
            "pop rbp",
            "pop rbx",
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
            inout("rdi") registers => _,
            inout("rax") vmcb => _,
            lateout("rcx") _,
            lateout("rdx") _,
            lateout("rsi") _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
            lateout("r12") _,
            lateout("r13") _,
            lateout("r14") _,
            lateout("r15") _,
        );
    }
}
