//! `leakgate nightly`: every scenario for long, the comparison with the last baseline, budgets, history, trend page.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::commands::report::{join_names, write_reports};
use crate::commands::run::{
    RUN_FILES, check_output_folder, check_version, find_cli, parse_scenario, random_seed, report_files,
};
use crate::commands::trend::DEFAULT_HISTORY;
use crate::commands::{Failure, print_stored, progress_listener, run_supervised, trend, warn};
use crate::programs::{NAMES, Programs};
use crate::run::{Cli, Request, RunPlan, profile};
use leakgate_drive::event::Listener;
use leakgate_drive::isolation;
use leakgate_drive::scenario::{Scenario, real};
use leakgate_history::baseline::Baseline;
use leakgate_history::budget::Config;
use leakgate_history::builds::Builds;
use leakgate_history::compare::{Comparison, Pairs, compare};
use leakgate_history::history::History;
use leakgate_history::{Conclusion, Night, Remark, environment_differences};
use leakgate_judge::exit::Exit;
use leakgate_judge::sample::Run;
use leakgate_judge::store;
use leakgate_judge::verdict::trend::BOUNDS;
use leakgate_judge::verdict::{self, Verdict};
use leakgate_report::{Format, night};

/// Both builds' processes, where they were compared.
const COMPARISON: &str = "comparison.json";

/// Options of `nightly`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 pass; 1 a leak, growth faster than the baseline's, or over a budget; 2 usage, or a \
                        budget or an exception is over its day; 3 not conclusive, or something could not be compared or \
                        checked; 4 invalid; 5 leakgate itself failed. The worst decides: 5, 4, 1, 2, 3."
)]
pub struct Args {
    /// Only these scenarios; every one that needs no real CLI without any, and `real` too with --cli.
    #[arg(value_name = "SCENARIO", value_parser = parse_scenario)]
    scenarios: Vec<Scenario>,

    /// The folder for the night's run.json, verdict.json, comparison.json and reports; one beside the history, by its time, without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The history. The trend page and the programs of baselines are kept beside it.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_HISTORY)]
    history: PathBuf,

    /// Budgets and exceptions; leakgate-nightly.toml in the current folder without it, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Restarts after the warm-up, instead of 1200, from where on 64 bytes a restart are always seen in noisy memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=1_000_000))]
    restarts: Option<u64>,

    /// Repeats the requests, the leaving clients and the faults of the night that had this seed.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// Reports beside run.json, in these formats.
    #[arg(long, value_enum, value_name = "FORMAT", value_delimiter = ',', default_value = "html,markdown,terminal")]
    report: Vec<Format>,

    /// The scenario in which the build is compared with the baseline's.
    #[arg(long, value_name = "SCENARIO", default_value = "restarts", value_parser = parse_scenario)]
    compare: Scenario,

    /// Do not compare with the baseline.
    #[arg(long)]
    no_compare: bool,

    /// Leave the controls out: quicker, and the night can't be accepted as a baseline.
    #[arg(long)]
    no_controls: bool,

    /// A real CLI for the scenario `real`, or a mock for all; as in `leakgate run`.
    #[arg(long, value_name = "PATH")]
    cli: Option<PathBuf>,

    /// Run everything in a network namespace with loopback alone; a real CLI needs it.
    #[arg(long)]
    offline: bool,
}

/// Everything that is known before anything is measured.
struct Nightly<'a> {
    args: &'a Args,
    today: Date,
    config: Config,
    out: PathBuf,
    history: History,
    builds: Builds,
    /// The programs that are measured: a copy, so that building meanwhile changes nothing.
    build: String,
    baseline: Option<Baseline>,
    request: Request,
    cli: Option<Cli>,
}

/// Measures, judges, compares and keeps the night. Until the last step the history is as it was.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let mut nightly = Nightly::prepare(args)?;
    for remark in nightly.config.expiries(nightly.today).iter().filter(|remark| remark.means != Conclusion::Pass) {
        // It stands in the report as well.
        let _ = writeln!(std::io::stderr(), "leakgate: {}", remark.what);
    }
    let (run, verdict, stored) = nightly.measure_and_judge()?;
    let (comparison, about) = nightly.compare_with_baseline()?;
    let mut night = Night::of(&run, &verdict);
    night.remarks = nightly.config.expiries(nightly.today);
    night.remarks.extend(nightly.config.check(&run.targets, &verdict.metrics, comparison.as_ref()));
    night.remarks.extend(about);
    night.remarks.extend(nightly.environment_remark(&night));
    night.comparison = comparison;
    night.build = Some(nightly.build.clone());
    night.folder = nightly.out.display().to_string();
    night.id = nightly.history.add(&night).map_err(|error| nightly.history_failure(&error))?;
    let tidied = nightly.prune_and_write_trend();
    let page = tidied.as_ref().map_or_else(|_| "not written".to_owned(), |page| page.display().to_string());
    let report = night::render(&night, nightly.baseline.as_ref());
    let report = format!("{report}\nStored: {}; all nights: {page}\n", join_names(&stored));
    let (id, out) = (night.id, nightly.out.display());
    print_stored(
        &report,
        &format!("the night is number {id} of {}, and its reports are in {out}", args.history.display()),
    );
    tidied.map(|_| night.conclusion().exit())
}

