//! What 2.1.330 says of its flags. Data.

/// The flags of `--help`, as the CLI declares them: `<value>` is needed, `[value]` may be left out, `...` takes all that
/// is no flag.
pub(super) const SHOWN: &str = "
--add-dir <directories...>
--agent <agent>
--agents <json-or-file>
--allow-dangerously-skip-permissions
--allowedTools, --allowed-tools <tools...>
--append-system-prompt <prompt>
--autocompact <auto|tokens>
--ax-screen-reader
--background
--bare
--betas <betas...>
--bg
--brief
--chrome
--cloud [description|session_id|url]
-c, --continue
--dangerously-skip-permissions
-d, --debug [filter]
--debug-file <path>
--desktop
--disable-slash-commands
--disallowedTools, --disallowed-tools <tools...>
--effort <level>
--environment <environment_id>
--exclude-dynamic-system-prompt-sections
--fallback-model <model>
--file <specs...>
--fork-session
--forward-subagent-text
--from-pr [value]
-h, --help
--ide
--include-hook-events
--include-partial-messages
--input-format <format>
--json-schema <schema>
--max-budget-usd <amount>
--mcp-config <configs...>
--model <model>
-n, --name <name>
--no-chrome
--no-session-persistence
--output-format <format>
--permission-mode <mode>
--permission-prompt-tool <tool>
--permission-prompts <target>
--plugin-dir <path>
--plugin-url <url>
-p, --print
--prompt-suggestions [value]
--remote-control [name]
--remote-control-session-name-prefix <prefix>
--replay-user-messages
--restricted
-r, --resume [value]
--safe-mode
--session-id <uuid>
--setting-sources <sources>
--settings <file-or-json>
--strict-mcp-config
--system-prompt <prompt>
--system-prompt-snapshot <on|off>
--teleport [session]
--tmux
--tools <tools...>
--verbose
-v, --version
-w, --worktree [name]
";

/// The flags that `--help` leaves out; the SDKs pass some of them.
pub(super) const HIDDEN: &str = "
--advisor <model>
--agent-color <color>
--agent-id <id>
--agent-name <name>
--agent-type <type>
--agents-view-if-allowed
--allow-other-models
--append-subagent-system-prompt <prompt>
--append-subagent-system-prompt-file <file>
--append-system-prompt-file <file>
--attach-serve <session_id>
--await-claim
--await-initialize
--channels <servers...>
--client-data-url <url>
--correlation-id <id>
--dangerously-load-development-channels <servers...>
--deep-link-cwd-b64 <b64>
--deep-link-last-fetch <ms>
--deep-link-origin
--deep-link-repo <slug>
--enable-auth-status
--enable-auto-mode
--fast-mode <on|off>
--forward-home-settings <true|false>
--hold-repository-while-parked
--host-auth-is-org-sign-in
--include-unsupported-models
--inherit-permission-mode <mode>
--init
--init-only
--initialize-fields <names>
--lead-verify-key <time.key>
--maintenance
--managed-settings <json>
--managed-settings-in-initialize
--max-thinking-tokens <tokens>
--max-turns <turns>
--messaging-socket-path <path>
--metadata <key=value>
--on-branch <branch>
--parent-session-id <id>
--plan-mode-instructions <instructions>
--plan-mode-required
--plugin-dir-no-mcp <path>
--pool <pool_id>
--prefill <text>
--prefill-b64 <b64>
--proactivity <level>
--project-config-root <dir>
--rc [name]
--ref <ref>
--remote [value]
--reply-on-resume
--resume-drops-turn <message id>
--resume-session-at <message id>
--rewind-files <user-message-id>
--runner-declares <names>
--sdk-url <url>
--session-began-as-copy <value>
--session-mirror
--system-prompt-file <file>
--task-budget <tokens>
--team-name <name>
--teammate-mode <mode>
--thinking <mode>
--thinking-display <display>
--watch-artifact <artifact>
--watch-artifact-no-autoreact <artifact>
--workload <tag>
";

/// The values of flags that take only some.
pub(super) const CHOICES: [(&str, &str); 11] = [
    ("forward-home-settings", "true, false, 1, 0"),
    ("inherit-permission-mode", "acceptEdits, auto, bypassPermissions, manual, dontAsk, plan"),
    ("input-format", "text, stream-json"),
    ("output-format", "text, json, stream-json"),
    ("permission-mode", "acceptEdits, auto, bypassPermissions, manual, dontAsk, plan"),
    ("permission-prompts", "host, none"),
    ("proactivity", "ask, default, proactive"),
    ("prompt-suggestions", "true, false, 1, 0, yes, no, on, off"),
    ("system-prompt-snapshot", "on, off"),
    ("thinking", "enabled, adaptive, disabled"),
    ("thinking-display", "summarized, omitted, highlights"),
];

/// Values that the CLI takes without naming them in its errors: the modes' other name, as the SDKs pass it.
pub(super) const UNLISTED: [(&str, &str); 2] = [("permission-mode", "default"), ("inherit-permission-mode", "default")];

/// The flags whose value is a number, and what the CLI says to any other.
pub(super) const NUMBERS: [(&str, &str); 4] = [
    ("max-turns", "must be a number"),
    ("max-thinking-tokens", "must be a number"),
    ("max-budget-usd", "--max-budget-usd must be a number greater than 0"),
    ("task-budget", "--task-budget must be a positive integer"),
];
