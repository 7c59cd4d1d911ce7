//! SARIF 2.1.0: a result for each metric that did not pass, a rule for each metric.
//!
//! A leak of memory whose places are known is a result for each of them, at the line of the first frame in the code under
//! test, with the stack. Any other has a logical location (scenario and target) and no physical one: nobody knows its
//! line. Reasons why a run is invalid become notifications of the tool, whose execution then did not succeed, and no results.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;
use serde_sarif::sarif::{
    ArtifactLocation, Invocation, Location, LogicalLocation, Message, MultiformatMessageString, Notification,
    PhysicalLocation, PropertyBag, Region, ReportingConfiguration, ReportingDescriptor, Result as Outcome, ResultKind,
    ResultLevel, Run, RunAutomationDetails, Sarif, Stack, StackFrame, Tool, ToolComponent,
};

use super::facts::{self, EXPLAINED_BY_SITES, Facts, Target};
use super::leaked;
use super::text::sanitize;
use leakgate_judge::sample::{Frame, Metric, Site};
use leakgate_judge::text::truncate;
use leakgate_judge::verdict::words::{format_bytes, format_rate, metric_unit};
use leakgate_judge::verdict::{Finding, MetricVerdict, Verdict};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Places that become results of their own; a leak has one, and its echoes are not worth an alert each.
const MAX_SITES: usize = 10;

/// The whole log.
pub(super) fn build_log(facts: &Facts) -> Sarif {
    let results: Vec<Outcome> = facts.targets.iter().flat_map(of_target).collect();
    let driver = ToolComponent::builder()
        .name("leakgate")
        .version(sanitize(&facts.verdict.environment.leakgate))
        .rules(metric_rules(facts))
        .build();
    let mut scenarios: Vec<&str> = facts.targets.iter().map(|target| target.scenario.as_str()).collect();
    scenarios.dedup();
    let run = Run::builder()
        .tool(Tool::from(driver))
        .automation_details(RunAutomationDetails::builder().id(format!("leakgate/{}/", scenarios.join("+"))).build())
        .invocations(vec![build_invocation(facts.verdict)])
        .results(results)
        .build();
    Sarif::builder().schema(SCHEMA).version(json!("2.1.0")).runs(vec![run]).build()
}

/// Of the metrics that were judged, in their order.
fn metric_rules(facts: &Facts) -> Vec<ReportingDescriptor> {
    let judged: BTreeSet<Metric> = facts.verdict.metrics.iter().map(|row| row.name).collect();
    judged.into_iter().map(metric_rule).collect()
}

fn metric_rule(metric: Metric) -> ReportingDescriptor {
    let text = |text: String| MultiformatMessageString::builder().text(text).build();
    let (name, unit) = (metric.name(), metric_unit(metric));
    ReportingDescriptor::builder()
        .id(rule_id(metric))
        .short_description(text(format!("{name} does not grow")))
        .full_description(text(format!("A server that restarts its CLI keeps no {unit}: {name} is the same after it.")))
        .default_configuration(ReportingConfiguration::builder().level(json!("error")).build())
        .build()
}

fn rule_id(metric: Metric) -> String {
    format!("leak/{}", metric.name())
}

fn build_invocation(verdict: &Verdict) -> Invocation {
    let env = &verdict.environment;
    let is_valid = verdict.verdict != Finding::Invalid && verdict.invalid.is_empty();
    let notes = verdict.invalid.iter().map(|reason| build_notification("error", reason));
    let warnings = verdict.warnings.iter().map(|warning| build_notification("warning", warning));
    let builder = Invocation::builder()
        .execution_successful(is_valid)
        .exit_code(i64::from(verdict.exit() as u8))
        .tool_execution_notifications(notes.chain(warnings).collect::<Vec<_>>())
        .properties(property_bag([
            ("commit", json!(env.commit)),
            ("kernel", json!(env.kernel)),
            ("rustc", json!(env.rustc)),
            ("verdict", json!(verdict.verdict)),
        ]));
    let mut invocation = builder.build();
    invocation.command_line = Some(sanitize(&env.command)).filter(|command| !command.is_empty());
    invocation.start_time_utc = format_start(env.started_unix);
    invocation
}

