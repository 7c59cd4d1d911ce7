//! Processes whose parent is gone: leakgate is their parent then, as init would be.

use std::fs;

use leakgate_judge::sample::Metric;

use super::{Foreign, SHORT};

/// Also one that has ended before its own parent does.
#[test]
fn orphans_that_end_by_themselves_are_reaped() {
    let answer = "message = run('claude', '-p', prompt); run('sh', '-c', 'sleep 0.2 >/dev/null 2>&1 &'); run('sh', '-c', '(exit 0) & sleep 0.01; exec true')";
    let Some(server) = Foreign::new(answer, SHORT) else { return };
    server.run(&[], &[]).code(0);
    let row = server.verdict().metrics.into_iter().find(|row| row.name == Metric::Zombies).unwrap();
    assert_eq!((row.first, row.last), (Some(0), Some(0)));
}

#[test]
fn children_that_the_server_does_not_wait_for_are_zombies() {
    let Some(server) = Foreign::new(
        "message = run('claude', '-p', prompt); globals().setdefault('KEPT', []).append(subprocess.Popen(['true']))",
        SHORT,
    ) else {
        return;
    };
    server.run(&[], &[]).code(1);
    assert!(server.leaks().contains(&Metric::Zombies), "{:?}", server.leaks());
}

#[test]
fn orphans_that_go_on_are_counted_and_ended() {
    let answer =
        "message = run('claude', '-p', prompt); run('sh', '-c', 'sleep 98765 >/dev/null 2>&1 & echo $! >>pids')";
    let Some(server) = Foreign::new(answer, SHORT) else { return };
    server.run(&[], &[]).code(1);
    assert!(server.leaks().contains(&Metric::Processes), "{:?}", server.leaks());
    assert!(server.leaks().contains(&Metric::Orphans), "{:?}", server.leaks());
    let pids = fs::read_to_string(server.path().join("pids")).unwrap();
    let is_alive =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|command| command.contains("98765"));
    assert!(pids.lines().count() > 60 && !pids.lines().any(is_alive));
}
