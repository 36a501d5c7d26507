//! The words of the TOML file for the values of the schema, and guesses at mistyped ones.

use config::{Access, AfterFailure, COM1, COM2, COM3, COM4, Callers, Cipher, KeyCheck, Keyboard, Level, OnFailure};
use config::{WireIpv4, WireIpv6};

pub const ON_FAILURE: &[(&str, OnFailure)] =
    &[("stop", OnFailure::Stop), ("boot-without-shoji", OnFailure::BootWithoutShoji)];
pub const LEVEL: &[(&str, Level)] =
    &[("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug)];
/// Serial ports with a name; others are given by their I/O port base.
pub const SERIAL: &[(&str, Option<u16>)] =
    &[("COM1", Some(COM1)), ("COM2", Some(COM2)), ("COM3", Some(COM3)), ("COM4", Some(COM4)), ("off", None)];
pub const KEYBOARD: &[(&str, Keyboard)] = &[("us", Keyboard::Us), ("jp", Keyboard::Jp), ("de", Keyboard::De)];
pub const AFTER_FAILURE: &[(&str, AfterFailure)] =
    &[("reboot", AfterFailure::Reboot), ("power-off", AfterFailure::PowerOff)];
pub const CALLERS: &[(&str, Callers)] = &[("off", Callers::Off), ("kernel", Callers::Kernel), ("any", Callers::Any)];
pub const CIPHER: &[(&str, Cipher)] = &[("aes-xts-plain64", Cipher::AesXtsPlain64)];
pub const CHECK: &[(&str, KeyCheck)] = &[("signature", KeyCheck::Signature), ("none", KeyCheck::None)];

/// The first is the usual one. `luks2` and `plain` need no key.
pub const FORMAT: &[(&str, Form)] = &[("dm-crypt", Form::DmCrypt), ("luks2", Form::Luks2), ("plain", Form::Plain)];
pub const ACCESS: &[(&str, Access)] = &[("read-write", Access::ReadWrite), ("read-only", Access::ReadOnly)];

/// The first is the usual one.
pub const POLICY: &[(&str, Policy)] = &[("tunnel", Policy::Tunnel), ("block", Policy::Block), ("pass", Policy::Pass)];
/// Others are static, and tables.
pub const WIRE_IPV4: &[(&str, WireIpv4)] = &[("dhcp", WireIpv4::Dhcp), ("off", WireIpv4::Off)];
pub const WIRE_IPV6: &[(&str, WireIpv6)] = &[("slaac", WireIpv6::Slaac), ("off", WireIpv6::Off)];

/// A [`config::NetworkPolicy`] without what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Tunnel,
    Block,
    Pass,
}

/// A [`config::Format`] without what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    DmCrypt,
    Luks2,
    Plain,
}

/// The word for a value. Every value of the schema has one, which a test makes sure of.
pub fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, other)| *other == value).map_or("?", |(word, _)| word)
}

/// The known word that `wrong` was probably meant to be.
pub fn guess<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let normal = wrong.to_lowercase().replace('_', "-");
    let distance = |word: &str| strsim::damerau_levenshtein(&normal, word);
    known.min_by_key(|word| distance(word)).filter(|word| distance(word) <= 1 + word.len() / 4)
}

/// `a`, `b` or `c`, each in backquotes.
pub fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_guessed_and_other_words_are_not() {
        let known = ["level", "serial"];
        for (wrong, right) in [("levle", Some("level")), ("Serial", Some("serial")), ("output", None)] {
            assert_eq!(guess(wrong, known.into_iter()), right, "{wrong}");
        }
        assert_eq!(guess("on_failure", ["drive", "on-failure"].into_iter()), Some("on-failure"));
    }

    #[test]
    fn every_value_has_a_word() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug].map(|level| word(LEVEL, level));
        assert_eq!(levels, ["error", "warn", "info", "debug"]);
        assert_eq!(word(ON_FAILURE, OnFailure::BootWithoutShoji), "boot-without-shoji");
        assert_eq!([word(CHECK, KeyCheck::Signature), word(CHECK, KeyCheck::None)], ["signature", "none"]);
        assert_eq!([word(ACCESS, Access::ReadWrite), word(ACCESS, Access::ReadOnly)], ["read-write", "read-only"]);
        assert_eq!(
            [Form::DmCrypt, Form::Luks2, Form::Plain].map(|form| word(FORMAT, form)),
            ["dm-crypt", "luks2", "plain"]
        );
        assert_eq!([Policy::Tunnel, Policy::Block, Policy::Pass].map(|p| word(POLICY, p)), ["tunnel", "block", "pass"]);
        assert_eq!([WireIpv4::Dhcp, WireIpv4::Off].map(|from| word(WIRE_IPV4, from)), ["dhcp", "off"]);
        assert_eq!([WireIpv6::Slaac, WireIpv6::Off].map(|from| word(WIRE_IPV6, from)), ["slaac", "off"]);
        assert_eq!(word(CIPHER, Cipher::AesXtsPlain64), "aes-xts-plain64");
    }
}
