//! Which variables of the environment may open an account: keys, tokens, passwords, and the ways to files and sockets that
//! hold them.
//!
//! A server under test gets the rest of the caller's environment, for its own settings are in it too: with a list of what
//! may pass it would quietly be another server than the one that was meant. So this is a list of what may not, and it is
//! wide: by the words of a name, by the vendor at its start, and by values that look random or carry a login. A variable
//! that is withheld for nothing is named to the user and passes with `--keep-env`; one that passes wrongly spends money.

use std::env;
use std::ffi::{OsStr, OsString};

/// First words of names that belong to an account or decide which one is used, whatever the rest of the name is.
const VENDORS: [&str; 19] = [
    "ANTHROPIC",
    "CLAUDE",
    "CLAUDECODE",
    "OPENAI",
    "AWS",
    "BEDROCK",
    "GOOGLE",
    "GCLOUD",
    "GCP",
    "GCE",
    "CLOUDSDK",
    "VERTEX",
    "GEMINI",
    "AZURE",
    "IDENTITY",
    "MSI",
    "HF",
    "HUGGINGFACE",
    "VAULT",
];
/// Words that make a name one of a secret.
const WORDS: [&str; 27] = [
    "KEY",
    "KEYS",
    "KEYRING",
    "KEYFILE",
    "PASS",
    "PWD",
    "CRED",
    "CREDS",
    "AUTH",
    "OAUTH",
    "OAUTH2",
    "AUTHORIZATION",
    "AUTHTOKEN",
    "BEARER",
    "COOKIE",
    "COOKIES",
    "JWT",
    "PAT",
    "PIN",
    "DSN",
    "NETRC",
    "HEADERS",
    "LOGIN",
    "SIGNATURE",
    "SALT",
    "TOKENS",
    "PASSFILE",
];
/// The same, wherever they stand in a word: `PGPASSWORD`, `dbPassword`.
const PARTS: [&str; 9] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE", "SECRET", "CREDENTIAL", "APIKEY", "ACCESSKEY", "PRIVATEKEY"];
/// The same at the end of a word: `NPMTOKEN`, `SSHPASS`.
const ENDINGS: [&str; 3] = ["TOKEN", "PASS", "PWD"];
/// Names of files, folders and sockets that lead to an account.
const WAYS: [&str; 19] = [
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "GNUPGHOME",
    "KUBECONFIG",
    "DOCKER_CONFIG",
    "DBUS_SESSION_BUS_ADDRESS",
    "XAUTHORITY",
    "KRB5CCNAME",
    "PGSERVICEFILE",
    "PGPASSFILE",
    "BOTO_CONFIG",
    "GH_CONFIG_DIR",
    "CODEX_HOME",
    "DATABASE_URL",
    "NPM_CONFIG_USERCONFIG",
    "NPM_CONFIG_GLOBALCONFIG",
    "PIP_CONFIG_FILE",
    "OP_SESSION",
    "BW_SESSION",
];
/// Folders below a home, or in its place.
const HOMES: [&str; 4] = ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"];
/// Names that are never secret, although a word in them looks like one.
const HARMLESS: [&str; 5] = ["HOME", "PWD", "OLDPWD", "BYPASS", "COMPASS"];
const VERSIONS: [&str; 4] = ["SHA", "SHA1", "COMMIT", "REVISION"];
/// How the keys and tokens of well-known services begin.
const PREFIXES: [&str; 20] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "npm_",
    "hf_",
    "xox",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "-----BEGIN",
];
/// An unbroken run of letters and digits that is shorter than this is taken for a word.
const MIN_MIXED_LENGTH: usize = 20;
const MIN_RANDOM_LENGTH: usize = 24;

/// The names of this process's variables that may open an account, sorted.
#[must_use]
pub fn secret_variables() -> Vec<OsString> {
    let found = env::vars_os().filter(|(name, value)| is_secret(name, value));
    let mut names: Vec<OsString> = found.map(|(name, _)| name).collect();
    names.sort();
    names
}

/// Whether a variable names a folder of a home: such a folder goes where the home goes.
#[must_use]
pub(crate) fn is_part_of_home(name: &OsStr) -> bool {
    HOMES.iter().any(|home| *home == name)
}

/// Whether the variable `name` with this value may open an account.
#[must_use]
pub fn is_secret(name: &OsStr, value: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    let value = value.to_string_lossy();
    let value = value.trim();
    if value.is_empty() || HARMLESS.contains(&name.as_str()) {
        return false;
    }
    let words: Vec<&str> = name.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    let is_vendors = words.first().is_some_and(|word| VENDORS.contains(word)) || name.starts_with("HUGGING_FACE");
    is_vendors
        || WAYS
            .iter()
            .any(|way| name == *way || name.starts_with(&format!("{way}_")) || name.ends_with(&format!("_{way}")))
        || (!is_switch(value) && words.iter().any(|word| is_word_of_a_secret(word, value)))
        || has_login(value)
        || PREFIXES.iter().any(|prefix| value.starts_with(prefix))
        || (!words.last().is_some_and(|word| VERSIONS.contains(word) || *word == "PATH") && looks_random(value))
}

fn is_word_of_a_secret(word: &str, value: &str) -> bool {
    match word {
        // How many of them, far more often than which.
        "TOKENS" => !value.bytes().all(|byte| byte.is_ascii_digit()),
        word if HARMLESS.contains(&word) && word != "PWD" => false,
        word => {
            WORDS.contains(&word)
                || PARTS.iter().any(|part| word.contains(part))
                || ENDINGS.iter().any(|ending| word.ends_with(ending))
        }
    }
}

