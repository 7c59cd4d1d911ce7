//! The server's face: OpenAI's API over HTTP/1.1, and what operators ask.
//!
//! A request goes through three layers, outermost first:
//!
//! 1. `trace` gives it an id, turns a panic into one failed request, and writes one log line when its reply has ended.
//! 2. `guard` refuses foreign hosts, foreign origins and wrong keys before the body is read.
//! 3. The router: `chat` for completions, `models` for the list of them, `ops` for probes, health and restarts. Whatever
//!    they refuse is an `error::ApiError`.
//!
//! A request for a reply is read (`body`), becomes an [`Ask`](crate::answer::Ask), is answered (`answering`: the turns it
//! takes), and is written as one object or as events (`sse`).
//!
//! Below them, `listener` accepts connections and puts a limit on how many there are and on how long each may take over
//! a header, a write and its end; `stream` is a socket with deadlines.
//!
//! This layer knows nothing of processes or of the CLI's JSON: all it has of them is a [`Backend`]. Nothing here holds
//! more than one event of a turn at a time, so a client that reads slowly slows its turn down. A client that goes away
//! drops its [`Turn`], which ends the turn.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::pool::status::PoolStatus;
use crate::pool::{Pool, TreeMemory, Turn};
use crate::shutdown::Tasks;
use crate::translate::models::Catalogue;
use crate::turn::{Prompt, TurnError};

mod answering;
mod body;
mod chat;
mod error;
mod guard;
mod listener;
mod models;
mod ops;
mod sse;
mod stream;
mod trace;

#[cfg(test)]
mod tests;

/// What the HTTP layer needs of the pool.
///
/// A future of this trait is dropped when its client goes away; that must give up whatever it waits for.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Queues a turn and waits until an invoker has taken it.
    fn turn(&self, prompt: Prompt) -> impl Future<Output = Result<Turn, TurnError>> + Send;

    /// A snapshot of the pool, cheap to take.
    fn status(&self) -> PoolStatus;

    /// The memory of the server and of everything it started.
    fn memory(&self) -> TreeMemory;

    /// Restarts every slot's invoker; ends when all have switched, and tells how many did.
    fn restart(&self) -> impl Future<Output = usize> + Send;
}

impl Backend for Pool {
    fn turn(&self, prompt: Prompt) -> impl Future<Output = Result<Turn, TurnError>> + Send {
        Self::turn(self, prompt)
    }

    fn status(&self) -> PoolStatus {
        Self::status(self)
    }

    fn memory(&self) -> TreeMemory {
        Self::memory(self)
    }

    fn restart(&self) -> impl Future<Output = usize> + Send {
        Self::restart(self)
    }
}

/// How long the parts of an exchange may take. They are constants in the product; tests shorten them.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// From a header's first byte (or the connection, for the first one) to its end.
    header: Duration,
    /// From one reply to the next request on a kept connection. Longer than clients keep idle connections themselves
    /// (Go and reqwest 90 s, Python and Node less), because the side that closes first must be the one that knows
    /// whether it is about to send: closed from here, a request already on its way would be lost.
    idle: Duration,
    /// For a whole request body.
    body: Duration,
    /// Without the client taking a single byte.
    write: Duration,
    /// Silence in a stream before a comment is sent, so that nobody between takes it for dead.
    keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            body: Duration::from_mins(1),
            write: Duration::from_mins(1),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// What every handler shares.
struct App<B> {
    config: Arc<Config>,
    backend: B,
    models: Catalogue,
    limits: Limits,
    started: Instant,
}

impl<B: Backend> App<B> {
    fn new(config: Arc<Config>, backend: B, limits: Limits) -> Self {
        let models = Catalogue::new(&config.model, &config.model_alias, unix_now());
        Self { config, backend, models, limits, started: Instant::now() }
    }

    /// The names of the models that the CLI has told.
    #[expect(clippy::unused_self, reason = "the pool does not tell them yet")]
    fn known_models(&self) -> Vec<String> {
        Vec::new()
    }
}

/// In seconds since 1970-01-01 UTC.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Serves HTTP on `listener` until `tasks` is told to stop, then lets running requests finish for
/// `config.stop_timeout`, then drops what is left. When it returns no connection is open.
///
/// Connections run as tasks of `tasks`. The backend has to go on serving until this returns: requests that it took
/// before the stop are still waiting for it.
pub async fn serve<B: Backend>(listener: TcpListener, config: Arc<Config>, backend: B, tasks: Tasks) {
    serve_within(listener, config, backend, tasks, Limits::default()).await;
}

async fn serve_within<B: Backend>(
    listener: TcpListener,
    config: Arc<Config>,
    backend: B,
    tasks: Tasks,
    limits: Limits,
) {
    let app = Arc::new(App::new(Arc::clone(&config), backend, limits));
    let doors = listener::Doors {
        all: layers(everything(), &app),
        reserve: layers(
            probes().fallback(ops::too_many_connections).method_not_allowed_fallback(ops::wrong_method),
            &app,
        ),
    };
    listener::run(listener, doors, &config, limits, &tasks).await;
}

fn everything<B: Backend>() -> Router<Arc<App<B>>> {
    probes()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/admin/restart", post(ops::restart))
        .fallback(ops::unknown_path)
        .method_not_allowed_fallback(ops::wrong_method)
}

fn probes<B: Backend>() -> Router<Arc<App<B>>> {
    Router::new().route("/health", get(ops::health)).route("/livez", get(ops::live)).route("/readyz", get(ops::ready))
}

fn layers<B: Backend>(router: Router<Arc<App<B>>>, app: &Arc<App<B>>) -> Router {
    router
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::admit))
        .layer(middleware::from_fn(trace::follow))
        .with_state(Arc::clone(app))
}
