//! A function with a 64-bit and a 32-bit block in memory, ports, and capabilities; and what a guest tries with it.

use crate::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mediator::pci::{AttachError, Place, Region, Window};
use mediator::*;

const HOME: u32 = 0xfebf_0000;
const SMALL: u32 = 0xfebf_4000;
const PM: u16 = 0x40;
const MSI_X: u16 = 0x50;
const EXPRESS: u16 = 0x80;
const OWN: u16 = 0xd0;
const BLOCKS: [Block; 2] =
    [Block { region: RegionId(0), bar: 0, max_len: 0x2000 }, Block { region: RegionId(1), bar: 5, max_len: 0x2000 }];

/// Configuration space alone.
pub struct Function {
    bytes: [u8; 256],
    /// Bits of a base address register that can be written.
    pub masks: BTreeMap<u16, u32>,
    writes: Vec<(u16, Width, u32)>,
}

impl Function {
    pub fn new() -> Self {
        let masks =
            [(0x10, 0xffff_c000), (0x14, u32::MAX), (0x18, 0xffff_ffe0), (0x1c, 0), (0x20, 0), (0x24, 0xffff_f000)];
        let mut function = Self { bytes: [0; 256], masks: masks.into(), writes: Vec::new() };
        // Ports are decoded as well.
        for (offset, value) in
            [(4, 0x0010_0003), (0x10, HOME | 4), (0x18, 0xc001), (0x24, SMALL), (0x34, u32::from(PM))]
        {
            function.put(offset, value);
        }
        function.put(PM, 0x0003_0001 | u32::from(MSI_X) << 8);
        // Three entries at 2008h behind BAR0.
        function.put(MSI_X, 0x0002_0011 | u32::from(EXPRESS) << 8);
        function.put(MSI_X + 4, 0x2008);
        function.put(EXPRESS, 0x0002_0010);
        function.put(EXPRESS + 4, 1 << 28 | 7);
        function
    }

    fn put(&mut self, offset: u16, value: u32) {
        self.bytes[usize::from(offset)..][..4].copy_from_slice(&value.to_le_bytes());
    }

    pub fn get(&self, offset: u16) -> u32 {
        u32::from_le_bytes(self.bytes[usize::from(offset & !3)..][..4].try_into().unwrap())
    }
}

impl Device for Function {
    fn read(&mut self, _: RegionId, _: u32, _: Width) -> u64 {
        unreachable!("the guard reads no register")
    }
    fn write(&mut self, _: RegionId, _: u32, _: Width, _: u64) {
        unreachable!("the guard writes no register")
    }
    fn read_string(&mut self, _: RegionId, _: u32, _: Width, _: &mut [u8]) {}
    fn write_string(&mut self, _: RegionId, _: u32, _: Width, _: &[u8]) {}
    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.get(offset) >> ((offset & 3) * 8) & width.ones() as u32
    }
    fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        self.writes.push((offset, width, value));
        let dword = offset & !3;
        let before = self.get(dword);
        let after = merge(before, offset, width, value);
        let mask = self.masks.get(&dword).copied().unwrap_or(u32::MAX);
        self.put(dword, after & mask | before & !mask);
    }
}

pub struct Nothing;

impl GuestMemory for Nothing {
    fn read(&mut self, from: Gpa, _: &mut [u8]) -> Result<(), NotRam> {
        Err(NotRam(from))
    }
    fn write(&mut self, to: Gpa, _: &[u8]) -> Result<(), NotRam> {
        Err(NotRam(to))
    }
    fn compare_exchange(&mut self, at: Gpa, _: Width, _: u64, _: u64) -> Result<bool, NotRam> {
        Err(NotRam(at))
    }
    fn bus_addr(&self, of: Gpa, _: u64) -> Result<BusAddr, NotRam> {
        Err(NotRam(of))
    }
}

impl DmaArena for Nothing {
    fn alloc(&mut self, _: usize, _: usize) -> Option<DmaBuffer> {
        None
    }
    fn free(&mut self, _: DmaBuffer) {}
    fn bytes(&mut self, _: BusAddr, _: usize) -> Result<&mut [u8], OutOfArena> {
        Err(OutOfArena)
    }
}

/// Where the guest finds each window.
#[derive(Default)]
pub struct Windows {
    places: BTreeMap<usize, u64>,
    /// Nothing can be there.
    taken: Vec<u64>,
}

impl Hooks for Windows {
    fn move_region(&mut self, _: RegionId, _: Option<Place>) -> Result<(), HookConflict> {
        panic!("the device's registers never move")
    }

