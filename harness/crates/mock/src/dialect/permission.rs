//! `set_permission_mode`: which modes there are, and what the CLI says to any other.

use serde_json::{Value, json};

use super::{Answer, Dialect};
use crate::input::Control;
use crate::line::{Line, replace_id};

/// The modes that `set_permission_mode` takes.
const MODES: [&str; 6] = ["acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "plan"];
/// The mode that was recorded with success.
const RECORDED: &str = "acceptEdits";
/// What was recorded as no mode.
const NONE: &str = "nope";
/// Taken only where the command line allows it.
pub(crate) const BYPASS: &str = "bypassPermissions";

impl Dialect {
    /// The answer to `set_permission_mode`; none to anything else, or where it was not recorded.
    pub(super) fn permission_mode(&self, asked: &Control, may_bypass: bool) -> Option<Answer> {
        if asked.subtype != "set_permission_mode" {
            return None;
        }
        let mode = asked.text("mode").unwrap_or_default();
        let alike = match mode {
            BYPASS if !may_bypass => BYPASS,
            mode if MODES.contains(&mode) => RECORDED,
            _ => NONE,
        };
        let exact = self.own.controls.iter().find(|control| control.asked.request == asked.request);
        let request = json!({"subtype": "set_permission_mode", "mode": alike});
        let others = || self.sdk_script().controls.iter().find(|control| control.asked.request == request);
        let found = exact.or_else(others)?;
        let is_taken = alike == RECORDED;
        let recorded = found.asked.request.get("mode").and_then(Value::as_str).unwrap_or_default();
        let told = |line: &str| if is_taken { replace_id(line, recorded, mode) } else { line.to_owned() };
        Some(Answer {
            line: told(&replace_id(&found.line.raw, &found.asked.id, &asked.id)),
            gap: found.gap,
            model: None,
            mode: is_taken.then(|| mode.to_owned()),
            after: found.after.iter().map(|line| Line::new(&told(&line.raw))).collect(),
        })
    }
}
