//! The accept loop: how many connections there are, and how each one ends.
//!
//! `max_connections` are served in full. [`RESERVE`] more get an answer, but only probes get a good one: anything else
//! is a 503 with `Retry-After`, and the connection closes after one request. So a supervisor still reaches a server
//! that is full. A client can't take these places for long: when all are taken, the oldest connection that has not sent
//! its header yet, or does not take its reply, is closed to make room for the next. A probe sends its request at once,
//! and so has its answer before it is the oldest. Where each of them is being answered just then, the next connection waits
//! a moment to be accepted.
//!
//! Told to stop, the server goes on accepting until the requests that it took have ended: probes say so, anything else is
//! a 503, one request a connection. Then it closes the door. Told to hurry, it drops whatever has not ended in a moment.

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

use super::Limits;
use super::stream::{Phase, TimedStream};
use super::trace::{AbortFlag, GuardedBody};
use crate::config::Config;
use crate::shutdown::Tasks;

/// Connections above the limit that still get an answer.
const RESERVE: usize = 32;

/// Connections that can be open above the limit: the reserve, and as many while the server stops.
pub const EXTRA_CONNECTIONS: usize = 2 * RESERVE;

/// Above the limit, how long a client may take over its reply when others want its place. Probes are answered in
/// milliseconds.
const SLOW: Duration = Duration::from_millis(200);

/// The same for a header that has not come whole. A probe's comes with the connection, unless its process has to wait for the
/// processor in between. As long as it takes 32 connections to be this old, the next one waits to be accepted.
const HALF_OPEN: Duration = Duration::from_millis(10);

/// How often it is looked at whether one of them has become idle.
const LOOK: Duration = Duration::from_millis(2);

/// Above any system's limit of open files, and far below what a semaphore can count.
const MOST_CONNECTIONS: usize = 1 << 20;

/// What is left of a header's or a body's bytes is read into at most this.
const BUFFER: usize = 64 * 1024;

/// After an accept that failed for want of something that others have to give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections are served with.
pub(super) struct Doors {
    /// For connections within the limit.
    pub(super) all: Router,
    /// For those above it.
    pub(super) reserve: Router,
    /// For those that come while the server stops.
    pub(super) late: Router,
}

