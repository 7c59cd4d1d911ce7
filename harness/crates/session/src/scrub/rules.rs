//! The patterns, the names of secret fields, and the placeholders.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{HostInfo, Kind};

/// Secrets start so; nothing that does is taken for one.
const REDACTED_PREFIX: &str = "REDACTED-";
/// The home folder, the working directory and their name in `projects/`, as in the bundled recordings.
const HOME: &str = "/home/user/home";
const DIRECTORY: &str = "/home/user/project";
const DASHED: &str = "-home-user-project";
/// The pid of the bundled recordings; the ones after it are placeholders too.
const FIRST_PID: u64 = 4242;
const PID_COUNT: u64 = 20;

/// A value that is shorter than this, or an ordinary word, is replaced where it stands and looked for nowhere else.
const MIN_LITERAL_BYTES: usize = 8;
/// Shorter names are words of too many texts.
const MIN_NAME_BYTES: usize = 3;

/// A word that a field has to end with for its value to be a secret.
const SECRET_NAMES: &str = r"api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|auth[_-]?key|signing[_-]?key|encryption[_-]?key|subscription[_-]?key|secret|passwd|password|pwd|passphrase|passcode|token|credentials?|cookie|authorization";

/// User and machine names that are words of the protocol or of everyday texts: they tell nobody anything.
const COMMON_NAMES: [&str; 32] = [
    "user",
    "root",
    "admin",
    "claude",
    "assistant",
    "system",
    "node",
    "runner",
    "ubuntu",
    "debian",
    "app",
    "test",
    "dev",
    "localhost",
    "result",
    "text",
    "tool",
    "tools",
    "message",
    "model",
    "init",
    "status",
    "success",
    "default",
    "error",
    "content",
    "session",
    "agent",
    "home",
    "project",
    "host",
    "command",
];

/// A folder that is everybody's says nothing about anybody.
const SHARED_FOLDERS: [&str; 10] = ["/", "/tmp", "/var", "/usr", "/opt", "/etc", "/home", "/srv", "/mnt", "/var/tmp"];

struct Pattern {
    kind: Kind,
    regex: Regex,
}

/// Compiled once; a pattern that does not compile fails the test of this file.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    pattern_sources()
        .into_iter()
        .filter_map(|(kind, source)| Some(Pattern { kind, regex: Regex::new(&source).ok()? }))
        .collect()
});

