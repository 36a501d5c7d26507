//! BIOS calls before the guest runs: a stub in conventional memory that makes one software interrupt, and listens to the keyboard
//! meanwhile. It runs as a guest, in real mode, each call from the start of the segment on; the VMM sets the registers before and reads
//! them after.
//!
//! Sources: Ralf Brown's Interrupt List, INT 15h AH=4Fh (the BIOS asks what to do with a scan code, before it makes a character of it) and
//! INT 16h; IBM PS/2 and PC BIOS Interface Technical Reference (1991), BIOS data area.

use crate::bios::{BiosError, VECTOR_15};
use crate::memory_map;
use crate::stub::STUB_BYTES;
use mediator::{Gpa, GuestMemory, NotRam};
use multiboot::Entry;

// Assembled for offset 0 of the segment.
core::arch::global_asm!(
    r#"
    .section .rodata.guest_calls, "a"
    .code16
    .global guest_calls, guest_calls_end, guest_calls_int, guest_calls_done, guest_calls_int15, guest_calls_old_int15
    .global guest_calls_head, guest_calls_codes
guest_calls:                        /* BP and SP are ours, the others the call's */
    cli
    movw %cs, %bp
    movw %bp, %ss
    movw $0x1000, %sp
    sti
    nop                             /* what has waited for it comes here */
guest_calls_int:
    int $0x16                       /* the number is put in */
guest_calls_done:
    ud2                             /* the CPU vendor's hypercall instruction is put here: three bytes */
    nop

guest_calls_old_int15:              /* offset and segment of the BIOS' own handler */
    .long 0
guest_calls_head:                   /* where the next scan code goes */
    .byte 0
guest_calls_codes:
    .skip 64

    /* Interrupt 15h. AH=4Fh: AL is kept, and the BIOS drops it (carry clear), so that it leaves no trace in its buffer. The keys that
       switch lights on and off it may have (carry set). */
guest_calls_int15:
    cmp $0x4f, %ah
    je 1f
    ljmp *%cs:(guest_calls_old_int15 - guest_calls)
1:  pushw %bx
    pushw %bp
    movw %sp, %bp
    xorw %bx, %bx
    movb %cs:(guest_calls_head - guest_calls), %bl
    movb %al, %cs:(guest_calls_codes - guest_calls)(%bx)
    incb %bl
    andb $63, %bl
    movb %bl, %cs:(guest_calls_head - guest_calls)
    orb $1, 8(%bp)                  /* the flags that INT has pushed, above BP, BX, IP, CS */
    movb %al, %bl
    andb $0x7f, %bl
    cmpb $0x3a, %bl                 /* Caps Lock */
    je 2f
    cmpb $0x45, %bl                 /* Num Lock */
    je 2f
    andb $0xfe, 8(%bp)
2:  popw %bp
    popw %bx
    iret
guest_calls_end:
    .code64
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static guest_calls: [u8; 0];
    static guest_calls_end: [u8; 0];
    static guest_calls_int: [u8; 0];
    static guest_calls_done: [u8; 0];
    static guest_calls_int15: [u8; 0];
    static guest_calls_old_int15: [u8; 0];
    static guest_calls_head: [u8; 0];
    static guest_calls_codes: [u8; 0];
}

/// Scan codes that wait; a power of two.
const CODES: u8 = 64;

/// Keyboard flags at 40:17, pointers into the keyboard buffer at 40:1A and 40:1C, the buffer behind them, and its start and end at
/// 40:80 and 40:82, as offsets into segment 40.
const KEYBOARD_FLAGS: Gpa = Gpa(0x417);
const BUFFER_POINTERS: Gpa = Gpa(0x41a);
const BUFFER: Gpa = Gpa(0x41e);
const BUFFER_BYTES: usize = 32;

fn code() -> &'static [u8] {
    let (start, end) = (&raw const guest_calls as usize, &raw const guest_calls_end as usize);
    // SAFETY: the two symbols bound the bytes assembled above.
    unsafe { core::slice::from_raw_parts(start as *const u8, end - start) }
}

fn offset(symbol: *const [u8; 0]) -> u64 {
    (symbol as usize - &raw const guest_calls as usize) as u64
}

