//! From a [`ChatRequest`] to its [`Answer`]: the prompt of each turn, the text that may be streamed, and the retry. Pure: the
//! caller runs the turns and feeds their events in.

use super::prompt::{self, Rejected};
use super::stream_filter::StreamFilter;
use super::validator::{Checked, ReplyValidator};
use super::{Answer, Call, ChatRequest, Choice, Finish, Invalid, ReplyFormat};
use crate::turn::{Completion, Prompt, Usage};

/// The state of one request between its turns.
#[derive(Debug)]
pub struct Exchange {
    request: ChatRequest,
    validator: ReplyValidator,
    /// Request id; part of the ids of its calls.
    id: String,
    /// The model, as the CLI knows it.
    model: Option<String>,
    stream_filter: StreamFilter,
    rejected: Option<Rejected>,
    usage: Usage,
}

/// The step after a turn has ended.
#[derive(Debug)]
pub enum NextStep {
    /// The answer, and the end of its text that was not streamed yet.
    Done(String, Answer),
    /// Run another turn with this prompt.
    Retry(Prompt),
    /// The reply was invalid, also on the retry; the last validation errors.
    Failed(String),
}

impl Exchange {
    /// `model` is the one to be asked, as the CLI knows it; `id` is the request's, no other's. The error names a schema
    /// that is none.
    pub fn new(request: ChatRequest, model: Option<String>, id: String) -> Result<Self, Invalid> {
        let validator = ReplyValidator::new(&request)?;
        let stream_filter = StreamFilter::new(&request.stop, matches!(request.reply_format, ReplyFormat::Tools { .. }));
        Ok(Self { request, validator, id, model, stream_filter, rejected: None, usage: Usage::default() })
    }

    /// The prompt of the next turn.
    #[must_use]
    pub fn next_prompt(&self) -> Prompt {
        // `StreamFilter` withholds calls only. Any other reply that has to be validated is sent when it is complete.
        let checked_first = match &self.request.reply_format {
            ReplyFormat::Text | ReplyFormat::Tools { choice: Choice::Auto, format: None, .. } => {
                self.rejected.is_some()
            }
            ReplyFormat::Json(_) | ReplyFormat::Tools { .. } => true,
        };
        Prompt {
            text: prompt::compose_prompt(&self.request, self.rejected.as_ref()),
            model: self.model.clone(),
            streamed: self.request.streamed && !checked_first,
        }
    }

    /// Takes a piece of a streamed turn's text, and returns the text that may be sent now.
    pub fn filter_text(&mut self, text: &str) -> String {
        self.stream_filter.push(text)
    }

    /// Handles the end of a successful turn.
    pub fn turn_done(&mut self, completion: Completion) -> NextStep {
        self.usage = self.usage.plus(completion.usage);
        let cut_short = finish_of(completion.stop_reason.as_deref());
        let text = match self.request.reply_format {
            ReplyFormat::Json(_) => completion.text.as_str(),
            ReplyFormat::Text | ReplyFormat::Tools { .. } => self.stream_filter.cut_at_stop(&completion.text),
        };
        let (finding, text) = (self.validator.check_reply(text), text.to_owned());
        let whole = completion.text.len();
        // A reply that was cut at a stop sequence is complete, even if a token limit ended it later.
        let finish = |text: &str| cut_short.filter(|_| text.len() == whole).unwrap_or(Finish::Stop);
        match finding {
            Checked::Text(reply_text)
                if matches!(self.request.reply_format, ReplyFormat::Tools { format: None, .. }) =>
            {
                let reply_text = self.stream_filter.cut_words(&reply_text).to_owned();
                let finish = finish(&reply_text);
                self.finish(reply_text, Vec::new(), finish, completion.model, None)
            }
            Checked::Text(reply_text) => self.finish(reply_text, Vec::new(), finish(&text), completion.model, None),
            Checked::Calls { words: reply_text, calls } => {
                let call = |(n, (name, arguments))| Call { id: format!("call_{}{n}", self.id), name, arguments };
                let calls = calls.into_iter().enumerate().map(call).collect();
                self.finish(reply_text, calls, Finish::Calls, completion.model, None)
            }
            // A token limit or a refusal would end the retry in the same way, and `finish` tells the client.
            Checked::Mismatch(_) | Checked::InvalidCalls(_) if cut_short.is_some() => {
                let finish = finish(&text);
                self.finish(text, Vec::new(), finish, completion.model, None)
            }
            Checked::Mismatch(errors) | Checked::InvalidCalls(errors) if self.rejected.is_none() => {
                self.rejected = Some(Rejected { reply: completion.text, errors });
                NextStep::Retry(self.next_prompt())
            }
            Checked::Mismatch(errors) if self.request.reply_format.format().is_some_and(|format| format.lenient) => {
                self.finish(completion.text, Vec::new(), Finish::Stop, completion.model, Some(errors))
            }
            Checked::Mismatch(errors) | Checked::InvalidCalls(errors) => NextStep::Failed(errors),
        }
    }

    fn finish(
        &self,
        text: String,
        calls: Vec<Call>,
        finish: Finish,
        model: Option<String>,
        schema_error: Option<String>,
    ) -> NextStep {
        let passed = self.stream_filter.passed_text();
        let (tail, text) = match text.strip_prefix(passed) {
            Some(tail) => (tail.to_owned(), text),
            // Text of the first turn was streamed already and can't be taken back: the retry's text follows it.
            None if calls.is_empty() => (format!("\n\n{text}"), format!("{passed}\n\n{text}")),
            None => (String::new(), passed.to_owned()),
        };
        NextStep::Done(tail, Answer { text, calls, finish, usage: self.usage, model, schema_error })
    }
}

/// Why a reply ended early; none for a complete reply.
fn finish_of(stop_reason: Option<&str>) -> Option<Finish> {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => Some(Finish::Length),
        Some("refusal") => Some(Finish::ContentFilter),
        _ => None,
    }
}
