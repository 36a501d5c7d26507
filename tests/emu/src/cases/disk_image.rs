//! What lies on the raw disk after a guest has written under Shoji.

use crate::case::{Case, Cx, On};
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
            .on(On::ShojiOnly),
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
    ensure!(ext::check(&plain)? == Check::Clean, "the decrypted range is no clean file system");
    let content = ext::read_file(&plain, "/marker")?;
    ensure!(content == MARKER.as_bytes(), "the file that holds the marker reads {content:?}");
    openssl_agrees(cx, &disk, &plain)?;
    no_plaintext(&disk)?;
    unchanged_outside(&base, &disk)
}

/// OpenSSL makes from the plaintext what lies on the disk: a second implementation besides the one that decrypted it.
fn openssl_agrees(cx: &Cx, disk: &Disk, plain: &Path) -> Result<()> {
    let key: String = fs::read(cx.key_file()?)?.iter().map(|byte| format!("{byte:02x}")).collect();
    let plain = File::open(plain)?;
    let (from, to) = (cx.dir.join("sector"), cx.dir.join("sector.aes"));
    let mut buffer = [0; 512];
    for step in 0..32 {
        let sector = step * (disk.data.sectors - 1) / 31;
        plain.read_exact_at(&mut buffer, sector * 512)?;
        fs::write(&from, buffer)?;
        let tweak: String = u128::from(sector).to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut openssl = command("openssl");
        openssl
            .args(["enc", "-aes-256-xts", "-nopad", "-K", &key, "-iv", &tweak, "-in"])
            .arg(&from)
            .arg("-out")
            .arg(&to);
        run(&mut openssl)?;
        ensure!(
            fs::read(&to)? == disk.read_data(sector, 1)?,
            "sector {sector} of the range is not OpenSSL's AES-XTS of it"
        );
    }
    Ok(())
}

fn no_plaintext(disk: &Disk) -> Result<()> {
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
