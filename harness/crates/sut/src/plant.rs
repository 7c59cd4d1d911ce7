//! Leaks that are planted on purpose, to prove that the gate sees them.
//!
//! They hang on the pool's public observer: the product holds no code for them. Each takes one thing at a restart and
//! does not give it back before [`Plant::release`].

use std::sync::{Mutex, OnceLock, PoisonError};

use cc_openai_wrapper::invoker::Factory;
use cc_openai_wrapper::pool::observer::{LifeEvent, Observer};
use cc_openai_wrapper::shutdown::SpawnCounts;

pub mod leaked;
pub mod spec;

pub use self::leaked::Leaked;
pub use self::spec::{Kind, Spec};

/// A planted leak.
#[derive(Debug)]
pub struct Plant {
    spec: Spec,
    /// Starts invokers that the pool does not know.
    factory: OnceLock<Factory>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    restarts: u64,
    leaked: Leaked,
}

impl Plant {
    /// A leak that begins with the first restart.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self { spec, factory: OnceLock::new(), state: Mutex::new(State { restarts: 0, leaked: Leaked::new() }) }
    }

    /// Starts invokers with `factory` from now on. To be called once the server has started.
    pub fn use_factory(&self, factory: Factory) {
        // A second one would be the same.
        let _ = self.factory.set(factory);
    }

    /// Where the planted tasks were spawned.
    #[must_use]
    pub fn spawn_counts(&self) -> SpawnCounts {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).leaked.spawn_counts()
    }

    /// Gives everything back, except for what is planted to outlive the server.
    pub fn release(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).leaked.release();
    }
}

impl Observer for Plant {
    fn event(&self, event: &LifeEvent) {
        if !matches!(event, LifeEvent::Switched { .. }) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.restarts += 1;
        if self.spec.strikes_at(state.restarts) {
            let restart = state.restarts;
            if let Err(error) = state.leaked.take(self.spec, restart, self.factory.get()) {
                // The control then finds nothing, and fails with what is on stderr.
                log_to_stderr(&format!("cannot plant {}: {error}", self.spec));
            }
        }
    }
}

fn log_to_stderr(message: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{message}");
}
