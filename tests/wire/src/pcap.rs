//! Captures of tcpdump: classic pcap files, of Ethernet or of IP without a link header. Gives IP packets.

use anyhow::{Context, Result, bail, ensure};

const MICROSECONDS: u32 = 0xA1B2_C3D4;
const NANOSECONDS: u32 = 0xA1B2_3C4D;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET: u32 = 1;
const RAW_IP: u32 = 101;
const ETHERNET_HEADER: usize = 14;

/// The IP packets of a capture (little endian, as on this machine and the guest), cut to the length that their headers tell.
/// Frames of other protocols are left out.
///
/// # Errors
/// It is no such file, or it is cut off, or a packet was captured in part.
pub fn ip_packets(file: &[u8]) -> Result<Vec<Vec<u8>>> {
    ensure!(matches!(word(file, 0)?, MICROSECONDS | NANOSECONDS), "this is no capture of tcpdump");
    let link = word(file, 20)?;
    let mut packets = Vec::new();
    let mut at = FILE_HEADER;
    while at < file.len() {
        let (captured, whole) = (word(file, at + 8)? as usize, word(file, at + 12)? as usize);
        ensure!(captured == whole, "a packet of {whole} bytes was captured in part");
        at += RECORD_HEADER;
        let record = file.get(at..at + captured).context("the capture is cut off")?;
        at += captured;
        packets.extend(ip_packet(link, record)?.map(<[u8]>::to_vec));
    }
    Ok(packets)
}

fn ip_packet(link: u32, record: &[u8]) -> Result<Option<&[u8]>> {
    let packet = match link {
        RAW_IP => record,
        ETHERNET => match record.get(12..ETHERNET_HEADER) {
            Some([0x08, 0x00] | [0x86, 0xDD]) => &record[ETHERNET_HEADER..],
            _ => return Ok(None),
        },
        other => bail!("a capture of link type {other}"),
    };
    let len = match packet.first().map(|first| first >> 4) {
        Some(4) => crate::frame::be16(packet, 2).map(usize::from),
        Some(6) => crate::frame::be16(packet, 4).map(|len| usize::from(len) + 40),
        _ => return Ok(None),
    };
    Ok(Some(len.and_then(|len| packet.get(..len)).context("a packet shorter than its header says")?))
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk()).context("the capture is cut off")?;
    Ok(u32::from_le_bytes(*word))
}
