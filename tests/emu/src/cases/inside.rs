//! What the command `shoji` asks from inside the guest.

use super::debian;
use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::Duration;
use testbed::disk::Disk;
use testbed::disks;
use testbed::promtool;
use testbed::qemu::Writes;
use testbed::shell::Shell;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("the_guest_asks_for_status_and_log", 180, asks).on(On::ShojiOnly),
        Case::new("debian_asks_for_status_log_and_shell_and_its_journal_holds_both_logs", 900, debian)
            .on(On::ShojiOnly),
        Case::new("a_guest_that_may_ask_nothing_finds_no_shoji", 120, is_alone),
    ]
}

/// `@KEY@`: the shell's key file.
pub const ALLOWED: &str = r#"
[guest-calls]
status = "any"
log = "any"
shell = "any"

[dbgsh]
key-file = @KEY@
"#;

/// The small disk with a configuration of its own: the usual one, and `more`.
pub fn disk_with(cx: &Cx, more: &str) -> Result<Disk> {
    changed(cx, &cx.small_disk()?, more)
}

/// The small disk with this configuration, and `more`.
pub fn disk_of(cx: &Cx, configuration: &str, more: &str) -> Result<Disk> {
    configured(cx, &cx.small_disk()?, configuration, more)
}

/// As [`disk_with`], of any disk.
pub fn changed(cx: &Cx, disk: &Disk, more: &str) -> Result<Disk> {
    configured(cx, disk, &disks::configuration(&cx.key_file()?), more)
}

/// As [`disk_of`], of any disk.
pub fn configured(cx: &Cx, disk: &Disk, configuration: &str, more: &str) -> Result<Disk> {
    let disk = cx.copy(disk)?;
    if cx.boot == Boot::Shoji {
        let (blob, key) = (cx.dir.join("calls.conf"), cx.dir.join("dbgsh.key"));
        if !key.exists() {
            shoji::keys::create(&key)?;
        }
        let more = more.replace("@KEY@", &format!("{:?}", key.to_string_lossy()));
        disks::compile(&format!("{configuration}{more}"), &blob)?;
        disk.replace_boot_file("/tools/dbgsh.key", &fs::read(key)?)?;
        disk.replace_boot_file("/shoji/shoji.conf", &fs::read(blob)?)?;
    }
    Ok(disk)
}

