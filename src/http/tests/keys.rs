//! Several keys: whose a request is, and what happens at a key's limits.

use std::io::Write;

use tokio::sync::mpsc;

use super::support::{Client, Reply, Server, Setup, ask, done, get, post, soon, text};
use crate::pool::status::PoolState;
use crate::turn::TurnEvent;

const PATH: &str = "/v1/chat/completions";

/// `limited` serves one request and lets one wait.
const KEYS: &str = r#"
    [[key]]
    name = "limited"
    key = "one"
    concurrency = 1
    queue = 1

    [[key]]
    name = "free"
    key = "two"

    [[key]]
    name = "slow"
    key = "three"
    requests-per-minute = 2

    [[key]]
    name = "operator"
    key = "four-s3cret"
    admin = true
"#;

async fn server(setup: Setup) -> Server {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(KEYS.as_bytes()).unwrap();
    let path = file.path().to_owned();
    setup.config(|config| config.api_key_file = Some(path)).start().await
}

fn request(key: &str, body: &str) -> String {
    post(PATH, &format!("authorization: Bearer {key}\r\n"), body)
}

/// A client that has sent its request.
async fn sent(server: &Server, key: &str, body: &str) -> Client {
    let mut client = Client::connect(server.address).await;
    client.send(&request(key, body)).await;
    client
}

#[track_caller]
fn is_over_limit(reply: &Reply) {
    assert_eq!((reply.status, reply.error_code().as_str()), (429, "rate_limit_exceeded"), "{reply:?}");
    assert_eq!(reply.headers["x-should-retry"], "true");
    assert!(reply.headers["retry-after"].parse::<u64>().unwrap() >= 1, "{reply:?}");
}

async fn end(turn: mpsc::Sender<TurnEvent>, words: &str) {
    turn.send(done(words, "")).await.unwrap();
}

/// Asks as `limited` until a place is free for one that need not wait, and ends that turn.
async fn until_free(server: &mut Server) {
    let mut client = sent(server, "one", &ask("free?", false)).await;
    end(server.turn().await, "free").await;
    assert_eq!(client.receive().await.status, 200);
}

/// Asks as `limited`, whose place is taken. The server wants the body of a request that waits, and of no other; none:
/// it was refused.
async fn queued(server: &Server, body: &str) -> Option<Client> {
    let mut client = Client::connect(server.address).await;
    let request = request("one", body).replace("connection: close", "expect: 100-continue");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    client.send(&format!("{head}\r\n\r\n")).await;
    let status = soon(client.line()).await;
    if status.contains("429") {
        return None;
    }
    assert_eq!((status.as_str(), client.line().await.as_str()), ("HTTP/1.1 100 Continue", ""));
    client.send(body).await;
    Some(client)
}

/// Fills the place and the queue of `limited`: the turn that runs, its client, and the one who waits.
async fn full(server: &mut Server, streamed: bool, waiting: &str) -> (mpsc::Sender<TurnEvent>, Client, Client) {
    let first = sent(server, "one", &ask("first", streamed)).await;
    let turn = server.turn().await;
    let second = queued(server, waiting).await.expect("there is room for one who waits");
    (turn, first, second)
}

#[tokio::test]
async fn each_key_is_known_and_no_other() {
    let server = server(Setup::echo()).await;
    for key in ["one", "two", "three"] {
        assert_eq!(server.exchange(&request(key, &ask("x", false))).await.status, 200, "{key}");
    }
    let long = "x".repeat(5000);
    for key in ["", "on", "onee", "one\0", "One", "four", "limited", &long] {
        let status = server.exchange(&request(key, &ask("x", false))).await.status;
        assert_eq!(status, if key.contains('\0') { 400 } else { 401 }, "{key:?}");
    }
}

#[tokio::test]
async fn a_key_at_its_limit_waits_its_turn_and_others_do_not() {
    let mut server = server(Setup::by_hand()).await;
    let (first_turn, mut first, mut second) = full(&mut server, false, &ask("second", false)).await;
    is_over_limit(&server.exchange(&request("one", &ask("third", false))).await);
    let mut other = sent(&server, "two", &ask("other", false)).await;
    end(server.turn().await, "other").await;
    assert_eq!(other.receive().await.status, 200, "another key is not held up");
    end(first_turn, "first").await;
    assert!(first.receive().await.body.contains("first"));
    end(server.turn().await, "second").await;
    assert!(second.receive().await.body.contains("second"));
    until_free(&mut server).await;
}

