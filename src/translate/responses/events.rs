//! A reply as events, in OpenAI's order: the reply begins, its message, its calls, the reply ends.

use super::{Reply, ended};
use crate::answer::{Answer, Finish};
use crate::openai::ErrorObject;
use crate::openai::responses::{
    CallNews, Event, EventBody, MessageNews, OutputItem, OutputPart, Response, ResponseError, Status,
};

/// One reply on its way, as events. They are numbered in the order in which they are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    reply: Reply,
    next_number: u64,
    /// How many bytes of the message's text are out; none before it begins.
    told: Option<usize>,
}

impl Events {
    /// Of a reply that has not begun.
    #[must_use]
    pub fn new(reply: Reply) -> Self {
        Self { reply, next_number: 0, told: None }
    }

    /// The first ones.
    pub fn opening(&mut self) -> Vec<Event<'_>> {
        let mut batch = self.batch();
        for kind in ["response.created", "response.in_progress"] {
            batch.whole(kind, batch.reply.response(Status::InProgress, Vec::new()));
        }
        batch.events
    }

    /// The next words.
    pub fn piece<'a>(&'a mut self, text: &'a str) -> Vec<Event<'a>> {
        let mut batch = self.batch();
        if !text.is_empty() {
            batch.begin_message();
            batch.words(text);
        }
        batch.events
    }

    /// The last ones: what was not told yet, and the whole; `completed_at` is now, in unix seconds.
    pub fn done<'a>(&'a mut self, answer: &'a Answer, completed_at: u64) -> Vec<Event<'a>> {
        let mut batch = self.batch();
        if batch.told.is_some() || !answer.text.is_empty() || answer.calls.is_empty() {
            batch.begin_message();
            let rest = answer.text.get(batch.told.unwrap_or_default()..).unwrap_or_default();
            if !rest.is_empty() {
                batch.words(rest);
            }
            batch.end_message(answer);
        }
        let first = usize::from(batch.told.is_some());
        for index in 0..answer.calls.len() {
            batch.call(answer, index, first + index);
        }
        let kind = match answer.finish {
            Finish::Stop | Finish::Calls => "response.completed",
            Finish::Length | Finish::ContentFilter => "response.incomplete",
        };
        batch.whole(kind, batch.reply.whole(answer, completed_at));
        batch.events
    }

    /// The last ones of a reply that fails. OpenAI's clients raise an error at the first one; those that pass it over
    /// know the second.
    pub fn failed<'a>(&'a mut self, error: &'a ErrorObject) -> Vec<Event<'a>> {
        let ErrorObject { message, param, code, .. } = error;
        let mut batch = self.batch();
        batch.push("error", EventBody::Error { code: *code, message, param: param.as_deref(), error });
        let reason = ResponseError { code: code_of(error), message };
        let failed = Response { error: Some(reason), ..batch.reply.response(Status::Failed, Vec::new()) };
        batch.whole("response.failed", failed);
        batch.events
    }

    fn batch(&mut self) -> Batch<'_> {
        let Self { reply, next_number, told } = self;
        Batch { reply, next_number, told, events: Vec::new() }
    }
}

/// OpenAI's word for why a reply failed; its clients know few.
fn code_of(error: &ErrorObject) -> &'static str {
    if error.kind == "rate_limit_error" { "rate_limit_exceeded" } else { "server_error" }
}

/// Events that go out together.
struct Batch<'a> {
    reply: &'a Reply,
    next_number: &'a mut u64,
    told: &'a mut Option<usize>,
    events: Vec<Event<'a>>,
}

impl<'a> Batch<'a> {
    fn push(&mut self, kind: &'static str, body: EventBody<'a>) {
        self.events.push(Event { kind, sequence_number: *self.next_number, body });
        *self.next_number += 1;
    }

    fn whole(&mut self, kind: &'static str, response: Response<'a>) {
        self.push(kind, EventBody::Response { response: Box::new(response) });
    }

    fn item(&mut self, kind: &'static str, output_index: usize, item: OutputItem<'a>) {
        self.push(kind, EventBody::Item { output_index, item });
    }

    /// The message is the first item, and has one part.
    fn message(&mut self, kind: &'static str, news: MessageNews<'a>) {
        let item_id = &self.reply.message_id;
        self.push(kind, EventBody::Message { item_id, output_index: 0, content_index: 0, news });
    }

    fn begin_message(&mut self) {
        if self.told.is_none() {
            *self.told = Some(0);
            self.item("response.output_item.added", 0, self.reply.message(Status::InProgress, Vec::new()));
            self.message("response.content_part.added", MessageNews::Part { part: OutputPart::text("") });
        }
    }

    fn words(&mut self, text: &'a str) {
        *self.told.get_or_insert_default() += text.len();
        self.message("response.output_text.delta", MessageNews::Delta { delta: text, logprobs: [] });
    }

    fn end_message(&mut self, answer: &'a Answer) {
        let part = OutputPart::text(&answer.text);
        self.message("response.output_text.done", MessageNews::Text { text: &answer.text, logprobs: [] });
        self.message("response.content_part.done", MessageNews::Part { part });
        self.item("response.output_item.done", 0, self.reply.message(ended(answer.finish), vec![part]));
    }

    /// `index` is the call's place among the calls, `place` in the output.
    fn call(&mut self, answer: &'a Answer, index: usize, place: usize) {
        let (name, arguments) = (&answer.calls[index].name, &answer.calls[index].arguments);
        let reply = self.reply;
        let news = |news| EventBody::Call { item_id: reply.call_id(index), output_index: place, news };
        self.item("response.output_item.added", place, reply.call(answer, index, Status::InProgress));
        self.push("response.function_call_arguments.delta", news(CallNews::Delta { delta: arguments }));
        self.push("response.function_call_arguments.done", news(CallNews::Arguments { name, arguments }));
        self.item("response.output_item.done", place, reply.call(answer, index, Status::Completed));
    }
}
