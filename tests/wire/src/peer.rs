//! A real peer in namespaces of the test: wireguard-go, and behind it what a guest talks to.
//!
//! The network outside is 10.66.0.0/24 and fd66::/64: this end has .1 and ::1, gives the rest by DHCP and router advertisements, and
//! answers names. Inside the tunnel it is 10.77.0.1 and fd77::1, and the guest 10.77.0.2 and fd77::2. There are a name server (`peer.test`),
//! iperf3 and HTTP. They answer outside, too: a guest that gets past its tunnel finds them, and is found out by the capture.

use crate::http;
use crate::pcap;
use crate::port::Port;
use crate::relay::Relay;
use crate::space::{Space, ip};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use testbed::program::{bound_command, command, run};

pub const OUTER: &str = "10.66.0.1";
pub const OUTER_IPV6: &str = "fd66::1";
/// The peer's, in the tunnel.
pub const INNER: &str = "10.77.0.1";
pub const INNER_IPV6: &str = "fd77::1";
/// The guest's, in the tunnel.
pub const GUEST: &str = "10.77.0.2";
pub const GUEST_IPV6: &str = "fd77::2";
/// The peer's name, inside; its endpoint's, outside.
pub const NAME: &str = "peer.test";
pub const ENDPOINT_NAME: &str = "endpoint.test";
pub const PORT: u16 = 51820;
/// What wg-quick makes of a wire of 1500.
pub const TUNNEL_MTU: usize = 1420;
/// Device names.
const WIRE: &str = "outer";
const TUNNEL: &str = "wg0";
/// How long a program may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pair of WireGuard keys, in base64.
#[derive(Clone)]
pub struct Keys {
    pub private: String,
    pub public: String,
}

impl Keys {
    pub fn new() -> Result<Self> {
        let private = run(command("wg").arg("genkey"))?.trim().to_owned();
        let public = answer_to(command("wg").arg("pubkey"), &private)?.trim().to_owned();
        Ok(Self { private, public })
    }
}

/// The peer, the wire to it, and its capture; all of it ends with the value.
pub struct Rig {
    // Ends first, or it would find the TAP device gone.
    relay: Relay,
    space: Space<Peer>,
    machine: String,
    dir: PathBuf,
    pub guest: Keys,
    pub peer: Keys,
}

impl Rig {
    /// Logs and captures go to `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        static RIGS: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(dir)?;
        let machine = format!("shoji-wire-{}-{}", std::process::id(), RIGS.fetch_add(1, Relaxed));
        let (guest, peer) = (Keys::new()?, Keys::new()?);
        // A program in another network namespace would not find it there.
        let end = Port::stream(&machine)?;
        let (dir, mine, guest_key) = (dir.to_owned(), peer.clone(), guest.public.clone());
        let (logs, capture) = (dir.clone(), dir.join("wire.pcapng"));
        let space = Space::new(move || Peer::new(&logs, mine, guest_key))?;
        let relay = space.with(move |peer| {
            let wire = peer.wire.take().context("the wire is in use")?;
            Relay::start(end, wire, &capture)
        })?;
        space.with(Peer::start)?;
        Ok(Self { relay, space, machine, dir, guest, peer })
    }

    /// What QEMU's `-netdev` is to be, but for its `id`.
    pub fn netdev(&self) -> String {
        netdev(&self.machine)
    }

    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// The capture of the wire; complete after [`Rig::end`].
    pub fn capture(&self) -> PathBuf {
        self.dir.join("wire.pcapng")
    }

    /// What the guest has handed in by HTTP.
    pub fn handed_in(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.dir.join(HANDED_IN).join(name);
        fs::read(&file).with_context(|| format!("the guest has not handed in {name}"))
    }

    /// Something of the peer's.
    pub fn with<R: Send + 'static>(&self, task: impl FnOnce(&mut Peer) -> Result<R> + Send + 'static) -> Result<R> {
        self.space.with(task)
    }

    /// As [`wg_quick`], for the guest's end.
    pub fn wg_quick(&self, endpoint: &str) -> String {
        wg_quick(&self.guest, &self.peer, endpoint)
    }

    /// Ends everything; then the captures are complete.
    pub fn end(self) -> Result<()> {
        self.relay.stop()
    }
}

