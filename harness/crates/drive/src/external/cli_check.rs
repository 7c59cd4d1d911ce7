//! Whether the CLI that a server starts is the mock.
//!
//! A server may bring a CLI of its own along, or name one by its path, and that one asks the real API. So every process that
//! looks like a CLI has to turn out to be the mock: its program is the mock's file or a copy of it, or it is a script that
//! becomes the mock or starts it. A program that is a CLI and cannot become another one (a compiled CLI, the CLI's own
//! JavaScript) is told at once, a script when it has ended or lived for long without the mock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use process_tree;
use procfs::process::Process;

use crate::probe::tree::{Identity, identity};
use crate::real_cli;

/// So long a script may take to start the mock.
const GRACE: Duration = Duration::from_secs(2);
/// Processes of one script that ended without the mock, under load: one alone may have been too quick to be seen to the end.
const MOST_UNRESOLVED: u32 = 3;
/// The CLI's own package and the one that carries its script along, in the path of the script.
const PACKAGES: [&str; 2] = ["/@anthropic-ai/claude-code/", "/@anthropic-ai/claude-agent-sdk/cli.js"];
/// Where the SDKs keep the CLI that they bring along.
const BUNDLED: &str = "/_bundled/claude";
/// How much of a command line is told.
const TOLD: usize = 160;

/// The evidence so far on whether a server's CLI is the mock.
#[derive(Debug)]
pub(super) struct CliCheck {
    mock: Fingerprint,
    names: Vec<String>,
    /// The process that was started as the server: whatever it is called, it is no CLI.
    server: u32,
    /// Scripts that were seen to lead to the mock.
    wrappers: BTreeSet<PathBuf>,
    suspects: BTreeMap<Identity, Suspect>,
    /// By program: how many processes of it ended without the mock, and one of them.
    unresolved: BTreeMap<PathBuf, (u32, OwnCli)>,
    own: Option<OwnCli>,
    saw_mock: bool,
}

/// A process that is a CLI and is not the mock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnCli {
    pub(super) program: PathBuf,
    pid: u32,
    command: String,
}

#[derive(Debug)]
struct Suspect {
    cli: OwnCli,
    since: Instant,
}

/// The kinds of programs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Program {
    Mock,
    /// A CLI that is not the mock and will not become it.
    Own(PathBuf),
    /// It has a CLI's name, and may lead to any.
    Script(PathBuf),
    Other,
}

impl CliCheck {
    /// `names` are the file names of a CLI's program.
    pub(super) fn new(mock: &Path, names: &[String], server: u32) -> Self {
        Self {
            server,
            mock: Fingerprint::new(mock),
            names: names.to_vec(),
            wrappers: BTreeSet::new(),
            suspects: BTreeMap::new(),
            unresolved: BTreeMap::new(),
            own: None,
            saw_mock: false,
        }
    }

    /// A CLI of the server's own, once one was found.
    pub(super) fn own(&self) -> Option<&OwnCli> {
        self.own.as_ref()
    }

    /// Whether the mock itself was seen below the server.
    pub(super) fn saw_mock(&self) -> bool {
        self.saw_mock
    }

    /// Whether a script may still start the mock.
    pub(super) fn is_open(&self) -> bool {
        self.own.is_none() && !self.suspects.is_empty()
    }

    /// Looks at one process. It may be looked at again: it may have become another program meanwhile.
    pub(super) fn see(&mut self, pid: u32) {
        if pid == self.server {
            return;
        }
        let (Some(id), Some((exe, words))) = (identity(pid), program_of(pid)) else { return };
        // One that ended meanwhile is not known, and is seen again if it matters.
        let Some(is_mock) = self.mock.is_file_of(pid) else { return };
        match self.classify(pid, is_mock, &exe, &words) {
            Program::Other => {}
            Program::Mock => self.saw_the_mock(id),
            Program::Own(program) => {
                // A script that has given itself another name since has shown its path before.
                let before = self.suspects.remove(&id).map(|suspect| suspect.cli);
                self.own.get_or_insert_with(|| before.unwrap_or_else(|| OwnCli::new(program, pid, &words)));
            }
            Program::Script(program) if self.wrappers.contains(&program) => {}
            Program::Script(program) => {
                let suspect = || Suspect { cli: OwnCli::new(program, pid, &words), since: Instant::now() };
                self.suspects.entry(id).or_insert_with(suspect);
            }
        }
    }

