//! An OpenAI-compatible server in front of the Claude Code CLI.
//!
//! # Theory of operation
//!
//! A request becomes an [`answer::Ask`] ([`translate`]), that becomes the prompt of a turn ([`answer`]), and the turn waits
//! in the [`pool`] until an [`invoker`] takes it. An invoker is one
//! CLI process with its pipes, owned by one task; what that task does is decided by a pure state machine
//! ([`invoker::life`]). Which invoker serves, which is replaced and when, is decided by another ([`pool::core`]), which
//! sits behind one lock. Neither knows of processes or clocks, so both are tested with random histories.
//!
//! Each CLI runs below a [`keeper`]: this program once more, as a small process that ends the CLI's whole tree, whatever
//! happens to the CLI, to the server, or to both.
//!
//! # Map
//!
//! From top to bottom; a module uses only those below it (`tests/it/layering.rs`).
//!
//! | file | has |
//! | --- | --- |
//! | `src/command.rs` | the command line, logging, signals, exit codes |
//! | `src/server.rs` | pool and HTTP together, from start to stop |
//! | `src/http.rs` | the routes and layers; what it needs of the pool is the trait [`http::Backend`] |
//! | `src/http/listener.rs` | the accept loop: limits on connections, headers, idle time |
//! | `src/http/chat.rs` `src/http/models.rs` | OpenAI's routes |
//! | `src/http/answering.rs` | runs the turns that an answer takes |
//! | `src/http/sse.rs` | a streamed reply |
//! | `src/http/ops.rs` | health, probes, restarts |
//! | `src/translate.rs` | OpenAI's requests → asks; answers → OpenAI's replies; models' names. Pure |
//! | `src/answer.rs` | what is asked for and what it is answered |
//! | `src/answer/prompt.rs` | an ask → the text of a turn. Pure |
//! | `src/answer/exchange.rs` | a turn's reply → an answer, or the next turn. Pure |
//! | `src/pool.rs` | the lock around the core, the queue's handles, the one task that keeps the time |
//! | `src/pool/core.rs` | who serves next. Pure |
//! | `src/pool/policy.rs` | limits, backoff, failure intensity. Pure |
//! | `src/pool/observer.rs` | the public events of the pool's life |
//! | `src/invoker.rs` | the factory that counts live invokers, and the handle |
//! | `src/invoker/life.rs` | the state table of one invoker. Pure |
//! | `src/invoker/actor.rs` | the task that owns process and pipes |
//! | `src/invoker/reply.rs` | one reply out of its events. Pure |
//! | `src/cli.rs` | how a CLI is started |
//! | `src/cli/codec.rs` | lines of bounded length |
//! | `src/cli/event.rs` | the CLI's JSON, both ways |
//! | `src/runtime.rs` | the private folder that names each instance; the sweep after a crash |
//! | `src/keeper.rs` | the process that ends the tree |
//! | `src/config.rs` `src/openai.rs` `src/turn.rs` `src/process_tree.rs` `src/shutdown.rs` | leaves |
//!
//! # Invariants
//!
//! - At every instant at most `slots` + 1 invokers are live, from before their process is asked for until its tree is
//!   empty. [`invoker::Factory`] counts, the core obeys.
//! - An invoker is gone only when its keeper has exited, and a keeper exits only when the kernel says that it has no
//!   child left.
//! - No lock is held across an `await`; nothing in the pool waits for an invoker, and nothing in an invoker for the pool.
//! - The task of an invoker is never aborted. Every task belongs to a [`shutdown::Tasks`] and is joined.
//! - An ending always has room: two places of a turn's queue are kept for it, however slowly its client reads.
//! - `http` knows nothing of processes, `pool` nothing of HTTP, `invoker` nothing of slots.
//!
//! # Choices
//!
//! - **No reader task.** Lines come through a decoder that keeps what it has read, which makes reading cancel-safe, so
//!   one `select!` serves all pipes. An invoker is one task, and its memory one line and sixteen events.
//! - **A pidfd, not a pipe, ties a keeper to its server.** It needs no inherited descriptor, so nothing can hold it open
//!   by accident. It is opened first and trusted only if the server is still the parent afterwards.
//! - **The pool is a lock, not a task.** Every input is a short, pure step; whoever brings it takes the step. One task
//!   remains, for the clock and the observers.
//! - **One crash costs no wait.** Backoff begins with the second failure in a row: the first one after a turn that worked
//!   is answered at once.
//! - **The standby starts when the turn that reaches 80 % starts**, not when it ends, so that a limit of one turn has its
//!   next process warm as well. After the switch, the old invoker ends its turn; no more turns run than there are slots.
//! - **After an invoker's last turn the conversation is not reset**: nobody will see it.

pub mod answer;
pub mod cli;
pub mod command;
pub mod config;
pub mod http;
pub mod invoker;
pub mod keeper;
pub mod openai;
pub mod pool;
pub mod process_tree;
pub mod runtime;
pub mod server;
pub mod shutdown;
pub mod translate;
pub mod turn;
