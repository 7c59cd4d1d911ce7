//! OpenAI's API over HTTP/1.1, and the routes for operators.
//!
//! A request goes through three layers, outermost first:
//!
//! 1. `trace` gives it an id, turns a panic into one failed request, and counts it and writes one log line when its reply
//!    has ended.
//! 2. `auth` refuses foreign hosts, foreign origins and wrong keys before the body is read, and keeps each key to its
//!    limits, which are in `keys`.
//! 3. The router: `chat` for completions, `responses` for OpenAI's newer form of them, `models` for the list of models,
//!    `ops` for probes, health, metrics and restarts. Every rejection is an `error::ApiError`. `metered` counts their turns.
//!
//! A request for a reply is read (`body`), becomes an [`ChatRequest`](crate::answer::ChatRequest), is answered (`turn_loop`: the turns it
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

use crate::claude::account::Account;
use crate::config::{Config, Key};
use crate::metrics::Metrics;
use crate::pool::status::PoolStatus;
use crate::pool::{Pool, TreeMemory, Turn};
use crate::shutdown::Tasks;
use crate::translate::models::Catalogue;
use crate::turn::{Model, Prompt, TurnError};

pub use listener::EXTRA_CONNECTIONS;

mod auth;
mod body;
mod budget;
mod chat;
mod error;
mod keys;
mod listener;
mod metered;
mod models;
mod ops;
mod path;
mod responses;
mod sse;
mod stream;
mod trace;
mod turn_loop;

#[cfg(test)]
mod tests;

/// The pool as the HTTP layer sees it.
///
/// A future of this trait is dropped when its client goes away; that must give up whatever it waits for.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Queues a turn and waits until an invoker has taken it.
    fn turn(&self, prompt: Prompt) -> impl Future<Output = Result<Turn, TurnError>> + Send;

    /// A snapshot of the pool, cheap to take.
    fn status(&self) -> PoolStatus;

    /// The billed account.
    fn account(&self) -> Account;

    /// The models that the CLI offers; none before it has told.
    fn models(&self) -> Vec<Model>;

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

    fn account(&self) -> Account {
        Self::account(self)
    }

    fn models(&self) -> Vec<Model> {
        Self::models(self)
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
struct Timeouts {
    /// From a header's first byte (or the connection, for the first one) to its end.
    header: Duration,
    /// From one reply to the next request on a kept connection. Longer than clients keep idle connections themselves
    /// (Go and reqwest 90 s, Python and Node less), because the side that closes first must be the one that knows
    /// whether it is about to send: closed from here, a request already on its way would be lost.
    idle: Duration,
    /// For a whole request body.
    body: Duration,
    /// The time in which a request body has to bring [`body::MIN_WINDOW_BYTES`] bytes, or it is slow.
    body_window: Duration,
    /// Without the client taking a single byte.
    write: Duration,
    /// Silence in a stream before a comment is sent, so that nobody between takes it for dead.
    keep_alive: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            body: Duration::from_mins(1),
            body_window: Duration::from_secs(2),
            write: Duration::from_mins(1),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// State shared by all handlers.
struct App<B> {
    config: Arc<Config>,
    backend: B,
    keys: keys::Keys,
    metrics: Arc<Metrics>,
    models: Catalogue,
    bodies: body::BodyReader,
    limits: Timeouts,
    started: Instant,
}

/// Every path with handlers, as the metrics count them; each other one counts as one.
pub const ROUTES: &[&str] = &[
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/responses/{id}",
    "/v1/responses/{id}/cancel",
    "/v1/responses/{id}/input_items",
    "/v1/models",
    "/v1/models/{*id}",
    "/admin/restart",
    "/health",
    "/livez",
    "/readyz",
    "/metrics",
];

impl<B: Backend> App<B> {
    fn new(config: Arc<Config>, keys: &[Key], backend: B, metrics: Arc<Metrics>, limits: Timeouts) -> Self {
        let models = Catalogue::new(&config.model, &config.model_alias, unix_now());
        let keys = keys::Keys::new(keys);
        let bodies = body::BodyReader::new(&config, limits);
        Self { config, backend, keys, metrics, models, bodies, limits, started: Instant::now() }
    }

    /// The names of the models that the CLI has told, the full ones after the short ones.
    fn known_models(&self) -> Vec<String> {
        let (names, ids): (Vec<_>, Vec<_>) = self.backend.models().into_iter().map(|m| (m.name, m.id)).unzip();
        names.into_iter().chain(ids.into_iter().flatten()).collect()
    }
}

/// In seconds since 1970-01-01 UTC.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The HTTP service before it is started.
#[derive(Debug)]
pub struct HttpService<B> {
    /// The configuration.
    pub config: Arc<Config>,
    /// Keys, of which a client needs one. Without keys, the server is open to every client that reaches it.
    pub keys: Vec<Key>,
    /// Runs the turns.
    pub backend: B,
    /// Where requests and turns are counted: they know [`ROUTES`], and are shown at `/metrics`.
    pub metrics: Arc<Metrics>,
}

impl<B: Backend> HttpService<B> {
    /// Serves HTTP on `listener`, to clients that have one of `keys` if there are any, until `tasks` is told to stop; then
    /// lets running requests finish for `config.stop_timeout`, then drops what is left. When it returns no connection is
    /// open.
    ///
    /// Connections run as tasks of `tasks`. The backend has to go on serving until this returns: requests that it took
    /// before the stop are still waiting for it.
    pub async fn serve(self, listener: TcpListener, tasks: Tasks) {
        self.serve_within(listener, tasks, Timeouts::default()).await;
    }

    async fn serve_within(self, listener: TcpListener, tasks: Tasks, limits: Timeouts) {
        let Self { config, keys, backend, metrics } = self;
        let app = Arc::new(App::new(Arc::clone(&config), &keys, backend, metrics, limits));
        let routers = listener::Routers {
            all: with_layers(all_routes(), &app),
            reserve: with_layers(
                probe_routes()
                    .fallback(ops::reject_too_many_connections)
                    .method_not_allowed_fallback(ops::reject_method),
                &app,
            ),
            late: with_layers(
                probe_routes().fallback(ops::reject_stopping).method_not_allowed_fallback(ops::reject_method),
                &app,
            ),
        };
        listener::accept_connections(listener, routers, &config, limits, &tasks).await;
    }
}

fn all_routes<B: Backend>() -> Router<Arc<App<B>>> {
    probe_routes()
        .route("/v1/chat/completions", post(chat::create_completion))
        .route("/v1/responses", post(responses::create_response))
        .route("/v1/responses/{id}", get(responses::not_stored).delete(responses::not_stored))
        .route("/v1/responses/{id}/cancel", post(responses::not_stored))
        .route("/v1/responses/{id}/input_items", get(responses::not_stored))
        .route("/v1/models", get(models::list_models))
        .route("/v1/models/{*id}", get(models::get_model))
        .route("/admin/restart", post(ops::restart))
        .fallback(ops::reject_path)
        .method_not_allowed_fallback(ops::reject_method)
}

fn probe_routes<B: Backend>() -> Router<Arc<App<B>>> {
    Router::new()
        .route("/health", get(ops::health))
        .route("/livez", get(ops::livez))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
}

fn with_layers<B: Backend>(router: Router<Arc<App<B>>>, app: &Arc<App<B>>) -> Router {
    router
        .layer(middleware::from_fn_with_state(Arc::clone(app), auth::authorize))
        .layer(middleware::from_fn_with_state(Arc::clone(&app.metrics), trace::trace_request))
        .with_state(Arc::clone(app))
}
