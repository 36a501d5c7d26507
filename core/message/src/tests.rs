use super::*;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::fmt::Write;
use std::format;
use std::string::ToString;

/// Adds up the bytes that it may read, and writes back as much as it may.
#[derive(Default)]
struct Sum {
    sent: AtomicU64,
}

impl Service<Port> for Sum {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        if op != 1 {
            return Err(Error::Refused);
        }
        let mut data = [0; 8];
        let count = leases.read(0, 1, &mut data)?;
        leases.write(1, 0, &data[..count])?;
        Ok(data.iter().map(|&byte| u64::from(byte)).sum())
    }

    fn on_int(&self, value: u64) -> Result<(), Error> {
        self.sent.store(value, SeqCst);
        Ok(())
    }

    fn on_port(&self, port: Port) -> Result<(), Error> {
        port.send_int(7)
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

#[test]
fn a_call_reads_and_writes_what_it_is_lent() {
    let _registration = register(name("sum"), "", Arc::new(Sum::default())).unwrap();
    let port = open("sum").unwrap();
    let mut back = [0; 4];
    let answer = port.call(1, &mut [Lease::Read(&[1, 2, 3]), Lease::Write(&mut back)]);
    assert_eq!((answer, back), (Ok(5), [2, 3, 0, 0]));
    assert_eq!(port.call(2, &mut NoLeases), Err(Error::Refused));
    assert_eq!(port.call(1, &mut NoLeases), Err(Error::BadArgument));
    let swapped = port.call(1, &mut [Lease::Write(&mut back), Lease::Read(&[1])]);
    assert_eq!(swapped, Err(Error::BadArgument), "a buffer to be written is not read");
}

#[test]
fn integers_and_ports_are_sent() {
    let (first, second) = (Arc::new(Sum::default()), Arc::new(Sum::default()));
    let _first = register(name("first"), "", first.clone()).unwrap();
    let _second = register(name("second"), "", second.clone()).unwrap();
    open("first").unwrap().send_int(3).unwrap();
    open("first").unwrap().send_port(open("second").unwrap()).unwrap();
    assert_eq!((first.sent.load(SeqCst), second.sent.load(SeqCst)), (3, 7));
}

#[test]
fn the_end_of_a_service_is_an_error_of_its_ports_and_the_next_of_the_name_is_another() {
    let registration = register(name("mortal"), "", Arc::new(Sum::default())).unwrap();
    assert!(matches!(register(name("mortal"), "", Arc::new(Sum::default())), Err(Error::Full)));
    let port = open("mortal").unwrap();
    drop(registration);
    assert_eq!(port.send_int(1), Err(Error::Dead));
    assert_eq!(open("mortal").map(|_| ()), Err(Error::NotFound));
    let _again = register(name("mortal"), "program", Arc::new(Sum::default())).unwrap();
    assert_eq!(port.call(1, &mut NoLeases), Err(Error::Dead), "an old port stays dead");
    assert!(open("mortal").unwrap().send_int(1).is_ok());
    assert!(list().contains(&Entry { name: name("mortal"), provider: "program" }));
}

#[test]
fn names_are_short_and_plain() {
    for bad in ["", "a b", "a\n", "seventeen-letters", "\u{e4}"] {
        assert_eq!(Name::new(bad.as_bytes()), Err(Error::BadArgument), "{bad:?}");
    }
    let longest = name("sixteen-letters.");
    assert_eq!(longest.as_str(), "sixteen-letters.");
    assert_eq!(format!("{:>18}|{:?}", longest, name("x")), "  sixteen-letters.|\"x\"");
}

#[test]
fn every_error_has_a_number_and_words_of_its_own() {
    let mut words = std::collections::BTreeSet::new();
    for code in 1..=14 {
        let error = Error::of_code(code).unwrap();
        assert_eq!(error.code(), code);
        assert!(words.insert(error.to_string()));
    }
    assert_eq!(Error::of_code(0), None);
    assert_eq!(Error::of_code(15), Some(Error::Refused));
}

#[test]
fn a_writer_drops_what_has_no_room() {
    let mut buffer = [0; 5];
    let mut leases = [Lease::Write(&mut buffer)];
    let mut writer = Writer::new(&mut leases, 0);
    write!(writer, "{}-{}", 12, 345).unwrap();
    assert_eq!(writer.written(), 5);
    assert!(Writer::new(&mut NoLeases, 0).write_str("x").is_err());
    assert_eq!(&buffer, b"12-34");
}
