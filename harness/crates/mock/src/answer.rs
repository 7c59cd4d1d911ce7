//! Chooses the answer to a turn: the recorded text, or one that its prompt asks for.
//!
//! A mode is one of the kinds of answer below, or any of the changes, or several joined by `+`: `schema+fenced+slow=200`.
//! The mode comes from the option `--mock-answer MODE`, or from the word `[[answer:MODE]]` in a prompt, of which the last
//! counts. The word wins over the option; a word without a kind takes the option's kind.
//!
//! | kind | the reply |
//! | --- | --- |
//! | `text` | the recorded one |
//! | `echo` | what the user said last |
//! | `schema` | an instance of the JSON Schema in the turn; without one, an object with one string |
//! | `tool`, `tool=NAME`, `tools=N` | calls of functions: the one that must be called, NAME, or N of them in their order |
//! | `use`, `use=NAME` | the CLI uses a tool, Bash where none is named: hooks are called, a permission is asked for, the reply says what the tool gave |
//! | `auto` | calls, where functions are described and none of them has just answered; else an instance, where JSON is asked for; else the recorded text |
//! | `not-json` | words |
//! | `api-error=STATUS` | an API error, as in the recorded sessions |
//! | `rate-limit`, `rate-limit=SECONDS` | a quota that is used up for so long, 60 s otherwise, then the API error 429 |
//!
//! | change | what it does |
//! | --- | --- |
//! | `fenced` | JSON in a Markdown fence |
//! | `prose` | JSON between two sentences |
//! | `wrong-once` | JSON that breaks its schema, unless the prompt holds such an answer already |
//! | `wrong-always` | the same, always |
//! | `slow=MS` | silence before the first piece |
//! | `drip=MS` | silence before each later piece |
//! | `refusal`, `max-tokens` | this stop reason |
//! | `rate-limit-warning` | a quota that is nearly used up, before the first piece |
//!
//! Silence holds at any pace; an interrupt ends the turn, the end of stdin only the silence. A kind is answered as often as
//! it is asked for: a conversation that carries the word `tool` on is answered with a call again, one with `auto` is not.
//!
//! The changes that are about JSON make `auto` the kind, where nothing names one. In a JSON answer the caller's mark
//! stands in the strings of the instance instead of around the text. `[[input:JSON]]` is the input of the tool that is used.
//! A wrong answer carries `WRONG_KEY` and
//! `WRONG_VALUE`: by these the mock knows its own in a prompt, so that any process can answer the second time.
//!
//! Pure: the clock is the caller's.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

mod find;
mod instance;

use find::Function;

/// The property by which a wrong answer is known.
const WRONG_KEY: &str = "mock_claude";
/// The value of that property.
const WRONG_VALUE: &str = "wrong on purpose";
/// How long a used-up quota stays so, unless it is told.
const DEFAULT_QUOTA_RESET: Duration = Duration::from_mins(1);

/// How turns are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mode {
    kind: Option<Kind>,
    fenced: bool,
    prose: bool,
    wrong: Option<Wrong>,
    slow: Duration,
    drip: Duration,
    stop_reason: Option<&'static str>,
    warning: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Text,
    Echo,
    Schema,
    Tools { name: Option<String>, count: usize },
    Use(String),
    Auto,
    NotJson,
    ApiError(u16),
    RateLimit(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Once,
    Always,
}

/// A mode that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no answer `{0}`; the kinds are text, echo, schema, tool, tool=NAME, tools=N, use, use=NAME, auto, not-json, \
     api-error=STATUS (400 to 599), rate-limit and rate-limit=SECONDS; with + come fenced, prose, wrong-once, \
     wrong-always, slow=MS, drip=MS, refusal, max-tokens and rate-limit-warning"
)]
pub struct UnknownMode(pub String);

/// The answer to a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its text.
    pub(crate) content: Content,
    /// The silence before its first piece.
    pub(crate) first_delay: Duration,
    /// The silence before each later piece.
    pub(crate) piece_delay: Duration,
    /// Why it ends, where that is not as recorded.
    pub(crate) stop_reason: Option<&'static str>,
    /// The reported state of the account's quota.
    pub(crate) quota: Option<Quota>,
}

/// The text of a [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// As recorded.
    Recorded,
    /// This, around which a mark can be woven.
    Text(String),
    /// This, in which the mark is already, or can't be.
    Json(String),
    /// None: the API answered with this status.
    Error(u16),
    /// A tool is used first.
    Use(Use),
}

/// The use of a tool by the CLI itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    /// The tool.
    pub(crate) tool: String,
    /// Its input, where the prompt has one.
    pub(crate) input: Option<Value>,
}

/// The state of the account's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Whether the quota is used up.
    pub(crate) rejected: bool,
    /// When it is renewed, as the time since 1970.
    pub(crate) resets_at: Duration,
}

