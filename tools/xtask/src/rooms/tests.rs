use super::sources::{dependencies_without_reason, unsafe_without_safety};
use super::vendors::vendor_words;
use super::*;
use std::fs;

fn a_crate(folder: &str, colour: Colour) -> Crate {
    let name = Path::new(folder).file_name().unwrap().to_str().unwrap().to_owned();
    Crate { name, folder: folder.into(), colour: Some(colour), imports: Vec::new() }
}

fn may(importer: &str, imported: &str) -> bool {
    forbidden_import(&a_crate(importer, Colour::Red), &a_crate(imported, Colour::Red)).is_none()
}

#[test]
fn drivers_see_the_contract_their_family_and_pci_only() {
    assert!(may("drivers/ata", "core/mediator"));
    assert!(may("drivers/ata", "drivers/pci"));
    assert!(may("drivers/usb/uhci", "drivers/usb/usb") && may("drivers/net/e1000", "drivers/net/net"));
    assert!(may("drivers/nvme", "drivers/block") && may("drivers/ahci", "drivers/acs"));
    assert!(!may("drivers/block", "drivers/ata") && !may("drivers/nvme", "drivers/acs"));
    for imported in ["core/exit", "core/hw", "core/svm", "core/vmx", "core/config", "storage/xts", "drivers/nvme"] {
        assert!(!may("drivers/ata", imported), "{imported}");
    }
    assert!(!may("drivers/usb/uhci", "drivers/usb/ehci"));
    assert!(!may("drivers/usb/uhci", "drivers/net/net"));
    assert!(!may("drivers/ahci", "drivers/drivers"), "the room is no family");
}

#[test]
fn vendors_storage_and_the_bottom_keep_to_themselves() {
    assert!(may("core/svm", "core/exit") && may("core/svm", "core/x86"));
    assert!(!may("core/exit", "core/svm") && !may("core/exit", "core/vmx"));
    assert!(!may("core/svm", "core/vmx") && !may("core/vmx", "core/svm"));
    assert!(may("storage/xts", "core/mediator"));
    assert!(!may("storage/ranges", "drivers/ata") && !may("vpn/esp", "drivers/pci"));
    assert!(may("vpn/wg_quick", "vpn/wireguard") && !may("vpn/wg_quick", "core/abi"));
    for bottom in ["core/mediator", "core/abi", "core/x86", "core/initfunc", "core/lock", "vpn/wireguard"] {
        assert!(!may(bottom, "core/config"), "{bottom}");
    }
}

#[test]
fn only_the_binary_sees_everything_and_nothing_sees_tests() {
    assert!(may("core/vmm", "drivers/ata") && may("core/vmm", "core/svm"));
    assert!(!may("core/hw", "core/vmm"));
    assert!(!may("core/vmm", "tests/sim") && !may("tools/xtask", "tests/sim"));
    assert!(may("tests/scenario", "tests/sim") && may("tests/scenario", "drivers/ata"));
}

#[test]
fn green_stands_on_green() {
    let wrong = |from, to, colour| wrong_colour(&a_crate(from, Colour::Green), &a_crate(to, colour)).is_some();
    assert!(wrong("storage/xts", "storage/simd", Colour::Amber));
    assert!(wrong("core/exit", "core/hw", Colour::Red));
    assert!(!wrong("core/exit", "core/mediator", Colour::Green));
    assert!(!wrong("tests/scenario", "storage/simd", Colour::Amber));
    assert!(wrong_colour(&a_crate("core/svm", Colour::Red), &a_crate("core/hw", Colour::Red)).is_none());
}

#[test]
fn dependencies_need_a_reason_beside_them() {
    let manifest = r##"
[package]
name = "x"
[dependencies]
good = "1" # because
bad = { version = "2" }
worse = { git = "u#r" }
empty = "1" #
long = { version = "1", features = [ # many
    "a",
] }
dotted.workspace = true
# said above
above = "1"
not_above = "1"
[target.'cfg(unix)'.dependencies]
nix = "1"
[dev-dependencies]
proptest = "1"
[package.metadata.shoji]
colour = "green"
"##;
    let names: Vec<_> = dependencies_without_reason(manifest).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["bad", "worse", "empty", "dotted", "not_above", "nix", "proptest"]);
    assert_eq!(dependencies_without_reason(manifest)[0].0, 6, "line numbers count from 1");
}

