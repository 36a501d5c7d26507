//! `cargo xtask tcb`: what has to be trusted, crate by crate: lines, unsafe blocks, bytes of code in the image.

mod image;
mod lines;
mod table;

use crate::{build, readme};
use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use clap::Args;
use image::Image;
use lines::Lines;
use std::collections::{BTreeMap, BTreeSet};
use testbed::Workspace;

#[derive(Args)]
pub struct TcbArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Put the table into README.md, between its markers
    #[arg(long)]
    readme: bool,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

/// A crate of the image.
struct Row {
    name: String,
    /// Where it lies in the repository; `None` for a crate of somebody else's.
    folder: Option<String>,
    colour: Option<String>,
    /// `None` where the source is not at hand: that of the compiler's own crates.
    lines: Option<Lines>,
    code_bytes: u64,
}

pub fn tcb(workspace: &Workspace, args: &TcbArgs) -> Result<()> {
    build::compile(workspace, args.yes)?;
    let manifest = workspace.root().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(&manifest).exec();
    let metadata = metadata.with_context(|| format!("cargo metadata fails on {}", manifest.display()))?;
    let packages = linked(&metadata)?;
    let names: BTreeSet<String> = packages.iter().map(|package| crate_name(package)).collect();
    let elf = workspace.shoji_elf()?;
    let image = Image::read(&std::fs::read(&elf)?, &names).with_context(|| elf.display().to_string())?;
    let rows = rows(&metadata, &packages, &image)?;
    match args.json {
        true => println!("{}", table::json(&rows, &image)?),
        false => println!("{}", table::text(&rows, &image)),
    }
    if args.readme {
        readme::replace(&workspace.root().join("README.md"), "tcb", &table::markdown(&rows, &image))?;
    }
    Ok(())
}

/// The binary, and the object that is compiled once more beside it.
const ROOTS: [&str; 2] = ["vmm", "simd_object"];

/// All packages that the image is built from, those of build scripts and macros too where Cargo does not tell them apart.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolves nothing")?;
    let roots = metadata.workspace_packages().into_iter().filter(|p| ROOTS.contains(&p.name.as_str()));
    let mut open: Vec<&PackageId> = roots.map(|package| &package.id).collect();
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == *id).context("a package without a node")?;
        let normal = |dep: &&cargo_metadata::NodeDep| dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
        open.extend(node.deps.iter().filter(normal).map(|dep| &dep.pkg));
    }
    Ok(metadata.packages.iter().filter(|package| seen.contains(&package.id)).collect())
}

fn crate_name(package: &Package) -> String {
    package.name.replace('-', "_")
}

/// Own crates by folder, then the others; of those only what has code in the image.
fn rows(metadata: &Metadata, packages: &[&Package], image: &Image) -> Result<Vec<Row>> {
    let mut rows: BTreeMap<(bool, String), Row> = BTreeMap::new();
    for package in packages {
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        let own = folder.strip_prefix(&metadata.workspace_root).ok().map(ToString::to_string);
        let name = crate_name(package);
        let code_bytes = image.by_crate.get(&name).copied().unwrap_or(0);
        if own.is_none() && code_bytes == 0 {
            continue;
        }
        let lines = Lines::of_folder(folder.join("src").as_std_path())?;
        let colour = package.metadata.pointer("/shoji/colour").and_then(|colour| colour.as_str()).map(String::from);
        let key = (own.is_none(), own.clone().unwrap_or_else(|| name.clone()));
        let row = Row { name, folder: own, colour, lines: Some(lines), code_bytes };
        // A second version of a crate: its code cannot be told from the first one's.
        rows.entry(key).and_modify(|row| row.lines = row.lines.map(|first| first + lines)).or_insert(row);
    }
    for (name, &code_bytes) in
        image.by_crate.iter().filter(|(name, _)| !rows.values().any(|row| row.name == **name)).collect::<Vec<_>>()
    {
        rows.insert(
            (true, name.clone()),
            Row { name: name.clone(), folder: None, colour: None, lines: None, code_bytes },
        );
    }
    Ok(rows.into_values().collect())
}
