//! CF8 and CFC used by all CPUs without a lock: one writes data while another changes the address, so that a check of the one and the
//! access of the other fall apart; the goal is BAR4 and the command register of the guarded IDE controller. CF8 by bytes and words.
//!
//! Safe: values for the wrong register, as on the bare machine; wherever the bus master's registers are afterwards, their DMA is
//! mediated: what goes to the encrypted range is encrypted, and nothing reaches the hypervisor's memory. Or the guest loses the
//! controller, for too many attempts.

use crate::frame::random::Random;
use crate::frame::target_memory;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tiny::boot;
use tiny::machine::ata::{self, Prd, Wait};
use tiny::machine::hypervisor;
use tiny::machine::memory::{buffer, peek};
use tiny::machine::pci::{BAR4, COMMAND, COMMAND_BUS_MASTER, COMMAND_IO, Function};
use tiny::machine::port::{in32, out8, out16, out32};
use tiny::machine::smp;
use tiny::machine::time::Since;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const MS: u32 = 1000;
/// Places that are free, as in the tiny guest ide_bar4.
const PLACES: [u32; 4] = [0xe001, 0xe7f1, 0xd001, 0x01f1];
const SECTORS: usize = 16;

pub fn run() {
    smp::start();
    let vmm = target_memory();
    let before: u64 = peek(vmm.start);
    let ide = ata::function();
    ata::bus_master(); // on
    let (bar, command) = (ide.read32(BAR4), ide.read16(COMMAND));
    ata::settle();
    let stop = AtomicBool::new(false);
    let addresses = || {
        let mut random = Random::new(0xcf8 + smp::number() as u64);
        while !stop.load(Relaxed) {
            address(&mut random, ide);
        }
    };
    smp::on_others(&addresses, || {
        let (mut since, mut random) = (Since::now(), Random::new(0xcfc));
        while since.ms() < MS {
            for _ in 0..50 {
                match random.below(5) {
                    0 => _ = in32(DATA),
                    1 => out16(DATA, COMMAND_IO | COMMAND_BUS_MASTER),
                    2 => out8(DATA + 1, PLACES[random.below(PLACES.len())] as u8),
                    _ => out32(DATA, PLACES[random.below(PLACES.len())]),
                }
            }
        }
        stop.store(true, Relaxed);
    });
    say!("BAR4 is {:#x}, was {bar:#x}", ide.read32(BAR4));
    if ide.read32(0) == u32::MAX {
        check!(hypervisor::current().0.is_some(), "the controller is lost on the bare machine");
        check_eq!(peek::<u64>(vmm.start), before, "memory of the hypervisor");
        return seen!("the controller is lost");
    }
    // Where it has come to, if that is a place at all.
    let place = (ide.read32(BAR4) & 0xfff0) as u16;
    ide.write16(COMMAND, command);
    if place >= 0x1000 {
        dma_is_mediated(place, vmm.start as u32);
    }
    ide.write32(BAR4, bar);
    ide.write16(COMMAND, command);
    check_eq!(ide.read32(BAR4), bar, "BAR4 as it was");
    dma_is_mediated((bar & 0xfff0) as u16, vmm.start as u32);
    check_eq!(peek::<u64>(vmm.start), before, "memory of the hypervisor");
    seen!("the bus master is where BAR4 says, and mediated");
}

/// One access to the address register: the goal's registers, harmless ones, and pieces of addresses.
fn address(random: &mut Random, ide: Function) {
    let of = |device: u8, function: u8, offset: u8| {
        1 << 31 | u32::from(device) << 11 | u32::from(function) << 8 | u32::from(offset)
    };
    let goal = of(ide.device, ide.function, [BAR4, COMMAND][random.below(2)]);
    match random.below(8) {
        0 => out8(ADDRESS, [BAR4, COMMAND, 0x3c, 0][random.below(4)]),
        1 => out16(ADDRESS, goal as u16),
        2 => out8(ADDRESS + 3, [0x80, 0, 0x81][random.below(3)]),
        3 => out32(ADDRESS, of(ide.device, 0, 0x3c)),
        4 => out32(ADDRESS, of(0, 0, 0)),
        _ => out32(ADDRESS, goal),
    }
}

/// DMA by this place: a write whose sectors must not be plain on the disk (looked at when the machine has ended), and one from and to
/// the hypervisor's memory.
fn dma_is_mediated(bm: u16, vmm: u32) {
    let Some((first, _)) = boot::encrypted_range() else { tiny::report::fail(format_args!("no encrypted range")) };
    let data = &mut buffer(0)[..SECTORS * ata::SECTOR];
    ata::fill_pattern(first.into(), 5, data);
    let command = ata::dma_command(first.into(), SECTORS, true);
    let pieces = ata::prds(data.as_ptr() as u64, data.len());
    ata::must(ata::dma_at(bm, command, false, Wait::Poll, pieces), "a write by DMA");
    let back = &mut buffer(1)[..SECTORS * ata::SECTOR];
    let pieces = ata::prds(back.as_ptr() as u64, back.len());
    let command = ata::dma_command(first.into(), SECTORS, false);
    ata::must(ata::dma_at(bm, command, true, Wait::Poll, pieces), "a read by DMA");
    check_eq!(ata::pattern_mismatch(first.into(), 5, back), None, "the sector that differs");
    // Into the hypervisor's memory: refused or without effect; on the bare machine the stand-in is overwritten.
    if hypervisor::current().0.is_some() {
        let before: u64 = peek(vmm.into());
        let result = ata::dma_at(bm, command, true, Wait::Poll, [Prd { address: vmm, bytes: 0x2000 }]);
        say!("DMA to the hypervisor's memory: {result:x?}");
        ata::soft_reset();
        check_eq!(peek::<u64>(vmm.into()), before, "memory of the hypervisor after DMA");
    }
}
