//! The log by its interface, with threads as CPUs.

use crate::{Level, Logs, Progress, Record, Sink, Text, answer};
use abi::hypercall::Error;
use abi::log::{Header, Request};
use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::vec::Vec;

const SIZE: usize = 4096;

fn started() -> Logs {
    let logs = Logs::new();
    assert!(logs.start(SIZE));
    logs
}

fn texts(logs: &Logs, from: u64, level: Level) -> (Vec<String>, Progress) {
    let mut texts = Vec::new();
    let progress = logs.read(from, level, |record| {
        texts.push(record.text.to_string());
        true
    });
    (texts, progress)
}

fn write(logs: &Logs, cpu: usize, time_ns: u64, text: &str) {
    logs.write(cpu, Level::Info, || time_ns, format_args!("{text}"));
}

#[test]
fn records_of_all_cpus_come_in_the_order_of_their_times() {
    let logs = started();
    logs.add_cpus(3, SIZE);
    for (cpu, text) in [(2, "a"), (0, "b"), (1, "c"), (2, "d"), (7, "e")] {
        write(&logs, cpu, 10, text);
    }
    let mut seen = Vec::new();
    logs.read(0, Level::Debug, |record| {
        seen.push((record.number, record.cpu, record.text.to_string()));
        true
    });
    let expected = [(0, 2, "a"), (1, 0, "b"), (2, 1, "c"), (3, 2, "d"), (4, 7, "e")];
    assert_eq!(seen, expected.map(|(number, cpu, text)| (number, cpu, text.to_string())));
}

#[test]
fn a_reader_goes_on_where_it_was_and_finds_nothing_twice() {
    let logs = started();
    write(&logs, 0, 1, "one");
    let (_, progress) = texts(&logs, 0, Level::Info);
    assert_eq!(progress, Progress { next: 1, lost: 0 });
    assert_eq!(texts(&logs, 1, Level::Info), (Vec::new(), Progress { next: 1, lost: 0 }));
    write(&logs, 0, 2, "two");
    assert_eq!(texts(&logs, 1, Level::Info), (Vec::from(["two".to_string()]), Progress { next: 2, lost: 0 }));
    assert_eq!(texts(&logs, u64::MAX, Level::Info).1.next, 2, "a number from the future");
}

#[test]
fn what_does_not_fit_comes_again() {
    let logs = started();
    (0..5).for_each(|n| write(&logs, 0, n, &format!("{n}")));
    let mut room = 2;
    let progress = logs.read(1, Level::Info, |_| {
        room -= 1;
        room >= 0
    });
    assert_eq!(progress, Progress { next: 3, lost: 0 });
}

#[test]
fn a_reader_that_falls_behind_is_told_how_many_it_has_missed() {
    let logs = started();
    logs.add_cpus(2, SIZE);
    write(&logs, 1, 0, "of the other CPU");
    (0..1000).for_each(|n| write(&logs, 0, n, &format!("record {n}")));
    let (texts, progress) = texts(&logs, 0, Level::Info);
    assert_eq!(progress.next, 1001);
    assert_eq!(texts[0], "of the other CPU", "another CPU's flood has not pushed it out");
    assert_eq!(texts.len() as u64 + progress.lost, 1001);
    assert!((50..200).contains(&texts.len()), "{}", texts.len());
    assert_eq!(texts.last().unwrap(), "record 999");
    let first: usize = texts[1].strip_prefix("record ").unwrap().parse().unwrap();
    assert_eq!(first as u64, progress.lost);
}

#[test]
fn a_level_leaves_out_what_matters_less_and_loses_nothing() {
    let logs = started();
    for level in Level::ALL {
        logs.write(0, level, || 0, format_args!("{}", level.name()));
    }
    assert_eq!(
        texts(&logs, 0, Level::Warn),
        (Vec::from(["ERROR", "WARN"].map(String::from)), Progress { next: 4, lost: 0 })
    );
    assert_eq!(texts(&logs, 0, Level::Debug).0.len(), 4);
}

#[test]
fn times_never_go_back() {
    let logs = started();
    logs.add_cpus(2, SIZE);
    for (cpu, time) in [(0, 5), (1, 3), (0, 9), (1, 8)] {
        write(&logs, cpu, time, "x");
    }
    let mut times = Vec::new();
    logs.read(0, Level::Info, |record| {
        times.push(record.time_ns);
        true
    });
    assert_eq!(times, [5, 5, 9, 9]);
}

#[test]
fn nothing_that_a_terminal_obeys_is_kept() {
    let text = Text::of(format_args!("a\x1b[2J\n\0\u{e9}\\\x7f~"));
    assert_eq!(text.as_str(), r"a\x1b[2J\x0a\x00\xc3\xa9\\\x7f~");
    assert!(!text.is_cut());
}

#[test]
fn a_long_text_is_cut_between_escapes() {
    for padding in 0..4 {
        let text = Text::of(format_args!("{}{}", "x".repeat(padding), "\x1b".repeat(1000)));
        assert!(text.is_cut() && text.as_str().len() > 508, "{}", text.as_str().len());
        assert!(text.as_str()[padding..].len().is_multiple_of(4));
    }
    assert!(!Text::of(format_args!("{}", "x".repeat(512))).is_cut());
    assert_eq!(Text::of(format_args!("{}", "x".repeat(513))).as_str().len(), 512);
}

#[test]
fn records_of_every_length_stay_whole_wherever_the_ring_ends() {
    let logs = started();
    let text = |n: usize| char::from(b'a' + (n % 26) as u8).to_string().repeat(n * 7 % 513);
    for n in 0..3000 {
        write(&logs, 0, n as u64, &text(n));
        if n % 50 == 0 {
            let progress = logs.read(0, Level::Debug, |record| {
                assert_eq!(record.text, text(record.number as usize));
                assert_eq!(record.time_ns, record.number);
                true
            });
            assert_eq!(progress.next, n as u64 + 1);
        }
    }
}

