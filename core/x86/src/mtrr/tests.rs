use super::*;
use MemoryType::{Uncacheable, WriteBack, WriteCombining, WriteProtected, WriteThrough};
use std::collections::BTreeMap;
extern crate std;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The registers of a simulated CPU.
#[derive(Clone, Debug)]
struct Registers(BTreeMap<u32, u64>);

impl Registers {
    fn new(count: u8, default: MemoryType) -> Self {
        let mut registers = BTreeMap::from([(msr::MTRRCAP, CAP_FIX | u64::from(count))]);
        registers.extend(FIXED_REGISTERS.map(|register| (register, 0)));
        registers.extend((0..u32::from(count) * 2).map(|n| (msr::MTRR_PHYSBASE0 + n, 0)));
        registers.insert(msr::MTRR_DEF_TYPE, DEF_E | default as u64);
        Self(registers)
    }

    fn fixed(mut self, register: u32, value: u64) -> Self {
        *self.0.get_mut(&msr::MTRR_DEF_TYPE).unwrap() |= DEF_FE;
        self.0.insert(register, value);
        self
    }

    /// A power of two, on a CPU with 39 address bits.
    fn variable(self, n: u32, base: u64, size: u64, memory: MemoryType) -> Self {
        self.raw_variable(n, base | memory as u64, ((1_u64 << 39) - size) | MASK_V)
    }

    fn raw_variable(mut self, n: u32, base: u64, mask: u64) -> Self {
        self.0.insert(msr::MTRR_PHYSBASE0 + 2 * n, base);
        self.0.insert(msr::MTRR_PHYSMASK0 + 2 * n, mask);
        self
    }

    fn read(&self) -> Mtrrs {
        Mtrrs::read(|number| self.0.get(&number).copied()).unwrap()
    }

    /// The type of one page, as the manual tells it, without regard to speed.
    fn naive(&self, page: u64) -> MemoryType {
        let def_type = self.0[&msr::MTRR_DEF_TYPE];
        let decode = |byte: u64| MemoryType::new(byte as u8).unwrap_or(Uncacheable);
        if def_type & DEF_E == 0 {
            return Uncacheable;
        }
        if def_type & DEF_FE != 0 && page < MIB {
            let mut ranges = Vec::new();
            ranges.extend((0..8).map(|n| (n * 0x1_0000, 0x250, n)));
            ranges.extend((0..16).map(|n| (0x8_0000 + n * 0x4000, 0x258 + n / 8, n % 8)));
            ranges.extend((0..64).map(|n| (0xC_0000 + n * 0x1000, 0x268 + n / 8, n % 8)));
            let (_, register, byte) = ranges.into_iter().rfind(|(start, ..)| *start <= page).unwrap();
            return decode(self.0[&(register as u32)] >> (byte * 8));
        }
        let mut found = Vec::new();
        for n in 0..(self.0[&msr::MTRRCAP] & 0xFF) as u32 {
            let (base, mask) = (self.0[&(0x200 + 2 * n)], self.0[&(0x201 + 2 * n)]);
            if mask & MASK_V != 0 && page & mask & ADDRESS == base & mask & ADDRESS {
                found.push(decode(base));
            }
        }
        match found.as_slice() {
            [] => decode(def_type),
            types if types.contains(&Uncacheable) => Uncacheable,
            types if types.iter().all(|memory| *memory == types[0]) => types[0],
            types if types.iter().all(|memory| matches!(memory, WriteBack | WriteThrough)) => WriteThrough,
            _ => Uncacheable,
        }
    }
}

