//! Multiboot headers and the 32-bit entry point. Everything in section `.boot32` runs below 4 GiB with paging off, at
//! the physical address, and therefore names symbols only as `symbol - IMAGE_VIRTUAL + IMAGE_LOADED_AT`.

// The image maps itself three times at first: identity (the code runs there), at IMAGE_VIRTUAL, and the first 4 GiB
// at the direct map (PML4 entry 256); all with 2 MiB pages, since nothing is known of the CPU yet.
core::arch::global_asm!(
    r#"
    .set VIRTUAL, 0xffffffff80000000
    .set LOADED, 0x200000
    .set DELTA, VIRTUAL - LOADED

    .section .boot32, "ax"
    .code32

    /* Multiboot 1: page-aligned modules and a memory map wanted. ELF, so no address fields. */
    .balign 8
multiboot1_header:
    .long 0x1BADB002
    .long 0x00000003
    .long -(0x1BADB002 + 0x00000003)

    /* Multiboot 2 for i386 protected mode, with an information request (memory map), framebuffer and end tag. */
    .balign 8
multiboot2_header:
    .long 0xE85250D6
    .long 0
    .long multiboot2_end - multiboot2_header
    .long -(0xE85250D6 + 0 + (multiboot2_end - multiboot2_header))
    .balign 8
    .short 1, 0
    .long 12
    .long 6
    .balign 8
    /* A framebuffer is welcome, and any mode: GRUB sets one only where `gfxpayload` asks for it. */
    .short 5, 1
    .long 20
    .long 0, 0, 0
    .balign 8
    .short 0, 0
    .long 8
multiboot2_end:

    .balign 16
    .global _start
_start:
    cli
    cld
    movl %eax, %esi                 /* magic */
    movl %ebx, %edi                 /* information */
    movl $(boot_stack_top - DELTA), %esp

    /* Long mode there? If not, say so on COM1 and the screen and stop. */
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb no_long_mode
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx
    jnc no_long_mode

    /* Four page directories: 4 GiB with 2 MiB pages, present and writable. */
    movl $(boot_pd - DELTA), %ebx
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%ebx)
    movl $0, 4(%ebx)
    addl $0x200000, %eax
    addl $8, %ebx
    loop 1b
    /* The page directory pointers, for identity and direct map. */
    movl $(boot_pdpt - DELTA), %ebx
    movl $(boot_pd - DELTA + 3), %eax
    movl $4, %ecx
2:  movl %eax, (%ebx)
    addl $0x1000, %eax
    addl $8, %ebx
    loop 2b
    /* IMAGE_VIRTUAL is entry 510 of the last page directory pointer table: 1 GiB from LOADED on. */
    movl $(boot_pd_image - DELTA), %ebx
    movl $(LOADED + 0x83), %eax
    movl $8, %ecx
3:  movl %eax, (%ebx)
    addl $0x200000, %eax
    addl $8, %ebx
    loop 3b
    movl $(boot_pd_image - DELTA + 3), boot_pdpt_image - DELTA + 510 * 8
    movl $(boot_pdpt - DELTA + 3), boot_pml4 - DELTA
    movl $(boot_pdpt - DELTA + 3), boot_pml4 - DELTA + 256 * 8
    movl $(boot_pdpt_image - DELTA + 3), boot_pml4 - DELTA + 511 * 8

    movl %cr4, %eax
    orl $0x20, %eax                 /* PAE */
    movl %eax, %cr4
    movl $(boot_pml4 - DELTA), %eax
    movl %eax, %cr3
    movl $0xC0000080, %ecx          /* EFER.LME */
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl $0x80010033, %eax          /* PG WP NE ET MP PE */
    movl %eax, %cr0
    lgdt boot_gdt_pointer - DELTA
    ljmp $8, $(boot64 - DELTA)

no_long_mode:
    movl $(no_long_mode_text - DELTA), %esi
    movl $0xB8000, %ebx
4:  lodsb
    testb %al, %al
    jz 6f
    movb %al, (%ebx)
    movb $0x4F, 1(%ebx)
    addl $2, %ebx
    movb %al, %ah
    movl $0x3FD, %edx
    movl $100000, %ecx
5:  inb %dx, %al
    testb $0x20, %al
    loopz 5b
    movb %ah, %al
    movl $0x3F8, %edx
    outb %al, %dx
    jmp 4b
6:  hlt
    jmp 6b
no_long_mode_text:
    .asciz "Shoji: this CPU has no 64-bit mode; Shoji needs an AMD CPU with AMD-V and nested paging. Stopped.\r\n"

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00209A0000000000        /* 64-bit code */
    .quad 0x0000920000000000        /* data */
boot_gdt_pointer:
    .short boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt - DELTA

    .code64
boot64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movabsq $boot_stack_top, %rsp
    movabsq $shoji_main, %rax
    /* shoji_main(magic, information): System V order is rdi, rsi */
    xchgq %rdi, %rsi
    pushq $0
    jmpq *%rax

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global boot_pml4
boot_pml4:       .skip 4096
boot_pdpt:       .skip 4096
boot_pdpt_image: .skip 4096
boot_pd_image:   .skip 4096
boot_pd:         .skip 4 * 4096
    /* Left unmapped once Shoji has its own tables. */
    .global boot_stack_guard
boot_stack_guard: .skip 4096
    .skip 65536
    .global boot_stack_top
boot_stack_top:
    .text
    "#,
    options(att_syntax)
);