/// As SARIF writes times; absent for a number that is no date.
fn format_start(unix: u64) -> Option<String> {
    let time = Timestamp::from_second(i64::try_from(unix).ok()?).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn build_notification(level: &str, text: &str) -> Notification {
    Notification::builder().level(json!(level)).message(to_message(text)).build()
}

fn of_target(target: &Target) -> Vec<Outcome> {
    let explained = EXPLAINED_BY_SITES.into_iter().find(|&metric| {
        target.rows.iter().any(|row| row.name == metric && row.verdict == Finding::Leak)
            && !target.measured.sites.is_empty()
    });
    let of_row = |row: &MetricVerdict| {
        if explained == Some(row.name) {
            target.measured.sites.iter().take(MAX_SITES).map(|site| result_at_site(target, row, site)).collect()
        } else {
            vec![result_without_line(target, row)]
        }
    };
    facts::alarming_rows(target).flat_map(of_row).collect()
}

/// A result without a line.
fn result_without_line(target: &Target, row: &MetricVerdict) -> Outcome {
    let text = format!("{} in scenario {}", row.reason, target.short_name());
    let place = Location::builder().logical_locations(vec![logical_location(target)]).build();
    let key = format!("{}/{}", target.scenario, row.name.name());
    build_result(row, &text, vec![place], &key)
}

/// A result at the line that keeps the memory.
fn result_at_site(target: &Target, row: &MetricVerdict, site: &Site) -> Outcome {
    let own = leaked::own_frame(site).map(|(_, frame)| frame);
    let function = own.or_else(|| site.frames.first()).map_or("?", |frame| frame.function.as_str());
    let text = format!(
        "{} blocks and {} allocated by {function} are leaked per {}, in scenario {}",
        format_rate(Metric::HeapBlocks, site.blocks_per_restart),
        format_bytes(site.bytes_per_restart),
        target.per(),
        target.short_name(),
    );
    let mut place = Location::builder().logical_locations(vec![logical_location(target)]).build();
    place.physical_location = own.and_then(physical_location);
    // Lines move with every change above them; the function and its file hardly do.
    let file = own.and_then(|frame| frame.file.as_deref()).unwrap_or_default();
    let mut found = build_result(row, &text, vec![place], &format!("{}/{file}/{function}", row.name.name()));
    let frames = site.frames.iter().map(|frame| {
        let mut place = Location::builder().message(to_message(&frame.function)).build();
        place.physical_location = physical_location(frame);
        StackFrame::builder().location(place).build()
    });
    found.stacks = Some(vec![Stack::builder().frames(frames.collect::<Vec<_>>()).build()]);
    found
}

fn build_result(row: &MetricVerdict, text: &str, places: Vec<Location>, key: &str) -> Outcome {
    let level = if row.verdict == Finding::Leak { ResultLevel::Error } else { ResultLevel::Warning };
    Outcome::builder()
        .rule_id(rule_id(row.name))
        .kind(ResultKind::Fail)
        .level(level)
        .message(to_message(text))
        .locations(places)
        .partial_fingerprints(BTreeMap::from([("leakgate/v1".to_owned(), sanitize(key))]))
        .properties(property_bag([
            ("verdict", json!(row.verdict)),
            ("first", json!(row.first)),
            ("last", json!(row.last)),
            ("growthPerStep", json!(row.growth_per_restart)),
            ("smallestDetectable", json!(row.smallest_detectable)),
            ("unit", json!(row.unit)),
        ]))
        .build()
}

fn logical_location(target: &Target) -> LogicalLocation {
    LogicalLocation::builder()
        .name(target.label.clone())
        .fully_qualified_name(target.short_name())
        .kind("module")
        .build()
}

fn physical_location(frame: &Frame) -> Option<PhysicalLocation> {
    let mut artifact = ArtifactLocation::builder().uri(to_uri(frame.file.as_deref()?)).build();
    artifact.uri_base_id = frame.file.as_deref().filter(|file| !file.starts_with('/')).map(|_| "%SRCROOT%".to_owned());
    let mut place = PhysicalLocation::builder().artifact_location(artifact).build();
    // Lines begin with 1, and a line 0 is how debug information says that there is none.
    place.region =
        frame.line.filter(|&line| line > 0).map(|line| Region::builder().start_line(i64::from(line)).build());
    Some(place)
}

/// A path as a URI reference: relative as it is, absolute with its scheme.
fn to_uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    let escaped = path.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    escaped.fold(scheme.to_owned(), |uri, part| uri + &part)
}

fn to_message(text: &str) -> Message {
    // A message is a template: braces in it would be placeholders. Nobody reads ten thousand letters of stderr in one.
    let text = truncate(&sanitize(text), 1_000).replace('{', "{{").replace('}', "}}");
    Message::builder().text(text).build()
}

fn property_bag<const N: usize>(values: [(&str, serde_json::Value); N]) -> PropertyBag {
    let values = values.into_iter().filter(|(_, value)| !value.is_null());
    let values: BTreeMap<String, serde_json::Value> = values.map(|(name, value)| (name.to_owned(), value)).collect();
    PropertyBag::builder().additional_properties(values).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri_reference() {
        assert_eq!(to_uri("src/pool.rs"), "src/pool.rs");
        assert_eq!(to_uri("/root/my code/ä.rs"), "file:///root/my%20code/%C3%A4.rs");
        assert_eq!(to_uri("a:b?#"), "a%3Ab%3F%23");
    }
}
