//! One frame of a call stack: read from a profile's text, and told apart whether it is in the code under test.
//!
//! dhat keeps the last three parts of a path, so that `harness/crates/sut/src/plant/leaked.rs` and a library's `src/plant/leaked.rs`
//! read the same. The function knows better: its name begins with its crate, and a crate's sources have one folder.

use crate::sample::Frame;

/// The crates whose code is under test, their sources, and the part of them that counts. Of leakgate it is the planted
/// leaks alone: the rest of it is in the server's process to ask and to answer.
const OWN: [(&str, &str, &str); 2] = [
    ("cc_openai_wrapper", "src/", "src/"),
    ("leakgate_sut", "harness/crates/sut/src/", "harness/crates/sut/src/plant"),
];

/// Reads `0x55d0: function (file:line:column)`; the address is forgotten, and so is the column.
#[must_use]
pub fn parse(text: &str) -> Frame {
    let text = text.strip_prefix("0x").and_then(|rest| rest.split_once(": ")).map_or(text, |(_, rest)| rest);
    let (function, place) = match text.rsplit_once(" (") {
        Some((function, place)) => (function, place.strip_suffix(')').unwrap_or(place)),
        None => (text, ""),
    };
    let function = without_hash(function.trim());
    // From the right: a path may hold a colon.
    let mut parts = place.rsplitn(3, ':');
    let (_column, line, file) = (parts.next(), parts.next(), parts.next());
    let file = file.filter(|file| !file.is_empty() && *file != "???").map(|file| in_repository(function, file));
    let line = line.and_then(|line| line.parse().ok()).filter(|&line| line > 0 && file.is_some());
    Frame { function: function.to_owned(), file, line }
}

/// Whether the frame is in the code under test.
#[must_use]
pub fn is_own(frame: &Frame) -> bool {
    let Some(file) = frame.file.as_deref() else { return false };
    own_crate(&frame.function).is_some_and(|(_, _, counted)| file.starts_with(counted))
}

/// `file:line`, as editors take it; the function where the file is not known.
#[must_use]
pub fn source_position(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        (None, _) => frame.function.clone(),
    }
}

/// `module::function::h0123456789abcdef` without its last part.
fn without_hash(function: &str) -> &str {
    match function.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => function,
    }
}

/// The crate of ours that a function belongs to. `<Type as Trait>::function` is written where the type or the trait is.
fn own_crate(function: &str) -> Option<(&'static str, &'static str, &'static str)> {
    qualified_paths(function).find_map(|path| OWN.into_iter().find(|(name, ..)| path.split("::").next() == Some(name)))
}

/// The paths by which a function is named: its own, or its type's and its trait's.
fn qualified_paths(function: &str) -> impl Iterator<Item = &str> {
    let inner = function.strip_prefix('<').map_or(function, |rest| &rest[..closing_bracket(rest)]);
    inner
        .splitn(2, " as ")
        .map(|path| path.trim_start_matches(['&', '<', '(', '[']).trim_start_matches("mut ").trim_start_matches("dyn "))
}

