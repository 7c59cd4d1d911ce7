//! Writes a [`ChatRequest`] as the text of a turn.
//!
//! A lone user message is passed on as it is. Everything else becomes sections in order, each in tags of its own:
//!
//! ```text
//! <system> … </system>   <user> … </user>   <assistant> … </assistant>   <tool_result id="call_1"> … </tool_result>
//! <tools> … <tool name="get_weather"> … <parameters> SCHEMA </parameters> </tool> … </tools>
//! <response_format> … <schema> SCHEMA </schema> </response_format>
//! ```
//!
//! Where a message holds one of these tags itself, all of the turn's tags get a number that no message has, such as
//! `<user-2>`: no message can imitate another section. The number depends on the messages alone, so that the same
//! conversation is the same text, which the API's prompt cache wants.
//!
//! A schema is written as a document of its own, never inside another object: its `$ref`s point from its own root.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

use super::{Call, ChatRequest, Choice, Entry, ReplyFormat, Speaker, Tool};

/// An invalid reply, for the prompt of the retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    /// The reply.
    pub(super) reply: String,
    /// Its validation errors, one per line.
    pub(super) errors: String,
}

const TAGS: [&str; 11] = [
    "system",
    "user",
    "assistant",
    "tool_call",
    "tool_result",
    "tool",
    "tools",
    "response_format",
    "schema",
    "parameters",
    "correction",
];

/// The text of a turn, or of the retry after a rejected reply.
pub(super) fn compose_prompt(request: &ChatRequest, rejected: Option<&Rejected>) -> String {
    if let ([only], ReplyFormat::Text, None) = (request.conversation.as_slice(), &request.reply_format, rejected)
        && let Entry { speaker: Speaker::User, name: None, text, .. } = only
        && !is_command(text)
    {
        return text.clone();
    }
    let mut page = Page { text: String::new(), number: tag_number(request, rejected) };
    for entry in &request.conversation {
        page.write_entry(entry);
    }
    if let ReplyFormat::Tools { tools, choice, parallel, .. } = &request.reply_format {
        page.write_tools(tools, choice, *parallel);
    }
    // A reply that must be a call has no text to format.
    if let Some(format) = request.reply_format.format()
        && matches!(request.reply_format, ReplyFormat::Json(_) | ReplyFormat::Tools { choice: Choice::Auto, .. })
    {
        page.write_response_format(format.schema.as_ref(), matches!(request.reply_format, ReplyFormat::Tools { .. }));
    }
    if let Some(Rejected { reply, errors }) = rejected {
        page.write_entry(&Entry::new(Speaker::Assistant, reply.as_str()));
        page.write_section("correction", "", |text| {
            let _ = write!(
                text,
                "This reply was not accepted:
{errors}\nGive it again, whole and corrected."
            );
        });
    }
    page.text
}

/// The CLI takes a user message that begins with a slash for a command of its own: `/clear` would answer nothing and
/// reset the conversation. In a section it is text like any other.
fn is_command(text: &str) -> bool {
    text.trim_start().starts_with('/')
}

/// A number for this turn's tags that no tag in its texts has; 1 is not written.
fn tag_number(request: &ChatRequest, rejected: Option<&Rejected>) -> usize {
    let entries = request.conversation.iter().flat_map(|entry| {
        let calls = entry.calls.iter().flat_map(|call| [call.name.as_str(), call.arguments.as_str()]);
        [entry.text.as_str()].into_iter().chain(calls)
    });
    let tools: &[Tool] = if let ReplyFormat::Tools { tools, .. } = &request.reply_format { tools } else { &[] };
    let schemas = tools.iter().filter_map(|tool| tool.parameters.as_ref());
    let schemas = schemas.chain(request.reply_format.format().and_then(|format| format.schema.as_ref()));
    let described = tools.iter().flat_map(|tool| [Some(tool.name.as_str()), tool.description.as_deref()]).flatten();
    let rejected = rejected.iter().flat_map(|rejected| [rejected.reply.as_str(), rejected.errors.as_str()]);
    let mut used: BTreeSet<usize> = entries.chain(described).chain(rejected).flat_map(tag_numbers).collect();
    for schema in schemas {
        used.extend(tag_numbers(&schema.to_string()));
    }
    (1..=used.len()).find(|number| !used.contains(number)).unwrap_or(used.len() + 1)
}