    fn move_window(&mut self, window: usize, place: Option<Gpa>) -> Result<(), HookConflict> {
        match place {
            Some(Gpa(at))
                if self.taken.contains(&at) || self.places.iter().any(|(&other, &it)| other != window && it == at) =>
            {
                return Err(HookConflict);
            }
            Some(Gpa(at)) => drop(self.places.insert(window, at)),
            None => drop(self.places.remove(&window)),
        }
        Ok(())
    }
}

/// A guarded function, as the guest reaches it.
struct Rig {
    function: Function,
    guard: MemoryGuard,
    windows: Windows,
    busy: bool,
}

impl Rig {
    fn new() -> Self {
        Self::of(Function::new())
    }

    fn of(mut function: Function) -> Self {
        let guard = MemoryGuard::attach(&mut function, &BLOCKS).unwrap();
        function.writes.clear();
        let places = (0..).zip(guard.windows()).map(|(number, window)| (number, window.home.0)).collect();
        let windows = Windows { places, taken: Vec::new() };
        Self { function, guard, windows, busy: false }
    }

    fn with<R>(&mut self, call: impl FnOnce(&mut MemoryGuard, &mut Ctx<'_>) -> R) -> R {
        let mut cx = Ctx {
            device: &mut self.function,
            guest: &mut Nothing,
            arena: &mut Nothing,
            hooks: &mut self.windows,
            work: &mut Vec::new(),
            now: Instant(0),
        };
        call(&mut self.guard, &mut cx)
    }

    /// Where the guest finds the windows.
    fn places(&self) -> [Option<u64>; 2] {
        [0, 1].map(|window| self.windows.places.get(&window).copied())
    }

    fn access(&mut self, offset: u16, width: Width, op: Op) -> Result<u32, &'static str> {
        let busy = self.busy;
        let verdict = self.with(|guard, cx| guard.on_config(cx, ConfigAccess { offset, width, op }, busy));
        match (verdict.map_err(|violation| violation.what)?, op) {
            (Verdict::Passthrough, Op::Read) => Ok(self.function.config_read(offset, width)),
            (Verdict::Passthrough, Op::Write(value)) => {
                self.function.config_write(offset, width, value as u32);
                Ok(0)
            }
            (Verdict::Value(value), Op::Read) => Ok(value as u32),
            (Verdict::Done, Op::Write(_)) => Ok(0),
            (verdict, op) => panic!("{verdict:?} for {op:?}"),
        }
    }

    fn read(&mut self, offset: u16) -> u32 {
        self.access(offset, Width::Dword, Op::Read).unwrap()
    }

    fn write(&mut self, offset: u16, value: u32) -> Result<u32, &'static str> {
        self.access(offset, Width::Dword, Op::Write(value.into()))
    }

    fn command(&mut self, value: u16) -> Result<u32, &'static str> {
        self.access(4, Width::Word, Op::Write(value.into()))
    }

    /// The base address registers as the device has them.
    fn is_at_home(&self) -> bool {
        self.function.get(0x10) == HOME | 4 && self.function.get(0x14) == 0 && self.function.get(0x24) == SMALL
    }
}

fn attached(change: impl FnOnce(&mut Function)) -> Result<Vec<Region>, AttachError> {
    let mut function = Function::new();
    change(&mut function);
    MemoryGuard::attach(&mut function, &BLOCKS).map(|guard| guard.regions())
}

#[test]
fn a_block_is_no_longer_than_what_its_register_places() {
    let region = |number, at: u32, len| {
        let place = Some(Place::Memory(Gpa(at.into())));
        Region { region: RegionId(number), place, len, polled: None }
    };
    let table = region(2, HOME + 0x2008, 48);
    assert_eq!(attached(|_| {}), Ok([region(0, HOME, 0x2000), region(1, SMALL, 0x1000), table].into()));
    let before = memory_regions(&mut Function::new(), &BLOCKS);
    assert_eq!(before, [region(0, HOME, 0x2000), region(1, SMALL, 0x2000)]);
}

#[test]
fn after_it_is_taken_over_the_function_decodes_memory_where_it_was_and_no_ports() {
    let rig = Rig::new();
    assert!(rig.is_at_home());
    assert_eq!(rig.function.get(4) & 7, 2);
}

#[test]
fn blocks_that_cannot_be_guarded_are_refused() {
    let why = |change: fn(&mut Function)| attached(change).unwrap_err().0;
    assert!(why(|f| f.put(0x14, 1)).contains("above 4 GiB"));
    assert!(why(|f| f.put(0x10, 4)).contains("no address"));
    assert!(why(|f| f.put(0x24, 0xc001)).contains("not in memory"));
    assert!(why(|f| f.put(0x24, SMALL | 2)).contains("not in memory"));
}

