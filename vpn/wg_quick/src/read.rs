//! The file from its first byte to the configuration.

use crate::config::TunnelConfig;
use crate::finding::{Finding, Findings, Place};
use crate::interface::Interface;
use crate::keys;
use crate::lines::{Entry, Line, lines};
use crate::peer::{self, PeerSection};
use alloc::format;
use alloc::vec::Vec;
use wireguard::MAX_PEERS;

/// Greatest length of a file.
pub const MAX_FILE_BYTES: usize = 64 << 10;

/// Reads a file. The configuration is there when nothing that was found is an error.
#[must_use]
pub fn read(file: &[u8]) -> (Option<TunnelConfig>, Vec<Finding>) {
    let mut findings = Findings::default();
    let config = decode(file, &mut findings).and_then(|text| {
        let lines = lines(text, &mut findings);
        sections(&lines, &mut findings)
    });
    let (findings, wrong) = findings.finish();
    (config.filter(|_| !wrong), findings)
}

/// The text without its byte order mark.
fn decode<'a>(file: &'a [u8], findings: &mut Findings) -> Option<&'a str> {
    const START: Place = Place { line: 1, column: 1 };
    if file.len() > MAX_FILE_BYTES {
        findings.error(START, "the file has more than 64 KiB; is it the right one?");
        return None;
    }
    let text = core::str::from_utf8(file).map_err(|error| {
        let before = file.get(..error.valid_up_to()).unwrap_or_default();
        before.split(|byte| *byte == b'\n').count()
    });
    match text {
        Ok(text) if text.contains('\0') => {
            findings.error(START, "the file holds bytes of zero; save it as plain text in UTF-8");
            None
        }
        Ok(text) => Some(text.strip_prefix('\u{FEFF}').unwrap_or(text)),
        Err(line) => {
            findings.error(Place { line, column: 1 }, "this line is not UTF-8; save the file as plain text in UTF-8");
            None
        }
    }
}

/// What the entries that follow belong to.
enum Section {
    None,
    Interface,
    Peer,
    Unknown,
}

fn sections(lines: &[Line<'_>], findings: &mut Findings) -> Option<TunnelConfig> {
    let (mut interface, mut peers) = (Interface::default(), Vec::<PeerSection>::new());
    let mut section = Section::None;
    let mut told = false;
    for line in lines {
        match line {
            Line::Section { place, name } if name.eq_ignore_ascii_case("Interface") => {
                section = Section::Interface;
                interface.place.get_or_insert(*place);
            }
            Line::Section { place, name } if name.eq_ignore_ascii_case("Peer") => {
                section = Section::Peer;
                if peers.len() == MAX_PEERS {
                    findings.error(
                        *place,
                        format!("there are more than {MAX_PEERS} peers; remove those that are not needed"),
                    );
                }
                peers.push(PeerSection::new(*place));
            }
            Line::Section { place, .. } => {
                section = Section::Unknown;
                findings.error(*place, "there is no such section; write `[Interface]` or `[Peer]`");
            }
            Line::Entry(entry) => match (&section, peers.last_mut()) {
                (Section::Interface, _) => interface.take(entry, findings),
                (Section::Peer, Some(peer)) => peer.take(entry, findings),
                (Section::Unknown, _) => {}
                _ if told => {}
                _ => {
                    told = true;
                    findings.error(entry.place, "this stands before the first section; write `[Interface]` above it");
                }
            },
        }
    }
    let peers = peer::finish(peers, interface.public_key(), findings);
    interface.finish(peers, findings)
}

/// Tells of a key that the section does not have.
pub fn unknown_key(entry: &Entry<'_>, of: &[&'static str], other: &[&'static str], findings: &mut Findings) {
    let message = if keys::known(entry.key, other).is_some() {
        "this key belongs into the other kind of section; `[Interface]` is about us, `[Peer]` about the other side"
            .into()
    } else if let Some(known) = keys::similar(entry.key, of) {
        format!("there is no such key; did you mean `{known}`?")
    } else {
        format!("there is no such key; in this section there are {}", of.join(", "))
    };
    findings.error(entry.place, message);
}

/// A value that counts once: the last one, as with `wg`.
pub fn set<T>(slot: &mut Option<T>, value: T, entry: &Entry<'_>, name: &str, findings: &mut Findings) {
    if slot.replace(value).is_some() {
        findings.warning(entry.place, format!("`{name}` is given twice and the last one counts; remove the other"));
    }
}
