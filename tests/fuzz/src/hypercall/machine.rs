//! A machine of 16 pages, of which a caller has 16 in its tables, and a virtual CPU that only makes hypercalls.

use exit::{
    ControlRegisters, CpuidLeaf, DeviceMemory, Exception, Exit, Gpr, IoExit, Machine, NestedFault, Parts, Ports,
    Recall, Segment, SegmentName, Vcpu,
};
use mediator::{BusAddr, DmaArena, DmaBuffer, Gpa, GuestMemory, Instant, NotRam, OutOfArena, Width};
use sleep::WakingVector;

pub const PAGE: u64 = 4096;
/// Pages that the caller's tables tell of, from [`FIRST_PAGE`] on.
pub const PAGES: u64 = 16;
pub const FIRST_PAGE: u64 = 0x20_0000;
/// Pages of data; those above are the VMM's.
pub const RAM_PAGES: u64 = 13;
/// Page tables: PML4, PDPT, PD, PT, behind all pages.
const TABLES: u64 = 16 * PAGE;

pub struct Memory {
    pub bytes: Vec<u8>,
}

/// Data alone: accessed and dirty bits of page tables are none.
pub fn same_data(a: &[u8], b: &[u8]) -> bool {
    a[..TABLES as usize] == b[..TABLES as usize]
}

impl Memory {
    pub fn same_data(&self, before: &[u8]) -> bool {
        same_data(&self.bytes, before)
    }

    fn range(&self, at: Gpa, len: usize) -> Result<std::ops::Range<usize>, NotRam> {
        let end = at.0.checked_add(len as u64).filter(|end| *end <= self.bytes.len() as u64).ok_or(NotRam(at))?;
        let is_ram = end <= RAM_PAGES * PAGE || at.0 >= TABLES;
        if is_ram { Ok(at.0 as usize..end as usize) } else { Err(NotRam(at)) }
    }
}

impl GuestMemory for Memory {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        data.copy_from_slice(&self.bytes[self.range(from, data.len())?]);
        Ok(())
    }
    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
        let range = self.range(to, data.len())?;
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }
    fn compare_exchange(&mut self, at: Gpa, width: Width, old: u64, new: u64) -> Result<bool, NotRam> {
        let range = self.range(at, width.bytes())?;
        let len = range.len();
        let is_equal = self.bytes[range.clone()] == old.to_le_bytes()[..len];
        if is_equal {
            self.bytes[range].copy_from_slice(&new.to_le_bytes()[..len]);
        }
        Ok(is_equal)
    }
    fn bus_addr(&self, of: Gpa, _: u64) -> Result<BusAddr, NotRam> {
        Err(NotRam(of))
    }
}

pub struct NoPorts;