#[test]
fn the_guest_sizes_whether_memory_is_decoded_or_not_and_the_device_never_moves() {
    for command in [0_u16, 2] {
        let mut rig = Rig::new();
        rig.command(command).unwrap();
        for (offset, home, size) in [(0x10, HOME | 4, 0xffff_c004_u32), (0x14, 0, u32::MAX), (0x24, SMALL, 0xffff_f000)]
        {
            rig.write(offset, u32::MAX).unwrap();
            assert_eq!(rig.read(offset), size, "{offset:#x}");
            assert!(rig.is_at_home());
            rig.write(offset, home).unwrap();
            assert_eq!(rig.read(offset), home);
        }
        assert_eq!(rig.command(2), Ok(0));
    }
}

#[test]
fn bytes_of_a_base_address_register_are_read_and_written_on_their_own() {
    let mut rig = Rig::new();
    rig.access(0x12, Width::Word, Op::Write(0xffff)).unwrap();
    assert_eq!(rig.access(0x13, Width::Byte, Op::Read), Ok(0xff));
    assert_eq!(rig.read(0x10), 0xffff_0004);
}

const AT_HOME: [Option<u64>; 2] = [Some(HOME as u64), Some(SMALL as u64)];

#[test]
fn registers_are_found_where_the_guest_places_them_while_it_has_memory_decoded() {
    let mut rig = Rig::new();
    assert_eq!(
        rig.guard.windows().iter().map(|it| (it.home.0, it.len)).collect::<Vec<_>>(),
        [(HOME.into(), 0x4000), (SMALL.into(), 0x1000)]
    );
    rig.command(0).unwrap();
    assert_eq!(rig.places(), [None, None]);
    rig.write(0x24, 0xe000_0000).unwrap();
    rig.write(0x14, 1).unwrap();
    assert_eq!(rig.places(), [None, None]);
    rig.command(6).unwrap();
    assert_eq!(rig.places(), [Some(1 << 32 | u64::from(HOME)), Some(0xe000_0000)]);
    // Memory stays decoded.
    rig.write(0x24, 0xe100_0000).unwrap();
    assert_eq!(rig.places()[1], Some(0xe100_0000));
    rig.access(0x27, Width::Byte, Op::Write(0xe2)).unwrap();
    assert_eq!(rig.places()[1], Some(0xe200_0000));
    assert!(rig.is_at_home() && rig.function.get(4) & 7 == 6 && !rig.guard.was_reset());
    rig.write(0x14, 0).unwrap();
    rig.write(0x24, SMALL).unwrap();
    assert_eq!(rig.places(), AT_HOME);
}

#[test]
fn registers_that_cannot_be_where_the_guest_places_them_are_nowhere() {
    let mut rig = Rig::new();
    rig.windows.taken.push(0x1000_0000);
    rig.command(0).unwrap();
    rig.write(0x24, 0x1000_0000).unwrap();
    for _ in 0..2 {
        assert!(rig.command(6).unwrap_err().contains("placed where something else is"));
        assert_eq!((rig.places(), rig.guard.decodes(), rig.function.get(4) & 7), ([None, None], false, 0));
    }
    rig.write(0x24, SMALL).unwrap();
    rig.command(6).unwrap();
    assert_eq!(rig.places(), AT_HOME);
    // While memory is decoded: nowhere until it is placed elsewhere.
    rig.write(0x24, 0x1000_0000).unwrap();
    assert_eq!((rig.places()[1], rig.function.get(4) & 7), (None, 6));
    rig.write(0x24, u32::MAX).unwrap();
    rig.write(0x24, SMALL).unwrap();
    assert_eq!((rig.places(), rig.is_at_home()), (AT_HOME, true));
}

#[test]
fn two_windows_of_a_function_change_places_one_after_the_other() {
    let mut rig = Rig::new();
    rig.write(0x10, 0xe000_0000).unwrap();
    rig.write(0x24, 0xe000_0000).unwrap();
    assert_eq!(rig.places(), [Some(0xe000_0000), None]);
    rig.write(0x10, 0xd000_0000).unwrap();
    assert_eq!(rig.places(), [Some(0xd000_0000), Some(0xe000_0000)]);
}

