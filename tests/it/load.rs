//! The load's checks, against a small server that misbehaves on purpose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leakgate_drive::load::endpoint::Endpoint;
use leakgate_drive::load::reply_format::{Kind, Mix};
use leakgate_drive::load::script::Script;
use leakgate_drive::load::{Counts, Load, Shape};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with each request; it is given the request's mark.
type Answer = fn(&str) -> Reply;

enum Reply {
    /// A whole JSON reply with this text.
    Text(String),
    /// A stream of these pieces, and whether `[DONE]` follows.
    Pieces(Vec<String>, bool),
    /// This as a whole reply.
    Whole(Value),
    /// These as the choices of a stream's chunks, with `[DONE]`.
    Choices(Vec<Value>),
    /// These bytes, then the connection is closed.
    Raw(String),
    /// Nothing, for ever.
    Silence,
}

/// A server on a port of its own; it ends when this is dropped.
struct Fake {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Fake {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, answer));
            }
        });
        Self { address, _accepting: accepting }
    }
}

async fn serve(mut stream: TcpStream, answer: Answer) {
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
        received.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some(mark) = text.split_once("[[mark:").and_then(|(_, rest)| rest.split_once("]]")).map(|(mark, _)| mark)
        else {
            continue;
        };
        if !text.ends_with('}') {
            continue;
        }
        let bytes = match answer(mark) {
            Reply::Text(text) => {
                let body = serde_json::json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
                http("application/json", &body.to_string())
            }
            Reply::Pieces(pieces, done) => {
                let events = pieces.iter().map(|piece| {
                    format!("data: {}\n\n", serde_json::json!({"choices": [{"delta": {"content": piece}}]}))
                });
                let end = if done { "data: [DONE]\n\n" } else { "" };
                http("text/event-stream", &(events.collect::<String>() + end))
            }
            Reply::Whole(choice) => http("application/json", &json!({"choices": [choice]}).to_string()),
            Reply::Choices(choices) => {
                let events = choices.iter().map(|choice| format!("data: {}\n\n", json!({"choices": [choice]})));
                http("text/event-stream", &(events.collect::<String>() + "data: [DONE]\n\n"))
            }
            Reply::Raw(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                return;
            }
            Reply::Silence => return std::future::pending().await,
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
        received.clear();
    }
}

fn http(kind: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn good(mark: &str) -> String {
    format!("⟦{mark}⟧hel⟦{mark}⟧lo⟦/{mark}⟧")
}

async fn run(answer: Answer, requests: u64, change: impl FnOnce(&mut Shape)) -> Counts {
    let fake = Fake::start(answer).await;
    let mut shape = Shape {
        connections: 2,
        mix: Mix::TEXT,
        filler: 0,
        json: 0.0,
        streamed: 0.0,
        leaving: 0.0,
        deadline: Duration::from_secs(10),
        seed: 1,
    };
    change(&mut shape);
    let script = Arc::new(Script::new(vec!["Say it.".to_owned()], vec!["hello".to_owned()]));
    let mut load = Load::new(Endpoint::for_own_server(fake.address), script, shape);
    load.run_batch(requests).await;
    load.close().await;
    load.counts().clone()
}

#[tokio::test]
async fn good_replies_are_complete_and_their_text_is_counted() {
    let counts = run(|mark| Reply::Text(good(mark)), 25, |_| {}).await;
    assert_eq!((counts.requests, counts.complete, counts.bytes), (25, 25, 125), "{counts:?}");
}

#[tokio::test]
async fn good_streams_are_complete() {
    let pieces =
        |mark: &str| Reply::Pieces(vec![format!("⟦{mark}⟧hel"), format!("⟦{mark}⟧lo"), format!("⟦/{mark}⟧")], true);
    let counts = run(pieces, 10, |shape| shape.streamed = 1.0).await;
    assert_eq!((counts.complete, counts.bytes), (10, 50), "{counts:?}");
}

fn record(mark: &str) -> String {
    json!({"owner": format!("⟦{mark}⟧ owner"), "kind": "place", "note": null, "items": []}).to_string()
}

fn structured(shape: &mut Shape) {
    shape.mix = Mix { kind: Kind::Json, ..Mix::TEXT };
}

fn calling(shape: &mut Shape) {
    shape.mix = Mix { kind: Kind::Calls, ..Mix::TEXT };
}

fn message(content: &str) -> Reply {
    Reply::Whole(json!({"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}))
}

fn call(arguments: &str) -> Reply {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "keep", "arguments": arguments}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    Reply::Whole(json!({"message": message, "finish_reason": "tool_calls"}))
}

fn streamed_call(arguments: &str) -> Reply {
    let (first, second) = arguments.split_at(10);
    let delta = |call: Value| json!({"delta": {"tool_calls": [call]}, "finish_reason": null});
    Reply::Choices(vec![
        delta(json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "keep", "arguments": ""}})),
        delta(json!({"index": 0, "function": {"arguments": first}})),
        delta(json!({"index": 0, "function": {"arguments": second}})),
        json!({"delta": {}, "finish_reason": "tool_calls"}),
    ])
}

