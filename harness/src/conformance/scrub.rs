//! Turns a transcript into a recording that can be published: paths, ids, pids and times are everybody's, the vendor's descriptive
//! prose is filler of the same length. Keys, types, order, pauses and lengths are as they were.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Transcript;
use super::drive::{Dirs, scrubbed_paths};
use super::normalize::without_address;
use leakgate_session::recording::{Header, Payload};

/// Replaces prose, at the same length.
const FILLER: &str = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et \
                      dolore magna aliqua ";
/// Keys of descriptive prose.
const PROSE: [&str; 4] = ["description", "displayName", "argumentHint", "whenToUse"];
/// Lists of names, and what their entries are called instead.
const NAMES: [(&str, &str); 7] = [
    ("commands", "command"),
    ("agents", "agent"),
    ("slash_commands", "slash_command"),
    ("terminal_slash_commands", "terminal_slash_command"),
    ("skills", "skill"),
    ("available_output_styles", "available_output_style"),
    ("plugins", "plugin"),
];
/// The pid of everybody.
const PID: u64 = 4242;
/// The time of everything.
const TIME: &str = "2026-01-28T00:00:00.000Z";

/// The recording of what was heard, as text: `header` is that of the session which was held again, with `version` in it.
#[must_use]
pub fn to_recording(heard: &Transcript, header: &Header, version: &str) -> String {
    let header = Header { cli: version.to_owned(), ..header.clone() };
    let mut scrubber = Scrubber { dirs: &heard.dirs, ids: BTreeMap::new() };
    let mut text = format!("{}\n", json!(header));
    for event in &heard.events {
        let mut line = json!({"ms": event.ms});
        match &event.payload {
            Payload::In(said) => line["in"] = scrubber.scrub_line(said).into(),
            Payload::Out(said) => line["out"] = scrubber.scrub_line(said).into(),
            Payload::Err(said) => line["err"] = scrubber.scrub_text(said).into(),
            Payload::Exit { end, after, .. } => {
                line["exit"] = json!(end);
                line["after"] = after.as_str().into();
            }
        }
        text += &line.to_string();
        text.push('\n');
    }
    text
}

struct Scrubber<'a> {
    dirs: &'a Dirs,
    /// Ids that were seen, and their numbers.
    ids: BTreeMap<String, usize>,
}

impl Scrubber<'_> {
    fn scrub_line(&mut self, line: &str) -> String {
        match serde_json::from_str::<Value>(line) {
            Ok(mut value) => {
                self.scrub_value("", &mut value);
                value.to_string()
            }
            Err(_) => self.scrub_text(line),
        }
    }

    fn scrub_value(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::String(text) => {
                *text = match key {
                    "timestamp" => TIME.to_owned(),
                    key if PROSE.contains(&key) => filler_like(text),
                    _ => self.scrub_text(text),
                };
            }
            Value::Number(_) if key == "pid" => *value = PID.into(),
            Value::Array(items) => {
                let name = NAMES.iter().find(|(list, _)| *list == key);
                for (at, item) in items.iter_mut().enumerate() {
                    self.scrub_value(key, item);
                    match (name, &mut *item) {
                        (Some((_, name)), Value::String(text)) => *text = format!("{name}-{at}"),
                        (Some((_, name)), Value::Object(entry)) if entry.contains_key("name") => {
                            entry.insert("name".to_owned(), format!("{name}-{at}").into());
                        }
                        _ => {}
                    }
                }
            }
            Value::Object(entries) => entries.iter_mut().for_each(|(key, value)| self.scrub_value(key, value)),
            _ => {}
        }
    }

    fn scrub_text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (own, everybodys) in scrubbed_paths(self.dirs) {
            let (own, everybodys) = (own.display().to_string(), everybodys.display().to_string());
            // The CLI names folders after paths, with dashes.
            text =
                text.replace(&own, &everybodys).replace(&own.replace(['/', '.'], "-"), &everybodys.replace('/', "-"));
        }
        if let Some((before, rest)) = text.split_once("cc-socks/")
            && let Some((_, after)) = rest.split_once(".sock")
        {
            text = format!("{before}cc-socks/{PID}.sock{after}");
        }
        self.without_ids(&without_address(&text))
    }

    fn without_ids(&mut self, text: &str) -> String {
        let mut scrubbed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(id) = rest.get(..36).filter(|word| is_uuid(word)) {
                let next = self.ids.len() + 1;
                let number = *self.ids.entry(id.to_owned()).or_insert(next);
                let id = format!("00000000-0000-4000-8000-{number:012}");
                scrubbed.push_str(&id);
                rest = &rest[36..];
            } else {
                scrubbed.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        scrubbed
    }
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn filler_like(text: &str) -> String {
    FILLER.chars().cycle().take(text.chars().count()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_gets_the_same_number_everywhere_and_prose_its_length() {
        assert!(is_uuid("38373859-e493-4cda-b7a2-160d23069e2a"));
        assert!(!is_uuid("38373859-e493-4cda-b7a2-160d23069e2"));
        assert_eq!(filler_like("Grün ist es").chars().count(), 11);
        assert_eq!(filler_like(""), "");
    }
}
