//! Routes for operators and supervisors: health, liveness, readiness, metrics, restart; and the answers for unknown routes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Extensions, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::{ApiError, SOON, whole_seconds};
use super::keys::KeyName;
use super::{App, Backend};
use crate::logging;
use crate::metrics::Snapshot;
use crate::pool::status::{LastRestart, PoolState, PoolStatus, Recovery, RestartCounts};
use crate::turn::TurnError;

/// The body of `GET /health`.
#[derive(Debug, Serialize)]
struct Health {
    /// The one word to look at: `ok`, `degraded` (a memory alert), `rate_limited` (the account's quota is used up),
    /// `recovering` (requests wait for a start, or for a CLI that has failed to show that it works), or the state in which
    /// nothing is served.
    status: &'static str,
    state: PoolState,
    offline_reason: Option<String>,
    rate_limit: Option<RateLimit>,
    memory: Memory,
    invokers: Invokers,
    slots: usize,
    cli_processes: usize,
    queue: Queue,
    restarts: Restarts,
    last_restart: Option<LastRestart>,
    turns: u64,
    /// The billed account; null without a key, if the server has keys.
    auth: Option<String>,
    containment: &'static str,
    log: Log,
    uptime_seconds: u64,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct Memory {
    /// The server alone. A leak of processes shows in `tree_rss_mb` only.
    rss_mb: f64,
    tree_rss_mb: f64,
    alert_mb: u64,
    alert: bool,
}

/// The account's quota is used up: until then requests get a 429.
#[derive(Debug, Serialize)]
struct RateLimit {
    resets_in_seconds: u64,
    /// In seconds since 1970.
    resets_at: u64,
}

#[derive(Debug, Serialize)]
struct Invokers {
    live: usize,
    high_water: usize,
    limit: usize,
    standby: usize,
    busy: usize,
}

#[derive(Debug, Serialize)]
struct Queue {
    waiting: usize,
}

#[derive(Debug, Serialize)]
struct Log {
    /// Could not be written to stderr, or not soon enough, since the start.
    lost_lines: u64,
}

#[derive(Debug, Serialize)]
struct Restarts {
    total: u64,
    #[serde(flatten)]
    by_reason: RestartCounts,
}

/// The state of the server and of everything it started: 200 while requests are served or held, 503 otherwise. A used-up
/// quota is 200: nothing is wrong with the server, and starting it anew would change nothing.
///
/// Where clients need a key, whoever has none sees states and counts, and nothing of the CLI's words or of its account.
pub(super) async fn health<B: Backend>(State(app): State<Arc<App<B>>>, caller: Extensions) -> Response {
    let (status, memory) = (app.backend.status(), app.backend.memory());
    let is_trusted = app.keys.is_empty() || caller.get::<KeyName>().is_some();
    let reason = status.offline_reason.clone();
    let alert_at = app.config.memory_alert(app.metrics.ready_rss());
    let alert = memory.tree_rss > alert_at;
    let health = Health {
        status: match status.state {
            PoolState::Ready if status.quota_in.is_some() => "rate_limited",
            PoolState::Ready if status.recovery.is_some() => "recovering",
            PoolState::Ready if alert => "degraded",
            PoolState::Ready => "ok",
            PoolState::Starting => "starting",
            PoolState::Offline => "offline",
            PoolState::Stopping => "stopping",
        },
        state: status.state,
        rate_limit: status.quota_in.map(RateLimit::new),
        offline_reason: if is_trusted { reason } else { reason.map(|_| FOR_KEYS.to_owned()) },
        memory: Memory {
            rss_mb: to_megabytes(memory.rss),
            tree_rss_mb: to_megabytes(memory.tree_rss),
            alert_mb: alert_at / 1_000_000,
            alert,
        },
        invokers: Invokers {
            live: status.live,
            high_water: status.high_water,
            limit: status.slots + 1,
            standby: status.standby,
            busy: status.busy,
        },
        slots: status.slots,
        cli_processes: memory.cli_processes,
        queue: Queue { waiting: status.waiting },
        restarts: Restarts { total: status.restarts.total(), by_reason: status.restarts },
        last_restart: status.last_restart.clone(),
        turns: status.turns,
        auth: is_trusted.then(|| app.backend.account().to_string()),
        containment: memory.containment,
        log: Log { lost_lines: logging::lost_lines() },
        uptime_seconds: app.started.elapsed().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
    };
    match status.state {
        PoolState::Starting | PoolState::Ready => Json(health).into_response(),
        PoolState::Offline | PoolState::Stopping => unavailable_response(&status, Json(health)),
    }
}

/// Replaces the offline reason, which may quote the CLI.
const FOR_KEYS: &str = "send a key to see the reason, or see the server's log";

impl RateLimit {
    fn new(resets_in: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { resets_in_seconds: whole_seconds(resets_in), resets_at: whole_seconds(now.saturating_add(resets_in)) }
    }
}

/// A 503 with `Retry-After`.
fn unavailable_response(status: &PoolStatus, body: impl IntoResponse) -> Response {
    let wait = match status.state {
        PoolState::Starting => STARTED_SOON,
        PoolState::Offline => status.probe_in.unwrap_or(SOON),
        PoolState::Ready | PoolState::Stopping => SOON,
    };
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)))], body).into_response()
}

