//! Rules and cards that belong together, and such as do not.

use crate::{Card, CardSelector, CardsError, NetworkPolicy, NetworkRule, rules_of_cards};
use alloc::string::ToString;
use alloc::vec::Vec;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const FIRST: Card = Card { bus: 0, device: 3, function: 0, ids: (0x8086, 0x100e), mac: Some(MAC) };
const SECOND: Card = Card { device: 4, ids: (0x10ec, 0x8139), mac: None, ..FIRST };

fn rule(name: &str, card: CardSelector) -> NetworkRule {
    NetworkRule { name: name.to_string(), card, policy: NetworkPolicy::Block }
}

fn by_function(device: u8) -> CardSelector {
    CardSelector::Function { bus: 0, device, function: 0 }
}

fn names(cards: &[Card], rules: &[NetworkRule]) -> Result<Vec<&'static str>, CardsError> {
    let found = rules_of_cards(cards, rules)?;
    Ok(found.iter().map(|rule| if rule.name == "a" { "a" } else { "b" }).collect())
}

#[test]
fn each_card_has_its_rule_in_whatever_order() {
    let rules = [rule("b", by_function(4)), rule("a", CardSelector::Mac(MAC))];
    assert_eq!(names(&[FIRST, SECOND], &rules), Ok(["a", "b"].into()));
    assert_eq!(names(&[SECOND, FIRST], &rules), Ok(["b", "a"].into()));
    assert_eq!(names(&[FIRST], &[rule("b", by_function(3))]), Ok(["b"].into()));
}

#[test]
fn a_card_without_a_rule_is_named_with_the_rule_to_write() {
    let rules = [rule("a", CardSelector::Mac(MAC))];
    let error = names(&[FIRST, SECOND], &rules).unwrap_err();
    assert_eq!(error, CardsError::NoRule(SECOND));
    let text = error.to_string();
    assert!(text.contains("00:04.0 (10ec:8139)") && text.contains("function = \"00:04.0\""), "{text}");
    let text = CardsError::NoRule(FIRST).to_string();
    assert!(text.contains("00:03.0 (8086:100e, 52:54:00:12:34:56)"), "{text}");
    assert!(text.contains("mac = \"52:54:00:12:34:56\""), "{text}");
}

#[test]
fn a_rule_without_a_card_is_named_with_the_cards_that_there_are() {
    let rules = [rule("a", CardSelector::Mac(MAC)), rule("b", by_function(5))];
    let error = names(&[FIRST, SECOND], &rules).unwrap_err();
    assert_eq!(error, CardsError::NoCard("b".into(), [FIRST, SECOND].into()));
    let text = error.to_string();
    assert!(text.contains("`b`") && text.ends_with("(8086:100e, 52:54:00:12:34:56), 00:04.0 (10ec:8139)"), "{text}");
    assert!(CardsError::NoCard("b".into(), [].into()).to_string().ends_with("none"));
    // The address of a card that nobody can ask is not known.
    let unasked = Card { mac: None, ..FIRST };
    assert!(names(&[unasked], &rules[..1]).is_err());
}

#[test]
fn two_rules_for_a_card_and_two_cards_for_a_rule_are_refused() {
    let rules = [rule("a", CardSelector::Mac(MAC)), rule("b", by_function(3))];
    let error = names(&[FIRST], &rules).unwrap_err();
    assert_eq!(error, CardsError::TwoRules(FIRST, ["a".into(), "b".into()]));
    let twin = Card { device: 9, ..FIRST };
    let error = names(&[FIRST, twin.clone()], &rules[..1]).unwrap_err();
    assert_eq!(error, CardsError::TwoCards("a".into(), [FIRST, twin]));
}
