//! What a request leaves behind at its end: an id for its client, a place in the metrics.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use axum::{Router, middleware};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::super::{ROUTES, trace};
use super::support::{Answer, Client, Setup, ask, done, get as get_request, post, soon, status, text};
use crate::metrics::{Metrics, Snapshot};
use crate::pool::TreeMemory;
use crate::pool::status::PoolState;
use crate::turn::{Completion, TurnError, TurnEvent, Usage};

const PATH: &str = "/v1/chat/completions";

fn count(route: &str, status: &str, count: u32) -> String {
    format!("ccw_http_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}")
}

#[tokio::test]
async fn every_reply_has_an_id_of_ours() {
    let server = Setup::echo().start().await;
    let theirs = "x-request-id: mine\r\n";
    let mut seen = Vec::new();
    for request in [
        get_request("/livez", theirs),
        get_request("/readyz", theirs),
        get_request("/health", theirs),
        get_request("/metrics", theirs),
        get_request("/nowhere", theirs),
        get_request(PATH, theirs),
        get_request("/livez", "origin: https://else.example\r\n"),
        post(PATH, theirs, "{"),
        post(PATH, theirs, &ask("x", false)),
        post(PATH, theirs, &ask("x", true)),
    ] {
        let reply = server.exchange(&request).await;
        let id = reply.headers.get("x-request-id").unwrap_or_else(|| panic!("no id in {reply:?}")).clone();
        assert!(id.len() == 24 && !seen.contains(&id), "{id}");
        seen.push(id);
    }
}

#[tokio::test]
async fn a_stream_that_its_client_left_is_told_from_one_that_was_read() {
    let mut server = Setup::by_hand().start().await;
    for cut in [false, true] {
        let mut client = Client::connect(server.address).await;
        client.send(&post(PATH, "", &ask("x", true))).await;
        let turn = server.turn().await;
        turn.send(text("piece")).await.unwrap();
        soon(async { while !client.line().await.contains("piece") {} }).await;
        if cut {
            drop(client);
            soon(turn.closed()).await;
        } else {
            turn.send(done("piece", "")).await.unwrap();
            client.rest().await;
        }
    }
    server.counts(&count(PATH, "499", 1)).await;
    server.counts(&count(PATH, "200", 1)).await;
    server.counts("ccw_turn_duration_seconds_count{outcome=\"done\"} 1").await;
    server.counts("ccw_turn_duration_seconds_count{outcome=\"given_up\"} 1").await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_reply_is_499() {
    let mut server = Setup::by_hand().start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("x", false))).await;
    let turn = server.turn().await;
    drop(client);
    soon(turn.closed()).await;
    server.counts(&count(PATH, "499", 1)).await;
    server.counts("ccw_queue_wait_seconds_count{outcome=\"served\"} 1").await;
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_is_counted_there() {
    let (queued, in_queue) = oneshot::channel();
    let queued = Mutex::new(Some(queued));
    let server = Setup::scripted(move |_| {
        queued.lock().unwrap().take().unwrap().send(()).unwrap();
        Answer::Queue(oneshot::channel().0)
    });
    let server = server.start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("x", false))).await;
    soon(in_queue).await.unwrap();
    drop(client);
    server.counts(&count(PATH, "499", 1)).await;
    server.counts("ccw_queue_wait_seconds_count{outcome=\"left\"} 1").await;
}

#[tokio::test]
async fn turns_are_counted_by_what_came_of_them() {
    let usage = Usage { input: 1, cache_creation: 2, cache_read: 3, output: 4 };
    let server = Setup::scripted(move |prompt| match prompt.text.as_str() {
        "lost" => Answer::Events(vec![]),
        "fails" => Answer::Events(vec![TurnEvent::Failed(TurnError::Stopping)]),
        "refused" => Answer::Refuse(TurnError::QueueFull { waiting: 3 }),
        "panics" => Answer::Panic,
        _ => Answer::Events(vec![TurnEvent::Done(Completion { usage, ..Completion::default() })]),
    });
    let server = server.start().await;
    for (prompt, status) in [("fine", 200), ("lost", 502), ("fails", 503), ("refused", 503), ("panics", 500)] {
        assert_eq!(server.complete(&ask(prompt, false)).await.status, status, "{prompt}");
    }
    for line in [
        &count(PATH, "200", 1),
        &count(PATH, "500", 1),
        &count(PATH, "502", 1),
        &count(PATH, "503", 2),
        "ccw_turn_errors_total{error=\"cli\"} 1",
        "ccw_turn_errors_total{error=\"stopping\"} 1",
        "ccw_turn_errors_total{error=\"queue_full\"} 1",
        "ccw_turn_duration_seconds_count{outcome=\"done\"} 1",
        "ccw_turn_duration_seconds_count{outcome=\"failed\"} 2",
        "ccw_queue_wait_seconds_count{outcome=\"served\"} 3",
        "ccw_queue_wait_seconds_count{outcome=\"refused\"} 1",
        "ccw_queue_wait_seconds_count{outcome=\"left\"} 1",
        "ccw_tokens_total{kind=\"input\"} 1",
        "ccw_tokens_total{kind=\"cache_creation\"} 2",
        "ccw_tokens_total{kind=\"cache_read\"} 3",
        "ccw_tokens_total{kind=\"output\"} 4",
    ] {
        server.counts(line).await;
    }
}

#[tokio::test]
async fn unknown_paths_are_one_route() {
    let server = Setup::echo().start().await;
    for path in ["/", "/a", "/v1/chat/completions/", "/%00?x", "/metrics/x"] {
        assert_eq!(server.exchange(&get_request(path, "")).await.status, 404, "{path}");
    }
    server.counts(&count("other", "404", 5)).await;
    assert_eq!(server.exchange(&get_request(PATH, "")).await.status, 405);
    server.counts(&count(PATH, "405", 1)).await;
}

#[tokio::test]
async fn metrics_need_no_key_and_are_there_for_a_full_server() {
    let setup = Setup::echo().config(|config| {
        config.api_key = "s3cret".parse().ok();
        config.max_connections = 1.try_into().unwrap();
    });
    let server = setup.start().await;
    let mut first = Client::connect(server.address).await;
    first.send(&get_request("/livez", "").replace("connection: close\r\n", "")).await;
    assert_eq!(first.receive().await.status, 200);
    let reply = server.exchange(&get_request("/metrics", "")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(reply.body.ends_with("# EOF\n"), "{}", reply.body);
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_reply_is_one_failed_request() {
    let metrics = Arc::new(Metrics::new(&["/stream"]));
    let pieces = || {
        futures_util::stream::iter((0..3).map(|n| {
            assert!(n < 1, "a defect");
            Ok::<_, Infallible>(Bytes::from_static(b"piece"))
        }))
    };
    let router: Router = Router::new()
        .route("/stream", get(async move || Body::from_stream(pieces())))
        .layer(middleware::from_fn_with_state(Arc::clone(&metrics), trace::trace_request));
    let response = router.oneshot(Request::get("/stream").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap_err();
    let memory = TreeMemory { rss: 1, tree_rss: 2, cli_processes: 0, containment: "none" };
    let text = metrics
        .encode_text(&Snapshot { status: status(PoolState::Ready), memory, memory_alert: 3, lost_log_lines: 0 })
        .unwrap();
    assert!(text.contains(&count("/stream", "500", 1)), "{text}");
}

/// What has handlers is counted by its own name.
#[test]
fn every_route_is_in_the_list() {
    let source = include_str!("../../http.rs");
    let mut templates: Vec<_> = source
        .split(".route(")
        .skip(1)
        .map(|call| {
            call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()).expect("a literal path")
        })
        .collect();
    let mut routes = ROUTES.to_vec();
    templates.sort_unstable();
    routes.sort_unstable();
    assert_eq!(templates, routes);
}

#[tokio::test]
async fn a_slow_body_is_timed_to_its_end() {
    let mut server = Setup::by_hand().start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("x", true))).await;
    let turn = server.turn().await;
    turn.send(text("piece")).await.unwrap();
    soon(async { while !client.line().await.contains("piece") {} }).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    turn.send(done("piece", "")).await.unwrap();
    client.rest().await;
    server.counts(&format!("ccw_http_request_duration_seconds_bucket{{le=\"0.025\",route=\"{PATH}\"}} 0")).await;
    server.counts(&format!("ccw_http_request_duration_seconds_count{{route=\"{PATH}\"}} 1")).await;
}

/// Takes what is logged on this thread, where a test's server runs as well.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_happens_in_the_middle_of_a_reply_is_in_its_line() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    // With a single subscriber in the process, `tracing` would ask each thread's own, once and for all: those of the other
    // tests have none and want nothing. With two it asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut server = Setup::by_hand().limits(|limits| limits.keep_alive = Duration::from_millis(20)).start().await;
    let mut client = Client::connect(server.address).await;
    let messages = serde_json::json!([{"role": "user", "content": "x"}]);
    let body = serde_json::json!({"stream": true, "messages": messages, "response_format": {"type": "json_object"}});
    client.send(&post(PATH, "", &body.to_string())).await;
    let first = server.turn().await;
    soon(async { while client.line().await != ": still working" {} }).await;
    first.send(done("no JSON", "")).await.unwrap();
    server.turn().await.send(done("none", " either")).await.unwrap();
    assert!(String::from_utf8(client.rest().await).unwrap().contains("invalid_reply"));
    server.counts(&count(PATH, "200", 1)).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains(PATH)).unwrap_or_else(|| panic!("no line in {log}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let fields = &line["fields"];
    assert_eq!((&fields["turns"], &fields["error"]), (&2.into(), &"invalid_reply".into()), "{line}");
    assert_eq!((&fields["status"], &fields["streamed"]), (&200.into(), &true.into()), "{line}");
}
