//! Nights and baselines as rows.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::baseline::Baseline;
use crate::{Growth, Measured, Night};

/// Adds a night with all that belongs to it.
pub(super) fn insert_night(change: &Transaction, night: &Night) -> rusqlite::Result<i64> {
    change.execute(
        "INSERT INTO night (started, commit_id, environment, verdict, conclusion, summary, controls, build, folder, \
         comparison, remarks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            to_integer(night.environment.started_unix),
            night.environment.commit,
            to_json(&night.environment)?,
            enum_name(&night.verdict)?,
            enum_name(&night.conclusion())?,
            night.summary,
            to_integer(night.controls),
            night.build,
            night.folder,
            night.comparison.as_ref().map(to_json).transpose()?,
            to_json(&night.remarks)?,
        ],
    )?;
    let id = change.last_insert_rowid();
    for (run, target) in (0_i64..).zip(&night.targets) {
        add_target(change, id, run, target)?;
    }
    Ok(id)
}

fn add_target(change: &Transaction, night: i64, run: i64, target: &Measured) -> rusqlite::Result<()> {
    change.execute(
        "INSERT INTO target VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            night,
            run,
            target.scenario,
            target.target,
            enum_name(&target.verdict)?,
            to_integer(target.restarts),
            to_integer(target.requests),
            target.seconds,
            target.server_rss_mb,
            target.tree_rss_mb,
            target.latency.as_ref().map(to_json).transpose()?,
        ],
    )?;
    let mut insert = change.prepare("INSERT INTO signal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    for growth in &target.metrics {
        let [first, last, max] = [growth.first, growth.last, growth.max].map(|value| value.map(to_integer));
        let (name, class, verdict) =
            (enum_name(&growth.metric)?, enum_name(&growth.class)?, enum_name(&growth.verdict)?);
        // What is no number is none: SQLite has no word for it.
        let per_restart = growth.per_restart.filter(|rate| !rate.is_nan());
        insert.execute(params![night, run, name, class, verdict, per_restart, growth.tolerance, first, last, max])?;
    }
    Ok(())
}

/// All nights, the oldest first.
pub(super) fn select_nights(db: &Connection) -> rusqlite::Result<Vec<Night>> {
    // One view of the file for all three tables, whoever writes meanwhile.
    let view = db.unchecked_transaction()?;
    let mut targets = select_targets(&view, select_metrics(&view)?)?;
    let mut select = view.prepare(
        "SELECT id, environment, verdict, summary, controls, build, folder, comparison, remarks FROM night \
         ORDER BY started, id",
    )?;
    let nights = select.query_map([], |row| {
        let id: i64 = row.get(0)?;
        Ok(Night {
            id,
            environment: column_json(row, 1)?,
            verdict: column_enum(row, 2)?,
            summary: row.get(3)?,
            controls: column_u64(row, 4)?,
            build: row.get(5)?,
            folder: row.get(6)?,
            targets: targets.remove(&id).unwrap_or_default(),
            comparison: row.get::<_, Option<String>>(7)?.map(|text| parse_json(7, &text)).transpose()?,
            remarks: column_json(row, 8)?,
        })
    })?;
    nights.collect()
}

type Metrics = BTreeMap<(i64, i64), Vec<Growth>>;

fn select_targets(db: &Connection, mut metrics: Metrics) -> rusqlite::Result<BTreeMap<i64, Vec<Measured>>> {
    let mut select = db.prepare(
        "SELECT night, run, scenario, target, verdict, restarts, requests, seconds, server_rss_mb, tree_rss_mb, \
         latency FROM target ORDER BY night, run",
    )?;
    let rows = select.query_map([], |row| {
        let (night, run): (i64, i64) = (row.get(0)?, row.get(1)?);
        let measured = Measured {
            scenario: row.get(2)?,
            target: row.get(3)?,
            verdict: column_enum(row, 4)?,
            restarts: column_u64(row, 5)?,
            requests: column_u64(row, 6)?,
            seconds: row.get(7)?,
            server_rss_mb: row.get(8)?,
            tree_rss_mb: row.get(9)?,
            latency: row.get::<_, Option<String>>(10)?.map(|text| parse_json(10, &text)).transpose()?,
            metrics: metrics.remove(&(night, run)).unwrap_or_default(),
        };
        Ok((night, measured))
    })?;
    let mut all: BTreeMap<i64, Vec<Measured>> = BTreeMap::new();
    for row in rows {
        let (night, measured) = row?;
        all.entry(night).or_default().push(measured);
    }
    Ok(all)
}

fn select_metrics(db: &Connection) -> rusqlite::Result<Metrics> {
    let mut select = db.prepare(
        "SELECT night, run, name, class, verdict, per_restart, tolerance, first, last, max FROM signal ORDER BY rowid",
    )?;
    let rows = select.query_map([], |row| {
        let growth = Growth {
            metric: column_enum(row, 2)?,
            class: column_enum(row, 3)?,
            verdict: column_enum(row, 4)?,
            per_restart: row.get(5)?,
            tolerance: row.get(6)?,
            first: optional_u64(row, 7)?,
            last: optional_u64(row, 8)?,
            max: optional_u64(row, 9)?,
        };
        Ok(((row.get(0)?, row.get(1)?), growth))
    })?;
    let mut all = Metrics::new();
    for row in rows {
        let (place, growth) = row?;
        all.entry(place).or_default().push(growth);
    }
    Ok(all)
}

/// Adds a baseline.
pub(super) fn insert_baseline(change: &Transaction, baseline: &Baseline) -> rusqlite::Result<i64> {
    change.execute(
        "INSERT INTO baseline (night, accepted, accepted_by, reason, build, commit_id, environment) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            baseline.night,
            to_integer(baseline.accepted_unix),
            baseline.by,
            baseline.reason,
            baseline.build,
            baseline.environment.commit,
            to_json(&baseline.environment)?,
        ],
    )?;
    Ok(change.last_insert_rowid())
}

/// All baselines, the oldest first.
pub(super) fn select_baselines(db: &Connection) -> rusqlite::Result<Vec<Baseline>> {
    let mut select =
        db.prepare("SELECT id, night, accepted, accepted_by, reason, build, environment FROM baseline ORDER BY id")?;
    let baselines = select.query_map([], |row| {
        Ok(Baseline {
            id: row.get(0)?,
            night: row.get(1)?,
            accepted_unix: column_u64(row, 2)?,
            by: row.get(3)?,
            reason: row.get(4)?,
            build: row.get(5)?,
            environment: column_json(row, 6)?,
        })
    })?;
    baselines.collect()
}

/// As `SQLite` keeps whole numbers; counts, bytes and times stay far below its end.
fn to_integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn column_u64(row: &Row, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}

fn optional_u64(row: &Row, at: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(at)?.and_then(|value| u64::try_from(value).ok()))
}

fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// An enum's name, as the JSON files write it, without its quotes.
fn enum_name(value: &impl Serialize) -> rusqlite::Result<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

fn column_json<T: DeserializeOwned>(row: &Row, at: usize) -> rusqlite::Result<T> {
    parse_json(at, &row.get::<_, String>(at)?)
}

fn column_enum<T: DeserializeOwned>(row: &Row, at: usize) -> rusqlite::Result<T> {
    let name: String = row.get(at)?;
    serde_json::from_value(name.into()).map_err(|error| conversion_error(at, error))
}

fn parse_json<T: DeserializeOwned>(at: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| conversion_error(at, error))
}

fn conversion_error(at: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into())
}
