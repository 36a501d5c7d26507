//! Builds the SIMD object (crate `simd_object`) and proves that it holds nothing that the VMM must not execute.
//!
//! The VMM's own target has no SIMD, so this crate is compiled for a second target, linked into one relocatable
//! object that shows nothing but its entry points, and linked into the VMM by the build script of the crate `simd`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "x86_64-vmm-simd";
const ENTRY_POINTS: [&str; 4] =
    ["vmm_simd_xts_new", "vmm_simd_xts_encrypt", "vmm_simd_xts_decrypt", "vmm_simd_xts_drop"];

/// Builds `TARGET_DIR/shoji/simd.o` and, for the linker, `libvmm_simd.a` beside it. Returns their folder: what
/// `SHOJI_SIMD_DIR` must name in the environment of every cargo call that builds the VMM or tests the object.
///
/// # Errors
/// A sentence that says which step failed and why: a tool that is missing, or an instruction that is not allowed.
pub fn build_simd_object(workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let folder = target_dir.join("shoji");
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let (linked, object) = (folder.join("simd-linked.o"), folder.join("simd.o"));
    let (new, archive) = (folder.join("libvmm_simd.a.new"), folder.join("libvmm_simd.a"));

    let library = compile(workspace, target_dir)?;
    let mut link = tool(&["rust-lld", "ld.lld"])?;
    if link.get_program().to_string_lossy().ends_with("rust-lld") {
        link.args(["-flavor", "gnu"]);
    }
    link.args(["-m", "elf_x86_64", "-r", "--gc-sections"]);
    link.args(ENTRY_POINTS.iter().flat_map(|entry| ["-u", entry])).arg(&library).arg("-o").arg(&linked);
    run(&mut link)?;

    // The rest of its symbols (core, memcpy, ...) would clash with the VMM's own.
    let mut localize = tool(&["llvm-objcopy", "objcopy"])?;
    localize.args(ENTRY_POINTS.map(|entry| format!("--keep-global-symbol={entry}")));
    run(localize.arg("--strip-debug").arg(&linked).arg(&object))?;

    check_symbols(&run(tool(&["llvm-nm", "nm"])?.arg(&object))?)?;
    check_instructions(&run(tool(&["llvm-objdump", "objdump"])?.args(["-d", "--no-show-raw-insn"]).arg(&object))?)?;

    let _ = fs::remove_file(&new);
    run(tool(&["llvm-ar", "ar"])?.arg("crsD").arg(&new).arg(&object))?;
    replace_if_changed(&new, &archive)?;
    fs::canonicalize(&folder).map_err(|e| format!("cannot find {}: {e}", folder.display()))
}

/// Compiles the crate into a static library, with a `core` for the same target.
fn compile(workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace)
        .args(["rustc", "--quiet", "--release", "--package", "simd_object", "--crate-type", "staticlib"])
        .args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"])
        .args(["-Zjson-target-spec", "--target", &format!("storage/simd_object/{TARGET}.json"), "--target-dir"])
        .arg(target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        // One unit, in source order: LLVM's scheduler would work on two blocks at a time and shuffle round keys
        // between registers, 34 instead of 30 instructions per block.
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("RUSTFLAGS", "-Cllvm-args=-enable-misched=false")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut cargo)?;
    Ok(target_dir.join(TARGET).join("release/libsimd_object.a"))
}

/// The object must be complete, and must not use the heap that it does not have.
fn check_symbols(nm: &str) -> Result<(), String> {
    for line in nm.lines() {
        if line.split_whitespace().next() == Some("U") {
            return Err(format!("the SIMD object lacks a symbol: {}", line.trim()));
        }
        if line.contains("__rust_alloc") {
            return Err("the SIMD object allocates, but has no heap".into());
        }
    }
    match ENTRY_POINTS.iter().find(|entry| !nm.contains(&format!(" T {entry}"))) {
        Some(entry) => Err(format!("the SIMD object has no entry point {entry}")),
        None => Ok(()),
    }
}

/// Every instruction of a disassembly (AT&T syntax) must be one that the VMM may execute with the guest's XCR0, x87
/// state and MXCSR in place.
fn check_instructions(disassembly: &str) -> Result<(), String> {
    let mut aes = false;
    for line in disassembly.lines() {
        let Some((address, instruction)) = line.split_once(':') else { continue };
        if u64::from_str_radix(address.trim(), 16).is_err() {
            continue;
        }
        if let Some(reason) = forbidden(instruction) {
            return Err(format!("the SIMD object must not contain `{}`: {reason}", instruction.trim()));
        }
        aes |= instruction.contains("aesenc");
    }
    if aes { Ok(()) } else { Err("the SIMD object contains no AES-NI: was it compiled for the right target?".into()) }
}

