//! What the caller has registered with `initialize`: hooks, and MCP servers in its own process.

use serde_json::Value;

use super::input::Control;

/// What the caller has registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Client {
    hooks: Vec<Hook>,
    /// MCP servers that live in the caller.
    pub(super) servers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hook {
    event: String,
    matcher: String,
    callbacks: Vec<String>,
}

impl Client {
    /// Reads an `initialize`.
    pub(super) fn new(initialize: &Control) -> Self {
        let hooks = initialize.request.get("hooks").and_then(Value::as_object);
        let hooks = hooks.into_iter().flatten().flat_map(|(event, matchers)| {
            let matchers = matchers.as_array().map_or(&[][..], Vec::as_slice);
            matchers.iter().map(|matcher| Hook {
                event: event.clone(),
                matcher: matcher.get("matcher").and_then(Value::as_str).unwrap_or_default().to_owned(),
                callbacks: string_items(matcher.get("hookCallbackIds")),
            })
        });
        Self { hooks: hooks.collect(), servers: string_items(initialize.request.get("sdkMcpServers")) }
    }

    /// Whether there is any hook.
    pub(super) fn has_hooks(&self) -> bool {
        !self.hooks.is_empty()
    }

    /// The callbacks of an event; `tool` is the name of the tool that it is about.
    pub(super) fn callbacks(&self, event: &str, tool: Option<&str>) -> Vec<String> {
        let due = self
            .hooks
            .iter()
            .filter(|hook| hook.event == event && tool.is_none_or(|tool| matches_tool(&hook.matcher, tool)));
        due.flat_map(|hook| hook.callbacks.iter().cloned()).collect()
    }
}

fn string_items(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// A matcher is empty or `*` for all, names between `|`, or else a pattern.
fn matches_tool(matcher: &str, tool: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '|');
    match matcher {
        "" | "*" => true,
        names if names.chars().all(is_name) => names.split('|').any(|name| name == tool),
        pattern => regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(tool)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches_tool;

    /// As `hook-matchers`, recorded from 2.1.330.
    #[test]
    fn a_matcher_is_a_name_names_or_a_pattern() {
        for (matcher, is_bash) in [
            ("Read", false),
            ("Bash", true),
            ("Ba.*|X", true),
            ("*", true),
            ("", true),
            ("Read|Bash", true),
            ("Bas", false),
        ] {
            assert_eq!(matches_tool(matcher, "Bash"), is_bash, "{matcher}");
        }
    }
}
