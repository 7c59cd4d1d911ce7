//! Requests against a server: a fixed number of connections, each sending one request after another, every reply
//! checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::load::client::Client;
use crate::load::endpoint::Endpoint;
use crate::load::reply::Kind as ReplyKind;
use crate::load::reply_format::{AnswerStyle, Kind, Mix, ReplyFormat};
use crate::load::script::Script;
use leakgate_judge::sample::{Proof, ReplyKinds};

pub mod check;
pub mod client;
pub mod endpoint;
pub mod reply;
pub mod reply_format;
pub mod script;
pub mod sse;

/// How many oddities are kept in words.
const MAX_NOTES: usize = 5;

/// The parameters of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Requests at the same time, each on a connection of its own.
    pub connections: u64,
    /// The reply format.
    pub mix: Mix,
    /// Bytes of filler in each prompt.
    pub filler: usize,
    /// Share of requests that ask for JSON of a schema whatever the mix asks for, 0 to 1.
    pub json: f64,
    /// Share of requests that ask for a stream, 0 to 1.
    pub streamed: f64,
    /// Share of the streamed requests whose client leaves in the middle, 0 to 1.
    pub leaving: f64,
    /// A request that has not ended after this long is lost.
    pub deadline: Duration,
    /// Chooses who streams and who leaves; the same seed gives the same requests.
    pub seed: u64,
}

/// How the requests ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that were sent or should have been.
    pub requests: u64,
    /// Replies that were exactly their own.
    pub complete: u64,
    /// Errors, in whatever shape.
    pub errors: u64,
    /// Given up by the client, as planned.
    pub cancelled: u64,
    /// Requests that never ended.
    pub lost: u64,
    /// Replies that were not exactly their own.
    pub mixed_up: u64,
    /// Bytes of text and arguments in the replies that were their own, without marks around them.
    pub bytes: u64,
    /// Replies without any mark, among those that are complete.
    pub unmarked: u64,
    /// Replies that are no text, among those that are complete.
    pub kinds: ReplyKinds,
    /// The first errors and oddities, in words.
    pub notes: Vec<String>,
}

impl Counts {
    /// These counts as the proof of a run with so many checkpoints. Of the server's own counts they know nothing: no restart, and as many
    /// turns as replies.
    #[must_use]
    pub fn proof(&self, checkpoints: u64) -> Proof {
        Proof {
            restarts: 0,
            turns: self.complete,
            requests: self.requests,
            errors: self.errors,
            cancelled: self.cancelled,
            lost: self.lost,
            mixed_up: self.mixed_up,
            checkpoints,
            bytes_replayed: self.bytes,
            unmarked: self.unmarked,
            kinds: self.kinds,
        }
    }
}

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    /// With its own reply, of this many bytes of text and arguments.
    Complete(u64),
    /// With a reply of this many bytes that carries no mark: it may be anybody's.
    Unmarked(u64),
    /// With a reply of another kind than a text, of this many bytes, in which no mark is another request's.
    NoText(ReplyKind, u64),
    /// With an error.
    Error(String),
    /// The client left, as planned.
    Cancelled,
    /// Not at all.
    Lost(String),
    /// With something that is not exactly its own reply.
    MixedUp(String),
}

/// When a request was sent that got its own reply, and when the reply had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Just before it was sent.
    pub start: Instant,
    /// Just after the last byte.
    pub end: Instant,
}

/// One request of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRequest {
    /// Its number, from 0.
    pub number: u64,
    /// Its mark: hexadecimal, no other request's.
    pub mark: String,
    /// The reply shall come as a stream.
    pub stream: bool,
    /// Leave after this many pieces of the stream.
    pub leave_after: Option<u32>,
    /// Bytes of filler in its prompt.
    pub filler: usize,
    /// The format that the reply must have.
    pub format: ReplyFormat,
}

