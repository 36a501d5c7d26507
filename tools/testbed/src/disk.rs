//! A disk: MBR with GRUB, plain boot partition, data partition.

use crate::debian::Kernel;
use crate::mbr::Extent;
use crate::xts::DiskKey;
use crate::{Workspace, artifact, ext, grub, guest_tools, progress};
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Partitions start on a MiB boundary; the first MiB holds MBR and GRUB.
const MIB: u64 = 2048;
/// Fills the last MiB, which belongs to no partition: a write past the end of the range would show.
const TAIL: u8 = 0x5a;

/// What a disk is made of.
pub struct Recipe<'a> {
    /// File name below `target/shoji`.
    pub file: &'a str,
    pub boot_mib: u64,
    pub menu: grub::Menu<'a>,
    /// The folder with the files of each guest kernel.
    pub kernels: &'a Path,
    /// More for the boot partition: (folder, its name there).
    pub extra: Option<(&'a Path, &'a str)>,
    /// The command `shoji`, for the folder `tools` of the boot partition.
    pub command: &'a Path,
    /// The hypervisor and its configuration; none: a disk for the bare machine only.
    pub shoji: Option<Shoji<'a>>,
    /// Plaintext file system of the data partition, and what it was made from.
    pub data: &'a Path,
    pub data_inputs: &'a str,
    /// Encrypts the data partition.
    pub key: Option<&'a Path>,
}

/// What GRUB loads to start the hypervisor.
pub struct Shoji<'a> {
    pub elf: &'a Path,
    pub config: &'a Path,
}

/// A disk image that is ready to boot.
#[derive(Clone, Debug)]
pub struct Disk {
    pub path: PathBuf,
    pub boot: Extent,
    pub data: Extent,
}

impl Disk {
    /// Where the partitions of such a disk lie.
    pub fn layout(path: PathBuf, boot_mib: u64, data_bytes: u64) -> Self {
        let boot = Extent { first_lba: MIB, sectors: boot_mib * MIB };
        Self { path, boot, data: Extent { first_lba: boot.end_lba(), sectors: data_bytes / 512 } }
    }

    /// Makes the disk, or only its boot partition when nothing else has changed: what the guest has stored since is kept.
    pub fn ensure(workspace: &Workspace, recipe: &Recipe<'_>) -> Result<Self> {
        let path = workspace.output(recipe.file)?;
        let data_bytes = fs::metadata(recipe.data).with_context(|| format!("no {}", recipe.data.display()))?.len();
        let disk = Self::layout(path, recipe.boot_mib, data_bytes);
        let boot_stamp = artifact::with_suffix(&disk.path, "boot");
        let _lock = artifact::lock(&boot_stamp)?;
        let made = artifact::ensure(&disk.path, &disk.data_inputs(recipe)?, |part| {
            artifact::forget(&boot_stamp)?;
            disk.create(recipe, part)
        })?;
        let inputs = boot_inputs(recipe)?;
        if made || !artifact::is_current(&boot_stamp, &inputs) {
            artifact::forget(&boot_stamp)?;
            disk.write_boot(recipe)?;
            artifact::remember(&boot_stamp, &inputs)?;
        }
        Ok(disk)
    }

    /// Sectors of the data partition as they lie on the disk.
    pub fn read_data(&self, first: u64, count: u64) -> Result<Vec<u8>> {
        let mut sectors = vec![0; count as usize * 512];
        let disk = File::open(&self.path).with_context(|| format!("cannot open {}", self.path.display()))?;
        disk.read_exact_at(&mut sectors, (self.data.first_lba + first) * 512)?;
        Ok(sectors)
    }

