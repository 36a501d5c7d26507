// The boot sector: loads the sectors that follow it to 7E00h by INT 13h AH=42h and goes there.
// Enhanced Disk Drive Specification 3.0, s. 4.1.2 (disk address packet).

.section .boot, "ax"
.code16
.global boot_sector
boot_sector:
    jmp 2f
    // Written into the image by its builder: name of the guest (16 bytes), first LBA and number of sectors of the
    // encrypted range (4 + 4 bytes; 0, 0: none); number of CPUs and of rounds (4 + 4 bytes), by who makes the machine.
    .org 4
.global boot_parameters
boot_parameters:
    .space 32
2:  cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    .byte 0xea                      // far jump: CS = 0, whatever the BIOS chose
    .word 3f, 0
3:  mov [boot_drive], dl
    sti
4:  mov si, offset packet
    mov word ptr [packet_count], 16 // the BIOS writes back what it moved
    mov dl, [boot_drive]
    mov ah, 0x42
    int 0x13
    jc 5f
    add word ptr [packet_segment], 0x200
    add dword ptr [packet_lba], 16
    sub word ptr [sectors_left], 16
    ja 4b
    jmp start16

5:  mov si, offset message
6:  lodsb
    test al, al
    jz 8f
    mov ah, al
    mov dx, 0x2fd
7:  in al, dx
    test al, 0x20
    jz 7b
    mov dx, 0x2f8
    mov al, ah
    out dx, al
    jmp 6b
8:  mov al, 0x11
    out 0xf4, al
    hlt
    jmp 8b

message:
    .asciz "FAIL boot: INT 13h AH=42h cannot read the guest's sectors\n"
packet:
    .byte 16, 0
packet_count:
    .word 16
    .word 0
packet_segment:
    .word 0x7e0
packet_lba:
    .quad 1
sectors_left:
    .word payload_sectors
.global boot_drive
boot_drive:
    .byte 0
    .org 510
    .word 0xaa55
