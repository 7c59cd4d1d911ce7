//! Told to stop, the server finishes what it took, and ends in time.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::support::{Client, Setup, ask, done, get, post, soon, text};

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn running_requests_finish_and_new_ones_find_nobody() {
    let mut server = Setup::by_hand().start().await;
    let (mut whole, mut streamed) = (Client::connect(server.address).await, Client::connect(server.address).await);
    let keep = |request: String| request.replace("connection: close\r\n", "");
    whole.send(&keep(post(PATH, "", &ask("x", false)))).await;
    let whole_turn = server.turn().await;
    streamed.send(&keep(post(PATH, "", &ask("x", true)))).await;
    let streamed_turn = server.turn().await;

    server.tasks.stop();
    soon(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;

    whole_turn.send(done("whole", "")).await.unwrap();
    streamed_turn.send(text("piece")).await.unwrap();
    streamed_turn.send(done("piece", "")).await.unwrap();
    let reply = whole.receive().await;
    assert_eq!((reply.status, reply.headers["connection"].as_str()), (200, "close"));
    assert_eq!(streamed.receive().await.events().last().unwrap(), "[DONE]");
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
}
