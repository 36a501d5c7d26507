//! An image file or block device, or one partition of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io::Seek};

use mediator::disk::DiskError;
use ranges::{Disk, Partition, PartitionTable, TableError, read_partitions};

/// Linux: whoever opens a block device with it has it alone; a mounted one is busy (open(2)).
const O_EXCL: i32 = 0o200;

/// What for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Read,
    /// Nobody else may have a block device in use.
    Write,
}

/// A run of bytes: a partition, or the whole.
pub struct Device {
    file: File,
    path: PathBuf,
    partition: Option<Partition>,
    /// Where the run begins in the file.
    first_byte: u64,
    len_bytes: u64,
    /// Of the whole disk.
    sector_bytes: u32,
}

impl Device {
    /// Opens a file or block device, and finds the partition if one is named.
    ///
    /// # Errors
    /// A sentence that names the path.
    pub fn open(path: &Path, partition: Option<u32>, mode: Mode) -> Result<Self, String> {
        let shown = path.display();
        let kind = fs::metadata(path).map_err(|error| format!("cannot open {shown}: {error}"))?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(format!("{shown} is neither an image file nor a block device"));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(mode == Mode::Write);
        if mode == Mode::Write && kind.is_block_device() {
            options.custom_flags(O_EXCL);
        }
        let mut file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                format!("{shown} is in use; unmount what is on it, or name the device of the partition itself")
            }
            _ => format!("cannot open {shown}: {error}"),
        })?;
        let len_bytes =
            file.seek(io::SeekFrom::End(0)).map_err(|error| format!("cannot tell the size of {shown}: {error}"))?;
        let sector_bytes = if kind.is_block_device() { kernel_sector_bytes(path) } else { image_sector_bytes(&file) };
        let mut device = Self { file, path: path.to_owned(), partition: None, first_byte: 0, len_bytes, sector_bytes };
        if let Some(number) = partition {
            device.enter(number)?;
        }
        Ok(device)
    }

    fn enter(&mut self, number: u32) -> Result<(), String> {
        let shown = self.path.display();
        let table = self.partitions().map_err(|error| format!("{shown}: {error}"))?;
        let numbers: Vec<String> = table.partitions.iter().map(|found| found.number.to_string()).collect();
        let found = table.partitions.into_iter().find(|found| found.number == number);
        let found = found.ok_or_else(|| {
            format!("{shown} has no partition {number}; its {} has: {}", table.scheme, numbers.join(", "))
        })?;
        let bytes = |sectors: u64| sectors.checked_mul(self.sector_bytes.into());
        let end = found.first_lba.checked_add(found.sectors).and_then(bytes);
        let (Some(first), Some(end)) = (bytes(found.first_lba), end.filter(|end| *end <= self.len_bytes)) else {
            return Err(format!("partition {number} of {shown} does not lie on the disk; repair the partition table"));
        };
        (self.first_byte, self.len_bytes, self.partition) = (first, end - first, Some(found));
        Ok(())
    }

    /// The partition table of the whole.
    ///
    /// # Errors
    /// As [`read_partitions`].
    pub fn partitions(&self) -> Result<PartitionTable, TableError> {
        let sector = u64::from(self.sector_bytes);
        let mut read = |lba: u64, data: &mut [u8]| {
            let at = lba.checked_mul(sector).ok_or(DiskError::Request)?;
            self.file.read_exact_at(data, at).map_err(|_| DiskError::Request)
        };
        let sectors = (self.first_byte + self.len_bytes) / sector;
        read_partitions(&mut Disk { sectors, sector_bytes: self.sector_bytes as usize, read: &mut read })
    }

    /// For messages: path, and partition if it is one.
    pub fn name(&self) -> String {
        match &self.partition {
            Some(partition) => format!("partition {} of {}", partition.number, self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn partition(&self) -> Option<&Partition> {
        self.partition.as_ref()
    }

    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Logical sectors of the whole disk.
    pub fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    /// Reads within the run.
    ///
    /// # Errors
    /// `UnexpectedEof` behind its end; else as the operating system says.
    pub fn read_at(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, self.place(at, data.len())?)
    }

    /// Writes within the run.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    pub fn write_at(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.place(at, data.len())?)
    }

    fn place(&self, at: u64, len: usize) -> io::Result<u64> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.len_bytes);
        end.map(|_| self.first_byte + at).ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    /// What was written is on the disk.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// As the kernel tells it; 512 where it does not.
fn kernel_sector_bytes(path: &Path) -> u32 {
    let Some(folder) = super::identity::sysfs(path) else { return 512 };
    // That of a partition is beside its disk's.
    let queue = ["queue", "../queue"].map(|queue| folder.join(queue).join("logical_block_size"));
    let text = queue.iter().find_map(|file| fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(512)
}

/// 4096 if the GPT of the image stands where it does on such a disk, else 512.
fn image_sector_bytes(file: &File) -> u32 {
    let mut mark = [0; 8];
    let found = file.read_exact_at(&mut mark, 4096).is_ok() && mark == *b"EFI PART";
    let is_small = file.read_exact_at(&mut mark, 512).is_ok() && mark == *b"EFI PART";
    if found && !is_small { 4096 } else { 512 }
}
