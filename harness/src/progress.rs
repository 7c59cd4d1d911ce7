//! Shows what happens while a run is on: a bar on a terminal, a few lines elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use leakgate_drive::event::{Event, Listener, Live, Subject};
use leakgate_judge::sample::Outcome;

/// How often the bar's clock moves while nothing else does.
const TICK: Duration = Duration::from_millis(500);

/// A bar with the live numbers, on stderr.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    done: Mutex<ProgressState>,
}

/// How far each of those that run at the same time has come.
#[derive(Debug, Default)]
struct ProgressState {
    finished: u64,
    running: BTreeMap<(String, String), u64>,
}

impl Bar {
    /// A bar that shows itself once the run is planned.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::hidden();
        let template = "{elapsed} [{bar:16}] {pos}/{len} restarts  {wide_msg}";
        // The template is a constant; were it wrong, the default would do.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, done: Mutex::new(ProgressState::default()) }
    }

    fn update_position(&self, subject: Subject<'_>, live: Live) {
        let key = (subject.name.to_owned(), subject.target.to_owned());
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.running.insert(key, live.restarts.min(subject.goal));
        self.bar.set_position(done.total());
        self.bar.set_message(format!("{}: {}", subject_title(subject), live_summary(live)));
    }

    fn finish_subject(&self, subject: Subject<'_>) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.running.remove(&(subject.name.to_owned(), subject.target.to_owned()));
        done.finished += subject.goal;
        self.bar.set_position(done.total());
    }
}

impl ProgressState {
    fn total(&self) -> u64 {
        self.finished + self.running.values().sum::<u64>()
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Listener for Bar {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Planned { restarts } => {
                self.bar.set_length(restarts);
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(TICK);
            }
            Event::Began { subject } => self.bar.set_message(format!("{}: starting", subject_title(subject))),
            Event::Moved { subject, live } => self.update_position(subject, live),
            Event::Ended { subject, outcome, seconds } => {
                self.finish_subject(subject);
                if !subject.control || *outcome != Outcome::Completed {
                    self.bar.println(ended_line(subject, outcome, seconds));
                }
            }
            Event::Doubled { subject } => {
                self.bar.inc_length(subject.goal);
                self.bar.println(doubled_line(subject));
            }
            Event::Repeated { subject } => {
                self.bar.inc_length(subject.goal);
                self.bar.println(repeated_line(subject));
            }
            Event::Profiled { subject } => {
                self.bar.inc_length(subject.goal);
                self.bar.println(profiled_line(subject));
            }
        }
    }
}

/// One line for each target that has ended, on stderr.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines;

impl Listener for Lines {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Planned { restarts } => format!("{restarts} restarts are planned"),
            Event::Began { .. } | Event::Moved { .. } => return,
            Event::Ended { subject, outcome, seconds } => ended_line(subject, outcome, seconds),
            Event::Doubled { subject } => doubled_line(subject),
            Event::Repeated { subject } => repeated_line(subject),
            Event::Profiled { subject } => profiled_line(subject),
        };
        // Progress that nobody can read stops nothing.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn subject_title(subject: Subject<'_>) -> String {
    let kind = if subject.control { "control " } else { "" };
    format!("{kind}{} on {}", subject.name, subject.target)
}

fn live_summary(live: Live) -> String {
    // The restarts are what the bar counts.
    let Live { invokers, server_rss, tree_rss, .. } = live;
    let (server, tree) = (server_rss / 1_000_000, tree_rss / 1_000_000);
    format!("{invokers} live, server {server} MB, tree {tree} MB")
}

fn ended_line(subject: Subject<'_>, outcome: &Outcome, seconds: f64) -> String {
    let what = match outcome {
        Outcome::Completed => "measured".to_owned(),
        Outcome::NotSettled { moving } => format!("did not come to rest: {moving}"),
        Outcome::Failed { what } => format!("failed: {}", what.lines().next().unwrap_or_default()),
    };
    format!("{}: {what} ({seconds:.1} s)", subject_title(subject))
}

fn doubled_line(subject: Subject<'_>) -> String {
    format!("{}: not conclusive yet; measured again for twice as long", subject_title(subject))
}

fn repeated_line(subject: Subject<'_>) -> String {
    format!("{}: leaks; measured once more in a fresh process", subject_title(subject))
}

fn profiled_line(subject: Subject<'_>) -> String {
    format!("{}: its heap leaks; it is profiled to find the lines that keep it", subject_title(subject))
}
