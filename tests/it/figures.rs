//! The figures of README and of the manuals are those of the runs that are checked in: `reports/figures.toml` says which comes from where.

use std::fs;
use std::sync::LazyLock;

use leakgate::calibration::Trial;
use leakgate::calibration::cases::Case;
use leakgate::calibration::markdown::render_markdown;
use leakgate::calibration::table::Calibration;
use leakgate_drive::scenario::Scenario;
use leakgate_judge::verdict::trend::{BOUNDS, Bound, CLEAN_RUNS};
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::Value;

use crate::workflows::root;

/// The pages whose figures come from files.
const PAGES: [&str; 4] = ["README.md", "src/MANUAL.md", "harness/MANUAL.md", "harness/OTHER-SERVERS.md"];
/// With this variable set, the pages get the figures of the files.
const UPDATE: &str = "UPDATE_FIGURES";
const RENEW: &str = "UPDATE_FIGURES=1 cargo test --release -p leakgate --test it figures";
/// The folder of `leakgate power`.
const POWER: &str = "reports/reference/power";
const GAP: &str = "…";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    block: Vec<Block>,
    table: Vec<Table>,
    figure: Vec<Figure>,
}

/// What a command printed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    page: String,
    command: String,
    file: String,
}

/// Rows of a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    page: String,
    header: String,
    file: String,
}

/// A sentence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    page: String,
    text: String,
    file: String,
    from: Vec<String>,
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Sources {
    toml::from_str(&read("reports/figures.toml")).unwrap()
}

/// A page with the figures of the files, and what is wrong in it as it is.
fn renewed(page: &str, text: &str, sources: &Sources) -> (String, Vec<String>) {
    let (mut text, mut wrong) = (text.to_owned(), Vec::new());
    for block in sources.block.iter().filter(|block| block.page == page) {
        text = with_block(&text, block, &read(&block.file), &mut wrong);
    }
    for table in sources.table.iter().filter(|table| table.page == page) {
        text = with_table(&text, table, &read(&table.file), &mut wrong);
    }
    for figure in sources.figure.iter().filter(|figure| figure.page == page) {
        let file: Value = serde_json::from_str(&read(&figure.file)).unwrap();
        text = with_figure(&text, figure, &file, &mut wrong);
    }
    (text, wrong)
}

/// The lines of a block that its command printed.
fn with_block(page: &str, block: &Block, file: &str, wrong: &mut Vec<String>) -> String {
    let begin = format!("```console\n$ {}\n", block.command);
    let Some((before, rest)) = page.split_once(&begin) else {
        wrong.push(format!("{} has no block that begins with `$ {}`", block.page, block.command));
        return page.to_owned();
    };
    let end = rest.find("\n$ ").into_iter().chain(rest.find("\n```")).min().unwrap();
    let mut lines = file.lines().filter(|line| !line.trim().is_empty());
    let (mut shown, mut gap) = (Vec::new(), false);
    for line in rest[..end].lines() {
        if line.trim().is_empty() || line.trim() == GAP {
            gap |= line.trim() == GAP;
            shown.push(line.to_owned());
            continue;
        }
        let found = if gap { lines.find(|other| is_alike(line, other)) } else { lines.next() };
        let found = found.filter(|other| is_alike(line, other));
        let wanted = found.map(|found| shortened(found, line));
        if wanted.as_deref() != Some(line) {
            let is = wanted.as_deref().unwrap_or("no line like it there");
            wrong.push(format!("{} has\n    {line}\n  and {}\n    {is}", block.page, block.file));
        }
        shown.push(wanted.unwrap_or_else(|| line.to_owned()));
        gap = false;
    }
    format!("{before}{begin}{}{}", shown.join("\n"), &rest[end..])
}

/// Rows of a table, each told from the others by its first cell.
fn with_table(page: &str, table: &Table, file: &str, wrong: &mut Vec<String>) -> String {
    let begin = format!("\n{}\n", table.header);
    let (Some((before, rest)), Some((_, all))) = (page.split_once(&begin), file.split_once(&begin)) else {
        wrong.push(format!("{} or {} has no table with this header: {}", table.page, table.file, table.header));
        return page.to_owned();
    };
    let rows =
        |text: &str| text.lines().take_while(|line| line.starts_with('|')).map(str::to_owned).collect::<Vec<_>>();
    let (shown, all) = (rows(rest), rows(all));
    let renewed: Vec<String> = shown
        .iter()
        .map(|row| {
            let found = all.iter().find(|other| other.split('|').nth(1) == row.split('|').nth(1));
            if found != Some(row) {
                let is = found.map_or("no row of that name", String::as_str);
                wrong.push(format!("{} has\n    {row}\n  and {}\n    {is}", table.page, table.file));
            }
            found.unwrap_or(row).clone()
        })
        .collect();
    let end: usize = shown.iter().map(|row| row.len() + 1).sum();
    format!("{before}{begin}{}\n{}", renewed.join("\n"), &rest[end..])
}

