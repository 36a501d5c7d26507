//! What a driver does to an NVMe controller with one namespace of 65,536 blocks of 512 bytes.
//!
//! NVM Express Base Specification, revision 1.4 ("NVMe").

mod steps;

use crate::steps::{BACK, DATA, pattern};
use crate::{Script, Step};
use alloc::vec;
use alloc::vec::Vec;
use steps::*;

pub const SCRIPT: Script = Script { name: "nvme", steps };

const BLOCKS: u64 = 65536;
/// Every namespace.
const ALL: u32 = u32::MAX;

fn steps() -> Vec<Step> {
    let mut all = Driver::default();
    let parts =
        [enabling, identify, features, creating, deleting, transfers, prps, errors, others, doorbells_and_full_queues];
    parts.iter().chain(&[logs_and_events, shutdown]).for_each(|part| part(&mut all));
    all.into_steps()
}

/// NVMe s. 3.1, 7.6.1.
fn enabling(d: &mut Driver) {
    d.about("disabled").steps.write(CC, 0).wait("CSTS.RDY is 0", CSTS, 1, 0);
    d.steps.write(INTMC, !0).write(INTMS, !0);
    d.steps.notes(&[("CAP", CAP), ("CAP, upper half", CAP + 4), ("VS", VS), ("INTMS", INTMS), ("CC", CC)]);
    d.steps.notes(&[("CSTS", CSTS), ("NSSR", NSSR), ("CMBLOC", CMBLOC), ("CMBSZ", CMBSZ)]);
    d.about("submission queue that is not aligned").queue(0, ADMIN_ENTRIES);
    let (sq, cq) = queues(0);
    d.steps
        .write(AQA, 0x7_0007)
        .write(ASQ, sq as u32 | 0x800)
        .write(ASQ + 4, 0)
        .write(ACQ, cq as u32)
        .write(ACQ + 4, 0);
    d.steps.write(CC, ENABLED).pause().note("CSTS", CSTS);
    d.about("pages that are too small").disable();
    d.steps.write(ASQ, sq as u32).note("ASQ", ASQ).write(CC, ENABLED | 15 << 7).pause().note("CSTS", CSTS);
    d.about("enabled").disable().enable();
    d.steps.notes(&[("CC", CC), ("CSTS", CSTS), ("AQA", AQA), ("ASQ", ASQ), ("ACQ", ACQ)]);
}

/// NVMe s. 5.15.
fn identify(d: &mut Driver) {
    let of = |cns, nsid| command(0x06, nsid).prps(BACK, 0).dword(10, cns);
    d.steps.fill(BACK, 4096, 0xcc);
    d.try_one("IDENTIFY controller", 0, of(1, 0));
    d.steps.show("VER", BACK + 80, 4).show("MDTS", BACK + 77, 1).show("OACS to AERL", BACK + 256, 4);
    d.steps.show("LPA", BACK + 261, 1).show("SQES and CQES", BACK + 512, 2).show("NN to FUSES", BACK + 516, 8);
    d.steps.show("FNA and VWC", BACK + 524, 2).show("SGLS", BACK + 536, 4);
    d.try_one("IDENTIFY namespace", 0, of(0, 1));
    d.steps.show("NSZE, NCAP, NUSE", BACK, 24).show("NLBAF, FLBAS", BACK + 25, 2).show("format 0", BACK + 128, 4);
    d.try_one("IDENTIFY namespace that is inactive", 0, of(0, 2)).steps.sum("answer", 4096);
    d.try_one("IDENTIFY namespace 0", 0, of(0, 0));
    d.try_one("IDENTIFY namespace beyond NN", 0, of(0, 0x1_0000));
    d.try_one("IDENTIFY active namespaces", 0, of(2, 0)).steps.show("answer", BACK, 16);
    d.try_one("IDENTIFY active namespaces behind 1", 0, of(2, 1)).steps.show("answer", BACK, 16);
    d.try_one("IDENTIFY active namespaces behind the last", 0, of(2, 0xffff_fffe));
    d.try_one("IDENTIFY unknown structure", 0, of(0xfe, 0));
    d.try_one("unknown admin command", 0, command(0x7f, 0));
}

