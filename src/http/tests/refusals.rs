//! Every refusal's status, code and shape; and the probes, which refuse by status.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Answer, Client, Reply, Server, Setup, ask, get, post};
use crate::pool::status::PoolState;
use crate::turn::TurnError;

const PATH: &str = "/v1/chat/completions";

fn verdict(reply: &Reply) -> (u16, String, bool) {
    (reply.status, reply.error_code(), reply.headers["x-should-retry"] == "true")
}

fn verdict_of(status: u16, code: &str, retry: bool) -> (u16, String, bool) {
    (status, code.to_owned(), retry)
}

#[tokio::test]
async fn every_turn_error_has_its_status() {
    let api = |status| TurnError::Api { status, message: "words".into(), retry_after: None };
    let soon = Duration::from_millis(1500);
    let table = [
        (api(Some(400)), 400, "upstream_refused", None),
        (api(Some(401)), 401, "upstream_unauthorized", None),
        (api(Some(404)), 404, "upstream_refused", None),
        (api(Some(429)), 429, "rate_limit_exceeded", Some("5")),
        (
            TurnError::Api { status: Some(429), message: "m".into(), retry_after: Some(soon) },
            429,
            "rate_limit_exceeded",
            Some("2"),
        ),
        (api(Some(500)), 502, "upstream_error", None),
        (api(Some(504)), 504, "upstream_timeout", None),
        (api(Some(529)), 503, "upstream_overloaded", Some("5")),
        (api(Some(7)), 502, "upstream_error", None),
        (api(Some(200)), 502, "upstream_error", None),
        (api(None), 502, "upstream_error", None),
        (TurnError::UnknownModel { model: "m".into(), words: "w".into() }, 404, "model_not_found", None),
        (TurnError::Cli("gone".into()), 502, "cli_failed", None),
        (TurnError::Deadline { what: "silence", after: soon }, 504, "deadline_exceeded", None),
        (TurnError::QueueFull { waiting: 9 }, 503, "queue_full", Some("5")),
        (TurnError::QueueTimeout(soon), 503, "queue_timeout", Some("5")),
        (TurnError::Offline { reason: "no file".into(), retry_after: Duration::ZERO }, 503, "offline", Some("1")),
        (TurnError::RateLimited { retry_after: Duration::from_hours(1) }, 429, "rate_limit_exceeded", Some("3600")),
        (TurnError::Stopping, 503, "stopping", Some("5")),
    ];
    for (error, status, code, retry_after) in table {
        let words = error.to_string();
        let server = Setup::scripted(move |_| Answer::Refuse(error.clone())).start().await;
        let reply = server.complete(&ask("x", true)).await;
        assert_eq!(verdict(&reply), verdict_of(status, code, status >= 429), "{words}");
        assert_eq!(reply.headers.get("retry-after").map(String::as_str), retry_after, "{words}");
        assert_eq!(reply.json()["error"]["message"], words);
    }
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_refused_with_its_place() {
    let server = Setup::echo().start().await;
    let deep = format!(r#"{{"messages": {}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]}).to_string();
    let table = [
        ("{\"messages\": [}".to_owned(), "invalid_json", Value::Null, "line 1, column 15"),
        (String::new(), "invalid_json", Value::Null, "empty"),
        (format!("{} x", ask("x", false)), "invalid_json", Value::Null, "after its end"),
        ("{}".to_owned(), "missing_required_parameter", json!("messages"), "is missing"),
        (deep, "invalid_json", Value::Null, "nested deeper"),
        (user(json!(5)), "invalid_type", json!("messages[0].content"), "a string or an array of parts"),
        (
            user(json!([{"text": "x"}])),
            "missing_required_parameter",
            json!("messages[0].content[0].type"),
            "is missing",
        ),
        (user(json!([{"type": "input_audio"}])), "invalid_value", json!("messages[0].content[0]"), "input_audio"),
        (
            r#"{"messages": [{"role": "robot", "content": ""}]}"#.into(),
            "invalid_value",
            json!("messages[0].role"),
            "`user`",
        ),
        (r#"{"messages": [], "n": 2}"#.into(), "invalid_value", json!("n"), "set it to 1"),
        (r#"{"messages": [], "stream": "yes"}"#.into(), "invalid_type", json!("stream"), "true or false"),
        (
            r#"{"messages": [{"role": 5, "content": ""}]}"#.into(),
            "invalid_type",
            json!("messages[0].role"),
            "a string, not 5",
        ),
        ("[1]".to_owned(), "invalid_json", Value::Null, "must be a JSON object"),
        ("[".repeat(1_000_000), "invalid_json", Value::Null, "nested deeper"),
    ];
    for (body, code, param, words) in table {
        let reply = server.complete(&body).await;
        assert_eq!(verdict(&reply), verdict_of(400, code, false), "{reply:?}");
        assert_eq!(reply.json()["error"]["param"], param, "{reply:?}");
        assert!(reply.body.contains(words), "{words:?} in {reply:?}");
    }
}

#[tokio::test]
async fn a_body_too_large_is_refused_before_it_is_read() {
    let server = Setup::echo().config(|config| config.max_body_bytes = 1024).start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", "").replace("content-length: 0", "content-length: 1025")).await;
    assert_eq!(verdict(&client.receive().await), verdict_of(413, "request_too_large", false));

    let mut client = Client::connect(server.address).await;
    let head = post(PATH, "", "").replace("content-length: 0", "transfer-encoding: chunked");
    client.send(&format!("{head}401\r\n{}\r\n", " ".repeat(1025))).await;
    assert_eq!(verdict(&client.receive().await), verdict_of(413, "request_too_large", false));

    assert_eq!(server.complete(&ask(&"x".repeat(900), false)).await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = Setup::echo().limits(|limits| limits.body = Duration::from_millis(50)).start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", "{").replace("content-length: 1", "content-length: 10")).await;
    assert_eq!(verdict(&client.receive().await), verdict_of(408, "request_timeout", true));
}

/// Clients that declare as much as a body may have and send `part` of it, or that much in chunks. Four such bodies are all
/// that there is room for.
async fn slow_clients(server: &Server, count: usize, part: usize, chunked: bool) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(server.address).await;
        let length = format!("content-length: {MOST}");
        let length = if chunked { "transfer-encoding: chunked" } else { &length };
        client.send(&post(PATH, "", "").replace("content-length: 0", length)).await;
        let piece = "x".repeat(part);
        client.send(&if chunked { format!("{part:x}\r\n{piece}\r\n") } else { piece }).await;
        clients.push(client);
    }
    clients
}

const MOST: usize = 1024 * 1024;

fn with_room_for_four() -> Setup {
    Setup::echo().config(|config| {
        config.max_body_bytes = MOST as u64;
        config.max_bodies_bytes = 4 * MOST as u64;
    })
}

#[tokio::test]
async fn what_slow_clients_declare_holds_nobody_up() {
    for chunked in [false, true] {
        let server = with_room_for_four().start().await;
        let slow = slow_clients(&server, 100, 1, chunked).await;
        assert_eq!(server.complete(&ask("small", false)).await.status, 200);
        let large = ask(&"x".repeat(MOST - 1000), false);
        assert_eq!(server.complete(&large).await.status, 200);
        drop(slow);
    }
}

#[tokio::test]
async fn clients_that_stop_before_the_end_lose_their_place_to_those_that_wait() {
    for (part, chunked) in [(MOST * 99 / 100, false), (MOST * 99 / 100, true), (MOST / 2, false)] {
        let server =
            with_room_for_four().limits(|limits| limits.body_window = Duration::from_millis(100)).start().await;
        let mut slow = slow_clients(&server, 10, part, chunked).await;
        let large = ask(&"x".repeat(MOST - 1000), false);
        for _ in 0..2 {
            assert_eq!(server.complete(&ask("small", false)).await.status, 200);
            assert_eq!(server.complete(&large).await.status, 200, "{part} {chunked}");
        }
        let reply = slow[0].receive().await;
        assert_eq!(verdict(&reply), verdict_of(408, "request_timeout", true));
        assert!(reply.body.contains("too slowly"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_slow_body_that_is_in_nobodys_way_arrives() {
    let server = with_room_for_four().limits(|limits| limits.body_window = Duration::from_millis(20)).start().await;
    let body = ask(&"x".repeat(100_000), false);
    let mut client = Client::connect(server.address).await;
    let whole = post(PATH, "", &body);
    for piece in whole.as_bytes().chunks(20_000) {
        client.send(std::str::from_utf8(piece).unwrap()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.receive().await.status, 200);
}

#[tokio::test]
async fn many_large_bodies_at_once_are_all_answered() {
    let server = with_room_for_four().start().await;
    let large = ask(&"x".repeat(MOST - 1000), false);
    let replies = futures_util::future::join_all((0..20).map(|_| server.complete(&large))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
}

#[tokio::test]
async fn malformed_chunks_are_refused() {
    let server = Setup::echo().start().await;
    let mut client = Client::connect(server.address).await;
    let head = post(PATH, "", "").replace("content-length: 0", "transfer-encoding: chunked");
    client.send(&format!("{head}zz\r\nxx\r\n0\r\n\r\n")).await;
    assert_eq!(verdict(&client.receive().await), verdict_of(400, "unreadable_body", false));
}

#[tokio::test]
async fn only_json_is_taken() {
    let server = Setup::echo().start().await;
    let body = ask("x", false);
    for kind in ["content-type: text/plain\r\n", "content-type: multipart/form-data; boundary=x\r\n", ""] {
        let request = post(PATH, "", &body).replace("content-type: application/json\r\n", kind);
        assert_eq!(verdict(&server.exchange(&request).await), verdict_of(415, "unsupported_type", false), "{kind}");
    }
    let packed = server.exchange(&post(PATH, "content-encoding: gzip\r\n", &body)).await;
    assert_eq!(verdict(&packed), verdict_of(415, "unsupported_type", false));
    let spelled = post(PATH, "", &body).replace("application/json", "Application/JSON; charset=utf-8");
    assert_eq!(server.exchange(&spelled).await.status, 200);
}

#[tokio::test]
async fn wrong_addresses_are_refused_in_the_shape() {
    let server = Setup::echo().start().await;
    assert_eq!(verdict(&server.exchange(&get("/v2/x?y", "")).await), verdict_of(404, "unknown_url", false));
    let wrong = server.exchange(&get(PATH, "")).await;
    assert_eq!(verdict(&wrong), verdict_of(405, "method_not_allowed", false));
    assert_eq!(wrong.headers["allow"], "POST");
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_the_body_is_read() {
    let server = Setup::echo().config(|config| config.api_key = "s3cret".parse().ok()).start().await;
    for header in
        ["", "authorization: Bearer s3cre\r\n", "authorization: Basic s3cret\r\n", "authorization: Bearer \r\n"]
    {
        for path in [PATH, "/admin/restart", "/v1/nothing"] {
            let mut client = Client::connect(server.address).await;
            client.send(&post(path, header, "").replace("content-length: 0", "content-length: 1000")).await;
            let reply = client.receive().await;
            assert_eq!(verdict(&reply), verdict_of(401, "invalid_api_key", false), "{header}");
            assert_eq!(reply.headers["www-authenticate"], "Bearer");
        }
    }
    let key = "authorization: bearer s3cret\r\norigin: https://else.example\r\n";
    assert_eq!(server.exchange(&post(PATH, key, &ask("x", false))).await.status, 200);
    assert_eq!(server.exchange(&get("/health", "")).await.status, 200, "probes need no key");
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_without_a_key() {
    let server = Setup::echo().start().await;
    for (host, status) in [
        ("127.0.0.1:8204", 200),
        ("[::1]:8204", 200),
        ("localhost:8204", 200),
        ("LOCALHOST", 200),
        ("rebound.example", 403),
        ("127.0.0.1.rebound.example", 403),
        ("localhost.rebound.example:8204", 403),
    ] {
        let request = get("/livez", "").replace("host: 127.0.0.1", &format!("host: {host}"));
        assert_eq!(server.exchange(&request).await.status, status, "{host}");
    }
    for (origin, status) in [
        ("http://localhost:3000", 200),
        ("http://127.0.0.1", 200),
        ("http://192.0.2.1", 403),
        ("https://page.example", 403),
        ("null", 403),
    ] {
        let request = post(PATH, &format!("origin: {origin}\r\n"), &ask("x", false));
        let reply = server.exchange(&request).await;
        assert_eq!(reply.status, status, "{origin}");
        if status == 403 {
            assert_eq!(verdict(&reply), verdict_of(403, "foreign_origin", false));
        }
    }
}

#[tokio::test]
async fn health_tells_of_the_tree_and_not_just_of_the_server() {
    let server = Setup::echo().start().await;
    let reply = server.exchange(&get("/health", "")).await;
    assert_eq!(reply.status, 200);
    let mut json = reply.json();
    assert!(json["uptime_seconds"].take().is_u64());
    assert_eq!(json["version"].take(), env!("CARGO_PKG_VERSION"));
    assert_eq!(
        json,
        json!({
            "status": "ok", "state": "ready", "offline_reason": null, "rate_limit": null,
            "memory": {"rss_mb": 73.0, "tree_rss_mb": 400.0, "alert_mb": 1297, "alert": false},
            "invokers": {"live": 1, "high_water": 2, "limit": 2, "standby": 0, "busy": 0},
            "slots": 1, "cli_processes": 2, "queue": {"waiting": 4},
            "restarts": {"total": 8, "turns": 7, "tokens": 0, "age": 0, "idle": 0, "memory": 0, "isolation": 0,
                "admin": 0, "recovery": 1},
            "last_restart": null, "turns": 80, "auth": "subscription", "containment": "subreaper", "log": {"lost_lines": 0}, "uptime_seconds": null, "version": null,
        })
    );
}

#[tokio::test]
async fn probes_follow_the_pool() {
    let mut setup = Setup::echo();
    setup.tree_rss = 1_300_000_000;
    let server = setup.start().await;
    for (state, status, health, ready) in [
        (PoolState::Ready, "degraded", 200, 200),
        (PoolState::Starting, "starting", 200, 503),
        (PoolState::Offline, "offline", 503, 503),
        (PoolState::Stopping, "stopping", 503, 503),
    ] {
        server.set_state(state);
        let reply = server.exchange(&get("/health", "")).await;
        assert_eq!((reply.status, &reply.json()["status"]), (health, &json!(status)));
        assert_eq!(reply.json()["memory"]["alert"], true);
        let ready_reply = server.exchange(&get("/readyz", "")).await;
        assert_eq!(ready_reply.status, ready);
        for reply in [reply, ready_reply] {
            let wait = match (reply.status, state) {
                (200, _) => None,
                (_, PoolState::Starting) => Some("1"),
                (_, PoolState::Offline) => Some("13"),
                _ => Some("5"),
            };
            assert_eq!(reply.headers.get("retry-after").map(String::as_str), wait, "{reply:?}");
        }
        assert_eq!(server.exchange(&get("/livez", "")).await.status, 200);
    }
}

#[tokio::test]
async fn a_used_up_quota_shows_in_health_with_its_end() {
    let server = Setup::echo().start().await;
    server.change_status(|status| status.quota_in = Some(Duration::from_millis(3_599_200)));
    let reply = server.exchange(&get("/health", "")).await;
    let json = reply.json();
    assert_eq!((reply.status, &json["status"]), (200, &json!("rate_limited")));
    assert_eq!(json["rate_limit"]["resets_in_seconds"], 3600);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let at = json["rate_limit"]["resets_at"].as_u64().unwrap();
    assert!((now + 3590..=now + 3601).contains(&at), "{at} from {now}");
    assert_eq!(server.exchange(&get("/readyz", "")).await.status, 200);
}

#[tokio::test]
async fn a_restart_on_demand_tells_how_many() {
    let server = Setup::echo().start().await;
    let reply = server.exchange(&post("/admin/restart", "", "")).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"restarted": 3, "state": "ready"})));
}
