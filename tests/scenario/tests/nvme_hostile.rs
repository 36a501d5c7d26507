//! NVMe guests that mean harm. Whatever they do, the device only gets addresses of the arena or of guest RAM, the platter only gets
//! transformed sectors, and the disk works again after a reset.
#![forbid(unsafe_code)]

use mediator::Width::{Byte, Dword, Qword, Word};
use scenario::nvme::{DATA, LISTS, Layout, NvmeRig, SECTORS};
use scenario::payload;
use sim::nvme::{Entry, Failure, NvmeGuest, NvmeMachine, Queue, SimNamespace, SimNvme, VECTORS, read, status, write};
use sim::{ARENA, RAM_HIGH, RAM_TOP, VMM};

#[test]
fn guest_memory_that_changes_after_every_read_changes_nothing() {
    for layout in Layout::ALL {
        for lba in [10, 990, 5000] {
            let mut rig = NvmeRig::new();
            rig.machine.ram.changes_after_read = true;
            rig.write(lba, &payload(1, lba, 40), layout).unwrap();
            rig.read(lba, 40, layout).unwrap();
        }
    }
}

#[test]
fn guest_rewriting_commands_and_lists_after_the_doorbell_changes_nothing() {
    for lba in [10, 990, 5000] {
        for is_write in [true, false] {
            let mut rig = NvmeRig::new();
            let data = payload(1, lba, 64);
            let layout = Layout::CHAINED;
            let id = if is_write {
                rig.put_write(1, lba, &data, layout, DATA, LISTS)
            } else {
                rig.put_read(1, lba, 64, layout, DATA, LISTS)
            };
            rig.guest.ring(&mut rig.machine, 1);
            let queue = rig.guest.queues[1].sq;
            let evil = write(1, 2000, 64).prps(VMM.start, VMM.start + 0x1000).bytes().repeat(64);
            rig.machine.ram.poke(queue, &evil);
            rig.machine.ram.poke(LISTS, &VMM.start.to_le_bytes().repeat(0x1000));
            rig.guest.wait(&mut rig.machine, 1, id).unwrap();
            if is_write {
                rig.model.wrote(lba, &data);
            } else {
                rig.expect_data(lba, 64, layout, DATA);
            }
            rig.check();
        }
    }
}

/// PRP entries that no honest guest writes, for so many blocks, and what of the answer is known.
fn bad_entries() -> Vec<(u64, u64, u32, Option<u16>)> {
    let transfer = Some(status::DATA_TRANSFER);
    let offset = Some(status::PRP_OFFSET);
    vec![
        (VMM.start, 0, 8, transfer),
        (ARENA.start, 0, 1, transfer),
        (ARENA.end - 4096, 0, 8, transfer),
        (VMM.end - 2048, VMM.end, 8, transfer),
        (DATA, VMM.start, 16, transfer),
        (DATA, ARENA.start, 9, transfer),
        (RAM_HIGH.end - 512, VMM.start, 2, transfer),
        (!3, 0, 1, None),
        (!0xfff, !0xfff, 16, None),
        // Device memory, where the registers of guarded controllers are.
        (0xa_0000, 0, 8, transfer),
        (RAM_TOP.end, 0, 8, transfer),
        (RAM_TOP.end - 4096, RAM_TOP.end, 16, transfer),
        (DATA + 2, 0, 1, offset),
        (DATA, DATA + 0x1200, 16, offset),
        // Lists: of the VMM's memory, of none, at an odd place, full of the VMM's addresses.
        (DATA, VMM.start, 64, transfer),
        (DATA, ARENA.start, 64, transfer),
        (DATA, RAM_TOP.end, 64, transfer),
        (DATA, LISTS + 4, 64, offset),
        (DATA, LISTS + 0x4000, 64, transfer),
        (DATA, LISTS + 0x5000, 64, offset),
        // A list whose last entry leads to itself, again and again.
        (DATA, LISTS + 0x6ff8, 256, Some(status::INVALID_FIELD)),
    ]
}