/// The first group that took part is what has to go; without groups it is all of the match.
fn pattern_sources() -> Vec<(Kind, String)> {
    let fixed = |kind, source: &str| (kind, source.to_owned());
    vec![
        fixed(
            Kind::PrivateKey,
            r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
        ),
        fixed(Kind::AnthropicKey, r"sk-ant-[A-Za-z0-9_-]{6,}"),
        fixed(Kind::ApiKey, r"\bsk-[A-Za-z0-9_-]{16,}"),
        fixed(Kind::Jwt, r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?"),
        fixed(Kind::GithubToken, r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"),
        fixed(Kind::AwsKey, r"\b(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}\b"),
        fixed(
            Kind::VendorToken,
            r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{35}|\bya29\.[A-Za-z0-9_-]{20,}|\bglpat-[A-Za-z0-9_-]{20,}|\bnpm_[A-Za-z0-9]{36}|\bhf_[A-Za-z0-9]{30,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|\bpypi-[A-Za-z0-9_-]{40,}|\bgsk_[A-Za-z0-9]{20,}|\bxai-[A-Za-z0-9]{20,}",
        ),
        fixed(Kind::Bearer, r"(?i)\bbearer\s+([A-Za-z0-9._~+/=-]{8,})"),
        fixed(
            Kind::Bearer,
            r#"(?i)\b(?:authorization|x-api-key)\\*["']?\s*[:=]\s*\\*["']?(?:basic\s+|token\s+|bearer\s+)?([^\s"'\\,;&<>(){}\[\]]{6,})"#,
        ),
        fixed(Kind::SecretField, r#"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@"'\\]*:([^\s/@"'\\]+)@"#),
        (
            Kind::SecretField,
            format!(r#"(?i)(?:{SECRET_NAMES}|(?-i:[A-Z0-9]_KEY))\\*["']?\s*(?:[:=]|=>)\s*\\*["]([^"\\]{{4,}})"#),
        ),
        (
            Kind::SecretField,
            format!(r#"(?i)(?:{SECRET_NAMES}|(?-i:[A-Z0-9]_KEY))\\*["']?\s*(?:[:=]|=>)\s*\\*[']([^'\\]{{4,}})"#),
        ),
        (
            Kind::SecretField,
            format!(
                r#"(?i)(?:{SECRET_NAMES}|(?-i:[A-Z0-9]_KEY))\\*["']?\s*(?:[:=]|=>)\s*\\*([^\s"'\\,;&<>(){{}}\[\]]{{6,}})"#
            ),
        ),
        (
            Kind::SecretField,
            format!(
                r#"(?i)--?(?:[a-z0-9]+[_-])*(?:{SECRET_NAMES})[= ]+\\*["']?([^\s"'\\,;&<>(){{}}\[\]-][^\s"'\\,;&<>(){{}}\[\]]{{5,}})"#
            ),
        ),
        fixed(Kind::Mail, r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}\.[A-Za-z]{2,24}\b"),
        fixed(Kind::Uuid, r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        fixed(Kind::Id, r"\b[a-z]{2,12}_01[A-Za-z0-9]{18,28}\b"),
        fixed(Kind::User, r"(?:/home/|/Users/|(?i:\b[a-z]:(?:\\+|/)Users(?:\\+|/)))([A-Za-z0-9._-]+)"),
        fixed(Kind::Pid, r"/cc-socks/([0-9]+)\.sock"),
        fixed(Kind::Pid, r"(?i)\bp?pid\b[ =:#]{1,3}([0-9]+)\b"),
    ]
}

static SECRET_NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"(?i)(?:{SECRET_NAMES}|(?-i:[A-Z0-9]_KEY))$")).ok());

/// Everything in a text that a pattern finds; ranges may overlap.
pub(super) fn find_candidates(text: &str) -> Vec<(Kind, Range<usize>)> {
    let mut found = Vec::new();
    for Pattern { kind, regex } in PATTERNS.iter() {
        if regex.captures_len() == 1 {
            found.extend(regex.find_iter(text).map(|hit| (*kind, hit.range())));
        } else {
            let groups = regex.captures_iter(text).filter_map(|groups| groups.iter().skip(1).flatten().next());
            found.extend(groups.map(|group| (*kind, group.range())));
        }
    }
    found.retain(|(kind, range)| match kind {
        Kind::SecretField | Kind::Bearer => can_be_secret(&text[range.clone()]),
        // The home folder's placeholder has a folder `home` itself, and what is in that is no user.
        Kind::User => !text[..range.start].ends_with("/home/user/home/"),
        _ => true,
    });
    found
}

/// Whether a field, a variable or a flag of this name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    SECRET_NAME.as_ref().is_some_and(|regex| regex.is_match(name))
}

/// Whether a number under this name is a secret; tokens are counted far more often than they are numbers.
pub(super) fn is_password(name: &str) -> bool {
    is_secret_name(name) && !name.to_ascii_lowercase().ends_with("token")
}

pub(super) fn is_pid(name: &str) -> bool {
    matches!(name, "pid" | "ppid" | "parent_pid" | "parentPid" | "process_id")
}

/// Whether the argument is a flag whose value follows.
pub(super) fn is_flag(argument: &str) -> bool {
    argument.starts_with('-') && !argument.contains('=')
}

/// Whether the value of a secret field can be one: not a placeholder, a number, a name of a variable, or a word for none.
pub(super) fn can_be_secret(value: &str) -> bool {
    let is_word = matches!(
        value.to_ascii_lowercase().as_str(),
        "" | "none"
            | "null"
            | "true"
            | "false"
            | "undefined"
            | "string"
            | "number"
            | "boolean"
            | "object"
            | "required"
            | "bearer"
            | "basic"
    );
    let is_variable = value.starts_with('$')
        || (value.contains('_') && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
    !is_word && !is_variable && !value.starts_with(REDACTED_PREFIX) && !value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a secret can be looked for anywhere without hitting ordinary words.
pub(super) fn is_distinctive(value: &str) -> bool {
    let has = |test: fn(&u8) -> bool| value.bytes().any(|byte| test(&byte));
    value.len() >= MIN_LITERAL_BYTES && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

/// The literals to hide on this host: paths, names, and the values of secret variables.
pub(super) fn known_literals(host: &HostInfo) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let folder = |path: &Option<String>| {
        let path = path.as_deref().map(|path| path.trim_end_matches('/'))?;
        let is_own = path.starts_with('/') && !SHARED_FOLDERS.contains(&path) && ![HOME, DIRECTORY].contains(&path);
        is_own.then(|| path.to_owned())
    };
    for (kind, path) in [(Kind::Directory, folder(&host.directory)), (Kind::Home, folder(&host.home))] {
        if let Some(path) = path {
            let dashed = path.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            found.push((kind, path));
            found.push((kind, dashed));
        }
    }
    let name = |name: &Option<String>| {
        name.clone()
            .filter(|name| name.len() >= MIN_NAME_BYTES && !COMMON_NAMES.contains(&name.to_ascii_lowercase().as_str()))
    };
    found.extend(name(&host.user).map(|name| (Kind::User, name)));
    if let Some(host) = name(&host.host) {
        let short = host.split('.').next().map(str::to_owned);
        found.extend(name(&short).map(|name| (Kind::Host, name)));
        found.push((Kind::Host, host));
    }
    for (variable, value) in &host.variables {
        if is_secret_name(variable) && value.len() >= MIN_LITERAL_BYTES && can_be_secret(value) {
            found.push((Kind::SecretField, value.clone()));
        }
    }
    found
}

/// Names and paths count only as whole words: `/home/ann` is not in `/home/anna`.
pub(super) fn stands_alone(kind: Kind, text: &str, range: &Range<usize>) -> bool {
    if kind.is_secret() {
        return true;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_path = matches!(kind, Kind::Home | Kind::Directory);
    let before = text[..range.start].chars().next_back();
    let after = text[range.end..].chars().next();
    !after.is_some_and(is_word) && (is_path || !before.is_some_and(is_word)) && !is_ours(text, range.start)
}

/// Whether a path there is one of the placeholders, or a part of one.
fn is_ours(text: &str, start: usize) -> bool {
    let rest = &text[start..];
    [HOME, DIRECTORY, DASHED, "user/home", "user/project"].iter().any(|ours| rest.starts_with(ours))
}

/// Whether a finding is what an earlier pass put there.
pub(super) fn is_placeholder(kind: Kind, value: &str) -> bool {
    match kind {
        Kind::Uuid => value.starts_with("00000000-0000-4000-8000-") && is_number(value.get(24..)),
        Kind::Id => value.split_once('_').is_some_and(|(_, number)| is_number(Some(number))),
        Kind::Mail => value
            .strip_suffix("@example.com")
            .and_then(|user| user.strip_prefix("user"))
            .is_some_and(|n| is_number(Some(n))),
        Kind::User => value == "user",
        Kind::Host => value == "host",
        Kind::Directory | Kind::Home => [HOME, DIRECTORY, DASHED].contains(&value),
        Kind::Pid => value.parse().is_ok_and(|pid: u64| (FIRST_PID..FIRST_PID + PID_COUNT).contains(&pid)),
        _ => value.starts_with(REDACTED_PREFIX),
    }
}

fn is_number(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The number of a placeholder, so that no other value gets it.
pub(super) fn number_of(kind: Kind, value: &str) -> u64 {
    let number = match kind {
        Kind::Uuid => value.get(24..),
        Kind::Id => value.split_once('_').map(|(_, number)| number),
        Kind::Mail => value.get(4..).and_then(|rest| rest.split('@').next()),
        Kind::Pid => return value.parse::<u64>().map_or(0, |pid| pid + 1 - FIRST_PID),
        _ => None,
    };
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What takes the place of a value: of the same length where its form allows that.
pub(super) fn make_placeholder(kind: Kind, value: &str, number: u64) -> String {
    match kind {
        Kind::Uuid => format!("00000000-0000-4000-8000-{number:012}"),
        Kind::Id => {
            let (prefix, id) = value.split_once('_').unwrap_or(("id", value));
            format!("{prefix}_{number:0width$}", width = id.len())
        }
        Kind::Mail => format!("user{number}@example.com"),
        Kind::User => "user".to_owned(),
        Kind::Host => "host".to_owned(),
        Kind::Directory | Kind::Home if value.starts_with('-') => DASHED.to_owned(),
        Kind::Directory => DIRECTORY.to_owned(),
        Kind::Home => HOME.to_owned(),
        Kind::Pid => (FIRST_PID + (number - 1) % PID_COUNT).to_string(),
        _ => format!("{:x<width$}", format!("{REDACTED_PREFIX}{kind}-{number}-"), width = value.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for (kind, source) in pattern_sources() {
            assert!(Regex::new(&source).is_ok(), "{kind}: {source}");
        }
        assert!(SECRET_NAME.is_some());
    }

    #[test]
    fn names_of_secrets_are_told_from_names_of_counts() {
        for name in [
            "ANTHROPIC_API_KEY",
            "apiKey",
            "X-Api-Key",
            "auth_token",
            "clientSecret",
            "--password",
            "GITHUB_TOKEN",
            "OPENAI_KEY",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["input_tokens", "maxTokens", "apiKeySource", "tokenSource", "key", "monkey", "index"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