/// Numbers of the tags in a text; a tag without one counts as 1.
fn tag_numbers(text: &str) -> impl Iterator<Item = usize> {
    text.match_indices('<').flat_map(|(at, _)| {
        let rest = text[at + 1..].trim_start_matches(['/', ' ', '\t', '\n', '\r']);
        TAGS.iter().filter_map(|tag| {
            let rest =
                rest.get(..tag.len()).filter(|head| head.eq_ignore_ascii_case(tag)).map(|_| &rest[tag.len()..])?;
            let Some(number) = rest.strip_prefix('-') else { return Some(1) };
            let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            Some(number[..digits].parse().unwrap_or(1))
        })
    })
}

struct Page {
    text: String,
    number: usize,
}

impl Page {
    fn tag_name(&self, name: &str) -> String {
        if self.number == 1 { name.to_owned() } else { format!("{name}-{}", self.number) }
    }

    fn write_section(&mut self, name: &str, attributes: &str, write: impl FnOnce(&mut String)) {
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        let tag = self.tag_name(name);
        let _ = writeln!(self.text, "<{tag}{attributes}>");
        write(&mut self.text);
        let _ = write!(self.text, "\n</{tag}>");
    }

    fn write_entry(&mut self, entry: &Entry) {
        let name = entry.name.as_deref().map(|name| format_attribute("name", name)).unwrap_or_default();
        match &entry.speaker {
            Speaker::System => self.write_section("system", &name, |text| text.push_str(&entry.text)),
            Speaker::User => self.write_section("user", &name, |text| text.push_str(&entry.text)),
            Speaker::Assistant => {
                let call_tag = self.tag_name("tool_call");
                self.write_section("assistant", &name, |text| {
                    text.push_str(&entry.text);
                    for Call { id, name, arguments } in &entry.calls {
                        let between = if text.ends_with('\n') { "" } else { "\n" };
                        let attributes = format_attribute("id", id) + &format_attribute("name", name);
                        let _ = write!(text, "{between}<{call_tag}{attributes}>{arguments}</{call_tag}>");
                    }
                });
            }
            Speaker::Tool { call } => {
                self.write_section("tool_result", &format_attribute("id", call), |text| text.push_str(&entry.text));
            }
        }
    }

    fn write_response_format(&mut self, schema: Option<&Value>, or_calls: bool) {
        let tag = self.tag_name("schema");
        let reply = if or_calls { "If you have no function called, reply" } else { "Reply" };
        self.write_section("response_format", "", |text| {
            let _ = match schema {
                None => write!(text, "{reply} with one JSON object and nothing else: no words around it, no Markdown."),
                Some(schema) => write!(
                    text,
                    "{reply} with JSON and nothing else: no words around it, no Markdown. It has to be valid against this \
                     JSON Schema; fill it in, don't repeat it:\n<{tag}>\n{schema}\n</{tag}>"
                ),
            };
        });
    }

    fn write_tools(&mut self, tools: &[Tool], choice: &Choice, parallel: bool) {
        let (tag, parameters_tag) = (self.tag_name("tool"), self.tag_name("parameters"));
        self.write_section("tools", "", |text| {
            text.push_str("You can have these functions called. Their arguments are valid against a JSON Schema each.\n");
            for Tool { name, description, parameters, .. } in tools {
                let none = json!({"type": "object", "properties": {}});
                let schema = parameters.as_ref().unwrap_or(&none);
                let description = description.as_deref().map(|words| format!("{words}\n")).unwrap_or_default();
                let name = format_attribute("name", name);
                let _ =
                    writeln!(text, "<{tag}{name}>\n{description}<{parameters_tag}>\n{schema}\n</{parameters_tag}>\n</{tag}>");
            }
            let must = match choice {
                Choice::Auto => {
                    "If the conversation needs none of them, or its results are there already, reply in plain words. To \
                     have functions called, reply"
                        .to_owned()
                }
                Choice::Required => "You must call at least one of them. Reply".to_owned(),
                Choice::Named(name) => format!("You must call {name:?}. Reply"),
            };
            let _ = writeln!(text, "{must} with JSON of this form and nothing else, no words around it, no Markdown:");
            text.push_str(r#"{"tool_calls": [{"name": "the function's name", "arguments": {"the": "arguments"}}]}"#);
            text.push_str(if parallel {
                "\nSeveral independent calls go into the same list."
            } else {
                "\nThe list has exactly one call."
            });
        });
    }
}

fn format_attribute(name: &str, value: &str) -> String {
    let value = value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('\n', " ");
    format!(" {name}=\"{value}\"")
}
