//! The page walk against mappings that are made up at random, with the outcome told by their recipe.

use super::mock::*;
use super::random::Random;
use crate::ControlRegisters;
use crate::walk::{PageAccess, PagingFeatures, translate};
use alloc::vec::Vec;
use mediator::Gpa;

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const NX: u64 = 1 << 63;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bits32,
    Pae,
    Long4,
    Long5,
}

/// Everything that decides the outcome, apart from the tables in memory.
#[derive(Debug)]
struct Recipe {
    kind: Kind,
    control: ControlRegisters,
    access: PageAccess,
    linear: u64,
    /// Top level first; the last is the leaf.
    entries: Vec<u64>,
    /// Level (from the top) of the entry with a reserved bit set.
    reserved_at: Option<usize>,
    leaf_bits: u32,
}

/// Lowest linear bit that each level's index holds, from the top.
fn shifts(kind: Kind) -> &'static [u32] {
    match kind {
        Kind::Bits32 => &[22, 12],
        Kind::Pae => &[30, 21, 12],
        Kind::Long4 => &[39, 30, 21, 12],
        Kind::Long5 => &[48, 39, 30, 21, 12],
    }
}

/// Reserved bits as the figures of SDM Vol. 3A chapter 5 show them, for 40 physical bits and gigabyte pages.
fn reserved_bits(kind: Kind, shift: u32, leaf: bool, nxe: bool) -> Vec<u32> {
    let mut bits: Vec<u32> = match (kind, shift, leaf) {
        (Kind::Bits32, 22, true) => [21].into(),
        (Kind::Bits32, ..) => [].into(),
        // Bits 1, 2, 5 to 8 of a PDPTE are checked when CR3 is loaded, not by a walk.
        (Kind::Pae, 30, _) => [40, 51, 52, 62].into(),
        (Kind::Pae, 21, true) => [13, 20, 40, 51, 52, 62].into(),
        (Kind::Pae, ..) => [40, 51, 52, 62].into(),
        (_, 48 | 39, _) => [7, 40, 51].into(),
        (_, 30, true) => [13, 29, 40, 51].into(),
        (_, 21, true) => [13, 20, 40, 51].into(),
        _ => [40, 45, 51].into(),
    };
    if !nxe && kind != Kind::Bits32 && !bits.contains(&63) {
        bits.push(63);
    }
    bits
}

fn recipe(random: &mut Random) -> Recipe {
    let kind = [Kind::Bits32, Kind::Pae, Kind::Long4, Kind::Long5][random.below(4) as usize];
    let nxe = random.chance(12);
    let (pse, smep, smap, wp) = (random.chance(12), random.chance(5), random.chance(5), random.chance(8));
    let long = matches!(kind, Kind::Long4 | Kind::Long5);
    let control = ControlRegisters {
        cr0: 0x8000_0001 | u64::from(wp) << 16,
        cr3: 0x1_0000 | if kind == Kind::Pae { 0x20 } else { 0x18 },
        cr4: u64::from(pse) << 4
            | u64::from(kind != Kind::Bits32) << 5
            | u64::from(kind == Kind::Long5) << 12
            | u64::from(smep) << 20
            | u64::from(smap) << 21,
        efer: if long { 0x500 } else { 0 } | u64::from(nxe) << 11,
    };
    let (write, fetch) = [(false, false), (true, false), (false, true)][random.below(3) as usize];
    let access = PageAccess { write, fetch, user: random.chance(8), alignment_check: random.chance(4) };
    let width = if long { u64::MAX } else { 0xffff_ffff };
    let linear = random.next() & width;
    let (mut entries, mut reserved_at, mut leaf_bits) = (Vec::new(), None, 12);
    for (i, &shift) in shifts(kind).iter().enumerate() {
        let last = shift == 12;
        let may_be_large = match kind {
            Kind::Bits32 => pse && shift == 22,
            Kind::Pae => shift == 21,
            _ => shift == 21 || shift == 30,
        };
        let leaf = last || (may_be_large && random.chance(4));
        let mut entry = if random.chance(15) { P } else { 0 };
        let pdpte = kind == Kind::Pae && shift == 30;
        if !pdpte {
            entry |= if random.chance(13) { W } else { 0 } | if random.chance(11) { U } else { 0 };
            entry |= random.next() & (A | 0xe00);
            if leaf {
                entry |= random.next() & D;
            }
            if nxe && kind != Kind::Bits32 && random.chance(3) {
                entry |= NX;
            }
        }
        if leaf && !last {
            entry |= PS;
        } else if kind == Kind::Bits32 && shift == 22 && !pse && random.chance(4) {
            // Ignored without CR4.PSE.
            entry |= PS;
        }
        // Ignored by 4- and 5-level paging.
        if long {
            entry |= random.next() & 0x7ff0_0000_0000_0000 & if leaf { u64::MAX } else { !NX };
        }
        entry |= if leaf {
            let address_bits = if kind == Kind::Bits32 { 32 } else { 40 };
            random.next() & ((1 << address_bits) - 1) & !((1 << shift) - 1)
        } else {
            0x1_1000 + 0x1000 * i as u64
        };
        let reserved = reserved_bits(kind, shift, leaf, nxe);
        if random.chance(1) && !reserved.is_empty() {
            entry |= 1 << reserved[random.below(reserved.len() as u64) as usize];
            reserved_at = reserved_at.or(Some(i));
        }
        entries.push(entry);
        if leaf {
            leaf_bits = shift;
            break;
        }
    }
    Recipe { kind, control, access, linear, entries, reserved_at, leaf_bits }
}