#[test]
fn a_function_that_has_lost_its_addresses_gets_them_back_before_it_decodes() {
    for lost_while_decoding in [false, true] {
        let mut rig = Rig::new();
        rig.command(if lost_while_decoding { 2 } else { 0 }).unwrap();
        rig.function.put(0x10, 4);
        rig.function.put(0x24, 0);
        rig.function.put(4, 0x0010_0000);
        rig.function.writes.clear();
        rig.command(2).unwrap();
        assert!(rig.is_at_home() && rig.guard.decodes());
        assert_eq!(rig.function.writes.last(), Some(&(4, Width::Word, 2)));
        assert!(rig.guard.was_reset() && !rig.guard.was_reset(), "told once");
        assert_eq!(rig.places(), AT_HOME);
    }
}

#[test]
fn a_function_that_only_its_guest_switches_on_and_off_was_not_reset() {
    let mut rig = Rig::new();
    for command in [0, 2, 6, 0, 6] {
        rig.command(command).unwrap();
        assert!(!rig.guard.was_reset());
    }
}

#[test]
fn another_function_in_its_place_is_never_switched_on() {
    let changes: [fn(&mut Function); 6] = [
        |f| f.put(0, 0x1234_5678),
        |f| f.put(8, 0x0108_0201),
        // Another size, type, and kind of base address register.
        |f| *f.masks.get_mut(&0x24).unwrap() = 0xffff_e000,
        |f| f.put(0x18, 0),
        // The table of messages lies elsewhere, or there are more.
        |f| f.put(MSI_X + 4, 0x3008),
        |f| f.put(MSI_X, 0x0003_0011 | u32::from(EXPRESS) << 8),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut rig = Rig::new();
        rig.function = Function::new();
        rig.function.put(4, 0x0010_0000);
        rig.function.put(0x10, 4);
        change(&mut rig.function);
        for _ in 0..2 {
            assert!(rig.command(6).is_err(), "{number}");
            assert_eq!((rig.function.get(4) & 7, rig.places()), (0, [None, None]), "{number}");
            assert!(!rig.guard.decodes() && !rig.guard.was_reset());
        }
    }
}

#[test]
fn there_are_no_ports() {
    let mut rig = Rig::new();
    rig.write(0x18, u32::MAX).unwrap();
    assert_eq!(rig.read(0x18), 0);
    rig.write(4, 3).unwrap();
    assert_eq!(rig.function.get(4) & 3, 2, "ports are not decoded");
    rig.access(4, Width::Byte, Op::Write(7)).unwrap();
    assert_eq!(rig.function.get(4) & 7, 6);
    rig.access(5, Width::Byte, Op::Write(5)).unwrap();
    assert_eq!(rig.function.get(4) >> 8 & 0xff, 5, "other bytes pass as they are");
}

#[test]
fn nothing_is_switched_off_in_mid_transfer() {
    let mut rig = Rig::new();
    rig.command(6).unwrap();
    rig.busy = true;
    for command in [0, 2, 4] {
        assert!(rig.command(command).unwrap_err().contains("mid-transfer"));
    }
    rig.command(0x406).unwrap();
    assert!(MemoryGuard::can_transfer(&mut rig.function));
}

#[test]
fn no_way_of_the_function_to_reset_itself_is_open() {
    let mut rig = Rig::new();
    // D3hot, with PME enabled.
    rig.access(PM + 4, Width::Word, Op::Write(0x103)).unwrap();
    assert_eq!(rig.function.get(PM + 4), 0x100);
    assert_eq!(rig.read(EXPRESS + 4), 7, "it tells of no function level reset");
    rig.access(EXPRESS + 8, Width::Word, Op::Write(0x8010)).unwrap();
    rig.access(EXPRESS + 9, Width::Byte, Op::Write(0x80)).unwrap();
    assert_eq!(rig.function.get(EXPRESS + 8), 0x10);
    assert!(rig.access(0xf, Width::Byte, Op::Write(0x40)).is_err(), "a self test");
    rig.write(0xc, 0x4010).unwrap();
}

#[test]
fn messages_pass_and_the_devices_own_registers_do_not() {
    let mut rig = Rig::new();
    rig.access(MSI_X + 2, Width::Word, Op::Write(0x8002)).unwrap();
    assert_eq!(rig.function.get(MSI_X), 0x8002_0011 | u32::from(EXPRESS) << 8);
    for offset in [MSI_X + 12, EXPRESS + 0x3c, OWN, 0xfc, 0x100, 0xffc, 0, 8, 0x2c, 0x38] {
        assert!(rig.write(offset, 1).is_err(), "{offset:#x}");
    }
    rig.write(0x3c, 5).unwrap();
    assert_eq!(rig.function.writes.len(), 2);
}

