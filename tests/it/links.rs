//! Links between the pages of this repository lead somewhere, and the paths that they name are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use crate::workflows::root;

/// Every page in Markdown, but for those that are built or generated.
fn pages() -> Vec<PathBuf> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap();
            let is_left_out = ["target", "node_modules", ".git", "latest", "runs", "nightly"].contains(&name);
            if entry.is_dir() && !is_left_out && !name.starts_with("latest-") {
                visit(&entry, found);
            } else if entry.extension().is_some_and(|extension| extension == "md") {
                found.push(entry);
            }
        }
    }
    let mut found = Vec::new();
    visit(&root(), &mut found);
    found
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut found, mut heading) = (BTreeSet::new(), None::<String>);
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => heading.iter_mut().for_each(|heading| heading.push_str(&part)),
            Event::End(TagEnd::Heading(_)) => found.extend(heading.take().map(|heading| anchor(&heading))),
            _ => {}
        }
    }
    found
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn links(text: &str) -> Vec<String> {
    let links = Parser::new(text).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.into_string()),
        _ => None,
    });
    links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
}

/// The files and folders of this repository that a page names in code spans: `harness/cli/add VERSION` names one.
fn named_paths(text: &str) -> Vec<String> {
    let is_path =
        |word: &str| ["src/", "harness/", "tests/", ".ci/", ".github/"].iter().any(|top| word.starts_with(top));
    let spans = Parser::new(text).filter_map(|event| match event {
        Event::Code(span) => span.split_whitespace().next().filter(|word| is_path(word)).map(str::to_owned),
        _ => None,
    });
    spans.collect()
}

/// The links of a page that lead nowhere.
fn broken(page: &Path, text: &str) -> Vec<String> {
    let is_broken = |link: &String| {
        let (path, heading) =
            link.split_once('#').map_or((link.as_str(), None), |(path, heading)| (path, Some(heading)));
        let target = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
        let has = |heading: &str| fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(heading));
        !target.exists() || heading.is_some_and(|heading| !has(heading))
    };
    links(text).into_iter().filter(is_broken).collect()
}

#[test]
fn every_link_between_pages_leads_to_a_file_and_to_a_heading_of_it() {
    let pages = pages();
    assert!(pages.len() > 8, "{pages:?}");
    let mut seen = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        seen += links(&text).len();
        assert_eq!(broken(&page, &text), [""; 0], "{}", page.display());
    }
    assert!(seen > 30, "only {seen} links were found");
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = root().join("README.md");
    let text = "[a](src/none.md) [b](src/MANUAL.md#none) [c](src/MANUAL.md#when-the-cli-fails) [d](#exit-codes) [e](https://x.y/z)";
    assert_eq!(broken(&page, text), ["src/none.md", "src/MANUAL.md#none"]);
}

/// The contributor's map would otherwise go out of date with the next file that is moved.
#[test]
fn every_path_that_a_page_names_is_there() {
    let generated = root().join("reports/reference");
    let mut seen = 0;
    for page in pages().into_iter().filter(|page| !page.starts_with(&generated)) {
        for path in named_paths(&fs::read_to_string(&page).unwrap()) {
            assert!(root().join(&path).exists(), "{} names {path}, which is not there", page.display());
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} paths were found");
}

#[test]
fn a_path_is_found_with_its_arguments_and_an_option_is_not_a_path() {
    let text = "`src/none.rs`, `harness/cli/add VERSION`, `--path harness`, src/lib.rs";
    assert_eq!(named_paths(text), ["src/none.rs", "harness/cli/add"]);
}