/// Where the bracket closes that was open before `text`.
fn closing_bracket(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            // `->` closes nothing.
            '>' if text[..at].ends_with('-') => {}
            '>' if depth == 0 => return at,
            '>' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// A path of ours, relative to the repository; any other as it is.
fn in_repository(function: &str, file: &str) -> String {
    let Some((_, sources, _)) = own_crate(function) else { return file.to_owned() };
    let parts: Vec<&str> = file.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(at) = parts.iter().rposition(|part| *part == "src") {
        let is_library = at > 0 && has_version(parts[at - 1]);
        return if is_library { file.to_owned() } else { format!("{sources}{}", parts[at + 1..].join("/")) };
    }
    // Too deep for `src` to have been kept: the modules above stand in the function's path.
    let first = parts.first().copied().unwrap_or_default();
    for path in qualified_paths(function) {
        let modules: Vec<&str> = path.split("::").skip(1).collect();
        if let Some(above) = modules.iter().position(|module| *module == first) {
            let above: String = modules[..above].iter().flat_map(|module| [*module, "/"]).collect();
            return format!("{sources}{above}{}", parts.join("/"));
        }
    }
    file.to_owned()
}

/// Whether it is the folder of a library from a registry: `tokio-1.48.0`.
fn has_version(folder: &str) -> bool {
    folder
        .rsplit_once('-')
        .is_some_and(|(_, version)| version.starts_with(|first: char| first.is_ascii_digit()) && version.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<u32>, bool) {
        let frame = parse(text);
        (frame.file.clone().unwrap_or_default(), frame.line, is_own(&frame))
    }

    #[test]
    fn the_address_the_hash_and_the_column_are_no_part_of_a_frame() {
        let frame =
            parse("0x55d0a1: leakgate_sut::plant::leaked::Leaked::take::h0123456789abcdef (src/plant/leaked.rs:78:57)");
        let file = Some("harness/crates/sut/src/plant/leaked.rs".to_owned());
        assert_eq!(frame, Frame { function: "leakgate_sut::plant::leaked::Leaked::take".into(), file, line: Some(78) });
        assert_eq!(parse("[root]"), Frame { function: "[root]".into(), file: None, line: None });
    }

    #[test]
    fn a_frame_without_debug_information_has_no_place() {
        let frame = parse("0x7f00: __clone3 (???:0:0)");
        assert_eq!(frame, Frame { function: "__clone3".into(), file: None, line: None });
        assert_eq!(source_position(&frame), "__clone3");
    }

    #[test]
    fn paths_of_ours_are_relative_to_the_repository_however_much_was_cut_off() {
        let file = |text| read(text).0;
        assert_eq!(file("0x1: cc_openai_wrapper::pool::drive::{{closure}} (wrapper/src/pool.rs:1:1)"), "src/pool.rs");
        assert_eq!(file("0x1: cc_openai_wrapper::pool::core::Core::switch (src/pool/core.rs:1:1)"), "src/pool/core.rs");
        assert_eq!(
            file(
                "0x1: cc_openai_wrapper::pool::core::settle::<impl cc_openai_wrapper::pool::core::Core>::settle (pool/core/settle.rs:1:1)"
            ),
            "src/pool/core/settle.rs"
        );
        assert_eq!(
            file("0x1: leakgate_sut::plant::a::b::merge::all (a/b/merge.rs:1:1)"),
            "harness/crates/sut/src/plant/a/b/merge.rs"
        );
        assert_eq!(
            file(
                "0x1: <leakgate_sut::plant::Plant as cc_openai_wrapper::pool::observer::Observer>::event (sut/src/plant.rs:9:1)"
            ),
            "harness/crates/sut/src/plant.rs"
        );
    }

    #[test]
    fn only_the_server_and_the_planted_leaks_are_our_own() {
        let own = |text| read(text).2;
        assert!(own("0x1: cc_openai_wrapper::pool::drive::{{closure}} (wrapper/src/pool.rs:1:1)"));
        assert!(own("0x1: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:57)"));
        assert!(own(
            "0x1: <alloc::vec::Vec<u8> as cc_openai_wrapper::claude::codec::Lines>::next (src/claude/codec.rs:3:1)"
        ));
        assert!(own("0x1: <&cc_openai_wrapper::turn::Prompt as core::fmt::Debug>::fmt (wrapper/src/turn.rs:3:1)"));
        for foreign in [
            "0x1: leakgate_sut::channel::Server::serve (src/channel.rs:53:1)",
            "0x1: tokio::runtime::blocking::pool::Spawner::spawn (runtime/blocking/pool.rs:3:1)",
            "0x1: tokio::net::TcpListener::bind (tokio-1.48.0/src/net.rs:3:1)",
            "0x1: <alloc::vec::Vec<T,A> as core::clone::Clone>::clone (src/vec/mod.rs:3:1)",
            "0x1: core::ptr::drop_in_place<cc_openai_wrapper::pool::Pool> (src/ptr/mod.rs:3:1)",
            "0x1: <cc_openai_wrapper::http::Site as tower::Service>::call (tower-0.5.2/src/lib.rs:3:1)",
            "0x1: cc_openai_wrapper::pool::drive (???:0:0)",
        ] {
            assert!(!own(foreign), "{foreign}");
        }
    }

    #[test]
    fn an_arrow_in_a_type_does_not_close_its_bracket() {
        let name = "<dyn core::ops::Fn(u8) -> bool as cc_openai_wrapper::pool::Sink>::take";
        assert_eq!(qualified_paths(name).last(), Some("cc_openai_wrapper::pool::Sink"));
    }
}
