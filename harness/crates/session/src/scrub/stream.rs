//! The lines of a session in order, scrubbed; texts that come in pieces are scrubbed whole and cut again.
//!
//! The CLI sends a reply as deltas of a few characters, so that no line holds a secret, and the lines together do. So
//! from the first delta of a content block on, all lines are held back until the block has ended.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

use super::{Edit, Scrubber, apply_edits, json};
use crate::recording::{Event, Payload};

/// A block whose lines are larger than this is not recorded: no reply of a model is.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// Scrubs events in order.
#[derive(Debug, Default)]
pub struct StreamScrubber {
    scrubber: Scrubber,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// The number of the first held line.
    first: usize,
    blocks: HashMap<Block, Vec<usize>>,
    /// Per channel: a private key goes on over lines that are no JSON.
    in_key: [bool; 3],
    line: usize,
}

/// A line that waits.
#[derive(Debug)]
struct Held {
    event: Event,
    number: usize,
    piece: Option<Piece>,
}

/// The piece of a text in a held line: where its string stands, and what it says.
#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    text: String,
}

/// What the pieces of one text have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Block {
    message: Message,
    index: u64,
    field: String,
}

/// Whose stream it is: subagents stream beside the main one.
type Message = (Option<String>, Option<String>);

#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "type")]
    kind: String,
    session_id: Option<String>,
    parent_tool_use_id: Option<String>,
    event: Option<ProbeEvent>,
}

#[derive(Deserialize)]
struct ProbeEvent {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    index: u64,
}

impl StreamScrubber {
    /// Scrubs with what the scrubber knows.
    #[must_use]
    pub fn new(scrubber: Scrubber) -> Self {
        // Line 1 is the header.
        Self { scrubber, line: 1, ..Self::default() }
    }

    /// What it scrubs with.
    #[must_use]
    pub fn scrubber(&mut self) -> &mut Scrubber {
        &mut self.scrubber
    }

    /// Takes the next event and gives those that are ready, or `None` when too much would have to be held back.
    pub fn push(&mut self, event: Event) -> Option<Vec<Event>> {
        self.line += 1;
        self.scrubber.set_line(self.line);
        let held = match event.payload {
            Payload::In(ref line) => self.scrub_line(&event, line, 0),
            Payload::Out(ref line) => self.scrub_line(&event, line, 1),
            Payload::Err(ref line) => self.scrub_line(&event, line, 2),
            Payload::Exit { .. } => {
                self.close_all();
                Held { event, number: self.line, piece: None }
            }
        };
        self.held_bytes += held.event.payload.text().len();
        self.held.push_back(held);
        (self.held_bytes <= MAX_HELD_BYTES).then(|| self.take_ready())
    }

    /// Gives what is still held back.
    pub fn finish(&mut self) -> Vec<Event> {
        self.close_all();
        self.take_ready()
    }

    fn scrub_line(&mut self, event: &Event, line: &str, channel: usize) -> Held {
        let (line, piece) = if json::is_container(line) {
            self.scrub_json_line(line, channel)
        } else {
            (self.scrub_plain_line(line, channel), None)
        };
        let payload = match event.payload {
            Payload::In(_) => Payload::In(line),
            Payload::Out(_) => Payload::Out(line),
            _ => Payload::Err(line),
        };
        Held { event: Event { payload, ..event.clone() }, number: self.line, piece }
    }

    fn scrub_json_line(&mut self, line: &str, channel: usize) -> (String, Option<Piece>) {
        self.in_key[channel] = false;
        let probe = serde_json::from_str::<Probe>(line).ok().filter(|_| channel == 1);
        let streamed = probe.as_ref().and_then(|probe| probe.event.as_ref());
        if let Some(probe) = &probe {
            self.close_ended_blocks(probe);
        }
        let is_delta = streamed.is_some_and(|event| event.kind == "content_block_delta");
        let mut pieces: Vec<(String, Range<usize>)> = Vec::new();
        if is_delta {
            json::visit_tokens(line, |token| {
                if is_piece(token) {
                    pieces.push((token.name.unwrap_or_default().to_owned(), token.range.clone()));
                }
            });
        }
        // One text a delta is all that the API knows.
        let [(field, range)] = &pieces[..] else { return (self.scrubber.scrub_text(line), None) };
        let mut edits = Vec::new();
        self.scrubber.find_in_json(line, &mut edits, is_piece);
        let moved = shift_position(&edits, range.start);
        let text = json::decode_string(&line[range.clone()]).into_owned();
        if let (Some(probe), Some(event)) = (&probe, streamed) {
            let block = Block { message: message_key(probe), index: event.index, field: field.clone() };
            self.blocks.entry(block).or_default().push(self.first + self.held.len());
        }
        (apply_edits(line, &edits), Some(Piece { range: moved..moved + range.len(), text }))
    }

