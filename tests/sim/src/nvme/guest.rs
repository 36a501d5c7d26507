//! A driver in the guest, as Linux and SeaBIOS have them: by interrupts or by polling.

use super::command::{Entry, Reply};
use super::machine::NvmeMachine;

/// A request did not come to its end, or to a good one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nothing came.
    Timeout,
    /// The controller's status.
    Status(u16),
}

/// A queue pair of the guest's.
#[derive(Clone, Debug)]
pub struct Queue {
    pub id: u16,
    pub sq: u64,
    pub cq: u64,
    pub size: u32,
    pub tail: u32,
    pub head: u32,
    pub phase: bool,
    /// Looks at the completion queue at any time, not only after an interrupt.
    pub polls: bool,
}

/// A queue of `size` entries with the number `id`; its memory is below 2 MiB.
impl Queue {
    pub fn new(id: u16, size: u32, polls: bool) -> Self {
        let at = 0x10_0000 + 0x1_0000 * u64::from(id);
        Self { id, sq: at, cq: at + 0x8000, size, tail: 0, head: 0, phase: true, polls }
    }
}

/// READ of blocks into guest memory described by two PRP entries.
pub fn read(nsid: u32, lba: u64, blocks: u32) -> Entry {
    Entry::new(2, nsid).with_qword(10, lba).dword(12, blocks - 1)
}

/// WRITE of blocks.
pub fn write(nsid: u32, lba: u64, blocks: u32) -> Entry {
    Entry::new(1, nsid).with_qword(10, lba).dword(12, blocks - 1)
}

/// The driver's own state; the machine is given at each call.
#[derive(Default)]
pub struct NvmeGuest {
    /// By number.
    pub queues: Vec<Queue>,
    next_id: u16,
    /// Completions that were seen and not asked for.
    pub seen: Vec<(u16, Reply)>,
}

/// Steps of the device until a request is given up.
const PATIENCE: u32 = 200;

