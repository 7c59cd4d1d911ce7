//! The input's items as a conversation.

use std::collections::HashMap;

use serde_json::Value;

use super::super::content::content_text;
use crate::answer::{Call, Entry, Invalid, Speaker};
use crate::openai::reading;
use crate::openai::responses::{FunctionCallItem, FunctionCallOutputItem, MessageItem};

/// The types of part that hold text. OpenAI names them by their direction; clients mix them.
const TEXT_KINDS: [&str; 3] = ["input_text", "output_text", "text"];

/// The instructions, followed by the input, as a conversation.
pub(super) fn read_conversation(instructions: Option<String>, input: Value) -> Result<Vec<Entry>, Invalid> {
    let mut conversation = Vec::new();
    let mut called = Called::new();
    if let Some(instructions) = instructions.filter(|text| !text.trim().is_empty()) {
        conversation.push(Entry::new(Speaker::System, instructions));
    }
    let before = conversation.len();
    match input {
        Value::String(text) => conversation.push(Entry::new(Speaker::User, text)),
        Value::Array(items) => {
            for (index, item) in items.into_iter().enumerate() {
                add_item(&mut conversation, &mut called, &format!("input[{index}]"), item)?;
            }
        }
        Value::Null => {
            return Err(Invalid::missing("input", "`input` is missing: send a string or an array of items"));
        }
        _ => return Err(Invalid::of_type("input", "`input` must be a string or an array of items")),
    }
    if conversation[before..].iter().all(|entry| entry.text.trim().is_empty() && entry.calls.is_empty()) {
        return Err(Invalid::new("input", "the input contains no text"));
    }
    let left = called.into_iter().filter(|(_, call)| !call.answered);
    if let Some((id, Given { place, .. })) = left.min_by_key(|(_, call)| call.number) {
        let message = format!("no `function_call_output` answers the call {id:?}: send one for each call");
        return Err(Invalid::new(format!("{place}.call_id"), message));
    }
    Ok(conversation)
}

/// All calls so far, by id.
type Called = HashMap<String, Given>;

/// A call of the input, and whether its output was seen.
struct Given {
    place: String,
    number: usize,
    answered: bool,
}

fn add_item(conversation: &mut Vec<Entry>, called: &mut Called, place: &str, item: Value) -> Result<(), Invalid> {
    if !item.is_object() {
        return Err(Invalid::of_type(
            place,
            format!("`{place}` must be an object with a `type`, or with a `role` and a `content`"),
        ));
    }
    let kind = match (item.get("type"), item.get("role"), item.get("id")) {
        (Some(Value::String(kind)), ..) => kind.clone(),
        (None | Some(Value::Null), Some(_), _) => "message".to_owned(),
        (None | Some(Value::Null), None, Some(_)) => "item_reference".to_owned(),
        _ => return Err(Invalid::new(place, "an item must have a `type`, or a `role` and a `content`")),
    };
    match kind.as_str() {
        "message" => conversation.push(read_message(place, reading::read_part(place, item)?)?),
        "function_call" => {
            let item: FunctionCallItem = reading::read_part(place, item)?;
            let given = Given { place: place.to_owned(), number: called.len(), answered: false };
            if called.insert(item.call_id.clone(), given).is_some() {
                let message = format!("two calls have the `call_id` {:?}", item.call_id);
                return Err(Invalid::new(format!("{place}.call_id"), message));
            }
            add_call(conversation, item);
        }
        "function_call_output" => {
            let entry = read_output(called, place, reading::read_part(place, item)?)?;
            conversation.push(entry);
        }
        // What a model thought is for itself alone, and this one never saw it.
        "reasoning" => {}
        "item_reference" => {
            let message = "this server does not store items: send the item itself (clients do so with `store: false`)";
            return Err(Invalid::new(place, message));
        }
        _ => {
            let message =
                format!("items of type {kind:?} are not supported: send messages, function calls and their outputs");
            return Err(Invalid::new(format!("{place}.type"), message));
        }
    }
    Ok(())
}

fn read_message(place: &str, MessageItem { role, content }: MessageItem) -> Result<Entry, Invalid> {
    let speaker = match role.as_str() {
        "system" | "developer" => Speaker::System,
        "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        _ => {
            let message = format!("unknown role {role:?}: use `user`, `assistant`, `system` or `developer`");
            return Err(Invalid::new(format!("{place}.role"), message));
        }
    };
    Ok(Entry::new(speaker, content_text(&format!("{place}.content"), content, &TEXT_KINDS)?))
}

/// Adds a call to the assistant's message before it, because the calls of one reply are separate items.
fn add_call(conversation: &mut Vec<Entry>, FunctionCallItem { call_id, name, arguments }: FunctionCallItem) {
    let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
    let call = Call { id: call_id, name, arguments };
    match conversation.last_mut() {
        Some(Entry { speaker: Speaker::Assistant, calls, .. }) => calls.push(call),
        _ => conversation.push(Entry { calls: vec![call], ..Entry::new(Speaker::Assistant, "") }),
    }
}

fn read_output(
    called: &mut Called,
    place: &str,
    FunctionCallOutputItem { call_id, output }: FunctionCallOutputItem,
) -> Result<Entry, Invalid> {
    let Some(call) = called.get_mut(&call_id) else {
        let message = format!(
            "no `function_call` before it has the `call_id` {call_id:?}; this server stores nothing, so send the whole \
             conversation"
        );
        return Err(Invalid::new(format!("{place}.call_id"), message));
    };
    call.answered = true;
    Ok(Entry::new(Speaker::Tool { call: call_id }, content_text(&format!("{place}.output"), output, &TEXT_KINDS)?))
}