/// Whether two lines differ in their numbers, and in the names of temporary folders, alone; as far as the first goes.
fn is_alike(shown: &str, line: &str) -> bool {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"-bin-[^/]+|-?\d[\d.,]*( ?([kMG]?B|ms|s)\b)?").unwrap());
    let masked = |text: &str| NUMBER.replace_all(text, "#").split_whitespace().collect::<Vec<_>>().join(" ");
    match shown.strip_suffix(GAP) {
        Some(start) => masked(line).starts_with(&masked(start)),
        None => masked(line) == masked(shown),
    }
}

/// As many words of a line as are shown.
fn shortened(line: &str, shown: &str) -> String {
    let Some(start) = shown.strip_suffix(GAP) else { return line.to_owned() };
    let mut rest = line;
    for _ in start.split_whitespace() {
        rest = rest.trim_start();
        rest = &rest[rest.find(char::is_whitespace).unwrap_or(rest.len())..];
    }
    format!("{} {GAP}", &line[..line.len() - rest.len()])
}

/// The sentence with the numbers of the file.
fn with_figure(page: &str, figure: &Figure, file: &Value, wrong: &mut Vec<String>) -> String {
    let place = Regex::new(r"\{(\d?)\}").unwrap();
    let decimals: Vec<Option<usize>> = place.captures_iter(&figure.text).map(|found| found[1].parse().ok()).collect();
    assert_eq!(decimals.len(), figure.from.len(), "a pointer for each figure: {}", figure.text);
    let parts = place.split(&figure.text).map(|part| {
        let words = part.split(char::is_whitespace).map(regex::escape);
        words.collect::<Vec<_>>().join(r"\s+")
    });
    let pattern = Regex::new(&parts.collect::<Vec<_>>().join(r"(\d[\d.,]*)")).unwrap();
    let Some(found) = pattern.captures(page) else {
        wrong.push(format!("{} has no sentence like: {}", figure.page, figure.text));
        return page.to_owned();
    };
    let (mut text, mut at) = (String::new(), 0);
    for (number, (pointer, decimals)) in figure.from.iter().zip(decimals).enumerate() {
        let shown = found.get(number + 1).unwrap();
        let value = file.pointer(pointer).unwrap_or_else(|| panic!("{} has nothing at {pointer}", figure.file));
        let wanted = written(value, decimals);
        if wanted != shown.as_str() {
            wrong.push(format!(
                "{} has {}, and {} has {wanted} at {pointer}",
                figure.page,
                shown.as_str(),
                figure.file
            ));
        }
        text.push_str(&page[at..shown.start()]);
        text.push_str(&wanted);
        at = shown.end();
    }
    text + &page[at..]
}

