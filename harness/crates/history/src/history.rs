//! The history: one `SQLite` file with every night and every baseline.
//!
//! A night is written at its end in one transaction, so that one which is killed leaves the history as it was. The file
//! is kept in `SQLite`'s rollback journal and not in WAL: there is one writer a night, the file is copied to and from a
//! CI's cache as it is, and WAL would leave two more files that belong to it and rules out network file systems. Two
//! nights that end at the same moment wait for each other.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::Night;
use super::baseline::Baseline;

mod rows;

/// `lkgt`: what the file says that it is, so that somebody else's database is never written to.
const APPLICATION: i32 = 0x6c6b_6774;
/// The schemas, each what makes it of the one before; the file's `user_version` says how many it has had.
const SCHEMAS: [&str; 1] = [include_str!("history/schema-1.sql")];
/// The magic number of `SQLite` files.
const MAGIC: &[u8] = b"SQLite format 3\0";
const NO_DATABASE: &str = "it is no database of SQLite's, or was cut short";
/// How long one waits while another writes: far longer than a night takes to write.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(30);

/// An open history.
#[derive(Debug)]
pub struct History {
    db: Connection,
    path: PathBuf,
}

/// Why a history is of no use, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is none.
    #[error("there is no history {}: run `leakgate nightly` first, or name another with --history", .0.display())]
    Missing(PathBuf),
    /// The file is something else.
    #[error("{} is no history of leakgate: {what}. Nothing was changed in it; name another with --history", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The kind of file that it is instead.
        what: String,
    },
    /// The file is of a later time.
    #[error(
        "{} has schema {found}, and this build knows those up to {}: use the leakgate that wrote it, or a newer one",
        path.display(), SCHEMAS.len()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// The file is damaged.
    #[error("{} is damaged: {what}. Put a copy of it in its place, or move it away to begin a new one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        what: String,
    },
    /// Another one wrote for too long.
    #[error("{} is locked by another process for more than {} s: end it, and try again", path.display(), MAX_LOCK_WAIT.as_secs())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot use the history {}: {source}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// The error of `SQLite`.
        source: rusqlite::Error,
    },
}

impl History {
    /// Opens a history, and makes one where there is none. That it can be written to is known when this returns.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut history = Self::connect(path, flags)?;
        history.upgrade()?;
        Ok(history)
    }

    /// Opens a history that is there.
    pub fn existing(path: &Path) -> Result<Self, HistoryError> {
        if path.exists() { Self::open(path) } else { Err(HistoryError::Missing(path.to_owned())) }
    }

    /// Adds a night, whole or not at all. Returns its number.
    pub fn add(&mut self, night: &Night) -> Result<i64, HistoryError> {
        self.write(|change| rows::insert_night(change, night))
    }

    /// All nights, the oldest first.
    pub fn nights(&self) -> Result<Vec<Night>, HistoryError> {
        rows::select_nights(&self.db).map_err(|error| explain_error(&self.path, error))
    }

    /// The night of this number.
    pub fn night(&self, id: i64) -> Result<Option<Night>, HistoryError> {
        Ok(self.nights()?.into_iter().find(|night| night.id == id))
    }

    /// Adds a baseline. Returns its number.
    pub fn accept(&mut self, baseline: &Baseline) -> Result<i64, HistoryError> {
        self.write(|change| rows::insert_baseline(change, baseline))
    }

    /// All baselines, the oldest first: the last one holds.
    pub fn baselines(&self) -> Result<Vec<Baseline>, HistoryError> {
        rows::select_baselines(&self.db).map_err(|error| explain_error(&self.path, error))
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, HistoryError> {
        if !is_database_or_new(path) {
            return Err(HistoryError::Foreign { path: path.to_owned(), what: NO_DATABASE.to_owned() });
        }
        let failed = |error| explain_error(path, error);
        let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
        db.busy_timeout(MAX_LOCK_WAIT).map_err(failed)?;
        // A property of the connection and not of the file, and off unless SQLite was built otherwise: without it a baseline
        // could name a night that does not exist.
        db.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Looks what the file is, and brings it to the newest schema.
    fn upgrade(&mut self) -> Result<(), HistoryError> {
        let path = self.path.clone();
        self.write(|change| {
            let version = match read_identity(change)? {
                Identity::History(version) => version,
                // Our own errors leave the transaction as values, because `write` explains errors of SQLite only. Nothing was
                // changed at that point, so the commit is empty.
                Identity::Other(what) => return Ok(Err(HistoryError::Foreign { path: path.clone(), what })),
            };
            let Some(missing) = usize::try_from(version).ok().and_then(|version| SCHEMAS.get(version..)) else {
                return Ok(Err(HistoryError::Newer { path: path.clone(), found: version }));
            };
            if missing.is_empty() {
                return Ok(Ok(()));
            }
            for schema in missing {
                change.execute_batch(schema)?;
            }
            change.pragma_update(None, "application_id", APPLICATION)?;
            change.pragma_update(None, "user_version", i64::try_from(SCHEMAS.len()).unwrap_or(0))?;
            Ok(Ok(()))
        })??;
        let sound: String = self
            .db
            .pragma_query_value(None, "quick_check", |row| row.get(0))
            .map_err(|error| explain_error(&self.path, error))?;
        if sound == "ok" { Ok(()) } else { Err(HistoryError::Damaged { path: self.path.clone(), what: sound }) }
    }

    /// One transaction, which has the right to write from its beginning: it never has to give up for another's sake.
    fn write<T>(&mut self, work: impl FnOnce(&Transaction) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        let done = (|| {
            let change = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&change)?;
            change.commit()?;
            Ok(result)
        })();
        done.map_err(|error| explain_error(&self.path, error))
    }
}

