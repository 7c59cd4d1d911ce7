//! One turn of a [`Player`], and what is alike: the answer to a `/clear`.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leakgate_session::mark;
use serde_json::json;

use super::tool::STRUCTURED;
use super::{Player, Stop, interrupt_request, print_error};
use crate::answer::{Content, Reply, Use};
use crate::envelope;
use crate::fault::Kind as Fault;
use crate::input::User;
use crate::line::{Kind, Line, replace_id};
use crate::marker::mark_turn;
use crate::script::{Act, Ending, Step, Turn};

/// Deltas that are sent before a fault strikes: enough to be in the middle of a text.
const DELTAS_BEFORE_FAULT: usize = 3;

/// The messages of the API that a turn has begun.
const BEGUN: &str = "begun_message_ids";

/// What a running turn has said so far: what its end by an interrupt depends on.
#[derive(Default)]
pub(super) struct TurnProgress {
    /// The id of the API's message.
    message: Option<String>,
    message_is_open: bool,
    /// The index of the content block that is open, and its text.
    block: Option<(u64, String)>,
    pub(super) swaps: Swaps,
}

/// Ids to put in place of recorded ones.
#[derive(Default)]
pub(super) struct Swaps(Vec<(String, String)>);

impl Player {
    /// Plays the next turn of the recording, from the first again after the last.
    pub(super) fn play_turn(&mut self, user: &User) -> Result<(), Stop> {
        let dialect = Rc::clone(&self.dialect);
        let turns = &dialect.own_script().turns;
        let next = usize::try_from(self.turns - 1).ok().and_then(|turn| turn.checked_rem(turns.len()));
        let recorded = next.and_then(|next| turns.get(next));
        let faults = self.faults.in_turn(self.turns);
        let mark = self.choose_mark(user, &faults);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut reply = self.options.answer.make_reply(&user.text, mark.as_deref(), since_1970);
        if reply.content == Content::Recorded && self.options.call.schema.is_some() {
            reply.content = Content::Use(Use { tool: STRUCTURED.to_owned(), input: None });
        }
        // A recording in which the CLI asks its caller is played with what it asked; else the caller's own hooks count.
        self.is_as_recorded = reply.is_recorded() && recorded.is_some_and(Turn::has_requests);
        if self.is_as_recorded {
            return self.play_reply(&reply, recorded, mark, faults);
        }
        self.report_state("running")?;
        self.list_tools()?;
        let decision = self.call_hooks("UserPromptSubmit", None, &json!({"prompt": user.text}))?;
        if let Some(reason) = decision.denied {
            self.end_by_hook(user, &reason)?;
        } else {
            self.repeats = self.options.call.repeats_users.then(|| user.text.clone());
            self.play_reply(&reply, recorded, mark, faults)?;
        }
        self.report_state("idle")
    }

    fn play_reply(
        &mut self,
        reply: &Reply,
        recorded: Option<&Turn>,
        mark: Option<String>,
        faults: Vec<Fault>,
    ) -> Result<(), Stop> {
        if let Content::Use(wanted) = &reply.content {
            self.be_silent(reply.first_delay)?;
            return self.use_tool(wanted, mark.as_deref(), faults);
        }
        let dialect = Rc::clone(&self.dialect);
        let made = if reply.is_recorded() { None } else { envelope::wrap_reply(reply, recorded, &dialect) };
        match made.as_ref().or(recorded) {
            Some(turn) => {
                let marked = match mark {
                    Some(mark) if !matches!(reply.content, Content::Json(_)) => {
                        mark_turn(turn, &mark, self.options.call.partials)
                    }
                    _ => HashMap::new(),
                };
                self.play_steps(turn, &marked, faults)
            }
            // The recording holds no turn at all: what follows a user message is not known.
            None => self.fall_silent(&Turn { steps: Vec::new(), ending: Ending::Cut }, &TurnProgress::default()),
        }
    }

    /// The mark that the reply carries.
    fn choose_mark(&self, user: &User, faults: &[Fault]) -> Option<String> {
        let own = user.mark.as_deref().filter(|_| self.options.echo_mark)?;
        Some(if faults.contains(&Fault::WrongMark) { mark::another_mark(own) } else { own.to_owned() })
    }

