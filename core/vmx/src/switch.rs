//! The world switch (SDM chapters 27 and 28).

use core::sync::atomic::AtomicU32;
use exit::Gpr;
use x86::vmx::Field;

/// The guest's general purpose registers, none of which the VMCS holds but RSP, by [`Gpr`] number; RSP has a place here too.
/// Behind them what the switch itself keeps.
#[repr(C)]
pub struct Registers {
    pub gprs: [u64; 16],
    /// While it is not 0 the guest is not entered.
    attention: &'static AtomicU32,
    /// What the VMCS field HOST_RSP holds.
    host_rsp: u64,
    /// Nonzero after the first entry: VMRESUME instead of VMLAUNCH (s. 25.1).
    launched: u64,
}

impl Registers {
    /// All zero. `attention`: see [`hw::nmi::NmiState`].
    pub fn new(attention: &'static AtomicU32) -> Self {
        Self { gprs: [0; 16], attention, host_rsp: 0, launched: 0 }
    }

    /// The VMCS was cleared: the next entry is its first (s. 25.1).
    pub fn relaunch(&mut self) {
        self.launched = 0;
    }
}

const fn at(register: Gpr) -> usize {
    core::mem::offset_of!(Registers, gprs) + register as usize * 8
}

// One copy, since the VMCS field HOST_RIP names its exit point. In: RDI, the registers. Out: RAX, 0 after a VM exit, 1 and 2
// after VMfailInvalid and VMfailValid, 3 if the guest was not entered. All other registers are lost but RBX, RBP and RSP.
//
// From the look at the word that asks for attention up to the entry an NMI may come that sets it; its handler leads out of there.
core::arch::global_asm!(
    r#"
    .text
    .balign 16
    .global vmx_enter, vmx_exit, vmx_looked, vmx_entered, vmx_abandon
vmx_enter:
    push rbx
    push rbp
    push rdi
    cmp rsp, [rdi + {host_rsp}]
    jne 3f
1:
    mov rax, [rdi + {attention}]
    cmp dword ptr [rax], 0
vmx_looked:
    jne vmx_abandon
    cmp dword ptr [rdi + {launched}], 0
    mov rax, [rdi + {rax}]
    mov rcx, [rdi + {rcx}]
    mov rdx, [rdi + {rdx}]
    mov rbx, [rdi + {rbx}]
    mov rbp, [rdi + {rbp}]
    mov rsi, [rdi + {rsi}]
    mov r8, [rdi + {r8}]
    mov r9, [rdi + {r9}]
    mov r10, [rdi + {r10}]
    mov r11, [rdi + {r11}]
    mov r12, [rdi + {r12}]
    mov r13, [rdi + {r13}]
    mov r14, [rdi + {r14}]
    mov r15, [rdi + {r15}]
    mov rdi, [rdi + {rdi}]
    je 2f
    vmresume
    jmp 4f
2:
    vmlaunch
vmx_entered:
    jmp 4f
3:
    mov [rdi + {host_rsp}], rsp
    mov eax, {host_rsp_field}
    vmwrite rax, rsp
    jmp 1b
4:
    pop rdi
    pop rbp
    pop rbx
    sbb eax, eax
    add eax, 2
    ret
vmx_abandon:
    pop rdi
    pop rbp
    pop rbx
    mov eax, 3
    ret

    .balign 16
vmx_exit:
    xchg rdi, [rsp]
    mov [rdi + {rax}], rax
    mov [rdi + {rcx}], rcx
    mov [rdi + {rdx}], rdx
    mov [rdi + {rbx}], rbx
    mov [rdi + {rbp}], rbp
    mov [rdi + {rsi}], rsi
    mov [rdi + {r8}], r8
    mov [rdi + {r9}], r9
    mov [rdi + {r10}], r10
    mov [rdi + {r11}], r11
    mov [rdi + {r12}], r12
    mov [rdi + {r13}], r13
    mov [rdi + {r14}], r14
    mov [rdi + {r15}], r15
    mov dword ptr [rdi + {launched}], 1
    pop qword ptr [rdi + {rdi}]
    xor eax, eax
    pop rbp
    pop rbx
    /* The RET below is the only one whose CALL was before the guest ran: a prediction of its own, not the guest's. */
    call 5f
    int3
5:
    add rsp, 8
    lfence
    ret
    "#,
    attention = const core::mem::offset_of!(Registers, attention),
    host_rsp = const core::mem::offset_of!(Registers, host_rsp),
    launched = const core::mem::offset_of!(Registers, launched),
    host_rsp_field = const Field::HOST_RSP.0,
    rax = const at(Gpr::Rax),
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
);

/// For the VMCS field HOST_RIP.
pub fn exit_point() -> u64 {
    unsafe extern "C" {
        static vmx_exit: [u8; 0];
    }
    (&raw const vmx_exit) as u64
}

/// Where an entry goes on, and ends without one, that an NMI has interrupted at `rip`. `None`: it interrupted something else.
pub fn abandoned(rip: u64) -> Option<u64> {
    unsafe extern "C" {
        static vmx_looked: [u8; 0];
        static vmx_entered: [u8; 0];
        static vmx_abandon: [u8; 0];
    }
    let (looked, entered) = (&raw const vmx_looked as u64, &raw const vmx_entered as u64);
    (looked..entered).contains(&rip).then_some(&raw const vmx_abandon as u64)
}

/// How an entry ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry(u32);

impl Entry {
    /// The guest ran, or the CPU refused its state: the exit reason tells.
    pub const EXITED: Self = Self(0);
    /// VMLAUNCH or VMRESUME itself failed, without a current VMCS.
    pub const FAILED_INVALID: Self = Self(1);
    /// The guest was not entered: something asks for attention.
    pub const ABANDONED: Self = Self(3);
}

/// Runs the guest of the current VMCS until its next exit.
///
/// SYSCALL registers and KERNEL_GS_BASE are not switched: the VMM uses none of them, so the guest's stay in the CPU. Nor are
/// x87, SSE and AVX registers: the VMM is compiled without them.
///
/// # Safety
/// The current VMCS is complete and keeps all VMM memory from the guest.
#[inline(always)]
pub unsafe fn run(registers: &mut Registers) -> Entry {
    let entry: u32;
    // SAFETY: the caller's promise. `vmx_enter` keeps RBX, RBP and RSP; all others are outputs.
    unsafe {
        core::arch::asm!(
            "call vmx_enter",
            inout("rdi") registers => _,
            lateout("eax") entry,
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
    Entry(entry)
}