/// NVMe s. 5.14, 5.21.
fn features(d: &mut Driver) {
    let get = |id, nsid| command(0x0a, nsid).dword(10, id);
    let set = |id, value| command(0x09, 0).dword(10, id).dword(11, value);
    d.try_one("SET FEATURES number of queues", 0, set(7, 0x1_0001));
    d.try_one("SET FEATURES number of queues, too many", 0, set(7, !0));
    d.try_one("GET FEATURES arbitration", 0, get(1, 0));
    d.try_one("GET FEATURES power management", 0, get(2, 0));
    d.try_one("GET FEATURES write cache", 0, get(6, 0));
    d.try_one("SET FEATURES write cache off", 0, set(6, 0));
    d.try_one("GET FEATURES write cache off", 0, get(6, 0));
    d.try_one("SET FEATURES write cache on", 0, set(6, 1));
    d.try_one("SET FEATURES events", 0, set(0xb, 0));
    d.try_one("GET FEATURES events", 0, get(0xb, 0));
    d.try_one("GET FEATURES unknown", 0, get(0x7f, 0));
    d.try_one("SET FEATURES unknown", 0, set(0x7f, 0));
}

/// CREATE I/O COMPLETION QUEUE, and SUBMISSION QUEUE. `flags` is dword 11.
fn create(opcode: u32, id: u32, entries: u32, flags: u32, at: u64) -> Command {
    command(opcode, 0).prps(at, 0).dword(10, id | entries.wrapping_sub(1) << 16).dword(11, flags)
}

const CREATE_CQ: u32 = 5;
const CREATE_SQ: u32 = 1;
/// Physically contiguous.
const CONTIGUOUS: u32 = 1;
const ENTRIES: u32 = 4;

/// NVMe s. 5.3, 5.4.
fn creating(d: &mut Driver) {
    let (sq, cq) = queues(1);
    let on_cq = |id: u32| CONTIGUOUS | id << 16;
    d.try_one("completion queue 0", 0, create(CREATE_CQ, 0, ENTRIES, CONTIGUOUS, cq));
    d.try_one("completion queue beyond the number", 0, create(CREATE_CQ, 0xfff0, ENTRIES, CONTIGUOUS, cq));
    d.try_one("completion queue of one entry", 0, create(CREATE_CQ, 1, 1, CONTIGUOUS, cq));
    d.try_one("completion queue of too many entries", 0, create(CREATE_CQ, 1, 0x1_0000, CONTIGUOUS, cq));
    d.try_one("completion queue that is not aligned", 0, create(CREATE_CQ, 1, ENTRIES, CONTIGUOUS, cq + 0x10));
    d.try_one("completion queue with a vector too high", 0, create(CREATE_CQ, 1, ENTRIES, 0xfff0_0003, cq));
    d.try_one("submission queue without a completion queue", 0, create(CREATE_SQ, 1, ENTRIES, on_cq(1), sq));
    d.queue(1, ENTRIES).try_one("completion queue 1", 0, create(CREATE_CQ, 1, ENTRIES, CONTIGUOUS, cq));
    d.try_one("completion queue 1 again", 0, create(CREATE_CQ, 1, ENTRIES, CONTIGUOUS, cq));
    d.try_one("submission queue 0", 0, create(CREATE_SQ, 0, ENTRIES, on_cq(1), sq));
    d.try_one("submission queue on completion queue 0", 0, create(CREATE_SQ, 1, ENTRIES, on_cq(0), sq));
    d.try_one("submission queue beyond the number", 0, create(CREATE_SQ, 0xfff0, ENTRIES, on_cq(1), sq));
    d.try_one("submission queue of one entry", 0, create(CREATE_SQ, 1, 1, on_cq(1), sq));
    d.try_one("submission queue of too many entries", 0, create(CREATE_SQ, 1, 0x1_0000, on_cq(1), sq));
    d.try_one("submission queue that is not aligned", 0, create(CREATE_SQ, 1, ENTRIES, on_cq(1), sq + 0x40));
    d.try_one("submission queue 1", 0, create(CREATE_SQ, 1, ENTRIES, on_cq(1), sq));
    d.try_one("submission queue 1 again", 0, create(CREATE_SQ, 1, ENTRIES, on_cq(1), sq));
}

