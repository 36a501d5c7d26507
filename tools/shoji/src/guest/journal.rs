//! Shoji's log in the guest's own: systemd's journal, or syslog where there is none.
//!
//! Specification: systemd's "Native Journal Protocol"; RFC 3164 (the local form, without host and time).

use super::log::Output;
use abi::log::{Level, Record};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// Records that a full socket may keep waiting.
const PATIENCE: u32 = 100;

/// The form that the socket takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Journal,
    Syslog,
}

/// A socket of the guest's log, and what of Shoji's log it has got: a file that is gone after a reboot, as Shoji's log is.
pub struct Journal {
    socket: UnixDatagram,
    form: Form,
    position: PathBuf,
}

impl Journal {
    /// The one of this system.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> io::Result<Self> {
        let position = PathBuf::from("/run/shoji-journal");
        match Self::connect(Path::new(JOURNAL), Form::Journal, &position) {
            Err(_) => Self::connect(Path::new(SYSLOG), Form::Syslog, &position),
            opened => opened,
        }
        .map_err(|error| io::Error::new(error.kind(), format!("neither {JOURNAL} nor {SYSLOG} takes a log: {error}")))
    }

    fn connect(path: &Path, form: Form, position: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self { socket, form, position: position.to_owned() })
    }

    /// The number of the record that comes next.
    pub fn position(&self) -> u64 {
        fs::read_to_string(&self.position).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn send(&self, level: Level, text: &str, fields: &[(&str, String)]) -> io::Result<()> {
        let priority = priority(level);
        let message = match self.form {
            Form::Syslog => format!("<{}>shoji: {text}", FACILITY_DAEMON << 3 | priority),
            // No value has a line feed in it.
            Form::Journal => {
                let head = format!("MESSAGE={text}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=shoji\n");
                fields.iter().fold(head, |message, (name, value)| message + name + "=" + value + "\n")
            }
        };
        for _ in 0..PATIENCE {
            match self.socket.send(message.as_bytes()) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    thread::sleep(Duration::from_millis(10));
                }
                sent => return sent.map(drop),
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
}

const FACILITY_DAEMON: u8 = 3;

/// RFC 5424 s. 6.2.1.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

impl Output for Journal {
    fn record(&mut self, record: &Record<'_>, now_ns: u64) -> io::Result<()> {
        let age = Duration::from_nanos(now_ns.saturating_sub(record.time_ns));
        let written = SystemTime::now().checked_sub(age).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let fields = [
            ("SHOJI_RECORD", record.number.to_string()),
            ("SHOJI_TIME_NS", record.time_ns.to_string()),
            ("SHOJI_CPU", record.cpu.to_string()),
            ("SHOJI_REALTIME_USEC", written.unwrap_or_default().as_micros().to_string()),
        ];
        let micros = record.time_ns / 1000;
        let text = format!("[{:5}.{:06}] {}", micros / 1_000_000, micros % 1_000_000, record.text);
        self.send(record.level, &text, &fields)
    }

    fn lost(&mut self, count: u64) -> io::Result<()> {
        self.send(Level::Warn, &format!("{count} records of Shoji's log are lost"), &[])
    }

    fn come_to(&mut self, next: u64) -> io::Result<()> {
        // Without it some records come twice.
        if self.position() != next {
            let _ = fs::write(&self.position, format!("{next}\n"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(form: Form, record: &Record<'_>) -> String {
        let dir = std::env::temp_dir().join(format!("shoji-journal-{form:?}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::connect(&path, form, &dir.join("position")).unwrap();
        assert_eq!(journal.position(), 0);
        journal.record(record, record.time_ns + 1_000_000_000).unwrap();
        journal.come_to(8).unwrap();
        assert_eq!(Journal::connect(&path, form, &dir.join("position")).unwrap().position(), 8);
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    const RECORD: Record<'_> =
        Record { number: 7, time_ns: 1_234_567_890, level: Level::Warn, cpu: 2, cut: false, text: "a text" };

    #[test]
    fn the_journal_gets_fields() {
        let message = sent(Form::Journal, &RECORD);
        for line in [
            "MESSAGE=[    1.234567] a text",
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=shoji",
            "SHOJI_RECORD=7",
            "SHOJI_TIME_NS=1234567890",
            "SHOJI_CPU=2",
        ] {
            assert!(message.lines().any(|l| l == line), "{line}: {message}");
        }
        let micros: u128 =
            message.lines().find_map(|line| line.strip_prefix("SHOJI_REALTIME_USEC=")?.parse().ok()).unwrap();
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() - micros;
        assert!((1_000_000..60_000_000).contains(&age), "{age} us ago");
    }

    #[test]
    fn syslog_gets_a_line() {
        assert_eq!(sent(Form::Syslog, &RECORD), "<28>shoji: [    1.234567] a text");
    }
}