    /// Goes through the scripts that have not led to the mock yet.
    pub(super) fn review(&mut self) {
        // A script may have been proved to lead to the mock by a later process of it.
        let wrappers = &self.wrappers;
        self.suspects.retain(|_, suspect| !wrappers.contains(&suspect.cli.program));
        let mut ended = Vec::new();
        for (id, suspect) in &self.suspects {
            // A pid can be reused between two readings: only the same start time makes it the same process.
            if identity(id.pid) != Some(*id)
                || process_tree::ProcessId::of(id.pid.cast_signed()).is_none_or(|p| !p.is_running())
            {
                ended.push(*id);
            } else if suspect.since.elapsed() > GRACE {
                // A wrapper script starts its CLI within milliseconds: this long without the mock, it runs something else.
                self.own.get_or_insert_with(|| suspect.cli.clone());
            }
        }
        for id in ended {
            let Some(Suspect { cli, .. }) = self.suspects.remove(&id) else { continue };
            let (count, _) = self.unresolved.entry(cli.program.clone()).or_insert_with(|| (0, cli.clone()));
            *count += 1;
            if *count >= MOST_UNRESOLVED {
                self.own.get_or_insert(cli);
            }
        }
    }

    /// The end of a request that was alone: a script that was seen until then led to the mock, if the mock was started
    /// meanwhile, and to another CLI otherwise.
    pub(super) fn conclude(&mut self, mock_was_started: bool) {
        self.review();
        // With one request alone there is no doubt which process served it, so a single one decides; under load it takes
        // several, because the mock of another request may have been started meanwhile.
        let unresolved = std::mem::take(&mut self.unresolved);
        if mock_was_started {
            self.wrappers.extend(unresolved.into_keys());
        } else if let Some((_, cli)) = unresolved.into_values().next() {
            self.own.get_or_insert(cli);
        }
    }

    fn classify(&self, pid: u32, is_mock: bool, exe: &Path, words: &[String]) -> Program {
        if is_mock || real_cli::is_mock(exe) {
            return Program::Mock;
        }
        let is_named = |path: &Path| {
            let file = path.file_name().and_then(|file| file.to_str());
            file.is_some_and(|file| self.names.iter().any(|name| name == file))
        };
        let absolute = |word: &String| absolute(pid, word);
        let is_package = |path: &Path| PACKAGES.iter().any(|package| path.to_string_lossy().contains(package));
        let is_cli = |word: &&String| is_named(Path::new(word)) || word.ends_with(BUNDLED);
        let is_script = |word: &&String| is_package(Path::new(word)) && !word.contains(char::is_whitespace);
        // Interpreters take options before the script; four words are enough for those that the SDKs pass.
        if let Some(word) = words.iter().take(4).find(is_script) {
            return Program::Own(absolute(word));
        }
        // Of a script, the first word is its interpreter: here a program has the name, or has given it to itself.
        if is_named(exe) || words.first().is_some_and(|word| is_cli(&word)) {
            return Program::Own(exe.to_owned());
        }
        match words.get(1).filter(is_cli).map(absolute) {
            // npm puts a link to the package's script into its bin folder.
            Some(path) if path.canonicalize().is_ok_and(|path| is_package(&path)) => Program::Own(path),
            Some(path) => Program::Script(path),
            None => Program::Other,
        }
    }

    /// A script that became this process, or that is above it, leads to the mock.
    fn saw_the_mock(&mut self, id: Identity) {
        self.saw_mock = true;
        let mut pid = Some(id.pid);
        // Bounded, because the tree may change while it is read.
        let mut above = 0;
        while let Some(id) = pid.and_then(identity).filter(|id| id.pid > 1 && above < 16) {
            if let Some(suspect) = self.suspects.remove(&id) {
                self.unresolved.remove(&suspect.cli.program);
                self.wrappers.insert(suspect.cli.program);
            }
            pid = process_tree::parent(id.pid.cast_signed()).and_then(|pid| u32::try_from(pid).ok());
            above += 1;
        }
    }
}

impl OwnCli {
    fn new(program: PathBuf, pid: u32, words: &[String]) -> Self {
        Self { program, pid, command: words.join(" ") }
    }

    /// The message for the user: the CLI found, the evidence, and what to do. `asked` are the requests that were sent until then.
    pub(super) fn message(&self, asked: u64) -> String {
        let asked = match asked {
            0 => "nothing was asked of it".to_owned(),
            1 => "nothing was asked of it but one request".to_owned(),
            count => format!("it was ended after {count} requests"),
        };
        let command: String = self.command.chars().take(TOLD).collect();
        format!(
            "the server starts its own CLI ({}), not the mock: {asked}. How this is known: process {} below the server \
             was `{command}`, and it neither is the mock nor started it. What to do: have the server take `claude` from its PATH, or give it the path of the mock where it takes that of a CLI ({{mock}} in \
             --server or in leakgate.toml; cli_path and pathToClaudeCodeExecutable in the SDKs). If it is meant to run its \
             own CLI, say so: --server-cli theirs (cli = \"theirs\" in leakgate.toml), and --keep-env NAME for each key that \
             it needs",
            self.program.display(),
            self.pid
        )
    }
}

/// The program's file and the command line of a process that has not ended.
fn program_of(pid: u32) -> Option<(PathBuf, Vec<String>)> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let words = Process::new(pid.try_into().ok()?).ok()?.cmdline().ok()?;
    Some((exe, words))
}

