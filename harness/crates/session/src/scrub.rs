//! Takes out of text what must not be shared: keys, passwords, ids, names, paths.
//!
//! Pure: no files, no processes. A [`Scrubber`] remembers what it has replaced, so that the same value becomes the same
//! placeholder everywhere, and a secret that was recognised by its context is recognised without it from then on.
//! `scrub/rules.rs` has the patterns, `scrub/json.rs` the strings of a line of JSON, `scrub/stream.rs` the lines of a
//! session, with texts that the CLI sends in pieces.
//!
//! The patterns are our own: the kept detectors for Rust are programs, or bring a C++ matcher and thousands of rules, and
//! what matters here (placeholders of the same length, JSON in JSON, pieces of a stream) none of them does.
//!
//! A placeholder is plain ASCII that needs no escape in JSON, at any depth, and is never taken for a finding.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use aho_corasick::AhoCorasick;
use serde::{Deserialize, Serialize};

mod json;
mod rules;
mod stream;

pub use stream::StreamScrubber;

/// What is taken out. The order is that of importance: of two findings that overlap, the first kind names both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The block of a private key.
    PrivateKey,
    /// A key of Anthropic (`sk-ant-…`).
    AnthropicKey,
    /// Another key that starts with `sk-`.
    ApiKey,
    /// A JSON web token.
    Jwt,
    /// A token of GitHub.
    GithubToken,
    /// An AWS access key.
    AwsKey,
    /// A token with another vendor's prefix.
    VendorToken,
    /// What follows `Bearer` or `Authorization:`.
    Bearer,
    /// The value of a field, variable or flag that is called key, token, secret or password.
    SecretField,
    /// A mail address.
    Mail,
    /// A UUID, which is a session id or a message's.
    Uuid,
    /// Another id of the API (`msg_01…`).
    Id,
    /// The working directory.
    Directory,
    /// A home folder.
    Home,
    /// The name of the user.
    User,
    /// The name of the machine.
    Host,
    /// A process id.
    Pid,
}

impl Kind {
    /// The name, as `--keep` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "private-key",
            Self::AnthropicKey => "anthropic-key",
            Self::ApiKey => "api-key",
            Self::Jwt => "jwt",
            Self::GithubToken => "github-token",
            Self::AwsKey => "aws-key",
            Self::VendorToken => "vendor-token",
            Self::Bearer => "bearer",
            Self::SecretField => "secret-field",
            Self::Mail => "mail",
            Self::Uuid => "uuid",
            Self::Id => "id",
            Self::Directory => "directory",
            Self::Home => "home",
            Self::User => "user",
            Self::Host => "host",
            Self::Pid => "pid",
        }
    }

    /// Whether it opens a door, rather than only telling who and where.
    #[must_use]
    pub fn is_secret(self) -> bool {
        self <= Self::SecretField
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Facts about the machine and the user where a session is recorded.
#[derive(Debug, Clone, Default)]
pub struct HostInfo {
    /// The home folder.
    pub home: Option<String>,
    /// The working directory.
    pub directory: Option<String>,
    /// The name of the user.
    pub user: Option<String>,
    /// The name of the machine.
    pub host: Option<String>,
    /// The environment: the values of variables with a secret name are looked for everywhere.
    pub variables: Vec<(String, String)>,
}

/// Replaces, remembers and counts.
#[derive(Debug, Default)]
pub struct Scrubber {
    keep: Vec<Kind>,
    literals: Vec<(Kind, String)>,
    finder: Option<AhoCorasick>,
    placeholders: HashMap<(Kind, String), String>,
    issued: HashMap<Kind, u64>,
    removed: BTreeMap<Kind, u64>,
    learned: bool,
    line: usize,
    findings: Option<Vec<(usize, Kind)>>,
}

/// A part of a text and its replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    range: Range<usize>,
    with: String,
}

