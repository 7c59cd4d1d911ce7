//! Runs `async-openai` for `tests/clients/run`: one JSON object a line, each way, as `tests/clients/node/worker.mjs` does.
//!
//! `{"id": 1, "client": "async-openai", "op": "text", "env": {"base": …, "prompt": …}}` is answered with
//! `{"id": 1, "saw": …}` or `{"id": 1, "raised": …}`; `{"cancel": 1}` drops what is under way, and
//! `{"id": 1, "piece": true}` says that a stream has begun.

use std::collections::HashMap;
use std::io::{BufRead, Write};

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::mpsc;

mod chat;
mod responses;
mod told;

use told::{Env, Operation, Result, words};

/// What a key of a line is for is said above.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Cancel { cancel: u64 },
    Ask { id: u64, op: String, env: told::Given },
}

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<()> {
    let operations: HashMap<&str, Operation> = chat::OPERATIONS.iter().chain(responses::OPERATIONS).copied().collect();
    let ops: Vec<&str> = operations.keys().copied().collect();
    say(
        &json!({"clients": [{"key": "async-openai", "name": format!("async-openai {} (Rust)", version()), "ops": ops}]}),
    )?;

    let (line_sent, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(std::result::Result::ok);
        // The loop below ends only after the last line.
        lines.map(|line| line_sent.blocking_send(line)).find(std::result::Result::is_err)
    });
    let mut running = FuturesUnordered::new();
    let mut handles: HashMap<u64, AbortHandle> = HashMap::new();
    loop {
        let (id, outcome) = tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { return Ok(()) };
                match serde_json::from_str(&line)? {
                    Line::Cancel { cancel } => if let Some(handle) = handles.get(&cancel) { handle.abort() },
                    Line::Ask { id, op, env } => {
                        let operation = operations.get(op.as_str()).ok_or_else(|| format!("there is no operation {op}"))?;
                        let (handle, registration) = AbortHandle::new_pair();
                        handles.insert(id, handle);
                        let asked = Abortable::new(operation(Env::new(id, env)), registration);
                        running.push(async move { (id, asked.await) });
                    }
                }
                continue;
            }
            Some(done) = running.next() => done,
        };
        handles.remove(&id);
        say(&match outcome {
            Ok(Ok(saw)) => json!({"id": id, "saw": saw}),
            Ok(Err(error)) => json!({"id": id, "raised": words(error.as_ref()), "trace": error.to_string()}),
            Err(_) => json!({"id": id, "cancelled": true}),
        })?;
    }
}

/// Writes a line.
fn say(message: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}

/// The version that this program was built with.
fn version() -> &'static str {
    let pinned = include_str!("../../../Cargo.lock").split("[[package]]\nname = \"async-openai\"\nversion = \"").nth(1);
    pinned.and_then(|rest| rest.split('"').next()).unwrap_or("of an unknown version")
}