/// The stub, in place.
pub struct BiosCalls {
    at: u64,
    old_int15: [u8; 4],
    /// The next scan code to be taken.
    tail: u8,
}

impl BiosCalls {
    /// Puts the stub at the end of conventional memory, where the guest's own will be, and hooks INT 15h. `hypercall` is the
    /// instruction by which a call ends.
    ///
    /// # Errors
    /// See [`BiosError`].
    pub fn install(memory: &mut dyn GuestMemory, map: &[Entry], hypercall: [u8; 3]) -> Result<Self, BiosError> {
        let kib = memory_map::conventional_kib(memory)?;
        let stub_kib = (STUB_BYTES >> 10) as u16;
        let conventional = memory_map::take_conventional(map, kib, stub_kib).ok_or(BiosError::NoConventionalMemory)?;
        let at = conventional.taken.start;
        let mut old_int15 = [0; 4];
        memory.read(VECTOR_15, &mut old_int15)?;
        memory.write(Gpa(at), code())?;
        memory.write(Gpa(at + offset(&raw const guest_calls_done)), &hypercall)?;
        memory.write(Gpa(at + offset(&raw const guest_calls_old_int15)), &old_int15)?;
        let calls = Self { at, old_int15, tail: 0 };
        memory.write(VECTOR_15, &calls.vector())?;
        Ok(calls)
    }

    fn vector(&self) -> [u8; 4] {
        (offset(&raw const guest_calls_int15) as u32 | u32::from(self.segment()) << 16).to_le_bytes()
    }

    /// A call starts in real mode at this segment, offset 0.
    pub fn segment(&self) -> u16 {
        (self.at >> 4) as u16
    }

    /// Linear address of the hypercall by which it ends.
    pub fn done_at(&self) -> u64 {
        self.at + offset(&raw const guest_calls_done)
    }

    /// The next call makes this interrupt.
    ///
    /// # Errors
    /// Never, after [`BiosCalls::install`].
    pub fn choose(&self, interrupt: u8, memory: &mut dyn GuestMemory) -> Result<(), NotRam> {
        memory.write(Gpa(self.at + offset(&raw const guest_calls_int) + 1), &[interrupt])
    }

    /// The next scan code that the BIOS has asked about.
    pub fn take_scan_code(&mut self, memory: &mut dyn GuestMemory) -> Option<u8> {
        let mut head = [0];
        memory.read(Gpa(self.at + offset(&raw const guest_calls_head)), &mut head).ok()?;
        if head == [self.tail] {
            return None;
        }
        let at = Gpa(self.at + offset(&raw const guest_calls_codes) + u64::from(self.tail));
        let mut taken = [0];
        memory.read(at, &mut taken).ok()?;
        memory.write(at, &[0]).ok()?;
        self.tail = (self.tail + 1) % CODES;
        Some(taken[0])
    }

    /// Everything is as it was, and nothing is left of what was typed: neither here nor in the BIOS' own buffer.
    ///
    /// # Errors
    /// Never, after [`BiosCalls::install`].
    pub fn remove(self, memory: &mut dyn GuestMemory) -> Result<(), NotRam> {
        let mut vector = [0; 4];
        memory.read(VECTOR_15, &mut vector)?;
        if vector == self.vector() {
            memory.write(VECTOR_15, &self.old_int15)?;
        }
        memory.write(Gpa(self.at), &[0; STUB_BYTES as usize])?;
        memory.write(BUFFER, &[0; BUFFER_BYTES])?;
        let mut head = [0; 2];
        memory.read(BUFFER_POINTERS, &mut head)?;
        // Empty: the tail is where the head is.
        memory.write(Gpa(BUFFER_POINTERS.0 + 2), &head)
    }
}

