//! The accept loop: limits the number of connections, and ends each of them.
//!
//! `max_connections` connections are served normally. [`RESERVE`] more are served one request each: probes get their answer,
//! anything else a 503 with `Retry-After`. So a supervisor still reaches a server that is full. A client can't occupy the
//! reserve for long: when it is full, the oldest connection that has not sent its header, or does not read its reply, is
//! closed to make room. A probe sends its request at once, so it has its answer before it is the oldest. If all of the
//! reserve is being answered just then, the next connection waits a moment to be accepted.
//!
//! While the server stops, it accepts connections until the requests that it took have ended: probes report the stop, and
//! anything else gets a 503. Then it stops listening. A second signal drops the connections that are left after a moment.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use super::Timeouts;
use super::stream::{Phase, TimedStream};
use super::trace::{AbortFlag, GuardedBody};
use crate::config::Config;
use crate::shutdown::Tasks;

/// Connections above the limit that are still served one request.
const RESERVE: usize = 32;

/// Connections that can be open above the limit: the reserve, and one more of the same size while the server stops.
pub const EXTRA_CONNECTIONS: usize = 2 * RESERVE;

/// Above the limit, how long a client may take over its reply when others want its place. Probes are answered in
/// milliseconds.
const SLOW: Duration = Duration::from_millis(200);

/// The same for a header that has not come whole. A probe's comes with the connection, unless its process has to wait for the
/// processor in between. As long as it takes 32 connections to be this old, the next one waits to be accepted.
const HALF_OPEN: Duration = Duration::from_millis(10);

/// How often a full reserve is searched for idle connections.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Above any system's limit of open files, and far below what a semaphore can count.
const MAX_CONNECTIONS: usize = 1 << 20;

/// Largest read buffer of a connection, in bytes.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// Pause after a failed accept: descriptors or memory have to be freed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Routers by kind of connection.
pub(super) struct Routers {
    /// For connections within the limit.
    pub(super) all: Router,
    /// For those above it.
    pub(super) reserve: Router,
    /// For those that come while the server stops.
    pub(super) late: Router,
}

/// Accepts connections until `tasks` is stopped; returns when the last connection has ended.
pub(super) async fn accept_connections(
    listener: TcpListener,
    routers: Routers,
    config: &Config,
    limits: Timeouts,
    tasks: &Tasks,
) {
    let most = config.max_connections.get().min(MAX_CONNECTIONS);
    let all = Arc::new(Semaphore::new(most));
    let mut reserve = ReservedConnections::new();
    let connection = Connection { limits, tasks: tasks.clone(), stop_timeout: config.stop_timeout };
    loop {
        tokio::select! {
            biased;
            () = tasks.wait_for_stop() => break,
            socket = accept_connection(&listener) => match try_acquire(&all) {
                Some(permit) => connection.serve(socket, routers.all.clone(), permit),
                None => if let Some(reserved) = reserve.acquire().await {
                    connection.serve_reserved(socket, routers.reserve.clone(), reserved);
                },
            },
        }
    }
    let mut late = ReservedConnections::new();
    let mut left = std::pin::pin!(wait_until_closed(&all, most, &reserve.permits));
    loop {
        tokio::select! {
            biased;
            () = left.as_mut() => break,
            socket = accept_connection(&listener) => if let Some(reserved) = late.acquire().await {
                connection.serve_late(socket, routers.late.clone(), reserved);
            },
        }
    }
}

/// The next connection.
async fn accept_connection(listener: &TcpListener) -> TcpStream {
    let mut failures = 0_u64;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                if failures > 0 {
                    tracing::info!(failures, "accepting connections again");
                }
                return socket;
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                // Log the first failure only: without free descriptors this repeats ten times a second.
                if failures == 0 {
                    tracing::warn!(%error, "cannot accept connections; they wait");
                }
                failures += 1;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Waits until all connections have ended.
async fn wait_until_closed(all: &Arc<Semaphore>, most: usize, reserve: &Arc<Semaphore>) {
    for (permits, count) in [(all, most), (reserve, RESERVE)] {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // An error would mean that the semaphore was closed, which never happens.
        drop(permits.acquire_many(count).await);
    }
}

/// Connections above the limit, served one request each.
struct ReservedConnections {
    permits: Arc<Semaphore>,
    /// Oldest first. May contain connections that have ended.
    connections: VecDeque<ReservedConnection>,
}

/// The accept loop's handle of a connection in the reserve.
struct ReservedConnection {
    phase: Phase,
    since: Instant,
    /// Closes the connection when sent. Closed once the connection has ended.
    close: oneshot::Sender<()>,
}

/// A connection's share of the reserve.
struct ReservedPermit {
    _permit: OwnedSemaphorePermit,
    phase: Phase,
    closed: oneshot::Receiver<()>,
}

impl ReservedConnections {
    fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(RESERVE)), connections: VecDeque::with_capacity(RESERVE) }
    }

    /// Acquires a permit, if necessary by closing an idle connection.
    async fn acquire(&mut self) -> Option<ReservedPermit> {
        let permit = loop {
            self.connections.retain(|reserved| !reserved.close.is_closed());
            let is_idle = |reserved: &ReservedConnection| {
                let limit = if reserved.phase.is_half_open() { HALF_OPEN } else { SLOW };
                reserved.since.elapsed() > limit
            };
            let patience = if let Some(permit) = try_acquire(&self.permits) {
                break permit;
            } else if let Some(idle) = self.connections.iter().position(is_idle) {
                // The send fails if the connection has just ended by itself, which frees its permit as well.
                let _ = self.connections.remove(idle)?.close.send(());
                // Its task only has to drop the connection, so the permit comes back at once.
                SLOW
            } else {
                // All are being answered, which takes milliseconds, or will count as idle soon.
                POLL_INTERVAL
            };
            if let Ok(permit) = timeout(patience, Arc::clone(&self.permits).acquire_owned()).await {
                // The semaphore is never closed.
                break permit.ok()?;
            }
        };
        let (close, closed) = oneshot::channel();
        let phase = Phase::new();
        self.connections.push_back(ReservedConnection { phase: phase.clone(), since: Instant::now(), close });
        Some(ReservedPermit { _permit: permit, phase, closed })
    }
}