fn asks(cx: &Cx) -> Result<()> {
    let disk = disk_with(cx, ALLOWED)?;
    let qemu = cx.machine(512)?.cpus(2).request("shoji.test=inside", cx.boot.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    cx.expect_pass(&mut machine)?;
    let said = machine.console.text();
    let metrics = said.split_once("PROMETHEUS BEGIN").and_then(|(_, rest)| rest.split_once("PROMETHEUS END"));
    let (metrics, _) = metrics.context("no metrics")?;
    ensure!(metrics.contains("shoji_exits_total{cpu=\"1\",reason=\"hypercall\"}"), "no second CPU in {metrics}");
    like_prometheus(cx, metrics)
}

/// Metrics as a console has shown them.
fn like_prometheus(cx: &Cx, metrics: &str) -> Result<()> {
    let file = cx.dir.join("metrics");
    fs::write(&file, metrics.replace('\r', "").trim_start())?;
    promtool::check_metrics(&file)
}

/// As root of an ordinary system does it.
fn debian(cx: &Cx) -> Result<()> {
    let disk = changed(cx, &cx.debian_disk()?, ALLOWED)?;
    let mut machine = debian::IDE.machine(cx, &disk, Writes::Dropped, cx.boot.how())?.start()?;
    let mut shell = Shell::login(&mut machine)?;
    shell.run(
        "mount -r /dev/sda1 /mnt && cp /mnt/tools/shoji /usr/local/bin/ && cp /mnt/tools/dbgsh.key /root",
        MINUTE,
    )?;
    shell.run("chmod 600 /root/dbgsh.key && head -c 32 /dev/urandom > /root/wrong.key", MINUTE)?;
    let status = shell.run("shoji status", MINUTE)?;
    ensure!(status.contains("\nCPU 3 (APIC ID 3): "), "no fourth CPU in {status}");
    let metrics = shell.run("shoji status --prometheus", MINUTE)?;
    like_prometheus(cx, &(metrics + "\n"))?;
    follows(&mut shell)?;
    interleaves(&mut shell)?;
    talks(&mut shell)?;
    asks_often(&mut shell)?;
    shell.power_off()
}

/// A line of Shoji's log that the guest can bring about: wrong proofs want a pause of a second in between, then of two.
const WRONG_KEY: &str = "! shoji sh --key-file /root/wrong.key -c help";

/// `log -f` shows what comes.
fn follows(shell: &mut Shell<'_>) -> Result<()> {
    shell.run("shoji log -f > /tmp/log & sleep 1; ! grep -q 'wrong proof' /tmp/log", MINUTE)?;
    shell.run(WRONG_KEY, MINUTE)?;
    shell.run("sleep 1; kill %1; grep -q 'WARN  dbgsh: a wrong proof' /tmp/log", MINUTE)?;
    Ok(())
}

/// What Shoji says between two lines of the guest's stands between them in the journal, with its level.
fn interleaves(shell: &mut Shell<'_>) -> Result<()> {
    shell.run("shoji log -f --journal & sleep 2; logger -t guest BEFORE; sleep 1", MINUTE)?;
    shell.run(WRONG_KEY, MINUTE)?;
    shell.run("sleep 1; logger -t guest AFTER; sleep 1; kill %1; journalctl --sync", MINUTE)?;
    let all = shell.run("journalctl --no-pager -o cat -t guest -t shoji", MINUTE)?;
    let lines: Vec<&str> = all.lines().map(str::trim_end).collect();
    let at =
        |end: &str| lines.iter().rposition(|line| line.ends_with(end)).with_context(|| format!("no {end} in {all}"));
    let [before, shoji, after] = [at("BEFORE")?, at("does not know the key")?, at("AFTER")?];
    ensure!(before < shoji && shoji < after, "the journal has them in another order: {all}");
    ensure!(lines.iter().any(|line| line.contains("the guest starts")), "the journal has nothing of Shoji's start");
    let warnings = shell.run("journalctl --no-pager -o verbose -t shoji -p warning", MINUTE)?;
    ensure!(warnings.contains("SHOJI_TIME_NS=") && !warnings.contains("PRIORITY=6"), "in the journal: {warnings}");
    Ok(())
}

/// Lines are edited, and come again.
fn talks(shell: &mut Shell<'_>) -> Result<()> {
    shell.run("sleep 4; stty rows 24 cols 80", MINUTE)?;
    let machine = shell.start("TERM=vt100 shoji sh --key-file /root/dbgsh.key; echo \"GO\"\"NE\"")?;
    machine.expect("shoji> ")?;
    // "heapx", and one back.
    machine.console.send("heapx\x7f\r")?;
    machine.expect("KiB in use").context("`heap` after an edit")?;
    machine.expect("shoji> ")?;
    // Up.
    machine.console.send("\x1b[A\r")?;
    machine.expect("KiB in use").context("`heap` out of the history")?;
    machine.expect("shoji> ")?;
    machine.console.send("exit\r")?;
    // What comes before, it would read itself.
    machine.expect("GONE")?;
    shell.run("true", MINUTE).map(drop)
}

/// Each call lends the guest's timer, on whatever CPU it is made: none of its interrupts is lost. CPUs without one sleep on.
fn asks_often(shell: &mut Shell<'_>) -> Result<()> {
    let ask = "shoji sh --key-file /root/dbgsh.key -c help > /dev/null || exit 1; sleep 0.01";
    shell.run(&format!("(for i in $(seq 60); do {ask}; done)"), 3 * MINUTE).map(drop)
}

const MINUTE: Duration = Duration::from_secs(60);

/// As on a machine without Shoji: the program is told by #UD.
fn is_alone(cx: &Cx) -> Result<()> {
    let disk = disk_with(cx, "")?;
    let qemu = cx.machine(512)?.request("shoji.test=alone", cx.boot.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    cx.expect_pass(&mut machine)
}
