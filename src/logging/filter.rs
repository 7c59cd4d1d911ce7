//! The filter of `--log`, parsed strictly. `tracing` takes an unknown word for the name of a module, which would silence
//! everything else.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The levels, from the most urgent one.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
    ("off", LevelFilter::OFF),
];

/// The crate, whose name begins that of every target.
const CRATE: &str = "cc_openai_wrapper";

/// The modules that log. No library of this program does: none is built with its feature for `tracing`.
const MODULES: [&str; 12] = [
    "allocator",
    "command",
    "http::listener",
    "http::ops",
    "http::sse",
    "http::trace",
    "http::turn_loop",
    "invoker::actor",
    "logging",
    "pool::observer",
    "runtime",
    "server",
];

/// Which lines are logged: a level for everything, and others for modules.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFilter(Vec<Directive>);

#[derive(Debug, Clone, PartialEq)]
struct Directive {
    /// None: everything that no other directive names.
    target: Option<String>,
    level: LevelFilter,
}

impl LogFilter {
    /// The filter as a layer.
    pub(super) fn targets(&self) -> Targets {
        self.0.iter().fold(Targets::new(), |targets, directive| match &directive.target {
            Some(target) => targets.with_target(target, directive.level),
            None => targets.with_default(directive.level),
        })
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut directives: Vec<Directive> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let directive = part.parse::<Directive>()?;
            if directives.iter().any(|other| other.target == directive.target) {
                let what = directive.target.as_deref().unwrap_or("everything");
                return Err(format!("`{part}` is a second level for {what}; {EXPECTED}"));
            }
            directives.push(directive);
        }
        if directives.is_empty() { Err(format!("it names no level; {EXPECTED}")) } else { Ok(Self(directives)) }
    }
}

const EXPECTED: &str = "expected a level (error, warn, info, debug, trace, off), or MODULE=LEVEL; several are separated by \
                        commas, for example info,cc_openai_wrapper=debug";

impl FromStr for Directive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(['[', ']', '{', '}']) {
            return Err(format!("`{text}` names spans or fields, and lines are chosen by module alone; {EXPECTED}"));
        }
        match text.split_once('=') {
            Some((target, level)) => Ok(Self {
                target: Some(parse_target(target.trim())?),
                level: find_level(level.trim()).ok_or_else(|| unknown_level(level.trim()))?,
            }),
            None => match find_level(text) {
                Some(level) => Ok(Self { target: None, level }),
                // A module alone is all of it.
                None if is_target(text) => Ok(Self { target: Some(text.to_owned()), level: LevelFilter::TRACE }),
                None if is_named_like_target(text) => Err(unknown_target(text)),
                None => Err(unknown_level(text)),
            },
        }
    }
}

fn find_level(text: &str) -> Option<LevelFilter> {
    LEVELS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
}

fn parse_target(text: &str) -> Result<String, String> {
    if is_target(text) { Ok(text.to_owned()) } else { Err(unknown_target(text)) }
}

/// Whether `text` is the crate, or a module that logs or has such modules.
fn is_target(text: &str) -> bool {
    let Some(path) = text.strip_prefix(CRATE) else { return false };
    let is_within = |module: &str| module.strip_prefix(&path[2..]).is_some_and(|r| r.is_empty() || r.starts_with("::"));
    path.is_empty() || path.len() > 2 && path.starts_with("::") && MODULES.iter().any(|module| is_within(module))
}

fn is_named_like_target(text: &str) -> bool {
    text.contains("::") || normalize(text).starts_with(CRATE)
}

/// The target that somebody meant may be written as the program's name, or in capitals.
fn normalize(text: &str) -> String {
    text.to_ascii_lowercase().replace('-', "_")
}

fn unknown_level(text: &str) -> String {
    let meant = match text.to_ascii_lowercase().as_str() {
        "warning" => "; did you mean `warn`?",
        "err" | "fatal" | "critical" | "crit" => "; did you mean `error`?",
        "notice" | "information" => "; did you mean `info`?",
        "all" | "verbose" | "everything" => "; did you mean `trace`?",
        "none" | "silent" | "quiet" | "false" => "; did you mean `off`?",
        _ => ";",
    };
    format!("`{text}` is no level{meant} {EXPECTED}")
}

