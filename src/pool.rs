//! Slots, standby, restarts and recovery.
//!
//! The decisions are in `core`, a pure state machine behind one lock that is never held across an `await`. The source
//! of an input (a request, an invoker's report, the clock) takes the lock, passes the input to the core, and carries out
//! the core's effects. One task waits for the clock and calls the observers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::claude::account::Account;
use crate::clock::{now, sleep_until};
use crate::config::Config;
use crate::invoker::life::Clear;
use crate::invoker::reason::StopReason;
use crate::invoker::{Assignment, Factory, Invoker, REPLY_QUEUE, Report};
use crate::shutdown::Tasks;
use crate::turn::{Completion, Model, Prompt, TurnError, TurnEvent};

pub(crate) mod core;
pub mod observer;
pub(crate) mod policy;
pub mod status;

use self::core::{Core, Effects, Id, Rules, Ticket};
use observer::{LifeEvent, Observer};
use status::PoolStatus;

/// A handle to the pool; clones are cheap and share it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    factory: Factory,
    queue_timeout: Duration,
    /// Wakes the driver: there is an event for the observers, or another time for the next tick.
    driver: Notify,
    /// Wakes `restart` and `stop`, which wait for a state of the core.
    changed: Notify,
    own: Weak<Shared>,
}

struct Inner {
    core: Core,
    invokers: BTreeMap<Id, Invoker>,
    waiting: BTreeMap<Ticket, Waiting>,
    next_ticket: Ticket,
    events: VecDeque<LifeEvent>,
}

/// A request in the queue. `accepted` is `None` for one that an invoker has handed back.
struct Waiting {
    assignment: Assignment,
    accepted: Option<oneshot::Sender<Result<(), TurnError>>>,
}

/// A running turn. Dropping it before its end interrupts the turn.
#[derive(Debug)]
pub struct Turn {
    events: mpsc::Receiver<TurnEvent>,
    on_end: OnTurnEnd,
}

/// How a turn ended for its reader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TurnEnd<'a> {
    /// With a reply.
    Done(&'a Completion),
    /// With an error.
    Failed(&'a TurnError),
    /// The reader dropped it.
    GivenUp,
}

type TurnEndCallback = Box<dyn FnOnce(TurnEnd<'_>) + Send>;

/// Calls back once with the end of a turn.
#[derive(Default)]
struct OnTurnEnd(Option<TurnEndCallback>);

impl OnTurnEnd {
    fn call_once(&mut self, end: TurnEnd<'_>) {
        if let Some(callback) = self.0.take() {
            callback(end);
        }
    }
}

impl std::fmt::Debug for OnTurnEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OnTurnEnd").field(&self.0.is_some()).finish()
    }
}

impl Drop for OnTurnEnd {
    fn drop(&mut self) {
        self.call_once(TurnEnd::GivenUp);
    }
}

impl Turn {
    /// A turn that reads its events from `events`.
    #[must_use]
    pub fn new(events: mpsc::Receiver<TurnEvent>) -> Self {
        Self { events, on_end: OnTurnEnd::default() }
    }

    /// Calls `on_end` once: when the end of the turn is read, or when the turn is dropped before.
    #[must_use]
    pub fn on_end(self, on_end: impl FnOnce(TurnEnd<'_>) + Send + 'static) -> Self {
        Self { on_end: OnTurnEnd(Some(Box::new(on_end))), ..self }
    }

    /// The next event; the last one is `Done` or `Failed`, then `None`.
    pub async fn next(&mut self) -> Option<TurnEvent> {
        let event = self.events.recv().await;
        match &event {
            Some(TurnEvent::Text(_)) => {}
            Some(TurnEvent::Done(completion)) => self.on_end.call_once(TurnEnd::Done(completion)),
            Some(TurnEvent::Failed(error)) => self.on_end.call_once(TurnEnd::Failed(error)),
            None => self.on_end.call_once(TurnEnd::Failed(&lost_turn_error())),
        }
        event
    }
}

/// The error of a turn whose events ended without `Done` or `Failed`.
#[must_use]
pub fn lost_turn_error() -> TurnError {
    TurnError::Cli("the turn ended without a result".to_owned())
}

/// Memory and processes of the whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeMemory {
    /// RSS of the server's own process, in bytes.
    pub rss: u64,
    /// RSS of the server and of everything below it, in bytes.
    pub tree_rss: u64,
    /// Processes below the server that are not keepers: the CLIs, and whatever they started.
    pub cli_processes: usize,
    /// The mechanism that ends them with the server.
    pub containment: &'static str,
}

/// Each CLI has a keeper that is a child subreaper.
const CONTAINMENT: &str = "subreaper";

