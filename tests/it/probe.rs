//! The probes, against real processes.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use leakgate_drive::orphans;
use leakgate_drive::probe::Probe;
use leakgate_drive::target::folder::Folder;
use leakgate_judge::sample::Metric;

/// A shell script as a target; whatever is left of it is ended with it.
struct Script {
    child: Child,
    folder: Folder,
    probe: Probe,
}

impl Script {
    fn start(script: &str) -> Self {
        Self::start_with(script, |_| {})
    }

    fn start_with(script: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = Folder::new().unwrap();
        #[expect(clippy::disallowed_methods, reason = "Script owns the process and ends what it leaves")]
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .current_dir(folder.path())
            .envs(folder.env())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        change(&mut command);
        let child = command.spawn().unwrap();
        let probe = Probe::new(child.id(), folder.path(), Path::new("sleep")).unwrap();
        Self { child, folder, probe }
    }

    /// Waits until the probe counts exactly `expected` of `metric`.
    fn wait_for(&mut self, metric: Metric, expected: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.probe.read_counts()[&metric] != expected {
            assert!(
                Instant::now() < deadline,
                "{metric:?}: {:?}, {:?}",
                self.probe.read_counts(),
                self.probe.read_tree()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the server runs `program`.
    fn wait_for_command(&mut self, program: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.probe.read_tree().members.first().is_some_and(|m| m.runs_any_of(&[program.to_owned()])) {
            assert!(Instant::now() < deadline, "{:?}", self.probe.read_tree());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end_server(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let left: Vec<_> = self.probe.find_orphans().iter().map(|m| m.id).collect();
        let still = orphans::kill_and_wait(&left);
        assert!(still.is_empty() || thread::panicking(), "{still:?}");
    }
}

#[test]
fn a_zombie_is_counted_and_is_no_process() {
    let mut script = Script::start("sh -c 'exit 0' & exec sleep 60");
    script.wait_for(Metric::Zombies, 1);
    assert_eq!(script.probe.read_counts()[&Metric::Processes], 1);
}

#[test]
fn a_grandchild_in_its_own_session_is_found() {
    let mut script = Script::start("sh -c 'setsid sleep 60 & wait' & wait");
    script.wait_for(Metric::Processes, 3);
}

#[test]
fn a_daemon_that_was_never_seen_in_the_tree_is_found() {
    let mut script = Script::start("(setsid sleep 60 &) ; echo > tmp/done; exec sleep 60");
    script.wait_for(Metric::Files, 1);
    script.wait_for(Metric::Processes, 2);
    assert_eq!(script.probe.read_tree().cli.len(), 2);
}

#[test]
fn a_process_that_dropped_its_environment_stays_known() {
    let mut script = Script::start("sh -c 'env -i sleep 60 & wait' & wait $!; exec sleep 60");
    script.wait_for(Metric::Processes, 3);
    let middle = script.probe.read_tree().members[1].id;
    assert!(orphans::kill_and_wait(&[middle]).len() <= 1);
    script.wait_for(Metric::Processes, 2);
}

#[test]
fn what_outlives_the_server_is_an_orphan_and_is_ended() {
    let mut script = Script::start("setsid sleep 60 & sleep 60 & wait");
    script.wait_for(Metric::Processes, 3);
    script.end_server();
    // What the shell has forked becomes `sleep` only a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !script.probe.find_orphans().iter().all(|o| o.command == ["sleep", "60"]) {
        assert!(Instant::now() < deadline, "{:?}", script.probe.find_orphans());
        thread::sleep(Duration::from_millis(5));
    }
    let orphans = script.probe.find_orphans();
    assert_eq!(orphans.len(), 2);
    assert!(orphans::kill_and_wait(&orphans.iter().map(|o| o.id).collect::<Vec<_>>()).is_empty());
    assert!(script.probe.find_orphans().is_empty());
}

#[test]
fn targets_side_by_side_do_not_see_each_other() {
    let mut one = Script::start("(setsid sleep 60 &) ; (setsid sleep 60 &) ; exec sleep 60");
    let mut two = Script::start("(setsid sleep 60 &) ; exec sleep 60");
    one.wait_for(Metric::Processes, 3);
    two.wait_for(Metric::Processes, 2);
    one.wait_for(Metric::Processes, 3);
}

#[test]
fn descriptors_are_counted_by_kind() {
    // What the test's own caller leaves open is inherited by both, and drops out.
    let mut plain = Script::start("exec sleep 60");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let mut script = Script::start_with("exec 7>tmp/file; exec sleep 60", |command| {
        command.stdin(OwnedFd::from(theirs)).stdout(event).stderr(Stdio::piped());
    });
    for script in [&mut plain, &mut script] {
        script.wait_for_command("sleep");
    }
    let (plain, counts) = (plain.probe.read_counts(), script.probe.read_counts());
    let more = |metric| counts[&metric] - plain[&metric];
    assert_eq!((more(Metric::FdsSocket), more(Metric::FdsPipe), more(Metric::FdsAnon)), (1, 1, 1));
    assert_eq!(plain[&Metric::FdsFile] - counts[&Metric::FdsFile], 2, "three times /dev/null against one file");
    assert_eq!(counts[&Metric::Threads], 1);
    drop(ours);
}

#[test]
fn files_are_counted_wherever_they_lie() {
    let mut script = Script::start("mkdir home/a; echo > home/a/b; ln -s /nowhere run/link; exec sleep 60");
    script.wait_for(Metric::Files, 3);
    fs::remove_file(script.folder.path().join("run/link")).unwrap();
    script.wait_for(Metric::Files, 2);
}

#[test]
fn the_memory_of_the_whole_tree_is_summed() {
    let mut script = Script::start("sleep 60 & sleep 60 & wait");
    script.wait_for(Metric::Processes, 3);
    let tree = script.probe.read_tree();
    let memory = script.probe.read_memory(&tree);
    assert!(memory.server.anon_pss > 0 && memory.server.anon_pss < memory.tree.anon_pss);
    assert!(memory.server.rss < memory.tree.rss);
}
