//! The workflows are programs that run once a night, elsewhere: what can be known of them here is held here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use leakgate_drive::scenario::Scenario;
use leakgate_judge::exit::Exit;
use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The documents of a YAML file.
pub(crate) fn yaml(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether leakgate takes these arguments; nothing is run.
#[track_caller]
pub(crate) fn accepted(arguments: &[String], place: &str) {
    let words = ["leakgate".to_owned()].into_iter().chain(arguments.iter().cloned());
    // Help comes as an error that is none.
    if let Err(error) = leakgate::commands::command().try_get_matches_from(words)
        && error.use_stderr()
    {
        panic!("{place}: leakgate does not take {arguments:?}:\n{error}");
    }
}

/// A step of a job as a shell sees it, once for each place of the matrix.
#[derive(Debug)]
struct Step {
    place: String,
    script: String,
}

fn workflows() -> Vec<(String, Value)> {
    let folder = root().join(".github/workflows");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), yaml(&path).remove(0))).collect()
}

fn nightly() -> Value {
    workflows().into_iter().find(|(name, _)| name == "nightly-leak-gate.yml").unwrap().1
}

fn jobs(workflow: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().unwrap().iter()
}

fn steps(job: &Value) -> impl Iterator<Item = &Value> {
    job["steps"].as_array().unwrap().iter()
}

/// Every combination of a matrix.
fn places(job: &Value) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    for (name, values) in job["strategy"]["matrix"].as_object().into_iter().flatten() {
        let values: Vec<String> = values.as_array().unwrap().iter().map(word).collect();
        let with = |place: &BTreeMap<String, String>| {
            values
                .iter()
                .map(|value| place.clone().into_iter().chain([(name.clone(), value.clone())]).collect())
                .collect()
        };
        all = all.iter().flat_map(|place| -> Vec<BTreeMap<String, String>> { with(place) }).collect();
    }
    all
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `script` with its expressions: those of the matrix by their values, any other by `1`.
fn filled(script: &str, place: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = script;
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}").unwrap();
        out.push_str(before);
        let value = expression.trim().strip_prefix("matrix.").map(|name| place.get(name).expect(name).as_str());
        out.push_str(value.unwrap_or("1"));
        rest = after;
    }
    out + rest
}

fn scripts(name: &str, job_name: &str, job: &Value) -> Vec<Step> {
    let mut found = Vec::new();
    for place in places(job) {
        for script in steps(job).filter_map(|step| step["run"].as_str()) {
            found.push(Step { place: format!("{name}, {job_name} {place:?}"), script: filled(script, &place) });
        }
    }
    found
}

fn all_scripts() -> Vec<Step> {
    let all = workflows();
    all.iter().flat_map(|(name, workflow)| jobs(workflow).flat_map(move |(job, of)| scripts(name, job, of))).collect()
}

/// The commands of a script, as words; what stands between quotes with commands in it is not looked into.
fn commands(script: &str) -> Vec<Vec<String>> {
    let joined = script.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let words = shlex::split(line).unwrap_or_default();
        for part in words.split(|word| ["||", "&&", "|", ";", "then", "do", "else"].contains(&word.as_str())) {
            let part = part.iter().skip_while(|word| ["if", "while", "!"].contains(&word.as_str()));
            let end = |word: &&String| !word.starts_with('>') && !word.starts_with("2>");
            found.push(part.take_while(end).map(|word| word.trim_end_matches(';').to_owned()).collect());
        }
    }
    found.retain(|command: &Vec<String>| !command.is_empty());
    found
}

/// The arguments of leakgate, where a command is one of it.
fn of_leakgate(command: &[String]) -> Option<Vec<String>> {
    let program = Path::new(command.first()?).file_name()?;
    if program == "leakgate" {
        return Some(command[1..].to_vec());
    }
    let is_cargo_run =
        program == "cargo" && command.iter().any(|word| word == "run") && command.iter().any(|word| word == "leakgate");
    let at = command.iter().position(|word| word == "--").filter(|_| is_cargo_run)?;
    Some(command[at + 1..].to_vec())
}