#[derive(Default)]
struct Collector(Mutex<Vec<u64>>);

impl Sink for Collector {
    fn write(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.number);
    }
}

#[test]
fn a_sink_gets_what_was_there_and_what_comes() {
    let logs = started();
    let collector: &'static Collector = Box::leak(Box::default());
    (0..3).for_each(|n| write(&logs, 0, n, "before"));
    assert!(logs.add_sink(collector));
    write(&logs, 0, 3, "after");
    assert_eq!(*collector.0.lock().unwrap(), [0, 1, 2, 3]);
    let others = (0..4).filter(|_| logs.add_sink(Box::leak(Box::<Collector>::default()))).count();
    assert_eq!(others, 3, "four sinks have a place");
}

#[test]
fn without_a_start_nothing_is_kept_and_nothing_fails() {
    let logs = Logs::new();
    write(&logs, 0, 0, "x");
    assert_eq!(texts(&logs, 0, Level::Debug), (Vec::new(), Progress { next: 0, lost: 0 }));
}

/// Each reader sees every record once or is told that it is lost, in order, while CPUs write.
#[test]
fn readers_beside_writers_miss_nothing_without_being_told() {
    const CPUS: usize = 4;
    const RECORDS: u64 = 5000;
    let (logs, done) = (started(), AtomicBool::new(false));
    logs.add_cpus(CPUS, SIZE);
    let time = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let (logs, time) = (&logs, &time);
                scope.spawn(move || {
                    for n in 0..RECORDS {
                        let now = || time.fetch_add(1, Ordering::Relaxed);
                        logs.write(cpu, Level::Info, now, format_args!("{cpu} {n}"));
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let (mut next, mut seen, mut lost, mut last_time) = (0, 0, 0, 0);
            let mut of_cpu = [0; CPUS];
            loop {
                let was_done = done.load(Ordering::SeqCst);
                let progress = logs.read(next, Level::Info, |record| {
                    assert!(record.number >= next && record.time_ns >= last_time);
                    (next, last_time, seen) = (record.number + 1, record.time_ns, seen + 1);
                    let (cpu, n) = record.text.split_once(' ').unwrap();
                    let n: u64 = n.parse().unwrap();
                    let expected = &mut of_cpu[cpu.parse::<usize>().unwrap()];
                    assert!(n >= *expected, "CPU {cpu}: {n} after {expected}");
                    *expected = n + 1;
                    true
                });
                (next, lost) = (progress.next, lost + progress.lost);
                if was_done {
                    return (seen, lost);
                }
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
        let (seen, lost) = reader.join().unwrap();
        assert_eq!(seen + lost, CPUS as u64 * RECORDS);
        assert!(seen > 0);
    });
}

fn ask(logs: &Logs, request: &Request, room: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = [0; 32];
    let request = postcard::to_slice(request, &mut bytes).unwrap();
    let mut room = std::vec![0xaa; room];
    let len = answer(logs, "previous\nrun", 77, request, &mut room)?;
    room.truncate(len);
    Ok(room)
}

fn parse(answer: &[u8]) -> (Header, Vec<(u64, String)>) {
    let (header, mut rest): (Header, _) = postcard::take_from_bytes(answer).unwrap();
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (record, behind): (Record<'_>, _) = postcard::take_from_bytes(rest).unwrap();
        records.push((record.number, record.text.to_string()));
        rest = behind;
    }
    (header, records)
}

#[test]
fn the_guest_gets_every_record_by_asking_again_whatever_its_buffer_holds() {
    let logs = started();
    (0..20).for_each(|n| write(&logs, 0, n, &"x".repeat(n as usize)));
    for room in [70, 100, 4096] {
        let (mut from, mut numbers) = (0, Vec::new());
        loop {
            let answer = ask(&logs, &Request::Records { from, level: Level::Info }, room).unwrap();
            let (header, records) = parse(&answer);
            assert_eq!((header.now_ns, header.lost), (77, 0));
            numbers.extend(records.iter().map(|(number, _)| *number));
            if records.is_empty() {
                break;
            }
            assert_eq!(header.next, numbers.last().unwrap() + 1);
            from = header.next;
        }
        assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "{room}");
    }
    let request = Request::Records { from: 19, level: Level::Info };
    assert_eq!(ask(&logs, &request, 40), Err(Error::BufferTooSmall), "no room for the record");
    assert_eq!(ask(&logs, &request, 23), Err(Error::BufferTooSmall), "no room for the header");
}

#[test]
fn the_record_of_the_last_run_comes_in_pieces() {
    let logs = started();
    let piece = |skip_bytes, room| ask(&logs, &Request::Previous { skip_bytes }, room).unwrap();
    assert_eq!(piece(0, 100), b"previous\nrun");
    assert_eq!(piece(0, 5), b"previ");
    assert_eq!(piece(5, 100), b"ous\nrun");
    assert_eq!(piece(12, 100), b"");
    assert_eq!(piece(u32::MAX, 100), b"");
}

#[test]
fn what_is_no_request_is_refused() {
    let logs = started();
    let mut room = [0; 64];
    for bytes in [&[][..], &[2], &[0, 0], &[0, 0, 4], &[1], &[1, 0, 0], &[0xff; 20]] {
        assert_eq!(answer(&logs, "", 0, bytes, &mut room), Err(Error::Parameters), "{bytes:?}");
    }
}
