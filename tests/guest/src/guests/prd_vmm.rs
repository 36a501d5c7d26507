//! Descriptors of a plain disk that point into VMM memory: no byte moves, the guest sees an error, the disk goes on.

use crate::machine::ata::{self, AtaError, Prd, SECTOR, Wait};
use crate::machine::memory::{Map, buffer, buffer_address, vmm_range};
use crate::report;

const LBA: u64 = 4096;
const SECTORS: usize = 8;
const BYTES: usize = SECTORS * SECTOR;
const GENERATION: u32 = 7;

pub fn run() {
    let map = Map::from_bios();
    write_pattern();
    disk_is_untouched("a plain write");
    if !super::shoji() {
        return;
    }
    let Some(vmm) = vmm_range(&map) else {
        report::fail(format_args!("no memory is missing in the map: where does the VMM live?"))
    };
    let vmm = vmm.start as u32;
    let ram = buffer_address(2) as u32;
    let whole = |address| [Prd { address, bytes: BYTES as u16 }; 1];
    let halves = |first, second| {
        [Prd { address: first, bytes: (BYTES / 2) as u16 }, Prd { address: second, bytes: (BYTES / 2) as u16 }]
    };
    for offset in [0, 0x1000, 1 << 20, (16 << 20) - BYTES as u32] {
        refused("a PRD in VMM memory", &whole(vmm + offset));
    }
    refused("a second PRD in VMM memory", &halves(ram, vmm));
    refused("a first PRD in VMM memory", &halves(vmm, ram));
    refused("a PRD that ends in VMM memory", &whole(vmm - SECTOR as u32));
    refused("a PRD of 64 KiB in VMM memory", &[Prd { address: vmm, bytes: 0 }]);
    table_in_vmm_memory(vmm);
}

fn write_pattern() {
    let data = &mut buffer(0)[..BYTES];
    ata::fill_pattern(LBA, GENERATION, data);
    ata::must(ata::write_dma(LBA, data), "WRITE DMA");
}

/// The disk works, and holds what it held.
fn disk_is_untouched(after: &str) {
    let data = &mut buffer(1)[..BYTES];
    data.fill(0);
    ata::must(ata::read_dma(LBA, data), "READ DMA");
    if let Some(sector) = ata::pattern_mismatch(LBA, GENERATION, data) {
        report::fail(format_args!("sector {sector} has changed after {after}"));
    }
}

fn refused(what: &str, prds: &[Prd]) {
    for write in [true, false] {
        buffer(2)[..BYTES].fill(0x77);
        let result = ata::dma(ata::dma_command(LBA, SECTORS, write), !write, Wait::Poll, prds.iter().copied());
        recover(what, write, result);
        if write {
            check!(buffer(2)[..BYTES].iter().all(|&b| b == 0x77), "{what}: a write changes memory");
        }
    }
}

fn table_in_vmm_memory(vmm: u32) {
    for write in [true, false] {
        for table in [vmm, vmm + (1 << 20) - 8] {
            let bm = ata::bus_master();
            ata::start_dma(bm, ata::dma_command(LBA, SECTORS, write), !write, table);
            recover("a PRD table in VMM memory", write, ata::finish_dma(bm, None));
        }
    }
}

fn recover(what: &str, write: bool, result: Result<(), AtaError>) {
    match result {
        Ok(()) => report::fail(format_args!("{what}: the transfer succeeds (write: {write})")),
        Err(e) => say!("{what} (write: {write}): {e:x?}"),
    }
    ata::soft_reset();
    disk_is_untouched(what);
}
