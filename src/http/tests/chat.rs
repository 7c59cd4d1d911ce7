//! Completions, whole and streamed, and what happens when their client goes away.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::support::{Answer, Client, Setup, ask, done, post, soon, text};
use crate::turn::{Completion, TurnError, TurnEvent, Usage};

const PATH: &str = "/v1/chat/completions";

fn parsed(event: &str) -> Value {
    serde_json::from_str(event).unwrap()
}

#[tokio::test]
async fn a_whole_reply_is_one_json_object() {
    let server = Setup::echo().start().await;
    let reply = server.complete(&ask("Hello, wörld", false)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert!(reply.headers.contains_key("content-length"), "a whole reply has a length: {reply:?}");
    let json = reply.json();
    assert_eq!(json["choices"][0]["message"]["content"], "echo: Hello, wörld");
    assert_eq!(json["model"], "gpt-4o");
    assert_eq!(json["id"], format!("chatcmpl-{}", reply.headers["x-request-id"]));
}

#[tokio::test]
async fn a_request_without_a_model_gets_the_one_that_serves() {
    let server = Setup::echo().config(|config| config.model = "opus".into()).start().await;
    let body = json!({"messages": [{"role": "user", "content": "x"}]}).to_string();
    assert_eq!(server.complete(&body).await.json()["model"], "opus");
}

#[tokio::test]
async fn a_stream_is_role_text_reason_done() {
    let server = Setup::echo().start().await;
    let reply = server.complete(&ask("two\nlines", true)).await;
    assert_eq!(reply.status, 200);
    assert!(reply.headers["content-type"].starts_with("text/event-stream"));
    let events = reply.events();
    assert_eq!(events.len(), 5, "{events:?}");
    assert_eq!(events[4], "[DONE]");
    let chunks: Vec<_> = events[..4].iter().map(|event| parsed(event)).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "echo: ");
    assert_eq!(chunks[2]["choices"][0]["delta"]["content"], "two\nlines");
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "stop");
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn the_usage_comes_last_when_asked_for() {
    let usage = Usage { input: 1, cache_creation: 2, cache_read: 3, output: 4 };
    let done = TurnEvent::Done(Completion { text: "x".into(), usage, ..Completion::default() });
    let server = Setup::scripted(move |_| Answer::Events(vec![text("x"), done.clone()])).start().await;
    let body = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "x"}]});
    let events = server.complete(&body.to_string()).await.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let last = parsed(&events[events.len() - 2]);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], 6);
    assert_eq!(last["usage"]["completion_tokens"], 4);
    assert_eq!(parsed(&events[0])["usage"], Value::Null);
}

#[tokio::test]
async fn a_failure_before_any_text_is_a_status_even_for_a_stream() {
    let error = TurnError::Api { status: Some(401), message: "bad key".into(), retry_after: None };
    let server = Setup::scripted(move |_| Answer::Events(vec![TurnEvent::Failed(error.clone())])).start().await;
    for stream in [true, false] {
        let reply = server.complete(&ask("x", stream)).await;
        assert_eq!((reply.status, reply.error_code().as_str()), (401, "upstream_unauthorized"));
    }
}

#[tokio::test]
async fn a_failure_after_some_text_is_an_event_and_no_done_follows() {
    let failures = [
        (vec![text("par"), TurnEvent::Failed(TurnError::Cli("it exited".into()))], "it exited"),
        (vec![text("par")], "without a result"),
    ];
    for (events, words) in failures {
        let server = Setup::scripted(move |_| Answer::Events(events.clone())).start().await;
        let reply = server.complete(&ask("x", true)).await;
        let events = reply.events();
        assert_eq!(events.len(), 3, "{events:?}");
        let error = &parsed(&events[2])["error"];
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(error["code"], "cli_failed");
        assert!(error.get("param").is_some());
    }
}

#[tokio::test]
async fn silence_is_filled_with_comments() {
    let mut server = Setup::by_hand().limits(|limits| limits.keep_alive = Duration::from_millis(20)).start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("x", true))).await;
    let turn = server.turn().await;
    soon(async { while client.line().await != ": still working" {} }).await;
    turn.send(text("late")).await.unwrap();
    turn.send(done("late", "")).await.unwrap();
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert!(rest.contains("late") && rest.contains("[DONE]"), "{rest}");
}

#[tokio::test]
async fn a_turn_is_dropped_when_its_client_goes_away() {
    for stream in [false, true] {
        let mut server = Setup::by_hand().start().await;
        let mut client = Client::connect(server.address).await;
        client.send(&post(PATH, "", &ask("x", stream))).await;
        let turn = server.turn().await;
        if stream {
            turn.send(text("x")).await.unwrap();
            soon(async { while !client.line().await.starts_with("data: ") {} }).await;
        }
        drop(client);
        soon(turn.closed()).await;
    }
}

#[tokio::test]
async fn a_place_in_the_queue_is_given_up_when_its_client_goes_away() {
    let (place, given_up) = oneshot::channel();
    let (queued, in_queue) = oneshot::channel();
    let place = Mutex::new(Some((place, queued)));
    let server = Setup::scripted(move |_| {
        let (place, queued) = place.lock().unwrap().take().unwrap();
        queued.send(()).unwrap();
        Answer::Queue(place)
    });
    let server = server.start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("x", false))).await;
    soon(in_queue).await.unwrap();
    drop(client);
    soon(given_up).await.unwrap_err();
}

#[tokio::test]
async fn a_client_that_takes_nothing_stops_the_turn_and_is_cut_off() {
    let mut server = Setup::by_hand().limits(|limits| limits.write = Duration::from_millis(200)).start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("x", true))).await;
    let turn = server.turn().await;
    let piece = "x".repeat(64 * 1024);
    let mut taken = 0;
    while soon(turn.send(text(&piece))).await.is_ok() {
        taken += 1;
        assert!(taken < 2_000, "128 MB were taken for a client that reads nothing");
    }
}

#[tokio::test]
async fn a_panic_fails_one_request_and_no_other() {
    let server = Setup::scripted(|prompt| match prompt.text.as_str() {
        "bad" => Answer::Panic,
        _ => Answer::Events(vec![done("fine", "")]),
    });
    let server = server.start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("bad", false)).replace("connection: close\r\n", "")).await;
    let reply = client.receive().await;
    assert_eq!((reply.status, reply.error_code().as_str()), (500, "internal_error"));
    client.send(&post(PATH, "", &ask("good", false))).await;
    assert_eq!(client.receive().await.status, 200, "the same connection goes on");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = Setup::echo().start().await;
    let mut client = Client::connect(server.address).await;
    let one = post(PATH, "", &ask("one", false)).replace("connection: close\r\n", "");
    client.send(&format!("{one}{}", post(PATH, "", &ask("two", false)))).await;
    for words in ["echo: one", "echo: two"] {
        assert_eq!(client.receive().await.json()["choices"][0]["message"]["content"], words);
    }
}
