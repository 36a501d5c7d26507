//! What a long run leaves: a state to resume from, and a dated table.

use crate::case::Tier;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use testbed::program::{command, run};
use testbed::{Workspace, artifact};

/// Cases of a run that was stopped, with their seconds.
pub struct Progress {
    path: PathBuf,
    /// What was tested: a new build starts anew.
    subject: String,
    passed: BTreeMap<String, f64>,
}

impl Progress {
    /// Only the long tier resumes.
    pub fn load(workspace: &Workspace, tier: Tier) -> Result<Option<Self>> {
        if tier != Tier::Long {
            return Ok(None);
        }
        let elf = workspace.shoji_elf()?;
        let subject = if elf.exists() { artifact::fingerprint(&elf)? } else { "no shoji.elf".to_owned() };
        let path = workspace.output("long-state")?;
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines = stored.lines();
        let same = lines.next() == Some(&subject);
        let passed = lines.filter(|_| same).filter_map(|line| line.split_once(' '));
        let passed = passed.filter_map(|(seconds, name)| Some((name.to_owned(), seconds.parse().ok()?))).collect();
        Ok(Some(Self { path, subject, passed }))
    }

    pub fn seconds_of(&self, name: &str) -> Option<f64> {
        self.passed.get(name).copied()
    }

    pub fn remember(&mut self, name: &str, seconds: f64) -> Result<()> {
        self.passed.insert(name.to_owned(), seconds);
        let lines: String = self.passed.iter().map(|(name, seconds)| format!("{seconds:.1} {name}\n")).collect();
        artifact::write(&self.path, format!("{}\n{lines}", self.subject).as_bytes())
    }

    /// The run is complete: the next one starts from the beginning.
    pub fn finish(self) -> Result<()> {
        artifact::remove(&self.path)
    }
}

/// One line of the table.
pub struct Row {
    pub name: String,
    pub passed: bool,
    pub seconds: f64,
}

/// Writes `tests/results/DATE.md`.
pub fn write_table(workspace: &Workspace, rows: &[Row]) -> Result<PathBuf> {
    let date = run(command("date").args(["-u", "+%Y-%m-%d"]))?.trim().to_owned();
    let commit = run(command("git").arg("-C").arg(workspace.root()).args(["rev-parse", "--short", "HEAD"]));
    let commit = commit.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    let dir = workspace.root().join("tests/results");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(format!("{date}.md"));
    let mut text = format!(
        "# Emulator tests at full counts, {date}, commit {commit}\n\n| case | result | seconds |\n|---|---|---|\n"
    );
    for row in rows {
        let result = if row.passed { "passed" } else { "FAILED" };
        text.push_str(&format!("| {} | {result} | {:.0} |\n", row.name.replace('_', " "), row.seconds));
    }
    artifact::write(&path, text.as_bytes())?;
    Ok(path)
}
