//! The whole server: pool and HTTP together, from start to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::claude::ClaudeCommand;
use crate::claude::account::{self, KeyMissing};
use crate::claude::endpoint;
use crate::claude::system_prompt::{self, SystemPromptError};
use crate::config::{Config, Key};
use crate::http::{self, HttpService};
use crate::invoker::Factory;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::pool::observer::{Log, Observer};
use crate::runtime::{RuntimeError, RuntimeFolder};
use crate::shutdown::{SpawnCounts, Tasks};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An open server without a key would let everybody use the account.
    #[error(
        "{0} can be reached from other machines: set a key with --api-key or --api-key-file, or listen on 127.0.0.1"
    )]
    KeyMissing(std::net::SocketAddr),
    /// The private folder can't be created.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// No account to bill.
    #[error(transparent)]
    Account(#[from] KeyMissing),
    /// The system prompt can't be read.
    #[error(transparent)]
    SystemPrompt(#[from] SystemPromptError),
    /// The listener has no address.
    #[error("cannot read the address of the listener: {0}")]
    Listener(#[from] std::io::Error),
}

/// The CLI that `config` asks for. Its system prompt is kept in `runtime`, so that every restart has the same text,
/// whatever becomes of the file.
pub fn claude_command(config: &Config, runtime: &mut RuntimeFolder) -> Result<ClaudeCommand, StartError> {
    let account = account::select_account(config.auth, account::is_set)?;
    let system_prompt = config.system_prompt_file.as_deref().map(system_prompt::read).transpose()?;
    let system_prompt = system_prompt.map(|text| runtime.write_private_file("system-prompt", &text)).transpose()?;
    tracing::info!(auth = %account, "turns are billed to this account");
    if let Some(url) = endpoint::base_url_override() {
        tracing::warn!(url, "{} is set: the CLI sends requests there", endpoint::VARIABLE);
    }
    Ok(ClaudeCommand::new(config, account, system_prompt.as_deref()))
}

/// A running server.
pub struct Server {
    pool: Pool,
    tasks: Tasks,
    invokers: Tasks,
    http: JoinHandle<()>,
    grace: Duration,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Whether all tasks have ended, and so all processes.
    pub clean: bool,
}

/// After the grace period, how long everything may take to be gone: the stopping ladder and a second.
const HARD_STOP: Duration = Duration::from_secs(9);

/// Once the pool is empty, how long tasks may take to notice that they are done.
const JOIN: Duration = Duration::from_secs(2);

impl Server {
    /// Starts the invokers and serves HTTP on `listener`, to clients that have one of `keys` if there are any. To be called
    /// within a tokio runtime.
    pub fn start(
        listener: TcpListener,
        config: Config,
        keys: Vec<Key>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && keys.is_empty() {
            return Err(StartError::KeyMissing(address));
        }
        let mut runtime = RuntimeFolder::create(config.runtime_dir.as_deref())?;
        let cli = claude_command(&config, &mut runtime)?;
        let (tasks, invokers) = (Tasks::new(), Tasks::new());
        let factory = Factory::new(&config, cli, runtime, invokers.clone());
        let metrics = Arc::new(Metrics::new(http::ROUTES));
        let own: [Arc<dyn Observer>; 2] = [Arc::new(Log), Arc::clone(&metrics) as _];
        let observers = own.into_iter().chain(observers).collect();
        let pool = Pool::start(&config, factory, observers, &invokers);
        let grace = config.stop_timeout;
        let service = HttpService { config: Arc::new(config), keys, backend: pool.clone(), metrics };
        let http = tasks.spawn(service.serve(listener, tasks.clone()));
        Ok(Self { pool, tasks, invokers, http, grace })
    }

    /// The pool behind it.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Where its tasks were spawned: those of the connections, and those of the pool with its invokers.
    #[must_use]
    pub fn spawn_counts(&self) -> [SpawnCounts; 2] {
        [self.tasks.spawn_counts(), self.invokers.spawn_counts()]
    }

    /// A function that kills the server while it stops, without waiting for clients.
    pub fn killer(&self) -> impl FnOnce() + use<> {
        let (pool, tasks) = (self.pool.clone(), self.tasks.clone());
        move || {
            pool.kill();
            tasks.hurry();
        }
    }

    /// Stops in good invocation, from the outside to the inside: nobody new is let in, whoever is in has until the end of the
    /// grace period to get an answer, with the pool working as ever; then the pool ends whatever is left.
    pub async fn stop(mut self) -> Stopped {
        self.pool.drain();
        self.tasks.stop();
        if timeout(self.grace, &mut self.http).await.is_err() {
            tracing::warn!(grace = ?self.grace, "requests are still running at the stop deadline and are cancelled");
        }
        let emptied = timeout(HARD_STOP, self.pool.stop()).await.is_ok();
        let joined = self.tasks.join(JOIN).await & self.invokers.join(JOIN).await;
        Stopped { clean: emptied && joined }
    }
}