#[test]
fn a_pc_with_a_hole_below_4_gib() {
    let mtrrs = Registers::new(8, Uncacheable)
        .variable(0, 0, 4 * GIB, WriteBack)
        .variable(1, 0xC000_0000, GIB, Uncacheable)
        .variable(2, 0xD000_0000, 16 * MIB, WriteCombining)
        .read();
    assert_eq!(mtrrs.type_of(0, 3 * GIB), Some(WriteBack));
    assert_eq!(mtrrs.type_of(0, 3 * GIB + 1), None);
    assert_eq!(mtrrs.type_of(3 * GIB - 4096, 4096), Some(WriteBack));
    assert_eq!(mtrrs.type_of(3 * GIB, GIB), Some(Uncacheable), "over write combining as well");
    assert_eq!(mtrrs.type_of(4 * GIB, 1 << 38), Some(Uncacheable), "the default");
}

#[test]
fn nothing_counts_while_mtrrs_are_disabled() {
    let mut registers = Registers::new(2, WriteBack).variable(0, 0, 4 * GIB, WriteBack).fixed(0x250, 0x0606);
    *registers.0.get_mut(&msr::MTRR_DEF_TYPE).unwrap() &= !DEF_E;
    assert_eq!(registers.read().type_of(0, 8 * GIB), Some(Uncacheable));
}

#[test]
fn fixed_ranges_come_before_variable_ones_when_enabled() {
    let variable = Registers::new(1, Uncacheable).variable(0, 0, 4 * GIB, WriteBack);
    assert_eq!(variable.read().type_of(0, MIB), Some(WriteBack), "not enabled");
    let mut all = variable.clone();
    for register in FIXED_REGISTERS {
        all = all.fixed(register, 0x0606_0606_0606_0606);
    }
    let vga = all.fixed(msr::MTRR_FIX16K_A0000, 0).fixed(0x26A, 0x0605_0505_0505_0505).read();
    assert_eq!(vga.type_of(0, 0xA_0000), Some(WriteBack));
    assert_eq!(vga.type_of(0xA_0000, 0x2_0000), Some(Uncacheable));
    assert_eq!(vga.type_of(0x9_F000, 0x2000), None);
    assert_eq!(vga.type_of(0xD_0000, 0x7000), Some(WriteProtected));
    assert_eq!(vga.type_of(0xD_7000, 4 * GIB - 0xD_7000), Some(WriteBack), "over the border of the fixed ranges");
}

#[test]
fn overlapping_ranges_have_the_precedence_of_the_manual() {
    let pair = |one, other| {
        let registers = Registers::new(3, WriteBack).variable(0, 0, GIB, one).variable(2, 0, 2 * GIB, other);
        registers.read().type_of(0, GIB).unwrap()
    };
    assert_eq!(pair(WriteBack, WriteThrough), WriteThrough);
    assert_eq!(pair(WriteThrough, WriteBack), WriteThrough);
    assert_eq!(pair(Uncacheable, WriteBack), Uncacheable);
    assert_eq!(pair(WriteCombining, Uncacheable), Uncacheable);
    assert_eq!(pair(WriteCombining, WriteCombining), WriteCombining);
    assert_eq!(pair(WriteCombining, WriteBack), Uncacheable, "undefined");
}

#[test]
fn a_cpu_without_mtrrs_has_none_and_no_register_is_read_that_is_not_there() {
    assert_eq!(Mtrrs::read(|_| None), None);
    let mut registers = Registers::new(3, WriteBack);
    registers.0.insert(msr::MTRRCAP, 3);
    registers.0.retain(|number, _| !FIXED_REGISTERS.contains(number));
    let numbers: Vec<u32> = registers.read().registers().collect();
    assert_eq!(numbers, [0x2FF, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205]);
    assert_eq!(Registers::new(1, WriteBack).read().registers().count(), 1 + 11 + 2);
}

#[test]
fn reserved_types_and_the_end_of_the_address_space_are_no_panic() {
    let mtrrs = Registers::new(1, WriteBack).raw_variable(0, 7, MASK_V).read();
    assert_eq!(mtrrs.type_of(0, u64::MAX), Some(Uncacheable), "a mask of zero holds all, 7 is reserved");
    assert_eq!(mtrrs.type_of(u64::MAX, 2), None);
    assert_eq!(mtrrs.type_of(5, 0), Some(Uncacheable));
    let top = Registers::new(1, WriteBack).raw_variable(0, ADDRESS | 4, ADDRESS | MASK_V).read();
    assert_eq!(top.type_of(ADDRESS, 4096), Some(WriteThrough));
    assert_eq!(top.type_of(ADDRESS - 1, 2), None);
}

