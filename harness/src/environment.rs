//! Where and with what a run is made.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use leakgate_drive::orphans;
use leakgate_judge::sample::Environment;

/// Describes this process and its machine; `cli_versions` are those of the recordings. The command is the one that
/// repeats the run, so it always has its seed.
#[must_use]
pub fn describe(cli_versions: BTreeSet<String>, seed: u64) -> Environment {
    let mut command: Vec<OsString> = env::args_os().collect();
    let is_seed = |argument: &OsString| argument == "--seed" || argument.as_bytes().starts_with(b"--seed=");
    if !command.iter().any(is_seed) {
        command.extend(["--seed".into(), seed.to_string().into()]);
    }
    Environment {
        command: command.iter().map(|argument| shell_quote(argument)).collect::<Vec<_>>().join(" "),
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        leakgate: env!("CARGO_PKG_VERSION").to_owned(),
        commit: head_commit().or_else(image_commit),
        rustc: env!("LEAKGATE_RUSTC").to_owned(),
        kernel: sysinfo::System::kernel_version().unwrap_or_default(),
        cli_versions: cli_versions.into_iter().collect(),
        cpus: available_parallelism().map_or(1, |cpus| cpus.get() as u64),
        allocator: libc_version(),
    }
}

/// An argument as a shell takes it; bytes that are no UTF-8 as bash and POSIX write them.
fn shell_quote(argument: &OsStr) -> String {
    // No argument of a process holds a zero byte, which is all that cannot be quoted.
    let quoted = |text| shlex::try_quote(text).map_or_else(|_| text.to_owned(), Cow::into_owned);
    argument.to_str().map_or_else(|| format!("$'{}'", argument.as_bytes().escape_ascii()), quoted)
}

/// The commit that an image was built from: there is no git in one.
fn image_commit() -> Option<String> {
    env::var("LEAKGATE_COMMIT").ok().filter(|commit| !commit.is_empty())
}

/// The C library, which allocates for `sut`; absent where it does not tell its version.
fn libc_version() -> Option<String> {
    command_output("getconf", &["GNU_LIBC_VERSION"])
}

/// The commit of the working folder, where git knows one, with `+changes` when it has some.
#[must_use]
pub fn head_commit() -> Option<String> {
    let commit = command_output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changes = command_output("git", &["status", "--porcelain", "--untracked-files=no"]);
    Some(if changes.is_some_and(|changes| !changes.is_empty()) { format!("{commit}+changes") } else { commit })
}

/// The trimmed stdout of a command; none unless it succeeds.
fn command_output(program: &str, args: &[&str]) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "it is waited for right here")]
    let output = orphans::output(Command::new(program).args(args)).ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_can_be_given_to_a_shell_again() {
        assert_eq!(shell_quote(OsStr::new("a b")), "'a b'");
        assert_eq!(shell_quote(OsStr::new("--out")), "--out");
        assert_eq!(shell_quote(OsStr::from_bytes(b"x\xff'y")), "$'x\\xff\\'y'");
    }
}