/// NVMe s. 5.5, 5.6.
fn deleting(d: &mut Driver) {
    let (delete_sq, delete_cq) = (|id| command(0, 0).dword(10, id), |id| command(4, 0).dword(10, id));
    d.try_one("deletion of completion queue 1 in use", 0, delete_cq(1));
    d.try_one("deletion of completion queue 0", 0, delete_cq(0));
    d.try_one("deletion of completion queue 2", 0, delete_cq(2));
    d.try_one("deletion of submission queue 0", 0, delete_sq(0));
    d.try_one("deletion of submission queue 2", 0, delete_sq(2));
    d.try_one("deletion of submission queue 1", 0, delete_sq(1));
    d.try_one("deletion of completion queue 1", 0, delete_cq(1));
    let (sq, cq) = queues(1);
    d.queue(1, ENTRIES).try_one("completion queue 1 anew", 0, create(CREATE_CQ, 1, ENTRIES, CONTIGUOUS, cq));
    d.try_one("submission queue 1 anew", 0, create(CREATE_SQ, 1, ENTRIES, CONTIGUOUS | 1 << 16, sq));
}

const WRITE: u32 = 1;
const READ: u32 = 2;
const FLUSH: u32 = 0;

/// NVMe s. 4.3, 6.9, 6.15. The queue wraps again and again, so both phases are seen.
fn transfers(d: &mut Driver) {
    d.steps.put(DATA, pattern(3, 0x8000));
    let moves = [
        ("WRITE of a block", WRITE, 1000, 1, 0),
        ("WRITE of a page", WRITE, 1001, 8, 0),
        ("WRITE from the middle of a page", WRITE, 1010, 2, 0x200),
        ("WRITE over two pages", WRITE, 1020, 16, 0),
        ("WRITE over two pages from the middle", WRITE, 1040, 8, 0x800),
        ("READ of a block", READ, 1000, 1, 0),
        ("READ of a page", READ, 1001, 8, 0),
        ("READ into the middle of a page", READ, 1010, 2, 0x200),
        ("READ over two pages", READ, 1020, 16, 0),
        ("READ over two pages from the middle", READ, 1040, 8, 0x800),
    ];
    for (name, opcode, lba, count, offset) in moves {
        let base = if opcode == READ { BACK } else { DATA };
        d.steps.fill(BACK, 0x3000, 0xcc);
        d.try_one(name, 1, command(opcode, 1).prps(base + offset, base + PAGE).blocks(lba, count));
        if opcode == READ {
            d.steps.sum("data", 0x3000);
        }
    }
    d.try_one("FLUSH", 1, command(FLUSH, 1)).try_one("FLUSH of all", 1, command(FLUSH, ALL));
    d.try_one("FLUSH of no namespace", 1, command(FLUSH, 0));
}

