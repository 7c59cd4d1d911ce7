//! The factory that starts and counts invokers, and the handle that the pool holds for each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::claude::ClaudeCommand;
use crate::claude::account::Account;
use crate::claude::quota::QuotaHold;
use crate::config::Config;
use crate::invoker::reason::StopReason;
use crate::runtime::RuntimeFolder;
use crate::shutdown::Tasks;
use crate::turn::{Model, Prompt, TurnEvent, Usage};

mod actor;
pub mod binding;
pub(crate) mod life;
pub(crate) mod reason;
pub(crate) mod reply;

pub(crate) use actor::REPLY_QUEUE;
use life::{Cause, Clear, Deadlines};

/// A turn on its way to an invoker: the prompt, and where the reply goes.
#[derive(Debug)]
pub struct Assignment {
    /// The prompt.
    pub prompt: Prompt,
    /// Receives the events; closed once the client has left.
    pub reply: mpsc::Sender<TurnEvent>,
    /// Another invoker has handed it back before; it is not retried again.
    pub retried: bool,
}

/// A report of an invoker to its owner. `T` is the type of a turn that is handed back.
#[derive(Debug, Clone, PartialEq)]
pub enum Report<T> {
    /// The CLI answered `initialize`.
    Ready {
        /// RSS of its process tree, in bytes.
        rss: u64,
    },
    /// The turn is over; `usage` is `None` if the CLI gave no count.
    TurnOver {
        /// The turn's tokens.
        usage: Option<Usage>,
    },
    /// The invoker can take the next turn.
    Idle {
        /// The conversation is empty.
        cleared: bool,
        /// RSS of its process tree, in bytes.
        rss: u64,
    },
    /// `/clear` worked although the invoker stops afterwards.
    Cleared,
    /// The turn failed before any byte of it reached the client, so another invoker can run it.
    Returned(T),
    /// The account's quota is used up.
    RateLimited(QuotaHold),
    /// The invoker takes no more turns.
    Leaving {
        /// Why.
        cause: Cause,
        /// RSS of its process tree, in bytes.
        rss: u64,
    },
    /// The process tree is empty.
    Gone {
        /// Why.
        cause: Cause,
        /// The CLI is missing or not executable, so that another start would fail as well.
        unusable: bool,
    },
}

impl<T> Report<T> {
    /// The same with another name for the turn.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Report<U> {
        match self {
            Self::Ready { rss } => Report::Ready { rss },
            Self::TurnOver { usage } => Report::TurnOver { usage },
            Self::Idle { cleared, rss } => Report::Idle { cleared, rss },
            Self::Cleared => Report::Cleared,
            Self::Returned(returned) => Report::Returned(turn(returned)),
            Self::RateLimited(hold) => Report::RateLimited(hold),
            Self::Leaving { cause, rss } => Report::Leaving { cause, rss },
            Self::Gone { cause, unusable } => Report::Gone { cause, unusable },
        }
    }
}

/// A command of the pool to an invoker.
#[derive(Debug)]
enum Command {
    Turn { assignment: Assignment, clear: Clear },
    Stop { cause: StopReason, now: bool },
    Kill,
}

/// One invoker. Dropping the handle stops it.
#[derive(Debug)]
pub struct Invoker {
    id: u64,
    commands: mpsc::Sender<Command>,
    /// The model of its latest turn; `None` is the model that it was started with.
    model: Option<String>,
}

/// Capacity for the commands that can be sent before the invoker reads one: a turn, a stop, a kill, and one spare.
const COMMANDS: usize = 4;

impl Invoker {
    /// Its number; the first of a server is 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it already runs the model of `prompt`. Wrong only if the CLI refused the switch to it.
    pub(crate) fn runs_model_of(&self, prompt: &Prompt) -> bool {
        self.model == prompt.model
    }

    /// Runs a turn. The invoker must be ready or idle; returns the turn if the invoker is gone.
    pub(crate) fn assign_turn(&mut self, assignment: Assignment, clear: Clear) -> Result<(), Assignment> {
        self.model.clone_from(&assignment.prompt.model);
        let command = Command::Turn { assignment, clear };
        self.commands.try_send(command).map_err(|error| match error.into_inner() {
            Command::Turn { assignment, .. } => assignment,
            Command::Stop { .. } | Command::Kill => unreachable!("a turn was sent"),
        })
    }

    /// Stops it with the ladder of `life::Rung`: after the running turn, or `now`.
    pub fn stop(&self, cause: StopReason, now: bool) {
        // Fails only if the invoker has ended.
        let _ = self.commands.try_send(Command::Stop { cause, now });
    }

    /// Kills its process tree.
    pub fn kill(&self) {
        let _ = self.commands.try_send(Command::Kill);
    }
}

/// Receives the reports of an invoker, with its number.
pub(crate) type Sink = Arc<dyn Fn(u64, Report<Assignment>) + Send + Sync>;

/// Starts invokers, and counts those whose process tree is not known to be empty.
#[derive(Clone)]
pub struct Factory {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Factory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factory")
            .field("live", &self.live())
            .field("high_water", &self.high_water())
            .finish_non_exhaustive()
    }
}

