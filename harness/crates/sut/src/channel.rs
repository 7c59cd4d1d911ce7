//! The server's end of the stats channel: a thread of its own, so that asking moves nothing in the runtime, with
//! buffers that are made once.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cc_openai_wrapper::pool::Pool;
use cc_openai_wrapper::shutdown::SpawnCounts;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::profiler::Profiler;
use leakgate_session::channel::{Listening, PROFILE, Profiled, Restarted};
use leakgate_session::stats::{self, Stats};

/// Longer than any answer.
const ANSWER_CAPACITY_BYTES: usize = 16 * 1024;

/// The shortest time that the runtime's timer knows.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

struct Server {
    pool: Pool,
    runtime: Handle,
    profiler: Option<Profiler>,
    spawned: Vec<SpawnCounts>,
    answer: Vec<u8>,
}

/// Says where the server listens, then answers until stdin ends or says `stop`; `stop` is sent then.
pub fn spawn_channel(
    address: SocketAddr,
    pool: Pool,
    profiler: Option<Profiler>,
    spawned: Vec<SpawnCounts>,
    stop: oneshot::Sender<()>,
) -> io::Result<JoinHandle<()>> {
    let mut server = Server {
        pool,
        runtime: Handle::current(),
        profiler,
        spawned,
        answer: Vec::with_capacity(ANSWER_CAPACITY_BYTES),
    };
    thread::Builder::new().name("stats".to_owned()).spawn(move || {
        // A reader that is gone is answered like one that says `stop`.
        let _ = server.serve(address);
        let _ = stop.send(());
    })
}

impl Server {
    fn serve(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut requests = io::stdin().lock();
        let mut line = String::with_capacity(ANSWER_CAPACITY_BYTES);
        self.send_answer(&Listening { listening: address })?;
        loop {
            line.clear();
            let length = requests.read_line(&mut line)?;
            match line.trim_end() {
                "stats" => {
                    let stats = self.stats();
                    self.send_answer(&stats)?;
                }
                "restart" => {
                    let restarted = self.runtime.block_on(self.pool.restart()) as u64;
                    self.send_answer(&Restarted { restarted })?;
                }
                "" if length > 0 => {}
                other => match other.strip_prefix(PROFILE) {
                    Some(path) => {
                        let profiled = self.set_profile(path.trim_start());
                        self.send_answer(&Profiled { profiled })?;
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    /// Whether a profile of stacks is on now: to be written to `path`, if there is one.
    fn set_profile(&mut self, path: &str) -> bool {
        match &mut self.profiler {
            Some(profiler) if path.is_empty() => profiler.stop_stacks(),
            Some(profiler) => profiler.start_stacks(Path::new(path)),
            None => {}
        }
        self.profiler.is_some() && !path.is_empty()
    }

    fn stats(&self) -> Stats<cc_openai_wrapper::pool::status::PoolStatus> {
        // tokio frees what belonged to a closed descriptor at the next turn of its driver, and an idle server has none: two
        // blocks of the last descriptors would come and go. A timer makes it turn.
        self.runtime.block_on(async { tokio::time::sleep(TIMER_RESOLUTION).await });
        // The heap first: what the answer itself needs is not counted.
        let heap = self.profiler.as_ref().map(Profiler::heap);
        let alive = self.spawned.iter().flat_map(SpawnCounts::alive_by_site);
        let spawned = alive.map(|(at, alive)| stats::Spawned { at, alive: alive as u64 }).collect();
        Stats { tasks: self.runtime.metrics().num_alive_tasks() as u64, spawned, heap, pool: self.pool.status() }
    }

    fn send_answer(&mut self, answer: &impl Serialize) -> io::Result<()> {
        self.answer.clear();
        serde_json::to_writer(&mut self.answer, answer)?;
        self.answer.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.answer)?;
        stdout.flush()
    }
}
