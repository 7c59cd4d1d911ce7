//! Servers whose CLI is not the mock: they are found out before any load, and nothing is spent.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Child;

use leakgate_judge::sample::GrowthUnit;
use predicates::str::contains;

use super::{Foreign, Repository, SHORT};
use crate::support::{script, until};

/// Stands for a real CLI: it notes the key that a turn would have been paid with, and lives for as long as one does at least.
const REAL: &str = "echo \"paid with key '$ANTHROPIC_API_KEY' at '$ANTHROPIC_BASE_URL'\" >>\"${0%/*}/../spent.log\"\nsleep 0.2\necho a reply";

/// A server with a CLI of its own at `_bundled/claude`.
fn with_bundled(answer: &str, toml: &str) -> Option<Foreign> {
    let server = Foreign::new(answer, toml)?;
    fs::create_dir(server.path().join("_bundled")).unwrap();
    script(&server.path().join("_bundled/claude"), REAL);
    Some(server)
}

fn lines(server: &Foreign, name: &str) -> Vec<String> {
    let text = fs::read_to_string(server.path().join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_cli_of_the_servers_own_is_named_after_one_request_without_a_key() {
    let answer = "message = run(HERE + '/_bundled/claude', '-p', prompt)";
    for (args, key) in [(&[][..], ""), (&["--keep-env", "ANTHROPIC_API_KEY"], "any")] {
        let Some(server) = with_bundled(answer, SHORT) else { return };
        let program = server.path().join("_bundled/claude").display().to_string();
        let expected =
            format!("the server starts its own CLI ({program}), not the mock: nothing was asked of it but one request");
        server.run(args, &[("ANTHROPIC_API_KEY", "any")]).code(4);
        let reason = &server.verdict().invalid[0];
        assert!(reason.contains(&expected) && reason.contains("--server-cli theirs"), "{reason}");
        assert_eq!(lines(&server, "spent.log"), [format!("paid with key '{key}' at 'http://127.0.0.1:9'")]);
        assert_eq!(lines(&server, "asked.log").len(), 1);
    }
}

/// As many a server is written: by flags alone, the controls in front of it.
#[test]
fn it_is_found_out_before_the_controls_run() {
    let Some(server) = with_bundled("message = run(HERE + '/_bundled/claude', '-p', prompt)", "") else { return };
    let command = format!("{} -B server.py {{port}}", super::python().unwrap());
    fs::remove_file(server.path().join("leakgate.toml")).unwrap();
    let args = ["run", "--out", "out", "--server", &command, "--url", "http://127.0.0.1:{port}"];
    server.leakgate(&args).env("ANTHROPIC_API_KEY", "any").assert().code(4).stdout(contains("starts its own CLI"));
    assert!(server.measured().controls.is_empty());
    assert_eq!(lines(&server, "spent.log").len(), 1);
}

#[test]
fn it_is_found_out_however_it_is_started() {
    for (start, answer) in [
        ("", "message = run('sh', '-c', HERE + '/_bundled/claude -p hello; true')"),
        ("", "message = run('env', HERE + '/_bundled/claude', '-p', 'hello')"),
        ("", "message = run(sys.executable, HERE + '/node_modules/@anthropic-ai/claude-code/cli.js', '-p', 'hello')"),
        ("", "message = run(HERE + '/_bundled/worker', '-p', 'hello')"),
        ("subprocess.Popen([HERE + '/_bundled/claude'])", "message = 'from a pool that is warm'"),
    ] {
        let Some(server) = with_bundled(answer, &format!("[server]\ncli-match = [\"claude\", \"worker\"]\n{SHORT}"))
        else {
            return;
        };
        let package = server.path().join("node_modules/@anthropic-ai/claude-code");
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("cli.js"), "import time; time.sleep(0.2); print('a reply')").unwrap();
        script(&server.path().join("_bundled/worker"), REAL);
        server.replace("# START", start);
        server.run(&[], &[]).code(4);
        let reason = &server.verdict().invalid[0];
        assert!(reason.contains("the server starts its own CLI"), "{answer}: {reason}");
        assert!(lines(&server, "asked.log").len() <= 1, "{answer}");
    }
}

/// The real CLI waits for the API for a minute; a server that has started it before it is ready is asked nothing.
#[test]
fn a_cli_that_runs_before_the_server_is_ready_is_found_out_before_any_request() {
    let Some(server) = with_bundled("message = 'never'", SHORT) else { return };
    let package = server.path().join("node_modules/@anthropic-ai/claude-code");
    fs::create_dir_all(&package).unwrap();
    fs::write(package.join("cli.js"), "import time; time.sleep(60)").unwrap();
    server.replace(
        "# START",
        "subprocess.run([sys.executable, HERE + '/node_modules/@anthropic-ai/claude-code/cli.js'])",
    );
    server.run(&[], &[]).code(4);
    let reason = &server.verdict().invalid[0];
    assert!(reason.contains("not the mock: nothing was asked of it. How this is known: process"), "{reason}");
    assert_eq!(lines(&server, "asked.log"), [""; 0]);
}

#[test]
fn a_cli_of_its_own_for_a_few_requests_ends_the_load() {
    let answer = "message = run(*(['claude'] if number % 20 else [HERE + '/_bundled/claude']), '-p', prompt)";
    let Some(server) = with_bundled(answer, SHORT) else { return };
    server.run(&[], &[]).code(4);
    let reason = &server.verdict().invalid[0];
    assert!(reason.contains("the server starts its own CLI") && reason.contains("it was ended after"), "{reason}");
    assert!((1..=5).contains(&lines(&server, "spent.log").len()), "{:?}", lines(&server, "spent.log"));
}

#[test]
fn the_mock_behind_a_script_or_under_another_name_is_the_mock() {
    let mock = env!("CARGO_BIN_EXE_mock-claude");
    for (name, text) in
        [("claude", format!("exec {mock} \"$@\"")), ("claude", format!("{mock} \"$@\"")), ("worker", String::new())]
    {
        let answer = format!("message = run(HERE + '/bin/{name}', '-p', prompt)");
        let Some(server) = Foreign::new(&answer, &format!("[server]\ncli-match = [\"claude\", \"worker\"]\n{SHORT}"))
        else {
            return;
        };
        let path = server.path().join("bin").join(name);
        fs::create_dir(path.parent().unwrap()).unwrap();
        if text.is_empty() {
            fs::copy(mock, &path).unwrap();
        } else {
            script(&path, &text);
        }
        server.run(&[], &[]).code(0);
        assert_eq!(
            server.measured().targets[0].plan.growth_unit(),
            GrowthUnit::Turn,
            "each request was seen to start one"
        );
        assert_eq!(server.verdict().proof.unmarked, 0);
    }
}

#[test]
fn a_server_may_run_its_own_cli_where_that_is_said() {
    let answer = "message = run(HERE + '/_bundled/claude', '-p', prompt)";
    for (args, toml) in [(&["--server-cli", "theirs"][..], ""), (&[], "[server]\ncli = \"theirs\"\n")] {
        let Some(server) = with_bundled(answer, &format!("{toml}{SHORT}")) else { return };
        script(&server.path().join("_bundled/claude"), &REAL.replace("0.2", "0.05"));
        server.run(args, &[("ANTHROPIC_API_KEY", "any")]).code(0);
        let spent = lines(&server, "spent.log");
        assert!(spent.len() > 60 && spent.iter().all(|line| line == "paid with key '' at ''"), "{:?}", spent.first());
    }
}

#[test]
fn a_server_that_runs_already_with_a_cli_of_its_own_is_asked_once() {
    let answer = "message = run(HERE + '/_bundled/claude', '-p', prompt)";
    let Some(server) = with_bundled(answer, SHORT) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let running = Running::start(&server, port);
    let (pid, url) = (running.0.id().to_string(), format!("http://127.0.0.1:{port}"));
    let args = ["run", "--no-controls", "--out", "out", "--pid", &pid, "--url", &url];
    server.leakgate(&args).assert().code(4).stdout(contains("starts its own CLI"));
    assert_eq!(lines(&server, "asked.log").len(), 1);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "it is left alone");
}

/// A server of the test's own.
struct Running(Child);

impl Running {
    fn start(server: &Repository, port: u16) -> Self {
        #[expect(clippy::disallowed_methods, reason = "Running ends it")]
        let child = std::process::Command::new(super::python().unwrap())
            .args(["-B", "server.py", &port.to_string()])
            .current_dir(server.folder.path())
            .spawn()
            .unwrap();
        let running = Self(child);
        until("the server answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