/// PRP lists, and PRP entries that are wrong (NVMe s. 4.3).
fn prps(d: &mut Driver) {
    let list = |base: u64| (1..8).flat_map(|page| (base + PAGE * page).to_le_bytes()).collect::<Vec<u8>>();
    for (name, opcode, base) in [("WRITE by a list", WRITE, DATA), ("READ by a list", READ, BACK)] {
        d.steps.fill(BACK, 0x8000, 0xcc).put(LISTS, list(base));
        d.try_one(name, 1, command(opcode, 1).prps(base + 0x400, LISTS).blocks(2000, 32));
    }
    d.steps.sum("data", 0x8000);
    d.steps.fill(BACK, 0x8000, 0xcc).put(LISTS + 0x100, list(BACK));
    d.try_one("READ by a list in the middle of a page", 1, command(READ, 1).prps(BACK, LISTS + 0x100).blocks(2000, 32));
    d.steps.sum("data", 0x8000);
    d.steps.put(LISTS + PAGE - 16, [BACK + PAGE, LISTS + PAGE].iter().flat_map(|at| at.to_le_bytes()).collect());
    d.steps.put(LISTS + PAGE, list(BACK + PAGE)).fill(BACK, 0x8000, 0xcc);
    d.try_one("READ by two lists", 1, command(READ, 1).prps(BACK, LISTS + PAGE - 16).blocks(2000, 32));
    d.steps.sum("data", 0x8000);
    d.try_one("odd first PRP entry", 1, command(READ, 1).prps(BACK + 2, 0).blocks(2000, 1));
    d.try_one("second PRP entry not aligned", 1, command(READ, 1).prps(BACK, BACK + PAGE + 0x200).blocks(2000, 16));
    d.steps.put(LISTS, vec![0xff; 16]).put(LISTS, (BACK + PAGE + 0x200).to_le_bytes().to_vec());
    d.try_one("listed PRP entry not aligned", 1, command(READ, 1).prps(BACK, LISTS).blocks(2000, 24));
    d.try_one("list not aligned", 1, command(READ, 1).prps(BACK, LISTS + 4).blocks(2000, 24));
    d.try_one("more than MDTS", 1, command(READ, 1).prps(BACK, LISTS).blocks(0, 0x1_0000));
}

/// NVMe s. 4.6.1.2.
fn errors(d: &mut Driver) {
    d.try_one("READ beyond the end", 1, command(READ, 1).prps(BACK, 0).blocks(BLOCKS, 1));
    d.try_one("READ over the end", 1, command(READ, 1).prps(BACK, 0).blocks(BLOCKS - 1, 2));
    d.try_one("READ that wraps", 1, command(READ, 1).prps(BACK, 0).blocks(u64::MAX, 8));
    d.try_one("WRITE beyond the end", 1, command(WRITE, 1).prps(DATA, 0).blocks(BLOCKS, 1));
    d.try_one("unknown command", 1, command(0x7f, 1));
    d.try_one("READ of no namespace", 1, command(READ, 0).prps(BACK, 0).blocks(0, 1));
    d.try_one("READ of an inactive namespace", 1, command(READ, 2).prps(BACK, 0).blocks(0, 1));
    d.try_one("READ of a namespace beyond NN", 1, command(READ, 0x1_0000).prps(BACK, 0).blocks(0, 1));
    d.try_one("READ of all namespaces", 1, command(READ, ALL).prps(BACK, 0).blocks(0, 1));
}

/// NVMe s. 6.
fn others(d: &mut Driver) {
    d.steps.put(DATA, pattern(5, 0x1000)).fill(BACK, 0x2000, 0xcc);
    d.try_one("WRITE before the others", 1, command(WRITE, 1).prps(DATA, 0).blocks(3000, 8));
    d.try_one("COMPARE, equal", 1, command(0x05, 1).prps(DATA, 0).blocks(3000, 8));
    d.try_one("COMPARE, not equal", 1, command(0x05, 1).prps(DATA, 0).blocks(3001, 1));
    d.try_one("COMPARE beyond the end", 1, command(0x05, 1).prps(DATA, 0).blocks(BLOCKS, 1));
    d.try_one("WRITE ZEROES", 1, command(0x08, 1).blocks(3002, 2));
    d.try_one("WRITE ZEROES beyond the end", 1, command(0x08, 1).blocks(BLOCKS, 1));
    d.try_one("READ of zeros", 1, command(READ, 1).prps(BACK, 0).blocks(3000, 8)).steps.sum("data", 0x1000);
    let mut range = 0_u32.to_le_bytes().to_vec();
    range.extend(8_u32.to_le_bytes());
    range.extend(4000_u64.to_le_bytes());
    let deallocate = command(0x09, 1).prps(DATA, 0).dword(10, 0).dword(11, 4);
    d.steps.put(DATA, range.clone());
    d.try_one("DATASET MANAGEMENT", 1, deallocate).try_one("DATASET MANAGEMENT, nothing", 1, deallocate.dword(11, 0));
    range[8..16].copy_from_slice(&BLOCKS.to_le_bytes());
    d.steps.put(DATA, range);
    d.try_one("DATASET MANAGEMENT beyond the end", 1, deallocate);
    d.try_one("WRITE UNCORRECTABLE", 1, command(0x04, 1).blocks(3000, 1));
}