/// The file that wg-quick reads at the guest's end; `endpoint` is an address or a name.
pub fn wg_quick(guest: &Keys, peer: &Keys, endpoint: &str) -> String {
    format!(
        "[Interface]\nPrivateKey = {}\nAddress = {GUEST}/24, {GUEST_IPV6}/64\nDNS = {INNER}\n\n[Peer]\nPublicKey = {}\n\
         Endpoint = {endpoint}:{PORT}\nAllowedIPs = 0.0.0.0/0, ::/0\nPersistentKeepalive = 5\n",
        guest.private, peer.public
    )
}

/// What QEMU's `-netdev` is to be, but for its `id`, to connect to a [`Port::stream`].
pub fn netdev(name: &str) -> String {
    format!("stream,server=off,addr.type=unix,addr.abstract=on,addr.path={name}")
}

const HANDED_IN: &str = "handed-in";

/// What is in the namespaces.
pub struct Peer {
    dir: PathBuf,
    keys: Keys,
    guest_key: String,
    wire: Option<Port>,
    wireguard: Option<Program>,
    tcpdump: Option<Program>,
    others: Vec<Program>,
}

impl Peer {
    fn new(dir: &Path, keys: Keys, guest_key: String) -> Result<Self> {
        let wire = Port::tap(WIRE)?;
        // Linux would answer by itself what nobody has asked for.
        ip(&format!("address add {OUTER}/24 dev {WIRE}"))?;
        ip(&format!("-6 address add {OUTER_IPV6}/64 dev {WIRE} nodad"))?;
        ip(&format!("link set {WIRE} up"))?;
        let wire = Some(wire);
        Ok(Self { dir: dir.to_owned(), keys, guest_key, wire, wireguard: None, tcpdump: None, others: Vec::new() })
    }

    fn start(&mut self) -> Result<()> {
        self.start_wireguard()?;
        let names = Program::start(dnsmasq(&self.dir), &self.dir.join("dnsmasq.log"))?;
        let iperf = Program::start(words("iperf3 --server --forceflush"), &self.dir.join("iperf3.log"))?;
        self.others.extend([names, iperf]);
        let folder = self.dir.join(HANDED_IN);
        fs::create_dir_all(&folder)?;
        http::serve("[::]:80", &folder)
    }

    /// wireguard-go, new or again: it has no sessions yet.
    pub fn start_wireguard(&mut self) -> Result<()> {
        let mut go = words(&format!("wireguard-go -f {TUNNEL}"));
        go.env("WG_PROCESS_FOREGROUND", "1").env("LOG_LEVEL", "verbose");
        self.wireguard = Some(Program::start(go, &self.dir.join("wireguard-go.log"))?);
        wait_until("wireguard-go", || Path::new("/run/wireguard/wg0.sock").exists())?;
        self.set_keys(&self.keys.private.clone())?;
        ip(&format!("address add {INNER}/24 dev {TUNNEL}"))?;
        ip(&format!("-6 address add {INNER_IPV6}/64 dev {TUNNEL}"))?;
        ip(&format!("link set {TUNNEL} mtu {TUNNEL_MTU} up"))
    }

    pub fn stop_wireguard(&mut self) {
        self.wireguard = None;
        // It was killed, and could not clear up.
        let _ = fs::remove_file("/run/wireguard/wg0.sock");
    }

    /// Another private key: to the guest's end it is a stranger then.
    pub fn set_keys(&mut self, private: &str) -> Result<()> {
        let allowed = format!("{GUEST}/32,{GUEST_IPV6}/128");
        let port = PORT.to_string();
        let mut wg = command("wg");
        wg.args(["set", TUNNEL, "listen-port", &port, "private-key", "/dev/stdin"]);
        wg.args(["peer", &self.guest_key, "allowed-ips", &allowed]);
        answer_to(&mut wg, private).map(drop)
    }

