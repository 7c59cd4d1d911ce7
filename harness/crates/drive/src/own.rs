//! Our own server as a target: it tells about itself on its stats channel, so that its counts are exact.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::time::{interval, sleep};

use crate::assignment::Assignment;
use crate::driver;
use crate::event::{Listener, Subject};
use crate::load::endpoint::Endpoint;
use crate::load::script::Script;
use crate::load::{Counts, Load, Shape};
use crate::probe::Probe;
use crate::real_cli;
use crate::scenario::Scenario;
use crate::scenario::schedule::Schedule;
use crate::target::{Ended, Rest, Sample, Target, TargetError};
use latency::{Latencies, PACE};
use leakgate_judge::sample::{Bounds, Outcome, Plan, TargetRun};
use leakgate_mock::fake_api::answer::AnswerMaker;
use leakgate_mock::fake_api::{self, FakeApi, Source};
use leakgate_session::stats::Stats;
pub use server::Launch;
use server::Server;

mod channel;
mod ending;
mod latency;
pub mod profile;
mod server;
mod settle;

/// The name of the build on the system's allocator.
pub const SUT: &str = "sut";
/// The name of the build under dhat.
pub const SUT_HEAP: &str = "sut-heap";

/// Samples of the noisy metrics in one run, about: enough for four windows in its second half, few enough to be cheap.
const TRACE_POINTS: u64 = 160;
/// Samples that a run has at least, whatever its restarts: the four windows of its second half need three each.
const MIN_TRACE_POINTS: u64 = 48;
/// How long the first invoker may take; a little longer than the server's own deadline for it.
const READY_DEADLINE: Duration = Duration::from_secs(35);
/// Reading the tree takes a quarter of the time at most: what watches must not be what the server waits for.
const READING_SHARE: u32 = 4;

/// Our server, and what is asked of it.
#[derive(Debug, Clone)]
pub struct OwnAssignment {
    /// The load, the faults and the limits.
    pub scenario: Scenario,
    /// The target's name: [`SUT`] or [`SUT_HEAP`].
    pub target: &'static str,
    /// How it is started.
    pub launch: Launch,
    /// The CLI that it starts.
    pub cli: PathBuf,
    /// The stand-in for the API, where the CLI is a real one: the texts that it answers.
    pub api: Option<Vec<Vec<String>>>,
    /// The requests.
    pub script: Arc<Script>,
    /// The seed of the load.
    pub seed: u64,
    /// The same, where the run has several, so that reports have to tell them apart.
    pub own_seed: Option<u64>,
    /// How often the scenario's restarts were doubled.
    pub doubled: u64,
    /// Whether this is a control: a planted leak, or the clean one.
    pub control: bool,
}

impl OwnAssignment {
    /// When it is read: a growing vector shows itself only where the restarts double.
    fn schedule(&self) -> Schedule {
        let schedule = if self.target == SUT_HEAP { Schedule::doubling } else { Schedule::exact };
        schedule(self.scenario.warm_up, self.scenario.restarts)
    }

    fn plan(&self) -> Plan {
        let scenario = &self.scenario;
        Plan {
            slots: scenario.slots,
            warm_up: scenario.warm_up,
            restarts: scenario.restarts,
            connections: scenario.connections,
            max_turns: scenario.max_turns,
            server_rss_cap_mb: scenario.server_rss_cap_mb,
            tree_rss_cap_mb: scenario.tree_rss_cap_mb(),
            memory_noise_mb: scenario.memory_noise_mb,
            doubled: self.doubled,
            errors_allowed: scenario.errors_allowed,
            exceptions: scenario.exceptions.clone(),
            outside: None,
        }
    }

    fn shape(&self) -> Shape {
        Shape {
            connections: self.scenario.connections,
            mix: self.scenario.mix,
            filler: self.scenario.filler,
            json: 0.0,
            streamed: self.scenario.streamed,
            leaving: self.scenario.leaving,
            deadline: self.scenario.deadline,
            seed: self.seed,
        }
    }

    /// Starts the stand-in for the API that a real CLI asks; none for the mock, which asks nobody.
    async fn start_api(&self) -> std::io::Result<Option<FakeApi>> {
        let Some(replies) = &self.api else { return Ok(None) };
        let maker =
            AnswerMaker::new(fake_api::scenario::Scenario::default(), replies.clone(), true, self.scenario.api_delay);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        FakeApi::start(listener, Source::Made(maker), 1, |_| {}).map(Some)
    }
}