    fn scrub_plain_line(&mut self, line: &str, channel: usize) -> String {
        let starts = line.rfind("-----BEGIN ").filter(|at| line[*at..].contains("PRIVATE KEY"));
        let ends =
            line.find("-----END ").map(|at| at + line[at + 9..].find("-----").map_or(line.len() - at, |end| end + 14));
        let was_in_key = self.in_key[channel];
        self.in_key[channel] = match (starts, ends) {
            (Some(start), Some(end)) => start > end,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => was_in_key,
        };
        if !was_in_key {
            return self.scrubber.scrub_text(line);
        }
        let (key, rest) = line.split_at(ends.unwrap_or(line.len()).min(line.len()));
        let mut edits = Vec::new();
        self.scrubber.add_replacement(key, 0..key.len(), super::Kind::PrivateKey, &mut edits);
        apply_edits(key, &edits) + &self.scrubber.scrub_text(rest)
    }

    /// Ends the blocks that this line ends: its own, or all of its message.
    fn close_ended_blocks(&mut self, probe: &Probe) {
        let message = message_key(probe);
        let ended: Vec<Block> = match probe.event.as_ref().map(|event| (event.kind.as_str(), event.index)) {
            Some(("content_block_stop" | "content_block_start", index)) => {
                self.blocks.keys().filter(|block| block.message == message && block.index == index).cloned().collect()
            }
            Some(("message_start" | "message_stop", _)) => {
                self.blocks.keys().filter(|block| block.message == message).cloned().collect()
            }
            None if probe.kind == "result" => self.blocks.keys().cloned().collect(),
            _ => return,
        };
        for block in ended {
            self.close_block(&block);
        }
    }

    fn close_all(&mut self) {
        let all: Vec<Block> = self.blocks.keys().cloned().collect();
        for block in all {
            self.close_block(&block);
        }
    }

    /// Scrubs the joined text of a block and gives each line its piece of it back.
    fn close_block(&mut self, block: &Block) {
        let lines = self.blocks.remove(block).unwrap_or_default();
        let first = self.first;
        let piece = |held: &VecDeque<Held>, line: usize| held[line - first].piece.as_ref().map(|p| p.text.clone());
        let pieces: Vec<String> = lines.iter().filter_map(|line| piece(&self.held, *line)).collect();
        let whole = pieces.concat();
        if let Some(line) = lines.first() {
            self.scrubber.set_line(self.held[line - first].number);
        }
        let edits = self.scrubber.find_edits(&whole, None);
        self.scrubber.set_line(self.line);
        let cut = cut_again(&whole, &pieces, &edits);
        for (line, text) in lines.into_iter().zip(cut) {
            let held = &mut self.held[line - first];
            if let Some(Piece { range, text: before }) = held.piece.take()
                && before != text
                && let Payload::Out(line) = &mut held.event.payload
            {
                let string = Value::from(text).to_string();
                line.replace_range(range, &string[1..string.len() - 1]);
            }
        }
    }

    fn take_ready(&mut self) -> Vec<Event> {
        let mut ready = Vec::new();
        while let Some(held) = self.held.pop_front_if(|held| held.piece.is_none()) {
            self.first += 1;
            self.held_bytes = self.held_bytes.saturating_sub(held.event.payload.text().len());
            ready.push(held.event);
        }
        ready
    }
}

/// Whether it is the text of a delta.
fn is_piece(token: &json::Token<'_>) -> bool {
    let is_text = !token.is_key && !token.is_number && token.name != Some("type");
    is_text && token.path == ["", "event", "delta"]
}

fn message_key(probe: &Probe) -> Message {
    (probe.session_id.clone(), probe.parent_tool_use_id.clone())
}

/// Where `at` is after the edits before it.
fn shift_position(edits: &[Edit], at: usize) -> usize {
    let before = edits.iter().take_while(|edit| edit.range.end <= at);
    before.fold(at, |at, edit| at + edit.with.len() - edit.range.len())
}

/// Cuts an edited text where it was cut before; a cut in something replaced goes through its replacement, or behind it.
fn cut_again(whole: &str, pieces: &[String], edits: &[Edit]) -> Vec<String> {
    let edited = apply_edits(whole, edits);
    let (mut result, mut from, mut end) = (Vec::with_capacity(pieces.len()), 0, 0);
    for (index, piece) in pieces.iter().enumerate() {
        end += piece.len();
        let to = if index + 1 == pieces.len() { edited.len() } else { cut_position(edits, end).min(edited.len()) };
        result.push(edited[from..to].to_owned());
        from = to;
    }
    result
}

fn cut_position(edits: &[Edit], at: usize) -> usize {
    match edits.iter().find(|edit| edit.range.start < at && at < edit.range.end) {
        // A replacement is ASCII, so it can be cut anywhere.
        Some(inside) => shift_position(edits, inside.range.start) + (at - inside.range.start).min(inside.with.len()),
        None => shift_position(edits, at),
    }
}
