use crate::{Class, Executor, MAX_TASKS, MAX_TIMERS, Machine, POLLS, Plan, SpawnError, State, TICK};
use core::future::poll_fn;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicU64, AtomicUsize};
use core::task::{Poll, Waker};
use core::time::Duration;
use mediator::Instant;
use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

const MS: u64 = 1_000_000;

/// A machine whose time and running CPU the test tells.
#[derive(Default)]
struct Rig {
    cpu: AtomicUsize,
    now: AtomicU64,
    kicks: Mutex<Vec<usize>>,
}

impl Machine for Rig {
    fn cpu(&self) -> usize {
        self.cpu.load(SeqCst)
    }

    fn now(&self) -> Instant {
        Instant(self.now.load(SeqCst))
    }

    fn kick(&self, cpu: usize) {
        self.kicks.lock().unwrap().push(cpu);
    }
}

fn rig(cpus: usize) -> (&'static Rig, &'static Executor) {
    let rig: &'static Rig = Box::leak(Box::default());
    (rig, Box::leak(Box::new(Executor::new(rig, cpus))))
}

/// Counts how often it was there, and waits for `millis` in between.
fn counting(
    executor: &'static Executor,
    millis: u64,
    class: Class,
) -> (Arc<AtomicU64>, impl Future<Output = ()> + Send) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let task = async move {
        loop {
            executor.sleep(Duration::from_millis(millis), class).await;
            counter.fetch_add(1, SeqCst);
        }
    };
    (count, task)
}

/// Is ready whenever it is woken, and keeps its waker where the test finds it.
fn woken(count: &Arc<AtomicU64>, waker: &Arc<Mutex<Option<Waker>>>) -> impl Future<Output = ()> + Send + use<> {
    let (count, waker) = (Arc::clone(count), Arc::clone(waker));
    poll_fn(move |context| {
        count.fetch_add(1, SeqCst);
        *waker.lock().unwrap() = Some(context.waker().clone());
        Poll::Pending
    })
}

#[test]
fn nothing_to_do_is_a_word_of_zero() {
    let (_, executor) = rig(1);
    let word = executor.word(0).unwrap();
    assert_eq!((word.load(SeqCst), executor.serve()), (0, None));
    executor.spawn_on(0, "short", async {}).unwrap();
    assert_ne!(word.load(SeqCst), 0);
    assert_eq!(executor.serve(), Some(Plan::default()));
    assert_eq!((word.load(SeqCst), executor.list()), (0, Vec::new()));
    assert!(executor.word(1).is_none());
}

#[test]
fn a_sleep_is_over_in_time_and_the_plan_tells_its_class() {
    for (class, at_interrupt, hard) in
        [(Class::AtExit, false, false), (Class::AtInterrupt, true, false), (Class::Hard, false, true)]
    {
        let (rig, executor) = rig(1);
        let (count, task) = counting(executor, 5, class);
        executor.spawn_on(0, "sleeper", task).unwrap();
        let plan = |until| Some(Plan { at_interrupt, at: hard.then_some(Instant(until)) });
        assert_eq!(executor.serve(), plan(5 * MS));
        rig.now.store(5 * MS - 1, SeqCst);
        assert_eq!((executor.serve(), count.load(SeqCst)), (None, 0));
        rig.now.store(5 * MS, SeqCst);
        assert_eq!((executor.serve(), count.load(SeqCst)), (plan(10 * MS), 1));
    }
}

#[test]
fn the_plan_is_for_the_first_of_many_timers() {
    let (rig, executor) = rig(1);
    let counts: Vec<_> = [(7, Class::Hard), (3, Class::Hard), (2, Class::AtExit), (9, Class::AtInterrupt)]
        .into_iter()
        .map(|(millis, class)| {
            let (count, task) = counting(executor, millis, class);
            executor.spawn_on(0, "sleeper", task).unwrap();
            count
        })
        .collect();
    for now in 0..100_000_u64 {
        rig.now.store(now * MS / 10, SeqCst);
        let plan = executor.serve();
        assert!(plan.is_none_or(|plan| plan.at_interrupt && plan.at.is_some_and(|at| at.0 > now * MS / 10)));
    }
    let counts: Vec<u64> = counts.iter().map(|count| count.load(SeqCst)).collect();
    assert_eq!(counts, [1428, 3333, 4999, 1111]);
}