    fn play_steps(&mut self, turn: &Turn, marked: &HashMap<usize, String>, faults: Vec<Fault>) -> Result<(), Stop> {
        let mut said = TurnProgress { swaps: self.id_swaps(turn), ..TurnProgress::default() };
        let (early, late): (Vec<_>, Vec<_>) = faults.into_iter().partition(|fault| fault.is_grandchild());
        self.apply_faults(&early)?;
        let fault_at = fault_point(turn);
        let mut acknowledged = None;
        for (index, step) in turn.steps.iter().enumerate() {
            if index == fault_at {
                self.apply_faults(&late)?;
            }
            match &step.act {
                Act::AwaitInterrupt => acknowledged = Some(self.await_interrupt()?),
                Act::AwaitAnswer(id) => {
                    self.wait_until(|player| player.answers.contains_key(id) || player.interrupt.is_some())?;
                }
                act => self.perform_step(act, step, marked.get(&index), &mut said, acknowledged.as_deref())?,
            }
            if self.interrupt.is_some() && acknowledged.is_none() {
                return self.end_by_interrupt(turn, &said);
            }
        }
        if fault_at >= turn.steps.len() {
            self.apply_faults(&late)?;
        }
        if turn.ending == Ending::Cut { self.fall_silent(turn, &said) } else { Ok(()) }
    }

    /// Says what a step says, unless an interrupt comes first. `interrupted` is the id of one that has come already.
    pub(super) fn perform_step(
        &mut self,
        act: &Act,
        step: &Step,
        marked: Option<&String>,
        said: &mut TurnProgress,
        interrupted: Option<&str>,
    ) -> Result<(), Stop> {
        self.wait_recorded(step.gap)?;
        if self.interrupt.is_some() && interrupted.is_none() {
            return Ok(());
        }
        match act {
            Act::Say(line) => {
                let text = marked.map(String::as_str);
                if line.kind == Kind::Result && !self.is_as_recorded {
                    self.call_hooks("Stop", None, &json!({"last_assistant_message": text.or(line.text())}))?;
                }
                self.repeat_user(line)?;
                self.say_line(line, text, &said.swaps)?;
                said.note_line(line, text);
            }
            Act::Acknowledge(line) => {
                let recorded = line.id.as_deref().unwrap_or_default();
                self.out.push_line(&replace_id(&line.raw, recorded, interrupted.unwrap_or_default()))?;
            }
            Act::Complain(text) => print_error(text),
            Act::Wait(length) => self.be_silent(*length)?,
            Act::AwaitAnswer(_) | Act::AwaitInterrupt => {}
        }
        Ok(())
    }

    /// Says the recorded answer to a `/clear`, with which a new session begins.
    pub(super) fn answer_clear(&mut self) -> Result<(), Stop> {
        let dialect = Rc::clone(&self.dialect);
        let Some((clear, is_repeated)) = dialect.clear_answer(self.clears) else { return Ok(()) };
        self.clears += 1;
        let mut swaps = self.id_swaps(clear);
        if let Some((from, to)) = clear.session_ids().filter(|(from, to)| from != to) {
            // The recorded id once, then ids that no recording has.
            let fresh =
                if is_repeated { format!("00000000-0000-4000-9000-{:012}", self.clears) } else { to.to_owned() };
            swaps = Swaps::default();
            swaps.add_pair(Some(from), self.session.as_deref());
            swaps.add_pair(Some(to), Some(&fresh));
            swaps.add_pair(clear.model(), self.model.as_deref());
            self.session = Some(fresh);
        }
        for step in &clear.steps {
            self.wait_recorded(step.gap)?;
            if let Act::Say(line) = &step.act {
                self.say_line(line, None, &swaps)?;
            }
        }
        Ok(())
    }

    /// Ends a turn as an interrupt does: acknowledged, what was said so far, then a result that is no answer.
    pub(super) fn end_by_interrupt(&mut self, turn: &Turn, said: &TurnProgress) -> Result<(), Stop> {
        if let Some(id) = self.interrupt.take() {
            self.answer_control(&interrupt_request(id))?;
        }
        let dialect = Rc::clone(&self.dialect);
        let Some((recorded, tail)) = dialect.after_interrupt() else { return Ok(()) };
        let mut swaps = Swaps::default();
        swaps.add_pair(recorded.session_ids().map(|(from, _)| from), self.session.as_deref());
        swaps.add_pair(recorded.model(), self.model.as_deref().or(turn.model()));
        swaps.add_pair(recorded.lines().find_map(|line| line.message.as_deref()), said.message.as_deref());
        for step in tail {
            let Act::Say(line) = &step.act else { continue };
            self.wait_recorded(step.gap)?;
            match (line.kind, &said.block) {
                (Kind::AssistantText, Some((_, text))) if !text.is_empty() => {
                    self.say_line(line, Some(text), &swaps)?;
                }
                (Kind::BlockStop, Some((block, _))) => self.say_line(&line.in_block(*block), None, &swaps)?,
                (Kind::AssistantText | Kind::BlockStop, _) => {}
                (Kind::MessageDelta | Kind::MessageStop, _) if !said.message_is_open => {}
                _ => self.say_line(line, None, &swaps)?,
            }
        }
        Ok(())
    }

