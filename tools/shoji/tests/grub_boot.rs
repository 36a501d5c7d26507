//! GRUB's two passes, played through in QEMU with a stand-in for `shoji.elf`.
//!
//! `cargo test -p shoji --test grub_boot -- --ignored`; needs qemu-system-x86, grub-pc-bin, grub-common, e2fsprogs and
//! the C compiler that Rust links with.

mod grub;

use grub::Machine;

const SHOJI_ENTRY: &str = "Start the system under Shoji";
const FAILED_ENTRY: &str = "Shoji did not start last time";

#[test]
#[ignore = "boots QEMU"]
fn the_second_pass_offers_the_systems_and_clears_the_flag() {
    let disk = grub::Disk::new("second-pass", "MODE=S");
    let mut machine = Machine::boot(&disk);
    machine.expect(SHOJI_ENTRY);
    machine.expect("fake Shoji: MODE=S");
    let menu = machine.expect("first system, pass second, flag [], default 0, timeout 1");
    assert!(!menu.contains(SHOJI_ENTRY) && !menu.contains(FAILED_ENTRY), "{menu}");
    machine.off();
    assert!(!disk.environment().contains("shoji_starting"), "{}", disk.environment());
}

#[test]
#[ignore = "boots QEMU"]
fn a_failed_start_waits_at_the_menu_until_a_start_succeeds() {
    let disk = grub::Disk::new("failed-start", "MODE=R");
    let mut machine = Machine::boot(&disk);
    machine.expect("fake Shoji: MODE=R");
    machine.expect(FAILED_ENTRY);
    machine.expect_silence_about("fake Shoji");
    machine.off();
    assert!(disk.environment().contains("shoji_starting=1\n"), "{}", disk.environment());

    disk.patch("MODE=R", "MODE=S");
    let mut machine = Machine::boot(&disk);
    let menu = machine.expect(FAILED_ENTRY);
    assert!(!menu.contains("fake Shoji"), "{menu}");
    machine.press("\r");
    machine.expect("fake Shoji: MODE=S");
    machine.expect("first system, pass second, flag []");
    machine.off();

    let mut machine = Machine::boot(&disk);
    machine.expect(SHOJI_ENTRY);
    machine.expect("first system, pass second");
}

#[test]
#[ignore = "boots QEMU"]
fn another_entry_can_be_chosen_after_a_failed_start() {
    let disk = grub::Disk::new("other-entry", "MODE=R");
    disk.set("shoji_starting=1");
    let mut machine = Machine::boot(&disk);
    machine.expect(FAILED_ENTRY);
    machine.press("\x1b[B\r");
    machine.expect("first system, pass failed");
}

#[test]
#[ignore = "boots QEMU"]
fn a_choice_of_grub_reboot_reaches_the_second_pass() {
    let disk = grub::Disk::new("grub-reboot", "MODE=S");
    disk.set("next_entry=other");
    let mut machine = Machine::boot(&disk);
    machine.expect("fake Shoji: MODE=S");
    machine.expect("second system, pass second");
    machine.off();
    assert!(!disk.environment().contains("next_entry=other"), "{}", disk.environment());
}

#[test]
#[ignore = "boots QEMU"]
fn without_an_environment_block_shoji_starts_after_a_warning() {
    let disk = grub::Disk::without_environment("no-grubenv", "MODE=S");
    let mut machine = Machine::boot(&disk);
    machine.expect("GRUB cannot write");
    machine.expect("fake Shoji: MODE=S");
    machine.expect("first system, pass second");
}

#[test]
#[ignore = "boots QEMU"]
fn a_missing_configuration_is_said_and_shoji_is_not_started() {
    let disk = grub::Disk::new("no-config", "MODE=S");
    disk.patch("/shoji/shoji.conf", "/shoji/shoji.gone");
    let mut machine = Machine::boot(&disk);
    machine.expect("GRUB does not find both");
    // The menu comes again.
    let before = machine.expect(SHOJI_ENTRY);
    assert!(!before.contains("fake Shoji"), "{before}");
    machine.off();
    assert!(!disk.environment().contains("shoji_starting"), "{}", disk.environment());
}

#[test]
#[ignore = "boots QEMU"]
fn the_standalone_menu_works_too() {
    let disk = grub::Disk::standalone("standalone", "MODE=S");
    let mut machine = Machine::boot(&disk);
    machine.expect("fake Shoji: MODE=S");
    machine.expect("first system, pass second, flag [], default 0");
}
