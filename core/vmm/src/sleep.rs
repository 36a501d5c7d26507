//! Sleep of the machine (ACPI Specification 6.5 s. 16.1): what the guest asks for is made by the VMM, which wakes up before it.

use crate::boot::initialise;
use crate::borrowed::Borrowed;
use crate::failure::Failure;
use crate::machine::RealMachine;
use crate::vendor::Vendor;
use crate::world::{NO_MEMORY, World};
use crate::{cpus, home, reset};
use alloc::vec;
use alloc::vec::Vec;
use entry::{Jump, Return, TRAMPOLINE_BYTES};
use exit::{Guest, Machine, SleepPorts, SleepRequest, Vcpu};
use hw::acpi::{self, NoSleep, Original};
use hw::cpus::Cpu;
use hw::{Hpa, cpu, direct, paging, port, time};
use initfunc::Phase;
use mediator::Width;
use sleep::control::WAKE_STATUS;
use sleep::{Facs, State, Unwakeable, WakingVector};
use spin::Mutex;

/// Where SeaBIOS lets the other CPUs begin when it wakes up, and what stands there meanwhile: CLI; HLT; JMP to the HLT. It does not
/// wait for them before it puts back what was there, so that one that comes late would run memory of the guest, outside of it.
const FIRMWARE_START: Hpa = Hpa(0x10000);
const PARK: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];
/// A machine sleeps, or has been woken already, within this time.
const PATIENCE_MS: u64 = 10_000;

const _: () = assert!(TRAMPOLINE_BYTES as u64 <= guest::STUB_BYTES);

/// Guards the guest's way to sleep; before anything else is hooked. `None`: there is no such way.
///
/// # Errors
/// There is one that cannot be guarded.
pub fn guard(guest: &mut Guest, machine: &mut RealMachine) -> Result<Option<acpi::Sleep>, Failure> {
    let told = match acpi::sleep() {
        Ok(told) => told,
        Err(NoSleep::NoAcpi) => return Ok(None),
        Err(NoSleep::NoPorts) => return Err(NO_PORTS.into()),
    };
    let (a, b) = told.control;
    if !told.types.has(State::Off) {
        log::warn!("the firmware names no sleep state that Shoji understands: the guest cannot switch the machine off");
    }
    guest.bus.guard_sleep(machine, SleepPorts { a, b, types: told.types });
    Ok(Some(told))
}

/// How the machine is put to sleep and woken.
pub struct Sleep {
    /// PM1 status registers.
    status: Vec<u16>,
    facs: Vec<Hpa>,
    way: Mutex<Vec<Original>>,
    /// Where the firmware goes on: in the stub's memory, which is no one's but the guest's own BIOS calls'.
    place: Hpa,
    /// The VMM's page tables with the place.
    tables: Hpa,
}

impl Sleep {
    /// `stub` is the segment of the stub in the guest's memory.
    ///
    /// # Errors
    /// No memory is left.
    ///
    /// # Panics
    /// The trampoline does not fit into the page of the stub, which is aligned to KiB only: a defect.
    pub fn new(way: acpi::Sleep, stub: u16) -> Result<Self, Failure> {
        let place = u64::from(stub) << 4;
        assert!(place % paging::KIB_4 + entry::code_bytes() as u64 <= paging::KIB_4, "the trampoline at {place:#x}");
        let tables = paging::with_page_below(paging::root(), place & !(paging::KIB_4 - 1)).ok_or(NO_MEMORY)?;
        let status = [Some(way.status.0), way.status.1].into_iter().flatten().collect();
        Ok(Self { status, facs: way.facs, way: Mutex::new(way.way), place: Hpa(place), tables })
    }

    /// Does what the guest wants. True: the machine has slept, and the guest goes on where it wanted to wake up; else behind its
    /// write.
    ///
    /// # Errors
    /// After waking something does not work any more.
    pub fn perform<V: Vendor>(
        &self,
        world: &World<V>,
        cpu: &Cpu,
        vcpu: &mut V::Vcpu,
        machine: &mut RealMachine,
    ) -> Result<bool, Failure> {
        match world.guest.bus.take_sleep() {
            Some(request) if request.state == State::Suspended => self.suspend(world, cpu, vcpu, machine, &request),
            Some(request) => hw::cpus::while_others_stand(|| self.switch_off(machine, &request)),
            None => Ok(false),
        }
    }

