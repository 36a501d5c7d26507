//! DMA and PIO transfers of every size, on plain sectors, encrypted sectors and across both borders of the range:
//! what is read is what was written, whichever way, and the neighbours stay.

use crate::boot;
use crate::machine::ata::{self, Command, Prd, SECTOR, Wait, dma_command, prds};
use crate::machine::irq::with_lines;
use crate::machine::memory::{buffer, buffer_address};

/// The size in sectors. 256 is the largest count of LBA28, 2560 is Linux's largest request.
const SIZES: [usize; 14] = [1, 2, 3, 7, 8, 16, 63, 127, 128, 129, 255, 256, 257, 2560];
/// The neighbours that are watched on either side.
const MARGIN: usize = 2;
const MULTIPLE: usize = 16;
/// Wakes the CPU when the disk's interrupt is lost.
const TIMER: u8 = 0;

pub fn run() {
    let Some((first, count)) = boot::encrypted_range() else {
        crate::report::fail(format_args!("the image names no encrypted range"))
    };
    let (first, end) = (u64::from(first), u64::from(first + count));
    ata::settle();
    with_lines(1 << ata::LINE | 1 << TIMER, || {
        let mut generation = 0;
        for (place, base) in [("plain", end + 4096), ("encrypted", first + 4096)] {
            for sectors in SIZES {
                transfer(place, base, sectors, &mut generation);
            }
        }
        for sectors in [2, 8, 128, 257, 2560] {
            transfer("the range's start", first - sectors as u64 / 2, sectors, &mut generation);
            transfer("the range's end", end - sectors as u64 / 2, sectors, &mut generation);
            transfer("one sector before", first - 1, sectors, &mut generation);
        }
        say!("{generation} writes, each read three ways; {} interrupts of the disk", ata::interrupts());
    });
    scattered(first);
    multiple(first);
    disk_end();
}

/// Writes by DMA and by PIO; reads back by DMA with interrupts, DMA polled, and PIO, margins included.
fn transfer(place: &str, lba: u64, sectors: usize, generation: &mut u32) {
    let all = sectors + 2 * MARGIN;
    let outer = lba - MARGIN as u64;
    for by_dma in [true, false] {
        let before = *generation + 0x1000;
        *generation += 1;
        ata::fill_pattern(outer, before, &mut buffer(0)[..all * SECTOR]);
        ata::must(ata::write_dma(outer, &buffer(0)[..all * SECTOR]), place);

        let data = &mut buffer(0)[..sectors * SECTOR];
        ata::fill_pattern(lba, *generation, data);
        if by_dma {
            let pieces = prds(data.as_ptr() as u64, data.len());
            ata::must(ata::dma(dma_command(lba, sectors, true), false, Wait::Interrupt, pieces), place);
        } else {
            ata::must(ata::write_pio(lba, data), place);
        }
        let back = buffer(1);
        for how in ["DMA with interrupts", "DMA polled", "PIO"] {
            let back = &mut back[..all * SECTOR];
            back.fill(0xee);
            let result = match how {
                "DMA polled" => ata::read_dma(outer, back),
                "PIO" => ata::read_pio(outer, back),
                _ => {
                    ata::dma(dma_command(outer, all, false), true, Wait::Interrupt, prds(buffer_address(1), back.len()))
                }
            };
            ata::must(result, place);
            let wrong = ata::pattern_mismatch(lba, *generation, &back[MARGIN * SECTOR..][..sectors * SECTOR]);
            check!(
                wrong.is_none(),
                "{place}: sector {wrong:?} of {sectors} from {lba} is wrong (written by DMA: {by_dma}, read by {how})"
            );
            let tail = &back[(MARGIN + sectors) * SECTOR..];
            check!(
                ata::pattern_mismatch(outer, before, &back[..MARGIN * SECTOR]).is_none()
                    && ata::pattern_mismatch(lba + sectors as u64, before, tail).is_none(),
                "{place}: {sectors} sectors from {lba} changed a neighbour (written by DMA: {by_dma}, read by {how})"
            );
        }
    }
}