impl Reply {
    /// Whether it is what was recorded, and nothing else.
    pub(super) fn is_recorded(&self) -> bool {
        *self == Mode::default().build_reply(Content::Recorded, Duration::ZERO)
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(spec: &str) -> Result<Self, UnknownMode> {
        let mut mode = Self::default();
        for part in spec.split('+') {
            mode.add_part(part.trim()).ok_or_else(|| UnknownMode(part.trim().to_owned()))?;
        }
        Ok(mode)
    }
}

impl Mode {
    fn add_part(&mut self, part: &str) -> Option<()> {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
        let millis = || Some(Duration::from_millis(value?.parse().ok()?));
        match (name, value) {
            ("fenced", None) => self.fenced = true,
            ("prose", None) => self.prose = true,
            ("wrong-once", None) => self.wrong = Some(Wrong::Once),
            ("wrong-always", None) => self.wrong = Some(Wrong::Always),
            ("slow", Some(_)) => self.slow = millis()?,
            ("drip", Some(_)) => self.drip = millis()?,
            ("refusal", None) => self.stop_reason = Some("refusal"),
            ("max-tokens", None) => self.stop_reason = Some("max_tokens"),
            ("rate-limit-warning", None) => self.warning = true,
            _ if self.kind.is_some() => return None,
            _ => self.kind = Some(Kind::parse(name, value)?),
        }
        Some(())
    }

    /// Answers a prompt, with this as the option's mode. A mark goes into JSON; `now` is the time since 1970.
    pub(crate) fn make_reply(&self, prompt: &str, mark: Option<&str>, now: Duration) -> Reply {
        let mode = match find_answer_tag(prompt).map(str::parse::<Self>) {
            None => self.clone(),
            Some(Ok(word)) => Self { kind: word.kind.clone().or_else(|| self.kind.clone()), ..word },
            Some(Err(error)) => {
                return Self::default().build_reply(Content::Text(format!("mock-claude: {error}")), now);
            }
        };
        let content = mode.choose_content(prompt, mark);
        mode.build_reply(content, now)
    }

    fn build_reply(&self, content: Content, now: Duration) -> Reply {
        let quota = match self.kind {
            Some(Kind::RateLimit(length)) => Some(Quota { rejected: true, resets_at: now + length }),
            _ => self.warning.then(|| Quota { rejected: false, resets_at: now + DEFAULT_QUOTA_RESET }),
        };
        Reply { content, first_delay: self.slow, piece_delay: self.drip, stop_reason: self.stop_reason, quota }
    }

    fn choose_content(&self, prompt: &str, mark: Option<&str>) -> Content {
        let is_about_json = self.fenced || self.prose || self.wrong.is_some();
        let is_wrong = match self.wrong {
            None => false,
            Some(Wrong::Always) => true,
            Some(Wrong::Once) => !(prompt.contains(WRONG_KEY) && prompt.contains(WRONG_VALUE)),
        };
        let kind = self.kind.as_ref().unwrap_or(if is_about_json { &Kind::Auto } else { &Kind::Text });
        match kind {
            Kind::Text => Content::Recorded,
            Kind::Echo => Content::Text(find::last_user_text(prompt).to_owned()),
            Kind::Schema => self.format_json(&make_instance(find::find_schema(prompt).as_ref(), mark, is_wrong)),
            Kind::Tools { name, count } => {
                let functions = choose_functions(
                    find::find_functions(prompt),
                    name.as_deref(),
                    find::required_function(prompt),
                    *count,
                );
                if functions.is_empty() {
                    return Content::Text(
                        "mock-claude: the turn describes no function that could be called".to_owned(),
                    );
                }
                self.format_json(&make_calls(&functions, mark, is_wrong))
            }
            Kind::Use(tool) => Content::Use(Use { tool: tool.clone(), input: find_input_tag(prompt) }),
            Kind::Auto => {
                let functions =
                    choose_functions(find::find_functions(prompt), None, find::required_function(prompt), 1);
                let schema = find::find_schema(prompt);
                if !functions.is_empty() && !find::ends_with_result(prompt) {
                    self.format_json(&make_calls(&functions, mark, is_wrong))
                } else if schema.is_some() || find::wants_json(prompt) {
                    self.format_json(&make_instance(schema.as_ref(), mark, is_wrong))
                } else {
                    Content::Recorded
                }
            }
            Kind::NotJson if self.wrong == Some(Wrong::Once) && !is_wrong => {
                Self { kind: Some(Kind::Auto), wrong: None, ..self.clone() }.choose_content(prompt, mark)
            }
            Kind::NotJson => Content::Text(format!("These are words ({WRONG_KEY}: {WRONG_VALUE}).")),
            Kind::ApiError(status) => Content::Error(*status),
            Kind::RateLimit(_) => Content::Error(429),
        }
    }

