//! A question for a name (RFC 1035 s. 4.1).

use super::Wrong;
use crate::frame::be16;

const HEADER: usize = 12;
/// One question, nothing else.
const COUNTS: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// One of `names`, its address, and nothing behind it.
pub fn check(message: &[u8], names: &[String]) -> Result<(), Wrong> {
    // No answer, a standard query; recursion may be wanted.
    let is_question =
        be16(message, 2).is_some_and(|flags| flags & !0x0100 == 0) && message.get(4..HEADER) == Some(&COUNTS);
    if !is_question {
        return Err("DNS that is no single question".into());
    }
    let (name, rest) = name(&message[HEADER..]).ok_or("DNS with a name that does not end")?;
    if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
        return Err(format!("DNS asks for {name}"));
    }
    let is_for_address = matches!(be16(rest, 0), Some(A | AAAA)) && be16(rest, 2) == Some(INTERNET) && rest.len() == 4;
    if is_for_address { Ok(()) } else { Err(format!("DNS asks something else of {name}")) }
}

fn name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut labels = Vec::new();
    loop {
        let (&len, rest) = bytes.split_first()?;
        if len == 0 {
            return Some((labels.join("."), rest));
        }
        let (label, rest) = rest.split_at_checked(usize::from(len)).filter(|_| len < 64)?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        bytes = rest;
    }
}
