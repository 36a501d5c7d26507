//! What lies on the raw disk after a guest has written under Shoji.

use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use testbed::disk::{Disk, MARKER};
use testbed::ext::{self, Check};
use testbed::program::{command, run};
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("the_raw_disk_is_aes_xts_of_what_the_guest_sees_and_nothing_else_changed", 400, raw_disk)
            .on(On::ShojiOnly)
            .beside_others(),
    ]
}

fn raw_disk(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy(&base)?;
    let args = format!("shoji.test=write_digest shoji.rounds={}", cx.count(30, 300));
    let mut machine = cx.small_guest(&disk, Writes::Kept, &args)?;
    let seen = machine.expect("END OF DIGEST")?;
    cx.expect_pass(&mut machine)?;
    let digest =
        seen.lines().find_map(|line| line.trim().strip_prefix("DIGEST ")).context("the guest gave no digest")?;

    let plain = cx.plaintext(&disk)?;
    let decrypted = run(command("sha256sum").arg(&plain))?;
    ensure!(decrypted.starts_with(digest), "the decrypted range is not what the guest reads from it");
    judge(cx, &base, &disk, &plain)
}

/// What is true of every disk that a guest has left in order: `before` it ran, `after`, and the data partition's
/// plaintext.
pub fn judge(cx: &Cx, before: &Disk, after: &Disk, plain: &Path) -> Result<()> {
    ensure!(ext::check(plain)? == Check::Clean, "the guest's data partition is no clean file system");
    let content = ext::read_file(plain, "/marker")?;
    ensure!(content == MARKER.as_bytes(), "the file that holds the marker reads {content:?}");
    if cx.boot == Boot::Shoji {
        openssl_agrees(cx, after, plain)?;
        no_plaintext(after)?;
    }
    unchanged_outside(before, after)
}

/// OpenSSL's AES makes from the plaintext what lies on the disk, in every sector: a second implementation besides the one
/// that decrypted it. (`openssl enc` itself refuses XTS, so only its ECB is used; IEEE 1619-2007, section 5.3.2.)
fn openssl_agrees(cx: &Cx, disk: &Disk, plain: &Path) -> Result<()> {
    let key = fs::read(cx.key_file()?)?;
    let (data_key, tweak_key) = key.split_at(32);
    let sectors = disk.data.sectors;
    let numbers: Vec<u8> = (0..sectors).flat_map(|sector| u128::from(sector).to_le_bytes()).collect();
    let first_tweaks = openssl_aes(cx, tweak_key, &numbers)?;
    let first_tweaks = first_tweaks.as_chunks::<16>().0.iter().map(|tweak| u128::from_le_bytes(*tweak));
    let tweaks: Vec<u8> = first_tweaks.flat_map(tweaks_of_sector).flat_map(u128::to_le_bytes).collect();
    let mut made = openssl_aes(cx, data_key, &xor(&fs::read(plain)?, &tweaks))?;
    made = xor(&made, &tweaks);
    let on_disk = disk.read_data(0, sectors)?;
    let wrong = made.chunks(512).zip(on_disk.chunks(512)).position(|(made, found)| made != found);
    ensure!(
        made.len() == on_disk.len() && wrong.is_none(),
        "sector {wrong:?} of the range is not OpenSSL's AES-XTS of it"
    );
    Ok(())
}

/// The tweaks of a sector's 32 blocks: each the one before times x in GF(2^128).
fn tweaks_of_sector(first: u128) -> impl Iterator<Item = u128> {
    let next = |tweak: &u128| Some((tweak << 1) ^ if tweak >> 127 == 1 { 0x87 } else { 0 });
    std::iter::successors(Some(first), next).take(32)
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// AES-256 of each block by itself.
fn openssl_aes(cx: &Cx, key: &[u8], blocks: &[u8]) -> Result<Vec<u8>> {
    let (from, to) = (cx.dir.join("blocks"), cx.dir.join("blocks.aes"));
    fs::write(&from, blocks)?;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut openssl = command("openssl");
    run(openssl.args(["enc", "-aes-256-ecb", "-nopad", "-K", &key, "-in"]).arg(&from).arg("-out").arg(&to))?;
    fs::read(&to).context("openssl wrote nothing")
}

pub fn no_plaintext(disk: &Disk) -> Result<()> {
    let image = fs::read(&disk.path)?;
    let marker = MARKER.trim().as_bytes();
    // A sector may begin in the middle of the marker, so half of it is looked for as well.
    for part in [marker, &marker[..marker.len() / 2], &marker[marker.len() / 2..]] {
        let at = image.windows(part.len()).position(|window| window == part);
        ensure!(at.is_none(), "plaintext lies on the disk at byte {at:?}");
    }
    Ok(())
}

/// Boot code, boot partition and the space behind the range.
fn unchanged_outside(before: &Disk, after: &Disk) -> Result<()> {
    let outside = (0..before.data.first_lba).chain(before.data.end_lba()..before.all_sectors()?);
    let changed = changed_sectors(before, after, outside)?;
    ensure!(changed.is_empty(), "sectors outside of the range have changed: {changed:?}");
    Ok(())
}

/// Which of these sectors differ; but for GRUB's environment block, which GRUB writes itself.
pub fn changed_sectors(before: &Disk, after: &Disk, sectors: impl Iterator<Item = u64>) -> Result<Vec<u64>> {
    let (before, after) = (File::open(&before.path)?, File::open(&after.path)?);
    let (mut old, mut new) = (vec![0; 512], vec![0; 512]);
    let mut changed = Vec::new();
    let mut environment_ends = 0;
    for lba in sectors {
        before.read_exact_at(&mut old, lba * 512)?;
        after.read_exact_at(&mut new, lba * 512)?;
        if old.starts_with(b"# GRUB Environment Block") {
            environment_ends = lba + 2;
        }
        if old != new && lba >= environment_ends {
            changed.push(lba);
        }
    }
    Ok(changed)
}