/// A load that can be run in batches; its connections stay open between them.
#[derive(Debug)]
pub struct Load {
    shape: Shape,
    script: Arc<Script>,
    clients: Vec<Client>,
    next: Arc<AtomicU64>,
    counts: Counts,
    timings: Vec<Timing>,
}

impl Load {
    /// A load against the server at `endpoint`. Nothing is opened yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, script: Arc<Script>, shape: Shape) -> Self {
        let endpoint = Arc::new(endpoint);
        let client = || Client::new(Arc::clone(&endpoint), shape.deadline);
        let clients = (0..shape.connections).map(|_| client()).collect();
        let (next, counts, timings) = (Arc::new(AtomicU64::new(0)), Counts::default(), Vec::new());
        Self { shape, script, clients, next, counts, timings }
    }

    /// Sends `requests` requests and waits for all their endings. A connection that cannot be opened ends its part of
    /// the batch: the rest of it then falls to the others, or to nobody.
    pub async fn run_batch(&mut self, requests: u64) {
        let end = self.next.load(Ordering::Relaxed) + requests;
        let mut workers = JoinSet::new();
        for client in self.clients.drain(..) {
            workers.spawn(run_client(client, Arc::clone(&self.script), self.shape, Arc::clone(&self.next), end));
        }
        while let Some(joined) = workers.join_next().await {
            match joined {
                Ok((client, counts, timings)) => {
                    self.clients.push(client);
                    self.counts.add(counts);
                    self.timings.extend(timings);
                }
                Err(error) => self.counts.add_note(format!("a client of the harness failed: {error}")),
            }
        }
        // Every worker has drawn one number that was too high.
        self.next.store(end, Ordering::Relaxed);
    }

    /// Closes all connections; the next batch opens them anew.
    pub async fn close(&mut self) {
        for client in &mut self.clients {
            client.close().await;
        }
    }

    /// How long the requests took since the last time that this was asked.
    pub(crate) fn take_timings(&mut self) -> Vec<Timing> {
        std::mem::take(&mut self.timings)
    }

    /// Another load against the same server, with the same connections.
    pub(crate) fn reshape(&mut self, shape: Shape) {
        self.shape = Shape { connections: self.shape.connections, ..shape };
    }

    /// Requests that were sent or are about to be, those of a batch that was given up included.
    #[must_use]
    pub fn requests_sent(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// How the requests have ended until now.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

async fn run_client(
    mut client: Client,
    script: Arc<Script>,
    shape: Shape,
    next: Arc<AtomicU64>,
    end: u64,
) -> (Client, Counts, Vec<Timing>) {
    let mut counts = Counts::default();
    let mut timings = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return (client, counts, timings);
        }
        let start = Instant::now();
        let outcome = client.send_and_judge(&draw_request(shape, number), &script).await;
        let refused = client.is_refused();
        if matches!(outcome, RequestOutcome::Complete(_)) {
            timings.push(Timing { start, end: Instant::now() });
        }
        counts.count_outcome(outcome, number);
        if refused {
            return (client, counts, timings);
        }
    }
}

/// Draws request `number` of a load of this shape: a function of the seed and the number alone, whichever
/// connection sends it.
fn draw_request(shape: Shape, number: u64) -> ChatRequest {
    let mut random = ChaCha8Rng::seed_from_u64(shape.seed);
    random.set_stream(number);
    let stream = draw_chance(&mut random, shape.streamed);
    let leaves = stream && draw_chance(&mut random, shape.leaving);
    let leave_after = leaves.then(|| 1 + random.next_u32() % 8);
    let mark = format!("{:08x}{number:08x}", random.next_u32());
    let format = draw_format(shape, &mut random);
    ChatRequest { number, mark, stream, leave_after, filler: shape.filler, format }
}

fn draw_format(shape: Shape, random: &mut ChaCha8Rng) -> ReplyFormat {
    let mix = shape.mix;
    let style = AnswerStyle { fenced: draw_chance(random, mix.fenced), wrong: draw_chance(random, mix.wrong) };
    let kind = if draw_chance(random, shape.json) { Kind::Json } else { mix.kind };
    match kind {
        Kind::Text => ReplyFormat::Text,
        Kind::Json => ReplyFormat::Json { style },
        Kind::Calls => ReplyFormat::Calls { style, required: draw_chance(random, 0.5) },
    }
}