/// Where each entry of the recipe lies.
fn places(recipe: &Recipe) -> Vec<u64> {
    let entry_bytes = if recipe.kind == Kind::Bits32 { 4 } else { 8 };
    let indexes = if recipe.kind == Kind::Bits32 { 1024 } else { 512 };
    let root = if recipe.kind == Kind::Pae { 0x1_0020 } else { 0x1_0000 };
    let tables = core::iter::once(root).chain((0..).map(|i| 0x1_1000 + 0x1000 * i));
    shifts(recipe.kind)
        .iter()
        .zip(tables)
        .map(|(shift, table)| table + recipe.linear.wrapping_shr(*shift) % indexes * entry_bytes)
        .take(recipe.entries.len())
        .collect()
}

/// The outcome, from the recipe: SDM Vol. 3A 5.6 and 5.7 in sentences.
fn expected(recipe: &Recipe) -> Result<Gpa, u32> {
    let Recipe { kind, control, access, linear, entries, reserved_at, leaf_bits } = recipe;
    let (smep, smap, wp) = (control.cr4 >> 20 & 1 == 1, control.cr4 >> 21 & 1 == 1, control.cr0 >> 16 & 1 == 1);
    let nxe = control.efer >> 11 & 1 == 1;
    let fetch_bit = access.fetch && (smep || (nxe && *kind != Kind::Bits32));
    let code = u32::from(access.write) << 1 | u32::from(access.user) << 2 | u32::from(fetch_bit) << 4;
    let missing = entries.iter().position(|entry| entry & P == 0);
    match (missing, reserved_at) {
        (Some(missing), Some(reserved)) if *reserved < missing => return Err(code | 9),
        (Some(_), _) => return Err(code),
        (None, Some(_)) => return Err(code | 9),
        (None, None) => {}
    }
    let with_rights = if *kind == Kind::Pae { &entries[1..] } else { &entries[..] };
    let user_page = with_rights.iter().all(|entry| entry & U != 0);
    let writable = with_rights.iter().all(|entry| entry & W != 0);
    let no_execute = nxe && *kind != Kind::Bits32 && with_rights.iter().any(|entry| entry & NX != 0);
    let allowed = match (access.user, access.write, access.fetch) {
        (true, ..) if !user_page => false,
        (true, true, _) => writable,
        (true, _, true) => !no_execute,
        (true, false, false) => true,
        (false, _, true) => !(no_execute || smep && user_page),
        (false, _, false) if smap && user_page && !access.alignment_check => false,
        (false, true, _) => writable || !wp,
        (false, false, _) => true,
    };
    if !allowed {
        return Err(code | 1);
    }
    let leaf = *entries.last().unwrap();
    let offset = linear & ((1 << leaf_bits) - 1);
    let mut base = leaf & 0xff_ffff_f000 & !((1_u64 << leaf_bits) - 1);
    if *kind == Kind::Bits32 && *leaf_bits == 22 {
        base = leaf & 0xffc0_0000 | (leaf >> 13 & 0xff) << 32;
    }
    Ok(Gpa(base | offset))
}

const FEATURES: PagingFeatures = PagingFeatures { physical_bits: 40, gigabyte_pages: true };

#[test]
fn walk_agrees_with_the_recipe_of_random_mappings() {
    let mut random = Random(0x5eed);
    let mut machine = MockMachine::new();
    let (mut ok, mut faults) = (0, 0);
    for round in 0..60_000 {
        let recipe = recipe(&mut random);
        let entry_bytes = if recipe.kind == Kind::Bits32 { 4 } else { 8 };
        let places = places(&recipe);
        machine.memory.bytes[0x1_0000..0x1_8000].fill(0);
        for (at, entry) in places.iter().zip(&recipe.entries) {
            machine.memory.put(*at, &entry.to_le_bytes()[..entry_bytes]);
        }
        let result = translate(&mut machine.memory, FEATURES, recipe.control, recipe.access, recipe.linear);
        assert_eq!(result, expected(&recipe), "round {round}: {recipe:x?}");
        // Accessed and dirty bits, and nothing else, where the walk succeeded.
        for (level, (at, entry)) in places.iter().zip(&recipe.entries).enumerate() {
            let leaf = level + 1 == recipe.entries.len();
            let pdpte = recipe.kind == Kind::Pae && level == 0;
            let marks = match result {
                Ok(_) if !pdpte => A | if leaf && recipe.access.write { D } else { 0 },
                _ => 0,
            };
            let width = if entry_bytes == 4 { 0xffff_ffff } else { u64::MAX };
            assert_eq!(machine.memory.qword(*at) & width, entry & width | marks, "round {round}: {recipe:x?}");
        }
        if result.is_ok() { ok += 1 } else { faults += 1 }
    }
    assert!(ok > 10_000 && faults > 10_000, "{ok} {faults}");
}