impl Scrubber {
    /// A scrubber that knows this host and leaves the kinds of `keep` in.
    #[must_use]
    pub fn new(host: &HostInfo, keep: &[Kind]) -> Self {
        let mut scrubber = Self { keep: keep.to_vec(), ..Self::default() };
        for (kind, literal) in rules::known_literals(host) {
            scrubber.remember_literal(kind, literal);
        }
        scrubber.learned = false;
        scrubber
    }

    /// Knows nothing of where a recording was made, and notes the line of everything that it finds.
    #[must_use]
    pub fn for_check(keep: &[Kind]) -> Self {
        Self { keep: keep.to_vec(), findings: Some(Vec::new()), ..Self::default() }
    }

    /// A text without what it must not hold; JSON in it is understood.
    pub fn scrub_text(&mut self, text: &str) -> String {
        let edits = self.find_edits(text, None);
        apply_edits(text, &edits)
    }

    /// The value of a field, variable or flag with this name.
    pub fn scrub_value(&mut self, name: &str, value: &str) -> String {
        let edits = self.find_edits(value, Some(name));
        apply_edits(value, &edits)
    }

    /// The arguments of a command; the value of a flag may be the next of them.
    pub fn scrub_arguments(&mut self, arguments: &[String]) -> Vec<String> {
        let mut flag: Option<&str> = None;
        let mut scrubbed = Vec::with_capacity(arguments.len());
        for argument in arguments {
            scrubbed.push(match flag.filter(|flag| rules::is_flag(flag)) {
                Some(flag) => self.scrub_value(flag, argument),
                None => self.scrub_text(argument),
            });
            flag = Some(argument);
        }
        scrubbed
    }

    /// How much of each kind was replaced.
    #[must_use]
    pub fn removed_counts(&self) -> &BTreeMap<Kind, u64> {
        &self.removed
    }

    /// Whether a secret was recognised by its context: earlier text may contain it without that context.
    #[must_use]
    pub fn has_learned(&self) -> bool {
        self.learned
    }

    /// The line and the kind of each finding; only with [`Scrubber::for_check`].
    #[must_use]
    pub fn findings(&self) -> &[(usize, Kind)] {
        self.findings.as_deref().unwrap_or_default()
    }

    /// From here on, findings are in this line.
    pub fn set_line(&mut self, line: usize) {
        self.line = line;
    }

    fn remember_literal(&mut self, kind: Kind, literal: String) {
        if !self.literals.iter().any(|(_, known)| *known == literal) {
            self.literals.push((kind, literal));
            self.finder = None;
            self.learned = true;
        }
    }

    /// What has to change in a text that belongs to `name`.
    fn find_edits(&mut self, text: &str, name: Option<&str>) -> Vec<Edit> {
        let mut edits = Vec::new();
        self.collect_edits(text, name, &mut edits);
        edits
    }

    fn collect_edits(&mut self, text: &str, name: Option<&str>, edits: &mut Vec<Edit>) {
        if name.is_some_and(rules::is_secret_name) && rules::can_be_secret(text) {
            self.add_replacement(text, 0..text.len(), Kind::SecretField, edits);
        } else if json::is_container(text) {
            self.find_in_json(text, edits, |_| false);
        } else {
            self.find_in_text(text, edits);
        }
    }