/// Accepts connections until `tasks` is told to stop; returns when the last one has ended.
pub(super) async fn run(listener: TcpListener, doors: Doors, config: &Config, limits: Limits, tasks: &Tasks) {
    let most = config.max_connections.get().min(MOST_CONNECTIONS);
    let all = Arc::new(Semaphore::new(most));
    let mut reserve = Reserve::new();
    let connection = Connection { limits, tasks: tasks.clone(), stop_timeout: config.stop_timeout };
    loop {
        tokio::select! {
            biased;
            () = tasks.wait_for_stop() => break,
            socket = accept(&listener) => match take(&all) {
                Some(seat) => connection.serve_in(socket, doors.all.clone(), seat),
                None => if let Some(guest) = reserve.admit().await {
                    connection.serve_above(socket, doors.reserve.clone(), guest);
                },
            },
        }
    }
    let mut late = Reserve::new();
    let mut left = std::pin::pin!(all_left(&all, most, &reserve.seats));
    loop {
        tokio::select! {
            biased;
            () = left.as_mut() => break,
            socket = accept(&listener) => if let Some(guest) = late.admit().await {
                connection.serve_late(socket, doors.late.clone(), guest);
            },
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
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
                // Said once: it may go on for long.
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

/// Waits until no connection has a seat any more.
async fn all_left(all: &Arc<Semaphore>, most: usize, reserve: &Arc<Semaphore>) {
    for (seats, count) in [(all, most), (reserve, RESERVE)] {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // An error means that the semaphore was closed, and nobody closes it.
        drop(seats.acquire_many(count).await);
    }
}

/// Places for connections that are let in for one request although there is no room.
struct Reserve {
    seats: Arc<Semaphore>,
    /// Those that have a seat, the oldest first, with some that have left.
    guests: VecDeque<Guest>,
}

/// A connection with a seat in the reserve, as the accept loop knows it.
struct Guest {
    phase: Phase,
    since: Instant,
    /// Has it closed; itself closed once the connection has ended.
    close: oneshot::Sender<()>,
}

/// A seat in the reserve, as its connection has it.
struct GuestSeat {
    _permit: OwnedSemaphorePermit,
    phase: Phase,
    closed: oneshot::Receiver<()>,
}

impl Reserve {
    fn new() -> Self {
        Self { seats: Arc::new(Semaphore::new(RESERVE)), guests: VecDeque::with_capacity(RESERVE) }
    }

    /// A seat; if need be that of a connection which keeps it without using it.
    async fn admit(&mut self) -> Option<GuestSeat> {
        let permit = loop {
            self.guests.retain(|guest| !guest.close.is_closed());
            let is_idle = |guest: &Guest| {
                let limit = if guest.phase.is_half_open() { HALF_OPEN } else { SLOW };
                guest.since.elapsed() > limit
            };
            let patience = if let Some(permit) = take(&self.seats) {
                break permit;
            } else if let Some(idle) = self.guests.iter().position(is_idle) {
                // If it has just ended by itself, its seat is free as well.
                let _ = self.guests.remove(idle)?.close.send(());
                // Its task does nothing but close it.
                SLOW
            } else {
                // Each of them is being answered, which takes no time, or turns out to be idle.
                LOOK
            };
            if let Ok(permit) = timeout(patience, Arc::clone(&self.seats).acquire_owned()).await {
                // Nobody closes the semaphore.
                break permit.ok()?;
            }
        };
        let (close, closed) = oneshot::channel();
        let phase = Phase::new();
        self.guests.push_back(Guest { phase: phase.clone(), since: Instant::now(), close });
        Some(GuestSeat { _permit: permit, phase, closed })
    }
}

fn take(seats: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(seats).try_acquire_owned().ok()
}

/// How long a connection that comes while the server stops may take in all: it is told at once, and must not hold the end.
const LATE: Duration = Duration::from_secs(1);

/// After the grace, how long the endings that the pool then gives may take to their clients.
const ENDING: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Connection {
    limits: Limits,
    tasks: Tasks,
    stop_timeout: Duration,
}

/// A connection that is served.
type Open<S> = http1::Connection<TokioIo<TimedStream>, S>;

/// What answers its requests.
trait Answers: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> {}
impl<S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>> Answers for S {}

impl Connection {
    /// A connection whose requests `router` answers.
    fn open(
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
            let end = requests.request();
            request.extensions_mut().insert(mark.clone());
            let reply = router.clone().oneshot(request);
            async move { reply.await.map(|reply| reply.map(|body| Body::new(GuardedBody { body, _guard: end }))) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .keep_alive(kept)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        (connection, abort)
    }

    /// Serves a connection within the limit.
    fn serve_in(&self, socket: TcpStream, router: Router, seat: OwnedSemaphorePermit) {
        let connection = self.clone();
        drop(self.tasks.spawn(async move {
            let phase = Phase::new();
            let (open, abort) = connection.open(socket, router, true, phase.clone());
            connection.serve(open, &phase, &abort).await;
            drop(seat);
        }));
    }

    /// Answers one request of a connection above the limit.
    fn serve_above(&self, socket: TcpStream, router: Router, guest: GuestSeat) {
        let connection = self.clone();
        drop(self.tasks.spawn(async move {
            let GuestSeat { _permit, phase, closed } = guest;
            let (open, abort) = connection.open(socket, router, false, phase.clone());
            // Said before the connection is dropped: then its request ends.
            let closed = closed.map(|_| abort.set());
            tokio::select! {
                () = connection.serve(open, &phase, &abort) => {}
                () = closed => {}
            }
        }));
    }

    /// Answers one request, as what comes while the server stops.
    fn serve_late(&self, socket: TcpStream, router: Router, guest: GuestSeat) {
        let GuestSeat { _permit: permit, phase, closed } = guest;
        let (open, abort) = self.open(socket, router, false, phase);
        drop(self.tasks.spawn(async move {
            let mut open = std::pin::pin!(open);
            tokio::select! {
                // Whatever it was, it has had its answer, or is too late for one.
                ended = timeout(LATE, open.as_mut()) => if ended.is_err() { abort.set() },
                _ = closed => abort.set(),
            }
            drop(permit);
        }));
    }

    async fn serve(&self, open: Open<impl Answers>, phase: &Phase, abort: &AbortFlag) {
        let mut connection = std::pin::pin!(open);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => Some(outcome),
            () = self.stopped(phase) => {
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
    async fn stopped(&self, phase: &Phase) {
        self.tasks.wait_for_stop().await;
        if phase.is_new() {
            sleep(LATE).await;
        }
    }
}
