//! Serving and stopping never wait for whoever reads the log.

use std::fs::OpenOptions;
use std::io::{PipeReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::Signal;
use serde_json::Value;

use crate::openmetrics;
use crate::support::{Options, Server, until};

/// No probe takes longer, whoever reads the log.
const PROMPT: Duration = Duration::from_secs(5);

fn lost_lines(server: &Server) -> u64 {
    server.health()["log"]["lost_lines"].as_u64().unwrap()
}

/// Asks with 200 kB that are logged.
fn ask_at_length(server: &Server) {
    server.ask(&"x".repeat(200_000)).text();
}

/// What was written until the end of the pipe.
fn read_all(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

/// The words of each line, all of which are whole.
fn messages(log: &str) -> Vec<String> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(|text| line(text)["fields"]["message"].as_str().unwrap_or_default().to_owned()).collect()
}

fn lines_about_losses(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("log lines were lost here")).collect()
}

#[test]
fn a_reader_that_goes_away_costs_lines_and_no_answer() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Options::new().stderr(writer).start();
    drop(reader);
    for _ in 0..3 {
        server.ask("hello").text();
    }
    until("lost lines are counted", || lost_lines(&server) >= 3);
    let scrape = openmetrics::parse(&server.get("/metrics").body).unwrap();
    assert!(scrape.value("ccw_log_lines_lost_total", &[]) >= 3.0);
    server.stop();
}

#[test]
fn a_log_on_a_full_disk_is_lost_and_the_server_serves() {
    let server = Options::new().stderr(OpenOptions::new().write(true).open("/dev/full").unwrap()).start();
    server.ask("hello").text();
    until("lost lines are counted", || lost_lines(&server) > 0);
    server.stop();
}

#[test]
fn a_reader_that_does_not_read_stops_neither_serving_nor_stopping() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = Options::new().flags(&["--log-bodies"]).stderr(writer).start();
    for _ in 0..3 {
        ask_at_length(&server);
        let started = Instant::now();
        assert_eq!(server.get("/livez").status, 200);
        assert!(started.elapsed() < PROMPT);
    }
    let started = Instant::now();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    drop(reader);
}

#[test]
fn a_reader_that_reads_again_learns_how_many_lines_it_has_missed() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = Options::new().flags(&["--log-bodies"]).stderr(writer).start();
    // The queue has room for four megabytes.
    until("lines are lost", || {
        ask_at_length(&server);
        lost_lines(&server) > 0
    });
    let lost = lost_lines(&server);
    let log = std::thread::spawn(move || read_all(reader));
    // The queue is empty again once nothing more is lost.
    until("lines are written again", || {
        let before = lost_lines(&server);
        ask_at_length(&server);
        lost_lines(&server) == before
    });
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let log = log.join().unwrap();
    let said: u64 = lines_about_losses(&log)
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"]["lines"].as_u64().unwrap())
        .sum();
    assert!(said >= lost, "{said} of {lost}");
    assert_eq!(messages(&log).last().unwrap(), "stopped");
}

#[test]
fn a_new_reader_of_a_fifo_gets_the_log_from_there_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    let read = |path: &Path| {
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        OpenOptions::new().read(true).custom_flags(nonblocking).open(path).unwrap()
    };
    let first = read(&path);
    let server = Options::new().stderr(OpenOptions::new().write(true).open(&path).unwrap()).start();
    drop(first);
    server.ask("hello").text();
    until("lines are lost", || lost_lines(&server) > 0);
    let (mut second, mut log) = (read(&path), Vec::new());
    until("the log says what was lost, and goes on", || {
        let _ = second.read_to_end(&mut log);
        let log = String::from_utf8_lossy(&log);
        !lines_about_losses(&log).is_empty() && log.lines().last().unwrap().contains("/health") || {
            server.health();
            false
        }
    });
    server.stop();
}

#[test]
fn a_pipe_that_does_not_block_loses_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut server = Options::new().flags(&["--log-bodies"]).stderr(writer).start();
    for _ in 0..3 {
        ask_at_length(&server);
    }
    assert_eq!(lost_lines(&server), 0);
    let log = std::thread::spawn(move || read_all(reader));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let messages = messages(&log.join().unwrap());
    assert_eq!(messages.iter().filter(|message| *message == "prompt").count(), 3);
    assert_eq!(messages.last().unwrap(), "stopped", "the last words are there");
}

#[test]
fn a_server_whose_stdout_and_stderr_are_closed_serves() {
    let closed = ["sh", "-c", r#"exec "$0" "$@" >&- 2>&-"#];
    let server =
        Options::new().under(&closed).stderr(OpenOptions::new().write(true).open("/dev/null").unwrap()).start();
    for fd in [1, 2] {
        // Nothing of the server's own may take these numbers.
        let target = std::fs::read_link(format!("/proc/{}/fd/{fd}", server.pid())).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
    }
    server.ask("hello").text();
    assert_eq!(lost_lines(&server), 0);
    server.stop();
}

#[test]
fn a_refusal_that_nobody_reads_ends_in_time() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while std::io::Write::write(&mut writer, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    for (args, code) in [(["--log", "loud"], 2), (["--model-alias", "a=a"], 2), (["--auth", "api-key"], 1)] {
        #[expect(clippy::disallowed_methods, reason = "it is waited for here")]
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sut"));
        command.args(["wrapper", "serve", "--listen", "127.0.0.1:0"]).args(args).env_clear();
        let started = Instant::now();
        let status = command.stderr(writer.try_clone().unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
        assert!(started.elapsed() < Duration::from_secs(15), "{args:?}");
    }
}
