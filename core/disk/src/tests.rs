use crate::{DiskService, Disks, Error, Io, MAX_DISKS, TIMEOUT_NS};
use abi::disk::op;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use mediator::Instant;
use mediator::disk::{MAX_OWN_BYTES, OwnError, OwnOp, OwnRequest};
use message::{Lease, Service};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

const SECTORS: usize = 1000;

/// One disk, whose requests take some looks.
#[derive(Default)]
struct State {
    now: u64,
    bytes: Vec<u8>,
    under_way: Option<(u32, OwnRequest)>,
    /// It does not end anything any more.
    dead: bool,
    fails: Option<OwnError>,
    dropped: bool,
    pieces: Vec<(u64, usize)>,
    flushes: u32,
    /// What another CPU does while the driver is called.
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

struct Fake(Mutex<State>);

impl Disks for Fake {
    fn count(&self) -> usize {
        1
    }

    fn size(&self, disk: usize) -> Option<(u64, u32)> {
        (disk == 0).then_some((SECTORS as u64, 512))
    }

    fn submit(&self, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        assert_eq!(disk, 0);
        let mut state = self.0.lock().unwrap();
        if state.dead {
            state.now += TIMEOUT_NS / 4;
        }
        // One that nobody asks for ends by itself.
        if state.dropped
            && !state.dead
            && state.under_way.as_mut().is_some_and(|(left, _)| std::mem::replace(left, 0) == 0)
        {
            state.under_way = None;
        }
        if state.under_way.is_some() {
            return Err(OwnError::Busy);
        }
        let end = (request.lba as usize).saturating_mul(512).saturating_add(request.data.len());
        if end > state.bytes.len() {
            return Err(OwnError::Request);
        }
        state.pieces.push((request.lba, request.data.len()));
        (state.under_way, state.dropped) = (Some((3, request)), false);
        Ok(())
    }

    fn poll(&self, _: usize) -> Option<Result<Vec<u8>, OwnError>> {
        let meanwhile = self.0.lock().unwrap().meanwhile.take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        let mut state = self.0.lock().unwrap();
        state.now += 1000;
        if state.dead {
            state.now += TIMEOUT_NS / 4;
            return None;
        }
        let (left, _) = state.under_way.as_mut().expect("a request is under way");
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let (_, OwnRequest { op, lba, mut data }) = state.under_way.take()?;
        if let Some(error) = state.fails {
            return Some(Err(error));
        }
        let at = lba as usize * 512;
        let place = at..at + data.len();
        match op {
            OwnOp::Read => data.copy_from_slice(&state.bytes[place]),
            OwnOp::Write => state.bytes[place].copy_from_slice(&data),
            OwnOp::Flush => state.flushes += 1,
        }
        Some(Ok(data))
    }

    fn forget(&self, _: usize) {
        let mut state = self.0.lock().unwrap();
        state.dropped = true;
        if !state.dead {
            state.under_way = None;
        }
    }

