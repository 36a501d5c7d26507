//! The tables hold what the rules need.

use crate::*;
use alloc::string::String;
use alloc::vec::Vec;

fn row(first: u32, last: u32, name: &'static str, reason: &'static str) -> MsrRow {
    MsrRow::new(first..=last, name, Rule::Absent, reason)
}

#[test]
fn table_out_of_order_or_without_a_name_or_reason_is_told() {
    let good = [row(1, 2, "A", "a"), row(3, 3, "B", "b"), row(9, 10, "C", "c")];
    assert!(in_order(&[]) && in_order(&good));
    assert!(!in_order(&[good[1], good[0]]), "descending");
    assert!(!in_order(&[good[0], good[0]]), "twice");
    assert!(!in_order(&[good[0], row(2, 5, "B", "b")]), "overlapping");
    assert!(!in_order(&[row(2, 1, "A", "a")]), "empty");
    assert!(!in_order(&[row(1, 1, "A", "")]), "no reason");
    assert!(!in_order(&[row(1, 1, "", "a")]), "no name");
}

#[test]
fn each_row_is_found_from_its_first_to_its_last_register_and_not_beside() {
    let rows = [row(3, 5, "A", "a"), row(6, 6, "B", "b"), row(20, 30, "C", "c"), row(u32::MAX, u32::MAX, "D", "d")];
    for table in (0..=rows.len()).map(|len| &rows[..len]) {
        for msr in (0..40).chain([u32::MAX - 1, u32::MAX]) {
            let expected = table.iter().find(|row| row.msrs().contains(&msr));
            assert_eq!(find(table, msr), expected, "{msr:#x} of {} rows", table.len());
        }
    }
}

#[test]
fn counters_fit_into_the_gaps_of_the_table() {
    for has_switch in [false, true] {
        let policy = intel::policy(|control| control != intel::Control::CounterSwitch || has_switch);
        assert!(in_order(&policy.msrs));
        assert_eq!(find(&policy.msrs, 0x38f).is_some(), has_switch);
        let mut leaf = CpuidLeaf::ONES;
        policy.hidden.clear_in(0xa, 0, &mut leaf);
        assert_eq!(leaf, if has_switch { CpuidLeaf::ONES } else { CpuidLeaf::ZEROS }, "leaf 0Ah");
    }
}

/// Registers that are written or read so often that an exit each would be felt.
#[test]
fn hot_registers_do_not_exit() {
    let common = (0x800..=0x82f)
        .chain(0x831..=0x8ff)
        .chain(0xc000_0081..=0xc000_0084)
        .chain(0xc000_0100..=0xc000_0103)
        .chain([0x48, 0x49, 0x10b, 0x174, 0x175, 0x176, 0x1d9, 0x277, 0x6a0, 0x6a4, 0x6a7, 0x6e0, 0xc8f, 0xda0]);
    let intel = intel::policy(|_| true);
    let amd = amd::policy();
    let of_amd = common.clone().chain(0xc001_0004..=0xc001_0007).chain([0xc001_011f, 0xc001_0201, 0xc000_2001]);
    let of_intel = common.chain([0xc1, 0x122, 0x199, 0x1c4, 0x309, 0x38e, 0x390, 0x680, 0x6c0, 0x6e1, 0x774, 0xe1]);
    for (msrs, hot) in [(&intel.msrs, of_intel.collect::<Vec<u32>>()), (&amd.msrs, of_amd.collect())] {
        for msr in hot {
            let rule = find(msrs, msr).unwrap_or_else(|| panic!("{msr:#x} is in no table")).rule();
            let frozen_xss = msr == 0xda0 && matches!(rule, Rule::Frozen { .. });
            assert!(!rule.reads_exit() && (frozen_xss || !rule.writes_exit()), "{msr:#x}: {rule:?}");
        }
    }
}

/// On AMD's CPUs two bits of SYSCFG let the fixed MTRRs send accesses of the first MiB to devices.
#[test]
fn what_routes_memory_is_frozen_as_the_firmware_left_it() {
    let policy = amd::policy();
    for msr in [0xc001_0010, 0xc001_0016, 0xc001_0019, 0xc001_001a, 0xc001_001d] {
        assert_eq!(find(&policy.msrs, msr).map(MsrRow::rule), Some(Rule::FROZEN), "{msr:#x}");
    }
}

/// Values that the CPU uses as an address in whatever mode it is, or that take memory from the VMM.
#[test]
fn registers_that_reach_the_vmm_are_not_the_guests() {
    let amd = [0xc001_0010, 0xc001_0016, 0xc001_001a, 0xc001_001d, 0xc001_0020, 0xc001_0112, 0xc001_0117, 0xc000_0106];
    let intel = [0x79, 0x9b, 0x1f2, 0x2a0, 0x480, 0x560, 0x570, 0x600, 0x982, 0xc80, 0x1400, 0x17d0];
    for (table, msrs) in [(amd::policy().msrs, &amd[..]), (intel::policy(|_| true).msrs, &intel[..])] {
        for &msr in msrs.iter().chain(&[0x10, 0x1b, 0x3b, 0x200, 0x2ff]) {
            assert!(find(&table, msr).is_none_or(|row| row.rule().writes_exit()), "{msr:#x}");
        }
        for msr in [0x2000, 0x4000_0000, 0x4b56_4d00, 0xbfff_ffff, 0xc000_1fff, 0xc001_2000, u32::MAX] {
            assert_eq!(find(&table, msr), None, "{msr:#x} is nobody's");
        }
    }
}

