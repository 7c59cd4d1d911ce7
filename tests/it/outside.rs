//! Servers that leakgate knows nothing of: our own, but seen from outside, with and without a leak.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use leakgate_judge::sample::{GrowthUnit, Metric, Run, Thing};
use leakgate_judge::verdict::{Finding, Verdict};
use predicates::str::contains;
use rustix::process::Pid;
use tempfile::TempDir;

use crate::support::{Options, until};

mod environment;
mod orphans;
mod own_cli;
mod replies;

/// The first lines of a `leakgate.toml` whose run is short.
const SHORT: &str = "[limits]\nwarm-up = 8\nrestarts = 40\nturns = 60\n";

/// A repository with a server in it.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("leakgate.toml"), toml).unwrap();
        Self { folder }
    }

    /// A server of ours as anybody would start it.
    fn of(command: &str, toml: &str) -> Self {
        let sut = env!("CARGO_BIN_EXE_sut");
        let server = format!(
            "[server]\ncommand = \"{sut} {command} --listen 127.0.0.1:{{port}} --cli {{mock}} --cli-arg=--mock-echo-mark\"\n\
             url = \"http://127.0.0.1:{{port}}\"\n"
        );
        Self::new(&(server + toml))
    }

    fn run(&self, args: &[&str]) -> Assert {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leakgate"));
        command.args(["run", "--no-controls", "--out", "out"]).args(args).current_dir(self.folder.path());
        command.env_remove("CARGO").timeout(Duration::from_mins(3)).assert()
    }

    fn verdict(&self) -> Verdict {
        serde_json::from_slice(&fs::read(self.folder.path().join("out/verdict.json")).unwrap()).unwrap()
    }

    fn measured(&self) -> Run {
        serde_json::from_slice(&fs::read(self.folder.path().join("out/run.json")).unwrap()).unwrap()
    }

    fn leaks(&self) -> Vec<Metric> {
        let leaks = self.verdict().metrics.into_iter().filter(|row| row.verdict == Finding::Leak);
        leaks.map(|row| row.name).collect()
    }
}

/// A server in Python that knows nothing of leakgate, in a repository of its own.
struct Foreign(Repository);

impl std::ops::Deref for Foreign {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.0
    }
}

impl Foreign {
    /// It does with a prompt what `answer` says: Python that sets `message`. None where there is no Python. What `toml` has
    /// under `[server]` comes first in it.
    fn new(answer: &str, toml: &str) -> Option<Self> {
        let (python, toml) = (python()?, toml.strip_prefix("[server]\n").unwrap_or(&format!("\n{toml}")).to_owned());
        let server = format!(
            "[server]\ncommand = [\"{python}\", \"-B\", \"server.py\", \"{{port}}\"]\nurl = \"http://127.0.0.1:{{port}}\"\n"
        );
        let foreign = Self(Repository::new(&(server + &toml)));
        fs::write(foreign.path().join("server.py"), include_str!("outside/server.py")).unwrap();
        foreign.replace("# ANSWER", answer);
        Some(foreign)
    }

    fn path(&self) -> &Path {
        self.0.folder.path()
    }

    /// Puts a line of Python in the place of a mark.
    fn replace(&self, mark: &str, line: &str) {
        let path = self.path().join("server.py");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(mark), "{mark}");
        fs::write(path, text.replace(mark, line)).unwrap();
    }

    fn leakgate(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leakgate"));
        command.args(args).current_dir(self.path()).env_remove("CARGO").timeout(Duration::from_mins(5));
        command
    }

    /// `leakgate run` with these variables.
    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Assert {
        let mut command = self.leakgate(&["run", "--no-controls", "--out", "out"]);
        command.args(args).envs(variables.iter().copied()).assert()
    }
}