impl Assignment for OwnAssignment {
    fn subject(&self) -> Subject<'_> {
        let goal = self.schedule().end();
        Subject { name: self.scenario.name, target: self.target, control: self.control, goal }
    }

    fn empty_run(&self) -> TargetRun {
        TargetRun { seed: self.own_seed, ..TargetRun::new(self.scenario.name, self.target, self.plan()) }
    }

    fn with_doubled_restarts(&self) -> Box<dyn Assignment> {
        let mut longer = self.clone();
        longer.doubled += 1;
        longer.scenario.restarts *= 2;
        longer.scenario.requests *= 2;
        Box::new(longer)
    }

    fn can_repeat(&self) -> bool {
        true
    }

    fn is_external(&self) -> bool {
        false
    }

    fn drive<'a>(&'a self, listener: &'a dyn Listener) -> BoxFuture<'a, TargetRun> {
        Box::pin(driver::drive::<OwnTarget>(self, listener))
    }

    fn check_start<'a>(&'a self, listener: &'a dyn Listener) -> BoxFuture<'a, Option<TargetRun>> {
        Box::pin(driver::check_start::<OwnTarget>(self, listener))
    }
}

/// Our server while it runs.
pub(crate) struct OwnTarget {
    assignment: OwnAssignment,
    /// How it was started, with the address of the stand-in for the API.
    launch: Launch,
    server: Server,
    probe: Probe,
    api: Option<FakeApi>,
    bounds: Bounds,
    latencies: Latencies,
    /// How many files a real CLI kept in its HOME at a checkpoint, at most: its settings.
    files_in_home: usize,
    latest: Option<Stats>,
}

impl Target for OwnTarget {
    type Assignment = OwnAssignment;

    async fn start(assignment: &OwnAssignment) -> Result<Self, TargetError> {
        let api = assignment.start_api().await.map_err(|source| TargetError::Api { source })?;
        // The address of the stand-in is known only now, and the second server after a kill needs it as well.
        let mut launch = assignment.launch.clone();
        launch.env.extend(api.iter().flat_map(|api| real_cli::stand_in_variables(&api.url())));
        let server = Server::start(&launch).await?;
        let probe = Probe::new(server.pid(), server.folder(), &assignment.cli)
            .map_err(|error| TargetError::Probe { what: error.to_string() })?;
        Ok(Self {
            assignment: assignment.clone(),
            launch,
            server,
            probe,
            api,
            bounds: Bounds::default(),
            latencies: Latencies::default(),
            files_in_home: 0,
            latest: None,
        })
    }

    async fn prove_identity(&mut self) -> Result<(), Outcome> {
        self.until_ready().await.map_err(TargetError::into_outcome)
    }

    fn open_load(&self) -> Load {
        let endpoint = Endpoint::for_own_server(self.server.address());
        Load::new(endpoint, Arc::clone(&self.assignment.script), self.assignment.shape())
    }

    async fn begin_counting(&mut self, _load: &mut Load) -> Result<(), Outcome> {
        Ok(())
    }

    fn plan_checkpoints(&mut self, _counts: &Counts, _is_cut_short: bool) -> Result<Option<Schedule>, Outcome> {
        Ok(Some(self.assignment.schedule()))
    }

    /// Enough requests for the restarts between two samples, and not for many more than are missing.
    fn batch_size(&self, missing: u64, schedule: &Schedule) -> u64 {
        let scenario = &self.assignment.scenario;
        // A batch is sized in restarts, because the samples are spread evenly over the restarts.
        let between = (schedule.end() / TRACE_POINTS).max(1);
        let turns = scenario.max_turns * missing.max(1).min(between).next_multiple_of(scenario.slots);
        // A short run of a server that restarts seldom needs samples within an invoker's life, too.
        let often_enough = scenario.max_turns * schedule.end() / MIN_TRACE_POINTS;
        turns.min(often_enough.max(scenario.connections))
    }

    fn min_requests(&self) -> u64 {
        self.assignment.scenario.requests
    }

    /// One batch, while the server is asked every few milliseconds whether it restarts.
    async fn run_load(&mut self, load: &mut Load, requests: u64) -> Result<(), Outcome> {
        let Self { server, latencies, assignment, .. } = self;
        {
            let mut batch = pin!(load.run_batch(requests));
            let mut pace = interval(PACE);
            let mut answers = true;
            loop {
                tokio::select! {
                    () = &mut batch => break,
                    _ = pace.tick(), if answers => {}
                }
                // Outside of the `select!`: an answer that is not awaited would be taken for the next one.
                match server.stats().await {
                    Ok(stats) => {
                        let under_way = stats.pool.live != assignment.scenario.slots;
                        latencies.note_status(Instant::now(), stats.pool.restarts.total(), under_way);
                    }
                    // The next sample finds the fault, once the requests have ended.
                    Err(_) => answers = false,
                }
            }
        }
        latencies.assign_timings(&load.take_timings());
        Ok(())
    }

