//! The generated scripts are good shell and good GRUB script, with the options in them.

mod common;

use std::process::Command;

use common::Folder;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// grub-script-check of the package grub-common.
fn assert_grub_script(folder: &Folder, text: &str) {
    run(Command::new("grub-script-check").arg(folder.write("grub.cfg", text)));
}

#[test]
fn the_standalone_menu_is_good_grub_script() {
    let folder = Folder::new("syntax-standalone");
    folder.write("systems", "menuentry \"Debian\" --id debian {\n  linux /vmlinuz root=/dev/sda2\n}\n");
    let outcome = folder.shoji("grub-entry --standalone systems --image /shoji.elf --config /my.conf --timeout 7");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_grub_script(&folder, &outcome.stdout);
    for text in
        ["shoji_image=\"/shoji.elf\"", "shoji_config=\"/my.conf\"", "timeout=7", "linux /vmlinuz", "0x4f1", "\"0x53\""]
    {
        assert!(outcome.stdout.contains(text), "{text}");
    }
    assert!(!outcome.stdout.contains('@'), "a placeholder is left");
}

#[test]
fn the_script_for_update_grub_prints_good_grub_script() {
    let folder = Folder::new("syntax-script");
    let library = r#"
        grub_probe=true
        prepare_grub_to_access_device() { echo "search --fs-uuid --set=root 1234"; }
        make_system_path_relative_to_its_root() { echo "/relative/${1##*/}"; }
    "#;
    folder.write("grub-mkconfig_lib", library);
    let (elf, conf) = (folder.write("shoji.elf", ""), folder.write("shoji.conf", ""));
    let script = folder.shoji(&format!("grub-entry --image {} --config {}", elf.display(), conf.display())).stdout;
    let part = run(Command::new("sh").arg(folder.write("09_shoji", script)).env("pkgdatadir", folder.path("")));
    assert_grub_script(&folder, &part);
    for text in
        ["--set=root 1234", "shoji_image=\"/relative/shoji.elf\"", "shoji_config=\"/relative/shoji.conf\"", "timeout=3"]
    {
        assert!(part.contains(text), "{text}");
    }
    assert!(!part.contains('@'), "a placeholder is left");
}

#[test]
fn the_script_adds_nothing_while_a_file_is_missing() {
    let folder = Folder::new("syntax-missing");
    folder.write("grub-mkconfig_lib", "grub_warn() { echo \"$@\" >&2; }");
    let script = folder.shoji("grub-entry --image /none/shoji.elf").stdout;
    let script = folder.write("09_shoji", script);
    let output = Command::new("sh").arg(script).env("pkgdatadir", folder.path("")).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/none/shoji.elf is missing"));
}

#[test]
fn the_environment_block_is_one_that_grub_editenv_reads() {
    let folder = Folder::new("syntax-env");
    let file = folder.write("grubenv", shoji::grub::environment_block());
    run(Command::new("grub-editenv").arg(&file).args(["set", "shoji_starting=1"]));
    assert_eq!(run(Command::new("grub-editenv").arg(&file).arg("list")), "shoji_starting=1\n");
}

#[test]
fn a_place_that_grub_cannot_find_is_an_error_not_half_a_menu() {
    let folder = Folder::new("syntax-probe");
    folder.write("grub-mkconfig_lib", "grub_probe=false");
    let (elf, conf) = (folder.write("shoji.elf", ""), folder.write("shoji.conf", ""));
    let script = folder.shoji(&format!("grub-entry --image {} --config {}", elf.display(), conf.display())).stdout;
    let script = folder.write("09_shoji", script);
    let output = Command::new("sh").arg(script).env("pkgdatadir", folder.path("")).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
}
