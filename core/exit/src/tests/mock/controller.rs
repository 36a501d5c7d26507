//! A scripted controller: of disks, or a network card.

use super::*;

type OnAccess = Box<dyn FnMut(&mut Ctx<'_>, Access) -> Result<Verdict, Violation> + Send>;
type OnConfig = Box<dyn FnMut(&mut Ctx<'_>, ConfigAccess) -> Result<Verdict, Violation> + Send>;
type OnString = Box<dyn FnMut(&mut Ctx<'_>, RegionId, u32, StringIo<'_>) -> Result<usize, Violation> + Send>;
type OnResume = Box<dyn FnMut(&mut Ctx<'_>) + Send>;
type OnWorkDone = Box<dyn FnMut(&mut Ctx<'_>, Work, Result<(), WorkError>) + Send>;

/// What the test wants the mediator to do.
pub struct Script {
    pub on_access: OnAccess,
    pub on_config: OnConfig,
    pub on_string: OnString,
    pub on_work_done: OnWorkDone,
    pub on_resume: OnResume,
    /// Its answer to `passing_reads`.
    pub passing: Arc<AtomicU8>,
    pub on_interrupt: OnResume,
    /// The guest learns of completions from memory alone, and this is its answer to `wants_interrupts`.
    pub wants: Option<Arc<AtomicBool>>,
    /// Instead of [`PORTS`].
    pub regions: Option<Vec<Region>>,
    pub windows: Vec<Window>,
    /// It is a network card, and not a controller of disks.
    pub card: Option<CardScript>,
}

/// Of a network card.
#[derive(Clone, Default)]
pub struct CardScript {
    /// Nanoseconds; 0: none.
    pub deadline: Arc<AtomicU64>,
    pub polls: Arc<AtomicUsize>,
}

/// Passes everything.
impl Default for Script {
    fn default() -> Self {
        Self {
            on_access: Box::new(|_, _| Ok(Verdict::Passthrough)),
            on_config: Box::new(|_, _| Ok(Verdict::Passthrough)),
            on_string: Box::new(|_, _, _, _| Err(Violation { what: "no strings", detail: 0 })),
            on_work_done: Box::new(|_, _, _| {}),
            on_resume: Box::new(|_| {}),
            passing: Arc::default(),
            on_interrupt: Box::new(|_| {}),
            wants: None,
            regions: None,
            windows: Vec::new(),
            card: None,
        }
    }
}

struct MockController(Arc<Mutex<Script>>);

impl Mediator for MockController {
    fn name(&self) -> &str {
        "mock 00:01.1"
    }
    fn on_access(&mut self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        (self.0.lock().unwrap().on_access)(cx, access)
    }
    fn on_string(&mut self, cx: &mut Ctx<'_>, id: RegionId, offset: u32, io: StringIo<'_>) -> Result<usize, Violation> {
        (self.0.lock().unwrap().on_string)(cx, id, offset, io)
    }
    fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation> {
        (self.0.lock().unwrap().on_config)(cx, access)
    }
    fn completions(&self) -> Completions {
        match self.0.lock().unwrap().wants {
            Some(_) => Completions::MemoryOnly,
            None => Completions::TrappedRegister,
        }
    }
    fn wants_interrupts(&self) -> bool {
        self.0.lock().unwrap().wants.as_ref().is_some_and(|wants| wants.load(Ordering::SeqCst))
    }
    fn on_interrupt(&mut self, cx: &mut Ctx<'_>) {
        (self.0.lock().unwrap().on_interrupt)(cx);
    }
    fn passing_reads(&self) -> u8 {
        self.0.lock().unwrap().passing.load(Ordering::Relaxed)
    }
    fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        (self.0.lock().unwrap().on_resume)(cx);
    }
    fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: Work, result: Result<(), WorkError>) {
        (self.0.lock().unwrap().on_work_done)(cx, work, result);
    }

    fn as_disks(&mut self) -> Option<&mut dyn DiskController> {
        self.card().is_none().then_some(self)
    }

    fn as_card(&mut self) -> Option<&mut dyn NetController> {
        self.card().is_some().then_some(self)
    }
}

impl MockController {
    fn card(&self) -> Option<CardScript> {
        self.0.lock().unwrap().card.clone()
    }
}

impl NetController for MockController {
    fn card(&self) -> CardInfo {
        CardInfo { mac: [2, 0, 0, 0, 0, 1], link_up: true }
    }
    fn set_policy(&mut self, _: &mut Ctx<'_>, _: NetPolicy) -> Result<(), PolicyError> {
        Ok(())
    }
    fn poll(&mut self, _: &mut Ctx<'_>) {
        self.card().unwrap().polls.fetch_add(1, Ordering::Relaxed);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let at = self.card()?.deadline.load(Ordering::Relaxed);
        (at != 0).then_some(Instant(at))
    }
    fn counters(&self) -> CardCounters {
        CardCounters::default()
    }
}

impl DiskController for MockController {
    fn disks(&self) -> Vec<DiskInfo> {
        Vec::new()
    }
    fn read_before_guest(&mut self, _: &mut Ctx<'_>, _: usize, _: u64, _: &mut [u8]) -> Result<(), DiskError> {
        Err(DiskError::Request)
    }
    fn set_ranges(&mut self, _: usize, _: Arc<dyn RangeMap>) -> Result<(), DiskError> {
        Err(DiskError::Request)
    }
}

std::thread_local! {
    static NEXT: RefCell<Option<Arc<Mutex<Script>>>> = const { RefCell::new(None) };
}

pub const IDE: Function = Function {
    bdf: Bdf { bus: 0, device: 1, function: 1 },
    vendor: 0x8086,
    device: 0x7010,
    class: 1,
    subclass: 1,
    prog_if: 0x80,
};

/// Command block 1F0-1F7, control block 3F6, bus master at C000-C00F.
pub const COMMAND: RegionId = RegionId(0);
pub const BUS_MASTER: RegionId = RegionId(2);

fn regions(_: &Function, _: &mut dyn Device) -> Vec<Region> {
    NEXT.with_borrow(|next| next.as_ref().and_then(|script| script.lock().unwrap().regions.clone()))
        .unwrap_or(PORTS.into())
}

const PORTS: [Region; 3] = [
    Region { region: COMMAND, place: Some(Place::Port(0x1f0)), len: 8, polled: Some(7) },
    Region { region: RegionId(1), place: Some(Place::Port(0x3f6)), len: 1, polled: Some(0) },
    Region { region: BUS_MASTER, place: Some(Place::Port(0xc000)), len: 16, polled: Some(2) },
];

fn attach(function: &Function, cx: &mut Ctx<'_>) -> Result<Attached, AttachError> {
    let Attached { controller, regions, windows } = take(function, cx)?;
    Ok(Attached { controller, regions, windows })
}

fn attach_card(function: &Function, cx: &mut Ctx<'_>) -> Result<Attached<dyn NetController>, AttachError> {
    let Attached { controller, regions, windows } = take(function, cx)?;
    Ok(Attached { controller, regions, windows })
}

fn take(function: &Function, cx: &mut Ctx<'_>) -> Result<Attached<MockController>, AttachError> {
    let regions = regions(function, cx.device);
    let script = NEXT.take().ok_or(AttachError("no script"))?;
    // The registers are reachable, though not hooked.
    cx.device.read(COMMAND, 7, Width::Byte);
    let windows = core::mem::take(&mut script.lock().unwrap().windows);
    Ok(Attached { controller: Box::new(MockController(script)), regions, windows })
}

pub static DRIVER: Driver = Driver { name: "mock", matches: |_| true, regions, attach };
pub static CARD_DRIVER: Driver<dyn NetController> =
    Driver { name: "mock card", matches: |_| true, regions, attach: attach_card };

/// The next controller that is attached follows `script`.
pub fn set_next(script: Script) {
    NEXT.set(Some(Arc::new(Mutex::new(script))));
}