/// A feature whose registers are refused must not show.
#[test]
fn no_feature_is_shown_without_its_registers() {
    let amd = amd::policy();
    let intel = intel::policy(|_| false);
    // Register, and leaf, subleaf and bits of the feature.
    let (ecx, edx) = (|ecx| CpuidLeaf { ecx, ..CpuidLeaf::ZEROS }, |edx| CpuidLeaf { edx, ..CpuidLeaf::ZEROS });
    let eax = |eax| CpuidLeaf { eax, ..CpuidLeaf::ZEROS };
    for (policy, msr, leaf, subleaf, bits) in [
        (&amd, 0xc001_0117, 0x8000_0001, 0, ecx(1 << 2)),
        (&amd, 0xc001_1030, 0x8000_0001, 0, ecx(1 << 10)),
        (&amd, 0xc000_0105, 0x8000_0001, 0, ecx(1 << 15)),
        (&amd, 0xc001_0299, 0x8000_0007, 0, edx(1 << 14)),
        (&amd, 0xc000_010e, 0x8000_0022, 0, eax(1 << 1)),
        (&amd, 0xc001_0131, 0x8000_001f, 0, CpuidLeaf::ONES),
        (&intel, 0x600, 1, 0, edx(1 << 21)),
        (&intel, 0x345, 1, 0, ecx(1 << 15)),
        (&intel, 0x38f, 0xa, 0, CpuidLeaf::ONES),
        (&intel, 0x480, 1, 0, ecx(1 << 5)),
        (&intel, 0x570, 7, 0, CpuidLeaf { ebx: 1 << 25, ..CpuidLeaf::ZEROS }),
        (&intel, 0x14ce, 7, 0, edx(1 << 19)),
        (&intel, 0x985, 7, 0, edx(1 << 5)),
        (&intel, 0x17d0, 6, 0, eax(1 << 19)),
        (&intel, 0x1cc, 7, 1, eax(1 << 17)),
        (&intel, 0x1c, 7, 1, edx(1 << 15)),
    ] {
        assert!(find(&policy.msrs, msr).is_none_or(|row| row.rule() == Rule::Absent), "{msr:#x} is there");
        let mut answer = CpuidLeaf::ONES;
        policy.hidden.clear_in(leaf, subleaf, &mut answer);
        let shown = answer.zip(bits, |answer, bits| answer & bits);
        assert_eq!(shown, CpuidLeaf::ZEROS, "leaf {leaf:#x} tells of {msr:#x}");
    }
}

#[test]
fn hidden_bits_of_one_leaf_add_up_and_others_stay() {
    let hidden: HiddenFeatures = [
        HiddenBits::ecx(0x8000_0001, None, 1 << 2, "A", "a"),
        HiddenBits::edx(0x8000_0001, None, 1 << 27, "B", "b"),
        HiddenBits::eax(0xd, Some(1), 1 << 3, "C", "c"),
    ]
    .iter()
    .collect();
    let ask = |leaf, subleaf| {
        let mut answer = CpuidLeaf::ONES;
        hidden.clear_in(leaf, subleaf, &mut answer);
        answer
    };
    assert_eq!(ask(0x8000_0001, 7), CpuidLeaf { ecx: !(1 << 2), edx: !(1 << 27), ..CpuidLeaf::ONES });
    assert_eq!(ask(0xd, 1), CpuidLeaf { eax: !(1 << 3), ..CpuidLeaf::ONES });
    for (leaf, subleaf) in [(1, 0), (0xd, 0), (0xd, 2), (0x2d, 1), (0x8000_0021, 0)] {
        assert_eq!(ask(leaf, subleaf), CpuidLeaf::ONES, "{leaf:#x}.{subleaf}");
    }
}

#[test]
fn tables_of_bits_are_checked() {
    let good = [HiddenBits::ecx(1, None, 1, "A", "a"), HiddenBits::edx(7, None, 1, "B", "b")];
    assert!(bits_in_order(&good) && !bits_in_order(&[good[1], good[0]]));
    assert!(!bits_in_order(&[HiddenBits::ecx(1, None, 0, "A", "a")]), "hides nothing");
    assert!(!bits_in_order(&[HiddenBits::ecx(1, None, 1, "", "a")]), "no name");
    assert!(!bits_in_order(&[HiddenBits::ecx(1, None, 1, "A", "")]), "no reason");
}

#[test]
fn document_has_every_row_and_only_whole_ones() {
    let text = document();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains('h'));
    let tables = [amd::MSRS, intel::MSRS, intel::COUNTERS].concat();
    let expected = tables.len() + amd::HIDDEN.len() + intel::HIDDEN.len() + intel::CONTROLLED.len();
    assert_eq!(rows.clone().filter(|line| !line.starts_with("| MSR") && !line.starts_with("| leaf")).count(), expected);
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').collect();
        assert!(cells[1..cells.len() - 1].iter().all(|cell| !cell.trim().is_empty()), "{line}");
    }
    let find = |start: &str| text.lines().find(|line| line.starts_with(start)).map(String::from);
    assert_eq!(
        find("| C001_0117h |").as_deref(),
        Some("| C001_0117h | VM_HSAVE_PA | #GP | #GP | where the CPU keeps the VMM's state while the guest runs |")
    );
    let xss =
        text.lines().filter(|line| line.starts_with("| DA0h |")).map(|line| line.contains("#GP if it changes C100h"));
    assert_eq!(xss.collect::<Vec<_>>(), [false, true], "XSS of both vendors");
}
