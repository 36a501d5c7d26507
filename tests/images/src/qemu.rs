//! A guest's machine in QEMU.

use crate::verdict::End;
use crate::{Board, Machine, TinyGuest};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use testbed::accel::Accelerator;
use testbed::qemu::{debug_exit_status, qemu_command};

/// What a guest writes to the debug exit port.
const PASS: u8 = 0x10;
const FAIL: u8 = 0x11;

pub fn run(machine: &Machine<'_>, accelerator: Accelerator, guest: &TinyGuest, limit: Duration) -> Result<End> {
    let mut qemu = qemu_command();
    qemu.args(arguments(machine, accelerator, guest));
    qemu.stdin(Stdio::null()).stderr(File::create(machine.logs.join("qemu.log"))?);
    let mut child = qemu.spawn().context("cannot run qemu-system-x86_64")?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.code() {
                Some(code) if code == debug_exit_status(PASS) => End::Passed,
                Some(code) if code == debug_exit_status(FAIL) => End::Failed,
                _ => End::Otherwise(format!("QEMU ended with {status}")),
            });
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(End::Otherwise("the time is up".into()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `-no-reboot` must not be added: some guests reset the machine.
fn arguments(machine: &Machine<'_>, accelerator: Accelerator, guest: &TinyGuest) -> Vec<String> {
    // Where the buses of the IDE controller are named after it, and its device is to be asked for.
    let (board, ide) = match guest.board {
        Board::I440fx => ("pc", "ide"),
        Board::Q35 => ("q35", "piix"),
        // Its ports are called so.
        Board::Ahci | Board::Nvme => ("q35", "ide"),
    };
    let mut arguments: Vec<String> = [
        "-machine",
        board,
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
    if guest.board == Board::Q35 {
        arguments.extend(["-device".into(), format!("piix3-ide,id={ide}")]);
    }
    let name = |path: &Path| path.to_string_lossy().replace(',', ",,");
    let mut drive_at = |device: &str, file: &Path, bus: u32, boot_index: u32| {
        arguments.push("-drive".into());
        arguments.push(format!("if=none,id=drive{bus},format=raw,file={}", name(file)));
        arguments.push("-device".into());
        arguments.push(format!("{device},drive=drive{bus},bus={ide}.{bus},unit=0,bootindex={boot_index}"));
    };
    drive_at("ide-hd", machine.disk, 0, 1);
    if let Some(medium) = machine.medium {
        drive_at("ide-cd", medium, 1, 0);
    }
    if guest.board == Board::Nvme {
        // One file, two drives: the other one only boots, and its writes go nowhere.
        let file = name(machine.disk);
        arguments.extend(["-set".into(), "drive.drive0.snapshot=on".into()]);
        arguments.extend(["-drive".into(), format!("if=none,id=nvme,format=raw,file={file},file.locking=off")]);
        arguments.extend(["-device".into(), "nvme,drive=nvme,serial=tiny".into()]);
    }
    arguments.extend(["-m".into(), machine.memory_mib.to_string(), "-smp".into(), machine.cpus.to_string()]);
    for log in ["shoji.log", "com2.log"] {
        arguments.push("-serial".into());
        arguments.push(format!("file:{}", name(&machine.logs.join(log))));
    }
    arguments.extend(guest.qemu.iter().map(ToString::to_string));
    arguments
}

#[cfg(test)]
mod tests {
    use super::arguments;
    use crate::{Emulator, Machine, all};
    use std::path::Path;
    use testbed::accel::{Accelerator, Vendor};

    #[test]
    fn guests_run_by_what_was_chosen_but_for_those_that_count_instructions() {
        let (kvm, path) = (Accelerator::Kvm(Vendor::Intel), Path::new("x"));
        let emulator = Emulator::Qemu(kvm);
        let machine = Machine { emulator, memory_mib: 512, cpus: 4, rounds: 1, disk: path, medium: None, logs: path };
        for guest in all() {
            let arguments = arguments(&machine, kvm, guest);
            let counts = arguments.iter().any(|word| word == "-icount");
            assert_eq!(guest.tcg_only.is_some(), counts, "{}", guest.name);
            let expected = if counts { Accelerator::Tcg } else { kvm };
            assert!(arguments.windows(2).any(|words| words == ["-smp", "4"]));
            assert!(arguments.windows(4).any(|words| words == expected.arguments(true)), "{}", guest.name);
        }
    }
}