#[test]
fn after_sleep_it_decodes_nothing_and_is_at_home() {
    let mut rig = Rig::new();
    rig.function = Function::new();
    rig.function.put(0x10, 0xd000_0004);
    rig.write(0x24, 0xe000_0000).unwrap();
    rig.with(|guard, cx| guard.on_resume(cx));
    assert!(rig.is_at_home());
    assert_eq!((rig.function.get(4) & 7, rig.places()), (0, [None, None]));
    // The guest finds its registers where it had them.
    rig.command(6).unwrap();
    assert_eq!((rig.places(), rig.guard.was_reset()), ([Some(HOME.into()), Some(0xe000_0000)], false));
}

#[test]
fn a_list_of_capabilities_that_is_a_circle_ends() {
    let mut function = Function::new();
    function.put(EXPRESS, 0x0002_0010 | u32::from(PM) << 8);
    let found = Capabilities::read(&mut function);
    assert_eq!(found.find(0x10).map(|it| it.offset), Some(EXPRESS));
    assert_eq!(found.before(MSI_X + 3).map(|it| it.id), Some(0x11));
    assert_eq!(found.before(0x3f), None);
}

#[test]
fn messages_go_to_interrupt_controllers_only() {
    for (wide, data) in [(0, 8), (1 << 23, 12)] {
        let mut function = Function::new();
        function.put(MSI_X, 0x0000_0005 | wide | u32::from(EXPRESS) << 8);
        let mut rig = Rig::of(function);
        let mut write = |offset: u16, width, value| rig.access(MSI_X + offset, width, Op::Write(value)).is_ok();
        assert!(!write(2, Width::Word, 1), "no address yet");
        for address in [0, 0x10_0000, 0xfed0_0000, 0xfef0_0000, 0xffff_fffc] {
            assert!(!write(4, Width::Dword, address), "{address:#x}");
        }
        assert!(write(4, Width::Dword, 0xfee0_100c));
        assert!(!write(6, Width::Word, 0x0010) && !write(7, Width::Byte, 0), "in parts");
        assert!(write(4, Width::Word, 0x2000));
        assert_eq!(write(8, Width::Dword, 1), wide == 0, "the upper half, or data");
        assert!(write(8, Width::Dword, 0));
        assert!(write(data, Width::Dword, 0x4041));
        assert!(write(2, Width::Word, 1));
        // Without masks it ends there; what lies behind is the device's own.
        (data + 4..24).step_by(4).for_each(|behind| assert!(!write(behind, Width::Dword, 0), "{behind}"));
    }
}

#[test]
fn a_table_of_messages_behind_a_register_of_its_own_is_a_block_and_does_not_move() {
    let mut function = Function::new();
    function.put(0x1c, 0xfebf_8000);
    function.masks.insert(0x1c, 0xffff_f000);
    function.put(MSI_X + 4, 0x800 | 3);
    let mut rig = Rig::of(function);
    let table = rig.guard.regions().pop().unwrap();
    assert_eq!(rig.guard.windows().pop().unwrap(), Window { home: Gpa(0xfebf_8000), len: 0x1000 });
    assert_eq!((table.region, table.place, table.len), (RegionId(2), Some(Place::Memory(Gpa(0xfebf_8800))), 48));
    rig.write(0x1c, 0xfebf_9000).unwrap();
    assert_eq!((rig.read(0x1c), rig.function.get(0x1c)), (0xfebf_9000, 0xfebf_8000));
    assert_eq!(rig.windows.places[&2], 0xfebf_9000);
}

#[test]
fn where_the_table_cannot_be_guarded_there_is_no_msi_x() {
    for place in [0, 0x1ff8, 0x3fd8, 0x10_0000, 0xffff_fff8, 1, 2, 3, 4, 5, 6, 7] {
        let mut function = Function::new();
        function.put(MSI_X, 0x8002_0011 | u32::from(EXPRESS) << 8);
        function.put(MSI_X + 4, place);
        let mut rig = Rig::of(function);
        // Behind the small block there is no room either: the block is all that its register places.
        assert_eq!(rig.guard.regions().len(), 2, "{place:#x}");
        assert_eq!(rig.function.get(MSI_X) >> 31, 0, "it is off");
        assert_eq!(rig.read(MSI_X), u32::from(EXPRESS) << 8, "a capability without meaning, and the next one");
        assert_eq!(rig.access(MSI_X + 2, Width::Word, Op::Read), Ok(0));
        assert_eq!((rig.read(MSI_X + 4), rig.read(EXPRESS)), (0, 0x0002_0010));
        assert!(rig.access(MSI_X + 2, Width::Word, Op::Write(0x8002)).is_err());
    }
}
