//! NVMe: what a guest writes and reads arrives, on all ways.
#![forbid(unsafe_code)]

use scenario::nvme::{DATA, LISTS, Layout, NvmeRig, PROTECTED, SECTORS};
use scenario::payload;
use sim::nvme::{Entry, Failure, Queue, read, write};

#[test]
fn both_namespaces_are_found_with_their_numbers() {
    let rig = NvmeRig::new();
    let disks = rig.machine.disks();
    let told: Vec<_> = disks.iter().map(|disk| (disk.channel, disk.sectors, disk.sector_bytes)).collect();
    assert_eq!(told, [(1, SECTORS, 512), (2, 100_000, 512)]);
    assert_eq!((disks[0].model.as_str(), disks[0].serial.as_str()), ("Simulated NVMe", "SIM-0001"));
}

#[test]
fn sectors_are_read_before_the_guest_starts() {
    let mut rig = NvmeRig::bare(sim::Platter::new(SECTORS), sim::SimRanges::new(PROTECTED));
    let mut data = vec![0; 17 * 512];
    rig.machine.read_before_guest(0, 5000, &mut data).unwrap();
    for (lba, sector) in (5000..).zip(data.chunks_exact(512)) {
        assert_eq!(sector, sim::untouched(lba));
    }
    rig.machine.read_before_guest(1, 99_999, &mut data[..512]).unwrap();
    assert!(rig.machine.read_before_guest(1, 99_999, &mut data[..1024]).is_err());
    assert!(rig.machine.read_before_guest(2, 0, &mut data[..512]).is_err());
    assert!(rig.machine.read_before_guest(0, 0, &mut data[..500]).is_err());
    rig.start(false).unwrap();
    rig.read(995, 20, Layout::LINUX).unwrap();
}

#[test]
fn every_size_at_every_border_reads_back_as_written() {
    for layout in Layout::ALL {
        let mut rig = NvmeRig::new();
        let mut seed = 0;
        for lba in [10, 990, 995, 1000, PROTECTED.end - 5, PROTECTED.end, SECTORS - 256] {
            for sectors in [1, 2, 7, 8, 9, 16, 33, 256] {
                if lba + sectors <= SECTORS {
                    seed += 1;
                    rig.write(lba, &payload(seed, lba, sectors), layout).unwrap();
                    rig.read(lba, sectors as u32, layout).unwrap();
                    rig.read(lba.saturating_sub(3), sectors as u32, Layout::LINUX).unwrap();
                }
            }
        }
    }
}

#[test]
fn polling_guests_find_their_completions_without_interrupts() {
    let mut rig = NvmeRig::bare(sim::Platter::new(SECTORS), sim::SimRanges::new(PROTECTED));
    rig.start(true).unwrap();
    for lba in [10, 995, 5000] {
        rig.write(lba, &payload(1, lba, 40), Layout::SCATTERED).unwrap();
        rig.read(lba, 40, Layout::LINUX).unwrap();
    }
    // As firmware does it: after the doorbell nothing but the completion queue is looked at.
    rig.machine.nvme.interrupts.clear();
    let id = rig.put_read(1, 5000, 8, Layout::LINUX, DATA, LISTS);
    rig.guest.ring(&mut rig.machine, 1);
    rig.guest.handle(&mut rig.machine, 1);
    assert!(rig.guest.seen.iter().any(|(_, reply)| reply.id == id && reply.status == 0));
    rig.expect_data(5000, 8, Layout::LINUX, DATA);
}

#[test]
fn many_requests_at_a_time_are_served_in_any_order() {
    for (backwards, per_tick) in [(false, 64), (true, 64), (true, 3), (false, 1)] {
        let mut rig = NvmeRig::new();
        (rig.machine.nvme.backwards, rig.machine.nvme.per_tick) = (backwards, per_tick);
        let place = |n: u64| (DATA + 0x4_0000 * n, LISTS + 0x8000 * n, 900 + 50 * n);
        let mut waited = Vec::new();
        for n in 0..40 {
            let (data_at, lists, lba) = place(n);
            let (queue, layout) = (1 + (n % 2) as u16, Layout::ALL[(n % 3) as usize]);
            waited.push((queue, rig.put_write(queue, lba, &payload(n as u32, lba, 50), layout, data_at, lists)));
        }
        (1..3).for_each(|queue| rig.guest.ring(&mut rig.machine, queue));
        for (n, (queue, id)) in (0..).zip(waited) {
            rig.guest.wait(&mut rig.machine, queue, id).unwrap();
            rig.model.wrote(place(n).2, &payload(n as u32, place(n).2, 50));
        }
        rig.check();
        let ids: Vec<_> = (0..40)
            .map(|n| {
                let (data_at, lists, lba) = place(n);
                let queue = 1 + (n % 2) as u16;
                let id = rig.put_read(queue, lba, 50, Layout::ALL[(n % 3) as usize], data_at, lists);
                rig.guest.ring(&mut rig.machine, queue);
                (queue, id)
            })
            .collect();
        for (n, (queue, id)) in (0..).zip(ids) {
            rig.guest.wait(&mut rig.machine, queue, id).unwrap();
            let (data_at, _, lba) = place(n);
            rig.expect_data(lba, 50, Layout::ALL[(n % 3) as usize], data_at);
        }
        rig.check();
    }
}

