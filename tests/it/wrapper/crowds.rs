//! More clients than there are descriptors or places for, and what is kept from them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rustix::process::{Pid, Resource, Rlimit};
use serde_json::Value;

use super::config::wrapper;
use crate::support::{Options, PATIENCE, Server, connect, script, until};

/// The server below these limits of open files.
fn limited(options: Options, soft: u32, hard: u32) -> Options {
    options.under(&["sh", "-c", &format!(r#"ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" "$@""#)])
}

fn kept(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

const PROBE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads the next reply on a connection, and gives its first line.
fn status_line(stream: &mut TcpStream) -> String {
    let mut read = |until: &dyn Fn(&str) -> bool| {
        let mut text = String::new();
        while !until(&text) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            text.push(byte[0].into());
        }
        text
    };
    let head = read(&|text| text.ends_with("\r\n\r\n"));
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    match length {
        Some(length) => read(&|text| text.chars().count() == length),
        None => read(&|text| text.ends_with("0\r\n\r\n")),
    };
    head.lines().next().unwrap_or_default().to_owned()
}

#[track_caller]
fn probes_are_answered_soon(server: &Server) {
    for path in ["/livez", "/readyz", "/health"] {
        let started = Instant::now();
        assert_eq!(server.get(path).status, 200, "{path}");
        assert!(started.elapsed() < Duration::from_secs(1), "{path}: {:?}", started.elapsed());
    }
}

/// A supervisor tries again. Whether one try is answered well within a second.
fn is_answered_soon(address: SocketAddr) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        let mut reply = String::new();
        let tried = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut reply)
        });
        if tried.is_ok() && reply.starts_with("HTTP/1.0 200") {
            return started.elapsed() < Duration::from_secs(1);
        }
    }
    false
}

#[test]
fn connections_leave_the_descriptors_that_restarts_need() {
    let server = limited(Options::new().flags(&["--max-turns", "1"]), 256, 256).start();
    until("it is ready", || server.health()["state"] == "ready");
    assert!(server.log().contains("and not 1024 (--max-connections): 256 files can be open"), "{}", server.log());
    let mut first = kept(server.address, PROBE);
    assert_eq!(status_line(&mut first), "HTTP/1.1 200 OK");
    let held: Vec<TcpStream> = (0..300).map(|_| kept(server.address, PROBE)).collect();
    probes_are_answered_soon(&server);
    let body = r#"{"messages": [{"role": "user", "content": "hello"}]}"#;
    let start = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    for _ in 0..5 {
        write!(first, "{start}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        assert_eq!(status_line(&mut first), "HTTP/1.1 200 OK");
    }
    assert!(server.health()["restarts"]["turns"].as_u64().unwrap() >= 3, "{}", server.health());
    assert_eq!(server.health()["restarts"]["recovery"], 0);
    assert!(!server.log().contains("Too many open files"), "{}", server.log());
    drop(held);
    server.stop();
}

#[test]
fn too_few_descriptors_to_serve_are_refused_with_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let below = |limit: u32, verb: &str| {
        let mut command = Command::new("sh");
        let limited = format!(r#"ulimit -n {limit} && exec "$0" wrapper {verb} --listen 127.0.0.1:0 --cli none"#);
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_sut")]).env("TMPDIR", folder.path()).timeout(PATIENCE);
        command.assert()
    };
    let numbers = contains("the limit is 100").and(contains("ulimit -n 11")).and(contains("LimitNOFILE"));
    below(100, "serve").code(1).stderr(numbers);
    below(100, "check").code(1).stdout(contains("WRONG files    too few files").and(contains("the limit is 100")));
    below(300, "check").stdout(contains("note  files    at most").and(contains("ulimit -n 11")));
    let folder = tempfile::tempdir().unwrap();
    wrapper(folder.path(), &["check", "--cli", "none", "--max-connections", "10"])
        .assert()
        .stdout(contains("ok    files    the limit is high enough for 10 connections"));
}

#[test]
fn the_server_raises_its_own_limit_and_the_cli_has_the_one_that_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, seen) = (folder.path().join("claude"), folder.path().join("limit"));
    let mock = env!("CARGO_BIN_EXE_mock-claude");
    script(&cli, &format!(r#"echo "$(ulimit -Sn) $(ulimit -Hn)" > {}; exec {mock} "$@""#, seen.display()));
    let server = limited(Options::new().cli(&cli), 700, 3000).start();
    server.ask("hello").text();
    assert_eq!(std::fs::read_to_string(seen).unwrap().trim(), "700 3000");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["3000", "3000"]);
    assert!(!server.log().contains("--max-connections"), "{}", server.log());
    server.stop();
}

