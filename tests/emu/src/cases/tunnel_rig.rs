//! A guest with a network card, the wire, the peer, and what is judged afterwards.

use super::inside;
use crate::case::{Boot, Cx, last_failure};
use anyhow::{Context, Result, ensure};
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::time::Duration;
use testbed::disk::{Disk, MARKER};
use testbed::monitor::Monitor;
use testbed::qemu::{CARD_MAC, Chipset, Machine, Writes};
use wire::faults::{Damage, Faults};
use wire::frame::Direction;
use wire::http;
use wire::inner::{self, Summary};
use wire::oracle::{Rules, Verdict, judge};
use wire::pcapng::Reader;
use wire::peer::{self, Keys, Peer, Rig};

/// QEMU's word for a card, what the machine around it is, and the guest's driver.
#[derive(Clone, Copy)]
pub struct Card {
    pub model: &'static str,
    pub chipset: Chipset,
}

pub const E1000: Card = Card { model: "e1000", chipset: Chipset::Pc };
pub const E1000E: Card = Card { model: "e1000e", chipset: Chipset::Q35 };

/// Who makes the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Shoji,
    /// The guest's own kernel: on the bare machine.
    Kernel,
    Nobody,
}

impl By {
    pub fn of(cx: &Cx) -> Self {
        if cx.boot == Boot::Bare { Self::Kernel } else { Self::Shoji }
    }
}

/// The card's address outside, where it is not given by DHCP.
pub const STATIC: &str = "10.66.0.2";

/// What the small guest does, and what is done to it meanwhile.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub card: Card,
    pub by: By,
    /// For the guest's script, `ONE+OTHER`.
    pub steps: &'static str,
    /// Of the download.
    pub bytes: u64,
    /// How often the card is reset.
    pub rounds: u32,
    /// The peer has another key than it should.
    pub stranger: bool,
}

/// What came of it.
pub struct End {
    pub verdict: Verdict,
    /// From the machine, and to it.
    pub damage: [Damage; 2],
    said: String,
    /// What the peer and the guest have captured inside the tunnel.
    inside: Option<[Vec<Vec<u8>>; 2]>,
}

impl Scenario {
    /// By whom, [`Scenario::run`] decides.
    pub fn new(card: Card) -> Self {
        Self { card, by: By::Shoji, steps: "", bytes: 1 << 20, rounds: 3, stranger: false }
    }

    pub fn run(mut self, cx: &Cx) -> Result<End> {
        if self.by == By::Shoji {
            self.by = By::of(cx);
        }
        let rig = Rig::start(&cx.dir.join("wire"))?;
        if self.stranger {
            let other = Keys::new()?.private;
            rig.with(move |peer| peer.set_keys(&other))?;
        }
        let disk = disk_for(cx, &cx.small_disk()?, &rig.wg_quick(&self.endpoint()), WIRE_BY_DHCP)?;
        let qemu = cx.machine(512)?.chipset(self.card.chipset);
        let qemu = qemu.network_card(self.card.model, &rig.netdev(), &cx.dir.join("qemu.pcap"));
        let qemu = qemu.request(&self.request(cx, &rig), cx.boot.how());
        let (qemu, mut monitor) = qemu.ide_disk(0, &disk.path, Writes::Dropped).monitor()?;
        let mut machine = qemu.start()?;
        let inside = self.attend(&mut machine, &mut monitor, &rig)?;
        cx.expect_pass_at_last(&mut machine)?;
        let damage = [Direction::FromMachine, Direction::ToMachine].map(|way| rig.relay().damage(way));
        let said = machine.console.text();
        drop(machine);
        let (capture, rules) = (rig.capture(), self.rules());
        rig.end()?;
        let verdict = judge(rules, Reader::open(&capture)?)?;
        Ok(End { verdict, damage, said, inside })
    }

    /// By its name, which Shoji asks for; the kernel's own tools are given the address.
    fn endpoint(&self) -> String {
        if self.by == By::Shoji { peer::ENDPOINT_NAME } else { peer::OUTER }.to_owned()
    }

    fn request(&self, cx: &Cx, rig: &Rig) -> String {
        let by = match self.by {
            By::Shoji => "shoji".to_owned(),
            By::Kernel => format!("wireguard shoji.key={} shoji.peer={}", rig.guest.private, rig.peer.public),
            By::Nobody => "plain".to_owned(),
        };
        let Self { card, steps, bytes, rounds, .. } = self;
        // Past a tunnel that the guest itself makes there is a way, of course.
        let steps = if self.by == By::Kernel { steps.replace("+past", "") } else { (*steps).to_owned() };
        format!(
            "shoji.test=tunnel shoji.module={} shoji.steps={steps} shoji.bytes={bytes} shoji.rounds={rounds} \
             shoji.seconds={} shoji.net={by}",
            card.model,
            cx.count(2, 5)
        )
    }

    pub fn rules(&self) -> Rules {
        let given = static_rules();
        if self.by == By::Kernel {
            return given;
        }
        let (dns, names) = (vec![address(peer::OUTER)], vec![peer::ENDPOINT_NAME.into()]);
        Rules { dhcp: true, addresses: Vec::new(), dns, names, ..given }
    }

