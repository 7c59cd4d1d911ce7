//! What a request is answered: an option's word, or the last one in its prompt.
//!
//! `[[answer:MODE]]` means what it means to the mock CLI ([`crate::answer`]), so that one load drives both. What
//! only an API can do has words of its own, `[[api:WORD]]`; such a word wins.

use std::str::FromStr;

use crate::answer::Mode;

/// How a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scenario {
    /// As the mock would.
    Mode(Mode),
    /// What only an API can do.
    Api(ApiScenario),
}

/// What only an API can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiScenario {
    /// Half of the reply, then the API's error: overloaded.
    Overloaded,
    /// Half of the reply, then the connection ends.
    Cut,
    /// Half of the reply, then nothing more.
    Hang,
    /// So many words.
    Long(usize),
    /// Use of this tool; once its result is there, the reply.
    ToolUse(String),
}

/// A scenario that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no scenario `{0}`; choose overloaded, cut, hang, long=WORDS or tool-use=NAME, or what the mock CLI answers: \
     text, echo, schema, tool, auto, api-error=STATUS, slow=MS, drip=MS and the others of mock-claude --help"
)]
pub struct UnknownScenario(String);

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(spec: &str) -> Result<Self, UnknownScenario> {
        let own = ApiScenario::parse(spec).map(Self::Api);
        own.or_else(|| spec.parse().ok().map(Self::Mode)).ok_or_else(|| UnknownScenario(spec.to_owned()))
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self::Mode(Mode::default())
    }
}

impl ApiScenario {
    fn parse(spec: &str) -> Option<Self> {
        Some(match spec.split_once('=') {
            None => match spec {
                "overloaded" => Self::Overloaded,
                "cut" => Self::Cut,
                "hang" => Self::Hang,
                _ => return None,
            },
            Some(("long", words)) => Self::Long(words.parse().ok().filter(|words| (1..=1_000_000).contains(words))?),
            Some(("tool-use", name)) if !name.is_empty() => Self::ToolUse(name.to_owned()),
            Some(_) => return None,
        })
    }

    /// The last `[[api:WORD]]` in a prompt, if it is one.
    pub(super) fn find_in_prompt(prompt: &str) -> Option<Self> {
        let (_, rest) = prompt.rsplit_once("[[api:")?;
        rest.split_once("]]").and_then(|(word, _)| Self::parse(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_an_apis_word_or_a_mode_of_the_mock() {
        assert_eq!("long=12".parse(), Ok(Scenario::Api(ApiScenario::Long(12))));
        assert_eq!("tool-use=Bash".parse(), Ok(Scenario::Api(ApiScenario::ToolUse("Bash".to_owned()))));
        assert!(matches!("slow=20+echo".parse(), Ok(Scenario::Mode(_))));
        for wrong in ["long=0", "tool-use=", "overloaded=1", "quick", "api-error=200"] {
            assert!(wrong.parse::<Scenario>().unwrap_err().to_string().contains(wrong));
        }
    }

    #[test]
    fn the_last_word_of_a_prompt_counts() {
        assert_eq!(ApiScenario::find_in_prompt("[[api:cut]] or [[api:hang]]?"), Some(ApiScenario::Hang));
        assert_eq!(ApiScenario::find_in_prompt("[[api:nothing]]"), None);
    }
}
