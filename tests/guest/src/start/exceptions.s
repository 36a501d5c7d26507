// Entries of the IDT, and the way back from an exception that was expected.
// Intel SDM Vol. 3A (order number 325384) 6.14 "Exception and interrupt handling in 64-bit mode".

.section .text.exceptions, "ax"
.code64

// 256 entries of 16 bytes: exceptions 0 to 31, then the 16 lines of the PIC, then the local APIC's.
.balign 16
.global vector_entries
vector_entries:
.set vector, 0
.rept 256
    .balign 16
    // #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX push an error code themselves.
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    .byte 0x6a, 0
    .endif
    .byte 0x68
    .long vector
    jmp common_entry
    .set vector, vector + 1
.endr

// Stack: vector, error code, RIP, CS, RFLAGS, RSP, SS.
common_entry:
    cmp qword ptr [rsp], 32
    jae 2f
    mov rbx, rsp                    // IST1: a stack of this CPU's area
    and rbx, -CPU_AREA
    mov [rbx + 32], rcx
    mov [rbx + 40], rsi
    mov [rbx + 48], rdi
    pop qword ptr [rbx]
    pop qword ptr [rbx + 8]
    pop qword ptr [rbx + 16]
    mov rax, cr2
    mov [rbx + 24], rax
    mov ax, 0x10                    // SS is null after an exception at CPL 3
    mov ss, ax
    cld
    mov rsp, [rbx + 56]
    test rsp, rsp
    mov eax, 1
    jnz 3f
    lea rsp, [rbx + CPU_EXCEPTION_STACK]
    call unexpected_exception

2:  push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    mov rdi, [rsp + 72]
    cld
    call on_interrupt
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

// extern "C" fn catch_call(routine: extern "C" fn(u64), argument: u64) -> u32
// 0: the routine returned. 1: it ended in an exception, which the CPU's area describes.
.global catch_call
catch_call:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    pushfq
    mov rbx, rsp
    and rbx, -CPU_AREA
    mov [rbx + 56], rsp
    mov rax, rdi
    mov rdi, rsi
    call rax
    xor eax, eax
3:  mov qword ptr [rbx + 56], 0
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

// extern "C" fn enter_user(rip: u64) -> !: CPL 3 at an address, on the stack of now.
.global enter_user
enter_user:
    mov rax, rsp
    push 0x33
    push rax
    push 2
    push 0x3b
    push rdi
    iretq
