//! Reads `dhat-heap.json`, the file of dhat and of its viewer, as far as growth needs it: what was live at its end, by
//! call stack. The format is version 2 of valgrind's `dhat/dh_main.c`: program points in `pps`, of which each has its
//! frames as positions in `ftbl`.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Deserialize;
use thiserror::Error;

use super::frame;
use crate::sample::Frame;

/// The version of the format that is read.
const VERSION: u64 = 2;

/// Live blocks and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Live {
    /// Blocks.
    pub blocks: u64,
    /// Bytes.
    pub bytes: u64,
}

impl AddAssign for Live {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
    }
}

/// The heap at the end of a profile, by call stack (the allocation first). Stacks that differ by addresses alone are one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heap {
    /// The stacks.
    pub stacks: BTreeMap<Vec<Frame>, Live>,
}

/// Why a profile cannot be read.
#[derive(Debug, Error)]
pub enum DhatError {
    /// The file is not JSON, or has another shape.
    #[error("it is no profile of dhat's: {0}")]
    Shape(#[from] serde_json::Error),
    /// The file has another version of the format.
    #[error("it has version {found} of dhat's format, and this build reads version {VERSION}")]
    Version {
        /// The version in the file.
        found: u64,
    },
    /// The profile does not record what was live at its end.
    #[error("it does not tell what was live at its end (`bklt` is false): it is no profile of a heap")]
    NoHeap,
    /// A stack names a frame that is not there.
    #[error("its program point {at} names a frame that its table does not have: it was cut short or edited")]
    Frame {
        /// The point's position in `pps`.
        at: usize,
    },
}

#[derive(Deserialize)]
struct File {
    pps: Vec<Point>,
    ftbl: Vec<String>,
}

#[derive(Deserialize)]
struct Point {
    /// Bytes live at the end.
    eb: u64,
    /// Blocks live at the end.
    ebk: u64,
    fs: Vec<usize>,
}

/// Reads a profile.
pub fn read(text: &[u8]) -> Result<Heap, DhatError> {
    let version: Version = serde_json::from_slice(text)?;
    if version.dhat_file_version != VERSION {
        return Err(DhatError::Version { found: version.dhat_file_version });
    }
    if !version.bklt {
        return Err(DhatError::NoHeap);
    }
    let file: File = serde_json::from_slice(text)?;
    let frames: Vec<Frame> = file.ftbl.iter().map(|text| frame::parse(text)).collect();
    let mut heap = Heap::default();
    for (at, point) in file.pps.iter().enumerate().filter(|(_, point)| point.ebk > 0) {
        let stack: Option<Vec<Frame>> = point.fs.iter().map(|&frame| frames.get(frame).cloned()).collect();
        let stack = stack.ok_or(DhatError::Frame { at })?;
        *heap.stacks.entry(stack).or_default() += Live { blocks: point.ebk, bytes: point.eb };
    }
    Ok(heap)
}

/// The head of the file, read first: a profile of events has no `eb`, so the rest would not parse.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    dhat_file_version: u64,
    bklt: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two points that differ by addresses alone, one that is gone, and one of a library.
    const SMALL: &str = r#"{
        "dhatFileVersion": 2, "mode": "rust-heap", "verb": "Allocated", "bklt": true, "bkacc": false, "tu": "µs",
        "Mtu": "s", "tuth": 10, "cmd": "sut-heap serve", "pid": 7, "tg": 5, "te": 9,
        "pps": [
            {"tb": 640, "tbk": 10, "tl": 1, "mb": 64, "mbk": 1, "gb": 0, "gbk": 0, "eb": 640, "ebk": 10, "fs": [1, 3]},
            {"tb": 64, "tbk": 1, "tl": 1, "mb": 64, "mbk": 1, "gb": 0, "gbk": 0, "eb": 64, "ebk": 1, "fs": [2, 3]},
            {"tb": 99, "tbk": 9, "tl": 1, "mb": 99, "mbk": 9, "gb": 0, "gbk": 0, "eb": 0, "ebk": 0, "fs": [4]},
            {"tb": 32, "tbk": 1, "tl": 1, "mb": 32, "mbk": 1, "gb": 0, "gbk": 0, "eb": 32, "ebk": 1, "fs": [4]}
        ],
        "ftbl": [
            "[root]",
            "0x55d0: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:57)",
            "0x55d9: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:57)",
            "0x55e0: cc_openai_wrapper::pool::drive::{{closure}} (wrapper/src/pool.rs:200:9)",
            "0x55f0: tokio::runtime::task::new_task (runtime/task/mod.rs:300:5)"
        ]
    }"#;

    #[test]
    fn stacks_that_differ_by_addresses_alone_are_one() {
        let heap = read(SMALL.as_bytes()).unwrap();
        let live: Vec<(usize, Live)> = heap.stacks.iter().map(|(stack, live)| (stack.len(), *live)).collect();
        assert_eq!(live, [(2, Live { blocks: 11, bytes: 704 }), (1, Live { blocks: 1, bytes: 32 })]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_the_reason() {
        let error = |text: &str| read(text.as_bytes()).unwrap_err();
        assert!(matches!(error("[]"), DhatError::Shape(_)));
        assert!(matches!(error(&SMALL.replace("Version\": 2", "Version\": 3")), DhatError::Version { found: 3 }));
        assert!(matches!(error(&SMALL.replace("\"bklt\": true", "\"bklt\": false")), DhatError::NoHeap));
        assert!(matches!(error(&SMALL.replace("[2, 3]", "[2, 5]")), DhatError::Frame { at: 1 }));
    }
}
