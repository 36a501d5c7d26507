// Debug exceptions around instructions that exit.

.section .text.debug, "ax"
.code64

// #DB: notes RIP and DR6, sets RF for breakpoints on instructions, and goes on.
.global debug_entry
debug_entry:
    push rax
    push rcx
    mov rcx, [debug_count]
    cmp rcx, 32
    jae 2f
    shl rcx, 4
    mov rax, [rsp + 16]
    mov [debug_log + rcx], rax
    mov rax, dr6
    mov [debug_log + rcx + 8], rax
    inc qword ptr [debug_count]
2:  mov eax, 0xffff0ff0
    mov dr6, rax
    or qword ptr [rsp + 32], 1 << 16 // RF
    pop rcx
    pop rax
    iretq

// The timer's interrupt: notes where it came.
.global debug_timer
debug_timer:
    push rax
    mov rax, [rsp + 8]
    mov [debug_interrupted], rax
    mov al, 0x20
    out 0x20, al
    pop rax
    iretq

.macro TRAP_ON
    pushfq
    or qword ptr [rsp], 0x100
    popfq
.endm
.macro TRAP_OFF
    pushfq
    and qword ptr [rsp], ~0x100
    popfq
.endm

// extern "C" fn: single steps. Each label is where one step ends.
.global debug_steps
debug_steps:
    push rbx
    TRAP_ON
    nop
step_1: xor eax, eax
step_2: cpuid
step_3: in al, 0x92
step_4: mov ecx, 0xc0000080
step_5: rdmsr
step_6: wrmsr
step_7: mov edx, 0xcf8
step_8: in eax, dx
step_9: out dx, eax
step_10: mov ecx, 0x1b
step_11: rdmsr
step_12: nop
step_13: pushfq
step_14: and qword ptr [rsp], ~0x100
step_15: popfq
step_16:
    pop rbx
    ret

// extern "C" fn: MOV SS suppresses the trap behind itself; it comes after the next instruction.
.global debug_move_ss
debug_move_ss:
    push rbx
    mov ax, ss
    TRAP_ON
    mov ss, ax
    cpuid
shadow_1: nop
shadow_2: pushfq
shadow_3: and qword ptr [rsp], ~0x100
shadow_4: popfq
shadow_5:
    pop rbx
    ret

// extern "C" fn: three instructions that exit, for breakpoints on them.
.global debug_targets, debug_cpuid, debug_in, debug_rdmsr
debug_targets:
    push rbx
    xor eax, eax
debug_cpuid:
    cpuid
debug_in:
    in al, 0x92
    mov ecx, 0xc0000080
debug_rdmsr:
    rdmsr
    pop rbx
    ret

// extern "C" fn: writes and reads between instructions that exit, for breakpoints on data.
.global debug_data, debug_data_ends
debug_data:
    push rbx
    cpuid
    mov dword ptr [debug_word], 1
data_1: cpuid
    in al, 0x92
    mov eax, [debug_word]
data_2: in al, 0x92
    cpuid
    pop rbx
    ret

// extern "C" fn: STI, an instruction that exits, and where the pending interrupt comes.
.global debug_sti_cpuid, debug_sti_in, debug_after_cpuid, debug_after_in
debug_sti_cpuid:
    push rbx
    sti
    cpuid
debug_after_cpuid:
    nop
    cli
    pop rbx
    ret
debug_sti_in:
    sti
    in al, 0x92
debug_after_in:
    nop
    cli
    ret

// Code of CPL 3: a misaligned read with RFLAGS.AC, and #UD where nobody objects.
.global debug_misaligned, debug_misaligned_read
debug_misaligned:
    pushfq
    or qword ptr [rsp], 1 << 18
    popfq
    mov eax, [debug_word]
    xor eax, eax
    mov ecx, [debug_word]
debug_misaligned_read:
    mov eax, [debug_word + 1]
    ud2

.balign 8
.global debug_step_ends, debug_shadow_ends, debug_count, debug_log, debug_interrupted, debug_word
debug_step_ends:
    .quad step_1, step_2, step_3, step_4, step_5, step_6, step_7, step_8, step_9, step_10, step_11, step_12
    .quad step_13, step_14, step_15, step_16
debug_shadow_ends:
    .quad shadow_1, shadow_2, shadow_3, shadow_4, shadow_5
debug_data_ends:
    .quad data_1, data_2
debug_count: .quad 0
debug_log: .space 512
debug_interrupted: .quad 0
debug_word: .quad 0
