//! What a real server says of itself to scrapers and in its log, and the dashboard that shows it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::openmetrics::{self, Scrape};
use crate::support::{Options, Server, until};

const CHAT: &str = "route=/v1/chat/completions";

#[track_caller]
fn scrape(server: &Server) -> Scrape {
    let reply = server.get("/metrics");
    assert_eq!(reply.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    openmetrics::parse(&reply.body).unwrap_or_else(|error| panic!("{error}\n{}", reply.body))
}

/// Waits until a series has reached a value.
#[track_caller]
fn reaches(server: &Server, name: &str, labels: &[&str], value: f64) {
    until(&format!("{name}{labels:?} is {value}"), || scrape(server).value(name, labels) >= value);
}

/// A server that has answered whole, streamed, been left, failed, refused and restarted.
fn seasoned() -> Server {
    let mock = ["--mock-recording=long-reply", "--mock-pace=recorded", "--mock-fault=crash@turn=4"];
    let server = Options::new().mock(&mock).start();
    server.ask("whole").text();
    let (mut stream, _) = server.stream("streamed");
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    drop(server.stream("cut"));
    until("the turn of the one that left is over", || server.health()["invokers"]["busy"] == 0);
    let (mut stream, _) = server.stream("crashes");
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    until("the slot has its next invoker", || server.health()["restarts"]["recovery"] == 1);
    assert_eq!(server.post("/admin/restart", &Value::Null).json()["restarted"], 1);
    assert_eq!(server.post("/v1/chat/completions", &Value::Null).status, 400);
    server
}

#[test]
fn a_seasoned_server_counts_what_it_did() {
    let server = seasoned();
    reaches(&server, "ccw_restart_duration_seconds_count", &["kind=planned"], 1.0);
    reaches(&server, "ccw_restart_duration_seconds_count", &["kind=recovery"], 1.0);
    reaches(&server, "ccw_http_requests_total", &[CHAT, "status=499"], 1.0);
    reaches(&server, "ccw_http_requests_total", &[CHAT, "status=200"], 3.0);
    let scrape = scrape(&server);
    for (name, labels, value) in [
        ("ccw_http_requests_total", &[CHAT, "status=200"][..], 3.0),
        ("ccw_http_requests_total", &[CHAT, "status=400"], 1.0),
        ("ccw_http_requests_total", &[CHAT, "status=499"], 1.0),
        ("ccw_http_request_duration_seconds_count", &[CHAT], 5.0),
        ("ccw_queue_wait_seconds_count", &["outcome=served"], 4.0),
        ("ccw_turn_duration_seconds_count", &["outcome=done"], 2.0),
        ("ccw_turn_duration_seconds_count", &["outcome=failed"], 1.0),
        ("ccw_turn_duration_seconds_count", &["outcome=given_up"], 1.0),
        ("ccw_turn_errors_total", &["error=cli"], 1.0),
        ("ccw_restarts_total", &["reason=recovery"], 1.0),
        ("ccw_restarts_total", &["reason=admin"], 1.0),
        ("ccw_invoker_failures_total", &[], 1.0),
        ("ccw_invoker_starts_total", &[], 3.0),
        ("ccw_invoker_start_duration_seconds_count", &[], 3.0),
        ("ccw_pool_state", &["state=ready"], 1.0),
        ("ccw_pool_state", &["state=offline"], 0.0),
        ("ccw_invokers_limit", &[], 2.0),
        ("ccw_queue_waiting", &[], 0.0),
        ("ccw_containment_info", &["tier=subreaper"], 1.0),
    ] {
        assert_eq!(scrape.value(name, labels).to_string(), value.to_string(), "{name}{labels:?}");
    }
    assert!(scrape.value("ccw_invokers_high_water", &[]) <= 2.0);
    assert!(scrape.value("ccw_tokens_total", &["kind=output"]) > 0.0);
    assert!(scrape.value("ccw_restart_duration_seconds_sum", &["kind=recovery"]) > 0.0);
    assert_eq!(
        scrape.value("ccw_restart_duration_seconds_sum", &["kind=planned"]).to_string(),
        "0",
        "a standby took over: nobody had to wait"
    );
    let (server_rss, tree_rss) = (scrape.value("ccw_server_rss_bytes", &[]), scrape.value("ccw_tree_rss_bytes", &[]));
    assert!(server_rss > 1e6 && tree_rss > server_rss, "{server_rss} {tree_rss}");
    dashboard_shows_only_what_is_there(&scrape);
    server.stop();
}

/// Every metric and every label that the dashboard asks for is in a real scrape.
fn dashboard_shows_only_what_is_there(scrape: &Scrape) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "panels share an id");
    let mut shown = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(!metrics_in(expression).is_empty(), "{expression}");
            for name in metrics_in(expression) {
                let series: Vec<_> = scrape.samples.iter().filter(|sample| sample.name == name).collect();
                assert!(!series.is_empty(), "{}: there is no metric {name}", panel["title"]);
                for label in labels_in(expression, target["legendFormat"].as_str().unwrap()) {
                    let known = label == "instance" || series[0].labels.contains_key(&label);
                    assert!(known, "{}: {name} has no label {label}", panel["title"]);
                }
                shown.insert(name);
            }
        }
    }
    let families = scrape.families.keys().filter(|family| !shown.iter().any(|name| name.starts_with(*family)));
    assert_eq!(families.collect::<Vec<_>>(), [] as [&String; 0], "on no panel");
}

fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("ccw_")).map(str::to_owned).collect()
}

/// Labels that an expression selects or groups by, or that its legend shows.
fn labels_in(expression: &str, legend: &str) -> BTreeSet<String> {
    let matchers = expression.split('{').skip(1).filter_map(|part| part.split('}').next()).flat_map(|m| m.split(", "));
    let matched = matchers.filter_map(|matcher| matcher.split(['=', '!']).next());
    let grouped =
        expression.split("by (").skip(1).filter_map(|part| part.split(')').next()).flat_map(|l| l.split(", "));
    let shown = legend.split("{{").skip(1).filter_map(|part| part.split("}}").next());
    matched.chain(grouped).chain(shown).map(str::to_owned).collect()
}

#[test]
fn the_labels_of_an_expression_are_found() {
    let expression =
        r#"histogram_quantile(0.5, sum by (le, route) (rate(ccw_x_bucket{a=~"b.*", c!="d"}[5m]))) / ccw_y"#;
    let labels = ["a", "c", "kind", "le", "route"].map(str::to_owned);
    assert_eq!(labels_in(expression, "p50 {{kind}}"), labels.into());
    assert_eq!(metrics_in(expression), ["ccw_x_bucket", "ccw_y"].map(str::to_owned).into());
}

#[test]
fn the_text_does_not_grow_with_requests() {
    let server = Options::new().flags(&["--max-turns", "3"]).start();
    let lines = || server.get("/metrics").body.lines().count();
    let first = lines();
    let odd = |n: usize| match n % 6 {
        0 => format!("/{n}"),
        1 => format!("/v1/chat/completions/{n}"),
        2 => format!("/%22{n}%0A?x={n}"),
        3 => format!("//{n}//metrics"),
        4 => format!("/{}", "x".repeat(n * 10)),
        _ => format!("/v1/models%2F{n}"),
    };
    for n in 0..200 {
        if n == 10 {
            assert_eq!(lines(), first);
        }
        assert_eq!(server.get(&odd(n)).status, 404, "{}", odd(n));
        if n % 20 == 0 {
            server.ask(&format!("hello {n}")).text();
        }
    }
    until("restarts have been", || server.health()["restarts"]["total"].as_u64().unwrap() >= 2);
    assert_eq!(lines(), first);
    reaches(&server, "ccw_http_requests_total", &["route=other", "status=404"], 200.0);
    server.stop();
}

/// The log lines of requests, by their path.
fn requests(server: &Server, path: &str) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|mut line| line["fields"].take()).filter(|fields| fields["path"] == path).collect()
}

#[test]
fn a_request_is_one_line_of_the_log() {
    let server = seasoned();
    until("every request has its line", || requests(&server, "/v1/chat/completions").len() == 5);
    let lines = requests(&server, "/v1/chat/completions");
    let brief = |line: &Value| {
        let field = |name: &str| line[name].to_string();
        [field("message"), field("status"), field("streamed"), field("turns"), field("error")].join(" ")
    };
    let brief: Vec<String> = lines.iter().map(brief).collect();
    assert_eq!(
        brief,
        [
            r#""request" 200 false 1 null"#,
            r#""request" 200 true 1 null"#,
            r#""the client disconnected during the reply" 499 true 1 null"#,
            r#""request" 200 true 1 "cli_failed""#,
            r#""request" 400 null null "invalid_json""#,
        ]
    );
    assert!(lines[0]["tokens_out"].as_u64().unwrap() > 0 && lines[0]["ms"].is_u64(), "{}", lines[0]);
    assert!(lines[0]["model"].as_str().unwrap().starts_with("claude"), "{}", lines[0]);
    server.stop();
}

#[test]
fn a_clients_own_id_is_in_the_log_and_not_in_the_reply() {
    let server = Options::new().start();
    for (path, header, logged) in [
        ("/a", "X-Request-Id: job-7/3".to_owned(), Some("job-7/3")),
        ("/b", "X-Client-Request-Id: job-8".to_owned(), Some("job-8")),
        ("/c", "X-Request-Id: two words".to_owned(), None),
        ("/d", format!("X-Request-Id: {}", "x".repeat(129)), None),
        ("/e", "X-Request-Id: ".to_owned(), None),
        ("/f", "X-Other: x".to_owned(), None),
    ] {
        let reply = server.get_with(path, &header);
        until("the line is there", || requests(&server, path).len() == 1);
        let line = requests(&server, path).remove(0);
        assert_eq!(line["client_id"].as_str(), logged, "{header}");
        assert_eq!(reply.header("x-request-id"), line["id"].as_str(), "{header}");
    }
    server.stop();
}

#[test]
fn a_reply_that_is_asked_for_twice_is_one_line_with_two_turns() {
    let server = Options::new().start();
    let messages = json!([{"role": "user", "content": "x"}]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"required": ["never"], "type": "object"}}});
    let body = json!({"model": "haiku", "messages": messages, "response_format": format});
    assert_eq!(server.post("/v1/chat/completions", &body).status, 422);
    until("the line is there", || requests(&server, "/v1/chat/completions").len() == 1);
    let line = requests(&server, "/v1/chat/completions").remove(0);
    assert_eq!((&line["turns"], &line["error"]), (&json!(2), &json!("invalid_reply")), "{line}");
    reaches(&server, "ccw_turn_duration_seconds_count", &["outcome=done"], 2.0);
    reaches(&server, "ccw_http_requests_total", &[CHAT, "status=422"], 1.0);
    server.stop();
}