impl Ports for NoPorts {
    fn read(&mut self, _: u16, _: Width) -> u32 {
        u32::MAX
    }
    fn write(&mut self, _: u16, _: Width, _: u32) {}
    fn read_string(&mut self, _: u16, _: Width, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write_string(&mut self, _: u16, _: Width, _: &[u8]) {}
}

pub struct NoDeviceMemory;

impl DeviceMemory for NoDeviceMemory {
    fn read(&mut self, _: Gpa, width: Width) -> u64 {
        width.ones()
    }
    fn write(&mut self, _: Gpa, _: Width, _: u64) {}
}

pub struct NoArena;

impl DmaArena for NoArena {
    fn alloc(&mut self, _: usize, _: usize) -> Option<DmaBuffer> {
        None
    }
    fn free(&mut self, _: DmaBuffer) {}
    fn bytes(&mut self, _: BusAddr, _: usize) -> Result<&mut [u8], OutOfArena> {
        Err(OutOfArena)
    }
}

pub struct Small {
    pub memory: Memory,
    ports: NoPorts,
    device_memory: NoDeviceMemory,
    arena: NoArena,
}

impl Small {
    /// With these pages in the caller's tables, and this data in memory from its beginning on.
    pub fn new(pages: &[u8; PAGES as usize], data: &[u8]) -> Self {
        let mut bytes = vec![0; (TABLES + 4 * PAGE) as usize];
        let data = &data[..data.len().min((RAM_PAGES * PAGE) as usize)];
        bytes[..data.len()].copy_from_slice(data);
        let mut put = |at: u64, entry: u64| bytes[at as usize..at as usize + 8].copy_from_slice(&entry.to_le_bytes());
        put(TABLES, (TABLES + PAGE) | 7);
        put(TABLES + PAGE, (TABLES + 2 * PAGE) | 7);
        put(TABLES + 2 * PAGE + FIRST_PAGE / 0x20_0000 * 8, (TABLES + 3 * PAGE) | 7);
        for (n, page) in (0..).zip(pages) {
            put(TABLES + 3 * PAGE + n * 8, (u64::from(page >> 4) * PAGE) | u64::from(page & 7));
        }
        Self { memory: Memory { bytes }, ports: NoPorts, device_memory: NoDeviceMemory, arena: NoArena }
    }
}

impl Machine for Small {
    type Ports = NoPorts;
    type DeviceMemory = NoDeviceMemory;
    type Memory = Memory;
    type Arena = NoArena;
    fn parts(&mut self) -> Parts<'_, Self> {
        let Self { ports, device_memory, memory, arena } = self;
        Parts { ports, device_memory, memory, arena }
    }
    fn read_code<const N: usize>(&mut self, _: Gpa) -> Option<[u8; N]> {
        None
    }
    fn cpuid(&mut self, _: u32, _: u32) -> CpuidLeaf {
        CpuidLeaf::default()
    }
    fn read_msr(&mut self, _: u32) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64) -> Option<()> {
        None
    }
    fn tsc(&self) -> u64 {
        0
    }
    fn set_port_intercept(&mut self, _: u16, _: u16, _: bool) {}
    fn now(&self) -> Instant {
        Instant(1_000_000)
    }
    fn provoke_defect(&mut self, _: u64) {}
    fn plan_anew(&mut self) {}
    fn try_deadlines(&mut self, _: u64) -> u64 {
        0
    }
    fn call_service(&mut self, _: u64, _: u64) -> [u64; 2] {
        [0; 2]
    }
    fn take_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn stop_others<R>(&mut self, then: impl FnOnce(&mut Self) -> R) -> R {
        then(self)
    }
    fn cpu_number(&self) -> usize {
        0
    }
    fn apic_ids(&self) -> &[u32] {
        &[0]
    }
    fn init_cpu(&mut self, _: usize) {}
    fn start_cpu(&mut self, _: usize, _: u8) {}
    fn is_vmm_memory(&self, _: Gpa) -> bool {
        false
    }
}

/// Who makes calls.
pub struct Caller {
    gprs: [u64; 16],
    raised: Option<Exception>,
    pub user: bool,
    pub long: bool,
}

impl Caller {
    pub fn new(user: bool, long: bool) -> Self {
        Self { gprs: [0; 16], raised: None, user, long }
    }

    pub fn mask(&self) -> u64 {
        if self.long { u64::MAX } else { u32::MAX.into() }
    }

    pub fn take_raised(&mut self) -> Option<Exception> {
        self.raised.take()
    }
}

impl Vcpu for Caller {
    fn run(&mut self) -> Exit {
        Exit::Hypercall
    }
    fn io(&self) -> IoExit {
        unimplemented!("no port access")
    }
    fn nested_fault(&self) -> NestedFault {
        unimplemented!("no nested fault")
    }
    fn gpr(&self, register: Gpr) -> u64 {
        self.gprs[register as usize]
    }
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        self.gprs[register as usize] = value;
    }
    fn rip(&self) -> u64 {
        0x1000
    }
    fn rflags(&self) -> u64 {
        2
    }
    fn set_rflags(&mut self, _: u64) {}
    fn segment(&self, name: SegmentName) -> Segment {
        let long = self.long && name == SegmentName::Cs;
        Segment { limit: u32::MAX, long, default_32: !long, access: 0x9b, ..Segment::default() }
    }
    fn control(&self) -> ControlRegisters {
        // PE, WP, PG; PAE; LME and LMA.
        ControlRegisters { cr0: 0x8001_0001, cr3: TABLES, cr4: 1 << 5, efer: 0x500 }
    }
    fn set_efer(&mut self, _: u64) {}
    fn tsc_offset(&self) -> u64 {
        0
    }
    fn set_tsc_offset(&mut self, _: u64) {}
    fn cpl(&self) -> u8 {
        if self.user { 3 } else { 0 }
    }
    fn instruction_len(&self) -> Option<u8> {
        Some(3)
    }
    fn skip_instruction(&mut self, len_bytes: u8) {
        assert_eq!(len_bytes, 3);
    }
    fn skip_io(&mut self) {}
    fn inject(&mut self, exception: Exception) {
        assert_eq!(self.raised.replace(exception), None);
    }
    fn reinject(&mut self) {}
    fn queue_interrupt(&mut self, _: u8) {}
    fn set_recall(&mut self, _: Recall) {}
    fn halt(&mut self, _: u8) {}
    fn start(&mut self, _: u8) {}
    fn wake(&mut self, _: WakingVector) {}
}
