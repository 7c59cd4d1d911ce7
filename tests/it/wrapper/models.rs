//! Turns for different models, on one CLI.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Options, Reply, Server, connect, script, until};

/// A CLI that answers with the model that it runs, and keeps every line that it was told. `claude-nosuch` it does not
/// know, `claude-slow` it switches to only once the file `go` is there, and `claude-fatal` ends its first process.
struct Cli {
    folder: tempfile::TempDir,
}

impl Cli {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cli = Self { folder };
        let answer = |subtype: &str, id: &str, more: &str| {
            format!(
                r#"echo '{{"type":"control_response","response":{{"subtype":"{subtype}","request_id":"{id}"{more}}}}}'"#
            )
        };
        let refused = answer("error", "set_model", r#","error":"Model not found","error_code":"not_found""#);
        let result = |text: &str| {
            let line = r#"{"type":"result","subtype":"success","is_error":false,"result":"TEXT","usage":{}}"#;
            format!("echo '{}'", line.replace("TEXT", text))
        };
        let init = r#"echo '{"type":"system","subtype":"init"}'"#;
        let delta = r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"'$model'"}}"#;
        script(
            &cli.path(),
            &format!(
                r#"cd '{folder}'; model=haiku
                while read -r line; do
                    printf '%s\n' "$line" >> said
                    case "$line" in
                        *'"initialize"'*) {ready};;
                        *'"set_model"'*)
                            model=${{line#*'"model":"'}}; model=${{model%%'"'*}}
                            case "$model" in
                                claude-nosuch) model=haiku; {refused};;
                                claude-fatal) if mkdir died 2>/dev/null; then exit 3; fi; {switched};;
                                claude-slow) while [ ! -e go ]; do sleep 0.01; done; {switched};;
                                *) {switched};;
                            esac;;
                        *'"/clear"'*) echo '{{"type":"conversation_reset"}}'; {init}; {cleared};;
                        *'"role":"user"'*) {init}; echo '{{"type":"stream_event","event":{delta}}}'; {replied};;
                    esac
                done"#,
                folder = cli.folder.path().display(),
                ready = answer("success", "initialize", ""),
                switched = answer("success", "set_model", ""),
                cleared = result(""),
                replied = result("'$model'"),
            ),
        );
        cli
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("claude")
    }

    fn start(&self) -> Server {
        Options::new().cli(&self.path()).start()
    }

    /// The lines that it was told, in short.
    fn said(&self) -> Vec<String> {
        let lines = std::fs::read_to_string(self.folder.path().join("said")).unwrap_or_default();
        let short = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            match line.pointer("/message/content").and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => [&line["request"]["subtype"], &line["request"]["model"]]
                    .map(|part| part.as_str().unwrap_or_default())
                    .join(" ")
                    .trim_end()
                    .to_owned(),
            }
        };
        lines.lines().map(short).collect()
    }
}

fn body(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

fn ask(server: &Server, model: &str, prompt: &str) -> Reply {
    server.post("/v1/chat/completions", &body(model, prompt))
}

#[test]
fn each_turn_runs_on_its_model_and_the_cli_switches_only_where_it_has_to() {
    let cli = Cli::new();
    let server = cli.start();
    for (model, prompt) in [("haiku", "1"), ("claude-a", "2"), ("claude-a", "3"), ("claude-b", "4"), ("haiku", "5")] {
        assert_eq!(ask(&server, model, prompt).text(), model);
    }
    until("the last conversation is reset", || cli.said().last().is_some_and(|line| line == "/clear"));
    let said =
        "initialize|1|/clear|set_model claude-a|2|/clear|3|/clear|set_model claude-b|4|/clear|set_model haiku|5|/clear";
    assert_eq!(cli.said().join("|"), said);
    server.stop();
}

#[test]
fn a_model_that_the_cli_refuses_is_a_404_and_costs_no_invoker() {
    let cli = Cli::new();
    let server = cli.start();
    let reply = ask(&server, "claude-nosuch", "never said");
    assert_eq!(reply.status, 404, "{reply:?}");
    let error = &reply.json()["error"];
    assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
    let words = error["message"].as_str().unwrap();
    assert!(words.contains("claude-nosuch") && words.contains("Model not found"), "{words}");
    assert_eq!(ask(&server, "haiku", "hello").text(), "haiku");
    assert_eq!(cli.said()[..3], ["initialize", "set_model claude-nosuch", "hello"]);
    assert_eq!(server.health()["restarts"]["total"], 0);
    server.stop();
}

#[test]
fn a_cli_that_dies_while_it_switches_loses_no_turn() {
    let cli = Cli::new();
    let server = cli.start();
    assert_eq!(ask(&server, "claude-fatal", "hello").text(), "claude-fatal");
    assert_eq!(server.health()["restarts"]["recovery"], 1);
    assert_eq!(cli.said().iter().filter(|line| *line == "hello").count(), 1, "said once: {:?}", cli.said());
    server.stop();
}

#[test]
fn a_client_that_goes_while_the_cli_switches_is_forgotten() {
    let cli = Cli::new();
    let server = cli.start();
    let mut client = connect(server.address);
    let body = body("claude-slow", "never said").to_string();
    let length = body.len();
    write!(client, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    until("it is asked to switch", || cli.said().last().is_some_and(|line| line == "set_model claude-slow"));
    drop(client);
    until("the turn is given up", || server.health()["invokers"]["busy"] == 0);
    std::fs::write(cli.folder.path().join("go"), "").unwrap();
    assert_eq!(ask(&server, "claude-slow", "hello").text(), "claude-slow");
    assert_eq!(cli.said()[..3], ["initialize", "set_model claude-slow", "hello"]);
    assert_eq!(server.health()["restarts"]["total"], 0);
    server.stop();
}

#[test]
fn recorded_versions_switch_and_what_they_list_is_listed() {
    for (version, listed) in [("2.1.330", &["fable", "claude-haiku-5-5"][..]), ("2.1.19", &["haiku", "opus"])] {
        let server = Options::new().mock(&[&format!("--mock-recording={version}/ten-turns")]).start();
        for model in ["sonnet", "haiku", "opus", "opus"] {
            assert!(!ask(&server, model, "hello").text().is_empty(), "{version}");
        }
        let list = server.get("/v1/models").json();
        let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert!(listed.iter().all(|name| ids.contains(name)), "{version}: {ids:?}");
        server.stop();
    }
}

#[test]
fn a_prompt_that_looks_like_a_command_is_text() {
    let cli = Cli::new();
    let server = cli.start();
    for prompt in ["/clear", "/cost now"] {
        ask(&server, "haiku", prompt).text();
    }
    until("both conversations are reset", || cli.said().iter().filter(|line| *line == "/clear").count() == 2);
    assert_eq!(cli.said().iter().filter(|line| line.starts_with('/')).count(), 2, "{:?}", cli.said());
    assert!(cli.said().iter().any(|line| line.contains("/cost now")), "{:?}", cli.said());
    server.stop();
}
