//! A turn in which the CLI uses a tool: the permission, the hooks around it, and what it gave.
//!
//! The lines are those of a recorded turn, told about another tool. Nothing is ever run: a tool of the CLI gives the
//! recorded words, a tool of a server in the caller is called there.

use std::rc::Rc;

use serde_json::{Value, json};

use super::ask::Answered;
use super::hooks::Verdict;
use super::turn::Said;
use super::{Player, Stop};
use crate::answer::{Use, instance_of};
use crate::dialect::BYPASS;
use crate::envelope::with_text;
use crate::fault::Kind as Fault;
use crate::line::{Kind, Line};
use crate::marker::mark_turn;
use crate::script::{Act, Step, Turn};

mod retell;

use retell::{Outcome, Tool};

/// Tools that may be used without asking.
const HARMLESS: [&str; 6] = ["Read", "Glob", "Grep", "TodoWrite", "Task", STRUCTURED];
/// Tools that `acceptEdits` is about.
const EDITS: [&str; 4] = ["Write", "Edit", "MultiEdit", "NotebookEdit"];
/// The tool by which the CLI gives an instance of `--json-schema`.
pub(super) const STRUCTURED: &str = "StructuredOutput";

impl Player {
    /// Plays a turn in which a tool is used.
    pub(super) fn use_tool(&mut self, wanted: &Use, mark: Option<&str>, faults: Vec<Fault>) -> Result<(), Stop> {
        let dialect = Rc::clone(&self.dialect);
        let Some((base, after)) = dialect.tool().and_then(|turn| turn.from(Kind::ToolResult)) else { return Ok(()) };
        let (early, late): (Vec<_>, Vec<_>) = faults.into_iter().partition(|fault| fault.is_grandchild());
        self.strike_all(&early)?;
        let mut said = Said::with(self.swaps(base));
        let mut tool = self.tool(wanted, mark);
        let Some(verdict) = self.announce(&tool, base, after.len(), &mut said)? else {
            return self.end_by_interrupt(base, &said);
        };
        self.strike_all(&late)?;
        let outcome = self.decide(&mut tool, &verdict)?;
        let Some((result, rest)) = after.split_first() else { return Ok(()) };
        if matches!(outcome, Outcome::Interrupted) {
            return self.end_tool(&tool);
        }
        if let Outcome::Ran { result, .. } = &outcome {
            let about = json!({"tool_response": result, "tool_use_id": tool.id, "tool_name": tool.name, "tool_input": tool.input});
            self.call_hooks("PostToolUse", Some(&tool.name), &about)?;
        }
        self.tell(&tool, &outcome, result, &mut said)?;
        if verdict.stops || tool.name == STRUCTURED {
            let Some(last) = base.lines().rev().find(|line| line.kind.ends_turn()) else { return Ok(()) };
            let last = if verdict.stops { retell::stopped(last) } else { retell::structured(last, &tool.input) };
            return self.conclude(&last, &said);
        }
        self.reply(&tool, &outcome, rest, mark, &mut said)
    }

    /// The tool, with the input that the prompt has for it, or else one that fits.
    fn tool(&mut self, wanted: &Use, mark: Option<&str>) -> Tool {
        let id = format!("toolu_{:022}", self.turns);
        let of_server = self.server_tool(&wanted.tool);
        let schema = match &of_server {
            Some((_, _, schema)) => Some(schema),
            None => self.options.call.schema.as_ref().filter(|_| wanted.tool == STRUCTURED),
        };
        let fitting = || schema.map_or_else(|| retell::usual_input(&wanted.tool), |schema| instance_of(schema, mark));
        let input = wanted.input.clone().unwrap_or_else(fitting);
        let server = of_server.map(|(index, name, _)| (index, name));
        Tool { name: wanted.tool.clone(), input, id, server }
    }

    /// Says that the tool shall be used, up to its result, and asks the hooks; none if the turn was interrupted.
    fn announce(&mut self, tool: &Tool, base: &Turn, after: usize, said: &mut Said) -> Result<Option<Verdict>, Stop> {
        let mut verdict = Verdict::default();
        let before = base.steps.iter().take(base.steps.len() - after);
        for step in before {
            let Act::Say(line) = &step.act else { continue };
            if line.kind == Kind::Request {
                continue;
            }
            let step = Step { gap: step.gap, act: Act::Say(tool.announced(line)) };
            self.perform(&step.act, &step, None, said, None)?;
            if line.kind == Kind::ToolUse {
                let about = json!({"tool_name": tool.name, "tool_input": tool.input, "tool_use_id": tool.id});
                verdict = self.call_hooks("PreToolUse", Some(&tool.name), &about)?;
            }
            if self.interrupt.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(verdict))
    }

