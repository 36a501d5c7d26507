//! The tunnels of network cards. Each is made before its card is given the policy, set up in the program `vpn` before the guest starts, and
//! from then on kept going by a task of the first CPU: no program may run where a card calls its tunnel, under the card's lock.

use crate::cards;
use crate::failure::Failure;
use abi::vpn::{MAX_TUNNELS, Protocol, SEED_BYTES, SETUP_VERSION, Setup, Wire, WireIpv4, WireIpv6, op};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use config::{TunnelProtocol, TunnelRule, TunnelSecret};
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use hw::{random, rtc, time};
use mediator::Instant;
use mediator::net::{CardInfo, Tunnel};
use message::{Error, Lease, Leases, Port};
use remote::{EncodedSetup, Far, Host, Next, Watch};
use spin::{Mutex, Once};
use task::Class;
use zeroize::Zeroizing;

const NS_PER_S: u64 = 1_000_000_000;
/// Of a setup, besides the parameters of its protocol.
const SETUP_BYTES: usize = 512;
/// What is farther away than this may come somewhat late, while all is well: to be in time makes all interrupts of the guest's exit.
const SOON_NS: u64 = NS_PER_S;

/// The tunnel of a card, by the card's number, until it is set up.
static OPENED: Mutex<Vec<(usize, Far)>> = Mutex::new(Vec::new());

struct Known {
    name: String,
    watch: Watch,
}

/// Those that are set up, by their numbers.
static KNOWN: Once<Vec<Known>> = Once::new();

/// The tunnel of the card with this number, for a rule with this name. Until [`start`] it takes nothing.
///
/// # Errors
/// There are too many, or no memory is left.
pub fn open(card: usize, name: &str, info: CardInfo, rule: &TunnelRule) -> Result<Box<dyn Tunnel>, Failure> {
    let mut opened = OPENED.lock();
    let number = opened.len();
    if number >= MAX_TUNNELS {
        return Err(format!("the network rule `{name}` makes one tunnel too many; {MAX_TUNNELS} are the most").into());
    }
    let pair = encoded(info, rule).and_then(|setup| remote::pair(number, name.to_string(), setup));
    let no_memory =
        || format!("there is no memory for the tunnel of the network rule `{name}`; raise `reserve` in [memory]");
    let (near, far) = pair.ok_or_else(no_memory)?;
    opened.push((card, far));
    Ok(Box::new(near))
}

/// As the program takes it.
fn encoded(info: CardInfo, rule: &TunnelRule) -> Option<EncodedSetup> {
    let TunnelProtocol::WireGuard(TunnelSecret(parameters)) = &rule.protocol;
    let setup =
        Setup { mac: info.mac, wire: wire(&rule.wire), unix_ns: unix_ns(), protocol: Protocol::WireGuard(parameters) };
    let mut bytes = Zeroizing::new(vec![0; parameters.len() + SETUP_BYTES]);
    let (version, rest) = bytes.split_first_mut()?;
    *version = SETUP_VERSION;
    let len = postcard::to_slice(&setup, rest).ok()?.len();
    bytes.truncate(len + 1);
    Some(bytes)
}

fn wire(from: &config::Wire) -> Wire {
    let ipv4 = match from.ipv4 {
        config::WireIpv4::Off => WireIpv4::Off,
        config::WireIpv4::Dhcp => WireIpv4::Dhcp,
        config::WireIpv4::Static { address, prefix_len, gateway } => WireIpv4::Static { address, prefix_len, gateway },
    };
    let ipv6 = match from.ipv6 {
        config::WireIpv6::Off => WireIpv6::Off,
        config::WireIpv6::Slaac => WireIpv6::Slaac,
        config::WireIpv6::Static { address, prefix_len, gateway } => WireIpv6::Static { address, prefix_len, gateway },
    };
    Wire { mtu: from.mtu, ipv4, ipv6, dns: from.dns.clone() }
}

/// The time of day when Shoji started: the guest may set the machine's clock, and this stays.
fn unix_ns() -> u64 {
    static START: Once<u64> = Once::new();
    *START.call_once(|| match rtc::unix_seconds() {
        Some(seconds) => (seconds * NS_PER_S).saturating_sub(time::now().0),
        None => {
            log::warn!(
                "the real-time clock shows no time: peers that have seen this machine may refuse its handshakes"
            );
            0
        }
    })
}