#[tokio::test]
async fn json_and_calls_that_are_their_own_are_complete() {
    let counts = run(|mark| message(&record(mark)), 9, structured).await;
    assert_eq!((counts.requests, counts.complete), (9, 9), "{counts:?}");
    let counts = run(|mark| call(&record(mark)), 9, calling).await;
    assert_eq!((counts.requests, counts.complete), (9, 9), "{counts:?}");
    let streaming = |shape: &mut Shape| {
        calling(shape);
        shape.streamed = 1.0;
    };
    let counts = run(|mark| streamed_call(&record(mark)), 9, streaming).await;
    assert_eq!((counts.requests, counts.complete), (9, 9), "{counts:?}");
}

#[tokio::test]
async fn json_and_calls_with_a_wrong_mark_or_shape_are_noticed() {
    const OTHER: &str = "0123456789abcdef";
    for answer in [
        (|_| message(&record(OTHER))) as Answer,
        |mark| message(&record(mark).replace("owner", "keeper")),
        |mark| message(&format!("Sure: {}", record(mark))),
        |mark| call(&record(mark)),
    ] {
        let counts = run(answer, 4, structured).await;
        assert_eq!((counts.complete, counts.mixed_up), (0, 4), "{counts:?}");
    }
    for answer in [(|_| call(&record(OTHER))) as Answer, |_| call("{}"), |mark| message(&record(mark))] {
        let counts = run(answer, 4, calling).await;
        assert_eq!((counts.complete, counts.mixed_up), (0, 4), "{counts:?}");
    }
}

#[tokio::test]
async fn a_wrong_mark_is_noticed() {
    let counts = run(|_| Reply::Text(good("0123456789abcdef")), 4, |_| {}).await;
    assert_eq!((counts.complete, counts.mixed_up), (0, 4), "{counts:?}");
}

#[tokio::test]
async fn a_cut_stream_is_noticed() {
    let counts = run(|mark| Reply::Pieces(vec![good(mark)], false), 4, |shape| shape.streamed = 1.0).await;
    assert_eq!((counts.complete, counts.mixed_up), (0, 4), "{counts:?}");
}

#[tokio::test]
async fn a_dropped_connection_is_a_lost_request() {
    let head = |_: &str| Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\"".to_owned());
    let counts = run(head, 4, |_| {}).await;
    assert_eq!((counts.requests, counts.lost), (4, 4), "{counts:?}");
    let counts = run(|_| Reply::Raw(String::new()), 4, |_| {}).await;
    assert_eq!((counts.requests, counts.lost), (4, 4), "{counts:?}");
}

#[tokio::test]
async fn silence_is_a_lost_request() {
    let counts = run(|_| Reply::Silence, 2, |shape| shape.deadline = Duration::from_millis(50)).await;
    assert_eq!((counts.requests, counts.lost), (2, 2), "{counts:?}");
}

#[tokio::test]
async fn an_error_is_no_loss() {
    let refusal = |_: &str| {
        Reply::Raw("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_owned())
    };
    let counts = run(refusal, 4, |_| {}).await;
    assert_eq!((counts.requests, counts.errors, counts.lost), (4, 4, 0), "{counts:?}");
}

#[tokio::test]
async fn a_server_that_is_gone_ends_the_batch() {
    let script = Arc::new(Script::default());
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let shape = Shape {
        connections: 3,
        mix: Mix::TEXT,
        filler: 0,
        json: 0.0,
        streamed: 0.0,
        leaving: 0.0,
        deadline: Duration::from_secs(10),
        seed: 1,
    };
    let mut load = Load::new(Endpoint::for_own_server(address), script, shape);
    load.run_batch(1_000_000).await;
    assert_eq!((load.counts().requests, load.counts().lost), (3, 3));
}

#[tokio::test]
async fn a_client_that_leaves_as_planned_is_cancelled() {
    let pieces = |mark: &str| Reply::Pieces((0..20).map(|_| format!("⟦{mark}⟧hello")).collect(), false);
    let counts = run(pieces, 6, |shape| (shape.streamed, shape.leaving) = (1.0, 1.0)).await;
    assert_eq!((counts.requests, counts.cancelled), (6, 6), "{counts:?}");
}