#[test]
fn a_server_without_a_leak_passes() {
    let repository = Repository::of("wrapper serve --max-turns 3", SHORT);
    repository.run(&[]).code(0).stderr(contains("gating the server of leakgate.toml"));
    let verdict = repository.verdict();
    assert!(verdict.proof.restarts >= 48 && verdict.proof.requests >= 140, "{:?}", verdict.proof);
    assert_eq!((verdict.proof.errors, verdict.proof.lost, verdict.proof.unmarked), (0, 0, 0));
    let judged: Vec<Metric> =
        verdict.metrics.iter().filter(|row| row.verdict == Finding::Pass).map(|row| row.name).collect();
    for signal in [
        Metric::CliProcesses,
        Metric::Processes,
        Metric::Zombies,
        Metric::FdsPipe,
        Metric::FdsSocket,
        Metric::FdsFile,
        Metric::FdsAnon,
        Metric::Threads,
        Metric::Files,
        Metric::Orphans,
        Metric::LeftByKill,
        Metric::Lost,
        Metric::MixedUp,
    ] {
        assert!(judged.contains(&signal), "{signal:?} is not among {judged:?}");
    }
}

#[test]
fn a_server_that_keeps_old_clis_leaks_them_and_the_report_names_them() {
    let repository = Repository::of("serve --no-channel --plant kept-invoker --max-turns 3", SHORT);
    repository
        .run(&[])
        .code(1)
        .stdout(contains("LEAK  cli_processes grew by"))
        .stdout(contains("Leaked at each restart"))
        .stdout(contains("descriptors: pipe to"))
        .stdout(contains("The server's own RSS, which its health page would show"));
    let run = repository.measured();
    assert_eq!(run.targets.len(), 2, "a leak is shown a second time, in a fresh process");
    let grown = &run.targets[0].grown;
    assert!(
        grown.iter().any(|g| g.what == Thing::Process && g.name.contains("mock-claude") && g.more >= 4),
        "{grown:?}"
    );
}

/// The orphan is started at the first restart, which is before the first checkpoint.
#[test]
fn what_a_stopped_or_killed_server_leaves_is_a_leak() {
    let repository = Repository::of("serve --no-channel --plant orphan --max-turns 2", SHORT);
    repository.run(&[]).code(1).stdout(contains("left after SIGKILL: process"));
    assert_eq!(repository.leaks()[..2], [Metric::Orphans, Metric::LeftByKill]);
}

#[test]
fn known_growth_is_allowed_until_its_day() {
    let exception = |expires: &str| {
        format!(
            "{SHORT}[[exception]]\nsignal = \"fds_file\"\nallow = 100\nreason = \"a log for each CLI\"\nowner = \"ops\"\nexpires = \"{expires}\"\n"
        )
    };
    let leaking = "serve --no-channel --plant fd --max-turns 3";
    let repository = Repository::of(leaking, &exception("2999-12-31"));
    repository.run(&[]).code(0);
    let row = repository.verdict().metrics.into_iter().find(|row| row.name == Metric::FdsFile).unwrap();
    assert!(row.verdict == Finding::Shown && row.reason.contains("allowed until 2999-12-31: a log for each CLI (ops)"));
    Repository::of(leaking, &exception("2020-01-31")).run(&[]).code(2).stderr(contains("expired on 2020-01-31"));
    Repository::of(leaking, &exception("soon")).run(&[]).code(2).stderr(contains("write it as YYYY-MM-DD"));
}

#[test]
fn a_server_that_restarts_nothing_or_at_each_turn_is_judged_by_its_turns() {
    for server in ["--max-turns 1", "--max-turns 100000"] {
        let repository = Repository::of(&format!("wrapper serve {server}"), SHORT);
        repository.run(&[]).code(0).stdout(contains("per turn  verdict       smallest detectable"));
        assert_eq!(repository.measured().targets[0].plan.growth_unit(), GrowthUnit::Turn);
        assert!(repository.verdict().proof.turns >= 60);
    }
}

