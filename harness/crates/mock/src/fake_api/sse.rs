//! An answer on the wire: server-sent events, or one JSON body, or an error of the API's shape.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::{End, Piece};

/// Long enough for what was said before a cut to be on its way.
const SENT: Duration = Duration::from_millis(50);
/// Longer than any client waits.
const FOREVER: Duration = Duration::from_hours(24);

/// The API's name for a status and its words.
#[must_use]
pub fn describe_error(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("authentication_error", "invalid x-api-key"),
        403 => ("permission_error", "Permission denied"),
        404 => ("not_found_error", "Not found"),
        413 => ("request_too_large", "Request too large"),
        429 => ("rate_limit_error", "Number of requests has exceeded your rate limit"),
        529 => ("overloaded_error", "Overloaded"),
        400..500 => ("invalid_request_error", "Invalid request"),
        _ => ("api_error", "Internal server error"),
    }
}

/// An error. What a client should try again says when.
pub(super) fn error_response(status: u16, words: &str, retry_after: u64) -> Response {
    let body = json!({"type": "error", "error": {"type": describe_error(status).0, "message": words}});
    let mut response = json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &body);
    if status == 429 || status >= 500 {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
    }
    response
}

/// A JSON body.
pub(super) fn json_response(status: StatusCode, body: &Value) -> Response {
    build_response(status, "application/json", Body::from(body.to_string()))
}

/// Each event at its time.
pub(super) fn stream_response(pieces: Vec<Piece>, end: End) -> Response {
    let body = stream::unfold((pieces.into_iter(), end, false), |(mut pieces, end, is_over)| async move {
        if is_over {
            return None;
        }
        if let Some(Piece { wait, event }) = pieces.next() {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let kind = event["type"].as_str().unwrap_or_default();
            return Some((Ok(Bytes::from(format!("event: {kind}\ndata: {event}\n\n"))), (pieces, end, false)));
        }
        match end {
            End::Complete => None,
            // An error in a body ends its connection without the last chunk, and with whatever was not sent before.
            End::Cut => {
                sleep(SENT).await;
                Some((Err("cut on purpose"), (pieces, end, true)))
            }
            End::Hang => {
                sleep(FOREVER).await;
                None
            }
        }
    });
    build_response(StatusCode::OK, "text/event-stream; charset=utf-8", Body::from_stream(body))
}

/// The message that the events make, once all of them have had their time.
pub(super) async fn whole_response(pieces: Vec<Piece>, end: End) -> Response {
    let mut message = Value::Null;
    for Piece { wait, event } in pieces {
        if !wait.is_zero() {
            sleep(wait).await;
        }
        if event["type"] == "error" {
            return json_response(StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), &event);
        }
        add_event(&mut message, &event);
    }
    match end {
        End::Complete => json_response(StatusCode::OK, &message),
        End::Cut => {
            let nothing = stream::iter([Err::<Bytes, _>("cut on purpose")]);
            build_response(StatusCode::OK, "application/json", Body::from_stream(nothing))
        }
        End::Hang => {
            sleep(FOREVER).await;
            json_response(StatusCode::OK, &message)
        }
    }
}

/// Adds an event to the message that it is a part of.
fn add_event(message: &mut Value, event: &Value) {
    let last = |message: &mut Value| message["content"].as_array_mut().and_then(std::vec::Vec::pop);
    match event["type"].as_str().unwrap_or_default() {
        "message_start" => *message = event["message"].clone(),
        "content_block_start" => push_block(message, event["content_block"].clone()),
        "content_block_delta" => {
            let Some(mut block) = last(message) else { return };
            for (key, into) in [("text", "text"), ("thinking", "thinking"), ("partial_json", "input")] {
                if let Some(more) = event["delta"][key].as_str() {
                    let text = format!("{}{more}", block[into].as_str().unwrap_or_default());
                    block[into] = text.into();
                }
            }
            push_block(message, block);
        }
        "content_block_stop" => {
            let Some(mut block) = last(message) else { return };
            if let Some(input) = block["input"].as_str() {
                block["input"] = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
            }
            push_block(message, block);
        }
        "message_delta" => {
            for key in ["stop_reason", "stop_sequence"] {
                message[key] = event["delta"][key].clone();
            }
            message["usage"]["output_tokens"] = event["usage"]["output_tokens"].clone();
        }
        _ => {}
    }
}

fn push_block(message: &mut Value, block: Value) {
    if let Some(blocks) = message["content"].as_array_mut() {
        blocks.push(block);
    }
}

fn build_response(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
