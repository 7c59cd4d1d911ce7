//! `leakgate recordings`: lists, checks, shows and trims.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::commands::{Failure, print};
use crate::programs::Programs;
use leakgate_judge::exit::Exit;
use leakgate_session::recording::{self, Session};
use leakgate_session::recording_tools::check::{self, CheckReport};
use leakgate_session::recording_tools::trim::{self, TrimLimits};
use leakgate_session::recording_tools::{find_turns, show};

/// Options of `recordings`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the bundled recordings.
    List,
    /// Is it valid, free of secrets, and does mock-claude replay it line by line? Exit code 1 if not.
    Check {
        /// Files, folders of them, or bundled recordings (NAME or VERSION/NAME).
        #[arg(required = true, value_name = "RECORDING")]
        specs: Vec<String>,
    },
    /// What happens in it: version, turns, messages, times, and what was removed.
    Show {
        /// A file, or a bundled recording.
        #[arg(value_name = "RECORDING")]
        spec: String,
    },
    /// Write a smaller recording that can still be replayed.
    Trim(Trim),
}

#[derive(Debug, clap::Args)]
struct Trim {
    /// A file, or a bundled recording.
    #[arg(value_name = "RECORDING")]
    spec: String,

    /// Where to; the recording is called like the file.
    #[arg(short, long, value_name = "FILE.jsonl", value_parser = parse_output_file)]
    out: PathBuf,

    /// Keep the first N turns.
    #[arg(long, value_name = "N")]
    turns: Option<usize>,

    /// Keep this much of each pause.
    #[arg(long, value_name = "MS")]
    pause: Option<u64>,

    /// Keep this much of each text of a prompt or a reply.
    #[arg(long, value_name = "CHARACTERS")]
    text: Option<usize>,

    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

fn parse_output_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if is_recording(&path) { Ok(path) } else { Err("name a file that ends in .jsonl".to_owned()) }
}

fn is_recording(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "jsonl")
}

/// Does what the verb says.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::List => list_recordings(),
        Verb::Check { specs } => check_recordings(specs),
        Verb::Show { spec } => {
            print(&show::render_overview(&load_recording(spec)?))?;
            Ok(Exit::Pass)
        }
        Verb::Trim(options) => trim_recording(options),
    }
}

fn load_recording(spec: &str) -> Result<Session, Failure> {
    recording::load(spec).map_err(|error| Failure::usage(&error))
}

fn list_recordings() -> Result<Exit, Failure> {
    let mut text = String::new();
    for entry in recording::list_bundled() {
        let session = entry.parse().map_err(|error| Failure::harness(&error))?;
        let (name, count) = (format!("{}/{}", entry.version, entry.name), find_turns(&session).len());
        let _ = writeln!(text, "{name:<36} {count:>3} turns  {}", session.header.about);
    }
    print(&text)?;
    Ok(Exit::Pass)
}

fn check_recordings(specs: &[String]) -> Result<Exit, Failure> {
    let mock = Programs::find().map_err(|error| Failure::harness(&error))?.mock;
    let mut exit = Exit::Pass;
    for spec in expand_folders(specs)? {
        let CheckReport { problems, summary } = check::check_recording(&spec, &read_text(&spec)?, &mock);
        if problems.is_empty() {
            print(&format!("{spec}: fine: {summary}\n"))?;
        } else {
            print(&(problems.join("\n") + "\n"))?;
            exit = Exit::Leak;
        }
    }
    Ok(exit)
}

/// Folders stand for the recordings in them.
fn expand_folders(specs: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for spec in specs {
        if !Path::new(spec).is_dir() {
            all.push(spec.clone());
            continue;
        }
        let entries = std::fs::read_dir(spec)
            .map_err(|error| Failure::usage(&format!("cannot read the folder {spec}: {error}; check its rights")))?;
        let paths = entries.flatten().map(|entry| entry.path()).filter(|path| is_recording(path));
        let mut found: Vec<String> = paths.map(|path| path.to_string_lossy().into_owned()).collect();
        if found.is_empty() {
            return Err(Failure::usage(&format!("no recording (*.jsonl) is in {spec}; name another folder")));
        }
        found.sort();
        all.append(&mut found);
    }
    Ok(all)
}

/// The recording as it is written, valid or not.
fn read_text(spec: &str) -> Result<String, Failure> {
    if is_recording(Path::new(spec)) {
        let bytes = std::fs::read(spec)
            .map_err(|error| Failure::usage(&format!("cannot read {spec}: {error}; check the path")))?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(load_recording(spec)?.to_jsonl())
}

fn trim_recording(options: &Trim) -> Result<Exit, Failure> {
    let session = load_recording(&options.spec)?;
    let count = find_turns(&session).len();
    if let Some(wanted) = options.turns.filter(|wanted| *wanted > count) {
        let spec = &options.spec;
        return Err(Failure::usage(&format!("{spec} has {count} turns, so {wanted} cannot be kept; ask for fewer")));
    }
    let cut = TrimLimits { turns: options.turns, pause: options.pause, text: options.text };
    let mut cut = trim::trim_recording(&session, &cut);
    cut.header.name = options.out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    write_file(&options.out, &cut.to_jsonl(), options.force)?;
    let (path, turns, length) =
        (options.out.display(), find_turns(&cut).len(), cut.events.last().map_or(0, |event| event.ms));
    print(&format!("{path}: {turns} of {count} turns, {} lines, {length} ms\n", cut.events.len() + 1))?;
    Ok(Exit::Pass)
}

fn write_file(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = File::options();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(&format!("{} is there already; name another file, or add --force", path.display()))
        }
        _ => Failure::harness(&format!("cannot write {}: {error}; choose another place with --out", path.display())),
    })
}
