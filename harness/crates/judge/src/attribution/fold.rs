//! Growing stacks as folded lines and as a flame graph of the growth alone.

use std::collections::BTreeMap;
use std::io;

use inferno::flamegraph::{self, Options};

use super::frame::source_position;
use crate::sample::Frame;

/// One line a stack, the outermost function first: `main;serve (src/server.rs:9);grow 640`. The number is bytes. Stacks
/// that read the same are one, and the order of what comes in does not matter.
#[must_use]
pub fn fold_stacks(stacks: &[(Vec<Frame>, u64)]) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (stack, bytes) in stacks {
        let names: Vec<String> = stack.iter().rev().map(frame_name).collect();
        *lines.entry(names.join(";")).or_default() += bytes;
    }
    let mut text: Vec<String> = lines.iter().map(|(stack, bytes)| format!("{stack} {bytes}")).collect();
    // The last line ends as well.
    text.extend(lines.last_key_value().map(|_| String::new()));
    text.join("\n")
}

/// The flame graph of folded lines, as SVG; none of nothing, which has no flame.
pub fn draw_flame_graph(folded: &str, title: &str) -> io::Result<Option<Vec<u8>>> {
    if folded.is_empty() {
        return Ok(None);
    }
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    "bytes kept".clone_into(&mut options.count_name);
    // The same growth has the same picture.
    options.deterministic = true;
    let mut picture = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut picture)?;
    Ok(Some(picture))
}

/// The frame in a folded line. `;` separates frames and a control character could end the line, so both are replaced.
fn frame_name(frame: &Frame) -> String {
    let place = if frame.file.is_some() { format!(" ({})", source_position(frame)) } else { String::new() };
    format!("{}{place}", frame.function).replace(';', ",").replace(|letter: char| letter.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::frame::parse;

    fn stacks() -> Vec<(Vec<Frame>, u64)> {
        let (take, event) =
            (parse("0x1: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:5)"), parse("0x2: main"));
        let array = parse("0x3: <[u8; 4] as core::clone::Clone>::clone (src/array/mod.rs:2:1)");
        vec![(vec![take.clone(), event.clone()], 64), (vec![array, event.clone()], 4), (vec![take, event], 6)]
    }

    #[test]
    fn the_outermost_function_comes_first_and_equal_stacks_are_one_line() {
        assert_eq!(
            fold_stacks(&stacks()),
            "main;<[u8, 4] as core::clone::Clone>::clone (src/array/mod.rs:2) 4\n\
             main;leakgate_sut::plant::leaked::Leaked::take (harness/crates/sut/src/plant/leaked.rs:78) 70\n"
        );
    }

    #[test]
    fn the_flame_graph_is_whole_and_always_the_same() {
        let picture =
            || String::from_utf8(draw_flame_graph(&fold_stacks(&stacks()), "growth").unwrap().unwrap()).unwrap();
        assert!(
            picture().contains("Leaked::take (harness/crates/sut/src/plant/leaked.rs:78)")
                && picture().ends_with("</svg>")
        );
        assert_eq!(picture(), picture());
        assert_eq!(draw_flame_graph("", "growth").unwrap(), None);
    }
}
