//! The few lines of 16-bit code that Shoji puts into the guest: the INT 15h hook and the start of the boot sector.
//!
//! The stub is 4 KiB at the end of conventional memory, taken off what the guest is told it has. Its hypercall is honoured
//! only at the one address named here.

/// Size of the stub in guest memory; its upper part is the stack of [`START`].
pub const STUB_BYTES: u64 = 4096;

// Assembled for offset 0 of the segment that starts at the stub. The guest starts at offset 0; `bios` fills in the
// drive, the old vector and the hypercall instruction.
core::arch::global_asm!(
    r#"
    .section .rodata.guest_stub, "a"
    .code16
    .global guest_stub, guest_stub_end, guest_int15, guest_int15_call
guest_stub:
    jmp guest_start
    .byte 0
guest_drive:                        /* offset 3: BIOS drive */
    .byte 0x80
guest_old_int15:                    /* offset 4: offset and segment of the BIOS' own handler */
    .long 0
guest_packet:                       /* offset 8: disk address packet, BIOS Enhanced Disk Drive Services 3.0 s. 2.2 */
    .byte 16, 0
    .short 1                        /* one block (BIOSes write the count back, so this is in RAM) */
    .short 0x7c00, 0                /* to 0000:7C00 */
    .quad 0                         /* block 0 */
guest_set_mode:                     /* offset 24: not 0: the text mode is set anew */
    .byte 0

    /* Interrupt 15h: E820h, E801h and 88h are answered by the VMM, the rest by the BIOS. */
guest_int15:
    cmp $0xe820, %ax
    je 1f
    cmp $0xe801, %ax
    je 1f
    cmp $0x88, %ah
    je 1f
    ljmp *%cs:(guest_old_int15 - guest_stub)
1:
guest_int15_call:
    ud2                             /* the CPU vendor's hypercall instruction is put here: three bytes */
    nop
    iret

    /* What a BIOS does at the end of POST: read the boot sector and jump to it. */
guest_start:
    cli
    movw %cs, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x1000, %sp
    sti
    cmpb $0, guest_set_mode - guest_stub
    je 1f
    movw $0x0003, %ax               /* INT 10h: mode 3, 80 by 25 characters */
    int $0x10
1:  movw $(guest_packet - guest_stub), %si
    movb guest_drive - guest_stub, %dl
    movb $0x42, %ah
    int $0x13
    movb $1, %bl
    jc guest_failed
    xorw %ax, %ax
    movw %ax, %es
    movb $2, %bl
    cmpw $0xaa55, %es:0x7dfe
    jne guest_failed
    movb guest_drive - guest_stub, %dl
    cli
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    xorw %si, %si
    xorw %di, %di
    sti
    ljmp $0, $0x7c00
guest_failed:                       /* BL: 1 the BIOS could not read, AH its status; 2 no signature */
    movb %ah, %bh
    movw $0xffff, %ax               /* no function of INT 15h that comes this way */
    pushfw
    pushw %cs
    call guest_int15_call
    cld
    movw $(guest_failed_text - guest_stub), %si
2:  lodsb
    testb %al, %al
    jz 3f
    movb $0x0e, %ah                 /* INT 10h: teletype */
    xorw %bx, %bx
    int $0x10
    jmp 2b
3:  hlt
    jmp 3b
guest_failed_text:
    .asciz "Shoji: the boot sector cannot be started; check `drive` in [boot]. The log says more.\r\n"
guest_stub_end:
    .code64
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static guest_stub: [u8; 0];
    static guest_stub_end: [u8; 0];
    static guest_int15: [u8; 0];
    static guest_int15_call: [u8; 0];
}

/// Offsets into the stub.
pub const DRIVE: u64 = 3;
pub const OLD_INT15: u64 = 4;
pub const SET_MODE: u64 = 24;

/// The code as assembled.
pub fn code() -> &'static [u8] {
    let (start, end) = (&raw const guest_stub as usize, &raw const guest_stub_end as usize);
    // SAFETY: the two symbols bound the bytes assembled above.
    unsafe { core::slice::from_raw_parts(start as *const u8, end - start) }
}

fn offset(symbol: *const [u8; 0]) -> u64 {
    (symbol as usize - &raw const guest_stub as usize) as u64
}

/// The handler that interrupt vector 15h is pointed to.
pub fn int15() -> u64 {
    offset(&raw const guest_int15)
}

/// The hypercall instruction.
pub fn call() -> u64 {
    offset(&raw const guest_int15_call)
}

/// AX of the call that tells a failed start.
pub const FAILED: u16 = 0xffff;