#[test]
fn a_cpu_polls_a_few_tasks_an_exit_each_in_its_turn_and_comes_back_for_the_rest() {
    let (_, executor) = rig(1);
    let counts: Vec<_> = (0..MAX_TASKS)
        .map(|_| {
            let count = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&count);
            let busy = poll_fn(move |context| {
                counter.fetch_add(1, SeqCst);
                context.waker().wake_by_ref();
                Poll::Pending
            });
            executor.spawn_on(0, "busy", busy).unwrap();
            count
        })
        .collect();
    for _ in 0..MAX_TASKS * 10 {
        let tick = Instant(TICK.as_nanos() as u64);
        assert_eq!(executor.serve(), Some(Plan { at_interrupt: false, at: Some(tick) }));
    }
    assert!(counts.iter().all(|count| count.load(SeqCst) == 10 * POLLS as u64));
}

#[test]
fn the_number_of_tasks_is_bounded_and_places_are_used_again() {
    let (_, executor) = rig(2);
    let never = || core::future::pending::<()>();
    for _ in 0..MAX_TASKS {
        executor.spawn_on(1, "never", never()).unwrap();
    }
    assert_eq!(executor.spawn_on(1, "one more", never()), Err(SpawnError::TooMany));
    assert_eq!(executor.spawn_on(2, "nowhere", never()), Err(SpawnError::NoCpu));
    for _ in 0..1000 {
        executor.spawn_on(0, "short", async {}).unwrap();
        executor.serve();
    }
    assert_eq!(executor.list().len(), MAX_TASKS);
}

#[test]
fn a_task_woken_by_another_cpu_has_its_own_kicked_once() {
    let (rig, executor) = rig(2);
    let (count, waker) = (Arc::default(), Arc::default());
    executor.spawn_on(1, "woken", woken(&count, &waker)).unwrap();
    assert_eq!(*rig.kicks.lock().unwrap(), [1]);
    executor.serve();
    assert_eq!(count.load(SeqCst), 0, "it is not this CPU's");
    rig.cpu.store(1, SeqCst);
    executor.serve();
    assert_eq!(count.load(SeqCst), 1);
    let waker: Waker = waker.lock().unwrap().clone().unwrap();
    rig.cpu.store(0, SeqCst);
    waker.wake_by_ref();
    waker.wake_by_ref();
    assert_eq!(*rig.kicks.lock().unwrap(), [1, 1]);
    rig.cpu.store(1, SeqCst);
    waker.wake_by_ref();
    executor.serve();
    assert_eq!((count.load(SeqCst), rig.kicks.lock().unwrap().len()), (2, 2));
}

#[test]
fn waking_a_task_that_has_ended_harms_nobody() {
    let (_, executor) = rig(1);
    let (count, waker) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None::<Waker>)));
    let mut first = Box::pin(woken(&count, &waker));
    let once = poll_fn(move |context| {
        let _ = first.as_mut().poll(context);
        Poll::Ready(())
    });
    executor.spawn_on(0, "once", once).unwrap();
    executor.serve();
    let waker = waker.lock().unwrap().take().unwrap();
    waker.wake_by_ref();
    executor.serve();
    let (other, task) = counting(executor, 5, Class::Hard);
    executor.spawn_on(0, "in its place", task).unwrap();
    executor.serve();
    waker.wake();
    executor.serve();
    assert_eq!((count.load(SeqCst), other.load(SeqCst)), (1, 0));
}