#[test]
fn entries_into_the_vmm_or_nowhere_reach_no_device() {
    for (first, second, blocks, expected) in bad_entries() {
        for (is_write, nsid, lba) in
            [(true, 1, 2000), (false, 1, 2000), (true, 1, 10), (false, 1, 10), (true, 2, 2000), (false, 2, 2000)]
        {
            let mut rig = NvmeRig::new();
            rig.machine.ram.poke(DATA, &payload(1, 1000, 128));
            rig.machine.ram.poke(LISTS + 0x4000, &VMM.start.to_le_bytes().repeat(512));
            rig.machine.ram.poke(LISTS + 0x5000, &(DATA + 0x10).to_le_bytes().repeat(512));
            rig.machine.ram.poke(LISTS + 0x6ff8, &(LISTS + 0x6ff8).to_le_bytes());
            rig.model.may_hold_anything(lba, blocks.into());
            let entry = if is_write { write(nsid, lba, blocks) } else { read(nsid, lba, blocks) };
            let answer = rig.guest.io(&mut rig.machine, 1, entry.prps(first, second));
            if let Some(status) = expected {
                assert_eq!(answer, Err(Failure::Status(status)), "{first:#x} {second:#x} {blocks} {is_write} {nsid}");
            }
            rig.check();
            rig.recovers();
        }
    }
}

#[test]
fn admin_data_goes_nowhere_but_guest_memory() {
    for at in [VMM.start, ARENA.start, ARENA.end - 4096, RAM_TOP.end, VMM.start - 512] {
        for entry in [
            Entry::new(6, 0).dword(10, 1),
            Entry::new(2, 0).dword(10, 2 | 1023 << 16),
            Entry::new(10, 0).dword(10, 0x0e),
        ] {
            let mut rig = NvmeRig::new();
            let answer = rig.guest.admin(&mut rig.machine, entry.prps(at, VMM.start));
            let fits = at == VMM.start - 512 && entry.opcode() == 10;
            assert_eq!(answer.is_ok(), fits, "{at:#x} {entry:x?}");
            rig.check();
        }
    }
}

#[test]
fn requests_longer_than_the_limit_are_refused() {
    let mut rig = NvmeRig::new();
    for (lba, blocks) in [(10, 257), (5000, 257), (5000, 65536), (10, 65536)] {
        let answer = rig.guest.io(&mut rig.machine, 1, write(1, lba, blocks).prps(DATA, LISTS));
        assert_eq!(answer, Err(Failure::Status(status::INVALID_FIELD)));
    }
    for lba in [scenario::nvme::SECTORS, u64::MAX, u64::MAX - 3] {
        let answer = rig.guest.io(&mut rig.machine, 1, write(1, lba, 8).prps(DATA, 0));
        assert_eq!(answer, Err(Failure::Status(status::LBA_OUT_OF_RANGE)));
    }
    for nsid in [0, 3, u32::MAX] {
        let answer = rig.guest.io(&mut rig.machine, 1, read(nsid, 0, 8).prps(DATA, 0));
        assert_eq!(answer, Err(Failure::Status(status::INVALID_NAMESPACE)), "{nsid}");
    }
    rig.check();
}

#[test]
fn doorbells_out_of_range_do_nothing() {
    let mut rig = NvmeRig::new();
    for (offset, value) in [
        (0x1008, 64),
        (0x1008, u32::MAX),
        (0x100c, 64),
        // Completions that are not there.
        (0x100c, 5),
        (0x1000, 32),
        (0x1004, 32),
        (0x1018, 1),
        (0x101c, 1),
        (0x1088, 1),
        (0x1ffc, 0),
        (0x1800, 3),
    ] {
        let before = rig.machine.violations.len();
        rig.machine.write(offset, value);
        assert_eq!(rig.machine.violations.len(), before + 1, "{offset:#x} {value:#x}");
    }
    rig.machine.write_wide(0x1008, mediator::Width::Word, 1);
    rig.machine.write_wide(0x1008, mediator::Width::Qword, 1);
    rig.check();
    rig.write(5000, &payload(1, 5000, 8), Layout::LINUX).unwrap();
    rig.read(5000, 8, Layout::LINUX).unwrap();
}

