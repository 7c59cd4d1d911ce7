//! Compares two runs or two profiles by metric, by leaked resource and by site. Pure; both documents are of one kind.
//!
//! A site is the same in both when its [`site_key`] is. Where the key is in one document alone, and the
//! other has exactly one site of the same function, that is taken for it: its line moved, because something above it was
//! edited.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use crate::attribution::dhat::Heap;
use crate::attribution::frame::source_position;
use crate::attribution::growth::first_own_frame;
use crate::attribution::profile::Profile;
use crate::attribution::site_key;
use crate::sample::{Environment, Frame, Run, Site, Thing};
use crate::verdict::words::{metric_unit, to_f64};
use crate::verdict::{Class, target};

/// Rates that differ by less than this share of the larger one are the same: a restart more or less in a window.
const SAME: f64 = 0.05;

/// A file that can be compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// `run.json`.
    Run(Box<Run>),
    /// `profile.json`.
    Profile(Box<Profile>),
    /// `dhat-heap.json`.
    Heap(Heap),
}

/// Two documents that cannot be compared.
#[derive(Debug, Error)]
#[error("{0} and {1} cannot be compared: give two run.json, two profile.json or two dhat-heap.json")]
pub struct IncompatibleDocuments(&'static str, &'static str);

/// The kind of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A metric of a target.
    Metric,
    /// A named thing that was kept.
    Thing,
    /// A line of code.
    Site,
}

/// How it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the second has it.
    New,
    /// Only the first has it.
    Gone,
    /// The second grows faster, or has more.
    More,
    /// The second grows more slowly, or has less.
    Less,
}

/// One quantity that is not the same in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The scenario and its target; empty in a profile of dhat's own.
    pub scope: String,
    /// The kind of the quantity.
    pub kind: Kind,
    /// Its name: a metric, a command, `file:line (function)`.
    pub name: String,
    /// The unit of the amounts: per restart, unless `per_restart` is false.
    pub unit: &'static str,
    /// Whether the amounts are rates.
    pub per_restart: bool,
    /// The amount in the first; absent where it does not have it.
    pub before: Option<f64>,
    /// The amount in the second.
    pub after: Option<f64>,
    /// How it changed.
    pub change: Change,
}

/// The difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The changes by scope and kind, the fastest growth first.
    pub rows: Vec<Row>,
    /// How many quantities are the same in both.
    pub same: usize,
    /// Differences that make the two documents hard to compare.
    pub notes: Vec<String>,
}