    /// Length of the whole disk.
    pub fn all_sectors(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path)?.len() / 512)
    }

    /// Gives a file of the boot partition another content.
    pub fn replace_boot_file(&self, name: &str, content: &[u8]) -> Result<()> {
        let from = artifact::with_suffix(&self.path, "file");
        fs::write(&from, content)?;
        ext::replace_file(&self.path, self.boot, name, &from)?;
        artifact::remove(&from)
    }

    /// As `Qemu::request`, but kept on the disk.
    pub fn request(&self, kernel_args: &str, how: &str) -> Result<()> {
        self.replace_boot_file(grub::REQUEST, grub::request(kernel_args, how).as_bytes())
    }

    /// The data partition as a file of its own; decrypted with `key`.
    pub fn extract_data(&self, key: Option<&DiskKey>, plain: &Path) -> Result<()> {
        let disk = File::open(&self.path).with_context(|| format!("cannot open {}", self.path.display()))?;
        let plain = File::create(plain).with_context(|| format!("cannot create {}", plain.display()))?;
        match key {
            Some(key) => key.decrypt_out(&disk, self.data.first_lba, self.data.sectors, &plain),
            None => {
                (&disk).seek(SeekFrom::Start(self.data.offset_bytes()))?;
                std::io::copy(&mut (&disk).take(self.data.len_bytes()), &mut &plain)?;
                Ok(())
            }
        }
    }

    fn data_inputs(&self, recipe: &Recipe<'_>) -> Result<String> {
        let key = recipe.key.map(artifact::fingerprint).transpose()?;
        Ok(format!("{:?} {:?} key {key:?} data {}", self.boot, self.data, recipe.data_inputs))
    }

    fn create(&self, recipe: &Recipe<'_>, path: &Path) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        artifact::require_space(dir, self.data.end_lba() / MIB, &format!("The disk {}", recipe.file))?;
        let disk = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        disk.set_len((self.data.end_lba() + MIB) * 512)?;
        disk.write_all_at(&[TAIL; MIB as usize * 512], self.data.end_lba() * 512)?;
        let plain = File::open(recipe.data)?;
        match recipe.key {
            Some(key) => {
                let bar = progress::bytes("Encrypting the data partition", self.data.len_bytes());
                DiskKey::read(key)?.encrypt_into(&plain, &disk, self.data.first_lba, |done| bar.inc(done))
            }
            None => copy_sparse(&plain, &disk, self.data.offset_bytes()),
        }
    }

    fn write_boot(&self, recipe: &Recipe<'_>) -> Result<()> {
        let tree = artifact::with_suffix(&self.path, "tree");
        artifact::remove(&tree)?;
        fs::create_dir_all(tree.join("boot"))?;
        grub::write_configuration(&tree, &recipe.menu)?;
        for file in Kernel::ALL.iter().flat_map(|kernel| kernel.files()) {
            copy(&recipe.kernels.join(file), &tree.join("boot").join(file))?;
        }
        if let Some(shoji) = &recipe.shoji {
            fs::create_dir_all(tree.join("shoji"))?;
            copy(shoji.elf, &tree.join("shoji/shoji.elf"))?;
            copy(shoji.config, &tree.join("shoji/shoji.conf"))?;
        }
        fs::create_dir_all(tree.join("tools"))?;
        copy(recipe.command, &tree.join("tools").join(guest_tools::PROGRAM))?;
        if let Some((from, name)) = recipe.extra {
            copy_tree(from, &tree.join(name))?;
        }
        let disk = OpenOptions::new().read(true).write(true).open(&self.path)?;
        grub::install(&disk, &[self.boot, self.data], &tree)?;
        fs::remove_file(tree.join("core.img"))?;
        ext::make("ext2", "SHOJI-BOOT", &self.path, self.boot, &tree, false)?;
        artifact::remove(&tree)
    }
}

/// Text in the data partition of test disks: no raw image may contain it anywhere.
pub const MARKER: &str = "SHOJI-PLAINTEXT-MARKER-7c1e55d0\n";

fn boot_inputs(recipe: &Recipe<'_>) -> Result<String> {
    let kernels = Kernel::ALL.iter().flat_map(|kernel| kernel.files()).map(|file| recipe.kernels.join(file));
    let shoji = recipe.shoji.iter().flat_map(|shoji| [shoji.elf, shoji.config]);
    let files = kernels.chain([recipe.command.to_owned()]).chain(shoji.map(Path::to_owned));
    let prints: Vec<String> = files.map(|file| artifact::fingerprint(&file)).collect::<Result<_>>()?;
    let grub = artifact::fingerprint_of(recipe.menu.configuration(&[])?.as_bytes());
    Ok(format!("{grub} {}", prints.join(" ")))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Copies all but the empty megabytes, which a fresh file has anyway.
fn copy_sparse(from: &File, to: &File, offset: u64) -> Result<()> {
    let len = from.metadata()?.len();
    let mut buffer = vec![0; 1 << 20];
    for at in (0..len).step_by(buffer.len()) {
        let part = buffer.len().min((len - at) as usize);
        from.read_exact_at(&mut buffer[..part], at)?;
        if buffer[..part].iter().any(|byte| *byte != 0) {
            to.write_all_at(&buffer[..part], offset + at)?;
        }
    }
    Ok(())
}
