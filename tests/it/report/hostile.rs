//! Text from outside is shown and never obeyed: whatever a target's name, a note or a command line holds, each format has
//! the same structure as with a harmless one.

use leakgate_judge::sample::{Exception, GrowthUnit, Metric, Outside, Run};
use leakgate_report::Format;
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::formats::{leaking, text, valid_sarif};
use super::xml;
use crate::openmetrics;
use crate::runs::set_last;

/// What breaks out of one format or another.
const WEAPONS: [&str; 24] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onload='x",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "&lt;&#60;&amp",
    "|",
    "`",
    "```\n",
    "\n\n# heading\n\n",
    "\n- item",
    "</details>",
    "</style>",
    "\\",
    "{0}{{}}",
    "\u{0}\u{1b}[2J\u{7f}",
    "\u{202e}\u{ffff}",
    "@everyone #1 https://example.org www.example.org",
    "[a](javascript:x) ![b](c)",
    "**a** __b__ ~~c~~ $d$",
    "\r\t",
    "\"} 1\n# EOF\n",
];

fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => proptest::sample::select(WEAPONS.as_slice()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z0-9_. ]{1,12}",
    ];
    // Neither empty nor blank, because what is empty is left out.
    proptest::collection::vec(part, 1..5).prop_map(|parts| format!("x{}x", parts.concat()))
}

/// The leaking run with `word` wherever text comes from outside.
fn saying(word: &str) -> Run {
    let mut run = leaking();
    let word = || word.to_owned();
    run.environment.command = word();
    run.environment.commit = Some(word());
    run.environment.kernel = word();
    run.environment.rustc = word();
    run.environment.cli_versions = vec![word()];
    for control in &mut run.controls {
        control.name = word();
    }
    // One control has to miss, so that its reason is told.
    set_last(&mut run.controls[0].run, Metric::FdsPipe, 12);
    for target in &mut run.targets {
        target.scenario = word();
        target.target = word();
        target.notes = vec![word(), word()];
        target.grown.iter_mut().for_each(|grown| grown.name = word());
        for frame in target.sites.iter_mut().flat_map(|site| &mut site.frames) {
            frame.function = word();
            frame.file = Some(word());
        }
    }
    let exception = Exception { metric: Metric::Threads, allow: 1, reason: word(), owner: word(), expires: word() };
    run.targets[1].plan.outside = Some(Outside {
        per: GrowthUnit::Restart,
        cli_processes_allowed: Some(3),
        memory_floor: Some(0),
        exceptions: vec![exception],
        unmeasured: vec![word()],
    });
    run
}

/// The elements of a text of XML, without their words. Advice may hold code, which back quotes make.
fn structure(elements: &[xml::Element]) -> Vec<String> {
    let named = elements.iter().filter(|element| element.name != "code");
    named.map(|element| format!("{} {:?}", element.name, element.attributes.keys())).collect()
}

/// What Markdown becomes, without its words.
fn blocks(markdown: &str) -> Vec<String> {
    let tags = regex::Regex::new("<[^>]*>").unwrap();
    let mut found = Vec::new();
    for event in Parser::new_ext(markdown, Options::all()) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => found.push("code".to_owned()),
            Event::Start(tag) => found.push(format!("{tag:?}")),
            Event::End(TagEnd::CodeBlock) => found.push("/code".to_owned()),
            Event::End(tag) => found.push(format!("/{tag:?}")),
            Event::InlineHtml(html) => assert_eq!(&*html, "<!-- -->"),
            Event::Html(html) => {
                found.extend(tags.find_iter(&html).map(|tag| tag.as_str().to_owned()).filter(|tag| tag != "<!-- -->"));
            }
            // Advice may hold code, which back quotes make.
            Event::Text(_) | Event::Code(_) | Event::SoftBreak => {}
            other => found.push(format!("{other:?}")),
        }
    }
    found
}

fn json_shape(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(items) => format!("[{}]", items.iter().map(json_shape).collect::<Vec<_>>().join(",")),
        serde_json::Value::Object(map) => {
            let shapes: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", json_shape(value))).collect();
            format!("{{{}}}", shapes.concat())
        }
        serde_json::Value::String(_) => "text".to_owned(),
        other => other.to_string(),
    }
}

fn holds(word: &str) {
    // A reason of several lines is told whole below its first line, and a long name in another way than a short one.
    let harmless: String = word.chars().map(|letter| if letter == '\n' { letter } else { 'x' }).collect();
    let (run, plain) = (saying(word), saying(&harmless));
    let both = |format| (text(format, &run), text(format, &plain));

    let (page, harmless) = both(Format::Html);
    assert_eq!(structure(&xml::page(&page)), structure(&xml::page(&harmless)), "{word:?}");
    let (junit, harmless) = both(Format::Junit);
    assert_eq!(structure(&xml::elements(&junit)), structure(&xml::elements(&harmless)), "{word:?}");
    let (markdown, harmless) = both(Format::Markdown);
    assert_eq!(blocks(&markdown), blocks(&harmless), "{word:?}\n{markdown}");
    let (sarif, harmless) = both(Format::Sarif);
    assert_eq!(json_shape(&valid_sarif(&sarif)), json_shape(&valid_sarif(&harmless)), "{word:?}");
    let (metrics, harmless) = both(Format::Openmetrics);
    let [metrics, harmless] = [metrics, harmless].map(|text| openmetrics::parse(&text).unwrap());
    assert_eq!(metrics.samples.len(), harmless.samples.len());
    assert_eq!(metrics.families, harmless.families);
    let bencher: serde_json::Value = serde_json::from_str(&text(Format::Bencher, &run)).unwrap();
    assert!(bencher.is_object());
    let printed = text(Format::Terminal, &run);
    assert!(!printed.contains(|letter: char| letter.is_control() && letter != '\n'), "{word:?}");
}

#[test]
fn no_weapon_changes_a_report() {
    for weapon in WEAPONS {
        holds(&format!("x{weapon}x"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_text_changes_a_report(word in hostile()) {
        holds(&word);
    }
}
