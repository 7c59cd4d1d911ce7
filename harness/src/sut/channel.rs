//! The server's end of the stats channel: a thread of its own, so that asking moves nothing in the runtime, with
//! buffers that are made once.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cc_openai_wrapper::pool::Pool;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::target::channel::{Listening, Restarted};
use crate::target::stats::{Heap, Stats};

/// Longer than any answer.
const BUFFER: usize = 16 * 1024;

/// The shortest time that the runtime's timer knows.
const TURN: Duration = Duration::from_millis(1);

struct Server {
    pool: Pool,
    runtime: Handle,
    profiled: bool,
    answer: Vec<u8>,
}

/// Says where the server listens, then answers until stdin ends or says `stop`; `stop` is sent then.
pub fn start(address: SocketAddr, pool: Pool, profiled: bool, stop: oneshot::Sender<()>) -> io::Result<JoinHandle<()>> {
    let mut server = Server { pool, runtime: Handle::current(), profiled, answer: Vec::with_capacity(BUFFER) };
    thread::Builder::new().name("stats".to_owned()).spawn(move || {
        // A reader that is gone is answered like one that says `stop`.
        let _ = server.serve(address);
        let _ = stop.send(());
    })
}

impl Server {
    fn serve(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut requests = io::stdin().lock();
        let mut line = String::with_capacity(BUFFER);
        self.answer(&Listening { listening: address })?;
        loop {
            line.clear();
            let length = requests.read_line(&mut line)?;
            match line.trim_end() {
                "stats" => {
                    let stats = self.stats();
                    self.answer(&stats)?;
                }
                "restart" => {
                    let restarted = self.runtime.block_on(self.pool.restart()) as u64;
                    self.answer(&Restarted { restarted })?;
                }
                "" if length > 0 => {}
                _ => return Ok(()),
            }
        }
    }

    fn stats(&self) -> Stats<cc_openai_wrapper::pool::status::PoolStatus> {
        // tokio frees what belonged to a closed descriptor at the next turn of its driver, and an idle server has none: two
        // blocks of the last descriptors would come and go. A timer makes it turn.
        self.runtime.block_on(async { tokio::time::sleep(TURN).await });
        // The heap first: what the answer itself needs is not counted.
        let heap = self.profiled.then(heap);
        Stats { tasks: self.runtime.metrics().num_alive_tasks() as u64, heap, pool: self.pool.status() }
    }

    fn answer(&mut self, answer: &impl Serialize) -> io::Result<()> {
        self.answer.clear();
        serde_json::to_writer(&mut self.answer, answer)?;
        self.answer.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.answer)?;
        stdout.flush()
    }
}

fn heap() -> Heap {
    let stats = dhat::HeapStats::get();
    Heap { blocks: stats.curr_blocks as u64, bytes: stats.curr_bytes as u64 }
}
