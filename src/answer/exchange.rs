//! From an [`Ask`] to its [`Answer`]: what each turn is asked, what of its reply is passed on, and whether it is asked
//! for again. Pure: whoever runs the turns tells it what they bring.

use super::contract::{Contract, Finding};
use super::passing::Passing;
use super::prompt::{self, Rejected};
use super::{Answer, Ask, Call, Choice, Finish, Invalid, Want};
use crate::turn::{Completion, Prompt, Usage};

/// One request on its way to its answer.
#[derive(Debug)]
pub struct Exchange {
    ask: Ask,
    contract: Contract,
    /// Names the calls of this request.
    id: String,
    /// The model, as the CLI knows it.
    model: Option<String>,
    passing: Passing,
    rejected: Option<Rejected>,
    usage: Usage,
}

/// What follows the end of a turn.
#[derive(Debug)]
pub enum Next {
    /// The end: what of the text was not passed on yet, and the whole.
    Done(String, Answer),
    /// Another turn, with this prompt.
    Again(Prompt),
    /// The reply was not what was wanted, twice; what was wrong with the last one.
    Failed(String),
}

impl Exchange {
    /// `model` is the one to be asked, as the CLI knows it; `id` is the request's, no other's. The error names a schema
    /// that is none.
    pub fn new(ask: Ask, model: Option<String>, id: String) -> Result<Self, Invalid> {
        let contract = Contract::new(&ask)?;
        let passing = Passing::new(&ask.stop, matches!(ask.want, Want::Tools { .. }));
        Ok(Self { ask, contract, id, model, passing, rejected: None, usage: Usage::default() })
    }

    /// What the next turn is asked.
    #[must_use]
    pub fn prompt(&self) -> Prompt {
        // Calls are held back by `Passing`; any other reply that has to be checked is passed on at its end.
        let checked_first = match &self.ask.want {
            Want::Text | Want::Tools { choice: Choice::Auto, format: None, .. } => self.rejected.is_some(),
            Want::Json(_) | Want::Tools { .. } => true,
        };
        Prompt {
            text: prompt::compose(&self.ask, self.rejected.as_ref()),
            model: self.model.clone(),
            streamed: self.ask.streamed && !checked_first,
        }
    }

    /// A piece of a streamed turn's text; gives what may be passed on.
    pub fn piece(&mut self, text: &str) -> String {
        self.passing.push(text)
    }

    /// A turn has ended well.
    pub fn turn_done(&mut self, completion: Completion) -> Next {
        self.usage = self.usage.plus(completion.usage);
        let cut_short = finish_of(completion.stop_reason.as_deref());
        let text = match self.ask.want {
            Want::Json(_) => completion.text.as_str(),
            Want::Text | Want::Tools { .. } => self.passing.cut(&completion.text),
        };
        let (finding, text) = (self.contract.check(text), text.to_owned());
        let whole = completion.text.len();
        // A reply that ended at a stop sequence ended as it should, whatever the model went on to say.
        let finish = |text: &str| cut_short.filter(|_| text.len() == whole).unwrap_or(Finish::Stop);
        match finding {
            Finding::Text(words) if matches!(self.ask.want, Want::Tools { format: None, .. }) => {
                let words = self.passing.cut_words(&words).to_owned();
                let finish = finish(&words);
                self.done(words, Vec::new(), finish, completion.model, None)
            }
            Finding::Text(words) => self.done(words, Vec::new(), finish(&text), completion.model, None),
            Finding::Calls { words, calls } => {
                let call = |(n, (name, arguments))| Call { id: format!("call_{}{n}", self.id), name, arguments };
                let calls = calls.into_iter().enumerate().map(call).collect();
                self.done(words, calls, Finish::Calls, completion.model, None)
            }
            // Cut by a limit, or refused: the finish says so, and asking again would bring the same.
            Finding::Wrong(_) | Finding::WrongCalls(_) if cut_short.is_some() => {
                let finish = finish(&text);
                self.done(text, Vec::new(), finish, completion.model, None)
            }
            Finding::Wrong(words) | Finding::WrongCalls(words) if self.rejected.is_none() => {
                self.rejected = Some(Rejected { reply: completion.text, words });
                Next::Again(self.prompt())
            }
            Finding::Wrong(words) if self.ask.want.format().is_some_and(|format| format.lenient) => {
                self.done(completion.text, Vec::new(), Finish::Stop, completion.model, Some(words))
            }
            Finding::Wrong(words) | Finding::WrongCalls(words) => Next::Failed(words),
        }
    }

    fn done(
        &self,
        text: String,
        calls: Vec<Call>,
        finish: Finish,
        model: Option<String>,
        schema_error: Option<String>,
    ) -> Next {
        let passed = self.passing.passed();
        let (tail, text) = match text.strip_prefix(passed) {
            Some(tail) => (tail.to_owned(), text),
            // Words of the first turn are out already: those of the second one follow them.
            None if calls.is_empty() => (format!("\n\n{text}"), format!("{passed}\n\n{text}")),
            None => (String::new(), passed.to_owned()),
        };
        Next::Done(tail, Answer { text, calls, finish, usage: self.usage, model, schema_error })
    }
}

/// Why a reply ended before the model had said everything; none where it had.
fn finish_of(stop_reason: Option<&str>) -> Option<Finish> {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => Some(Finish::Length),
        Some("refusal") => Some(Finish::ContentFilter),
        _ => None,
    }
}