#[test]
fn a_full_completion_queue_holds_what_follows() {
    let mut rig = NvmeRig::new();
    rig.guest.delete(&mut rig.machine, 2).unwrap();
    // More entries to be sent than completions fit: both have 64 entries, and the guest takes none for a while.
    let mut ids = Vec::new();
    for round in 0..3 {
        for n in 0..40 {
            let data_at = DATA + 0x1000 * (n % 32);
            ids.push(rig.put_read(1, 990 + n, 8, Layout::LINUX, data_at, LISTS));
        }
        rig.guest.ring(&mut rig.machine, 1);
        (0..10).for_each(|_| {
            rig.machine.tick();
            rig.machine.other_interrupt();
        });
        if round == 0 {
            // Not taken by the guest, so only 63 of them can be there at the end.
            rig.machine.nvme.interrupts.clear();
        }
        if round == 1 {
            // Only now; one interrupt is all that a handler needs.
            rig.machine.nvme.interrupts.clear();
            rig.guest.handle(&mut rig.machine, 1);
        }
    }
    for id in ids {
        rig.guest.wait(&mut rig.machine, 1, id).unwrap();
    }
    rig.check_platter();
}

#[test]
fn overlapping_queues_harm_the_guest_alone() {
    let places = [(0x20_0000, 0x20_0000), (0x20_0000, 0x20_1000), (VMM.start, 0x20_0000), (0x20_0000, ARENA.start)];
    for (sq, cq) in places.into_iter().chain([(RAM_TOP.end - 4096, RAM_TOP.end), (!0xfff, 0x20_0000)]) {
        let mut rig = NvmeRig::new();
        rig.guest.delete(&mut rig.machine, 2).unwrap();
        let queue = Queue { sq, cq, ..Queue::new(2, 64, false) };
        for (opcode, at, last) in [(5, cq, 3 | 2 << 16), (1, sq, 1 | 2 << 16)] {
            let entry = Entry::new(opcode, 0).prps(at, 0).dword(10, 2 | 63 << 16).dword(11, last);
            let _ = rig.guest.admin(&mut rig.machine, entry);
        }
        for entry in [read(1, 5000, 8).prps(DATA, 0), write(1, 5000, 8).prps(DATA, 0)] {
            rig.machine.ram.poke(DATA, &payload(1, 5000, 8));
            rig.model.may_hold_anything(5000, 8);
            if sim::SimMemory::is_ram(sq, 4096) {
                rig.machine.ram.poke(sq, &entry.bytes().repeat(64));
            }
        }
        rig.machine.write(0x1000 + 8 * u32::from(queue.id), 63);
        (0..20).for_each(|_| {
            rig.machine.tick();
            rig.machine.other_interrupt();
        });
        rig.check_secrecy();
        rig.recovers();
    }
}

#[test]
fn queues_that_cannot_be_are_refused() {
    let mut rig = NvmeRig::new();
    let mut create = |opcode: u8, id: u32, size: u32, at: u64, last: u32| {
        let entry = Entry::new(opcode, 0).prps(at, 0).dword(10, id | (size - 1) << 16).dword(11, last);
        rig.guest.admin(&mut rig.machine, entry).map_err(|failure| match failure {
            Failure::Status(status) => status,
            Failure::Timeout => 0xffff,
        })
    };
    for opcode in [1, 5] {
        for id in [0, 1, 2, 17, 0xffff] {
            assert_eq!(create(opcode, id, 16, 0x20_0000, 1 | 1 << 16), Err(status::INVALID_QUEUE), "{id}");
        }
        for size in [1, 2049, 65536] {
            assert_eq!(create(opcode, 3, size, 0x20_0000, 1 | 1 << 16), Err(status::INVALID_QUEUE_SIZE), "{size}");
        }
        assert_eq!(create(opcode, 3, 16, 0x20_0000, 1 << 16), Err(status::INVALID_FIELD), "a list of pages");
        assert_eq!(create(opcode, 3, 16, 0x20_0010, 1 | 1 << 16), Err(status::PRP_OFFSET));
    }
    for cq in [0, 3, 17, 0xffff] {
        assert_eq!(create(1, 3, 16, 0x20_0000, 1 | cq << 16), Err(status::CQ_INVALID), "{cq}");
    }
    for id in [0, 3, 17, 0xffff] {
        for opcode in [0, 4] {
            let answer = rig.guest.admin(&mut rig.machine, Entry::new(opcode, 0).dword(10, id));
            assert_eq!(answer, Err(Failure::Status(status::INVALID_QUEUE)), "{opcode} {id}");
        }
    }
    rig.check();
    rig.write(5000, &payload(1, 5000, 8), Layout::LINUX).unwrap();
}

