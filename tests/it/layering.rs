//! The arrows between modules go downwards only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The packages with a map: the folder of their sources, and the name of their library.
const PACKAGES: [(&str, &str); 5] = [
    ("src", "cc_openai_wrapper"),
    ("harness/src", "leakgate"),
    ("harness/crates/drive/src", "leakgate_drive"),
    ("harness/crates/judge/src", "leakgate_judge"),
    ("harness/crates/session/src", "leakgate_session"),
];

/// The paths in the map of a package: the first table in the docs of its `lib.rs`, from top to bottom.
fn map(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("lib.rs")).unwrap();
    let docs = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let rows = docs.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1).map(str::to_owned));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The modules of a package in the order of its map. The programs are above all of them.
fn order(folder: &Path, map: &[String]) -> Vec<String> {
    let prefix = format!("{}/", folder.strip_prefix(root()).unwrap_or(folder).display());
    let mut order = vec!["bin".to_owned(), "main".to_owned()];
    for path in map {
        let top =
            path.strip_prefix(&prefix).unwrap_or(path).split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        if !order.contains(&top) {
            order.push(top);
        }
    }
    order.push("lib".to_owned());
    order
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below `folder`, with the top-level module that it belongs to.
fn sources(folder: &Path) -> Vec<(String, PathBuf)> {
    fn visit(folder: &Path, top: Option<&str>, found: &mut Vec<(String, PathBuf)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            // A package of its own.
            if entry.join("Cargo.toml").exists() {
                continue;
            }
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
fn upward(folder: &Path, order: &[String], roots: &[&str]) -> Vec<String> {
    let rank = |module: &str| order.iter().position(|m| m == module);
    let mut wrong = Vec::new();
    for (module, file) in sources(folder) {
        let file_name = file.strip_prefix(root()).unwrap().display().to_string();
        let Some(own) = rank(&module) else {
            wrong.push(format!("{file_name}: `{module}` is missing in the map of lib.rs"));
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

/// That packages use each other in one direction is for the compiler; within a package a module uses those below it in the map.
#[test]
fn the_arrows_between_modules_go_down_in_the_order_of_the_map() {
    let mut wrong = Vec::new();
    for (folder, name) in PACKAGES {
        let folder = root().join(folder);
        wrong.extend(upward(&folder, &order(&folder, &map(&folder)), &["crate::", &format!("{name}::")]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_order_of_modules_is_that_of_the_map() {
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    let docs = "//! Text.\n//!\n//! | file | has |\n//! | --- | --- |\n//! | `b.rs` `a/x.rs` | 1 |\n//! | `b/y.rs` | 2 |\n//!\n//! | `c.rs` |";
    std::fs::write(folder.path().join("lib.rs"), docs).unwrap();
    let map = map(folder.path());
    assert_eq!(map, ["b.rs", "a/x.rs", "b/y.rs"]);
    assert_eq!(order(folder.path(), &map), ["bin", "main", "b", "a", "lib"]);
}

#[test]
fn an_arrow_that_goes_up_is_seen() {
    assert_eq!(used("use crate::pool::{Pool, status};", &["crate::"]), ["pool".to_owned()].into());
    let grouped = used("use crate::{http, pool::{core, Pool}, turn::Prompt};", &["crate::"]);
    assert_eq!(grouped, ["http", "pool", "turn"].map(str::to_owned).into());
    assert!(used("// see crate::http", &["crate::"]).is_empty());
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    std::fs::write(folder.path().join("cli.rs"), "use crate::http::serve;").unwrap();
    assert_eq!(upward(folder.path(), &["http", "cli"].map(str::to_owned), &["crate::"]).len(), 1);
}

/// Every path in back quotes in the crate docs is a file.
#[test]
fn the_maps_in_the_crate_docs_name_files_that_exist() {
    for lib in PACKAGES.map(|(folder, _)| format!("{folder}/lib.rs")) {
        let text = std::fs::read_to_string(root().join(&lib)).unwrap();
        let docs: String = text.lines().filter(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
        let paths =
            docs.split('`').skip(1).step_by(2).filter(|word| Path::new(word).extension().is_some_and(|e| e == "rs"));
        let missing: Vec<&str> = paths.filter(|path| !root().join(path).exists()).collect();
        assert!(missing.is_empty(), "{lib} names {missing:?}");
    }
}
