//! Which rule is whose: network cards of a machine, and the rules of its configuration. A machine without rules is not asked.

use crate::{CardSelector, NetworkRule};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A network card of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// Its function.
    pub bus: u8,
    pub device: u8,
    pub function: u8,
    /// PCI vendor and device.
    pub ids: (u16, u16),
    /// `None`: nobody here can ask the card for it.
    pub mac: Option<[u8; 6]>,
}

impl Card {
    fn is_named_by(&self, rule: &NetworkRule) -> bool {
        match rule.card {
            CardSelector::Mac(mac) => self.mac == Some(mac),
            CardSelector::Function { bus, device, function } => {
                (bus, device, function) == (self.bus, self.device, self.function)
            }
        }
    }
}

/// A hardware address as people write it.
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")
    }
}

/// A card as the log names it.
impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bus, device, function, ids: (vendor, model), mac } = self;
        write!(f, "{bus:02x}:{device:02x}.{function} ({vendor:04x}:{model:04x}")?;
        match mac {
            Some(mac) => write!(f, ", {})", Mac(*mac)),
            None => write!(f, ")"),
        }
    }
}

/// Rules and cards that do not belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CardsError {
    /// A card that no rule names.
    NoRule(Card),
    /// A rule that names no card, by its name; and the cards that there are.
    NoCard(String, Vec<Card>),
    /// A card that several rules name, and two of these.
    TwoRules(Card, [String; 2]),
    /// A rule that names several cards, and two of these.
    TwoCards(String, [Card; 2]),
}

impl fmt::Display for CardsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule(card) => {
                write!(
                    f,
                    "the network card {card} has no rule; add one to the configuration:\n[[network]]\nname = \"card\"\n"
                )?;
                match card.mac {
                    Some(mac) => writeln!(f, "card = {{ mac = \"{}\" }}", Mac(mac))?,
                    None => {
                        let Card { bus, device, function, .. } = card;
                        writeln!(f, "card = {{ function = \"{bus:02x}:{device:02x}.{function}\" }}")?;
                    }
                }
                write!(f, "policy = \"block\" # or \"pass\", or \"tunnel\" with what it needs")
            }
            Self::NoCard(rule, cards) => {
                write!(f, "the network rule `{rule}` names no card of this machine; its cards:")?;
                if cards.is_empty() {
                    return write!(f, " none");
                }
                let mut before = " ";
                cards.iter().try_for_each(|card| write!(f, "{}{card}", core::mem::replace(&mut before, ", ")))
            }
            Self::TwoRules(card, [a, b]) => {
                write!(f, "the network rules `{a}` and `{b}` both name the card {card}; keep one of them")
            }
            Self::TwoCards(rule, [a, b]) => write!(
                f,
                "the network rule `{rule}` names the cards {a} and {b}, which have one address; name each by its function"
            ),
        }
    }
}

/// The rule of each card, in the order of the cards. Each card has one rule, and each rule one card.
///
/// # Errors
/// See [`CardsError`].
pub fn rules_of_cards<'r>(cards: &[Card], rules: &'r [NetworkRule]) -> Result<Vec<&'r NetworkRule>, CardsError> {
    for rule in rules {
        let mut named = cards.iter().filter(|card| card.is_named_by(rule));
        match (named.next(), named.next()) {
            (None, _) => return Err(CardsError::NoCard(rule.name.clone(), cards.to_vec())),
            (Some(a), Some(b)) => return Err(CardsError::TwoCards(rule.name.clone(), [a.clone(), b.clone()])),
            (Some(_), None) => {}
        }
    }
    let rule_of = |card: &Card| {
        let mut naming = rules.iter().filter(|rule| card.is_named_by(rule));
        match (naming.next(), naming.next()) {
            (None, _) => Err(CardsError::NoRule(card.clone())),
            (Some(a), Some(b)) => Err(CardsError::TwoRules(card.clone(), [a.name.clone(), b.name.clone()])),
            (Some(rule), None) => Ok(rule),
        }
    };
    cards.iter().map(rule_of).collect()
}

#[cfg(test)]
#[path = "cards_tests.rs"]
mod tests;