#[test]
fn a_mask_with_holes_is_exact_on_pages_and_never_wrong() {
    // Bit 13 is a hole: 0..1000h and 2000h..3000h.
    let mtrrs = Registers::new(1, WriteBack).raw_variable(0, 0, 0x7F_FFFF_D000 | MASK_V).read();
    let types: Vec<_> = (0..5).map(|page| mtrrs.type_of(page * 4096, 4096)).collect();
    let (uc, wb) = (Some(Uncacheable), Some(WriteBack));
    assert_eq!(types, [uc, wb, uc, wb, wb]);
    assert_eq!(mtrrs.type_of(0, 0x4000), None);
    assert!(mtrrs.has_holes(39));
}

#[test]
fn a_mask_that_reaches_to_the_highest_address_bit_has_no_holes() {
    let mtrrs = Registers::new(1, WriteBack).raw_variable(0, 0x8000_0000, 0x7F_8000_0000 | MASK_V).read();
    assert!(!mtrrs.has_holes(39));
    assert!(mtrrs.has_holes(40), "its copy above 512 GiB");
}

/// xorshift64*: one seed, one sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn memory(&mut self) -> MemoryType {
        [Uncacheable, WriteCombining, WriteThrough, WriteProtected, WriteBack][self.below(5) as usize]
    }
}

/// Where random ranges and queries lie.
const RANDOM_END: u64 = 4 * MIB;

/// Random registers.
fn random_registers(random: &mut Random, holes: bool) -> Registers {
    let mut registers = Registers::new(6, random.memory());
    for n in 0..random.below(7) as u32 {
        let size = 4096 << random.below(10);
        let base = random.below(RANDOM_END / size) * size;
        let memory = random.memory();
        if holes {
            let holes = random.next() & random.next() & (RANDOM_END - 1);
            let mask = ((1_u64 << 39) - size) & !holes | MASK_V;
            registers = registers.raw_variable(n, base | memory as u64, mask);
        } else {
            registers = registers.variable(n, base, size, memory);
        }
    }
    if random.below(2) == 0 {
        for register in FIXED_REGISTERS {
            let uniform = random.memory() as u64 * 0x0101_0101_0101_0101;
            let value = if random.below(2) == 0 { uniform } else { uniform & !(0xFF << (random.below(8) * 8)) };
            registers = registers.fixed(register, value);
        }
    }
    registers
}

#[test]
fn random_registers_give_what_the_naive_way_gives_page_by_page() {
    let mut random = Random(0x5EED);
    let mut uniform = 0;
    for round in 0..2000 {
        let registers = random_registers(&mut random, false);
        let mtrrs = registers.read();
        for _ in 0..10 {
            let pages = 1 << random.below(11);
            let first = random.below(RANDOM_END / 4096) * 4096;
            let naive = |page: u64| registers.naive(first + page * 4096);
            let expected = (1..pages).all(|page| naive(page) == naive(0)).then(|| naive(0));
            assert_eq!(mtrrs.type_of(first, pages * 4096), expected, "{round}: {first:#x} {pages} {registers:x?}");
            uniform += u32::from(expected.is_some());
        }
    }
    assert!((5_000..15_000).contains(&uniform), "both answers are met: {uniform} of 20000");
}