#[test]
fn a_restart_can_be_a_request() {
    let repository = Repository::of("wrapper serve --max-turns 100000", SHORT);
    repository.run(&["--restart-http", "POST /admin/restart"]).code(0);
    assert!(repository.verdict().proof.restarts >= 48, "{:?}", repository.verdict().proof);
    repository.run(&["--restart-http", "POST /nowhere"]).code(4);
    assert!(repository.verdict().invalid[0].contains("POST /nowhere answers 404"));
}

#[test]
fn a_restart_can_be_a_signal() {
    let repository = Repository::of("serve --no-channel --max-turns 100000 --restart-on-usr1", SHORT);
    repository.run(&["--restart-signal", "USR1"]).code(0);
    assert!(repository.verdict().proof.restarts >= 48, "{:?}", repository.verdict().proof);
    let leaky = "serve --no-channel --max-turns 100000 --restart-on-usr1 --plant fd";
    let repository = Repository::of(leaky, &format!("{SHORT}[restart]\nsignal = \"USR1\"\n"));
    repository.run(&[]).code(1);
    // Once, and once more in a fresh process.
    assert_eq!(repository.leaks(), [Metric::FdsFile; 2]);
}

/// One CLI process for each request, gone again before anybody looks: its own count of them is what tells.
#[test]
fn clis_too_short_to_be_seen_are_counted() {
    let Some(python) = python() else { return };
    let toml = format!(
        "[server]\ncommand = [\"{python}\", \"server.py\", \"{{port}}\"]\nurl = \"http://127.0.0.1:{{port}}\"\n{SHORT}"
    );
    let server = "import http.server, json, subprocess, sys\n\
         class H(http.server.BaseHTTPRequestHandler):\n\
         \x20def do_GET(self): self.send_response(200); self.end_headers()\n\
         \x20def do_POST(self):\n\
         \x20 prompt = json.loads(self.rfile.read(int(self.headers['content-length'])))['messages'][-1]['content']\n\
         \x20 said = subprocess.run(['claude', '-p', prompt, '--output-format', 'text'], capture_output=True, text=True).stdout\n\
         \x20 reply = {'choices': [{'message': {'role': 'assistant', 'content': said}, 'finish_reason': 'stop'}]}\n\
         \x20 self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(reply).encode())\n\
         \x20def log_message(self, *a): pass\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n";
    let repository = Repository::new(&toml);
    fs::write(repository.folder.path().join("server.py"), server).unwrap();
    repository.run(&[]).code(0);
    let run = &repository.measured().targets[0];
    assert_eq!(run.plan.growth_unit(), GrowthUnit::Turn);
    let (first, last) = (run.trace.first().unwrap(), run.trace.last().unwrap());
    assert!(last.restarts - first.restarts >= last.requests - first.requests, "{first:?} {last:?}");
    assert_eq!((run.proof.unmarked, run.proof.mixed_up), (0, 0));
}

/// Our server does nothing about SIGWINCH.
#[test]
fn restarts_that_never_come_prove_nothing() {
    let repository = Repository::of("wrapper serve --max-turns 100000", SHORT);
    repository.run(&["--restart-signal", "WINCH"]).code(4);
    let reason = &repository.verdict().invalid[0];
    assert!(
        reason.contains("5 restarts were asked for, and none was seen") && reason.contains("cli-match"),
        "{reason}"
    );
}

#[test]
fn a_server_that_runs_already_is_gated_and_left_alone() {
    let server = Options::new().flags(&["--max-turns", "3"]).mock(&["--mock-echo-mark"]).start();
    let repository = Repository::new(SHORT);
    let (pid, url) = (server.pid().to_string(), format!("http://{}", server.address));
    let args = ["--config", "leakgate.toml", "--pid", &pid, "--url", &url];
    repository.run(&args).code(0);
    assert!(repository.verdict().warnings.iter().any(|warning| warning.contains("it ran before leakgate came")));
    assert_eq!(server.health()["status"], "ok");
    // A control group is a folder with a list of processes; this one is made by hand and does not follow what they start.
    let group = repository.folder.path().join("group");
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("cgroup.procs"), &pid).unwrap();
    let group = group.display().to_string();
    let args = ["--config", "leakgate.toml", "--container-cgroup", &group, "--url", &url];
    repository.run(&args).code(0).stdout(contains("outside on group"));
    server.stop();
}