/// The identity of a quantity in both documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Quantity {
    scope: String,
    kind: Kind,
    name: String,
    unit: &'static str,
    per_restart: bool,
    /// The function and its file, which stay when a line moves.
    function: Option<(String, Option<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Amount {
    value: f64,
    /// A difference up to this is none.
    tolerance: f64,
}

type Amounts = BTreeMap<Quantity, Amount>;

/// Compares `before` with `after`.
pub fn compare(before: &Document, after: &Document) -> Result<Diff, IncompatibleDocuments> {
    if before.kind() != after.kind() {
        return Err(IncompatibleDocuments(before.kind(), after.kind()));
    }
    let (mut first, mut second) = (before.amounts(), after.amounts());
    let mut pairs: Vec<(Quantity, Option<Amount>, Option<Amount>)> = Vec::new();
    first.retain(|name, amount| match second.remove(name) {
        Some(other) => {
            pairs.push((name.clone(), Some(*amount), Some(other)));
            false
        }
        None => true,
    });
    pairs.extend(match_moved_sites(&mut first, &mut second));
    pairs.extend(first.into_iter().map(|(name, amount)| (name, Some(amount), None)));
    pairs.extend(second.into_iter().map(|(name, amount)| (name, None, Some(amount))));
    let all = pairs.len();
    let mut rows: Vec<Row> = pairs.into_iter().filter_map(changed_row).collect();
    let growth = |row: &Row| row.after.unwrap_or(0.0) - row.before.unwrap_or(0.0);
    rows.sort_by(|a, b| {
        let place = |row: &Row| (row.scope.clone(), row.kind);
        place(a).cmp(&place(b)).then(growth(b).total_cmp(&growth(a))).then_with(|| a.name.cmp(&b.name))
    });
    Ok(Diff { same: all - rows.len(), rows, notes: comparison_notes(before, after) })
}

impl Document {
    fn kind(&self) -> &'static str {
        match self {
            Self::Run(_) => "a run",
            Self::Profile(_) => "a profile",
            Self::Heap(_) => "a heap of dhat's",
        }
    }

    fn amounts(&self) -> Amounts {
        match self {
            Self::Run(run) => of_run(run),
            Self::Profile(profile) => of_sites(&profile.scenario, &profile.sites),
            Self::Heap(heap) => of_heap(heap),
        }
    }

    fn scenario_and_seed(&self) -> Option<(String, u64)> {
        match self {
            Self::Run(run) => {
                let names: Vec<&str> = run.targets.iter().map(|target| target.scenario.as_str()).collect();
                Some((names.join(" "), run.seed))
            }
            Self::Profile(profile) => Some((profile.scenario.clone(), profile.seed)),
            Self::Heap(_) => None,
        }
    }

    /// Where and with what it was made; dhat's own file does not tell.
    #[must_use]
    pub fn environment(&self) -> Option<&Environment> {
        match self {
            Self::Run(run) => Some(&run.environment),
            Self::Profile(profile) => Some(&profile.environment),
            Self::Heap(_) => None,
        }
    }
}

fn of_run(run: &Run) -> Amounts {
    let mut amounts = Amounts::new();
    for measured in &run.targets {
        let scope = format!("{} on {}", measured.scenario, measured.target);
        // Of a leak that was measured twice, the first run.
        if amounts.keys().any(|name| name.scope == scope) {
            continue;
        }
        for row in target::judge_target(measured).1.iter().filter(|row| row.class != Class::Cap) {
            let per_restart = row.growth_per_restart.is_some();
            let Some(value) = row.growth_per_restart.or(row.last.or(row.max).map(to_f64)) else { continue };
            let name =
                Quantity::new(&scope, Kind::Metric, row.name.name().to_owned(), metric_unit(row.name), per_restart);
            // A count that may not grow at all has no tolerance but that of its rate.
            amounts.insert(name, Amount { value, tolerance: row.tolerance });
        }
        amounts.extend(of_things(&scope, measured));
        amounts.extend(of_sites(&scope, &measured.sites));
    }
    amounts
}

fn of_things(scope: &str, run: &crate::sample::TargetRun) -> Amounts {
    let (Some(first), Some(last)) = (run.checkpoints.first(), run.checkpoints.last()) else { return Amounts::new() };
    let per = run.plan.growth_unit();
    let steps = to_f64(last.steps(per).saturating_sub(first.steps(per)).max(1));
    let amount = |grown: &crate::sample::Grown| {
        let name = Quantity::new(scope, Kind::Thing, grown.name.clone(), thing_unit(grown.what), true);
        (name, Amount { value: to_f64(grown.more) / steps, tolerance: 0.0 })
    };
    run.grown.iter().map(amount).collect()
}

fn thing_unit(what: Thing) -> &'static str {
    match what {
        Thing::Process => "processes",
        Thing::Descriptor => "descriptors",
        Thing::Thread => "threads",
        Thing::Task => "tasks",
        Thing::File => "files",
    }
}

fn of_sites(scope: &str, sites: &[Site]) -> Amounts {
    let mut amounts = Amounts::new();
    for site in sites {
        let Some(frame) = site_key(site) else { continue };
        for (unit, value) in [("blocks", site.blocks_per_restart), ("bytes", site.bytes_per_restart)] {
            let amount = Amount { value, tolerance: 0.0 };
            amounts.insert(Quantity::of_site(scope, frame, unit, true), amount);
        }
    }
    amounts
}

