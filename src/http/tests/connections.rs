//! How long a connection may take over what, and what happens when there are too many.

use std::time::Duration;

use tokio::time::sleep;

use super::support::{Client, Setup, ask, get, post, soon};

const SHORT: Duration = Duration::from_millis(100);

fn kept(request: &str) -> String {
    request.replace("connection: close\r\n", "")
}

#[tokio::test]
async fn a_header_that_does_not_end_is_closed() {
    let server = Setup::echo().limits(|limits| limits.header = SHORT).start().await;
    for start in ["", "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a"] {
        let mut client = Client::connect(server.address).await;
        client.send(start).await;
        assert!(client.rest().await.is_empty());
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_for_headers() {
    let server = Setup::echo().limits(|limits| limits.header = SHORT).start().await;
    let mut client = Client::connect(server.address).await;
    for _ in 0..2 {
        client.send(&kept(&get("/livez", ""))).await;
        assert_eq!(client.receive().await.status, 200);
        sleep(SHORT * 3).await;
    }
    client.send("GET /livez HTTP/1.1\r\n").await;
    assert!(client.rest().await.is_empty(), "the second header on a connection has its deadline too");
}

#[tokio::test]
async fn a_reply_that_takes_its_time_is_not_cut_by_the_deadline_for_headers() {
    let mut server = Setup::by_hand().limits(|limits| (limits.header, limits.idle) = (SHORT, SHORT)).start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post("/v1/chat/completions", "", &ask("x", false))).await;
    let turn = server.turn().await;
    sleep(SHORT * 3).await;
    turn.send(super::support::done("late", "")).await.unwrap();
    assert_eq!(client.receive().await.status, 200);
}

#[tokio::test]
async fn a_connection_nobody_uses_is_closed_in_the_end() {
    let server = Setup::echo().limits(|limits| limits.idle = SHORT).start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&kept(&get("/livez", ""))).await;
    assert_eq!(client.receive().await.status, 200);
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let server = Setup::echo().start().await;
    let reply = server.exchange(&get("/livez", &"x-flood: 1\r\n".repeat(1_000))).await;
    assert_eq!(reply.status, 431);
}

#[tokio::test]
async fn a_full_server_answers_probes_and_turns_the_rest_away() {
    let server = Setup::echo().config(|config| config.max_connections = 1.try_into().unwrap()).start().await;
    let mut first = Client::connect(server.address).await;
    first.send(&kept(&get("/livez", ""))).await;
    assert_eq!(first.receive().await.status, 200);

    assert_eq!(server.exchange(&get("/livez", "")).await.status, 200);
    assert_eq!(server.exchange(&get("/health", "")).await.status, 200);
    let mut second = Client::connect(server.address).await;
    second.send(&kept(&post("/v1/chat/completions", "", &ask("x", false)))).await;
    let reply = second.receive().await;
    assert_eq!((reply.status, reply.error_code().as_str()), (503, "too_many_connections"));
    assert_eq!(reply.headers["retry-after"], "5");
    assert!(second.rest().await.is_empty(), "it is closed after one request");

    first.send(&kept(&get("/livez", ""))).await;
    assert_eq!(first.receive().await.status, 200, "whoever has a seat keeps it");
    drop(first);
    soon(async { while server.complete(&ask("x", false)).await.status != 200 {} }).await;
}

/// What clients do to keep a connection without using it.
const HALF_OPEN: [&str; 2] = ["", "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a"];

/// A server for one connection, where a header may take so long that nothing but its eviction ends a half-open one.
fn patient() -> Setup {
    let setup = Setup::echo().config(|config| config.max_connections = 1.try_into().unwrap());
    setup.limits(|limits| limits.header = Duration::from_mins(5))
}

#[tokio::test]
async fn a_full_reserve_closes_its_oldest_half_open_connection_for_the_next() {
    for start in HALF_OPEN {
        let server = patient().start().await;
        let mut waiting = Vec::new();
        for _ in 0..40 {
            waiting.push(Client::connect(server.address).await);
            waiting.last_mut().unwrap().send(start).await;
            // Each has its turn, or it would not be known for half open.
            sleep(Duration::from_millis(1)).await;
        }
        for path in ["/livez", "/readyz", "/health"] {
            assert_eq!(server.exchange(&get(path, "")).await.status, 200, "{path}");
        }
        assert!(waiting[1].rest().await.is_empty(), "the first in the reserve was the second");
        assert!(server.tasks.running() <= 34, "33 connections and the accept loop");
    }
}

#[tokio::test]
async fn a_probe_is_answered_while_the_reserve_is_stormed() {
    let server = patient().start().await;
    let address = server.address;
    let storm = server.tasks.spawn(async move {
        let mut held = Vec::new();
        loop {
            if held.len() < 500 {
                held.push(Client::connect(address).await);
            }
            sleep(Duration::from_millis(1)).await;
        }
    });
    // Each place is taken: 33 connections, the accept loop, and the storm itself.
    soon(async {
        while server.tasks.running() < 35 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    for _ in 0..20 {
        let started = tokio::time::Instant::now();
        assert_eq!(server.exchange(&get("/livez", "")).await.status, 200);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    storm.abort();
}

#[tokio::test]
async fn half_open_connections_do_not_keep_probes_out_while_the_server_stops() {
    let mut server = Setup::by_hand().start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post("/v1/chat/completions", "", &ask("x", false))).await;
    let turn = server.turn().await;
    server.tasks.stop();
    let mut waiting = Vec::new();
    for _ in 0..40 {
        waiting.push(Client::connect(server.address).await);
        sleep(Duration::from_millis(1)).await;
    }
    let started = tokio::time::Instant::now();
    assert_eq!(server.exchange(&get("/livez", "")).await.status, 200);
    assert!(started.elapsed() < Duration::from_millis(700), "each would have a second");
    turn.send(super::support::done("end", "")).await.unwrap();
    assert_eq!(client.receive().await.status, 200);
}
