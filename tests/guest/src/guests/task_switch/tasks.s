// Three tasks of 32-bit protected mode. A asks for the switch, B or C is switched to.
// Intel SDM Vol. 3A (325462), chapter 8.

// Selectors of the GDT that the guest builds.
.set CODE32, 0x08
.set DATA32, 0x10
.set TASK_A, 0x40
.set TASK_B, 0x48
.set TASK_C, 0x50
.set GATE_B, 0x58

.macro FAR_CALL selector
    .byte 0x9a
    .long 0
    .word \selector
.endm
.macro FAR_JUMP selector
    .byte 0xea
    .long 0
    .word \selector
.endm

// EAX, EBX, ECX, EDX, ESI, EDI, EBP, ESP, EFLAGS, CR0, TR, the dword that the task sees at its alias; 4 bytes each.
.macro NOTE where
    mov [\where], eax
    mov [\where + 4], ebx
    mov [\where + 8], ecx
    mov [\where + 12], edx
    mov [\where + 16], esi
    mov [\where + 20], edi
    mov [\where + 24], ebp
    mov [\where + 28], esp
    pushfd
    pop dword ptr [\where + 32]
    mov eax, cr0
    mov [\where + 36], eax
    xor eax, eax
    str ax
    mov [\where + 40], eax
    mov eax, [tasks_alias]
    mov eax, [eax]
    mov [\where + 44], eax
.endm

.macro SET_REGISTERS pattern
    mov eax, \pattern
    lea ebx, [eax + 1]
    lea ecx, [eax + 2]
    lea edx, [eax + 3]
    lea esi, [eax + 4]
    lea edi, [eax + 5]
    lea ebp, [eax + 6]
.endm

.section .text16, "ax"
.code32
.global tasks_run
// Routine for run32. Becomes task A and runs the action.
tasks_run:
    mov [tasks_esp], esp
    sgdt [tasks_old_gdtr]
    lgdt [tasks_gdtr]
    lidt [tasks_idtr]
    mov ax, TASK_A
    ltr ax
    mov eax, cr4
    mov [tasks_old_cr4], eax
    or eax, [tasks_cr4]
    mov cr4, eax
    mov eax, [tasks_cr3]
    test eax, eax
    jz 2f
    mov cr3, eax
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
2:  clts
    SET_REGISTERS 0xa0a0a0a0
    call [tasks_action]
    NOTE tasks_seen_a
// Whatever task runs, and whatever it has lost.
tasks_end:
    cli
    mov ax, DATA32
    mov ss, ax
    mov ds, ax
    mov esp, [tasks_esp]
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov eax, cr0
    and eax, 0x7ffffff7             // PG, TS
    mov cr0, eax
    mov eax, [tasks_old_cr4]
    mov cr4, eax
    lgdt [tasks_old_gdtr]
    push 2
    popfd                           // NT
    ret

.global tasks_call, tasks_jump, tasks_call_gate, tasks_jump_gate, tasks_int, tasks_wait, tasks_fault, tasks_nmi, tasks_iret
tasks_call:
    FAR_CALL TASK_B
    ret
tasks_jump:
    FAR_JUMP TASK_B
    ret
tasks_call_gate:
    FAR_CALL GATE_B
    ret
tasks_jump_gate:
    FAR_JUMP GATE_B
    ret
tasks_int:
    int 0x30
    ret
tasks_wait:
    sti
    hlt
    cli
    ret
tasks_fault:
    mov dword ptr [tasks_resume], offset tasks_fault_end
    mov fs, [tasks_bad_selector]
tasks_fault_end:
    ret
tasks_nmi:
    push eax
    mov dword ptr [0xfee00310], 0   // ICR, SDM Vol. 3A 11.6.1: to the CPU with identifier 0
    mov dword ptr [0xfee00300], 0x4400
    mov eax, 10000
2:  dec eax
    jnz 2b
    pop eax
    ret
tasks_iret:
    pushfd
    or dword ptr [esp], 1 << 14     // NT
    popfd
    iretd
    ret

// Task B: notes what it finds, and goes back.
.global tasks_b, tasks_c, tasks_iret_back, tasks_jump_back, tasks_nest
tasks_b:
    NOTE tasks_seen_b
    inc dword ptr [tasks_b_count]
    cmp dword ptr [tasks_pop_error], 0
    je 2f
    pop dword ptr [tasks_error]
2:  mov ebx, [tasks_resume]
    test ebx, ebx
    jz 3f
    mov ecx, [tasks_a_eip]
    mov [ecx], ebx                  // A goes on behind the instruction that faults
3:  cmp dword ptr [tasks_eoi], 0
    je 4f
    mov al, 0x20
    out 0x20, al
4:  xor eax, eax
    cpuid                           // an exit within the task
    SET_REGISTERS 0xb0b0b0b0
    jmp [tasks_back]
tasks_iret_back:
    iretd
    jmp tasks_b
tasks_jump_back:
    FAR_JUMP TASK_A
    jmp tasks_b
tasks_nest:
    FAR_CALL TASK_C
    iretd
    jmp tasks_b
tasks_c:
    NOTE tasks_seen_c
    iretd
    jmp tasks_c

// The task of an exception that ends the run: error code on its stack.
.global tasks_handler
tasks_handler:
    NOTE tasks_seen_c
    pop dword ptr [tasks_error]
    mov dword ptr [tasks_vector], 0x100
    jmp tasks_end

// Interrupt gates of exceptions: 16 bytes each.
.balign 16
.global tasks_vectors
tasks_vectors:
.set task_vector, 0
.rept 32
    .balign 16
    .if !(task_vector == 8 || (task_vector >= 10 && task_vector <= 14) || task_vector == 17)
    push 0
    .endif
    push task_vector
    jmp tasks_exception
    .set task_vector, task_vector + 1
.endr
tasks_exception:
    mov ax, DATA32
    mov ds, ax
    pop dword ptr [tasks_vector]
    pop dword ptr [tasks_error]
    NOTE tasks_seen_c
    mov eax, dr6
    mov [tasks_dr6], eax
    jmp tasks_end

.balign 8
.global tasks_gdtr, tasks_idtr, tasks_esp, tasks_cr3, tasks_cr4, tasks_alias, tasks_action, tasks_back, tasks_eoi
.global tasks_resume, tasks_a_eip, tasks_pop_error, tasks_b_count, tasks_error, tasks_vector, tasks_dr6
.global tasks_seen_a, tasks_seen_b, tasks_seen_c
tasks_old_gdtr: .space 8
tasks_gdtr: .word 0x7f
    .long 0
    .word 0
tasks_idtr: .word 0x1ff
    .long 0
    .word 0
tasks_esp: .long 0
tasks_old_cr4: .long 0
tasks_bad_selector: .long 0xfff8
// Of the run: CR3 (0: no paging), further bits of CR4, where the tasks look for their alias, what A does, how B goes
// back, whether B ends an interrupt of the PIC, pops an error code, and where A's EIP is for who must change it.
tasks_cr3: .long 0
tasks_cr4: .long 0
tasks_alias: .long 0
tasks_action: .long 0
tasks_back: .long 0
tasks_eoi: .long 0
tasks_pop_error: .long 0
tasks_a_eip: .long 0
// What came of it.
tasks_resume: .long 0
tasks_b_count: .long 0
tasks_error: .long 0
tasks_vector: .long 0
tasks_dr6: .long 0
tasks_seen_a: .space 48
tasks_seen_b: .space 48
tasks_seen_c: .space 48