impl<'a> Nightly<'a> {
    fn prepare(args: &'a Args) -> Result<Self, Failure> {
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let known: Vec<&str> = Scenario::all().iter().map(|scenario| scenario.name).collect();
        let config = Config::find(args.config.as_deref(), &known).map_err(|error| Failure::usage(&error))?;
        warn(&config.deprecated);
        let cli = args.cli.as_deref().map(|name| find_cli(name, args.offline)).transpose()?;
        let programs = Programs::find().map_err(|error| Failure::harness(&error))?;
        let history = open_history(&args.history)?;
        let baseline = history.baselines().map_err(|error| Failure::harness(&error))?.pop();
        let builds = Builds::beside(&args.history);
        let build = builds.keep(&programs.paths()).map_err(|error| Failure::harness(&error))?;
        let out = args.out.clone().unwrap_or_else(|| default_out(&args.history));
        check_output_folder(
            "--out",
            &out,
            RUN_FILES.into_iter().chain([COMPARISON]).chain(report_files(&args.report)),
        )?;
        if args.offline {
            isolation::enter_namespace().map_err(|error| Failure::usage(&error))?;
        }
        let cli = cli.map(check_version).transpose()?;
        let request = Request {
            scenarios: select_scenarios(args, &config, today, cli.is_some()),
            controls: !args.no_controls,
            plant: None,
            seed: args.seed.unwrap_or_else(random_seed),
            programs: Programs::in_folder(&builds.folder(&build)),
            cli: cli.clone().filter(|cli| matches!(cli, Cli::Mock(_))),
            target: None,
            external: None,
            profiles: Some(out.clone()),
        };
        Ok(Self { args, today, config, out, history, builds, build, baseline, request, cli })
    }

    /// Drives the controls and the scenarios, judges them, and stores what came of it.
    fn measure_and_judge(&self) -> Result<(Run, Verdict, Vec<PathBuf>), Failure> {
        for scenario in &self.request.scenarios {
            profile::remove_profile(&profile::profile_folder(&self.out, scenario.name, None));
        }
        let plans = self.plan_runs()?;
        let (raw, judged) = (self.out.join("run.json"), self.out.join("verdict.json"));
        let measured = run_supervised(run_incrementally(plans, &raw, progress_listener()));
        let kept = format!("what was measured until then is in {}", raw.display());
        let run = measured
            .map_err(|failure| failure.with(&kept))??
            .ok_or_else(|| Failure::usage(&"there is no scenario to run"))?;
        let verdict = verdict::judge(&run);
        store::save_json(&judged, &verdict).map_err(|error| Failure::harness(&error))?;
        let mut stored = vec![raw, judged];
        stored.extend(write_reports(&self.out, &self.args.report, &verdict, &run)?);
        Ok((run, verdict, stored))
    }

    /// The controls, then each scenario by itself. A real CLI is for the one that is made for it, the mock for all others.
    fn plan_runs(&self) -> Result<Vec<RunPlan>, Failure> {
        let controls = Request { scenarios: Vec::new(), ..self.request.clone() };
        let mut requests = if controls.controls { vec![controls] } else { Vec::new() };
        for scenario in &self.request.scenarios {
            let real = self.cli.clone().filter(|cli| matches!(cli, Cli::Real(..)) && scenario.name == real::NAME);
            let cli = real.or_else(|| self.request.cli.clone());
            let scenarios = vec![scenario.clone()];
            requests.push(Request { scenarios, controls: false, cli, ..self.request.clone() });
        }
        requests.iter().map(|request| request.plan().map_err(|error| Failure::usage(&error))).collect()
    }

    /// Drives the baseline's build and this one in turn. Where there is nothing to compare, says why.
    fn compare_with_baseline(&self) -> Result<(Option<Comparison>, Option<Remark>), Failure> {
        let remark = |means, what: String| Ok((None, Some(Remark { means, what, owner: None })));
        let baseline = match &self.baseline {
            _ if self.args.no_compare => return remark(Conclusion::Pass, "compared with no baseline".to_owned()),
            None => {
                let advice = "`leakgate baseline accept --reason TEXT` makes this night one";
                return remark(Conclusion::Pass, format!("there is no baseline to compare with: {advice}"));
            }
            Some(baseline) if baseline.build == self.build => {
                return remark(Conclusion::Pass, format!("the same programs as in baseline {}", baseline.id));
            }
            Some(baseline) => baseline,
        };
        if let Err(error) = self.builds.check(&baseline.build, &NAMES) {
            let what = format!("cannot compare with baseline {}: {error}", baseline.id);
            return remark(Conclusion::NotConclusive, what);
        }
        let pairs = self.drive_pairs(baseline)?;
        store::save_json(&self.out.join(COMPARISON), &pairs).map_err(|error| Failure::harness(&error))?;
        Ok((Some(compare(baseline.id, &pairs)), None))
    }

