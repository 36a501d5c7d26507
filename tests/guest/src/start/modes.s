// Ways between real, protected and long mode.
// Intel SDM Vol. 3A (order number 325384) 10.9 "Mode switching", 10.8.5 "Initializing IA-32e mode".

.set CODE32, 0x08
.set DATA32, 0x10
.set CODE64, 0x18
.set CODE16, 0x20
.set DATA16, 0x28
.set EFER, 0xc0000080

// Each CPU has an area of its own, aligned to its size: what `machine/area.rs` tells at the bottom, stacks above. It is found by the
// stack pointer, so that FS and GS are the guests'.
.set CPU_AREAS, 0x1a00000
.set CPU_AREA, 0x10000
.set CPU_MOST, 16
.set CPU_EXCEPTION_STACK, 0x4000    // its top, from the area's start

.macro FAR_JUMP32 selector, target
    .byte 0xea
    .long \target
    .word \selector
.endm

.macro LOAD_DATA_SEGMENTS selector
    mov ax, \selector
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
.endm

// Clobbers EAX. The stack pointer must be set afterwards.
.macro REAL_TO_PROTECTED
    cli
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66
    FAR_JUMP32 CODE32, .Lprotected\@
.code32
.Lprotected\@:
    LOAD_DATA_SEGMENTS DATA32
.endm

// Paging must be off. Clobbers EAX; the stack pointer must be set afterwards.
.macro PROTECTED_TO_REAL
    FAR_JUMP32 CODE16, .Lsixteen\@
.code16
.Lsixteen\@:
    LOAD_DATA_SEGMENTS DATA16
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    .byte 0xea
    .word .Lreal\@, 0
.Lreal\@:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    lidt [real_idt]
.endm

// Clobbers EAX, ECX, EDX.
.macro PROTECTED_TO_LONG
    mov eax, cr4
    or eax, 1 << 5                  // PAE
    mov cr4, eax
    mov eax, offset page_map
    mov cr3, eax
    mov ecx, EFER
    rdmsr
    or eax, 1 << 8                  // LME
    wrmsr
    mov eax, cr0
    or eax, 1 << 31                 // PG
    mov cr0, eax
    FAR_JUMP32 CODE64, .Llong\@
.code64
.Llong\@:
.endm

// Clobbers RAX, RCX, RDX.
.macro LONG_TO_PROTECTED
    push CODE32
    lea rax, [rip + .Lcompatible\@]
    push rax
    .byte 0x48, 0xcb                // RETF with 64-bit operands
.code32
.Lcompatible\@:
    LOAD_DATA_SEGMENTS DATA32
    mov eax, cr0
    and eax, 0x7fffffff             // PG
    mov cr0, eax
    mov ecx, EFER
    rdmsr
    and eax, ~(1 << 8)              // LME
    wrmsr
    mov eax, cr4
    and eax, ~(1 << 5)              // PAE
    mov cr4, eax
.endm

.section .text16, "ax"
.code16
.global start16
start16:
    REAL_TO_PROTECTED
    mov esp, CPU_AREAS + CPU_AREA
    cld
    mov edi, offset bss_start
    mov ecx, offset bss_end
    sub ecx, edi
    xor eax, eax
    rep stosb
    // Identity map of 8 GiB in 2 MiB pages: one page map entry, 8 directory pointers, 8 directories.
    mov dword ptr [page_map], offset page_pointers + 7
    mov edi, offset page_pointers
    mov eax, offset page_directories + 7
    mov ecx, 8
2:  mov [edi], eax
    add eax, 4096
    add edi, 8
    loop 2b
    mov edi, offset page_directories
    mov eax, 0x87                   // present, writable, user, 2 MiB
    xor edx, edx
    mov ecx, 8 * 512
3:  mov [edi], eax
    mov [edi + 4], edx
    add edi, 8
    add eax, 0x200000
    adc edx, 0
    loop 3b
    PROTECTED_TO_LONG
    mov esp, CPU_AREAS + CPU_AREA
    call guest_main
4:  hlt
    jmp 4b

// Runs a routine of real mode: segments 0, stack below 7C00h, interrupts as the routine wants them, BIOS vectors.
// extern "C" fn run16(routine: u64). The routine ends by a near RET and lies in .text16.
.code64
.global run16
run16:
    mov [real_routine], di
    mov edi, offset real_trip
    // and on into run32

// Runs a routine of 32-bit protected mode without paging: flat segments, interrupts off, no usable IDT.
// extern "C" fn run32(routine: u64). The routine ends by a near RET; it may change every register but ESP.
.global run32
run32:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    pushfq
    cli
    mov [long_stack], rsp
    mov ebx, edi
    LONG_TO_PROTECTED
    mov esp, offset stack32_top
    call ebx
    PROTECTED_TO_LONG
    mov rsp, [long_stack]
    lidt [idt_pointer]
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

.code32
real_trip:
    mov [protected_stack], esp
    PROTECTED_TO_REAL
    mov esp, 0x7c00
    call word ptr [real_routine]
    REAL_TO_PROTECTED
    mov esp, [protected_stack]
    ret

// Real-mode routine: a BIOS call with the registers of `bios_registers`.
.code16
.global bios_routine
bios_routine:
    mov al, [bios_registers + 36]
    mov [bios_interrupt + 1], al
    mov eax, [bios_registers]
    mov ebx, [bios_registers + 4]
    mov ecx, [bios_registers + 8]
    mov edx, [bios_registers + 12]
    mov esi, [bios_registers + 16]
    mov edi, [bios_registers + 20]
    mov ebp, [bios_registers + 24]
    mov es, [bios_registers + 28]
    clc
    sti
bios_interrupt:
    int 0
    cli
    mov [bios_registers], eax
    pushfd
    pop dword ptr [bios_registers + 32]
    mov [bios_registers + 4], ebx
    mov [bios_registers + 8], ecx
    mov [bios_registers + 12], edx
    mov [bios_registers + 16], esi
    mov [bios_registers + 20], edi
    mov [bios_registers + 24], ebp
    mov [bios_registers + 28], es
    .byte 0xc3                      // near RET with 16-bit operands; the assembler would make it 32

.balign 8
// EAX, EBX, ECX, EDX, ESI, EDI, EBP, ES, EFLAGS, interrupt number; 4 bytes each.
.global bios_registers
bios_registers:
    .space 40
long_stack:
    .quad 0
protected_stack:
    .long 0
real_routine:
    .word 0
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
real_idt:
    .word 0x3ff
    .long 0
.balign 8
.global gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        // 08h 32-bit code
    .quad 0x00cf93000000ffff        // 10h 32-bit data
    .quad 0x00af9b000000ffff        // 18h 64-bit code
    .quad 0x00009b000000ffff        // 20h 16-bit code
    .quad 0x000093000000ffff        // 28h 16-bit data
    .quad 0x00cff3000000ffff        // 30h user data
    .quad 0x00affb000000ffff        // 38h 64-bit user code
    .quad 0, 0                      // 40h TSS, filled in at start
    .quad 0, 0                      // 50h LDT, for who needs one
gdt_end:

.section .bss.start, "aw", @nobits
.balign 4096
.global page_map, page_pointers
page_map:
    .space 4096
page_pointers:
    .space 4096
page_directories:
    .space 8 * 4096
    .space 4096
stack32_top:
