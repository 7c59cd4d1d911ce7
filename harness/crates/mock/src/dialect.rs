//! What a CLI version says in general, for what a single recording does not hold.
//!
//! Taken from the bundled recordings of that version, or of the newest where that version has none; each is parsed only
//! when it is needed, but for the one that nearly every process needs (`Dialect::preload_clears`).

use std::cell::OnceCell;

use serde_json::Value;

use super::input::Control;
use super::line::{Kind, Line, replace_id};
use super::script::{ControlAnswer, Script, Step, Turn};
use leakgate_session::recording::{self, End, Session};

mod api_error;
mod permission;

pub(super) use permission::BYPASS;

/// The recording of a tool's use.
const TOOL: &str = "tool-hooks";

/// The manners of one CLI version.
pub(super) struct Dialect {
    version: String,
    own: Script,
    controls: OnceCell<Script>,
    of_sdks: OnceCell<Script>,
    interrupt: OnceCell<Script>,
    clear: OnceCell<Script>,
    bad_input: OnceCell<Script>,
    answered: OnceCell<Script>,
    tool: OnceCell<Script>,
    tool_interrupted: OnceCell<Script>,
    blocked: OnceCell<Script>,
}

/// An answer to a control request.
pub(super) struct Answer {
    /// The line to write.
    pub(super) line: String,
    /// How long the CLI took.
    pub(super) gap: std::time::Duration,
    /// The model that it switches to.
    pub(super) model: Option<String>,
    /// The permission mode that it switches to.
    pub(super) mode: Option<String>,
    /// What comes after it.
    pub(super) after: Vec<Line>,
}

impl Dialect {
    pub(super) fn new(session: &Session) -> Self {
        Self {
            version: session.header.cli.clone(),
            own: Script::new(session),
            controls: OnceCell::new(),
            of_sdks: OnceCell::new(),
            interrupt: OnceCell::new(),
            clear: OnceCell::new(),
            bad_input: OnceCell::new(),
            answered: OnceCell::new(),
            tool: OnceCell::new(),
            tool_interrupted: OnceCell::new(),
            blocked: OnceCell::new(),
        }
    }

    /// The recording that is played.
    pub(super) fn own_script(&self) -> &Script {
        &self.own
    }

    /// The answer to a control request, with the caller's id; `None` where this version never answers.
    ///
    /// `may_bypass`: the command line allows to bypass all permissions.
    pub(super) fn answer_control(&self, asked: &Control, may_bypass: bool) -> Option<Answer> {
        if let Some(answer) = self.permission_mode(asked, may_bypass) {
            return Some(answer);
        }
        let recorded = self.recorded_answer(asked);
        let (found, line) = match recorded {
            Some(found) => (found, found.line.raw.clone()),
            None => self.refuse_request(asked)?,
        };
        let mut line = rename_subjects(&replace_id(&line, &found.asked.id, &asked.id), found, asked);
        let mut model = None;
        if recorded.is_some() && asked.subtype == "set_model" {
            let resolved = self.resolve_model(asked.model.as_deref().unwrap_or("default"));
            if let Some(recorded) = &found.line.model {
                line = replace_id(&line, recorded, &resolved);
            }
            model = Some(resolved);
        }
        Some(Answer { line, gap: found.gap, model, mode: None, after: found.after.clone() })
    }

    /// The version of the CLI.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Whether what the SDKs need beyond the protocol was recorded from this very version.
    pub(super) fn knows_sdks(&self) -> bool {
        recording::find_bundled(&self.version, TOOL).is_some()
    }

    /// A turn in which a tool is used, every kind of hook is called and a permission is asked for.
    pub(super) fn tool_turn(&self) -> Option<&Turn> {
        self.tool.get_or_init(|| self.load_script(TOOL)).turns.first()
    }

    /// The end of such a turn after an interrupt, from the tool's result on.
    pub(super) fn tool_interrupted(&self) -> Option<(&Turn, &[Step])> {
        let script = self.tool_interrupted.get_or_init(|| self.load_script("tool-permission-interrupted"));
        script.turns.first()?.from(Kind::ToolResult)
    }

    /// A turn whose prompt a hook has blocked, from its `system/init` on.
    pub(super) fn blocked_turn(&self) -> Option<(&Turn, &[Step])> {
        self.blocked.get_or_init(|| self.load_script("prompt-hook-blocked")).turns.first()?.from(Kind::Init)
    }

    /// The steps with which an interrupted turn ends.
    ///
    /// They come with the whole turn that they were recorded in.
    pub(super) fn after_interrupt(&self) -> Option<(&Turn, &[Step])> {
        self.own.after_interrupt().or_else(|| self.interrupt_script().after_interrupt())
    }

    /// The answer to the `n`th `/clear` of a process, from 0, and whether it was used before.
    pub(super) fn clear_answer(&self, n: usize) -> Option<(&Turn, bool)> {
        let clears = self.clear_answers();
        let turn = clears.get(n.checked_rem(clears.len())?)?;
        Some((turn, n >= clears.len()))
    }

    fn clear_answers(&self) -> &[Turn] {
        match &self.own.clears[..] {
            [] => &self.clear.get_or_init(|| self.load_script("clear-between-turns")).clears,
            own => own,
        }
    }

    /// Parses what is asked of every process that is kept between two turns. A quarter of a megabyte that comes with the
    /// first `/clear` would make the memory of a server's tree depend on how many turns its processes have had.
    pub(super) fn preload_clears(&self) {
        self.clear_answers();
    }

    /// A plain turn with a text.
    pub(super) fn plain_turn(&self) -> Option<&Turn> {
        self.answered.get_or_init(|| self.load_script("ten-turns")).turns.first()
    }