    fn format_json(&self, value: &Value) -> Content {
        let mut text = value.to_string();
        if self.fenced {
            text = format!("```json\n{text}\n```");
        }
        if self.prose {
            text = format!("Here is what was asked for:\n\n{text}\n\nThat is all of it.");
        }
        Content::Json(text)
    }
}

impl Kind {
    fn parse(name: &str, value: Option<&str>) -> Option<Self> {
        Some(match (name, value) {
            ("text", None) => Self::Text,
            ("echo", None) => Self::Echo,
            ("schema", None) => Self::Schema,
            ("auto", None) => Self::Auto,
            ("not-json", None) => Self::NotJson,
            ("tool", None) => Self::Tools { name: None, count: 1 },
            ("tool", Some(name)) if !name.is_empty() => Self::Tools { name: Some(name.to_owned()), count: 1 },
            ("use", None) => Self::Use("Bash".to_owned()),
            ("use", Some(tool)) if !tool.is_empty() => Self::Use(tool.to_owned()),
            ("tools", Some(count)) => {
                Self::Tools { name: None, count: count.parse().ok().filter(|count| (1..=100).contains(count))? }
            }
            ("api-error", Some(status)) => {
                Self::ApiError(status.parse().ok().filter(|status| (400..600).contains(status))?)
            }
            ("rate-limit", None) => Self::RateLimit(DEFAULT_QUOTA_RESET),
            ("rate-limit", Some(seconds)) => Self::RateLimit(Duration::from_secs(seconds.parse::<u32>().ok()?.into())),
            _ => return None,
        })
    }
}

/// The last `[[answer:MODE]]` in a prompt.
fn find_answer_tag(prompt: &str) -> Option<&str> {
    let (_, rest) = prompt.rsplit_once("[[answer:")?;
    rest.split_once("]]").map(|(mode, _)| mode)
}

/// The last `[[input:JSON]]` in a prompt.
fn find_input_tag(prompt: &str) -> Option<Value> {
    let (_, rest) = prompt.rsplit_once("[[input:")?;
    serde_json::from_str(rest.split_once("]]")?.0).ok()
}

/// An instance of a schema, with the mark in its strings.
pub(super) fn instance_of(schema: &Value, mark: Option<&str>) -> Value {
    make_instance(Some(schema), mark, false)
}

/// The functions to call: `name`, whether it is described or not, or the one that must be called, or the first ones.
fn choose_functions(described: Vec<Function>, name: Option<&str>, must: Option<&str>, count: usize) -> Vec<Function> {
    if let Some(wanted) = name.or(must) {
        let found = described.into_iter().find(|function| function.name == wanted);
        let nobodys = || Function { name: wanted.to_owned(), parameters: json!({"type": "object"}) };
        return vec![found.unwrap_or_else(nobodys)];
    }
    if described.is_empty() { described } else { described.into_iter().cycle().take(count).collect() }
}

fn make_calls(functions: &[Function], mark: Option<&str>, is_wrong: bool) -> Value {
    let call = |function: &Function| {
        let arguments = make_instance(Some(&function.parameters), mark, is_wrong);
        json!({"name": function.name, "arguments": arguments})
    };
    json!({"tool_calls": functions.iter().map(call).collect::<Vec<_>>()})
}

/// Without a schema any object will do, and only what is none is wrong.
fn make_instance(schema: Option<&Value>, mark: Option<&str>, is_wrong: bool) -> Value {
    let any_object = json!({"type": "object"});
    let telling = json!({"type": "object", "properties": {"answer": {"type": "string"}}});
    let right = instance::make_instance(schema.unwrap_or(&telling), mark).unwrap_or_else(|| json!({}));
    if is_wrong { break_instance(schema.unwrap_or(&any_object), &right) } else { right }
}

/// JSON that breaks the schema, and by which it can be told that the mock made it.
fn break_instance(schema: &Value, right: &Value) -> Value {
    let bare = json!({WRONG_KEY: WRONG_VALUE});
    let Ok(validator) = jsonschema::validator_for(schema) else { return bare };
    // With properties of other types than they have to be, where nothing forbids that there are none.
    let others = [json!(0.5), json!("no"), Value::Null, json!([{}])];
    let broken = right.as_object().into_iter().flat_map(|right| {
        let with = |other: &Value| {
            let all = right.keys().map(|name| (name.clone(), other.clone()));
            Value::Object(all.chain([(WRONG_KEY.to_owned(), Value::from(WRONG_VALUE))]).collect())
        };
        others.iter().map(with).collect::<Vec<_>>()
    });
    let list = json!([WRONG_KEY, WRONG_VALUE]);
    let mut candidates = std::iter::once(bare.clone()).chain(broken).chain([list]);
    candidates.find(|candidate| !validator.is_valid(candidate)).unwrap_or(bare)
}

#[cfg(test)]
mod tests;
