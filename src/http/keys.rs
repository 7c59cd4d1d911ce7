//! The keys that clients may send: whose a key is, and how much it may ask for.

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

/// Every key, made once at the start.
pub(super) struct Keys(Vec<Key>);

/// One key, and what is left of its limits.
pub(super) struct Key {
    padded: Padded,
    name: KeyName,
    admin: bool,
    places: Option<Places>,
    rate: Option<Rate>,
}

/// How many requests of a key there may be in a minute.
struct Rate {
    start: Instant,
    window: Mutex<Window>,
}

impl Keys {
    pub(super) fn new(keys: &[config::Key]) -> Self {
        Self(keys.iter().map(Key::new).collect())
    }

    /// Whoever may reach this server may use it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key `given` is. Takes the same time whichever it is, and if it is none.
    pub(super) fn find(&self, given: &[u8]) -> Option<&Key> {
        let given = Padded::new(given)?;
        let (mut found, mut at) = (Choice::from(0), 0);
        for (index, key) in (0_u64..).zip(&self.0) {
            let same = key.padded.same(&given);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let key = self.0.get(usize::try_from(at).ok()?);
        key.filter(|_| found.into())
    }
}

/// A key at the one length at which all are compared.
struct Padded {
    bytes: [u8; secret::LONGEST],
    length: u64,
}

impl Padded {
    /// None: it is longer than any key.
    fn new(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; secret::LONGEST];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(Self { bytes, length: key.len() as u64 })
    }

    fn same(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes) & self.length.ct_eq(&other.length)
    }
}

/// How many requests of a key are served at once, and how many wait for that.
struct Places {
    most: u32,
    queue: u32,
    /// One for each request that is served or waits.
    admitted: Arc<Semaphore>,
    /// One for each request that is served. Whoever has one has one of `admitted` as well.
    served: Arc<Semaphore>,
}

/// A request's place among those of its key; dropping it lets the next one in.
pub(super) struct Place {
    _permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// A request that its key allows.
pub(super) enum Entry {
    /// It is served at once.
    Now(Place),
    /// Others of the same key are served first.
    Queued(Queued),
}

/// A request that waits for others of its key; dropping it gives its turn up.
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
            places: concurrency.map(|(most, queue)| Places::new(most.get(), queue)),
            rate: requests_per_minute.map(|most| Rate::new(most.get())),
        }
    }

    pub(super) fn name(&self) -> &KeyName {
        &self.name
    }

    /// Whether it may use the routes below `/admin/`.
    pub(super) fn is_admin(&self) -> bool {
        self.admin
    }

    /// Counts a request, and refuses it if it is one too many. One that finds no place is not counted in its minute.
    pub(super) fn enter(&self) -> Result<Entry, ApiError> {
        let Some(places) = &self.places else {
            self.count()?;
            return Ok(Entry::Now(Place { _permits: None }));
        };
        let admitted = Arc::clone(&places.admitted).try_acquire_owned().map_err(|_none| self.no_place(places))?;
        self.count()?;
        Ok(match Arc::clone(&places.served).try_acquire_owned() {
            Ok(served) => Entry::Now(Place { _permits: Some((served, admitted)) }),
            Err(_) => Entry::Queued(Queued { name: self.name.clone(), admitted, served: Arc::clone(&places.served) }),
        })
    }

    fn no_place(&self, Places { most, queue, .. }: &Places) -> ApiError {
        let name = self.name.as_str();
        let message = format!("the key `{name}` has reached its limit of {most} running and {queue} waiting requests");
        ApiError::over_limit(message, None)
    }

    fn count(&self) -> Result<(), ApiError> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.admit().map_err(|wait| {
            let message = format!("the key `{}` has reached its limit of requests per minute", self.name.as_str());
            ApiError::over_limit(message, Some(wait))
        })
    }
}

impl Rate {
    fn new(most: u32) -> Self {
        Self { start: Instant::now(), window: Mutex::new(Window::new(most)) }
    }

    fn admit(&self) -> Result<(), Duration> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // Read while no other request can: so it never goes back.
        window.admit(self.start.elapsed())
    }
}

impl Places {
    fn new(most: u32, queue: u32) -> Self {
        let all = (most as usize).saturating_add(queue as usize).min(Semaphore::MAX_PERMITS);
        let served = (most as usize).min(Semaphore::MAX_PERMITS);
        Self { most, queue, admitted: Arc::new(Semaphore::new(all)), served: Arc::new(Semaphore::new(served)) }
    }
}

impl Queued {
    /// Waits for the place, first come, first served.
    pub(super) async fn place(self, longest: Duration) -> Result<Place, ApiError> {
        if let Ok(Ok(served)) = timeout(longest, self.served.acquire_owned()).await {
            return Ok(Place { _permits: Some((served, self.admitted)) });
        }
        let (name, longest) = (self.name.as_str(), crate::turn::format_seconds(longest));
        let message = format!("no earlier request of the key `{name}` finished within {longest}");
        Err(ApiError::over_limit(message, None))
    }
}
