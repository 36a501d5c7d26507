//! Runs cases one after the other and reports in the manner of Rust's own test harness.

use crate::case::{Boot, Case, Cx, On, Tier, shown};
use crate::results::{self, Progress, Row};
use anyhow::{Result, anyhow};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;
use testbed::accel::Accelerator;
use testbed::{Workspace, artifact};

/// Which cases, and how.
pub struct Plan {
    pub tier: Tier,
    /// On the machine without Shoji.
    pub bare: bool,
    /// What executes the guests, but for cases that need TCG.
    pub accelerator: Accelerator,
    /// Only cases whose names contain one of these; empty: all.
    pub filters: Vec<String>,
}

/// The long tier repeats more.
const LONG_TIMEOUT_FACTOR: u32 = 8;

impl Plan {
    pub fn takes(&self, case: &Case) -> bool {
        let named = self.filters.is_empty() || self.filters.iter().any(|filter| case.name.contains(filter.as_str()));
        let fits = !(self.bare && case.on == On::ShojiOnly);
        named && fits && case.tier <= self.tier
    }

    fn boot(&self, case: &Case) -> Boot {
        if self.bare || case.on == On::BareOnly { Boot::Bare } else { Boot::Shoji }
    }

    fn accelerator(&self, case: &Case) -> Accelerator {
        if case.tcg_only.is_some() { Accelerator::Tcg } else { self.accelerator }
    }
}

/// Runs them all; says whether all passed.
pub fn run(workspace: &Workspace, plan: &Plan, cases: &[Case]) -> Result<bool> {
    let mut progress = Progress::load(workspace, plan.tier)?;
    let mut rows = Vec::new();
    for case in cases.iter().filter(|case| plan.takes(case)) {
        match case.tcg_only.filter(|_| plan.accelerator != Accelerator::Tcg) {
            Some(why) => print!("test {} (by TCG, because {why}) ... ", case.name),
            None => print!("test {} ... ", case.name),
        }
        std::io::stdout().flush()?;
        if let Some(seconds) = progress.as_ref().and_then(|progress| progress.seconds_of(&case.name)) {
            println!("ok ({seconds:.1} s, in the run before)");
            rows.push(Row { name: case.name.clone(), passed: true, seconds });
            continue;
        }
        let start = Instant::now();
        let dir = workspace.output(&format!("test-logs/{}", case.name))?;
        let result = run_one(workspace, plan, case, &dir);
        let seconds = start.elapsed().as_secs_f64();
        report(workspace, &result, seconds, &dir)?;
        if let (Ok(()), Some(progress)) = (&result, &mut progress) {
            progress.remember(&case.name, seconds)?;
        }
        rows.push(Row { name: case.name.clone(), passed: result.is_ok(), seconds });
    }
    let failed = rows.iter().filter(|row| !row.passed).count();
    // A run of some cases only is no complete one: it leaves no table, and a later one need not repeat it.
    if let Some(progress) = progress.filter(|_| plan.filters.is_empty()) {
        progress.finish()?;
        println!("table: {}", shown(workspace, &results::write_table(workspace, &rows)?));
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {} passed; {failed} failed; 0 ignored", rows.len() - failed);
    Ok(failed == 0)
}

fn run_one(workspace: &Workspace, plan: &Plan, case: &Case, dir: &Path) -> Result<()> {
    artifact::remove(dir)?;
    std::fs::create_dir_all(dir)?;
    let factor = if plan.tier == Tier::Long { LONG_TIMEOUT_FACTOR } else { 1 };
    let cx = Cx::new(workspace.clone(), plan.boot(case), plan.tier, plan.accelerator(case), dir.to_owned());
    let cx = cx.until(Instant::now() + case.timeout * factor);
    // A panic in one case must not take the others with it.
    catch_unwind(AssertUnwindSafe(|| (case.run)(&cx))).unwrap_or_else(|_| Err(anyhow!("the case itself panicked")))
}

fn report(workspace: &Workspace, result: &Result<()>, seconds: f64, dir: &Path) -> Result<()> {
    match result {
        Ok(()) => {
            println!("ok ({seconds:.1} s)");
            artifact::remove(dir)
        }
        Err(error) => {
            println!("FAILED ({seconds:.1} s)");
            let reason = format!("{error:#}").replace('\n', "\n    ");
            println!("    {reason}\n    logs: {}", shown(workspace, dir));
            Ok(())
        }
    }
}
