//! The arrows between modules go downwards only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The server's modules from top to bottom: each may use those below it, and itself.
const WRAPPER: [&str; 22] = [
    "main",
    "command",
    "check",
    "server",
    "http",
    "metrics",
    "translate",
    "answer",
    "pool",
    "invoker",
    "cli",
    "runtime",
    "keeper",
    "config",
    "openai",
    "turn",
    "process_tree",
    "descriptors",
    "logging",
    "shutdown",
    "allocator",
    "lib",
];

/// The harness's modules from top to bottom. Measuring (`scenario` and below) knows nothing of verdicts.
const HARNESS: [&str; 38] = [
    "bin",
    "cli",
    "power",
    "run",
    "progress",
    "environment",
    "recordings",
    "siblings",
    "report",
    "diff",
    "nightly",
    "store",
    "verdict",
    "suite",
    "control",
    "outside",
    "scenario",
    "attribution",
    "replay",
    "load",
    "fake_api",
    "mock",
    "record",
    "scrub",
    "recording",
    "sut",
    "plant",
    "target",
    "guard",
    "strays",
    "probe",
    "real_cli",
    "secrets",
    "isolation",
    "event",
    "sample",
    "exit",
    "lib",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below `folder`, with the top-level module that it belongs to.
fn sources(folder: &Path) -> Vec<(String, PathBuf)> {
    fn visit(folder: &Path, top: Option<&str>, found: &mut Vec<(String, PathBuf)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let stem = entry.file_stem().unwrap().to_str().unwrap().to_owned();
            let module = top.unwrap_or(&stem).to_owned();
            if entry.is_dir() {
                visit(&entry, Some(&module), found);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                found.push((module, entry));
            }
        }
    }
    let mut found = Vec::new();
    visit(folder, None, &mut found);
    found
}

/// The top-level modules that a source names after one of `roots`, such as `crate::`.
fn used(source: &str, roots: &[&str]) -> BTreeSet<String> {
    let code = source.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for root in roots {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            let names = match rest.strip_prefix('{') {
                // `use crate::{a::x, b}`: the first word of each part on the first level.
                Some(list) => first_words(list),
                None => vec![word(rest)],
            };
            found.extend(names.into_iter().filter(|n| !n.is_empty()));
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn first_words(list: &str) -> Vec<String> {
    let (mut depth, mut words, mut start) = (0, Vec::new(), 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                words.push(word(list[start..at].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                words.push(word(list[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    words
}

/// The arrows that do not go down.
fn upward(folder: &Path, order: &[&str], roots: &[&str]) -> Vec<String> {
    let rank = |module: &str| order.iter().position(|m| *m == module);
    let mut wrong = Vec::new();
    for (module, file) in sources(folder) {
        let file_name = file.strip_prefix(root()).unwrap().display().to_string();
        let Some(own) = rank(&module) else {
            wrong.push(format!("{file_name}: `{module}` has no place in the order of tests/it/layering.rs"));
            continue;
        };
        for name in used(&std::fs::read_to_string(&file).unwrap(), roots) {
            let Some(other) = rank(&name) else { continue };
            if other < own {
                wrong.push(format!("{file_name} uses {name}, which is above it"));
            }
        }
    }
    wrong
}

#[test]
fn the_arrows_of_the_server_go_down() {
    let wrong = upward(&root().join("src"), &WRAPPER, &["crate::", "cc_openai_wrapper::"]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_arrows_of_the_harness_go_down() {
    let wrong = upward(&root().join("harness/src"), &HARNESS, &["crate::", "leakgate::"]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_arrow_that_goes_up_is_seen() {
    assert_eq!(used("use crate::pool::{Pool, status};", &["crate::"]), ["pool".to_owned()].into());
    let grouped = used("use crate::{http, pool::{core, Pool}, turn::Prompt};", &["crate::"]);
    assert_eq!(grouped, ["http", "pool", "turn"].map(str::to_owned).into());
    assert!(used("// see crate::http", &["crate::"]).is_empty());
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    std::fs::write(folder.path().join("cli.rs"), "use crate::http::serve;").unwrap();
    assert_eq!(upward(folder.path(), &WRAPPER, &["crate::"]).len(), 1);
}

/// Every path in back quotes in the crate docs is a file.
#[test]
fn the_maps_in_the_crate_docs_name_files_that_exist() {
    for lib in ["src/lib.rs", "harness/src/lib.rs"] {
        let text = std::fs::read_to_string(root().join(lib)).unwrap();
        let docs: String = text.lines().filter(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
        let paths =
            docs.split('`').skip(1).step_by(2).filter(|word| Path::new(word).extension().is_some_and(|e| e == "rs"));
        let missing: Vec<&str> = paths.filter(|path| !root().join(path).exists()).collect();
        assert!(missing.is_empty(), "{lib} names {missing:?}");
    }
}
