//! Restarts, stops, and what is left after them.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Options, Server, script, signal_pid, until};

const MARKED: [&str; 1] = ["--mock-echo-mark"];

/// Asks with a mark and checks that the reply is its own, all of it.
fn ask_marked(server: &Server, mark: &str) {
    let text = server.ask(&format!("[[mark:{mark}]] hello")).text();
    assert!(text.starts_with(&format!("⟦{mark}⟧")) && text.ends_with(&format!("⟦/{mark}⟧")), "{text}");
    assert_eq!(text.matches('⟦').count(), text.matches(&format!("⟦{mark}⟧")).count() + 1, "{text}");
}

#[test]
fn restarts_are_proactive_lose_nothing_and_never_exceed_slots_plus_one() {
    for (slots, recording) in [("1", "2.1.330/ten-turns"), ("3", "2.1.330/ten-turns"), ("2", "2.1.19/ten-turns")] {
        let recording = format!("--mock-recording={recording}");
        let options = Options::new().flags(&["--slots", slots, "--max-turns", "3"]).mock(&MARKED).mock(&[&recording]);
        let server = options.start();
        std::thread::scope(|scope| {
            for client in 0..4 {
                let server = &server;
                scope.spawn(move || (0..15).for_each(|n| ask_marked(server, &format!("c{client}{n:02}"))));
            }
        });
        let health = server.health();
        let number = |path: &str| health.pointer(path).and_then(serde_json::Value::as_u64).unwrap();
        assert_eq!(number("/turns"), 60, "{health}");
        assert!(number("/restarts/total") >= 15, "{health}");
        assert_eq!(number("/restarts/recovery"), 0, "{health}");
        assert!(number("/invokers/high_water") <= slots.parse::<u64>().unwrap() + 1, "{health}");
        server.stop();
    }
}

#[test]
fn a_restart_on_demand_replaces_every_slot() {
    let server = Options::new().flags(&["--slots", "3"]).start();
    until("it is ready", || server.health()["invokers"]["live"] == 3 && server.get("/readyz").status == 200);
    assert_eq!(server.post("/admin/restart", &serde_json::json!({})).json()["restarted"], 3);
    let health = server.health();
    assert_eq!(health["restarts"]["admin"], 3, "{health}");
    assert!(health["last_restart"]["memory_after_mb"].as_f64().unwrap() > 1.0, "{health}");
    server.stop();
}

#[test]
fn sigterm_lets_a_running_request_finish() {
    let server = Options::new().mock(&["--mock-recording=long-reply", "--mock-pace=recorded"]).start();
    let text = std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.ask("hello").text());
        until("the turn runs", || server.health()["invokers"]["busy"] == 1);
        server.signal(Signal::TERM);
        asked.join().unwrap()
    });
    assert!(text.len() > 20_000, "{} bytes", text.len());
    server.stop();
}

#[test]
fn a_request_that_was_let_in_before_the_stop_gets_every_turn_that_it_takes() {
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}});
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "response_format": format});
    // With one turn for each process, the second turn needs a process that is not there yet when the stop begins.
    let flags = ["--max-turns", "1", "--standby", "off"];
    let server = Options::new().flags(&flags).mock(&["--mock-answer=schema+wrong-once+slow=500"]).start();
    let reply = std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.post("/v1/chat/completions", &body));
        until("the turn runs", || server.health()["invokers"]["busy"] == 1);
        server.signal(Signal::TERM);
        until("it lets nobody in", || server.ask("late").header("retry-after").is_some());
        assert_eq!((server.get("/readyz").status, server.get("/livez").status), (503, 200));
        asked.join().unwrap()
    });
    assert!(reply.text().starts_with('{'), "{reply:?}");
    assert!(server.log().contains("does not match the requested format; retrying"), "{}", server.log());
    server.stop();
}

