//! Builds the hypervisor.

use crate::simd::build_simd_object;
use crate::{programs, setup};
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::program::{command, run};
use testbed::{Workspace, artifact};

/// The crate of the binary.
const CRATE: &str = "vmm";
/// The bare-metal target: stable Rust, with `core` and `alloc` built for a soft-float machine without red zone.
pub const TARGET_ARGS: [&str; 5] = [
    "-Zbuild-std=core,alloc,compiler_builtins",
    "-Zbuild-std-features=compiler-builtins-mem",
    "-Zjson-target-spec",
    "--target",
    "x86_64-vmm.json",
];

/// Ciphers and curves without vector instructions: the compiler cannot make them for a soft-float machine. For programs in ring 3 as well,
/// which then share what is built.
pub const RUSTFLAGS: &str =
    "--cfg chacha20_backend=\"soft\" --cfg poly1305_backend=\"soft\" --cfg curve25519_dalek_backend=\"serial\"";

/// How the hypervisor is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Profile {
    Release,
    /// With debug assertions and overflow checks.
    Checked,
}

/// Builds the hypervisor, `checked` or not, and prints its size.
pub fn build(workspace: &Workspace, checked: bool, yes: bool) -> Result<()> {
    let profile = if checked { Profile::Checked } else { Profile::Release };
    print_size(&compile_as(workspace, profile, yes)?)
}

/// Builds `target/shoji/shoji.elf`, with nothing on standard output.
pub fn compile(workspace: &Workspace, yes: bool) -> Result<()> {
    compile_as(workspace, Profile::Release, yes).map(drop)
}

/// Gives the image.
fn compile_as(workspace: &Workspace, profile: Profile, yes: bool) -> Result<PathBuf> {
    setup::ensure(&[setup::For::Build], yes)?;
    let (name, elf) = match profile {
        Profile::Release => ("release", workspace.shoji_elf()?),
        Profile::Checked => ("checked", workspace.checked_elf()?),
    };
    let mut cargo = bare_metal_cargo(workspace, "build")?;
    let status = cargo.args(["--profile", name, "-p", CRATE]).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the hypervisor does not build: see cargo's messages above");
    }
    let built = workspace.root().join("target/x86_64-vmm").join(name).join(CRATE);
    let content = std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    artifact::write(&elf, &content)?;
    Ok(elf)
}

/// `cargo SUBCOMMAND` for the bare machine.
///
/// The flags are given here and not in `.cargo/config.toml`, where they would break `cargo test` on the host.
pub fn bare_metal_cargo(workspace: &Workspace, subcommand: &str) -> Result<Command> {
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).arg(subcommand).args(TARGET_ARGS);
    // build-std and JSON targets are unstable options; this compiler is pinned, so they mean the same on every machine.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let target = workspace.root().join("target");
    let simd = build_simd_object(workspace.root(), &target).map_err(|why| anyhow!("the SIMD object: {why}"))?;
    cargo.env("SHOJI_SIMD_DIR", simd);
    cargo.env("SHOJI_PROGRAMS_DIR", programs::build(workspace)?);
    Ok(cargo)
}

fn print_size(elf: &Path) -> Result<()> {
    let [text, data, bss] = image_size(elf)?;
    println!("{}: text {text} data {data} bss {bss} bytes", elf.display());
    Ok(())
}

/// Bytes of text (read-only data too), data and bss.
pub fn image_size(elf: &Path) -> Result<[u64; 3]> {
    let said = run(command("size").arg(elf))?;
    let mut fields = said.lines().nth(1).unwrap_or_default().split_whitespace();
    let mut next = || fields.next().and_then(|field| field.parse().ok()).context("`size` prints no size");
    Ok([next()?, next()?, next()?])
}
