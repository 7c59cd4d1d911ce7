//! A leakgate that is killed leaves nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use leakgate_drive::watchdog::MARK;
use process_tree::with_environment;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::until;

/// A server with a child in a session of its own, killed with leakgate's process group or not.
#[test]
fn nothing_is_left_of_a_server_when_leakgate_is_killed() {
    for kill in [kill_process, kill_process_group] {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, here) = (folder.path().join("tmp"), folder.path().display().to_string());
        fs::create_dir(&temporary).unwrap();
        #[expect(clippy::disallowed_methods, reason = "it is killed and waited for below")]
        let mut leakgate = Command::new(env!("CARGO_BIN_EXE_leakgate"))
            .args(["run", "--no-controls", "--url", "http://127.0.0.1:1", "--server"])
            .arg("sh -c 'touch $HOME/file; setsid sleep 600 & exec sleep 600'")
            .env_remove("CARGO")
            .env("TMPDIR", &temporary)
            .current_dir(folder.path())
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let marked = || with_environment(MARK, |value| value.starts_with(&here));
        until("the server runs, and its child", || marked().len() == 2);
        let guards = || with_environment("TMPDIR", |value| value == temporary.to_str().unwrap());
        assert_eq!(guards().len(), 2, "leakgate and its guard");
        kill(Pid::from_child(&leakgate), Signal::KILL).unwrap();
        leakgate.wait().unwrap();
        until("the guard has ended", || guards().is_empty());
        assert_eq!(marked(), []);
        let left: Vec<_> = fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, Vec::<std::ffi::OsString>::new());
    }
}