#[test]
fn a_closed_terminal_stops_the_server_in_good_order_but_not_under_nohup() {
    let mut server = Options::new().mock(&["--mock-answer=slow=300"]).start();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.ask("hello"));
        until("the turn runs", || server.health()["invokers"]["busy"] == 1);
        server.signal(Signal::HUP);
        assert_eq!(asked.join().unwrap().status, 200);
    });
    assert!(server.wait().success(), "{}", server.log());
    assert_eq!((server.below(), server.files_left()), (vec![], vec![]));

    let server = Options::new().under(&["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""]).start();
    server.signal(Signal::HUP);
    assert_eq!(server.ask("hello").status, 200);
    assert!(!server.log().contains("SIGHUP"), "{}", server.log());
    server.stop();
}

#[test]
fn a_stream_that_the_stop_deadline_cuts_ends_with_an_error_and_is_no_client_that_left() {
    let flags = ["--stop-timeout", "0.3"];
    let mut server = Options::new().flags(&flags).mock(&["--mock-answer=drip=60000"]).start();
    let (mut stream, mut text) = server.stream("hello");
    server.signal(Signal::TERM);
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("\"code\":\"stopping\"") && !text.contains("[DONE]"), "{text}");
    assert!(server.wait().success(), "{}", server.log());
    assert!(!server.log().contains("client left"), "{}", server.log());
}

#[test]
fn a_second_sigterm_kills_what_hangs() {
    let mut server = Options::new().mock(&["--mock-fault=hang,ignore-sigterm"]).start();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(server.ask("hello").status, 503));
        until("the turn runs", || server.health()["invokers"]["busy"] == 1);
        server.signal(Signal::TERM);
        until("it stops", || server.log().contains("SIGTERM"));
        server.signal(Signal::TERM);
    });
    assert!(server.wait().success(), "{}", server.log());
    assert_eq!(server.below(), []);
}

/// Neither sends its body, and the grace is longer than any test waits.
#[test]
fn a_second_sigterm_waits_for_no_client_that_is_stuck() {
    let mut server = Options::new().flags(&["--stop-timeout", "3600"]).start();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    let mut stuck = crate::support::connect(server.address);
    write!(stuck, "{head}\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n").unwrap();
    let mut go_on = [0; 25];
    std::io::Read::read_exact(&mut stuck, &mut go_on).unwrap();
    server.signal(Signal::TERM);
    until("it stops", || server.log().contains("shutting down; send it again to kill"));
    let asked = std::time::Instant::now();
    server.signal(Signal::TERM);
    server.wait();
    // Without the second signal, the minute in which a body has to come would be waited for.
    assert!(asked.elapsed() < std::time::Duration::from_secs(30), "{:?}", asked.elapsed());
    assert_eq!((server.below(), server.files_left().len()), (Vec::new(), 0));
}

#[test]
fn a_grandchild_in_its_own_session_ends_with_its_invoker() {
    for fault in ["grandchild", "grandchild-stdout"] {
        let fault = format!("--mock-fault={fault}");
        let server = Options::new().flags(&["--max-turns", "1"]).mock(&[&fault]).start();
        for _ in 0..5 {
            server.ask("hello").text();
        }
        until("only the last invoker is left: keeper, CLI, and at most one grandchild", || server.below().len() <= 3);
        server.stop();
    }
}

/// Each generation lives for a millisecond, in a session of its own: no list of pids is ever right.
#[test]
fn a_tree_that_keeps_forking_and_moving_ends_with_its_invoker() {
    let folder = tempfile::tempdir().unwrap();
    let (mover, cli) = (folder.path().join("mover"), folder.path().join("claude"));
    script(&mover, &format!("sh {} &", mover.display()));
    let start = format!("setsid sh {} < /dev/null > /dev/null 2>&1 &", mover.display());
    script(&cli, &format!("{start}\n{start}\nexec {} \"$@\"", env!("CARGO_BIN_EXE_mock-claude")));
    for kill in [false, true] {
        let mut server = Options::new().cli(&cli).start();
        server.ask("hello").text();
        if kill {
            server.signal(Signal::KILL);
            server.wait();
            until("the tree is empty", || server.below().is_empty());
        } else {
            server.stop();
        }
    }
}

#[test]
fn a_cli_that_ignores_sigterm_is_killed_by_the_ladder() {
    let server = Options::new().mock(&["--mock-fault=ignore-sigterm"]).start();
    server.ask("hello").text();
    server.stop();
}

