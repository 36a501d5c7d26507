//! A network of the test's own: a network and a mount namespace without names, kept by one thread.

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use testbed::program::{command, run};

/// What lives in the namespaces.
type Task<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A thread in namespaces of its own that holds a `T`. Threads and programs that the `T` starts are in them, too. Programs started by
/// `bound_command` end with the thread, whatever ends it.
pub struct Space<T> {
    tasks: Option<Sender<Task<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: 'static> Space<T> {
    /// Makes the namespaces, and the `T` in them.
    pub fn new(make: impl FnOnce() -> Result<T> + Send + 'static) -> Result<Self> {
        let (tasks, receiver) = channel::<Task<T>>();
        let (said, hears) = channel();
        let thread = std::thread::Builder::new().name("space".into()).spawn(move || {
            match enter().and_then(|()| make()) {
                Ok(mut held) => {
                    // Nobody is left to hear it if the test has given up.
                    let _ = said.send(Ok(()));
                    perform(&receiver, &mut held);
                }
                Err(error) => drop(said.send(Err(error))),
            }
        })?;
        let space = Self { tasks: Some(tasks), thread: Some(thread) };
        hears.recv().map_err(|_| anyhow!("the thread of the test's network panicked"))??;
        Ok(space)
    }

    /// Does something in the namespaces.
    pub fn with<R: Send + 'static>(&self, task: impl FnOnce(&mut T) -> Result<R> + Send + 'static) -> Result<R> {
        let (said, hears) = channel();
        let tasks = self.tasks.as_ref().context("the test's network has ended")?;
        let boxed: Task<T> = Box::new(move |held| drop(said.send(task(held))));
        tasks.send(boxed).map_err(|_| anyhow!("the thread of the test's network has ended"))?;
        hears.recv().map_err(|_| anyhow!("the thread of the test's network panicked"))?
    }
}

impl<T> Drop for Space<T> {
    fn drop(&mut self) {
        // The thread ends when nobody can give it tasks.
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn perform<T>(tasks: &Receiver<Task<T>>, held: &mut T) {
    for task in tasks {
        task(held);
    }
}

/// Moves the calling thread, and nobody else of this program.
fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("no namespaces: be root, or start by `unshare --map-root-user --net --mount`")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    // Sockets and process numbers of the programs.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).context("no /run of our own")?;
    ip("link set lo up")
}

/// `ip` with these words.
pub fn ip(words: &str) -> Result<()> {
    run(command("ip").args(words.split(' '))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Result<String> {
        run(command("ip").args(["-o", "link"]))
    }

    #[test]
    fn what_is_made_in_a_space_is_nowhere_else_and_ends_with_it() {
        let make = || ip("link add of_test type dummy").or_else(|_| ip("tuntap add of_test mode tap"));
        let Ok(space) = Space::new(make) else {
            eprintln!("not shown: no namespaces for this user");
            return;
        };
        assert!(space.with(|()| devices()).unwrap().contains("of_test"));
        assert!(!devices().unwrap().contains("of_test"));
        drop(space);
        assert!(!devices().unwrap().contains("of_test"));
    }
}
