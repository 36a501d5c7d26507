//! AES-XTS on the host: makes encrypted partitions and checks what Shoji wrote. Deliberately not Shoji's own transform.
//!
//! `aes-xts-plain64` as dm-crypt names it: IEEE 1619, 512-byte sectors, tweak = little-endian sector number from the start
//! of the range.

use aes::Aes256;
use aes::cipher::KeyInit;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use xts_mode::{Xts128, get_tweak_default};

pub const SECTOR: usize = 512;
/// Sectors per step of the bulk operations: 1 MiB.
const STEP: u64 = 2048;

/// Data key, then tweak key, as `cryptsetup --key-file` reads them.
pub struct DiskKey {
    xts: Xts128<Aes256>,
}

impl DiskKey {
    pub fn new(bytes: &[u8; 64]) -> Self {
        let (data, tweak) = bytes.split_at(32);
        let cipher = |half: &[u8]| Aes256::new_from_slice(half).expect("half of 64 bytes is an AES-256 key");
        Self { xts: Xts128::new(cipher(data), cipher(tweak)) }
    }

    /// A key file: 64 raw bytes.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read the key {}", path.display()))?;
        let bytes: &[u8; 64] = bytes.as_slice().try_into().ok().with_context(|| {
            format!(
                "{} has {} bytes, an AES-XTS-256 key has 64: remove it to get a new one",
                path.display(),
                bytes.len()
            )
        })?;
        Ok(Self::new(bytes))
    }

    /// Whole sectors in place; `first` counts from the start of the range.
    pub fn encrypt(&self, sectors: &mut [u8], first: u64) {
        self.xts.encrypt_area(sectors, SECTOR, first.into(), get_tweak_default);
    }

    pub fn decrypt(&self, sectors: &mut [u8], first: u64) {
        self.xts.decrypt_area(sectors, SECTOR, first.into(), get_tweak_default);
    }

    /// A range from its start on, with sectors of another size. Tweaks count 512 bytes all the same: that is dm-crypt without
    /// `iv_large_sectors`, as LUKS2 has it.
    pub fn decrypt_range(&self, range: &mut [u8], sector_bytes: usize) {
        let per_sector = (sector_bytes / SECTOR) as u128;
        self.xts.decrypt_area(range, sector_bytes, 0, |sector| get_tweak_default(sector * per_sector));
    }

    /// The other way.
    pub fn encrypt_range(&self, range: &mut [u8], sector_bytes: usize) {
        let per_sector = (sector_bytes / SECTOR) as u128;
        self.xts.encrypt_area(range, sector_bytes, 0, |sector| get_tweak_default(sector * per_sector));
    }

    /// Encrypts all of `plain` to `disk` from `first_lba` on; `progress` is told each number of bytes done.
    pub fn encrypt_into(&self, plain: &File, disk: &File, first_lba: u64, progress: impl Fn(u64) + Sync) -> Result<()> {
        let sectors = plain.metadata()?.len() / SECTOR as u64;
        in_steps(sectors, |step, count| {
            let mut buffer = vec![0; count as usize * SECTOR];
            plain.read_exact_at(&mut buffer, step * SECTOR as u64)?;
            self.encrypt(&mut buffer, step);
            disk.write_all_at(&buffer, (first_lba + step) * SECTOR as u64)?;
            progress(buffer.len() as u64);
            Ok(())
        })
    }

    /// The plaintext of a range of `disk`, written to the start of `plain`.
    pub fn decrypt_out(&self, disk: &File, first_lba: u64, sectors: u64, plain: &File) -> Result<()> {
        plain.set_len(sectors * SECTOR as u64)?;
        in_steps(sectors, |step, count| {
            let mut buffer = vec![0; count as usize * SECTOR];
            disk.read_exact_at(&mut buffer, (first_lba + step) * SECTOR as u64)?;
            self.decrypt(&mut buffer, step);
            plain.write_all_at(&buffer, step * SECTOR as u64)?;
            Ok(())
        })
    }
}

/// Calls `work(first sector, count)` for all sectors, on all CPUs.
fn in_steps(sectors: u64, work: impl Fn(u64, u64) -> Result<()> + Sync) -> Result<()> {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..cpus)
            .map(|lane| {
                let work = &work;
                scope.spawn(move || {
                    let steps = (lane * STEP..sectors).step_by((cpus * STEP) as usize);
                    steps.into_iter().try_for_each(|first| work(first, STEP.min(sectors - first)))
                })
            })
            .collect();
        lanes.into_iter().try_for_each(|lane| {
            let result = lane.join();
            ensure!(result.is_ok(), "a thread that encrypts has panicked");
            result.unwrap_or(Ok(()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IEEE 1619-2007, Annex B, vector 10: AES-256, data unit 0xff, plaintext 00 01 .. ff twice.
    #[test]
    fn agrees_with_the_ieee_vector() {
        let mut key = [0; 64];
        let halves = [
            "2718281828459045235360287471352662497757247093699959574966967627",
            "3141592653589793238462643383279502884197169399375105820974944592",
        ];
        for (byte, pair) in key.iter_mut().zip(halves.concat().as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        let plain: Vec<u8> = (0..512).map(|i| i as u8).collect();
        let mut sector = plain.clone();
        DiskKey::new(&key).encrypt(&mut sector, 0xff);
        assert_eq!(sector[..8], [0x1c, 0x3b, 0x3a, 0x10, 0x2f, 0x77, 0x03, 0x86]);
        DiskKey::new(&key).decrypt(&mut sector, 0xff);
        assert_eq!(sector, plain);
    }
}