#[test]
fn every_script_of_a_workflow_is_one_for_bash() {
    for step in all_scripts() {
        #[expect(clippy::disallowed_methods, reason = "bash reads and runs nothing; it is waited for right here")]
        let output = Command::new("bash").args(["-n", "-c", &step.script]).output().unwrap();
        assert!(output.status.success(), "{}: {}", step.place, String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn leakgate_takes_every_command_of_the_workflows_and_of_the_readme() {
    let mut seen = 0;
    for step in all_scripts() {
        for arguments in commands(&step.script).iter().filter_map(|command| of_leakgate(command)) {
            accepted(&arguments, &step.place);
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} commands were found");
    let pages = [
        "README.md",
        "harness/MANUAL.md",
        "harness/OTHER-SERVERS.md",
        "reports/README.md",
        "reports/METHODOLOGY.md",
        ".github/CONTRIBUTING.md",
        ".ci/run",
    ];
    for name in pages {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let lines = text
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix(if name == ".ci/run" { "step " } else { "$ " }));
        for arguments in lines.flat_map(commands).filter_map(|command| of_leakgate(&command)) {
            accepted(&arguments, name);
        }
    }
}

#[test]
fn a_command_that_leakgate_does_not_take_is_seen() {
    let script = "code=0\nif ! bin/leakgate run nights \\\n  --shard 1/4 >> log; then\n  echo leakgate run\nfi\n";
    let found: Vec<_> = commands(script).iter().filter_map(|command| of_leakgate(command)).collect();
    assert_eq!(found, [["run", "nights", "--shard", "1/4"]]);
    assert!(leakgate::commands::command().try_get_matches_from(["leakgate", "run", "nights"]).is_err());
    let run = commands("cargo run --release -p leakgate -- run tools --slots 4");
    assert_eq!(of_leakgate(&run[0]).unwrap(), ["run", "tools", "--slots", "4"]);
}

#[test]
fn every_script_that_a_workflow_starts_is_there() {
    for step in all_scripts() {
        for command in commands(&step.script).iter().filter(|command| command[0] == "bash") {
            assert!(root().join(&command[1]).is_file(), "{}: {command:?}", step.place);
        }
    }
}

#[test]
fn the_shards_of_the_night_are_a_whole_suite_with_every_scenario_that_needs_no_real_cli() {
    let nightly = nightly();
    let mut shards = BTreeMap::<Vec<String>, BTreeSet<String>>::new();
    for step in scripts("nightly", "gate", &nightly["jobs"]["gate"]) {
        for mut arguments in commands(&step.script).iter().filter_map(|command| of_leakgate(command)) {
            let at = arguments.iter().position(|word| word == "--shard").unwrap();
            let shard = arguments.remove(at + 1);
            shards.entry(arguments).or_default().insert(shard);
        }
    }
    assert_eq!(shards.len(), 2, "one suite for each number of slots: {shards:?}");
    for (suite, shards) in shards {
        let of = shards.len();
        let wanted: BTreeSet<String> = (1..=of).map(|number| format!("{number}/{of}")).collect();
        assert_eq!(shards, wanted);
        let missing: Vec<&str> = Scenario::all()
            .iter()
            .map(|scenario| scenario.name)
            .filter(|name| *name != "real" && !suite.iter().any(|word| word == name))
            .collect();
        assert_eq!(missing, [""; 0], "{suite:?}");
    }
}

#[test]
fn every_job_has_an_end_and_only_the_rights_that_it_needs() {
    for (name, workflow) in workflows() {
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{name}");
        assert!(workflow["concurrency"]["group"].is_string(), "{name}");
        for (job, of) in jobs(&workflow) {
            assert!(of["timeout-minutes"].as_u64().is_some_and(|minutes| minutes <= 360), "{name}: {job}");
            let writes = of["permissions"].as_object().unwrap().iter().filter(|(_, may)| *may == "write");
            let writes: Vec<&str> = writes.map(|(what, _)| what.as_str()).collect();
            let needed: &[&str] = match job.as_str() {
                "merge" => &["security-events"],
                "issue" => &["issues"],
                _ => &[],
            };
            assert_eq!(writes, needed, "{name}: {job}");
        }
    }
}

/// What was measured is most wanted when the job failed.
#[test]
fn what_was_measured_is_kept_also_when_it_leaks() {
    for (name, workflow) in workflows() {
        for (job, of) in jobs(&workflow).filter(|(job, _)| *job != "build") {
            let uploads: Vec<&Value> = steps(of)
                .filter(|step| step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/upload-artifact@")))
                .collect();
            assert!(!uploads.is_empty() || job == "issue", "{name}: {job} keeps nothing");
            assert!(uploads.iter().all(|step| step["if"] == "always()"), "{name}: {job}");
        }
    }
    let merge = &nightly()["jobs"]["merge"];
    assert!(merge["if"].as_str().unwrap().contains("!cancelled()"), "{merge}");
}

#[test]
fn the_exit_codes_in_the_workflows_and_manifests_are_ours() {
    let known = [
        (Exit::Pass, "pass"),
        (Exit::Leak, "leak"),
        (Exit::Usage, "usage"),
        (Exit::NotConclusive, "not conclusive"),
        (Exit::Invalid, "invalid"),
        (Exit::Harness, "harness"),
    ];
    let list = known.map(|(exit, word)| format!("{} {word}", exit as u8)).join(", ");
    let text = fs::read_to_string(root().join(".github/workflows/nightly-leak-gate.yml")).unwrap();
    assert!(text.contains(&format!("# Exit codes: {list}.")), "the first line should have: {list}");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (exit, word) in known {
        let row = format!("| {} | ", exit as u8);
        let row = readme.lines().find(|line| line.starts_with(&row)).unwrap();
        assert!(row.contains(word) || exit == Exit::Usage || exit == Exit::Harness, "{row}");
    }
}
