//! Network cards: taken over, given what their rules say, and polled beside the guest.
//!
//! Without a rule all cards are the guest's own. With rules each card needs one, or the guest does not start: a card that nobody has
//! thought of would be a way round the tunnel of another. All of this is done before the guest's first instruction; until a driver has
//! reset a card, it may go on receiving as firmware has set it up.

use crate::failure::Failure;
use crate::machine::{RealMachine, Shared};
use crate::{manifest, services, tunnels};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use config::{NetworkPolicy, NetworkRule};
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use exit::Guest;
use hw::cpus;
use mediator::net::{CardCounters, CardInfo, MacAddr, NetController, NetPolicy};
use mediator::pci::{Bdf, Driver, Function};
use spin::Once;
use task::{Class, Sleep};

/// Class code of network controllers.
pub const NETWORK: u8 = 0x02;
/// Rings and buffers of one card.
const ARENA_BYTES_EACH: u64 = 1280 << 10;
/// A card that is behind a bridge cannot be guarded: the guest may give its bus another number.
const FIRST_BUS: u8 = 0;

/// A card that the VMM drives.
pub struct Served {
    pub function: Bdf,
    pub mac: MacAddr,
    /// Of the driver, of the rule, and of the policy.
    pub driver: &'static str,
    pub rule: String,
    pub policy: &'static str,
    /// Number on the bus.
    number: usize,
    /// Wakes who polls it.
    bell: Once<Waker>,
}

static SERVED: Once<Vec<Served>> = Once::new();
static MACHINE: Once<&'static Shared> = Once::new();
/// Cards that the guest does not find.
static HIDDEN: Once<Vec<Bdf>> = Once::new();

/// All that are driven here.
pub fn served() -> &'static [Served] {
    SERVED.get().map_or(&[], Vec::as_slice)
}

/// Is it one that is driven here, or hidden?
pub fn is_guarded(function: &Function) -> bool {
    let hidden = HIDDEN.get().map_or(&[][..], Vec::as_slice);
    served().iter().any(|card| card.function == function.bdf) || hidden.contains(&function.bdf)
}

fn driver_of(function: &Function) -> Option<&'static Driver<dyn NetController>> {
    let is_served = function.class == NETWORK && function.bdf.bus == FIRST_BUS;
    manifest::CARD_DRIVERS.iter().copied().find(|driver| is_served && (driver.matches)(function))
}

/// What those of them want that could be served, of what devices may be pointed at. The configuration may still be locked.
pub fn arena_bytes(functions: &[Function]) -> u64 {
    ARENA_BYTES_EACH * functions.iter().filter(|function| driver_of(function).is_some()).count() as u64
}

/// A card, and the driver that has taken it over, with its number on the bus.
struct Found {
    function: Function,
    taken: Option<(&'static str, usize, CardInfo)>,
}

impl Found {
    fn as_card(&self) -> config::Card {
        let Function { bdf: Bdf { bus, device, function }, vendor, device: model, .. } = self.function;
        let mac = self.taken.map(|(_, _, info)| info.mac);
        config::Card { bus, device, function, ids: (vendor, model), mac }
    }
}

/// Applies the rules to the cards among `functions`. Fail closed: where one cannot be applied, no guest starts.
pub fn attach(
    guest: &mut Guest,
    machine: &mut RealMachine,
    functions: &[Function],
    rules: &[NetworkRule],
) -> Result<(), Failure> {
    if rules.is_empty() {
        return Ok(());
    }
    let cards = functions.iter().filter(|function| function.class == NETWORK);
    let found: Vec<Found> = cards.map(|card| take_over(guest, machine, card)).collect::<Result<_, _>>()?;
    let cards: Vec<config::Card> = found.iter().map(Found::as_card).collect();
    let rules = config::rules_of_cards(&cards, rules).map_err(|e| format!("{e}"))?;
    let (mut served, mut hidden) = (Vec::new(), Vec::new());
    for ((found, card), rule) in found.iter().zip(&cards).zip(rules) {
        let policy = word(&rule.policy);
        let Some((driver, number, info)) = found.taken else {
            log::info!("network card {card}: no driver, policy {policy}");
            hidden.extend(without_driver(guest, machine, found, card, rule)?);
            continue;
        };
        log::info!("network card {card}: {driver}, policy {policy}");
        set_policy(guest, machine, number, info, rule)
            .map_err(|why| format!("the network card {card} cannot be driven: {}", why.0))?;
        let (function, mac, rule) = (found.function.bdf, info.mac, rule.name.clone());
        served.push(Served { function, mac, driver, rule, policy, number, bell: Once::new() });
    }
    SERVED.call_once(|| served);
    HIDDEN.call_once(|| hidden);
    Ok(())
}

fn word(policy: &NetworkPolicy) -> &'static str {
    match policy {
        NetworkPolicy::Pass => "pass",
        NetworkPolicy::Block => "block",
        NetworkPolicy::Tunnel(_) => "tunnel",
    }
}