fn try_acquire(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(permits).try_acquire_owned().ok()
}

/// Total time for a connection that arrives while the server stops, so that it can't delay the exit.
const LATE: Duration = Duration::from_secs(1);

/// After the stop deadline, time to send clients the errors that the pool ends their turns with.
const ENDING: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Connection {
    limits: Timeouts,
    tasks: Tasks,
    stop_timeout: Duration,
}

/// A hyper connection over a [`TimedStream`].
type Open<S> = http1::Connection<TokioIo<TimedStream>, S>;

/// The service that answers a connection's requests.
trait Answers: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> {}
impl<S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>> Answers for S {}

impl Connection {
    /// Builds a connection whose requests `router` answers.
    fn build(
        &self,
        socket: TcpStream,
        router: Router,
        kept: bool,
        phase: Phase,
    ) -> (Open<impl Answers + use<>>, AbortFlag) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let abort = AbortFlag::default();
        let stream = TimedStream::new(socket, self.limits, phase.clone());
        let (mark, requests) = (abort.clone(), phase);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let end = requests.begin_request();
            request.extensions_mut().insert(mark.clone());
            let reply = router.clone().oneshot(request);
            async move { reply.await.map(|reply| reply.map(|body| Body::new(GuardedBody { body, _guard: end }))) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .keep_alive(kept)
            .max_buf_size(MAX_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        (connection, abort)
    }

    /// Serves a connection within the limit.
    fn serve(&self, socket: TcpStream, router: Router, permit: OwnedSemaphorePermit) {
        let connection = self.clone();
        drop(self.tasks.spawn(async move {
            let phase = Phase::new();
            let (open, abort) = connection.build(socket, router, true, phase.clone());
            connection.drive(open, &phase, &abort).await;
            drop(permit);
        }));
    }

    /// Answers one request of a connection above the limit.
    fn serve_reserved(&self, socket: TcpStream, router: Router, reserved: ReservedPermit) {
        let connection = self.clone();
        drop(self.tasks.spawn(async move {
            let ReservedPermit { _permit, phase, closed } = reserved;
            let (open, abort) = connection.build(socket, router, false, phase.clone());
            // Set the flag before the connection is dropped, because the drop writes the access log line.
            let closed = closed.map(|_| abort.set());
            tokio::select! {
                () = connection.drive(open, &phase, &abort) => {}
                () = closed => {}
            }
        }));
    }

    /// Answers one request, as what comes while the server stops.
    fn serve_late(&self, socket: TcpStream, router: Router, reserved: ReservedPermit) {
        let ReservedPermit { _permit: permit, phase, closed } = reserved;
        let (open, abort) = self.build(socket, router, false, phase);
        drop(self.tasks.spawn(async move {
            let mut open = std::pin::pin!(open);
            tokio::select! {
                // After this time the reply was sent, or the client was too slow for one.
                ended = timeout(LATE, open.as_mut()) => if ended.is_err() { abort.set() },
                _ = closed => abort.set(),
            }
            drop(permit);
        }));
    }

    async fn drive(&self, open: Open<impl Answers>, phase: &Phase, abort: &AbortFlag) {
        let mut connection = std::pin::pin!(open);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => Some(outcome),
            () = self.wait_for_stop(phase) => {
                connection.as_mut().graceful_shutdown();
                let hurried = async {
                    self.tasks.wait_for_hurry().await;
                    sleep(ENDING).await;
                };
                tokio::select! {
                    outcome = timeout(self.stop_timeout + ENDING, connection.as_mut()) => outcome.ok(),
                    () = hurried => None,
                }
            }
        };
        match outcome {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
            None => {
                tracing::warn!("a connection outlived the stop deadline and was dropped");
                abort.set();
            }
        }
    }

    /// Ends when the connection has to close after what it is doing. One that was taken just before the stop is waited for
    /// a moment: hyper would close it on the request that is on its way.
    async fn wait_for_stop(&self, phase: &Phase) {
        self.tasks.wait_for_stop().await;
        if phase.is_new() {
            sleep(LATE).await;
        }
    }
}
