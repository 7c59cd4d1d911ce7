//! An OpenAI-compatible server in front of the Claude Code CLI.
//!
//! # Theory of operation
//!
//! A request becomes an [`answer::Ask`] ([`translate`]), that becomes the prompt of a turn ([`answer`]), and the turn waits
//! in the [`pool`] until an [`invoker`] takes it. An invoker is one CLI process with its pipes, owned by one task; what
//! that task does is decided by a pure state machine ([`invoker::life`]). Which invoker serves, which is replaced and when,
//! is decided by another ([`pool::core`]), which sits behind one lock. Neither knows of processes or clocks, so both are
//! tested with random histories.
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
//! | `src/command.rs` | verbs, signals, exit codes; `src/command/arguments.rs` puts flags, variables and file together |
//! | `src/check.rs` | whether what is configured works, step by step |
//! | `src/server.rs` | pool and HTTP together, from start to stop |
//! | `src/http.rs` | the routes and layers; what it needs of the pool is the trait [`http::Backend`] |
//! | `src/http/listener.rs` | the accept loop: limits on connections, headers, idle time; places that are kept for probes |
//! | `src/http/body.rs` `src/http/budget.rs` | reads bodies; the memory that all of them share |
//! | `src/http/guard.rs` `src/http/keys.rs` | who may ask, and how much |
//! | `src/http/chat.rs` `src/http/responses.rs` `src/http/models.rs` | OpenAI's routes |
//! | `src/http/answering.rs` | runs the turns that an answer takes |
//! | `src/http/sse.rs` | a streamed reply |
//! | `src/http/ops.rs` | health, probes, metrics, restarts |
//! | `src/http/trace.rs` | one request's id, log line and count |
//! | `src/http/error.rs` | every refusal: status, code, and whether to try again |
//! | `src/metrics.rs` | counters and histograms, bounded by construction; OpenMetrics text |
//! | `src/translate.rs` | OpenAI's requests → asks; answers → OpenAI's replies; models' names. Pure |
//! | `src/answer.rs` | what is asked for and what it is answered |
//! | `src/answer/prompt.rs` | an ask → the text of a turn. Pure |
//! | `src/answer/exchange.rs` | a turn's reply → an answer, or the next turn. Pure |
//! | `src/pool.rs` | the lock around the core, the queue's handles, the one task that keeps the time |
//! | `src/pool/core.rs` | who serves next. Pure |
//! | `src/pool/policy.rs` | limits, backoff, circuit breaker. Pure |
//! | `src/pool/observer.rs` | the public events of the pool's life |
//! | `src/invoker.rs` | the factory that counts live invokers, and the handle |
//! | `src/invoker/life.rs` `src/invoker/reason.rs` | the state table of one invoker, and why it ends. Pure |
//! | `src/invoker/actor.rs` | the task that owns process and pipes |
//! | `src/invoker/binding.rs` | which turn a line of the CLI belongs to. Pure |
//! | `src/invoker/reply.rs` | one reply out of its events. Pure |
//! | `src/claude.rs` | how a CLI is started |
//! | `src/claude/account.rs` | whose money it spends: what it may see of the environment. Pure |
//! | `src/claude/endpoint.rs` | where its requests go, if the environment says so |
//! | `src/claude/quota.rs` | how long a used-up quota is believed to last. Pure |
//! | `src/claude/system_prompt.rs` | the file with the system prompt |
//! | `src/claude/codec.rs` | lines of bounded length |
//! | `src/claude/event.rs` | the CLI's JSON, both ways |
//! | `src/runtime.rs` | the private folder that names each instance; the sweep after a crash |
//! | `src/keeper.rs` | the process that ends the tree |
//! | `src/config.rs` | every option and its default; `src/config/file.rs` and `src/config/keys.rs` read files |
//! | `src/openai.rs` | the shapes of OpenAI's API; `src/openai/reading.rs` reads them strictly, and says in plain words what is wrong |
//! | `src/logging.rs` | the log's queue and its thread; what is logged (`src/logging/filter.rs`) |
//! | `src/descriptors.rs` | the limit of open files, and who gets how many |
//! | `src/turn.rs` `src/shutdown.rs` `src/clock.rs` `src/allocator.rs` `src/text.rs` | leaves |
//!
//! # A request's path
//!
//! | step | file |
//! | --- | --- |
//! | a connection is taken, with deadlines for each part of an exchange | `src/http/listener.rs` `src/http/stream.rs` |
//! | the request gets its id; at the end its log line and its counts | `src/http/trace.rs` |
//! | its key is found, and kept to its limits | `src/http/guard.rs` `src/http/keys.rs` |
//! | its body is read, as the shapes of its API | `src/http/chat.rs` `src/http/body.rs` `src/openai/reading.rs` `src/openai/chat.rs` |
//! | it becomes an `Ask`; what can't be honoured is noted or refused | `src/translate/chat.rs` `src/translate/params.rs` |
//! | its model is looked up, its first turn composed | `src/http/answering.rs` `src/translate/models.rs` `src/answer/prompt.rs` |
//! | the turn waits for an invoker | `src/http/metered.rs` `src/pool.rs` `src/pool/core.rs` |
//! | the CLI is told the model, then the prompt; its events come back | `src/invoker/life.rs` `src/invoker/actor.rs` `src/claude/event.rs` |
//! | pieces are passed on, or held back as long as they may be calls or a stop | `src/answer/passing.rs` |
//! | the whole is held against what was wanted; if need be the next turn is asked | `src/answer/exchange.rs` `src/answer/contract.rs` |
//! | the reply is written, whole or as events | `src/translate/chat.rs` `src/http/sse.rs` |
//! | meanwhile the invoker forgets the conversation, and is ready again or replaced | `src/invoker/life.rs` `src/pool/policy.rs` |
//!
//! `POST /v1/responses` differs in its first and last steps alone: `src/http/responses.rs`, `src/openai/responses.rs` and
//! `src/translate/responses.rs` stand beside those of chat.
//!
//! # Invariants
//!
//! - At every instant at most `slots` + 1 invokers are live, from before their process is asked for until its tree is
//!   empty. [`invoker::Factory`] counts, the core obeys.
//! - An invoker is gone only when its keeper has exited, and a keeper exits only when the kernel says that it has no
//!   child left.
//! - No lock is held across an `await`; nothing in the pool waits for an invoker, and nothing in an invoker for the pool.
//! - The task of an invoker is never aborted. Every task belongs to a [`shutdown::Tasks`] and is joined.
//! - A reply has no byte of another turn, in any isolation mode: a line that does not fit the running turn ends its process.
//! - An ending always has room: two places of a turn's queue are kept for it, however slowly its client reads.
//! - Serving and stopping never wait for whoever reads stderr. Only the log's own thread writes there.
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
//! - **A stop goes from the outside to the inside.** The door closes, whoever is in gets an answer from a pool that works as
//!   ever (a second turn, a restart, a retry), and only then, or at the deadline, the pool ends.
//! - **After an invoker's last turn the conversation is not reset**: nobody will see it.

pub mod allocator;
pub mod answer;
pub mod check;
pub mod claude;
mod clock;
pub mod command;
pub mod config;
pub mod descriptors;
pub mod http;
pub mod invoker;
pub mod keeper;
pub mod logging;
pub mod metrics;
pub mod openai;
pub mod pool;
pub mod runtime;
pub mod server;
pub mod shutdown;
mod text;
pub mod translate;
pub mod turn;