/// In a real control group, where this user may make one.
#[test]
fn a_container_is_gated_by_its_control_group() {
    for (plant, code) in [("clean", 0), ("process", 1)] {
        let Some(group) = Group::new(plant) else { return };
        let server = group.start(plant);
        let repository = Repository::new(SHORT);
        let (path, url) = (group.path.display().to_string(), format!("http://127.0.0.1:{}", group.port));
        let args = ["--config", "leakgate.toml", "--container-cgroup", &path, "--url", &url];
        repository.run(&args).code(code).stdout(contains("outside on leakgate-test-"));
        let rows = repository.verdict().metrics;
        let processes = rows.iter().find(|row| row.name == Metric::Processes).unwrap();
        assert!(processes.first >= Some(3), "the server, a keeper and a CLI: {processes:?}");
        assert_eq!(processes.verdict == Finding::Leak, code == 1, "{processes:?}");
        drop(server);
    }
}

/// A control group, as a container has one.
struct Group {
    path: PathBuf,
    port: u16,
}

impl Group {
    fn new(name: &str) -> Option<Self> {
        let hierarchies = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
        let name = format!("leakgate-test-{}-{name}", std::process::id());
        let paths = hierarchies.map(|root| Path::new(root).join(&name));
        // A folder in a hierarchy has its list from the start; any other folder is none.
        let made = |path: &PathBuf| {
            fs::create_dir(path).is_ok() && (path.join("cgroup.procs").exists() || fs::remove_dir(path).is_err())
        };
        let path = paths.into_iter().find(made)?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Self { path, port })
    }

    /// Starts our server in it, with a leak.
    fn start(&self, plant: &str) -> InGroup<'_> {
        let (procs, sut) = (self.path.join("cgroup.procs"), env!("CARGO_BIN_EXE_sut"));
        let runtime = tempfile::tempdir().unwrap();
        let plant = if plant == "clean" { String::new() } else { format!("--plant {plant}") };
        let script = format!(
            "echo $$ >{} && exec {sut} serve --no-channel --listen 127.0.0.1:{} --max-turns 3 {plant} \
             --runtime-dir {} --cli {} --cli-arg=--mock-echo-mark",
            procs.display(),
            self.port,
            runtime.path().display(),
            env!("CARGO_BIN_EXE_mock-claude"),
        );
        #[expect(clippy::disallowed_methods, reason = "InGroup ends it")]
        let child = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
        until("the server answers", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        InGroup { group: self, child, _runtime: runtime }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// A server in a control group; with it goes whatever is left in there.
struct InGroup<'a> {
    group: &'a Group,
    child: Child,
    _runtime: TempDir,
}

impl Drop for InGroup<'_> {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let procs = self.group.path.join("cgroup.procs");
        until("the group is empty", || {
            let left = fs::read_to_string(&procs).unwrap_or_default();
            for pid in left.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            left.is_empty()
        });
    }
}