/// Sets all tunnels up; from now on they take frames, served by tasks of this CPU. To be called when programs run.
///
/// # Errors
/// A tunnel that cannot be, named by its rule.
pub fn start() -> Result<(), Failure> {
    let opened = core::mem::take(&mut *OPENED.lock());
    let mut known = Vec::new();
    for (card, mut far) in opened {
        let name = far.name().to_string();
        let mut program = Program { name: name.clone(), port: None };
        far.begin(time::now(), &mut program)
            .map_err(|why| format!("the network rule `{name}` makes no tunnel: {why}"))?;
        known.push(Known { name: name.clone(), watch: far.watch() });
        task::spawn("tunnel", serve(card, far, program))
            .map_err(|e| format!("the tunnel of the network rule `{name}` cannot be served: {e}"))?;
    }
    KNOWN.call_once(|| known);
    Ok(())
}

async fn serve(card: usize, mut far: Far, mut program: Program) {
    loop {
        let outcome = far.exchange(time::now(), &mut program);
        if outcome.card {
            cards::wake(card);
        }
        match outcome.next {
            Next::Now => others_first().await,
            Next::At(at) => rung_or(&mut far, at).await,
            Next::Rung => poll_fn(|context| far.poll_rung(context)).await,
        }
    }
}

async fn others_first() {
    let mut is_second = false;
    poll_fn(|context| {
        if core::mem::replace(&mut is_second, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn rung_or(far: &mut Far, at: Instant) {
    let is_far_off = at.0 > time::now().0.saturating_add(SOON_NS);
    let class = if is_far_off && far.watch().is_up() { Class::AtExit } else { Class::AtInterrupt };
    let mut sleep = pin!(task::sleep_until(at, class));
    poll_fn(|context| match far.poll_rung(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => sleep.as_mut().poll(context),
    })
    .await;
}

/// The program `vpn`, as one tunnel reaches it.
struct Program {
    name: String,
    port: Option<Port>,
}

impl Host for Program {
    fn call(&mut self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        let port = match self.port.take().filter(|port| !port.is_dead()) {
            Some(port) => port,
            None => message::open(abi::vpn::NAME)?,
        };
        self.port.insert(port).call(op, leases)
    }

    fn seed(&mut self) -> Option<Zeroizing<[u8; SEED_BYTES]>> {
        random::seed().map(Zeroizing::new)
    }

    fn tell(&mut self, line: fmt::Arguments<'_>) {
        log::info!("tunnel {}: {line}", self.name);
    }
}

/// All tunnels for people. What the program tells is passed on, but for what would do something to a terminal.
pub fn text(out: &mut dyn fmt::Write) -> fmt::Result {
    const MOST_BYTES: usize = 8 << 10;
    let known = KNOWN.get().map_or(&[][..], Vec::as_slice);
    for (number, Known { name, watch }) in known.iter().enumerate() {
        writeln!(out, "tunnel {name}: {}", if watch.is_up() { "up" } else { "down" })?;
        let mut text = vec![0; MOST_BYTES];
        let op = (number as u64) << op::SHIFT | op::TEXT;
        let answer = message::open(abi::vpn::NAME).and_then(|port| port.call(op, &mut [Lease::Write(&mut text)]));
        match answer {
            Ok(len) => {
                let text = text.get(..len as usize).unwrap_or_default();
                let is_plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
                text.iter().try_for_each(|&byte| out.write_char(if is_plain(byte) { byte.into() } else { '?' }))?;
            }
            Err(error) => writeln!(out, "  its program does not answer: {error}")?,
        }
        let remote::Counters { taken, given, full, down, late, exchanges, losses } = watch.counters();
        writeln!(out, "  program: {exchanges} exchanges, lost {losses} times")?;
        for (side, of) in [("guest", abi::vpn::Side::Guest), ("wire", abi::vpn::Side::Wire)] {
            let [taken, given, full, down, late] = [taken, given, full, down, late].map(|both| *both.of(of));
            writeln!(
                out,
                "  {side}: {taken} frames from it, {given} to it; dropped: {full} full, {down} down, {late} late"
            )?;
        }
    }
    Ok(())
}