#[test]
fn unsafe_blocks_need_their_reason_above_them() {
    let reasoned = "
// SAFETY: one line
unsafe { a() };
// SAFETY: several
// lines
let x = unsafe { b() };
// SAFETY: a long statement
let y =
    unsafe { c() };
// SAFETY: an attribute between
#[inline]
unsafe impl Send for T {}
let z = unsafe { d() }; // SAFETY: beside it
#[unsafe(no_mangle)]
unsafe fn e() {}
unsafe extern \"C\" { fn f(); }
fn many() {
    // SAFETY (for all of these): registers only
    a(|| unsafe { b() });
    a(|| unsafe { c() });
}
let not_unsafe { g } = h(); // unsafe { in a comment }
println!(\"unsafe { in a text }\");
";
    assert_eq!(unsafe_without_safety(reasoned), Vec::<usize>::new());
    let bare = "
fn a() {
    unsafe { b() };
    // SAFETY: this one has
    unsafe { c() };
    unsafe { d() };
    // Only a comment.
    let e = unsafe { f() };
}
unsafe impl<T> Sync for U<T> {}

fn many() {
    // SAFETY (for all of these): up to here
}
// SAFETY: too far away

unsafe { g() };
";
    assert_eq!(unsafe_without_safety(bare), [3, 6, 8, 10, 17]);
}

/// A small workspace with a folder of its own.
struct Repository(PathBuf);

impl Repository {
    /// Two crates as they should be: `core/mediator` and `drivers/ata`.
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("rooms-{name}-{}", std::process::id()));
        let repository = Self(root);
        repository.write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"core/*\", \"drivers/*\"]\n");
        repository.write_crate("core/mediator", "mediator", "green", "");
        repository.write_crate(
            "drivers/ata",
            "ata",
            "green",
            "mediator = { path = \"../../core/mediator\" } # contract",
        );
        repository
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn write_crate(&self, folder: &str, name: &str, colour: &str, dependencies: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n[package.metadata.shoji]\ncolour = \"{colour}\"\n[dependencies]\n{dependencies}\n"
        );
        self.write(&format!("{folder}/Cargo.toml"), &manifest);
        self.write(&format!("{folder}/src/lib.rs"), include_str!("../../../../core/mediator/src/lib.rs"));
    }

    fn findings(&self) -> Vec<String> {
        check_rooms(&self.0).unwrap().into_iter().map(|f| format!("{}: {}", f.file, f.what)).collect()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_repository_in_order_has_no_findings() {
    assert_eq!(Repository::new("good").findings(), Vec::<String>::new());
}

#[test]
fn each_planted_fault_is_found_once() {
    let repository = Repository::new("bad");
    repository.write("notes.txt", "");
    repository.write_crate("core/hw", "hw", "red", "");
    repository.write("core/hw/src/port.rs", "fn f() {\n    unsafe { g() }\n}\n");
    repository.write("core/hw/src/long.rs", &"\n".repeat(601));
    repository.write("core/hw/target/ignored.rs", "unsafe { g() }");
    repository.write_crate("core/exit", "exit", "violet", "");
    repository.write_crate("drivers/ata", "ata", "green", "hw = { path = \"../../core/hw\" }");
    repository.write("drivers/ata/src/lib.rs", "//! #![forbid(unsafe_code)] is only told.\n");
    let mut findings = repository.findings();
    findings.sort();
    assert_eq!(
        findings,
        [
            "core/exit/Cargo.toml: has no colour",
            "core/hw/src/long.rs: has 601 lines, more than 600",
            "core/hw/src/port.rs:2: an unsafe block or impl without SAFETY comment",
            "drivers/ata/Cargo.toml: ata imports hw, but a green crate depends on green crates only",
            "drivers/ata/Cargo.toml: ata imports hw, but drivers see mediator, their family's crate and pci only",
            "drivers/ata/Cargo.toml:7: nothing says why hw is there",
            "drivers/ata/src/lib.rs: a green crate does not forbid unsafe code",
            "drivers/ata/src/lib.rs: a green crate of the VMM does not deny what could panic",
            "notes.txt: is not one of the top level's entries",
        ]
    );
}

#[test]
fn vendors_words_are_found_in_code_in_any_spelling_and_nowhere_else() {
    let code = "
use svm::Features;
let x = SvmVcpu::new(VMCS_LINK, n_EPT4, VMCSField, on_vm_exit);
let kept = vmm_call(VmmCall, accept, vmxless); // vmcb
/* vmrun
vmrun */ let s = \"vmread \\\" vmread\"; let c = ['\"', '\\'', 'x']; fn f<'vmcs>() {}
let r = r#\"vmx \" vmx\"#; asm!(\"vmrun rax\"); VMPTRLD
let nested_npt = 0;
";
    let found: Vec<_> = vendor_words(code);
    let found: Vec<_> = found.iter().map(|(line, name)| (*line, name.as_str())).collect();
    let expected = [(2, "svm"), (3, "SvmVcpu"), (3, "VMCS_LINK"), (3, "n_EPT4"), (3, "VMCSField"), (6, "vmcs")];
    assert_eq!(found, [&expected[..], &[(7, "VMPTRLD"), (8, "nested_npt")]].concat());
}

#[test]
fn vendors_names_outside_their_crates_and_twins_that_differ_are_found() {
    let repository = Repository::new("vendors");
    for (name, only) in [("svm", "a.rs"), ("vmx", "task.rs"), ("vmm", "vendor.rs"), ("x86", "b.rs")] {
        repository.write_crate(&format!("core/{name}"), name, "red", "");
        repository.write(&format!("core/{name}/src/{only}"), "fn vmrun() {}\n");
    }
    repository.write("core/vmm/src/boot.rs", "// vmrun\nfn vmrun() {}\n");
    assert_eq!(
        repository.findings(),
        ["core/vmm/src/boot.rs:2: the name vmrun is a CPU vendor's", "core/svm/src/a.rs: vmx has no such file",]
    );
    repository.write("core/vmx/src/event.rs", "");
    assert_eq!(repository.findings()[2], "core/vmx/src/event.rs: svm has no such file");
}

#[test]
fn a_finding_names_file_fault_and_remedy() {
    let finding = Finding::new("a/b.rs:3", "is wrong", "make it right");
    assert_eq!(finding.to_string(), "a/b.rs:3: is wrong\n    remedy: make it right");
}
