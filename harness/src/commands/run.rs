//! `leakgate run`: measures, stores, judges, reports.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use crate::commands::report::{join_names, write_reports};
use crate::commands::{Failure, print_stored, progress_listener, run_supervised};
use crate::control::Control;
use crate::programs::Programs;
use crate::run::{Cli, Kind, Request, profile};
use leakgate_drive::external::settings::Settings;
use leakgate_drive::isolation;
use leakgate_drive::real_cli;
use leakgate_drive::scenario::Scenario;
use leakgate_judge::exit::Exit;
use leakgate_judge::sample::Run;
use leakgate_judge::store;
use leakgate_judge::verdict;
use leakgate_report::Format;
use leakgate_report::terminal::{MAX_WIDTH, Style, render};
use leakgate_sut::plant::Spec;

mod external;
mod suite;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to run: restarts, overnight, crashes, streams, structured, tools, bodies, real, or several of them; restarts, if none is named.
    #[arg(value_name = "SCENARIO", value_parser = parse_scenario)]
    scenarios: Vec<Scenario>,

    #[command(flatten)]
    external: external::Args,

    #[command(flatten)]
    suite: suite::Args,

    /// The folder for run.json and verdict.json.
    #[arg(long, value_name = "DIR", default_value = "reports/latest")]
    out: PathBuf,

    /// Reports beside run.json, in these formats: report.html, report.md …; `leakgate report` writes them later as well.
    #[arg(long, value_enum, value_name = "FORMAT", value_delimiter = ',', default_value = "html,markdown")]
    report: Vec<Format>,

    /// Restarts after the warm-up, instead of the scenario's own number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=1_000_000))]
    restarts: Option<u64>,

    /// Slots of the server, instead of the scenario's own number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    slots: Option<u64>,

    /// Plant this leak in the scenario, and leave the controls out; `kept-invoker` is the original bug.
    #[arg(long, value_name = "NAME[,every=K][,from=F][,bytes=B]", value_parser = parse_plant)]
    plant: Option<Control>,

    /// Leave the controls out: quicker, and the verdict is worth less.
    #[arg(long)]
    no_controls: bool,

    /// Make no profile of what leaks in the heap: quicker, and the report names no lines of code.
    #[arg(long)]
    no_profile: bool,

    /// What the CLI replays in the scenarios: a bundled recording (NAME or VERSION/NAME) or a .jsonl file.
    #[arg(long, value_name = "SPEC")]
    recording: Option<String>,

    /// Only this target, instead of both.
    #[arg(long, value_enum)]
    target: Option<Kind>,

    /// The CLI to run instead of the mock beside leakgate: a path, or a name in PATH. One that is called mock-claude gets
    /// the mock's flags; any other is a real one, which needs --offline.
    #[arg(long, value_name = "PATH")]
    cli: Option<PathBuf>,

    /// Run everything in a network namespace with loopback alone, and give a real CLI a stand-in for the API, a HOME of
    /// its own and a key that is none. Refuses to start where this is not possible.
    #[arg(long)]
    offline: bool,
}

pub(super) fn parse_scenario(name: &str) -> Result<Scenario, String> {
    let known: Vec<String> =
        Scenario::all().iter().map(|scenario| format!("{} ({})", scenario.name, scenario.about)).collect();
    Scenario::by_name(name).ok_or_else(|| format!("choose from: {}", known.join("; ")))
}

pub(super) fn parse_plant(text: &str) -> Result<Control, String> {
    let known: Vec<&str> = Control::all().iter().filter(|c| !c.planted.is_empty()).map(|c| c.name).collect();
    let control = Control::from_plant_option(text).filter(|control| !control.planted.is_empty()).ok_or_else(|| {
        format!("choose from: {}; those that strike at restarts also take ,every=K and ,from=F", known.join(", "))
    })?;
    control.change.plant.as_deref().map(str::parse::<Spec>).transpose()?;
    Ok(control)
}

