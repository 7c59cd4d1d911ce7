//! The command line: messages and exit codes.

use std::collections::BTreeSet;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use regex::Regex;

fn wrapper(args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sut"));
    command.arg("wrapper").args(args).timeout(crate::support::PATIENCE).assert()
}

#[test]
fn a_bad_flag_is_a_usage_error() {
    wrapper(&["serve", "--slotz", "3"]).code(2).stderr(contains("--slots"));
    wrapper(&["serve", "--slots", "0"]).code(2).stderr(contains("--slots"));
    wrapper(&["serve", "--max-age", "soon"]).code(2).stderr(contains("a number of seconds"));
    wrapper(&[]).code(2).stderr(contains("serve"));
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    wrapper(&["serve", "--listen", &address]).code(1).stderr(contains(&address).and(contains("--listen")));
}

#[test]
fn an_open_address_needs_a_key() {
    wrapper(&["serve", "--listen", "0.0.0.0:0"]).code(2).stderr(contains("--api-key"));
}

/// The options, such as `--slots`, in a text.
fn options(text: &str) -> BTreeSet<String> {
    let option = Regex::new(r"--[a-z][a-z-]*").unwrap();
    option.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

#[test]
fn every_option_in_the_manual_is_one_of_serve() {
    let help = String::from_utf8(wrapper(&["serve", "--help"]).success().get_output().stdout.clone()).unwrap();
    let manual = std::fs::read_to_string(crate::workflows::root().join("src/MANUAL.md")).unwrap();
    let (named, known) = (options(&manual), options(&help));
    assert!(named.len() > 20, "{named:?}");
    let unknown: Vec<_> = named.difference(&known).collect();
    assert_eq!(unknown, [""; 0]);
}