#[test]
fn queues_wrap_around_many_times() {
    let mut rig = NvmeRig::new();
    for n in 0..300 {
        rig.write(990 + n % 20, &payload(n as u32, 990 + n % 20, 3), Layout::LINUX).unwrap();
        rig.read(990 + n % 20, 3, Layout::LINUX).unwrap();
    }
}

#[test]
fn the_plain_namespace_is_passed() {
    let mut rig = NvmeRig::new();
    let data = payload(5, 2000, 8);
    rig.machine.ram.poke(DATA, &data);
    rig.guest.io(&mut rig.machine, 1, write(2, 2000, 8).prps(DATA, 0)).unwrap();
    assert_eq!(rig.machine.nvme.platter(2).read(2001)[..], data[512..1024]);
    rig.guest.io(&mut rig.machine, 2, read(2, 2000, 8).prps(DATA + 0x1_0000, 0)).unwrap();
    assert_eq!(rig.machine.ram.peek(DATA + 0x1_0000, 4096), data);
    rig.check();
}

#[test]
fn unit_access_and_retries_reach_the_disk_and_nothing_else_of_the_dword_does() {
    for lba in [10, 5000] {
        let mut rig = NvmeRig::new();
        let data = payload(1, lba, 1);
        let id = rig.put_write(1, lba, &data, Layout::LINUX, DATA, LISTS);
        // In the queue already: with every bit of the dword's upper half.
        let queue = rig.guest.queues[1].clone();
        let at = queue.sq + 64 * u64::from((queue.tail + 63) % 64) + 48;
        rig.machine.ram.poke(at, &0xffff_0000_u32.to_le_bytes());
        rig.guest.ring(&mut rig.machine, 1);
        rig.guest.wait(&mut rig.machine, 1, id).unwrap();
        assert_eq!(rig.machine.nvme.last_dword12, 0xc000_0000, "{lba}");
    }
}

#[test]
fn queues_are_deleted_and_created_again() {
    let mut rig = NvmeRig::new();
    for round in 0..20 {
        rig.guest.delete(&mut rig.machine, 2).unwrap();
        rig.guest.create(&mut rig.machine, Queue::new(2, 3 + round, round % 2 == 0)).unwrap();
        rig.read(995, 10, Layout::LINUX).unwrap();
    }
    assert_eq!(rig.guest.admin(&mut rig.machine, Entry::new(4, 0).dword(10, 1)), Err(Failure::Status(0x10c)));
}

#[test]
fn a_flush_reaches_the_disk() {
    let mut rig = NvmeRig::new();
    rig.write(5000, &payload(1, 5000, 8), Layout::LINUX).unwrap();
    rig.guest.io(&mut rig.machine, 1, Entry::new(0, 1)).unwrap();
    let mut after = rig.after_power_cut(|_| false);
    after.model.flushed();
    after.read(5000, 8, Layout::LINUX).unwrap();
}

#[test]
fn features_with_data_go_both_ways() {
    let mut rig = NvmeRig::new();
    rig.machine.ram.poke(DATA, &0x1234_5678_9abc_u64.to_le_bytes());
    rig.guest.admin(&mut rig.machine, Entry::new(9, 0).prps(DATA, 0).dword(10, 0x0e)).unwrap();
    rig.guest.admin(&mut rig.machine, Entry::new(10, 0).prps(DATA + 64, 0).dword(10, 0x0e)).unwrap();
    assert_eq!(rig.machine.ram.peek(DATA + 64, 8), 0x1234_5678_9abc_u64.to_le_bytes());
    let queues = rig.guest.admin(&mut rig.machine, Entry::new(10, 0).dword(10, 7)).unwrap();
    assert_eq!(queues, 15 | 15 << 16);
}

#[test]
fn where_interrupts_reach_the_guest_first_another_one_follows() {
    let mut rig = NvmeRig::new();
    rig.machine.let_interrupts_pass();
    for round in 0..4 {
        let ids = [5000, 6000, 10].map(|lba| rig.put_read(1, lba, 8, Layout::LINUX, DATA, LISTS));
        rig.guest.ring(&mut rig.machine, 1);
        let all = |rig: &NvmeRig| ids.iter().all(|id| rig.guest.seen.iter().any(|(_, reply)| reply.id == *id));
        for step in 0..100 {
            rig.guest.look(&mut rig.machine);
            rig.machine.tick();
            // The CPU is back a while after.
            if step % 10 == 9 {
                rig.machine.other_interrupt();
            }
        }
        assert!(all(&rig), "round {round}: the guest waits for an interrupt");
        rig.guest.seen.clear();
    }
}
