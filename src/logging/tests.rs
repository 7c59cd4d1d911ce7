use std::io::{PipeWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{LogFormat, MAX_LOGGED_BODY, lost_lines, shorten, start};

const NAME: &str = "logging::tests::a_panic_that_nobody_can_read_ends_and_holds_up_nothing";
const CHILD: &str = "TEST_OF_LOGGING";

/// Runs itself in processes whose stderr takes nothing.
#[test]
fn a_panic_that_nobody_can_read_ends_and_holds_up_nothing() {
    if let Some(lost) = std::env::var_os(CHILD) {
        return panic_beside(lost == "lost");
    }
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let (_unread, mut full) = std::io::pipe().unwrap();
    fill(&mut full);
    for (stderr, outcome) in [(gone, "lost"), (full, "waits")] {
        #[expect(clippy::disallowed_methods, reason = "it is waited for here")]
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME, "--nocapture"]).env(CHILD, outcome).stdout(Stdio::piped()).stderr(stderr);
        let started = Instant::now();
        let output = again.output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{outcome}: {output:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{outcome}");
    }
}

fn panic_beside(is_lost: bool) {
    let log = start(&"info".parse().unwrap(), LogFormat::Json).unwrap();
    assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
    if is_lost {
        let deadline = Instant::now() + Duration::from_secs(20);
        while lost_lines() == 0 {
            assert!(Instant::now() < deadline, "the line of the panic is written or lost in the end");
        }
    }
    drop(log);
}

/// Writes until there is no room.
fn fill(pipe: &mut PipeWriter) {
    let flags = rustix::fs::fcntl_getfl(&*pipe).unwrap();
    rustix::fs::fcntl_setfl(&*pipe, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while pipe.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&*pipe, flags).unwrap();
}

#[test]
fn a_long_body_is_logged_in_part() {
    let long = "ü".repeat(MAX_LOGGED_BODY / 2 + 1);
    let short = shorten(&long);
    assert!(short.len() < MAX_LOGGED_BODY + 100 && short.starts_with("üü"));
    assert!(
        short.ends_with(&format!("… (the first {MAX_LOGGED_BODY} of {} bytes)", long.len())),
        "{}",
        &short[short.len() - 60..]
    );
    assert_eq!(shorten("short"), "short");
}
