//! The machine of a guest, and how its end is judged.

use crate::TinyGuest;
use std::path::Path;
use testbed::accel::Accelerator;

/// Exit status of QEMU after a pass: isa-debug-exit gives `2 * 10h + 1`.
pub const PASS_STATUS: i32 = 33;
/// Exit status of QEMU after a fail.
pub const FAIL_STATUS: i32 = 35;
/// BIOS number of the guest's disk when the boot medium comes first.
pub const DRIVE_UNDER_SHOJI: u8 = 0x80;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    /// The guest's own reason.
    Fail(String),
    /// No verdict, or log and status contradict each other.
    Broken(String),
}

/// QEMU's arguments for a guest: its disk, both serial logs, and the boot medium when it runs under Shoji.
///
/// `-no-reboot` must not be added: some guests reset the machine.
pub fn qemu_arguments(
    guest: &TinyGuest,
    memory_mib: u32,
    accelerator: Accelerator,
    disk: &Path,
    medium: Option<&Path>,
    com1_log: &Path,
    com2_log: &Path,
) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-machine",
        "pc",
        "-nodefaults",
        "-vga",
        "none",
        "-display",
        "none",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=0x04",
    ]
    .map(String::from)
    .into();
    arguments.extend(guest.tcg_only.map_or(accelerator, |_| Accelerator::Tcg).arguments(true));
    let mut drive_at = |device: &str, file: &Path, bus: u32, boot_index: u32| {
        let file = file.display();
        arguments.push("-drive".into());
        arguments.push(format!("if=none,id=drive{bus},format=raw,file={file}"));
        arguments.push("-device".into());
        arguments.push(format!("{device},drive=drive{bus},bus=ide.{bus},unit=0,bootindex={boot_index}"));
    };
    drive_at("ide-hd", disk, 0, 1);
    if let Some(medium) = medium {
        drive_at("ide-cd", medium, 1, 0);
    }
    arguments.extend(["-m".into(), memory_mib.to_string()]);
    for log in [com1_log, com2_log] {
        arguments.push("-serial".into());
        arguments.push(format!("file:{}", log.display()));
    }
    arguments.extend(guest.qemu.iter().map(ToString::to_string));
    arguments
}

/// Judges a run by QEMU's exit status (`None`: killed by the time limit) and the COM2 log.
pub fn verdict(guest: &TinyGuest, status: Option<i32>, com2_log: &str) -> Verdict {
    let pass = format!("PASS {}", guest.name);
    let fail = format!("FAIL {}: ", guest.name);
    let passed = com2_log.lines().any(|l| l == pass);
    let failed = com2_log.find(&fail).and_then(|at| com2_log.get(at + fail.len()..));
    match (status, passed, failed) {
        (Some(PASS_STATUS), true, None) => Verdict::Pass,
        (Some(FAIL_STATUS), false, Some(reason)) => Verdict::Fail(reason.trim().into()),
        (None, ..) => Verdict::Broken("no verdict within the time limit".into()),
        (Some(status), ..) => Verdict::Broken(format!("QEMU ended with status {status}, the log says otherwise")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, qemu_arguments, verdict};
    use crate::GUESTS;
    use std::path::Path;
    use testbed::accel::{Accelerator, Vendor};

    #[test]
    fn guests_run_by_what_was_chosen_but_for_those_that_count_instructions() {
        let (kvm, path) = (Accelerator::Kvm(Vendor::Intel), Path::new("x"));
        for guest in GUESTS {
            let arguments = qemu_arguments(guest, 512, kvm, path, None, path, path);
            let counts = arguments.iter().any(|word| word == "-icount");
            assert_eq!(guest.tcg_only.is_some(), counts, "{}", guest.name);
            let expected = if counts { Accelerator::Tcg } else { kvm };
            assert!(arguments.windows(4).any(|words| words == expected.arguments(true)), "{}", guest.name);
        }
    }

    #[test]
    fn a_pass_needs_both_the_status_and_the_line() {
        let guest = &GUESTS[0];
        let pass = format!("some line\nPASS {}\n", guest.name);
        let fail = format!("FAIL {}: out of luck\n", guest.name);
        assert_eq!(verdict(guest, Some(33), &pass), Verdict::Pass);
        assert_eq!(verdict(guest, Some(35), &fail), Verdict::Fail("out of luck".into()));
        for (status, log) in [
            (Some(33), ""),
            (Some(33), "PASS other\n"),
            (Some(1), pass.as_str()),
            (Some(35), pass.as_str()),
            (Some(33), fail.as_str()),
            (None, pass.as_str()),
        ] {
            assert!(matches!(verdict(guest, status, log), Verdict::Broken(_)), "{status:?} {log}");
        }
    }
}
