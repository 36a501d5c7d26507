//! Where the simulated controllers are meant to be other ones than QEMU 7.2's, and why.

/// Lines of a trace that differ for one reason.
pub struct Difference {
    pub why: &'static str,
    /// A simulated controller that is asked to be as QEMU's has it too.
    pub habit: bool,
    /// What it is about, QEMU's value, and the simulated controller's.
    pub lines: &'static [(&'static str, &'static str, &'static str)],
}

/// Of the AHCI controller. "AHCI" is Serial ATA AHCI 1.3.1, "SATA" Serial ATA 3.2, "ACS" ATA8-ACS.
pub const AHCI: &[Difference] = &[
    Difference {
        why: "The simulated controller has every capability that a mediator may have to hide, and those of revision 1.3.1.",
        habit: false,
        lines: &[
            ("HBA reset: CAP", "0xc0141f05", "0xc0031fc2"),
            ("HBA reset: CAP2", "0x00000000", "0x00000003"),
            ("HBA reset: VS", "0x00010000", "0x00010301"),
        ],
    },
    Difference {
        why: "So has the simulated disk: Trusted Computing, SMART, Security, a host protected area and more.",
        habit: false,
        lines: &[
            ("IDENTIFY DEVICE: words 47 to 50", "10800100 000b0000", "10800140 000f0040"),
            (
                "IDENTIFY DEVICE: words 80 to 88",
                "f0001600 21400074 00402140 00340040 3f20",
                "f0010000 6b75097d 63416974 09bc6341 3f20",
            ),
            ("IDENTIFY DEVICE: word 106", "0060", "0040"),
        ],
    },
    Difference {
        why: "QEMU does not tell of the device's COMINIT: AHCI s. 3.3.12, DIAG.X.",
        habit: false,
        lines: &[
            ("HBA reset: PxSERR", "0x00000000", "0x04000000"),
            ("start: PxSERR", "0x00000000", "0x04000000"),
            ("COMRESET: PxSERR", "0x00000000", "0x04000000"),
        ],
    },
    Difference {
        why: "QEMU keeps the low bits of addresses, which are reserved: AHCI s. 3.3.1, 3.3.3.",
        habit: false,
        lines: &[("addresses: PxCLB", "0xffffffff", "0xfffffc00"), ("addresses: PxFB", "0xffffffff", "0xffffff00")],
    },
    Difference {
        why: "QEMU's PIO setup FIS tells neither the direction nor the status after the data: SATA s. 10.5.11.",
        habit: false,
        lines: &[
            (
                "IDENTIFY DEVICE: PIO setup FIS",
                "5f405800 00000040 00000000 00000058 00020000",
                "5f605800 00000040 00000000 00000050 00020000",
            ),
            (
                "WRITE SECTORS EXT: PIO setup FIS",
                "5f405800 ff030040 00000000 01000058 00020000",
                "5f405800 ff030040 00000000 010000d0 00020000",
            ),
            (
                "WRITE SECTORS: PIO setup FIS",
                "5f405800 07040040 00000000 01000058 00020000",
                "5f405800 07040040 00000000 010000d0 00020000",
            ),
            (
                "READ SECTORS EXT: PIO setup FIS",
                "5f405800 00040040 00000000 00000058 00020000",
                "5f605800 00040040 00000000 00000050 00020000",
            ),
            (
                "READ SECTORS: PIO setup FIS",
                "5f405800 08040040 00000000 00000058 00020000",
                "5f605800 08040040 00000000 00000050 00020000",
            ),
        ],
    },
    Difference {
        why: "QEMU moves nothing where the PRD table is too short, and tells of success: AHCI s. 3.3.5, OFS.",
        habit: false,
        lines: &[
            ("shorter PRD table: PxIS", "0x00000001", "0x01000001"),
            ("shorter PRD table: PRDBC", "0x00000000", "0x00000200"),
            ("shorter PRD table: data", "8192 bytes, f75c4168c3e42325", "8192 bytes, 212eb0c49a1bcf25"),
        ],
    },
    Difference {
        why: "QEMU goes on with the other commands after an error: AHCI s. 6.2.2.",
        habit: true,
        lines: &[
            ("error before others: PxCI", "0x00000001", "0x00000007"),
            ("error before others: PRDBC", "0x00000200", "0x00000000"),
        ],
    },
    Difference {
        why: "QEMU's disk queues commands without the log of what failed: ACS s. 4.15, 7.25.",
        habit: true,
        lines: &[
            ("READ LOG EXT, page 10h: PxIS", "0x40000001", "0x00000003"),
            ("READ LOG EXT, page 10h: PxTFD", "0x00000441", "0x00000050"),
            ("READ LOG EXT, page 10h: PxCI", "0x00000001", "0x00000000"),
            ("READ LOG EXT, page 10h: PRDBC", "0x00000000", "0x00000200"),
            (
                "READ LOG EXT, page 10h: PIO setup FIS",
                "eeeeeeee eeeeeeee eeeeeeee eeeeeeee eeeeeeee",
                "5f605800 10000040 00000000 01000050 00020000",
            ),
            (
                "READ LOG EXT, page 10h: register FIS",
                "34404104 10000040 00000000 01000000 00000000",
                "34405000 10000040 00000000 01000000 00000000",
            ),
            (
                "READ LOG EXT, page 10h: log",
                "00000000 00000000 00000000 00000000 00000000 00000000",
                "02004104 00000100 00000000 00000000 00000000 00000000",
            ),
            ("READ LOG EXT, page 10h: stopped PxTFD", "0x00000441", "0x00000050"),
        ],
    },
    Difference {
        why: "QEMU's IS follows the ports, where the specification has it keep a bit until it is acknowledged: AHCI s. 3.1.4, 10.7.2.1.",
        habit: true,
        lines: &[
            ("IS acknowledged first: HBA IS without PxIS", "0x00000000", "0x00000001"),
            ("cause that is not enabled: HBA IS without PxIE", "0x00000000", "0x00000001"),
        ],
    },
    Difference {
        why: "QEMU takes commands for a port that is stopped: AHCI s. 3.3.13, 3.3.14.",
        habit: false,
        lines: &[
            ("issued to a stopped port: PxSACT", "0x00000001", "0x00000000"),
            ("issued to a stopped port: PxCI", "0x00000001", "0x00000000"),
        ],
    },
];