fn absolute(pid: u32, word: &str) -> PathBuf {
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    folder.join(word)
}

/// A file, and whether others are copies of it.
#[derive(Debug)]
struct Fingerprint {
    path: PathBuf,
    length: u64,
    /// By device and inode: what was found out already.
    known: BTreeMap<(u64, u64), bool>,
}

impl Fingerprint {
    fn new(path: &Path) -> Self {
        let found = fs::metadata(path);
        let known = found.as_ref().map(|found| ((found.dev(), found.ino()), true)).into_iter().collect();
        Self { path: path.to_owned(), length: found.map_or(0, |found| found.len()), known }
    }

    /// Whether the process `pid` runs this file or a copy of it; none where it has ended.
    fn is_file_of(&mut self, pid: u32) -> Option<bool> {
        let exe = File::open(format!("/proc/{pid}/exe")).ok()?;
        let found = exe.metadata().ok()?;
        let key = (found.dev(), found.ino());
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        // Comparing the bytes of a large program is slow: the length decides first, and the result is kept by inode.
        let same = found.len() == self.length && File::open(&self.path).is_ok_and(|own| is_same(own, exe));
        self.known.insert(key, same);
        Some(same)
    }
}

fn is_same(a: File, b: File) -> bool {
    let [a, b] = [a, b].map(|file| BufReader::new(file).bytes());
    a.zip(b).all(|(a, b)| matches!((a, b), (Ok(a), Ok(b)) if a == b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(exe: &str, words: &[&str]) -> Program {
        let names = ["claude", "mock-claude"].map(str::to_owned);
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        // No process has this number.
        CliCheck::new(Path::new("/nowhere"), &names, 1).classify(u32::MAX, false, Path::new(exe), &words)
    }

    #[test]
    fn compiled_clis_and_the_clis_own_javascript_are_told_at_once() {
        let own = |path: &str| Program::Own(path.into());
        let package = "/x/node_modules/@anthropic-ai/claude-code/cli.js";
        let carried = package.replace("claude-code", "claude-agent-sdk");
        for (exe, words, program) in [
            (
                "/x/claude_agent_sdk/_bundled/claude",
                &["/x/claude_agent_sdk/_bundled/claude", "-p"][..],
                "/x/claude_agent_sdk/_bundled/claude",
            ),
            (
                "/home/a/.local/share/claude/versions/2.1.330",
                &["claude", "-p"],
                "/home/a/.local/share/claude/versions/2.1.330",
            ),
            ("/usr/bin/node", &["node", package, "-p"], package),
            ("/usr/bin/node", &["node", "--no-warnings", "--x", package], package),
            ("/usr/bin/bun", &["bun", package], package),
            ("/usr/bin/node", &["node", &carried], &carried),
            ("/usr/bin/node", &["claude"], "/usr/bin/node"),
        ] {
            assert_eq!(classify(exe, words), own(program), "{words:?}");
        }
    }

    #[test]
    fn scripts_with_a_clis_name_may_still_lead_to_the_mock() {
        for (exe, words, program) in [
            ("/usr/bin/dash", &["/bin/sh", "/x/_bundled/claude", "-p"][..], "/x/_bundled/claude"),
            ("/usr/bin/node", &["node", "/usr/bin/claude"], "/usr/bin/claude"),
            ("/usr/bin/python3.11", &["python3", "/x/claude"], "/x/claude"),
            ("/usr/bin/env", &["env", "/x/claude"], "/x/claude"),
        ] {
            assert_eq!(classify(exe, words), Program::Script(program.into()), "{words:?}");
        }
    }

    #[test]
    fn the_mock_and_what_is_no_cli_are_neither() {
        assert_eq!(classify("/x/mock-claude", &["claude", "-p"]), Program::Mock);
        for (exe, words) in [
            ("/usr/bin/python3.11", &["python3", "server.py", "--cli", "claude"][..]),
            ("/usr/bin/dash", &["sh", "-c", "claude -p hello; true"]),
            ("/usr/bin/tail", &["tail", "-f", "log"]),
            ("/usr/bin/dash", &["sh", "-c", "node /x/@anthropic-ai/claude-code/cli.js -p; true"]),
        ] {
            assert_eq!(classify(exe, words), Program::Other, "{words:?}");
        }
    }

    #[test]
    fn a_copy_of_the_mock_is_the_mock() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy");
        fs::copy("/proc/self/exe", &copy).unwrap();
        assert_eq!(Fingerprint::new(&copy).is_file_of(std::process::id()), Some(true));
        assert_eq!(Fingerprint::new(Path::new("/nowhere")).is_file_of(std::process::id()), Some(false));
        assert_eq!(Fingerprint::new(&copy).is_file_of(u32::MAX), None);
    }
}
