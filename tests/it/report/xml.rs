//! A strict reading of XML, and of a page that is nearly XML.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use regex::Regex;

/// An element that was opened.
#[derive(Debug, PartialEq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: BTreeMap<String, String>,
}

/// All elements in the order in which they are opened. Panics at whatever is not well-formed.
pub(super) fn elements(text: &str) -> Vec<Element> {
    assert!(!text.contains(|letter: char| letter.is_control() && !"\n\t\r".contains(letter)), "a control character");
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let (mut found, mut open) = (Vec::new(), 0_usize);
    loop {
        let event =
            reader.read_event().unwrap_or_else(|error| panic!("{error} at {}", around(text, reader.error_position())));
        match event {
            Event::Start(start) => {
                open += 1;
                found.push(element(&start));
            }
            Event::Empty(start) => found.push(element(&start)),
            Event::End(_) => open -= 1,
            Event::Text(words) => drop(words.xml10_content().unwrap()),
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(open, 0, "an element without an end");
    found
}

fn around(text: &str, at: u64) -> &str {
    let at = usize::try_from(at).unwrap();
    text.get(at.saturating_sub(80)..(at + 80).min(text.len())).unwrap_or_default()
}

fn element(start: &BytesStart) -> Element {
    let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
    let attributes = start.html_attributes().map(|attribute| {
        let attribute = attribute.unwrap();
        let name = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
        (name, String::from_utf8(attribute.value.to_vec()).unwrap())
    });
    Element { name, attributes: attributes.collect() }
}

/// The elements of a page of HTML, whose void elements are closed first, and whose style is left out.
pub(super) fn page(text: &str) -> Vec<Element> {
    let body = text.strip_prefix("<!DOCTYPE html>").unwrap();
    let body = Regex::new(r"(?s)<style>.*?</style>").unwrap().replace(body, "<style></style>");
    let closed = Regex::new(r"<(meta|link|br|hr)\b([^>]*)>").unwrap().replace_all(&body, "<$1$2/>");
    elements(&closed)
}

#[test]
fn what_is_not_well_formed_is_seen() {
    assert_eq!(elements("<a b=\"c\"><d/></a>").len(), 2);
    for wrong in ["<a>", "<a></b>", "<a b=\"></a>", "<a><b></a></b>"] {
        assert!(std::panic::catch_unwind(|| elements(wrong)).is_err(), "{wrong}");
    }
}
