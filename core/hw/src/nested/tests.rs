use super::*;
use crate::frames;
use std::alloc::{Layout, alloc};
use std::sync::Once;

/// Entries of AMD-V; the lowest 2 MiB are small pages, and in `typed` tables those of the third GiB too.
struct Plain {
    typed: bool,
}

const RIGHTS: Flags = Flags::PRESENT.union(Flags::WRITABLE).union(Flags::USER_ACCESSIBLE);
const TYPE: Flags = Flags::NO_CACHE;
const VMM: HpaRange = HpaRange { start: 0x1000_0000, end: 0x1100_0000 };
const TOP: u64 = 1 << 40;

impl Format for Plain {
    fn leaf(&self, at: u64, size: u64) -> Option<Flags> {
        let small = at < MIB_2 || self.typed && (2 * GIB..3 * GIB).contains(&at);
        let flags = if self.typed { RIGHTS | TYPE } else { RIGHTS };
        (!small || size == KIB_4).then_some(flags)
    }
}

/// Memory of the host as page frames. It is not given back.
fn frames_of_the_host() {
    const BYTES: u64 = 64 << 20;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let layout = Layout::from_size_align(BYTES as usize, MIB_2 as usize).unwrap();
        // SAFETY: the layout is not empty; the memory is the allocator's of frames for good.
        unsafe {
            let start = alloc(layout) as u64;
            frames::add(HpaRange { start, end: start + BYTES });
        }
    });
}

fn tables(gib_pages: bool) -> Nested<Plain> {
    frames_of_the_host();
    Nested::new(VMM, gib_pages, 40, Plain { typed: false }).unwrap()
}

/// Of the entry for the page at `at`, whatever its size.
fn flags(nested: &Nested<Plain>, at: u64) -> Option<Flags> {
    nested.state.lock().tables.flags(at)
}

fn rights(nested: &Nested<Plain>, at: u64) -> Option<Flags> {
    flags(nested, at).map(|flags| flags & RIGHTS)
}

fn is_large(nested: &Nested<Plain>, at: u64) -> bool {
    flags(nested, at).unwrap().contains(Flags::HUGE_PAGE)
}

#[test]
fn the_low_4_gib_are_mapped_but_for_the_vmm() {
    let nested = tables(true);
    for at in [0, 0x9_f000, 0xfee0_0000, VMM.start - 1, VMM.end, GIB_4 - 1] {
        assert_eq!(rights(&nested, at), Some(RIGHTS), "{at:#x}");
    }
    for at in [VMM.start, VMM.end - 1, GIB_4, TOP - 1] {
        assert_eq!(flags(&nested, at), None, "{at:#x}");
    }
    assert!(!is_large(&nested, 0x1000) && is_large(&nested, MIB_2));
}

#[test]
fn a_hook_takes_its_rights_from_one_page_only() {
    let nested = tables(true);
    nested.hook_page(Gpa(0xfee0_0300), Hook::Writes).unwrap();
    nested.hook_page(Gpa(0x8_0000), Hook::All).unwrap();
    assert_eq!(rights(&nested, 0xfee0_0fff), Some(Flags::PRESENT | Flags::USER_ACCESSIBLE));
    assert_eq!(rights(&nested, 0x8_0000), Some(Flags::empty()));
    for page in [0xfee0_0000, 0x8_0000] {
        let around = (page & !(MIB_2 - 1)..).step_by(KIB_4 as usize).take(513).filter(|&at| at != page);
        around.for_each(|at| assert_eq!(rights(&nested, at), Some(RIGHTS), "{at:#x}"));
    }
    assert!(!is_large(&nested, 0xfee0_1000) && is_large(&nested, 0xfec0_0000));
}

#[test]
fn the_parts_of_a_split_page_are_where_the_page_was() {
    let nested = tables(true);
    assert_eq!(nested.map_on_demand(Gpa(5 * GIB)), OnDemand::Mapped);
    nested.hook_page(Gpa(5 * GIB + 7 * MIB_2 + KIB_4), Hook::Writes).unwrap();
    let state = nested.state.lock();
    for (at, size) in [(5 * GIB, MIB_2), (6 * GIB - MIB_2, MIB_2), (5 * GIB + 7 * MIB_2, KIB_4)] {
        assert_eq!(state.tables.address(at), Some((Hpa(at), size)), "{at:#x}");
    }
}

#[test]
fn a_second_hook_never_gives_rights_back() {
    let nested = tables(false);
    for hook in [Hook::All, Hook::Writes] {
        nested.hook_page(Gpa(0xfee0_0000), hook).unwrap();
        assert_eq!(rights(&nested, 0xfee0_0000), Some(Flags::empty()));
    }
    assert_eq!(nested.state.lock().hooks.len(), 1);
}

