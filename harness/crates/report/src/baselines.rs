//! Baselines in words.

use super::night::{environment_line, format_day};
use super::text::{sanitize, wrap_words};
use leakgate_history::baseline::Baseline;

const WIDTH: usize = 92;

/// All of them, a line each; the last one holds.
#[must_use]
pub fn list(baselines: &[Baseline]) -> String {
    let Some(current) = baselines.last().map(|baseline| baseline.id) else {
        return "No night has been accepted: `leakgate baseline accept` does that.\n".to_owned();
    };
    let line = |baseline: &Baseline| {
        let mark = if baseline.id == current { "*" } else { " " };
        let commit = baseline.environment.commit.as_deref().unwrap_or("unknown");
        let Baseline { id, night, by, reason, .. } = baseline;
        let when = format_day(baseline.accepted_unix);
        let text = sanitize(&format!("{when}  night {night:<4} {commit}  {by}: {reason}"));
        format!("{mark} {id:>3}  {}\n", wrap_kept(&text))
    };
    baselines.iter().map(line).collect()
}

/// As it is where it fits: its blanks are columns.
fn wrap_kept(text: &str) -> String {
    if text.chars().count() <= WIDTH { text.to_owned() } else { wrap_words(text, WIDTH, 8) }
}

/// One of them; `programs` says whether its programs are still there.
#[must_use]
pub fn show(baseline: &Baseline, programs: &str) -> String {
    let lines = [
        format!("baseline {} is night {}", baseline.id, baseline.night),
        format!("  accepted {} by {}: {}", format_day(baseline.accepted_unix), baseline.by, baseline.reason),
        format!("  measured {}", environment_line(&baseline.environment)),
        format!("  CLI {}", baseline.environment.cli_versions.join(" ")),
        format!("  command {}", baseline.environment.command),
        format!("  programs {programs}"),
    ];
    let indented = |line: &String| {
        let indent = line.len() - line.trim_start().len();
        format!("{}{}\n", " ".repeat(indent), wrap_words(&sanitize(line), WIDTH, 6))
    };
    lines.iter().map(indented).collect()
}
