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
fn header_files_are_loaded_behind_the_configuration() {
    let folder = Folder::new("syntax-headers");
    let library = r#"
        grub_probe=true
        grub_warn() { echo "$@" >&2; }
        prepare_grub_to_access_device() { echo "search --fs-uuid --set=root 1234"; }
        make_system_path_relative_to_its_root() { echo "/relative/${1##*/}"; }
    "#;
    folder.write("grub-mkconfig_lib", library);
    let (elf, conf) = (folder.write("shoji.elf", ""), folder.write("shoji.conf", ""));
    let generated = |options: &str| {
        let line = format!("grub-entry --image {} --config {} {options}", elf.display(), conf.display());
        let script = folder.write("09_shoji", folder.shoji(&line).stdout);
        let output = Command::new("sh").arg(script).env("pkgdatadir", folder.path("")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_grub_script(&folder, &text);
        let modules: Vec<_> = text.lines().map(str::trim).filter(|line| line.starts_with("module2")).collect();
        (modules.join("\n"), String::from_utf8(output.stderr).unwrap())
    };
    const CONFIG: &str = "module2 \"$shoji_config\"";
    assert_eq!(generated(""), (CONFIG.into(), String::new()), "there is none");
    for name in ["home.luks", "data.2.luks", "my data.luks", "-q.luks", ".luks", "$x.luks", "data.img"] {
        folder.write(name, "");
    }
    let (modules, warnings) = generated("");
    let line = |name: &str| format!("module2 \"/relative/{name}.luks\" luks2:{name}\n");
    assert_eq!(modules, line("data.2") + &line("home") + CONFIG);
    let told: Vec<_> = warnings.lines().filter(|line| line.contains("is left out")).collect();
    assert_eq!(told.len(), 3, "{warnings}");
    let named = folder.path("home.luks");
    let (modules, warnings) = generated(&format!("--header-file {} --header-file /none/x.luks", named.display()));
    assert_eq!(modules, line("home") + CONFIG);
    assert!(warnings.contains("/none/x.luks is missing"), "{warnings}");
}

#[test]
fn the_standalone_menu_loads_the_header_files_that_are_named() {
    let folder = Folder::new("syntax-standalone-headers");
    folder.write("systems", "");
    let line = "grub-entry --standalone systems --header-file /shoji/home.luks --header-file /data.luks";
    let outcome = folder.shoji(line);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_grub_script(&folder, &outcome.stdout);
    assert!(
        outcome.stdout.contains("  module2 \"/shoji/home.luks\" luks2:home\n  module2 \"/data.luks\" luks2:data\n}")
    );
    let loaded = outcome.stdout.split_once("module2 \"$shoji_config\"\n").unwrap().1;
    assert!(loaded.trim_start().starts_with("shoji_load_headers\n"), "{loaded}");
    for wrong in ["/boot/header.img", "/boot/.luks", "home.luks", "/boot/my;reboot.luks"] {
        assert_eq!(folder.shoji(&format!("grub-entry --header-file {wrong}")).status, 2, "{wrong}");
    }
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
