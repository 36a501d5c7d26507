//! Bytes of the image, by crate and by section.

use anyhow::Result;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use rustc_demangle::try_demangle;
use std::collections::{BTreeMap, BTreeSet};

/// What has no crate's name in its symbols.
pub const ASSEMBLY: &str = "assembly";
/// Crates that come with the compiler.
const COMPILERS: [&str; 3] = ["core", "alloc", "compiler_builtins"];
/// Functions with names of their own, by how they begin.
const UNMANGLED: [(&str, &str); 4] =
    [("shoji_main", "vmm"), ("vmm_simd_", "simd_object"), ("mem", "compiler_builtins"), ("__", "compiler_builtins")];

pub struct Image {
    /// Bytes of code, by crate; a function that was inlined is part of the one it was inlined into.
    pub by_crate: BTreeMap<String, u64>,
    pub code: u64,
    pub constants: u64,
    pub data: u64,
    pub bss: u64,
}

impl Image {
    /// `crates`: those that a symbol may belong to, beside the compiler's.
    pub fn read(elf: &[u8], crates: &BTreeSet<String>) -> Result<Self> {
        let file = object::File::parse(elf)?;
        let bytes = |kind| file.sections().filter(|s| s.kind() == kind).map(|s| s.size()).sum();
        let mut image = Self {
            by_crate: BTreeMap::new(),
            code: bytes(SectionKind::Text),
            constants: bytes(SectionKind::ReadOnlyData) + bytes(SectionKind::ReadOnlyString),
            data: bytes(SectionKind::Data),
            bss: bytes(SectionKind::UninitializedData),
        };
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            let symbols = file.symbols().filter(|symbol| symbol.section_index() == Some(section.index()));
            let symbols = symbols.map(|s| (s.address(), s.size(), s.name().unwrap_or_default()));
            image.add(symbols.collect(), section.address() + section.size(), crates);
        }
        Ok(image)
    }

    /// Symbols of a section: address, size (0: up to the next one), name.
    fn add(&mut self, mut symbols: Vec<(u64, u64, &str)>, end: u64, crates: &BTreeSet<String>) {
        // The linker script's mark of the next section.
        symbols.retain(|symbol| symbol.0 < end);
        // Of several at one address the one with a size is the function.
        symbols.sort_by_key(|&(at, size, _)| (at, std::cmp::Reverse(size)));
        symbols.dedup_by_key(|symbol| symbol.0);
        let ends: Vec<u64> = symbols.iter().skip(1).map(|symbol| symbol.0).chain([end]).collect();
        for ((at, size, name), next) in symbols.into_iter().zip(ends) {
            let bytes = if size == 0 { next - at } else { size };
            *self.by_crate.entry(crate_of(name, crates)).or_default() += bytes;
        }
    }

    /// Filling between functions.
    pub fn padding(&self) -> u64 {
        self.code.saturating_sub(self.by_crate.values().sum())
    }
}

/// The first crate in a symbol's path: of a method that of its type, or else of its trait.
fn crate_of(symbol: &str, crates: &BTreeSet<String>) -> String {
    let known = |name: &str| crates.contains(name) || COMPILERS.contains(&name);
    if let Ok(demangled) = try_demangle(symbol) {
        let path = format!("{demangled:#}");
        let first = path.match_indices("::").find_map(|(at, _)| {
            let start = path[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |last| last + 1);
            let begins_path = !path[..start].ends_with("::");
            path.get(start..at).filter(|name| begins_path && known(name))
        });
        // A primitive type's own methods.
        return first.unwrap_or("core").to_owned();
    }
    let named = UNMANGLED.iter().find(|(start, _)| symbol.starts_with(start));
    named.map_or(ASSEMBLY, |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates() -> BTreeSet<String> {
        ["vmm", "exit", "ata", "svm"].map(String::from).into()
    }

    #[test]
    fn a_symbol_belongs_to_the_first_crate_of_its_path() {
        for (symbol, name) in [
            (
                "_RINvMNtCsazRkDAdepjF_4exit12config_portsNtNtB5_3bus3Bus11read_configNtNtCs8YckbZWnWvF_3vmm7machine11RealMachineEB18_",
                "exit",
            ),
            ("_RINvNtCs8YckbZWnWvF_3vmm4boot8start_onNtNtB4_6vendor3AmdEB4_", "vmm"),
            ("_RNvXs_NtCsazRkDAdepjF_3ata8mediatorNtB4_3AtaNtCs1_8mediator8Mediator9on_access", "ata"),
            ("_RINvNtCslX5XjQCpYJE_4core3ptr13drop_in_placeNtNtCs8YckbZWnWvF_3vmm6loaded6LoadedEBK_", "core"),
            ("_RNvMNtCsaJ2pZ8TbEQJ_4core3stre4trim", "core"),
            ("shoji_main", "vmm"),
            ("vmm_simd_xts_encrypt", "simd_object"),
            ("memcpy", "compiler_builtins"),
            ("vmx_enter", ASSEMBLY),
        ] {
            assert_eq!(crate_of(symbol, &crates()), name, "{symbol}");
        }
    }

    #[test]
    fn a_symbol_without_a_size_reaches_to_the_next_one() {
        let mut image = Image { by_crate: BTreeMap::new(), code: 100, constants: 0, data: 0, bss: 0 };
        image.add(
            vec![
                (20, 0, "_start"),
                (0, 16, "shoji_main"),
                (60, 0, "vmx_exit"),
                (0, 0, "label"),
                (100, 0, "rodata_start"),
            ],
            100,
            &crates(),
        );
        assert_eq!(image.by_crate, BTreeMap::from([("vmm".into(), 16), (ASSEMBLY.into(), 80)]));
        assert_eq!(image.padding(), 4);
    }
}