/// Measures and judges. Whatever was started is gone when this returns.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let scenarios = select_scenarios(args);
    let suite = args.suite.resolve(&scenarios, random_seed(), suite_options(args))?;
    let out = suite.folder().map_or_else(|| args.out.clone(), |folder| args.out.join(folder));
    check_output_folder("--out", &out, RUN_FILES.into_iter().chain(report_files(&args.report)))?;
    let cli = args.cli.as_deref().map(|name| find_cli(name, args.offline)).transpose()?;
    let programs = Programs::find().map_err(|error| Failure::harness(&error))?;
    let external = external::read_settings(&args.external, args.scenarios.is_empty(), args.restarts, &programs.mock)?;
    if external.is_some() && !args.suite.is_plain() {
        return Err(Failure::usage(
            &"a server that is not ours is measured once: leave out --shard, --seeds and all but one --seed",
        ));
    }
    if args.offline {
        isolation::enter_namespace().map_err(|error| Failure::usage(&error))?;
    }
    let cli = cli.map(check_version).transpose()?;
    let here = suite.units_here(&scenarios);
    // Where nothing is measured there is nothing that a control would have to prove.
    let controls = !args.no_controls && args.plant.is_none() && (external.is_some() || !here.is_empty());
    let profiles = (!args.no_profile).then(|| out.clone());
    let request = Request {
        profiles,
        controls,
        seed: suite.first_seed(),
        ..build_request(args, scenarios, programs, cli, external)
    };
    let program = request.plan_units(&here).map_err(|error| Failure::usage(&error))?;
    for (scenario, seed) in &here {
        profile::remove_profile(&profile::profile_folder(&out, scenario.name, *seed));
    }
    let measured = run_supervised(program.run(progress_listener()))?;
    judge_and_store(&suite.tag_with_suite(measured), &out, &args.report)
}

/// Judges a run, stores everything in `out`, and prints it then: what was measured must not depend on who reads stdout.
pub(super) fn judge_and_store(run: &Run, out: &Path, formats: &[Format]) -> Result<Exit, Failure> {
    let verdict = verdict::judge(run);
    let (raw, judged) = (out.join("run.json"), out.join("verdict.json"));
    let stored = store_all(run, &verdict, [&raw, &judged], || write_reports(out, formats, &verdict, run));
    let report = render(&verdict, run, Style { width: MAX_WIDTH, colour: true });
    match stored {
        Ok(reports) => {
            let stored = [vec![judged], reports].concat();
            let (raw, names) = (raw.display(), join_names(&stored));
            let stored = format!("\nStored: {raw} (judge it again with `leakgate judge`), {names}\n");
            print_stored(
                &(report + &stored),
                &format!("the report is in {}, and the verdict in {names}", out.display()),
            );
            Ok(verdict.exit())
        }
        Err(failure) => {
            // What could not be stored is told, at least.
            print_stored(&report, "and the report could not be stored either");
            Err(failure)
        }
    }
}

fn store_all(
    run: &Run,
    verdict: &verdict::Verdict,
    [raw, judged]: [&Path; 2],
    reports: impl FnOnce() -> Result<Vec<PathBuf>, Failure>,
) -> Result<Vec<PathBuf>, Failure> {
    store::save(raw, run).map_err(|error| Failure::harness(&error).with(&store_in_temp_folder(run)))?;
    store::save_json(judged, verdict).map_err(|error| Failure::harness(&error))?;
    reports()
}

/// Puts a run that cannot go where it was meant to be into the temporary folder: it may have taken hours.
fn store_in_temp_folder(run: &Run) -> String {
    let path = std::env::temp_dir().join(format!("leakgate-run-{}.json", std::process::id()));
    match store::save(&path, run) {
        Ok(()) => format!("what was measured is in {} instead: `leakgate judge` judges it", path.display()),
        Err(error) => format!("nor can it be kept in the temporary folder: {error}"),
    }
}

fn select_scenarios(args: &Args) -> Vec<Scenario> {
    let mut scenarios = args.scenarios.clone();
    if scenarios.is_empty() {
        scenarios.extend(Scenario::all().into_iter().take(1));
    }
    for scenario in &mut scenarios {
        scenario.restarts = args.restarts.unwrap_or(scenario.restarts);
        scenario.slots = args.slots.unwrap_or(scenario.slots);
        scenario.recording = args.recording.clone().unwrap_or_else(|| scenario.recording.clone());
    }
    scenarios
}

/// The options that change what is measured, in the order of the help: shards that differ in one are of different suites.
fn suite_options(args: &Args) -> Vec<String> {
    let valued = [
        ("--restarts", args.restarts.map(|restarts| restarts.to_string())),
        ("--slots", args.slots.map(|slots| slots.to_string())),
        (
            "--plant",
            args.plant.as_ref().map(|plant| plant.change.plant.clone().unwrap_or_else(|| plant.name.to_owned())),
        ),
        ("--recording", args.recording.clone()),
        ("--target", args.target.and_then(|kind| Some(kind.to_possible_value()?.get_name().to_owned()))),
        ("--cli", args.cli.as_ref().map(|cli| cli.display().to_string())),
    ];
    let flags = [("--no-controls", args.no_controls), ("--no-profile", args.no_profile), ("--offline", args.offline)];
    let valued = valued.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    valued.chain(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned())).collect()
}

fn build_request(
    args: &Args,
    scenarios: Vec<Scenario>,
    programs: Programs,
    cli: Option<Cli>,
    external: Option<Arc<Settings>>,
) -> Request {
    Request {
        scenarios,
        controls: false,
        plant: args.plant.clone(),
        seed: 0,
        programs,
        cli,
        target: args.target,
        external,
        profiles: None,
    }
}

/// A new seed for each run; the report prints it, so that the run can be repeated.
pub(super) fn random_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
}

/// The files that every run writes, besides its reports.
pub(super) const RUN_FILES: [&str; 2] = ["run.json", "verdict.json"];

/// Before anything is measured: a run whose result cannot be stored is a waste. `files` will be written into `folder`, which
/// `option` names.
pub(super) fn check_output_folder<'a>(
    option: &str,
    folder: &Path,
    files: impl IntoIterator<Item = &'a str>,
) -> Result<(), Failure> {
    let tried = std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::NamedTempFile::new_in(folder))
        .and_then(|mut file| file.write_all(&[0; 4096]).and_then(|()| file.as_file().sync_all()));
    tried.map_err(|error| {
        let advice = format!("choose another with {option}, or free some space there");
        let message = format!("cannot write reports into {}: {error}; {advice}", folder.display());
        match error.kind() {
            // There the folder is right, and the machine is not.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::harness(&message),
            _ => Failure::usage(&message),
        }
    })?;
    match files.into_iter().map(|name| folder.join(name)).find(|path| path.is_dir()) {
        None => Ok(()),
        Some(path) => {
            let advice = format!("move it away, or choose another folder with {option}");
            Err(Failure::usage(&format!("cannot write {}: it is a folder; {advice}", path.display())))
        }
    }
}

/// The files of these formats.
pub(super) fn report_files(formats: &[Format]) -> impl Iterator<Item = &'static str> {
    formats.iter().map(|format| format.file_name())
}

/// Finds the CLI that `name` means. A real one is not touched unless it will be isolated: it would ask the real API, with
/// whatever key or login it finds, and send telemetry.
pub(super) fn find_cli(name: &Path, offline: bool) -> Result<PathBuf, Failure> {
    let cli = real_cli::find_program(name).map_err(|error| Failure::usage(&error))?;
    if offline || real_cli::is_mock(&cli) {
        return Ok(cli);
    }
    Err(Failure::usage(&format!(
        "{} is not called mock-claude, so it is taken for a real CLI, and a real CLI outside of a network namespace would \
         spend somebody's money: add --offline, which gives it a stand-in for the API and no way out",
        cli.display()
    )))
}

/// Asks the CLI for its version, so that a broken one is refused before every target fails over it.
pub(super) fn check_version(cli: PathBuf) -> Result<Cli, Failure> {
    if real_cli::is_mock(&cli) {
        return Ok(Cli::Mock(cli));
    }
    let version = real_cli::read_version(&cli).map_err(|error| Failure::usage(&error))?;
    Ok(Cli::Real(cli, version))
}