    /// Does what the guest asks the host for, until its verdict. Gives the captures from inside the tunnel, if it has made one.
    fn attend(&self, machine: &mut Machine, monitor: &mut Monitor, rig: &Rig) -> Result<Option<[Vec<Vec<u8>>; 2]>> {
        const WISHES: [&str; 9] = [
            "VERDICT ",
            "HOST unplug",
            "HOST plug",
            "HOST sleep",
            "HOST restart",
            "HOST bad_wire",
            "HOST good_wire",
            "HOST capture",
            "HOST delivered",
        ];
        let mut inside = None;
        loop {
            let (wish, _) = machine.expect_any(&WISHES)?;
            match WISHES[wish] {
                "HOST unplug" => monitor.set_link("card", false)?,
                "HOST plug" => monitor.set_link("card", true)?,
                "HOST sleep" => monitor.wake_up().context("the machine does not sleep")?,
                "HOST restart" => rig.with(|peer| {
                    peer.stop_wireguard();
                    peer.start_wireguard()
                })?,
                "HOST bad_wire" => rig.relay().set_faults(BAD),
                "HOST good_wire" => rig.relay().set_faults(Faults::default()),
                "HOST capture" => rig.with(Peer::start_capture)?,
                "HOST delivered" => {
                    let seen = rig.with(Peer::stop_capture)?;
                    inside = Some([seen, wire::pcap::ip_packets(&rig.handed_in("inner")?)?]);
                }
                _ => return Ok(inside),
            }
            // It does not wait for its own sleep, and hears nothing in it.
            if WISHES[wish] != "HOST sleep" {
                machine.console.send_line("DONE")?;
            }
        }
    }
}

/// One frame in ten is lost, one in ten comes twice, one in five comes after later ones.
const BAD: Faults = Faults {
    cut: false,
    lose_one_in: 10,
    copy_one_in: 10,
    hold_one_in: 5,
    held_back: Duration::from_millis(80),
    delay: Duration::ZERO,
};

/// A card that Shoji's rule names, and the network outside.
pub const WIRE_BY_DHCP: &str = "mtu = 1500\nipv4 = \"dhcp\"\nipv6 = \"off\"\n";
pub const WIRE_STATIC: &str =
    "mtu = 1500\nipv4 = { address = \"10.66.0.2/24\", gateway = \"10.66.0.1\" }\nipv6 = \"off\"\n";

/// The disk, with a rule for the card: this file of wg-quick, on this network.
pub fn disk_for(cx: &Cx, disk: &Disk, wg_quick: &str, wire: &str) -> Result<Disk> {
    let path = cx.dir.join("wg0.conf");
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(wg_quick.as_bytes())?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    inside::changed(cx, disk, &rule(wire))
}

fn rule(wire: &str) -> String {
    format!(
        "\n[[network]]\nname = \"lan\"\ncard = {{ mac = \"{CARD_MAC}\" }}\npolicy = \"tunnel\"\nwireguard = \"wg0.conf\"\n\
         [network.wire]\n{wire}"
    )
}

/// What the machine may say if its address outside is [`STATIC`].
pub fn static_rules() -> Rules {
    let card = CARD_MAC.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap_or(0));
    let mut rules = Rules {
        card: [0; 6],
        peers: vec![SocketAddr::new(address(peer::OUTER), peer::PORT)],
        tunnel_mtu: peer::TUNNEL_MTU,
        addresses: vec![address(STATIC)],
        dhcp: false,
        ipv6: false,
        dns: Vec::new(),
        names: Vec::new(),
        secrets: vec![MARKER.trim().into()],
    };
    rules.card.iter_mut().zip(card).for_each(|(to, from)| *to = from);
    rules
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0; 4]))
}

impl End {
    /// The wire held nothing but the tunnel, and the tunnel was in use.
    pub fn accept(&self) -> Result<()> {
        self.verdict.accept()?;
        let Verdict { sent, arp, .. } = self.verdict;
        let used = self.verdict.data() > 10 && self.verdict.initiations() > 0 && arp > 0;
        ensure!(used && sent > 20, "the capture proves nothing: {:?}", self.verdict);
        Ok(())
    }

    /// As [`End::accept`], where there can be no session.
    pub fn accept_without_data(&self) -> Result<()> {
        self.verdict.accept()?;
        let tried = self.verdict.initiations() > 0 && self.verdict.data() == 0;
        ensure!(tried, "this should have been attempts only: {:?}", self.verdict);
        Ok(())
    }

    /// What the guest has downloaded is what the peer has.
    pub fn downloaded(&self, bytes: u64) -> Result<()> {
        let sum = http::checksum(bytes);
        ensure!(self.said.contains(&format!("SUM {sum}")), "the download has another checksum than {sum}");
        Ok(())
    }

    /// What one end has sent inside the tunnel is what the other has seen; from the guest, and to it. `may_miss`: frames lost on purpose.
    pub fn same_inside(&self, may_miss: [u64; 2], order: bool) -> Result<[Summary; 2]> {
        let [peers, guests] = self.inside.as_ref().context("nothing was captured inside")?;
        let guest = [address(peer::GUEST), address(peer::GUEST_IPV6)];
        let peer = [address(peer::INNER), address(peer::INNER_IPV6)];
        let out = inner::compare(guests, peers, [&guest, &peer], may_miss[0], order).context("from the guest")?;
        let back = inner::compare(peers, guests, [&peer, &guest], may_miss[1], order).context("to the guest")?;
        Ok([out, back])
    }
}

impl Cx {
    /// The guest's verdict has been seen, and how is in what it has said; it powers off.
    fn expect_pass_at_last(&self, machine: &mut Machine) -> Result<()> {
        machine.wait(Duration::from_secs(60).min(self.left()))?;
        let said = machine.console.text();
        ensure!(said.contains("VERDICT pass"), "the guest says: {}", last_failure(&said));
        Ok(())
    }
}