    /// Whether the tool may be used, and what comes of it.
    fn decide(&mut self, tool: &mut Tool, verdict: &Verdict) -> Result<Outcome, Stop> {
        if let Some(input) = &verdict.input {
            tool.input = input.clone();
        }
        if verdict.closed {
            return Ok(Outcome::cancelled());
        }
        if let Some(reason) = &verdict.denied {
            return Ok(Outcome::denied_by_hook(&tool.name, reason));
        }
        let permissions = &self.options.call.permissions;
        let is_listed = |list: &[String]| list.iter().any(|rule| tool.is_meant_by(rule));
        let accepted = match self.mode.as_str() {
            _ if is_listed(&permissions.denied) => return Ok(Outcome::denied_by_rule(&tool.name)),
            _ if verdict.allowed => json!({"decision": "accept", "source": "hook", "reason_type": "hook"}),
            _ if is_listed(&permissions.allowed) || HARMLESS.contains(&tool.name.as_str()) => {
                json!({"decision": "accept", "source": "config"})
            }
            BYPASS => json!({"decision": "accept", "source": "config", "reason_type": "mode"}),
            "acceptEdits" if EDITS.contains(&tool.name.as_str()) => {
                json!({"decision": "accept", "source": "config", "reason_type": "mode"})
            }
            "dontAsk" => return self.refuse_unasked(tool),
            _ if !permissions.asks => return self.refuse_unasked(tool),
            _ => return self.ask_permission(tool),
        };
        self.run_tool(tool, accepted)
    }

    fn refuse_unasked(&mut self, tool: &Tool) -> Result<Outcome, Stop> {
        let message = format!("{} needs a permission, and there is nobody to ask", tool.name);
        self.say_new(json!({
            "type": "system", "subtype": "permission_denied", "tool_name": tool.name, "tool_use_id": tool.id,
            "message": message,
        }))?;
        Ok(Outcome::unasked(&message))
    }

    fn ask_permission(&mut self, tool: &mut Tool) -> Result<Outcome, Stop> {
        self.tell_state("requires_action")?;
        let request = tool.permission_request(self.dialect.tool());
        let suggestions = request["permission_suggestions"].clone();
        let id = self.ask(&request)?;
        let answered = self.answered(&id)?;
        if matches!(answered, Answered::Interrupted) {
            return Ok(Outcome::Interrupted);
        }
        self.tell_state("running")?;
        let answer = match answered {
            Answered::With(answer) => answer,
            Answered::Error(error) => return Ok(Outcome::failed(&format!("Error: {error}"))),
            _ => return Ok(Outcome::failed("AbortError: Tool permission stream closed before response received")),
        };
        let about = json!({"tool_name": tool.name, "tool_input": tool.input, "permission_suggestions": suggestions});
        self.call_hooks("PermissionRequest", Some(&tool.name), &about)?;
        if answer["behavior"] != "allow" {
            let message = answer["message"].as_str().unwrap_or_default();
            let is_end = answer["interrupt"] == true;
            return Ok(if is_end { Outcome::Interrupted } else { Outcome::denied_by_user(message) });
        }
        if answer["updatedInput"].is_object() {
            tool.input = answer["updatedInput"].clone();
        }
        self.run_tool(tool, json!({"decision": "accept", "source": "user_temporary"}))
    }

    fn run_tool(&mut self, tool: &Tool, decision: Value) -> Result<Outcome, Stop> {
        let Some((index, _)) = tool.server else { return Ok(Outcome::ran(tool, decision)) };
        Ok(match self.call_tool(index, &tool.name, &tool.input, &tool.id)? {
            Ok(given) => Outcome::given(&given, decision),
            Err(error) => Outcome::failed_in_server(&error, decision),
        })
    }

    /// Says what the tool gave.
    fn tell(&mut self, tool: &Tool, outcome: &Outcome, recorded: &Step, said: &mut Said) -> Result<(), Stop> {
        let Act::Say(line) = &recorded.act else { return Ok(()) };
        let line = outcome.told(tool, line);
        self.say(&line, None, &said.swaps)?;
        said.note(&line, None);
        Ok(())
    }

    /// Replies with what the tool gave.
    fn reply(
        &mut self,
        tool: &Tool,
        outcome: &Outcome,
        rest: &[Step],
        mark: Option<&str>,
        said: &mut Said,
    ) -> Result<(), Stop> {
        let words = format!("{}: {}", tool.name, outcome.words());
        let spoken = with_text(rest, &words).into_iter().filter(|step| match &step.act {
            Act::Say(line) => line.kind != Kind::Request,
            _ => false,
        });
        let turn = Turn::new(spoken.map(|step| tool.concluded(step, outcome)).collect());
        let marked = mark.map(|mark| mark_turn(&turn, mark, self.options.call.partials)).unwrap_or_default();
        for (index, step) in turn.steps.iter().enumerate() {
            self.perform(&step.act, step, marked.get(&index), said, None)?;
            if self.interrupt.is_some() {
                return self.end_by_interrupt(&turn, said);
            }
        }
        Ok(())
    }

    /// Ends the turn with this result.
    fn conclude(&mut self, last: &Line, said: &Said) -> Result<(), Stop> {
        self.call_hooks("Stop", None, &json!({}))?;
        self.say(last, None, &said.swaps)
    }

    /// Ends the turn in the middle of the tool's use, as an interrupt does.
    fn end_tool(&mut self, tool: &Tool) -> Result<(), Stop> {
        if let Some(id) = self.interrupt.take() {
            self.answer_control(&super::interrupt(id))?;
        }
        let dialect = Rc::clone(&self.dialect);
        let Some((recorded, tail)) = dialect.tool_interrupted() else { return Ok(()) };
        let said = Said::with(self.swaps(recorded));
        for step in tail {
            let Act::Say(line) = &step.act else { continue };
            self.pause(step.gap)?;
            self.say(&tool.cut(line), None, &said.swaps)?;
        }
        Ok(())
    }
}
