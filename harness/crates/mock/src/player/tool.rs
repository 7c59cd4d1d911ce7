//! A turn in which the CLI uses a tool: the permission, the hooks around it, and what it gave.
//!
//! The lines are those of a recorded turn, told about another tool. Nothing is ever run: a tool of the CLI gives the
//! recorded words, a tool of a server in the caller is called there.

use std::rc::Rc;

use serde_json::{Value, json};

use super::ask::RequestOutcome;
use super::hooks::HookDecision;
use super::turn::TurnProgress;
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
        let Some((base, after)) = dialect.tool_turn().and_then(|turn| turn.from(Kind::ToolResult)) else {
            return Ok(());
        };
        let (early, late): (Vec<_>, Vec<_>) = faults.into_iter().partition(|fault| fault.is_grandchild());
        self.apply_faults(&early)?;
        let mut said = TurnProgress::with_swaps(self.id_swaps(base));
        let mut tool = self.choose_tool(wanted, mark);
        let Some(decision) = self.announce_tool(&tool, base, after.len(), &mut said)? else {
            return self.end_by_interrupt(base, &said);
        };
        self.apply_faults(&late)?;
        let outcome = self.decide_use(&mut tool, &decision)?;
        let Some((result, rest)) = after.split_first() else { return Ok(()) };
        if matches!(outcome, Outcome::Interrupted) {
            return self.end_tool(&tool);
        }
        if let Outcome::Ran { result, .. } = &outcome {
            let about = json!({"tool_response": result, "tool_use_id": tool.id, "tool_name": tool.name, "tool_input": tool.input});
            self.call_hooks("PostToolUse", Some(&tool.name), &about)?;
        }
        self.say_outcome(&tool, &outcome, result, &mut said)?;
        if decision.stops || tool.name == STRUCTURED {
            let Some(last) = base.lines().rev().find(|line| line.kind.ends_turn()) else { return Ok(()) };
            let last = if decision.stops {
                retell::hook_stopped_result(last)
            } else {
                retell::structured_result(last, &tool.input)
            };
            return self.end_with_result(&last, &said);
        }
        self.say_reply(&tool, &outcome, rest, mark, &mut said)
    }

    /// The tool, with the input that the prompt has for it, or else one that fits.
    fn choose_tool(&mut self, wanted: &Use, mark: Option<&str>) -> Tool {
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
    fn announce_tool(
        &mut self,
        tool: &Tool,
        base: &Turn,
        after: usize,
        said: &mut TurnProgress,
    ) -> Result<Option<HookDecision>, Stop> {
        let mut decision = HookDecision::default();
        let before = base.steps.iter().take(base.steps.len() - after);
        for step in before {
            let Act::Say(line) = &step.act else { continue };
            if line.kind == Kind::Request {
                continue;
            }
            let step = Step { gap: step.gap, act: Act::Say(tool.retell_announcement(line)) };
            self.perform_step(&step.act, &step, None, said, None)?;
            if line.kind == Kind::ToolUse {
                let about = json!({"tool_name": tool.name, "tool_input": tool.input, "tool_use_id": tool.id});
                decision = self.call_hooks("PreToolUse", Some(&tool.name), &about)?;
            }
            if self.interrupt.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(decision))
    }

    /// Whether the tool may be used, and what comes of it.
    fn decide_use(&mut self, tool: &mut Tool, decision: &HookDecision) -> Result<Outcome, Stop> {
        if let Some(input) = &decision.input {
            tool.input = input.clone();
        }
        if decision.closed {
            return Ok(Outcome::cancelled_at_close());
        }
        if let Some(reason) = &decision.denied {
            return Ok(Outcome::denied_by_hook(&tool.name, reason));
        }
        let permissions = &self.options.call.permissions;
        let is_listed = |list: &[String]| list.iter().any(|rule| tool.matches_rule(rule));
        let accepted = match self.mode.as_str() {
            _ if is_listed(&permissions.denied) => return Ok(Outcome::denied_by_rule(&tool.name)),
            _ if decision.allowed => json!({"decision": "accept", "source": "hook", "reason_type": "hook"}),
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
        Ok(Outcome::denied_unasked(&message))
    }

    fn ask_permission(&mut self, tool: &mut Tool) -> Result<Outcome, Stop> {
        self.report_state("requires_action")?;
        let request = tool.permission_request(self.dialect.tool_turn());
        let suggestions = request["permission_suggestions"].clone();
        let id = self.send_request(&request)?;
        let answered = self.await_answer(&id)?;
        if matches!(answered, RequestOutcome::Interrupted) {
            return Ok(Outcome::Interrupted);
        }
        self.report_state("running")?;
        let answer = match answered {
            RequestOutcome::With(answer) => answer,
            RequestOutcome::Error(error) => return Ok(Outcome::failed_request(&format!("Error: {error}"))),
            _ => {
                return Ok(Outcome::failed_request(
                    "AbortError: Tool permission stream closed before response received",
                ));
            }
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
        let Some((index, _)) = tool.server else { return Ok(Outcome::of_cli_tool(tool, decision)) };
        Ok(match self.call_tool(index, &tool.name, &tool.input, &tool.id)? {
            Ok(given) => Outcome::of_server_tool(&given, decision),
            Err(error) => Outcome::failed_in_server(&error, decision),
        })
    }

    /// Says what the tool gave.
    fn say_outcome(
        &mut self,
        tool: &Tool,
        outcome: &Outcome,
        recorded: &Step,
        said: &mut TurnProgress,
    ) -> Result<(), Stop> {
        let Act::Say(line) = &recorded.act else { return Ok(()) };
        let line = outcome.retell_tool_result(tool, line);
        self.say_line(&line, None, &said.swaps)?;
        said.note_line(&line, None);
        Ok(())
    }

    /// Replies with what the tool gave.
    fn say_reply(
        &mut self,
        tool: &Tool,
        outcome: &Outcome,
        rest: &[Step],
        mark: Option<&str>,
        said: &mut TurnProgress,
    ) -> Result<(), Stop> {
        let words = format!("{}: {}", tool.name, outcome.reply_text());
        let spoken = with_text(rest, &words).into_iter().filter(|step| match &step.act {
            Act::Say(line) => line.kind != Kind::Request,
            _ => false,
        });
        let turn = Turn::new(spoken.map(|step| tool.retell_result(step, outcome)).collect());
        let marked = mark.map(|mark| mark_turn(&turn, mark, self.options.call.partials)).unwrap_or_default();
        for (index, step) in turn.steps.iter().enumerate() {
            self.perform_step(&step.act, step, marked.get(&index), said, None)?;
            if self.interrupt.is_some() {
                return self.end_by_interrupt(&turn, said);
            }
        }
        Ok(())
    }

    /// Ends the turn with this result.
    fn end_with_result(&mut self, last: &Line, said: &TurnProgress) -> Result<(), Stop> {
        self.call_hooks("Stop", None, &json!({}))?;
        self.say_line(last, None, &said.swaps)
    }

    /// Ends the turn in the middle of the tool's use, as an interrupt does.
    fn end_tool(&mut self, tool: &Tool) -> Result<(), Stop> {
        if let Some(id) = self.interrupt.take() {
            self.answer_control(&super::interrupt_request(id))?;
        }
        let dialect = Rc::clone(&self.dialect);
        let Some((recorded, tail)) = dialect.tool_interrupted() else { return Ok(()) };
        let said = TurnProgress::with_swaps(self.id_swaps(recorded));
        for step in tail {
            let Act::Say(line) = &step.act else { continue };
            self.wait_recorded(step.gap)?;
            self.say_line(&tool.retell_interrupted(line), None, &said.swaps)?;
        }
        Ok(())
    }
}
