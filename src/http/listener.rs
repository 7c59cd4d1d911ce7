//! The accept loop: how many connections there are, and how each one ends.
//!
//! `max_connections` are served in full. [`RESERVE`] more get an answer, but only probes get a good one: anything else
//! is a 503 with `Retry-After`, and the connection closes after one request. So a supervisor still reaches a server
//! that is full. Above that a connection is closed with a 503 that nobody waits to see delivered; no task is spawned.
//!
//! Told to stop, the server goes on accepting until the requests that it took have ended: probes say so, anything else is
//! a 503, one request a connection. Then it closes the door. Told to hurry, it drops whatever has not ended in a moment.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::Limits;
use super::stream::{Phase, TimedStream};
use super::trace::{GivenUp, REQUEST_ID, RequestId, Until};
use crate::config::Config;
use crate::shutdown::Tasks;

/// Connections above the limit that still get an answer.
const RESERVE: usize = 32;

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
    let seats = Seats { all: Arc::new(Semaphore::new(most)), reserve: Arc::new(Semaphore::new(RESERVE)) };
    let connection = Connection { limits, tasks: tasks.clone(), stop_timeout: config.stop_timeout };
    loop {
        tokio::select! {
            biased;
            () = tasks.stopped() => break,
            socket = accept(&listener) => seats.place(socket, &doors, &connection),
        }
    }
    let late = Arc::new(Semaphore::new(RESERVE));
    let mut left = std::pin::pin!(seats.all_left(most));
    loop {
        tokio::select! {
            biased;
            () = left.as_mut() => break,
            socket = accept(&listener) => match take(&late) {
                Some(seat) => connection.serve_late(socket, doors.late.clone(), seat),
                None => turn_away(&socket),
            },
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Seats {
    all: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Seats {
    fn place(&self, socket: TcpStream, doors: &Doors, connection: &Connection) {
        let (seat, router, kept) = match take(&self.all) {
            Some(seat) => (seat, doors.all.clone(), true),
            None => match take(&self.reserve) {
                Some(seat) => (seat, doors.reserve.clone(), false),
                None => return turn_away(&socket),
            },
        };
        let connection = connection.clone();
        drop(connection.tasks.clone().spawn(async move {
            connection.serve(socket, router, kept).await;
            drop(seat);
        }));
    }

    async fn all_left(&self, most: usize) {
        for (seats, count) in [(&self.all, most), (&self.reserve, RESERVE)] {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            // An error means that the semaphore was closed, and nobody closes it.
            drop(seats.acquire_many(count).await);
        }
    }
}

fn take(seats: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(seats).try_acquire_owned().ok()
}

fn turn_away(socket: &TcpStream) {
    const BODY: &str = r#"{"error":{"message":"too many connections are open; reuse one, or come back","type":"server_error","param":null,"code":"too_many_connections"}}"#;
    let reply = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 5\r\n\
         x-should-retry: true\r\n{REQUEST_ID}: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len(),
        RequestId::new()
    );
    // A new socket has room for it; where it has not, closing says enough.
    if let Err(error) = socket.try_write(reply.as_bytes()) {
        tracing::debug!(%error, "a connection above the limit was closed without a reply");
    }
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
    fn open(&self, socket: TcpStream, router: Router, kept: bool) -> (Open<impl Answers + use<>>, Phase, GivenUp) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let given_up = GivenUp::default();
        let (stream, phase) = TimedStream::new(socket, self.limits);
        let (mark, requests) = (given_up.clone(), phase.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let end = requests.request();
            request.extensions_mut().insert(mark.clone());
            let reply = router.clone().oneshot(request);
            async move { reply.await.map(|reply| reply.map(|body| Body::new(Until { body, _end: end }))) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .keep_alive(kept)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        (connection, phase, given_up)
    }

    /// Answers one request, as what comes while the server stops.
    fn serve_late(&self, socket: TcpStream, router: Router, seat: OwnedSemaphorePermit) {
        let (connection, _, given_up) = self.open(socket, router, false);
        drop(self.tasks.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            // Whatever it was, it has had its answer, or is too late for one.
            if timeout(LATE, connection.as_mut()).await.is_err() {
                given_up.set();
            }
            drop(seat);
        }));
    }

    async fn serve(self, socket: TcpStream, router: Router, kept: bool) {
        let (connection, phase, given_up) = self.open(socket, router, kept);
        let mut connection = std::pin::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => Some(outcome),
            () = self.stopped(&phase) => {
                connection.as_mut().graceful_shutdown();
                let hurried = async {
                    self.tasks.hurried().await;
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
                given_up.set();
            }
        }
    }

    /// Ends when the connection has to close after what it is doing. One that was taken just before the stop is waited for
    /// a moment: hyper would close it on the request that is on its way.
    async fn stopped(&self, phase: &Phase) {
        self.tasks.stopped().await;
        if phase.is_new() {
            sleep(LATE).await;
        }
    }
}
