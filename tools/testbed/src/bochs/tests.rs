use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("shoji-bochs-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn log(text: &str) -> Log {
    Log::read(text.as_bytes()).unwrap()
}

#[test]
fn a_machine_has_the_cpu_the_memory_and_the_drives_that_were_asked_for() {
    let dir = scratch("machine");
    let (disk, cd) = (dir.join("disk.img"), dir.join("cd.iso"));
    fs::write(&disk, "").unwrap();
    fs::write(&cd, "").unwrap();
    let bare = Bochs::new(&dir, "tigerlake", 640).unwrap().disk(&disk, Writes::Dropped);
    let text = bare.configuration().unwrap();
    for line in ["memory: guest=640, host=640", "boot: disk"] {
        assert!(text.lines().any(|l| l == line), "{line} in:\n{text}");
    }
    assert!(text.contains("cpu: model=tigerlake, count=1,"));
    assert!(text.contains(&format!("ata0-master: type=disk, path=\"{}\", mode=volatile", disk.display())));
    assert!(!text.contains("cdrom"));

    let two = Bochs::new(&dir, "tigerlake", 640).unwrap().cpus(2).configuration().unwrap();
    assert!(two.contains("cpu: model=tigerlake, count=2,"));

    let text = bare.disk(&disk, Writes::Kept).cd(&cd).configuration().unwrap();
    assert!(text.contains("disk.img\", mode=flat,"));
    assert!(text.contains(&format!("ata1-master: type=cdrom, path=\"{}\",", cd.display())));
    assert!(text.contains("\nboot: cdrom, disk\n"));
}

#[test]
fn unknown_msrs_fault_unless_the_guest_cannot_do_without() {
    let bochs = Bochs::new(&scratch("msrs"), "tigerlake", 64).unwrap();
    assert!(bochs.configuration().unwrap().contains("ignore_bad_msrs=0"));
    assert!(bochs.with_unknown_msrs().configuration().unwrap().contains("ignore_bad_msrs=1"));
}

#[test]
fn a_drive_that_is_not_there_is_said_before_the_run() {
    let dir = scratch("no-drive");
    let bochs = Bochs::new(&dir, "tigerlake", 64).unwrap().cd(&dir.join("none.iso"));
    assert!(bochs.configuration().unwrap_err().to_string().contains("none.iso"));
}

#[test]
fn every_stop_of_the_debugger_comes_with_its_own_point_in_time_and_the_last_quits() {
    let script = Bochs::new(&scratch("script"), "tigerlake", 64).unwrap().ticks(7000).debugger_script();
    let lines: Vec<&str> = script.lines().collect();
    let count = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count() as u64;
    assert_eq!((count("sba "), count("c"), count("quit")), (POINTS + STOPS, STOPS, 1));
    assert_eq!((lines[0], lines.last().copied()), ("sba 7000", Some("quit")));
    assert_eq!(lines.iter().collect::<std::collections::HashSet<_>>().len() as u64, POINTS + STOPS + 2);
}

#[test]
fn failed_entries_are_found_in_complaints_of_the_cpu_only() {
    let read = log("00259005860e[CPU0  ] VMFAIL: VMCS host state invalid CR0 0x00000000\n\
                    00259005861e[CPU0  ] VMENTER FAIL: VMCS guest invalid CR0\n\
                    00259005862e[CPU0  ] VMRUN: VMRUN intercept bit is not set!\n\
                    00259005863e[CPU0  ] VMRUN: with CPL!=0 cause #GP(0)\n\
                    00259005863e[CPU0  ] SVM VMEXIT: I/O port 0x01f7\n\
                    00274131865e[CPU1  ] VMFAIL: VMWRITE with invalid VMCS ptr !\n\
                    00259005864e[CPU0  ] RDMSR: Unknown register 0xc0010114\n\
                    00259005865i[CPU0  ] VMFAIL: no complaint\n\
                    no line of a log\n\n");
    let begins: Vec<&str> = read.failed_entries.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(begins, ["VMFAIL", "VMENTER FAIL", "VMRUN"]);
    assert_eq!(read.panic, None);
}

#[test]
fn the_end_is_told_by_status_log_and_debugger_together() {
    let good = || Stopped::Ended(ExitStatus::from_raw(0));
    let bad = || Stopped::Ended(ExitStatus::from_raw(1 << 8));
    let panic = |text: &str| log(&format!("00154661817p[UNMAP ] >>PANIC<< {text}\n"));
    assert_eq!(end(good(), &Log::default(), "Next at t=5"), End::Quit);
    assert_eq!(end(good(), &Log::default(), "(0) Caught time breakpoint"), End::Budget);
    assert_eq!(end(Stopped::Killed { has_halted: false }, &Log::default(), ""), End::Deadline);
    assert_eq!(end(Stopped::Killed { has_halted: true }, &Log::default(), ""), End::LastWord);
    assert_eq!(end(bad(), &panic("Shutdown port: shutdown requested"), ""), End::Shutdown);
    assert_eq!(end(bad(), &panic("ACPI control: soft power off"), ""), End::PowerOff);
    assert_eq!(end(bad(), &panic("no memory"), ""), End::Panic("no memory".into()));
    assert!(matches!(end(bad(), &Log::default(), ""), End::Panic(_)));
    assert_eq!(end(bad(), &log("00303732733i[SIM   ] quit_sim called with exit code 0"), ""), End::Quit);
    let reported = log("00277448625p[HD    ] >>PANIC<< IO write(0x01f0): current command is 20h\n\
                        00303732733i[SIM   ] quit_sim called with exit code 0");
    assert_eq!(end(good(), &reported, ""), End::Quit);
}

#[test]
fn an_end_with_failed_entries_is_no_good_end() {
    let failed = Ended { end: End::Quit, failed_entries: vec!["VMFAIL: so".into()] };
    assert!(expect(failed, End::Quit).unwrap_err().to_string().contains("VMFAIL: so"));
    assert!(expect(Ended { end: End::Quit, failed_entries: Vec::new() }, End::Quit).is_ok());
    assert!(expect(Ended { end: End::Budget, failed_entries: Vec::new() }, End::Quit).is_err());
}