/// Of the NVMe controller. "NVMe" is the NVM Express Base Specification 1.4.
pub const NVME: &[Difference] = &[
    Difference {
        why: "The simulated controller has what a mediator may have to hide: subsystem reset, other command sets, boot partitions, memory of its own.",
        habit: false,
        lines: &[
            ("disabled: CAP", "0x0f0107ff", "0x0f0707ff"),
            ("disabled: CAP, upper half", "0x00401820", "0x03403830"),
            ("disabled: CMBLOC", "0x00000000", "0x01234567"),
            ("disabled: CMBSZ", "0x00000000", "0x01234567"),
        ],
    },
    Difference {
        why: "It claims every optional command, and takes them.",
        habit: false,
        lines: &[
            ("IDENTIFY controller: OACS to AERL", "0a010303", "ff030303"),
            ("IDENTIFY controller: LPA", "07", "1f"),
            ("IDENTIFY controller: NN to FUSES", "00010000 5d010000", "00010000 ff000100"),
            ("IDENTIFY controller: FNA and VWC", "0007", "0001"),
            (
                "WRITE UNCORRECTABLE: completion",
                "00000000 00000000 02000100 59000380",
                "00000000 00000000 02000100 59000100",
            ),
        ],
    },
    Difference {
        why: "Its namespace has one format, where QEMU's could be formatted in eight.",
        habit: false,
        lines: &[("IDENTIFY namespace: NLBAF, FLBAS", "0700", "0000")],
    },
    Difference {
        why: "Its log pages are full of their own number.",
        habit: false,
        lines: &[("GET LOG PAGE, SMART: warnings, temperature, spare", "00430100 00", "02020202 02")],
    },
    Difference {
        why: "QEMU names the wrong status for a completion queue that is not there: NVMe s. 5.5.1, Invalid Queue Identifier.",
        habit: false,
        lines: &[
            (
                "deletion of completion queue 0: completion",
                "00000000 00000000 01000000 28000082",
                "00000000 00000000 01000000 28000282",
            ),
            (
                "deletion of completion queue 2: completion",
                "00000000 00000000 02000000 29000082",
                "00000000 00000000 02000000 29000282",
            ),
        ],
    },
    Difference {
        why: "QEMU names the wrong status for a log page that is not there: NVMe s. 5.14.2, Invalid Log Page.",
        habit: false,
        lines: &[(
            "GET LOG PAGE, unknown: completion",
            "00000000 00000000 00000000 62000580",
            "00000000 00000000 00000000 62001382",
        )],
    },
    Difference {
        why: "Dword 0 is about a success: NVMe s. 5.1.1. The simulated controller gives 0 with every error.",
        habit: false,
        lines: &[(
            "ABORT in no queue: completion",
            "01000000 00000000 04000000 5e000580",
            "00000000 00000000 04000000 5e000580",
        )],
    },
];
