//! The rooms of the repository: who may import whom, which crate may be unsafe, and how files look.
//!
//! The table is ARCHITECTURE.md's. What Cargo knows is read by `cargo metadata`, the rest from the text of the files;
//! nothing is compiled, so all of it is checked in a second, bare-metal crates included.

pub mod sources;
#[cfg(test)]
mod tests;
mod vendors;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the root; with a line where one is meant.
    pub file: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    remedy: {}", self.file, self.what, self.remedy)
    }
}

impl Finding {
    fn new(file: impl fmt::Display, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.to_string(), what: what.into(), remedy: remedy.into() }
    }
}

/// What a crate may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Colour {
    Green,
    Amber,
    Red,
}

/// A crate of the workspace.
#[derive(Debug)]
struct Crate {
    name: String,
    /// Folder, relative to the root: `drivers/ata`.
    folder: PathBuf,
    colour: Option<Colour>,
    /// Names of the workspace's crates that it is built from; those of its tests only are not among them.
    imports: Vec<String>,
}

impl Crate {
    /// The top-level folder.
    fn room(&self) -> &str {
        self.folder.iter().next().and_then(|room| room.to_str()).unwrap_or_default()
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Everything that may lie at the top, besides what is never committed.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "x86_64-vmm.json",
    ".cargo",
    ".ci",
    ".gitignore",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
    "boot",
    "core",
    "drivers",
    "storage",
    "vpn",
    "tools",
    "tests",
];
const NEVER_COMMITTED: &[&str] = &[".git", "target"];
/// Rooms whose crates run in the VMM.
const VMM_ROOMS: &[&str] = &["boot", "core", "drivers", "storage", "vpn"];

/// Checks the repository at `root`. No findings: all is well.
///
/// # Errors
/// If Cargo or the file system does not answer.
pub fn check_rooms(root: &Path) -> Result<Vec<Finding>> {
    let manifest = root.join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(&manifest).no_deps().exec();
    let crates = crates(&metadata.with_context(|| format!("cargo metadata fails on {}", manifest.display()))?);
    let mut findings = check_top_level(root)?;
    for importer in &crates {
        findings.extend(check_imports(importer, &crates));
        findings.extend(sources::check_manifest(root, importer)?);
        findings.extend(sources::check_root_file(root, importer)?);
        findings.extend(sources::check_files(root, importer)?);
        findings.extend(vendors::check_words(root, importer)?);
    }
    findings.extend(vendors::check_twins(root, &crates)?);
    Ok(findings)
}

fn crates(metadata: &Metadata) -> Vec<Crate> {
    let members = metadata.workspace_packages();
    let imports = |package: &cargo_metadata::Package| {
        let built_from = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        built_from.filter(|d| d.path.is_some()).map(|d| d.name.clone()).collect()
    };
    let of_package = |package: &&cargo_metadata::Package| {
        let folder =
            package.manifest_path.parent().and_then(|folder| folder.strip_prefix(&metadata.workspace_root).ok());
        Crate {
            name: package.name.to_string(),
            folder: folder.map(|folder| folder.as_std_path().to_owned()).unwrap_or_default(),
            colour: match package.metadata.pointer("/shoji/colour").and_then(|colour| colour.as_str()) {
                Some("green") => Some(Colour::Green),
                Some("amber") => Some(Colour::Amber),
                Some("red") => Some(Colour::Red),
                _ => None,
            },
            imports: imports(package),
        }
    };
    members.iter().map(of_package).collect()
}

fn check_top_level(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for entry in root.read_dir().with_context(|| format!("cannot list {}", root.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !TOP_LEVEL.contains(&name.as_str()) && !NEVER_COMMITTED.contains(&name.as_str()) {
            findings.push(Finding::new(
                name,
                "is not one of the top level's entries",
                "move it into a room, or remove it",
            ));
        }
    }
    findings.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(findings)
}

fn check_imports(importer: &Crate, crates: &[Crate]) -> Vec<Finding> {
    let manifest = importer.file("Cargo.toml");
    let mut findings = Vec::new();
    if importer.colour.is_none() {
        let remedy = "add [package.metadata.shoji] with colour = \"green\", \"amber\" or \"red\"";
        findings.push(Finding::new(&manifest, "has no colour", remedy));
    }
    for imported in crates.iter().filter(|c| importer.imports.contains(&c.name)) {
        let reasons = [forbidden_import(importer, imported), wrong_colour(importer, imported)];
        findings.extend(reasons.into_iter().flatten().map(|(why, remedy)| {
            Finding::new(&manifest, format!("{} imports {}, but {why}", importer.name, imported.name), remedy)
        }));
    }
    findings
}

/// Why a crate may not import another, and what to do instead.
type Refusal = (&'static str, &'static str);

/// The table "Who may import whom", row by row.
fn forbidden_import(importer: &Crate, imported: &Crate) -> Option<Refusal> {
    const CONTRACT: &str = "go through the contract in core/mediator, and let core/vmm bring the two together";
    let (from, to) = (importer.name.as_str(), imported.name.as_str());
    if imported.room() == "tests" && importer.room() != "tests" {
        return Some(("nothing imports tests", "move what both need into a crate of its own room"));
    }
    // Tests bring together whatever they test, and only `vmm` among the others sees everything.
    if importer.room() == "tests" || from == "vmm" {
        return None;
    }
    if to == "vmm" {
        return Some(("nothing imports the binary", "move what is needed into a crate below it"));
    }
    match (importer.room(), from) {
        (_, "mediator" | "abi" | "x86" | "policy" | "sleep" | "initfunc" | "lock" | "wireguard") => {
            Some(("it imports nothing of the workspace", "move the code up, to a crate that may import both"))
        }
        (_, "wg_quick") if to != "wireguard" => {
            Some(("it reads a file into the types of wireguard alone", "let the caller bring both together"))
        }
        ("drivers", _) if !driver_may_see(importer, imported) => {
            Some(("drivers see mediator, their family's crate and pci only", CONTRACT))
        }
        ("storage" | "vpn", _) if imported.room() == "drivers" => {
            Some(("storage and vpn never name a driver", CONTRACT))
        }
        (_, "exit") if matches!(to, "svm" | "vmx") => {
            Some(("exit never names a vendor", "add what is missing to the trait Vcpu in neutral words"))
        }
        (_, "svm") if to == "vmx" => {
            Some(("neither vendor sees the other", "move what both need to core/exit or core/hw"))
        }
        (_, "vmx") if to == "svm" => {
            Some(("neither vendor sees the other", "move what both need to core/exit or core/hw"))
        }
        _ => None,
    }
}

/// A driver sees the contract, `pci`, and the crate that is named as the family folder it lies in (`drivers/usb/usb`). Disks
/// have their family's crates beside them: `block`, the request model, and `acs`, the ATA command set.
fn driver_may_see(importer: &Crate, imported: &Crate) -> bool {
    let family = importer.folder.parent().filter(|family| family.components().count() > 1);
    let is_family = family.is_some_and(|family| {
        imported.folder.parent() == Some(family) && family.file_name() == imported.folder.file_name()
    });
    let shared = matches!(
        (importer.name.as_str(), imported.name.as_str()),
        ("ata" | "ahci", "acs") | ("ata" | "ahci" | "nvme" | "acs", "block")
    );
    is_family || shared || matches!(imported.name.as_str(), "mediator" | "pci")
}

/// Where programs for ring 3 lie, and what they stand on: its few unsafe lines are system calls, which reach nothing but the program.
const PROGRAMS: &str = "core/process";
const USERLIB: &str = "userlib";

/// Green code stands on green code only, or `forbid(unsafe_code)` would promise nothing. Tools and tests run on the
/// host, where the operating system keeps them apart from the machine.
fn wrong_colour(importer: &Crate, imported: &Crate) -> Option<Refusal> {
    let in_vmm = VMM_ROOMS.contains(&importer.room());
    let is_program = importer.folder.starts_with(PROGRAMS) && imported.name == USERLIB;
    let wrong =
        in_vmm && !is_program && importer.colour == Some(Colour::Green) && imported.colour != Some(Colour::Green);
    wrong.then_some((
        "a green crate depends on green crates only",
        "put a trait into a green crate and implement it in the other one",
    ))
}
