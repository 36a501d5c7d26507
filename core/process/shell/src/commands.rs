//! The commands.

use alloc::string::String;
use core::fmt::Write;
use userlib::Error;

/// What commands reach.
pub trait System {
    /// The text of a service, about `argument` if that is not empty.
    fn text(&mut self, service: &str, argument: &str) -> Result<String, Error>;
    /// Starts a program of the manifest; gives its process.
    fn start(&mut self, program: &str) -> Result<u64, Error>;
    fn end(&mut self, process: u64) -> Result<(), Error>;
}

/// Command, service that tells the text, what it is.
const TEXTS: [(&str, &str, &str); 11] = [
    ("dev", "dev", "disks that are guarded, and what rules apply"),
    ("disk", "diskread", "disk DISK SECTOR BYTES: reads a range beside the guest; disk: the disks"),
    ("exits", "exits", "exits of each CPU, by reason"),
    ("heap", "heap", "memory of the hypervisor"),
    ("hello", "hello", "a greeting from ring 3"),
    ("log", "logs", "log TEXT: the lines with TEXT; log: the last lines"),
    ("msg", "msg", "services, and who provides them"),
    ("panic", "panic", "stops the hypervisor (builds with debug assertions only)"),
    ("pci", "pci", "functions on the PCI buses"),
    ("ps", "ps", "programs and tasks"),
    ("vpn", "tunnels", "tunnels of network cards"),
];

/// Performs a line; what it says is appended to `out`.
pub fn perform(system: &mut dyn System, line: &str, out: &mut String) {
    let (command, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let argument = argument.trim();
    let result = match command {
        "" => return,
        "help" => {
            help(out);
            return;
        }
        "run" => system.start(argument).map(|process| say(out, format_args!("process {process}"))),
        "end" => match argument.parse() {
            Ok(process) => system.end(process),
            Err(_) => {
                say(out, format_args!("end PROCESS: its number, as `ps` shows it"));
                return;
            }
        },
        command => match TEXTS.iter().find(|(name, ..)| *name == command) {
            Some((_, service, _)) => system.text(service, argument).map(|text| out.push_str(&text)),
            None => {
                say(out, format_args!("no command `{}`; see `help`", command.escape_default()));
                return;
            }
        },
    };
    if let Err(error) = result {
        say(out, format_args!("{command}: {error}"));
    }
}

fn help(out: &mut String) {
    for (name, _, what) in TEXTS {
        say(out, format_args!("{name:6} {what}"));
    }
    say(out, format_args!("run    run PROGRAM: starts a program of the manifest"));
    say(out, format_args!("end    end PROCESS: ends a program"));
}

fn say(out: &mut String, text: core::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    #[derive(Default)]
    struct Fake {
        asked: Vec<String>,
    }

    impl System for Fake {
        fn text(&mut self, service: &str, argument: &str) -> Result<String, Error> {
            self.asked.push(format!("{service}({argument})"));
            if service == "panic" { Err(Error::NotFound) } else { Ok("a text\n".to_string()) }
        }

        fn start(&mut self, program: &str) -> Result<u64, Error> {
            if program == "hello" { Ok(7) } else { Err(Error::NotFound) }
        }

        fn end(&mut self, process: u64) -> Result<(), Error> {
            if process == 7 { Ok(()) } else { Err(Error::NotFound) }
        }
    }

    fn said(line: &str) -> (String, Vec<String>) {
        let (mut system, mut out) = (Fake::default(), String::new());
        perform(&mut system, line, &mut out);
        (out, system.asked)
    }

    #[test]
    fn a_command_is_the_text_of_a_service() {
        assert_eq!(said(" ps "), ("a text\n".into(), std::vec!["ps()".into()]));
        assert_eq!(said("log  ata disk").1, ["logs(ata disk)"]);
        assert_eq!(said("panic").0, "panic: no service has this name\n");
    }

    #[test]
    fn programs_are_started_and_ended() {
        assert_eq!(said("run hello").0, "process 7\n");
        assert_eq!(said("run nothing").0, "run: no service has this name\n");
        assert_eq!((said("end 7").0, said("end 8").0), (String::new(), "end: no service has this name\n".into()));
        assert!(said("end seven").0.starts_with("end PROCESS"));
    }

    #[test]
    fn help_names_every_command_and_nothing_else_is_one() {
        let help = said("help").0;
        for (name, ..) in TEXTS {
            assert!(help.lines().any(|line| line.starts_with(name)), "{name}");
        }
        assert_eq!(said("\u{1b}[2J").0, "no command `\\u{1b}[2J`; see `help`\n");
        assert_eq!(said("  "), (String::new(), std::vec![]));
    }
}