fn written(value: &Value, decimals: Option<usize>) -> String {
    match decimals {
        Some(decimals) => format!("{:.decimals$}", value.as_f64().unwrap()),
        None => grouped(&value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number")).to_string()),
    }
}

fn grouped(digits: &str) -> String {
    let thousands = Regex::new(r"(\d)((?:\d{3})+)$").unwrap();
    let each = Regex::new(r"\d{3}").unwrap();
    thousands
        .replace(digits, |found: &Captures| format!("{}{}", &found[1], each.replace_all(&found[2], ",$0")))
        .into_owned()
}

#[test]
fn every_figure_of_the_readme_and_the_manuals_is_that_of_its_file() {
    let sources = sources();
    let pages = sources.block.iter().map(|block| &block.page).chain(sources.table.iter().map(|table| &table.page));
    for page in pages.chain(sources.figure.iter().map(|figure| &figure.page)) {
        assert!(PAGES.contains(&page.as_str()), "reports/figures.toml names {page}");
    }
    for page in PAGES {
        let (text, wrong) = renewed(page, &read(page), &sources);
        if std::env::var_os(UPDATE).is_some() {
            fs::write(root().join(page), text).unwrap();
            continue;
        }
        assert!(wrong.is_empty(), "{}\n\nThis writes the figures of the files:\n  {RENEW}", wrong.join("\n"));
    }
}

#[test]
fn a_figure_that_was_changed_is_seen_and_put_right() {
    // Where it is out of date another test says so, or renews it.
    let sources = sources();
    let cases = [
        ("README.md", Regex::new("18 of 18 planted").unwrap(), "17 of 18 planted"),
        ("harness/MANUAL.md", Regex::new(r"half of them took up to(\s+)").unwrap(), "half of them took up to${1}1"),
        ("harness/MANUAL.md", Regex::new("1 site grows").unwrap(), "2 site grows"),
        ("harness/MANUAL.md", Regex::new(r"each restart \| 300 \| 20 of 20").unwrap(), "each restart | 300 | 19 of 20"),
        ("harness/OTHER-SERVERS.md", Regex::new("from 22 to 63").unwrap(), "from 22 to 64"),
    ];
    for (page, from, to) in cases {
        let (right, _) = renewed(page, &read(page), &sources);
        let changed = from.replace(&right, to).into_owned();
        assert_ne!(changed, right, "{from}");
        let (text, wrong) = renewed(page, &changed, &sources);
        assert!(!wrong.is_empty(), "{from} was changed to {to}");
        assert_eq!(text, right);
    }
}

/// The table comes from the trials beside it and rests on as many runs as reports claim; where it falls short of what a case
/// promises, the methodology says so.
#[test]
fn what_is_said_of_the_gates_power_is_what_its_trials_say() {
    let trials: Vec<Trial> =
        read(&format!("{POWER}/trials.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stored: Calibration = serde_json::from_str(&read(&format!("{POWER}/power.json"))).unwrap();
    let power = Calibration::from_trials(&Case::all(20, 100), &trials, stored.environment.clone());
    assert_eq!(power, stored);
    assert_eq!(render_markdown(&power), read(&format!("{POWER}/power.md")));
    let method = read("reports/METHODOLOGY.md");
    for short in power.broken_promises() {
        assert!(method.contains(&short), "reports/METHODOLOGY.md does not tell: {short}");
    }
    assert_eq!(power.bounds.iter().map(|bound| bound.runs).min(), Some(CLEAN_RUNS));
    assert_eq!(power.false_alarms.seen, 0, "reports say that there was none");
    let night = power.clean.iter().find(|clean| clean.case == "clean-night").unwrap();
    assert_eq!(night.alarms.of, CLEAN_RUNS);
    assert_eq!(night.scenarios.len() + 1, Scenario::all().len(), "every scenario in turn, but the one of the real CLI");
    for Bound { from, seen, .. } in BOUNDS {
        let name = format!("{seen:.0} B of memory, each restart");
        let leak = power.leaks.iter().find(|leak| leak.leak == name && leak.restarts <= from);
        assert!(leak.is_some_and(|leak| leak.caught.seen == leak.caught.of), "reports detect {name}, at {from}");
    }
    assert_eq!(power.leaks.iter().map(|leak| leak.caught.of).min(), Some(20), "every leak, twenty times");
    assert_eq!(power.leaks.len() + power.clean.len(), Case::all(20, 100).len());
}

/// A block with the output of a command that no file stands behind would be a figure that nobody checks.
#[test]
fn every_output_in_the_readme_and_the_manuals_has_a_file() {
    let sources = sources();
    let pages = PAGES.map(read).join("\n");
    for block in pages.split("```console\n").skip(1) {
        // A block in a list is set in, and so is its end.
        let lines: Vec<&str> = block.lines().take_while(|line| !line.trim_start().starts_with("```")).collect();
        let is_command = |line: &str| line.trim_start().starts_with("$ ");
        let is_profile = lines.first().is_some_and(|line| line.starts_with("$ leakgate profile"));
        let output = lines.iter().skip_while(|line| is_command(line)).find(|line| {
            let is_continued = line.starts_with("    ") && !is_profile;
            !line.trim().is_empty() && !is_command(line) && !is_continued
        });
        let Some(output) = output else { continue };
        let command = lines.first().and_then(|line| line.trim_start().strip_prefix("$ ")).unwrap_or_default();
        let is_known = sources.block.iter().any(|block| block.command == command);
        assert!(is_known, "reports/figures.toml does not say where this comes from, printed by {command:?}: {output}");
    }
}

#[test]
fn lines_that_differ_in_their_numbers_alone_are_alike() {
    assert!(is_alike("  anon_pss 2.9 MB  281 B  PASS", "  anon_pss          2.9 MB    1.1 kB PASS"));
    assert!(is_alike(
        "restarts on sut: PASS after 351 restarts, 6.9 s",
        "restarts on sut: PASS after 1,351 restarts, 16.9 s"
    ));
    assert!(!is_alike("  anon_pss 2.9 MB  281 B  PASS", "  anon_pss 2.9 MB  281 B  LEAK"));
    assert!(is_alike("+1.05 process /tmp/x …", "+1.10 process /tmp/x --verbose"));
    assert_eq!(shortened("  +1.10 process /tmp/x --verbose", "  +1.05 process /tmp/x …"), "  +1.10 process /tmp/x …");
    assert_eq!(
        ["1", "999", "1,000", "12,345,678"],
        ["1", "999", "1000", "12345678"].map(grouped).each_ref().map(|s| &**s)
    );
}
