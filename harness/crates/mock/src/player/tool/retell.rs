//! The lines of a recorded use of a tool, told about another one. Pure.

use serde_json::{Value, json};

use crate::line::{Kind, Line};
use crate::script::{Act, Step, Turn};

/// What the recorded tool gave.
const NOTHING: &str = "(Bash completed with no output)";

/// A tool and what it is used with.
#[derive(Debug)]
pub(super) struct Tool {
    /// Its name, as the model knows it.
    pub(super) name: String,
    /// Its input.
    pub(super) input: Value,
    /// The id of this use.
    pub(super) id: String,
    /// The index and the name of the server in the caller that has it.
    pub(super) server: Option<(usize, String)>,
}

/// What became of the use of a tool.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was used.
    Ran {
        /// What the model sees.
        content: Value,
        /// What the caller sees, and the hooks.
        result: Value,
        /// The model is told whether it failed; a server's tool does not say that it succeeded.
        is_error: Option<bool>,
        /// Who allowed it.
        decision: Value,
    },
    /// It was not.
    Refused {
        /// What the model sees.
        content: String,
        /// What the caller sees.
        result: String,
        /// Why, in a word, and who decided it.
        why: Value,
    },
    /// The turn ends here.
    Interrupted,
}

/// An input for a tool of the CLI.
pub(super) fn usual_input(tool: &str) -> Value {
    match tool {
        "Bash" => json!({"command": "echo hi > out.txt", "description": "lorem ipsum "}),
        "Write" => json!({"file_path": "/home/user/project/out.txt", "content": "hi"}),
        "Edit" => json!({"file_path": "/home/user/project/out.txt", "old_string": "hi", "new_string": "ho"}),
        "Read" => json!({"file_path": "/home/user/project/out.txt"}),
        "Glob" | "Grep" => json!({"pattern": "hi"}),
        _ => json!({}),
    }
}

impl Tool {
    /// Whether a rule such as `Bash(git *)` or `mcp__server` is about this tool. What stands in brackets is not looked at.
    pub(super) fn matches_rule(&self, rule: &str) -> bool {
        let name = rule.split('(').next().unwrap_or_default();
        name == self.name
            || (name.starts_with("mcp__") && self.name.starts_with(&format!("{}__", name.trim_end_matches("__*"))))
    }

    /// The name of a server's tool, as it is shown.
    fn display_name(&self) -> String {
        let Some((_, server)) = &self.server else { return self.name.clone() };
        let short = self.short_name(server);
        let mut letters = short.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    }

    fn short_name(&self, server: &str) -> &str {
        self.name.strip_prefix(&format!("mcp__{server}__")).unwrap_or(&self.name)
    }

    /// A line in which the recorded tool is to be used.
    pub(super) fn retell_announcement(&self, line: &Line) -> Line {
        match line.kind {
            Kind::ToolUse => line.edit_json(|json| {
                let block = &mut json["message"]["content"][0];
                block["name"] = self.name.clone().into();
                block["input"] = self.input.clone();
                block["id"] = self.id.clone().into();
                if let Some((_, server)) = &self.server {
                    json["tool_use_meta"] = json!([{
                        "id": self.id, "display_name": self.display_name(), "server_display_name": server,
                        "tool_name": self.short_name(server),
                    }]);
                }
            }),
            Kind::BlockStart => line.edit_json(|json| {
                let block = &mut json["event"]["content_block"];
                block["name"] = self.name.clone().into();
                block["id"] = self.id.clone().into();
            }),
            Kind::Stream => line.edit_json(|json| {
                if let Some(input) = json.pointer_mut("/event/delta/partial_json") {
                    *input = self.input.to_string().into();
                }
            }),
            _ => line.clone(),
        }
    }

    /// The question whether it may be used.
    pub(super) fn permission_request(&self, recorded: Option<&Turn>) -> Value {
        let mut request = recorded.and_then(recorded_request).unwrap_or_else(|| json!({"subtype": "can_use_tool"}));
        let is_recorded = self.name == "Bash";
        let rule = json!([{"type": "addRules", "rules": [{"toolName": self.name}], "behavior": "allow", "destination": "localSettings"}]);
        if !is_recorded {
            request["permission_suggestions"] = rule;
            if let Some(request) = request.as_object_mut() {
                request.remove("blocked_path");
                request.remove("description");
            }
        }
        if let Some((_, server)) = &self.server {
            request["mcp_server"] = json!({"name": server, "source": "sdk"});
            request["server_policy_ask_only"] = true.into();
        }
        request["tool_name"] = self.name.clone().into();
        request["display_name"] = self.display_name().into();
        request["input"] = self.input.clone();
        request["tool_use_id"] = self.id.clone().into();
        if let (true, Some(description)) = (is_recorded, self.input.get("description")) {
            request["description"] = description.clone();
        }
        request
    }

    /// The last line of the turn, which says what was refused.
    pub(super) fn retell_result(&self, step: Step, outcome: &Outcome) -> Step {
        match &step.act {
            Act::Say(line) if line.kind == Kind::Result && outcome.is_denial() => {
                let line = line.edit_json(|json| json["permission_denials"] = self.denial_list());
                Step { gap: step.gap, act: Act::Say(line) }
            }
            _ => step,
        }
    }

    /// A line of a turn that was interrupted.
    pub(super) fn retell_interrupted(&self, line: &Line) -> Line {
        match line.kind {
            Kind::ToolResult => line.edit_json(|json| {
                json["message"]["content"][0]["tool_use_id"] = self.id.clone().into();
                json["tool_result_meta"][0]["id"] = self.id.clone().into();
            }),
            Kind::NoResult => line.edit_json(|json| json["permission_denials"] = self.denial_list()),
            _ => line.clone(),
        }
    }

