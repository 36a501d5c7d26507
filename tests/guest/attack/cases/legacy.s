// Code in 32-bit protected mode at CPL 0 and 3, and in virtual-8086 mode; every exception leads back.
// Intel SDM Vol. 3A (325384), chapters 6, 8 and 21.

.set LEGACY_DATA, 0x10
.set LEGACY_TASK, 0x28

.section .text16, "ax"
.code32
.global legacy_run
// Routine for run32.
legacy_run:
    mov [legacy_esp], esp
    sgdt [legacy_old_gdtr]
    lgdt [legacy_gdtr]
    lidt [legacy_idtr]
    mov ax, LEGACY_TASK
    ltr ax
    mov dword ptr [legacy_vector], 0xffff
    mov eax, [legacy_dr7]
    mov dr7, eax
    mov esp, offset legacy_stack_top
    cmp dword ptr [legacy_level], 1
    jb 3f
    ja 4f
    push 0x23                       // SS, ESP, EFLAGS, CS
    mov eax, offset legacy_stack_top - 0x200
    push eax
    push 2
    push 0x1b
    jmp 5f
4:  xor eax, eax
    push eax                        // GS, FS, DS, ES, SS, ESP, EFLAGS (VM, IOPL 3), CS
    push eax
    push eax
    push eax
    push eax
    push 0x7b00
    push 0x23002
    push eax
5:  mov eax, offset legacy_slot     // PUSH of an address would be assembled for 16 bits
    push eax
    mov eax, [legacy_eax]
    iretd
3:  mov eax, [legacy_eax]
    jmp legacy_slot

.balign 16
.global legacy_vectors
legacy_vectors:
.set vector32, 0
.rept 64
    .balign 16
    .if !(vector32 == 8 || (vector32 >= 10 && vector32 <= 14) || vector32 == 17)
    push 0
    .endif
    push vector32
    jmp legacy_end
    .set vector32, vector32 + 1
.endr

// Stack: vector, error code, EIP, CS, EFLAGS, ...
legacy_end:
    mov ax, LEGACY_DATA
    mov ds, ax
    mov es, ax
    pop dword ptr [legacy_vector]
    pop dword ptr [legacy_error]
    pop dword ptr [legacy_eip]
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esp, [legacy_esp]
    push 2
    popfd                           // NT
    mov eax, 0x400
    mov dr7, eax
    mov eax, cr0
    and eax, 0x7ffffff7             // PG, TS
    mov cr0, eax
    xor eax, eax
    mov cr4, eax
    lgdt [legacy_old_gdtr]
    ret

.balign 16
.global legacy_slot
legacy_slot:
    .space 64
.balign 8
.global legacy_level, legacy_eax, legacy_dr7, legacy_vector, legacy_error, legacy_eip, legacy_gdtr, legacy_idtr, legacy_word
legacy_level:
    .long 0                         // 0: CPL 0. 1: CPL 3. 2: virtual-8086 mode.
legacy_eax:
    .long 0
legacy_dr7:
    .long 0x400
legacy_vector:
    .long 0
legacy_error:
    .long 0
legacy_eip:
    .long 0
legacy_esp:
    .long 0
legacy_old_gdtr:
    .space 8
legacy_gdtr:
    .space 8
legacy_idtr:
    .space 8
    .space 64                       // exceptions after POP SS write here
// A selector for POP SS, 8 bytes.
legacy_word:
    .space 16
    .space 1024
.global legacy_stack_top
legacy_stack_top:
.code64
