//! What of the caller's environment a server gets.

use std::collections::BTreeMap;
use std::fs;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use super::Foreign;

/// Ends before it is ready, and leaves its environment behind.
const DUMP: &str = "json.dump(dict(os.environ), open(HERE + '/environ.json', 'w')); sys.exit(3)";

const SECRET: [(&str, &str); 12] = [
    ("ANTHROPIC_API_KEY", "any"),
    ("CLAUDE_CONFIG_DIR", "/home/ann/.claude"),
    ("AWS_PROFILE", "work"),
    ("GITHUB_TOKEN", "any"),
    ("PGPASSWORD", "any"),
    ("DATABASE_URL", "postgres://db/x"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "/home/ann/key.json"),
    ("SSH_AUTH_SOCK", "/run/agent"),
    ("HTTPS_PROXY", "http://ann:word@proxy.example:3128"),
    ("SOMETHING", "Xk29fLmQ0zRt71VbWc3e"),
    ("XDG_CONFIG_HOME", "/home/ann/.config"),
    ("KUBECONFIG", "/home/ann/.kube/config"),
];
const PLAIN: [(&str, &str); 3] = [("LEAK", "1"), ("PYTHONHASHSEED", "0"), ("HTTP_PROXY", "http://proxy.example:3128")];

fn environment(args: &[&str], toml: &str) -> Option<(BTreeMap<String, String>, String)> {
    let server = Foreign::new("", toml)?;
    server.replace("# START", DUMP);
    let variables = [&SECRET[..], &PLAIN[..]].concat();
    server
        .run(args, &variables)
        .code(4)
        .stderr(contains("withheld from the server: ").and(contains("CLAUDE_CONFIG_DIR")));
    let environ = serde_json::from_slice(&fs::read(server.path().join("environ.json")).unwrap()).unwrap();
    Some((environ, server.verdict().invalid[0].clone()))
}

#[test]
fn keys_and_ways_to_accounts_are_withheld_and_named_and_the_rest_passes() {
    let Some((environ, reason)) = environment(&[], "") else { return };
    for (name, value) in SECRET {
        assert_ne!(environ.get(name).map(String::as_str), Some(value), "{name}");
        assert!(reason.contains(name), "{name} is not in: {reason}");
    }
    for (name, value) in PLAIN {
        assert_eq!(environ.get(name).map(String::as_str), Some(value), "{name}");
        assert!(!reason.contains(name), "{reason}");
    }
    assert!(reason.contains("exit status: 3 before it was ready") && reason.contains("--keep-env NAME"), "{reason}");
    assert!(!reason.contains("Xk29fLmQ0zRt71VbWc3e") && !reason.contains("word@"), "a value: {reason}");
    assert!(environ["HOME"].contains("leakgate-") && environ["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9");
}

#[test]
fn what_is_named_passes_by_flag_file_or_value() {
    let toml =
        "[server]\nkeep-env = [\"PGPASSWORD\", \"ANTHROPIC_BASE_URL\"]\nenvironment = { AWS_PROFILE = \"theirs\" }\n";
    let Some((environ, reason)) = environment(&["--keep-env", "GITHUB_TOKEN,SOMETHING", "--keep-env", "NO_SUCH"], toml)
    else {
        return;
    };
    for name in ["GITHUB_TOKEN", "SOMETHING"] {
        assert!(environ.contains_key(name) && !reason.contains(name), "{name}: {reason}");
    }
    assert_eq!((environ["PGPASSWORD"].as_str(), environ["AWS_PROFILE"].as_str()), ("any", "theirs"));
    assert!(!environ.contains_key("ANTHROPIC_API_KEY") && !environ.contains_key("ANTHROPIC_BASE_URL"));
}

#[test]
fn a_home_that_is_kept_brings_its_folders_and_no_key() {
    let Some((environ, _)) = environment(&[], "[server]\nhome = \"keep\"\n") else { return };
    assert_eq!(environ["XDG_CONFIG_HOME"], "/home/ann/.config");
    assert!(!environ["HOME"].contains("leakgate-"));
    assert!(!environ.contains_key("ANTHROPIC_API_KEY") && !environ.contains_key("CLAUDE_CONFIG_DIR"));
}
