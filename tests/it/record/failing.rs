//! A recording that cannot be written never breaks the session.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::process::{Recorder, command};

#[test]
fn a_folder_that_cannot_be_made_is_told_after_the_session() {
    let script = "cat; echo problem >&2; exit 7";
    let mut recorder = Recorder::with(&["-o", "/dev/null/no"], &["sh", "-c", script]);
    assert_eq!(recorder.output().status.code(), Some(2), "-o twice is an error of usage");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("new"), "a file where the folder should be").unwrap();
    let child = command(&folder, &[], &["sh", "-c", script]).spawn().unwrap();
    let mut recorder = Recorder { child, folder };
    recorder.send(b"passed on");
    let output = recorder.output();
    assert_eq!(output.stdout, b"passed on");
    assert_eq!(output.status.code(), Some(7));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("problem\nleakgate: there is no recording: cannot make a file in /"), "{told}");
    assert!(told.ends_with("choose another folder with --out\n"), "{told}");
}

#[test]
fn a_full_disk_ends_the_recording_after_its_last_whole_line_and_not_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let lines = 20_000;
    let cli = format!(
        "echo {{\\\"claude_code_version\\\":\\\"1\\\"}}; i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done; exit 5"
    );
    let recorder = command(&folder, &[], &["sh", "-c", &cli]);
    // Files may have 128 blocks of a shell, 64 or 128 KiB; a write beyond fails like one to a full disk.
    #[expect(clippy::disallowed_methods, reason = "waited for right here")]
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -Sf 128; exec \"$@\"", "sh"]);
    limited.arg(recorder.get_program()).args(recorder.get_args());
    let output = limited.output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), lines + 2);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("ends early: File too large"), "{told}");
    let path = std::fs::read_dir(folder.path().join("new")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.ends_with('\n') && text.len() > 1024 && text.len() <= 128 * 1024, "{}", text.len());
    leakgate_session::recording::parse("it", &text).unwrap();
}

#[test]
fn folder_and_file_are_the_users_alone() {
    let mut recorder = Recorder::shell("true");
    recorder.output();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = recorder.path();
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
}
