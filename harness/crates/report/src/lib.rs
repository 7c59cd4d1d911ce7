//! Verdicts as text. Reporters format and decide nothing: whatever they say stands in the [`leakgate_judge::verdict::Verdict`] or
//! in the [`leakgate_judge::sample::Run`] that it was made from.
//!
//! | format | for |
//! | --- | --- |
//! | `terminal`, `html` | people |
//! | `markdown` | a comment on a pull request, a CI job's summary |
//! | `junit`, `sarif` | what shows tests and findings in a CI |
//! | `openmetrics`, `bencher` | what keeps numbers over time |
//! | `json` | programs: the verdict itself |
//!
//! `night`, `baselines` and the page of [`nights`] tell of [`leakgate_history`], which is more than one run.
//!
//! `facts` and `kept` put into words what several of them say. Text from outside (names, notes, command lines) goes
//! through `text::sanitize` and then through the escaping of the format.

pub mod advice;
pub mod baselines;
mod bencher;
pub mod diff;
mod facts;
mod html;
mod junit;
mod leaked;
mod markdown;
pub mod night;
mod openmetrics;
pub mod profile;
mod sarif;
mod sites;
pub mod terminal;
mod text;

use facts::Facts;
use leakgate_history::Night;
use leakgate_history::baseline::Baseline;
use leakgate_judge::sample::Run;
use leakgate_judge::verdict::Verdict;
use terminal::{MAX_WIDTH, Style};

/// The formats of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Format {
    /// Plain text, as `leakgate judge` prints it.
    Terminal,
    /// The verdict as `leakgate run` stores it.
    Json,
    /// For a comment on a pull request or a job's summary.
    Markdown,
    /// One file for a browser, with charts.
    Html,
    /// `JUnit`: a test case for each metric and each control.
    Junit,
    /// SARIF 2.1.0: a leak at its line.
    Sarif,
    /// For `node_exporter`'s textfile collector.
    Openmetrics,
    /// Bencher Metric Format.
    Bencher,
}

/// A format that could not be written: a defect, because every run can be told in every format.
#[derive(Debug, thiserror::Error)]
#[error("cannot put the report into words as {format:?}: {reason}. This is a defect of leakgate: please report it")]
pub struct FormatError {
    format: Format,
    reason: String,
}

impl Format {
    /// The name of its file.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Terminal => "report.txt",
            Self::Json => "verdict.json",
            Self::Markdown => "report.md",
            Self::Html => "report.html",
            Self::Junit => "junit.xml",
            Self::Sarif => "leakgate.sarif",
            Self::Openmetrics => "leakgate.prom",
            Self::Bencher => "bencher.json",
        }
    }
}

/// The report in one of its formats; `verdict` is that of `run`. The same input gives the same text.
pub fn render(format: Format, verdict: &Verdict, run: &Run) -> Result<String, FormatError> {
    let facts = Facts::new(verdict, run);
    let failed = |reason: String| FormatError { format, reason };
    match format {
        Format::Terminal => Ok(terminal::render(verdict, run, Style { width: MAX_WIDTH, colour: false })),
        Format::Json => json(verdict).map_err(failed),
        Format::Markdown => Ok(markdown::render_markdown(&facts)),
        Format::Html => Ok(html::render_page(&facts)),
        Format::Junit => junit::render_junit(&facts).map_err(|error| failed(error.to_string())),
        Format::Sarif => json(&sarif::build_log(&facts)).map_err(failed),
        Format::Openmetrics => openmetrics::render_openmetrics(&facts).map_err(|error| failed(error.to_string())),
        Format::Bencher => json(&bencher::collect_metrics(&facts)).map_err(failed),
    }
}

/// The page over these nights, the oldest first: one HTML file.
#[must_use]
pub fn nights(nights: &[Night], baselines: &[Baseline]) -> String {
    html::nights::render_nights(nights, baselines)
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}