#[test]
fn probes_are_answered_while_clients_hold_every_place_and_take_more() {
    let server = Options::new().flags(&["--max-connections", "20"]).start();
    until("it is ready", || server.health()["state"] == "ready");
    let ways = ["", "GET /livez HTTP/1.1\r\nHost: loc", PROBE, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"];
    let mut held: Vec<TcpStream> = (0..400).map(|n| kept(server.address, ways[n % ways.len()])).collect();
    probes_are_answered_soon(&server);
    let (address, done) = (server.address, AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Whoever is closed comes back.
        scope.spawn(|| {
            for n in (0..held.len()).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                if let Ok(stream) = TcpStream::connect(address) {
                    held[n] = stream;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let answered: Vec<bool> = (0..20).map(|_| is_answered_soon(address)).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(answered, [true; 20]);
    });
    drop(held);
    server.stop();
}

#[test]
fn accepting_without_descriptors_waits_and_does_not_flood_the_log() {
    let server = Options::new().start();
    server.ask("hello").text();
    let pid = Pid::from_raw(server.pid()).unwrap();
    let set = |limit: Rlimit| rustix::process::prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    set(Rlimit { current: Some(open), ..limit });
    let mut waiting: Vec<TcpStream> = (0..40).map(|_| kept(server.address, PROBE)).collect();
    let said = |words: &str| server.log().lines().filter(|line| line.contains(words)).count();
    until("it says so", || said("cannot accept connections") > 0);
    let spent = || procfs::process::Process::new(server.pid()).unwrap().stat().unwrap().utime;
    let used = spent();
    std::thread::sleep(Duration::from_secs(1));
    assert!(spent() - used < 20, "hundredths of a second");
    // Once for each time that a descriptor became free; ten tries a second say nothing.
    let lines = said("cannot accept connections");
    assert!(lines <= 4, "{lines} in a second");
    set(limit);
    for stream in &mut waiting {
        assert_eq!(status_line(stream), "HTTP/1.1 200 OK");
    }
    until("it says that it accepts again", || said("accepting connections again") > 0);
    drop(waiting);
    server.stop();
}

#[test]
fn four_clients_that_send_one_byte_of_a_large_body_hold_nobody_up() {
    let server = Options::new().start();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let ways = ["Content-Length: 16777216\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"];
    let slow: Vec<TcpStream> = (0..8).map(|n| kept(server.address, &format!("{head}{}", ways[n % 2]))).collect();
    let started = Instant::now();
    server.ask("small").text();
    server.ask(&"x".repeat(15_000_000)).text();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    drop(slow);
    server.stop();
}

#[test]
fn three_busy_slots_are_no_alert_and_a_cli_kept_at_each_restart_is_one_soon() {
    let flags = ["--slots", "3", "--max-bodies-bytes", "20000000"];
    let server = Options::new().flags(&flags).mock(&["--mock-rss=100"]).start();
    let is_ready = |health: &Value| health["state"] == "ready" && health["invokers"]["live"] == 3;
    until("three are ready", || {
        let health = server.health();
        is_ready(&health) && health["memory"]["tree_rss_mb"].as_f64().unwrap() > 300.0
    });
    let health = server.health();
    // 30 MB and 20 MB of the server, and four times 1.5 times what was measured.
    let alert = health["memory"]["alert_mb"].as_u64().unwrap();
    assert!((650..800).contains(&alert) && health["status"] == "ok", "{health}");
    server.stop();

    let server = Options::new().plant("kept-invoker").mock(&["--mock-rss=100"]).start();
    until("it is ready", || server.health()["status"] == "ok");
    let restart = || server.post("/admin/restart", &Value::Null).json()["restarted"].as_u64().unwrap();
    let restarts = (1..=6).find(|_| {
        restart();
        server.health()["status"] == "degraded"
    });
    assert!(restarts.is_some_and(|restarts| restarts > 1), "{restarts:?} {}", server.health());
}
