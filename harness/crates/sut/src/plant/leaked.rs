//! The resources that a planted leak holds.

use std::fs::File;
use std::io;
use std::iter::repeat_n;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use cc_openai_wrapper::invoker::{Factory, Invoker};
use cc_openai_wrapper::shutdown::{SpawnCounts, Tasks};
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Kind, Spec};

/// Room made at the start, so that keeping a thing costs no heap beyond the thing itself.
const CAPACITY: usize = 4096;
/// The bytes of one leaked block.
const DEFAULT_BLOCK_BYTES: usize = 64;
/// The words that a growing vector gains at a time.
const DEFAULT_WORDS: usize = 64;
/// The bytes of one slow step. An allocation of this size comes from the allocator's heap and not from an mmap.
const DEFAULT_SLOW_BYTES: usize = 16 * 1024;
/// How long a leaked process lives if nobody ends it.
const LIFETIME_SECONDS: &str = "600";

/// The leaked resources of each kind.
#[derive(Debug)]
pub struct Leaked {
    invokers: Vec<Invoker>,
    children: Vec<Child>,
    fds: Vec<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    tasks: Tasks,
    blocks: Vec<Box<[u8]>>,
    words: Vec<u64>,
    over: Arc<AtomicBool>,
}

impl Leaked {
    /// No leaked resource, with room reserved for later ones.
    #[must_use]
    pub fn new() -> Self {
        Self {
            invokers: Vec::with_capacity(CAPACITY),
            children: Vec::with_capacity(CAPACITY),
            fds: Vec::with_capacity(CAPACITY),
            threads: Vec::with_capacity(CAPACITY),
            tasks: Tasks::new(),
            blocks: Vec::with_capacity(CAPACITY),
            words: Vec::new(),
            over: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Where the planted tasks were spawned.
    #[must_use]
    pub fn spawn_counts(&self) -> SpawnCounts {
        self.tasks.spawn_counts()
    }

    /// Takes one more of `kind`. Called within the runtime.
    pub fn take(&mut self, spec: Spec, restart: u64, factory: Option<&Factory>) -> io::Result<()> {
        match spec.kind {
            Kind::KeptInvoker => {
                let factory = factory.ok_or_else(|| io::Error::other("the server has not started yet"))?;
                self.invokers.push(factory.start_invoker());
            }
            Kind::Process => self.children.push(spawn_sleep(&[LIFETIME_SECONDS])?),
            Kind::Zombie => self.children.push(spawn_sleep(&["0"])?),
            Kind::Fd => self.fds.push(File::open("/dev/null")?.into()),
            Kind::FdPipe => self.fds.extend(<[OwnedFd; 2]>::from(pipe_with(PipeFlags::CLOEXEC)?)),
            Kind::FdSocket => self.fds.extend(<[UnixStream; 2]>::from(UnixStream::pair()?).map(OwnedFd::from)),
            Kind::FdAnon => self.fds.push(eventfd(0, EventfdFlags::CLOEXEC)?),
            Kind::Thread => self.threads.push(idle_thread(Arc::clone(&self.over))?),
            Kind::Task => drop(self.tasks.spawn(self.tasks.wait_for_stop())),
            Kind::HeapBlock => self.blocks.push(vec![1; spec.bytes.unwrap_or(DEFAULT_BLOCK_BYTES)].into_boxed_slice()),
            Kind::HeapBytes => self.words.extend(repeat_n(restart, words_per_strike(spec))),
            Kind::Slow => self.blocks.push(vec![1; spec.bytes.unwrap_or(DEFAULT_SLOW_BYTES)].into_boxed_slice()),
            Kind::File | Kind::FileLeft => {
                std::fs::write(std::env::temp_dir().join(format!("planted-{restart}")), b"leak")?;
            }
            // Dropped, and so never waited for: whoever adopts it will find it.
            Kind::Orphan => drop(spawn_sleep(&[LIFETIME_SECONDS, "--own-session"])?),
        }
        Ok(())
    }

    /// Gives everything back, except for files and orphans.
    pub fn release(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread that only waits has nothing to panic about.
            let _ = thread.join();
        }
        for mut child in self.children.drain(..) {
            // Fails only for one that has ended already; reaping it is what counts.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.invokers.clear();
        self.tasks.stop();
        self.fds.clear();
        self.blocks.clear();
        self.words.clear();
    }
}

impl Default for Leaked {
    fn default() -> Self {
        Self::new()
    }
}

/// The words that one strike adds to the vector.
fn words_per_strike(spec: Spec) -> usize {
    spec.bytes.map_or(DEFAULT_WORDS, |bytes| bytes / size_of::<u64>())
}

fn spawn_sleep(args: &[&str]) -> io::Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "leaked on purpose: this is what the gate has to see")]
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("sleep").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn idle_thread(over: Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("planted".to_owned()).spawn(move || {
        while !over.load(Ordering::Relaxed) {
            thread::park();
        }
    })
}
