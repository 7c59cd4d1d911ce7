//! Validates replies against the requested format.

use jsonschema::Validator;
use serde_json::Value;

use super::calls::{self, Called, Found};
use super::{ChatRequest, Choice, Invalid, JsonFormat, ReplyFormat, json};
use crate::openai::reading::syntax_message;

/// The requested format with its schemas compiled.
#[derive(Debug)]
pub(super) struct ReplyValidator {
    /// Functions that the model may call.
    functions: Vec<Function>,
    /// None if the request has no functions.
    calls: Option<Calls>,
    /// Format of a reply without calls; none for any text.
    json: Option<Json>,
}

#[derive(Debug)]
struct Calls {
    choice: Choice,
    parallel: bool,
}

/// A function that the model may call.
#[derive(Debug)]
struct Function {
    name: String,
    /// None if the request has no schema for them.
    arguments: Option<Box<Validator>>,
}

#[derive(Debug)]
struct Json {
    /// None for any object.
    schema: Option<Box<Validator>>,
}

/// The result of validating a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Valid text.
    Text(String),
    /// Valid calls, by name and arguments, and the text before them.
    Calls { words: String, calls: Vec<(String, String)> },
    /// Invalid text; the errors, one per line.
    Mismatch(String),
    /// Invalid or missing calls; the errors, one per line.
    InvalidCalls(String),
}

impl ReplyValidator {
    /// Compiles the schemas; the error names the one that is invalid.
    pub(super) fn new(request: &ChatRequest) -> Result<Self, Invalid> {
        let json = request.reply_format.format().map(|JsonFormat { schema, param, .. }| {
            Ok::<_, Invalid>(Json { schema: schema.as_ref().map(|schema| compile_schema(schema, param)).transpose()? })
        });
        let (mut functions, mut calls) = (Vec::new(), None);
        if let ReplyFormat::Tools { tools, choice, parallel, .. } = &request.reply_format {
            calls = Some(Calls { choice: choice.clone(), parallel: *parallel });
            for tool in tools {
                let arguments =
                    tool.parameters.as_ref().map(|schema| compile_schema(schema, &tool.param)).transpose()?;
                functions.push(Function { name: tool.name.clone(), arguments });
            }
        }
        Ok(Self { functions, calls, json: json.transpose()? })
    }

    /// Validates a complete reply.
    pub(super) fn check_reply(&self, reply: &str) -> Checked {
        if let Some(calls) = &self.calls {
            match calls::find_calls(reply, |name| self.find_function(name).is_some()) {
                Found::Calls { words, calls: found } => return self.check_calls(words, found, calls, reply.len()),
                Found::Broken(why) => return Checked::InvalidCalls(format!("- the calls can't be read: {why}")),
                Found::None if calls.choice == Choice::Auto => {}
                Found::None => return Checked::InvalidCalls("- it calls no function, and it must call one".to_owned()),
            }
        }
        match &self.json {
            Some(json) => check_json(reply, json.schema.as_deref()),
            None => Checked::Text(reply.to_owned()),
        }
    }

    fn find_function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    fn check_calls(&self, words: &str, found: Vec<Called>, calls: &Calls, size: usize) -> Checked {
        if found.len() > 1 && !calls.parallel {
            return Checked::InvalidCalls("- only one call is allowed".to_owned());
        }
        let wrong = found.iter().filter_map(|call| self.wrong_call(&call.name, &call.arguments, &calls.choice, size));
        let wrong: Vec<String> = wrong.collect();
        if !wrong.is_empty() {
            return Checked::InvalidCalls(wrong.join("\n"));
        }
        let calls = found.into_iter().map(|Called { name, text, .. }| (name, text)).collect();
        Checked::Calls { words: words.to_owned(), calls }
    }

    fn wrong_call(&self, name: &str, arguments: &Value, choice: &Choice, size: usize) -> Option<String> {
        if let Choice::Named(wanted) = choice
            && wanted != name
        {
            return Some(format!("- {name:?} is called instead of {wanted:?}"));
        }
        let Some(function) = self.find_function(name) else { return Some(format!("- there is no function {name:?}")) };
        if !arguments.is_object() {
            return Some(format!("- the arguments of {name:?} are not a JSON object"));
        }
        let wrong = json::violations(function.arguments.as_deref()?, arguments, size)?;
        Some(format!("- the arguments of {name:?} are not valid:\n{wrong}"))
    }
}

fn compile_schema(schema: &Value, param: &str) -> Result<Box<Validator>, Invalid> {
    let built = json::build_validator(schema).map(Box::new);
    built.map_err(|words| Invalid::new(param, format!("this JSON Schema is not supported: {words}")))
}

fn check_json(reply: &str, validator: Option<&Validator>) -> Checked {
    let (text, value) = match json::find_json(reply) {
        Ok(found) => found,
        Err(error) => return Checked::Mismatch(format!("- it is not JSON: {}", syntax_message(&error))),
    };
    let wrong = match validator {
        Some(validator) => json::violations(validator, &value, text.len()),
        None => (!value.is_object()).then(|| "- it is not a JSON object".to_owned()),
    };
    wrong.map_or_else(|| Checked::Text(text.to_owned()), Checked::Mismatch)
}