    fn denial_list(&self) -> Value {
        json!([{"tool_name": self.name, "tool_use_id": self.id, "tool_input": self.input}])
    }
}

fn recorded_request(turn: &Turn) -> Option<Value> {
    turn.lines().find_map(|line| {
        let message: Value = serde_json::from_str(&line.raw).ok()?;
        let request = message.get("request")?;
        (request.get("subtype")? == "can_use_tool").then(|| request.clone())
    })
}

/// The result of a turn that a hook has stopped.
pub(super) fn hook_stopped_result(line: &Line) -> Line {
    line.edit_json(|json| {
        json["stop_reason"] = "tool_use".into();
        json["terminal_reason"] = "hook_stopped".into();
        json["result"] = "".into();
    })
}

/// The result of a turn that gives an instance of a schema.
pub(super) fn structured_result(line: &Line, instance: &Value) -> Line {
    line.edit_json(|json| {
        json["stop_reason"] = "tool_use".into();
        json["result"] = instance.to_string().into();
        json["structured_output"] = instance.clone();
    })
}

impl Outcome {
    /// A tool of the CLI, which gave nothing.
    pub(super) fn of_cli_tool(tool: &Tool, decision: Value) -> Self {
        if tool.name == "Bash" {
            let result =
                json!({"stdout": "", "stderr": "", "interrupted": false, "isImage": false, "noOutputExpected": false});
            return Self::Ran { content: NOTHING.into(), result, is_error: Some(false), decision };
        }
        let words = match tool.name.as_str() {
            super::STRUCTURED => "Structured output provided successfully".to_owned(),
            name => format!("mock-claude has not run {name}"),
        };
        Self::Ran { content: words.clone().into(), result: words.into(), is_error: None, decision }
    }

    /// What a server's tool gave.
    pub(super) fn of_server_tool(given: &Value, decision: Value) -> Self {
        let content = given["content"].clone();
        let is_error = (given["isError"] == true).then_some(true);
        Self::Ran { result: content.clone(), content, is_error, decision }
    }

    /// A server's tool failed.
    pub(super) fn failed_in_server(error: &str, decision: Value) -> Self {
        Self::Ran { content: error.into(), result: format!("Error: {error}").into(), is_error: Some(true), decision }
    }

    /// A hook has refused it.
    pub(super) fn denied_by_hook(tool: &str, reason: &str) -> Self {
        let decision = json!({"decision": "reject", "source": "hook", "reason_type": "hook"});
        Self::refused_by_rule(&format!("PreToolUse:{tool} hook error: {reason}"), &decision)
    }

    /// The command line has refused it.
    pub(super) fn denied_by_rule(tool: &str) -> Self {
        Self::refused_by_rule(
            &format!("Permission to use {tool} has been denied."),
            &json!({"decision": "reject", "source": "config", "reason_type": "rule"}),
        )
    }

    /// The caller has refused it.
    pub(super) fn denied_by_user(message: &str) -> Self {
        Self::refused_by_rule(message, &json!({"decision": "reject", "source": "user_reject"}))
    }

    /// The question has failed.
    pub(super) fn failed_request(error: &str) -> Self {
        let decision = json!({"decision": "reject", "source": "config", "reason_type": "other"});
        Self::refused_by_rule(&format!("Tool permission request failed: {error}"), &decision)
    }

    /// There was nobody to ask.
    pub(super) fn denied_unasked(message: &str) -> Self {
        let decision = json!({"decision": "reject", "source": "config"});
        let why = json!({"non_execution_kind": "user-rejected", "permission_decision": decision});
        Self::Refused { content: message.to_owned(), result: message.to_owned(), why }
    }

    /// A hook was not answered before stdin ended.
    pub(super) fn cancelled_at_close() -> Self {
        let words = "mock-claude: no hook answers any more, so that nothing is done".to_owned();
        Self::Refused { content: words.clone(), result: words, why: json!({"non_execution_kind": "cancelled"}) }
    }

    fn refused_by_rule(content: &str, decision: &Value) -> Self {
        let why = json!({"non_execution_kind": "permission-rule", "permission_decision": decision});
        Self::Refused { content: content.to_owned(), result: format!("Error: {content}"), why }
    }

    /// Whether somebody has refused it; what was cancelled was not refused.
    fn is_denial(&self) -> bool {
        matches!(self, Self::Refused { why, .. } if why.get("permission_decision").is_some())
    }

    /// What the reply says of it.
    pub(super) fn reply_text(&self) -> String {
        match self {
            Self::Ran { content: Value::String(words), .. } => words.clone(),
            Self::Ran { content, .. } => {
                let texts = content.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            Self::Refused { content, .. } => content.clone(),
            Self::Interrupted => String::new(),
        }
    }

    /// The recorded line with this in it.
    pub(super) fn retell_tool_result(&self, tool: &Tool, line: &Line) -> Line {
        let (block, result, mut meta) = match self {
            Self::Ran { content, result, is_error, decision } => {
                let mut block = json!({"tool_use_id": tool.id, "type": "tool_result", "content": content});
                if let Some(is_error) = is_error {
                    block["is_error"] = (*is_error).into();
                }
                (block, result.clone(), json!({"permission_decision": decision}))
            }
            Self::Refused { content, result, why } => {
                let block =
                    json!({"type": "tool_result", "content": content, "is_error": true, "tool_use_id": tool.id});
                (block, Value::from(result.as_str()), why.clone())
            }
            Self::Interrupted => return line.clone(),
        };
        meta["id"] = tool.id.clone().into();
        line.edit_json(|json| {
            json["message"]["content"] = json!([block]);
            json["tool_use_result"] = result;
            json["tool_result_meta"] = json!([meta]);
        })
    }
}
