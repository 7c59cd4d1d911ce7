//! Told to stop, the server finishes what it took, and ends in time.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::super::Backend;
use super::support::{Client, Setup, ask, done, get, post, soon, status, text};
use crate::metrics::Snapshot;
use crate::pool::status::PoolState;

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn running_requests_finish_while_new_ones_are_told() {
    let mut server = Setup::by_hand().start().await;
    let (mut whole, mut streamed) = (Client::connect(server.address).await, Client::connect(server.address).await);
    let keep = |request: String| request.replace("connection: close\r\n", "");
    whole.send(&keep(post(PATH, "", &ask("x", false)))).await;
    let whole_turn = server.turn().await;
    streamed.send(&keep(post(PATH, "", &ask("x", true)))).await;
    let streamed_turn = server.turn().await;

    server.tasks.stop();
    server.set_state(PoolState::Stopping);
    for (request, status) in
        [(get("/readyz", ""), 503), (get("/livez", ""), 200), (post(PATH, "", &ask("x", false)), 503)]
    {
        assert_eq!(server.exchange(&request).await.status, status, "{request}");
    }
    let refused = server.exchange(&post(PATH, "", &ask("x", false))).await;
    assert_eq!((refused.error_code().as_str(), refused.headers.contains_key("retry-after")), ("stopping", true));

    whole_turn.send(done("whole", "")).await.unwrap();
    streamed_turn.send(text("piece")).await.unwrap();
    streamed_turn.send(done("piece", "")).await.unwrap();
    let reply = whole.receive().await;
    assert_eq!((reply.status, reply.headers["connection"].as_str()), (200, "close"));
    assert_eq!(streamed.receive().await.events().last().unwrap(), "[DONE]");
    soon(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    soon(server.served).await.unwrap();
    assert!(soon(server.tasks.join(Duration::from_secs(10))).await);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_server_back() {
    let server = Setup::echo().start().await;
    let mut idle = Client::connect(server.address).await;
    idle.send(&get("/livez", "").replace("connection: close\r\n", "")).await;
    assert_eq!(idle.receive().await.status, 200);
    let started = Instant::now();
    server.tasks.stop();
    soon(server.served).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "30 s is what a running request gets");
    assert!(idle.rest().await.is_empty());
}

#[tokio::test]
async fn what_does_not_finish_is_dropped_at_the_deadline() {
    let mut server = Setup::by_hand().config(|config| config.stop_timeout = Duration::from_millis(50)).start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &ask("x", true))).await;
    let turn = server.turn().await;
    server.tasks.stop();
    soon(server.served).await.unwrap();
    soon(turn.closed()).await;
    let snapshot = Snapshot {
        status: status(PoolState::Stopping),
        memory: server.fake.memory(),
        memory_alert: 0,
        lost_log_lines: 0,
    };
    let counted = server.counted.encode_text(&snapshot).unwrap();
    assert!(counted.contains(&format!("{{route=\"{PATH}\",status=\"503\"}} 1")), "{counted}");
    assert!(!counted.contains(&format!("{{route=\"{PATH}\",status=\"499\"}} 1")), "{counted}");
}

#[tokio::test]
async fn a_connection_that_was_taken_just_before_the_stop_still_gets_a_reply() {
    let server = Setup::echo().start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(server.address).await);
    }
    // Connections are accepted in order: with an answer to the last one, all are.
    let last = clients.last_mut().unwrap();
    last.send(&get("/livez", "").replace("connection: close\r\n", "")).await;
    assert_eq!(last.receive().await.status, 200);
    server.tasks.stop();
    for client in &mut clients[..19] {
        client.send(&post(PATH, "", &ask("x", false))).await;
        assert_eq!(client.receive().await.status, 200);
    }
    soon(server.served).await.unwrap();
}