/// A start takes about a second.
const STARTED_SOON: Duration = Duration::from_secs(1);

/// In MB (10^6 bytes), to a tenth.
#[expect(clippy::cast_precision_loss, reason = "exact up to 9 PB, and rounded to a tenth of a MB anyway")]
fn to_megabytes(bytes: u64) -> f64 {
    (bytes as f64 / 1e5).round() / 10.0
}

/// Liveness probe: a supervisor restarts the process if it does not answer.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Readiness probe: a load balancer sends no requests while it fails.
pub(super) async fn readyz<B: Backend>(State(app): State<Arc<App<B>>>) -> Response {
    let status = app.backend.status();
    match status.state {
        PoolState::Ready if status.recovery == Some(Recovery::Stalled) => unavailable_response(&status, "recovering\n"),
        PoolState::Ready => "ok\n".into_response(),
        PoolState::Starting => unavailable_response(&status, "starting\n"),
        PoolState::Offline => unavailable_response(&status, "offline\n"),
        PoolState::Stopping => unavailable_response(&status, "stopping\n"),
    }
}

/// Everything that is counted, as OpenMetrics text, whatever the scraper says that it takes: every one that still lives
/// reads it. Open without a key, as health is.
pub(super) async fn metrics<B: Backend>(State(app): State<Arc<App<B>>>) -> Result<Response, ApiError> {
    let snapshot = Snapshot {
        status: app.backend.status(),
        memory: app.backend.memory(),
        memory_alert: app.config.memory_alert(app.metrics.ready_rss()),
        lost_log_lines: logging::lost_lines(),
    };
    let text = app.metrics.encode_text(&snapshot).map_err(|error| {
        tracing::error!(%error, "the metrics could not be written");
        ApiError::internal()
    })?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(crate::metrics::CONTENT_TYPE))], text).into_response())
}

#[derive(Debug, Serialize)]
pub(super) struct Restarted {
    restarted: usize,
    /// What has come of it. While offline there is nothing to replace, and a probe is started instead.
    state: PoolState,
}

/// Restarts every slot's invoker; answers when all have switched. Whatever waits before its next start stops waiting.
pub(super) async fn restart<B: Backend>(State(app): State<Arc<App<B>>>) -> Json<Restarted> {
    let restarted = app.backend.restart().await;
    Json(Restarted { restarted, state: app.backend.status().state })
}

pub(super) async fn reject_path(method: Method, uri: Uri) -> ApiError {
    let message =
        format!("no such route: {method} {}; use POST /v1/chat/completions or POST /v1/responses", uri.path());
    ApiError::invalid(StatusCode::NOT_FOUND, "unknown_url", message)
}

pub(super) async fn reject_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not support {method}; see the `Allow` header", uri.path());
    ApiError::invalid(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Fallback for connections that arrive while the server stops.
pub(super) async fn reject_stopping() -> ApiError {
    TurnError::Stopping.into()
}

/// Fallback for connections above the limit.
pub(super) async fn reject_too_many_connections() -> Response {
    let mut response = ApiError::too_many_connections().into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