#[test]
fn random_masks_with_holes_never_give_a_type_that_a_page_has_not() {
    let mut random = Random(0xBAD_5EED);
    for round in 0..2000 {
        let registers = random_registers(&mut random, true);
        let mtrrs = registers.read();
        for _ in 0..10 {
            let pages = 1 << random.below(11);
            let first = random.below(RANDOM_END / 4096) * 4096;
            let told = mtrrs.type_of(first, pages * 4096);
            assert!(pages > 1 || told.is_some(), "{round}: a single page has one type");
            if let Some(memory) = told {
                let same = (0..pages).all(|page| registers.naive(first + page * 4096) == memory);
                assert!(same, "{round}: {first:#x} {pages} {memory:?} {registers:x?}");
            }
        }
    }
}

/// The registers of a CPU with 8 ranges, write-combining and 39 address bits, as a guest gets them.
fn guests() -> MtrrRegisters {
    let mut cpu = Registers::new(8, WriteBack);
    cpu.0.insert(msr::MTRRCAP, CAP_FIX | CAP_WC | 8);
    MtrrRegisters::read(|number| cpu.0.get(&number).copied(), 39).unwrap()
}

#[test]
fn guest_reads_what_the_cpu_holds_and_then_what_it_has_written() {
    let mut registers = guests();
    assert_eq!(registers.get(msr::MTRR_DEF_TYPE), Some(DEF_E | 6));
    let written =
        [(0x200, 0xC000_0001), (0x201, 0x7F_F000_0800), (0x20F, 0x7F_FFFF_F000), (0x250, 0x0606), (0x26F, 5 << 56)];
    for (register, value) in written {
        assert_eq!(registers.set(register, value), Some(true), "{register:#x}");
        assert_eq!(registers.set(register, value), Some(false), "{register:#x} as it is");
        assert_eq!(registers.get(register), Some(value), "{register:#x}");
    }
    assert_eq!(registers.types().unwrap().type_of(0xC000_0000, MIB), Some(WriteCombining));
    assert_eq!(registers.types().unwrap().type_of(0xD000_0000, MIB), Some(WriteBack));
}

#[test]
fn guest_finds_only_the_registers_that_the_cpu_has() {
    let mut registers = guests();
    for register in [0x1FF, 0x210, 0x21F, 0x251, 0x25A, 0x267, 0x270, 0x277, 0x2FE, 0x300, 0] {
        assert_eq!((registers.get(register), registers.set(register, 0)), (None, None), "{register:#x}");
    }
    let mut cpu = Registers::new(0, Uncacheable);
    cpu.0.insert(msr::MTRRCAP, 0);
    let mut bare = MtrrRegisters::read(|number| cpu.0.get(&number).copied(), 36).unwrap();
    assert_eq!((bare.get(0x250), bare.set(0x250, 0), bare.get(0x200)), (None, None, None));
    assert_eq!(MtrrRegisters::read(|_| None, 36), None);
}

#[test]
fn values_that_a_cpu_refuses_raise_gp_and_change_nothing() {
    let mut registers = guests();
    let before = registers.clone();
    let types = [2, 3, 7, 8, 0x10, 0xFF].map(|memory| (msr::MTRR_DEF_TYPE, DEF_E | memory));
    let reserved = [8, 9, 12, 32, 63].map(|bit| (msr::MTRR_DEF_TYPE, 1 << bit));
    let bases = [2, 7, 0x106, 0x806, 1 << 39 | 6, 1 << 63].map(|value| (0x202, value));
    let masks = [0x801, 0xC00, 0x900, 1 << 39 | 0x800].map(|value| (0x203, value));
    let fixed = [2, 7 << 56, u64::MAX, 0x1E1E].map(|value| (0x268, value));
    for (register, value) in [&types[..], &reserved, &bases, &masks, &fixed].concat() {
        assert_eq!(registers.set(register, value), None, "{register:#x} = {value:#x}");
        assert_eq!(registers, before, "{register:#x} = {value:#x}");
    }
    // A CPU without write-combining.
    let cpu = Registers::new(2, WriteBack);
    let mut without = MtrrRegisters::read(|number| cpu.0.get(&number).copied(), 39).unwrap();
    assert_eq!((without.set(0x200, 1), without.set(0x200, 4)), (None, Some(true)));
}
