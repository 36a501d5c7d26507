/* Stands in for shoji.elf: prints what the module says, then either boots the disk again with the mark in the BIOS
 * data area ("MODE=S"), or resets the machine without it, as a failed start would ("MODE=R").
 * Linked at 0x10000, so that its first 64 KiB are also the real-mode segment 0x1000.
 */
        .text
        .code32
base:
        .align 8
header: .long 0xe85250d6, 0, header_end - header        /* Multiboot2 1.6 s. 3.1.1: magic, i386, length */
        .long -(0xe85250d6 + (header_end - header))
        .word 0, 0
        .long 8
header_end:

        .globl _start
_start:
        cld
        lea     stack_top, %esp
        mov     $greeting, %esi
        call    print
        lea     8(%ebx), %edi                           /* first tag, s. 3.6.1 */
tag:    mov     (%edi), %eax
        cmp     $3, %eax                                /* module, s. 3.6.6 */
        je      module
        test    %eax, %eax
        jz      no_module
        mov     4(%edi), %eax
        lea     7(%edi, %eax), %edi
        and     $~7, %edi
        jmp     tag
no_module:
        mov     $nothing, %esi
        call    print
        hlt
module: mov     8(%edi), %ebp                           /* start of a zero-terminated text */
        mov     %ebp, %esi
        call    print
        cmpb    $'S', 5(%ebp)
        je      second_pass
reset:  mov     $6, %al
        mov     $0xcf9, %dx
        outb    %al, %dx
        jmp     reset

second_pass:
        movb    $MARK, ADDRESS
        lgdt    gdt_pointer
        ljmp    $0x08, $(protected16 - base)
        .code16
protected16:
        mov     $0x10, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     %cr0, %eax
        and     $~1, %al
        mov     %eax, %cr0
        ljmp    $0x1000, $(real - base)
real:   xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7000, %sp
        lidtl   %cs:(ivt_pointer - base)
        sti
        int     $0x19

        .code32
print:  lodsb
        test    %al, %al
        jz      1f
        mov     $0x3f8, %dx
        outb    %al, %dx
        jmp     print
1:      ret

        .align 8
gdt:    .quad 0, 0x00009b010000ffff, 0x000093000000ffff
gdt_pointer:
        .word 23
        .long gdt
ivt_pointer:
        .word 0x3ff
        .long 0
greeting: .asciz "\r\nfake Shoji: "
nothing:  .asciz "no module\r\n"
        .align 16
        .skip 256
stack_top:
