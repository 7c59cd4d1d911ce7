//! `leakgate profile`: the lines of code that keep memory.

use std::path::PathBuf;
use std::sync::Arc;

use crate::commands::run::{check_output_folder, parse_plant, parse_scenario, random_seed};
use crate::commands::{Failure, print_stored, progress_listener, run_supervised};
use crate::control::Control;
use crate::programs::Programs;
use crate::run::Request;
use crate::run::profile::{self, HeapProfile, ProfilePlan};
use leakgate_drive::event::{Event, Listener};
use leakgate_drive::scenario::Scenario;
use leakgate_judge::exit::Exit;
use leakgate_report::profile::render;

/// Options of `profile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to run: restarts, overnight, crashes, streams, structured, tools, bodies.
    #[arg(value_name = "SCENARIO", value_parser = parse_scenario, default_value = "restarts")]
    scenario: Scenario,

    /// Restarts of the first window; the second has twice as many. More find what leaks more seldom.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=100_000), default_value_t = profile::DEFAULT_WINDOW)]
    restarts: u64,

    /// The folder for dhat-heap.json, profile.json, growth.folded and growth.svg.
    #[arg(long, value_name = "DIR", default_value = "reports/latest-profile")]
    out: PathBuf,

    /// Sites that are printed; profile.json has all.
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,

    /// Repeats the requests, the leaving clients and the faults of the run that had this seed.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// Slots of the server, instead of the scenario's own number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    slots: Option<u64>,

    /// Plant this leak: heap-block, heap-bytes or any other of `leakgate run`.
    #[arg(long, value_name = "NAME[,every=K][,from=F][,bytes=B]", value_parser = parse_plant)]
    plant: Option<Control>,
}

/// Profiles, stores and prints. Whatever was started is gone when this returns. The exit code tells only whether there is
/// a profile: `leakgate run` is what judges.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    check_output_folder("--out", &args.out, [profile::RAW, profile::SITES, profile::FOLDED, profile::PICTURE])?;
    let programs = Programs::find().map_err(|error| Failure::harness(&error))?;
    let program = build_request(args, programs).plan_profile(args.restarts).map_err(|error| Failure::usage(&error))?;
    let program = program.ok_or_else(|| Failure::usage(&"no scenario was named"))?;
    let found = run_supervised(run_profile(program, progress_listener()))?;
    let found = found.map_err(|error| Failure::harness(&format!("no profile: {error}")))?;
    let saved = found.save(&args.out);
    let report = render(&found.profile, args.top);
    match saved {
        Ok(()) => {
            print_stored(
                &(report + &stored_message(args, &found)),
                &format!("the profile is in {}", args.out.display()),
            );
            Ok(Exit::Pass)
        }
        Err(error) => {
            print_stored(&report, "and the profile could not be stored either");
            Err(Failure::harness(&error))
        }
    }
}

fn build_request(args: &Args, programs: Programs) -> Request {
    let slots = args.slots.unwrap_or(args.scenario.slots);
    Request {
        scenarios: vec![Scenario { slots, ..args.scenario.clone() }],
        controls: false,
        plant: args.plant.clone(),
        seed: args.seed.unwrap_or_else(random_seed),
        programs,
        cli: None,
        target: None,
        external: None,
        profiles: None,
    }
}

async fn run_profile(program: ProfilePlan, listener: Arc<dyn Listener>) -> Result<HeapProfile, String> {
    listener.event(Event::Planned { restarts: program.subject().goal });
    program.run(&*listener).await.map_err(|error| error.to_string())
}

fn stored_message(args: &Args, found: &HeapProfile) -> String {
    let out = args.out.display();
    let (raw, sites, folded) = (profile::RAW, profile::SITES, profile::FOLDED);
    let picture = if found.profile.sites.is_empty() {
        "no flame graph, for there is no growth".to_owned()
    } else {
        format!("{} (a flame graph of the growth; any browser shows it)", profile::PICTURE)
    };
    format!(
        "\nStored in {out}: {sites} (for `leakgate diff`), {folded} (folded stacks), {picture}\n\
         and {raw}, the longer window: open it in dh_view.html, which comes with valgrind and is at\n\
         https://nnethercote.github.io/dh_view/dh_view.html; sort by \"At t-end\". Nothing leaves your browser.\n"
    )
}
