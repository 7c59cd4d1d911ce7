//! Slots, standby, restarts and recovery: who serves next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::shutdown::Tasks;
use crate::turn::{Prompt, TurnError, TurnEvent};

pub mod observer;

/// A handle to the pool; clones are cheap and share it.
#[derive(Clone)]
pub struct Pool {
}

impl Pool {
    /// Queues a turn and waits until an invoker has taken it.
    pub async fn turn(&self, prompt: Prompt) -> Result<Turn, TurnError> {
        unimplemented!()
    }
}

/// A turn that an invoker is working on. Dropping it before its end interrupts the turn.
pub struct Turn {
    events: mpsc::Receiver<TurnEvent>,
}

impl Turn {
    /// The next event; the last one is `Done` or `Failed`, then `None`.
    pub async fn next(&mut self) -> Option<TurnEvent> {
        self.events.recv().await
    }
}
