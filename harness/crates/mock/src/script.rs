//! A recording, cut into what can be played: turns, answers to `/clear`, answers to control requests.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::input::{self, Control, Input};
use super::line::{Kind, Line};
use leakgate_session::recording::{End, Payload, Session};

/// A recording in playable form.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// The turns, in order, without those that were `/clear`.
    pub(super) turns: Vec<Turn>,
    /// The answers to `/clear`, in order.
    pub(super) clears: Vec<Turn>,
    /// The answers to control requests, in order.
    pub(super) controls: Vec<ControlAnswer>,
    /// A process that failed before it read anything.
    pub(super) refusal: Option<Refusal>,
    /// A stdin line that was no JSON, and what stderr said to it.
    pub(super) bad_input: Option<(String, String)>,
}

/// One user message and all that followed, up to its result.
#[derive(Debug)]
pub(super) struct Turn {
    /// What happens, in order.
    pub(super) steps: Vec<Step>,
    /// How it ends.
    pub(super) ending: Ending,
}

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With a result that is an answer.
    Answered,
    /// With a result that is an API error.
    Failed,
    /// With a result that is none, as after an interrupt.
    Stopped,
    /// Not at all: the process was killed in the middle of it.
    Cut,
}

/// One thing that happens in a turn.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The time since whatever was recorded before it.
    pub(super) gap: Duration,
    /// What happens.
    pub(super) act: Act,
}

/// What happens at a [`Step`].
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// A line on stdout.
    Say(Line),
    /// A line on stderr.
    Complain(String),
    /// The caller has to answer the CLI's control request of this id.
    AwaitAnswer(String),
    /// The caller has to interrupt.
    AwaitInterrupt,
    /// The caller's interrupt is acknowledged.
    Acknowledge(Line),
    /// Silence, at any pace; an interrupt or the end of stdin ends it.
    Wait(Duration),
}

/// A control request of the caller and its answer.
#[derive(Debug)]
pub(super) struct ControlAnswer {
    /// What was asked.
    pub(super) asked: Control,
    /// The time from the request to the answer.
    pub(super) gap: Duration,
    /// The answer.
    pub(super) line: Line,
    /// The lines that followed outside of any turn.
    pub(super) after: Vec<Line>,
}

/// A process that ends before it reads anything.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// The lines that it wrote to stderr.
    pub(super) complaints: Vec<String>,
    /// Its exit code.
    pub(super) code: u8,
}

impl Script {
    /// Cuts a recording.
    pub(super) fn new(session: &Session) -> Self {
        let mut builder = ScriptBuilder::default();
        let mut before = 0;
        for event in &session.events {
            builder.gap = Duration::from_millis(event.ms.saturating_sub(before));
            before = event.ms;
            match &event.payload {
                Payload::In(line) => builder.read_input(line),
                Payload::Out(line) => builder.read_output(Line::new(line)),
                Payload::Err(line) => builder.add_complaint(line),
                Payload::Exit { end, .. } => builder.note_exit(*end),
            }
        }
        builder.finish()
    }

    /// The recorded answer to a control request: to the very same one, to one that named the same model, or else to the
    /// first of its kind.
    pub(super) fn answer_to(&self, asked: &Control) -> Option<&ControlAnswer> {
        let alike = || self.controls.iter().filter(|control| control.asked.subtype == asked.subtype);
        let same = alike().find(|control| control.asked.request == asked.request);
        same.or_else(|| alike().find(|control| control.asked.model == asked.model)).or_else(|| alike().next())
    }

    /// The interrupted turn, and its steps after the interrupt was acknowledged.
    pub(super) fn after_interrupt(&self) -> Option<(&Turn, &[Step])> {
        let acknowledged = |step: &Step| matches!(step.act, Act::Acknowledge(_));
        self.turns.iter().find_map(|turn| Some((turn, &turn.steps[turn.steps.iter().position(acknowledged)? + 1..])))
    }
}

impl Turn {
    /// A turn of these steps.
    pub(super) fn new(steps: Vec<Step>) -> Self {
        let last = steps.iter().rev().find_map(|step| match &step.act {
            Act::Say(line) if line.kind.ends_turn() => Some(line.kind),
            _ => None,
        });
        let ending = match last {
            Some(Kind::Result) => Ending::Answered,
            Some(Kind::ErrorResult) => Ending::Failed,
            Some(_) => Ending::Stopped,
            None => Ending::Cut,
        };
        Self { steps, ending }
    }

    /// Whether the CLI asks its caller in it, or tells it of states.
    pub(super) fn has_requests(&self) -> bool {
        self.lines().any(|line| matches!(line.kind, Kind::Request | Kind::State))
    }

    /// The steps from the first line of a kind on; they come with the whole turn.
    pub(super) fn from(&self, kind: Kind) -> Option<(&Self, &[Step])> {
        let begins = |step: &Step| matches!(&step.act, Act::Say(line) if line.kind == kind);
        Some((self, &self.steps[self.steps.iter().position(begins)?..]))
    }

