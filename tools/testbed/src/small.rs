//! The small test disk: kernel, busybox and a data partition, to a verdict in seconds.

use crate::debian::{self, Kernel};
use crate::disk::{Disk, MARKER, Recipe, Shoji};
use crate::mbr::Extent;
use crate::program::{command, run};
use crate::{Workspace, artifact, ext, grub, guest_tools, initramfs, progress};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const BOOT_MIB: u64 = 224;
const DATA_MIB: u64 = 128;
/// Programs for the tests, with the libraries that they need: Debian's fio brings 80 MiB of them.
const TOOLS: [&str; 9] = [
    "usr/sbin/cryptsetup",
    "usr/sbin/mke2fs",
    "usr/bin/fio",
    "usr/sbin/kexec",
    "usr/bin/iperf3",
    "usr/bin/tcpdump",
    "usr/bin/wg",
    "usr/sbin/ethtool",
    // The C compiler proper: what a kernel's build spends its time in.
    "usr/lib/gcc/x86_64-linux-gnu/12/cc1",
];
/// The kernel's tests of its own cryptography would be a tenth of a boot, in Bochs a quarter.
const KERNEL_ARGS: &str = "quiet cryptomgr.notests";
/// The small disk's.
pub const MENU: grub::Menu<'static> = grub::Menu { name: "Small guest", kernel_args: KERNEL_ARGS, timeout_s: 0 };
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Folders below it that hold libraries too.
const MORE_LIBRARIES: [&str; 1] = ["ceph"];

/// Files of the small guest, made from the cached Debian.
pub struct SmallGuest {
    dir: PathBuf,
    inputs: String,
}

impl SmallGuest {
    pub fn ensure(workspace: &Workspace) -> Result<Self> {
        let archive = debian::archive()?;
        let dir = workspace.output("small")?;
        let inputs = format!("{} {} {TOOLS:?} {DATA_MIB}", archive.display(), initramfs::inputs());
        artifact::ensure(&dir, &inputs, |part| {
            let _progress = progress::spinner("Making the small guest");
            artifact::remove(&dir)?;
            build(&archive, part)
        })?;
        Ok(Self { dir, inputs })
    }

    /// The folder with the files of each kernel.
    pub fn kernels(&self) -> &Path {
        &self.dir
    }

    /// The programs in `TOOLS` and what they need, for the boot partition.
    pub fn tools(&self) -> PathBuf {
        self.dir.join("tools")
    }

    /// The plaintext file system of the data partition: 128 MiB of ext4 with the marker.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data.ext4")
    }
}

/// The small disk; plain (for the bare machine) without a key.
pub fn disk(workspace: &Workspace, file: &str, shoji: Option<Shoji<'_>>, key: Option<&Path>) -> Result<Disk> {
    let guest = SmallGuest::ensure(workspace)?;
    let recipe = Recipe {
        file,
        boot_mib: BOOT_MIB,
        menu: MENU,
        kernels: guest.kernels(),
        extra: Some((&guest.tools(), "tools")),
        command: &guest_tools::build(workspace)?,
        shoji,
        data: &guest.data(),
        data_inputs: &guest.inputs,
        key,
    };
    Disk::ensure(workspace, &recipe)
}

fn build(archive: &Path, dir: &Path) -> Result<()> {
    artifact::remove(dir)?;
    let tree = dir.join("tree");
    let mut paths =
        vec!["./boot", "./lib", "./lib64", "./usr/lib/modules", "./usr/lib/x86_64-linux-gnu", "./usr/lib64"];
    let tools: Vec<String> = TOOLS.iter().map(|tool| format!("./{tool}")).collect();
    paths.extend(tools.iter().map(String::as_str));
    debian::unpack(archive, &paths, &tree)?;
    collect_tools(&tree, &dir.join("tools"))?;
    for kernel in Kernel::ALL {
        let [vmlinuz, initrd] = kernel.files();
        fs::copy(debian::boot_file(&tree, "vmlinuz-", kernel)?, dir.join(vmlinuz))?;
        initramfs::build(&tree, kernel, &dir.join(initrd))?;
    }
    make_data(&tree, &dir.join("data.ext4"))?;
    artifact::remove(&tree)
}

/// Copies the tools, the loader as `ld.so`, and every library that the loader names for them.
fn collect_tools(tree: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let libraries = tree.join(LIBRARIES);
    let folders = [libraries.clone()].into_iter().chain(MORE_LIBRARIES.map(|folder| libraries.join(folder)));
    let search_path = std::env::join_paths(folders)?;
    let loader = libraries.join("ld-linux-x86-64.so.2");
    fs::copy(&loader, to.join("ld.so"))?;
    for tool in TOOLS.map(|tool| tree.join(tool)) {
        copy_into(&tool, to)?;
        let mut list = command(&loader.to_string_lossy());
        let said = run(list.arg("--library-path").arg(&search_path).arg("--list").arg(&tool))?;
        for path in said.lines().filter_map(|line| line.split_once("=> ")?.1.split(' ').next()) {
            copy_into(Path::new(path), to)?;
        }
    }
    Ok(())
}

fn copy_into(file: &Path, dir: &Path) -> Result<()> {
    let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
    fs::copy(file, dir.join(name)).map(drop).with_context(|| format!("cannot copy {}", file.display()))
}

fn make_data(scratch: &Path, image: &Path) -> Result<()> {
    let tree = scratch.join("data");
    fs::create_dir_all(&tree)?;
    fs::write(tree.join("marker"), MARKER)?;
    // Enough of the marker that a leak is found wherever the file system puts data.
    fs::write(tree.join("markers"), MARKER.repeat(100_000))?;
    fs::File::create(image)?.set_len(DATA_MIB << 20)?;
    ext::make("ext4", "data", image, Extent { first_lba: 0, sectors: DATA_MIB * 2048 }, &tree, false)
}