impl Pool {
    /// Starts the pool's invokers. Its tasks belong to `tasks`.
    #[must_use]
    pub fn start(config: &Config, factory: Factory, observers: Vec<Arc<dyn Observer>>, tasks: &Tasks) -> Self {
        let inner = Inner {
            core: Core::new(Rules::from(config), fastrand::u64(..)),
            invokers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_ticket: 1,
            events: VecDeque::new(),
        };
        let shared = Arc::new_cyclic(|own| Shared {
            inner: Mutex::new(inner),
            factory,
            queue_timeout: config.queue_timeout,
            driver: Notify::new(),
            changed: Notify::new(),
            own: own.clone(),
        });
        tasks.spawn(run_driver(Arc::clone(&shared), observers));
        shared.update_core(Core::tick);
        Self { shared }
    }

    /// Queues a turn and waits until an invoker has taken it. Dropping the future removes it from the queue.
    pub async fn turn(&self, prompt: Prompt) -> Result<Turn, TurnError> {
        let (reply, events) = mpsc::channel(REPLY_QUEUE);
        let (accepted, accept) = oneshot::channel();
        let assignment = Assignment { prompt, reply, retried: false };
        let entry = self.shared.enqueue_request(Waiting { assignment, accepted: Some(accepted) })?;
        let result = tokio::time::timeout(self.shared.queue_timeout, accept).await;
        drop(entry);
        match result {
            Ok(Ok(Ok(()))) => Ok(Turn::new(events)),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(TurnError::Stopping),
            Err(_) => Err(TurnError::QueueTimeout(self.shared.queue_timeout)),
        }
    }

    /// The factory that starts the pool's invokers. Every invoker that it starts counts as live.
    #[must_use]
    pub fn factory(&self) -> &Factory {
        &self.shared.factory
    }

    /// A snapshot of the pool.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let now = now();
        let status = self.shared.lock().core.status(now);
        // The factory also counts invokers that were not started by the core.
        PoolStatus { live: self.shared.factory.live(), high_water: self.shared.factory.high_water(), ..status }
    }

    /// The account that pays for turns.
    #[must_use]
    pub fn account(&self) -> Account {
        self.shared.factory.account()
    }

    /// The models that the CLI offers, as the latest invoker to become ready has heard; none before the first one.
    #[must_use]
    pub fn models(&self) -> Vec<Model> {
        self.shared.factory.models()
    }

    /// Reads the memory of the whole tree, now.
    #[must_use]
    pub fn memory(&self) -> TreeMemory {
        let rss = process_tree::rss(rustix::process::getpid().as_raw_nonzero().get());
        let mut memory = TreeMemory { rss, tree_rss: rss, cli_processes: 0, containment: CONTAINMENT };
        for keeper in self.shared.factory.keepers() {
            let below = process_tree::descendants(keeper);
            memory.cli_processes += below.len();
            memory.tree_rss += process_tree::rss(keeper) + below.into_iter().map(process_tree::rss).sum::<u64>();
        }
        memory
    }

    /// Replaces every serving invoker, as at a limit; returns how many, once they are replaced.
    pub async fn restart(&self) -> usize {
        let ids = self.shared.update_core(Core::restart);
        let mut changed = std::pin::pin!(self.shared.changed.notified());
        loop {
            // Before the check: `notify_waiters` wakes only those that have registered.
            changed.as_mut().enable();
            let (replaced, over) = {
                let inner = self.shared.lock();
                let left = ids.iter().filter(|id| inner.core.serves_any(&[**id])).count();
                let state = inner.core.status(now()).state;
                (ids.len() - left, left == 0 || state != status::PoolState::Ready)
            };
            if over {
                return replaced;
            }
            changed.as_mut().await;
            changed.set(self.shared.changed.notified());
        }
    }

    /// Announces that the server accepts no new requests. Accepted ones get all the turns that they need.
    pub fn drain(&self) {
        self.shared.update_core(Core::drain);
    }

    /// Ends all running and waiting turns, and returns when every invoker is gone.
    pub async fn stop(&self) {
        self.shared.update_core(Core::stop);
        let mut changed = std::pin::pin!(self.shared.changed.notified());
        loop {
            // Before the check, as in `restart`.
            changed.as_mut().enable();
            if self.shared.lock().core.is_over() {
                return;
            }
            changed.as_mut().await;
            changed.set(self.shared.changed.notified());
        }
    }

    /// Ends all turns and kills every process tree.
    pub fn kill(&self) {
        self.shared.update_core(Core::kill);
    }
}

/// A request in the queue. Dropping it withdraws the request, unless an invoker has taken it.
struct QueueEntry {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        if inner.waiting.remove(&self.ticket).is_some() {
            inner.core.withdraw_request(self.ticket);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock is our own bug; serving on with this state is better than failing every request.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an input to the core and carries out its effects.
    fn update_core<T>(&self, what: impl FnOnce(&mut Core, Instant, &mut dyn Effects) -> T) -> T {
        let result = {
            let mut guard = self.lock();
            let Inner { core, invokers, waiting, events, .. } = &mut *guard;
            what(core, now(), &mut EffectRunner { shared: self, invokers, waiting, events })
        };
        self.driver.notify_one();
        self.changed.notify_waiters();
        result
    }

