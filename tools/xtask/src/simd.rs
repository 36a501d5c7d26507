//! Builds the SIMD object (crate `simd_object`) and proves that it holds nothing that the VMM must not execute.
//!
//! The VMM's own target has no SIMD, so this crate is compiled for a second target, linked into one relocatable
//! object that shows nothing but its entry points, and linked into the VMM by the build script of the crate `simd`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "x86_64-vmm-simd";
const ENTRY_POINTS: [&str; 14] = [
    "vmm_simd_xts_new",
    "vmm_simd_xts_encrypt",
    "vmm_simd_xts_decrypt",
    "vmm_simd_xts_encrypt_256",
    "vmm_simd_xts_decrypt_256",
    "vmm_simd_xts_encrypt_512",
    "vmm_simd_xts_decrypt_512",
    "vmm_simd_xts_drop",
    "vmm_simd_chacha_seal",
    "vmm_simd_chacha_open",
    "vmm_simd_chacha_seal_256",
    "vmm_simd_chacha_open_256",
    "vmm_simd_chacha_seal_512",
    "vmm_simd_chacha_open_512",
];

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
        // One unit, so that all of an entry point is inlined into it.
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env_remove("RUSTFLAGS")
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

/// Which instructions a function of the object may hold: what its caller keeps for the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Width {
    /// Legacy-encoded: the guest's XCR0 does not matter.
    Xmm,
    /// VEX-encoded.
    Ymm,
    /// EVEX-encoded too, with no more than 16 registers and no opmasks.
    Zmm,
}

impl Width {
    /// By the name of the function.
    fn of(symbol: &str) -> Self {
        match symbol {
            _ if !ENTRY_POINTS.contains(&symbol) => Self::Xmm,
            _ if symbol.ends_with("_256") => Self::Ymm,
            _ if symbol.ends_with("_512") => Self::Zmm,
            _ => Self::Xmm,
        }
    }
}

/// Every instruction of a disassembly (AT&T syntax) must be one that the VMM may execute in this function with what is
/// kept of the guest's state around it.
fn check_instructions(disassembly: &str) -> Result<(), String> {
    let mut width = Width::Xmm;
    // Rounds of AES and of ChaCha20.
    let mut rounds =
        ["aesenc", "paddd"].map(|code| [Width::Xmm, Width::Ymm, Width::Zmm].map(|width| (code, width, false)));
    for line in disassembly.lines() {
        if let Some(symbol) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            width = Width::of(symbol.1);
            continue;
        }
        let Some((address, instruction)) = line.split_once(':') else { continue };
        if u64::from_str_radix(address.trim(), 16).is_err() {
            continue;
        }
        if let Some(reason) = forbidden(instruction, width) {
            return Err(format!("the SIMD object must not contain `{}`: {reason}", instruction.trim()));
        }
        let register = ["%xmm", "%ymm", "%zmm"][width as usize];
        for (code, _, found) in rounds.iter_mut().map(|widths| &mut widths[width as usize]) {
            *found |= instruction.contains(*code) && instruction.contains(register);
        }
    }
    match rounds.as_flattened().iter().find(|(_, _, found)| !found) {
        Some((code, width, _)) => {
            Err(format!("the SIMD object encrypts nothing in {width:?} registers with the likes of {code}"))
        }
        None => Ok(()),
    }
}

