//! A reply as events, in OpenAI's order: the reply begins, its message, its calls, the reply ends.

use super::{Reply, status_of};
use crate::answer::{Answer, Finish};
use crate::openai::ErrorObject;
use crate::openai::responses::{
    CallNews, Event, EventBody, MessageNews, OutputItem, OutputPart, Response, ResponseError, Status,
};

/// A reply as a stream of events, numbered in the order in which they are created.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    reply: Reply,
    next_number: u64,
    /// Bytes of the message's text that were sent; none before the message has begun.
    sent_bytes: Option<usize>,
}

impl Events {
    /// The events of a reply that has not begun.
    #[must_use]
    pub fn new(reply: Reply) -> Self {
        Self { reply, next_number: 0, sent_bytes: None }
    }

    /// The first events.
    pub fn start_events(&mut self) -> Vec<Event<'_>> {
        let mut batch = self.begin_batch();
        for kind in ["response.created", "response.in_progress"] {
            batch.push_response(kind, batch.reply.unfinished_response(Status::InProgress, Vec::new()));
        }
        batch.events
    }

    /// The events for the next piece of text.
    pub fn text_events<'a>(&'a mut self, text: &'a str) -> Vec<Event<'a>> {
        let mut batch = self.begin_batch();
        if !text.is_empty() {
            batch.begin_message();
            batch.push_text(text);
        }
        batch.events
    }

    /// The last events: the text not sent yet, the calls, and the complete reply; `completed_at` is now, in unix seconds.
    pub fn end_events<'a>(&'a mut self, answer: &'a Answer, completed_at: u64) -> Vec<Event<'a>> {
        let mut batch = self.begin_batch();
        if batch.sent_bytes.is_some() || !answer.text.is_empty() || answer.calls.is_empty() {
            batch.begin_message();
            let rest = answer.text.get(batch.sent_bytes.unwrap_or_default()..).unwrap_or_default();
            if !rest.is_empty() {
                batch.push_text(rest);
            }
            batch.end_message(answer);
        }
        let first = usize::from(batch.sent_bytes.is_some());
        for index in 0..answer.calls.len() {
            batch.push_call(answer, index, first + index);
        }
        let kind = match answer.finish {
            Finish::Stop | Finish::Calls => "response.completed",
            Finish::Length | Finish::ContentFilter => "response.incomplete",
        };
        batch.push_response(kind, batch.reply.to_response(answer, completed_at));
        batch.events
    }

    /// The last ones of a reply that fails. OpenAI's clients raise an error at the first one; those that pass it over
    /// know the second.
    pub fn error_events<'a>(&'a mut self, error: &'a ErrorObject) -> Vec<Event<'a>> {
        let ErrorObject { message, param, code, .. } = error;
        let mut batch = self.begin_batch();
        batch.push("error", EventBody::Error { code: *code, message, param: param.as_deref(), error });
        let reason = ResponseError { code: code_of(error), message };
        let failed = Response { error: Some(reason), ..batch.reply.unfinished_response(Status::Failed, Vec::new()) };
        batch.push_response("response.failed", failed);
        batch.events
    }

    fn begin_batch(&mut self) -> Batch<'_> {
        let Self { reply, next_number, sent_bytes } = self;
        Batch { reply, next_number, sent_bytes, events: Vec::new() }
    }
}

/// OpenAI's code for a failed reply; its clients know few of them.
fn code_of(error: &ErrorObject) -> &'static str {
    if error.kind == "rate_limit_error" { "rate_limit_exceeded" } else { "server_error" }
}

/// Events that are sent together.
struct Batch<'a> {
    reply: &'a Reply,
    next_number: &'a mut u64,
    sent_bytes: &'a mut Option<usize>,
    events: Vec<Event<'a>>,
}

impl<'a> Batch<'a> {
    fn push(&mut self, kind: &'static str, body: EventBody<'a>) {
        self.events.push(Event { kind, sequence_number: *self.next_number, body });
        *self.next_number += 1;
    }

    fn push_response(&mut self, kind: &'static str, response: Response<'a>) {
        self.push(kind, EventBody::Response { response: Box::new(response) });
    }

    fn push_item(&mut self, kind: &'static str, output_index: usize, item: OutputItem<'a>) {
        self.push(kind, EventBody::Item { output_index, item });
    }

    /// The message is the first item, and has one part.
    fn push_message(&mut self, kind: &'static str, news: MessageNews<'a>) {
        let item_id = &self.reply.message_id;
        self.push(kind, EventBody::Message { item_id, output_index: 0, content_index: 0, news });
    }

    fn begin_message(&mut self) {
        if self.sent_bytes.is_none() {
            *self.sent_bytes = Some(0);
            self.push_item("response.output_item.added", 0, self.reply.message_item(Status::InProgress, Vec::new()));
            self.push_message("response.content_part.added", MessageNews::Part { part: OutputPart::text("") });
        }
    }

    fn push_text(&mut self, text: &'a str) {
        *self.sent_bytes.get_or_insert_default() += text.len();
        self.push_message("response.output_text.delta", MessageNews::Delta { delta: text, logprobs: [] });
    }

    fn end_message(&mut self, answer: &'a Answer) {
        let part = OutputPart::text(&answer.text);
        self.push_message("response.output_text.done", MessageNews::Text { text: &answer.text, logprobs: [] });
        self.push_message("response.content_part.done", MessageNews::Part { part });
        self.push_item("response.output_item.done", 0, self.reply.message_item(status_of(answer.finish), vec![part]));
    }

    /// `index` is the call's position among the calls, `place` its position in the output.
    fn push_call(&mut self, answer: &'a Answer, index: usize, place: usize) {
        let (name, arguments) = (&answer.calls[index].name, &answer.calls[index].arguments);
        let reply = self.reply;
        let news = |news| EventBody::Call { item_id: reply.call_id(index), output_index: place, news };
        self.push_item("response.output_item.added", place, reply.call_item(answer, index, Status::InProgress));
        self.push("response.function_call_arguments.delta", news(CallNews::Delta { delta: arguments }));
        self.push("response.function_call_arguments.done", news(CallNews::Arguments { name, arguments }));
        self.push_item("response.output_item.done", place, reply.call_item(answer, index, Status::Completed));
    }
}
