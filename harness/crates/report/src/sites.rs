//! Growing sites as text: the line first, what it keeps, and the part of its stack that tells how it was reached.

use leakgate_judge::attribution::frame::{is_own, source_position};
use leakgate_judge::attribution::site_key;
use leakgate_judge::sample::{Frame, Site};
use leakgate_judge::verdict::words::format_bytes;

/// Frames that are shown of a stack.
const MAX_FRAMES: usize = 5;

/// `harness/crates/sut/src/plant/leaked.rs:78 in leakgate_sut::plant::leaked::Leaked::take: +1.00 blocks, +64 B per restart`.
pub(super) fn site_headline(site: &Site) -> String {
    let at = site_key(site).map_or("a site without a stack".to_owned(), |frame| match frame.file {
        Some(_) => format!("{} in {}", source_position(frame), frame.function),
        None => frame.function.clone(),
    });
    let blocks = if site.blocks_per_restart == 0.0 {
        "no more blocks".to_owned()
    } else {
        format!("{:+.2} blocks", site.blocks_per_restart)
    };
    let sign = if site.bytes_per_restart < 0.0 { "" } else { "+" };
    let own = if site.own.is_some() { "" } else { " (no frame of the code under test)" };
    format!("{at}: {blocks}, {sign}{} per restart{own}", format_bytes(site.bytes_per_restart))
}

/// The stack, one line a frame, the allocation first: what of a library was called (`>` marks the frame that called it,
/// the first of the code under test), and the other frames of the code under test. Of a stack without any, the first ones.
pub(super) fn stack_lines(site: &Site) -> Vec<String> {
    let tells = |at: usize| match site.own {
        Some(own) => at + 1 == own || is_own(&site.frames[at]),
        None => true,
    };
    let shown: Vec<usize> = (0..site.frames.len()).filter(|&at| tells(at)).take(MAX_FRAMES).collect();
    let mut lines = Vec::new();
    let mut next = 0;
    for at in shown {
        lines.extend(omitted_frames(at - next));
        let mark = if site.own == Some(at) { '>' } else { ' ' };
        lines.push(format!("{mark} {}", frame_line(&site.frames[at])));
        next = at + 1;
    }
    lines.extend(omitted_frames(site.frames.len() - next));
    lines
}

fn omitted_frames(frames: usize) -> Option<String> {
    match frames {
        0 => None,
        1 => Some("  … 1 frame".to_owned()),
        _ => Some(format!("  … {frames} frames")),
    }
}

fn frame_line(frame: &Frame) -> String {
    if frame.file.is_some() {
        format!("{} ({})", frame.function, source_position(frame))
    } else {
        frame.function.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakgate_judge::attribution::frame::parse;

    fn site() -> Site {
        let frames = [
            "0x1: alloc::raw_vec::RawVec<T,A>::grow_one (src/raw_vec/mod.rs:340:5)",
            "0x2: alloc::vec::Vec<T,A>::push (src/vec/mod.rs:9:5)",
            "0x3: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:5)",
            "0x4: leakgate_sut::plant::Plant::event (sut/src/plant.rs:9:5)",
            "0x5: tokio::runtime::task::core::Core<T,S>::poll (runtime/task/core.rs:9:5)",
        ];
        Site { frames: frames.map(parse).to_vec(), own: Some(2), blocks_per_restart: 1.0, bytes_per_restart: 64.0 }
    }

    #[test]
    fn a_site_is_named_by_its_line_and_what_it_keeps() {
        let at = "harness/crates/sut/src/plant/leaked.rs:78 in leakgate_sut::plant::leaked::Leaked::take";
        assert_eq!(site_headline(&site()), format!("{at}: +1.00 blocks, +64 B per restart"));
        let pushed = Site { blocks_per_restart: 0.0, bytes_per_restart: 512.5, ..site() };
        assert_eq!(site_headline(&pushed), format!("{at}: no more blocks, +512 B per restart"));
        let foreign = Site { frames: site().frames[..2].to_vec(), own: None, ..site() };
        assert!(
            site_headline(&foreign).starts_with("src/raw_vec/mod.rs:340 in alloc::raw_vec"),
            "{}",
            site_headline(&foreign)
        );
        assert!(site_headline(&foreign).ends_with("(no frame of the code under test)"));
    }

    #[test]
    fn of_a_stack_our_own_frames_are_shown_and_what_they_called() {
        assert_eq!(
            stack_lines(&site()),
            [
                "  … 1 frame",
                "  alloc::vec::Vec<T,A>::push (src/vec/mod.rs:9)",
                "> leakgate_sut::plant::leaked::Leaked::take (harness/crates/sut/src/plant/leaked.rs:78)",
                "  leakgate_sut::plant::Plant::event (harness/crates/sut/src/plant.rs:9)",
                "  … 1 frame",
            ]
        );
        let foreign = Site { frames: site().frames[..2].to_vec(), own: None, ..site() };
        assert_eq!(stack_lines(&foreign).len(), 2);
    }
}
