//! Every option of the server, with its default. Flags, `CCW_*` variables and a file fill the same struct, in this order:
//! the first that has a value decides.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches, ValueEnum};

mod document;
pub mod file;
pub mod keys;
pub mod secret;
mod validate;

pub use document::FileError;
pub use keys::{Key, KeyLimits, Keyring};
pub use secret::Secret;

/// When the standby is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Standby {
    /// Just in time: once a process has used 80 % of one of its limits.
    Jit,
    /// At once, so that it is always ready.
    Always,
    /// Never: the old process is stopped before the next one is started.
    Off,
}

/// How requests are isolated from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// Reset the conversation with `/clear` after each turn; if the CLI can't, use a new process for each request.
    Auto,
    /// No isolation: all requests to a process share one conversation.
    None,
}

/// The account that is billed for turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// The CLI's own login; API keys in the environment are withheld from it.
    Subscription,
    /// The API key in the environment (`ANTHROPIC_API_KEY` and the like).
    ApiKey,
}

/// A name that clients use for a model, and the model that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAlias {
    /// The name that clients request, for example `gpt-4o-mini`.
    pub name: String,
    /// Model that the CLI is started with.
    pub model: String,
}

impl std::str::FromStr for ModelAlias {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').map(|(name, model)| (name.trim(), model.trim())) {
            Some((name, model)) if !name.is_empty() && !model.is_empty() => {
                Ok(Self { name: name.to_owned(), model: parse_model(model)? })
            }
            _ => Err("expected NAME=MODEL, for example gpt-4o-mini=haiku".to_owned()),
        }
    }
}