    /// The steps of a turn that ends in the API's error with this status: as recorded, or the nearest that is.
    pub(super) fn error_steps(&self, status: u16) -> Option<Vec<Step>> {
        let recorded = recording::find_bundled(&self.version, &format!("api-error-{status}"));
        match recorded.and_then(|entry| entry.parse().ok()) {
            Some(session) => api_error::first_steps(&Script::new(&session)),
            None => Some(api_error::change_status(api_error::first_steps(&self.load_script("api-error-529"))?, status)),
        }
    }

    /// What stderr says to a line that is not JSON.
    pub(super) fn bad_input(&self, line: &[u8]) -> String {
        let line = String::from_utf8_lossy(line);
        let script = match self.own.bad_input {
            Some(_) => &self.own,
            None => self.bad_input.get_or_init(|| self.load_script("bad-input-line")),
        };
        let Some((input, complaint)) = &script.bad_input else {
            return "Error parsing streaming input line".to_owned();
        };
        let length = |text: &str| format!("{} chars", text.encode_utf16().count());
        complaint.replace(&length(input), &length(&line)).replace(input, &line)
    }

    /// How a process of this version ends after SIGTERM.
    pub(super) fn end_after_sigterm(&self) -> End {
        let recorded = find_recording(&self.version, "sigterm-mid-turn").and_then(|entry| {
            let last = entry.text().trim_end().lines().next_back()?;
            let event: Value = serde_json::from_str(last).ok()?;
            serde_json::from_value(event.get("exit")?.clone()).ok()
        });
        recorded.unwrap_or(End::Signal(15))
    }

    /// The recorded answer: of the recording that is played, or else of the version's others.
    fn recorded_answer(&self, asked: &Control) -> Option<&ControlAnswer> {
        let is_answer = |found: &&ControlAnswer| found.line.kind == Kind::Response;
        let own = self.own.controls.iter().find(|control| control.asked.request == asked.request);
        own.or_else(|| self.own.answer_to(asked).filter(is_answer))
            .or_else(|| self.control_script().answer_to(asked).filter(is_answer))
            .or_else(|| self.interrupt_script().answer_to(asked).filter(is_answer))
            .or_else(|| self.sdk_script().answer_to(asked))
    }

    /// The error to a request that this version does not know, if it sends one.
    fn refuse_request(&self, asked: &Control) -> Option<(&ControlAnswer, String)> {
        let errors = self.control_script().controls.iter();
        let found = errors.into_iter().find(|control| control.line.kind == Kind::ErrorResponse)?;
        let with_id = replace_id(&found.line.raw, &found.asked.id, &asked.id);
        Some((found, with_id.replace(&found.asked.subtype, &asked.subtype)))
    }

    /// The full name of a model: as the version's recordings resolve it, or else the name itself.
    fn resolve_model(&self, wanted: &str) -> String {
        let controls = self.control_script();
        let renamed = controls.controls.iter().find(|control| control.asked.model.as_deref() == Some(wanted));
        let from_turn = renamed.and_then(|_| controls.turns.first()?.model()).map(str::to_owned);
        from_turn.or_else(|| self.listed_model(wanted)).unwrap_or_else(|| wanted.to_owned())
    }

    /// The full name of a model that the command line names, if the version knows it or it is one already.
    pub(super) fn full_model_name(&self, wanted: &str) -> Option<String> {
        self.listed_model(wanted).or_else(|| wanted.starts_with("claude-").then(|| wanted.to_owned()))
    }

    /// The full name that the answer to `initialize` lists for a model.
    pub(super) fn listed_model(&self, wanted: &str) -> Option<String> {
        let initialize = Control::bare(String::new(), "initialize");
        let answer: Value = serde_json::from_str(&self.recorded_answer(&initialize)?.line.raw).ok()?;
        let models = answer.pointer("/response/response/models")?.as_array()?;
        let model = models.iter().find(|model| model.get("value").and_then(Value::as_str) == Some(wanted))?;
        model.get("resolvedModel")?.as_str().map(str::to_owned)
    }

    fn control_script(&self) -> &Script {
        self.controls.get_or_init(|| self.load_script("control-requests"))
    }

    /// What only the SDKs ask; nothing of another version, which may not know it.
    fn sdk_script(&self) -> &Script {
        self.of_sdks.get_or_init(|| {
            let session = recording::find_bundled(&self.version, "sdk-requests").and_then(|entry| entry.parse().ok());
            session.map(|session| Script::new(&session)).unwrap_or_default()
        })
    }

    fn interrupt_script(&self) -> &Script {
        self.interrupt.get_or_init(|| self.load_script("interrupt"))
    }

    fn load_script(&self, name: &str) -> Script {
        let session = find_recording(&self.version, name).and_then(|entry| entry.parse().ok());
        session.map(|session| Script::new(&session)).unwrap_or_default()
    }
}

/// An answer that names what was asked for names what is asked for now.
fn rename_subjects(line: &str, found: &ControlAnswer, asked: &Control) -> String {
    let keys = ["serverName", "path"].into_iter();
    let pairs = keys.filter_map(|key| Some((found.asked.text(key)?, asked.text(key)?)));
    let quoted = |text: &str| format!(": {}", Value::from(text).to_string().trim_start_matches('"'));
    pairs.fold(line.to_owned(), |line, (from, to)| line.replace(&quoted(from), &quoted(to)))
}

fn find_recording(version: &str, name: &str) -> Option<recording::BundledRecording> {
    recording::find_bundled(version, name)
        .or_else(|| recording::list_bundled().into_iter().rev().find(|entry| entry.name == name))
}
