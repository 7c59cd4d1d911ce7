//! What of a recording has to be the caller's own: its permission mode, tools and servers, its prompt.

use std::rc::Rc;

use serde_json::{Value, json};

use super::tool::STRUCTURED;
use super::{Player, Stop};
use crate::input::User;
use crate::line::{Kind, Line};
use crate::script::Act;

impl Player {
    /// The answer to `initialize`, which says what was registered; the same bytes where that is nothing.
    pub(super) fn own_initialization(&self, line: String) -> String {
        let is_default = self.mode == "default" || self.mode.is_empty();
        if is_default && !self.client.has_hooks() {
            return line;
        }
        let Ok(mut answer) = serde_json::from_str::<Value>(&line) else { return line };
        if let Some(told) = answer.pointer_mut("/response/response").and_then(Value::as_object_mut) {
            if self.client.has_hooks() && !told.contains_key("hooks_applied") {
                told.insert("hooks_applied".to_owned(), json!(true));
            }
            if told.get("current_permission_mode").is_some_and(|mode| *mode != self.mode) {
                told.insert("current_permission_mode".to_owned(), json!(self.mode));
            }
        }
        let own = answer.to_string();
        if serde_json::from_str::<Value>(&line).is_ok_and(|recorded| recorded == answer) { line } else { own }
    }

    /// A `system/init` with the caller's tools, servers and permission mode; the same bytes where they are the recorded.
    pub(super) fn own_init(&self, line: &Line) -> Line {
        let mut tools = self.options.call.tools.clone();
        let mut more = self.server_tools();
        more.extend(self.options.call.schema.as_ref().map(|_| STRUCTURED.to_owned()));
        if !more.is_empty() {
            tools.get_or_insert_default().extend(more);
        }
        let servers = self.servers_in_init();
        let wanted = [
            ("permissionMode", Some(json!(self.mode))),
            ("tools", tools.map(|tools| json!(tools))),
            ("mcp_servers", (!servers.is_empty()).then(|| json!(servers))),
        ];
        let is_same = serde_json::from_str(&line.raw).is_ok_and(|recorded: Value| {
            wanted.iter().all(|(key, value)| value.as_ref().is_none_or(|value| recorded[*key] == *value))
        });
        if is_same || self.is_as_recorded {
            return line.clone();
        }
        line.edit_json(|json| {
            for (key, value) in wanted {
                if let Some(value) = value {
                    json[key] = value;
                }
            }
        })
    }

    /// Ends a turn whose prompt a hook has blocked.
    pub(super) fn end_by_hook(&mut self, user: &User, reason: &str) -> Result<(), Stop> {
        let dialect = Rc::clone(&self.dialect);
        let Some((recorded, steps)) = dialect.blocked_turn() else { return Ok(()) };
        let words = format!("UserPromptSubmit operation blocked by hook:\n{reason}\n\nOriginal prompt: {}", user.text);
        let swaps = self.id_swaps(recorded);
        for step in steps {
            let Act::Say(line) = &step.act else { continue };
            self.wait_recorded(step.gap)?;
            let line = line.edit_json(|json| {
                for key in ["content", "result"] {
                    if json.get(key).is_some() {
                        json[key] = words.clone().into();
                    }
                }
                if let Some(told) = json.pointer_mut("/prompt_submit_outcome/reason") {
                    *told = reason.into();
                }
            });
            self.say_line(&line, None, &swaps)?;
        }
        Ok(())
    }

    /// Repeats the user's message before the first line of the reply, where `--replay-user-messages` wants that.
    pub(super) fn repeat_user(&mut self, next: &Line) -> Result<(), Stop> {
        if !matches!(next.kind, Kind::MessageStart | Kind::AssistantText | Kind::ToolUse) {
            return Ok(());
        }
        let Some(text) = self.repeats.take() else { return Ok(()) };
        self.say_new(json!({
            "type": "user", "message": {"role": "user", "content": text}, "parent_tool_use_id": null,
            "timestamp": "2026-01-28T00:00:00.000Z", "isReplay": true,
        }))
    }
}