    fn drive_pairs(&self, baseline: &Baseline) -> Result<Pairs, Failure> {
        let [scenario] = with_night_length([self.args.compare.clone()], self.args.restarts);
        let before = Programs::in_folder(&self.builds.folder(&baseline.build));
        // The mock that was named would stand in for both.
        let request = Request { cli: None, ..self.request.clone() };
        let plan = request.plan_pairs(&scenario, &before).map_err(|error| Failure::usage(&error))?;
        let measured = run_supervised(plan.run(&*progress_listener()));
        let out = self.out.display();
        let kept = format!("that was the comparison: what the scenarios showed is in {out}, but not in the history");
        measured.map_err(|failure| failure.with(&kept))
    }

    /// Figures of nights that were made differently are not to be compared.
    fn environment_remark(&self, night: &Night) -> Option<Remark> {
        let baseline = self.baseline.as_ref()?;
        let differing = environment_differences(&baseline.environment, &night.environment);
        let what = format!(
            "made differently than baseline {} ({}): figures of the two nights do not compare; the two builds side by \
             side do",
            baseline.id,
            differing.join("; ")
        );
        (!differing.is_empty()).then_some(Remark { means: Conclusion::Pass, what, owner: None })
    }

    /// Removes old programs and writes the trend page.
    fn prune_and_write_trend(&self) -> Result<PathBuf, Failure> {
        let failed = |error| Failure::harness(&error);
        let nights = self.history.nights().map_err(failed)?;
        let baselines = self.history.baselines().map_err(failed)?;
        let newest_first: Vec<String> = nights.into_iter().rev().filter_map(|night| night.build).collect();
        let needed: Vec<String> = baselines.into_iter().map(|baseline| baseline.build).collect();
        let pruned = self.builds.prune(&needed, &newest_first, SystemTime::now());
        pruned.map_err(|error| Failure::harness(&error))?;
        let page = trend::page_path(&self.args.history);
        trend::write_latest(&self.history, &page)?;
        Ok(page)
    }

    /// The measurements are not lost with the history.
    fn history_failure(&self, error: &impl std::fmt::Display) -> Failure {
        let out = self.out.display();
        Failure::harness(&format!("the night is not in the history, but its reports are in {out}: {error}"))
    }
}

/// Opens or makes a history, with the folder that it is in.
pub(super) fn open_history(path: &Path) -> Result<History, Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let page = trend::page_path(path);
    check_output_folder("--history", folder, page.file_name().and_then(|name| name.to_str()))?;
    // SQLite opens a file that it may only read, and fails at the end of the night.
    if path.exists() {
        fs::File::options().append(true).open(path).map_err(|error| {
            Failure::usage(&format!(
                "cannot write the history {}: {error}; choose another with --history",
                path.display()
            ))
        })?;
    }
    History::open(path).map_err(|error| Failure::usage(&error))
}

/// Beside the history, by the time.
fn default_out(history: &Path) -> PathBuf {
    history.with_file_name(Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string())
}

fn select_scenarios(args: &Args, config: &Config, today: Date, with_cli: bool) -> Vec<Scenario> {
    let mut chosen = args.scenarios.clone();
    if chosen.is_empty() {
        chosen.extend(Scenario::all().into_iter().filter(|scenario| with_cli || scenario.name != real::NAME));
    }
    for scenario in &mut chosen {
        let [long] = with_night_length([scenario.clone()], args.restarts);
        *scenario = long;
        scenario.exceptions.extend(config.exceptions_for(scenario.name, today));
    }
    chosen
}

/// With the restarts of a night. The scenario of the real CLI keeps its own number: its processes are too large for the
/// bound that more restarts are there for.
fn with_night_length<const N: usize>(scenarios: [Scenario; N], restarts: Option<u64>) -> [Scenario; N] {
    let [longest, ..] = BOUNDS;
    scenarios.map(|scenario| {
        let own = if scenario.name == real::NAME { scenario.restarts } else { longest.from };
        Scenario { restarts: restarts.unwrap_or(own), ..scenario }
    })
}

/// Runs one program after the other, and stores after each what there is by then: a night that is ended in its eighth hour
/// leaves seven of them to be judged.
async fn run_incrementally(
    plans: Vec<RunPlan>,
    path: &Path,
    listener: Arc<dyn Listener>,
) -> Result<Option<Run>, Failure> {
    let mut night: Option<Run> = None;
    for plan in plans {
        let run = plan.run(Arc::clone(&listener)).await;
        let run = match night {
            None => run,
            Some(before) => merge_runs(before, run),
        };
        store::save(path, &run).map_err(|error| Failure::harness(&error))?;
        night = Some(run);
    }
    Ok(night)
}

/// One run of two that belong to the same night; the first has the controls.
fn merge_runs(mut first: Run, second: Run) -> Run {
    first.controls.extend(second.controls);
    first.targets.extend(second.targets);
    let versions = &mut first.environment.cli_versions;
    versions.extend(second.environment.cli_versions);
    versions.sort();
    versions.dedup();
    first
}
