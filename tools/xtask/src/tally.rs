//! Runs test programs and counts what they report, in the words of Rust's own harness.

use anyhow::{Context, Result, anyhow};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Passed and failed tests.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    pub passed: u32,
    pub failed: u32,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// One test that is not a test program of its own; says what went wrong.
    pub fn of(name: &str, result: &Result<()>) -> Self {
        match result {
            Ok(()) => Self { passed: 1, failed: 0 },
            Err(error) => {
                println!("{name} FAILED\n    {}", format!("{error:#}").replace('\n', "\n    "));
                Self { passed: 0, failed: 1 }
            }
        }
    }

    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
    fn read(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let before = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word))?;
            before.trim().parse::<u32>().ok()
        };
        self.passed += number("passed").unwrap_or(0);
        self.failed += number("failed").unwrap_or(0);
    }
}

/// Runs a command to its end; its output goes to `log`, and to the terminal too if `shown`.
///
/// A failure that no test reported (it does not compile, it hangs) counts as one failed test.
pub fn run(command: &mut Command, log: &Path, shown: bool, timeout: Duration) -> Result<Tally> {
    let mut file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let lines = lines_of(&mut child)?;
    let (mut tally, end) = (Tally::default(), Instant::now() + timeout);
    let mut hung = false;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                tally.read(&line);
                writeln!(file, "{line}")?;
                if shown {
                    println!("{line}");
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                hung = true;
                child.kill()?;
                break;
            }
        }
    }
    let status = child.wait()?;
    if hung {
        println!("not finished after {} s: ended; log: {}", timeout.as_secs(), log.display());
    }
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Both outputs, line by line as they come.
fn lines_of(child: &mut Child) -> Result<mpsc::Receiver<String>> {
    let (sender, receiver) = mpsc::channel();
    let outputs: [Box<dyn std::io::Read + Send>; 2] = [
        Box::new(child.stdout.take().ok_or_else(|| anyhow!("no output"))?),
        Box::new(child.stderr.take().ok_or_else(|| anyhow!("no error output"))?),
    ];
    for output in outputs {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                // Nobody listens any more: the run was ended.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.read("test result: FAILED. 1 passed; 2 failed; 0 ignored");
        tally.read("3 passed; 4 failed");
        assert_eq!(tally, Tally { passed: 4, failed: 2 });
    }

    fn shell(script: &str, timeout: Duration) -> Tally {
        let log = std::env::temp_dir().join(format!("shoji-tally-{}-{}", std::process::id(), script.len()));
        run(Command::new("sh").args(["-c", script]), &log, false, timeout).unwrap()
    }

    #[test]
    fn a_program_that_fails_without_a_result_is_a_failed_test() {
        assert_eq!(shell("exit 3", Duration::from_secs(10)), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        assert_eq!(shell("exec sleep 60", Duration::from_millis(100)), Tally { passed: 0, failed: 1 });
    }
}