/// `DISABLE_AUTH=1` holds no secret.
fn is_switch(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "0" | "1" | "true" | "false" | "yes" | "no" | "on" | "off" | "none")
}

/// A URL with a user or a password in it.
fn has_login(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default();
        authority.contains('@')
    })
}

/// A long run in which letters and digits are mixed as in no word. Paths have such names too, and are none.
fn looks_random(value: &str) -> bool {
    if value.starts_with(['/', '~', '.']) {
        return false;
    }
    let is_mixed = |run: &str| {
        let count = |is_such: fn(&u8) -> bool| run.bytes().filter(is_such).count();
        run.len() >= MIN_MIXED_LENGTH
            && count(u8::is_ascii_digit) >= 2
            && count(u8::is_ascii_uppercase) >= 2
            && count(u8::is_ascii_lowercase) >= 2
    };
    let is_random = |run: &str| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= MIN_RANDOM_LENGTH && digits >= 4 && run.len() - digits >= 4
    };
    let joined = value.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_+=~-".contains(letter)));
    let plain = value.split(|letter: char| !letter.is_ascii_alphanumeric());
    joined.into_iter().any(is_mixed) || plain.into_iter().any(is_random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &str) -> bool {
        is_secret(OsStr::new(name), OsStr::new(value))
    }

    #[test]
    fn names_of_keys_accounts_and_the_ways_to_them_are_withheld() {
        for name in [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CONFIG_DIR",
            "OPENAI_ORGANIZATION",
            "AWS_PROFILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GCLOUD_PROJECT",
            "VERTEX_PROJECT",
            "AZURE_CLIENT_ID",
            "MISTRAL_API_KEY",
            "SOME_KEY",
            "keyOf_apiKey",
            "GITHUB_TOKEN",
            "NPM_TOKEN",
            "NPMTOKEN",
            "HF_TOKEN",
            "HF_HOME",
            "CI_JOB_TOKEN",
            "CLIENT_SECRET_FILE",
            "PGPASSWORD",
            "MYSQL_PWD",
            "SSHPASS",
            "dbPassword",
            "SSH_AUTH_SOCK",
            "DATABASE_URL",
            "STAGING_DATABASE_URL",
            "SENTRY_DSN",
            "KUBECONFIG",
            "DOCKER_CONFIG",
            "SESSION_COOKIE",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OP_SESSION_my",
            "npm_config__auth",
            "GIT_ASKPASS",
            "npm_config_userconfig",
            "MY_CREDENTIALS",
            "AUTH_TOKENS",
        ] {
            assert!(secret(name, "x"), "{name}");
        }
        assert!(secret("CLAUDE_CODE_USE_BEDROCK", "1"), "a switch between accounts");
    }

    #[test]
    fn values_that_open_something_are_withheld_under_any_name() {
        for value in [
            "http://user:word@proxy.example:3128",
            "https://ghx@github.example/a",
            "postgres://u:p@db/x",
            "sk-ant-x",
            "-----BEGIN PRIVATE KEY-----",
            "eyJhbGciOi.J9",
            "Xk29fLmQ0zRt71VbWc3e",
            "9f86d081884c7d659a2feaa0c55ad015",
            "{\"token\": \"Xk29fLmQ0zRt71VbWc3e\"}",
            "pj3k5l2m9qrs8tuv1wxyz6ab",
        ] {
            assert!(secret("SOMETHING", value), "{value}");
        }
    }

    #[test]
    fn settings_of_a_server_pass() {
        for (name, value) in [
            ("PATH", "/nix/store/a8h2k3j4h5k6j7h8k9j0h1k2-x/bin:/usr/bin"),
            ("HOME", "/home/ann"),
            ("PWD", "/work"),
            ("OLDPWD", "/"),
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C"),
            ("TERM", "xterm-256color"),
            ("SHELL", "/bin/bash"),
            ("USER", "ann"),
            ("TZ", "Europe/Berlin"),
            ("PORT", "8300"),
            ("LEAK", "1"),
            ("TURNS", "5"),
            ("MAX_TOKENS", "4096"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("DISABLE_AUTH", "1"),
            ("BYPASS_CACHE", "yes please"),
            ("MONKEY", "x"),
            ("PYTHONPATH", "src"),
            ("NODE_PATH", "/x/node_modules"),
            ("NODE_OPTIONS", "--max-old-space-size=4096"),
            ("VIRTUAL_ENV", "/home/ann/.venvs/Ab12Cd34Ef56Gh78Ij90Kl"),
            ("CARGO_BUILD_TARGET", "x86_64-unknown-linux-gnu"),
            ("HTTP_PROXY", "http://proxy.example:3128"),
            ("GITHUB_SHA", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"),
            ("MOCK_CLAUDE_ANSWER", "auto"),
            ("LS_COLORS", "rs=0:di=01;34:ln=01;36:mh=00:pi=40;33:so=01;35"),
            ("BASE_URL", "http://127.0.0.1:8300/v1"),
            ("API_KEY", ""),
            ("KEYBOARD", "de"),
        ] {
            assert!(!secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn the_folders_of_a_home_go_with_it() {
        assert!(is_part_of_home(OsStr::new("XDG_CONFIG_HOME")) && !is_part_of_home(OsStr::new("XDG_RUNTIME_DIR")));
    }
}