#[test]
fn hooks_outlive_a_new_format_whatever_the_size_of_pages() {
    let nested = tables(true);
    let hooked = [0xfee0_0000, 2 * GIB + KIB_4, 0x8_0000, 9 * GIB];
    hooked.iter().for_each(|&at| nested.hook_page(Gpa(at), Hook::Writes).unwrap());
    for typed in [true, false, true] {
        nested.reformat(Plain { typed }).unwrap();
        for at in hooked {
            let expected = Flags::PRESENT | Flags::USER_ACCESSIBLE | if typed { TYPE } else { Flags::empty() };
            assert_eq!(flags(&nested, at), Some(expected));
        }
        for at in [0xfee0_1000, 2 * GIB, 2 * GIB + 2 * KIB_4, 0x8_1000, VMM.end] {
            assert_eq!((rights(&nested, at), flags(&nested, at).unwrap().contains(TYPE)), (Some(RIGHTS), typed));
        }
        assert_eq!((flags(&nested, VMM.start), nested.map_on_demand(Gpa(9 * GIB))), (None, OnDemand::Refused));
    }
}

#[test]
fn memory_above_4_gib_is_mapped_once_and_then_there() {
    for gib_pages in [true, false] {
        let nested = tables(gib_pages);
        let at = Gpa(7 * GIB + 0x1234);
        assert_eq!([nested.map_on_demand(at), nested.map_on_demand(at)], [OnDemand::Mapped, OnDemand::There]);
        assert_eq!((rights(&nested, at.0), is_large(&nested, at.0)), (Some(RIGHTS), true));
        let far = nested.map_on_demand(Gpa(8 * GIB - 1));
        assert_eq!(far, if gib_pages { OnDemand::There } else { OnDemand::Mapped });
    }
}

#[test]
fn what_is_around_a_hooked_page_is_mapped_on_demand() {
    let nested = tables(true);
    let page = 7 * GIB + 5 * MIB_2 + 3 * KIB_4;
    nested.hook_page(Gpa(page), Hook::All).unwrap();
    for at in [page - KIB_4, page + KIB_4, page + MIB_2, 7 * GIB] {
        assert_eq!(nested.map_on_demand(Gpa(at)), OnDemand::Mapped, "{at:#x}");
        assert_eq!((rights(&nested, at), rights(&nested, page)), (Some(RIGHTS), Some(Flags::empty())));
    }
    assert_eq!(nested.map_on_demand(Gpa(page + 0x123)), OnDemand::Refused);
}

#[test]
fn neither_the_vmm_nor_what_no_address_reaches_is_mapped_or_hooked() {
    let nested = tables(true);
    for at in [0, VMM.start, VMM.end - 1, GIB_4 - 1, TOP, u64::MAX] {
        assert_eq!(nested.map_on_demand(Gpa(at)), OnDemand::Refused, "{at:#x}");
    }
    for at in [VMM.start, VMM.end - 1, TOP, u64::MAX] {
        assert_eq!(nested.hook_page(Gpa(at), Hook::Writes), None, "{at:#x}");
    }
}

#[test]
fn an_access_to_a_page_of_another_cpus_making_is_tried_once_more() {
    let (mut touched, [a, b]) = (Touched::default(), [Gpa(5 * GIB), Gpa(6 * GIB)]);
    assert!(touched.retries(a, OnDemand::Mapped) && touched.retries(a, OnDemand::There));
    assert!(!touched.retries(Gpa(a.0 + 8), OnDemand::There), "twice the same page");
    assert!(touched.retries(b, OnDemand::There) && touched.retries(a, OnDemand::There));
    assert!(!touched.retries(b, OnDemand::Refused));
}

#[test]
fn the_second_root_lacks_one_page_and_follows_the_first() {
    // A page that was split has smaller parts.
    let rights_of = |nested: &_, at| flags(nested, at).map(|flags| flags - Flags::HUGE_PAGE);
    for hooked in [false, true] {
        let nested = tables(true);
        if hooked {
            nested.hook_page(Gpa(0xfee0_0000), Hook::Writes).unwrap();
        }
        nested.map_on_demand(Gpa(5 * GIB));
        let second = Tables::of(nested.root_without(Gpa(0xfee0_0020)).unwrap());
        assert_eq!(nested.root_without(Gpa(0xfee0_0000)), Some(second.root()));
        assert_eq!(nested.root_without(Gpa(0xfec0_0000)), None, "there is but one such page");
        nested.map_on_demand(Gpa(9 * GIB));
        nested.map_on_demand(Gpa((1 << 39) + GIB));
        assert_eq!(second.flags(0xfee0_0fff), None);
        assert!(flags(&nested, 0xfee0_0fff).is_some());
        for at in
            [0, VMM.start, VMM.end, 0xfee0_1000, 0xfed0_0000, GIB_4 - 1, 5 * GIB, 9 * GIB, 10 * GIB, (1 << 39) + GIB]
        {
            assert_eq!(second.flags(at).map(|flags| flags - Flags::HUGE_PAGE), rights_of(&nested, at), "{at:#x}");
        }
    }
}

/// Places in small and in large pages, typed ones, above 4 GiB, and far up.
const FOR_A_TIME: [u64; 6] = [0x8_0000, 0xe000_0000, 0xfebf_f000, 2 * GIB + KIB_4, 6 * GIB + MIB_2, (1 << 39) + KIB_4];

