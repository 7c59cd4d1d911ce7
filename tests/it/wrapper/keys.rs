//! Keys on the real server: who is served, what the log calls them, and what is refused at the start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use predicates::str::contains;
use serde_json::{Value, json};

use super::config::{complaints, wrapper};
use crate::support::{Options, Reply, Server, connect, exchange, until};

const NIGHTLY: &str = "nightly-s3cret";
const SINGLE: &str = "single-s3cret";

fn request(key: Option<&str>, stream: bool) -> String {
    let body = json!({"stream": stream, "messages": [{"role": "user", "content": "hello"}]}).to_string();
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    format!(
        "POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{key}\r\n{body}",
        body.len()
    )
}

fn ask(server: &Server, key: Option<&str>) -> Reply {
    exchange(server.address, &request(key, false))
}

/// A stream whose first words have come.
fn stream(server: &Server, key: &str) -> TcpStream {
    let mut stream = connect(server.address);
    stream.write_all(request(Some(key), true).as_bytes()).unwrap();
    let mut read = String::new();
    while !read.contains("\"delta\":{\"content\":") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the stream ended early: {read}");
        read.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    stream
}

/// A key that is served one request at a time.
fn key_file(folder: &Path, mode: u32, queue: u32) -> PathBuf {
    let path = folder.join("keys.toml");
    let text = format!("[[key]]\nname = \"nightly\"\nkey = \"{NIGHTLY}\"\nconcurrency = 1\nqueue = {queue}\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The lines of the log about requests, each with the name of its key.
fn logged(server: &Server) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["fields"]["message"] == "request").map(|line| line["fields"]["key"].clone()).collect()
}

#[test]
fn the_log_names_the_key_and_nothing_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = key_file(folder.path(), 0o600, 0);
    let server = Options::new()
        .flags(&["--api-key-file", file.to_str().unwrap(), "--log", "trace"])
        .env("CCW_API_KEY", Some(SINGLE))
        .start();
    assert_eq!(ask(&server, None).status, 401);
    assert_eq!(ask(&server, Some("wrong")).status, 401);
    assert_eq!(ask(&server, Some(NIGHTLY)).status, 200);
    assert_eq!(ask(&server, Some(SINGLE)).status, 200);
    until("four requests are logged", || logged(&server).len() == 4);
    assert_eq!(logged(&server), [Value::Null, Value::Null, json!("nightly"), json!("default")]);
    let health = server.health().to_string();
    for secret in [NIGHTLY, SINGLE] {
        assert!(!server.log().contains(secret) && !health.contains(secret), "{}", server.log());
        for process in server.below() {
            let environ = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&environ).contains(secret), "the CLI is given the key");
        }
    }
    assert!(!server.log().contains("every user of this machine"));
    server.stop();
}

#[test]
fn a_stream_holds_the_place_of_its_key_and_a_client_that_leaves_gives_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = key_file(folder.path(), 0o644, 0);
    let server = Options::new()
        .flags(&["--api-key-file", file.to_str().unwrap(), "--api-key", SINGLE, "--slots", "2"])
        .mock(&["--mock-recording=long-reply", "--mock-pace=recorded"])
        .start();
    let open = stream(&server, NIGHTLY);
    let refused = ask(&server, Some(NIGHTLY));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert!(refused.header("retry-after").is_some());
    assert!(refused.body.contains("nightly") && !refused.body.contains(NIGHTLY));
    drop(stream(&server, SINGLE));
    drop(open);
    until("the key has its place again", || {
        let mut next = connect(server.address);
        next.write_all(request(Some(NIGHTLY), true).as_bytes()).unwrap();
        let mut bytes = [0; 12];
        next.read_exact(&mut bytes).unwrap();
        &bytes == b"HTTP/1.1 200" || &bytes == b"HTTP/1.0 200"
    });
    assert!(server.log().contains("every user of this machine can read the keys"), "{}", server.log());
    server.stop();
}

#[test]
fn a_server_that_stops_serves_those_who_wait_for_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = key_file(folder.path(), 0o600, 5);
    let server = Options::new()
        .flags(&["--api-key-file", file.to_str().unwrap()])
        .mock(&["--mock-recording=long-reply", "--mock-pace=recorded"])
        .start();
    let open = stream(&server, NIGHTLY);
    let mut waiting = connect(server.address);
    let request = request(Some(NIGHTLY), false).replace("HTTP/1.0", "HTTP/1.1");
    let request = request.replace("Host:", "Connection: close\r\nExpect: 100-continue\r\nHost:");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    write!(waiting, "{head}\r\n\r\n").unwrap();
    let mut go_on = [0; 25];
    // The server wants the body of a request that waits: it waits now.
    waiting.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    waiting.write_all(body.as_bytes()).unwrap();
    server.signal(rustix::process::Signal::TERM);
    until("it stops", || server.log().contains("SIGTERM"));
    drop(open);
    let mut reply = String::new();
    waiting.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    server.stop();
}

#[test]
fn every_wrong_key_file_is_said_with_its_place_and_never_with_a_key() {
    let one = "[[key]]\nname = \"a\"\nkey = \"s3cret\"\n";
    let after = |rest: &str| format!("{one}{rest}");
    let said = complaints(
        "--api-key-file",
        &[
            "",
            "key = 3",
            "[key]\nname = \"a\"",
            "key = [\"s3cret\"]",
            "[[keys]]\nname = \"a\"",
            "[[key]]\nname = \"a\"",
            "[[key]]\nkey = \"s3cret\"",
            "[[key]]\nname = \"a\"\nkey = \"\"",
            "[[key]]\nname = \"a\"\nkey = \"s3cret s3cret\"",
            "[[key]]\nname = \"a\"\nkey = 12345",
            "[[key]]\nname = \"a b\"\nkey = \"s3cret\"",
            "[[key]]\nname = \"\"\nkey = \"s3cret\"",
            &after("concurency = 2"),
            &after("concurrency = 0"),
            &after("concurrency = -1"),
            &after("concurrency = \"s3cret\""),
            &after("queue = 3"),
            &after("concurrency = 1\nqueue = 1.5"),
            &after("admin = \"s3cret\""),
            &after("requests-per-minute = 0"),
            &after("requests_per_minute = 99999999999"),
            &after("[[key]]\nname = \"a\"\nkey = \"other\""),
            &after("[[key]]\nname = \"b\"\nkey = \"s3cret\""),
            "[[key]]\nname = \"a\"\nkey = \"s3cret",
        ],
    );
    let shown = said.lines().filter(|line| line.starts_with("=> ")).collect::<String>();
    assert!(!shown.contains("s3cret") && !shown.contains("12345"), "{shown}");
    insta::assert_snapshot!(said);
}

#[test]
fn the_key_of_the_command_line_and_those_of_the_file_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    key_file(folder.path(), 0o600, 0);
    let serve = |file: &str, key: &str| {
        wrapper(folder.path(), &["serve", "--api-key-file", file, "--api-key", key]).assert().code(2)
    };
    serve("keys.toml", NIGHTLY).stderr(contains("keys.toml:1: this key is the same as the one of --api-key"));
    serve("none.toml", "x").stderr(contains("none.toml: cannot be read"));
    std::fs::write(folder.path().join("named.toml"), "[[key]]\nname = \"default\"\nkey = \"k\"").unwrap();
    serve("named.toml", "x").stderr(contains("the name `default` is reserved for the key of --api-key"));
}
