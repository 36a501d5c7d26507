//! Which init functions are in the linked image: the linker drops those of crates that nobody names, silently.

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol};
use std::path::Path;

/// The list that the image is compared with, relative to the root: a line `label path` each, sorted.
const LIST: &str = "tests/emu/golden/initfunc.txt";
/// An entry as `initfunc::InitFunc` lays it out: label, address and length of the path, address of the function.
const ENTRY_BYTES: usize = 32;
const LABEL_BYTES: usize = 8;
/// A path longer than this means that the layout is another one.
const MAX_PATH_BYTES: u64 = 1024;

/// Compares the init functions in the image `elf` with the golden list of the repository at `root`.
///
/// # Errors
/// Tells each line that is missing or too much, and what to do.
pub fn check_initfuncs(root: &Path, elf: &Path) -> Result<()> {
    let image = std::fs::read(elf).with_context(|| format!("cannot read {}: run cargo xtask build", elf.display()))?;
    let found = initfuncs(&image).with_context(|| format!("cannot list the init functions of {}", elf.display()))?;
    let list = std::fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    compare(&found, &list)
}

fn compare(found: &[String], list: &str) -> Result<()> {
    let wanted: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let missing = wanted.iter().filter(|line| !found.iter().any(|f| f == *line)).map(|line| {
        format!("- {line}\n    not in the image: name its crate in core/vmm, or remove the line from {LIST}\n")
    });
    let surplus = found
        .iter()
        .filter(|f| !wanted.contains(&f.as_str()))
        .map(|f| format!("+ {f}\n    not in the list: add the line to {LIST}\n"));
    let differences: String = missing.chain(surplus).collect();
    ensure!(differences.is_empty(), "init functions differ from {LIST}:\n{differences}");
    Ok(())
}

/// `label path` of each init function in an ELF image, sorted.
fn initfuncs(image: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(image)?;
    let symbol = |name: &str| {
        let address = file.symbol_by_name(name).map(|symbol| symbol.address());
        address
            .with_context(|| format!("it has no symbol {name}: is core/initfunc linked, and the image not stripped?"))
    };
    let (start, stop) = (symbol("__start_initfunc")?, symbol("__stop_initfunc")?);
    let len = stop.checked_sub(start).context("__stop_initfunc lies before __start_initfunc")?;
    ensure!(len % ENTRY_BYTES as u64 == 0, "{len} bytes are not a whole number of entries of {ENTRY_BYTES} bytes");
    let entries = bytes_at(&file, start, len)?.chunks_exact(ENTRY_BYTES);
    let mut list = entries.map(|entry| describe(&file, entry)).collect::<Result<Vec<_>>>()?;
    list.sort();
    if let Some(twice) = list.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} is registered twice", twice[0]);
    }
    Ok(list)
}

fn describe(file: &object::File<'_>, entry: &[u8]) -> Result<String> {
    let (label, rest) = entry.split_at(LABEL_BYTES);
    let label = std::str::from_utf8(label).context("a label is no text")?.trim_end_matches('\0');
    let number = |at: usize| Ok::<_, anyhow::Error>(u64::from_le_bytes(rest[at..at + 8].try_into()?));
    let (address, len) = (number(0)?, number(8)?);
    ensure!(len <= MAX_PATH_BYTES, "the path of {label} has {len} bytes: has initfunc::InitFunc another layout now?");
    let path = std::str::from_utf8(bytes_at(file, address, len)?).with_context(|| format!("the path of {label}"))?;
    Ok(format!("{label} {path}"))
}

fn bytes_at<'a>(file: &object::File<'a>, address: u64, len: u64) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    let bytes = file.sections().find_map(|section| section.data_range(address, len).ok().flatten());
    bytes.with_context(|| format!("no section holds the {len} bytes at {address:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write::{Object as Image, StandardSection, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope};

    /// An object whose only section holds the paths and then the entries, so that addresses are offsets.
    fn image(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut data: Vec<u8> = entries.iter().flat_map(|(_, path)| path.bytes()).collect();
        data.resize(data.len().next_multiple_of(8), 0);
        let start = data.len() as u64;
        let mut path_at = 0_u64;
        for (label, path) in entries {
            let mut padded = [0; LABEL_BYTES];
            padded[..label.len()].copy_from_slice(label.as_bytes());
            data.extend(padded);
            data.extend([path_at, path.len() as u64, 0].iter().flat_map(|word| word.to_le_bytes()));
            path_at += path.len() as u64;
        }
        let mut image = Image::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let section = image.section_id(StandardSection::ReadOnlyData);
        image.append_section_data(section, &data, 8);
        for (name, value) in [("__start_initfunc", start), ("__stop_initfunc", data.len() as u64)] {
            image.add_symbol(Symbol {
                name: name.into(),
                value,
                size: 0,
                kind: SymbolKind::Data,
                scope: SymbolScope::Linkage,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
        }
        image.write().unwrap()
    }

    #[test]
    fn labels_and_paths_are_read_from_the_image_and_sorted() {
        let image = image(&[("driver0", "vmm::disks::find"), ("config00", "vmm::log::set_level")]);
        assert_eq!(initfuncs(&image).unwrap(), ["config00 vmm::log::set_level", "driver0 vmm::disks::find"]);
        assert_eq!(initfuncs(&super::tests::image(&[])).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_function_registered_twice_is_an_error() {
        let image = image(&[("driver0", "a::b"), ("driver0", "a::b")]);
        assert_eq!(initfuncs(&image).unwrap_err().to_string(), "driver0 a::b is registered twice");
    }

    #[test]
    fn an_image_without_the_section_or_with_another_layout_is_an_error() {
        let none = Image::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little).write().unwrap();
        assert!(initfuncs(&none).unwrap_err().to_string().contains("__start_initfunc"));
        let mut other = image(&[("driver0", "a::b")]);
        let at = other.windows(7).position(|window| window == b"driver0").unwrap();
        other[at + 17] = 0xFF;
        assert!(initfuncs(&other).unwrap_err().to_string().contains("another layout"));
        assert!(initfuncs(b"not an image").is_err());
    }

    #[test]
    fn every_difference_is_told_with_its_remedy() {
        let found = ["driver0 a::b".to_owned(), "driver1 c::d".to_owned()];
        assert!(compare(&found, "# comment\n\ndriver0 a::b\ndriver1 c::d\n").is_ok());
        let text = compare(&found, "driver0 a::b\nmsg0 e::f\n").unwrap_err().to_string();
        assert!(text.contains("- msg0 e::f\n    not in the image"), "{text}");
        assert!(text.contains("+ driver1 c::d\n    not in the list"), "{text}");
        assert!(!text.contains("a::b"), "{text}");
    }
}