/// The BIOS' keyboard flags: shifts and locks.
///
/// # Errors
/// There is no BIOS data area.
pub fn keyboard_flags(memory: &mut dyn GuestMemory) -> Result<u8, NotRam> {
    let mut flags = [0];
    memory.read(KEYBOARD_FLAGS, &mut flags)?;
    Ok(flags[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediator::{BusAddr, Width};
    use multiboot::Kind;

    extern crate std;
    use std::vec;
    use std::vec::Vec;

    struct Ram(Vec<u8>);

    impl GuestMemory for Ram {
        fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
            data.copy_from_slice(&self.0[from.0 as usize..][..data.len()]);
            Ok(())
        }

        fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
            self.0[to.0 as usize..][..data.len()].copy_from_slice(data);
            Ok(())
        }

        fn compare_exchange(&mut self, at: Gpa, _: Width, _: u64, _: u64) -> Result<bool, NotRam> {
            Err(NotRam(at))
        }

        fn bus_addr(&self, of: Gpa, _: u64) -> Result<BusAddr, NotRam> {
            Err(NotRam(of))
        }
    }

    /// The lowest MiB of a PC whose keyboard buffer holds something.
    fn ram() -> Ram {
        let mut ram = Ram(vec![0xee; 1 << 20]);
        ram.0[0x413..0x415].copy_from_slice(&639_u16.to_le_bytes());
        ram.0[0x54..0x58].copy_from_slice(&[0x59, 0xf8, 0, 0xf0]);
        ram.0[0x41a..0x41e].copy_from_slice(&[0x22, 0, 0x26, 0]);
        ram
    }

    const MAP: [Entry; 1] = [Entry { base: 0, len_bytes: 0x9_fc00, kind: Kind::Usable }];

    #[test]
    fn the_stub_lies_below_the_end_of_conventional_memory_and_goes_without_a_trace() {
        let mut ram = ram();
        let before = ram.0.clone();
        let calls = BiosCalls::install(&mut ram, &MAP, [0x0f, 0x01, 0xd9]).unwrap();
        assert_eq!(calls.segment(), 0x9ec0);
        let done = calls.done_at() as usize;
        assert_eq!(ram.0[done..done + 3], [0x0f, 0x01, 0xd9]);
        calls.choose(0x10, &mut ram).unwrap();
        assert_eq!(ram.0[done - 2..done], [0xcd, 0x10], "INT 10h just before it");
        assert_eq!(ram.0[0x56..0x58], 0x9ec0_u16.to_le_bytes());
        assert_eq!(&ram.0[0x413..0x415], &before[0x413..0x415], "the guest's own stub will take it");
        calls.remove(&mut ram).unwrap();
        assert_eq!(ram.0[0x54..0x58], before[0x54..0x58]);
        assert!(ram.0[0x9_ec00..0x9_fc00].iter().all(|&byte| byte == 0));
        assert!(ram.0[0x41e..0x43e].iter().all(|&byte| byte == 0), "the keyboard's buffer");
        assert_eq!(ram.0[0x41a..0x41e], [0x22, 0, 0x22, 0]);
    }

    #[test]
    fn a_vector_that_another_one_has_hooked_since_stays() {
        let mut ram = ram();
        let calls = BiosCalls::install(&mut ram, &MAP, [0; 3]).unwrap();
        ram.0[0x54..0x58].copy_from_slice(&[1, 2, 3, 4]);
        calls.remove(&mut ram).unwrap();
        assert_eq!(ram.0[0x54..0x58], [1, 2, 3, 4]);
    }

    #[test]
    fn scan_codes_come_in_order_and_are_wiped_when_they_are_taken() {
        let mut ram = ram();
        let mut calls = BiosCalls::install(&mut ram, &MAP, [0; 3]).unwrap();
        let head = (calls.at + offset(&raw const guest_calls_head)) as usize;
        let codes = (calls.at + offset(&raw const guest_calls_codes)) as usize;
        assert_eq!(calls.take_scan_code(&mut ram), None);
        // As the stub does.
        for code in 1..=200_u8 {
            let at = ram.0[head];
            ram.0[codes + usize::from(at)] = code;
            ram.0[head] = (at + 1) & 63;
            if code % 3 == 0 {
                for wanted in code - 2..=code {
                    assert_eq!(calls.take_scan_code(&mut ram), Some(wanted));
                }
                assert_eq!(calls.take_scan_code(&mut ram), None);
                assert!(ram.0[codes..codes + 64].iter().all(|&byte| byte == 0));
            }
        }
    }
}
