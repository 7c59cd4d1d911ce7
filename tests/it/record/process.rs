//! A recorder with a CLI behind it.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use leakgate_session::recording::{self, End, Session};
use rustix::process::Signal;

use crate::support::{signal_pid, until};

/// A running recorder; dropped, it is killed and reaped, and its folder goes.
pub(crate) struct Recorder {
    pub(crate) child: Child,
    pub(crate) folder: tempfile::TempDir,
}

/// `leakgate record` with these options and this CLI; the folder of the recordings is `DIR/new`.
pub(crate) fn command(folder: &tempfile::TempDir, options: &[&str], cli: &[&str]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "each test waits for it or drops its Recorder")]
    let mut command = Command::new("env");
    // Whoever runs the tests in the background may ignore some of them, and a shell cannot trap what was ignored before it.
    command.args(["--default-signal=HUP,INT,QUIT,TERM,USR1,USR2", env!("CARGO_BIN_EXE_leakgate")]);
    command.arg("record").arg("-o").arg(folder.path().join("new")).args(options).arg("--").args(cli);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Recorder {
    pub(crate) fn start(cli: &[&str]) -> Self {
        Self::with(&[], cli)
    }

    pub(crate) fn with(options: &[&str], cli: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = command(&folder, options, cli).spawn().unwrap();
        Self { child, folder }
    }

    pub(crate) fn shell(script: &str) -> Self {
        Self::start(&["sh", "-c", script])
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Exactly as many bytes as are expected, as soon as they are there.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        self.child.stdout.as_mut().unwrap().read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(bytes));
    }

    /// Closes stdin and gives all that still comes.
    pub(crate) fn output(&mut self) -> Output {
        self.child.stdin = None;
        let mut stderr = self.child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut read = Vec::new();
            stderr.read_to_end(&mut read).unwrap();
            read
        });
        let mut stdout = Vec::new();
        if let Some(pipe) = &mut self.child.stdout {
            pipe.read_to_end(&mut stdout).unwrap();
        }
        Output { stdout, stderr: errors.join().unwrap(), status: self.child.wait().unwrap() }
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> End {
        let mut status = None;
        until("the recorder has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        status.code().map_or_else(|| End::Signal(status.signal().unwrap()), End::Code)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_pid(self.pid(), signal);
    }

    /// Every process below it, by pid: the back first, then the CLI and its children.
    pub(crate) fn below(&self) -> Vec<i32> {
        process_tree::descendants(self.pid())
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("new")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The one recording.
    #[track_caller]
    pub(crate) fn path(&self) -> PathBuf {
        let paths = self.paths();
        assert_eq!(paths.len(), 1, "{paths:?}");
        paths[0].clone()
    }

    #[track_caller]
    pub(crate) fn session(&self) -> Session {
        recording::load(self.path().to_str().unwrap()).unwrap()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let process = procfs::process::Process::new(pid).and_then(|process| process.stat());
    process.is_ok_and(|stat| stat.state != 'Z')
}

/// `leakgate recordings` with these arguments: its exit code and all that it said.
pub(crate) fn recordings(arguments: &[&str]) -> (i32, String) {
    #[expect(clippy::disallowed_methods, reason = "waited for right here; it reaps what it starts")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakgate"));
    // Under `cargo test`, the programs are built already.
    let output = command.arg("recordings").args(arguments).env_remove("CARGO").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}
