//! Every option in every way.

use clap::ArgAction;

use super::*;
use crate::config::file::Origin;

/// A value that the option takes, as it is on a command line and as it is in a file: its default, where it has one.
fn sample(arg: &clap::Arg) -> (String, String) {
    let default = arg.get_default_values().first().map(|text| text.to_string_lossy().into_owned());
    let without_default = match arg.get_id().as_str() {
        "model_alias" => "x=y",
        "memory_alert_mb" => "600",
        _ => "x",
    };
    let text = default.unwrap_or_else(|| without_default.to_owned());
    let is_bare = text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok();
    let toml = if is_bare { text.clone() } else { format!("{text:?}") };
    (text, toml)
}

fn parse_words(words: &[&str]) -> Result<Invocation, UsageError> {
    parse(std::iter::once("cc-openai-wrapper").chain(words.iter().copied()).map(OsString::from))
}

#[test]
fn every_option_is_a_flag_a_variable_and_a_key_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ccw.toml");
    let command = definition();
    for verb in ["serve", "check"] {
        let mut seen = 0;
        for arg in command.find_subcommand(verb).unwrap().get_arguments() {
            let Some(flag) = arg.get_long().filter(|_| !matches!(arg.get_action(), ArgAction::Help)) else {
                assert!(matches!(arg.get_action(), ArgAction::Help), "{} has no flag", arg.get_id());
                continue;
            };
            let variable = format!("CCW_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().map(|name| name.to_string_lossy().into_owned()), Some(variable), "--{flag}");
            if flag == file::CONFIG {
                continue;
            }
            seen += 1;
            let (text, toml) = sample(arg);
            for key in [flag.to_owned(), flag.replace('-', "_")] {
                std::fs::write(&path, format!("{key} = {toml}")).unwrap();
                let invocation = parse_words(&[verb, "--config", path.to_str().unwrap()]);
                let settings = invocation.unwrap_or_else(|error| panic!("{key} in the file: {error}")).settings;
                let setting = settings.iter().find(|setting| setting.name == flag).unwrap();
                assert_eq!(setting.origin, Origin::File(path.clone()), "{key}");
            }
            let invocation = parse_words(&[verb, &format!("--{flag}={text}")]);
            let settings = invocation.unwrap_or_else(|error| panic!("--{flag}: {error}")).settings;
            assert_eq!(settings.iter().find(|setting| setting.name == flag).unwrap().origin, Origin::Flag, "--{flag}");
        }
        assert!(seen >= 30, "{verb} has {seen} options");
    }
}

#[test]
fn a_switch_can_be_turned_off_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ccw.toml");
    std::fs::write(&path, "strict-params = true\nlog_bodies = true").unwrap();
    let options = |words: &[&str]| {
        let file = path.to_str().unwrap();
        parse_words(&[&["serve", "--config", file], words].concat()).unwrap().options.server
    };
    assert!(options(&[]).strict_params && options(&[]).log_bodies);
    assert!(options(&["--strict-params"]).strict_params);
    assert!(!options(&["--strict-params=false"]).strict_params);
    assert!(!parse_words(&["serve"]).unwrap().options.server.strict_params);
}

#[test]
fn lists_and_numbers_of_the_file_are_what_flags_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ccw.toml");
    let text =
        "cli-arg = ['--a b', '--c']\nmodel-alias = 'x=y'\nmax-age = 1.5\nqueue = 0x10\nmax-turns = 1_000\ncli = 'c'";
    std::fs::write(&path, text).unwrap();
    let config = parse_words(&["serve", "--config", path.to_str().unwrap()]).unwrap().options.server;
    assert_eq!(config.cli_args, ["--a b", "--c"]);
    assert_eq!(config.model_alias.len(), 1);
    assert_eq!(config.max_age, std::time::Duration::from_millis(1500));
    assert_eq!((config.queue, config.max_turns), (16, 1000));
    let config = parse_words(&["serve", "--config", path.to_str().unwrap(), "--cli-arg=--d"]).unwrap().options.server;
    assert_eq!(config.cli_args, ["--d"], "a flag takes the place of all that the file has");
}