/// NVMe s. 3.1.24, 4.1, 5.1.
fn doorbells_and_full_queues(d: &mut Driver) {
    d.about("tail beyond the queue").steps.write(doorbells(1).0, ENTRIES).pause().note("CSTS", CSTS);
    d.about("head beyond the queue").steps.write(doorbells(1).1, ENTRIES).pause().note("CSTS", CSTS);
    d.about("tail of no queue").steps.write(doorbells(9).0, 1).pause().note("CSTS", CSTS);
    d.try_one("after that", 1, command(FLUSH, 1));
    let (sq, cq) = queues(2);
    d.queue(2, 2).try_one("completion queue of 2 entries", 0, create(CREATE_CQ, 2, 2, CONTIGUOUS, cq));
    d.try_one("submission queue on it", 0, create(CREATE_SQ, 2, ENTRIES, CONTIGUOUS | 2 << 16, sq));
    d.about("3 commands for one place");
    // Unknown ones: they end in their order. The submission queue is longer than the other one, whose size the driver's state has.
    let unknown = |id: u32| command(0x7f | id << 16, 1).0.iter().flat_map(|dword| dword.to_le_bytes()).collect();
    for n in 0..3 {
        d.steps.put(sq + 64 * u64::from(n), unknown(0x100 + n));
    }
    d.steps.write(doorbells(2).0, 3).pause().show("both entries", cq, 32);
    d.steps.write(doorbells(2).1, 1).pause().show("after one was seen", cq, 32);
    d.steps.write(doorbells(2).1, 0).pause().show("after two were seen", cq, 32);
    d.try_one("ABORT of nothing", 0, command(0x08, 0).dword(10, 1 | 0x777 << 16));
    d.try_one("ABORT in no queue", 0, command(0x08, 0).dword(10, 9 | 1 << 16));
}

/// NVMe s. 5.2, 5.14.
fn logs_and_events(d: &mut Driver) {
    let log = |id: u32| command(0x02, ALL).prps(BACK, 0).dword(10, id | 127 << 16);
    d.try_one("GET LOG PAGE, SMART", 0, log(2)).steps.show("warnings, temperature, spare", BACK, 5);
    d.try_one("GET LOG PAGE, errors", 0, log(1)).try_one("GET LOG PAGE, firmware", 0, log(3));
    d.try_one("GET LOG PAGE, unknown", 0, log(0x7f));
    d.try_one("GET LOG PAGE, offset behind the end", 0, log(2).dword(12, 0x1000));
    d.about("events");
    for _ in 0..4 {
        d.put(0, command(0x0c, 0)).ring(0);
    }
    d.try_one("one event too many", 0, command(0x0c, 0)).steps.pause();
}

/// NVMe s. 7.6.2.
fn shutdown(d: &mut Driver) {
    d.about("shutdown").steps.write(CC, ENABLED | 1 << 14).pause().notes(&[("CC", CC), ("CSTS", CSTS)]);
    d.disable().steps.note("CSTS, disabled", CSTS);
    d.about("enabled anew").enable().steps.notes(&[("CC", CC), ("CSTS", CSTS), ("AQA", AQA)]);
    d.try_one("submission queue of before", 0, command(0, 0).dword(10, 1));
    d.try_one("FLUSH as admin command", 0, command(0x7e, 1));
    d.about("disabled with a command").put(0, command(0x06, 0).prps(BACK, 0).dword(10, 1)).disable().ring(0);
    d.steps.pause().show("completion queue", queues(0).1 + 32, 16).notes(&[("CC", CC), ("CSTS", CSTS)]);
}