#[test]
fn a_sleep_that_is_dropped_leaves_no_timer() {
    let (_, executor) = rig(1);
    executor
        .spawn_on(0, "impatient", async move {
            let mut sleep = Box::pin(executor.sleep(Duration::from_secs(9), Class::Hard));
            poll_fn(|context| {
                assert!(sleep.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(sleep);
            core::future::pending::<()>().await;
        })
        .unwrap();
    assert_eq!(executor.serve(), Some(Plan::default()));
    assert_eq!(executor.word(0).unwrap().load(SeqCst), 0);
}

#[test]
fn more_timers_than_there_is_room_for_are_polled_instead() {
    let (rig, executor) = rig(1);
    let over = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&over);
    executor
        .spawn_on(0, "greedy", async move {
            let sleep = |_| Box::pin(executor.sleep(Duration::from_millis(5), Class::AtExit));
            let mut sleeps: Vec<_> = (0..MAX_TIMERS + 10).map(sleep).collect();
            poll_fn(|context| {
                sleeps.retain_mut(|sleep| sleep.as_mut().poll(context).is_pending());
                if sleeps.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            counter.store(1, SeqCst);
        })
        .unwrap();
    for now in 0..=5 {
        rig.now.store(now * MS, SeqCst);
        assert!(executor.serve().is_some(), "it is always ready");
    }
    assert_eq!((over.load(SeqCst), executor.list().len()), (1, 0));
}

#[test]
fn the_list_tells_who_does_what() {
    let (rig, executor) = rig(2);
    executor.spawn_on(1, "ready", async {}).unwrap();
    executor
        .spawn_on(0, "looks", async move {
            let list = executor.list();
            assert_eq!((list[0].name, list[0].state, list[0].cpu), ("looks", State::Running, 0));
            assert_eq!((list[1].name, list[1].state, list[1].cpu), ("ready", State::Ready, 1));
            rig.now.store(3 * MS, SeqCst);
            core::future::pending::<()>().await;
        })
        .unwrap();
    executor.serve();
    let looked = &executor.list()[0];
    assert_eq!((looked.state, looked.polls, looked.time), (State::Waiting, 1, Duration::from_millis(3)));
}

/// Each CPU a thread; all wake each other's tasks at random. No wake is lost.
#[test]
fn wakes_among_many_cpus_are_not_lost() {
    struct Threads;
    std::thread_local!(static CPU: core::cell::Cell<usize> = const { core::cell::Cell::new(0) });
    impl Machine for Threads {
        fn cpu(&self) -> usize {
            CPU.get()
        }

        fn now(&self) -> Instant {
            Instant(0)
        }

        fn kick(&self, _: usize) {}
    }
    const CPUS: usize = 4;
    const ROUNDS: u64 = 20_000;
    let executor: &'static Executor = Box::leak(Box::new(Executor::new(&Threads, CPUS)));
    // A ring: each task takes its token, and hands it on to the next CPU's.
    let tokens: Arc<[(AtomicU64, Mutex<Option<Waker>>); CPUS]> = Arc::default();
    let done = Arc::new(AtomicU64::new(0));
    for cpu in 0..CPUS {
        let (tokens, done) = (Arc::clone(&tokens), Arc::clone(&done));
        let task = async move {
            for _ in 0..ROUNDS {
                poll_fn(|context| {
                    *tokens[cpu].1.lock().unwrap() = Some(context.waker().clone());
                    let taken = tokens[cpu].0.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1));
                    if taken.is_ok() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                let (count, waker) = &tokens[(cpu + 1) % CPUS];
                count.fetch_add(1, SeqCst);
                if let Some(waker) = waker.lock().unwrap().as_ref() {
                    waker.wake_by_ref();
                }
            }
            done.fetch_add(1, SeqCst);
        };
        executor.spawn_on(cpu, "ring", task).unwrap();
    }
    tokens[0].0.store(1, SeqCst);
    let threads: Vec<_> = (0..CPUS)
        .map(|cpu| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                CPU.set(cpu);
                let word = executor.word(cpu).unwrap();
                while done.load(SeqCst) < CPUS as u64 {
                    if word.load(SeqCst) != 0 {
                        executor.serve();
                    } else {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
