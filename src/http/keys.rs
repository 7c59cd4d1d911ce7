//! Looks keys up, and enforces their limits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::ApiError;
use crate::config::{self, KeyLimits, secret};
use window::Window;

mod window;

/// The name of the key that a request was sent with, never the key. An extension of such a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName(Arc<str>);

impl KeyName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// All keys, prepared once at the start.
pub(super) struct Keys(Vec<Key>);

/// A key and the state of its limits.
pub(super) struct Key {
    padded: Padded,
    name: KeyName,
    admin: bool,
    concurrency_limit: Option<ConcurrencyLimit>,
    rate: Option<RateLimit>,
}

/// How many requests of a key there may be in a minute.
struct RateLimit {
    start: Instant,
    window: Mutex<Window>,
}

impl Keys {
    pub(super) fn new(keys: &[config::Key]) -> Self {
        Self(keys.iter().map(Key::new).collect())
    }

    /// Whether clients need no key.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds the key `given`. Takes the same time for every key, known or not, so that timing reveals nothing.
    pub(super) fn find(&self, given: &[u8]) -> Option<&Key> {
        let given = Padded::new(given)?;
        let (mut found, mut at) = (Choice::from(0), 0);
        for (index, key) in (0_u64..).zip(&self.0) {
            let same = key.padded.equals(&given);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let key = self.0.get(usize::try_from(at).ok()?);
        key.filter(|_| found.into())
    }
}

/// A key padded to the fixed length at which keys are compared.
struct Padded {
    bytes: [u8; secret::LONGEST],
    length: u64,
}

impl Padded {
    /// None if `key` is longer than any valid key.
    fn new(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; secret::LONGEST];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(Self { bytes, length: key.len() as u64 })
    }

    fn equals(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes) & self.length.ct_eq(&other.length)
    }
}

/// Limit of a key's running and waiting requests.
struct ConcurrencyLimit {
    most: u32,
    queue: u32,
    /// One permit for each request that runs or waits.
    admitted: Arc<Semaphore>,
    /// One permit for each request that runs. Its holder has one of `admitted` as well.
    served: Arc<Semaphore>,
}

/// Permit of a running request; dropping it lets the next one run.
pub(super) struct KeyPermit {
    _permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// A request within the limits of its key.
pub(super) enum Admission {
    /// The request can run at once.
    Now(KeyPermit),
    /// The request has to wait for others of the same key.
    Queued(Queued),
}

/// A request that waits for others of its key; dropping it leaves the queue.
pub(super) struct Queued {
    name: KeyName,
    admitted: OwnedSemaphorePermit,
    served: Arc<Semaphore>,
}

impl Key {
    fn new(key: &config::Key) -> Self {
        let KeyLimits { concurrency, requests_per_minute } = key.limits;
        Self {
            // A key that is too long can't be made; should there be one, none that is sent equals it.
            padded: Padded::new(key.key.expose()).unwrap_or(Padded { bytes: [0; secret::LONGEST], length: u64::MAX }),
            name: KeyName(key.name.as_str().into()),
            admin: key.admin,
            concurrency_limit: concurrency.map(|(most, queue)| ConcurrencyLimit::new(most.get(), queue)),
            rate: requests_per_minute.map(|most| RateLimit::new(most.get())),
        }
    }

    pub(super) fn name(&self) -> &KeyName {
        &self.name
    }

    /// Whether it may use the routes below `/admin/`.
    pub(super) fn is_admin(&self) -> bool {
        self.admin
    }

    /// Counts a request, or rejects it above a limit. A request above the concurrency limit does not count against the rate.
    pub(super) fn admit_request(&self) -> Result<Admission, ApiError> {
        let Some(concurrency_limit) = &self.concurrency_limit else {
            self.count_request()?;
            return Ok(Admission::Now(KeyPermit { _permits: None }));
        };
        let admitted = Arc::clone(&concurrency_limit.admitted)
            .try_acquire_owned()
            .map_err(|_none| self.concurrency_error(concurrency_limit))?;
        self.count_request()?;
        Ok(match Arc::clone(&concurrency_limit.served).try_acquire_owned() {
            Ok(served) => Admission::Now(KeyPermit { _permits: Some((served, admitted)) }),
            Err(_) => Admission::Queued(Queued {
                name: self.name.clone(),
                admitted,
                served: Arc::clone(&concurrency_limit.served),
            }),
        })
    }

    fn concurrency_error(&self, ConcurrencyLimit { most, queue, .. }: &ConcurrencyLimit) -> ApiError {
        let name = self.name.as_str();
        let message = format!("the key `{name}` has reached its limit of {most} running and {queue} waiting requests");
        ApiError::over_limit(message, None)
    }

    fn count_request(&self) -> Result<(), ApiError> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.admit().map_err(|wait| {
            let message = format!("the key `{}` has reached its limit of requests per minute", self.name.as_str());
            ApiError::over_limit(message, Some(wait))
        })
    }
}

impl RateLimit {
    fn new(most: u32) -> Self {
        Self { start: Instant::now(), window: Mutex::new(Window::new(most)) }
    }

    fn admit(&self) -> Result<(), Duration> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // Read the clock under the lock: the window needs times that never go back.
        window.admit(self.start.elapsed())
    }
}

impl ConcurrencyLimit {
    fn new(most: u32, queue: u32) -> Self {
        let all = (most as usize).saturating_add(queue as usize).min(Semaphore::MAX_PERMITS);
        let served = (most as usize).min(Semaphore::MAX_PERMITS);
        Self { most, queue, admitted: Arc::new(Semaphore::new(all)), served: Arc::new(Semaphore::new(served)) }
    }
}

impl Queued {
    /// Waits for a permit, in order of arrival.
    pub(super) async fn wait_for_permit(self, longest: Duration) -> Result<KeyPermit, ApiError> {
        if let Ok(Ok(served)) = timeout(longest, self.served.acquire_owned()).await {
            return Ok(KeyPermit { _permits: Some((served, self.admitted)) });
        }
        let (name, longest) = (self.name.as_str(), crate::turn::format_seconds(longest));
        let message = format!("no earlier request of the key `{name}` finished within {longest}");
        Err(ApiError::over_limit(message, None))
    }
}