/// PRDs of odd lengths at odd places, in an order of their own; the memory between them stays.
fn scattered(first: u64) {
    const LENGTHS: [u16; 8] = [2, 510, 1022, 4096, 30, 2050, 434, 48];
    let bytes: usize = LENGTHS.iter().map(|&l| usize::from(l)).sum();
    check_eq!(bytes % SECTOR, 0, "the PRDs' sum");
    let places =
        core::array::from_fn::<_, 8, _>(|i| buffer_address(2) + 0x1_0000 * (7 - i as u64) + 0xe00 + 2 * i as u64);
    let pieces = || places.into_iter().zip(LENGTHS).map(|(address, bytes)| Prd { address: address as u32, bytes });
    let (flat, sectors) = (&mut buffer(0)[..bytes], bytes / SECTOR);
    for lba in [first + 100, first - 8] {
        ata::fill_pattern(lba, 77, flat);
        buffer(2).fill(0xee);
        ata::must(ata::write_dma(lba, flat), "WRITE DMA");
        ata::must(ata::dma(dma_command(lba, sectors, false), true, Wait::Poll, pieces()), "scattered READ DMA");
        let (memory, mut done) = (buffer(2), 0);
        for (at, len) in places.into_iter().zip(LENGTHS) {
            let (at, len) = ((at - buffer_address(2)) as usize, usize::from(len));
            check!(memory[at..][..len] == flat[done..][..len], "PRD of {len} bytes: wrong data");
            check!(memory[at - 1] == 0xee && memory[at + len] == 0xee, "PRD of {len} bytes: written outside");
            done += len;
        }
        ata::must(ata::dma(dma_command(lba + 64, sectors, true), false, Wait::Poll, pieces()), "scattered WRITE DMA");
        let back = &mut buffer(1)[..bytes];
        ata::must(ata::read_dma(lba + 64, back), "READ DMA");
        check!(back == flat, "scattered WRITE DMA: wrong data on the disk");
    }
}

/// SET MULTIPLE MODE, READ and WRITE MULTIPLE, a last block that is not full.
fn multiple(first: u64) {
    let set = Command { code: 0xc6, count: MULTIPLE as u16, ..Command::default() };
    ata::must(ata::non_data(set), "SET MULTIPLE MODE");
    for (sectors, lba) in [(1, first), (16, first + 50), (40, first - 20), (100, first + 200)] {
        let command = |code| Command { code, lba, count: sectors as u16, ..Command::default() };
        let (data, back) = (&mut buffer(0)[..sectors * SECTOR], &mut buffer(1)[..sectors * SECTOR]);
        ata::fill_pattern(lba, 99, data);
        ata::must(ata::pio_out(command(0xc5), MULTIPLE, data), "WRITE MULTIPLE");
        ata::must(ata::read_dma(lba, back), "READ DMA");
        check!(back == data, "WRITE MULTIPLE of {sectors} sectors: wrong data");
        back.fill(0);
        ata::must(ata::pio_in(command(0xc4), MULTIPLE, back), "READ MULTIPLE");
        check!(back == data, "READ MULTIPLE of {sectors} sectors: wrong data");
    }
}

/// The last sector is reached, the one behind it is an error, and the disk goes on.
fn disk_end() {
    let id = ata::identify();
    let sectors = u64::from(id[60]) | u64::from(id[61]) << 16;
    ata::must(ata::read_dma(sectors - 8, &mut buffer(1)[..8 * SECTOR]), "reading the last sectors");
    let behind = ata::read_dma(sectors, &mut buffer(1)[..SECTOR]);
    check!(behind.is_err(), "a sector behind the end of the disk is read");
    say!("behind the end: {behind:x?}");
    ata::soft_reset();
    ata::must(ata::read_pio(sectors - 1, &mut buffer(1)[..SECTOR]), "the last sector after an error");
}