#[test]
fn a_killed_keeper_leaves_nothing_and_the_next_request_is_served() {
    let server = Options::new().mock(&["--mock-fault=grandchild"]).start();
    server.ask("hello").text();
    let keeper = process_tree::children(server.pid())[0];
    let before = server.below();
    signal_pid(keeper, Signal::KILL);
    until("what it kept is gone", || before.iter().all(|process| !process.is_running()));
    server.ask("hello").text();
    until("the orphans are reaped", || process_tree::children(server.pid()).len() == 1);
    server.stop();
}

#[test]
fn the_next_start_clears_what_a_killed_server_and_keeper_left() {
    let runtime = tempfile::tempdir().unwrap();
    let flags = ["--runtime-dir", runtime.path().to_str().unwrap()];
    // Without a `/clear` after the turn: the CLI would notice that nobody reads its answer, and leave by itself.
    let flags = [&flags[..], &["--isolation", "none"]].concat();
    let mut server = Options::new().flags(&flags).mock(&["--mock-fault=grandchild,ignore-sigterm"]).start();
    server.ask("hello").text();
    let keeper = process_tree::children(server.pid())[0];
    // A server that is stopped cannot clear up after its keeper.
    server.signal(Signal::STOP);
    let state = || procfs::process::Process::new(server.pid()).unwrap().stat().unwrap().state;
    until("the server is stopped", || state() == 'T');
    signal_pid(keeper, Signal::KILL);
    server.signal(Signal::KILL);
    server.wait();
    let left = server.below();
    assert_eq!(left.len(), 2, "the CLI and its grandchild: {left:?}");
    let next = Options::new().flags(&flags).start();
    until("it is cleared", || left.iter().all(|process| !process.is_running()));
    assert_eq!(std::fs::read_dir(runtime.path()).unwrap().count(), 1, "only the folder of the next server");
    next.stop();
}

#[test]
fn a_server_that_is_killed_while_its_cli_is_stopped_leaves_nothing() {
    let mut server = Options::new().mock(&["--mock-fault=grandchild"]).start();
    server.ask("hello").text();
    let keeper = process_tree::children(server.pid())[0];
    let cli = process_tree::children(keeper)[0];
    signal_pid(cli, Signal::STOP);
    server.signal(Signal::KILL);
    server.wait();
    until("the tree is empty", || server.below().is_empty());
}

/// At a moment that depends on the machine alone: after so many replies, with turns and restarts under way.
#[test]
fn a_sigkill_of_the_server_under_load_leaves_no_process() {
    for round in 0..20 {
        let flags = ["--slots", "2", "--max-turns", "2"];
        let mut server = Options::new().flags(&flags).mock(&["--mock-fault=grandchild@p=0.5"]).start();
        let (replies, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(mut stream) = std::net::TcpStream::connect(server.address) else { return };
                        let body = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
                        let head =
                            "POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json";
                        let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        let _ = std::io::copy(&mut stream, &mut std::io::sink());
                        replies.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            until("some replies have come", || replies.load(Ordering::Relaxed) >= round);
            server.signal(Signal::KILL);
            stop.store(true, Ordering::Relaxed);
        });
        server.wait();
        until("the tree is empty", || server.below().is_empty());
        let files = server.files_left();
        assert!(files.is_empty(), "{files:?}");
    }
}

#[test]
fn what_a_cli_puts_into_its_runtime_folder_is_gone_after_a_kill_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, seen) = (folder.path().join("claude"), folder.path().join("seen"));
    let text = "#!/bin/sh\nmkdir \"$XDG_RUNTIME_DIR/socks\" && : >\"$XDG_RUNTIME_DIR/socks/1.sock\"\n\
                echo \"$XDG_RUNTIME_DIR\" >SEEN\nexec MOCK \"$@\"\n";
    let text = text.replace("SEEN", seen.to_str().unwrap()).replace("MOCK", env!("CARGO_BIN_EXE_mock-claude"));
    script(&cli, &text);
    let mut server = Options::new().cli(&cli).start();
    until("it is ready", || server.get("/readyz").status == 200);
    let socks = std::path::PathBuf::from(std::fs::read_to_string(&seen).unwrap().trim()).join("socks");
    assert!(socks.join("1.sock").exists());
    server.signal(Signal::KILL);
    server.wait();
    until("its keeper has removed it", || !socks.exists());
}