#[test]
fn configuration_that_is_not_offered_enables_nothing() {
    for bits in [1 << 4, 6 << 4, 1 << 7, 1 << 11] {
        let mut rig = NvmeRig::new();
        rig.guest.disable(&mut rig.machine).unwrap();
        rig.machine.write(0x14, 1 | 6 << 16 | 4 << 20 | bits);
        assert_eq!(rig.machine.violations.len(), 1, "{bits:#x}");
        assert_eq!((rig.machine.read(0x1c) & 1, rig.machine.nvme.cc & 1), (0, 0));
        rig.recovers();
    }
}

#[test]
fn registers_that_the_guest_moves_are_hooked_there_and_stay_where_they_are_on_the_bus() {
    use mediator::Width::{Dword, Word};
    let mut rig = NvmeRig::new();
    let home = rig.machine.config.bars;
    // Sizing, as drivers of buses do it, and then another place: the device sees nothing of it.
    rig.machine.config_write(0x10, Dword, u32::MAX);
    assert_eq!(rig.machine.config_read(0x10, Dword), 0xffff_c004);
    rig.machine.config_write(0x10, Dword, 0xe000_0000);
    rig.read(995, 8, Layout::LINUX).unwrap();
    rig.machine.config_write(0x04, Word, 0);
    rig.machine.config_write(0x04, Word, 6);
    assert_eq!(rig.machine.hooked_at(), Some(0xe000_0000));
    assert_eq!(rig.machine.config.bars, home);
    rig.machine.config_write(0x10, Dword, sim::nvme::BAR as u32);
    rig.machine.config_write(0x04, Word, 6);
    assert_eq!(rig.machine.hooked_at(), Some(sim::nvme::BAR));
    assert_eq!(rig.machine.violations, []);
    rig.recovers();
}

#[test]
fn a_devices_own_smaller_limit_holds() {
    let mut machine = NvmeMachine::new(SimNvme::new([SimNamespace::new(sim::Platter::new(1000), 512)]));
    machine.nvme.mdts = 2;
    machine.attach(&nvme::DRIVER).unwrap();
    let mut guest = NvmeGuest::default();
    guest.enable(&mut machine, 16, false).unwrap();
    guest.create(&mut machine, Queue::new(1, 16, false)).unwrap();
    let (first, second) = Layout::LINUX.prps(&mut machine, DATA, LISTS, 0x1_0000);
    assert_eq!(guest.io(&mut machine, 1, read(1, 0, 32).prps(first, second)), Ok(0));
    let refused = guest.io(&mut machine, 1, read(1, 0, 33).prps(first, second));
    assert_eq!(refused, Err(Failure::Status(status::INVALID_FIELD)));
}