    /// The strings of a JSON text, except those that `leave` names.
    fn find_in_json(&mut self, text: &str, edits: &mut Vec<Edit>, leave: impl Fn(&json::Token<'_>) -> bool) {
        json::visit_tokens(text, |token| {
            if leave(token) {
                return;
            }
            if token.is_number {
                self.find_in_number(text, token, edits);
                return;
            }
            let (decoded, raw) = (token.decode(text), &text[token.range.clone()]);
            let mut inner = Vec::new();
            if token.is_key {
                self.find_in_text(&decoded, &mut inner);
            } else {
                self.collect_edits(&decoded, token.name, &mut inner);
            }
            edits.extend(json::to_raw_edits(raw, &inner).into_iter().map(|edit| Edit {
                range: edit.range.start + token.range.start..edit.range.end + token.range.start,
                ..edit
            }));
        });
    }

    fn find_in_number(&mut self, text: &str, token: &json::Token<'_>, edits: &mut Vec<Edit>) {
        let Some(name) = token.name else { return };
        if rules::is_pid(name) {
            self.add_replacement(text, token.range.clone(), Kind::Pid, edits);
        } else if rules::is_password(name)
            && !self.keep.contains(&Kind::SecretField)
            && &text[token.range.clone()] != "0"
        {
            self.count_finding(Kind::SecretField);
            edits.push(Edit { range: token.range.clone(), with: "0".to_owned() });
        }
    }

    fn find_in_text(&mut self, text: &str, edits: &mut Vec<Edit>) {
        let mut found = rules::find_candidates(text);
        found.extend(self.known_in(text));
        found.retain(|(kind, range)| !self.keep.contains(kind) && !range.is_empty());
        found.sort_by_key(|(kind, range)| (range.start, *kind));
        let mut merged: Vec<(Kind, Range<usize>)> = Vec::new();
        for (kind, range) in found {
            match merged.last_mut() {
                Some((first, last)) if range.start < last.end => {
                    last.end = last.end.max(range.end);
                    *first = kind.min(*first);
                }
                _ => merged.push((kind, range)),
            }
        }
        for (kind, range) in merged {
            self.add_replacement(text, range, kind, edits);
        }
    }

    /// Where literals that are known already stand.
    fn known_in(&mut self, text: &str) -> Vec<(Kind, Range<usize>)> {
        if self.literals.is_empty() {
            return Vec::new();
        }
        if self.finder.is_none() {
            let words = self.literals.iter().map(|(_, literal)| literal);
            // Building fails for gigabytes of patterns only; then what has a pattern of its own is still found.
            self.finder = AhoCorasick::new(words).ok();
        }
        let Some(finder) = &self.finder else { return Vec::new() };
        let matches =
            finder.find_overlapping_iter(text).map(|hit| (self.literals[hit.pattern().as_usize()].0, hit.range()));
        matches.filter(|(kind, range)| rules::stands_alone(*kind, text, range)).collect()
    }

    fn add_replacement(&mut self, text: &str, range: Range<usize>, kind: Kind, edits: &mut Vec<Edit>) {
        if self.keep.contains(&kind) {
            return;
        }
        let value = &text[range.clone()];
        let with = self.placeholder_for(kind, value);
        if with == value {
            return;
        }
        self.count_finding(kind);
        if kind.is_secret() && rules::is_distinctive(value) {
            self.remember_literal(kind, value.to_owned());
        }
        edits.push(Edit { range, with });
    }

    fn count_finding(&mut self, kind: Kind) {
        *self.removed.entry(kind).or_default() += 1;
        if let Some(findings) = &mut self.findings {
            findings.push((self.line, kind));
        }
    }

    fn placeholder_for(&mut self, kind: Kind, value: &str) -> String {
        if rules::is_placeholder(kind, value) {
            let taken = rules::number_of(kind, value);
            let issued = self.issued.entry(kind).or_default();
            *issued = taken.max(*issued);
            return value.to_owned();
        }
        if let Some(known) = self.placeholders.get(&(kind, value.to_owned())) {
            return known.clone();
        }
        let issued = self.issued.entry(kind).or_default();
        *issued += 1;
        let placeholder = rules::make_placeholder(kind, value, *issued);
        self.placeholders.insert((kind, value.to_owned()), placeholder.clone());
        placeholder
    }
}

/// The text after its edits, which are in order and do not overlap.
fn apply_edits(text: &str, edits: &[Edit]) -> String {
    let (mut result, mut at) = (String::with_capacity(text.len()), 0);
    for edit in edits {
        result.push_str(&text[at..edit.range.start]);
        result.push_str(&edit.with);
        at = edit.range.end;
    }
    result.push_str(&text[at..]);
    result
}