fn draw_chance(random: &mut ChaCha8Rng, share: f64) -> bool {
    f64::from(random.next_u32()) < share * 4_294_967_296.0
}

impl Counts {
    fn count_outcome(&mut self, outcome: RequestOutcome, number: u64) {
        self.requests += 1;
        match outcome {
            RequestOutcome::Complete(bytes) => {
                self.complete += 1;
                self.bytes += bytes;
            }
            RequestOutcome::Unmarked(bytes) => {
                self.complete += 1;
                self.unmarked += 1;
                self.bytes += bytes;
            }
            RequestOutcome::NoText(kind, bytes) => {
                self.complete += 1;
                self.bytes += bytes;
                reply::count_kind(&mut self.kinds, kind);
            }
            RequestOutcome::Cancelled => self.cancelled += 1,
            RequestOutcome::Error(what) => {
                self.errors += 1;
                self.add_note(format!("request {number} ended in an error: {what}"));
            }
            RequestOutcome::Lost(what) => {
                self.lost += 1;
                self.add_note(format!("request {number} was lost: {what}"));
            }
            RequestOutcome::MixedUp(what) => {
                self.mixed_up += 1;
                self.add_note(format!("request {number} got a wrong reply: {what}"));
            }
        }
    }

    fn add_note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.complete += other.complete;
        self.errors += other.errors;
        self.cancelled += other.cancelled;
        self.lost += other.lost;
        self.mixed_up += other.mixed_up;
        self.bytes += other.bytes;
        self.unmarked += other.unmarked;
        self.kinds.add(other.kinds);
        other.notes.into_iter().for_each(|note| self.add_note(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(streamed: f64, leaving: f64) -> Shape {
        Shape {
            connections: 1,
            mix: Mix::TEXT,
            filler: 0,
            json: 0.0,
            streamed,
            leaving,
            deadline: Duration::from_secs(1),
            seed: 7,
        }
    }

    #[test]
    fn the_same_number_asks_the_same_thing() {
        assert_eq!(draw_request(shape(0.5, 0.5), 12), draw_request(shape(0.5, 0.5), 12));
        assert_ne!(draw_request(shape(0.5, 0.5), 12).mark, draw_request(shape(0.5, 0.5), 13).mark);
    }

    #[test]
    fn a_share_of_the_replies_is_fenced_or_wrong_and_half_of_the_calls_are_required() {
        let mix = Mix { kind: Kind::Calls, fenced: 0.25, wrong: 0.5 };
        let formats: Vec<ReplyFormat> =
            (0..2000).map(|number| draw_request(Shape { mix, ..shape(0.0, 0.0) }, number).format).collect();
        let count = |is: fn(&ReplyFormat) -> bool| formats.iter().filter(|format| is(format)).count();
        assert!(
            (400..600).contains(&count(|format| matches!(format, ReplyFormat::Calls { style, .. } if style.fenced)))
        );
        assert!(
            (800..1200).contains(&count(|format| matches!(format, ReplyFormat::Calls { style, .. } if style.wrong)))
        );
        assert!((800..1200).contains(&count(|format| matches!(format, ReplyFormat::Calls { required: true, .. }))));
    }

    #[test]
    fn a_fifth_of_the_streams_is_left() {
        let requests: Vec<ChatRequest> = (0..2000).map(|number| draw_request(shape(1.0, 0.2), number)).collect();
        let leaving = requests.iter().filter(|request| request.leave_after.is_some()).count();
        assert!(requests.iter().all(|request| request.stream));
        assert!((320..480).contains(&leaving), "{leaving} of 2000 leave");
        assert!((0..2000).all(|number| !draw_request(shape(0.0, 1.0), number).stream));
    }
}