const READ: PageAccess = PageAccess { write: false, fetch: false, user: false, alignment_check: false };

fn walk(
    machine: &mut MockMachine,
    features: PagingFeatures,
    control: ControlRegisters,
    linear: u64,
) -> Result<Gpa, u32> {
    translate(&mut machine.memory, features, control, READ, linear)
}

#[test]
fn without_paging_linear_is_physical_in_32_bits() {
    let control = ControlRegisters { cr0: 1, ..ControlRegisters::default() };
    assert_eq!(walk(&mut MockMachine::new(), FEATURES, control, 0x1_2345_6789), Ok(Gpa(0x2345_6789)));
}

#[test]
fn tables_in_vmm_memory_read_as_all_ones() {
    let mut machine = MockMachine::new();
    machine.memory.bytes[VMM.start as usize..VMM.end as usize].fill(0);
    let control = ControlRegisters { cr0: 0x8000_0001, cr3: VMM.start, cr4: 0x20, efer: 0x500 };
    assert_eq!(walk(&mut machine, FEATURES, control, 0), Err(9));
    assert!(machine.memory.bytes[VMM.start as usize..VMM.end as usize].iter().all(|&byte| byte == 0));
}

#[test]
fn gigabyte_page_is_reserved_where_the_cpu_has_none() {
    let mut machine = MockMachine::new();
    machine.memory.put(0x1_0000, &0x1_1003_u64.to_le_bytes());
    machine.memory.put(0x1_1000, &0x83_u64.to_le_bytes());
    let control = ControlRegisters { cr0: 0x8000_0001, cr3: 0x1_0000, cr4: 0x20, efer: 0x500 };
    assert_eq!(walk(&mut machine, FEATURES, control, 0x1234), Ok(Gpa(0x1234)));
    let without = PagingFeatures { gigabyte_pages: false, ..FEATURES };
    assert_eq!(walk(&mut machine, without, control, 0x1234), Err(9));
}

#[test]
fn address_bits_that_the_cpu_lacks_are_reserved() {
    let mut machine = MockMachine::new();
    // A 4 MiB page at 1_0000_0000h by PSE-36.
    machine.memory.put(0x1_0000, &0x2083_u32.to_le_bytes());
    let control = ControlRegisters { cr0: 0x8000_0001, cr3: 0x1_0000, cr4: 0x10, efer: 0 };
    assert_eq!(walk(&mut machine, FEATURES, control, 0x42), Ok(Gpa(0x1_0000_0042)));
    assert_eq!(walk(&mut machine, PagingFeatures { physical_bits: 32, ..FEATURES }, control, 0x42), Err(9));
}

#[test]
fn paging_features_come_from_cpuid() {
    let mut machine = MockMachine::new();
    assert_eq!(PagingFeatures::detect(&mut machine), FEATURES);
    machine.leaves.clear();
    let none = PagingFeatures { physical_bits: 36, gigabyte_pages: false };
    assert_eq!(PagingFeatures::detect(&mut machine), none);
}

/// 32-bit paging: the page table entry of linear address 0 is at 2000h. Another CPU writes `change` there once it was read.
fn written_while_another_cpu_changes_it(change: u64) -> (Result<Gpa, u32>, u64) {
    let mut machine = MockMachine::new();
    machine.memory.put(0x1000, &(0x2000 | P | W | A).to_le_bytes());
    machine.memory.put(0x2000, &(0x5000 | P | W).to_le_bytes());
    machine.memory.changed_by_others.insert(0x2000, change);
    let control = ControlRegisters { cr0: 0x8001_0001, cr3: 0x1000, ..ControlRegisters::default() };
    let features = PagingFeatures { physical_bits: 40, gigabyte_pages: true };
    let access = PageAccess { write: true, fetch: false, user: false, alignment_check: false };
    let found = translate(&mut machine.memory, features, control, access, 0x123);
    (found, machine.memory.qword(0x2000) & 0xffff_ffff)
}

#[test]
fn an_entry_that_another_cpu_changes_meanwhile_is_walked_again() {
    // Another page, one that is not to be written, and none.
    assert_eq!(written_while_another_cpu_changes_it(0x7000 | P | W), (Ok(Gpa(0x7123)), 0x7000 | P | W | A | D));
    assert_eq!(written_while_another_cpu_changes_it(0x7000 | P), (Err(0b11), 0x7000 | P));
    assert_eq!(written_while_another_cpu_changes_it(0), (Err(0b10), 0));
}
