//! Cargo builds a crate once for each set of features that a command asks for, and with it all that depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The features of each crate that is built, by name and version, when `cargo tree` is asked in this way.
fn features(of: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    #[expect(clippy::disallowed_methods, reason = "cargo is waited for right here")]
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix=none", "--format={p}\t{f}", "--no-dedupe"])
        .args(of)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, features) in String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| line.split_once('\t')) {
        let own = found.entry(name.trim_end_matches(" (proc-macro)").to_owned()).or_default();
        own.extend(features.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned));
    }
    found
}

/// What is built of each crate must not depend on which package a command names: else the one command makes the other build
/// that crate, and all that depend on it, once more. `harness/crates/workspace-hack` sees to it.
#[test]
fn every_command_builds_every_crate_with_the_same_features() {
    let all = features(&["--workspace", "--edges=normal,dev"]);
    assert!(all.keys().any(|name| name.starts_with("tokio v")), "{all:?}");
    for package in ["leakgate", "cc-openai-wrapper", "async-openai-worker", "leakgate-judge", "leakgate-mock"] {
        let one = features(&["--package", package, "--edges=normal"]);
        let differing: Vec<String> = one
            .iter()
            .filter_map(|(name, own)| Some((name, all.get(name)?.difference(own).cloned().collect::<Vec<_>>())))
            .filter(|(_, more)| !more.is_empty())
            .map(|(name, more)| format!("{name}: {}", more.join(", ")))
            .collect();
        assert!(
            differing.is_empty(),
            "`cargo build -p {package}` does not ask for these features, and other commands do: run `cargo hakari generate` \
             (.github/CONTRIBUTING.md)\n{}",
            differing.join("\n")
        );
    }
}

/// The measured server is built like the product: a runtime whose clock can be stopped would be another one.
#[test]
fn no_test_gives_the_measured_server_another_clock() {
    let test = features(&["--workspace", "--edges=normal,dev"]);
    let tokio = test.iter().find(|(name, _)| name.starts_with("tokio v")).unwrap();
    assert!(!tokio.1.contains("test-util"), "{tokio:?}");
}
