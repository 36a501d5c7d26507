// Where a CPU other than the first begins: a startup IPI names the page of `cpu_start`.
// Intel SDM Vol. 3A (order number 325384) 9.4 (multiple-processor initialization).

.set STATE_AT, 0x200                // of `cpu_state` in the page

.macro STATE register, offset
    mov cs:[STATE_AT + \offset], \register
.endm

.section .text16.cpus, "ax"
.code16
.balign 4096
// CS holds the page, IP is 0, nothing else is known. What was found goes to `cpu_state` first.
.global cpu_start
cpu_start:
    cli
    STATE eax, 0
    STATE ebx, 4
    STATE ecx, 8
    STATE edx, 12
    STATE esi, 16
    STATE edi, 20
    STATE ebp, 24
    STATE esp, 28
    STATE ds, 32
    STATE es, 34
    STATE fs, 36
    STATE gs, 38
    STATE ss, 40
    STATE cs, 42
    mov eax, cr0
    STATE eax, 44
    mov eax, cr2
    STATE eax, 48
    mov eax, cr3
    STATE eax, 52
    mov eax, cr4
    STATE eax, 56
    mov eax, dr6
    STATE eax, 60
    mov eax, dr7
    STATE eax, 64
    sgdt cs:[STATE_AT + 68]
    sidt cs:[STATE_AT + 74]
    xor eax, eax
    mov ds, ax
    mov ss, ax
    mov esp, 0x7c00                 // the boot sector's, which nobody uses any more
    pushfd
    pop dword ptr [cpu_state + 80]
    mov ecx, EFER
    rdmsr
    mov [cpu_state + 84], eax
    REAL_TO_PROTECTED
    PROTECTED_TO_LONG
    lock inc dword ptr [cpu_starts]
    // The CPU's number by its identifier; a new one gets the next number.
    mov eax, 1
    cpuid
    shr ebx, 24
    mov edi, 1
    xor eax, eax
2:  cmp al, byte ptr [cpu_numbers + rbx]
    jne 3f
    lock xadd dword ptr [cpus_known], edi
    mov byte ptr [cpu_numbers + rbx], dil
    jmp 4f
3:  movzx edi, byte ptr [cpu_numbers + rbx]
4:  cmp edi, CPU_MOST
    jae 5f
    mov eax, edi
    shl eax, 16
    lea esp, [eax + CPU_AREAS + CPU_AREA]
    call cpu_main
5:  cli
    hlt
    jmp 5b

    .org STATE_AT
// EAX, EBX, ECX, EDX, ESI, EDI, EBP, ESP; DS, ES, FS, GS, SS, CS; CR0, CR2, CR3, CR4, DR6, DR7; GDTR, IDTR (6 bytes each);
// EFLAGS; EFER.
.global cpu_state
cpu_state:
    .space 88
.global cpu_starts
// Times that a CPU has come by here.
cpu_starts:
    .long 0
// Numbers given so far; the first CPU's is 0.
.global cpus_known
cpus_known:
    .long 1
.global cpu_numbers
cpu_numbers:
    .space 256