#[test]
fn a_completion_queue_shorter_than_what_is_under_way_is_announced_to_the_end() {
    let mut rig = NvmeRig::new();
    // Three completions fit, ten commands are under way.
    let queue = Queue { size: 4, ..Queue::new(3, 4, false) };
    rig.guest.create(&mut rig.machine, queue).unwrap();
    rig.guest.admin(&mut rig.machine, Entry::new(0, 0).dword(10, 3)).unwrap();
    let sq = Entry::new(1, 0).prps(rig.guest.queues[3].sq, 0).dword(10, 3 | 15 << 16).dword(11, 1 | 3 << 16);
    rig.guest.admin(&mut rig.machine, sq).unwrap();
    for n in 0..10 {
        let entry = read(1, 10, 8).prps(DATA + 0x1000 * u64::from(n), 0);
        let at = rig.guest.queues[3].sq + 64 * u64::from(n);
        rig.machine.ram.poke(at, &entry.dword(0, 2 | n << 16).bytes());
    }
    rig.machine.write(0x1018, 10);
    rig.machine.tick();
    // All interrupts of the device came at once; the handler that follows finds what fits.
    rig.machine.nvme.interrupts.truncate(1);
    for id in 0..10 {
        rig.guest.wait(&mut rig.machine, 3, id).unwrap();
    }
}

/// MSI-X on, all entries masked, as Linux begins.
const ALL_MASKED: u64 = 3 << 14;
const CONTROL: u16 = 0x42;
/// Memory of the guest's that no message may go to: it is not RAM, and of nobody's.
const REGISTERS: u64 = sim::nvme::BAR + 0x1000;

/// Writes an entry as Linux does: masked, then address and data, then as it is wanted.
fn set_message(rig: &mut NvmeRig, vector: u16, address: u64, data: u32) {
    let at = u32::from(vector) * 16;
    for (offset, value) in [(12, 1), (0, address & 0xffff_ffff), (4, address >> 32), (8, data.into()), (12, 0)] {
        rig.machine.write_table(at + offset, Dword, value);
    }
}

fn rig_with_messages() -> NvmeRig {
    let mut rig = NvmeRig::new();
    rig.machine.config_write(CONTROL, Word, ALL_MASKED as u32);
    (0..VECTORS).for_each(|vector| rig.machine.write_table(vector * 16 + 12, Dword, 1));
    (0..3).for_each(|vector| set_message(&mut rig, vector, 0xfee0_1000, 0x4030 + u32::from(vector)));
    rig.machine.config_write(CONTROL, Word, 1 << 15);
    rig
}

#[test]
fn interrupts_come_as_messages_whichever_way_the_guest_writes_their_entries() {
    let ways: [&[(u32, mediator::Width, u64)]; 4] = [
        &[(0, Qword, 0xfee0_2000), (8, Qword, 0x4031)],
        &[(12, Dword, 0), (8, Dword, 0x4031), (4, Dword, 0), (0, Dword, 0xfee0_2000)],
        // What Linux leaves when it gives an interrupt back, and then asks for another.
        &[(12, Dword, 1), (0, Dword, 0), (8, Dword, 0), (0, Qword, 0xfee0_2000), (8, Dword, 0x4031), (12, Dword, 0)],
        &[(8, Qword, 1 << 32 | 0x4031), (4, Dword, 0), (0, Dword, 0xfee0_2000), (12, Dword, 0)],
    ];
    for way in ways {
        let mut rig = rig_with_messages();
        rig.machine.write_table(16 + 12, Dword, 1);
        for &(offset, width, value) in way {
            rig.machine.write_table(16 + offset, width, value);
        }
        assert_eq!(rig.machine.nvme.messages.table[1], [0xfee0_2000, 0, 0x4031, 0]);
        assert!(rig.machine.violations.is_empty(), "{:x?}", rig.machine.violations);
        rig.write(995, &payload(1, 995, 20), Layout::LINUX).unwrap();
        rig.read(995, 20, Layout::LINUX).unwrap();
    }
}

