//! Instructions that ring 3 must not get away with.

use core::arch::asm;
use userlib::Error;

/// A page of the VMM: the first of the image.
const VMM: u64 = 0xffff_ffff_8000_0000;

/// Executes what has this number; an answer is a defect of the VMM.
pub fn provoke(number: u8) -> Result<u64, Error> {
    let mut value = 0_u64;
    // SAFETY: none of these comes back but by a defect; the program ends.
    unsafe {
        match number {
            16 => asm!("call {}", in(reg) 0_u64),
            17 => asm!("mov {}, [{}]", out(reg) value, in(reg) VMM),
            18 => asm!("mov [{}], {0}", in(reg) VMM),
            19 => asm!("call {}", in(reg) &raw const value),
            20 => asm!("mov byte ptr [{}], 0x90", in(reg) provoke as *const () as u64),
            21 => asm!("fld1"),
            22 => asm!("pxor xmm0, xmm0"),
            23 => asm!("in al, 0x80", out("al") _),
            24 => asm!("cli"),
            25 => asm!("hlt"),
            26 => asm!("mov {}, cr3", out(reg) value),
            27 => asm!("rdmsr", in("ecx") 0x10, out("eax") _, out("edx") _),
            28 => asm!("syscall", out("rcx") _, out("r11") _),
            29 => asm!("sysenter"),
            30 => asm!("int 3"),
            31 => asm!("int 0x80"),
            32 => asm!("ud2"),
            33 => asm!("xgetbv", in("ecx") 0, out("eax") _, out("edx") _),
            34 => asm!("rdpmc", in("ecx") 0, out("eax") _, out("edx") _),
            35 => asm!("lldt {0:x}", in(reg) 8_u64),
            36 => asm!("mov ds, {0:e}", in(reg) 8_u64),
            37 => asm!("vmcall"),
            38 => asm!("vmmcall"),
            39 => asm!("mov rsp, {}", "push rax", in(reg) VMM, options(noreturn)),
            40 => asm!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop"),
            41 => {
                asm!("pushfq", "or dword ptr [rsp], 0x40000", "popfq", "mov {}, [{} + 1]", out(reg) _, in(reg) &raw const value)
            }
            42 => asm!("mov {}, [{}]", out(reg) value, in(reg) 0x8000_0000_0000_0000_u64),
            43 => asm!("push {0}", "push {1}", "retfq", in(reg) 8_u64, in(reg) VMM),
            44 => asm!(".byte 0xf1"),
            45 => asm!("lock cmpxchg16b [{}]", in(reg) 1_u64, out("rax") _, out("rdx") _),
            46 => asm!("swapgs"),
            _ => return Err(Error::Refused),
        }
    }
    Ok(value)
}