    /// When the last handshake was.
    pub fn last_handshake(&mut self) -> Result<Option<SystemTime>> {
        let said = run(command("wg").args(["show", TUNNEL, "latest-handshakes"]))?;
        let seconds: u64 = said.split_whitespace().nth(1).context("wg shows no peer")?.parse()?;
        Ok((seconds != 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    /// Handshakes that were answered since the start.
    pub fn handshakes(&mut self) -> Result<usize> {
        let log = fs::read_to_string(self.dir.join("wireguard-go.log"))?;
        Ok(log.matches("Sending handshake response").count())
    }

    /// Captures the packets inside the tunnel from now on.
    pub fn start_capture(&mut self) -> Result<()> {
        let file = self.dir.join(INSIDE);
        let mut tcpdump = words(&format!("tcpdump -i {TUNNEL} -U -B 65536 --immediate-mode -s 0 -Z root -w"));
        tcpdump.arg(&file);
        let log = self.dir.join("tcpdump.log");
        self.tcpdump = Some(Program::start(tcpdump, &log)?);
        wait_until("tcpdump", || fs::read_to_string(&log).is_ok_and(|said| said.contains("listening on")))
    }

    /// The packets since [`Peer::start_capture`].
    pub fn stop_capture(&mut self) -> Result<Vec<Vec<u8>>> {
        let tcpdump = self.tcpdump.take().context("nothing is captured")?;
        tcpdump.interrupt()?;
        let said = fs::read_to_string(self.dir.join("tcpdump.log"))?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "tcpdump has missed packets: {said}");
        pcap::ip_packets(&fs::read(self.dir.join(INSIDE))?)
    }

    /// A program of the peer's side, with what it prints.
    pub fn run(&mut self, line: &str) -> Result<String> {
        let (program, rest) = line.split_once(' ').unwrap_or((line, ""));
        run(command(program).args(rest.split_whitespace()))
    }
}

const INSIDE: &str = "inside.pcap";

/// DHCP and router advertisements outside, names on both sides. Not `--keep-in-foreground`: there it changes its user, and with that loses the
/// tie that ends it with this program.
fn dnsmasq(dir: &Path) -> Command {
    let mut dnsmasq = words("dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --no-ping --pid-file=");
    dnsmasq.args([
        "--bind-dynamic",
        "--log-dhcp",
        "--log-queries",
        "--log-facility=-",
        "--dhcp-authoritative",
        "--enable-ra",
    ]);
    dnsmasq.args([
        &format!("--interface={WIRE}"),
        &format!("--interface={TUNNEL}"),
        &format!("--no-dhcp-interface={TUNNEL}"),
    ]);
    dnsmasq.args(["--dhcp-range=10.66.0.100,10.66.0.199,255.255.255.0,2m", "--dhcp-range=fd66::,ra-only,64"]);
    dnsmasq.arg(format!("--dhcp-leasefile={}", dir.join("leases").display()));
    dnsmasq.args([&format!("--address=/{NAME}/{INNER}"), &format!("--address=/{NAME}/{INNER_IPV6}")]);
    dnsmasq.arg(format!("--address=/{ENDPOINT_NAME}/{OUTER}"));
    dnsmasq
}

/// A program that ends with this one.
fn words(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut bound = bound_command(words.next().unwrap_or_default());
    bound.args(words);
    bound
}

/// A program at work; killed with the value.
struct Program {
    child: Child,
}

impl Program {
    /// What it says is added to `log`.
    fn start(mut command: Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        Ok(Self { child })
    }

    /// As Ctrl-C does; waits for its end.
    fn interrupt(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "a program does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_there() {
        ensure!(Instant::now() < end, "{what} does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Runs a command that reads `input`, which is not to be seen in its arguments.
fn answer_to(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{:?} failed: {wrong}", command.get_program());
    Ok(said.into_owned())
}