/// The options of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address and port to listen on. Port 0 picks a free port.
    #[arg(long, env = "CCW_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8204", value_parser = parse_address)]
    pub listen: SocketAddr,

    /// Bearer key that clients must send. Required unless --listen is a loopback address.
    #[arg(
        long,
        env = "CCW_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_parser = secret::SecretParser
    )]
    pub api_key: Option<Secret>,

    /// TOML file with several keys, one `[[key]]` table each: `name`, `key`, and optional limits: `concurrency`
    /// (requests served at once), `queue` (further requests that may wait, 100 by default) and `requests-per-minute`
    /// (in any 60 seconds). Only a key with `admin = true` may restart the CLI over HTTP; without a key file, the key
    /// of --api-key may.
    #[arg(long, env = "CCW_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Claude Code CLI to run: a path, or a name that is looked up in PATH.
    #[arg(long, env = "CCW_CLI", default_value = "claude")]
    pub cli: PathBuf,

    /// Extra argument for the CLI; can be repeated. The variable holds all of them, separated by spaces; quote an
    /// argument that contains a space, as in a shell.
    #[arg(long = "cli-arg", env = "CCW_CLI_ARG", value_name = "ARG", allow_hyphen_values = true)]
    pub cli_args: Vec<String>,

    /// The model that the CLI is started with.
    #[arg(long, env = "CCW_MODEL", default_value = "haiku", value_parser = parse_model)]
    pub model: String,

    /// Name that clients may request, and the model it stands for, for example gpt-4o-mini=haiku; can be repeated.
    #[arg(long, env = "CCW_MODEL_ALIAS", value_name = "NAME=MODEL", value_delimiter = ',')]
    pub model_alias: Vec<ModelAlias>,

    /// File with the system prompt of every conversation.
    #[arg(long, env = "CCW_SYSTEM_PROMPT_FILE", value_name = "FILE")]
    pub system_prompt_file: Option<PathBuf>,

    /// Account to bill: the CLI's own login, or an API key from the environment.
    #[arg(long, env = "CCW_AUTH", value_enum, default_value = "subscription")]
    pub auth: Auth,

    /// Reject requests with unsupported parameters, instead of listing these in a header of the reply.
    #[arg(long, env = "CCW_STRICT_PARAMS")]
    pub strict_params: bool,

    /// Log prompts and replies, up to 256 KiB of each.
    #[arg(long, env = "CCW_LOG_BODIES")]
    pub log_bodies: bool,

    /// Number of turns that can run at once; each slot is one CLI process.
    #[arg(long, env = "CCW_SLOTS", default_value = "1", value_parser = parse_count)]
    pub slots: NonZeroUsize,

    /// Restart a CLI process after this many turns.
    #[arg(long, env = "CCW_MAX_TURNS", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_turns: u32,

    /// Restart a CLI process once its conversation holds this many tokens.
    #[arg(long, env = "CCW_MAX_CONTEXT_TOKENS", default_value = "150000", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_context_tokens: u64,

    /// Restart a CLI process at this age, in seconds.
    #[arg(long, env = "CCW_MAX_AGE", default_value = "86400", value_parser = parse_seconds)]
    pub max_age: Duration,

    /// Restart a CLI process that has been idle for this long, in seconds.
    #[arg(long, env = "CCW_MAX_IDLE", default_value = "14400", value_parser = parse_seconds)]
    pub max_idle: Duration,

    /// Restart a CLI process whose process tree uses this much memory, in MB (10^6 bytes of RSS).
    #[arg(long, env = "CCW_MAX_CLI_RSS_MB", default_value = "1500", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_cli_rss_mb: u64,

    /// When to start the standby, the process that takes over at a restart.
    #[arg(long, env = "CCW_STANDBY", value_enum, default_value = "jit")]
    pub standby: Standby,

    /// How requests are isolated from each other.
    #[arg(long, env = "CCW_ISOLATION", value_enum, default_value = "auto")]
    pub isolation: Isolation,

    /// Maximum number of requests that wait for a slot; further requests get a 503 with Retry-After.
    #[arg(long, env = "CCW_QUEUE", default_value = "1000")]
    pub queue: usize,

    /// How long a request may wait for a slot, in seconds.
    #[arg(long, env = "CCW_QUEUE_TIMEOUT", default_value = "600", value_parser = parse_seconds)]
    pub queue_timeout: Duration,

    /// How long the CLI may take to start, in seconds.
    #[arg(long, env = "CCW_START_TIMEOUT", default_value = "30", value_parser = parse_seconds)]
    pub start_timeout: Duration,

    /// How long a turn may run without any event from the CLI, in seconds.
    #[arg(long, env = "CCW_SILENCE_TIMEOUT", default_value = "120", value_parser = parse_seconds)]
    pub silence_timeout: Duration,

    /// Maximum duration of a turn, in seconds.
    #[arg(long, env = "CCW_TURN_TIMEOUT", default_value = "600", value_parser = parse_seconds)]
    pub turn_timeout: Duration,

    /// How long running requests may continue after SIGTERM, in seconds; after that they are cancelled.
    #[arg(long, env = "CCW_STOP_TIMEOUT", default_value = "30", value_parser = parse_seconds)]
    pub stop_timeout: Duration,

    /// Go offline after more failures than this: in a row, or within --failure-window if at least half of the starts
    /// or turns failed.
    #[arg(long, env = "CCW_MAX_FAILURES", default_value = "5", value_parser = clap::value_parser!(u16).range(..=1000))]
    pub max_failures: u16,

    /// Sliding window in which failures and successes are counted, in seconds.
    #[arg(long, env = "CCW_FAILURE_WINDOW", default_value = "60", value_parser = parse_seconds)]
    pub failure_window: Duration,

    /// Time between two recovery probes while the server is offline, in seconds.
    #[arg(long, env = "CCW_PROBE_INTERVAL", default_value = "30", value_parser = parse_seconds)]
    pub probe_interval: Duration,

    /// Longest line accepted from the CLI, in bytes.
    #[arg(long, env = "CCW_MAX_LINE_BYTES", default_value = "16777216", value_parser = clap::value_parser!(u64).range(65_536..))]
    pub max_line_bytes: u64,

    /// Longest request body accepted, in bytes.
    #[arg(long, env = "CCW_MAX_BODY_BYTES", default_value = "16777216", value_parser = clap::value_parser!(u64).range(1024..))]
    pub max_body_bytes: u64,

    /// Memory for the bodies of all requests together, in bytes. A request waits for memory, as long as for a slot,
    /// before its body is read; so this option, and not the number of requests, bounds the memory.
    #[arg(long, env = "CCW_MAX_BODIES_BYTES", default_value = "67108864", value_parser = clap::value_parser!(u64).range(1024..))]
    pub max_bodies_bytes: u64,

    /// Maximum number of open connections.
    #[arg(long, env = "CCW_MAX_CONNECTIONS", default_value = "1024", value_parser = parse_count)]
    pub max_connections: NonZeroUsize,

    /// Raise an alert in `/health` when the whole process tree uses more than this, in MB (10^6 bytes of RSS). The
    /// default is computed: 30 MB plus --max-bodies-bytes for the server, plus 1.5 times the memory of a CLI that has
    /// just started for each slot and for the standby.
    #[arg(long, env = "CCW_MEMORY_ALERT_MB")]
    pub memory_alert_mb: Option<u64>,

    /// Private folder for the CLI's temporary files, and for the records that the next start needs to clean up after
    /// a crash.
    #[arg(long, env = "CCW_RUNTIME_DIR")]
    pub runtime_dir: Option<PathBuf>,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "expected an address and a port, for example 127.0.0.1:8204 or [::1]:8204";
    text.parse().map_err(|_| match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            if port.parse::<u16>().is_err() {
                format!("a port is a number from 0 to 65535; {EXPECTED}")
            } else if host.parse::<std::net::Ipv6Addr>().is_ok() {
                format!("put an IPv6 address in brackets; {EXPECTED}")
            } else {
                format!("host names are not resolved; {EXPECTED}")
            }
        }
        _ => EXPECTED.to_owned(),
    })
}

/// A model's name: it becomes an argument of the CLI, and must not be read as a flag.
fn parse_model(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || name.starts_with('-') || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("expected the name of a model, for example haiku or claude-haiku-4-5".to_owned());
    }
    Ok(name.to_owned())
}

fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number, 1 or more".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, for example 30 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(d) if !d.is_zero() && seconds <= 31_536_000.0 => Ok(d),
        _ => Err("expected a number of seconds between 0 (exclusive) and 31536000 (a year)".to_owned()),
    }
}

/// Memory of the server without request bodies, in bytes: the cap that the leak gate enforces.
const SERVER_RSS: u64 = 30_000_000;

/// What a CLI holds when it is ready, in bytes, before one was measured: the largest of those that were looked at (375 MB for
/// 2.1.19, 177 MB for 2.1.330).
const TYPICAL_CLI_RSS: u64 = 400_000_000;

impl Config {
    /// The memory of the whole tree above which there is an alert, in bytes. `ready_rss` is what the CLI holds when it is
    /// ready, in bytes, as far as one was measured.
    ///
    /// As it is given; otherwise for each slot, and for the standby, one and a half times what a fresh CLI holds, because a
    /// CLI grows while it serves (2.1.330 by a third in 10 turns, by a half in 100), and for the server what it may hold.
    /// With one slot, the third CLI that restarts leave behind is above it; with three slots the fourth, with eight the sixth.
    #[must_use]
    pub fn memory_alert(&self, ready_rss: Option<u64>) -> u64 {
        if let Some(mb) = self.memory_alert_mb {
            return mb.saturating_mul(1_000_000);
        }
        let cli = ready_rss.unwrap_or(TYPICAL_CLI_RSS);
        let clis = (self.slots.get() as u64).saturating_add(1).saturating_mul(cli.saturating_add(cli / 2));
        clis.saturating_add(SERVER_RSS).saturating_add(self.max_bodies_bytes)
    }

    /// Clients have to send a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.api_key.is_some() || self.api_key_file.is_some()
    }

    /// Every key that clients may send. Reads the file of `--api-key-file`.
    pub fn keys(&self) -> Result<Keyring, FileError> {
        let single = self.api_key.as_ref();
        let file = self.api_key_file.as_ref().map(|path| keys::read_keys(path, single)).transpose()?;
        let mut ring = file.unwrap_or_default();
        if let Some(key) = single {
            let limits = KeyLimits::default();
            // A key file says itself who is an operator.
            let admin = self.api_key_file.is_none();
            ring.keys.insert(0, Key { name: keys::SINGLE.to_owned(), key: key.clone(), limits, admin });
        }
        Ok(ring)
    }
}

/// `clap`'s defaults, for tests and for servers that are built in code. No variable changes them.
impl Default for Config {
    #[expect(clippy::expect_used, reason = "a test of this module makes one: whether it works depends on nothing else")]
    fn default() -> Self {
        let command = Self::augment_args(clap::Command::new("")).no_binary_name(true);
        let matches = command.mut_args(|arg| arg.env(None::<&'static str>)).try_get_matches_from([""; 0]);
        matches.and_then(|matches| Self::from_arg_matches(&matches)).expect("every option has a default")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// The alert of so many slots whose CLIs became ready with so many MB, in MB.
    fn alert(slots: usize, fresh: u64) -> u64 {
        let config = Config { slots: slots.try_into().unwrap(), ..Config::default() };
        config.memory_alert(Some(fresh * MB)) / MB
    }

    #[test]
    fn busy_clis_of_every_size_are_no_alert() {
        // After 100 turns the CLI of 177 MB holds 272; its successor is ready beside it.
        for (slots, fresh, grown) in [(1, 177, 272), (3, 400, 400), (8, 177, 272), (8, 272, 272), (3, 375, 400)] {
            let tree = 10 + slots as u64 * grown + fresh;
            assert!(tree <= alert(slots, fresh), "{slots} slots of {grown} MB: {tree} > {}", alert(slots, fresh));
        }
    }

    #[test]
    fn a_cli_that_is_left_behind_at_each_restart_is_an_alert_soon() {
        for (slots, fresh, expected) in [(1, 177, 3), (1, 400, 3), (3, 177, 4), (3, 400, 4), (8, 272, 6)] {
            let tree = |leaked: u64| 10 + (slots as u64 + leaked) * fresh;
            let restarts = (0..100).find(|leaked| tree(*leaked) > alert(slots, fresh)).unwrap();
            assert_eq!(restarts, expected, "{slots} slots of {fresh} MB");
        }
        assert!(alert(1, 400) < 9_700, "the night that this server was written for");
    }

    #[test]
    fn an_alert_that_is_given_is_taken_as_it_is() {
        let config = Config { memory_alert_mb: Some(123), ..Config::default() };
        assert_eq!(config.memory_alert(Some(400 * MB)), 123 * MB);
        assert_eq!(Config::default().memory_alert(None), 2 * 600 * MB + 30 * MB + (64 << 20));
    }

    /// Runs itself in a process that has a variable set.
    #[test]
    fn no_variable_changes_the_defaults() {
        assert_eq!(Config::default().slots.get(), 1);
        if std::env::var_os("CCW_SLOTS").is_none() {
            #[expect(clippy::disallowed_methods, reason = "it is waited for here")]
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "config::tests::no_variable_changes_the_defaults"]).env("CCW_SLOTS", "7");
            let output = again.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
    }
}