    /// The lines that it says.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.steps.iter().filter_map(|step| match &step.act {
            Act::Say(line) => Some(line),
            _ => None,
        })
    }

    /// The first session id and the last one; they differ only where a `/clear` was done.
    pub(super) fn session_ids(&self) -> Option<(&str, &str)> {
        let first = self.lines().find_map(|line| line.session.as_deref())?;
        Some((first, self.lines().rev().find_map(|line| line.session.as_deref())?))
    }

    /// The model that its `system/init` names.
    pub(super) fn model(&self) -> Option<&str> {
        self.lines().find_map(|line| line.model.as_deref())
    }
}

#[derive(Default)]
struct ScriptBuilder {
    script: Script,
    gap: Duration,
    /// User messages that no line has answered yet: whether each is a `/clear`.
    waiting: VecDeque<bool>,
    open: Option<(bool, Vec<Step>)>,
    /// Control requests of the caller, by id.
    asked: HashMap<String, Control>,
    bad_line: Option<String>,
    has_read: bool,
    /// The last thing said was an answer outside of any turn.
    after_control: bool,
    complaints: Vec<String>,
}

impl ScriptBuilder {
    fn read_input(&mut self, line: &str) {
        self.has_read = true;
        match input::parse(line.as_bytes()) {
            Ok(Input::User(user)) => self.waiting.push_back(user.is_clear),
            Ok(Input::Control(control)) => {
                if control.subtype == "interrupt" {
                    self.add_act(Act::AwaitInterrupt);
                }
                self.asked.insert(control.id.clone(), control);
            }
            Ok(Input::Answer(answer)) => self.add_act(Act::AwaitAnswer(answer.id)),
            Ok(Input::Other) => {}
            Err(_) => self.bad_line = Some(line.to_owned()),
        }
    }

    fn read_output(&mut self, line: Line) {
        let answered = match line.kind {
            Kind::Response | Kind::ErrorResponse => line.id.as_ref().and_then(|id| self.asked.remove(id)),
            _ => None,
        };
        if let Some(asked) = answered {
            if asked.subtype == "interrupt" {
                self.add_act(Act::Acknowledge(line.clone()));
            }
            self.script.controls.push(ControlAnswer { asked, gap: self.gap, line, after: Vec::new() });
            self.after_control = self.open.is_none();
            return;
        }
        if self.open.is_none() {
            self.open = self.waiting.pop_front().map(|is_clear| (is_clear, Vec::new()));
        }
        if self.open.is_none() {
            self.add_after_last(line);
            return;
        }
        self.after_control = false;
        let ends = line.kind.ends_turn();
        self.add_act(Act::Say(line));
        if ends {
            self.close_turn();
        }
    }

    fn add_complaint(&mut self, text: &str) {
        if let Some(line) = self.bad_line.take() {
            self.script.bad_input = Some((line, text.to_owned()));
        } else if self.has_read {
            self.add_act(Act::Complain(text.to_owned()));
        } else {
            self.complaints.push(text.to_owned());
        }
    }

    fn note_exit(&mut self, end: End) {
        if !self.has_read {
            let code = match end {
                End::Code(code) => u8::try_from(code).unwrap_or(1),
                End::Signal(_) => 1,
            };
            self.script.refusal = Some(Refusal { complaints: std::mem::take(&mut self.complaints), code });
        }
    }

    fn finish(mut self) -> Script {
        self.close_turn();
        let unanswered = self.waiting.iter().filter(|is_clear| !**is_clear).count();
        self.script.turns.extend((0..unanswered).map(|_| Turn::new(Vec::new())));
        self.script
    }

    /// Adds to the open turn; between turns there is nothing to add to.
    fn add_act(&mut self, act: Act) {
        if let Some((_, steps)) = &mut self.open {
            steps.push(Step { gap: self.gap, act });
        }
    }

    /// A line between turns belongs to the control request or the turn before it.
    fn add_after_last(&mut self, line: Line) {
        if let (true, Some(control)) = (self.after_control, self.script.controls.last_mut()) {
            control.after.push(line);
        } else if let Some(turn) = self.script.turns.last_mut() {
            turn.steps.push(Step { gap: self.gap, act: Act::Say(line) });
        }
    }

    fn close_turn(&mut self) {
        if let Some((is_clear, steps)) = self.open.take() {
            let into = if is_clear { &mut self.script.clears } else { &mut self.script.turns };
            into.push(Turn::new(steps));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakgate_session::recording;

    fn script(spec: &str) -> Script {
        Script::new(&recording::load(spec).expect("bundled"))
    }

    #[test]
    fn a_clear_is_not_a_turn() {
        for version in ["2.1.19", "2.1.330"] {
            let script = script(&format!("{version}/clear-between-turns"));
            assert_eq!((script.turns.len(), script.clears.len()), (5, 5), "{version}");
            assert!(script.turns.iter().all(|turn| turn.ending == Ending::Answered));
        }
    }

    #[test]
    fn endings_are_told_apart() {
        let endings = |spec| script(spec).turns.iter().map(|turn| turn.ending).collect::<Vec<_>>();
        assert_eq!(endings("interrupt"), [Ending::Stopped, Ending::Answered]);
        assert_eq!(endings("api-error-529"), [Ending::Failed, Ending::Answered]);
        assert_eq!(endings("queued-turns"), [Ending::Answered, Ending::Answered]);
        assert_eq!(endings("retry-storm-401"), [Ending::Cut]);
        assert!(script("bad-flag").refusal.is_some() && script("ten-turns").refusal.is_none());
    }
}