    /// The machine is switched off, or written to a disk by the guest and switched off: it will start anew. Memory may live on for
    /// a while: the keys must not.
    fn switch_off(&self, machine: &mut RealMachine, request: &SleepRequest) -> ! {
        log::info!("the guest switches the machine off");
        self.clear_wake_status();
        home::wipe_heap();
        cpu::write_back_caches();
        request.perform(machine.ports());
        time::wait_ms(PATIENCE_MS);
        reset::machine()
    }

    fn suspend<V: Vendor>(
        &self,
        world: &World<V>,
        cpu: &Cpu,
        vcpu: &mut V::Vcpu,
        machine: &mut RealMachine,
        request: &SleepRequest,
    ) -> Result<bool, Failure> {
        if cpu.number() != 0 {
            // It is the first that the firmware wakes.
            log::warn!("the machine does not sleep: only the guest's first CPU may ask for it");
            return Ok(false);
        }
        let (facs, vector) = match self.waking_vector() {
            Ok(found) => found,
            Err(why) => {
                log::warn!("the machine does not sleep: the guest could not be woken, as {why}");
                return Ok(false);
            }
        };
        log::info!("the machine sleeps");
        initialise(Phase::Suspend)?;
        let frozen = world.guest.bus.on_suspend(machine);
        vcpu.put_away();
        let parked = hw::cpus::while_others_stand(|| self.sleep(&facs, request, machine))?;
        let woken = parked.is_some();
        if let Some(parked) = parked {
            V::enable(&world.features)?;
            initialise(Phase::Resume)?;
            cpus::restart_others()?;
            parked.give_back();
        }
        vcpu.take_up();
        if woken {
            world.guest.bus.on_resume(machine, &frozen);
            world.guest.adopt_local_apic(machine);
            vcpu.wake(self.jump_to(vector));
        }
        log::info!("{}", if woken { "the machine is awake" } else { "the machine did not sleep" });
        Ok(woken)
    }

    /// Where the guest enters to be at `vector` after one instruction, a far jump at the end of the stub. It could enter there by
    /// itself, but the code segment of a vector may look like none to a CPU that checks more than it should: Bochs 2.7 refuses VM
    /// entries in real mode where the low bits of CS are set.
    fn jump_to(&self, vector: WakingVector) -> WakingVector {
        const FAR_JUMP: u8 = 0xea;
        const AT: u16 = guest::STUB_BYTES as u16 - 16;
        let ([ip, ip_high], [segment, segment_high]) = (vector.ip.to_le_bytes(), vector.segment.to_le_bytes());
        let jump = [FAR_JUMP, ip, ip_high, segment, segment_high];
        let at = Hpa(self.place.0 + u64::from(AT));
        // SAFETY: the stub's stack, which nobody uses once the guest has started.
        unsafe { core::ptr::copy_nonoverlapping(jump.as_ptr(), direct::pointer(at), jump.len()) };
        WakingVector { segment: (self.place.0 >> 4) as u16, ip: AT }
    }

    /// Each FACS, and where the guest wants to wake up.
    fn waking_vector(&self) -> Result<(Vec<(Hpa, Facs)>, WakingVector), Unwakeable> {
        // One that is none any more may still be one to the firmware.
        let facs = self.facs.iter().map(|&at| Some((at, Facs::parse(acpi::read_facs(at))?)));
        let facs: Vec<_> = facs.collect::<Option<_>>().ok_or(Unwakeable::None)?;
        // Where there are two the guest uses one of them.
        let mut found = Err(Unwakeable::None);
        for (_, facs) in &facs {
            match facs.waking_vector() {
                Err(Unwakeable::None) => {}
                other => found = Ok(other?),
            }
        }
        Ok((facs, found?))
    }

