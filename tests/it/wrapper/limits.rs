//! Each limit at which an invoker is replaced, on a real process.

use serde_json::Value;

use crate::support::{Options, Server, until};

fn restarts(server: &Server, reason: &str) -> u64 {
    server.health().pointer(&format!("/restarts/{reason}")).and_then(Value::as_u64).unwrap()
}

/// Asks until the reason shows, and checks that it is the only one.
fn comes(server: &Server, reason: &str, asks: bool) {
    until(&format!("a restart for {reason}"), || {
        if asks {
            server.ask("hello").text();
        }
        restarts(server, reason) > 0
    });
    assert_eq!(restarts(server, "total"), restarts(server, reason), "{}", server.health());
    assert!(server.health()["invokers"]["high_water"].as_u64().unwrap() <= 2);
}

#[test]
fn a_cli_that_grows_is_replaced_at_its_memory_limit() {
    let flags = ["--max-cli-rss-mb", "60", "--max-turns", "1000"];
    let server = Options::new().flags(&flags).mock(&["--mock-rss=20", "--mock-rss-per-turn=4000"]).start();
    comes(&server, "memory", true);
    let last = server.health()["last_restart"].clone();
    let mb = |field: &str| last[field].as_f64().unwrap();
    assert!(mb("memory_before_mb") > 45.0 && mb("memory_after_mb") < 45.0, "{last}");
    server.stop();
}

#[test]
fn a_shared_conversation_is_replaced_at_its_token_limit() {
    let flags = ["--isolation", "none", "--max-context-tokens", "3000", "--max-turns", "1000"];
    let server = Options::new().flags(&flags).start();
    comes(&server, "tokens", true);
    server.stop();
}

#[test]
fn an_invoker_is_replaced_at_its_age_and_an_idle_one_at_its_idle_time() {
    for (flag, reason) in [("--max-age", "age"), ("--max-idle", "idle")] {
        let server = Options::new().flags(&[flag, "1"]).start();
        comes(&server, reason, false);
        server.ask("hello").text();
        server.stop();
    }
}

#[test]
fn every_way_of_standing_by_serves_on() {
    for standby in ["jit", "always", "off"] {
        let server = Options::new().flags(&["--standby", standby, "--max-turns", "2", "--slots", "2"]).start();
        for _ in 0..12 {
            server.ask("hello").text();
        }
        assert!(restarts(&server, "turns") >= 4, "{standby}: {}", server.health());
        assert!(server.health()["invokers"]["high_water"].as_u64().unwrap() <= 3, "{standby}");
        server.stop();
    }
}