#[test]
fn messages_reach_no_memory_but_the_guests() {
    for address in
        [VMM.start, VMM.end - 4, ARENA.start, ARENA.end - 4, REGISTERS, 1 << 32 | 0xfee0_0000, 1 << 32, 0x1002]
    {
        for way in 0..4 {
            let mut rig = rig_with_messages();
            let (low, high) = (address & 0xffff_ffff, address >> 32);
            let mut write = |offset: u32, width, value| rig.machine.write_table(16 + offset, width, value);
            match way {
                0 => {
                    [(12, 1), (0, low), (4, high), (12, 0)].into_iter().for_each(|(at, value)| write(at, Dword, value))
                }
                1 => write(0, Qword, address),
                2 => [(4, high), (0, low)].into_iter().for_each(|(at, value)| write(at, Dword, value)),
                // In parts, as no system does.
                _ => (0..4).for_each(|n| {
                    write(n, Byte, low >> (8 * n) & 0xff);
                    write(n & 2, Word, low >> (8 * (n & 2)) & 0xffff);
                }),
            }
            write(8, Dword, 0xbad_c0de);
            rig.guest.submit(&mut rig.machine, 1, read(1, 5000, 8).prps(DATA, 0));
            (0..3).for_each(|_| rig.machine.tick());
            rig.check_platter();
            assert!(!rig.machine.violations.is_empty(), "{address:#x} {way}");
            set_message(&mut rig, 1, 0xfee0_1000, 0x4031);
            rig.write(995, &payload(1, 995, 20), Layout::LINUX).unwrap();
        }
    }
}

#[test]
fn an_entry_that_a_reset_left_anywhere_is_not_switched_on() {
    let mut rig = rig_with_messages();
    let last = VECTORS - 1;
    for (offset, width, value) in [(12, Dword, 0), (8, Qword, 0xbad)] {
        rig.machine.write_table(last * 16 + offset, width, value);
        assert_eq!(rig.machine.nvme.messages.table[last as usize][3] & 1, 1);
    }
    assert_eq!(rig.machine.violations.len(), 2);
    set_message(&mut rig, last as u16, 0xfee0_1000, 1);
    assert_eq!(rig.machine.nvme.messages.table[last as usize], [0xfee0_1000, 0, 1, 0]);
}

#[test]
fn a_message_into_the_guests_own_memory_is_the_guests_business() {
    let mut rig = rig_with_messages();
    set_message(&mut rig, 1, DATA + 0x10_0000, 0xaffe);
    rig.guest.submit(&mut rig.machine, 1, read(1, 5000, 8).prps(DATA, 0));
    (0..3).for_each(|_| rig.machine.tick());
    assert_eq!(rig.machine.ram.peek(DATA + 0x10_0000, 4), 0xaffe_u32.to_le_bytes());
    rig.check_platter();
}
#[test]
fn queues_that_are_kept_busy_keep_no_other_one_waiting() {
    for (busy, blocks) in [(1, 512), (2, 256), (3, 8)] {
        let mut rig = NvmeRig::bare(sim::Platter::new(SECTORS), sim::SimRanges::new(1000..0x8_0000));
        rig.guest.enable(&mut rig.machine, 32, false).unwrap();
        rig.guest.admin(&mut rig.machine, Entry::new(9, 0).dword(10, 7).dword(11, 15 * 0x1_0001)).unwrap();
        (1..=busy + 1).for_each(|id| rig.guest.create(&mut rig.machine, Queue::new(id, 256, false)).unwrap());
        let pages: Vec<u8> = (1..128).flat_map(|n| (DATA + n * 0x2000_u64).to_le_bytes()).collect();
        rig.machine.ram.poke(LISTS, &pages);
        let entry = || read(1, 5000, blocks).prps(DATA, if blocks > 16 { LISTS } else { 0 });
        rig.machine.nvme.per_tick = 1;
        for id in 1..=busy {
            for _ in 0..100 {
                rig.guest.put(&mut rig.machine, id, entry());
            }
            rig.guest.ring(&mut rig.machine, id);
        }
        rig.machine.tick();
        let light = busy + 1;
        let mine = rig.guest.submit(&mut rig.machine, light, read(1, 6000, 1).prps(DATA, 0));
        let (mut served, mut others) = (false, 0);
        while !served {
            rig.guest.look(&mut rig.machine);
            for (queue, reply) in std::mem::take(&mut rig.guest.seen) {
                served |= queue == light && reply.id == mine;
                if queue != light {
                    others += 1;
                    // One ends, one begins.
                    rig.guest.submit(&mut rig.machine, queue, entry());
                }
            }
            assert!(others < 500, "{busy} queues of {blocks} blocks: the other one is never served");
            rig.machine.tick();
        }
    }
}