fn of_heap(heap: &Heap) -> Amounts {
    let mut amounts = Amounts::new();
    for (stack, live) in &heap.stacks {
        let Some(frame) = first_own_frame(stack).and_then(|at| stack.get(at)).or_else(|| stack.first()) else {
            continue;
        };
        for (unit, count) in [("blocks", live.blocks), ("bytes", live.bytes)] {
            let none = Amount { value: 0.0, tolerance: 0.0 };
            amounts.entry(Quantity::of_site("", frame, unit, false)).or_insert(none).value += to_f64(count);
        }
    }
    amounts
}

impl Quantity {
    fn new(scope: &str, kind: Kind, name: String, unit: &'static str, per_restart: bool) -> Self {
        Self { scope: scope.to_owned(), kind, name, unit, per_restart, function: None }
    }

    fn of_site(scope: &str, frame: &Frame, unit: &'static str, per_restart: bool) -> Self {
        let name = format!("{} ({})", source_position(frame), frame.function);
        let function = Some((frame.function.clone(), frame.file.clone()));
        Self { function, ..Self::new(scope, Kind::Site, name, unit, per_restart) }
    }

    /// Whether it is the same function's.
    fn is_of(&self, other: &Self) -> bool {
        let of = |name: &Self| (name.scope.clone(), name.unit, name.function.clone());
        self.function.is_some() && of(self) == of(other)
    }
}

/// Sites whose line moved, taken out of both: those that are the only ones of their function that are left in either.
fn match_moved_sites(first: &mut Amounts, second: &mut Amounts) -> Vec<(Quantity, Option<Amount>, Option<Amount>)> {
    let alone = |name: &Quantity, among: &Amounts| {
        let mut found = among.keys().filter(|other| other.is_of(name));
        found.next().cloned().filter(|_| found.next().is_none())
    };
    let pairs: Vec<(Quantity, Quantity)> = first
        .keys()
        .filter(|name| alone(name, first).is_some())
        .filter_map(|name| Some((name.clone(), alone(name, second)?)))
        .collect();
    pairs.into_iter().map(|(old, new)| (new.clone(), first.remove(&old), second.remove(&new))).collect()
}

/// The row of a quantity that is not the same in both.
fn changed_row((name, before, after): (Quantity, Option<Amount>, Option<Amount>)) -> Option<Row> {
    let value = |amount: Option<Amount>| amount.map_or(0.0, |amount| amount.value);
    let tolerance = before.into_iter().chain(after).map(|amount| amount.tolerance).fold(0.0, f64::max);
    let (old, new) = (value(before), value(after));
    let much = tolerance.max(SAME * old.abs().max(new.abs()));
    if (new - old).abs() <= much {
        return None;
    }
    let change = match (before, after) {
        (None, _) => Change::New,
        (_, None) => Change::Gone,
        _ if new > old => Change::More,
        _ => Change::Less,
    };
    let (before, after) = (before.map(|amount| amount.value), after.map(|amount| amount.value));
    let Quantity { scope, kind, name, unit, per_restart, .. } = name;
    Some(Row { scope, kind, name, unit, per_restart, before, after, change })
}

fn comparison_notes(before: &Document, after: &Document) -> Vec<String> {
    let (Some((first, one)), Some((second, other))) = (before.scenario_and_seed(), after.scenario_and_seed()) else {
        return vec!["dhat's own files do not record restarts: these are amounts at the end, not rates".to_owned()];
    };
    let mut notes = Vec::new();
    if first != second {
        notes.push(format!("the scenarios differ: {first}, then {second}"));
    }
    if one != other {
        notes.push(format!("the seeds differ: {one}, then {other}"));
    }
    notes
}

#[cfg(test)]
mod tests;