    fn now(&self) -> Instant {
        let mut state = self.0.lock().unwrap();
        state.now += 1000;
        Instant(state.now)
    }
}

fn io() -> (&'static Io, &'static Fake) {
    let bytes = (0..SECTORS * 512).map(|n| (n / 7) as u8).collect();
    let fake: &Fake = Box::leak(Box::new(Fake(Mutex::new(State { bytes, ..State::default() }))));
    (Box::leak(Box::new(Io::new(fake))), fake)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

#[test]
fn what_was_written_is_read_in_pieces_that_the_guest_comes_between() {
    let (io, fake) = io();
    let data: Vec<u8> = (0..3 * MAX_OWN_BYTES / 2).map(|n| n as u8 ^ 0x5a).collect();
    block_on(io.write(0, 10, &data)).unwrap();
    block_on(io.flush(0)).unwrap();
    assert_eq!(block_on(io.read(0, 10, data.len())).unwrap(), data);
    let state = fake.0.lock().unwrap();
    let (first, second) = ((10, MAX_OWN_BYTES), (10 + 128, MAX_OWN_BYTES / 2));
    assert_eq!(state.pieces, [first, second, (0, 0), first, second]);
    assert_eq!(state.flushes, 1);
}

#[test]
fn a_disk_that_is_not_there_or_has_not_so_many_sectors_is_an_error() {
    let (io, _) = io();
    for (disk, lba) in [(1, 0), (MAX_DISKS, 0), (0, SECTORS as u64), (0, u64::MAX / 512)] {
        assert_eq!(block_on(io.read(disk, lba, 512)), Err(Error::Disk(OwnError::Request)));
    }
    assert_eq!(block_on(io.read(0, 0, 512)).map(|data| data.len()), Ok(512));
}

#[test]
fn a_disk_that_does_not_answer_is_given_up_and_found_again_later() {
    let (io, fake) = io();
    fake.0.lock().unwrap().dead = true;
    assert_eq!(block_on(io.read(0, 0, 512)), Err(Error::TimedOut));
    assert!(fake.0.lock().unwrap().dropped);
    assert_eq!(block_on(io.read(0, 0, 512)), Err(Error::Disk(OwnError::Busy)), "the device still has it");
    {
        let mut state = fake.0.lock().unwrap();
        (state.dead, state.under_way) = (false, None);
    }
    assert!(block_on(io.read(0, 0, 512)).is_ok());
    fake.0.lock().unwrap().fails = Some(OwnError::Lost);
    assert_eq!(block_on(io.read(0, 0, 512)), Err(Error::Disk(OwnError::Lost)));
}

#[test]
fn whoever_stops_waiting_leaves_no_turn_behind() {
    let (io, fake) = io();
    {
        let mut read = pin!(io.read(0, 0, 512));
        assert!(
            read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready(),
            "time does not stand still here"
        );
    }
    let ticket = io.submit(0, OwnRequest { op: OwnOp::Flush, lba: 0, data: Vec::new() }).unwrap();
    assert_eq!(
        io.submit(0, OwnRequest { op: OwnOp::Flush, lba: 0, data: Vec::new() }),
        Err(Error::Disk(OwnError::Busy))
    );
    io.forget(ticket);
    assert!(fake.0.lock().unwrap().dropped);
    assert_eq!(io.poll(ticket), Some(Err(Error::Unknown)));
    assert!(block_on(io.read(0, 0, 512)).is_ok());
}

#[test]
fn a_request_that_nobody_asks_for_in_time_makes_room() {
    let (io, fake) = io();
    let ticket = io.submit(0, OwnRequest { op: OwnOp::Read, lba: 0, data: vec![0; 512] }).unwrap();
    fake.0.lock().unwrap().now += TIMEOUT_NS;
    assert!(block_on(io.flush(0)).is_ok());
    assert_eq!(io.poll(ticket), Some(Err(Error::Unknown)), "the answer is another one's");
}

#[test]
fn a_task_waits_for_the_end_of_a_request_that_nobody_asks_for() {
    let (io, fake) = io();
    let ticket = io.submit(0, OwnRequest { op: OwnOp::Read, lba: 0, data: vec![0; 512] }).unwrap();
    fake.0.lock().unwrap().dead = true;
    io.forget(ticket);
    fake.0.lock().unwrap().dead = false;
    assert!(fake.0.lock().unwrap().under_way.is_some(), "the disk has it yet");
    assert_eq!(block_on(io.flush(0)), Ok(()));
}

#[test]
fn an_answer_goes_to_nobody_elses_request_whatever_other_cpus_do_meanwhile() {
    let request = |lba| OwnRequest { op: OwnOp::Read, lba, data: vec![0; 512] };
    // It has taken too long, so that another may have the turn; but not while it is looked after.
    let (io, fake) = io();
    let ticket = io.submit(0, request(0)).unwrap();
    let mut state = fake.0.lock().unwrap();
    state.now += TIMEOUT_NS;
    state.meanwhile = Some(Box::new(move || {
        assert_eq!(io.submit(0, request(7)), Err(Error::Disk(OwnError::Busy)));
        assert_eq!(io.poll(ticket), None, "it is looked after");
    }));
    drop(state);
    assert_eq!(io.poll(ticket), Some(Err(Error::TimedOut)));
    // It is forgotten while it is looked after.
    let ticket = io.submit(0, request(0)).unwrap();
    fake.0.lock().unwrap().meanwhile = Some(Box::new(move || {
        io.forget(ticket);
        assert_eq!(io.submit(0, request(7)), Err(Error::Disk(OwnError::Busy)));
    }));
    assert_eq!(io.poll(ticket), None);
    assert!(fake.0.lock().unwrap().dropped);
    assert_eq!(io.poll(ticket), Some(Err(Error::Unknown)));
    assert!(block_on(io.read(0, 7, 512)).is_ok());
}

fn call(io: &'static Io, op: u64, leases: &mut [Lease<'_>]) -> Result<u64, message::Error> {
    match leases {
        [] => DiskService(io).handle(op, &mut message::NoLeases),
        [Lease::Read(a)] => DiskService(io).handle(op, &mut [Lease::Read(a)]),
        [Lease::Write(a)] => DiskService(io).handle(op, &mut [Lease::Write(a)]),
        [Lease::Read(a), Lease::Read(b)] => DiskService(io).handle(op, &mut [Lease::Read(a), Lease::Read(b)]),
        _ => unreachable!(),
    }
}

fn ended(io: &'static Io, ticket: u64, data: &mut [u8]) -> Result<u64, message::Error> {
    loop {
        match call(io, ticket << op::SHIFT | op::POLL, &mut [Lease::Write(data)]) {
            Err(message::Error::Busy) => {}
            end => return end,
        }
    }
}

#[test]
fn programs_count_disks_read_write_and_flush() {
    let (io, fake) = io();
    assert_eq!(call(io, op::COUNT, &mut []), Ok(1));
    let mut size = [0; 16];
    assert_eq!(call(io, op::SIZE, &mut [Lease::Write(&mut size)]), Ok(16));
    assert_eq!(size, [[232, 3, 0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0, 0, 0]].as_flattened());
    let mut text = [0; 64];
    let len = call(io, op::TEXT, &mut [Lease::Write(&mut text)]).unwrap();
    assert_eq!(&text[..len as usize], b"disk 0: 1000 sectors of 512 bytes\n");
    let (lba, written) = (7_u64.to_le_bytes(), [0x77; 1024]);
    let ticket = call(io, op::WRITE, &mut [Lease::Read(&lba), Lease::Read(&written)]).unwrap();
    let other = call(io, op::FLUSH, &mut []);
    assert_eq!(other, Err(message::Error::Full));
    assert_eq!(ended(io, ticket, &mut []), Ok(0));
    let ticket = call(io, op::FLUSH, &mut []).unwrap();
    assert_eq!(ended(io, ticket, &mut []), Ok(0));
    let what = [7_u64, 1024].map(u64::to_le_bytes);
    let ticket = call(io, op::READ, &mut [Lease::Read(what.as_flattened())]).unwrap();
    let mut data = [0; 1024];
    assert_eq!(ended(io, ticket, &mut data), Ok(1024));
    assert_eq!(data, written);
    assert_eq!(ended(io, ticket, &mut data), Err(message::Error::BadArgument), "it was fetched");
    assert_eq!(fake.0.lock().unwrap().flushes, 1);
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let (io, _) = io();
    let long = [0_u64, MAX_OWN_BYTES as u64 + 512].map(u64::to_le_bytes);
    assert_eq!(call(io, op::READ, &mut [Lease::Read(long.as_flattened())]), Err(message::Error::BadArgument));
    assert_eq!(call(io, op::READ, &mut [Lease::Read(&[0; 15])]), Err(message::Error::BadArgument));
    assert_eq!(call(io, op::READ, &mut []), Err(message::Error::BadArgument));
    assert_eq!(call(io, op::WRITE, &mut [Lease::Read(&[0; 8])]), Err(message::Error::BadArgument));
    assert_eq!(call(io, 1 << op::SHIFT | op::SIZE, &mut []), Err(message::Error::BadArgument));
    assert_eq!(call(io, u64::MAX, &mut []), Err(message::Error::Refused));
    assert_eq!(call(io, u64::MAX << op::SHIFT | op::POLL, &mut []), Err(message::Error::BadArgument));
    assert_eq!(call(io, u64::MAX << op::SHIFT | op::FLUSH, &mut []), Err(message::Error::BadArgument));
    assert_eq!(call(io, u64::MAX << op::SHIFT | op::FORGET, &mut []), Ok(0));
    for error in [OwnError::NotReady, OwnError::Denied, OwnError::Lost, OwnError::Device, OwnError::Unserved] {
        let (io, fake) = crate::tests::io();
        fake.0.lock().unwrap().fails = Some(error);
        let ticket = call(io, op::FLUSH, &mut []).unwrap();
        assert!(ended(io, ticket, &mut []).is_err_and(|code| code != message::Error::Busy), "{error:?}");
    }
}
