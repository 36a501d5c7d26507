//! What IDENTIFY tells (NVMe s. 5.15.2): a controller that can do everything.

use super::device::{NN, SimNamespace};

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

pub fn controller(serial: &str, mdts: u8, aerl: u8) -> Vec<u8> {
    let mut page = vec![0; 4096];
    put(&mut page, 0, &[0x36, 0x1b]);
    put(&mut page, 4, format!("{serial:20}").as_bytes());
    put(&mut page, 24, b"Simulated NVMe                          ");
    // OACS: all. LPA: all.
    page[77] = mdts;
    put(&mut page, 80, &0x0001_0400_u32.to_le_bytes());
    put(&mut page, 256, &0x03ff_u16.to_le_bytes());
    (page[258], page[259], page[261]) = (3, aerl, 0x1f);
    // Host memory buffer, RPMB, sanitize.
    put(&mut page, 272, &0x1000_u32.to_le_bytes());
    put(&mut page, 276, &0x1000_u32.to_le_bytes());
    put(&mut page, 312, &0x0101_0001_u32.to_le_bytes());
    put(&mut page, 328, &0x7_u32.to_le_bytes());
    (page[512], page[513]) = (0x66, 0x44);
    put(&mut page, 516, &NN.to_le_bytes());
    put(&mut page, 520, &0x00ff_u16.to_le_bytes());
    put(&mut page, 522, &1_u16.to_le_bytes());
    page[525] = 1;
    // Writes of 128 sectors are atomic, compare and write of one.
    put(&mut page, 526, &[127, 0, 127, 0]);
    put(&mut page, 532, &[1, 0]);
    page[531] = 7;
    put(&mut page, 536, &1_u32.to_le_bytes());
    page
}

pub fn namespace(namespace: Option<&SimNamespace>) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let Some(namespace) = namespace else { return page };
    for at in [0, 8, 16] {
        put(&mut page, at, &namespace.sectors().to_le_bytes());
    }
    // NSFEAT: atomic writes, which NAWUN to NABSPF tell of.
    page[24] = 1 << 1;
    page[34..46].fill(0x1f);
    page[31] = 0xff;
    page[33] = 0x09;
    put(&mut page, 128, &[namespace.metadata_bytes, 0, namespace.sector_bytes.trailing_zeros() as u8, 0]);
    page
}