#[test]
fn forms_that_a_server_refuses_are_left_out_and_named() {
    let reply = r#"{"choices":[{"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;
    let server = format!(
        "import http.server, json\n\
         class H(http.server.BaseHTTPRequestHandler):\n\
         \x20def do_GET(self): self.send_response(200); self.end_headers()\n\
         \x20def do_POST(self):\n\
         \x20 body = json.loads(self.rfile.read(int(self.headers['content-length'])))\n\
         \x20 status = 400 if body.get('stream') or 'response_format' in body else 200\n\
         \x20 self.send_response(status); self.end_headers(); self.wfile.write(b'{reply}')\n\
         \x20def log_message(self, *a): pass\n\
         import sys; http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    );
    let Some(python) = python() else { return };
    let toml = format!(
        "[server]\ncommand = [\"{python}\", \"server.py\", \"{{port}}\"]\nurl = \"http://127.0.0.1:{{port}}\"\n{SHORT}"
    );
    let repository = Repository::new(&toml);
    fs::write(repository.folder.path().join("server.py"), server).unwrap();
    repository.run(&[]).code(0).stdout(contains("carried no mark"));
    let warnings = repository.verdict().warnings.join("\n");
    assert!(warnings.contains("streamed requests were left out") && warnings.contains("JSON requests were left out"));
}

/// The one test that needs another language: a server that is not ours in any way. Without it, it has nothing to say.
fn python() -> Option<String> {
    let paths = std::env::var_os("PATH")?;
    let found: Option<PathBuf> = std::env::split_paths(&paths).map(|path| path.join("python3")).find(|p| p.is_file());
    found.map(|path| path.display().to_string())
}

#[test]
fn mistakes_are_told_before_anything_is_started() {
    let refused = |toml: &str, args: &[&str], why: &str| {
        Repository::new(toml).run(args).code(2).stderr(contains(why.to_owned()));
    };
    let server = "[server]\ncommand = \"true\"\nurl = \"http://127.0.0.1:1\"\n";
    refused("[server]\ncomand = \"x\"\n", &[], "unknown field `comand`");
    refused(&format!("{server}[limits]\nrestarts = 2\n"), &[], "from 4 to 1000000");
    refused(&format!("{server}[load]\nconcurrency = 0\n"), &[], "choose from 1 to 256");
    refused(&format!("{server}[load]\nkey-env = \"NO_SUCH_KEY\"\n"), &[], "NO_SUCH_KEY, which is not set");
    refused(&format!("{server}[restart]\nhttp = \"restart\"\n"), &[], "write it as POST /path");
    refused(&format!("{server}[restart]\nsignal = \"KILL\"\n"), &[], "choose HUP");
    refused(&format!("{server}[restart]\nturns = 5\nsignal = \"HUP\"\n"), &[], "choose one of restart.turns");
    refused("[server]\nurl = \"http://127.0.0.1:1\"\n", &[], "say what to run: --server");
    refused("[server]\ncommand = \"true\"\n", &[], "say where the server answers: --url");
    refused("[server]\ncommand = \"a 'b\"\nurl = \"http://127.0.0.1:1\"\n", &[], "a quote without its end");
    refused("", &["--server", "true", "--url", "https://127.0.0.1"], "plain HTTP");
    refused("", &["--server", "true", "--url", "nonsense url"], "write it as http://127.0.0.1:PORT");
    refused("", &["--pid", "4194305", "--url", "http://127.0.0.1:1"], "there is no such process");
    refused("", &["--container-cgroup", "/", "--url", "http://127.0.0.1:1"], "there is no cgroup.procs in it");
    refused("", &["--server", "true", "--pid", "1", "--url", "http://127.0.0.1:1"], "cannot be used with");
    refused("", &["--config", "none.toml"], "cannot read none.toml");
}

#[test]
fn a_server_that_does_not_start_or_answer_proves_nothing() {
    let invalid = |command: &str, why: &str| {
        let toml = format!("[server]\ncommand = {command}\nurl = \"http://127.0.0.1:{{port}}\"\nstart-seconds = 1\n");
        let repository = Repository::new(&toml);
        repository.run(&[]).code(4);
        let reason = &repository.verdict().invalid[0];
        assert!(reason.contains(why), "{reason}");
    };
    invalid("[\"sh\", \"-c\", \"echo no licence >&2; exit 3\"]", "exit status: 3 before it was ready");
    invalid("\"sleep 60\"", "it was not ready at http://127.0.0.1:");
    invalid("\"/nowhere/server\"", "/nowhere/server: No such file");
}