    /// Reads the tree while the restart that the batch ended with may still go on, and then once more at rest.
    async fn take_sample(&mut self, counts: &Counts) -> Result<Sample, Outcome> {
        let start = Instant::now();
        let mut next_reading = start;
        let stats = loop {
            let now = Instant::now();
            if now >= next_reading {
                let moving = self.probe.read_tree();
                self.bounds.cli_processes_max = self.bounds.cli_processes_max.max(moving.cli.len() as u64);
                next_reading = now + now.elapsed() * READING_SHARE;
            }
            let stats = self.server.stats().await.map_err(TargetError::into_outcome)?;
            // A pool under steady load may never come to rest: then the sample is taken all the same.
            if stats.pool.settled || start.elapsed() > self.assignment.scenario.rest {
                break stats;
            }
            sleep(Duration::from_millis(2)).await;
        };
        // Only now is every invoker of the tree there, and no other.
        let tree = self.probe.read_tree();
        let point = self.probe.read_memory(&tree).trace_point(stats.pool.restarts.total(), counts.requests);
        self.bounds.raise_to(&point);
        let invokers = stats.pool.live;
        self.latest = Some(stats);
        Ok(Sample { point, invokers })
    }

    /// Brings the server to rest with a fresh invoker in each slot, and reads every exact metric.
    async fn read_at_rest(&mut self) -> Result<Rest, Outcome> {
        // All invokers are replaced, so that every checkpoint compares invokers of the same age.
        self.server.restart().await.map_err(TargetError::into_outcome)?;
        let (values, stats) = settle::settle(&mut self.server, &mut self.probe).await?;
        if self.api.is_some() {
            self.files_in_home = self.files_in_home.max(ending::files_in_home(self.server.folder()).len());
        }
        let tree = self.probe.read_tree();
        let details = self.probe.read_details(&tree, stats.tasks_by_line());
        let restarts = stats.pool.restarts.total();
        self.latest = Some(stats);
        Ok(Rest { restarts, values, details })
    }

    fn count_steps(&self, restarts: u64, _requests: u64) -> u64 {
        restarts
    }

    fn restart_count(&self) -> u64 {
        self.latest.as_ref().map_or(0, |stats| stats.pool.restarts.total())
    }

    fn describe_stall(&mut self, counts: &Counts) -> Outcome {
        let notes = counts.notes.first().map(|note| format!("; first note: {note}")).unwrap_or_default();
        let what = format!(
            "it stopped restarting at {} restarts: {} requests, of which {} ended in an error and {} were lost{notes}",
            self.restart_count(),
            counts.requests,
            counts.errors,
            counts.lost
        );
        TargetError::Gone { what, stderr: self.server.stderr() }.into_outcome()
    }

    async fn stop_and_inspect(mut self, counts: &Counts, is_complete: bool) -> Ended {
        // The last stats, because turns and restarts went on after the last sample. A server that is gone keeps the earlier ones.
        if let Ok(stats) = self.server.stats().await {
            self.latest = Some(stats);
        }
        let pool = self.latest.as_ref().map(|stats| &stats.pool);
        let high_water = pool.map_or(0, |pool| pool.high_water);
        let missing = if is_complete { self.missing_faults(counts) } else { None };
        let ended = Ended {
            restarts: pool.map_or(0, |pool| pool.restarts.total()),
            turns: Some(pool.map_or(0, |pool| pool.turns)),
            bounds: Bounds { live_invokers_max: high_water, ..self.bounds },
            latency: self.latencies.summary(),
            ..Ended::default()
        };
        ending::end(self, missing, ended).await
    }
}

impl OwnTarget {
    /// Waits until the first invoker serves; an unusable CLI is told at once instead of by every request.
    async fn until_ready(&mut self) -> Result<(), TargetError> {
        let start = Instant::now();
        loop {
            let stats = self.server.stats().await?;
            if stats.pool.state == "ready" {
                self.latest = Some(stats);
                return Ok(());
            }
            if stats.pool.state == "offline" || start.elapsed() > READY_DEADLINE {
                let reason = stats.pool.offline_reason.unwrap_or_else(|| "no invoker became ready".to_owned());
                return Err(TargetError::Gone { what: reason, stderr: self.server.stderr() });
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// A scenario whose faults did not come proves nothing: which ones were missing.
    fn missing_faults(&self, counts: &Counts) -> Option<String> {
        let scenario = &self.assignment.scenario;
        let restarts = self.latest.as_ref().map(|stats| stats.pool.restarts).unwrap_or_default();
        // Half of what is drawn by chance is far below what chance does.
        let leavers = share(counts.requests, scenario.streamed * scenario.leaving / 2.0);
        let crashes = share(restarts.total(), scenario.recovering);
        let repeats = share(counts.complete, scenario.mix.wrong / 2.0);
        let turns = self.latest.as_ref().map_or(0, |stats| stats.pool.turns);
        let missing = if restarts.recoveries() < crashes {
            format!("{} of {} restarts were recoveries", restarts.recoveries(), restarts.total())
        } else if counts.cancelled < leavers {
            format!("{} of {} clients left", counts.cancelled, counts.requests)
        } else if turns < counts.complete + repeats {
            format!("{turns} turns were needed for {} replies, of which many were wrong at first", counts.complete)
        } else {
            return None;
        };
        Some(format!("the scenario's faults did not come: only {missing}"))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count is a count again, and both stay far below 2^53"
)]
fn share(count: u64, share: f64) -> u64 {
    (count as f64 * share) as u64
}
