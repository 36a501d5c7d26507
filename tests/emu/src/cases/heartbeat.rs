//! Shoji's tasks keep their times under a Linux that does nothing.

use super::inside::disk_with;
use crate::case::{Boot, Case, Cx};
use anyhow::{Context, Result, ensure};
use testbed::bochs::Bochs;
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("the_heart_beats_under_a_tickless_idle_linux", 180, |cx| beats(cx, 1)),
        Case::new("the_heart_beats_under_a_tickless_idle_linux_with_2_cpus", 180, |cx| beats(cx, 2))
            .only_in_long_runs(),
        Case::new("the_heart_beats_under_a_tickless_idle_linux_on_vt_x", 1200, beats_on_vt_x).only_in_long_runs(),
    ]
}

const HEARTBEAT: &str = "\n[debug]\nheartbeat = true\n";
const TEST: &str = "shoji.test=idle shoji.idle=17";
const PERIOD_S: f64 = 5.0;
const TOLERANCE_S: f64 = 0.5;

fn beats(cx: &Cx, cpus: u32) -> Result<()> {
    let disk = disk_with(cx, HEARTBEAT)?;
    let qemu = cx.machine(512)?.cpus(cpus).request(TEST, cx.boot.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    cx.expect_pass(&mut machine)?;
    judge(cx, &machine.shoji_log())
}

fn beats_on_vt_x(cx: &Cx) -> Result<()> {
    let disk = disk_with(cx, HEARTBEAT)?;
    disk.request(&format!("{TEST} cryptomgr.notests"), cx.boot.how())?;
    let logs = cx.dir.join("bochs");
    let machine = Bochs::new(&logs, "corei7_haswell_4770", 512)?.with_unknown_msrs().disk(&disk.path, Writes::Dropped);
    cx.pass_on_bochs(machine, &logs, 120)?;
    judge(cx, &std::fs::read_to_string(logs.join("shoji.log")).unwrap_or_default())
}

/// Beats come five seconds after one another: none early, most of them in time. Emulators stand still now and then.
fn judge(cx: &Cx, log: &str) -> Result<()> {
    let beats = log.lines().filter(|line| line.contains("heartbeat")).map(time_of);
    let beats = beats.collect::<Option<Vec<f64>>>().context("a line of the log without a time")?;
    if cx.boot == Boot::Bare {
        return Ok(());
    }
    ensure!(beats.len() >= 4, "{} heartbeats in 17 idle seconds and a boot", beats.len());
    let mut late: Vec<f64> = beats.windows(2).map(|pair| pair[1] - pair[0] - PERIOD_S).collect();
    late.sort_by(f64::total_cmp);
    ensure!(late[0] > -0.01 && late[late.len() / 2] < TOLERANCE_S, "heartbeats at {beats:?}");
    Ok(())
}

/// Of a line as `[   12.345678] INFO  heartbeat 2`.
fn time_of(line: &str) -> Option<f64> {
    line.split_once('[')?.1.split_once(']')?.0.trim().parse().ok()
}
