//! The end of what a server writes to a pipe: always drained, so that the server never blocks on it, and never more than a
//! limit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How much is kept, in bytes.
const KEPT: usize = 16 * 1024;

/// A drained pipe.
#[derive(Debug)]
pub struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinSet<()>,
}

impl Tail {
    /// Starts to drain a child's stderr or stdout.
    #[must_use]
    pub fn drain(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::with_capacity(KEPT)));
        let mut reader = JoinSet::new();
        if let Some(pipe) = pipe {
            reader.spawn(read(pipe, Arc::clone(&kept)));
        }
        Self { kept, reader }
    }

    /// What is kept at this moment.
    #[must_use]
    pub fn now(&self) -> String {
        let bytes: Vec<u8> = self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What is kept once the server has closed it. An orphan that holds it open is not waited for.
    pub async fn end(mut self) -> String {
        // An error here is the deadline; what has come until then is the answer.
        let _ = timeout(Duration::from_millis(500), self.reader.join_next()).await;
        self.now()
    }
}

async fn read(mut pipe: impl AsyncRead + Unpin, kept: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = (kept.len() + length).saturating_sub(KEPT);
        kept.drain(..surplus);
        kept.extend(&buffer[..length]);
    }
}
