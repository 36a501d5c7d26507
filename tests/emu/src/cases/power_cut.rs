//! Power cuts: the emulator gets SIGKILL in mid-write. What the guest has fsynced must be there, and the file system must
//! come back without a question.

use crate::case::{Case, Cx};
use anyhow::{Context, Result, ensure};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;
use testbed::disk::Disk;
use testbed::ext::{self, Check};
use testbed::qemu::{Machine, Writes};

pub fn cases() -> Vec<Case> {
    vec![Case::new("what_was_fsynced_survives_power_cuts", 400, small_guest).beside_others()]
}

fn small_guest(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    let mut synced = 0;
    for cut in 1..=cx.count(3, 10) {
        // Each boot first reads back, inside the guest, what the boots before have announced.
        let args = format!("shoji.test=fsync_loop shoji.synced={synced}");
        let mut machine = cx.small_guest(&disk, Writes::Kept, &args)?;
        machine.expect(&format!("READBACK {synced}")).with_context(|| format!("after power cut {}", cut - 1))?;
        synced = run_until_cut(machine, synced)?;
        check_records(cx, &disk, synced).with_context(|| format!("after power cut {cut}, {synced} records synced"))?;
    }
    let args = format!("shoji.test=fsync_loop shoji.only=check shoji.synced={synced}");
    cx.expect_pass(&mut cx.small_guest(&disk, Writes::Dropped, &args)?)
}

/// Lets the guest write for a random while, then kills it. Returns the last record that it announced as synced.
fn run_until_cut(mut machine: Machine, synced: u32) -> Result<u32> {
    machine.expect(&format!("SYNCED {}", synced + 5))?;
    std::thread::sleep(Duration::from_millis(RandomState::new().hash_one(0) % 3000));
    let text = machine.console.text();
    machine.kill()?;
    Ok(last_synced(&text).unwrap_or(synced))
}

/// The last announcement that arrived as a whole line.
pub fn last_synced(text: &str) -> Option<u32> {
    let whole_lines = &text[..text.rfind('\n')?];
    whole_lines.lines().rev().find_map(|line| line.trim().strip_prefix("SYNCED ")?.parse().ok())
}

/// On the host: e2fsck as at boot, then a full check that must find nothing, then the records.
fn check_records(cx: &Cx, disk: &Disk, synced: u32) -> Result<()> {
    let plain = cx.plaintext(disk)?;
    come_back(&plain)?;
    let records = ext::read_file(&plain, "/records")?;
    for number in 1..=synced as usize {
        let expected = format!("record {number:09}");
        let found = records.get(number * 512..number * 512 + expected.len());
        ensure!(found == Some(expected.as_bytes()), "record {number} was synced and is lost");
    }
    Ok(())
}

/// `e2fsck -p` needs nobody, and then nothing is left to repair.
pub fn come_back(plain: &Path) -> Result<()> {
    let repaired = ext::repair(plain)?;
    ensure!(matches!(repaired, Check::Clean | Check::Corrected), "e2fsck -p: {repaired:?}");
    let left = ext::check(plain)?;
    ensure!(left == Check::Clean, "e2fsck -fn after -p: {left:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::last_synced;

    #[test]
    fn half_a_line_is_no_announcement() {
        assert_eq!(last_synced("SYNCED 11\r\nSYNCED 12\r\nSYNCED 1"), Some(12));
        assert_eq!(last_synced("SYNCED 1"), None);
    }
}
