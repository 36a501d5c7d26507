//! What IDENTIFY gives: read by us, and changed before the guest reads it (NVMe s. 5.15.2).

use crate::spec::{IDENTIFY_BYTES, PAGE_BYTES, controller, namespace};
use alloc::string::{String, ToString};

/// Shift from a memory page to the largest transfer that the guest may ask for: 128 KiB.
const MAX_TRANSFER_SHIFT: u8 = 5;
/// The largest transfer of one command.
pub const MAX_TRANSFER_BYTES: u32 = (PAGE_BYTES as u32) << MAX_TRANSFER_SHIFT;

/// Sector sizes that are served, as powers of two.
const SECTOR_SHIFTS: core::ops::RangeInclusive<u8> = 9..=12;

/// The page that IDENTIFY fills.
pub type Page = [u8; IDENTIFY_BYTES];

/// A controller's identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Controller {
    pub model: String,
    pub serial: String,
    /// Largest number of a namespace.
    pub namespaces: u32,
    /// The largest transfer that both the device and Shoji serve.
    pub max_transfer_bytes: u32,
}

/// A namespace's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    pub sectors: u64,
    pub sector_bytes: u32,
    /// Each sector has metadata, or sectors are of a size that is not served: no transfer is let through.
    pub usable: bool,
}

impl Controller {
    pub fn parse(page: &Page) -> Self {
        let shift = capped_mdts(byte(page, controller::MDTS));
        Self {
            model: text(page, controller::MODEL),
            serial: text(page, controller::SERIAL),
            namespaces: dword(page, controller::NN),
            max_transfer_bytes: u32::try_from(PAGE_BYTES).unwrap_or(0).wrapping_shl(shift.into()),
        }
    }
}

impl Namespace {
    /// `None`: not active.
    pub fn parse(page: &Page) -> Option<Self> {
        let sectors =
            page.get(namespace::NSZE..).and_then(|rest| rest.first_chunk()).copied().map(u64::from_le_bytes)?;
        if sectors == 0 {
            return None;
        }
        let format = usize::from(byte(page, namespace::FLBAS) & 0xf);
        let format = dword(page, namespace::LBAF.saturating_add(format << 2)).to_le_bytes();
        let [meta_low, meta_high, shift, _] = format;
        let usable = (meta_low, meta_high) == (0, 0) && SECTOR_SHIFTS.contains(&shift);
        let sector_bytes = 1_u32.checked_shl(shift.into()).unwrap_or(0);
        Some(Self { sectors, sector_bytes, usable })
    }
}

/// Changes a controller's identity to what the guest may use. `trim`: a namespace lets sectors be told unused.
pub fn filter_controller(page: &mut Page, protected: bool, trim: bool) {
    let mdts = capped_mdts(byte(page, controller::MDTS));
    set(page, controller::MDTS, mdts);
    let kept = if protected { 0 } else { controller::OACS_SECURITY | controller::OACS_FIRMWARE };
    and_word(page, controller::OACS, kept | controller::OACS_SELF_TEST);
    let always = controller::ONCS_SAVE_FIELD | controller::ONCS_TIMESTAMP;
    let plain = controller::ONCS_WRITE_UNCORRECTABLE | controller::ONCS_WRITE_ZEROES | controller::ONCS_VERIFY;
    let dataset = if !protected || trim { controller::ONCS_DATASET_MANAGEMENT } else { 0 };
    and_word(page, controller::ONCS, always | dataset | if protected { 0 } else { plain });
    for hidden in [controller::HMPRE_HMMIN, controller::FUSES, controller::SGLS] {
        zero(page, hidden);
    }
    // Queue entries have the required size and no other.
    set(page, controller::SQES, 0x66);
    set(page, controller::CQES, 0x44);
    if protected {
        let kept = byte(page, controller::LPA) & controller::LPA_KEPT;
        set(page, controller::LPA, kept);
        set(page, controller::NWPC, 0);
        zero(page, controller::RPMBS);
        zero(page, controller::SANICAP);
        // Parts of a write are torn apart by a power cut: one sector is written as a whole, and no more is promised.
        controller::ATOMIC.into_iter().for_each(|atomic| zero(page, atomic));
    }
}

/// Changes the identity of a protected namespace. `crypto_bytes` is the largest sector that is transformed as a whole.
pub fn filter_namespace(page: &mut Page, crypto_bytes: usize) {
    set(page, namespace::RESCAP, 0);
    // What unused sectors read as is what decryption makes of them.
    set(page, namespace::DLFEAT, 0);
    let features = byte(page, namespace::NSFEAT) & !namespace::NSFEAT_ATOMIC;
    set(page, namespace::NSFEAT, features);
    zero(page, namespace::ATOMIC);
    let Some(identity) = Namespace::parse(page) else { return };
    let sector = usize::try_from(identity.sector_bytes).unwrap_or(0);
    let whole = crypto_bytes.checked_div(sector).and_then(|whole| u16::try_from(whole).ok()).unwrap_or(1);
    if whole > 1 {
        let optperf = byte(page, namespace::NSFEAT) | namespace::NSFEAT_OPTPERF;
        set(page, namespace::NSFEAT, optperf);
        // Both count from 0.
        let least = whole.saturating_sub(1);
        for at in [namespace::NPWG, namespace::NPWA] {
            let told = word(page, at).max(least);
            set_word(page, at, told);
        }
    }
}

/// 0 means that the device has no limit.
fn capped_mdts(told: u8) -> u8 {
    if told == 0 { MAX_TRANSFER_SHIFT } else { told.min(MAX_TRANSFER_SHIFT) }
}

fn byte(page: &Page, at: usize) -> u8 {
    page.get(at).copied().unwrap_or(0)
}

fn word(page: &Page, at: usize) -> u16 {
    page.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u16::from_le_bytes)
}

fn dword(page: &Page, at: usize) -> u32 {
    page.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_le_bytes)
}

fn set(page: &mut Page, at: usize, value: u8) {
    if let Some(byte) = page.get_mut(at) {
        *byte = value;
    }
}

fn set_word(page: &mut Page, at: usize, value: u16) {
    if let Some(bytes) = page.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *bytes = value.to_le_bytes();
    }
}

fn and_word(page: &mut Page, at: usize, kept: u16) {
    let value = word(page, at) & kept;
    set_word(page, at, value);
}

fn zero(page: &mut Page, range: core::ops::Range<usize>) {
    if let Some(bytes) = page.get_mut(range) {
        bytes.fill(0);
    }
}

fn text(page: &Page, range: core::ops::Range<usize>) -> String {
    let bytes = page.get(range).unwrap_or_default();
    let text: String =
        bytes.iter().map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { byte.into() } else { '?' }).collect();
    text.trim().to_string()
}