#[test]
fn a_hook_for_a_time_takes_all_rights_and_gives_them_back() {
    for (typed, at) in [false, true].into_iter().flat_map(|typed| FOR_A_TIME.map(|at| (typed, at))) {
        let nested = tables(true);
        nested.reformat(Plain { typed }).unwrap();
        if at >= GIB_4 {
            nested.map_on_demand(Gpa(at));
        }
        let around = [at - KIB_4, at + KIB_4];
        let before = [at, at - KIB_4, at + KIB_4].map(|at| flags(&nested, at));
        nested.hook_for_a_time(Gpa(at + 8), true).unwrap();
        assert_eq!((rights(&nested, at), nested.map_on_demand(Gpa(at))), (Some(Flags::empty()), OnDemand::Refused));
        around.iter().for_each(|&at| assert_eq!(rights(&nested, at), Some(RIGHTS), "{at:#x}"));
        nested.hook_for_a_time(Gpa(at), true).unwrap();
        nested.hook_for_a_time(Gpa(at), false).unwrap();
        if at >= GIB_4 {
            assert_eq!(nested.map_on_demand(Gpa(at)), OnDemand::Mapped);
        }
        assert_eq!([at, at - KIB_4, at + KIB_4].map(|at| flags(&nested, at)), before, "{at:#x}, large as before");
    }
}

#[test]
fn hooks_for_good_outlive_those_for_a_time_on_the_same_page() {
    for (hook, left) in [(Hook::All, Flags::empty()), (Hook::Writes, Flags::PRESENT | Flags::USER_ACCESSIBLE)] {
        let nested = tables(true);
        nested.hook_page(Gpa(0xe000_0000), hook).unwrap();
        nested.hook_for_a_time(Gpa(0xe000_0000), true).unwrap();
        assert_eq!(rights(&nested, 0xe000_0000), Some(Flags::empty()));
        for _ in 0..2 {
            nested.hook_for_a_time(Gpa(0xe000_0000), false).unwrap();
            assert_eq!(rights(&nested, 0xe000_0000), Some(left));
        }
        // And around it.
        nested.hook_for_a_time(Gpa(0xe000_1000), true).unwrap();
        nested.hook_for_a_time(Gpa(0xe000_1000), false).unwrap();
        assert_eq!([0xe000_0000, 0xe000_1000].map(|at| rights(&nested, at)), [Some(left), Some(RIGHTS)]);
    }
}

#[test]
fn hooks_for_a_time_outlive_a_new_format_and_reach_the_second_root() {
    let nested = tables(true);
    FOR_A_TIME.iter().for_each(|&at| nested.hook_for_a_time(Gpa(at), true).unwrap());
    for typed in [true, false] {
        nested.reformat(Plain { typed }).unwrap();
        FOR_A_TIME.iter().for_each(|&at| assert_eq!(rights(&nested, at), Some(Flags::empty()), "{at:#x}"));
    }
    FOR_A_TIME.iter().for_each(|&at| nested.hook_for_a_time(Gpa(at), false).unwrap());
    let second = Tables::of(nested.root_without(Gpa(0xfee0_0000)).unwrap());
    for on in [true, false, true, false] {
        for at in FOR_A_TIME {
            nested.hook_for_a_time(Gpa(at), on).unwrap();
            assert_eq!(second.flags(at), flags(&nested, at), "{at:#x}");
            assert_eq!(second.flags(0xfee0_0000), None);
        }
    }
    assert_eq!(nested.hook_for_a_time(Gpa(0xfee0_1000), true), None, "where the tables differ");
}

#[test]
fn neither_the_vmm_nor_what_no_address_reaches_is_hooked_for_a_time() {
    let nested = tables(true);
    for at in [VMM.start, VMM.end - 1, TOP, u64::MAX] {
        assert_eq!(nested.hook_for_a_time(Gpa(at), true), None, "{at:#x}");
        nested.hook_for_a_time(Gpa(at), false).unwrap();
    }
    assert_eq!(flags(&nested, VMM.start), None);
    // Around it nothing of it is mapped when a page becomes whole again.
    nested.hook_for_a_time(Gpa(VMM.end), true).unwrap();
    nested.hook_for_a_time(Gpa(VMM.end), false).unwrap();
    assert_eq!((flags(&nested, VMM.end - 1), rights(&nested, VMM.end)), (None, Some(RIGHTS)));
}

#[test]
fn a_guest_that_has_pages_hooked_all_over_uses_no_more_tables_than_for_one() {
    let nested = tables(true);
    let mut at = GIB;
    // A table for each would be more than the host's frames here, which other tests take too.
    for _ in 0..20_000 {
        nested.hook_for_a_time(Gpa(at), true).expect("tables are given back");
        nested.hook_for_a_time(Gpa(at), false).unwrap();
        at = if at > 64 * GIB { GIB } else { at + 7 * MIB_2 + KIB_4 };
        if (VMM.start..VMM.end).contains(&at) || at >> 21 == 0xfee0_0000 >> 21 {
            at += 16 * MIB_2;
        }
    }
}