impl NvmeGuest {
    /// Disables the controller and enables it again, with admin queues of `size` entries.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub fn enable(&mut self, machine: &mut NvmeMachine, size: u32, polls: bool) -> Result<(), Failure> {
        self.disable(machine)?;
        let admin = Queue::new(0, size, polls);
        let zeros = vec![0; 0x8000];
        machine.ram.poke(admin.cq, &zeros);
        machine.write(0x24, (size - 1) | (size - 1) << 16);
        machine.write(0x28, admin.sq as u32);
        machine.write(0x2c, 0);
        machine.write(0x30, admin.cq as u32);
        machine.write(0x34, 0);
        machine.write(0x14, 1 | 6 << 16 | 4 << 20);
        self.queues = vec![admin];
        self.wait_ready(machine, 1)
    }

    /// Disables the controller.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub fn disable(&mut self, machine: &mut NvmeMachine) -> Result<(), Failure> {
        let now = machine.read(0x14);
        machine.write(0x14, now & !1);
        self.queues.clear();
        self.seen.clear();
        self.wait_ready(machine, 0)
    }

    fn wait_ready(&self, machine: &mut NvmeMachine, ready: u32) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            if machine.read(0x1c) & 1 == ready {
                return Ok(());
            }
            machine.tick();
        }
        Err(Failure::Timeout)
    }

    /// Creates a queue pair.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn create(&mut self, machine: &mut NvmeMachine, queue: Queue) -> Result<(), Failure> {
        let Queue { id, size, polls, .. } = queue;
        machine.ram.poke(queue.cq, &vec![0; 0x8000]);
        let interrupts = if polls { 1 } else { 3 };
        let number = u32::from(id) | (size - 1) << 16;
        let cq = Entry::new(5, 0).prps(queue.cq, 0).dword(10, number).dword(11, interrupts | u32::from(id) << 16);
        self.admin(machine, cq)?;
        let sq = Entry::new(1, 0).prps(queue.sq, 0).dword(10, number).dword(11, 1 | u32::from(id) << 16);
        self.admin(machine, sq)?;
        self.queues.push(queue);
        Ok(())
    }

    /// Deletes the queue pair of this number.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn delete(&mut self, machine: &mut NvmeMachine, id: u16) -> Result<(), Failure> {
        self.admin(machine, Entry::new(0, 0).dword(10, id.into()))?;
        self.admin(machine, Entry::new(4, 0).dword(10, id.into()))?;
        self.queues.retain(|queue| queue.id != id);
        Ok(())
    }

    /// An admin command, waited for.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn admin(&mut self, machine: &mut NvmeMachine, entry: Entry) -> Result<u32, Failure> {
        let id = self.submit(machine, 0, entry);
        self.wait(machine, 0, id)
    }

    /// A command of an I/O queue, waited for.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn io(&mut self, machine: &mut NvmeMachine, queue: u16, entry: Entry) -> Result<u32, Failure> {
        let id = self.submit(machine, queue, entry);
        self.wait(machine, queue, id)
    }

    /// Puts a command into a queue and rings; gives its identifier.
    pub fn submit(&mut self, machine: &mut NvmeMachine, queue: u16, entry: Entry) -> u16 {
        let id = self.put(machine, queue, entry);
        self.ring(machine, queue);
        id
    }

    /// Puts a command into a queue.
    ///
    /// # Panics
    /// When there is no such queue.
    pub fn put(&mut self, machine: &mut NvmeMachine, queue: u16, entry: Entry) -> u16 {
        let id = self.next_id;
        self.next_id = (self.next_id + 1) % 0x8000;
        let queue = self.queues.iter_mut().find(|it| it.id == queue).expect("a queue");
        let entry = entry.dword(0, entry.0[0] & 0xffff | u32::from(id) << 16);
        machine.ram.poke(queue.sq + 64 * u64::from(queue.tail), &entry.bytes());
        queue.tail = (queue.tail + 1) % queue.size;
        id
    }

    /// Writes the tail.
    ///
    /// # Panics
    /// When there is no such queue.
    pub fn ring(&mut self, machine: &mut NvmeMachine, queue: u16) {
        let tail = self.queues.iter().find(|it| it.id == queue).expect("a queue").tail;
        machine.write(0x1000 + 8 * u32::from(queue), tail);
    }

    /// Waits for a command.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn wait(&mut self, machine: &mut NvmeMachine, queue: u16, id: u16) -> Result<u32, Failure> {
        for _ in 0..PATIENCE {
            self.look(machine);
            if let Some(at) = self.seen.iter().position(|(q, reply)| *q == queue && reply.id == id) {
                let (_, reply) = self.seen.remove(at);
                return if reply.status == 0 { Ok(reply.result) } else { Err(Failure::Status(reply.status)) };
            }
            machine.tick();
        }
        Err(Failure::Timeout)
    }

    /// What the guest does at any time: its interrupt handlers, and polling.
    pub fn look(&mut self, machine: &mut NvmeMachine) {
        while let Some(vector) = machine.take_interrupt() {
            self.handle(machine, vector);
        }
        for id in self.queues.iter().filter(|queue| queue.polls).map(|queue| queue.id).collect::<Vec<_>>() {
            self.handle(machine, id);
        }
    }

    /// The interrupt handler of a queue: takes what is there, and then tells how far it came.
    pub fn handle(&mut self, machine: &mut NvmeMachine, vector: u16) {
        let Some(queue) = self.queues.iter_mut().find(|queue| queue.id == vector) else { return };
        let before = queue.head;
        loop {
            let reply = Reply::parse(machine.ram.peek(queue.cq + 16 * u64::from(queue.head), 16));
            if reply.phase != queue.phase {
                break;
            }
            self.seen.push((queue.id, reply));
            queue.head = (queue.head + 1) % queue.size;
            queue.phase ^= queue.head == 0;
        }
        if queue.head != before {
            let (id, head) = (queue.id, queue.head);
            machine.write(0x1004 + 8 * u32::from(id), head);
        }
    }
}
