//! From real mode to the VMM's 64-bit code: where CPUs begin that another one starts, and those that wake up.
//!
//! The code is copied to a page below 1 MiB and entered at its first byte, with CS the page's segment (AMD64 APM Vol. 2 (24593)
//! 3.41 s. 16.4: startup IPI; ACPI 6.5 s. 16.3: waking vector). Nothing is assumed of any other register.

core::arch::global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .balign 8
    .global trampoline_code, trampoline32, trampoline64, trampoline_gdt, trampoline_landing, trampoline_entered, trampoline_end
trampoline_code:
    .code16
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    movl $1, trampoline_entered - trampoline_code
    xorl %ebx, %ebx
    movw %ax, %bx
    shll $4, %ebx                   /* EBX: where the page lies, to the end */
    lgdtl trampoline_gdt_pointer - trampoline_code
    movl $0x11, %eax                /* PE ET; INIT has switched the caches off */
    movl %eax, %cr0
    inb $0x92, %al                  /* firmware may hand over with A20 masked */
    testb $2, %al
    jnz 1f
    orb $2, %al
    andb $0xfe, %al                 /* bit 0 resets */
    outb %al, $0x92
1:  ljmpl *(trampoline_far32 - trampoline_code)
    .code32
trampoline32:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $0x20, %eax                /* PAE */
    movl %eax, %cr4
    movl trampoline_tables - trampoline_code(%ebx), %eax
    movl %eax, %cr3
    cmpl $0, trampoline_unlock - trampoline_code(%ebx)
    je 1f
    movl $0x1A0, %ecx               /* IA32_MISC_ENABLE: XD bit disable, SDM Vol. 4 s. 2.1 */
    rdmsr
    andl $~4, %edx
    wrmsr
1:  movl $0xC0000080, %ecx          /* EFER: LME NXE */
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010033, %eax          /* PG WP NE ET MP PE */
    movl %eax, %cr0
    ljmpl *(trampoline_far64 - trampoline_code)(%ebx)
    .code64
trampoline64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movq trampoline_stack - trampoline_code(%rbx), %rsp
    movq trampoline_argument - trampoline_code(%rbx), %rdi
    xorl %ebp, %ebp
    jmpq *(trampoline_entry - trampoline_code)(%rbx)

    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00209A0000000000        /* 8: 64-bit code */
    .quad 0x00cf92000000ffff        /* 16: data */
    .quad 0x00cf9a000000ffff        /* 24: 32-bit code */
trampoline_landing:                 /* struct Landing */
trampoline_far32:
    .long 0
    .long 24
trampoline_far64:
    .long 0
    .long 8
trampoline_gdt_pointer:
    .short trampoline_landing - trampoline_gdt - 1
    .long 0
    .short 0
trampoline_tables:
    .long 0
trampoline_unlock:
    .long 0
trampoline_stack:
    .quad 0
trampoline_argument:
    .quad 0
trampoline_entry:
    .quad 0
trampoline_entered:
    .quad 0
trampoline_end:
    .code64
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_code: [u8; 0];
    static trampoline32: [u8; 0];
    static trampoline64: [u8; 0];
    static trampoline_gdt: [u8; 0];
    static trampoline_landing: [u8; 0];
    static trampoline_entered: [u8; 0];
    static trampoline_end: [u8; 0];
}

/// Where the page lies. Free once the boot loader is done; while a guest runs it is the guest's, and is borrowed.
pub const TRAMPOLINE_AT: u64 = 0x8000;
/// What is borrowed there.
pub const TRAMPOLINE_BYTES: usize = 4096;

/// What a CPU that comes by the trampoline goes on with.
#[derive(Clone, Copy, Debug)]
pub struct Jump {
    /// Physical address, below 4 GiB, of page tables that map the trampoline's page one to one, and the rest as the VMM's do.
    pub page_tables: u32,
    /// The switch of some firmware that forbids no-execute pages is to be turned back first.
    pub allow_no_execute: bool,
    /// Linear address that RSP holds.
    pub stack: u64,
    /// The first argument of `entry` by the System V calling convention.
    pub argument: u64,
    /// Entered by a jump, with interrupts off: the top of the stack holds no return address.
    pub entry: u64,
}

/// The end of the page's content, as the assembly above has it.
#[repr(C)]
struct Landing {
    far32: [u32; 2],
    far64: [u32; 2],
    gdt: [u16; 4],
    page_tables: u32,
    allow_no_execute: u32,
    stack: u64,
    argument: u64,
    entry: u64,
    entered: u64,
}

fn offset(symbol: *const [u8; 0]) -> usize {
    symbol as usize - &raw const trampoline_code as usize
}

/// What [`install`] writes: all of it is to lie in the one page that [`Jump::page_tables`] map.
pub fn code_bytes() -> usize {
    offset(&raw const trampoline_end)
}

/// Writes the trampoline to the physical address `at`, a multiple of 16 below 1 MiB, which `page` maps. From then on a CPU
/// that starts there goes to where `jump` tells.
///
/// # Safety
/// `page` points to [`TRAMPOLINE_BYTES`] that nobody else uses.
pub unsafe fn install(page: *mut u8, at: u64, jump: &Jump) {
    let at = |symbol| at as u32 + offset(symbol) as u32;
    let gdt = at(&raw const trampoline_gdt);
    let landing = Landing {
        far32: [at(&raw const trampoline32), 24],
        far64: [at(&raw const trampoline64), 8],
        gdt: [
            (offset(&raw const trampoline_landing) - offset(&raw const trampoline_gdt) - 1) as u16,
            gdt as u16,
            (gdt >> 16) as u16,
            0,
        ],
        page_tables: jump.page_tables,
        allow_no_execute: jump.allow_no_execute.into(),
        stack: jump.stack,
        argument: jump.argument,
        entry: jump.entry,
        entered: 0,
    };
    let (start, end) = (&raw const trampoline_code, code_bytes());
    // SAFETY: the symbols bound the bytes assembled above, of which `Landing` has the layout of the last ones; the page is the
    // caller's and larger.
    unsafe {
        core::ptr::copy_nonoverlapping(start.cast::<u8>(), page, end);
        page.add(offset(&raw const trampoline_landing)).cast::<Landing>().write_unaligned(landing);
    }
}

/// Has a CPU begun with what [`install`] has written to `page`?
///
/// # Safety
/// As for [`install`], which has run.
pub unsafe fn is_entered(page: *const u8) -> bool {
    // SAFETY: in the page; another CPU writes it.
    unsafe { page.add(offset(&raw const trampoline_entered)).cast::<u64>().read_volatile() != 0 }
}