    fn await_interrupt(&mut self) -> Result<String, Stop> {
        self.wait_until(|player| player.interrupt.is_some())?;
        Ok(self.interrupt.take().unwrap_or_default())
    }

    /// The recording cut this turn: nothing more comes, unless it is interrupted.
    fn fall_silent(&mut self, turn: &Turn, said: &TurnProgress) -> Result<(), Stop> {
        self.wait_until(|player| player.interrupt.is_some())?;
        self.end_by_interrupt(turn, said)
    }

    pub(super) fn id_swaps(&self, turn: &Turn) -> Swaps {
        let mut swaps = Swaps::default();
        swaps.add_pair(turn.session_ids().map(|(from, _)| from), self.session.as_deref());
        swaps.add_pair(turn.model(), self.model.as_deref());
        swaps
    }

    pub(super) fn say_line(&mut self, line: &Line, text: Option<&str>, swaps: &Swaps) -> Result<(), Stop> {
        if line.kind.is_partial() && !self.options.call.partials {
            return Ok(());
        }
        if line.kind.ends_turn() {
            self.has_failed = line.kind == Kind::ErrorResult || line.raw.contains("\"is_error\":true");
        }
        let line = match line.kind {
            Kind::Init => &self.own_init(line),
            Kind::Result if !self.options.call.partials && line.raw.contains(BEGUN) => &without_begun(line),
            _ => line,
        };
        let changed = text.map(|text| line.with_text(text));
        let raw = changed.as_deref().unwrap_or(&line.raw);
        match &swaps.0[..] {
            [] => self.out.push_line(raw)?,
            swaps => {
                let swapped = swaps.iter().fold(raw.to_owned(), |line, (from, to)| replace_id(&line, from, to));
                self.out.push_line(&swapped)?;
            }
        }
        Ok(())
    }
}

impl TurnProgress {
    /// Nothing was said yet.
    pub(super) fn with_swaps(swaps: Swaps) -> Self {
        Self { swaps, ..Self::default() }
    }

    pub(super) fn note_line(&mut self, line: &Line, text: Option<&str>) {
        match line.kind {
            Kind::MessageStart => {
                self.message_is_open = true;
                self.message.clone_from(&line.message);
            }
            Kind::MessageStop => self.message_is_open = false,
            Kind::BlockStart => self.block = Some((line.block.unwrap_or_default(), String::new())),
            // The text is out: an interrupt after it does not say it again.
            Kind::AssistantText => self.block = self.block.take().map(|(block, _)| (block, String::new())),
            Kind::BlockStop => self.block = None,
            Kind::TextDelta => {
                if let Some((_, block)) = &mut self.block {
                    block.push_str(text.or(line.text()).unwrap_or_default());
                }
            }
            _ => {}
        }
    }
}

impl Swaps {
    /// Adds a pair; nothing where either is not known or both are the same.
    fn add_pair(&mut self, from: Option<&str>, to: Option<&str>) {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            self.0.push((from.to_owned(), to.to_owned()));
        }
    }
}

/// A result names the messages that were begun only along with a stream of them.
fn without_begun(line: &Line) -> Line {
    line.edit_json(|json| drop(json.as_object_mut().and_then(|result| result.shift_remove(BEGUN))))
}

/// The index of the step before which a fault strikes: after a few deltas, or before the result where there are none.
fn fault_point(turn: &Turn) -> usize {
    let is = |step: &Step, wanted: fn(Kind) -> bool| matches!(&step.act, Act::Say(line) if wanted(line.kind));
    let deltas = turn.steps.iter().enumerate().filter(|(_, step)| is(step, |kind| kind == Kind::TextDelta));
    let last_delta = deltas.take(DELTAS_BEFORE_FAULT).map(|(index, _)| index + 1).last();
    let result = || turn.steps.iter().position(|step| is(step, Kind::ends_turn));
    last_delta.or_else(result).unwrap_or(turn.steps.len())
}
