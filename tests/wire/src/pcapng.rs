//! A capture file: pcapng (IETF draft-ietf-opsawg-pcapng, s. 4.1 to 4.3), little endian, one Ethernet interface, nanoseconds.
//!
//! The direction of a frame is in the flags of its block, seen from the machine: "outbound" has left it.

use crate::frame::{Direction, Frame};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const ETHERNET: u32 = 1;
/// Options: the clock's resolution; the flags of a packet.
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const NANOSECONDS: u8 = 9;
const INBOUND: u32 = 0b01;
const OUTBOUND: u32 = 0b10;
/// Type, length, and length again.
const BLOCK_OVERHEAD: usize = 12;
/// Interface, time (two words), length captured, length.
const PACKET_HEADER: usize = 20;
/// One option of four bytes, and the end of options.
const PACKET_OPTIONS: usize = 12;
/// No block of ours is longer.
const MAX_BLOCK: usize = 1 << 20;

/// Writes a capture.
pub struct Writer {
    file: BufWriter<File>,
}

impl Writer {
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut writer = Self { file: BufWriter::new(file) };
        // Version 1.0, a section of unknown length.
        let section = [&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &u64::MAX.to_le_bytes()].concat();
        writer.block(SECTION_HEADER, &section)?;
        let resolution = [&IF_TSRESOL.to_le_bytes()[..], &[1, 0, NANOSECONDS, 0, 0, 0], &[0; 4]].concat();
        let interface = [&ETHERNET.to_le_bytes()[..], &0u32.to_le_bytes(), &resolution].concat();
        writer.block(INTERFACE_DESCRIPTION, &interface)?;
        writer.flush()?;
        Ok(writer)
    }

    pub fn write(&mut self, direction: Direction, time_ns: u64, bytes: &[u8]) -> Result<()> {
        let len = u32::try_from(bytes.len())?.to_le_bytes();
        let flags = if direction == Direction::FromMachine { OUTBOUND } else { INBOUND };
        let (high, low) = ((time_ns >> 32) as u32, time_ns as u32);
        let mut body = [[0; 4], high.to_le_bytes(), low.to_le_bytes(), len, len].concat();
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend([&EPB_FLAGS.to_le_bytes()[..], &[4, 0], &flags.to_le_bytes(), &[0; 4]].concat());
        self.block(ENHANCED_PACKET, &body)
    }

    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().context("cannot write the capture")
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> Result<()> {
        let len = u32::try_from(body.len() + BLOCK_OVERHEAD)?.to_le_bytes();
        for part in [&kind.to_le_bytes()[..], &len, body, &len] {
            self.file.write_all(part).context("cannot write the capture")?;
        }
        Ok(())
    }
}

/// Reads a capture of [`Writer`], frame by frame.
pub struct Reader<R> {
    file: R,
    number: u64,
}

impl Reader<BufReader<File>> {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("there is no capture {}", path.display()))?;
        Self::new(BufReader::new(file)).with_context(|| format!("{} is no capture of ours", path.display()))
    }
}

impl<R: Read> Reader<R> {
    pub fn new(file: R) -> Result<Self> {
        let mut reader = Self { file, number: 0 };
        let section = reader.block()?.filter(|(kind, _)| *kind == SECTION_HEADER).context("no section")?.1;
        ensure!(section.starts_with(&BYTE_ORDER.to_le_bytes()), "another byte order");
        let interface = reader.block()?.filter(|(kind, _)| *kind == INTERFACE_DESCRIPTION).context("no interface")?.1;
        ensure!(interface.starts_with(&ETHERNET.to_le_bytes()), "no Ethernet");
        Ok(reader)
    }

    /// `None`: the end. A block that was cut off is an error: a capture without its end proves nothing.
    fn block(&mut self) -> Result<Option<(u32, Vec<u8>)>> {
        let mut head = [0; 8];
        match self.file.read(&mut head[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => self.file.read_exact(&mut head[1..])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => return self.block(),
            Err(error) => return Err(error.into()),
        }
        let (kind, len) = (word(&head, 0)?, word(&head, 4)? as usize);
        ensure!((BLOCK_OVERHEAD..=MAX_BLOCK).contains(&len) && len % 4 == 0, "a block of {len} bytes");
        let mut body = vec![0; len - BLOCK_OVERHEAD];
        let mut again = [0; 4];
        self.file.read_exact(&mut body).context("the capture is cut off")?;
        self.file.read_exact(&mut again).context("the capture is cut off")?;
        ensure!(word(&again, 0)? as usize == len, "a block's two lengths differ");
        Ok(Some((kind, body)))
    }

    fn packet(&mut self, body: &[u8]) -> Result<Frame> {
        let len = word(body, 12)? as usize;
        ensure!(word(body, 16)? as usize == len, "a frame that was captured in part");
        let bytes = body.get(PACKET_HEADER..PACKET_HEADER + len).context("a frame longer than its block")?.to_vec();
        let options = PACKET_HEADER + len.next_multiple_of(4);
        ensure!(body.len() == options + PACKET_OPTIONS, "other options than ours");
        let direction = match word(body, options + 4)? {
            OUTBOUND => Direction::FromMachine,
            INBOUND => Direction::ToMachine,
            flags => bail!("flags {flags:#x} tell no direction"),
        };
        self.number += 1;
        let time_ns = u64::from(word(body, 4)?) << 32 | u64::from(word(body, 8)?);
        Ok(Frame { number: self.number, time_ns, direction, bytes })
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.block().transpose()? {
            Ok((ENHANCED_PACKET, body)) => Some(self.packet(&body)),
            Ok((kind, _)) => Some(Err(anyhow::anyhow!("a block of type {kind}"))),
            Err(error) => Some(Err(error)),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk()).context("a block is too short")?;
    Ok(u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let path = std::env::temp_dir().join(format!("wire-{}-again.pcapng", std::process::id()));
        let mut writer = Writer::create(&path).unwrap();
        let frames = [
            (Direction::FromMachine, vec![1; 61]),
            (Direction::ToMachine, vec![2; 60]),
            (Direction::ToMachine, vec![]),
        ];
        for (n, (direction, bytes)) in frames.iter().enumerate() {
            writer.write(*direction, 0x1234_5678_9ABC_DEF0 + n as u64, bytes).unwrap();
        }
        writer.flush().unwrap();
        let read: Vec<Frame> = Reader::open(&path).unwrap().map(Result::unwrap).collect();
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.len(), 3);
        for (n, (frame, (direction, bytes))) in read.iter().zip(&frames).enumerate() {
            assert_eq!((frame.direction, &frame.bytes), (*direction, bytes));
            assert_eq!((frame.number, frame.time_ns), (n as u64 + 1, 0x1234_5678_9ABC_DEF0 + n as u64));
        }
        // Cut off anywhere but between two blocks, it is an error, not a shorter capture.
        let cut = |len: usize| Reader::new(&whole[..len]).and_then(|reader| reader.collect::<Result<Vec<_>>>());
        assert!((1..whole.len()).filter(|len| cut(*len).is_ok()).count() <= 3);
    }
}