    fn register_request(&self, request: Waiting) -> Ticket {
        let mut inner = self.lock();
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        inner.waiting.insert(ticket, request);
        ticket
    }

    fn enqueue_request(&self, request: Waiting) -> Result<QueueEntry, TurnError> {
        let ticket = self.register_request(request);
        let result = self.update_core(|core, now, fx| core.add_request(ticket, now, fx));
        // Before `?` below: dropping the entry removes a request that was refused.
        let shared = self.own.upgrade().ok_or(TurnError::Stopping)?;
        let entry = QueueEntry { shared, ticket };
        result.map(|()| entry)
    }

    fn handle_report(&self, id: Id, report: Report<Assignment>) {
        let gone = matches!(report, Report::Gone { .. });
        let report = report.map(|assignment| self.register_request(Waiting { assignment, accepted: None }));
        self.update_core(|core, now, fx| core.handle_report(id, report, now, fx));
        if gone {
            self.lock().invokers.remove(&id);
        }
    }
}

/// Carries out the effects of the core. Runs under the lock, so nothing here waits.
struct EffectRunner<'a> {
    shared: &'a Shared,
    invokers: &'a mut BTreeMap<Id, Invoker>,
    waiting: &'a mut BTreeMap<Ticket, Waiting>,
    events: &'a mut VecDeque<LifeEvent>,
}

impl Effects for EffectRunner<'_> {
    fn start_invoker(&mut self) -> Id {
        // Weak: the invoker's task would otherwise keep the pool alive that holds the invoker.
        let pool = self.shared.own.clone();
        let invoker = self.shared.factory.start_reporting(Arc::new(move |id, report| {
            if let Some(pool) = pool.upgrade() {
                pool.handle_report(id, report);
            }
        }));
        let id = invoker.id();
        self.invokers.insert(id, invoker);
        id
    }

    fn runs_requested_model(&self, id: Id, ticket: Ticket) -> bool {
        let (invoker, waiting) = (self.invokers.get(&id), self.waiting.get(&ticket));
        invoker.zip(waiting).is_some_and(|(invoker, waiting)| invoker.runs_model_of(&waiting.assignment.prompt))
    }

    fn assign_turn(&mut self, id: Id, ticket: Ticket, clear: Clear) -> bool {
        let Some(waiting) = self.waiting.remove(&ticket) else { return true };
        let Some(invoker) = self.invokers.get_mut(&id) else { return false };
        match invoker.assign_turn(waiting.assignment, clear) {
            Ok(()) => {
                // If the client has left in this instant, the invoker finds the reply channel closed.
                let _ = waiting.accepted.map(|accepted| accepted.send(Ok(())));
                true
            }
            Err(assignment) => {
                self.waiting.insert(ticket, Waiting { assignment, accepted: waiting.accepted });
                false
            }
        }
    }

    fn refuse_request(&mut self, ticket: Ticket, error: TurnError) {
        match self.waiting.remove(&ticket) {
            Some(Waiting { accepted: Some(accepted), .. }) => drop(accepted.send(Err(error))),
            // Handed back by an invoker: the client already reads events, so the error is one of them.
            Some(Waiting { assignment, accepted: None }) => drop(assignment.reply.try_send(TurnEvent::Failed(error))),
            None => {}
        }
    }

    fn stop_invoker(&mut self, id: Id, cause: StopReason, now: bool) {
        if let Some(invoker) = self.invokers.get(&id) {
            invoker.stop(cause, now);
        }
    }

    fn kill_invoker(&mut self, id: Id) {
        if let Some(invoker) = self.invokers.get(&id) {
            invoker.kill();
        }
    }

    fn emit_event(&mut self, event: LifeEvent) {
        self.events.push_back(event);
    }
}

/// Calls the observers, and ticks the core when time alone changes something. Ends when the last invoker of a
/// stopping pool is gone.
async fn run_driver(shared: Arc<Shared>, observers: Vec<Arc<dyn Observer>>) {
    loop {
        let (events, next, over) = {
            let mut inner = shared.lock();
            let events = std::mem::take(&mut inner.events);
            (events, inner.core.next_tick(now()), inner.core.is_over())
        };
        // Consumed by value, so that an idle pool holds no memory of past events.
        for event in events {
            for observer in &observers {
                observer.event(&event);
            }
        }
        if over {
            return;
        }
        tokio::select! {
            () = shared.driver.notified() => {}
            () = sleep_until(next) => shared.update_core(Core::tick),
        }
    }
}
