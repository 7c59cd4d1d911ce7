//! How the CLI was called: its flags and variables, as far as they change what it says.

use serde_json::Value;

use super::flags::{FlagError, Flags};

/// The variable by which the SDKs ask for the states of a session.
const STATES_FOR_SDK: &str = "CLAUDE_CODE_SDK_READS_SESSION_STATE";
/// The variable by which anybody does.
const STATES: &str = "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS";

/// How the CLI was called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Messages come on stdin, one a line; otherwise there is one prompt.
    pub(super) streams: bool,
    /// What is written to stdout.
    pub(super) format: OutputFormat,
    /// The prompt on the command line, if any.
    pub(super) prompt: String,
    /// `--include-partial-messages`.
    pub(super) partials: bool,
    /// `--replay-user-messages`.
    pub(super) repeats_users: bool,
    /// `--model`.
    pub(super) model: Option<String>,
    /// `--session-id`, or the session to resume.
    pub(super) session: Option<String>,
    /// The tools that `--tools` names.
    pub(super) tools: Option<Vec<String>>,
    /// `--json-schema`.
    pub(super) schema: Option<Value>,
    /// The MCP servers of `--mcp-config` that live in the caller.
    pub(super) servers: Vec<String>,
    /// Who may use tools.
    pub(super) permissions: Permissions,
    /// The states of the session are told; and whether only because an SDK reads them.
    pub(super) states: Option<bool>,
}

/// What is written to stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// Each message, one a line.
    Lines,
    /// The result's text.
    #[default]
    Text,
    /// The result.
    Json,
    /// All messages, as one array.
    Array,
}

/// Who may use tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Permissions {
    /// `--permission-mode`.
    pub(super) mode: String,
    /// All checks may be bypassed.
    pub(super) may_bypass: bool,
    /// The caller is asked, over stdio.
    pub(super) asks: bool,
    /// `--allowedTools`.
    pub(super) allowed: Vec<String>,
    /// `--disallowedTools`.
    pub(super) denied: Vec<String>,
}

/// What the CLI says to a call that it does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// A flag.
    #[error("{0}")]
    Flag(#[from] FlagError),
    /// JSON lines without `--verbose`.
    #[error("Error: When using --print, --output-format=stream-json requires --verbose")]
    NotVerbose,
    /// JSON lines in, something else out.
    #[error("Error: --input-format=stream-json requires output-format=stream-json.")]
    OneWay,
    /// A session id that is none.
    #[error("Error: Invalid session ID. Must be a valid UUID.")]
    Session,
    /// Neither argument nor stdin has a prompt.
    #[error("Error: Input must be provided either through stdin or as a prompt argument when using --print")]
    NoPrompt,
}

impl Call {
    /// Reads the flags; `variable` looks up a variable of the environment.
    pub(super) fn new(flags: &Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Self, CallError> {
        let streams = flags.value("input-format") == Some("stream-json");
        let format = match flags.value("output-format") {
            Some("stream-json") => OutputFormat::Lines,
            Some("json") if flags.has("verbose") => OutputFormat::Array,
            Some("json") => OutputFormat::Json,
            _ => OutputFormat::Text,
        };
        if streams && format != OutputFormat::Lines {
            return Err(CallError::OneWay);
        }
        if format == OutputFormat::Lines && !flags.has("verbose") {
            return Err(CallError::NotVerbose);
        }
        if flags.value("session-id").is_some_and(|id| !is_uuid(id)) {
            return Err(CallError::Session);
        }
        let owned = |name| flags.value(name).map(str::to_owned);
        let is_set = |name| variable(name).is_some_and(|value| !["", "0", "false"].contains(&value.as_str()));
        Ok(Self {
            streams,
            format,
            prompt: flags.positionals().join(" "),
            partials: flags.has("include-partial-messages"),
            repeats_users: flags.has("replay-user-messages"),
            model: owned("model"),
            session: owned("session-id").or_else(|| owned("resume").filter(|id| is_uuid(id))),
            tools: flags.has("tools").then(|| split_names(flags.values("tools"))).filter(|tools| tools != &["default"]),
            schema: flags.value("json-schema").and_then(|schema| serde_json::from_str(schema).ok()),
            servers: caller_servers(flags.values("mcp-config")),
            permissions: Permissions::new(flags, streams),
            states: is_set(STATES).then_some(false).or_else(|| is_set(STATES_FOR_SDK).then_some(true)),
        })
    }
}

impl Permissions {
    fn new(flags: &Flags, streams: bool) -> Self {
        let bypasses = flags.has("dangerously-skip-permissions");
        let mode = match flags.value("permission-mode") {
            _ if bypasses => "bypassPermissions",
            // The name that `--help` has for it.
            None | Some("manual") => "default",
            Some(mode) => mode,
        };
        Self {
            mode: mode.to_owned(),
            may_bypass: bypasses || mode == "bypassPermissions" || flags.has("allow-dangerously-skip-permissions"),
            asks: streams
                && flags.value("permission-prompt-tool") == Some("stdio")
                && flags.value("permission-prompts") != Some("none"),
            allowed: split_names(flags.values("allowed-tools")),
            denied: split_names(flags.values("disallowed-tools")),
        }
    }
}

/// Names between commas or spaces; what stands in brackets belongs to its name.
fn split_names(values: &[String]) -> Vec<String> {
    let mut depth = 0_i32;
    let joined = values.join(",");
    let parts = joined.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && (c == ',' || c == ' ')
    });
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The servers of the caller's own process in `--mcp-config`: JSON, or files of it.
fn caller_servers(configs: &[String]) -> Vec<String> {
    let read = |config: &String| {
        let text =
            if config.trim_start().starts_with('{') { config.clone() } else { std::fs::read_to_string(config).ok()? };
        serde_json::from_str::<Value>(&text).ok()
    };
    let all = configs.iter().filter_map(read);
    let named = all.filter_map(|config| config.get("mcpServers")?.as_object().cloned()).flatten();
    named
        .filter(|(_, server)| server.get("type").and_then(Value::as_str) == Some("sdk"))
        .map(|(name, _)| name)
        .collect()
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &[&str]) -> Result<Call, CallError> {
        let mut flags = Flags::default();
        let mut rest = line.iter().map(|word| (*word).to_owned()).peekable();
        while let Some(argument) = rest.next() {
            flags.take_argument(argument, &mut rest)?;
        }
        Call::new(&flags, |_| None)
    }

    #[test]
    fn what_does_not_go_together_is_said_in_the_clis_words() {
        let error = |line: &[&str]| call(line).expect_err("wrong").to_string();
        assert!(error(&["-p", "--output-format", "stream-json"]).ends_with("requires --verbose"));
        assert!(error(&["--input-format", "stream-json"]).ends_with("requires output-format=stream-json."));
        assert!(error(&["--session-id", "me"]).ends_with("Must be a valid UUID."));
    }

    #[test]
    fn tools_servers_and_modes_are_read_as_the_sdks_write_them() {
        let config = r#"{"mcpServers": {"calc": {"type": "sdk"}, "other": {"command": "x"}}}"#;
        let line = ["--allowedTools", "Bash(git *, x),Read", "--mcp-config", config, "--permission-mode=plan"];
        let call = call(&line).expect("a good call");
        assert_eq!(
            (call.permissions.allowed, call.servers),
            (vec!["Bash(git *, x)".into(), "Read".into()], vec!["calc".into()])
        );
        assert_eq!((call.permissions.mode.as_str(), call.format, call.tools), ("plan", OutputFormat::Text, None));
    }
}