/// Why an instruction is not allowed in a function of this width, if so.
fn forbidden(instruction: &str, width: Width) -> Option<&'static str> {
    const PREFIXES: [&str; 7] = ["rep", "repz", "repe", "repnz", "repne", "lock", "data16"];
    const ROUNDING: [&str; 17] = [
        "add", "sub", "mul", "div", "sqrt", "min", "max", "cmp", "cvt", "ucomi", "comi", "round", "dp", "hadd", "hsub",
        "r", "fm",
    ];
    const SIXTEEN_ON: [&str; 16] =
        ["16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31"];
    let code = instruction.split(['#', '<']).next().unwrap_or_default();
    let mut words = code.split_whitespace().skip_while(|word| PREFIXES.contains(word));
    let mnemonic = words.next()?;
    let operands = words.collect::<String>();
    let uses = |registers: &[&str]| registers.iter().any(|register| operands.contains(register));
    if mnemonic.starts_with('(') || mnemonic == "<unknown>" {
        return Some("it is no instruction");
    }
    if width == Width::Xmm && (mnemonic.starts_with('v') || uses(&["%ymm"])) {
        return Some("VEX instructions depend on XCR0, which is the guest's");
    }
    if width != Width::Zmm && uses(&["%zmm"]) {
        return Some("the ZMM registers are not kept around this function");
    }
    if mnemonic.starts_with('k') || uses(&["%k", "%tmm"]) {
        return Some("opmasks and tiles are the guest's");
    }
    if SIXTEEN_ON.iter().any(|number| {
        uses(&["%xmm", "%ymm", "%zmm"].map(|class| format!("{class}{number}")).each_ref().map(String::as_str))
    }) {
        return Some("the registers from 16 on are the guest's");
    }
    if mnemonic.starts_with('f') || mnemonic == "wait" || mnemonic == "emms" || uses(&["%st", "%mm"]) {
        return Some("x87 and MMX state is the guest's, exceptions of its instructions may be pending");
    }
    if mnemonic.contains("mxcsr") || mnemonic.starts_with("xsave") || mnemonic.starts_with("xrstor") {
        return Some("MXCSR and extended state are the guest's");
    }
    let operation = if width == Width::Xmm { mnemonic } else { mnemonic.strip_prefix('v').unwrap_or(mnemonic) };
    let floating =
        ["ps", "pd", "ss", "sd"].iter().any(|suffix| operation.ends_with(suffix)) || operation.contains("cvt");
    if floating && uses(&["%xmm", "%ymm", "%zmm"]) && ROUNDING.iter().any(|start| operation.starts_with(start)) {
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
            for width in [Width::Xmm, Width::Ymm, Width::Zmm] {
                assert_eq!(forbidden(good, width), None, "{good}");
            }
        }
    }

    #[test]
    fn wide_instructions_are_allowed_in_wide_functions_only() {
        for (good, from) in [
            ("\tvaesenc\t%xmm1, %xmm2, %xmm15", Width::Ymm),
            ("\tvaesenc\t%ymm1, %ymm2, %ymm3", Width::Ymm),
            ("\tvpclmulhqlqdq\t%ymm1, %ymm2, %ymm3", Width::Ymm),
            ("\tvbroadcasti128\t0x10(%rdi), %ymm3", Width::Ymm),
            ("\tvxorps\t%ymm3, %ymm4, %ymm4", Width::Ymm),
            ("\tvzeroupper", Width::Ymm),
            ("\tvaesenclast\t%zmm1, %zmm2, %zmm3", Width::Zmm),
            ("\tvpternlogq\t$0x36, %zmm9, %zmm10, %zmm8", Width::Zmm),
            ("\tvpmadd52luq\t%zmm9, %zmm10, %zmm8", Width::Zmm),
        ] {
            for width in [Width::Xmm, Width::Ymm, Width::Zmm] {
                assert_eq!(forbidden(good, width).is_none(), width as usize >= from as usize, "{good}");
            }
        }
        let widths = ["vmm_simd_xts_encrypt", "vmm_simd_xts_decrypt_256", "vmm_simd_chacha_open_512", "other_512"];
        assert_eq!(widths.map(Width::of), [Width::Xmm, Width::Ymm, Width::Zmm, Width::Xmm]);
    }

    #[test]
    fn instructions_that_touch_guest_state_are_refused_everywhere() {
        for bad in [
            "\tkmovw\t%k1, %eax",
            "\tvmovdqu8\t%zmm1, %zmm2 {%k1}",
            "\tvpxorq\t%zmm16, %zmm2, %zmm3",
            "\tvpxorq\t%xmm1, %xmm31, %xmm3",
            "\tfldt\t0x10(%rsp)",
            "\tfxsave\t(%rax)",
            "\tmovq\t%mm0, %rax",
            "\temms",
            "\twait",
            "\tldmxcsr\t(%rsp)",
            "\tstmxcsr\t(%rsp)",
            "\tvstmxcsr\t(%rsp)",
            "\txsaveopt\t(%rax)",
            "\taddsd\t%xmm0, %xmm1",
            "\tvaddsd\t%xmm0, %xmm1, %xmm2",
            "\tvfmadd213ps\t%ymm0, %ymm1, %ymm2",
            "\tcvtsi2sd\t%rax, %xmm0",
            "\tcvttsd2si\t%xmm0, %rax",
            "\tmulps %xmm0,%xmm1",
            "\tucomisd\t%xmm0, %xmm1",
            "\trsqrtps\t%xmm0, %xmm1",
            "\t(bad)",
        ] {
            for width in [Width::Xmm, Width::Ymm, Width::Zmm] {
                assert!(forbidden(bad, width).is_some(), "{bad}");
            }
        }
        assert!(forbidden("\tlock vmovdqu %ymm0,(%rax)", Width::Xmm).is_some());
    }

    #[test]
    fn a_disassembly_is_refused_for_one_bad_line() {
        let function = |name: &str, code: &str| {
            format!("0000000000000000 <{name}>:\n       0:      \t{code}\n       5:      \tretq\n\n")
        };
        let good = ["simd.o:\tfile format elf64-x86-64\n\n".to_owned()]
            .into_iter()
            .chain([
                function("vmm_simd_xts_encrypt", "aesenc\t%xmm1, %xmm2"),
                function("vmm_simd_xts_encrypt_256", "vaesenc\t%ymm1, %ymm2, %ymm3"),
                function("vmm_simd_xts_encrypt_512", "vaesenc\t%zmm1, %zmm2, %zmm3"),
                function("vmm_simd_chacha_seal", "paddd\t%xmm1, %xmm2"),
                function("vmm_simd_chacha_seal_256", "vpaddd\t%ymm1, %ymm2, %ymm3"),
                function("vmm_simd_chacha_seal_512", "vpaddd\t%zmm1, %zmm2, %zmm3"),
            ])
            .collect::<String>();
        assert_eq!(check_instructions(&good), Ok(()));
        let bad = good.clone() + &function("memcpy", "vzeroupper");
        assert!(check_instructions(&bad).unwrap_err().contains("`vzeroupper`"));
        assert_eq!(check_instructions(&(good.clone() + &function("vmm_simd_xts_decrypt_256", "vzeroupper"))), Ok(()));
        for code in ["vaesenc\t%zmm", "vpaddd\t%zmm"] {
            let narrow = code.replace("zmm", "ymm");
            let refused = check_instructions(&good.replace(&format!("{code}1, %zmm2, %zmm3"), &narrow)).unwrap_err();
            assert!(refused.contains("nothing in Zmm"), "{refused}");
        }
        assert!(check_instructions("").is_err());
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