fn unknown_target(text: &str) -> String {
    let normal = normalize(text);
    let hint = if normal != text && is_target(&normal) { format!("did you mean `{normal}`? ") } else { String::new() };
    format!("`{text}` is no module that logs; {hint}there are {CRATE} and, below it, {}", MODULES.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use tracing::Level;

    use super::*;

    /// `@` is the crate: its name in a path would look like an arrow between modules to tests/it/layering.rs.
    fn full(text: &str) -> String {
        text.replace('@', CRATE)
    }

    fn parse(text: &str) -> Result<LogFilter, String> {
        full(text).parse()
    }

    #[test]
    fn levels_and_modules_are_understood() {
        let (own, other) = (&full("@::http::listener"), &full("@::server"));
        for (text, own_level, other_level) in [
            ("info", Level::INFO, Some(Level::INFO)),
            ("WARN", Level::WARN, Some(Level::WARN)),
            (" info , ", Level::INFO, Some(Level::INFO)),
            ("info,@::http=debug", Level::DEBUG, Some(Level::INFO)),
            ("@::http = debug, error", Level::DEBUG, Some(Level::ERROR)),
            ("cc_openai_wrapper=trace", Level::TRACE, Some(Level::TRACE)),
            ("@::http::listener", Level::TRACE, None),
            ("off,@::http=warn", Level::WARN, None),
        ] {
            let targets = parse(text).unwrap().targets();
            let highest = |target: &str| {
                let levels = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
                levels.into_iter().find(|level| targets.would_enable(target, level))
            };
            let highest = [highest(own), highest(other)];
            assert_eq!(highest, [Some(own_level), other_level], "{text}");
        }
        assert!(!parse("off").unwrap().targets().would_enable(own, &Level::ERROR));
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_there_is() {
        for (text, words) in [
            ("", "it names no level; expected a level (error, warn"),
            (" , ", "it names no level"),
            ("warning", "`warning` is no level; did you mean `warn`?"),
            ("err", "did you mean `error`?"),
            ("all", "did you mean `trace`?"),
            ("loud", "`loud` is no level; expected a level (error, warn"),
            ("info,loud", "`loud` is no level"),
            ("info debug", "`info debug` is no level"),
            ("3", "`3` is no level"),
            ("info,debug", "`debug` is a second level for everything"),
            ("cc_openai_wrapper=info,cc_openai_wrapper=warn", "a second level for cc_openai_wrapper"),
            ("=debug", "`` is no module that logs"),
            ("=", "`` is no module that logs"),
            ("cc_openai_wrapper=", "`` is no level"),
            ("cc_openai_wrapper=loud", "`loud` is no level"),
            ("cc_openai_wrapper=debug=info", "`debug=info` is no level"),
            (
                "cc-openai-wrapper=debug",
                "did you mean `cc_openai_wrapper`? there are cc_openai_wrapper and, below it, allocator",
            ),
            ("cc-openai-wrapper", "did you mean `cc_openai_wrapper`?"),
            ("@::htp=debug", "`@::htp` is no module that logs"),
            ("@::ht=debug", "is no module that logs"),
            ("@::=debug", "is no module that logs"),
            ("cc_openai_wrapperhttp=debug", "is no module that logs"),
            ("http=debug", "`http` is no module that logs"),
            ("hyper=debug", "`hyper` is no module that logs"),
            ("hyper::proto", "`hyper::proto` is no module that logs"),
            ("[span]=debug", "names spans or fields"),
            ("cc_openai_wrapper[request{id=3}]=debug", "names spans or fields"),
            ("ü=debug", "`ü` is no module that logs"),
        ] {
            let refusal = parse(text).expect_err(text);
            assert!(refusal.contains(&full(words)), "{text}: {refusal}");
        }
    }

    /// Every module with a macro of `tracing` in it, and no other, is on the list.
    #[test]
    fn the_list_has_every_module_that_logs() {
        fn visit(folder: &Path, module: &str, found: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let stem = entry.file_stem().unwrap().to_str().unwrap();
                let path = if module.is_empty() { stem.to_owned() } else { format!("{module}::{stem}") };
                if entry.is_dir() {
                    visit(&entry, &path, found);
                } else if stem != "tests" && !path.contains("tests::") {
                    let source = std::fs::read_to_string(&entry).unwrap();
                    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
                    if ["error!", "warn!", "info!", "debug!", "trace!"]
                        .iter()
                        .any(|name| code.contains(&format!("tracing::{name}")))
                    {
                        found.insert(path);
                    }
                }
            }
        }
        let mut found = BTreeSet::new();
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
        // A module is chosen with all that is below it.
        let below =
            |path: &String| MODULES.iter().any(|m| path.strip_prefix(m).is_some_and(|rest| rest.starts_with("::")));
        found.retain(|path| !below(path));
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), MODULES);
    }
}
