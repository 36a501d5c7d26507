//! How the end of a guest's run is judged.

use crate::TinyGuest;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    /// The guest's own reason.
    Fail(String),
    /// No verdict, or the log and the emulator's end contradict each other.
    Broken(String),
}

/// How the emulator came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// In the way that the guest takes when it has passed.
    Passed,
    /// In the way that it takes when it has failed.
    Failed,
    /// In no such way, but in this one.
    Otherwise(String),
}

/// Judges a run by its end and by what the guest has written to COM2.
pub fn verdict(guest: &TinyGuest, end: &End, com2_log: &str) -> Verdict {
    let pass = format!("PASS {}", guest.name);
    let fail = format!("FAIL {}: ", guest.name);
    let passed = com2_log.lines().any(|l| l == pass);
    let failed = com2_log.find(&fail).and_then(|at| com2_log.get(at + fail.len()..));
    match (end, passed, failed) {
        (End::Passed, true, None) => Verdict::Pass,
        (End::Failed, false, Some(reason)) => Verdict::Fail(reason.trim().into()),
        (End::Otherwise(how), ..) => Verdict::Broken(format!("no verdict: {how}")),
        (end, ..) => Verdict::Broken(format!("the emulator's end means {end:?}, the log says otherwise")),
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Verdict, verdict};
    use crate::GUESTS;

    #[test]
    fn a_pass_needs_both_the_end_and_the_line() {
        let guest = &GUESTS[0];
        let pass = format!("some line\nPASS {}\n", guest.name);
        let fail = format!("FAIL {}: out of luck\n", guest.name);
        assert_eq!(verdict(guest, &End::Passed, &pass), Verdict::Pass);
        assert_eq!(verdict(guest, &End::Failed, &fail), Verdict::Fail("out of luck".into()));
        for (end, log) in [
            (End::Passed, ""),
            (End::Passed, "PASS other\n"),
            (End::Failed, pass.as_str()),
            (End::Passed, fail.as_str()),
            (End::Passed, &format!("{pass}{fail}")),
            (End::Otherwise("time is up".into()), pass.as_str()),
        ] {
            assert!(matches!(verdict(guest, &end, log), Verdict::Broken(_)), "{end:?} {log}");
        }
    }
}