/// `SQLite` takes a file of less than a page for an empty one and would write over it.
fn is_database_or_new(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head));
    read.is_err() || head.is_empty() || head == MAGIC
}

enum Identity {
    /// Ours, with so many schemas; none at all in an empty file.
    History(i64),
    Other(String),
}

fn read_identity(db: &Connection) -> rusqlite::Result<Identity> {
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_empty = (application, version, tables) == (0, 0, 0);
    Ok(if application == APPLICATION || is_empty {
        Identity::History(version)
    } else {
        Identity::Other("it is the database of another program".to_owned())
    })
}

fn explain_error(path: &Path, error: rusqlite::Error) -> HistoryError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => HistoryError::Foreign { path, what: NO_DATABASE.to_owned() },
        Some(ErrorCode::DatabaseCorrupt) => HistoryError::Damaged { path, what: error.to_string() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => HistoryError::Locked { path },
        _ => HistoryError::Other { path, source: error },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;
    use crate::compare::{Change, Comparison};
    use crate::{Conclusion, Growth, Measured, Remark};
    use leakgate_judge::sample::{Environment, Latency, LatencyOf, Metric};
    use leakgate_judge::verdict::{Class, Finding};

    fn night(started_unix: u64) -> Night {
        let growth = Growth {
            metric: Metric::AnonPss,
            class: Class::Noisy,
            verdict: Finding::Saturating,
            per_restart: Some(-12.5),
            tolerance: 32.0,
            first: Some(3_000_000),
            last: Some(u64::from(u32::MAX) * 8),
            max: None,
        };
        let latency = LatencyOf { requests: 7, p50_ms: 1.5, p95_ms: 2.5, max_ms: 9.0 };
        let target = Measured {
            scenario: "restarts".into(),
            target: "sut".into(),
            verdict: Finding::Saturating,
            restarts: 1_250,
            requests: 5_000,
            seconds: 24.5,
            server_rss_mb: 8.9,
            tree_rss_mb: 19.9,
            latency: Some(Latency { during: latency, between: LatencyOf::default() }),
            metrics: vec![growth.clone(), Growth { metric: Metric::Lost, per_restart: None, ..growth }],
        };
        let comparison = Comparison {
            baseline: 1,
            scenario: "restarts".into(),
            restarts: 1_250,
            change: Change::Regression,
            reason: "faster".into(),
            baseline_slopes: vec![1.5; 5],
            candidate_slopes: vec![99.0; 5],
            effect: Some(97.5),
            p: Some(0.25),
            beside: Vec::new(),
        };
        Night {
            id: 0,
            environment: Environment {
                started_unix,
                commit: Some("'; DROP TABLE night; --".into()),
                ..Environment::default()
            },
            verdict: Finding::Saturating,
            summary: "it grows".into(),
            controls: 18,
            build: Some("abc".into()),
            folder: "reports".into(),
            targets: vec![target.clone(), target],
            comparison: Some(comparison),
            remarks: vec![Remark { means: Conclusion::Expired, what: "over".into(), owner: Some("ops".into()) }],
        }
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.sqlite");
        (folder, path)
    }

    #[test]
    fn a_night_comes_back_as_it_was_and_nights_are_in_order() {
        let (folder, path) = file();
        let later = History::open(&path).unwrap().add(&night(2_000)).unwrap();
        let earlier = History::open(&path).unwrap().add(&night(1_000)).unwrap();
        let history = History::existing(&path).unwrap();
        let expected = [Night { id: earlier, ..night(1_000) }, Night { id: later, ..night(2_000) }];
        assert_eq!(history.nights().unwrap(), expected);
        assert_eq!(history.night(later).unwrap().as_ref(), Some(&expected[1]));
        assert_eq!(history.night(99).unwrap(), None);
        drop(history);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "one file holds all of it");
    }

    #[test]
    fn a_baseline_comes_back_as_it_was_and_needs_a_night() {
        let (_folder, path) = file();
        let mut history = History::open(&path).unwrap();
        let mut baseline = Baseline {
            id: 0,
            night: history.add(&night(1_000)).unwrap(),
            accepted_unix: 1_500,
            by: "ops".into(),
            reason: "first".into(),
            build: "abc".into(),
            environment: Environment::default(),
        };
        baseline.id = history.accept(&baseline).unwrap();
        assert_eq!(history.baselines().unwrap(), [baseline.clone()]);
        assert!(history.accept(&Baseline { night: 99, ..baseline }).is_err());
    }

    #[test]
    fn what_fails_in_the_middle_leaves_nothing() {
        let (_folder, path) = file();
        let mut history = History::open(&path).unwrap();
        let mut broken = night(1_000);
        // The same metric twice: the second is refused when all else is written already.
        let twice = broken.targets[0].metrics[0].clone();
        broken.targets[1].metrics.push(twice);
        assert!(matches!(history.add(&broken), Err(HistoryError::Other { .. })));
        assert_eq!(history.nights().unwrap(), []);
        let left: i64 = history.db.query_one("SELECT count(*) FROM signal", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn nights_that_end_at_once_are_all_kept() {
        let (_folder, path) = file();
        thread::scope(|scope| {
            for at in 0..8 {
                let path = &path;
                scope.spawn(move || History::open(path).unwrap().add(&night(at)).unwrap());
            }
        });
        assert_eq!(History::existing(&path).unwrap().nights().unwrap().len(), 8);
    }

    #[test]
    fn another_file_is_told_what_it_is_and_stays_as_it_is() {
        let (_folder, path) = file();
        assert!(matches!(History::existing(&path), Err(HistoryError::Missing(_))));
        assert!(!path.exists());
        for text in ["notes".to_owned(), "no database ".repeat(100), "SQLite format 3\0, but no more".repeat(40)] {
            fs::write(&path, &text).unwrap();
            let error = History::open(&path).unwrap_err().to_string();
            assert!(error.contains("no database of SQLite's") && error.contains("--history"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE somebodys (a)").unwrap();
        let error = History::open(&path).unwrap_err().to_string();
        assert!(error.contains("the database of another program"), "{error}");
    }

    #[test]
    fn a_history_of_a_later_time_is_not_touched() {
        let (_folder, path) = file();
        History::open(&path).unwrap().db.pragma_update(None, "user_version", 99).unwrap();
        let error = History::open(&path).unwrap_err();
        assert!(matches!(error, HistoryError::Newer { found: 99, .. }), "{error}");
        let version: i64 =
            Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, 99);
    }

    #[test]
    fn a_damaged_history_says_so() {
        let (_folder, path) = file();
        let mut history = History::open(&path).unwrap();
        for at in 0..50 {
            history.add(&night(at)).unwrap();
        }
        drop(history);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xff);
        fs::write(&path, bytes).unwrap();
        let error = History::open(&path).unwrap_err();
        assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
}
