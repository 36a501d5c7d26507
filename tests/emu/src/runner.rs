//! Runs cases and reports in the manner of Rust's own test harness.

use crate::case::{Boot, Case, Cx, On, Tier, shown};
use crate::results::{self, Progress, Row};
use anyhow::{Result, anyhow};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// Runs them all; says whether all passed. Those of one thread come last, as many at once as there are cores.
pub fn run(workspace: &Workspace, plan: &Plan, cases: &[Case]) -> Result<bool> {
    let (beside, alone): (Vec<_>, Vec<_>) =
        cases.iter().filter(|case| plan.takes(case)).partition(|case| case.one_thread);
    let all = Runs { workspace, plan, progress: Mutex::new(Progress::load(workspace, plan.tier)?) };
    let mut rows = alone.into_iter().map(|case| all.announced(case)).collect::<Result<Vec<_>>>()?;
    rows.extend(all.at_once(&beside)?);
    let failed = rows.iter().filter(|row| !row.passed).count();
    // A run of some cases only is no complete one: it leaves no table, and a later one need not repeat it.
    if let Some(progress) = all.progress.into_inner().ok().flatten().filter(|_| plan.filters.is_empty()) {
        progress.finish()?;
        println!("table: {}", shown(workspace, &results::write_table(workspace, &rows)?));
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {} passed; {failed} failed; 0 ignored", rows.len() - failed);
    Ok(failed == 0)
}

/// What the cases of a run have in common.
struct Runs<'a> {
    workspace: &'a Workspace,
    plan: &'a Plan,
    progress: Mutex<Option<Progress>>,
}

impl Runs<'_> {
    /// Says what runs before it runs.
    fn announced(&self, case: &Case) -> Result<Row> {
        print!("{}", self.title(case));
        std::io::stdout().flush()?;
        let (row, said) = self.one(case)?;
        println!("{said}");
        Ok(row)
    }

    /// In the order of `cases`.
    fn at_once(&self, cases: &[&Case]) -> Result<Vec<Row>> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Row)>> {
            let mut rows = Vec::new();
            while let Some((at, case)) = Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, cases.get(at)?))) {
                let (row, said) = self.one(case)?;
                println!("{}{said}", self.title(case));
                rows.push((at, row));
            }
            Ok(rows)
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut rows = std::thread::scope(|scope| -> Result<Vec<_>> {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            let mut rows = Vec::new();
            for worker in workers {
                rows.extend(worker.join().map_err(|_| anyhow!("a worker panicked"))??);
            }
            Ok(rows)
        })?;
        rows.sort_by_key(|(at, _)| *at);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    fn title(&self, case: &Case) -> String {
        match case.tcg_only.filter(|_| self.plan.accelerator != Accelerator::Tcg) {
            Some(why) => format!("test {} (by TCG, because {why}) ... ", case.name),
            None => format!("test {} ... ", case.name),
        }
    }

    /// Runs one, and what to say of it.
    fn one(&self, case: &Case) -> Result<(Row, String)> {
        let row = |passed, seconds| Row { name: case.name.clone(), passed, seconds };
        let known = self.progress().as_ref().and_then(|progress| progress.seconds_of(&case.name));
        if let Some(seconds) = known {
            return Ok((row(true, seconds), format!("ok ({seconds:.1} s, in the run before)")));
        }
        let start = Instant::now();
        let dir = self.workspace.output(&format!("test-logs/{}", case.name))?;
        let result = run_one(self.workspace, self.plan, case, &dir);
        let seconds = start.elapsed().as_secs_f64();
        let said = report(self.workspace, &result, seconds, &dir)?;
        if let (Ok(()), Some(progress)) = (&result, self.progress().as_mut()) {
            progress.remember(&case.name, seconds)?;
        }
        Ok((row(result.is_ok(), seconds), said))
    }

    fn progress(&self) -> MutexGuard<'_, Option<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// What to say; the logs of what failed stay.
fn report(workspace: &Workspace, result: &Result<()>, seconds: f64, dir: &Path) -> Result<String> {
    match result {
        Ok(()) => artifact::remove(dir).map(|()| format!("ok ({seconds:.1} s)")),
        Err(error) => {
            let reason = format!("{error:#}").replace('\n', "\n    ");
            Ok(format!("FAILED ({seconds:.1} s)\n    {reason}\n    logs: {}", shown(workspace, dir)))
        }
    }
}