/// By its driver, if there is one; the card is blocked until told otherwise.
fn take_over(guest: &mut Guest, machine: &mut RealMachine, function: &Function) -> Result<Found, Failure> {
    let function = *function;
    let Some(driver) = driver_of(&function) else { return Ok(Found { function, taken: None }) };
    let cannot = |why| format!("the network card {} cannot be guarded: {why}", function.bdf);
    let number = guest.bus.attach(machine, driver, &function).map_err(|e| cannot(e.0))?;
    let info = guest.bus.cards().find(|(of, _)| *of == number).map(|(_, card)| card.card());
    Ok(Found { function, taken: Some((driver.name, number, info.ok_or_else(|| cannot("it is lost"))?)) })
}

fn set_policy(
    guest: &Guest,
    machine: &mut RealMachine,
    number: usize,
    info: CardInfo,
    rule: &NetworkRule,
) -> Result<(), Failure> {
    let policy = match &rule.policy {
        NetworkPolicy::Pass => NetPolicy::Pass,
        NetworkPolicy::Block => NetPolicy::Block,
        NetworkPolicy::Tunnel(tunnel) => NetPolicy::Tunnel(tunnels::open(number, &rule.name, info, tunnel)?),
    };
    let set =
        guest.bus.with_controller(machine, number, |mediator, cx| Some(mediator.as_card()?.set_policy(cx, policy)));
    set.flatten().ok_or("it is lost")?.map_err(|e| Failure::from(e.0))
}

/// A card that no driver serves is left alone, or hidden, and then given back. It cannot be driven.
fn without_driver(
    guest: &mut Guest,
    machine: &mut RealMachine,
    found: &Found,
    card: &config::Card,
    rule: &NetworkRule,
) -> Result<Option<Bdf>, Failure> {
    match rule.policy {
        NetworkPolicy::Pass => Ok(None),
        NetworkPolicy::Block => {
            let hidden = guest.bus.attach(machine, &pci::HIDE, &found.function);
            hidden.map_err(|e| format!("the network card {card} cannot be hidden: {}", e.0))?;
            Ok(Some(found.function.bdf))
        }
        NetworkPolicy::Tunnel(_) => {
            let (name, served) = (&rule.name, manifest::SERVED_CARDS);
            Err(format!(
                "the network rule `{name}` wants a tunnel for the card {card}, which Shoji cannot drive; it drives {served} where \
                 they are not behind a bridge"
            )
            .into())
        }
    }
}

/// The cards are polled from now on, by tasks of this CPU.
pub fn start(machine: &'static Shared) {
    MACHINE.call_once(|| machine);
    for card in served() {
        if let Err(error) = task::spawn("card", serve(card, machine)) {
            // The guest's own accesses poll it, too.
            log::error!("network card {}: not polled by itself: {error}", card.function);
        }
    }
}

/// Polls the card when it wants to be, and whenever the task is woken: by an access that makes it want that earlier, or by [`wake`].
async fn serve(card: &'static Served, machine: &'static Shared) {
    let mut sleep = None;
    poll_fn(move |cx| {
        card.bell.call_once(|| cx.waker().clone());
        serve_once(card, machine, &mut sleep, cx);
        Poll::Pending
    })
    .await
}

fn serve_once(card: &Served, machine: &'static Shared, sleep: &mut Option<Sleep>, cx: &mut Context<'_>) {
    let Some(guest) = services::GUEST.get() else { return };
    let mut machine = RealMachine::new(machine, cpus::this().number());
    let deadline = guest.bus.poll_card(&mut machine, card.number, cx.waker());
    *sleep = deadline.map(|at| task::sleep_until(at, Class::AtInterrupt));
    if let Some(sleep) = sleep
        && Pin::new(sleep).poll(cx).is_ready()
    {
        // There is more to do, but others have their turn first.
        cx.waker().wake_by_ref();
    }
}

/// Polls the card with this number on the bus soon: its tunnel has something to hand out. From under no lock of a card.
pub fn wake(number: usize) {
    let card = served().iter().find(|card| card.number == number);
    if let Some(bell) = card.and_then(|card| card.bell.get()) {
        bell.wake_by_ref();
    }
}

impl Served {
    /// What it has moved, and whether there is a link. `None`: it is not served any more.
    fn counters(&self) -> Option<(CardCounters, bool)> {
        let mut machine = RealMachine::new(MACHINE.get()?, cpus::this().number());
        let counters = services::GUEST.get()?.bus.with_running_controller(&mut machine, self.number, |mediator, _| {
            let card = mediator.as_card()?;
            Some((card.counters(), card.card().link_up))
        });
        counters.flatten()
    }
}

/// A line for people.
impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, mac, driver, rule, policy, .. } = self;
        write!(f, "network card {function}: {driver}, {}, rule `{rule}`, policy {policy}", config::Mac(*mac))?;
        let Some((counters, link_up)) = self.counters() else { return write!(f, ", not served any more") };
        let CardCounters { guest_sent, guest_received, wire_sent, wire_received, guest_dropped, wire_dropped } =
            counters;
        write!(f, ", link {}; frames of the guest: ", if link_up { "up" } else { "down" })?;
        write!(f, "{guest_sent} sent, {guest_received} received, {guest_dropped} dropped; ")?;
        write!(f, "of the cable: {wire_sent} sent, {wire_received} received, {wire_dropped} dropped")
    }
}
