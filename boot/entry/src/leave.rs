//! Back to real mode and on to the boot sector, natively: the operating system without Shoji, where the configuration
//! allows it (APM Vol. 2 s. 14.5 and 1.2.4; BIOS Enhanced Disk Drive Services 3.0 s. 2.2).

use crate::{IMAGE_LOADED_AT, IMAGE_VIRTUAL};

/// Free once the boot loader is done; below what a boot sector uses is not needed any more.
const TRAMPOLINE: u64 = 0x8000;

core::arch::global_asm!(
    r#"
    .set AT, 0x8000
    .section .rodata.leave, "a"
    .balign 8
    .global leave_code, leave_end
leave_code:
    /* dil: BIOS drive. On identity tables, 64-bit. */
    movl $0x7000, %esp
    movb %dil, AT + (leave_drive - leave_code)
    lgdt AT + (leave_gdt_pointer - leave_code)
    pushq $8
    pushq $(AT + (leave32 - leave_code))
    lretq
    .code32
leave32:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl $0xC0000080, %ecx
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    movl %eax, %cr4
    movl %eax, %cr3
    ljmp $24, $(AT + (leave16 - leave_code))
    .code16
leave16:
    movw $32, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    movl %cr0, %eax
    andl $0xfffffffe, %eax
    movl %eax, %cr0
    ljmp $0, $(AT + (leave_real - leave_code))
leave_real:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7000, %sp
    lidtl AT + (leave_ivt - leave_code)
    sti
    movw $(AT + (leave_packet - leave_code)), %si
    movb AT + (leave_drive - leave_code), %dl
    movb $0x42, %ah
    int $0x13
    jc 1f
    cmpw $0xaa55, 0x7dfe
    jne 1f
    movb AT + (leave_drive - leave_code), %dl
    ljmp $0, $0x7c00
1:  hlt
    jmp 1b
    .balign 8
leave_gdt:
    .quad 0
    .quad 0x00cf9a000000ffff        /* 8: 32-bit code */
    .quad 0x00cf92000000ffff        /* 16: 32-bit data */
    .quad 0x00009a000000ffff        /* 24: 16-bit code */
    .quad 0x000092000000ffff        /* 32: 16-bit data */
leave_gdt_pointer:
    .short leave_gdt_pointer - leave_gdt - 1
    .quad AT + (leave_gdt - leave_code)
leave_ivt:
    .short 0x3ff
    .long 0
leave_packet:
    .byte 16, 0
    .short 1
    .short 0x7c00, 0
    .quad 0
leave_drive:
    .byte 0
leave_end:
    .code64
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static leave_code: [u8; 0];
    static leave_end: [u8; 0];
    static boot_pml4: [u8; 0];
}

/// Starts the boot sector of BIOS drive `drive` on the bare machine.
///
/// # Safety
/// No guest has run: the BIOS' data and the image as loaded (its first page tables) are still as the boot loader left
/// them. `direct` is the direct map's offset in the current tables.
pub unsafe fn boot_natively(drive: u8, direct: u64) -> ! {
    let (code, end) = (&raw const leave_code as u64, &raw const leave_end as u64);
    let tables = &raw const boot_pml4 as u64 - IMAGE_VIRTUAL + IMAGE_LOADED_AT;
    // SAFETY: the trampoline's place is free (caller), its source lies in the image; the first tables map the image and
    // the low memory one to one.
    unsafe {
        core::ptr::copy_nonoverlapping(code as *const u8, (direct + TRAMPOLINE) as *mut u8, (end - code) as usize);
        core::arch::asm!(
            "cli",
            "mov cr3, {tables}",
            "jmp {to}",
            tables = in(reg) tables,
            to = in(reg) TRAMPOLINE,
            in("edi") u32::from(drive),
            options(noreturn)
        )
    }
}
