//! An OpenAI-compatible server in front of the Claude Code CLI.
//!
//! # Theory of operation
//!
//! [`translate`] turns a request into a [`answer::ChatRequest`], [`answer`] turns that into the prompt of a turn, and the turn
//! waits in the [`pool`] for an [`invoker`]. An invoker is one CLI process with its pipes, owned by one task; a pure state
//! machine (`invoker::life`) decides what that task does. Another one (`pool::core`), behind a lock, decides which
//! invoker serves and which is replaced. Neither has processes or clocks, so both are tested with random histories.
//!
//! Each CLI runs below a [`keeper`]: this program as a small process of its own that ends the CLI's whole process tree,
//! whatever happens to the CLI or to the server.
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
//! | `src/http/auth.rs` `src/http/keys.rs` | who may ask, and how much |
//! | `src/http/chat.rs` `src/http/responses.rs` `src/http/models.rs` | OpenAI's routes |
//! | `src/http/turn_loop.rs` | runs the turns that an answer takes |
//! | `src/http/sse.rs` | a streamed reply |
//! | `src/http/ops.rs` | health, probes, metrics, restarts |
//! | `src/http/trace.rs` | one request's id, log line and count |
//! | `src/http/error.rs` | every refusal: status, code, and whether to try again |
//! | `src/metrics.rs` | counters and histograms, bounded by construction; OpenMetrics text |
//! | `src/translate.rs` | OpenAI's requests → chat requests; answers → OpenAI's replies; models' names. Pure |
//! | `src/answer.rs` | what is asked for and what it is answered |
//! | `src/answer/prompt.rs` | an ask → the text of a turn. Pure |
//! | `src/answer/exchange.rs` | a turn's reply → an answer, or the next turn. Pure |
//! | `src/pool.rs` | the lock around the core, the entries of the queue, the task for clock and observers |
//! | `src/pool/core.rs` | which invoker serves, which is replaced, and when. Pure |
//! | `src/pool/policy.rs` | limits, backoff, circuit breaker. Pure |
//! | `src/pool/observer.rs` | events of the pool for logs and metrics |
//! | `src/invoker.rs` | the factory that counts live invokers, and the handle |
//! | `src/invoker/life.rs` `src/invoker/reason.rs` | the state machine of one invoker, and the reasons for its end. Pure |
//! | `src/invoker/actor.rs` | the task that owns the process and its pipes |
//! | `src/invoker/binding.rs` | which turn a line of the CLI belongs to. Pure |
//! | `src/invoker/reply.rs` | assembles one reply from its events. Pure |
//! | `src/claude.rs` | command line and environment of a CLI |
//! | `src/claude/account.rs` | billing: which variables of the environment reach the CLI. Pure |
//! | `src/claude/endpoint.rs` | the API address that the environment sets |
//! | `src/claude/quota.rs` | how long requests are held after a used-up quota. Pure |
//! | `src/claude/system_prompt.rs` | the file with the system prompt |
//! | `src/claude/codec.rs` | splits a stream into lines of bounded length |
//! | `src/claude/event.rs` | the CLI's JSON, both ways |
//! | `src/runtime.rs` | the private folder of each server; cleans up after servers that were killed |
//! | `src/keeper.rs` | the process that ends a CLI's process tree |
//! | `src/config.rs` | every option and its default; `src/config/file.rs` and `src/config/keys.rs` read files |
//! | `src/openai.rs` | the shapes of OpenAI's API; `src/openai/reading.rs` reads them strictly, and says in plain words what is wrong |
//! | `src/logging.rs` | the log's queue and thread; the filter of `--log` (`src/logging/filter.rs`) |
//! | `src/descriptors.rs` | the limit of open files, divided between connections and CLIs |
//! | `src/turn.rs` `src/shutdown.rs` `src/clock.rs` `src/allocator.rs` `src/text.rs` | used by all of the above |
//!
//! # A request's path
//!
//! | step | file |
//! | --- | --- |
//! | the listener accepts the connection, with a deadline for each part of an exchange | `src/http/listener.rs` `src/http/stream.rs` |
//! | the request gets an id, and at its end a log line and its metrics | `src/http/trace.rs` |
//! | the API key is checked, and its limits are applied | `src/http/auth.rs` `src/http/keys.rs` |
//! | the body is read and parsed strictly | `src/http/chat.rs` `src/http/body.rs` `src/openai/reading.rs` `src/openai/chat.rs` |
//! | it becomes a `ChatRequest`; what can't be honoured is noted or refused | `src/translate/chat.rs` `src/translate/params.rs` |
//! | its model is looked up, its first turn composed | `src/http/turn_loop.rs` `src/translate/models.rs` `src/answer/prompt.rs` |
//! | the turn waits in the queue for an invoker | `src/http/metered.rs` `src/pool.rs` `src/pool/core.rs` |
//! | the CLI gets the model, then the prompt; its events come back | `src/invoker/life.rs` `src/invoker/actor.rs` `src/claude/event.rs` |
//! | pieces are passed on, or held back as long as they may be calls or a stop | `src/answer/stream_filter.rs` |
//! | the whole is held against what was wanted; if need be the next turn is asked | `src/answer/exchange.rs` `src/answer/validator.rs` |
//! | the reply is written as JSON or as server-sent events | `src/translate/chat.rs` `src/http/sse.rs` |
//! | meanwhile the invoker clears its conversation and is ready again, or is replaced | `src/invoker/life.rs` `src/pool/policy.rs` |
//!
//! `POST /v1/responses` differs only in its first and last steps: `src/http/responses.rs`, `src/openai/responses.rs` and
//! `src/translate/responses.rs` stand beside those of chat.
//!
//! # Invariants
//!
//! - At every instant at most `slots` + 1 invokers are live. An invoker counts from before its process is started until its
//!   process tree is empty. [`invoker::Factory`] counts, the core keeps the limit.
//! - An invoker is gone only when its keeper has exited, and a keeper exits only when the kernel reports that it has no
//!   child left (`ECHILD`).
//! - No lock is held across an `await`; nothing in the pool waits for an invoker, and nothing in an invoker for the pool.
//! - The task of an invoker is never aborted. Every task belongs to a [`shutdown::Tasks`] and is joined.
//! - A reply has no byte of another turn, in any isolation mode: a line that does not belong to the running turn ends the process.
//! - The end of a turn never waits for a slow client: two entries of the turn's event queue are reserved for it.
//! - Serving and stopping never wait for the reader of stderr. Only the log's own thread writes there.
//! - `http` knows nothing of processes, `pool` nothing of HTTP, `invoker` nothing of slots.
//!
//! # Choices
//!
//! - **No reader task.** The line decoder keeps its partial input, so reading is cancel-safe and one `select!` serves all pipes. An
//!   invoker is one task, and its memory is bounded by one line and sixteen events.
//! - **A pidfd, not a pipe, ties a keeper to its server.** No descriptor is inherited, so no other process can hold it
//!   open by accident. The keeper opens it first and trusts it only if the server is still its parent afterwards.
//! - **The pool is a lock, not a task.** Every input is a short, pure step that its source takes itself under the lock. One
//!   task remains, for the clock and the observers.
//! - **One crash costs no wait.** Backoff begins with the second failure in a row; after the first one, a new CLI starts at
//!   once.
//! - **The standby starts when the turn that reaches 80 % starts**, not when it ends, so that a limit of one turn has its
//!   next process warm as well. After the switch the old invoker finishes its turn; never more turns run than slots.
//! - **A shutdown goes from the outside to the inside.** The listener closes; accepted requests get their answers from a pool
//!   that works as before (second turns, restarts, retries); then, or at the deadline, the pool stops.
//! - **After an invoker's last turn the conversation is not reset**: it ends with the process.

pub mod allocator;
pub mod answer;
pub mod check;
pub mod claude;
mod clock;
pub mod command;
pub mod config;
mod descriptors;
pub mod http;
pub mod invoker;
pub mod keeper;
pub mod logging;
mod metrics;
pub mod openai;
pub mod pool;
pub mod runtime;
pub mod server;
pub mod shutdown;
mod text;
pub mod translate;
pub mod turn;