    /// `Some`: all CPUs were reset, and this one is back; the memory is to be given back when the others are. `None`: the machine
    /// did not sleep, or was woken at once.
    fn sleep(
        &self,
        facs: &[(Hpa, Facs)],
        request: &SleepRequest,
        machine: &mut RealMachine,
    ) -> Result<Option<Borrowed>, Failure> {
        if !self.way.lock().iter().all(Original::restore) {
            log::warn!(
                "the machine does not sleep: the guest has changed the firmware, or its ACPI tables, by which it would be woken"
            );
            return Ok(None);
        }
        // A CPU that stands in the midst of an exit, because it wanted the others to stand as well, would not find back into it.
        if !hw::cpus::all().iter().skip(1).all(|cpu| cpu.return_point().is_some()) {
            log::warn!("the machine does not sleep: another CPU is about to change what all CPUs share");
            return Ok(None);
        }
        let place = Borrowed::take(self.place, TRAMPOLINE_BYTES);
        let parked = Borrowed::take(FIRMWARE_START, PARK.len());
        parked.put(&PARK);
        for (at, facs) in facs {
            acpi::write_facs(*at, facs.with_waking_vector(self.place.0 as u32).bytes());
        }
        self.clear_wake_status();
        // SAFETY: the trampoline comes here after a reset of the CPU, on this stack, whose memory and page tables nobody changes
        // meanwhile, as no other CPU runs.
        let woken = unsafe { entry::leave(|back| self.write_request(back, &place, request, machine)) };
        if woken {
            cpus::settle()?;
            hw::cpus::all().iter().skip(1).for_each(|cpu| cpu.depart());
            hw::cpus::this().forget_kicks();
            // The firmware has changed its own area, before anybody else could.
            self.way.lock().iter_mut().for_each(Original::renew);
        }
        for (at, facs) in facs {
            acpi::write_facs(*at, facs.bytes());
        }
        place.give_back();
        if woken {
            return Ok(Some(parked));
        }
        parked.give_back();
        Ok(None)
    }

    /// Returns when the machine was woken before the CPU was reset, or does not go to sleep.
    fn write_request(&self, back: Return, place: &Borrowed, request: &SleepRequest, machine: &mut RealMachine) {
        let jump = Jump {
            page_tables: self.tables.0 as u32,
            allow_no_execute: cpu::has_no_execute_switch(),
            stack: back.stack,
            argument: 0,
            entry: back.entry,
        };
        let mut trampoline = vec![0; TRAMPOLINE_BYTES];
        // SAFETY: our own bytes, as many as it wants.
        unsafe { entry::install(trampoline.as_mut_ptr(), self.place.0, &jump) };
        place.put(&trampoline);
        cpu::write_back_caches();
        if place.read() != trampoline {
            log::warn!(
                "the machine does not sleep: the memory where Shoji would wake up does not hold what is written there"
            );
            return;
        }
        request.perform(machine.ports());
        let start = time::now().0;
        while !self.is_woken() {
            if time::now().0 - start > PATIENCE_MS * 1_000_000 {
                // It may still fall asleep at any moment, and must not wake up under anybody else.
                log::error!("the machine neither sleeps nor wakes; it is reset");
                reset::machine();
            }
        }
    }

    /// Without it a past waking would be taken for one of the sleep to come.
    fn clear_wake_status(&self) {
        for &status in &self.status {
            // SAFETY: clears the one bit, as the guest does before it sleeps.
            unsafe { port::write(status, Width::Word, WAKE_STATUS.into()) };
        }
    }

    fn is_woken(&self) -> bool {
        // SAFETY: reading has no effect.
        self.status.iter().any(|&status| unsafe { port::read(status, Width::Word) } & u32::from(WAKE_STATUS) != 0)
    }
}

const NO_PORTS: &str = "this machine's ACPI has no PM1 control ports (it is of the hardware-reduced kind), so that Shoji \
                        cannot guard its way to sleep: after it the system would run without Shoji. Use another machine";