/// Why an instruction is not allowed, if so.
fn forbidden(instruction: &str) -> Option<&'static str> {
    const PREFIXES: [&str; 7] = ["rep", "repz", "repe", "repnz", "repne", "lock", "data16"];
    const ROUNDING: [&str; 16] = [
        "add", "sub", "mul", "div", "sqrt", "min", "max", "cmp", "cvt", "ucomi", "comi", "round", "dp", "hadd", "hsub",
        "r",
    ];
    let code = instruction.split(['#', '<']).next().unwrap_or_default();
    let mut words = code.split_whitespace().skip_while(|word| PREFIXES.contains(word));
    let mnemonic = words.next()?;
    let operands = words.collect::<String>();
    let uses = |registers: &[&str]| registers.iter().any(|register| operands.contains(register));
    if mnemonic.starts_with('(') || mnemonic == "<unknown>" {
        return Some("it is no instruction");
    }
    if mnemonic.starts_with('v') || mnemonic.starts_with('k') || uses(&["%ymm", "%zmm", "%tmm", "%k"]) {
        return Some("VEX and EVEX instructions depend on XCR0, which is the guest's");
    }
    if mnemonic.starts_with('f') || mnemonic == "wait" || mnemonic == "emms" || uses(&["%st", "%mm"]) {
        return Some("x87 and MMX state is the guest's, exceptions of its instructions may be pending");
    }
    if mnemonic.contains("mxcsr") || mnemonic.starts_with("xsave") || mnemonic.starts_with("xrstor") {
        return Some("MXCSR and extended state are the guest's");
    }
    let floating = ["ps", "pd", "ss", "sd"].iter().any(|suffix| mnemonic.ends_with(suffix)) || mnemonic.contains("cvt");
    if floating && uses(&["%xmm"]) && ROUNDING.iter().any(|start| mnemonic.starts_with(start)) {
        return Some("floating point arithmetic sets flags in MXCSR, which is the guest's");
    }
    None
}

/// A program of the toolchain's component `llvm-tools`, else of the same or the second name in `PATH`.
pub fn tool(names: &[&str]) -> Result<Command, String> {
    let sysroot =
        run(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args(["--print", "sysroot"]))?;
    let hosts = fs::read_dir(Path::new(sysroot.trim()).join("lib/rustlib")).into_iter().flatten().flatten();
    let folders: Vec<PathBuf> = hosts
        .map(|host| host.path().join("bin"))
        .chain(env::var_os("PATH").iter().flat_map(env::split_paths))
        .collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .map(Command::new)
        .ok_or_else(|| {
            format!(
                "none of {} is installed; add the rustup component llvm-tools, or install lld and llvm",
                names.join(", ")
            )
        })
}

/// Runs a command to its end and gives its output.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("cannot run {name}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// Leaves an equal file alone, so that nothing that depends on it is built again.
fn replace_if_changed(new: &Path, old: &Path) -> Result<(), String> {
    let done = if fs::read(new).ok() == fs::read(old).ok() { fs::remove_file(new) } else { fs::rename(new, old) };
    done.map_err(|e| format!("cannot write {}: {e}", old.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_integer_and_aes_instructions_are_allowed() {
        for good in [
            "\taesenc\t%xmm1, %xmm2",
            "\taeskeygenassist\t$0x1, %xmm0, %xmm1",
            "\tmovaps\t0x10(%rsp), %xmm0",
            "\txorps\t%xmm0, %xmm0",
            "\tshufps\t$0xee, %xmm0, %xmm1 # xmm1 = xmm1[2,3],xmm0[2,3]",
            "\tpmuludq\t(%rip), %xmm2       # 0x3a4 <vmm_simd_xts_encrypt+0x3a4>",
            "\trep\t\tstosb\t%al, %es:(%rdi)",
            "\trep movsq %ds:(%rsi),%es:(%rdi)",
            "\tcallq\t0x1d <fmt+0x1d>",
            "\tmovl\t$0x0, %edx",
            "\tret",
            "\tmovsd\t%xmm0, (%rsp)",
            "\trorq\t$0x3, %rax",
        ] {
            assert_eq!(forbidden(good), None, "{good}");
        }
    }

    #[test]
    fn instructions_that_touch_guest_state_are_refused() {
        for bad in [
            "\tvaesenc\t%ymm1, %ymm2, %ymm3",
            "\tvpxor\t%xmm1, %xmm2, %xmm3",
            "\tvzeroupper",
            "\tkmovw\t%k1, %eax",
            "\tfldt\t0x10(%rsp)",
            "\tfxsave\t(%rax)",
            "\tmovq\t%mm0, %rax",
            "\temms",
            "\twait",
            "\tldmxcsr\t(%rsp)",
            "\tstmxcsr\t(%rsp)",
            "\txsaveopt\t(%rax)",
            "\taddsd\t%xmm0, %xmm1",
            "\tcvtsi2sd\t%rax, %xmm0",
            "\tcvttsd2si\t%xmm0, %rax",
            "\tmulps %xmm0,%xmm1",
            "\tucomisd\t%xmm0, %xmm1",
            "\trsqrtps\t%xmm0, %xmm1",
            "\t(bad)",
            "\tlock vmovdqu %ymm0,(%rax)",
        ] {
            assert!(forbidden(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_disassembly_is_refused_for_one_bad_line() {
        let head = "simd.o:\tfile format elf64-x86-64\n\n0000000000000000 <vmm_simd_xts_new>:\n";
        let good = format!("{head}       0:      \taesenc\t%xmm1, %xmm2\n       5:      \tretq\n");
        assert_eq!(check_instructions(&good), Ok(()));
        let bad = format!("{good}       6:      \tvzeroupper\n");
        assert!(check_instructions(&bad).unwrap_err().contains("`vzeroupper`"));
        assert!(check_instructions(head).unwrap_err().contains("no AES-NI"));
    }

    #[test]
    fn an_incomplete_object_is_refused() {
        let mut nm: String = ENTRY_POINTS.iter().map(|entry| format!("0000000000000000 T {entry}\n")).collect();
        assert_eq!(check_symbols(&nm), Ok(()));
        assert!(check_symbols(&nm.replace("T vmm_simd_xts_drop", "t vmm_simd_xts_drop")).is_err());
        assert!(check_symbols(&format!("{nm}0000000000000000 t _RNvCs1_7___rustc12___rust_alloc\n")).is_err());
        nm.push_str("                 U memcpy\n");
        assert!(check_symbols(&nm).unwrap_err().contains("memcpy"));
    }
}
