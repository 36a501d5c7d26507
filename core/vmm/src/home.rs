//! The memory that Shoji keeps: the highest usable place below 4 GiB, and the move of the image to it.

use crate::defect;
use crate::failure::Failure;
use alloc::format;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use entry::IMAGE_LOADED_AT;
use hw::cpus::{self, Cpu};
use hw::paging::Image;
use hw::{Hpa, HpaRange, direct, frames, paging};
use multiboot::{Kind, place};

/// Physical address of the image at home.
static TEXT_AT: AtomicU64 = AtomicU64::new(IMAGE_LOADED_AT);

unsafe extern "C" {
    static image_start: [u8; 0];
    static rodata_start: [u8; 0];
    static data_start: [u8; 0];
    static image_end: [u8; 0];
    static boot_stack_guard: [u8; 0];
    static boot_stack_top: [u8; 0];
}

fn image(at: Hpa) -> Image {
    Image {
        start: &raw const image_start as u64,
        rodata: &raw const rodata_start as u64,
        data: &raw const data_start as u64,
        end: &raw const image_end as u64,
        guard: &raw const boot_stack_guard as u64,
        at,
    }
}

/// Virtual addresses of the VMM's code.
pub fn text() -> Range<u64> {
    &raw const image_start as u64..&raw const rodata_start as u64
}

/// Linear addresses of the stack that is in use.
pub fn stack() -> Range<u64> {
    let early = &raw const boot_stack_guard as u64 + paging::KIB_4..&raw const boot_stack_top as u64;
    cpus::here().map_or(early, Cpu::stack)
}

/// Where the code lies physically.
pub fn text_at() -> Hpa {
    Hpa(TEXT_AT.load(Ordering::Relaxed))
}

/// Moves the image to the top of low RAM and gives the rest of the reservation to the frame allocator. What is in `kept` is still to
/// be read where the loader has put it.
pub fn settle(memory_map: &[multiboot::Entry], kept: &[Range<u64>], reserve_mib: u32) -> Result<HpaRange, Failure> {
    let loaded = image(Hpa(IMAGE_LOADED_AT));
    let len = loaded.end - loaded.start;
    let wanted = u64::from(reserve_mib) << 20;
    let mut occupied = kept.to_vec();
    occupied.push(IMAGE_LOADED_AT..IMAGE_LOADED_AT + len);
    let place = place::choose(memory_map, wanted, &occupied).ok_or_else(|| {
        format!("no {reserve_mib} MiB of usable RAM in one piece below 4 GiB; lower `reserve` in [memory] or add RAM")
    })?;
    let home = HpaRange { start: place.start, end: place.end };
    // SAFETY: usable RAM that the loader does not occupy, below 4 GiB.
    let record = unsafe { defect::keep_record(Hpa(home.start)) };
    let at = Hpa(record.end);
    TEXT_AT.store(at.0, Ordering::Relaxed);
    if len >= home.end - at.0 {
        return Err(format!("{reserve_mib} MiB are less than the image needs; raise `reserve` in [memory]").into());
    }
    // SAFETY: usable RAM that the loader does not occupy, all below 4 GiB; the image gets the part before it.
    unsafe { frames::add(HpaRange { start: at.0 + len, end: home.end }) };

    let ram_end = memory_map.iter().filter(|e| e.kind != Kind::Reserved).map(|e| e.base + e.len_bytes).max();
    let direct_end = ram_end.unwrap_or(0).max(1 << 32);
    let root = paging::build(&image(at), direct_end, gib_pages())
        .ok_or("not enough memory for page tables; raise `reserve` in [memory]")?;
    let (from, to) = (direct::pointer(Hpa(IMAGE_LOADED_AT)) as u64, direct::pointer(at) as u64);
    // SAFETY: both ends are in the direct map of old and new tables, `to` is ours and has room, and the new tables map
    // the image as the old ones do.
    unsafe { entry::move_image(from, to, len, root.0) };
    log::info!("Shoji keeps {:#x}-{:#x} ({reserve_mib} MiB)", home.start, home.end);
    Ok(home)
}

/// 1 GiB pages: CPUID 8000_0001h EDX bit 26.
pub fn gib_pages() -> bool {
    raw_cpuid::CpuId::with_cpuid_reader(raw_cpuid::CpuIdReaderNative)
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|features| features.has_1gib_pages())
}

/// Zeroes the image where the loader had put it: the configuration was read there, keys included.
pub fn wipe_loaded_image() {
    let loaded = image(Hpa(IMAGE_LOADED_AT));
    let len = (loaded.end - loaded.start) as usize;
    // SAFETY: Shoji runs at its new home; nothing else lies there.
    unsafe { core::ptr::write_bytes(direct::pointer(loaded.at), 0, len) };
}

/// Zeroes the heap, which holds all keys. Nothing may be allocated or freed afterwards.
pub fn wipe_heap() {
    for part in [hw::heap::range(), hw::heap::added()].into_iter().filter(|part| !part.is_empty()) {
        // SAFETY: Shoji's own; the caller uses the heap no more.
        unsafe { core::ptr::write_bytes(part.start as *mut u8, 0, (part.end - part.start) as usize) };
    }
}

/// Zeroes the heap, here and where the loader had put the image, before a boot without Shoji. Nothing may be allocated
/// or freed afterwards.
pub fn wipe_secrets() {
    wipe_loaded_heap();
    wipe_heap();
}

/// The heap's first copy, made when the image moved.
fn wipe_loaded_heap() {
    let heap = hw::heap::range();
    let copy = Hpa(IMAGE_LOADED_AT + (heap.start - image(Hpa(IMAGE_LOADED_AT)).start));
    // SAFETY: Shoji runs at its new home, or the caller uses the heap no more.
    unsafe { core::ptr::write_bytes(direct::pointer(copy), 0, (heap.end - heap.start) as usize) };
}