struct Shared {
    cli: ClaudeCommand,
    /// The model that each CLI is started with.
    model: String,
    /// The models that the latest CLI to start has listed.
    models: Mutex<Vec<Model>>,
    runtime: RuntimeFolder,
    deadlines: Deadlines,
    max_line: usize,
    tasks: Tasks,
    next: AtomicU64,
    live: AtomicUsize,
    high_water: AtomicUsize,
    keepers: Mutex<BTreeMap<u64, i32>>,
}

impl Factory {
    /// A factory for `config`, which starts `cli`; its invokers are tasks of `tasks`.
    #[must_use]
    pub fn new(config: &Config, cli: ClaudeCommand, runtime: RuntimeFolder, tasks: Tasks) -> Self {
        let deadlines =
            Deadlines { start: config.start_timeout, silence: config.silence_timeout, turn: config.turn_timeout };
        let shared = Shared {
            cli,
            model: config.model.clone(),
            models: Mutex::new(Vec::new()),
            runtime,
            deadlines,
            max_line: usize::try_from(config.max_line_bytes).unwrap_or(usize::MAX),
            tasks,
            next: AtomicU64::new(1),
            live: AtomicUsize::new(0),
            high_water: AtomicUsize::new(0),
            keepers: Mutex::new(BTreeMap::new()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts an invoker without a receiver for its reports. It counts as live; dropping the handle stops it.
    #[must_use]
    pub fn start_invoker(&self) -> Invoker {
        self.start_reporting(Arc::new(|_, _| {}))
    }

    /// Starts an invoker that reports to `sink`.
    pub(crate) fn start_reporting(&self, sink: Sink) -> Invoker {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let live = LiveInvoker::register(id, self.clone(), sink);
        // Counted above, before the task can run: the limit must hold from before the process exists.
        self.shared.tasks.spawn(actor::run(live, receiver));
        Invoker { id, commands, model: None }
    }

    /// Invokers whose process tree is not known to be empty, those that are just being started included.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }

    /// The largest [`Factory::live`] since the start.
    #[must_use]
    pub fn high_water(&self) -> usize {
        self.shared.high_water.load(Ordering::SeqCst)
    }

    /// The account that pays for turns.
    #[must_use]
    pub fn account(&self) -> Account {
        self.shared.cli.account()
    }

    /// The models that the CLI offers, as the latest invoker to become ready has heard; none before the first one.
    #[must_use]
    pub fn models(&self) -> Vec<Model> {
        self.shared.models.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keepers' pids: the roots of everything that this server has started.
    #[must_use]
    pub fn keepers(&self) -> Vec<i32> {
        self.shared.keepers.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }
}

/// One live invoker, counted from before its process is asked for until its tree is empty.
struct LiveInvoker {
    id: u64,
    factory: Factory,
    sink: Sink,
    counted: bool,
}

impl LiveInvoker {
    fn register(id: u64, factory: Factory, sink: Sink) -> Self {
        let live = factory.shared.live.fetch_add(1, Ordering::SeqCst) + 1;
        factory.shared.high_water.fetch_max(live, Ordering::SeqCst);
        Self { id, factory, sink, counted: true }
    }

    fn set_keeper(&self, pid: Option<i32>) {
        let mut keepers = self.factory.shared.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        match pid {
            Some(pid) => keepers.insert(self.id, pid),
            None => keepers.remove(&self.id),
        };
    }

    /// Stores the list of models if it has changed, so that a restart with the same list allocates nothing that stays.
    fn update_models(&self, mut models: Vec<Model>) {
        let mut known = self.factory.shared.models.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != models {
            models.shrink_to_fit();
            *known = models;
        }
    }

    fn report(&self, report: Report<Assignment>) {
        (self.sink)(self.id, report);
    }

    /// Ends the count and reports `Gone`. The count comes first: the receiver may start a replacement at once.
    fn report_gone(&mut self, cause: Cause, unusable: bool) {
        self.set_keeper(None);
        if std::mem::take(&mut self.counted) {
            self.factory.shared.live.fetch_sub(1, Ordering::SeqCst);
            self.report(Report::Gone { cause, unusable });
        }
    }
}

/// Runs also when the invoker's task panics: its processes end and its slot becomes free.
impl Drop for LiveInvoker {
    fn drop(&mut self) {
        if self.counted {
            self.factory.shared.runtime.end_leftovers(self.id, None);
            self.report_gone(Cause::Failed("its task ended before its process".to_owned()), false);
        }
    }
}

/// RSS of a keeper's process tree, in bytes. The keeper itself adds a few hundred kB.
fn keeper_tree_rss(keeper: Option<i32>) -> u64 {
    keeper.map_or(0, process_tree::tree_rss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_invoker_whose_task_ends_early_is_reported_gone_and_not_counted() {
        let (root, config) = (tempfile::tempdir().unwrap(), Config::default());
        let runtime = RuntimeFolder::create(Some(&root.path().join("runtime"))).unwrap();
        let factory =
            Factory::new(&config, ClaudeCommand::new(&config, Account::Subscription, None), runtime, Tasks::new());
        let reports = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&reports);
        let live = LiveInvoker::register(
            7,
            factory.clone(),
            Arc::new(move |id, report| sink.lock().unwrap().push((id, report))),
        );
        assert_eq!(factory.live(), 1);
        drop(live);
        assert_eq!((factory.live(), factory.high_water()), (0, 1));
        let reports = reports.lock().unwrap();
        assert!(matches!(reports[..], [(7, Report::Gone { cause: Cause::Failed(_), unusable: false })]), "{reports:?}");
    }
}
