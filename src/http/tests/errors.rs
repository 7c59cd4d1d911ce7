//! The table of refusals in the docs of `error.rs` is the truth.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use axum::response::IntoResponse;
use http_body_util::BodyExt;
use serde_json::Value;

use super::super::error::ApiError;
use crate::turn::TurnError;

/// Status, code, retry.
type Row = (String, String, String);

fn documented() -> BTreeSet<Row> {
    let rows = include_str!("../error.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['`', ' ', '|'])).collect::<Vec<_>>())
        .filter(|cells| cells[0].starts_with(|c: char| c.is_ascii_digit()))
        .map(|cells| (cells[0].to_owned(), cells[1].to_owned(), cells[3].to_owned()))
        .collect()
}

/// Every refusal that is more than a constant.
fn made() -> Vec<ApiError> {
    let api = |status| TurnError::Api { status: Some(status), message: "m".into(), retry_after: None };
    let wait = Duration::from_secs(7);
    let mut made: Vec<ApiError> = [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529, 200, 7]
        .into_iter()
        .map(|status| api(status).into())
        .collect();
    let turns = [
        TurnError::Cli("gone".into()),
        TurnError::Deadline { what: "silence", after: wait },
        TurnError::QueueFull { waiting: 1 },
        TurnError::QueueTimeout(wait),
        TurnError::Offline { reason: "r".into(), retry_after: wait },
        TurnError::RateLimited { retry_after: wait },
        TurnError::Stopping,
    ];
    made.extend(turns.into_iter().map(ApiError::from));
    made.extend([
        ApiError::body_timeout(wait),
        ApiError::too_many_connections(),
        ApiError::internal(),
        ApiError::turn_lost(),
        ApiError::invalid_reply("m"),
    ]);
    made
}

fn sources(folder: &Path, found: &mut String) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Refusals that the sources make with a constant status and code, as `invalid(StatusCode::X, "code", …)`.
fn written() -> BTreeSet<(String, String)> {
    let mut source = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut source);
    let calls = source.split("invalid(StatusCode::").skip(1);
    calls
        .map(|call| {
            let (status, rest) = call.split_once(',').unwrap();
            let code = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            (number(status), code.unwrap_or_else(|| panic!("no code after {status}")).to_owned())
        })
        .collect()
}

fn number(name: &str) -> String {
    let mut statuses = (100..600).filter_map(|n| axum::http::StatusCode::from_u16(n).ok());
    let words = |status: &axum::http::StatusCode| status.canonical_reason().unwrap_or_default().to_uppercase();
    statuses.find(|s| words(s).replace([' ', '-'], "_") == name).unwrap_or_else(|| panic!("{name}")).as_str().to_owned()
}

#[tokio::test]
async fn the_table_of_refusals_is_complete_and_true() {
    let mut real: BTreeSet<Row> = BTreeSet::new();
    for error in made() {
        let response = error.clone().into_response();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let retry = match (header("x-should-retry").as_deref(), header("retry-after")) {
            (Some("true"), Some(_)) => "after",
            (Some("true"), None) => "yes",
            (Some("false"), None) => "no",
            other => panic!("{other:?} of {error:?}"),
        };
        let status = response.status();
        assert_eq!(retry == "after", matches!(status.as_u16(), 429 | 503), "{error:?}");
        let body: Value = serde_json::from_slice(&response.collect().await.unwrap().to_bytes()).unwrap();
        let fields: Vec<_> = body["error"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(BTreeSet::from_iter(fields), ["code", "message", "param", "type"].map(str::to_owned).into());
        let code = body["error"]["code"].as_str().unwrap();
        let status = if code == "upstream_refused" { "4xx" } else { status.as_str() };
        real.insert((status.to_owned(), code.to_owned(), retry.to_owned()));
    }
    for (status, code) in written() {
        if !real.iter().any(|row| (&row.0, &row.1) == (&status, &code)) {
            real.insert((status, code, "no".to_owned()));
        }
    }
    let documented = documented();
    let missing: Vec<_> = real.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&real).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not in the table: {missing:?}; not in the code: {invented:?}");
}
