//! The manifests and the image for a suite on Kubernetes, held against what leakgate does. (`harness/kubernetes/check`
//! holds them against the schemas of Kubernetes.)

use std::collections::BTreeSet;
use std::fs;

use leakgate_judge::exit::Exit;
use serde_json::{Value, json};

use crate::workflows::{accepted, root, yaml};

fn document(file: &str, kind: &str) -> Value {
    let all = yaml(&root().join("harness/kubernetes").join(file));
    all.into_iter().find(|document| document["kind"] == kind).unwrap()
}

fn job(file: &str) -> Value {
    document(file, "Job")
}

fn container(job: &Value) -> &Value {
    let containers = job["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    &containers[0]
}

/// The image starts leakgate, so that the arguments are its own.
fn arguments(job: &Value) -> Vec<String> {
    let container = container(job);
    assert_eq!(container["command"], Value::Null);
    container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn after<'a>(arguments: &'a [String], flag: &str) -> &'a str {
    &arguments[arguments.iter().position(|word| word == flag).unwrap() + 1]
}

#[test]
fn leakgate_takes_the_arguments_of_both_jobs() {
    accepted(&arguments(&job("leakgate-job.yaml")), "leakgate-job.yaml");
    accepted(&arguments(&job("merge-job.yaml")), "merge-job.yaml");
}

#[test]
fn the_job_has_as_many_indexes_as_the_suite_has_shards() {
    let job = job("leakgate-job.yaml");
    assert_eq!(job["spec"]["completionMode"], "Indexed");
    let of = after(&arguments(&job), "--shard").strip_prefix("auto/").unwrap().parse::<u64>().unwrap();
    assert_eq!(job["spec"]["completions"], json!(of));
    assert!(job["spec"]["parallelism"].as_u64().unwrap() <= of);
    for index in 0..of {
        let shard: leakgate_judge::suite::shard::Shard = format!("auto/{of}").parse().unwrap();
        assert_eq!(shard.resolve_number(Some(&index.to_string())), Ok(index + 1));
    }
}

/// Retried into green is not green: whatever is a verdict ends its index, and what is none is tried again.
#[test]
fn a_leak_is_never_tried_again() {
    let job = job("leakgate-job.yaml");
    let rules = job["spec"]["podFailurePolicy"]["rules"].as_array().unwrap();
    let ending = rules.iter().find(|rule| rule["action"] == "FailIndex").unwrap();
    assert_eq!(ending["onExitCodes"]["operator"], "In");
    let codes: BTreeSet<u64> =
        ending["onExitCodes"]["values"].as_array().unwrap().iter().map(|code| code.as_u64().unwrap()).collect();
    let verdicts = [Exit::Leak, Exit::Usage, Exit::NotConclusive, Exit::Invalid].map(|exit| exit as u64);
    assert_eq!(codes, verdicts.into());
    assert!(!codes.contains(&(Exit::Harness as u64)));
    assert_eq!(ending["onExitCodes"]["containerName"], container(&job)["name"]);
    assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "Never");
    assert!(job["spec"]["backoffLimitPerIndex"].as_u64().unwrap() >= 1);
    assert_eq!(self::job("merge-job.yaml")["spec"]["backoffLimit"], 0);
}

#[test]
fn the_merge_reads_what_the_shards_write() {
    let (gate, merge) = (job("leakgate-job.yaml"), job("merge-job.yaml"));
    assert_eq!(after(&arguments(&gate), "--out"), arguments(&merge)[1]);
    assert_eq!(container(&gate)["image"], container(&merge)["image"]);
    let claim = document("leakgate-job.yaml", "PersistentVolumeClaim");
    for job in [&gate, &merge] {
        let volumes = job["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        let claimed = |volume: &&Value| volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"];
        let name = &volumes.iter().find(claimed).unwrap()["name"];
        let mounts = container(job)["volumeMounts"].as_array().unwrap();
        assert_eq!(&mounts.iter().find(|mount| mount["mountPath"] == "/results").unwrap()["name"], name);
        // What a pod asks for is what it may have: a neighbour's share would be noise in the memory signal.
        assert!(container(job)["resources"]["requests"]["memory"].is_string());
    }
    assert_eq!(container(&gate)["resources"]["requests"], container(&gate)["resources"]["limits"]);
}

#[test]
fn the_image_has_every_program_and_the_compiler_of_the_workspace() {
    let image = fs::read_to_string(root().join("harness/kubernetes/Dockerfile")).unwrap();
    let workspace: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let rust = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(image.contains(&format!("FROM rust:{rust}-slim-")), "the workspace needs Rust {rust}");
    let copied = image.lines().find(|line| line.starts_with("COPY --from=build")).unwrap();
    let bins = fs::read_dir(root().join("harness/src/bin")).unwrap().map(|entry| entry.unwrap().path());
    for bin in bins {
        let name = bin.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(copied.split(' ').any(|word| word == format!("/src/target/release/{name}")), "{name}: {copied}");
    }
    assert!(image.contains("ENTRYPOINT [\"/usr/local/bin/leakgate\"]"));
    // Built and run on one distribution, or the C library is another.
    let systems: BTreeSet<&str> = image
        .lines()
        .filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next())
        .filter_map(|image| image.split(['-', ':']).find(|word| *word == "trixie"))
        .collect();
    assert_eq!(systems.len(), 1);
    assert_eq!(image.lines().filter(|line| line.starts_with("FROM ") && line.contains("trixie")).count(), 2);
}