#[tokio::test]
async fn a_stream_keeps_its_place_until_its_last_byte() {
    let mut server = server(Setup::by_hand()).await;
    let (turn, mut first, mut second) = full(&mut server, true, &ask("second", false)).await;
    turn.send(text("a")).await.unwrap();
    while !first.line().await.contains("\"content\":\"a\"") {}
    is_over_limit(&server.exchange(&request("one", "{}")).await);
    assert!(server.turns.try_recv().is_err(), "the second one waits while the first one streams");
    end(turn, "a").await;
    end(server.turn().await, "second").await;
    assert_eq!(second.receive().await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_up_served_or_waiting() {
    // The second body is more than a connection reads ahead.
    for waiting in [ask("second", false), ask(&"long ".repeat(100_000), false)] {
        let mut server = server(Setup::by_hand()).await;
        let (turn, first, second) = full(&mut server, true, &waiting).await;
        drop(second);
        let mut third = soon(async {
            loop {
                if let Some(third) = queued(&server, &ask("third", false)).await {
                    return third;
                }
            }
        })
        .await;
        drop((first, turn));
        end(server.turn().await, "third").await;
        assert!(third.receive().await.body.contains("third"));
        until_free(&mut server).await;
    }
}

#[tokio::test]
async fn a_request_that_fails_gives_its_place_up() {
    let mut server = server(Setup::by_hand()).await;
    for body in ["{", "[]", "{}"] {
        for _ in 0..3 {
            assert_eq!(server.exchange(&request("one", body)).await.status, 400);
        }
    }
    until_free(&mut server).await;
}

#[tokio::test]
async fn a_body_too_large_is_refused_while_it_waits() {
    let mut server = server(Setup::by_hand().config(|config| config.max_body_bytes = 1024)).await;
    let first = sent(&server, "one", &ask("first", false)).await;
    let turn = server.turn().await;
    let large = server.exchange(&request("one", &ask(&"x".repeat(2000), false))).await;
    assert_eq!(large.status, 413);
    drop((first, turn));
    until_free(&mut server).await;
}

#[tokio::test]
async fn a_wait_has_an_end() {
    let wait = std::time::Duration::from_millis(20);
    let mut server = server(Setup::by_hand().config(|config| config.queue_timeout = wait)).await;
    let first = sent(&server, "one", &ask("first", false)).await;
    let turn = server.turn().await;
    is_over_limit(&server.exchange(&request("one", &ask("second", false))).await);
    drop((first, turn));
}

#[tokio::test]
async fn a_key_has_so_many_requests_in_a_minute_and_probes_are_not_counted() {
    let server = server(Setup::echo()).await;
    for _ in 0..5 {
        for path in ["/health", "/livez", "/readyz", "/metrics"] {
            let status = server.exchange(&get(path, "authorization: Bearer three\r\n")).await.status;
            assert_ne!(status, 429, "{path}");
        }
    }
    for _ in 0..2 {
        assert_eq!(server.exchange(&request("three", &ask("x", false))).await.status, 200);
    }
    let refused = server.exchange(&request("three", &ask("x", false))).await;
    is_over_limit(&refused);
    let wait: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((50..=61).contains(&wait), "the next one is due a minute after the first one: {wait}");
    assert_eq!(server.exchange(&request("two", &ask("x", false))).await.status, 200, "another key goes on");
}

#[tokio::test]
async fn only_an_operators_key_of_the_file_restarts() {
    let single = "single-s3cret".parse().unwrap();
    let server = server(Setup::echo().config(|config| config.api_key = Some(single))).await;
    let restart = |path: &str, key: &str| post(path, &format!("authorization: Bearer {key}\r\n"), "{}");
    for path in ["/admin/restart", "/admin/nothing"] {
        for key in ["one", "two", "single-s3cret"] {
            let refused = server.exchange(&restart(path, key)).await;
            assert_eq!((refused.status, refused.error_code().as_str()), (403, "admin_key_required"), "{path} {key}");
            assert!(refused.body.contains("admin = true") && !refused.body.contains("s3cret"), "{refused:?}");
        }
        assert_eq!(server.exchange(&post(path, "", "{}")).await.status, 401);
        assert_eq!(server.exchange(&restart(path, "wrong")).await.status, 401);
    }
    assert_eq!(server.exchange(&restart("/admin/restart", "four-s3cret")).await.status, 200);
    assert_eq!(server.exchange(&restart("/admin/nothing", "four-s3cret")).await.status, 404);
    assert_eq!(server.exchange(&request("four-s3cret", &ask("x", false))).await.status, 200, "it may ask as well");
}

#[tokio::test]
async fn without_a_file_the_key_of_the_command_line_is_the_operators() {
    let single = "single-s3cret".parse().unwrap();
    let server = Setup::echo().config(|config| config.api_key = Some(single)).start().await;
    let restart = |key: &str| post("/admin/restart", &format!("authorization: Bearer {key}\r\n"), "{}");
    assert_eq!(server.exchange(&restart("single-s3cret")).await.status, 200);
    assert_eq!(server.exchange(&restart("other")).await.status, 401);
}

#[tokio::test]
async fn health_keeps_the_clis_words_and_its_account_from_whoever_has_no_key() {
    let server = server(Setup::echo()).await;
    server.set_state(PoolState::Offline);
    for header in ["", "authorization: Bearer wrong\r\n"] {
        let reply = server.exchange(&get("/health", header)).await;
        assert_eq!(reply.status, 503, "it is no question of keys");
        assert!(!reply.body.contains("no such file") && !reply.body.contains("subscription"), "{reply:?}");
        let health = reply.json();
        assert_eq!(
            (&health["state"], &health["turns"], &health["queue"]["waiting"]),
            (&"offline".into(), &80.into(), &4.into())
        );
        assert!(health["offline_reason"].as_str().unwrap().contains("send a key"), "{health}");
    }
    for path in ["/readyz", "/livez", "/metrics"] {
        assert!(!server.exchange(&get(path, "")).await.body.contains("no such file"), "{path}");
    }
    let health = server.exchange(&get("/health", "authorization: Bearer three\r\n")).await.json();
    assert_eq!((&health["offline_reason"], &health["auth"]), (&"no such file".into(), &"subscription".into()));
    server.set_state(PoolState::Ready);
    assert!(server.exchange(&get("/health", "")).await.json()["offline_reason"].is_null());
}
