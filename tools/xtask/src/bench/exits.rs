//! QEMU's exit log.
//!
//! Specification: AMD64 APM Vol. 2 (24593) rev. 3.41, appendix C (exit codes), s. 15.10.2 (IOIO: EXITINFO1), s. 15.25.6.

use anyhow::Result;
use std::collections::BTreeMap;
use std::io::BufRead;

const CPUID: u64 = 0x72;
const IOIO: u64 = 0x7b;
const MSR: u64 = 0x7c;
const SHUTDOWN: u64 = 0x7f;
const VMMCALL: u64 = 0x81;
const NESTED_FAULT: u64 = 0x400;
/// INTR, NMI, SMI, INIT, VINTR.
const INTERRUPTS: std::ops::RangeInclusive<u64> = 0x60..=0x64;
const IOIO_IN: u64 = 1;
const FAULT_WRITE: u64 = 1 << 1;

const LOCAL_APIC: std::ops::Range<u64> = 0xfee0_0000..0xfee0_1000;

const DISK: &str = "disk ports";
const INTERRUPT: &str = "interrupts";
const NEEDLESS: &str = "others";

/// One exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    code: u64,
    info1: u64,
    info2: u64,
}

impl Exit {
    /// From a line `vmexit(CODE, INFO1, INFO2, RIP)!`; `None` for any other.
    pub fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.strip_prefix("vmexit(")?.split(',').map(|n| u64::from_str_radix(n.trim(), 16).ok());
        Some(Self { code: numbers.next()??, info1: numbers.next()??, info2: numbers.next()?? })
    }

    fn port(self) -> Option<u16> {
        (self.code == IOIO).then_some((self.info1 >> 16) as u16)
    }

    fn kind(self) -> &'static str {
        match self.code {
            CPUID => "CPUID",
            IOIO => port_kind((self.info1 >> 16) as u16),
            MSR => "MSRs",
            SHUTDOWN => "triple faults",
            VMMCALL => "memory map (INT 15h)",
            // EXITINFO2 is the address (s. 15.25.6).
            NESTED_FAULT if LOCAL_APIC.contains(&self.info2) => "local APIC",
            NESTED_FAULT => "nested page faults",
            code if INTERRUPTS.contains(&code) => INTERRUPT,
            _ => NEEDLESS,
        }
    }

    /// What the guest did, for people.
    pub fn name(self) -> String {
        match (self.code, self.port()) {
            (_, Some(port)) if self.info1 & IOIO_IN != 0 => format!("IN {port:x}h"),
            (_, Some(port)) => format!("OUT {port:x}h"),
            (MSR, _) if self.info1 == 0 => "RDMSR".into(),
            (MSR, _) => "WRMSR".into(),
            (NESTED_FAULT, _) if self.info1 & FAULT_WRITE != 0 => format!("write of {:x}h", self.info2),
            (NESTED_FAULT, _) => format!("read of {:x}h", self.info2),
            _ => self.kind().into(),
        }
    }
}

fn port_kind(port: u16) -> &'static str {
    match port {
        // Command and control blocks of both channels; SeaBIOS gives the bus master a place from C000h on.
        0x1f0..=0x1f7 | 0x170..=0x177 | 0x3f6 | 0x376 | 0xc000.. => DISK,
        0xcf8..=0xcff => "PCI configuration",
        0x60 | 0x64 | 0x92 => "keyboard controller and A20",
        0x3f8..=0x3ff => "COM1",
        _ => NEEDLESS,
    }
}

/// Exits, counted.
#[derive(Default, Debug)]
pub struct Exits {
    pub by_kind: BTreeMap<&'static str, u64>,
    /// Reads of a data port.
    data_reads: u64,
    /// Stretches of data port reads without another exit between them: a sector is one, since its status is read first.
    data_blocks: u64,
}

impl Exits {
    /// Counts to the end of a log, or to where it has been written.
    pub fn count(log: &mut impl BufRead) -> Result<Self> {
        let mut exits = Self::default();
        let mut before = None;
        let mut line = Vec::new();
        while log.read_until(b'\n', &mut line)? > 0 {
            let exit = Exit::parse(&String::from_utf8_lossy(&line));
            line.clear();
            let Some(exit) = exit else { continue };
            *exits.by_kind.entry(exit.kind()).or_default() += 1;
            let data_port = exit.port().filter(|port| [0x1f0, 0x170].contains(port) && exit.info1 & IOIO_IN != 0);
            if data_port.is_some() {
                exits.data_reads += 1;
                exits.data_blocks += u64::from(before != data_port);
            }
            before = data_port;
        }
        Ok(exits)
    }

    fn of(&self, kind: &str) -> u64 {
        self.by_kind.get(kind).copied().unwrap_or(0)
    }

    pub fn disk(&self) -> u64 {
        self.of(DISK)
    }

    pub fn disk_aside(&self) -> u64 {
        self.by_kind.values().sum::<u64>() - self.disk()
    }

    /// Of each kind, by a second.
    pub fn rates(&self, seconds: f64) -> impl Iterator<Item = (&'static str, f64)> {
        self.by_kind.iter().map(move |(kind, count)| (*kind, *count as f64 / seconds))
    }

    pub fn interrupts(&self) -> u64 {
        self.of(INTERRUPT)
    }

    pub fn needless(&self) -> u64 {
        self.of(NEEDLESS)
    }

    /// `None`: nothing was read by PIO.
    pub fn per_sector(&self) -> Option<f64> {
        (self.data_blocks > 0).then(|| self.data_reads as f64 / self.data_blocks as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(port: u64, info: u64) -> String {
        format!("vmexit(0000007b, {:016x}, 0000000000000000, 0000000000007c00)!\n", port << 16 | info)
    }

    fn count(log: &str) -> Exits {
        Exits::count(&mut log.as_bytes()).unwrap()
    }

    #[test]
    fn exits_are_told_apart() {
        let log = "vmrun! 000000001f095000\nvmexit(00000072, 0, 0, 7c00)!\nvmexit(00000060, 0, 0, 7c00)!\n".to_owned()
            + "vmexit(0000006e, 0, 0, 7c00)!\n"
            + "vmexit(00000400, 7, fee000b0, 7c00)!\n"
            + &io(0x1f7, 0x11)
            + &io(0xc002, 0x11)
            + &io(0xcfc, 0x41)
            + &io(0x80, 0x10);
        let exits = count(&log);
        assert_eq!((exits.disk(), exits.disk_aside(), exits.of("local APIC")), (2, 6, 1));
        assert_eq!((exits.interrupts(), exits.needless()), (1, 2));
    }

    #[test]
    fn a_rep_that_exits_for_every_word_shows() {
        let sector = |reads: usize| io(0x1f7, 0x11) + &io(0x1f0, 0x2d).repeat(reads);
        assert_eq!(count(&sector(1).repeat(3)).per_sector(), Some(1.0));
        assert_eq!(count(&(sector(256) + &sector(256))).per_sector(), Some(256.0));
        assert_eq!(count(&io(0x1f0, 0x20)).per_sector(), None);
    }

    #[test]
    fn a_line_cut_short_is_no_exit() {
        assert_eq!(Exit::parse("vmexit(0000007b"), None);
        assert_eq!(Exit::parse("vmexit(0000007b, "), None);
    }
}
